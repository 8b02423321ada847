//! hardware-gateway: takes frames from hardware and recordings, knows the devices, and puts both on the bus.
//!
//! Bytes are read by a [`source`], decoded by `csi`, attributed and admitted by its intake with the [`registry`], and go to
//! the data plane and its announcement in [`publish`]. What happens to a device (connected, lost, configured) is decided on the aggregate in
//! [`device`] and appended in [`lifecycle`]. Nothing here looks into the samples.

pub mod calibration;
pub mod claims;
pub mod config;
pub mod device;
pub mod driver;
pub mod error;
pub mod faults;
mod grpc;
pub mod health;
pub mod lifecycle;
mod lost;
pub mod publish;
mod pump;
pub mod recording;
pub mod registry;
pub mod source;
pub mod track;
pub mod zone;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::{Name, Timestamp};
use runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use config::Config;

use crate::calibration::Calibrations;
use crate::error::chain;
use crate::faults::Faults;
use crate::lifecycle::{Devices, Sender, Settings};
use crate::lost::Lost;
use crate::publish::FramePublisher;
use crate::recording::library::Library;
use crate::recording::recorder::{self, Recorders};
use crate::source::Source;
use crate::source::intake::{Change, Intake, device_name};
use crate::source::replay::{Replays, Setup};

/// How often time-outs and gathered errors are looked at.
const TICK: Duration = Duration::from_millis(250);

/// Starts the service.
///
/// # Errors
/// Where NATS cannot be reached or an address cannot be bound.
pub async fn start(config: Config, rt: &mut Runtime) -> anyhow::Result<()> {
    let plans = config.plans().map_err(anyhow::Error::msg)?;
    let bus = rt.bus().await?;
    let source = rt.source().to_owned();
    let devices = Arc::new(Devices::load(bus.clone(), source.clone(), config.health).await?);
    let library = Arc::new(
        Library::open(
            &bus,
            &config.recordings,
            config.max_recording_bytes,
            source.clone(),
        )
        .await?,
    );
    library.recover().await?;
    // What was being measured is lost with the frames, and what was recorded is found by the library: such operations are
    // ended, each with its event.
    let kinds = [calibration::WORKFLOW, recorder::WORKFLOW];
    let (workflows, unfinished) = rt
        .workflows(|workflow| kinds.contains(&&*workflow.kind))
        .await?;
    let (measuring, recording): (Vec<_>, Vec<_>) = unfinished
        .into_iter()
        .partition(|run| run.workflow().kind == calibration::WORKFLOW);
    let recorders = Arc::new(Recorders::new(
        bus.clone(),
        Arc::clone(&devices),
        Arc::clone(&library),
        workflows.clone(),
        &config.recordings,
        rt.shutdown(),
    ));
    recorders.interrupted(recording).await;
    let replays = Arc::new(
        Replays::open(Setup {
            bus: bus.clone(),
            devices: Arc::clone(&devices),
            library: Arc::clone(&library),
            source: source.clone(),
            in_flight: config.in_flight,
            budget: config.announce_budget_per_s,
            stop: rt.shutdown(),
        })
        .await?,
    );
    replays.resume().await?;

    let faults = Arc::new(Mutex::new(Faults::new(micros(config.error_interval_s))));
    let (changes, changed) = mpsc::channel(1024);
    let intake = Intake::new(&config, Arc::clone(&devices), Arc::clone(&faults), changes)?;
    let intake = Arc::new(intake);
    let mut sources = Vec::new();
    for (number, plan) in plans.into_iter().enumerate() {
        let budget = config.announce_budget_per_s;
        let mut one = Source::new(plan, number, Arc::clone(&intake), budget);
        let name: &'static str = one.name().to_owned().leak();
        sources.push(one.status());
        match one.open().await {
            Ok(Some(address)) => rt.announce(name, address),
            Ok(None) => {}
            // The address that everybody knows has to be had; any other is tried again.
            Err(error) if number == 0 && config.udp.enabled => return Err(error),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(source = name, error, "source failed, and is tried again");
                one.status().failed(error, Timestamp::now().as_micros());
            }
        }
        rt.spawn("source", one.run(rt.shutdown()));
    }
    let pipeline = bus.pipeline(config.in_flight);
    let lost = Lost::new(pipeline.clone());
    let publisher = FramePublisher::new(pipeline, source, config.announce_budget_per_s);
    rt.spawn(
        "publisher",
        pump::run(Arc::clone(&intake), publisher, rt.shutdown()),
    );
    let timeout_us = micros(config.device_timeout_s);
    rt.spawn(
        "device lifecycle",
        lifecycle_task(
            Arc::clone(&devices),
            faults,
            intake,
            changed,
            lost,
            timeout_us,
            rt.shutdown(),
        ),
    );
    let (draining, stop) = (Arc::clone(&replays), rt.shutdown());
    rt.spawn("replays", async move {
        stop.cancelled().await;
        draining.drain().await;
        Ok(())
    });
    let (draining, stop) = (Arc::clone(&recorders), rt.shutdown());
    rt.spawn("recordings", async move {
        stop.cancelled().await;
        draining.drained().await;
        Ok(())
    });
    let calibrations = Calibrations::open(
        bus,
        Arc::clone(&devices),
        workflows.clone(),
        measuring,
        &config,
        rt.shutdown(),
    )
    .await?;
    let (draining, stop) = (Arc::clone(&calibrations), rt.shutdown());
    rt.spawn("calibrations", async move {
        stop.cancelled().await;
        draining.drain().await;
        Ok(())
    });
    let guarding = Arc::clone(&calibrations);
    rt.spawn("calibrations in use", async move {
        guarding.guard().await;
        Ok(())
    });
    let apis = grpc::Apis {
        devices,
        sources,
        library,
        recorders,
        replays,
        calibrations,
        workflows,
    };
    grpc::serve(rt, apis).await
}

