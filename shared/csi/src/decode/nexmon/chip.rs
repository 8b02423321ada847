//! The chips, and how each writes a number.

use std::fmt;
use std::str::FromStr;

use super::float::Packing;

/// A Broadcom chip that Nexmon takes CSI of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chip {
    /// BCM4339: i16 pairs.
    Bcm4339,
    /// BCM43455c0 (Raspberry Pi 3B+ and 4): i16 pairs.
    Bcm43455c0,
    /// BCM4358: packed floats.
    Bcm4358,
    /// BCM4366c0 (Asus RT-AC86U): packed floats.
    Bcm4366c0,
}

/// No chip has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no Nexmon chip {name:?}: expected 4339, 43455c0, 4358 or 4366c0")]
pub struct UnknownChip {
    /// What was asked for.
    pub name: String,
}

impl Chip {
    /// Every chip.
    pub const ALL: [Self; 4] = [
        Self::Bcm4339,
        Self::Bcm43455c0,
        Self::Bcm4358,
        Self::Bcm4366c0,
    ];

    /// Its name, as [`FromStr`] reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bcm4339 => "4339",
            Self::Bcm43455c0 => "43455c0",
            Self::Bcm4358 => "4358",
            Self::Bcm4366c0 => "4366c0",
        }
    }

    /// How it packs a number into 32 bits; `None` for a pair of i16.
    #[must_use]
    pub fn packing(self) -> Option<Packing> {
        match self {
            Self::Bcm4339 | Self::Bcm43455c0 => None,
            Self::Bcm4358 => Some(Packing::BCM4358),
            Self::Bcm4366c0 => Some(Packing::BCM4366C0),
        }
    }

    /// The chip of a version word; where the word names none, one that writes numbers as these bins are written.
    #[must_use]
    pub fn find(version: u16, bins: &[[u8; 4]]) -> Self {
        match version {
            0x0001 => Self::Bcm4339,
            0x0065 => Self::Bcm43455c0,
            0x006A | 0xE834 => Self::Bcm4366c0,
            _ => Self::of_bins(bins),
        }
    }

    /// The chip whose format uses exactly the bits that these bins use: see the module.
    #[must_use]
    pub fn of_bins(bins: &[[u8; 4]]) -> Self {
        let used = bins
            .iter()
            .fold(0, |used, bin| used | u32::from_le_bytes(*bin));
        match used.leading_zeros() {
            // All zero, of which any format makes the same.
            32 => Self::Bcm43455c0,
            9.. => Self::Bcm4358,
            2.. => Self::Bcm4366c0,
            _ => Self::Bcm43455c0,
        }
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Chip {
    type Err = UnknownChip;

    fn from_str(name: &str) -> Result<Self, UnknownChip> {
        let known = Self::ALL.into_iter().find(|chip| chip.name() == name);
        known.ok_or_else(|| UnknownChip {
            name: name.to_owned(),
        })
    }
}
