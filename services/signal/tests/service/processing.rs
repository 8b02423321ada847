//! Pipelines and runs over recordings from the outside.

use std::collections::BTreeMap;

use bus::From;
use bytes::{Bytes, BytesMut};
use events::EventEnvelope;
use parquet::file::reader::{FileReader, SerializedFileReader};
use prost_types::{FieldMask, Struct, Value, value::Kind};
use proto::signal::v1::pipeline_service_client::PipelineServiceClient;
use proto::signal::v1::{self as pb, ProcessingState};
use sha2::Digest as _;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::sandbox::{Sandbox, within};

pub const RECORDING: &str = "espectre-test-c3-20260329-130804";

pub type Client = PipelineServiceClient<Channel>;

pub async fn client(sandbox: &Sandbox) -> Client {
    PipelineServiceClient::connect(sandbox.grpc())
        .await
        .unwrap()
}

fn stage(kind: &str, parameters: &[(&str, f64)]) -> pb::Stage {
    let value = |number: f64| Value {
        kind: Some(Kind::NumberValue(number)),
    };
    pb::Stage {
        name: String::new(),
        r#type: kind.to_owned(),
        parameters: Some(Struct {
            fields: parameters
                .iter()
                .map(|(key, number)| ((*key).to_owned(), value(*number)))
                .collect(),
        }),
    }
}

fn pipeline(name: &str, stages: Vec<pb::Stage>) -> pb::Pipeline {
    pb::Pipeline {
        name: name.to_owned(),
        stages,
        ..pb::Pipeline::default()
    }
}

fn create(pipeline: pb::Pipeline, request_id: &str) -> pb::CreatePipelineRequest {
    pb::CreatePipelineRequest {
        pipeline: Some(pipeline),
        request_id: request_id.to_owned(),
        validate_only: false,
    }
}

/// As the gateway stores it.
pub async fn upload(sandbox: &Sandbox, contents: &[u8]) -> String {
    let id = hex::encode(sha2::Sha256::digest(contents));
    let store = sandbox.bus().objects("recordings").await.unwrap();
    store
        .put(&id, Bytes::copy_from_slice(contents))
        .await
        .unwrap();
    id
}

pub fn start(pipeline: &str, recording: &str, id: Uuid) -> pb::StartProcessingRequest {
    pb::StartProcessingRequest {
        pipeline: pipeline.to_owned(),
        recording: recording.to_owned(),
        request_id: id.to_string(),
        ..pb::StartProcessingRequest::default()
    }
}

/// Watches until `enough`.
pub async fn watch(
    client: &mut Client,
    id: Uuid,
    enough: impl Fn(&pb::Processing) -> bool,
) -> pb::Processing {
    let request = pb::WatchProcessingRequest {
        processing_id: id.to_string(),
    };
    let mut stream = client.watch_processing(request).await.unwrap().into_inner();
    loop {
        let message = within("progress", stream.message()).await.unwrap();
        let now = message
            .expect("the stream ended before")
            .processing
            .unwrap();
        if enough(&now) {
            return now;
        }
        assert!(
            !matches!(
                now.state(),
                ProcessingState::Failed | ProcessingState::Cancelled | ProcessingState::Completed
            ),
            "{now:?}"
        );
    }
}

pub async fn completed(client: &mut Client, id: Uuid) -> pb::Processing {
    watch(client, id, |now| now.state() == ProcessingState::Completed).await
}

pub async fn output(client: &mut Client, id: Uuid) -> Bytes {
    let request = pb::ReadProcessingOutputRequest {
        processing_id: id.to_string(),
    };
    let mut parts = client
        .read_processing_output(request)
        .await
        .unwrap()
        .into_inner();
    let (mut all, mut size) = (BytesMut::new(), 0);
    while let Some(part) = parts.message().await.unwrap() {
        size = size.max(part.size_bytes);
        all.extend_from_slice(&part.data);
    }
    assert_eq!(all.len() as u64, size);
    all.freeze()
}

