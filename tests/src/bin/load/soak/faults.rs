//! What goes wrong, and when; and how long it takes until all is well again.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context;
use e2e::disk::SmallDisk;
use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use super::devices::{Relay, now_us};
use super::observer::Observer;
use crate::measure;

/// A frame that left so long before a fault may still have been under way.
const BEFORE_US: i64 = 1_000_000;
/// A publish is given up after 10 s, and a source is tried again after 10 s at most.
const AFTER_US: i64 = 12_000_000;

/// One fault, and its end.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    pub what: &'static str,
    pub hour: f64,
    /// The one device that it concerns; all without it.
    pub device: Option<&'static str>,
    /// Wall clock, microseconds.
    pub began_us: i64,
    /// When its cause was gone.
    pub cleared_us: Option<i64>,
    /// From then until a frame of each device that it concerns was received, stored and read.
    pub frames_after_s: Option<f64>,
    /// From then until an event was stored on disk.
    pub events_after_s: Option<f64>,
}

impl Fault {
    /// Whether a frame of a device that left at this time may have been lost by it.
    pub fn explains(&self, device: &str, at_us: i64) -> bool {
        let end = self.cleared_us.unwrap_or(i64::MAX - AFTER_US) + AFTER_US;
        self.device.is_none_or(|one| one == device)
            && (self.began_us - BEFORE_US..=end).contains(&at_us)
    }

    pub fn broken(&self, patience: Duration) -> Option<String> {
        let within = |after: Option<f64>| after.is_some_and(|s| s <= patience.as_secs_f64());
        let (what, hour) = (self.what, self.hour);
        if self.cleared_us.is_none() {
            return Some(format!("{what} ({hour:.1} h) did not end"));
        }
        if !within(self.frames_after_s) {
            let after = self.frames_after_s;
            return Some(format!("{what} ({hour:.1} h): frames after {after:?} s"));
        }
        if !within(self.events_after_s) {
            let after = self.events_after_s;
            return Some(format!("{what} ({hour:.1} h): events after {after:?} s"));
        }
        None
    }
}

#[derive(Clone, Copy)]
enum Act {
    /// Somebody else has the port of a source.
    Occupied,
    Freed,
    Kill,
    Hang,
    GoOn,
    RelayGoes,
    RelayComes,
    Fill,
    Free,
}

/// The schedule, in hours of the simulated day: the same round twice, eleven hours apart. While the disk is full, a recording
/// is being made.
const SCHEDULE: &[(f64, Act)] = &[
    (0.0, Act::Occupied),
    (1.0, Act::Freed),
    (2.0, Act::Kill),
    (3.5, Act::RelayGoes),
    (4.0, Act::RelayComes),
    (5.5, Act::Hang),
    (6.1, Act::GoOn),
    (7.4, Act::Kill),
    (8.5, Act::Fill),
    (9.3, Act::Free),
    (13.0, Act::Kill),
    (14.5, Act::RelayGoes),
    (15.0, Act::RelayComes),
    (16.5, Act::Hang),
    (17.1, Act::GoOn),
    (18.4, Act::Kill),
    (19.5, Act::Fill),
    (20.3, Act::Free),
];

pub struct Faults {
    fresnel: u32,
    disk: SmallDisk,
    relay: Arc<Relay>,
    occupant: Option<UdpSocket>,
    late: SocketAddr,
    next: usize,
    all: Vec<Fault>,
    /// Wall clock at which an event was stored on disk last.
    event_us: Arc<AtomicI64>,
}

impl Faults {
    pub async fn new(
        nats: &str,
        fresnel: u32,
        disk: SmallDisk,
        relay: Arc<Relay>,
        occupant: UdpSocket,
        late: SocketAddr,
    ) -> anyhow::Result<Self> {
        // The server says an event again on its bare type when it has stored it.
        let nats = async_nats::connect(nats).await?;
        let mut events = nats.subscribe("signal.signal_processed").await?;
        let event_us = Arc::new(AtomicI64::new(0));
        let newest = Arc::clone(&event_us);
        tokio::spawn(async move {
            while events.next().await.is_some() {
                newest.store(now_us(), Ordering::Relaxed);
            }
        });
        Ok(Self {
            fresnel,
            disk,
            relay,
            occupant: Some(occupant),
            late,
            next: 0,
            all: Vec::new(),
            event_us,
        })
    }

