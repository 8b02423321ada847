//! The order in which a consumer's messages are handled: one at a time per key, keys side by side.
//!
//! A key whose message has to be tried again waits for it, so that its events are handled in the order of the stream. Pure:
//! knows neither NATS nor a clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// A time, as the caller counts it.
pub(crate) type Moment = Duration;

#[derive(Debug)]
struct Lane<M> {
    waiting: BTreeMap<u64, M>,
    running: Option<u64>,
    /// The message that will be delivered again, and until when the lane waits for it. Another process may get it instead.
    expected: Option<(u64, Moment)>,
    /// Whether the lane stands in `ready`.
    listed: bool,
}

/// Messages in hand, by key. `M` is a message; its number is its sequence in the stream.
#[derive(Debug)]
pub(crate) struct Lanes<M> {
    lanes: HashMap<String, Lane<M>>,
    ready: VecDeque<String>,
    running: usize,
    limit: usize,
}

impl<M> Lanes<M> {
    /// At most `limit` keys run at once.
    pub fn new(limit: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            running: 0,
            limit: limit.max(1),
        }
    }

    /// Takes a message in. One that is in hand already is given back.
    pub fn accept(&mut self, key: &str, number: u64, message: M) -> Option<M> {
        let lane = self.lanes.entry(key.to_owned()).or_insert_with(|| Lane {
            waiting: BTreeMap::new(),
            running: None,
            expected: None,
            listed: false,
        });
        if lane.running == Some(number) || lane.waiting.contains_key(&number) {
            return Some(message);
        }
        lane.waiting.insert(number, message);
        self.list(key);
        None
    }

    /// The next message that may run now.
    pub fn start(&mut self) -> Option<(String, u64, M)> {
        while self.running < self.limit {
            let key = self.ready.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&key) else {
                continue;
            };
            lane.listed = false;
            if let Some((number, message)) = lane.take() {
                self.running += 1;
                return Some((key, number, message));
            }
        }
        None
    }

    /// The running message of `key` is over. With `again`, it will be delivered again, and the key waits for it until then.
    pub fn finish(&mut self, key: &str, again: Option<Moment>) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        let Some(number) = lane.running.take() else {
            return;
        };
        self.running -= 1;
        lane.expected = again.map(|until| (number, until));
        self.list(key);
        self.forget(key);
    }

    /// Keys that waited too long go on without.
    pub fn tick(&mut self, now: Moment) {
        let late: Vec<String> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.expected.is_some_and(|(_, until)| until <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in late {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.expected = None;
            }
            self.list(&key);
            self.forget(&key);
        }
    }

    /// Whether nothing is in hand.
    pub fn is_empty(&self) -> bool {
        self.running == 0 && self.lanes.values().all(|lane| lane.waiting.is_empty())
    }

    /// Gives up what waits behind a message that is to be delivered again, since nobody will take it from here any more.
    pub fn release_blocked(&mut self) -> Vec<M> {
        let mut released = Vec::new();
        for lane in self
            .lanes
            .values_mut()
            .filter(|lane| lane.running.is_none() && !lane.may_run())
        {
            released.extend(std::mem::take(&mut lane.waiting).into_values());
        }
        released
    }

    fn list(&mut self, key: &str) {
        if let Some(lane) = self
            .lanes
            .get_mut(key)
            .filter(|lane| !lane.listed && lane.may_run())
        {
            lane.listed = true;
            self.ready.push_back(key.to_owned());
        }
    }

    fn forget(&mut self, key: &str) {
        if self.lanes.get(key).is_some_and(|lane| {
            lane.waiting.is_empty() && lane.running.is_none() && lane.expected.is_none()
        }) {
            self.lanes.remove(key);
        }
    }
}

impl<M> Lane<M> {
    fn may_run(&self) -> bool {
        let next = self.waiting.keys().next();
        match (self.running, next, self.expected) {
            (Some(_), _, _) | (None, None, _) => false,
            (None, Some(_), None) => true,
            // Older ones are deliveries again too.
            (None, Some(&next), Some((expected, _))) => next <= expected,
        }
    }

