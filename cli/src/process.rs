//! `fresnel process`: uploads a recording, runs a pipeline over it and downloads what comes out.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use proto::signal::v1::{ProcessingState, StartProcessingRequest};
use uuid::Uuid;

use crate::client::{self, Address};
use crate::pipeline::{Signal, finish};
use crate::transfer::Gateway;

/// Exit code after Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The recording.
    file: PathBuf,
    /// The pipeline; see `fresnel pipeline list`.
    #[arg(long, value_name = "NAME", default_value = "motion")]
    pipeline: String,
    /// Where to write the output [default: the recording's name with .PIPELINE.parquet, here].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Format of the recording; `auto` finds it out.
    #[arg(long, default_value = "auto")]
    format: String,
    /// Frames per second of a recording without time stamps.
    #[arg(long, value_name = "HZ")]
    rate: Option<f64>,
    /// Id of the run; a second call with the same one joins the first. A new one otherwise.
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    /// Where the gateway listens [default: FRESNEL_GATEWAY_ADDRESS, else its port on this machine].
    #[arg(long, value_name = "HOST:PORT")]
    gateway: Option<String>,
    /// Where signal listens [default: FRESNEL_SIGNAL_ADDRESS, else its port on this machine].
    #[arg(long, value_name = "HOST:PORT")]
    signal: Option<String>,
    /// The outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let gateway = Gateway {
            address: Address {
                address: args.gateway,
            },
        };
        let signal = Signal {
            address: Address {
                address: args.signal,
            },
        };
        let recording = gateway
            .upload(&args.file, &args.format, Default::default())
            .await?;
        let request = StartProcessingRequest {
            pipeline: args.pipeline.clone(),
            recording: recording.recording,
            format: args.format,
            rate_hz: args.rate,
            request_id: args.id.unwrap_or_else(Uuid::new_v4).to_string(),
            validate_only: false,
        };
        let id = signal.start(request).await?.processing_id;
        let run = tokio::select! {
            run = signal.watch(&id) => run?,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt.context("Ctrl-C cannot be heard")?;
                finish(&signal.cancel(&id).await?, args.json)?;
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        if run.state() == ProcessingState::Completed {
            let path = args.output.unwrap_or_else(|| {
                let name = args.file.file_stem().unwrap_or_default().to_string_lossy();
                PathBuf::from(format!("{name}.{}.parquet", args.pipeline))
            });
            signal.download(&id, &path).await?;
            eprintln!("output in {}", path.display());
        }
        let code = finish(&run, args.json)?;
        Ok(match run.state() {
            ProcessingState::Completed => code,
            _ => ExitCode::FAILURE,
        })
    })
}
