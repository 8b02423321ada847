//! Frames, one after another, in the order of their reception.

use csi::{Frame, Ppdu, SampleFormat};

use crate::channel::{Link, carrier_hz};
use crate::radio::{HALF_WIDTH, RadioState};
use crate::random::Random;
use crate::scenario::{Scenario, ScenarioError, Traffic};
use crate::truth::Truth;

/// MAC address of the simulated transmitter: locally administered, so that it is nobody's.
const TRANSMITTER: [u8; 6] = [0x02, 0x00, 0x00, 0x00, 0x00, 0x01];

/// A frame and what was really so.
#[derive(Clone, Debug)]
pub struct SimulatedFrame {
    /// Index of the receiver in the scenario.
    pub receiver: usize,
    /// Its ADR-018 node id.
    pub node: u8,
    /// What the receiver reports. `simulated` is set.
    pub frame: Frame,
    /// The room at the instant of measurement.
    pub truth: Truth,
    /// Gain that the receiver applied, in dB over the channel's own scale.
    pub gain_db: f64,
    /// Signal-to-noise ratio of one training symbol; absent without noise.
    pub snr_db: Option<f64>,
    /// Parts of samples that did not fit 8 bits.
    pub clipped: u32,
}

/// The frames of all receivers of a scenario. Ends after the scenario's duration.
pub struct Simulation<'a> {
    scenario: &'a Scenario,
    start_us: i64,
    devices: Vec<Device<'a>>,
}

struct Device<'a> {
    node: u8,
    link: Link<'a>,
    radio: RadioState,
    clock: PacketClock,
    /// Device clock at the start, and how fast it runs.
    boot_us: f64,
    /// The packet that arrives next; absent at the end.
    next: Option<Packet>,
}

/// When one packet is measured and when it arrives.
#[derive(Clone, Copy)]
struct Packet {
    sequence: u64,
    measured_s: f64,
    received_s: f64,
}

/// Makes a receiver's packets: the regular clock, jitter, losses, delay.
struct PacketClock {
    traffic: Traffic,
    rate_hz: f64,
    end_s: f64,
    /// Offset within the period, so that the receivers take turns.
    phase_s: f64,
    sequence: u64,
    losing: bool,
    last: Packet,
    random: Random,
}

impl<'a> Simulation<'a> {
    /// The frames of a scenario. `start_us` is the receive time of second 0 in microseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`ScenarioError::Value`] where [`Scenario::validate`] finds one.
    pub fn new(scenario: &'a Scenario, seed: u64, start_us: i64) -> Result<Self, ScenarioError> {
        scenario.validate()?;
        let count = scenario.receivers.len() as f64;
        let devices = scenario
            .receivers
            .iter()
            .enumerate()
            .map(|(index, receiver)| {
                let stream = 2 * u64::from(receiver.node);
                let mut random = Random::new(seed, stream);
                let boot_us = (random.uniform() * 60e6).floor();
                let phase_s = index as f64 / (count * scenario.rate_hz);
                let mut clock = PacketClock::new(scenario, phase_s, random);
                Device {
                    node: receiver.node,
                    link: Link::new(scenario, receiver.position_m, HALF_WIDTH),
                    radio: RadioState::new(scenario, Random::new(seed, stream + 1)),
                    boot_us,
                    next: clock.next(),
                    clock,
                }
            })
            .collect();
        Ok(Self {
            scenario,
            start_us,
            devices,
        })
    }
}

impl Iterator for Simulation<'_> {
    type Item = SimulatedFrame;

    fn next(&mut self) -> Option<SimulatedFrame> {
        let (index, device, packet) = self
            .devices
            .iter_mut()
            .enumerate()
            .filter_map(|(index, device)| device.next.map(|packet| (index, device, packet)))
            .min_by(|(_, _, a), (_, _, b)| a.received_s.total_cmp(&b.received_s))?;
        device.next = device.clock.next();
        Some(device.measure(self.scenario, index, packet, self.start_us))
    }
}

