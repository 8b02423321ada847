//! Sends at a rate, and remembers when each datagram left.

use std::net::{SocketAddr, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use simulator::DatagramLoop;

use crate::profile::Load;

const TICK: Duration = Duration::from_millis(1);

/// When the datagrams of one device left, by sequence number, in microseconds since the start of all.
pub struct Sent {
    pub node: u8,
    pub at_us: Vec<u64>,
}

/// Everything that was sent.
pub struct Offered {
    pub devices: Vec<Sent>,
    /// How late the datagrams left against the clock of the rate, microseconds, sorted.
    pub late_us: Vec<u64>,
    /// First to last.
    pub elapsed: Duration,
}

impl Offered {
    pub fn frames(&self) -> u64 {
        self.devices
            .iter()
            .map(|device| device.at_us.len() as u64)
            .sum()
    }

    /// Frames that left at or after a point in time.
    pub fn frames_from(&self, from_us: u64) -> u64 {
        let after = |sent: &Sent| sent.at_us.iter().filter(|at| **at >= from_us).count() as u64;
        self.devices.iter().map(after).sum()
    }
}

/// Starts to send from two threads; `epoch` is the zero of all times.
pub fn start(load: Load, loops: Vec<DatagramLoop>, target: SocketAddr, epoch: Instant) -> Sending {
    let devices = loops.len();
    let mut shares = [Vec::new(), Vec::new()];
    for (index, datagrams) in loops.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(index % 2) {
            share.push((index, datagrams));
        }
    }
    let threads = shares
        .into_iter()
        .filter(|share| !share.is_empty())
        .map(|share| thread::spawn(move || send(load, devices, share, target, epoch)))
        .collect();
    Sending { threads, epoch }
}

/// The sending threads.
pub struct Sending {
    threads: Vec<JoinHandle<anyhow::Result<Share>>>,
    epoch: Instant,
}

struct Share {
    sent: Vec<Sent>,
    late_us: Vec<u64>,
}

impl Sending {
    /// Waits for the end.
    pub async fn finish(self) -> anyhow::Result<Offered> {
        let epoch = self.epoch;
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            threads
                .into_iter()
                .map(JoinHandle::join)
                .collect::<Vec<_>>()
        });
        let mut offered = Offered {
            devices: Vec::new(),
            late_us: Vec::new(),
            elapsed: Duration::ZERO,
        };
        for share in joined.await? {
            let share = share.map_err(|_| anyhow!("a sending thread panicked"))??;
            offered.devices.extend(share.sent);
            offered.late_us.extend(share.late_us);
        }
        offered.elapsed = epoch.elapsed();
        offered.late_us.sort_unstable();
        offered.devices.sort_by_key(|device| device.node);
        Ok(offered)
    }
}

/// Sends the datagrams of some devices; `devices` is the number of all, which take turns within the period.
fn send(
    load: Load,
    devices: usize,
    share: Vec<(usize, DatagramLoop)>,
    target: SocketAddr,
    epoch: Instant,
) -> anyhow::Result<Share> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(target)?;
    let each = load.frames_each();
    let period_us = 1e6 / load.rate_hz;
    let mut late_us = Vec::with_capacity(each as usize * share.len());
    let mut all: Vec<(f64, DatagramLoop, Vec<u64>)> = share
        .into_iter()
        .map(|(index, datagrams)| {
            let phase_us = period_us * index as f64 / devices as f64;
            (phase_us, datagrams, Vec::with_capacity(each as usize))
        })
        .collect();
    let now_us = || u64::try_from(epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
    for turn in 0..each {
        for (phase_us, datagrams, at_us) in &mut all {
            let due_us = (f64::from(turn) * period_us + *phase_us) as u64;
            let mut now = now_us();
            while now < due_us {
                // To the next tick: what is due by then leaves together.
                thread::sleep(TICK);
                now = now_us();
            }
            late_us.push(now - due_us);
            let (_, datagram) = datagrams.next_datagram();
            // Stamped before the call: the time in the kernel counts.
            at_us.push(now_us());
            socket
                .send(datagram)
                .context("a datagram could not be sent")?;
        }
    }
    let sent = all
        .into_iter()
        .map(|(_, datagrams, at_us)| Sent {
            node: datagrams.node(),
            at_us,
        })
        .collect();
    Ok(Share { sent, late_us })
}