    fn take(&mut self) -> Option<(u64, M)> {
        if !self.may_run() {
            return None;
        }
        let (number, message) = self.waiting.pop_first()?;
        self.running = Some(number);
        if self
            .expected
            .is_some_and(|(expected, _)| expected == number)
        {
            self.expected = None;
        }
        Some((number, message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn started(lanes: &mut Lanes<u64>) -> Vec<(String, u64)> {
        std::iter::from_fn(|| lanes.start().map(|(key, number, _)| (key, number))).collect()
    }

    #[test]
    fn keys_run_side_by_side_and_each_in_order() {
        let mut lanes = Lanes::new(2);
        for (number, key) in (1..).zip(["a", "a", "b", "c"]) {
            assert_eq!(lanes.accept(key, number, number), None);
        }
        assert_eq!(
            started(&mut lanes),
            [("a".to_owned(), 1), ("b".to_owned(), 3)]
        );
        lanes.finish("a", None);
        assert_eq!(
            started(&mut lanes),
            [("c".to_owned(), 4)],
            "the longest waiting key is next"
        );
        lanes.finish("b", None);
        assert_eq!(started(&mut lanes), [("a".to_owned(), 2)]);
    }

    #[test]
    fn a_key_waits_for_what_is_delivered_again() {
        let mut lanes = Lanes::new(4);
        lanes.accept("a", 1, 1);
        assert_eq!(started(&mut lanes).len(), 1);
        lanes.accept("a", 2, 2);
        lanes.finish("a", Some(Duration::from_secs(10)));
        assert!(started(&mut lanes).is_empty(), "2 waits for 1");
        lanes.tick(Duration::from_secs(5));
        assert!(started(&mut lanes).is_empty());
        lanes.accept("a", 1, 1);
        assert_eq!(started(&mut lanes), [("a".to_owned(), 1)]);
        lanes.finish("a", None);
        assert_eq!(started(&mut lanes), [("a".to_owned(), 2)]);
        lanes.finish("a", Some(Duration::from_secs(20)));
        lanes.accept("a", 3, 3);
        lanes.tick(Duration::from_secs(20));
        assert_eq!(started(&mut lanes), [("a".to_owned(), 3)], "not for ever");
        lanes.finish("a", None);
        assert!(lanes.is_empty() && lanes.lanes.is_empty());
    }

    #[test]
    fn what_is_in_hand_is_not_taken_twice() {
        let mut lanes = Lanes::new(1);
        assert_eq!(lanes.accept("a", 1, 10), None);
        assert_eq!(lanes.accept("a", 1, 11), Some(11));
        assert_eq!(started(&mut lanes).len(), 1);
        assert_eq!(lanes.accept("a", 1, 12), Some(12));
    }

    proptest! {
        /// Whatever fails, every message ends, and those of a key end in order.
        #[test]
        fn every_message_ends_in_the_order_of_its_key(
            keys in prop::collection::vec(0_u8..4, 1..60),
            failures in prop::collection::vec(any::<bool>(), 0..40),
            limit in 1_usize..4,
        ) {
            let mut lanes = Lanes::new(limit);
            let mut failures = failures.into_iter();
            let mut incoming: VecDeque<(String, u64)> = (1..).zip(&keys).map(|(number, key)| (key.to_string(), number)).collect();
            let mut running: VecDeque<(String, u64)> = VecDeque::new();
            let mut ended: HashMap<String, Vec<u64>> = HashMap::new();
            for _ in 0..10_000 {
                if let Some((key, number)) = incoming.pop_front() {
                    prop_assert!(lanes.accept(&key, number, number).is_none());
                }
                while let Some((key, number, _)) = lanes.start() {
                    prop_assert!(running.iter().all(|(other, _)| *other != key), "a key runs once at a time");
                    running.push_back((key, number));
                }
                prop_assert!(running.len() <= limit);
                match running.pop_front() {
                    Some((key, number)) if failures.next().unwrap_or(false) => {
                        lanes.finish(&key, Some(Duration::MAX));
                        incoming.push_back((key, number));
                    }
                    Some((key, number)) => {
                        lanes.finish(&key, None);
                        ended.entry(key).or_default().push(number);
                    }
                    None if incoming.is_empty() => break,
                    None => {}
                }
            }
            prop_assert!(lanes.is_empty());
            prop_assert_eq!(ended.values().map(Vec::len).sum::<usize>(), keys.len());
            for (key, numbers) in ended {
                prop_assert!(numbers.is_sorted(), "{}: {:?}", key, numbers);
            }
        }
    }
}
