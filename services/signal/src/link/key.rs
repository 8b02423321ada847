//! What tells links of one device apart, in words and without copying.

use std::sync::Arc;

use csi::{Chain, Frame, Layout, Ppdu, SampleFormat};
use serde::{Deserialize, Serialize};

/// What tells links of one device apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkKey {
    /// MAC address of the transmitter, where known.
    pub transmitter: Option<[u8; 6]>,
    /// Name of the layout.
    pub layout: String,
    /// Samples of one antenna.
    pub subcarriers: usize,
    /// Antennas.
    pub antennas: u8,
    /// Format of the packet: `ht`, `non_ht`..., empty where unknown.
    pub ppdu: String,
    /// Receive chain and spatial stream, where the device reports each on its own.
    #[serde(default)]
    pub chain: Option<(u8, u8)>,
}

impl LinkKey {
    /// The key of the link that a frame belongs to.
    #[must_use]
    pub fn of(frame: &Frame) -> Self {
        Kind::of(frame).key()
    }
}

/// `24:6f:28:00:00:01 esp32-ht64 64x1 ht core0/stream1`: the same for the same key, another for another.
impl std::fmt::Display for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some([a, b, c, d, e, g]) = self.transmitter {
            write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x} ")?;
        }
        write!(f, "{} {}x{}", self.layout, self.subcarriers, self.antennas)?;
        if !self.ppdu.is_empty() {
            write!(f, " {}", self.ppdu)?;
        }
        if let Some((core, stream)) = self.chain {
            write!(f, " core{core}/stream{stream}")?;
        }
        Ok(())
    }
}

/// The key of a frame, without copying.
#[derive(Clone, Debug)]
pub struct Kind {
    layout: Arc<Layout>,
    antennas: u8,
    ppdu: Ppdu,
    transmitter: Option<[u8; 6]>,
    pub(super) format: SampleFormat,
    chain: Option<Chain>,
}

impl Kind {
    pub(super) fn of(frame: &Frame) -> Self {
        Self {
            layout: Arc::clone(&frame.layout),
            antennas: frame.antennas,
            ppdu: frame.ppdu,
            transmitter: frame.transmitter,
            format: frame.format,
            chain: frame.chain,
        }
    }

    pub(super) fn key(&self) -> LinkKey {
        LinkKey {
            transmitter: self.transmitter,
            layout: self.layout.name.to_owned(),
            subcarriers: self.layout.subcarriers.len(),
            antennas: self.antennas,
            ppdu: ppdu_name(self.ppdu).to_owned(),
            chain: self.chain.map(|chain| (chain.core, chain.stream)),
        }
    }

    pub(super) fn fits(&self, frame: &Frame) -> bool {
        self.transmitter == frame.transmitter
            && self.ppdu == frame.ppdu
            && self.antennas == frame.antennas
            && self.format == frame.format
            && self.chain == frame.chain
            && (Arc::ptr_eq(&self.layout, &frame.layout) || self.layout == frame.layout)
    }
}

/// A packet format as link keys have it; empty where unknown.
pub(crate) fn ppdu_name(ppdu: Ppdu) -> &'static str {
    match ppdu {
        Ppdu::Unknown => "",
        Ppdu::NonHt => "non_ht",
        Ppdu::Ht => "ht",
        Ppdu::Vht => "vht",
        Ppdu::He => "he",
        Ppdu::Eht => "eht",
    }
}
