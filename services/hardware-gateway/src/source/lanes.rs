//! Frames that wait for the bus: a queue for each device, emptied in turn, of one size together. Pure.
//!
//! When there is no room, the oldest of the device with the most waiting goes: devices that send no more than their share
//! lose nothing, whatever the others do (max-min fairness, as in fair queueing after Nagle, RFC 970).

use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;

/// The queues.
#[derive(Debug)]
pub struct Lanes<K, T> {
    lanes: HashMap<K, VecDeque<(T, usize)>>,
    /// Devices with something waiting, in the order in which they are served.
    turns: VecDeque<K>,
    items: usize,
    bytes: usize,
    max_items: usize,
    max_bytes: usize,
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    /// At most so many items and so many bytes, of all devices together.
    #[must_use]
    pub fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            items: 0,
            bytes: 0,
            max_items,
            max_bytes,
        }
    }

    /// Adds an item of `bytes`. Returns what had to go for it: device and item, oldest of the longest queue first.
    pub fn push(&mut self, key: &K, item: T, bytes: usize) -> Vec<(K, T)> {
        match self.lanes.get_mut(key) {
            Some(lane) => {
                if lane.is_empty() {
                    self.turns.push_back(key.clone());
                }
                lane.push_back((item, bytes));
            }
            None => {
                self.turns.push_back(key.clone());
                self.lanes
                    .insert(key.clone(), VecDeque::from([(item, bytes)]));
            }
        }
        self.items += 1;
        self.bytes += bytes;
        let mut gone = Vec::new();
        while self.items > self.max_items || self.bytes > self.max_bytes {
            let Some(dropped) = self.drop_one() else {
                break;
            };
            gone.push(dropped);
        }
        gone
    }

    fn drop_one(&mut self) -> Option<(K, T)> {
        let (key, lane) = self.lanes.iter_mut().max_by_key(|(_, lane)| lane.len())?;
        let (item, bytes) = lane.pop_front()?;
        let key = key.clone();
        if lane.is_empty() {
            self.turns.retain(|turn| *turn != key);
        }
        self.items -= 1;
        self.bytes -= bytes;
        Some((key, item))
    }

    /// The next item: devices take turns.
    pub fn pop(&mut self) -> Option<T> {
        let key = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        let (item, bytes) = lane.pop_front()?;
        if lane.is_empty() {
            // A burst's memory is given back.
            if lane.capacity() > 256 {
                *lane = VecDeque::new();
            }
        } else {
            self.turns.push_back(key);
        }
        self.items -= 1;
        self.bytes -= bytes;
        Some(item)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Forgets a device without anything waiting.
    pub fn forget(&mut self, key: &K) {
        if self.lanes.get(key).is_some_and(VecDeque::is_empty) {
            self.lanes.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_take_turns() {
        let mut lanes = Lanes::new(100, 1_000);
        for item in ["a1", "a2", "a3", "b1", "c1", "c2"] {
            assert!(lanes.push(&item.as_bytes()[0], item, 1).is_empty());
        }
        let order: Vec<&str> = std::iter::from_fn(|| lanes.pop()).collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2", "c2", "a3"]);
        assert!(lanes.is_empty() && lanes.pop().is_none());
    }

    #[test]
    fn a_flood_of_one_costs_the_others_nothing() {
        let mut lanes = Lanes::new(100, usize::MAX);
        let (mut loud, mut quiet) = (0, 0);
        for k in 0..10_000 {
            for (key, _) in lanes.push(&"loud", k, 1) {
                *(if key == "loud" { &mut loud } else { &mut quiet }) += 1;
            }
            if k % 10 == 0 {
                for (key, _) in lanes.push(&["p", "q", "r"][k as usize / 10 % 3], k, 1) {
                    *(if key == "loud" { &mut loud } else { &mut quiet }) += 1;
                }
                // The bus takes one for every ten of the flood, and each of the others in its turn.
                for _ in 0..4 {
                    lanes.pop();
                }
            }
        }
        assert_eq!(quiet, 0);
        assert!(loud > 5_000, "{loud}");
        assert!(lanes.len() <= 100);
    }

    #[test]
    fn equal_devices_lose_equally_and_the_oldest_goes() {
        let mut lanes = Lanes::new(40, usize::MAX);
        let mut lost = [0_i32; 4];
        for k in 0..1_000 {
            for key in 0..4_usize {
                for (key, item) in lanes.push(&key, k, 1) {
                    lost[key] += 1;
                    assert!(item < k, "the oldest goes");
                }
            }
        }
        assert_eq!(lost.iter().sum::<i32>(), 4_000 - 40);
        assert!(
            lost.iter().all(|lost| (989..=991).contains(lost)),
            "{lost:?}"
        );
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut lanes = Lanes::new(1_000, 100);
        assert!(lanes.push(&1, 'a', 60).is_empty());
        assert_eq!(lanes.push(&1, 'b', 60), [(1, 'a')]);
        assert_eq!(lanes.pop(), Some('b'));
        assert_eq!(lanes.push(&2, 'c', 200), [(2, 'c')], "not even alone");
        assert!(lanes.is_empty());
        lanes.forget(&1);
        assert!(lanes.push(&1, 'd', 1).is_empty());
        assert_eq!(lanes.pop(), Some('d'));
    }
}
