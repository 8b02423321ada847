//! What nodes conclude themselves, and their compressed frames. A third party's opinion: to be carried as such
//! ([`EdgeReport::metadata`]), never as our detection. Nobody has checked these numbers, and the firmware's authors call them
//! hints.

mod compress;
mod metadata;
mod write;

use super::{Error, array, exactly};

pub use compress::{DecompressError, Decompressor, compress};

/// One packet of a node beside CSI.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeReport {
    /// Number of the node.
    pub node: u8,
    /// What it says.
    pub report: Report,
}

/// What a packet says.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// `0xC5110002`: presence, fall, motion, breaths and heart rate.
    Vitals(Vitals),
    /// `0xC5110003`: a feature vector.
    Features(Features),
    /// `0xC5110004`, 48 bytes: vitals fused with a radar's.
    FusedVitals(FusedVitals),
    /// `0xC5110004`, 8 + 5 x count bytes: output of a module that runs on the node. Newer firmware sends it as `0xC5110007`.
    ModuleOutput(ModuleOutput),
    /// `0xC5110005`: CSI as the difference from the frame before; see [`Decompressor`].
    Compressed(Compressed),
    /// `0xC5110006`: the state of the node's own detector.
    FeatureState(FeatureState),
}

/// Vitals, as a node estimates them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vitals {
    /// Bit 0 presence, 1 fall, 2 motion, 3 a radar took part.
    pub flags: u8,
    /// Breaths per minute x 100; 0 where the node has no estimate.
    pub breaths_x100: u16,
    /// Heart beats per minute x 10,000; 0 where the node has no estimate.
    pub heart_x10000: u32,
    /// RSSI in dBm of the latest frame.
    pub rssi_dbm: i8,
    /// Persons that the node counts.
    pub persons: u8,
    /// Motion energy in the node's own unit.
    pub motion: f32,
    /// Presence score in the node's own unit.
    pub presence: f32,
    /// Milliseconds since boot.
    pub uptime_ms: u32,
}

/// A feature vector.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Features {
    /// Sequence number of the vectors.
    pub sequence: u16,
    /// The node's clock in microseconds.
    pub time_us: i64,
    /// The features.
    pub values: [f32; 8],
}

/// Vitals fused with those of a radar.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FusedVitals {
    /// Those of CSI, or fused.
    pub vitals: Vitals,
    /// Kind of radar, as the node numbers it.
    pub radar: u8,
    /// Confidence of the fusion, 0 to 100.
    pub fusion_confidence: u8,
    /// Heart beats per minute by the radar.
    pub radar_heart: f32,
    /// Breaths per minute by the radar.
    pub radar_breaths: f32,
    /// Distance of the nearest target in cm.
    pub distance_cm: f32,
    /// Targets that the radar sees.
    pub targets: u8,
    /// Confidence of the radar.
    pub radar_confidence: u8,
}

/// Output of a module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModuleOutput {
    /// Which module.
    pub module: u8,
    /// Kind and value of each event.
    pub values: Vec<(u8, f32)>,
}

/// A compressed frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compressed {
    /// Channel number.
    pub channel: u8,
    /// Bytes of the buffer before compression.
    pub original: u16,
    /// Pairs of a value and how often it stands there, of the buffer XOR the one before.
    pub runs: Vec<[u8; 2]>,
}

/// The state of the node's own detector.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FeatureState {
    /// Mode of the node's controller, as it numbers them.
    pub mode: u8,
    /// Sequence number of the reports.
    pub sequence: u16,
    /// The node's clock in microseconds.
    pub time_us: u64,
    /// Motion, presence, respiration rate and its confidence, heart rate and its confidence, anomaly, environment shift,
    /// coherence.
    pub values: [f32; 9],
    /// Bit 0: presence is valid; 1: respiration; 2: heart rate; 3: an anomaly; 4: the environment has shifted.
    pub flags: u16,
}

/// Whether a packet of the family with this number is one of these.
pub(super) fn is_magic(magic: u32) -> bool {
    (0xC511_0002..=0xC511_0007).contains(&magic)
}

