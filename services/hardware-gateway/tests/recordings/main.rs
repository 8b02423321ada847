//! Recordings: uploaded, recorded, killed in the middle, downloaded, played.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod gateway;
mod operations;

use std::collections::BTreeMap;

use csi::layout::{self, Fields, Order};
use csi::mcap::{Reader, Writer};
use csi::wire::Published;
use csi::{Frame, Ppdu, SampleFormat};
use events::DataSource;
use num_complex::Complex32;
use proto::gateway::v1 as pb;
use sha2::Digest;
use tonic::Code;
use uuid::Uuid;

use self::gateway::{Gateway, download, play, record, recorded, upload};

fn frame(number: u64, simulated: bool) -> Frame {
    let layout = layout::esp32(Fields::Legacy, Order::Fft, false);
    Frame {
        sequence: number,
        counted: true,
        device_time_us: Some(number * 10_000),
        receive_time_us: 1_700_000_000_000_000 + number as i64 * 10_000,
        rssi_dbm: vec![-50],
        noise_floor_dbm: Some(-92),
        agc: None,
        frequency_mhz: Some(2437),
        channel: Some(6),
        bandwidth_mhz: Some(20),
        ppdu: Ppdu::Ht,
        antennas: 1,
        transmit_streams: 1,
        chain: None,
        scale: None,
        samples: (0..layout.len() as u64)
            .map(|k| {
                let mixed = (k + 1 + number * 977).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
                Complex32::new((mixed % 251) as f32 - 125.0, (mixed % 127) as f32)
            })
            .collect(),
        layout,
        format: SampleFormat::Ci8,
        raw_size: 148,
        transmitter: Some([2, 0, 0, 0, 0, 1]),
        simulated,
    }
}

/// A recording of two devices at 100 Hz each: `door` measured, `desk` simulated.
fn two_devices(frames: u64) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for number in 0..frames {
        for (device, source) in [("door", DataSource::Live), ("desk", DataSource::Simulated)] {
            let published = Published {
                frame_id: Uuid::new_v4(),
                device: device.to_owned(),
                zone: "lab".to_owned(),
                source,
                run_id: None,
                announced: false,
                sampled_one_in: 1,
                ingest_time_us: 0,
                last_of_run: false,
            };
            let frame = frame(number, source == DataSource::Simulated);
            writer.frame(&frame, &published, "test").unwrap();
        }
    }
    writer.finish().unwrap()
}

fn frames_by_device(bytes: &[u8]) -> (BTreeMap<String, Vec<Frame>>, Vec<&'static str>) {
    let (mut frames, mut errors) = (BTreeMap::<String, Vec<Frame>>::new(), Vec::new());
    for item in Reader::open(bytes, u64::MAX).unwrap() {
        match item {
            Ok(found) => frames
                .entry(found.channel.device.clone())
                .or_default()
                .push(found.frame),
            Err((_, error)) => errors.push(error.code()),
        }
    }
    (frames, errors)
}

fn named(name: &str) -> pb::UploadRecordingRequest {
    pb::UploadRecordingRequest {
        name: name.to_owned(),
        ..Default::default()
    }
}

