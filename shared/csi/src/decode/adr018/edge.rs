//! What nodes conclude themselves: recognised and counted, not decoded.

use super::{Error, array, exactly};

/// A conclusion of a node, or a compressed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Magic number.
    pub magic: u32,
    /// What it is.
    pub kind: EdgeKind,
    /// Number of the node.
    pub node: u8,
}

/// Kinds of packet beside CSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EdgeKind {
    /// `0xC5110002`: presence, fall, motion, breaths and heart rate.
    Vitals,
    /// `0xC5110003`: a feature vector.
    Features,
    /// `0xC5110004`, 48 bytes: vitals fused with a radar's.
    FusedVitals,
    /// `0xC5110004`, 8 + 5 x count bytes: output of a module that runs on the node.
    ModuleOutput,
    /// `0xC5110005`: CSI as the difference from the frame before.
    CompressedCsi,
    /// `0xC5110006`: the state of the node's own detector.
    FeatureState,
}

impl EdgeKind {
    pub(super) fn of_magic(magic: u32) -> bool {
        (0xC511_0002..=0xC511_0006).contains(&magic)
    }
}

pub(super) fn decode(magic: u32, datagram: &[u8]) -> Result<Edge, Error> {
    let found = datagram.len();
    let Some(node) = datagram.get(4).copied() else {
        return Err(Error::Truncated {
            what: "node number",
            expected: 5,
            found,
        });
    };
    let kind = match magic {
        0xC511_0002 => {
            exactly("vitals", 32, found)?;
            EdgeKind::Vitals
        }
        0xC511_0003 => {
            exactly("features", 48, found)?;
            EdgeKind::Features
        }
        // Two packets share this number; their length tells them apart. 8 + 5 x 8 is 48: the radar's wins.
        0xC511_0004 if found == 48 => EdgeKind::FusedVitals,
        0xC511_0004 => {
            let what = "module output";
            let count = array(datagram, 6).map(u16::from_le_bytes);
            let count = count.ok_or(Error::Truncated {
                what,
                expected: 8,
                found,
            })?;
            exactly(what, 8 + 5 * usize::from(count), found)?;
            EdgeKind::ModuleOutput
        }
        0xC511_0005 => {
            let what = "compressed CSI";
            let length = array(datagram, 8).map(u16::from_le_bytes);
            let length = length.ok_or(Error::Truncated {
                what,
                expected: 10,
                found,
            })?;
            exactly(what, 10 + usize::from(length), found)?;
            EdgeKind::CompressedCsi
        }
        _ => {
            exactly("feature state", 60, found)?;
            let mut crc = flate2::Crc::new();
            crc.update(datagram.get(..56).unwrap_or_default());
            let sent = array(datagram, 56).map_or(0, u32::from_le_bytes);
            if crc.sum() != sent {
                return Err(Error::WrongChecksum {
                    offset: 56,
                    expected: crc.sum(),
                    found: sent,
                });
            }
            EdgeKind::FeatureState
        }
    };
    Ok(Edge { magic, kind, node })
}
