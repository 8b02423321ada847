//! `PipelineService`.

mod wire;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use csi::read::Format;
use events::Name;
use events::types::SecurityContext;
use futures::{Stream, StreamExt, stream};
use proto::signal::v1 as pb;
use proto::signal::v1::pipeline_service_server::PipelineService;
use runtime::{invalid_argument, next_page, page_items, refuse};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use self::wire::{render, render_run, stages, to_struct};
use super::Reply;
use crate::processing::definition::Definition;
use crate::processing::error::{Error, chain};
use crate::processing::run::Order;
use crate::processing::runs::{Runs, Snapshot};
use crate::processing::stage::Type;
use crate::processing::store::{Pipelines, Settings};

/// Bytes of the output in one message.
const PART: usize = 256 * 1024;

pub(super) struct PipelineApi {
    pub pipelines: Arc<Pipelines>,
    pub runs: Arc<Runs>,
    pub stop: CancellationToken,
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = chain(&error);
        match &error {
            Error::Invalid { field, problem } => invalid_argument(field, problem.clone()),
            Error::Misfit(misfit) => {
                let field = misfit.stage().map_or_else(
                    || "pipeline.stages".to_owned(),
                    |place| format!("pipeline.stages[{place}]"),
                );
                invalid_argument(&field, message)
            }
            Error::NotFound { kind, .. } => {
                let reason = format!("{}_NOT_FOUND", kind.to_uppercase());
                refuse(Code::NotFound, &reason, message)
            }
            Error::Taken { .. } => refuse(Code::AlreadyExists, "ALREADY_EXISTS", message),
            Error::Changed { .. } => refuse(Code::Aborted, "ETAG_MISMATCH", message),
            Error::State { reason, .. } => refuse(Code::FailedPrecondition, reason, message),
            Error::Queue { .. } => refuse(Code::ResourceExhausted, "TOO_MANY_RUNS", message),
            Error::Bus(_) => refuse(Code::Unavailable, "BUS_UNAVAILABLE", message),
            Error::Encode(_) => refuse(Code::Internal, "ENCODING", message),
        }
    }
}

#[tonic::async_trait]
impl PipelineService for PipelineApi {
    async fn create_pipeline(
        &self,
        request: Request<pb::CreatePipelineRequest>,
    ) -> Reply<pb::CreatePipelineResponse> {
        let by = on_behalf(&request).user_id;
        let pb::CreatePipelineRequest {
            pipeline,
            request_id,
            validate_only,
        } = request.into_inner();
        let pipeline = pipeline.ok_or_else(|| invalid_argument("pipeline", "is missing"))?;
        let name = name("pipeline.name", &pipeline.name)?;
        let settings = Settings {
            description: pipeline.description,
            stages: stages(pipeline.stages)?,
        };
        let created = self
            .pipelines
            .create(&name, settings, &request_id, by.as_deref(), validate_only)
            .await?;
        Ok(Response::new(pb::CreatePipelineResponse {
            pipeline: Some(render(name.as_str(), &created)),
        }))
    }

    async fn get_pipeline(
        &self,
        request: Request<pb::GetPipelineRequest>,
    ) -> Reply<pb::GetPipelineResponse> {
        let name = name("name", &request.into_inner().name)?;
        let found = self.pipeline(&name)?;
        Ok(Response::new(pb::GetPipelineResponse {
            pipeline: Some(render(name.as_str(), &found)),
        }))
    }

    async fn list_pipelines(
        &self,
        request: Request<pb::ListPipelinesRequest>,
    ) -> Reply<pb::ListPipelinesResponse> {
        let pb::ListPipelinesRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let size = page_items(page_size)?;
        // The token is the last name of the page before.
        let mut found = self.pipelines.list(&page_token, size + 1);
        let next_page_token = next_page(&mut found, size, |(name, _)| name.clone());
        Ok(Response::new(pb::ListPipelinesResponse {
            pipelines: found.iter().map(|(name, one)| render(name, one)).collect(),
            next_page_token,
        }))
    }

