//! What a device concludes itself and sends beside its frames (ADR-018 edge packets): its own claim, which nobody has checked.
//! It is carried as such and decides nothing. Pure.

use std::collections::BTreeMap;

use csi::decode::adr018::{EdgeReport, Report};

/// A claim of this age or younger is told with the device's status, microseconds.
const FRESH_US: i64 = 60_000_000;

/// The claims of one device.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    newest: BTreeMap<&'static str, (i64, EdgeReport)>,
    /// Reports of all kinds.
    pub received: u64,
}

impl Claims {
    /// Keeps a report, received at `now_us`. A compressed frame is none.
    pub fn push(&mut self, report: EdgeReport, now_us: i64) {
        if let Some(kind) = kind(&report.report) {
            self.received += 1;
            self.newest.insert(kind, (now_us, report));
        }
    }

    /// The newest of each kind: the kind, when it was received in microseconds, and what it says.
    pub fn newest(
        &self,
    ) -> impl Iterator<Item = (&'static str, i64, Vec<(&'static str, String)>)> + '_ {
        self.newest
            .iter()
            .map(|(kind, (received_us, report))| (*kind, *received_us, report.metadata()))
    }

    /// What was said of late, for the metadata of an event at `now_us`: keys that begin with `edge_`. Where two kinds of
    /// report say the same, the younger counts.
    #[must_use]
    pub fn metadata(&self, now_us: i64) -> BTreeMap<&'static str, String> {
        let mut fresh: Vec<_> = self
            .newest()
            .filter(|(_, received_us, _)| now_us.saturating_sub(*received_us) <= FRESH_US)
            .collect();
        fresh.sort_by_key(|(_, received_us, _)| *received_us);
        let pairs = fresh.into_iter().flat_map(|(_, _, pairs)| pairs);
        pairs.collect()
    }
}

fn kind(report: &Report) -> Option<&'static str> {
    Some(match report {
        Report::Vitals(_) => "vitals",
        Report::Features(_) => "features",
        Report::FusedVitals(_) => "fused_vitals",
        Report::ModuleOutput(_) => "module_output",
        Report::FeatureState(_) => "feature_state",
        Report::Compressed(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use csi::decode::adr018::{FeatureState, Vitals};

    use super::*;

    #[test]
    fn the_newest_of_each_kind_is_kept_and_the_younger_counts() {
        let vitals = |presence| EdgeReport {
            node: 7,
            report: Report::Vitals(Vitals {
                presence,
                ..Vitals::default()
            }),
        };
        let state = EdgeReport {
            node: 7,
            report: Report::FeatureState(FeatureState {
                values: [0.0, 0.75, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                flags: 1,
                ..FeatureState::default()
            }),
        };
        let mut claims = Claims::default();
        claims.push(vitals(1.0), 0);
        claims.push(vitals(2.0), 1_000_000);
        claims.push(state, 2_000_000);
        assert_eq!(claims.received, 3);
        let kinds: Vec<_> = claims.newest().map(|(kind, at, _)| (kind, at)).collect();
        assert_eq!(kinds, [("feature_state", 2_000_000), ("vitals", 1_000_000)]);
        let said = claims.metadata(2_000_000);
        assert_eq!(said["edge_presence_score"], "0.75");
        assert_eq!(said["edge_persons"], "0");
        let later = claims.metadata(61_500_000);
        assert_eq!(later.get("edge_persons"), None);
        assert_eq!(later["edge_presence_score"], "0.75");
        assert!(claims.metadata(i64::MAX).is_empty());
    }
}
