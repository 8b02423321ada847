//! A UDP socket, read in batches. When a datagram arrived the kernel says (`SO_TIMESTAMPNS`), so that waiting for a few of them
//! costs no precision. What the kernel drops because the socket's buffer is full is counted (`SO_RXQ_OVFL`).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;

use crate::source::feed::{Feed, Origin};
use crate::source::identity::From;
use crate::source::intake::now_us;

/// Datagrams read before other tasks get their turn.
const BATCH: usize = 256;

/// What comes within so much time is read together, while datagrams come close upon each other: each waking up, here and in
/// all that comes after, costs more than a frame.
const TOGETHER: Duration = Duration::from_millis(12);

/// As many as are worth a wait; sooner, the socket's buffer may fill up.
const WANTED: u32 = 120;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
    asked_bytes: usize,
    granted_bytes: usize,
}

/// Binds a socket.
///
/// # Errors
/// Where the address cannot be bound.
pub fn bind(address: SocketAddr, asked_bytes: usize) -> anyhow::Result<Listener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // The kernel grants what it may; what it granted is logged.
    socket.set_recv_buffer_size(asked_bytes)?;
    let granted_bytes = socket.recv_buffer_size()?;
    batch::ask_kernel(&socket);
    socket
        .bind(&address.into())
        .with_context(|| format!("cannot bind the CSI listener to udp {address}"))?;
    tracing::info!(%address, asked_bytes, granted_bytes, "listening for CSI");
    Ok(Listener {
        socket: socket.into(),
        asked_bytes,
        granted_bytes,
    })
}

impl Listener {
    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits until there is something to read.
    ///
    /// The socket is watched only while it is waited for. One that is watched all the time wakes a thread for each datagram,
    /// also for those that are left lying to be read together, and that costs more than the datagram.
    async fn readable(&self) -> io::Result<()> {
        let watched = self
            .socket
            .try_clone()
            .and_then(tokio::net::UdpSocket::from_std);
        if let Ok(watched) = watched {
            return watched.readable().await;
        }
        // No file descriptor is left: it is looked at from time to time instead.
        tokio::time::sleep(TOGETHER).await;
        Ok(())
    }

    /// Reads until `stop`.
    ///
    /// # Errors
    /// Where the socket fails.
    pub async fn run(&self, feed: &mut Feed, stop: &CancellationToken) -> anyhow::Result<()> {
        let meter = opentelemetry::global::meter("hardware-gateway");
        let label = [opentelemetry::KeyValue::new(
            "source",
            feed.name().to_owned(),
        )];
        meter
            .u64_gauge("gateway_receive_buffer_bytes")
            .with_description("Size of the socket's buffer that the kernel granted")
            .build()
            .record(self.granted_bytes as u64, &label);
        let mut reader = batch::Reader::new();
        let mut pace = Pace::new();
        // The kernel counts from the birth of the socket.
        let mut dropped = 0_u32;
        while !stop.is_cancelled() {
            let mut drops = None;
            let read = reader.read(&self.socket, BATCH, |bytes, peer, said| {
                drops = said.dropped.or(drops);
                let origin = Origin {
                    from: From::Net(peer),
                    time_us: said.arrived_us.unwrap_or_else(now_us),
                    recorded: false,
                };
                feed.datagram(bytes, origin);
            });
            if let Some(now) = drops.filter(|now| *now != dropped) {
                let lost = now.wrapping_sub(dropped);
                dropped = now;
                let (asked, granted) = (self.asked_bytes, self.granted_bytes);
                feed.kernel_drops(lost.into(), now_us(), || {
                    format!("the kernel dropped datagrams: the socket's buffer was full ({granted} bytes granted, {asked} asked)")
                });
            }
            feed.flush();
            match pace.read(read.context("the CSI socket failed")?, Instant::now()) {
                Wait::No => tokio::select! {
                    () = stop.cancelled() => break,
                    ready = self.readable() => ready.context("the CSI socket failed")?,
                },
                Wait::Turn => tokio::task::yield_now().await,
                Wait::For(together) => tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(together) => {}
                },
            }
        }
        Ok(())
    }
}

/// How long to wait for more before the socket is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// They come one by one.
    No,
    /// There is more already: only other tasks get their turn.
    Turn,
    /// They come close upon each other.
    For(Duration),
}

/// How fast datagrams come. Pure.
struct Pace {
    before: Instant,
}

impl Pace {
    fn new() -> Self {
        Self {
            before: Instant::now(),
        }
    }

    /// Notes that so many were read at `now`.
    fn read(&mut self, datagrams: usize, now: Instant) -> Wait {
        if datagrams == 0 {
            return Wait::No;
        }
        let took = now.saturating_duration_since(self.before);
        self.before = now;
        match u32::try_from(datagrams) {
            Ok(1) => Wait::No,
            Ok(some) if datagrams < BATCH => Wait::For((took * WANTED / some).min(TOGETHER)),
            _ => Wait::Turn,
        }
    }
}

/// What the kernel says of a datagram.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// When it arrived, microseconds since the Unix epoch.
    arrived_us: Option<i64>,
    /// Datagrams dropped since the birth of the socket.
    dropped: Option<u32>,
}

