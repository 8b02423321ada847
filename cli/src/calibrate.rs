//! `fresnel calibrate` and `fresnel calibrations`: measure a device or an empty room, and choose what is in use.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use events::Timestamp;
use indicatif::{ProgressBar, ProgressStyle};
use prost::Message as _;
use proto::gateway::v1 as pb;
use proto::gateway::v1::calibration_service_client::CalibrationServiceClient;
use proto::google::longrunning::operation::Result as Outcome;
use proto::google::longrunning::operations_client::OperationsClient;
use proto::google::longrunning::{CancelOperationRequest, Operation, WaitOperationRequest};
use proto::operations::v1::OperationMetadata;
use tonic::transport::Channel;

use crate::client::{self, Address, GATEWAY, print_line, printable, refusal};

/// Exit code after Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;
/// How often the progress is asked for, seconds.
const EVERY: Duration = Duration::from_millis(300);

/// What is calibrated.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// The baseline of a room with nobody in it.
    EmptyRoom,
    /// The receiver's noise.
    NoiseFloor,
    /// Phase between receive antennas on one clock.
    AntennaPhase,
}

impl Kind {
    fn wire(self) -> pb::CalibrationKind {
        match self {
            Self::EmptyRoom => pb::CalibrationKind::EmptyRoom,
            Self::NoiseFloor => pb::CalibrationKind::NoiseFloor,
            Self::AntennaPhase => pb::CalibrationKind::AntennaPhase,
        }
    }
}

/// Arguments of `fresnel calibrate`.
#[derive(clap::Args)]
pub struct Args {
    kind: Kind,
    /// A registered device.
    #[arg(long, value_name = "NAME", required_unless_present = "zone")]
    device: Option<String>,
    /// All registered devices of a zone.
    #[arg(long, value_name = "NAME", conflicts_with = "device")]
    zone: Option<String>,
    /// Seconds to measure [default: 60 for an empty room, 10 otherwise].
    #[arg(long)]
    seconds: Option<f64>,
    /// Keep it without putting it into use.
    #[arg(long)]
    no_use: bool,
    #[command(flatten)]
    address: Address,
}

/// Arguments of `fresnel calibrations`.
#[derive(clap::Args)]
pub struct ListArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    address: Address,
}

#[derive(Subcommand)]
enum Action {
    /// All that are kept.
    List {
        /// Only of this device.
        device: Option<String>,
    },
    /// One in plain words.
    Show {
        device: String,
        kind: Kind,
        /// The one in use where it is not given.
        #[arg(id = "number", value_name = "VERSION")]
        version: Option<u32>,
    },
    /// Put a version into use; without one, go back to the one before.
    Use {
        device: String,
        kind: Kind,
        #[arg(id = "number", value_name = "VERSION")]
        version: Option<u32>,
    },
    /// Remove a version.
    Delete {
        device: String,
        kind: Kind,
        #[arg(id = "number", value_name = "VERSION")]
        version: u32,
        /// Also the one in use.
        #[arg(long)]
        force: bool,
    },
}

/// Runs `fresnel calibrate`.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let channel = GATEWAY.connect(&args.address).await?;
        let request = pb::StartCalibrationRequest {
            kind: args.kind.wire().into(),
            device: args.device.unwrap_or_default(),
            zone: args.zone.unwrap_or_default(),
            seconds: args.seconds.unwrap_or_default(),
            activate: !args.no_use,
            ..pb::StartCalibrationRequest::default()
        };
        let mut gateway = CalibrationServiceClient::new(channel.clone());
        let started = gateway.start_calibration(request).await;
        let started = started.map_err(|status| refusal(&status))?.into_inner();
        let Some(ended) = follow(&channel, started).await? else {
            return Ok(ExitCode::from(INTERRUPTED));
        };
        match ended.result {
            Some(Outcome::Response(response)) => {
                let result = prost_types::Struct::decode(&*response.value)?;
                report(&mut gateway, args.kind, &result).await
            }
            Some(Outcome::Error(status)) => Err(anyhow!("not calibrated: {}", status.message)),
            None => Err(anyhow!("the operation ended without a result")),
        }
    })
}

