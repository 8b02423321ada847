//! Where frames come from. Each source is a task that reads bytes and gives them to a [`feed::Feed`]; the [`intake`] does
//! the rest. A source that fails is announced and opened again; it stops nobody else.

pub mod cards;
pub mod feed;
pub mod follow;
pub mod identity;
pub mod intake;
pub mod lanes;
pub mod lines;
pub mod meters;
pub mod packed;
pub mod packets;
pub mod rate;
pub mod replay;
pub mod serial;
pub mod signed;
pub mod status;
pub mod tcp;
pub mod udp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{Framing, Kind, Plan, Reach};
use crate::source::feed::Feed;
use crate::source::follow::Follow;
use crate::source::identity::From;
use crate::source::intake::{Intake, now_us};
use crate::source::lines::Lines;
use crate::source::packets::Packets;
use crate::source::status::Status;

/// First pause before a source is opened again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A source that ran for so long has recovered.
const RECOVERED: Duration = Duration::from_secs(10);

/// One source.
pub struct Source {
    plan: Plan,
    from: From,
    feed: Feed,
    opened: Option<Opened>,
    follow: Option<Follow>,
    /// Where it listened, when port 0 was asked for: it comes back there.
    address: Option<SocketAddr>,
}

/// What was bound at start.
enum Opened {
    Udp(udp::Listener),
    Tcp(TcpListener),
}

impl Source {
    /// The source with this number.
    #[must_use]
    pub fn new(plan: Plan, number: usize, intake: Arc<Intake>, announce_budget: u32) -> Self {
        let from = From::Local(number);
        let follow = match (&plan.reach, plan.kind) {
            (Reach::File { path, from: begin }, Kind::Pcap) => {
                let content = follow::Content::Packets(Packets::default());
                Some(Follow::new(path, *begin, from, content))
            }
            (Reach::File { path, from: begin }, _) => {
                let content = follow::Content::Lines(Lines::default());
                Some(Follow::new(path, *begin, from, content))
            }
            _ => None,
        };
        Self {
            feed: Feed::new(intake, &plan, announce_budget),
            from,
            plan,
            opened: None,
            follow,
            address: None,
        }
    }

    /// Name of the source.
    #[must_use]
    pub fn name(&self) -> &str {
        self.plan.name.as_str()
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(self.feed.status())
    }

    /// Binds the address of a source that listens; datagrams wait in the kernel from then on.
    ///
    /// # Errors
    /// Where it cannot be bound.
    pub async fn open(&mut self) -> anyhow::Result<Option<SocketAddr>> {
        match &self.plan.reach {
            Reach::Datagrams {
                listen,
                buffer_bytes,
            } => {
                let listener = udp::bind(self.address.unwrap_or(*listen), *buffer_bytes)?;
                self.address = Some(listener.address()?);
                self.opened = Some(Opened::Udp(listener));
            }
            Reach::Listen { listen, .. } => {
                let address = self.address.unwrap_or(*listen);
                let listener = TcpListener::bind(address)
                    .await
                    .with_context(|| format!("cannot bind the CSI listener to tcp {address}"))?;
                self.address = Some(listener.local_addr()?);
                self.opened = Some(Opened::Tcp(listener));
            }
            Reach::Connect { .. } | Reach::Serial { .. } | Reach::File { .. } => return Ok(None),
        }
        let address = self.address.map(|address| address.to_string());
        self.feed.status().opened(address);
        Ok(self.address)
    }

    /// Reads until `stop`. What fails is announced and tried again.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let began = tokio::time::Instant::now();
            let ended = self.read(&stop).await;
            self.feed.flush();
            let Err(error) = ended else { continue };
            self.opened = None;
            if began.elapsed() >= RECOVERED {
                pause = FIRST_PAUSE;
            }
            tracing::debug!(
                source = self.name(),
                error = format!("{error:#}"),
                "source failed"
            );
            self.feed.tally.failures += 1;
            self.feed.flush();
            self.feed.status().failed(format!("{error:#}"), now_us());
            self.feed.fault("source_failed", now_us(), || {
                format!("source {:?}: {error:#}", self.plan.name.as_str())
            });
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    async fn read(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        if self.opened.is_none() {
            self.open().await?;
        }
        let intel = self.plan.kind == Kind::IntelNetlink;
        let content = |framing: Framing| {
            if intel {
                tcp::Content::Intel5300
            } else {
                tcp::Content::Esp32(framing)
            }
        };
        match (&self.plan.reach, &self.opened, &mut self.follow) {
            (_, Some(Opened::Udp(listener)), _) => listener.run(&mut self.feed, stop).await,
            (
                Reach::Listen {
                    max_connections,
                    framing,
                    ..
                },
                Some(Opened::Tcp(listener)),
                _,
            ) => {
                tcp::listen(
                    listener,
                    content(*framing),
                    *max_connections,
                    &self.feed,
                    stop,
                )
                .await
            }
            (Reach::Connect { to, framing }, ..) => {
                tcp::connect(to, content(*framing), &mut self.feed, stop).await
            }
            (Reach::Serial { path, baud }, ..) => {
                serial::run(path, *baud, self.from, &mut self.feed, stop).await
            }
            (_, _, Some(follow)) => follow.run(&mut self.feed, stop).await,
            // Nothing else comes out of `open`.
            _ => Err(anyhow::anyhow!("the source has nothing to read from")),
        }
    }
}