/// Appends what the listener noted, finds silent devices, and announces gathered errors.
async fn lifecycle_task(
    devices: Arc<Devices>,
    faults: Arc<Mutex<Faults>>,
    intake: Arc<Intake>,
    mut changes: mpsc::Receiver<Change>,
    mut lost: Lost,
    timeout_us: i64,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let started_us = Timestamp::now().as_micros();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            change = changes.recv() => {
                let Some(change) = change else { break };
                if let Err(error) = note(&devices, change).await {
                    tracing::warn!(error = chain(&error), "a change of a device could not be stored");
                }
            }
            _ = tick.tick() => {
                let now = Timestamp::now();
                let silent = devices.registry().silent(now.as_micros(), timeout_us, started_us);
                for name in silent {
                    if let Err(error) = devices.lost(&name, now).await {
                        tracing::warn!(device = %name, error = chain(&error), "a disconnect could not be stored");
                    }
                }
                devices.judge(now).await;
                intake.tick(now.as_micros());
                lost.count(&faults, now.as_micros());
                report(&devices, &faults, &intake, now, false).await;
            }
        }
    }
    intake.tick(Timestamp::now().as_micros());
    lost.count(&faults, Timestamp::now().as_micros());
    report(&devices, &faults, &intake, Timestamp::now(), true).await;
    Ok(())
}

async fn note(devices: &Devices, change: Change) -> Result<(), error::Error> {
    match change {
        Change::Connected(name, link) => devices.connected(&name, &link).await,
        Change::Discovered(sender, frame) => devices.discovered(&sender, &frame).await,
        Change::Admit(sender, frame, zone) => admit(devices, &sender, &frame, zone.as_str()).await,
    }
}

/// Registers an unknown sender under a name made from its id, where `admission` is open.
async fn admit(
    devices: &Devices,
    sender: &Sender,
    frame: &csi::Frame,
    zone: &str,
) -> Result<(), error::Error> {
    devices.discovered(sender, frame).await?;
    let settings = Settings {
        zone: zone.to_owned(),
        hardware_id: sender.hardware_id.clone(),
        device_type: sender.device_type.to_owned(),
    };
    let wanted = device_name(&sender.hardware_id);
    let mut name = wanted.clone();
    // Other ids may give the same name.
    for other in 2..100 {
        let parsed = Name::new(&*name).map_err(|source| error::Error::Name {
            field: "device.name",
            source,
        })?;
        match devices.create(&parsed, settings.clone(), "", false).await {
            Ok(_) => {
                tracing::info!(
                    device = name,
                    hardware_id = sender.hardware_id,
                    zone,
                    "registered by itself: admission is open"
                );
                return Ok(());
            }
            Err(error::Error::Taken { what: "device", .. }) => name = format!("{wanted}-{other}"),
            Err(error::Error::Taken { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn report(
    devices: &Devices,
    faults: &Mutex<Faults>,
    intake: &Intake,
    now: Timestamp,
    all: bool,
) {
    for violation in intake.violations_due(now.as_micros(), all) {
        tracing::warn!(
            principal = violation.device,
            kind = violation.code,
            count = violation.count,
            "{}",
            violation.message
        );
        if let Err(error) = devices.violation(&violation).await {
            tracing::warn!(error = chain(&error), "a violation could not be stored");
        }
    }
    let due = faults
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .due(now.as_micros(), all);
    for fault in due {
        tracing::warn!(
            device = fault.device,
            code = fault.code,
            count = fault.count,
            "{}",
            fault.message
        );
        if let Err(error) = devices.errors(&fault).await {
            tracing::warn!(
                device = fault.device,
                error = chain(&error),
                "an error event could not be stored"
            );
            // It is announced when that can be stored again.
            faults
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .again(fault);
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}
