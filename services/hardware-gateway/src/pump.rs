//! From the intake to the bus: takes what waits, devices in turn, and publishes it.

use std::io::Write as _;
use std::sync::Arc;

use csi::Frame;
use events::Name;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Error;
use crate::lifecycle::NAMESPACE;
use crate::publish::{Destination, FramePublisher};
use crate::source::intake::{Intake, Waiting};

/// Frames taken at once.
const BATCH: usize = 256;

/// Publishes until `stop`, then what still waits, and waits for the acks.
///
/// # Errors
/// None: a failed publish is counted, and later frames go on.
pub async fn run(
    intake: Arc<Intake>,
    mut publisher: FramePublisher,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        intake.next(BATCH, &mut batch);
        if batch.is_empty() {
            if stop.is_cancelled() {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = intake.arrived() => {}
            }
        }
        // Together: what each wakes on its way to the server costs more than itself.
        for waiting in &batch {
            if let Err(error) = prepare(&mut publisher, waiting) {
                failed(&intake, waiting, &error);
            }
        }
        if let Err(error) = publisher.send().await {
            for waiting in &batch {
                failed(&intake, waiting, &error);
            }
        }
        batch.clear();
    }
    if let Err(error) = publisher.flush().await {
        tracing::warn!(
            error = crate::error::chain(&error),
            "frames were lost in stopping"
        );
    }
    Ok(())
}

fn prepare(publisher: &mut FramePublisher, waiting: &Waiting) -> Result<(), Error> {
    let to = Destination {
        frame_id: frame_id(&waiting.device, &waiting.frame),
        device: &waiting.device,
        zone: &waiting.zone,
        source: waiting.source,
        run: None,
        ingest_time_us: waiting.ingest_time_us,
        last_of_run: false,
    };
    publisher.prepare(&waiting.frame, &to, waiting.decision)
}

fn failed(intake: &Intake, waiting: &Waiting, error: &Error) {
    let time_us = waiting.ingest_time_us;
    intake.fault(waiting.device.as_str(), "publish_failed", time_us, || {
        crate::error::chain(error)
    });
}

/// Id of a live frame: derived from what makes it this frame and no other.
fn frame_id(device: &Name, frame: &Frame) -> Uuid {
    // Room for the longest name.
    let mut name = [0_u8; 80];
    let mut room = &mut name[..];
    let parts = [
        device.as_str().as_bytes(),
        &frame.receive_time_us.to_le_bytes(),
        &frame.sequence.to_le_bytes(),
    ];
    for part in parts {
        let _ = room.write_all(part);
    }
    let rest = room.len();
    let length = name.len() - rest;
    Uuid::new_v5(&NAMESPACE, name.get(..length).unwrap_or_default())
}