impl Device<'_> {
    fn measure(
        &mut self,
        scenario: &Scenario,
        index: usize,
        packet: Packet,
        start_us: i64,
    ) -> SimulatedFrame {
        let response = self.link.response_at(packet.measured_s);
        let measured = self.radio.measure(response, packet.measured_s);
        let layout = self.radio.layout().clone();
        let drift = 1.0 + scenario.traffic.clock_drift_ppm / 1e6;
        let channel = scenario.transmitter.channel;
        let size = 20 + 2 * layout.subcarriers.len();
        let format = if scenario.radio.quantise {
            SampleFormat::Ci8
        } else {
            SampleFormat::Cf32
        };
        let frame = Frame {
            sequence: packet.sequence,
            counted: true,
            device_time_us: Some((self.boot_us + packet.measured_s * 1e6 * drift).round() as u64),
            receive_time_us: start_us.saturating_add((packet.received_s * 1e6).round() as i64),
            rssi_dbm: vec![whole(measured.rssi_dbm)],
            noise_floor_dbm: measured.noise_floor_dbm.map(whole),
            agc: None,
            frequency_mhz: Some((carrier_hz(channel) / 1e6).round() as u32),
            channel: Some(channel),
            bandwidth_mhz: Some(20),
            ppdu: Ppdu::Ht,
            antennas: 1,
            transmit_streams: 1,
            layout,
            samples: measured.samples,
            format,
            scale: None,
            raw_size: u32::try_from(size).unwrap_or(u32::MAX),
            transmitter: Some(TRANSMITTER),
            simulated: true,
            chain: None,
        };
        SimulatedFrame {
            receiver: index,
            node: self.node,
            frame,
            truth: scenario.truth_at(packet.measured_s),
            gain_db: measured.gain_db,
            snr_db: measured.snr_db,
            clipped: measured.clipped,
        }
    }
}

impl PacketClock {
    fn new(scenario: &Scenario, phase_s: f64, random: Random) -> Self {
        Self {
            traffic: scenario.traffic.clone(),
            rate_hz: scenario.rate_hz,
            end_s: scenario.duration_s,
            phase_s,
            sequence: 0,
            losing: false,
            last: Packet {
                sequence: 0,
                measured_s: 0.0,
                received_s: 0.0,
            },
            random,
        }
    }

    /// The next packet that arrives.
    fn next(&mut self) -> Option<Packet> {
        loop {
            let nominal_s = self.phase_s + self.sequence as f64 / self.rate_hz;
            if nominal_s >= self.end_s {
                return None;
            }
            let sequence = self.sequence;
            self.sequence += 1;
            let jitter_s = self.traffic.jitter_ms / 1e3 * self.random.normal();
            // A packet lasts a while: 100 us at least from one to the next.
            let measured_s = (nominal_s + jitter_s).max(self.last.measured_s + 1e-4);
            let delay_s = -self.traffic.network_delay_ms / 1e3 * (1.0 - self.random.uniform()).ln();
            let received_s = (measured_s + delay_s).max(self.last.received_s + 1e-6);
            self.losing = self.loses();
            self.last = Packet {
                sequence,
                measured_s,
                received_s,
            };
            if !self.losing {
                return Some(self.last);
            }
        }
    }

    /// Two states, good and losing (Gilbert 1960), with the share and the mean run that the scenario asks for. Losses that
    /// know nothing of each other come in runs of `1 / (1 - share)`; shorter runs there cannot be.
    fn loses(&mut self) -> bool {
        let share = self.traffic.loss;
        if share <= 0.0 {
            return false;
        }
        let run = self.traffic.loss_burst.max(1.0 / (1.0 - share));
        if self.losing {
            !self.random.chance(1.0 / run)
        } else {
            self.random.chance(share / (run * (1.0 - share)))
        }
    }
}

/// A level in dBm as the hardware gives it.
fn whole(dbm: f64) -> i8 {
    dbm.round().clamp(-128.0, 127.0) as i8
}