    /// The nats-server that `fresnel up` runs now.
    pub fn nats_pid(&self) -> anyhow::Result<u32> {
        for child in measure::children(self.fresnel)? {
            if measure::name(child)? == "nats-server" {
                return Ok(child);
            }
        }
        anyhow::bail!("no nats-server runs")
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.nats_pid()?)?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    /// The last one, for the log.
    pub fn newest(&self) -> &'static str {
        self.all.last().map_or("none", |fault| fault.what)
    }

    fn begin(&mut self, what: &'static str, hour: f64, device: Option<&'static str>) {
        self.all.push(Fault {
            what,
            hour,
            device,
            began_us: now_us(),
            cleared_us: None,
            frames_after_s: None,
            events_after_s: None,
        });
    }

    fn clear(&mut self) {
        if let Some(fault) = self.all.last_mut() {
            fault.cleared_us = Some(now_us());
        }
    }

    /// Does what is due, and notes what is well again.
    pub async fn act(&mut self, hour: f64, observer: &Observer) -> anyhow::Result<()> {
        if let Some((due, act)) = SCHEDULE.get(self.next)
            && hour >= *due
        {
            self.next += 1;
            self.do_it(*act, *due)?;
        }
        let event_us = self.event_us.load(Ordering::Relaxed);
        for fault in &mut self.all {
            let Some(cleared_us) = fault.cleared_us else {
                continue;
            };
            if fault.events_after_s.is_none() && event_us > cleared_us {
                fault.events_after_s = Some((event_us - cleared_us) as f64 / 1e6);
            }
        }
        self.note(observer);
        Ok(())
    }

    fn do_it(&mut self, act: Act, hour: f64) -> anyhow::Result<()> {
        match act {
            Act::Occupied => self.begin("a source's port is taken", hour, Some("late")),
            Act::Freed => {
                let occupant = self.occupant.take().context("nobody has the port")?;
                debug_assert_eq!(occupant.local_addr().ok(), Some(self.late));
                drop(occupant);
                self.clear();
            }
            Act::Kill => {
                self.begin("nats-server killed", hour, None);
                self.signal(Signal::SIGKILL)?;
                self.clear();
            }
            Act::Hang => {
                self.begin("nats-server hangs", hour, None);
                self.signal(Signal::SIGSTOP)?;
            }
            Act::GoOn => {
                self.signal(Signal::SIGCONT)?;
                self.clear();
            }
            Act::RelayGoes => {
                self.begin("a TCP peer is gone", hour, Some("relay"));
                self.relay.go();
            }
            Act::RelayComes => {
                self.relay.come_back();
                self.clear();
            }
            Act::Fill => {
                self.begin("the disk is full", hour, None);
                self.disk.fill(self.fresnel)?;
            }
            Act::Free => {
                self.disk.free(self.fresnel)?;
                self.clear();
            }
        }
        Ok(())
    }

    /// Notes since when frames come again.
    fn note(&mut self, observer: &Observer) {
        for fault in &mut self.all {
            let (Some(cleared_us), None) = (fault.cleared_us, fault.frames_after_s) else {
                continue;
            };
            let devices: &[&str] = match &fault.device {
                Some(device) => &[device],
                None => &["wraps", "boots", "late", "clock", "clock-boots", "relay"],
            };
            let firsts: Option<Vec<i64>> = devices
                .iter()
                .map(|device| observer.first_since(device, cleared_us))
                .collect();
            let last = firsts.and_then(|firsts| firsts.into_iter().max());
            fault.frames_after_s = last.map(|last| (last - cleared_us) as f64 / 1e6);
        }
    }

    /// All of them.
    pub fn finish(mut self, observer: &Observer) -> Vec<Fault> {
        self.note(observer);
        self.all
    }
}
