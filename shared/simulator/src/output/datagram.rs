//! ADR-018 datagrams: one frame each, or a loop of them made beforehand, for load.

use csi::decode::adr018;

use super::OutputError;
use crate::scenario::{Scenario, Traffic};
use crate::simulation::{SimulatedFrame, Simulation};

/// Where the sequence number stands in a datagram.
const SEQUENCE: std::ops::Range<usize> = 12..16;

/// Writes a frame as an ADR-018 datagram to `datagram`, which is emptied first. Bit 7 of byte 19 says that it is simulated.
///
/// # Errors
/// [`OutputError::Frame`] where the samples are not 8-bit numbers (a scenario with `radio.quantise = false`).
pub fn datagram(simulated: &SimulatedFrame, datagram: &mut Vec<u8>) -> Result<(), OutputError> {
    adr018::encode(&simulated.frame, simulated.node, datagram).map_err(|error| OutputError::Frame {
        node: simulated.node,
        sequence: simulated.frame.sequence,
        format: "ADR-018",
        reason: error.to_string(),
    })
}

/// The datagrams of one receiver, made beforehand and sent round and round with sequence numbers that go on counting: a
/// sender that is to measure others must cost next to nothing itself.
pub struct DatagramLoop {
    node: u8,
    datagrams: Vec<Vec<u8>>,
    turn: usize,
    sequence: u32,
}

impl DatagramLoop {
    /// One loop of about `length` datagrams for each receiver of a scenario, in its order. Nothing is lost or late in a loop.
    ///
    /// # Errors
    /// Where the scenario or a frame of it is wrong.
    pub fn for_receivers(
        scenario: &Scenario,
        seed: u64,
        length: u16,
    ) -> Result<Vec<Self>, OutputError> {
        let scenario = Scenario {
            duration_s: f64::from(length.max(1)) / scenario.rate_hz,
            traffic: Traffic::ideal(),
            ..scenario.clone()
        };
        let mut loops: Vec<Self> = scenario
            .receivers
            .iter()
            .map(|receiver| Self {
                node: receiver.node,
                datagrams: Vec::with_capacity(length.into()),
                turn: 0,
                sequence: 0,
            })
            .collect();
        for simulated in Simulation::new(&scenario, seed, 0)? {
            let mut bytes = Vec::new();
            datagram(&simulated, &mut bytes)?;
            if let Some(one) = loops.get_mut(simulated.receiver) {
                one.datagrams.push(bytes);
            }
        }
        Ok(loops)
    }

    /// ADR-018 node id.
    #[must_use]
    pub fn node(&self) -> u8 {
        self.node
    }

    /// The next datagram and its sequence number, which begin at 0 and wrap after 2^32.
    pub fn next_datagram(&mut self) -> (u32, &[u8]) {
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        let turn = self.turn;
        self.turn = if turn + 1 < self.datagrams.len() {
            turn + 1
        } else {
            0
        };
        let Some(bytes) = self.datagrams.get_mut(turn) else {
            return (sequence, &[]);
        };
        if let Some(field) = bytes.get_mut(SEQUENCE) {
            field.copy_from_slice(&sequence.to_le_bytes());
        }
        (sequence, bytes)
    }
}

#[cfg(test)]
mod tests {
    use csi::decode::adr018::{Packet, decode};

    use super::*;

    #[test]
    fn a_datagram_decodes_to_the_frame_and_says_that_it_is_simulated() {
        for layout in [crate::Layout::Lltf64, crate::Layout::Lltf64Ht64] {
            let mut scenario = Scenario::preset("walk").expect("a preset");
            scenario.duration_s = 1.0;
            scenario.radio.layout = layout;
            let mut bytes = Vec::new();
            for simulated in Simulation::new(&scenario, 1, 5_000_000).expect("valid") {
                datagram(&simulated, &mut bytes).expect("8-bit samples");
                assert_eq!(bytes.get(19).map(|flags| flags & 0x80), Some(0x80));
                let time_us = simulated.frame.receive_time_us;
                let Ok(Packet::Csi { node, frame, .. }) = decode(&bytes, time_us) else {
                    panic!("no CSI datagram");
                };
                assert_eq!(node, 1);
                assert!(frame.simulated);
                assert_eq!(frame.samples, simulated.frame.samples);
                assert_eq!(frame.layout, simulated.frame.layout);
                assert_eq!(frame.sequence, simulated.frame.sequence);
                assert_eq!(frame.rssi_dbm, simulated.frame.rssi_dbm);
                assert_eq!(frame.noise_floor_dbm, simulated.frame.noise_floor_dbm);
                assert_eq!(frame.channel, simulated.frame.channel);
                assert_eq!(frame.raw_size, simulated.frame.raw_size);
            }
        }
    }

    #[test]
    fn a_loop_repeats_its_samples_and_counts_on() {
        let scenario = Scenario::preset("load").expect("a preset");
        let mut loops = DatagramLoop::for_receivers(&scenario, 1, 4).expect("loops");
        assert_eq!(loops.len(), 50);
        let one = loops.last_mut().expect("a loop");
        assert_eq!(one.node(), 50);
        let sent: Vec<(u32, Vec<u8>)> = std::iter::repeat_with(|| {
            let (sequence, bytes) = one.next_datagram();
            (sequence, bytes.to_vec())
        })
        .take(9)
        .collect();
        for (index, (sequence, bytes)) in sent.iter().enumerate() {
            assert_eq!(*sequence as usize, index);
            assert_eq!(bytes[12..16], sequence.to_le_bytes());
            assert_eq!(bytes[4], 50);
            assert_eq!(bytes[20..], sent[index % 4].1[20..]);
        }
        assert_ne!(sent[0].1[20..], sent[1].1[20..]);
    }

    #[test]
    fn samples_that_are_not_whole_are_refused() {
        let mut scenario = Scenario::preset("walk").expect("a preset");
        scenario.radio.quantise = false;
        let first = Simulation::new(&scenario, 1, 0)
            .expect("valid")
            .next()
            .expect("a frame");
        let error = datagram(&first, &mut Vec::new()).expect_err("not whole");
        assert!(
            error.to_string().contains("does not fit ADR-018"),
            "{error}"
        );
    }
}
