//! What is simulated: the whole description, as it stands in a TOML file.

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::geometry::{Point, Room};

/// Everything that a simulation needs besides its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Name, for the truth file and the first line of a CSV file.
    pub name: String,
    /// Length in seconds.
    pub duration_s: f64,
    /// Packets per second that the transmitter sends to each receiver.
    pub rate_hz: f64,
    /// The room.
    pub room: Room,
    /// Where the packets come from.
    pub transmitter: Transmitter,
    /// Who measures the channel on them.
    pub receivers: Vec<Receiver>,
    /// What scatters.
    pub bodies: Vec<Body>,
    /// What the radios do to the measurement.
    pub radio: Radio,
    /// What happens to the packets.
    pub traffic: Traffic,
}

/// The transmitter, an isotropic antenna.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transmitter {
    /// Place in metres.
    pub position_m: [f64; 3],
    /// Transmit power in dBm.
    pub power_dbm: f64,
    /// Channel of the 2.4 GHz band, 1..13.
    pub channel: u8,
}

/// A receiver, an isotropic antenna.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// ADR-018 node id; one receiver each.
    pub node: u8,
    /// Place in metres.
    pub position_m: [f64; 3],
}

/// Which training fields the receiver reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Legacy long training field: 64 samples.
    #[default]
    Lltf64,
    /// Legacy and HT long training fields: 128 samples.
    Lltf64Ht64,
}

/// What the radios do to the measurement. The defaults resemble an ESP32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Radio {
    /// Training fields.
    pub layout: Layout,
    /// Each packet has a phase of its own, as between oscillators that share nothing.
    pub random_phase: bool,
    /// Carrier offset left after correction, Hz: the common phase turns with it from packet to packet.
    pub carrier_offset_hz: f64,
    /// Mean delay of packet detection in nanoseconds: a slope of the phase over the subcarriers.
    pub detection_delay_ns: f64,
    /// Standard deviation of that delay, packet to packet.
    pub detection_jitter_ns: f64,
    /// RMS that the gain control aims at, in steps of the 8-bit samples.
    pub target_rms: f64,
    /// Step of the gain in dB; 0 holds the gain at the value that suits the first packet.
    pub gain_step_db: f64,
    /// Probability that a packet comes with a gain one step off.
    pub gain_slip: f64,
    /// Noise figure of the receiver in dB over -174 dBm/Hz; absent: no thermal noise.
    pub noise_figure_db: Option<f64>,
    /// Best signal-to-noise ratio that the estimate reaches however strong the packet, in dB (phase noise, converters);
    /// absent: no such limit.
    pub snr_limit_db: Option<f64>,
    /// Samples are rounded and clipped to 8 bits.
    pub quantise: bool,
    /// The first four bytes hold parts of the packet header, as on the ESP32.
    pub spoiled_first_word: bool,
}

/// What happens to the packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traffic {
    /// Standard deviation of the time of sending around the regular clock, ms.
    pub jitter_ms: f64,
    /// Share of the packets lost, 0..1.
    pub loss: f64,
    /// Mean length of a run of lost packets; 1 for losses that know nothing of each other.
    pub loss_burst: f64,
    /// Error of the receivers' clocks in parts per million.
    pub clock_drift_ppm: f64,
    /// Mean delay from measurement to reception in ms, exponentially distributed; order is kept.
    pub network_delay_ms: f64,
}

/// What is wrong with a scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The name is that of no preset.
    #[error("there is no scenario `{name}`; there are {}, or give a TOML file", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The presets.
        known: Vec<&'static str>,
    },
    /// A value is out of its range.
    #[error("`{field}` is {value}, and must be {expected}")]
    Value {
        /// Where, as a path into the TOML.
        field: String,
        /// What it is.
        value: String,
        /// What is right.
        expected: &'static str,
    },
    /// The text is no scenario.
    #[error("the scenario cannot be read")]
    Toml(#[from] toml::de::Error),
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "unnamed".into(),
            duration_s: 60.0,
            rate_hz: 100.0,
            room: Room::default(),
            transmitter: Transmitter::default(),
            receivers: vec![Receiver {
                node: 1,
                position_m: [5.4, 2.5, 1.2],
            }],
            bodies: Vec::new(),
            radio: Radio::default(),
            traffic: Traffic::default(),
        }
    }
}

impl Default for Transmitter {
    fn default() -> Self {
        Self {
            position_m: [0.6, 1.8, 1.4],
            power_dbm: 15.0,
            channel: 6,
        }
    }
}

impl Default for Radio {
    fn default() -> Self {
        Self {
            layout: Layout::Lltf64,
            random_phase: true,
            carrier_offset_hz: 180.0,
            detection_delay_ns: 100.0,
            detection_jitter_ns: 20.0,
            target_rms: 22.0,
            gain_step_db: 1.0,
            gain_slip: 0.02,
            noise_figure_db: Some(7.0),
            snr_limit_db: Some(30.0),
            quantise: true,
            spoiled_first_word: true,
        }
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            jitter_ms: 0.8,
            loss: 0.01,
            loss_burst: 2.0,
            clock_drift_ppm: 15.0,
            network_delay_ms: 1.0,
        }
    }
}