/// The events of one key that are stored now.
pub async fn events(sandbox: &Sandbox, key: &str) -> Vec<EventEnvelope> {
    let all = sandbox
        .bus()
        .replay(&format!("pipeline.*.{key}"), From::Start)
        .await
        .unwrap();
    all.into_iter().map(|delivery| delivery.event).collect()
}

/// Waits until an object of a run is removed.
pub async fn gone(sandbox: &Sandbox, name: String) {
    let store = sandbox.bus().objects("processing").await.unwrap();
    let removed = async {
        let mut again = tokio::time::interval(std::time::Duration::from_millis(20));
        while store.size(&name).await.unwrap().is_some() {
            again.tick().await;
        }
    };
    within("the removal", removed).await;
}

pub fn count(events: &[EventEnvelope], event_type: &str) -> usize {
    events
        .iter()
        .filter(|event| event.event_type == format!("pipeline.{event_type}"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_are_created_changed_and_deleted() {
    let mut sandbox = Sandbox::start().await;
    let mut client = client(&sandbox).await;
    let smooth = || {
        pipeline(
            "smooth",
            vec![stage("gain", &[]), stage("hampel", &[("half", 2.0)])],
        )
    };
    let created = client
        .create_pipeline(create(smooth(), "once"))
        .await
        .unwrap()
        .into_inner()
        .pipeline
        .unwrap();
    assert_eq!((created.etag.as_str(), created.built_in), ("1", false));
    assert_eq!(created.stages[1].name, "hampel");
    let again = client
        .create_pipeline(create(smooth(), "once"))
        .await
        .unwrap()
        .into_inner()
        .pipeline
        .unwrap();
    assert_eq!(again, created);
    let taken = client
        .create_pipeline(create(smooth(), "twice"))
        .await
        .unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    let misfit = pipeline("wrong", vec![stage("gain", &[]), stage("motion", &[])]);
    let refused = client
        .create_pipeline(create(misfit, ""))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused
            .message()
            .ends_with("stage 2 \"motion\" takes windows, and \"gain\" before it gives power"),
        "{refused}"
    );
    let details = refused.get_error_details();
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "pipeline.stages[1]"
    );

    let mut request = pb::UpdatePipelineRequest {
        pipeline: Some(pb::Pipeline {
            etag: "7".to_owned(),
            ..pipeline(
                "smooth",
                vec![stage("gain", &[]), stage("clock", &[("rate_hz", 50.0)])],
            )
        }),
        update_mask: Some(FieldMask {
            paths: vec!["stages".to_owned()],
        }),
        validate_only: false,
    };
    assert_eq!(
        client
            .update_pipeline(request.clone())
            .await
            .unwrap_err()
            .code(),
        Code::Aborted
    );
    request.pipeline.as_mut().unwrap().etag = "1".to_owned();
    request.validate_only = true;
    client.update_pipeline(request.clone()).await.unwrap();
    request.validate_only = false;
    let updated = client
        .update_pipeline(request)
        .await
        .unwrap()
        .into_inner()
        .pipeline
        .unwrap();
    assert_eq!(
        (updated.etag.as_str(), updated.stages[1].r#type.as_str()),
        ("2", "clock")
    );

    sandbox.restart().await;
    let mut client = crate::processing::client(&sandbox).await;
    let request = pb::GetPipelineRequest {
        name: "smooth".to_owned(),
    };
    assert_eq!(
        client
            .get_pipeline(request.clone())
            .await
            .unwrap()
            .into_inner()
            .pipeline,
        Some(updated)
    );
    let request_all = pb::ListPipelinesRequest {
        page_size: 2,
        page_token: String::new(),
    };
    let page = client
        .list_pipelines(request_all.clone())
        .await
        .unwrap()
        .into_inner();
    let names = |page: &pb::ListPipelinesResponse| {
        page.pipelines
            .iter()
            .map(|p| p.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&page), ["features", "motion"]);
    let next = pb::ListPipelinesRequest {
        page_token: page.next_page_token,
        ..request_all
    };
    let page = client.list_pipelines(next).await.unwrap().into_inner();
    assert_eq!(
        (names(&page), page.next_page_token.as_str()),
        (vec!["smooth".to_owned()], "")
    );

    let delete = |name: &str| pb::DeletePipelineRequest {
        name: name.to_owned(),
        etag: String::new(),
    };
    let built_in = client.delete_pipeline(delete("motion")).await.unwrap_err();
    assert_eq!(built_in.code(), Code::FailedPrecondition);
    client.delete_pipeline(delete("smooth")).await.unwrap();
    assert_eq!(
        client.get_pipeline(request).await.unwrap_err().code(),
        Code::NotFound
    );
    let types: Vec<_> = client
        .list_stage_types(pb::ListStageTypesRequest {})
        .await
        .unwrap()
        .into_inner()
        .stage_types;
    assert_eq!(types[0].r#type, "validate");

    let stored = events(&sandbox, "smooth").await;
    let told: Vec<_> = stored
        .iter()
        .map(|e| (e.event_type.as_str(), e.sequence_number))
        .collect();
    assert_eq!(
        told,
        [
            ("pipeline.created", 1),
            ("pipeline.updated", 2),
            ("pipeline.deleted", 3)
        ]
    );
    assert_eq!(stored[0].payload["stage_count"], 2);
    assert_eq!(
        stored[1].payload["changes"],
        serde_json::json!(["stage \"hampel\" removed", "stage \"clock\" added"])
    );
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_gives_a_file_and_tells_its_story() {
    let recording = recordings::require_or_skip!(RECORDING);
    let sandbox = Sandbox::start().await;
    let mut client = client(&sandbox).await;
    let stored = upload(&sandbox, &recording.contents).await;
    let missing = client
        .start_processing(start("motion", &"0".repeat(64), Uuid::new_v4()))
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let id = Uuid::new_v4();
    let first = client
        .start_processing(start("features", &stored, id))
        .await
        .unwrap()
        .into_inner();
    let again = client
        .start_processing(start("features", &stored, id))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        first.processing.unwrap().start_time,
        again.processing.unwrap().start_time
    );
    let other = client
        .start_processing(start("motion", &stored, id))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    let done = completed(&mut client, id).await;
    assert_eq!(
        (done.frames_total, done.frames_processed, done.errors),
        (Some(6068), 6068, 0)
    );
    assert!(
        done.frames_per_second.unwrap() > 0.0 && done.duration_seconds > 0.0,
        "{done:?}"
    );

    let file = output(&mut client, id).await;
    assert_eq!(done.output_bytes, Some(file.len() as u64));
    let reader = SerializedFileReader::new(file.clone()).unwrap();
    let frames = crate::source::recorded(&recording);
    let live = crate::source::windows(&crate::source::run(&crate::source::inputs(frames)));
    assert_eq!(
        reader.metadata().file_metadata().num_rows(),
        live.len() as i64
    );

    let told = events(&sandbox, &id.to_string()).await;
    for (event_type, expected) in [
        ("processing_started", 1),
        ("stage_started", 6),
        ("chunk_processed", done.chunks as usize),
        ("stage_completed", 6),
        ("processing_completed", 1),
    ] {
        assert_eq!(count(&told, event_type), expected, "{event_type}");
    }
    assert!(count(&told, "metrics_updated") >= 1);
    let all = [
        "processing_failed",
        "stage_failed",
        "resource_exhausted",
        "processing_paused",
    ];
    assert!(all.iter().all(|event_type| count(&told, event_type) == 0));
    let end = told
        .iter()
        .find(|e| e.event_type == "pipeline.processing_completed")
        .unwrap();
    assert_eq!(end.payload["metrics"]["frames_processed"], 6068);
    assert_eq!(end.payload["output_size"], file.len() as u64);
    assert_eq!(
        told[0].payload["file_size"],
        recording.contents.len() as u64
    );
    let bytes: u64 = told
        .iter()
        .filter_map(|e| e.payload["chunk_size"].as_u64())
        .sum();
    assert_eq!(end.payload["metrics"]["bytes_processed"], bytes);
    for event in &told {
        assert_eq!(event.correlation_id, Some(id), "{event:?}");
    }
    // What it no longer needs is gone.
    gone(&sandbox, format!("{id}.checkpoint")).await;
    gone(&sandbox, format!("{id}.part-0")).await;
    sandbox.stop().await;
}

/// A recording of a room as esp-csi writes it; each tenth line is damaged where `damaged` says so.
pub fn csv(seconds: f64, damaged: bool) -> Vec<u8> {
    let mut text = String::from(
        "type,id,mac,rssi,rate,sig_mode,mcs,bandwidth,smoothing,not_sounding,aggregation,stbc,fec_coding,sgi,noise_floor,\
         ampdu_cnt,channel,secondary_channel,local_timestamp,ant,sig_len,rx_state,len,first_word,data\n",
    );
    for (index, frame) in crate::source::room(seconds, 7, crate::source::body)
        .iter()
        .enumerate()
    {
        let parts = frame.samples.iter().flat_map(|s| [s.im, s.re]);
        let values: Vec<String> = parts.map(|part| part.to_string()).collect();
        let data = if damaged && index % 10 == 0 {
            "broken".to_owned()
        } else {
            values.join(",")
        };
        let time = 1_000_000 + index * 10_000;
        text.push_str(&format!(
            "CSI_DATA,{index},1a:00:00:00:00:00,-50,11,0,0,0,0,0,0,0,0,0,-95,0,6,0,{time},0,128,0,128,0,\"[{data}]\"\n"
        ));
    }
    text.into_bytes()
}

pub const SMALL_CHUNKS: &[(&str, &str)] = &[
    ("signal.processing.chunk_s", "0.0001"),
    ("signal.processing.concurrent", "1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_paused_crashed_and_resumed_and_its_file_is_the_same() {
    let recording = recordings::require_or_skip!(RECORDING);
    let mut sandbox = Sandbox::with(SMALL_CHUNKS).await;
    let mut one = client(&sandbox).await;
    let stored = upload(&sandbox, &recording.contents).await;
    let undisturbed = Uuid::new_v4();
    one.start_processing(start("features", &stored, undisturbed))
        .await
        .unwrap();
    completed(&mut one, undisturbed).await;
    let expected = output(&mut one, undisturbed).await;

    let id = Uuid::new_v4();
    one.start_processing(start("features", &stored, id))
        .await
        .unwrap();
    watch(&mut one, id, |now| now.frames_processed > 500).await;
    // It ends here, and now.
    sandbox.crash().await;
    let mut two = client(&sandbox).await;
    let now = watch(&mut two, id, |now| now.frames_processed > 1500).await;
    let request = pb::PauseProcessingRequest {
        processing_id: now.processing_id.clone(),
    };
    let paused = two
        .pause_processing(request)
        .await
        .unwrap()
        .into_inner()
        .processing
        .unwrap();
    assert_eq!(paused.state(), ProcessingState::Paused);
    let stands = paused.frames_processed;
    assert!(stands < 6068, "it was too fast to be paused");
    // A pause outlasts a restart.
    sandbox.restart().await;
    let mut three = client(&sandbox).await;
    let request = pb::GetProcessingRequest {
        processing_id: id.to_string(),
    };
    let still = three
        .get_processing(request)
        .await
        .unwrap()
        .into_inner()
        .processing
        .unwrap();
    assert_eq!(still.state(), ProcessingState::Paused);
    let request = pb::ResumeProcessingRequest {
        processing_id: id.to_string(),
    };
    three.resume_processing(request.clone()).await.unwrap();
    let moved = watch(&mut three, id, |now| now.frames_processed > stands).await;
    assert!(moved.frames_processed < 6068);
    // A shutdown pauses it, and the restart goes on by itself.
    sandbox.restart().await;
    let mut four = client(&sandbox).await;
    let done = completed(&mut four, id).await;
    assert_eq!(done.frames_processed, 6068);
    assert_eq!(output(&mut four, id).await, expected);
    assert_eq!(
        four.resume_processing(request).await.unwrap_err().code(),
        Code::FailedPrecondition
    );

    let told = events(&sandbox, &id.to_string()).await;
    let of = |event_type: &str| -> Vec<_> {
        told.iter()
            .filter(|e| e.event_type == format!("pipeline.{event_type}"))
            .collect()
    };
    let reasons: Vec<_> = of("processing_paused")
        .iter()
        .map(|e| e.payload["reason"].clone())
        .collect();
    assert_eq!(reasons, ["requested", "shutdown"]);
    assert!(of("processing_paused")[0].payload["checkpoint_data"].is_string());
    let resumed = of("processing_resumed");
    assert_eq!(resumed.len(), 3);
    assert!(
        resumed
            .iter()
            .all(|event| event.payload["resumed_from_checkpoint"] == true)
    );
    let mut chunks: BTreeMap<String, usize> = BTreeMap::new();
    for event in of("chunk_processed") {
        *chunks.entry(event.id.to_string()).or_default() += 1;
    }
    assert_eq!(chunks.len() as u64, done.chunks);
    assert!(chunks.values().all(|count| *count == 1), "{chunks:?}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_at_work_paused_and_waiting() {
    let mut settings = SMALL_CHUNKS.to_vec();
    settings.push(("signal.processing.max_queued", "2"));
    let sandbox = Sandbox::with(&settings).await;
    let mut client = client(&sandbox).await;
    let stored = upload(&sandbox, &csv(240.0, false)).await;
    let ids = [Uuid::new_v4(), Uuid::new_v4()];
    for id in ids {
        client
            .start_processing(start("motion", &stored, id))
            .await
            .unwrap();
    }
    let third = Uuid::new_v4();
    let full = client
        .start_processing(start("motion", &stored, third))
        .await
        .unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted);
    let told = events(&sandbox, &third.to_string()).await;
    assert_eq!(count(&told, "resource_exhausted"), 1, "{told:?}");
    assert_eq!(told[0].payload["resource_type"], "queue");
    let [working, waiting] = ids;
    watch(&mut client, working, |now| now.frames_processed > 100).await;
    for id in [waiting, working] {
        let request = pb::CancelProcessingRequest {
            processing_id: id.to_string(),
            reason: "enough".to_owned(),
        };
        let cancelled = client
            .cancel_processing(request.clone())
            .await
            .unwrap()
            .into_inner()
            .processing
            .unwrap();
        assert_eq!(cancelled.state(), ProcessingState::Cancelled);
        assert_eq!(
            client.cancel_processing(request).await.unwrap_err().code(),
            Code::FailedPrecondition
        );
        let told = events(&sandbox, &id.to_string()).await;
        let end = told
            .iter()
            .find(|e| e.event_type == "pipeline.processing_cancelled")
            .unwrap();
        assert_eq!(end.payload["reason"], "enough");
        gone(&sandbox, format!("{id}.checkpoint")).await;
    }
    let list = pb::ListProcessingsRequest::default();
    let listed = client
        .list_processings(list)
        .await
        .unwrap()
        .into_inner()
        .processings;
    let ids: Vec<_> = listed.iter().map(|run| run.processing_id.clone()).collect();
    assert_eq!(ids, [waiting.to_string(), working.to_string()]);
    sandbox.stop().await;
}

pub async fn failed(client: &mut Client, request: pb::StartProcessingRequest) -> pb::Processing {
    let id = Uuid::parse_str(&request.request_id).unwrap();
    client.start_processing(request).await.unwrap();
    watch(client, id, |now| now.state() == ProcessingState::Failed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_a_run_and_say_so() {
    let sandbox = Sandbox::with(&[
        ("signal.processing.max_chunk_bytes", "60000"),
        ("signal.processing.max_output_bytes", "200000"),
    ])
    .await;
    let mut client = client(&sandbox).await;
    let stored = upload(&sandbox, &csv(60.0, false)).await;
    // Rows are many: the output is too large. On the way chunks are cut to their memory.
    let rows = pipeline("rows", vec![stage("gain", &[])]);
    client.create_pipeline(create(rows, "")).await.unwrap();
    let id = Uuid::new_v4();
    let end = failed(&mut client, start("rows", &stored, id)).await;
    assert_eq!(end.error_code, "disk_exhausted", "{end:?}");
    let told = events(&sandbox, &id.to_string()).await;
    let limits: Vec<_> = told
        .iter()
        .filter(|e| e.event_type == "pipeline.resource_exhausted")
        .collect();
    let kinds: Vec<_> = limits
        .iter()
        .map(|e| e.payload["resource_type"].as_str().unwrap())
        .collect();
    assert_eq!(
        (kinds.first(), kinds.last()),
        (Some(&"memory"), Some(&"disk")),
        "{kinds:?}"
    );
    for event in &limits {
        assert!(
            event.payload["current_usage"].as_u64() >= event.payload["limit"].as_u64(),
            "{event:?}"
        );
    }
    let end = told
        .iter()
        .find(|e| e.event_type == "pipeline.processing_failed")
        .unwrap();
    assert!(
        end.payload["partial_metrics"]["frames_processed"]
            .as_u64()
            .unwrap()
            > 0
    );

    // A stage that gives up.
    let strict = pipeline(
        "strict",
        vec![
            stage("validate", &[("max_faulty", 0.0)]),
            stage("gain", &[]),
            stage("window", &[]),
        ],
    );
    client.create_pipeline(create(strict, "")).await.unwrap();
    let bad = b"junk that is no recording";
    let refused = failed(
        &mut client,
        start("motion", &upload(&sandbox, bad).await, Uuid::new_v4()),
    )
    .await;
    assert_eq!(refused.error_code, "recording", "{refused:?}");
    let damaged = csv(20.0, true);
    let id = Uuid::new_v4();
    let end = failed(
        &mut client,
        start("strict", &upload(&sandbox, &damaged).await, id),
    )
    .await;
    assert_eq!(end.error_code, "too_many_faults", "{end:?}");
    let told = events(&sandbox, &id.to_string()).await;
    let gave_up = told
        .iter()
        .find(|e| e.event_type == "pipeline.stage_failed")
        .unwrap();
    assert_eq!(gave_up.payload["stage_name"], "validate");
    let end = told
        .iter()
        .find(|e| e.event_type == "pipeline.processing_failed")
        .unwrap();
    assert_eq!(end.payload["stage_name"], "validate");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_when_its_time_is_over() {
    let sandbox = Sandbox::with(&[("signal.processing.max_run_s", "0.000001")]).await;
    let mut client = client(&sandbox).await;
    let stored = upload(&sandbox, &csv(20.0, false)).await;
    let id = Uuid::new_v4();
    let end = failed(&mut client, start("motion", &stored, id)).await;
    assert_eq!(end.error_code, "time_exhausted", "{end:?}");
    let told = events(&sandbox, &id.to_string()).await;
    let limit = told
        .iter()
        .find(|e| e.event_type == "pipeline.resource_exhausted")
        .unwrap();
    assert_eq!(limit.payload["resource_type"], "time");
    sandbox.stop().await;
}
