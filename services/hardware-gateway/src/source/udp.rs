//! A UDP socket, read in batches. What the kernel drops because the socket's buffer is full is counted (`SO_RXQ_OVFL`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::source::feed::{Feed, Origin};
use crate::source::identity::From;
use crate::source::intake::now_us;

/// Datagrams read before other tasks get their turn.
const BATCH: usize = 256;

/// What comes within so much time is read together, while datagrams come close upon each other.
const TOGETHER: Duration = Duration::from_millis(1);

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
    batch::count_drops(&socket);
    socket
        .bind(&address.into())
        .with_context(|| format!("cannot bind the CSI listener to udp {address}"))?;
    tracing::info!(%address, asked_bytes, granted_bytes, "listening for CSI");
    Ok(Listener {
        socket: UdpSocket::from_std(socket.into())?,
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
        // The kernel counts from the birth of the socket.
        let mut dropped = 0_u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                ready = self.socket.readable() => ready.context("the CSI socket failed")?,
            }
            let mut drops = None;
            let read = reader.read(&self.socket, BATCH, |bytes, peer, overflow| {
                drops = overflow.or(drops);
                let origin = Origin {
                    from: From::Net(peer),
                    time_us: now_us(),
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
            match read.context("the CSI socket failed")? {
                0 | 1 => {}
                BATCH => tokio::task::yield_now().await,
                // They come closer than one by one: waking up for each few of them costs more than all the rest.
                _ => tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(TOGETHER) => {}
                },
            }
        }
        Ok(())
    }
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
    //! `recvmmsg`. The first datagram of a batch is read by `recvmsg`, which also tells what the kernel dropped.

    use std::io::{self, IoSliceMut};
    use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{
        ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, recvmsg,
        setsockopt, sockopt,
    };
    use tokio::io::Interest;
    use tokio::net::UdpSocket;

    use super::{MAX_DATAGRAM, harmless};

    /// Datagrams in one system call.
    const AT_ONCE: usize = 32;

    pub(super) struct Reader {
        buffers: Vec<u8>,
        control: Vec<u8>,
    }

    pub(super) fn count_drops(socket: &socket2::Socket) {
        if let Err(error) = setsockopt(socket, sockopt::RxqOvfl, &1) {
            tracing::warn!(%error, "the kernel does not tell what it drops");
        }
    }

    impl Reader {
        pub fn new() -> Self {
            Self {
                buffers: vec![0; AT_ONCE * MAX_DATAGRAM],
                control: nix::cmsg_space!(u32),
            }
        }

        /// Reads what is there, at most about `most`; returns how many.
        pub fn read(
            &mut self,
            socket: &UdpSocket,
            most: usize,
            mut each: impl FnMut(&[u8], SocketAddr, Option<u32>),
        ) -> io::Result<usize> {
            let mut read = 0;
            // Not kept: it holds pointers, and may not go from thread to thread.
            let mut headers = None;
            while read < most {
                let step = if read == 0 {
                    socket.try_io(Interest::READABLE, || self.first(socket, &mut each))
                } else {
                    socket.try_io(Interest::READABLE, || {
                        let headers =
                            headers.get_or_insert_with(|| MultiHeaders::preallocate(AT_ONCE, None));
                        self.more(socket, headers, &mut each)
                    })
                };
                match step {
                    Ok(datagrams) => read += datagrams,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(read),
                    Err(error) if harmless(&error) => read += 1,
                    Err(error) => return Err(error),
                }
            }
            Ok(most)
        }

        fn first(
            &mut self,
            socket: &UdpSocket,
            each: &mut impl FnMut(&[u8], SocketAddr, Option<u32>),
        ) -> io::Result<usize> {
            let buffer = self.buffers.get_mut(..MAX_DATAGRAM).unwrap_or_default();
            let mut slices = [IoSliceMut::new(buffer)];
            let message = recvmsg::<SockaddrStorage>(
                socket.as_raw_fd(),
                &mut slices,
                Some(&mut self.control),
                MsgFlags::MSG_DONTWAIT,
            )?;
            let dropped = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::RxqOvfl(dropped) => Some(dropped),
                _ => None,
            });
            let peer = message.address.as_ref().and_then(address);
            let bytes = message.iovs().next().unwrap_or_default();
            if let Some(peer) = peer {
                each(bytes, peer, dropped);
            }
            Ok(1)
        }

        fn more(
            &mut self,
            socket: &UdpSocket,
            headers: &mut MultiHeaders<SockaddrStorage>,
            each: &mut impl FnMut(&[u8], SocketAddr, Option<u32>),
        ) -> io::Result<usize> {
            let buffers = self.buffers.chunks_mut(MAX_DATAGRAM);
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                buffers.map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let messages = recvmmsg(
                socket.as_raw_fd(),
                headers,
                slices.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            )?;
            let mut read = 0;
            for message in messages {
                read += 1;
                if let Some(peer) = message.address.as_ref().and_then(address) {
                    each(message.iovs().next().unwrap_or_default(), peer, None);
                }
            }
            Ok(read)
        }
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
    use std::net::SocketAddr;

    use tokio::net::UdpSocket;

    use super::{MAX_DATAGRAM, harmless};

    pub(super) struct Reader {
        buffer: Vec<u8>,
    }

    pub(super) fn count_drops(_: &socket2::Socket) {}

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
            mut each: impl FnMut(&[u8], SocketAddr, Option<u32>),
        ) -> io::Result<usize> {
            let mut read = 0;
            while read < most {
                match socket.try_recv_from(&mut self.buffer) {
                    Ok((length, peer)) => {
                        each(self.buffer.get(..length).unwrap_or_default(), peer, None);
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
