//! Bytes of a source, decoded: which form they are in, and whose they are.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use csi::Frame;
use csi::decode::adr018::{self, EdgeReport, Packet, Report};
use csi::decode::{esp32_csv, nexmon};
use hashbrown::HashMap;

use crate::config::{Kind, Plan};
use crate::source::cards::Cards;
use crate::source::identity::From;
use crate::source::intake::{Claim, Gate, Heard, Intake, Manner, Right, source_device};
use crate::source::lines::Piece;
use crate::source::meters::{Meters, Tally};
use crate::source::packed::{Packed, Unpacked};
use crate::source::rate::Bucket;
use crate::source::signed;
use crate::source::status::Status;
use crate::track::Announcer;

/// Family name of ADR-018 senders.
pub const ADR018: &str = "esp32-adr018";
/// Family name of senders of `CSI_DATA` lines.
pub const ESP32_CSV: &str = "esp32-csv";
/// Senders of lines whose clocks are followed, for each source; beyond it they are all forgotten and begin anew.
const MAX_PEERS: usize = 1024;
/// A device's clock that runs ahead of ours by more than this within one frame has jumped, microseconds.
const CLOCK_JUMP_US: i64 = 2_000_000;

/// Where bytes came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The sender.
    pub from: From,
    /// When: microseconds since the Unix epoch.
    pub time_us: i64,
    /// From a file as it was found: its own times count.
    pub recorded: bool,
}

/// One stream of bytes into the intake. Each task has its own.
pub struct Feed {
    intake: Arc<Intake>,
    manner: Arc<Manner>,
    meters: Meters,
    status: Arc<Status>,
    /// When something was read last.
    newest_us: Option<i64>,
    /// Counted since the last flush.
    pub tally: Tally,
    kind: Kind,
    hardware_id: Option<Arc<str>>,
    /// Texts that are made once: ids by node, addresses by IP address.
    nodes: HashMap<u8, Arc<str>>,
    addresses: HashMap<IpAddr, Arc<str>>,
    local: Arc<str>,
    peers: HashMap<From, Peer>,
    packed: Packed,
    pub(super) cards: Cards,
}

/// A sender of lines.
#[derive(Default)]
struct Peer {
    decoder: esp32_csv::Decoder,
    restarts: u32,
    /// Device time and ours of the newest frame.
    newest: Option<(i64, i64)>,
    mac: [u8; 6],
    id: Arc<str>,
    place: Arc<str>,
}

impl Feed {
    /// The first feed of a source; more of them by [`Feed::another`].
    #[must_use]
    pub fn new(intake: Arc<Intake>, plan: &Plan, announce_budget: u32) -> Self {
        let manner = Manner {
            name: plan.name.clone(),
            protocol: plan.kind.name(),
            admission: plan.admission,
            zone: plan.zone.clone(),
            gate: Mutex::new(Gate {
                bucket: Bucket::new(plan.rate_hz.unwrap_or_default()),
                announcer: Announcer::new(announce_budget),
            }),
        };
        let meters = Meters::new(plan.name.as_str());
        Self {
            intake,
            manner: Arc::new(manner),
            status: Arc::new(Status::new(plan, Arc::clone(&meters.totals))),
            meters,
            newest_us: None,
            tally: Tally::default(),
            kind: plan.kind,
            hardware_id: plan.hardware_id.as_deref().map(Arc::from),
            nodes: HashMap::new(),
            addresses: HashMap::new(),
            local: Arc::from(plan.name.as_str()),
            peers: HashMap::new(),
            packed: Packed::default(),
            cards: Cards::default(),
        }
    }

