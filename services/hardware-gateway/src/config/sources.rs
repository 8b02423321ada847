//! `[[hardware_gateway.sources]]`: where frames come from besides the UDP socket of `[hardware_gateway.udp]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use events::Name;
use serde::{Deserialize, Serialize};

/// What kind of source an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A UDP socket for the ADR-018 family and for `CSI_DATA` lines.
    Udp,
    /// TCP: `CSI_DATA` lines, or ADR-018 datagrams each behind its length.
    Tcp,
    /// A serial port with `CSI_DATA` lines.
    Serial,
    /// A text file that grows, with `CSI_DATA` lines.
    File,
    /// A pcap file, read and then followed: datagrams of the ADR-018 family, lines, Nexmon.
    Pcap,
    /// A UDP socket for Nexmon datagrams, port 5500.
    Nexmon,
    /// Records of Intel's `log_to_file` over TCP, as `log_to_server` sends them.
    IntelNetlink,
}

impl Kind {
    /// As it is written in the configuration; also the `protocol` of `hardware.device_connected`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Serial => "serial",
            Self::File => "file",
            Self::Pcap => "pcap",
            Self::Nexmon => "nexmon",
            Self::IntelNetlink => "intel-netlink",
        }
    }
}

/// Which senders may publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// Unknown senders are registered by themselves.
    Open,
    /// Unknown senders are announced, and their frames are not taken.
    #[default]
    Known,
    /// As `known`, and each datagram carries a signature (docs/signed-datagrams.md).
    Signed,
}

/// Where reading of a file begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// With what is there already.
    Start,
    /// With what is appended from now on.
    #[default]
    End,
}

/// How a TCP stream is cut into pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// By its first bytes: text is lines, anything else records.
    #[default]
    Auto,
    /// `CSI_DATA` lines.
    Lines,
    /// ADR-018 datagrams, each behind its length as a little-endian u32.
    Records,
}

/// One entry. Which fields it may have depends on `kind`; [`SourceConfig::plan`] checks that.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// What it is.
    pub kind: Kind,
    /// Name in logs, metrics and events, a DNS label; the kind where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address to listen on: udp, tcp, nexmon, intel-netlink. Port 0 lets the system choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// `host:port` to connect to, instead of `listen`: tcp, intel-netlink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
    /// The port or file: serial, file, pcap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Symbols per second: serial. 921600 where it is not given, as esp-csi sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baud: Option<u32>,
    /// Where reading begins: file, pcap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
    /// How the stream is cut: tcp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framing: Option<Framing>,
    /// Size asked of the kernel for the socket's buffer, bytes: udp, nexmon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_buffer_bytes: Option<usize>,
    /// Connections at once: tcp, intel-netlink with `listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<usize>,
    /// All frames of this source are of this device, whatever they say themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_id: Option<String>,
    /// Instead of `hardware_gateway.admission`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// Zone of devices that `open` admission registers, instead of `hardware_gateway.zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Frames per second that are taken of this source; no limit where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_hz: Option<f64>,
}

/// A source whose fields were checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name in logs, metrics and events.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
    /// How it is reached.
    pub reach: Reach,
    /// All frames are of this device.
    pub hardware_id: Option<String>,
    /// Instead of the gateway's.
    pub admission: Option<Admission>,
    /// Instead of the gateway's.
    pub zone: Option<Name>,
    /// Frames per second; `None` is no limit.
    pub rate_hz: Option<f64>,
}

/// How a source is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// A UDP socket.
    Datagrams {
        /// Its address.
        listen: SocketAddr,
        /// Size asked of the kernel, bytes.
        buffer_bytes: usize,
    },
    /// TCP connections that others open.
    Listen {
        /// Address.
        listen: SocketAddr,
        /// At once.
        max_connections: usize,
        /// How the stream is cut.
        framing: Framing,
    },
    /// A TCP connection that the gateway opens.
    Connect {
        /// `host:port`.
        to: String,
        /// How the stream is cut.
        framing: Framing,
    },
    /// A serial port.
    Serial {
        /// The port.
        path: PathBuf,
        /// Symbols per second.
        baud: u32,
    },
    /// A file.
    File {
        /// The file.
        path: PathBuf,
        /// Where reading begins.
        from: From,
    },
}

