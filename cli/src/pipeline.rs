//! `fresnel pipeline`: named pipelines of the signal service, and their runs over recordings.

mod file;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use proto::signal::v1::pipeline_service_client::PipelineServiceClient;
use proto::signal::v1::{
    CancelProcessingRequest, CreatePipelineRequest, DeletePipelineRequest, GetPipelineRequest,
    ListPipelinesRequest, ListProcessingsRequest, ListStageTypesRequest, PauseProcessingRequest,
    Pipeline, Processing, ProcessingState, ReadProcessingOutputRequest, ResumeProcessingRequest,
    StartProcessingRequest, UpdatePipelineRequest, WatchProcessingRequest,
};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::client::{
    self, Address, SIGNAL, explain, is_broken_connection, print_line, printable, refusal,
};
use show::{pipeline_json, print_pipelines, print_runs, print_stage_types, run_json, run_line};

/// How long the service may be away before we give up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(500);

type Client = PipelineServiceClient<Channel>;

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
    /// All pipelines.
    List,
    /// One pipeline with its stages.
    Show {
        /// Its name.
        name: String,
    },
    /// The types of stages that there are.
    Stages,
    /// Create a pipeline from a file, or with --replace change one to be as the file says.
    Create {
        /// A DNS label.
        name: String,
        /// TOML, YAML or JSON, by its ending: `description`, and `stages` with `type`, `name` and parameters.
        file: PathBuf,
        /// Change the pipeline of that name.
        #[arg(long)]
        replace: bool,
        /// Only check whether it could be created.
        #[arg(long)]
        validate_only: bool,
    },
    /// Delete a pipeline.
    Delete {
        /// Its name.
        name: String,
        /// Only if this is still its etag.
        #[arg(long, default_value = "")]
        etag: String,
    },
    /// Run a pipeline over a recording that was uploaded; prints the id of the run.
    Run {
        /// Name of the pipeline.
        name: String,
        /// Id of the recording, as `fresnel replay` and `fresnel process` have it: the SHA-256 of the file.
        recording: String,
        /// Frames per second of a recording without time stamps.
        #[arg(long, value_name = "HZ")]
        rate: Option<f64>,
        /// Id of the run; a second call with the same one joins the first.
        #[arg(long, value_name = "UUID")]
        id: Option<Uuid>,
    },
    /// The runs, the newest first.
    Runs {
        /// Only those of this pipeline.
        #[arg(default_value = "")]
        name: String,
    },
    /// Stop a run behind the chunk in hand; it can go on.
    Pause {
        /// Id of the run.
        id: Uuid,
    },
    /// Go on with a paused run.
    Resume {
        /// Id of the run.
        id: Uuid,
    },
    /// Give a run up.
    Cancel {
        /// Id of the run.
        id: Uuid,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Watch a run until it has ended.
    Watch {
        /// Id of the run.
        id: Uuid,
    },
    /// Download the output of a completed run.
    Output {
        /// Id of the run.
        id: Uuid,
        /// Where to, a Parquet file.
        file: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let signal = Signal {
            address: args.address,
        };
        act(&signal, args.action, args.json).await
    })
}