/// Waits for the end with a progress bar; Ctrl-C cancels.
async fn follow(channel: &Channel, started: Operation) -> anyhow::Result<Option<Operation>> {
    let mut operations = OperationsClient::new(channel.clone());
    let style = ProgressStyle::with_template("{msg:>12} [{bar:40}] {percent:>3} %")?;
    let bar = ProgressBar::new(100).with_style(style.progress_chars("=> "));
    let mut operation = started;
    while !operation.done {
        let request = WaitOperationRequest {
            name: operation.name.clone(),
            timeout: Some(prost_types::Duration::try_from(EVERY)?),
        };
        tokio::select! {
            answer = operations.wait_operation(request) => {
                operation = answer.map_err(|status| refusal(&status))?.into_inner();
            }
            _ = tokio::signal::ctrl_c() => {
                let name = operation.name.clone();
                let cancelled = operations.cancel_operation(CancelOperationRequest { name }).await;
                cancelled.map_err(|status| refusal(&status))?;
                bar.abandon_with_message("cancelled");
                return Ok(None);
            }
        }
        if let Some(metadata) = &operation.metadata {
            let metadata = OperationMetadata::decode(&*metadata.value)?;
            bar.set_message(metadata.state);
            let percent = metadata.progress_percent.unwrap_or_default();
            bar.set_position(if percent >= 0.0 { percent as u64 } else { 0 });
        }
    }
    bar.finish_and_clear();
    Ok(Some(operation))
}

