//! What became of each frame.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::devices::{Form, Offered, Sent};
use super::faults::Fault;
use super::observer::Seen;

/// A frame is received after it left; clocks are read at different places.
const SLACK_US: i64 = 2_000;
/// A device of which nothing is stored for so long, while it sends and nothing is wrong, is stuck.
const STUCK_US: i64 = 5_000_000;

/// The accounts of all frames.
#[derive(Debug, Serialize)]
pub struct Accounts {
    pub sent: u64,
    /// Not sent, since nobody was connected.
    pub unheard: u64,
    /// Read back from the stream, each counted once.
    pub stored: u64,
    pub stored_twice: u64,
    /// Missing, by the fault at whose time they left.
    pub missing: BTreeMap<String, u64>,
    /// Missing at other times, by device.
    pub unexplained: BTreeMap<String, u64>,
    /// Read back, and sent by nobody.
    pub unknown: u64,
    /// Streams that were read: one for each life of the server.
    pub streams: u64,
    /// Devices without a frame for seconds while they sent and nothing was wrong: the longest such time.
    pub stuck: BTreeMap<String, f64>,
    /// Wraps of device clocks that were seen, and restarts.
    pub clock_wraps: u64,
    pub boots: u64,
    /// Frames whose unwrapped clock is not what the device's clock would say without its 32 bits.
    pub wrong_clocks: u64,
}

/// Balances what was sent against what was read back.
pub fn balance(
    offered: &[Offered],
    seen: &HashMap<String, Vec<Seen>>,
    streams: u64,
    faults: &[Fault],
    step_us: u32,
) -> Accounts {
    let mut accounts = Accounts {
        sent: 0,
        unheard: 0,
        stored: 0,
        stored_twice: 0,
        missing: BTreeMap::new(),
        unexplained: BTreeMap::new(),
        unknown: 0,
        streams,
        stuck: BTreeMap::new(),
        clock_wraps: 0,
        boots: 0,
        wrong_clocks: 0,
    };
    for device in offered {
        accounts.sent += device.sent.len() as u64;
        accounts.unheard += device.unheard;
        accounts.boots += u64::from(device.boots);
        let nothing = Vec::new();
        let frames = seen.get(&device.name).unwrap_or(&nothing);
        accounts.device(device, frames, faults, step_us);
    }
    accounts
}

impl Accounts {
    fn device(&mut self, device: &Offered, seen: &[Seen], faults: &[Fault], step_us: u32) {
        let mut by_number: HashMap<u64, Vec<usize>> = HashMap::new();
        for (place, sent) in device.sent.iter().enumerate() {
            by_number
                .entry(u64::from(sent.sequence))
                .or_default()
                .push(place);
        }
        let mut times = vec![0_u32; device.sent.len()];
        let keeps_time =
            matches!(device.form, Form::Lines) && device.boots == 0 && device.unheard == 0;
        let mut first_clock = None;
        for frame in seen {
            // Numbers come again after a restart: the newest of that number that had left is the one.
            let place = by_number.get(&frame.sequence).and_then(|places| {
                places.iter().rev().copied().find(|place| {
                    let sent = device.sent.get(*place);
                    sent.is_some_and(|sent| sent.at_us <= frame.receive_time_us + SLACK_US)
                })
            });
            let Some((sent, count)) =
                place.and_then(|place| Some((device.sent.get(place)?, times.get_mut(place)?)))
            else {
                self.unknown += 1;
                continue;
            };
            *count += 1;
            if keeps_time && let Some(clock_us) = frame.device_time_us {
                let offset = *first_clock.get_or_insert(clock_us.wrapping_sub(sent.clock_us));
                self.wrong_clocks += u64::from(clock_us.wrapping_sub(sent.clock_us) != offset);
            }
        }
        if matches!(device.form, Form::Lines) && device.boots == 0 {
            let whole = device.sent.last().map_or(0, |sent| sent.clock_us);
            self.clock_wraps += (whole + u64::from(step_us)) >> 32;
        }
        let mut quiet_since: Option<Sent> = None;
        for (sent, count) in device.sent.iter().zip(&times) {
            let fault = faults
                .iter()
                .find(|fault| fault.explains(&device.name, sent.at_us));
            if *count > 0 {
                self.stored += 1;
                self.stored_twice += u64::from(*count - 1);
                quiet_since = None;
                continue;
            }
            if let Some(fault) = fault {
                let what = format!("{:04.1} h, {}", fault.hour, fault.what);
                *self.missing.entry(what).or_default() += 1;
                quiet_since = None;
                continue;
            }
            *self.unexplained.entry(device.name.clone()).or_default() += 1;
            let since = *quiet_since.get_or_insert(*sent);
            let quiet_us = sent.at_us - since.at_us;
            if quiet_us >= STUCK_US {
                self.stuck
                    .insert(device.name.clone(), quiet_us as f64 / 1e6);
            }
        }
    }

