//! The soak: a day of the devices' time through the running system within some minutes, while things go wrong on a schedule.
//!
//! What runs faster than it would: the devices' counts and clocks (a `CSI_DATA` line's clock of 32 bits of microseconds wraps
//! every 71 min 35 s of the simulated day; ADR-018 datagrams carry a count and no clock), and the schedule. What does not:
//! the gateway's own clock, by which frames are received, silence is told, streams age and health is judged. A device sends
//! 70 frames a second on the wall, whatever the simulated day is compressed to.
//!
//! Everything is real: `fresnel up`, its nats-server with its files on a small tmpfs, UDP and TCP sockets on loopback. What
//! was stored is read back by a consumer of its own ([`observer`]), frame by frame, and each missing frame is held against
//! the faults that were made ([`accounts`]): one that is missing without a fault is a broken promise.

mod accounts;
mod devices;
mod faults;
mod observer;
mod recordings;
mod report;

use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use e2e::disk::SmallDisk;
use proto::gateway::v1::device_service_client::DeviceServiceClient;
use proto::gateway::v1::{Device as Registered, DeviceState, ListDevicesRequest};
use serde::Serialize;
use simulator::{DatagramLoop, Scenario};

use crate::measure;
use crate::system::{Setup, System};
use accounts::Accounts;
use devices::{Device, Form, Relay, Way};
use faults::{Fault, Faults};
use observer::Observer;
use recordings::{Recordings, Taken};

pub use report::table;

/// Hours of the simulated day.
pub const HOURS: u32 = 24;
/// The same faults come twice. Memory is held against itself at the same place after the first and after the second round:
/// a fault may raise it once (what it made wait is memory that the allocator keeps), and not each time.
const FIRST_ROUND: RangeInclusive<u32> = 10..=12;
/// Eleven hours later.
const SECOND_ROUND: RangeInclusive<u32> = 21..=23;
/// Growth of memory from round to round that is called none, as a share.
const MOST_GROWTH: f64 = 0.1;
/// After a fault, frames and events are to be stored again within so long, and a device is stuck that is not heard of for so
/// long.
const PATIENCE: Duration = Duration::from_secs(30);
/// The tmpfs. JetStream takes no more than three quarters of it.
const DISK_MEBIBYTES: u32 = 160;
/// What the streams and stores of the table need on it.
const STORAGE_SCALE: &str = "nats.storage_scale=0.02";
/// A device's clock may not run ahead by two seconds within one frame: the gateway would call that a jump.
const LONGEST_STEP_US: u32 = 1_990_000;
/// Datagrams made beforehand for each device.
const LOOP: u16 = 500;

/// What a soak measured.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub wall_s: f64,
    /// Simulated seconds in one of the wall.
    pub speed: f64,
    pub frames: Accounts,
    pub faults: Vec<Fault>,
    pub memory: Vec<Sample>,
    /// Memory of `fresnel up` after the first and after the second round of faults, means, MB.
    pub rounds_mb: [f64; 2],
    pub recordings: Vec<Taken>,
    pub counters: Vec<(&'static str, u64)>,
    pub devices: Vec<AtTheEnd>,
    /// What did not hold.
    pub broken: Vec<String>,
}

/// Memory at an hour.
#[derive(Debug, Serialize)]
pub struct Sample {
    pub hour: u32,
    pub fresnel_mb: f64,
    /// Absent where it was just being started again.
    pub nats_mb: Option<f64>,
}

/// A device when all is over.
#[derive(Debug, Serialize)]
pub struct AtTheEnd {
    pub device: String,
    pub state: String,
    pub health: String,
    pub rate_hz: Option<f32>,
    pub causes: Vec<String>,
}

/// What is under way.
struct Soak<'a> {
    system: &'a System,
    observer: Observer,
    faults: Faults,
    memory: Vec<Sample>,
    fresnel: u32,
}

