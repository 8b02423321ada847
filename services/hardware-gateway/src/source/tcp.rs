//! TCP: streams of lines or of records, from connections that others open or that the gateway opens.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Framing;
use crate::source::feed::{Feed, Origin};
use crate::source::identity::From;
use crate::source::intake::now_us;
use crate::source::lines::{Length, Lines, Records};

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// What a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Lines, or ADR-018 records.
    Esp32(Framing),
    /// Records of the Intel 5300's log, as `log_to_server` relays them.
    Intel5300,
}

/// Takes connections until `stop`; each is read by a task of its own.
///
/// # Errors
/// Where the listener fails.
pub async fn listen(
    listener: &TcpListener,
    content: Content,
    max_connections: usize,
    feed: &Feed,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let room = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = accepted.context("cannot take connections")?;
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            feed.fault("too_many_connections", now_us(), || {
                format!("a connection of {peer} was closed: {max_connections} are open")
            });
            continue;
        };
        let (mut feed, stop) = (feed.another(), stop.clone());
        connections.spawn(async move {
            let _permit = permit;
            if let Err(error) = connection(stream, peer, content, &mut feed, &stop).await {
                feed.fault("connection_failed", now_us(), || {
                    format!("connection of {peer}: {error:#}")
                });
            }
            feed.flush();
        });
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Opens a connection and reads it until `stop`.
///
/// # Errors
/// Where it cannot be opened, fails, or is closed from the other side.
pub async fn connect(
    to: &str,
    content: Content,
    feed: &mut Feed,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let stream = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        stream = TcpStream::connect(to) => stream.with_context(|| format!("cannot connect to {to}"))?,
    };
    let peer = stream.peer_addr()?;
    tracing::info!(source = feed.name(), to, "connected");
    feed.status().opened(None);
    connection(stream, peer, content, feed, stop).await?;
    if stop.is_cancelled() {
        return Ok(());
    }
    bail!("{to} closed the connection")
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    content: Content,
    feed: &mut Feed,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    // A peer that is gone without a word is found out.
    let alive = socket2::TcpKeepalive::new().with_time(std::time::Duration::from_secs(30));
    socket2::SockRef::from(&stream).set_tcp_keepalive(&alive)?;
    read(stream, From::Net(peer), content, feed, stop).await
}

enum Cutter {
    Unknown,
    Lines(Lines),
    Records(Records),
}

/// Reads a stream to its end, or until `stop`.
///
/// # Errors
/// Where reading fails.
pub async fn read(
    mut stream: impl AsyncRead + Unpin,
    from: From,
    content: Content,
    feed: &mut Feed,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut cutter = match content {
        Content::Esp32(Framing::Auto) => Cutter::Unknown,
        Content::Esp32(Framing::Lines) => Cutter::Lines(Lines::default()),
        Content::Esp32(Framing::Records) => Cutter::Records(Records::new(Length::U32Le)),
        Content::Intel5300 => Cutter::Records(Records::new(Length::U16Be)),
    };
    let mut chunk = vec![0_u8; CHUNK];
    let mut beginning = Vec::new();
    loop {
        let read = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            read = stream.read(&mut chunk) => read?,
        };
        if read == 0 {
            return Ok(());
        }
        let mut bytes = chunk.get(..read).unwrap_or_default();
        if matches!(cutter, Cutter::Unknown) {
            beginning.extend_from_slice(bytes);
            // A length of a record has zeros in its upper half; text has none.
            let [_, _, third, fourth, ..] = *beginning.as_slice() else {
                continue;
            };
            cutter = if (third, fourth) == (0, 0) {
                Cutter::Records(Records::new(Length::U32Le))
            } else {
                Cutter::Lines(Lines::default())
            };
            bytes = &beginning;
        }
        let origin = Origin {
            from,
            time_us: now_us(),
            recorded: false,
        };
        match &mut cutter {
            Cutter::Unknown => {}
            Cutter::Lines(lines) => lines.push(bytes, |piece| feed.piece(piece, origin)),
            Cutter::Records(records) => {
                let skipped = records.push(bytes, |record| match content {
                    Content::Esp32(_) => feed.datagram(record, origin),
                    Content::Intel5300 => feed.intel5300(record, origin),
                });
                if skipped > 0 {
                    feed.broken(origin, "bad_record", || {
                        format!("expected the length of a record and what it begins with, found neither: {skipped} bytes skipped")
                    });
                }
            }
        }
        beginning = Vec::new();
        feed.flush();
    }
}
