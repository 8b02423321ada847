//! ADR-018 datagrams: one socket, read in batches, decoded, attributed, published.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use csi::Frame;
use csi::decode::adr018::{self, Packet};
use events::{DataSource, Name, Timestamp};
use opentelemetry::metrics::Counter;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config;
use crate::faults::Faults;
use crate::lifecycle::{Connection, Devices, NAMESPACE, Sender};
use crate::publish::{Destination, FramePublisher};
use crate::registry::Verdict;

/// Larger than any datagram of the family; a longer one is read whole up to here and refused.
const MAX_DATAGRAM: usize = 65_536;
/// Datagrams read before other tasks get their turn.
const BATCH: usize = 256;
/// Family name of ADR-018 senders.
pub const DEVICE_TYPE: &str = "esp32-adr018";

/// What the socket task leaves to the lifecycle task, so that a frame never waits for a command.
#[derive(Debug)]
pub enum Change {
    /// First frame of a registered device.
    Connected(Name, Connection),
    /// First frame of an unknown sender.
    Discovered(Sender, Box<Frame>),
}

/// Binds the socket.
///
/// # Errors
/// Where the address cannot be bound.
pub fn bind(config: &config::Udp) -> anyhow::Result<UdpSocket> {
    let address = config.listen;
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // The kernel grants what it may; what it granted is logged.
    socket.set_recv_buffer_size(config.receive_buffer_bytes)?;
    let granted = socket.recv_buffer_size()?;
    socket
        .bind(&address.into())
        .with_context(|| format!("cannot bind the CSI listener to udp {address}"))?;
    tracing::info!(%address, asked_bytes = config.receive_buffer_bytes, granted_bytes = granted, "listening for CSI");
    Ok(UdpSocket::from_std(socket.into())?)
}

/// Reads datagrams and publishes frames.
pub struct Listener {
    socket: UdpSocket,
    devices: Arc<Devices>,
    publisher: FramePublisher,
    faults: Arc<Mutex<Faults>>,
    changes: mpsc::Sender<Change>,
    datagrams: Counter<u64>,
    frames: Counter<u64>,
    malformed: Counter<u64>,
    unregistered: Counter<u64>,
}

/// A frame that is to be published.
struct Accepted {
    frame: Frame,
    device: Name,
    zone: String,
}

impl Listener {
    /// A listener on a bound socket.
    #[must_use]
    pub fn new(
        socket: UdpSocket,
        devices: Arc<Devices>,
        publisher: FramePublisher,
        faults: Arc<Mutex<Faults>>,
        changes: mpsc::Sender<Change>,
    ) -> Self {
        let meter = opentelemetry::global::meter("hardware-gateway");
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        Self {
            socket,
            devices,
            publisher,
            faults,
            changes,
            datagrams: counter("gateway_datagrams", "Datagrams read from the CSI socket"),
            frames: counter(
                "gateway_frames",
                "Frames of registered devices that were published",
            ),
            malformed: counter(
                "gateway_malformed_datagrams",
                "Datagrams that could not be decoded",
            ),
            unregistered: counter(
                "gateway_unregistered_frames",
                "Valid frames of senders that are not registered",
            ),
        }
    }

