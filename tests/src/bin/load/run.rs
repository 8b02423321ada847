//! One run, from an empty folder to its result.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::jetstream;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use simulator::{DatagramLoop, Scenario};

use crate::measure::{self, Memory};
use crate::profile::Load;
use crate::sender;
use crate::system::{Setup, System};
use crate::windows::{self, Arrived, Latencies};

/// Datagrams made beforehand for each device.
const LOOP: u16 = 500;
/// All is worked off when nothing has changed for so long.
const QUIET: Duration = Duration::from_secs(2);
/// Then the run is reported as it is.
const LONGEST_DRAIN: Duration = Duration::from_secs(60);

/// What one run measured.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub load: Load,
    pub separate: bool,
    /// Seconds from spawning to ready on an empty folder, and on what that left.
    pub start_empty_s: f64,
    pub start_again_s: f64,
    pub stop_s: f64,
    pub frames: Frames,
    pub sender: SenderQuality,
    pub processes: Vec<Used>,
    /// Seconds from the last datagram until the last trace of work.
    pub drain_s: f64,
    /// All was worked off within the time for it.
    pub drained: bool,
    pub latency: Latencies,
    /// Events by what they are: stored by the end, counted by the server.
    pub events: Vec<(&'static str, u64)>,
}

impl Outcome {
    /// Frames per second that the system took, from the first datagram until all was worked off; absent where the gateway
    /// does not count.
    pub fn taken_hz(&self) -> Option<f64> {
        let taken = self
            .frames
            .read?
            .checked_sub(self.frames.shed.unwrap_or(0))?;
        let sending_s = self.frames.offered as f64 / self.sender.rate_hz;
        Some(taken as f64 / (sending_s + self.drain_s))
    }
}

/// What became of the frames, warm-up included.
#[derive(Debug, Serialize)]
pub struct Frames {
    pub offered: u64,
    /// Datagrams that the gateway read; absent where it has no such counter.
    pub read: Option<u64>,
    pub dropped_at_socket: u64,
    pub stored: u64,
    /// Offered, and not stored; absent where the stream was too small to hold all.
    pub missing: Option<u64>,
    pub stored_twice: u64,
    /// Frames that the gateway shed; absent where it has no such counter, or none was shed.
    pub shed: Option<u64>,
    /// Stored frames of the device with the fewest, and of the one with the most.
    pub by_device: (u64, u64),
}

/// How well the sender kept to its rate.
#[derive(Debug, Serialize)]
pub struct SenderQuality {
    pub rate_hz: f64,
    pub late_p99_ms: f64,
    pub late_max_ms: f64,
    /// CPU time of this program per frame sent.
    pub cpu_us_per_frame: f64,
}

/// What a process used.
#[derive(Debug, Serialize)]
pub struct Used {
    pub name: String,
    pub cpu_us_per_frame: f64,
    /// CPU time over wall time; 1.0 is one core.
    pub cores: f64,
    pub ready: Memory,
    pub end: Memory,
}

/// A look at everything that moves while there is work.
#[derive(Clone)]
struct Look {
    at: Instant,
    cpu_s: Vec<f64>,
    own_cpu_s: f64,
    progress: Vec<u64>,
}

struct Watcher {
    http: reqwest::Client,
    jetstream: jetstream::Context,
    admin: String,
    pids: Vec<u32>,
}

/// Starts the system, loads it, and stops it.
pub async fn run(setup: &Setup, load: Load) -> anyhow::Result<Outcome> {
    let dir = tempfile::tempdir()?;
    let first = System::start(setup, dir.path()).await?;
    let start_empty_s = first.started_in.as_secs_f64();
    first.stop().await?;
    let system = System::start(setup, dir.path()).await?;
    let measured = measure_run(&system, load).await;
    let mut outcome = measured.with_context(|| system.logs())?;
    outcome.separate = setup.separate;
    outcome.start_empty_s = start_empty_s;
    outcome.start_again_s = system.started_in.as_secs_f64();
    outcome.stop_s = system.stop().await?.as_secs_f64();
    Ok(outcome)
}

