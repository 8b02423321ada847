//! Features as they come, and Doppler spectra of the latest frames.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bus::{Bus, From};
use csi::wire::Decoder;
use events::{DataSource, Name, Timestamp};
use futures::{Stream, StreamExt, stream};
use prost::Message as _;
use proto::csi::v1::DataSource as WireSource;
use proto::signal::v1::{self as pb, SignalWindow};
use runtime::{invalid_argument, refuse};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status};

use super::places::Places;
use super::{device_name, unavailable, zone_name};
use crate::board::timestamp;
use crate::config::micros;
use crate::spectrogram::{Fault, Latest};

/// Windows taken from the stream at once.
const BATCH: usize = 64;
/// The data plane holds frames back so far, seconds.
const LONGEST_S: f64 = 60.0;
/// Frames of one request at most, and their bytes; the newest count.
const MOST_FRAMES: usize = 120_000;
const MOST_BYTES: usize = 64 << 20;

/// The windows of a zone, or of one device in it, from now on.
pub(super) async fn features(
    bus: &Bus,
    zone: &Name,
    device: Option<Name>,
    place: OwnedSemaphorePermit,
) -> Result<impl Stream<Item = Result<pb::WatchFeaturesResponse, Status>> + use<>, Status> {
    let device = device.map_or_else(|| "*".to_owned(), |device| device.to_string());
    let filters = [format!("data.signal.{zone}.{device}")];
    let tap = bus.tap(&filters).await;
    let tap = tap.map_err(|error| unavailable(&error))?;
    let batches = stream::unfold(tap, async |mut tap| {
        let batch = tap.next_batch(BATCH).await;
        Some((stream::iter(batch), tap))
    });
    Ok(batches.flatten().map(move |message| {
        // Given back with the stream.
        let _ = &place;
        let window = SignalWindow::decode(message.payload)
            .map_err(|error| Status::data_loss(format!("a window is not readable: {error}")))?;
        Ok(pb::WatchFeaturesResponse {
            window: Some(window),
        })
    }))
}

/// The spectrogram of a device's latest frames.
pub(super) async fn spectrogram(
    bus: &Bus,
    places: &Places,
    request: pb::GetSpectrogramRequest,
) -> Result<pb::GetSpectrogramResponse, Status> {
    let zone = zone_name(request.zone)?;
    let device =
        device_name(request.device)?.ok_or_else(|| invalid_argument("device", "is missing"))?;
    let within = |field: &str, value: Option<f64>, default: f64, least: f64, most: f64| {
        let value = value.unwrap_or(default);
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(invalid_argument(
                field,
                format!("{value}: must be from {least} to {most} seconds"),
            ))
        }
    };
    let seconds = within("seconds", request.seconds, 10.0, 1.0, LONGEST_S)?;
    let window_s = within("window_seconds", request.window_seconds, 0.5, 0.1, 5.0)?;
    let place = places.take()?;
    // Replays faster than life bring a minute in less; what is too old by its own time is dropped as it is decoded.
    let since = Timestamp::now().as_micros() - micros(LONGEST_S + 5.0);
    let (mut payloads, mut bytes) = (VecDeque::new(), 0);
    let mut take = |message: bus::DataMessage| {
        bytes += message.payload.len();
        payloads.push_back(message.payload);
        while payloads.len() > MOST_FRAMES || bytes > MOST_BYTES {
            bytes -= payloads.pop_front().map_or(bytes, |oldest| oldest.len());
        }
        ControlFlow::Continue(())
    };
    let filter = format!("data.csi.{zone}.{device}");
    let read = bus.read_each(&filter, From::Time(since), &mut take).await;
    read.map_err(|error| unavailable(&error))?;
    let computed = tokio::task::spawn_blocking(move || {
        // Given back when the work is done, whether or not anybody waits for it.
        let _place = place;
        let mut latest = Latest::new(micros(seconds), MOST_FRAMES);
        let mut decoder = Decoder::default();
        let mut source = DataSource::Live;
        for payload in payloads {
            if let Ok((frame, published)) = decoder.decode(&payload) {
                source = published.source;
                latest.push(&frame, published.run_id);
            }
        }
        (latest.spectrogram(window_s), source)
    });
    let computed = computed.await;
    let (found, source) = computed.map_err(|error| Status::internal(error.to_string()))?;
    let found = found.map_err(|fault| refused(&zone, &device, &fault))?;
    Ok(pb::GetSpectrogramResponse {
        link: found.link,
        frame_rate_hz: found.rate_hz,
        frames: u32::try_from(found.frames).unwrap_or(u32::MAX),
        frequencies_hz: found.frequencies_hz,
        path_speeds_m_s: found.path_speeds_m_s,
        times: found.times_us.into_iter().map(timestamp).collect(),
        power: found.power,
        source: match source {
            DataSource::Live => WireSource::Live,
            DataSource::Replay => WireSource::Replay,
            DataSource::Simulated => WireSource::Simulated,
        }
        .into(),
    })
}

fn refused(zone: &Name, device: &Name, fault: &Fault) -> Status {
    let message = format!("device {device} in zone {zone}: {fault}");
    refuse(Code::FailedPrecondition, fault.code(), message)
}