async fn act(signal: &Signal, action: Action, json: bool) -> anyhow::Result<ExitCode> {
    let mut client = signal.client().await?;
    let refused = |status: tonic::Status| refusal(&status);
    let processing_id = |id: Uuid| id.to_string();
    let changed = match action {
        Action::List => {
            let all = list(&mut client).await?;
            print_pipelines(&all, json)?;
            return Ok(ExitCode::SUCCESS);
        }
        Action::Show { name } => {
            let request = GetPipelineRequest { name };
            let found = client.get_pipeline(request).await.map_err(refused)?;
            return print_pipeline(found.into_inner().pipeline, json);
        }
        Action::Stages => {
            let types = client.list_stage_types(ListStageTypesRequest {}).await;
            print_stage_types(&types.map_err(refused)?.into_inner().stage_types, json)?;
            return Ok(ExitCode::SUCCESS);
        }
        Action::Create {
            name,
            file,
            replace,
            validate_only,
        } => {
            let pipeline = file::read(&file, name)?;
            let answer = if replace {
                let paths = ["description", "stages"].map(str::to_owned).to_vec();
                let request = UpdatePipelineRequest {
                    pipeline: Some(pipeline),
                    update_mask: Some(prost_types::FieldMask { paths }),
                    validate_only,
                };
                let answer = client.update_pipeline(request).await.map_err(refused)?;
                answer.into_inner().pipeline
            } else {
                let request = CreatePipelineRequest {
                    pipeline: Some(pipeline),
                    request_id: Uuid::new_v4().to_string(),
                    validate_only,
                };
                let answer = client.create_pipeline(request).await.map_err(refused)?;
                answer.into_inner().pipeline
            };
            return print_pipeline(answer, json);
        }
        Action::Delete { name, etag } => {
            let request = DeletePipelineRequest { name, etag };
            client.delete_pipeline(request).await.map_err(refused)?;
            return Ok(ExitCode::SUCCESS);
        }
        Action::Run {
            name,
            recording,
            rate,
            id,
        } => {
            let request = StartProcessingRequest {
                pipeline: name,
                recording,
                rate_hz: rate,
                request_id: id.unwrap_or_else(Uuid::new_v4).to_string(),
                ..StartProcessingRequest::default()
            };
            let run = signal.start(request).await?;
            let line = if json {
                run_json(&run).to_string()
            } else {
                run.processing_id
            };
            print_line(&line)?;
            return Ok(ExitCode::SUCCESS);
        }
        Action::Runs { name } => {
            print_runs(&runs(&mut client, &name).await?, json)?;
            return Ok(ExitCode::SUCCESS);
        }
        Action::Pause { id } => {
            let request = PauseProcessingRequest {
                processing_id: processing_id(id),
            };
            let answer = client.pause_processing(request).await.map_err(refused)?;
            answer.into_inner().processing
        }
        Action::Resume { id } => {
            let request = ResumeProcessingRequest {
                processing_id: processing_id(id),
            };
            let answer = client.resume_processing(request).await.map_err(refused)?;
            answer.into_inner().processing
        }
        Action::Cancel { id, reason } => {
            let request = CancelProcessingRequest {
                processing_id: processing_id(id),
                reason,
            };
            let answer = client.cancel_processing(request).await.map_err(refused)?;
            answer.into_inner().processing
        }
        Action::Watch { id } => Some(signal.watch(&processing_id(id)).await?),
        Action::Output { id, file } => {
            let bytes = signal.download(&processing_id(id), &file).await?;
            print_line(&format!("{bytes} bytes in {}", file.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let run = changed.ok_or_else(|| anyhow!("signal answered without a run"))?;
    finish(&run, json)
}

/// Says how a run stands; a failed one is a failure of the command.
pub fn finish(run: &Processing, json: bool) -> anyhow::Result<ExitCode> {
    let line = if json {
        run_json(run).to_string()
    } else {
        run_line(run)
    };
    print_line(&line)?;
    Ok(match run.state() {
        ProcessingState::Failed => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn print_pipeline(pipeline: Option<Pipeline>, json: bool) -> anyhow::Result<ExitCode> {
    let pipeline = pipeline.ok_or_else(|| anyhow!("signal answered without a pipeline"))?;
    if json {
        print_line(&pipeline_json(&pipeline).to_string())?;
    } else {
        show::print_pipeline(&pipeline)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &mut Client) -> anyhow::Result<Vec<Pipeline>> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListPipelinesRequest {
            page_size: 0,
            page_token,
        };
        let answer = client.list_pipelines(request).await;
        let page = answer.map_err(|s| refusal(&s))?.into_inner();
        all.extend(page.pipelines);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn runs(client: &mut Client, pipeline: &str) -> anyhow::Result<Vec<Processing>> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListProcessingsRequest {
            page_size: 0,
            page_token,
            pipeline: pipeline.to_owned(),
        };
        let answer = client.list_processings(request).await;
        let page = answer.map_err(|s| refusal(&s))?.into_inner();
        all.extend(page.processings);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// The signal service's runs, through its restarts.
pub struct Signal {
    /// Where it listens.
    pub address: Address,
}

impl Signal {
    async fn client(&self) -> anyhow::Result<Client> {
        let channel = SIGNAL.connect(&self.address).await?;
        Ok(PipelineServiceClient::new(channel))
    }

    /// Starts a run.
    pub async fn start(&self, request: StartProcessingRequest) -> anyhow::Result<Processing> {
        let answer = self.client().await?.start_processing(request).await;
        let run = answer.map_err(|s| refusal(&s))?.into_inner().processing;
        run.ok_or_else(|| anyhow!("signal answered without a run"))
    }

    /// Gives a run up.
    pub async fn cancel(&self, id: &str) -> anyhow::Result<Processing> {
        let request = CancelProcessingRequest {
            processing_id: id.to_owned(),
            reason: "interrupted".to_owned(),
        };
        let answer = self.client().await?.cancel_processing(request).await;
        let run = answer.map_err(|s| refusal(&s))?.into_inner().processing;
        run.ok_or_else(|| anyhow!("signal answered without a run"))
    }

    /// Shows the progress of a run until it has ended, or is paused by somebody.
    pub async fn watch(&self, id: &str) -> anyhow::Result<Processing> {
        let bar = ProgressBar::new(0);
        let watched = self.follow(id, &bar).await;
        bar.finish_and_clear();
        watched
    }

    async fn follow(&self, id: &str, bar: &ProgressBar) -> anyhow::Result<Processing> {
        let request = WatchProcessingRequest {
            processing_id: id.to_owned(),
        };
        let mut since = Instant::now();
        loop {
            let mut client = match self.client().await {
                Ok(client) => client,
                Err(error) if since.elapsed() > PATIENCE => return Err(error),
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let broken = match client.watch_processing(request.clone()).await {
                Err(status) => status,
                Ok(answer) => {
                    let mut progress = answer.into_inner();
                    loop {
                        match progress.message().await {
                            Ok(Some(message)) => {
                                since = Instant::now();
                                let Some(now) = message.processing else {
                                    continue;
                                };
                                show(bar, &now);
                                if !matches!(
                                    now.state(),
                                    ProcessingState::Running | ProcessingState::Paused
                                ) {
                                    return Ok(now);
                                }
                            }
                            Ok(None) => break tonic::Status::unavailable("the stream ended"),
                            Err(status) => break status,
                        }
                    }
                }
            };
            if !is_broken_connection(&broken) || since.elapsed() > PATIENCE {
                return Err(refusal(&broken));
            }
            bar.set_message(format!("waiting for signal: {}", explain(&broken)));
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes the output of a run into a file; its size in bytes.
    pub async fn download(&self, id: &str, path: &std::path::Path) -> anyhow::Result<u64> {
        let request = ReadProcessingOutputRequest {
            processing_id: id.to_owned(),
        };
        let answer = self.client().await?.read_processing_output(request).await;
        let mut parts = answer.map_err(|s| refusal(&s))?.into_inner();
        let shown = path.display();
        // Under another name until it is whole.
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let mut file = tokio::fs::File::create(&partial)
            .await
            .with_context(|| format!("{shown} cannot be written"))?;
        let (mut size, mut written) = (0, 0);
        while let Some(part) = parts.message().await.map_err(|s| refusal(&s))? {
            size = size.max(part.size_bytes);
            written += part.data.len() as u64;
            file.write_all(&part.data)
                .await
                .with_context(|| format!("{shown} cannot be written"))?;
        }
        anyhow::ensure!(
            size == written,
            "the output has {size} bytes and {written} came"
        );
        file.flush().await?;
        drop(file);
        tokio::fs::rename(&partial, path)
            .await
            .with_context(|| format!("{shown} cannot be written"))?;
        Ok(written)
    }
}

fn show(bar: &ProgressBar, run: &Processing) {
    let template = match run.frames_total {
        None => "{spinner} {msg}",
        Some(_) => "{bar:30} {pos}/{len} frames  {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_length(run.frames_total.unwrap_or_default());
    bar.set_position(run.frames_processed);
    let mut words = Vec::new();
    match run.state() {
        ProcessingState::Paused => words.push("paused".to_owned()),
        _ if !run.working => words.push("waiting for its turn".to_owned()),
        _ => {}
    }
    // As the service measured them: of its work, without pauses.
    if let Some(rate) = run.frames_per_second {
        words.push(format!("{rate:.0}/s"));
    }
    if let Some(eta) = run.eta_seconds.filter(|_| run.working) {
        words.push(format!("{eta:.1} s left"));
    }
    if run.errors > 0 {
        words.push(format!("{} malformed", run.errors));
    }
    bar.set_message(printable(&words.join("  ")));
}