    /// A feed of the same source for another connection: limits and meters are shared, clocks are not.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            intake: Arc::clone(&self.intake),
            manner: Arc::clone(&self.manner),
            meters: self.meters.clone(),
            status: Arc::clone(&self.status),
            newest_us: None,
            tally: Tally::default(),
            kind: self.kind,
            hardware_id: self.hardware_id.clone(),
            nodes: HashMap::new(),
            addresses: HashMap::new(),
            local: Arc::clone(&self.local),
            peers: HashMap::new(),
            packed: Packed::default(),
            cards: Cards::default(),
        }
    }

    /// The intake.
    #[must_use]
    pub fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// Name of the source.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.local
    }

    /// How the source stands.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Notes that so many bytes were read.
    pub(super) fn read(&mut self, bytes: usize, origin: Origin) {
        self.tally.bytes += bytes as u64;
        self.newest_us = Some(origin.time_us);
    }

    /// Hands the counts to the meters.
    pub fn flush(&mut self) {
        if let Some(newest_us) = self.newest_us.take() {
            self.status.heard(newest_us);
        }
        self.meters.flush(&mut self.tally);
    }

    /// Announces an error of the source itself.
    pub fn fault(&self, code: &str, time_us: i64, message: impl FnOnce() -> String) {
        let device = source_device(&self.manner.name);
        self.intake.fault(&device, code, time_us, message);
    }

    /// Notes datagrams that the kernel dropped.
    pub fn kernel_drops(&mut self, count: u64, time_us: i64, message: impl FnOnce() -> String) {
        self.tally.kernel_drops += count;
        self.packed.all_lost();
        let device = source_device(&self.manner.name);
        self.intake
            .faults(&device, "kernel_drops", count, time_us, message);
    }

    /// The id that the source gives to all that it reads.
    pub(super) fn hardware_id(&self) -> Option<Arc<str>> {
        self.hardware_id.clone()
    }

    /// Gives a frame to the intake.
    pub(super) fn take(&mut self, heard: Heard<'_>, right: &mut Right<'_>, now_us: i64) {
        self.intake
            .take(&self.manner, heard, right, &mut self.tally, now_us);
    }

    pub(super) fn address(&mut self, from: From) -> Arc<str> {
        let From::Net(address) = from else {
            return Arc::clone(&self.local);
        };
        if self.addresses.len() >= MAX_PEERS {
            self.addresses.clear();
        }
        let known = self.addresses.entry(address.ip());
        Arc::clone(known.or_insert_with(|| Arc::from(address.ip().to_canonical().to_string())))
    }

    /// A datagram: of the ADR-018 family, or text with one or more lines; told apart by the first bytes.
    pub fn datagram(&mut self, bytes: &[u8], origin: Origin) {
        self.read(bytes.len(), origin);
        if self.kind == Kind::Nexmon {
            self.nexmon(bytes, origin);
            return;
        }
        let (payload, trailer) = signed::split(bytes);
        if is_text(bytes) {
            let mut right = right(origin, payload, trailer);
            for line in payload.split(|byte| *byte == b'\n') {
                self.line(line, origin, &mut right);
            }
            return;
        }
        self.tally.datagrams += 1;
        let decoded = adr018::decode(payload, origin.time_us);
        // The trailer's number may stand in a frame by chance: then it is the frame that fits its length.
        let (decoded, mut right) = match (decoded, trailer) {
            (Err(_), Some(_)) => (
                adr018::decode(bytes, origin.time_us),
                right(origin, bytes, None),
            ),
            (decoded, trailer) => (decoded, right(origin, payload, trailer)),
        };
        match decoded {
            Ok(Packet::Csi { node, frame, .. }) => {
                self.packed
                    .whole(origin.from, node, payload, origin.time_us);
                self.adr018(node, frame, &mut right, origin);
            }
            Ok(Packet::Edge(report)) => self.edge(report, bytes.len(), &mut right, origin),
            // Talk between nodes is not CSI.
            Ok(Packet::Mesh) => {}
            Err(error) => {
                self.tally.malformed += 1;
                let node = adr018::peek_node(bytes);
                if let Some(node) = node {
                    self.packed.lost(origin.from, node);
                }
                let id = node.map(|node| self.node_id(node));
                let address = self.address(origin.from);
                self.intake.malformed(
                    id.as_deref(),
                    &address,
                    error.code(),
                    origin.time_us,
                    || format!("datagram from {}: {error}", shown(origin, &address)),
                );
            }
        }
    }

    /// A frame of an ADR-018 node.
    fn adr018(&mut self, node: u8, frame: Frame, right: &mut Right<'_>, origin: Origin) {
        let (id, address) = (self.node_id(node), self.address(origin.from));
        let heard = Heard {
            frame,
            id: &id,
            place: None,
            device_type: ADR018,
            from: origin.from,
            address: &address,
            recorded: origin.recorded,
        };
        self.take(heard, right, origin.time_us);
    }

    /// What a node concludes itself, which is kept as its own claim; or a compressed frame.
    fn edge(&mut self, report: EdgeReport, size: usize, right: &mut Right<'_>, origin: Origin) {
        let (node, time_us) = (report.node, origin.time_us);
        let Report::Compressed(packet) = &report.report else {
            let (id, address) = (self.node_id(node), self.address(origin.from));
            let claim = Claim {
                report,
                id: &id,
                from: origin.from,
                address: &address,
            };
            self.intake
                .claim(&self.manner, claim, right, &mut self.tally, time_us);
            return;
        };
        match self.packed.unpack(origin.from, node, packet, size, time_us) {
            Unpacked::Frame(frame) => {
                self.tally.unpacked += 1;
                self.adr018(node, frame, right, origin);
            }
            Unpacked::Besides | Unpacked::Waiting => self.tally.packed += 1,
        }
    }

    fn node_id(&mut self, node: u8) -> Arc<str> {
        if let Some(id) = &self.hardware_id {
            return Arc::clone(id);
        }
        let known = self.nodes.entry(node);
        Arc::clone(known.or_insert_with(|| Arc::from(format!("adr018:{node}"))))
    }

    /// A piece of a stream of lines.
    pub fn piece(&mut self, piece: Piece<'_>, origin: Origin) {
        match piece {
            Piece::Whole(line) => {
                self.read(line.len() + 1, origin);
                self.line(line, origin, &mut right(origin, &[], None));
            }
            Piece::TooLong(found) => {
                self.read(usize::try_from(found).unwrap_or(usize::MAX), origin);
                self.tally.datagrams += 1;
                self.tally.malformed += 1;
                let address = self.address(origin.from);
                let id = self.hardware_id.clone();
                self.intake.malformed(
                    id.as_deref(),
                    &address,
                    "line_too_long",
                    origin.time_us,
                    || {
                        esp32_csv::Error::LineTooLong {
                            found: usize::try_from(found).unwrap_or(usize::MAX),
                        }
                        .to_string()
                    },
                );
            }
        }
    }

    /// One `CSI_DATA` line.
    fn line(&mut self, line: &[u8], origin: Origin, right: &mut Right<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        self.tally.datagrams += 1;
        let address = self.address(origin.from);
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&origin.from) {
            self.peers.clear();
        }
        let peer = self.peers.entry(origin.from).or_default();
        if peer.place.is_empty() {
            peer.place = Arc::from(format!("esp32-csv:{address}"));
        }
        let receive_time_us = (!origin.recorded).then_some(origin.time_us);
        let frame = match peer.decoder.line(line, receive_time_us) {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => {
                self.tally.malformed += 1;
                let id = self
                    .hardware_id
                    .clone()
                    .or_else(|| (!peer.id.is_empty()).then(|| Arc::clone(&peer.id)));
                self.intake.malformed(
                    id.as_deref(),
                    &address,
                    error.code(),
                    origin.time_us,
                    || format!("line from {}: {error}", shown(origin, &address)),
                );
                return;
            }
        };
        let mac = frame.transmitter.unwrap_or_default();
        if peer.id.is_empty() || peer.mac != mac {
            peer.mac = mac;
            peer.id = Arc::from(mac_text(mac));
        }
        let id = self
            .hardware_id
            .clone()
            .unwrap_or_else(|| Arc::clone(&peer.id));
        if let Some(what) = peer.clock(frame.device_time_us, origin) {
            self.intake.clock_jump(&id, origin.time_us, || what);
        }
        let place = Arc::clone(&peer.place);
        let heard = Heard {
            frame,
            id: &id,
            place: self.hardware_id.is_none().then_some(&*place),
            device_type: ESP32_CSV,
            from: origin.from,
            address: &address,
            recorded: origin.recorded,
        };
        self.intake
            .take(&self.manner, heard, right, &mut self.tally, origin.time_us);
    }

    /// A UDP datagram out of a capture, by its port and first bytes; other traffic is left alone.
    pub fn captured(&mut self, port: u16, datagram: &[u8], origin: Origin) {
        if nexmon::recognised(port, datagram) {
            self.read(datagram.len(), origin);
            self.nexmon(datagram, origin);
            return;
        }
        let known = matches!(datagram, [_, _, 0x11, 0xC5, ..]) || datagram.starts_with(b"CSI_DATA");
        if known {
            self.datagram(datagram, origin);
        }
    }

    /// Something in a stream that is no record, after which the stream was found again, or not.
    pub fn broken(&mut self, origin: Origin, code: &str, message: impl FnOnce() -> String) {
        self.tally.malformed += 1;
        let address = self.address(origin.from);
        let id = self.hardware_id.clone();
        self.intake
            .malformed(id.as_deref(), &address, code, origin.time_us, message);
    }
}