    async fn update_pipeline(
        &self,
        request: Request<pb::UpdatePipelineRequest>,
    ) -> Reply<pb::UpdatePipelineResponse> {
        let by = on_behalf(&request).user_id;
        let pb::UpdatePipelineRequest {
            pipeline,
            update_mask,
            validate_only,
        } = request.into_inner();
        let pipeline = pipeline.ok_or_else(|| invalid_argument("pipeline", "is missing"))?;
        let name = name("pipeline.name", &pipeline.name)?;
        let mut paths = update_mask.map(|mask| mask.paths).unwrap_or_default();
        if paths.is_empty() {
            // AIP-134: without a mask, the fields that are set.
            let set = [
                ("description", !pipeline.description.is_empty()),
                ("stages", !pipeline.stages.is_empty()),
            ];
            paths.extend(
                set.iter()
                    .filter(|(_, set)| *set)
                    .map(|(path, _)| (*path).to_owned()),
            );
        }
        let new = Settings {
            description: pipeline.description,
            stages: stages(pipeline.stages)?,
        };
        let edit = |settings: &mut Settings| {
            for path in &paths {
                match path.as_str() {
                    "description" => settings.description.clone_from(&new.description),
                    "stages" => settings.stages.clone_from(&new.stages),
                    "*" => *settings = new.clone(),
                    other => {
                        let problem =
                            format!("{other:?} cannot be changed; description and stages can");
                        return Err(Error::invalid("update_mask", problem));
                    }
                }
            }
            Ok(())
        };
        let updated = self
            .pipelines
            .update(&name, &pipeline.etag, by.as_deref(), validate_only, edit)
            .await?;
        Ok(Response::new(pb::UpdatePipelineResponse {
            pipeline: Some(render(name.as_str(), &updated)),
        }))
    }

    async fn delete_pipeline(
        &self,
        request: Request<pb::DeletePipelineRequest>,
    ) -> Reply<pb::DeletePipelineResponse> {
        let by = on_behalf(&request).user_id;
        let request = request.into_inner();
        let name = name("name", &request.name)?;
        self.pipelines
            .delete(&name, &request.etag, by.as_deref())
            .await?;
        Ok(Response::new(pb::DeletePipelineResponse {}))
    }

    async fn list_stage_types(
        &self,
        _: Request<pb::ListStageTypesRequest>,
    ) -> Reply<pb::ListStageTypesResponse> {
        let one = |does: &Type| pb::StageType {
            r#type: does.name().to_owned(),
            description: does.description().to_owned(),
            signatures: does
                .signatures()
                .iter()
                .map(|(input, output)| pb::StageSignature {
                    input: input.name().to_owned(),
                    output: output.name().to_owned(),
                })
                .collect(),
            parameters: Some(to_struct(does.parameters())),
        };
        Ok(Response::new(pb::ListStageTypesResponse {
            stage_types: Type::all().iter().map(one).collect(),
        }))
    }

    async fn start_processing(
        &self,
        request: Request<pb::StartProcessingRequest>,
    ) -> Reply<pb::StartProcessingResponse> {
        let on_behalf = on_behalf(&request);
        let request = request.into_inner();
        let name = name("pipeline", &request.pipeline)?;
        let definition = self.pipeline(&name)?;
        let recording = request.recording.to_ascii_lowercase();
        if recording.len() != 64 || !recording.bytes().all(|b| b.is_ascii_hexdigit()) {
            let problem = "must be the id that UploadRecording gave (64 hex digits)";
            return Err(invalid_argument("recording", problem));
        }
        let format = match &*request.format {
            "" => "auto".to_owned(),
            given => {
                let format: Format = given
                    .parse()
                    .map_err(|error| invalid_argument("format", format!("{error}")))?;
                format.to_string()
            }
        };
        if let Some(rate) = request
            .rate_hz
            .filter(|rate| !(*rate > 0.0 && *rate <= 1e6))
        {
            let problem = format!("{rate}: must be above 0, at most 1000000");
            return Err(invalid_argument("rate_hz", problem));
        }
        let id = match &*request.request_id {
            "" => Uuid::now_v7(),
            text => id("request_id", text)?,
        };
        let order = Order {
            pipeline: name.to_string(),
            pipeline_etag: definition.etag(),
            stages: definition.stages,
            recording,
            format,
            rate_hz: request.rate_hz,
        };
        let started = self
            .runs
            .start(id, order, on_behalf, request.validate_only)
            .await?;
        Ok(Response::new(pb::StartProcessingResponse {
            processing: Some(render_run(id, &started)),
        }))
    }

    async fn get_processing(
        &self,
        request: Request<pb::GetProcessingRequest>,
    ) -> Reply<pb::GetProcessingResponse> {
        let id = id("processing_id", &request.into_inner().processing_id)?;
        let found = self.runs.get(id)?;
        Ok(Response::new(pb::GetProcessingResponse {
            processing: Some(render_run(id, &found)),
        }))
    }