/// Runs a simulated day in `wall_s` seconds.
pub async fn run(setup: &Setup, wall_s: f64) -> anyhow::Result<Outcome> {
    let speed = f64::from(HOURS) * 3600.0 / wall_s;
    let step_us = (speed * 1e6 / f64::from(devices::RATE_HZ)).round() as u32;
    if step_us > LONGEST_STEP_US {
        bail!(
            "--seconds is {wall_s}, and must be 630 at least: the clocks of the devices would jump"
        );
    }
    let dir = tempfile::tempdir()?;
    let disk = SmallDisk::new(&dir.path().join("disk"), DISK_MEBIBYTES)?.context(
        "a small disk cannot be mounted here: it needs root, or user namespaces (unshare --user --map-root-user --mount)",
    )?;
    // Another program has the port of one source when the system starts.
    let occupant = UdpSocket::bind("127.0.0.1:0")?;
    let late = occupant.local_addr()?;
    let relay = Relay::start()?;
    let setup = Setup {
        set: [&[STORAGE_SCALE.to_owned()], &*setup.set].concat(),
        ..setup.clone()
    };
    let config = dir.path().join("soak.toml");
    std::fs::write(&config, configuration(late, relay.address))?;
    let more = ["--config".to_owned(), config.display().to_string()];
    let system = System::on_disk(&setup, &disk, &more, dir.path()).await?;
    let outcome = measured(&system, &disk, wall_s, step_us, occupant, relay).await;
    let mut outcome = outcome.inspect_err(|_| keep_logs(dir.path()))?;
    outcome.wall_s = wall_s;
    outcome.speed = speed;
    if let Err(error) = system.stop().await {
        outcome
            .broken
            .push(format!("the system does not stop: {error:#}"));
    }
    if !outcome.broken.is_empty() {
        keep_logs(dir.path());
    }
    Ok(outcome)
}

fn configuration(late: SocketAddr, relay: SocketAddr) -> String {
    format!(
        "[[hardware_gateway.sources]]\nkind = \"udp\"\nname = \"late\"\nlisten = \"{late}\"\n\n\
         [[hardware_gateway.sources]]\nkind = \"tcp\"\nname = \"relay\"\nconnect = \"{relay}\"\n"
    )
}

/// For whoever looks into what did not hold.
fn keep_logs(dir: &Path) {
    let to = std::env::temp_dir().join("fresnel-soak.log");
    match std::fs::copy(dir.join("fresnel-up.log"), &to) {
        Ok(_) => eprintln!("the log is in {}", to.display()),
        Err(error) => eprintln!("the log could not be kept: {error}"),
    }
}

async fn measured(
    system: &System,
    disk: &SmallDisk,
    wall_s: f64,
    step_us: u32,
    occupant: UdpSocket,
    relay: std::sync::Arc<Relay>,
) -> anyhow::Result<Outcome> {
    let udp: SocketAddr = system.address("hardware-gateway", "udp")?.parse()?;
    let late = occupant.local_addr()?;
    let channel = e2e::clients::channel(&system.address("hardware-gateway", "grpc")?).await?;
    let all = fleet(udp, late, &relay, step_us)?;
    for device in &all {
        e2e::clients::register(&channel, &device.name, "hall", &device.hardware_id).await?;
    }
    let names: Vec<String> = all.iter().map(|device| device.name.clone()).collect();
    let url = system.nats_url()?;
    let fresnel = system.process("fresnel up")?;
    let mut soak = Soak {
        system,
        observer: Observer::start(&url).await?,
        faults: Faults::new(&url, fresnel, disk.clone(), relay, occupant, late).await?,
        memory: Vec::new(),
        fresnel,
    };
    let began = Instant::now();
    let sending = devices::start(all, step_us);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let hour_s = wall_s / f64::from(HOURS);
    let recordings = Recordings::start(&channel, began.into(), hour_s);
    loop {
        tick.tick().await;
        let hour = began.elapsed().as_secs_f64() / hour_s;
        if sending.ended() {
            break;
        }
        soak.look(hour).await?;
        if hour >= f64::from(HOURS) {
            break;
        }
    }
    let at_the_end = devices_at_the_end(&channel).await?;
    let end_us = devices::now_us();
    let offered = sending.finish()?;
    soak.drained(names.len(), end_us).await;
    let recordings = recordings.finish().await;
    soak.close(offered, at_the_end, recordings, step_us).await
}