impl Peer {
    /// What is wrong with the device's clock, if it jumped. A wrap of its 32 bits is none.
    fn clock(&mut self, device_time_us: Option<u64>, origin: Origin) -> Option<String> {
        let device_us = i64::try_from(device_time_us?).ok()?;
        let before = self.newest.replace((device_us, origin.time_us));
        let restarts = self.decoder.restarts();
        if std::mem::replace(&mut self.restarts, restarts) != restarts {
            return Some("the device's clock went back: it started again".to_owned());
        }
        let (device_before, before_us) = before?;
        let ahead = (device_us - device_before) - origin.time_us.saturating_sub(before_us);
        (!origin.recorded && ahead > CLOCK_JUMP_US).then(|| {
            #[allow(clippy::cast_precision_loss)]
            let seconds = ahead as f64 / 1e6;
            format!("the device's clock went {seconds:.1} s ahead of the time that passed")
        })
    }
}

/// Whether a datagram is text: a `CSI_DATA` line, its header, a comment or a log line. All magic numbers of the ADR-018
/// family have bytes above 127.
fn is_text(bytes: &[u8]) -> bool {
    let beginning = bytes.get(..8).unwrap_or(bytes);
    !beginning.is_empty()
        && beginning
            .iter()
            .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

pub(super) fn right<'a>(
    origin: Origin,
    payload: &'a [u8],
    trailer: Option<signed::Trailer>,
) -> Right<'a> {
    match origin.from {
        From::Net(_) => Right::Datagram(payload, trailer),
        From::Local(_) => Right::Local,
    }
}

pub(super) fn shown(origin: Origin, address: &str) -> String {
    match origin.from {
        From::Net(address) => address.to_string(),
        From::Local(_) => address.to_owned(),
    }
}

/// `aa:bb:cc:dd:ee:ff`.
fn mac_text(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