    /// Runs until `stop`, then waits for the acks of what was read.
    ///
    /// # Errors
    /// Where the socket fails. A failed publish is logged and counted: later frames go on.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut buffer = vec![0_u8; MAX_DATAGRAM];
        let mut accepted = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                ready = self.socket.readable() => ready.context("the CSI socket failed")?,
            }
            let mut read = 0;
            while read < BATCH {
                match self.socket.try_recv_from(&mut buffer) {
                    Ok((length, peer)) => {
                        read += 1;
                        let datagram = buffer.get(..length).unwrap_or_default();
                        accepted.extend(self.datagram(
                            datagram,
                            peer,
                            Timestamp::now().as_micros(),
                        ));
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    // A former send from this address was refused by its peer; nothing of ours is lost.
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
                    Err(error) => return Err(error).context("the CSI socket failed"),
                }
            }
            self.datagrams.add(read as u64, &[]);
            self.frames.add(accepted.len() as u64, &[]);
            for Accepted {
                frame,
                device,
                zone,
            } in accepted.drain(..)
            {
                let decision = self.publisher.announce(&frame);
                let to = Destination {
                    frame_id: frame_id(&device, &frame),
                    device: &device,
                    zone: &zone,
                    source: if frame.simulated {
                        DataSource::Simulated
                    } else {
                        DataSource::Live
                    },
                    run: None,
                    ingest_time_us: frame.receive_time_us,
                    last_of_run: false,
                };
                if let Err(error) = self.publisher.publish(&frame, &to, decision).await {
                    self.fault(device.as_str(), "publish_failed", to.ingest_time_us, || {
                        crate::error::chain(&error)
                    });
                }
            }
        }
        if let Err(error) = self.publisher.flush().await {
            tracing::warn!(
                error = crate::error::chain(&error),
                "frames were lost in stopping"
            );
        }
        Ok(())
    }

    fn datagram(&self, datagram: &[u8], peer: SocketAddr, now_us: i64) -> Option<Accepted> {
        let address = peer.ip().to_string();
        let (node, frame) = match adr018::decode(datagram, now_us) {
            Ok(Packet::Csi { node, frame, .. }) => (node, frame),
            // What edge nodes conclude is not ours to report; mesh packets are not CSI.
            Ok(_) => return None,
            Err(error) => {
                self.malformed.add(1, &[]);
                let id = adr018::peek_node(datagram).map(hardware_id);
                let device = self
                    .devices
                    .registry()
                    .malformed(id.as_deref(), &address, now_us);
                self.fault(&device, error.code(), now_us, || {
                    format!("datagram from {peer}: {error}")
                });
                return None;
            }
        };
        let id = hardware_id(node);
        let verdict = self
            .devices
            .registry()
            .frame(&id, DEVICE_TYPE, &address, &frame, now_us);
        match verdict {
            Verdict::Accepted {
                device,
                zone,
                connects,
                ..
            } => {
                if connects {
                    let source = if frame.simulated {
                        DataSource::Simulated
                    } else {
                        DataSource::Live
                    };
                    let link = Connection::of(&frame, &address, "udp", source, None);
                    if self
                        .changes
                        .try_send(Change::Connected(device.clone(), link))
                        .is_err()
                    {
                        // The next frame asks again.
                        self.devices.registry().set_changing(&device, false);
                    }
                }
                Some(Accepted {
                    frame,
                    device,
                    zone,
                })
            }
            Verdict::Maintenance => None,
            Verdict::Unregistered { first } => {
                self.unregistered.add(1, &[]);
                if first {
                    let sender = Sender {
                        hardware_id: id,
                        address,
                        device_type: DEVICE_TYPE,
                    };
                    if self
                        .changes
                        .try_send(Change::Discovered(sender, Box::new(frame)))
                        .is_err()
                    {
                        tracing::warn!("too many senders at once: one was not announced");
                    }
                }
                None
            }
        }
    }

    fn fault(&self, device: &str, code: &str, now_us: i64, message: impl FnOnce() -> String) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(device, code, now_us, message);
    }
}

/// The hardware id of an ADR-018 node.
fn hardware_id(node: u8) -> String {
    format!("adr018:{node}")
}

/// Id of a live frame: derived from what makes it this frame and no other.
fn frame_id(device: &Name, frame: &Frame) -> Uuid {
    let mut name = [0_u8; 80];
    let mut length = 0;
    let parts = [
        device.as_str().as_bytes(),
        &frame.receive_time_us.to_le_bytes(),
        &frame.sequence.to_le_bytes(),
    ];
    for byte in parts.into_iter().flatten() {
        if let Some(slot) = name.get_mut(length) {
            *slot = *byte;
            length += 1;
        }
    }
    Uuid::new_v5(&NAMESPACE, name.get(..length).unwrap_or_default())
}