/// The devices, each with something of its own to go wrong.
fn fleet(
    udp: SocketAddr,
    late: SocketAddr,
    relay: &std::sync::Arc<Relay>,
    step_us: u32,
) -> anyhow::Result<Vec<Device>> {
    let scenario = Scenario::preset("load")?.with_receivers(6, 1)?;
    let mut loops = DatagramLoop::for_receivers(&scenario, 1, LOOP)?.into_iter();
    let hours = |hours: f64| Some((hours * 3600e6 / f64::from(step_us)) as u32);
    let half_a_day = hours(12.0).unwrap_or_default();
    let datagrams = |node: u8| (format!("adr018:{node}"), Form::Datagrams);
    let lines = |number: u8| (format!("1a:00:00:00:00:0{number}"), Form::Lines);
    let rows = [
        // Its count of 32 bits wraps at noon.
        (
            "wraps",
            datagrams(1),
            Way::Udp(udp),
            u32::MAX - half_a_day,
            None,
        ),
        // It starts again every five hours, count and all.
        ("boots", datagrams(2), Way::Udp(udp), 1_000_000, hours(5.0)),
        ("late", datagrams(3), Way::Udp(late), 0, None),
        // Its clock wraps twenty times.
        ("clock", lines(1), Way::Udp(udp), 0, None),
        // It starts again every seven hours, count, clock and all.
        (
            "clock-boots",
            lines(2),
            Way::Udp(udp),
            1_000_000,
            hours(7.0),
        ),
        (
            "relay",
            lines(3),
            Way::Tcp(std::sync::Arc::clone(relay)),
            0,
            None,
        ),
    ];
    rows.into_iter()
        .map(|(name, (hardware_id, form), way, count, boots_after)| {
            Ok(Device {
                name: name.to_owned(),
                hardware_id,
                form,
                way,
                count,
                boots_after,
                samples: loops.next().context("too few receivers")?,
            })
        })
        .collect()
}

async fn devices_at_the_end(channel: &tonic::transport::Channel) -> anyhow::Result<Vec<AtTheEnd>> {
    let mut client = DeviceServiceClient::new(channel.clone());
    let answer = client.list_devices(ListDevicesRequest::default()).await?;
    let shown = |device: Registered| AtTheEnd {
        state: device.state().as_str_name().replace("DEVICE_STATE_", ""),
        health: device.health().as_str_name().replace("HEALTH_STATUS_", ""),
        rate_hz: device.frame_rate_hz,
        causes: device
            .causes
            .iter()
            .map(|cause| cause.cause.clone())
            .collect(),
        device: device.name,
    };
    Ok(answer.into_inner().devices.into_iter().map(shown).collect())
}

