//! Calibration: a device, or all of a zone, measured for a while as a long-running operation.
//!
//! [`collect`] gathers the frames from the data plane, [`noise_floor`], [`antenna_phase`] and [`empty_room`] compute (pure
//! functions), [`store`] keeps what came of it as versions that never change, and [`run`] is the operation. Each ends with a
//! `hardware.device_calibrated` of each device, well or badly. `guard` looks at a window of each device from time to time, and
//! holds it against the calibrations in use ([`fit`]); what does not fit any more, or is too old, is a cause in its health.

mod announce;
pub mod antenna_phase;
pub mod collect;
pub mod empty_room;
pub mod fit;
mod guard;
mod keep;
pub mod noise_floor;
pub mod run;
pub mod store;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::Bus;
use events::{Name, Timestamp};
use proto::gateway::v1 as pb;
use runtime::{Begun, NewWorkflow, Run, Workflow, Workflows};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::error::Error;
use crate::lifecycle::Devices;
use store::Store;

/// Kind of the operations.
pub const WORKFLOW: &str = "calibration";
/// What it takes to compute, keep and announce after the time for frames is up, seconds at most.
const ENDING_S: f64 = 60.0;

/// Why nothing was calibrated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A word: `motion`, `breathing`, `device_lost`, ...
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Refusal {
    /// Of a word and a sentence.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// What was measured of one link.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The numbers.
    pub result: pb::link_calibration::Result,
    /// 0 to 1; what it is the share of depends on the kind. Absent where not measured.
    pub quality_before: Option<f64>,
    /// The same with the calibration.
    pub quality_after: Option<f64>,
}

/// What is calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Noise.
    NoiseFloor,
    /// Phase between antennas.
    AntennaPhase,
    /// Baseline of an empty room.
    EmptyRoom,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::NoiseFloor, Self::AntennaPhase, Self::EmptyRoom];

    /// snake_case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoiseFloor => "noise_floor",
            Self::AntennaPhase => "antenna_phase",
            Self::EmptyRoom => "empty_room",
        }
    }

    /// Of its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Seconds where the request does not say.
    #[must_use]
    pub fn seconds(self) -> f64 {
        match self {
            Self::EmptyRoom => 60.0,
            Self::NoiseFloor | Self::AntennaPhase => 10.0,
        }
    }

    /// What the numbers depend on, in words: goes into the version's digest.
    #[must_use]
    pub fn parameters(self) -> String {
        match self {
            Self::NoiseFloor => "noise_floor/1 neighbour-difference mad".to_owned(),
            Self::AntennaPhase => "antenna_phase/1 circular learnt=0.7 steady=0.9".to_owned(),
            Self::EmptyRoom => format!(
                "empty_room/1 window={} hop={} learnt=0.7 uncalibrated={} moving={} lowest={} highest={}",
                empty_room::WINDOW_US,
                empty_room::HOP_US,
                empty_room::UNCALIBRATED,
                empty_room::MOVING,
                empty_room::LOWEST,
                empty_room::HIGHEST
            ),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What.
    pub kind: Kind,
    /// Of which devices.
    pub devices: Vec<Name>,
    /// Seconds of the frames' time.
    pub seconds: f64,
    /// Wall seconds that it may take.
    pub timeout_s: f64,
    /// Put into use what is made.
    pub activate: bool,
    /// Days for which it holds.
    pub valid_days: f64,
}

/// For how long the instance that began an operation may still be at it.
fn time_left(workflow: &Workflow, now: Timestamp) -> Duration {
    let allowed_s = serde_json::from_value::<Request>(workflow.parameters.clone())
        .map_or(0.0, |request| request.timeout_s + ENDING_S);
    Duration::try_from_secs_f64(allowed_s - workflow.seconds(now)).unwrap_or_default()
}

/// How the calibrations in use are looked after.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Pause between two looks at all devices.
    pub every: Duration,
    /// Windows, one of each look, that all have to be louder than the empty room before that is called drift.
    pub windows: usize,
}

/// The calibrations of this gateway.
pub struct Calibrations {
    /// The bus.
    pub bus: Bus,
    /// The registry.
    pub devices: Arc<Devices>,
    /// The operations.
    pub workflows: Workflows,
    /// What is kept.
    pub store: Store,
    /// Wall seconds without a frame after which a device counts as lost.
    pub lost_after: Duration,
    /// Days for which a calibration holds where the request does not say.
    pub valid_days: f64,
    /// How often, and how many of the last windows, the calibrations in use are held against what the devices send.
    pub check: Check,
    /// Cancelled when the service drains.
    pub stop: CancellationToken,
    /// Another one is in use.
    changed: Notify,
    running: Mutex<BTreeSet<Name>>,
    tasks: TaskTracker,
}

/// Holds devices that are being calibrated.
pub struct Held {
    calibrations: Arc<Calibrations>,
    devices: Vec<Name>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut running = self
            .calibrations
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for device in &self.devices {
            running.remove(device);
        }
    }
}