/// Size of a socket's buffer that is asked of the kernel, bytes.
pub(super) const BUFFER_BYTES: usize = 8 * 1024 * 1024;
const MAX_CONNECTIONS: usize = 64;
const BAUD: u32 = 921_600;

impl SourceConfig {
    /// Checks the fields; `index` is its place in the list, from 0.
    ///
    /// # Errors
    /// A sentence that names the source, the field and what would be right.
    pub fn plan(&self, index: usize) -> Result<Plan, String> {
        use Kind::{File, IntelNetlink, Nexmon, Pcap, Serial, Tcp, Udp};
        let kind = self.kind;
        let label = self.name.as_deref().unwrap_or(kind.name());
        let wrong = |field: &str, problem: String| {
            format!(
                "sources[{index}] ({} {label:?}): {field}: {problem}",
                kind.name()
            )
        };
        let name = Name::new(label).map_err(|error| wrong("name", error.to_string()))?;
        let takes: [(&str, bool, &[Kind]); 8] = [
            (
                "listen",
                self.listen.is_some(),
                &[Udp, Tcp, Nexmon, IntelNetlink],
            ),
            ("connect", self.connect.is_some(), &[Tcp, IntelNetlink]),
            ("path", self.path.is_some(), &[Serial, File, Pcap]),
            ("baud", self.baud.is_some(), &[Serial]),
            ("from", self.from.is_some(), &[File, Pcap]),
            ("framing", self.framing.is_some(), &[Tcp]),
            (
                "receive_buffer_bytes",
                self.receive_buffer_bytes.is_some(),
                &[Udp, Nexmon],
            ),
            (
                "max_connections",
                self.max_connections.is_some(),
                &[Tcp, IntelNetlink],
            ),
        ];
        for (field, given, kinds) in takes {
            if given && !kinds.contains(&kind) {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                let problem = format!("is not a field of this kind, but of {}", kinds.join(", "));
                return Err(wrong(field, problem));
            }
        }
        let missing = |field: &str, example: &str| {
            wrong(field, format!("is missing; give one, e.g. {example}"))
        };
        let framing = self.framing.unwrap_or_default();
        let reach = match kind {
            Udp | Nexmon => Reach::Datagrams {
                listen: match (self.listen, kind) {
                    (Some(listen), _) => listen,
                    (None, Nexmon) => SocketAddr::from(([0, 0, 0, 0], 5500)),
                    (None, _) => return Err(missing("listen", "\"0.0.0.0:5006\"")),
                },
                buffer_bytes: self.receive_buffer_bytes.unwrap_or(BUFFER_BYTES),
            },
            Tcp | IntelNetlink => match (self.listen, &self.connect) {
                (Some(listen), None) => Reach::Listen {
                    listen,
                    max_connections: self.max_connections.unwrap_or(MAX_CONNECTIONS),
                    framing,
                },
                (None, Some(to)) => {
                    let port = to.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
                    if !matches!(port, Some(Ok(_))) {
                        return Err(wrong("connect", format!("{to:?} is not host:port")));
                    }
                    Reach::Connect {
                        to: to.clone(),
                        framing,
                    }
                }
                (None, None) => return Err(missing("listen", "\"0.0.0.0:5010\", or connect")),
                (Some(_), Some(_)) => {
                    return Err(wrong(
                        "connect",
                        "stands beside listen: give one of them".into(),
                    ));
                }
            },
            Serial => Reach::Serial {
                path: self
                    .path
                    .clone()
                    .ok_or_else(|| missing("path", "\"/dev/ttyUSB0\""))?,
                baud: self.baud.unwrap_or(BAUD),
            },
            File | Pcap => Reach::File {
                path: self
                    .path
                    .clone()
                    .ok_or_else(|| missing("path", "\"/var/log/csi.csv\""))?,
                from: self.from.unwrap_or_default(),
            },
        };
        for (field, zero) in [
            ("baud", self.baud == Some(0)),
            ("max_connections", self.max_connections == Some(0)),
            ("receive_buffer_bytes", self.receive_buffer_bytes == Some(0)),
        ] {
            if zero {
                return Err(wrong(field, "is 0: at least 1".into()));
            }
        }
        if let Some(rate) = self
            .rate_hz
            .filter(|rate| !(rate.is_finite() && *rate > 0.0))
        {
            return Err(wrong(
                "rate_hz",
                format!("{rate} must be a positive number"),
            ));
        }
        let signable =
            matches!(kind, Udp | Nexmon) || matches!((kind, framing), (Tcp, Framing::Records));
        if self.admission == Some(Admission::Signed) && !signable {
            let problem =
                "signed is for datagrams: udp, nexmon, and tcp with framing = \"records\"";
            return Err(wrong("admission", problem.into()));
        }
        if let Some(id) = self.hardware_id.as_deref().filter(|id| !hardware_id(id)) {
            let problem = format!("{id:?} must be 1 to 100 visible ASCII characters");
            return Err(wrong("hardware_id", problem));
        }
        let zone = self.zone.as_deref().map(Name::new).transpose();
        Ok(Plan {
            name,
            kind,
            reach,
            hardware_id: self.hardware_id.clone(),
            admission: self.admission,
            zone: zone.map_err(|error| wrong("zone", error.to_string()))?,
            rate_hz: self.rate_hz,
        })
    }
}