impl Soak<'_> {
    /// Does what is due at this hour, and notes the memory once an hour.
    async fn look(&mut self, hour: f64) -> anyhow::Result<()> {
        self.faults.act(hour, &self.observer).await?;
        let full = hour as u32;
        if full > self.memory.last().map_or(0, |last| last.hour) {
            let nats = self.faults.nats_pid().ok();
            let sample = Sample {
                hour: full,
                fresnel_mb: measure::memory(self.fresnel)
                    .context("fresnel up is gone")?
                    .resident_mb,
                nats_mb: nats
                    .and_then(|pid| measure::memory(pid).ok())
                    .map(|memory| memory.resident_mb),
            };
            let name = self.faults.newest();
            eprintln!(
                "{full:02}:00  fresnel {:.1} MB, nats-server {:.1} MB, last fault: {name}",
                sample.fresnel_mb,
                sample.nats_mb.unwrap_or_default()
            );
            self.memory.push(sample);
        }
        Ok(())
    }

    /// Waits until what was sent last has been read, of as many devices as can be.
    async fn drained(&self, devices: usize, end_us: i64) {
        let limit = Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        // The newest frame of each left within the last hundredth of a second.
        let newest = end_us - 50_000;
        while self.observer.devices_since(newest) < devices && Instant::now() < limit {
            tick.tick().await;
        }
        // What is behind it was sent before.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    async fn close(
        self,
        offered: Vec<devices::Offered>,
        at_the_end: Vec<AtTheEnd>,
        recordings: Vec<Taken>,
        step_us: u32,
    ) -> anyhow::Result<Outcome> {
        let counters = self.counters().await?;
        let faults = self.faults.finish(&self.observer);
        let (seen, streams) = self.observer.finish();
        let frames = accounts::balance(&offered, &seen, streams, &faults, step_us);
        let rounds_mb = [FIRST_ROUND, SECOND_ROUND].map(|hours| mean(&self.memory, &hours));
        let mut outcome = Outcome {
            wall_s: 0.0,
            speed: 0.0,
            frames,
            faults,
            memory: self.memory,
            rounds_mb,
            recordings,
            counters,
            devices: at_the_end,
            broken: Vec::new(),
        };
        outcome.broken = broken(&outcome, offered.len());
        Ok(outcome)
    }

    async fn counters(&self) -> anyhow::Result<Vec<(&'static str, u64)>> {
        let http = reqwest::Client::new();
        let admin = self.system.address("hardware-gateway", "admin")?;
        let mut counters = Vec::new();
        for name in [
            "gateway_datagrams",
            "gateway_kernel_drops",
            "gateway_frames",
            "gateway_duplicate_frames",
            "gateway_late_frames",
            "gateway_refused_frames",
            "gateway_shed_frames",
            "gateway_unacknowledged_messages",
            "gateway_source_failures",
        ] {
            let count = measure::counter(&http, &admin, name).await?;
            counters.push((name, count.unwrap_or_default() as u64));
        }
        Ok(counters)
    }
}

/// Mean memory of `fresnel up` in some hours, MB.
fn mean(samples: &[Sample], hours: &RangeInclusive<u32>) -> f64 {
    let within = samples.iter().filter(|sample| hours.contains(&sample.hour));
    let (sum, count) = within.fold((0.0, 0.0_f64), |(sum, count), sample| {
        (sum + sample.fresnel_mb, count + 1.0)
    });
    sum / count.max(1.0)
}

/// What was promised and did not hold.
fn broken(outcome: &Outcome, devices: usize) -> Vec<String> {
    let counted: u64 = outcome
        .counters
        .iter()
        .filter(|(name, _)| ["gateway_shed_frames", "gateway_kernel_drops"].contains(name))
        .map(|(_, count)| count)
        .sum();
    let mut broken = outcome.frames.broken(counted);
    for fault in &outcome.faults {
        broken.extend(fault.broken(PATIENCE));
    }
    for taken in &outcome.recordings {
        broken.extend(taken.broken());
    }
    if outcome.devices.len() != devices {
        broken.push(format!(
            "{} of {devices} devices are registered",
            outcome.devices.len()
        ));
    }
    let heard = [DeviceState::Active, DeviceState::Degraded]
        .map(|state| state.as_str_name().replace("DEVICE_STATE_", ""));
    for device in &outcome.devices {
        if !heard.contains(&device.state) {
            let (name, state) = (&device.device, &device.state);
            broken.push(format!("{name} is {state} at the end: {:?}", device.causes));
        }
    }
    let [first, second] = outcome.rounds_mb;
    if second > (1.0 + MOST_GROWTH) * first {
        broken.push(format!(
            "memory grew from round to round: {first:.1} MB after the first, {second:.1} after the second"
        ));
    }
    broken
}