/// Bytes of a datagram whose length was checked: what is not there reads as 0.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        array(self.0, offset).unwrap_or([0; N])
    }

    fn u8(&self, offset: usize) -> u8 {
        self.0.get(offset).copied().unwrap_or_default()
    }

    fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    fn f32(&self, offset: usize) -> f32 {
        f32::from_le_bytes(self.array(offset))
    }

    fn floats<const N: usize>(&self, offset: usize) -> [f32; N] {
        std::array::from_fn(|index| self.f32(offset + 4 * index))
    }

    fn vitals(&self) -> Vitals {
        Vitals {
            flags: self.u8(5),
            breaths_x100: self.u16(6),
            heart_x10000: self.u32(8),
            rssi_dbm: self.u8(12).cast_signed(),
            persons: self.u8(13),
            motion: self.f32(16),
            presence: self.f32(20),
            uptime_ms: self.u32(24),
        }
    }
}

pub(super) fn decode(magic: u32, datagram: &[u8]) -> Result<EdgeReport, Error> {
    let found = datagram.len();
    let Some(node) = datagram.get(4).copied() else {
        return Err(Error::Truncated {
            what: "node number",
            expected: 5,
            found,
        });
    };
    let at_least = |what, expected| {
        if found < expected {
            Err(Error::Truncated {
                what,
                expected,
                found,
            })
        } else {
            Ok(())
        }
    };
    let bytes = Bytes(datagram);
    let report = match magic {
        0xC511_0002 => {
            exactly("vitals", 32, found)?;
            Report::Vitals(bytes.vitals())
        }
        0xC511_0003 => {
            exactly("features", 48, found)?;
            Report::Features(Features {
                sequence: bytes.u16(6),
                time_us: i64::from_le_bytes(bytes.array(8)),
                values: bytes.floats(16),
            })
        }
        // Two packets share this number; their length tells them apart. 8 + 5 x 8 is 48: the radar's wins.
        0xC511_0004 if found == 48 => Report::FusedVitals(FusedVitals {
            vitals: bytes.vitals(),
            radar: bytes.u8(14),
            fusion_confidence: bytes.u8(15),
            radar_heart: bytes.f32(32),
            radar_breaths: bytes.f32(36),
            distance_cm: bytes.f32(40),
            targets: bytes.u8(44),
            radar_confidence: bytes.u8(45),
        }),
        0xC511_0004 | 0xC511_0007 => {
            at_least("module output", 8)?;
            exactly("module output", 8 + 5 * usize::from(bytes.u16(6)), found)?;
            let (events, _) = datagram.get(8..).unwrap_or_default().as_chunks::<5>();
            let value = |[kind, value @ ..]: &[u8; 5]| (*kind, f32::from_le_bytes(*value));
            Report::ModuleOutput(ModuleOutput {
                module: bytes.u8(5),
                values: events.iter().map(value).collect(),
            })
        }
        0xC511_0005 => {
            at_least("compressed CSI", 10)?;
            exactly("compressed CSI", 10 + usize::from(bytes.u16(8)), found)?;
            let (runs, half) = datagram.get(10..).unwrap_or_default().as_chunks::<2>();
            if !half.is_empty() {
                return Err(Error::Truncated {
                    what: "pairs of value and run",
                    expected: found + 1,
                    found,
                });
            }
            Report::Compressed(Compressed {
                channel: bytes.u8(5),
                original: bytes.u16(6),
                runs: runs.to_vec(),
            })
        }
        _ => {
            exactly("feature state", 60, found)?;
            let mut crc = flate2::Crc::new();
            crc.update(datagram.get(..56).unwrap_or_default());
            let sent = bytes.u32(56);
            if crc.sum() != sent {
                return Err(Error::WrongChecksum {
                    offset: 56,
                    expected: crc.sum(),
                    found: sent,
                });
            }
            Report::FeatureState(FeatureState {
                mode: bytes.u8(5),
                sequence: bytes.u16(6),
                time_us: u64::from_le_bytes(bytes.array(8)),
                values: bytes.floats(16),
                flags: bytes.u16(52),
            })
        }
    };
    Ok(EdgeReport { node, report })
}

#[cfg(test)]
mod tests;