async fn report(
    gateway: &mut CalibrationServiceClient<Channel>,
    kind: Kind,
    result: &prost_types::Struct,
) -> anyhow::Result<ExitCode> {
    use prost_types::value::Kind::{ListValue, NumberValue, StringValue, StructValue};
    let list = |name: &str| match result.fields.get(name).and_then(|v| v.kind.clone()) {
        Some(ListValue(list)) => list.values,
        _ => Vec::new(),
    };
    let text = |of: &prost_types::Struct, name: &str| match of.fields.get(name).map(|v| &v.kind) {
        Some(Some(StringValue(text))) => text.clone(),
        _ => String::new(),
    };
    for value in list("calibrations") {
        let Some(StructValue(made)) = value.kind else {
            continue;
        };
        let version = match made.fields.get("version").map(|v| &v.kind) {
            Some(Some(NumberValue(version))) => *version as u32,
            _ => 0,
        };
        show(gateway, &text(&made, "device"), kind, version).await?;
    }
    let failed = list("failed");
    for value in &failed {
        if let Some(StructValue(refused)) = &value.kind {
            let (device, message) = (text(refused, "device"), text(refused, "message"));
            eprintln!(
                "{}: not calibrated: {}",
                printable(&device),
                printable(&message)
            );
        }
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs `fresnel calibrations`.
pub fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let channel = GATEWAY.connect(&args.address).await?;
        let mut gateway = CalibrationServiceClient::new(channel);
        match args.action {
            Action::List { device } => table(&mut gateway, device.unwrap_or_default()).await?,
            Action::Show {
                device,
                kind,
                version,
            } => show(&mut gateway, &device, kind, version.unwrap_or_default()).await?,
            Action::Use {
                device,
                kind,
                version,
            } => {
                let request = pb::ActivateCalibrationRequest {
                    device,
                    kind: kind.wire().into(),
                    version: version.unwrap_or_default(),
                };
                let answer = gateway.activate_calibration(request).await;
                let answer = answer.map_err(|status| refusal(&status))?.into_inner();
                let made = answer.calibration.context("no calibration in the answer")?;
                print_line(&format!("version {} is in use", made.version))?;
            }
            Action::Delete {
                device,
                kind,
                version,
                force,
            } => {
                let request = pb::DeleteCalibrationRequest {
                    device,
                    kind: kind.wire().into(),
                    version,
                    force,
                };
                let answer = gateway.delete_calibration(request).await;
                answer.map_err(|status| refusal(&status))?;
                print_line("deleted")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn table(
    gateway: &mut CalibrationServiceClient<Channel>,
    device: String,
) -> anyhow::Result<()> {
    let mut request = pb::ListCalibrationsRequest {
        device,
        ..pb::ListCalibrationsRequest::default()
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "DEVICE",
        "KIND",
        "VERSION",
        "IN USE",
        "FRAMES",
        "FROM",
        "EXPIRES",
        "ALARM",
        "CALIBRATION",
    ]);
    loop {
        let answer = gateway.list_calibrations(request.clone()).await;
        let page = answer.map_err(|status| refusal(&status))?.into_inner();
        for made in page.calibrations {
            table.add_row([
                printable(&made.device),
                kind_name(made.kind()).to_owned(),
                made.version.to_string(),
                if made.in_use { "yes" } else { "" }.to_owned(),
                made.frames_used.to_string(),
                source(&made).to_owned(),
                day(made.expire_time),
                alarms(&made),
                made.calibration_id,
            ]);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    print_line(&table.to_string())?;
    Ok(())
}

async fn show(
    gateway: &mut CalibrationServiceClient<Channel>,
    device: &str,
    kind: Kind,
    version: u32,
) -> anyhow::Result<()> {
    let request = pb::GetCalibrationRequest {
        device: device.to_owned(),
        kind: kind.wire().into(),
        version,
    };
    let answer = gateway.get_calibration(request).await;
    let answer = answer.map_err(|status| refusal(&status))?.into_inner();
    let made = answer.calibration.context("no calibration in the answer")?;
    print_line(&format!(
        "{}: {} version {}{}, {} frames, {} ({})",
        printable(&made.device),
        kind_name(made.kind()),
        made.version,
        if made.in_use { ", in use" } else { "" },
        made.frames_used,
        source(&made),
        made.calibration_id
    ))?;
    for alarm in &made.alarms {
        let (code, action) = (printable(&alarm.code), printable(&alarm.action));
        print_line(&format!("  {code}: {action}"))?;
    }
    for link in &made.links {
        print_line(&format!(
            "  link {} with {} frames",
            link.layout, link.frames
        ))?;
        for line in words(link) {
            print_line(&format!("    {line}"))?;
        }
    }
    Ok(())
}

/// `2026-05-01`.
fn day(time: Option<prost_types::Timestamp>) -> String {
    let micros = time.map_or(0, |time| time.seconds.saturating_mul(1_000_000));
    let text = Timestamp::from_micros(micros).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// `expired, drift`.
fn alarms(made: &pb::Calibration) -> String {
    let codes = made.alarms.iter().map(|alarm| printable(&alarm.code));
    let short: Vec<String> = codes
        .map(|code| code.trim_start_matches("calibration_").to_owned())
        .collect();
    short.join(", ")
}

fn words(link: &pb::LinkCalibration) -> Vec<String> {
    use pb::link_calibration::Result::{AntennaPhase, EmptyRoom, NoiseFloor};
    match &link.result {
        Some(EmptyRoom(room)) => {
            let median = room.motion_quantiles.first().copied().unwrap_or_default();
            vec![
                format!(
                    "motion from {:.3} on; the empty room's own median is {median:.3}",
                    room.motion_threshold
                ),
                match room.false_alarm_rate {
                    Some(rate) => format!(
                        "false alarms in {} held-out windows: {:.1} %, at most {:.1} % (95 %)",
                        room.held_out_trials,
                        100.0 * rate,
                        100.0 * room.false_alarm_bound
                    ),
                    None => format!(
                        "{} held-out windows are too few for a rate of false alarms: at most {:.0} % (95 %)",
                        room.held_out_trials,
                        100.0 * room.false_alarm_bound
                    ),
                },
            ]
        }
        Some(NoiseFloor(floor)) => {
            let mut lines = vec![format!(
                "noise from frame to frame {:.1} dB below the amplitude",
                floor.amplitude_to_noise_db
            )];
            lines.extend(
                floor
                    .reported_dbm
                    .map(|dbm| format!("noise floor as reported {dbm:.1} dBm")),
            );
            lines
        }
        Some(AntennaPhase(phase)) => {
            let offsets: Vec<String> = phase.offsets.iter().map(|o| format!("{o:.3}")).collect();
            vec![format!(
                "offsets {} rad, steadiness {:.3}",
                offsets.join(" "),
                phase.steadiness
            )]
        }
        None => Vec::new(),
    }
}

fn kind_name(kind: pb::CalibrationKind) -> &'static str {
    match kind {
        pb::CalibrationKind::EmptyRoom => "empty-room",
        pb::CalibrationKind::NoiseFloor => "noise-floor",
        pb::CalibrationKind::AntennaPhase => "antenna-phase",
        pb::CalibrationKind::Unspecified => "?",
    }
}

fn source(made: &pb::Calibration) -> &'static str {
    match made.source() {
        proto::csi::v1::DataSource::Live => "live",
        proto::csi::v1::DataSource::Replay => "replay",
        proto::csi::v1::DataSource::Simulated => "simulated",
        proto::csi::v1::DataSource::Unspecified => "?",
    }
}
