//! The order of a device's frames: which are new, which are late or repeated, and when the device started again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Where a frame stands in its device's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The next one; so many before it were lost.
    Next {
        /// Frames that the sequence numbers say were lost.
        missed: u64,
    },
    /// Its sequence number was the latest one already.
    Repeated,
    /// Older than what was seen already.
    Late,
    /// The device started again: this frame and the one before it, which was taken for late, belong to a new beginning.
    Restarted,
}

/// Older frames in a row, each close after the one before, that make a new beginning.
const NEW_BEGINNING: u32 = 4;
/// Sequence numbers that may be left out between them.
const CLOSE: u64 = 16;
/// Time that may lie between them, microseconds.
const SOON_US: i64 = 1_000_000;
/// More lost frames than this are not counted as lost: the count itself is not to be believed.
const MOST_MISSED: u64 = 100_000;

/// Follows the order of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    latest: Option<(u64, i64)>,
    /// The latest late frame, and how many followed closely so far.
    late: Option<(u64, i64, u32)>,
}

impl Order {
    /// Places a frame with this sequence number and time.
    pub fn place(&mut self, sequence: u64, time_us: i64) -> Place {
        let Some((latest, at_us)) = self.latest else {
            self.latest = Some((sequence, time_us));
            return Place::Next { missed: 0 };
        };
        if sequence == latest {
            return Place::Repeated;
        }
        if sequence > latest && time_us >= at_us {
            self.latest = Some((sequence, time_us));
            self.late = None;
            let missed = sequence - latest - 1;
            return Place::Next {
                missed: if missed > MOST_MISSED { 0 } else { missed },
            };
        }
        let follows = self.late.filter(|(before, before_us, _)| {
            let steps = sequence
                .checked_sub(*before)
                .is_some_and(|step| (1..=CLOSE).contains(&step));
            steps && (0..=SOON_US).contains(&time_us.saturating_sub(*before_us))
        });
        let run = follows.map_or(1, |(_, _, run)| run + 1);
        if run >= NEW_BEGINNING {
            *self = Self {
                latest: Some((sequence, time_us)),
                late: None,
            };
            return Place::Restarted;
        }
        self.late = Some((sequence, time_us, run));
        Place::Late
    }

    /// Time of the newest frame in order.
    #[must_use]
    pub fn newest_us(&self) -> Option<i64> {
        self.latest.map(|(_, time_us)| time_us)
    }
}

/// What was counted of a device in one hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// The hop.
    pub slot: i64,
    /// Frames in order.
    pub seen: usize,
    /// Frames lost before one of them.
    pub missed: u64,
    /// Frames out of order.
    pub disorder: usize,
    /// Sequence in the stream from which on the hop can be counted again: of the frame before its first one.
    pub needs: u64,
}

/// Counts of a device, hop by hop.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tallies {
    hops: VecDeque<Tally>,
    newest_in_stream: Option<u64>,
}

impl Tallies {
    /// The counts of the hop, which is the newest or a new one. `in_order`: the frame is one that later ones are placed by.
    pub fn at(&mut self, slot: i64, stream_sequence: u64, in_order: bool) -> Option<&mut Tally> {
        let needs = self.newest_in_stream.unwrap_or(stream_sequence);
        if in_order {
            self.newest_in_stream = Some(stream_sequence);
        }
        if self.hops.back().is_none_or(|newest| newest.slot < slot) {
            self.hops.push_back(Tally {
                slot,
                needs,
                ..Tally::default()
            });
        }
        self.hops.back_mut()
    }

    /// The sum over the hops from `first` to `last`.
    #[must_use]
    pub fn sum(&self, first: i64, last: i64) -> Tally {
        let within = self
            .hops
            .iter()
            .filter(|tally| (first..=last).contains(&tally.slot));
        within.fold(
            Tally {
                slot: first,
                ..Tally::default()
            },
            |mut sum, tally| {
                sum.seen += tally.seen;
                sum.missed += tally.missed;
                sum.disorder += tally.disorder;
                sum
            },
        )
    }

    /// Forgets the hops before `slot`.
    pub fn drop_before(&mut self, slot: i64) {
        while self.hops.front().is_some_and(|oldest| oldest.slot < slot) {
            self.hops.pop_front();
        }
    }

    /// Sequence in the stream from which on everything kept can be counted again.
    #[must_use]
    pub fn needs(&self) -> Option<u64> {
        self.hops.front().map(|oldest| oldest.needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(frames: impl IntoIterator<Item = (u64, i64)>) -> Vec<Place> {
        let mut order = Order::default();
        frames
            .into_iter()
            .map(|(sequence, ms)| order.place(sequence, ms * 1000))
            .collect()
    }

    #[test]
    fn counts_lost_frames() {
        let places = places([(7, 0), (8, 10), (12, 50)]);
        assert_eq!(places, [0, 0, 3].map(|missed| Place::Next { missed }));
    }

    #[test]
    fn tells_repeated_and_late_frames() {
        let places = places([(7, 0), (7, 10), (9, 20), (8, 15), (10, 30)]);
        let next = |missed| Place::Next { missed };
        assert_eq!(
            places,
            [next(0), Place::Repeated, next(1), Place::Late, next(0)]
        );
    }

    #[test]
    fn a_device_that_starts_again_is_believed_after_four_frames() {
        let places = places([
            (900, 0),
            (901, 10),
            (0, 20),
            (1, 30),
            (2, 40),
            (3, 50),
            (4, 60),
        ]);
        assert_eq!(
            places[2..],
            [
                Place::Late,
                Place::Late,
                Place::Late,
                Place::Restarted,
                Place::Next { missed: 0 }
            ]
        );
    }

    #[test]
    fn shuffled_frames_are_no_new_beginning() {
        let mut order = Order::default();
        let mut state = 12_345_u64;
        let mut restarts = 0;
        for time in 0..2000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            restarts +=
                usize::from(order.place((state >> 33) % 2000, time * 10_000) == Place::Restarted);
        }
        assert!(restarts < 3, "{restarts}");
    }

    #[test]
    fn a_hop_needs_the_frame_before_its_first() {
        let mut tallies = Tallies::default();
        for (slot, sequence) in [(0, 10), (0, 12), (1, 15), (1, 16), (2, 20)] {
            tallies.at(slot, sequence, true).unwrap().seen += 1;
        }
        assert_eq!(tallies.needs(), Some(10));
        tallies.drop_before(1);
        assert_eq!(tallies.needs(), Some(12));
        assert_eq!(tallies.sum(1, 2).seen, 3);
        tallies.drop_before(9);
        assert_eq!(tallies.needs(), None);
    }
}
