//! `kill -9` of any service in mid-replay, and a new start: every frame is announced exactly once downstream (by id), no
//! event is missing, none is doubled.

use std::collections::BTreeMap;

use e2e::clients::{by_id, channel, events, replay, replayed, within};
use e2e::sandbox::Sandbox;
use futures::StreamExt;
use serde_json::Value;

use crate::recording_to_alert::wait_for_count;

const RECORDING: &str = "espectre-test-c3-20260329-130804";
const FRAMES: usize = 6068;
const COUNTED: [(&str, &str); 6] = [
    ("FRAMES", "signal.csi_frame_received.*"),
    ("FRAMES", "signal.csi_frame_validated.*"),
    ("SIGNAL", "signal.signal_processed.*"),
    ("POSE", "pose.motion_detected.*"),
    ("POSE", "pose.activity_changed.*"),
    ("ALERTING", "alerting.alert_raised.*"),
];
const RULE: &str = r#"alerting.rules=[{id="motion-lab",event_type="pose.motion_detected",zone="lab",severity="warning"}]"#;

/// Replays the recording at 30 times its speed; kills `victim` when the stream holds each of `kills_at` frames.
async fn story(
    victim: Option<&'static str>,
    kills_at: &[usize],
) -> anyhow::Result<BTreeMap<&'static str, Vec<Value>>> {
    let recording = recordings::find(RECORDING)?;
    let mut sandbox = Sandbox::start(&[RULE], &[]).await?;
    let third_party = sandbox.third_party().await?;
    let gateway = sandbox.address("hardware-gateway", "grpc")?;
    let run = replay(
        &channel(&gateway).await?,
        &recording.path,
        "node",
        "lab",
        30.0,
    )
    .await?;
    if let Some(victim) = victim {
        for &count in kills_at {
            wait_for_count(&third_party, "signal.csi_frame_received.node", count).await?;
            sandbox.kill_and_restart(victim).await?;
        }
    }
    replayed(&gateway, &run.replay_id).await?;
    wait_for_count(&third_party, "signal.csi_frame_validated.node", FRAMES).await?;
    settle(&sandbox, &third_party).await?;
    let mut counted = BTreeMap::new();
    for (stream, filter) in COUNTED {
        counted.insert(filter, events(&third_party, stream, filter).await?);
    }
    Ok(counted)
}

/// Waits until the last thing that follows from the recording is there: pose and alerting have read all before it.
async fn settle(sandbox: &Sandbox, client: &async_nats::Client) -> anyhow::Result<()> {
    let context = async_nats::jetstream::new(client.clone());
    let wait = async {
        let mut poll = tokio::time::interval(std::time::Duration::from_millis(50));
        let mut quiet = 0;
        let mut before = Vec::new();
        // Nothing tells that nothing will come any more but that nothing came.
        while quiet < 40 {
            poll.tick().await;
            let mut now = Vec::new();
            for stream in ["SIGNAL", "POSE", "ALERTING", "DATA"] {
                now.push(
                    context
                        .get_stream(stream)
                        .await?
                        .cached_info()
                        .state
                        .last_sequence,
                );
            }
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
        }
        anyhow::Ok(())
    };
    within("quiet", wait)
        .await?
        .map_err(|error| error.context(sandbox.logs()))
}

fn ids(events: &[Value]) -> Vec<String> {
    by_id(events).into_keys().collect()
}

async fn killed(victim: &'static str) -> anyhow::Result<()> {
    if recordings::for_test(RECORDING)?.is_none() {
        return Ok(());
    }
    let undisturbed = story(None, &[]).await?;
    let disturbed = story(Some(victim), &[1000, 3700]).await?;
    for (filter, events) in &disturbed {
        let doubled: Vec<_> = by_id(events)
            .into_iter()
            .filter(|(_, count)| *count > 1)
            .collect();
        assert!(
            doubled.is_empty(),
            "{filter}: doubled after kill -9 of {victim}: {doubled:?}"
        );
        assert_eq!(
            ids(events),
            ids(&undisturbed[filter]),
            "{filter} after kill -9 of {victim}"
        );
    }
    assert_eq!(disturbed["signal.csi_frame_received.*"].len(), FRAMES);
    assert!(!disturbed["pose.motion_detected.*"].is_empty());
    assert!(!disturbed["alerting.alert_raised.*"].is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_hardware_gateway() -> anyhow::Result<()> {
    killed("hardware-gateway").await
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_signal() -> anyhow::Result<()> {
    killed("signal").await
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_pose() -> anyhow::Result<()> {
    killed("pose").await
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_alerting() -> anyhow::Result<()> {
    killed("alerting").await
}

/// A client of streaming that resumes by its offset misses nothing and sees nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn kill_streaming() -> anyhow::Result<()> {
    use proto::streaming::v1::SubscribeRequest;
    use proto::streaming::v1::stream_service_client::StreamServiceClient;
    use proto::streaming::v1::subscribe_response::Message;

    let Some(recording) = recordings::for_test(RECORDING)? else {
        return Ok(());
    };
    let mut sandbox = Sandbox::start(&[], &[]).await?;
    let address = sandbox.address("streaming", "grpc")?;
    let third_party = sandbox.third_party().await?;
    let mut end = third_party
        .subscribe("hardware.device_disconnected")
        .await?;
    third_party.flush().await?;

    let mut request = SubscribeRequest {
        subjects: vec!["signal.signal_processed".into()],
        client_id: "story".into(),
        ..SubscribeRequest::default()
    };
    let mut stream = StreamServiceClient::new(channel(&address).await?)
        .subscribe(request.clone())
        .await?
        .into_inner();
    assert!(matches!(
        stream.message().await?.unwrap().message,
        Some(Message::Subscribed(_))
    ));
    let gateway = sandbox.address("hardware-gateway", "grpc")?;
    replay(
        &channel(&gateway).await?,
        &recording.path,
        "node",
        "lab",
        30.0,
    )
    .await?;

    let mut received = Vec::new();
    let mut killed = false;
    let mut ended = false;
    loop {
        if received.len() == 20 && !killed {
            killed = true;
            sandbox.kill_and_restart("streaming").await?;
        }
        let next = tokio::select! {
            next = stream.message() => next,
            _ = end.next(), if !ended => { ended = true; continue }
            () = tokio::time::sleep(std::time::Duration::from_secs(2)), if ended => break,
        };
        match next {
            Ok(Some(answer)) => {
                if let Some(Message::Event(event)) = answer.message {
                    request.offset = event.offset;
                    received.push(serde_json::from_str::<Value>(&event.envelope_json)?);
                }
            }
            // The connection broke: subscribe again where it ended.
            _ => {
                stream = StreamServiceClient::new(channel(&address).await?)
                    .subscribe(request.clone())
                    .await?
                    .into_inner()
            }
        }
    }
    let stored = events(&third_party, "SIGNAL", "signal.signal_processed.*").await?;
    assert!(stored.len() > 100, "{} windows", stored.len());
    let order = |events: &[Value]| {
        events
            .iter()
            .map(|event| event["id"].to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(order(&received), order(&stored));
    Ok(())
}