impl Calibrations {
    /// Over an open bucket. `unfinished` are operations that have not ended. Those of a former process of this gateway are
    /// ended as interrupted, since the frames that they had seen are gone; those of another instance are left to it, and are
    /// ended where it has not done so in the time that they had.
    ///
    /// # Errors
    /// Where the bucket cannot be opened.
    pub async fn open(
        bus: Bus,
        devices: Arc<Devices>,
        workflows: Workflows,
        unfinished: Vec<Run>,
        config: &crate::Config,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let calibrations = Arc::new(Self {
            store: Store::open(&bus).await?,
            bus,
            devices,
            workflows,
            lost_after: Duration::from_secs_f64(config.device_timeout_s),
            valid_days: config.calibration_valid_days,
            check: Check {
                every: Duration::from_secs_f64(config.calibration_check_s),
                windows: config.calibration_drift_windows,
            },
            stop,
            changed: Notify::new(),
            running: Mutex::default(),
            tasks: TaskTracker::new(),
        });
        for run in unfinished {
            let workflow = run.workflow();
            let left = time_left(&workflow, Timestamp::now());
            if calibrations.workflows.is_own(&workflow) || left.is_zero() {
                run::interrupted(&calibrations, run).await;
            } else {
                run.release();
                let watching = Arc::clone(&calibrations);
                calibrations.tasks.spawn(async move {
                    watching.see_to(workflow.id, left).await;
                });
            }
        }
        Ok(calibrations)
    }

    /// Ends another instance's operation after its time, where that instance has not.
    async fn see_to(self: Arc<Self>, id: Uuid, left: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => return,
            () = tokio::time::sleep(left) => {}
        }
        match self.workflows.take_over(id).await {
            Ok(None) => {}
            Ok(Some(run)) => run::interrupted(&self, run).await,
            Err(error) => {
                tracing::warn!(operation = %id, %error, "whether another gateway's calibration has ended is not known");
            }
        }
    }

    /// Begins a calibration, or finds the one that the same `request_id` began. Frames that are published after this has
    /// returned are seen.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a device that is not registered, [`Error::Calibrating`] where one of them is being calibrated.
    pub async fn start(
        self: &Arc<Self>,
        request: Request,
        subject: String,
        request_id: &str,
    ) -> Result<Workflow, Error> {
        if let Some(known) = self.workflows.of_request(WORKFLOW, request_id).await? {
            return Ok(known);
        }
        for device in &request.devices {
            if self.devices.registry().get(device).is_none() {
                return Err(Error::NotFound {
                    kind: "device",
                    name: device.to_string(),
                });
            }
        }
        let held = self.hold(&request.devices)?;
        let filters: Vec<String> = request
            .devices
            .iter()
            .map(|device| format!("data.csi.*.{device}"))
            .collect();
        let tap = self.bus.tap(&filters).await?;
        // What is asked of the server before this is answered is known to it afterwards.
        self.bus.barrier().await?;
        let begun = self
            .workflows
            .start(NewWorkflow {
                kind: WORKFLOW,
                subject,
                requested_by: None,
                request_id: request_id.to_owned(),
                parameters: json!(request),
            })
            .await?;
        match begun {
            Begun::Known(known) => Ok(*known),
            Begun::New(run) => {
                let workflow = run.workflow();
                let calibrations = Arc::clone(self);
                self.tasks.spawn(async move {
                    run::run(&calibrations, run, request, tap, held).await;
                });
                Ok(workflow)
            }
        }
    }

    fn hold(self: &Arc<Self>, devices: &[Name]) -> Result<Held, Error> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = devices.iter().find(|device| running.contains(device)) {
            return Err(Error::Calibrating {
                device: device.to_string(),
            });
        }
        running.extend(devices.iter().cloned());
        Ok(Held {
            calibrations: Arc::clone(self),
            devices: devices.to_vec(),
        })
    }

    /// Holds the calibrations in use against what the devices send, until the service drains.
    pub async fn guard(self: Arc<Self>) {
        guard::run(&self).await;
    }

    /// Another calibration is in use, or none: it is looked at soon.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// Waits until no calibration runs.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use bus::EventSourced as _;

    use super::*;

    #[test]
    fn an_operation_has_its_time_and_that_of_its_ending() {
        let request = Request {
            kind: Kind::NoiseFloor,
            devices: Vec::new(),
            seconds: 10.0,
            timeout_s: 30.0,
            activate: false,
            valid_days: 1.0,
        };
        let mut workflow = Workflow::replay(&[]);
        workflow.parameters = json!(request);
        let left = |at_s: i64| time_left(&workflow, Timestamp::from_micros(at_s * 1_000_000));
        assert_eq!(left(0), Duration::from_secs(90));
        assert_eq!(left(80), Duration::from_secs(10));
        assert_eq!(left(91), Duration::ZERO);
        workflow.parameters = json!("something else");
        assert_eq!(
            time_left(&workflow, Timestamp::from_micros(0)),
            Duration::from_secs(0)
        );
    }
}