fn as_it_is(recording: &str) -> pb::ReplayRecordingRequest {
    pb::ReplayRecordingRequest {
        recording: recording.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_is_what_was_sent_and_says_what_it_was() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let bytes = two_devices(300);
    let stored = upload(&mut client, named("two.mcap"), &bytes)
        .await
        .unwrap();
    assert_eq!(stored.format, "mcap");

    let id = record(&mut client, 0).await;
    let busy = pb::DeleteRecordingRequest {
        recording: id.clone(),
    };
    let refused = client.delete_recording(busy).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let replay = play(&mut client, as_it_is(&stored.recording)).await;
    assert_eq!((replay.frames_sent, replay.devices.len()), (600, 2));
    recorded(&mut client, &id, |recording| recording.frames == 600).await;
    let stop = pb::StopRecordingRequest {
        recording: id.clone(),
    };
    let ended = client.stop_recording(stop).await.unwrap().into_inner();
    let ended = ended.recording.unwrap();
    assert_eq!(ended.state(), pb::RecordingState::Completed);
    assert_eq!(
        (ended.ended_by.as_str(), ended.labels["why"].as_str()),
        ("stopped", "test")
    );
    let operation = operations::ended(&gateway, &ended).await;
    assert_eq!(operations::result(&operation, "frames"), "600");
    assert_eq!(operations::result(&operation, "recording"), id);
    let mut sources: Vec<_> = ended
        .devices
        .iter()
        .map(|device| {
            (
                device.device.as_str(),
                device.data_source.as_str(),
                device.frames,
                device.lost,
            )
        })
        .collect();
    sources.sort_unstable();
    assert_eq!(
        sources,
        [("desk", "simulated", 300, 0), ("door", "replay", 300, 0)]
    );

    let copy = download(&mut client, &id).await;
    assert_eq!(copy.len() as u64, ended.size_bytes);
    assert_eq!(hex::encode(sha2::Sha256::digest(&copy)), ended.sha256);
    let (found, errors) = frames_by_device(&copy);
    assert_eq!((found, errors), (frames_by_device(&bytes).0, vec![]));

    // Twice, and each time the same ids; what was simulated is simulated.
    let mut runs = Vec::new();
    for _ in 0..2 {
        runs.push(play(&mut client, as_it_is(&id)).await.replay_id);
    }
    let announced = gateway.announced().await;
    let of = |run: &str| -> Vec<_> {
        let run = run.parse::<Uuid>().unwrap();
        let events = announced
            .iter()
            .filter(|event| event.correlation_id == Some(run));
        events
            .map(|event| {
                let source = event.metadata.data_source;
                (event.id, source, event.payload.get("device_id").cloned())
            })
            .collect()
    };
    let first = of(&runs[0]);
    assert_eq!(first.len(), 600);
    assert_eq!(first, of(&runs[1]));
    for (_, source, device) in &first {
        let simulated = device.as_ref().is_some_and(|device| device == "desk");
        assert_eq!(
            *source == Some(DataSource::Simulated),
            simulated,
            "{device:?}"
        );
    }

    let all = client
        .list_recordings(pb::ListRecordingsRequest::default())
        .await;
    assert_eq!(all.unwrap().into_inner().recordings.len(), 2);
    let delete = pb::DeleteRecordingRequest {
        recording: id.clone(),
    };
    client.delete_recording(delete).await.unwrap();
    let gone = pb::GetRecordingRequest { recording: id };
    assert_eq!(
        client.get_recording(gone).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_leaves_a_recording() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let bytes = two_devices(6000);
    let stored = upload(&mut client, named("two.mcap"), &bytes)
        .await
        .unwrap();
    let id = record(&mut client, 0).await;
    let request = pb::ReplayRecordingRequest {
        speed: 2.0,
        ..as_it_is(&stored.recording)
    };
    client.replay_recording(request).await.unwrap();
    // Some of it is in the file, and some is not yet.
    recorded(&mut client, &id, |recording| {
        recording.frames > 600 && recording.size_bytes > 20_000
    })
    .await;
    gateway.kill();
    gateway.launch();
    let mut client = gateway.client().await;
    let found = recorded(&mut client, &id, |_| true).await;
    assert_eq!(found.state(), pb::RecordingState::Interrupted, "{found:?}");
    assert_eq!(found.malformed, 1);
    let (frames, errors) = frames_by_device(&download(&mut client, &id).await);
    assert_eq!(errors, ["interrupted"]);
    let (sent, _) = frames_by_device(&bytes);
    assert!(found.frames > 100, "{found:?}");
    for (device, frames) in &frames {
        assert_eq!(frames[..], sent[device][..frames.len()], "{device}");
    }
    assert_eq!(
        found.frames,
        frames
            .values()
            .map(|frames| frames.len() as u64)
            .sum::<u64>()
    );
    let (code, message) = operations::error(&operations::ended(&gateway, &found).await);
    assert_eq!(code, Code::Aborted);
    assert!(
        message.starts_with("the gateway was killed; ") && message.ends_with(&id),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_an_operation_that_can_be_cancelled() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let bytes = two_devices(300);
    let stored = upload(&mut client, named("two.mcap"), &bytes)
        .await
        .unwrap();
    let id = record(&mut client, 0).await;
    play(&mut client, as_it_is(&stored.recording)).await;
    let found = recorded(&mut client, &id, |recording| recording.frames == 600).await;
    let running = operations::list(&gateway).await;
    assert_eq!(running.len(), 1);
    assert_eq!(
        (running[0].name.as_str(), running[0].done),
        (found.operation.as_str(), false)
    );
    let metadata = operations::metadata(&running[0]);
    assert_eq!(
        (metadata.kind.as_str(), metadata.subject),
        ("recording", format!("recordings/{id}"))
    );
    operations::cancel(&gateway, &found).await;
    let (code, message) = operations::error(&operations::ended(&gateway, &found).await);
    assert_eq!(code, Code::Cancelled);
    assert_eq!(
        message,
        format!("the operation was cancelled; 600 frames up to then are stored as recording {id}")
    );
    let ended = recorded(&mut client, &id, |recording| !recording.ended_by.is_empty()).await;
    assert_eq!(ended.state(), pb::RecordingState::Completed);
    assert_eq!((ended.ended_by.as_str(), ended.frames), ("cancelled", 600));
    assert_eq!(
        frames_by_device(&download(&mut client, &id).await).1,
        Vec::<&str>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_leaves_a_recording_alone() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let id = record(&mut client, 0).await;
    // On another machine; and on this one by the same name, with the same spool.
    for (instance, spool) in [("other", "other-spool"), ("", "spool")] {
        let known = gateway.another(instance, spool, &id).await;
        assert_eq!(known.state(), pb::RecordingState::Recording, "{known:?}");
    }
    let stop = pb::StopRecordingRequest {
        recording: id.clone(),
    };
    let stopped = client.stop_recording(stop).await.unwrap().into_inner();
    let stopped = stopped.recording.unwrap();
    assert_eq!(stopped.state(), pb::RecordingState::Completed);
    assert_eq!(stopped.ended_by, "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_ends_below_its_limit() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let stored = upload(&mut client, named("two.mcap"), &two_devices(1000))
        .await
        .unwrap();
    let id = record(&mut client, 200_000).await;
    play(&mut client, as_it_is(&stored.recording)).await;
    let ended = recorded(&mut client, &id, |recording| {
        recording.state() != pb::RecordingState::Recording
    })
    .await;
    assert_eq!(ended.state(), pb::RecordingState::Completed);
    assert_eq!(ended.ended_by, "the size limit");
    assert!(ended.size_bytes <= 200_000, "{} bytes", ended.size_bytes);
    assert!(ended.frames > 100, "{} frames", ended.frames);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_where_it_broke_off() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let bytes = two_devices(200);
    let (half, upload_id) = (bytes.len() / 2, Uuid::new_v4().to_string());
    let first = pb::UploadRecordingRequest {
        upload_id: upload_id.clone(),
        size_bytes: bytes.len() as u64,
        sha256: hex::encode(sha2::Sha256::digest(&bytes)),
        ..named("two.mcap")
    };
    let broken = upload(&mut client, first.clone(), &bytes[..half])
        .await
        .unwrap_err();
    assert_eq!(broken.code(), Code::FailedPrecondition, "{broken}");
    let request = pb::GetUploadRequest { upload_id };
    let arrived = client.get_upload(request).await.unwrap().into_inner();
    assert_eq!(arrived.received_bytes, half as u64);
    // From the start again it would be another file.
    let again = upload(&mut client, first.clone(), &bytes)
        .await
        .unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition, "{again}");
    let rest = pb::UploadRecordingRequest {
        offset: half as u64,
        ..first.clone()
    };
    let stored = upload(&mut client, rest, &bytes[half..]).await.unwrap();
    assert_eq!(stored.recording, first.sha256);
    assert_eq!(download(&mut client, &stored.recording).await, bytes);

    let other = pb::UploadRecordingRequest {
        sha256: "0".repeat(64),
        ..named("two.mcap")
    };
    let refused = upload(&mut client, other, &bytes).await.unwrap_err();
    assert!(
        refused.message().contains("the bytes that arrived have"),
        "{refused}"
    );
    let noise = upload(&mut client, named("noise"), b"no recording")
        .await
        .unwrap_err();
    assert_eq!(noise.code(), Code::InvalidArgument, "{noise}");
}