async fn measure_run(system: &System, load: Load) -> anyhow::Result<Outcome> {
    let udp: SocketAddr = system.address("hardware-gateway", "udp")?.parse()?;
    let nats = async_nats::connect(system.nats_url()?).await?;
    let processes = system.processes()?;
    let watcher = Watcher {
        http: reqwest::Client::new(),
        jetstream: jetstream::new(nats.clone()),
        admin: system.address("hardware-gateway", "admin")?,
        pids: processes.iter().map(|(_, pid)| *pid).collect(),
    };
    let ready = watcher.memory()?;
    register(system, load).await?;
    let arrived = collect(&nats).await?;
    let scenario = Scenario::preset("load")?.with_receivers(load.devices, 1)?;
    let loops = DatagramLoop::for_receivers(&scenario, 1, LOOP)?;

    let dropped_before = measure::dropped(udp)?;
    let epoch = Instant::now();
    let sending = sender::start(load, loops, udp, epoch);
    tokio::time::sleep_until((epoch + Duration::from_secs_f64(Load::WARM_UP_S)).into()).await;
    let before = watcher.look().await?;
    let from_us = u64::try_from(before.at.duration_since(epoch).as_micros())?;
    let offered = sending.finish().await?;
    let sent_at = Instant::now();
    let sent_cpu_s = measure::cpu_s(std::process::id())?;
    let (after, drained) = watcher.drained().await?;
    let end = watcher.memory()?;

    let measured_frames = offered.frames_from(from_us).max(1) as f64;
    let wall_s = after.at.duration_since(before.at).as_secs_f64();
    let used = processes
        .into_iter()
        .zip(before.cpu_s.iter().zip(&after.cpu_s))
        .zip(ready.into_iter().zip(end));
    let processes = used
        .map(|(((name, _), (before, after)), (ready, end))| Used {
            name,
            cpu_us_per_frame: (after - before) * 1e6 / measured_frames,
            cores: (after - before) / wall_s,
            ready,
            end,
        })
        .collect();
    let stored = e2e::clients::stored(&nats, "DATA", "data.csi.>").await?;
    let data = watcher.jetstream.get_stream("DATA").await?;
    let whole = data.cached_info().state.first_sequence <= 1;
    let kept = windows::kept(stored.iter().map(|message| &message.payload))?;
    let arrived = std::mem::take(&mut *arrived.lock().unwrap_or_else(PoisonError::into_inner));
    let latency = windows::latencies(&arrived, &kept, &offered, epoch, from_us)?;
    let read = watcher.datagrams().await?;
    let late_ms = |share| {
        windows::percentile(&offered.late_us, share).map_or(0.0, |late_us| late_us as f64 / 1e3)
    };
    Ok(Outcome {
        load,
        separate: false,
        start_empty_s: 0.0,
        start_again_s: 0.0,
        stop_s: 0.0,
        frames: Frames {
            offered: offered.frames(),
            read,
            dropped_at_socket: measure::dropped(udp)? - dropped_before,
            stored: kept.frames,
            missing: whole.then(|| offered.frames().saturating_sub(kept.distinct)),
            stored_twice: kept.frames - kept.distinct,
            shed: watcher.counter("gateway_shed_frames").await?,
            by_device: kept.by_device(),
        },
        sender: SenderQuality {
            rate_hz: offered.frames() as f64 / offered.elapsed.as_secs_f64(),
            late_p99_ms: late_ms(0.99),
            late_max_ms: late_ms(1.0),
            cpu_us_per_frame: (sent_cpu_s - before.own_cpu_s) * 1e6 / measured_frames,
        },
        processes,
        drain_s: after.at.saturating_duration_since(sent_at).as_secs_f64(),
        drained,
        latency,
        events: watcher.events().await?,
    })
}