    async fn list_processings(
        &self,
        request: Request<pb::ListProcessingsRequest>,
    ) -> Reply<pb::ListProcessingsResponse> {
        let pb::ListProcessingsRequest {
            page_size,
            page_token,
            pipeline,
        } = request.into_inner();
        let size = page_items(page_size)?;
        let before = match page_token.as_str() {
            "" => None,
            token => {
                let parsed = token
                    .split_once('/')
                    .and_then(|(at, id)| Some((at.parse().ok()?, Uuid::parse_str(id).ok()?)));
                Some(parsed.ok_or_else(|| {
                    invalid_argument("page_token", "is none that ListProcessings gave")
                })?)
            }
        };
        let mut found = self.runs.list(&pipeline, before, size + 1);
        let token = |(id, now): &(Uuid, Snapshot)| format!("{}/{id}", now.run.started.as_micros());
        let next_page_token = next_page(&mut found, size, token);
        Ok(Response::new(pb::ListProcessingsResponse {
            processings: found.iter().map(|(id, now)| render_run(*id, now)).collect(),
            next_page_token,
        }))
    }

    type WatchProcessingStream = BoxStream<pb::WatchProcessingResponse>;

    async fn watch_processing(
        &self,
        request: Request<pb::WatchProcessingRequest>,
    ) -> Reply<Self::WatchProcessingStream> {
        let id = id("processing_id", &request.into_inner().processing_id)?;
        let now = WatchStream::new(self.runs.watch(id)?);
        // The last state is sent too: the stream ends behind it.
        let until_over = now.scan(false, |over, now| {
            let ended = std::mem::replace(over, now.run.state.is_over());
            futures::future::ready((!ended).then_some(now))
        });
        let answers = until_over.map(move |now| {
            Ok(pb::WatchProcessingResponse {
                processing: Some(render_run(id, &now)),
            })
        });
        let over = self.runs.get(id)?.run.state.is_over();
        let stop = self.stop.clone().cancelled_owned();
        // A run that is over changes no more: the stream must not wait for it.
        let most = if over { 1 } else { usize::MAX };
        Ok(Response::new(Box::pin(answers.take(most).take_until(stop))))
    }

    async fn pause_processing(
        &self,
        request: Request<pb::PauseProcessingRequest>,
    ) -> Reply<pb::PauseProcessingResponse> {
        let id = id("processing_id", &request.into_inner().processing_id)?;
        let now = self.runs.pause(id).await?;
        Ok(Response::new(pb::PauseProcessingResponse {
            processing: Some(render_run(id, &now)),
        }))
    }

    async fn resume_processing(
        &self,
        request: Request<pb::ResumeProcessingRequest>,
    ) -> Reply<pb::ResumeProcessingResponse> {
        let id = id("processing_id", &request.into_inner().processing_id)?;
        let now = self.runs.resume(id).await?;
        Ok(Response::new(pb::ResumeProcessingResponse {
            processing: Some(render_run(id, &now)),
        }))
    }

    async fn cancel_processing(
        &self,
        request: Request<pb::CancelProcessingRequest>,
    ) -> Reply<pb::CancelProcessingResponse> {
        let pb::CancelProcessingRequest {
            processing_id,
            reason,
        } = request.into_inner();
        let id = id("processing_id", &processing_id)?;
        let now = self.runs.cancel(id, &reason).await?;
        Ok(Response::new(pb::CancelProcessingResponse {
            processing: Some(render_run(id, &now)),
        }))
    }

    type ReadProcessingOutputStream = BoxStream<pb::ReadProcessingOutputResponse>;

    async fn read_processing_output(
        &self,
        request: Request<pb::ReadProcessingOutputRequest>,
    ) -> Reply<Self::ReadProcessingOutputStream> {
        let id = id("processing_id", &request.into_inner().processing_id)?;
        let output: Bytes = self.runs.output(id).await?;
        let size_bytes = output.len() as u64;
        let parts = (0..output.len().max(1)).step_by(PART).map(move |start| {
            Ok(pb::ReadProcessingOutputResponse {
                data: output.slice(start..output.len().min(start + PART)),
                size_bytes: if start == 0 { size_bytes } else { 0 },
            })
        });
        Ok(Response::new(Box::pin(stream::iter(parts))))
    }
}

impl PipelineApi {
    fn pipeline(&self, name: &Name) -> Result<Definition, Error> {
        self.pipelines
            .get(name.as_str())
            .ok_or_else(|| Error::NotFound {
                kind: "pipeline",
                name: name.to_string(),
            })
    }
}

/// On whose behalf a request comes: nothing here says so yet, and what was not proven is not written down.
fn on_behalf<T>(_: &Request<T>) -> SecurityContext {
    SecurityContext {
        user_id: None,
        tenant_id: None,
        permissions: Vec::new(),
    }
}

fn name(field: &str, text: &str) -> Result<Name, Status> {
    Name::new(text).map_err(|error| invalid_argument(field, error.to_string()))
}

fn id(field: &str, text: &str) -> Result<Uuid, Status> {
    Uuid::parse_str(text)
        .map_err(|error| invalid_argument(field, format!("{text:?} is no UUID: {error}")))
}
