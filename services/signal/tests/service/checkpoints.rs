//! Checkpoints of runs: another version's, damaged ones, and states that grow too large.

use std::collections::BTreeSet;

use bytes::Bytes;
use proto::signal::v1 as pb;
use uuid::Uuid;

use crate::processing::{
    RECORDING, SMALL_CHUNKS, client, completed, count, csv, events, failed, gone, output, start,
    upload, watch,
};
use crate::sandbox::Sandbox;

/// As a release before or after this one would have left it, or a fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_checkpoint_is_of_another_version_begins_again_and_its_file_is_the_same() {
    let recording = recordings::require_or_skip!(RECORDING);
    let sandbox = Sandbox::with(SMALL_CHUNKS).await;
    let mut client = client(&sandbox).await;
    let stored = upload(&sandbox, &recording.contents).await;
    let undisturbed = Uuid::new_v4();
    client
        .start_processing(start("features", &stored, undisturbed))
        .await
        .unwrap();
    completed(&mut client, undisturbed).await;
    let expected = output(&mut client, undisturbed).await;
    let outputs = sandbox.bus().objects("processing").await.unwrap();
    // Another version in the mark; one without a mark; this version with a state that no stage wrote.
    let others: [fn(&mut Vec<u8>); 3] = [
        |kept| kept[8] += 1,
        |kept| drop(kept.drain(..10)),
        |kept| kept.truncate(kept.len() - 9),
    ];
    for spoil in others {
        let id = Uuid::new_v4();
        client
            .start_processing(start("features", &stored, id))
            .await
            .unwrap();
        watch(&mut client, id, |now| now.frames_processed > 1_500).await;
        let run = pb::PauseProcessingRequest {
            processing_id: id.to_string(),
        };
        client.pause_processing(run).await.unwrap();
        let name = format!("{id}.checkpoint");
        let mut kept = outputs.get(&name).await.unwrap().unwrap().to_vec();
        spoil(&mut kept);
        outputs.put(&name, Bytes::from(kept)).await.unwrap();
        // A part that a run of other chunks would not overwrite.
        let stray = Bytes::from_static(b"of the first beginning");
        let mut first = 0;
        while outputs
            .size(&format!("{id}.part-{first}"))
            .await
            .unwrap()
            .is_some()
        {
            first += 1;
        }
        outputs
            .put(&format!("{id}.part-{first}"), stray)
            .await
            .unwrap();

        let run = pb::ResumeProcessingRequest {
            processing_id: id.to_string(),
        };
        client.resume_processing(run).await.unwrap();
        let done = completed(&mut client, id).await;
        assert_eq!(done.frames_processed, 6068);
        assert_eq!(output(&mut client, id).await, expected);
        let told = events(&sandbox, &id.to_string()).await;
        let resumed = told
            .iter()
            .find(|e| e.event_type == "pipeline.processing_resumed");
        assert_eq!(resumed.unwrap().payload["resumed_from_checkpoint"], false);
        // Chunks of the second beginning are other events, each once.
        let chunks: BTreeSet<_> = told
            .iter()
            .filter(|e| e.event_type == "pipeline.chunk_processed")
            .map(|e| e.id)
            .collect();
        assert_eq!(chunks.len(), count(&told, "chunk_processed"));
        assert!(
            chunks.len() as u64 > done.chunks,
            "{} {}",
            chunks.len(),
            done.chunks
        );
        gone(&sandbox, format!("{id}.checkpoint")).await;
        gone(&sandbox, format!("{id}.part-{first}")).await;
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_keeps_too_much_ends_the_run() {
    let sandbox = Sandbox::with(&[("signal.processing.max_state_bytes", "10000")]).await;
    let mut client = client(&sandbox).await;
    let stored = upload(&sandbox, &csv(20.0, false)).await;
    let id = Uuid::new_v4();
    let end = failed(&mut client, start("motion", &stored, id)).await;
    assert_eq!(end.error_code, "memory", "{end:?}");
    let told = events(&sandbox, &id.to_string()).await;
    let of = |event_type: &str| {
        let found = told.iter().find(|event| event.event_type == event_type);
        &found.unwrap().payload
    };
    let limit = of("pipeline.resource_exhausted");
    assert_eq!(limit["resource_type"], "memory");
    assert_eq!(limit["limit"], 10_000);
    assert!(limit["current_usage"].as_u64() > Some(10_000), "{limit}");
    assert_eq!(of("pipeline.stage_failed")["stage_name"], "window");
    assert_eq!(of("pipeline.processing_failed")["stage_name"], "window");
    sandbox.stop().await;
}