/// Registers the devices.
async fn register(system: &System, load: Load) -> anyhow::Result<()> {
    let address = system.address("hardware-gateway", "grpc")?;
    let channel = e2e::clients::channel(&address).await?;
    futures::stream::iter(0..load.devices)
        .map(|index| {
            let channel = channel.clone();
            async move {
                let node = index + 1;
                let hardware_id = format!("adr018:{node}");
                let name = Load::device(node);
                e2e::clients::register(&channel, &name, &load.zone(index), &hardware_id).await
            }
        })
        .buffer_unordered(8)
        .try_collect::<Vec<_>>()
        .await
        .context("the devices could not be registered")?;
    Ok(())
}

/// Subscribes to `signal.signal_processed` as anybody would, and notes when each event comes.
async fn collect(nats: &async_nats::Client) -> anyhow::Result<Arc<Mutex<Vec<Arrived>>>> {
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let mut subscription = nats.subscribe("signal.signal_processed").await?;
    nats.flush().await?;
    let into = Arc::clone(&arrived);
    tokio::spawn(async move {
        while let Some(message) = subscription.next().await {
            let event = Arrived {
                at: Instant::now(),
                payload: message.payload,
            };
            into.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(event);
        }
    });
    Ok(arrived)
}

impl Watcher {
    fn memory(&self) -> anyhow::Result<Vec<Memory>> {
        self.pids.iter().map(|pid| measure::memory(*pid)).collect()
    }

    async fn datagrams(&self) -> anyhow::Result<Option<u64>> {
        self.counter("gateway_datagrams").await
    }

    async fn counter(&self, name: &str) -> anyhow::Result<Option<u64>> {
        let count = measure::counter(&self.http, &self.admin, name).await?;
        Ok(count.map(|count| count as u64))
    }

    async fn look(&self) -> anyhow::Result<Look> {
        let mut progress = Vec::new();
        for stream in ["DATA", "FRAMES", "SIGNAL", "POSE"] {
            progress.push(
                self.jetstream
                    .get_stream(stream)
                    .await?
                    .cached_info()
                    .state
                    .last_sequence,
            );
        }
        progress.extend(self.datagrams().await?);
        Ok(Look {
            at: Instant::now(),
            cpu_s: self
                .pids
                .iter()
                .map(|pid| measure::cpu_s(*pid))
                .collect::<Result<_, _>>()?,
            own_cpu_s: measure::cpu_s(std::process::id())?,
            progress,
        })
    }

    /// Looks until nothing changes any more: the look at the last change, and whether it came to that.
    async fn drained(&self) -> anyhow::Result<(Look, bool)> {
        let limit = Instant::now() + LONGEST_DRAIN;
        let mut last = self.look().await?;
        let mut poll = tokio::time::interval(Duration::from_millis(50));
        loop {
            poll.tick().await;
            let now = self.look().await?;
            if now.progress != last.progress {
                last = now;
            } else if now.at.duration_since(last.at) > QUIET {
                return Ok((last, true));
            }
            if Instant::now() > limit {
                return Ok((last, false));
            }
        }
    }

    async fn events(&self) -> anyhow::Result<Vec<(&'static str, u64)>> {
        let mut events = Vec::new();
        for (stream, event_type) in [
            ("FRAMES", "signal.csi_frame_received"),
            ("FRAMES", "signal.csi_frame_validated"),
            ("SIGNAL", "signal.signal_processed"),
            ("SIGNAL", "signal.signal_processing_failed"),
            ("POSE", "pose.motion_detected"),
            ("HARDWARE", "hardware.device_error"),
        ] {
            let stream = self.jetstream.get_stream(stream).await?;
            let subjects = stream.info_with_subjects(format!("{event_type}.>")).await?;
            let counts: Vec<(String, usize)> = subjects.try_collect().await?;
            events.push((
                event_type,
                counts.iter().map(|(_, count)| *count as u64).sum(),
            ));
        }
        Ok(events)
    }
}
