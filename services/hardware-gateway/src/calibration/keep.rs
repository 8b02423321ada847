//! What was measured of a device, kept as its next version.

use events::{DataSource, Timestamp};
use proto::csi::v1::DataSource as WireSource;
use proto::gateway::v1 as pb;
use runtime::Run;
use sha2::Digest as _;
use uuid::Uuid;

use super::collect::{Collector, LinkFrames};
use super::{Calibrations, Kind, Measured, Refusal, Request};
use crate::error::chain;

/// The links of a device, the strongest first, and what was measured of each.
pub(super) type Links = Vec<(pb::LinkCalibration, Measured)>;

/// Which link it is.
pub(super) fn describe(link: &LinkFrames) -> pb::LinkCalibration {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    pb::LinkCalibration {
        transmitter: link
            .transmitter
            .map(|mac| bytes::Bytes::copy_from_slice(&mac))
            .unwrap_or_default(),
        layout: link.layout.name.to_owned(),
        subcarriers: count(link.layout.len()),
        antennas: u32::from(link.antennas),
        ppdu: ppdu(link.ppdu).to_owned(),
        channel: link.channel.map(u32::from),
        bandwidth_mhz: link.bandwidth_mhz.map(u32::from),
        frames: link.receive_us.len() as u64,
        receive_chain: link.chain.map(|chain| u32::from(chain.core)),
        spatial_stream: link.chain.map(|chain| u32::from(chain.stream)),
        result: None,
    }
}

fn ppdu(ppdu: csi::Ppdu) -> &'static str {
    match ppdu {
        csi::Ppdu::Unknown => "",
        csi::Ppdu::NonHt => "non_ht",
        csi::Ppdu::Ht => "ht",
        csi::Ppdu::Vht => "vht",
        csi::Ppdu::He => "he",
        csi::Ppdu::Eht => "eht",
    }
}

/// Stores what was measured as the device's next version.
pub(super) async fn keep(
    calibrations: &Calibrations,
    run: &Run,
    request: &Request,
    device: &str,
    collector: &Collector,
    measured: Links,
) -> Result<pb::Calibration, Refusal> {
    let (first, last) = collector.span_us.unwrap_or_default();
    let (source, replay) = collector.origin.unwrap_or((DataSource::Live, None));
    let now = Timestamp::now();
    #[allow(clippy::cast_possible_truncation)]
    let expires = Timestamp::from_micros(
        now.as_micros()
            .saturating_add((request.valid_days * 86_400e6) as i64),
    );
    let parameters = format!("{} seconds={}", request.kind.parameters(), request.seconds);
    // Of several links the worst counts.
    let least = |of: fn(&Measured) -> Option<f64>| {
        measured.iter().filter_map(|(_, m)| of(m)).reduce(f64::min)
    };
    let calibration = pb::Calibration {
        calibration_id: id(run, device).to_string(),
        device: device.to_owned(),
        kind: match request.kind {
            Kind::NoiseFloor => pb::CalibrationKind::NoiseFloor,
            Kind::AntennaPhase => pb::CalibrationKind::AntennaPhase,
            Kind::EmptyRoom => pb::CalibrationKind::EmptyRoom,
        }
        .into(),
        version: 0,
        zone: collector.zone.clone(),
        source: match source {
            DataSource::Live => WireSource::Live,
            DataSource::Replay => WireSource::Replay,
            DataSource::Simulated => WireSource::Simulated,
        }
        .into(),
        run_id: replay.map(|run| run.to_string()).unwrap_or_default(),
        start_time: Some(time(Timestamp::from_micros(first))),
        end_time: Some(time(Timestamp::from_micros(last))),
        create_time: Some(time(now)),
        expire_time: Some(time(expires)),
        frames_used: collector.frames,
        frames_missed: collector.missed,
        parameters_digest: hex::encode(sha2::Sha256::digest(parameters.as_bytes())),
        parameters,
        quality_before: least(|m| m.quality_before),
        quality_after: least(|m| m.quality_after),
        links: measured
            .into_iter()
            .map(|(link, measured)| pb::LinkCalibration {
                result: Some(measured.result),
                ..link
            })
            .collect(),
        in_use: false,
        alarms: Vec::new(),
        operation: format!("operations/{}", run.id()),
    };
    calibrations
        .store
        .add(calibration, request.kind, request.activate)
        .await
        .map_err(|error| Refusal::new("not_stored", chain(&error)))
}

/// Id of what the run makes of a device, well or badly.
pub(super) fn id(run: &Run, device: &str) -> Uuid {
    Uuid::new_v5(&run.id(), device.as_bytes())
}

fn time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default(),
    }
}