fn hardware_id(id: &str) -> bool {
    (1..=100).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(toml: &str) -> Result<Plan, String> {
        let source: SourceConfig = toml::from_str(toml).map_err(|error| error.to_string())?;
        source.plan(2)
    }

    #[test]
    fn each_kind_takes_its_own_fields() {
        for good in [
            "kind = 'udp'\nlisten = '0.0.0.0:5006'",
            "kind = 'tcp'\nconnect = 'csi.local:5010'\nframing = 'records'\nadmission = 'signed'",
            "kind = 'serial'\npath = '/dev/ttyUSB0'\nbaud = 115200",
            "kind = 'file'\npath = 'csi.log'\nfrom = 'start'",
            "kind = 'pcap'\npath = 'csi.pcap'",
            "kind = 'tcp'\nlisten = '0.0.0.0:8090'\nhardware_id = 'esp32:attic'\nzone = 'attic'",
        ] {
            assert!(plan(good).is_ok(), "{good}: {:?}", plan(good));
        }
    }

    #[test]
    fn a_wrong_field_is_named_with_its_source() {
        for (bad, words) in [
            ("kind = 'serial'", "sources[2] (serial \"serial\"): path"),
            (
                "kind = 'udp'\nlisten = '0.0.0.0:1'\nbaud = 9600",
                "baud: is not a field of this kind, but of serial",
            ),
            (
                "kind = 'tcp'\nconnect = 'here'",
                "connect: \"here\" is not host:port",
            ),
            (
                "kind = 'tcp'\nconnect = 'a:1'\nlisten = '0.0.0.0:1'",
                "give one of them",
            ),
            ("kind = 'tcp'", "listen: is missing"),
            ("kind = 'file'\npath = 'x'\nname = 'Of Mine'", "name:"),
            (
                "kind = 'file'\npath = 'x'\nadmission = 'signed'",
                "admission: signed is for datagrams",
            ),
            ("kind = 'file'\npath = 'x'\nrate_hz = -1.0", "rate_hz"),
            ("kind = 'file'\npath = 'x'\nzone = 'No Zone'", "zone"),
            ("kind = 'file'\npath = 'x'\nspeed = 3", "speed"),
            ("kind = 'wlan'", "wlan"),
        ] {
            let error = plan(bad).expect_err(bad);
            assert!(error.contains(words), "{bad}: {error}");
        }
    }
}
