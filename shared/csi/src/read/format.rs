//! The formats of recordings, and how the first bytes tell them apart.

use std::fmt;
use std::str::FromStr;

use super::records;
use crate::decode::{container, esp32_csv, ialr_csv};

/// Format of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Whatever the first bytes say.
    #[default]
    Auto,
    /// ADR-018 datagrams, each behind its length; without time.
    Adr018,
    /// ADR-018 and Nexmon datagrams in a pcap or pcapng capture, told apart packet by packet.
    Pcap,
    /// Nexmon datagrams alone, in such a capture.
    NexmonPcap,
    /// `CSI_DATA` lines of esp-csi or the ESP32-CSI-Tool.
    Esp32Csv,
    /// Archives of ESPectre.
    EspectreNpz,
    /// Amplitudes of IALR's motion detection.
    IalrCsv,
    /// RuView's log.
    RuviewJsonl,
    /// Our own recordings: frames of any number of devices in MCAP.
    Mcap,
    /// Log of the Linux 802.11n CSI Tool: Intel 5300.
    Intel5300,
    /// Log of the Atheros CSI Tool, in either byte order.
    Atheros,
    /// Log of PicoScenes.
    PicoScenes,
    /// Log of FeitCSI: Intel AX200, AX210.
    FeitCsi,
}

/// No format has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no format {name:?}: expected auto, {}", Format::names())]
pub struct UnknownFormat {
    /// What was asked for.
    pub name: String,
}

impl Format {
    /// Every format, without `auto`.
    pub const ALL: [Self; 12] = [
        Self::Adr018,
        Self::Pcap,
        Self::NexmonPcap,
        Self::Esp32Csv,
        Self::EspectreNpz,
        Self::IalrCsv,
        Self::RuviewJsonl,
        Self::Mcap,
        Self::Intel5300,
        Self::Atheros,
        Self::PicoScenes,
        Self::FeitCsi,
    ];

    /// Its name, as [`FromStr`] reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Adr018 => "adr018",
            Self::Pcap => "pcap",
            Self::NexmonPcap => "nexmon-pcap",
            Self::Esp32Csv => "esp32-csv",
            Self::EspectreNpz => "espectre-npz",
            Self::IalrCsv => "ialr-csv",
            Self::RuviewJsonl => "ruview-jsonl",
            Self::Mcap => "mcap",
            Self::Intel5300 => "intel5300",
            Self::Atheros => "atheros",
            Self::PicoScenes => "picoscenes",
            Self::FeitCsi => "feitcsi",
        }
    }

    /// The names of all formats, for a message.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The format that the first bytes of an unpacked recording show.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xD4, 0xC3, 0xB2, 0xA1, ..]
            | [0xA1, 0xB2, 0xC3, 0xD4, ..]
            | [0x4D, 0x3C, 0xB2, 0xA1, ..]
            | [0xA1, 0xB2, 0x3C, 0x4D, ..]
            | [0x0A, 0x0D, 0x0D, 0x0A, ..] => return Some(Self::Pcap),
            [0x89, b'M', b'C', b'A', b'P', b'0', b'\r', b'\n', ..] => return Some(Self::Mcap),
            [b'P', b'K', 3, 4, ..] => return Some(Self::EspectreNpz),
            // A length, then the number of the ADR-018 family.
            [_, _, 0, 0, _, _, 0x11, 0xC5, ..] => return Some(Self::Adr018),
            _ => {}
        }
        if let Some(format) = records::detect(bytes) {
            return Some(format);
        }
        let beginning = bytes.get(..64 * 1024).unwrap_or(bytes);
        let text = beginning
            .strip_prefix(b"\xEF\xBB\xBF")
            .unwrap_or(beginning)
            .trim_ascii_start();
        let holds = |what: &[u8]| memchr::memmem::find(text, what).is_some();
        if text.starts_with(ialr_csv::HEADER.as_bytes()) {
            Some(Self::IalrCsv)
        } else if text.starts_with(b"{") && holds(b"\"node_id\"") && holds(b"\"raw_csi\"") {
            Some(Self::RuviewJsonl)
        } else if text.starts_with(esp32_csv::SIMULATED_LINE.as_bytes())
            || holds(b"CSI_DATA,")
            || text
                .split(|byte| *byte == b'\n')
                .next()
                .is_some_and(esp32_csv::is_header)
        {
            Some(Self::Esp32Csv)
        } else if container::begins_later(beginning) {
            Some(Self::Adr018)
        } else {
            records::detect_later(beginning)
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        // As it was called before a capture could hold anything else.
        if name == "adr018-pcap" {
            return Ok(Self::Pcap);
        }
        let known = Self::ALL
            .into_iter()
            .chain([Self::Auto])
            .find(|format| format.name() == name);
        known.ok_or_else(|| UnknownFormat {
            name: name.to_owned(),
        })
    }
}