/// Larger than any datagram of the families; a longer one is read whole up to here and refused.
const MAX_DATAGRAM: usize = 65_536;

/// A former send from this address was refused by its peer; nothing of ours is lost.
fn harmless(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(target_os = "linux")]
mod batch {
    //! `recvmmsg`.

    use std::io::{self, IoSliceMut};
    use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{
        ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
        setsockopt, sockopt,
    };
    use nix::sys::time::TimeSpec;

    use super::{MAX_DATAGRAM, Said, harmless};

    /// Datagrams in one system call.
    const AT_ONCE: usize = 128;
    /// From one buffer to the next. Not a power of two: their beginnings would share a few lines of the cache.
    const PITCH: usize = MAX_DATAGRAM + 832;

    pub(super) struct Reader {
        buffers: Vec<u8>,
    }

    pub(super) fn ask_kernel(socket: &socket2::Socket) {
        if let Err(error) = setsockopt(socket, sockopt::RxqOvfl, &1) {
            tracing::warn!(%error, "the kernel does not tell what it drops");
        }
        if let Err(error) = setsockopt(socket, sockopt::ReceiveTimestampns, &true) {
            tracing::warn!(%error, "the kernel does not tell when datagrams arrive: the time of reading is taken");
        }
    }

    impl Reader {
        pub fn new() -> Self {
            Self {
                buffers: vec![0; AT_ONCE * PITCH],
            }
        }

        /// Reads what is there, at most about `most`; returns how many.
        pub fn read(
            &mut self,
            socket: &UdpSocket,
            most: usize,
            mut each: impl FnMut(&[u8], SocketAddr, Said),
        ) -> io::Result<usize> {
            let mut read = 0;
            while read < most {
                match self.more(socket, &mut each) {
                    Ok(datagrams) => {
                        read += datagrams;
                        // There was no more; that there is none now is not asked for.
                        if datagrams < AT_ONCE {
                            return Ok(read);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(read),
                    Err(error) if harmless(&error) => read += 1,
                    Err(error) => return Err(error),
                }
            }
            Ok(most)
        }

        fn more(
            &mut self,
            socket: &UdpSocket,
            each: &mut impl FnMut(&[u8], SocketAddr, Said),
        ) -> io::Result<usize> {
            // Not kept: they hold pointers, which may not go from thread to thread, and what the kernel wrote over their lengths.
            let mut headers =
                MultiHeaders::preallocate(AT_ONCE, Some(nix::cmsg_space!(u32, TimeSpec)));
            let buffers = self.buffers.chunks_exact_mut(PITCH);
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers
                .map(|buffer| [IoSliceMut::new(buffer.split_at_mut(MAX_DATAGRAM).0)])
                .collect();
            let messages = recvmmsg(
                socket.as_raw_fd(),
                &mut headers,
                slices.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            )?;
            let mut read = 0;
            for message in messages {
                read += 1;
                if let Some(peer) = message.address.as_ref().and_then(address) {
                    let bytes = message.iovs().next().unwrap_or_default();
                    each(bytes, peer, said(&message));
                }
            }
            Ok(read)
        }
    }

    fn said(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Said {
        let mut said = Said::default();
        for control in message.cmsgs().into_iter().flatten() {
            match control {
                ControlMessageOwned::RxqOvfl(dropped) => said.dropped = Some(dropped),
                ControlMessageOwned::ScmTimestampns(at) => {
                    let nanos = i128::from(at.tv_sec()) * 1_000_000_000 + i128::from(at.tv_nsec());
                    said.arrived_us = i64::try_from(nanos / 1_000).ok();
                }
                _ => {}
            }
        }
        said
    }

    fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
        let v4 = storage
            .as_sockaddr_in()
            .map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)));
        v4.or_else(|| {
            let v6 = storage.as_sockaddr_in6()?;
            Some(SocketAddr::V6(SocketAddrV6::from(*v6)))
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod batch {
    //! One datagram at a time.

    use std::io;
    use std::net::{SocketAddr, UdpSocket};

    use super::{MAX_DATAGRAM, Said, harmless};

    pub(super) struct Reader {
        buffer: Vec<u8>,
    }

    pub(super) fn ask_kernel(_: &socket2::Socket) {}

    impl Reader {
        pub fn new() -> Self {
            Self {
                buffer: vec![0; MAX_DATAGRAM],
            }
        }

        pub fn read(
            &mut self,
            socket: &UdpSocket,
            most: usize,
            mut each: impl FnMut(&[u8], SocketAddr, Said),
        ) -> io::Result<usize> {
            let mut read = 0;
            while read < most {
                match socket.recv_from(&mut self.buffer) {
                    Ok((length, peer)) => {
                        each(
                            self.buffer.get(..length).unwrap_or_default(),
                            peer,
                            Said::default(),
                        );
                        read += 1;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(read),
                    Err(error) if harmless(&error) => read += 1,
                    Err(error) => return Err(error),
                }
            }
            Ok(read)
        }
    }
}

#[cfg(test)]
mod tests;
