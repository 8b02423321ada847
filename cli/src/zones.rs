//! `fresnel zones`: the state of each zone, asked of the signal service, and its plan, asked of the gateway.

mod plan;
mod thresholds;

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::Table;
use proto::csi::v1::DataSource;
use proto::signal::v1::signal_service_client::SignalServiceClient;
use proto::signal::v1::{
    GetZoneStateRequest, LinkEvidence, ListZoneStatesRequest, MotionState, PresenceState,
    WatchFeaturesRequest, WatchZoneRequest, ZoneState,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::client::{self, Address, SIGNAL, print_line, printable, refusal};
use crate::show::{self, dash, table as headed, time, without_nulls};

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    address: Address,
    /// JSON, one object per line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// All zones that frames were seen in.
    List,
    /// One zone, with the evidence.
    Get {
        /// Its name.
        zone: String,
    },
    /// Where a zone lies, and what stands in it; all zones where none is named.
    Plan {
        /// Its name.
        zone: Option<String>,
    },
    /// Draw a zone: outline, placements, links.
    Create(plan::Draw),
    /// Draw a zone anew; what is not named stays.
    Update(plan::Draw),
    /// Remove a zone's plan; refused while devices are in it.
    Delete {
        /// Its name.
        zone: String,
        /// Only if this is still its etag.
        #[arg(long, default_value = "")]
        etag: String,
    },
    /// The states as they are, then each change.
    Watch {
        /// Only this zone.
        zone: Option<String>,
        /// Every window, not only changes of the state.
        #[arg(long)]
        every_update: bool,
    },
    /// What decides in a zone, and what another threshold would have made of the past.
    Thresholds(thresholds::Thresholds),
    /// The windows of a zone's links as they close, with their features.
    Features {
        /// Its name.
        zone: String,
        /// Only this device.
        #[arg(long, default_value = "")]
        device: String,
    },
    /// Power over Doppler frequency and time, from a device's latest frames.
    Spectrogram(thresholds::Spectrogram),
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let action = match args.action {
            Action::Plan { zone } => Err(plan::Action::Show(zone)),
            Action::Create(draw) => Err(plan::Action::Create(draw)),
            Action::Update(draw) => Err(plan::Action::Update(draw)),
            Action::Delete { zone, etag } => Err(plan::Action::Delete(zone, etag)),
            other => Ok(other),
        };
        let action = match action {
            Ok(action) => action,
            Err(plan) => {
                plan::run(plan, &args.address, args.json).await?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        let mut signal = SignalServiceClient::new(SIGNAL.connect(&args.address).await?);
        match action {
            Action::List => list(&mut signal, args.json).await?,
            Action::Get { zone } => get(&mut signal, zone, args.json).await?,
            Action::Watch { zone, every_update } => {
                let request = WatchZoneRequest {
                    zone: zone.unwrap_or_default(),
                    every_update,
                };
                watch(&mut signal, request, args.json).await?;
            }
            Action::Thresholds(wanted) => {
                thresholds::thresholds(&mut signal, wanted, args.json).await?;
            }
            Action::Features { zone, device } => {
                let request = WatchFeaturesRequest { zone, device };
                thresholds::features(&mut signal, request, args.json).await?;
            }
            Action::Spectrogram(wanted) => {
                thresholds::spectrogram(&mut signal, wanted, args.json).await?;
            }
            // The gateway's, handled before.
            Action::Plan { .. } | Action::Create(_) | Action::Update(_) | Action::Delete { .. } => {
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn list(signal: &mut SignalServiceClient<Channel>, json: bool) -> anyhow::Result<()> {
    let mut request = ListZoneStatesRequest::default();
    let mut states = Vec::new();
    loop {
        let answer = signal.list_zone_states(request.clone()).await;
        let page = answer.map_err(|status| refusal(&status))?.into_inner();
        states.extend(page.states);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    show::all(
        &states,
        json,
        object,
        table,
        "no frame was seen in any zone yet",
    )
}

async fn get(
    signal: &mut SignalServiceClient<Channel>,
    zone: String,
    json: bool,
) -> anyhow::Result<()> {
    let answer = signal.get_zone_state(GetZoneStateRequest { zone }).await;
    let state = answer
        .map_err(|status| refusal(&status))?
        .into_inner()
        .state;
    let state =
        state.ok_or_else(|| anyhow::anyhow!("the signal service answered without a state"))?;
    if json {
        print_line(&object(&state).to_string())?;
        return Ok(());
    }
    print_line(&sentence(&state))?;
    if !state.evidence.is_empty() {
        print_line(&evidence_table(&state.evidence).to_string())?;
    }
    Ok(())
}

async fn watch(
    signal: &mut SignalServiceClient<Channel>,
    request: WatchZoneRequest,
    json: bool,
) -> anyhow::Result<()> {
    let answer = signal.watch_zone(request).await;
    let mut updates = answer.map_err(|status| refusal(&status))?.into_inner();
    while let Some(update) = updates.message().await.map_err(|status| refusal(&status))? {
        let Some(state) = update.state else { continue };
        let line = if json {
            object(&state).to_string()
        } else {
            sentence(&state)
        };
        print_line(&line)?;
    }
    Ok(())
}

/// `lab: motion since 2026-01-01T00:00:00.000000Z (score 0.71)`
fn sentence(state: &ZoneState) -> String {
    let mut line = format!("{}: {}", printable(&state.zone), word(state.state()));
    if let Some(since) = &state.since {
        line.push_str(&format!(" since {}", time(since)));
    }
    if let Some(score) = state.score {
        line.push_str(&format!(" (score {score:.2})"));
    }
    if !state.reason.is_empty() {
        line.push_str(&format!(" ({})", printable(&state.reason)));
    }
    line.push_str(&format!("; {}", presence(state)));
    if let Some(source) = source(state.source()).filter(|source| *source != "live") {
        line.push_str(&format!(" [{source}]"));
    }
    line
}

/// `present (breathing, 14.7 breaths/min)`
fn presence(state: &ZoneState) -> String {
    let mut why: Vec<String> = Vec::new();
    if !state.presence_reason.is_empty() {
        why.push(printable(&state.presence_reason));
    }
    if let Some(rate) = state.breaths_per_minute {
        why.push(format!("{rate:.1} breaths/min"));
    }
    let word = presence_word(state.presence());
    if why.is_empty() {
        format!("presence {word}")
    } else {
        format!("presence {word} ({})", why.join(", "))
    }
}

fn presence_word(state: PresenceState) -> &'static str {
    match state {
        PresenceState::Present => "present",
        PresenceState::Empty => "empty",
        PresenceState::Unknown | PresenceState::Unspecified => "unknown",
    }
}

fn table(states: &[ZoneState]) -> Table {
    let mut table = headed([
        "ZONE", "STATE", "SCORE", "SINCE", "PRESENCE", "AS OF", "LINKS", "SOURCE", "WHY",
    ]);
    for state in states {
        table.add_row([
            printable(&state.zone),
            word(state.state()).to_owned(),
            number(state.score),
            state.since.as_ref().map_or_else(dash, time),
            presence(state).trim_start_matches("presence ").to_owned(),
            state.as_of.as_ref().map_or_else(dash, time),
            state.evidence.len().to_string(),
            source(state.source()).unwrap_or("-").to_owned(),
            printable(&state.reason),
        ]);
    }
    table
}

fn evidence_table(evidence: &[LinkEvidence]) -> Table {
    let mut table = headed([
        "DEVICE",
        "STATE",
        "STATISTIC",
        "THRESHOLD",
        "BREATHS/MIN",
        "FROM EMPTY",
        "FRAMES",
        "LOST",
        "RATE",
        "QUALITY",
        "WINDOW END",
        "WHY",
    ]);
    for link in evidence {
        table.add_row([
            printable(&link.device),
            word(link.state()).to_owned(),
            number(link.statistic),
            format!("{:.2}", link.threshold),
            link.breathing.as_ref().map_or_else(dash, |breathing| {
                found(breathing.breaths_per_minute, &breathing.reason)
            }),
            link.baseline
                .as_ref()
                .map_or_else(dash, |baseline| found(baseline.distance, &baseline.reason)),
            link.frames_seen.to_string(),
            link.frames_missed
                .map_or_else(dash, |missed| missed.to_string()),
            format!("{:.1} Hz", link.frame_rate_hz),
            format!("{:.2}", link.quality),
            link.window_end.as_ref().map_or_else(dash, time),
            printable(&link.reason),
        ]);
    }
    table
}

fn object(state: &ZoneState) -> Value {
    let evidence = |link: &LinkEvidence| {
        without_nulls(json!({
            "device": link.device,
            "state": word(link.state()),
            "statistic": link.statistic,
            "threshold": link.threshold,
            "frames_seen": link.frames_seen,
            "frames_missed": link.frames_missed,
            "frame_rate_hz": link.frame_rate_hz,
            "quality": link.quality,
            "breathing": link.breathing.as_ref().map(|breathing| without_nulls(json!({
                "breaths_per_minute": breathing.breaths_per_minute,
                "snr_db": breathing.snr_db,
                "peak": breathing.peak,
                "window_seconds": breathing.window_seconds,
                "reason": (!breathing.reason.is_empty()).then_some(&breathing.reason),
            }))),
            "baseline": link.baseline.as_ref().map(|baseline| without_nulls(json!({
                "distance": baseline.distance,
                "near": baseline.near,
                "far": baseline.far,
                "reason": (!baseline.reason.is_empty()).then_some(&baseline.reason),
            }))),
            "calibration_id": (!link.calibration_id.is_empty()).then_some(&link.calibration_id),
            "false_alarms_per_week": link.false_alarms_per_week,
            "window_start": link.window_start.as_ref().map(time),
            "window_end": link.window_end.as_ref().map(time),
            "reason": (!link.reason.is_empty()).then_some(&link.reason),
            "method": link.method,
        }))
    };
    without_nulls(json!({
        "zone": state.zone,
        "state": word(state.state()),
        "score": state.score,
        "since": state.since.as_ref().map(time),
        "as_of": state.as_of.as_ref().map(time),
        "reason": (!state.reason.is_empty()).then_some(&state.reason),
        "presence": presence_word(state.presence()),
        "presence_since": state.presence_since.as_ref().map(time),
        "presence_reason": (!state.presence_reason.is_empty()).then_some(&state.presence_reason),
        "presence_confidence": state.presence_confidence,
        "breaths_per_minute": state.breaths_per_minute,
        "source": source(state.source()),
        "evidence": state.evidence.iter().map(evidence).collect::<Vec<_>>(),
    }))
}

pub fn word(state: MotionState) -> &'static str {
    match state {
        MotionState::Motion => "motion",
        MotionState::Still => "still",
        MotionState::Unknown | MotionState::Unspecified => "unknown",
    }
}

fn source(source: DataSource) -> Option<&'static str> {
    match source {
        DataSource::Live => Some("live"),
        DataSource::Replay => Some("replay"),
        DataSource::Simulated => Some("simulated"),
        DataSource::Unspecified => None,
    }
}

/// What was found, or why nothing was.
fn found(value: Option<f32>, reason: &str) -> String {
    value.map_or_else(
        || {
            if reason.is_empty() {
                dash()
            } else {
                printable(reason)
            }
        },
        |value| format!("{value:.1}"),
    )
}

fn number(value: Option<f32>) -> String {
    value.map_or_else(dash, |value| format!("{value:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_has_no_score_and_says_why() {
        let state = ZoneState {
            zone: "lab".into(),
            state: MotionState::Unknown.into(),
            reason: "no_input".into(),
            source: DataSource::Replay.into(),
            ..ZoneState::default()
        };
        assert_eq!(
            sentence(&state),
            "lab: unknown (no_input); presence unknown [replay]"
        );
        let object = object(&state);
        assert!(
            object.get("score").is_none() && object.get("since").is_none(),
            "{object}"
        );
        assert_eq!(object["reason"], "no_input");
    }
}