    /// What does not hold. `counted` frames were shed, or dropped at a socket, and the gateway says so: where the machine is
    /// too slow, that is no silent loss.
    pub fn broken(&self, counted: u64) -> Vec<String> {
        let mut broken = Vec::new();
        let missing: u64 = self.unexplained.values().sum();
        if missing > counted {
            broken.push(format!(
                "{missing} frames are missing where nothing was wrong, and {counted} were counted as lost: {:?}",
                self.unexplained
            ));
        }
        for (device, seconds) in &self.stuck {
            broken.push(format!(
                "{device} is stuck: nothing was stored for {seconds:.1} s"
            ));
        }
        if self.unknown > 0 {
            broken.push(format!(
                "{} frames are stored that nobody sent",
                self.unknown
            ));
        }
        if self.wrong_clocks > 0 {
            broken.push(format!(
                "{} frames with a wrong device time",
                self.wrong_clocks
            ));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(times: &[i64]) -> Offered {
        let sent = times.iter().enumerate().map(|(place, at_us)| Sent {
            at_us: *at_us,
            sequence: place as u32 % 3,
            clock_us: place as u64 * 1_000,
        });
        Offered {
            name: "one".into(),
            form: Form::Lines,
            boots: 0,
            sent: sent.collect(),
            unheard: 0,
        }
    }

    fn seen(sequence: u64, receive_time_us: i64, device_time_us: u64) -> Seen {
        Seen {
            sequence,
            receive_time_us,
            device_time_us: Some(device_time_us),
            at_us: receive_time_us,
        }
    }

    #[test]
    fn every_frame_has_a_place() {
        let fault = Fault {
            what: "a test",
            hour: 1.0,
            device: None,
            began_us: 100_000_000,
            cleared_us: Some(100_000_000),
            frames_after_s: None,
            events_after_s: None,
        };
        // Six frames of the numbers 0, 1, 2, 0, 1, 2; the third is missing, and the sixth, which left in the fault.
        let sent = offered(&[0, 10_000, 20_000, 30_000, 40_000, 100_000_000]);
        let read = [
            seen(0, 100, 7_000),
            seen(1, 10_100, 8_000),
            seen(0, 30_100, 10_000),
            seen(1, 40_100, 11_000),
            seen(1, 40_200, 11_500),
            seen(9, 40_300, 12_000),
        ];
        let read = HashMap::from([("one".to_owned(), read.to_vec())]);
        let accounts = balance(&[sent], &read, 1, &[fault], 1_000);
        assert_eq!(
            (accounts.sent, accounts.stored, accounts.stored_twice),
            (6, 4, 1)
        );
        assert_eq!(
            accounts.missing,
            BTreeMap::from([("01.0 h, a test".to_owned(), 1)])
        );
        assert_eq!(
            accounts.unexplained,
            BTreeMap::from([("one".to_owned(), 1)])
        );
        assert_eq!((accounts.unknown, accounts.wrong_clocks), (1, 1));
        assert_eq!(accounts.broken(0).len(), 3);
        assert_eq!(accounts.broken(1).len(), 2, "a counted loss is none");
    }
}
