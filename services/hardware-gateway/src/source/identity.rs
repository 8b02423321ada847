//! Who a sender is, and from where it is heard. Pure.
//!
//! | form | `hardware_id` | `device_type` |
//! |---|---|---|
//! | ADR-018 | `adr018:NODE`, the node's number in the datagram | `esp32-adr018` |
//! | `CSI_DATA` line | MAC address in the line, `aa:bb:cc:dd:ee:ff` | `esp32-csv` |
//! | Nexmon | `nexmon:ADDRESS`, the sender's IP address | `nexmon` |
//! | Intel record | `intel5300:ADDRESS`, the peer's IP address | `intel5300` |
//!
//! The MAC of a line is the transmitter's: it names the link, where one receiver hears several transmitters. Where several
//! receivers hear the same transmitter (stations of one access point), it names none of them. So a device may be registered
//! under the receiver instead, `esp32-csv:WHERE`, with WHERE the IP address, or the name of the source for a serial port or
//! a file; that goes first. And the second receiver of one transmitter is taken as `esp32-csv:WHERE` by itself.
//!
//! An id belongs to the address that it was last heard from. A frame from another address takes it over: devices get other
//! addresses. If the first one is heard again within [`OVERLAP_US`], there are two of them: the first keeps the id, and the
//! other is refused until the first was silent for [`SILENT_US`].

use std::net::SocketAddr;

use hashbrown::HashMap;

/// Two addresses of one id within this time are two devices, microseconds.
pub const OVERLAP_US: i64 = 3_000_000;
/// The holder of an id has lost it to a second device after so long, microseconds.
pub const SILENT_US: i64 = 5_000_000;
/// Ids that are watched; beyond it they are taken as they come.
const MAX_IDS: usize = 4096;

/// Where something was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum From {
    /// A socket's other end.
    Net(SocketAddr),
    /// A port or file: the number of its source.
    Local(usize),
}

impl From {
    /// The same sender, or the same machine with a new port after its restart.
    fn same_host(self, other: Self) -> bool {
        match (self, other) {
            (Self::Net(a), Self::Net(b)) => a.ip() == b.ip(),
            (a, b) => a == b,
        }
    }
}

/// How a frame's address stands to its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The id's holder.
    Holder,
    /// Another device with the same id; the holder is elsewhere.
    Duplicate(From),
}

/// A device that is now heard from another address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Its id.
    pub id: String,
    /// Where it was.
    pub before: From,
    /// Where it is.
    pub now: From,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    holder: From,
    heard_us: i64,
    /// Whom it took the id from, and when that was last heard.
    before: Option<(From, i64)>,
    /// There were two at once.
    contested: bool,
}

/// Who holds which id.
#[derive(Debug, Default)]
pub struct Claims {
    claims: HashMap<String, Claim>,
}

impl Claims {
    /// Notes a frame of `id` from an address at `now_us`.
    pub fn heard(&mut self, id: &str, from: From, now_us: i64) -> Standing {
        let Some(claim) = self.claims.get_mut(id) else {
            if self.claims.len() < MAX_IDS {
                let claim = Claim {
                    holder: from,
                    heard_us: now_us,
                    before: None,
                    contested: false,
                };
                self.claims.insert(id.to_owned(), claim);
            }
            return Standing::Holder;
        };
        let silent_us = now_us.saturating_sub(claim.heard_us);
        if claim.holder == from {
            claim.heard_us = now_us;
            return Standing::Holder;
        }
        if claim.contested && silent_us < SILENT_US {
            return Standing::Duplicate(claim.holder);
        }
        match claim.before {
            // It came back: it never left, and there are two.
            Some((before, last_us))
                if before == from && now_us.saturating_sub(last_us) <= OVERLAP_US =>
            {
                *claim = Claim {
                    holder: from,
                    heard_us: now_us,
                    before: None,
                    contested: true,
                };
            }
            _ => {
                *claim = Claim {
                    holder: from,
                    heard_us: now_us,
                    before: Some((claim.holder, claim.heard_us)),
                    contested: false,
                };
            }
        }
        Standing::Holder
    }

    /// The moves that have become certain: the old address was not heard for [`OVERLAP_US`]. A new port of the same host is
    /// a restart, and none.
    pub fn moved(&mut self, now_us: i64) -> Vec<Moved> {
        let mut moved = Vec::new();
        for (id, claim) in &mut self.claims {
            let Some((before, last_us)) = claim.before else {
                continue;
            };
            if now_us.saturating_sub(last_us) <= OVERLAP_US {
                continue;
            }
            claim.before = None;
            if !before.same_host(claim.holder) {
                moved.push(Moved {
                    id: id.clone(),
                    before,
                    now: claim.holder,
                });
            }
        }
        // Who is long silent needs no watching.
        self.claims
            .retain(|_, claim| now_us.saturating_sub(claim.heard_us) < 3_600_000_000);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: u8, port: u16) -> From {
        From::Net(SocketAddr::from(([127, 0, 0, host], port)))
    }

    #[test]
    fn a_device_may_move_and_is_noted_once() {
        let mut claims = Claims::default();
        for time in 0..10 {
            assert_eq!(
                claims.heard("adr018:7", at(1, 9), time * 10_000),
                Standing::Holder
            );
        }
        for time in 10..20 {
            assert_eq!(
                claims.heard("adr018:7", at(2, 9), time * 10_000),
                Standing::Holder
            );
        }
        assert_eq!(claims.moved(200_000), [], "it may come back yet");
        let moved = Moved {
            id: "adr018:7".into(),
            before: at(1, 9),
            now: at(2, 9),
        };
        assert_eq!(claims.moved(90_000 + OVERLAP_US + 1), [moved]);
        assert_eq!(claims.moved(90_000 + OVERLAP_US + 2), []);
    }

    #[test]
    fn a_new_port_is_a_restart() {
        let mut claims = Claims::default();
        claims.heard("adr018:7", at(1, 1000), 0);
        assert_eq!(claims.heard("adr018:7", at(1, 1001), 1), Standing::Holder);
        assert_eq!(claims.moved(OVERLAP_US + 5), []);
    }

    #[test]
    fn of_two_at_once_the_first_keeps_the_id() {
        let mut claims = Claims::default();
        let (first, second) = (at(1, 1), at(1, 2));
        assert_eq!(claims.heard("m", first, 0), Standing::Holder);
        assert_eq!(
            claims.heard("m", second, 10),
            Standing::Holder,
            "it may have moved"
        );
        for time in 1..100 {
            assert_eq!(claims.heard("m", first, time * 20), Standing::Holder);
            assert_eq!(
                claims.heard("m", second, time * 20 + 10),
                Standing::Duplicate(first)
            );
        }
        assert_eq!(claims.moved(OVERLAP_US * 2), [], "nobody moved");
        // The first is switched off: the id is free after a while.
        assert_eq!(
            claims.heard("m", second, 1_980 + SILENT_US - 1),
            Standing::Duplicate(first)
        );
        assert_eq!(
            claims.heard("m", second, 1_980 + SILENT_US),
            Standing::Holder
        );
    }

    #[test]
    fn made_up_ids_cost_no_memory() {
        let mut claims = Claims::default();
        for id in 0..2 * MAX_IDS {
            assert_eq!(claims.heard(&id.to_string(), at(1, 1), 0), Standing::Holder);
        }
        assert_eq!(claims.claims.len(), MAX_IDS);
    }
}
