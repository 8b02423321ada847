//! Partitions shared among processes: each is worked by one process at a time, and a dead process's are taken over.
//!
//! Everything stands in one value of the bucket `claims`, changed by compare-and-set: the owner of each partition, and a beat
//! of each process, which it raises in every round. Whose beat another process does not see rise for
//! [`MEMBER_LIFETIME`](table::MEMBER_LIFETIME), by its own clock, is dead to it. A partition whose owner is dead, or that has
//! none, goes to the living process that wins it by highest random weight (Thaler and Ravishankar 1998), so that one process
//! that comes or goes moves no more than its share. A living owner is asked to give up what another wins, and does so when
//! it is ready.
//!
//! Nobody takes a partition while its owner believes to have it: the owner counts its life from before it raised its beat,
//! the others from when they saw it, and the owner's is shorter by [`MARGIN`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::debug;
use uuid::Uuid;

use crate::Error;
use crate::connect::Core;
use crate::kv::Kv;
use crate::table::{self, MEMBER_LIFETIME};

/// How much earlier than the server an owner gives itself up.
const MARGIN: Duration = Duration::from_millis(500);
/// One request of a round takes this long at most.
const ANSWER: Duration = Duration::from_secs(1);
/// A round tries again so often where others change the table at the same time.
const MOST_CONFLICTS: usize = 8;

/// What a round brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The partition is this process's from now on.
    Gained(u16),
    /// Another process is to have it: finish, then [`release`](Claims::release) it.
    Wanted(u16),
    /// It is no longer this process's: stop at once.
    Lost(u16),
}

/// One process's part in sharing the partitions of a group.
pub struct Claims {
    kv: Kv,
    group: String,
    me: String,
    mine: BTreeSet<u16>,
    /// Beat of each other process, and since when it has not risen.
    seen: BTreeMap<String, (u64, Instant)>,
    until: watch::Sender<Instant>,
}

/// What is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Table {
    /// Owner of each partition; empty where it has none.
    owners: Vec<String>,
    /// Beat of each process.
    beats: BTreeMap<String, u64>,
}

impl Claims {
    pub(crate) async fn open(core: &Core, group: &str) -> Result<Self, Error> {
        Ok(Self {
            kv: Kv::open(core, table::CLAIMS).await?,
            group: group.to_owned(),
            me: Uuid::new_v4().simple().to_string(),
            mine: BTreeSet::new(),
            seen: BTreeMap::new(),
            until: watch::channel(Instant::now()).0,
        })
    }

    /// Until when the partitions are this process's, unless a round says otherwise: nothing may be published for them later.
    #[must_use]
    pub fn until(&self) -> watch::Receiver<Instant> {
        self.until.subscribe()
    }

    /// Whether other processes share the partitions, as of the last round.
    #[must_use]
    pub fn shared(&self) -> bool {
        self.seen.keys().any(|member| *member != self.me)
    }

    /// The partitions of this process.
    #[must_use]
    pub fn mine(&self) -> &BTreeSet<u16> {
        &self.mine
    }

    /// Says that the process lives, and sees who else does. To be done several times in
    /// [`MEMBER_LIFETIME`](table::MEMBER_LIFETIME).
    pub async fn round(&mut self) -> Vec<Claim> {
        let sent = Instant::now();
        let changes = match self.attempt(sent).await {
            Ok(changes) => changes,
            Err(reason) => {
                debug!(
                    group = self.group,
                    reason, "partitions could not be looked after"
                );
                Vec::new()
            }
        };
        if Instant::now() < *self.until.borrow() {
            return changes;
        }
        // What this round gained is gone with the rest: the next one gains it anew.
        std::mem::take(&mut self.mine)
            .into_iter()
            .map(Claim::Lost)
            .collect()
    }

    async fn attempt(&mut self, sent: Instant) -> Result<Vec<Claim>, String> {
        for _ in 0..MOST_CONFLICTS {
            let (mut table, revision) = self.read().await?;
            let living = self.living(&table.beats, Instant::now());
            let changes = self.decide(&mut table.owners, &living);
            table.beats.retain(|member, _| living.contains(member));
            *table.beats.entry(self.me.clone()).or_default() += 1;
            if !self.store(&table, revision).await? {
                continue;
            }
            for change in &changes {
                match change {
                    Claim::Gained(partition) => _ = self.mine.insert(*partition),
                    Claim::Lost(partition) => _ = self.mine.remove(partition),
                    Claim::Wanted(_) => {}
                }
            }
            self.until.send_replace(sent + MEMBER_LIFETIME - MARGIN);
            return Ok(changes);
        }
        Err("others changed the owners again and again".to_owned())
    }