impl Radio {
    /// A radio that adds nothing to the channel: no noise, no rounding, one gain, one phase.
    #[must_use]
    pub fn ideal() -> Self {
        Self {
            random_phase: false,
            carrier_offset_hz: 0.0,
            detection_delay_ns: 0.0,
            detection_jitter_ns: 0.0,
            gain_step_db: 0.0,
            gain_slip: 0.0,
            noise_figure_db: None,
            snr_limit_db: None,
            quantise: false,
            spoiled_first_word: false,
            ..Self::default()
        }
    }
}

impl Traffic {
    /// Each packet on the regular clock, none lost.
    #[must_use]
    pub fn ideal() -> Self {
        Self {
            jitter_ms: 0.0,
            loss: 0.0,
            loss_burst: 1.0,
            clock_drift_ppm: 0.0,
            network_delay_ms: 0.0,
        }
    }
}

impl Scenario {
    /// Reads a scenario from TOML; what it does not say is as in [`Scenario::default`].
    ///
    /// # Errors
    /// [`ScenarioError::Toml`] for text that is no scenario (unknown keys included), [`ScenarioError::Value`] for a value out
    /// of range.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.validate()?;
        Ok(scenario)
    }

    /// Replaces the receivers by `count`, spread along the walls of the room at 1.2 m, with node ids from `first_node` on.
    ///
    /// # Errors
    /// [`ScenarioError::Value`] where the node ids would pass 255.
    pub fn with_receivers(mut self, count: u8, first_node: u8) -> Result<Self, ScenarioError> {
        if first_node.checked_add(count.saturating_sub(1)).is_none() {
            return Err(wrong(
                "devices",
                format!("{count} from node {first_node} on"),
                "so many that node ids stay below 256",
            ));
        }
        let [length, width, height] = self.room.size_m;
        self.receivers = (0..count)
            .map(|index| {
                // Half a step in, so that none stands in a corner of the walk round the walls.
                let turn = (f64::from(index) + 0.5) / f64::from(count);
                Receiver {
                    node: first_node.saturating_add(index),
                    position_m: along_the_walls(length, width, turn, height.min(1.2)),
                }
            })
            .collect();
        Ok(self)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`ScenarioError::Value`], which names the first that is wrong.
    pub fn validate(&self) -> Result<(), ScenarioError> {
        let radio = &self.radio;
        let traffic = &self.traffic;
        within(
            "duration_s",
            self.duration_s,
            0.0,
            604_800.0,
            "0 to 604800 (a week)",
        )?;
        within("rate_hz", self.rate_hz, 0.1, 10_000.0, "0.1 to 10000")?;
        for size in self.room.size_m {
            within("room.size_m", size, 0.5, 200.0, "0.5 to 200 metres each")?;
        }
        for reflection in self.room.reflection {
            within("room.reflection", reflection, -1.0, 1.0, "-1 to 1 each")?;
        }
        within("room.order", self.room.order.into(), 0.0, 8.0, "0 to 8")?;
        within(
            "room.scatter_order",
            self.room.scatter_order.into(),
            0.0,
            1.0,
            "0 or 1",
        )?;
        within(
            "transmitter.channel",
            self.transmitter.channel.into(),
            1.0,
            13.0,
            "1 to 13",
        )?;
        within(
            "transmitter.power_dbm",
            self.transmitter.power_dbm,
            -40.0,
            40.0,
            "-40 to 40",
        )?;
        self.inside("transmitter.position_m", self.transmitter.position_m)?;
        within("radio.target_rms", radio.target_rms, 1.0, 120.0, "1 to 120")?;
        within(
            "radio.gain_step_db",
            radio.gain_step_db,
            0.0,
            12.0,
            "0 to 12",
        )?;
        within("radio.gain_slip", radio.gain_slip, 0.0, 1.0, "0 to 1")?;
        within(
            "radio.carrier_offset_hz",
            radio.carrier_offset_hz,
            -1e6,
            1e6,
            "-1e6 to 1e6",
        )?;
        within(
            "radio.detection_delay_ns",
            radio.detection_delay_ns,
            0.0,
            1_600.0,
            "0 to 1600",
        )?;
        within(
            "radio.detection_jitter_ns",
            radio.detection_jitter_ns,
            0.0,
            500.0,
            "0 to 500",
        )?;
        for (field, value) in [
            ("radio.noise_figure_db", radio.noise_figure_db),
            ("radio.snr_limit_db", radio.snr_limit_db),
        ] {
            within(field, value.unwrap_or(0.0), -20.0, 120.0, "-20 to 120")?;
        }
        within(
            "traffic.jitter_ms",
            traffic.jitter_ms,
            0.0,
            10_000.0,
            "0 to 10000",
        )?;
        within("traffic.loss", traffic.loss, 0.0, 0.95, "0 to 0.95")?;
        within(
            "traffic.loss_burst",
            traffic.loss_burst,
            1.0,
            1_000.0,
            "1 to 1000",
        )?;
        within(
            "traffic.clock_drift_ppm",
            traffic.clock_drift_ppm,
            -1e4,
            1e4,
            "-10000 to 10000",
        )?;
        within(
            "traffic.network_delay_ms",
            traffic.network_delay_ms,
            0.0,
            1e4,
            "0 to 10000",
        )?;
        self.validate_receivers()?;
        self.validate_bodies()
    }

    fn validate_receivers(&self) -> Result<(), ScenarioError> {
        if self.receivers.is_empty() {
            return Err(wrong("receivers", "empty", "at least one"));
        }
        let mut nodes = [false; 256];
        for (index, receiver) in self.receivers.iter().enumerate() {
            self.inside(
                &format!("receivers[{index}].position_m"),
                receiver.position_m,
            )?;
            if let Some(taken) = nodes.get_mut(usize::from(receiver.node))
                && std::mem::replace(taken, true)
            {
                let field = format!("receivers[{index}].node");
                return Err(wrong(field, receiver.node, "another than those before it"));
            }
        }
        Ok(())
    }

    fn validate_bodies(&self) -> Result<(), ScenarioError> {
        for (index, body) in self.bodies.iter().enumerate() {
            let at = |name: &str| format!("bodies[{index}].{name}");
            let cross_section = match body {
                Body::Walking(walking) => {
                    within(&at("speed_m_s"), walking.speed_m_s, 0.0, 15.0, "0 to 15")?;
                    if walking.path_m.len() < 2 {
                        return Err(wrong(
                            at("path_m"),
                            walking.path_m.len(),
                            "two points or more",
                        ));
                    }
                    for point in &walking.path_m {
                        self.inside(&at("path_m"), *point)?;
                    }
                    within(&at("start_s"), walking.start_s, 0.0, 1e9, "0 or later")?;
                    if let Some(stop) = walking.stop_s {
                        within(&at("stop_s"), stop, walking.start_s, 1e9, "after start_s")?;
                    }
                    walking.cross_section_m2
                }
                Body::Breathing(breathing) => {
                    self.inside(&at("position_m"), breathing.position_m)?;
                    let displacement = breathing.displacement_mm;
                    within(&at("displacement_mm"), displacement, 0.0, 100.0, "0 to 100")?;
                    within(
                        &at("rate_per_min"),
                        breathing.rate_per_min,
                        0.0,
                        120.0,
                        "0 to 120",
                    )?;
                    within(&at("variation"), breathing.variation, 0.0, 0.9, "0 to 0.9")?;
                    for direction in breathing.direction {
                        within(&at("direction"), direction, -1e6, 1e6, "a finite vector")?;
                    }
                    breathing.cross_section_m2
                }
                Body::Furniture(furniture) => {
                    self.inside(&at("position_m"), furniture.position_m)?;
                    furniture.cross_section_m2
                }
            };
            within(
                &at("cross_section_m2"),
                cross_section,
                0.0,
                100.0,
                "0 to 100",
            )?;
        }
        Ok(())
    }

    fn inside(&self, field: &str, point: Point) -> Result<(), ScenarioError> {
        if self.room.contains(point) {
            return Ok(());
        }
        Err(wrong(field, format!("{point:?}"), "inside the room"))
    }
}

/// The point after `turn` (0..1) of the way round the walls, 20 cm from them where the room is wide enough.
fn along_the_walls(length: f64, width: f64, turn: f64, height: f64) -> Point {
    let gap = 0.2_f64.min(length / 4.0).min(width / 4.0);
    let (inner_length, inner_width) = (length - 2.0 * gap, width - 2.0 * gap);
    let mut left = turn * 2.0 * (inner_length + inner_width);
    if left <= inner_length {
        return [gap + left, gap, height];
    }
    left -= inner_length;
    if left <= inner_width {
        return [length - gap, gap + left, height];
    }
    left -= inner_width;
    if left <= inner_length {
        return [length - gap - left, width - gap, height];
    }
    left -= inner_length;
    [gap, width - gap - left.min(inner_width), height]
}

fn within(
    field: &str,
    value: f64,
    low: f64,
    high: f64,
    expected: &'static str,
) -> Result<(), ScenarioError> {
    // Not a number is in no range.
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(wrong(field, value, expected))
}

fn wrong(field: impl Into<String>, value: impl ToString, expected: &'static str) -> ScenarioError {
    ScenarioError::Value {
        field: field.into(),
        value: value.to_string(),
        expected,
    }
}
