//! Decoders, one module for each form in which hardware or a recording delivers CSI.

pub mod adr018;
pub mod atheros;
pub mod clock;
pub mod container;
pub mod esp32_csv;
pub mod espectre_npz;
pub mod feitcsi;
pub mod ialr_csv;
pub mod intel5300;
pub mod nexmon;
pub mod pcap;
pub mod picoscenes;
pub mod record;
pub mod ruview_jsonl;

use num_complex::Complex32;

/// Why a place in a recording, or a datagram, is no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub enum Error {
    /// A datagram.
    Adr018(#[from] adr018::Error),
    /// A `CSI_DATA` line.
    Esp32Csv(#[from] esp32_csv::Error),
    /// A row of amplitudes.
    IalrCsv(#[from] ialr_csv::Error),
    /// A RuView line.
    RuviewJsonl(#[from] ruview_jsonl::Error),
    /// A datagram of Nexmon.
    Nexmon(#[from] nexmon::Error),
    /// A capture.
    Pcap(#[from] pcap::Error),
    /// A file of datagrams with their lengths.
    Container(#[from] container::Error),
    /// An MCAP file.
    Mcap(#[from] crate::mcap::Error),
    /// A record of a network card's log.
    Record(#[from] record::Error),
}

impl Error {
    /// A stable snake_case name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Adr018(error) => error.code(),
            Self::Esp32Csv(error) => error.code(),
            Self::IalrCsv(error) => error.code(),
            Self::RuviewJsonl(error) => error.code(),
            Self::Nexmon(error) => error.code(),
            Self::Pcap(error) => error.code(),
            Self::Container(error) => error.code(),
            Self::Mcap(error) => error.code(),
            Self::Record(error) => error.code(),
        }
    }
}

/// Appends the samples of an ESP32 buffer: pairs of signed bytes, the imaginary part first. A last odd byte is left out.
fn push_pairs(buffer: &[u8], samples: &mut Vec<Complex32>) {
    let (pairs, _) = buffer.as_chunks::<2>();
    let complex = |[im, re]: &[u8; 2]| {
        Complex32::new(f32::from(re.cast_signed()), f32::from(im.cast_signed()))
    };
    samples.extend(pairs.iter().map(complex));
}

/// The beginning of what was found, for a message.
fn excerpt(bytes: &[u8]) -> String {
    let beginning: String = String::from_utf8_lossy(bytes.get(..48).unwrap_or(bytes)).into_owned();
    if bytes.len() > 48 {
        format!("{beginning}...")
    } else {
        beginning
    }
}