    /// This process, and those whose beat rose within their lifetime.
    fn living(&mut self, beats: &BTreeMap<String, u64>, now: Instant) -> BTreeSet<String> {
        self.seen.retain(|member, _| beats.contains_key(member));
        for (member, beat) in beats {
            let seen = self.seen.entry(member.clone()).or_insert((*beat, now));
            if seen.0 != *beat {
                *seen = (*beat, now);
            }
        }
        let fresh = self
            .seen
            .iter()
            .filter(|(_, (_, since))| now.duration_since(*since) < MEMBER_LIFETIME);
        fresh
            .map(|(member, _)| member.clone())
            .chain([self.me.clone()])
            .collect()
    }

    /// Makes the owners what they are to become, and says what that means here.
    fn decide(&self, owners: &mut [String], living: &BTreeSet<String>) -> Vec<Claim> {
        let mut changes = Vec::new();
        for (partition, owner) in (0..).zip(owners) {
            let wins = winner(living, partition) == Some(&self.me);
            let held = self.mine.contains(&partition);
            if *owner == self.me {
                match (held, wins) {
                    (false, _) => changes.push(Claim::Gained(partition)),
                    (true, false) => changes.push(Claim::Wanted(partition)),
                    (true, true) => {}
                }
                continue;
            }
            // No longer ours on the server (which was made anew, or held us for dead): somebody may have had it in between.
            changes.extend(held.then_some(Claim::Lost(partition)));
            if wins && !living.contains(owner) {
                owner.clone_from(&self.me);
                changes.push(Claim::Gained(partition));
            }
        }
        changes
    }

    /// Gives partitions up that are finished with.
    ///
    /// # Errors
    /// Where the server does not answer: they are then free when this process is no longer heard.
    pub async fn release(&mut self, partitions: &[u16]) -> Result<(), Error> {
        for partition in partitions {
            self.mine.remove(partition);
        }
        self.edit(|me, table| {
            for partition in partitions {
                let owner = table.owners.get_mut(usize::from(*partition));
                if let Some(owner) = owner.filter(|owner| *owner == me) {
                    owner.clear();
                }
            }
        })
        .await
    }

    /// Gives everything up and says that this process is gone.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub async fn leave(self) -> Result<(), Error> {
        self.edit(|me, table| {
            for owner in table.owners.iter_mut().filter(|owner| *owner == me) {
                owner.clear();
            }
            table.beats.remove(me);
        })
        .await
    }

    async fn edit(&self, change: impl Fn(&str, &mut Table)) -> Result<(), Error> {
        while let Some((value, revision)) = self.kv.get(&self.group).await? {
            let mut table = Table::parse(&value);
            change(&self.me, &mut table);
            let stored = self.kv.update(&self.group, table.text(), revision).await?;
            if stored.is_some() {
                break;
            }
        }
        Ok(())
    }

    async fn read(&self) -> Result<(Table, u64), String> {
        Ok(match within(self.kv.get(&self.group)).await? {
            Some((value, revision)) => (Table::parse(&value), revision),
            None => (Table::parse(b""), 0),
        })
    }

    async fn store(&self, table: &Table, revision: u64) -> Result<bool, String> {
        let stored = within(self.kv.update(&self.group, table.text(), revision)).await?;
        Ok(stored.is_some())
    }
}

impl Table {
    /// What cannot be read is nobody's.
    fn parse(value: &[u8]) -> Self {
        let mut table: Self = serde_json::from_slice(value).unwrap_or_default();
        let partitions = usize::from(table::PARTITIONS);
        table.owners.resize(partitions, String::new());
        table
    }

    fn text(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

async fn within<T>(request: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(ANSWER, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// Who is to have a partition: the living member with the highest weight on it.
fn winner(living: &BTreeSet<String>, partition: u16) -> Option<&String> {
    let weight = |member: &str| {
        Uuid::new_v5(
            &Uuid::NAMESPACE_OID,
            format!("{member}/{partition}").as_bytes(),
        )
    };
    living.iter().max_by_key(|member| weight(member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_goes_moves_only_its_own() {
        let all: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
        let fewer: BTreeSet<String> = ["a", "c"].map(str::to_owned).into();
        let mut of_b = 0;
        for partition in 0..1000 {
            let before = winner(&all, partition).unwrap();
            if before == "b" {
                of_b += 1;
            } else {
                assert_eq!(winner(&fewer, partition), Some(before));
            }
        }
        assert!((250..420).contains(&of_b), "{of_b} of 1000 were b's");
        assert_eq!(winner(&BTreeSet::new(), 0), None);
    }

    #[test]
    fn owners_that_cannot_be_read_are_nobody() {
        assert_eq!(Table::parse(b"{").owners, vec![""; 16]);
        assert_eq!(
            Table::parse(b"{\"owners\":[\"a\"],\"beats\":{}}")
                .owners
                .len(),
            16
        );
    }
}
