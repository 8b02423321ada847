//! A recording of a quiet and then a moving room goes in; motion comes out at a NATS subscriber, a durable consumer, a gRPC
//! client, a WebSocket and a webhook. Nobody sees motion before there was any.

use std::collections::BTreeSet;

use e2e::clients::{self, channel, durable, events, replay, replayed, within};
use e2e::receivers;
use e2e::sandbox::Sandbox;
use futures::StreamExt;
use proto::signal::v1::signal_service_client::SignalServiceClient;
use proto::signal::v1::{MotionState, WatchZoneRequest};
use proto::streaming::v1::SubscribeRequest;
use proto::streaming::v1::stream_service_client::StreamServiceClient;
use proto::streaming::v1::subscribe_response::Message;
use serde_json::Value;
use tokio_tungstenite::tungstenite;

/// 60 s on an ESP32-C3: the first half quiet, the second half moving.
const RECORDING: &str = "espectre-test-c3-20260329-130804";
const FRAMES: usize = 6068;

#[tokio::test(flavor = "multi_thread")]
async fn a_real_recording_becomes_events() -> anyhow::Result<()> {
    let Some(recording) = recordings::for_test(RECORDING)? else {
        return Ok(());
    };
    let (url, mut calls) = receivers::webhook().await?;
    let rules = format!(r#"alerting.receivers=[{{name="ops",webhook="{url}"}}]"#);
    let rule = r#"alerting.rules=[{id="motion-lab",event_type="pose.motion_detected",zone="lab",severity="warning"}]"#;
    let sandbox = Sandbox::start(&[&rules, rule], &[]).await?;
    let third_party = sandbox.third_party().await?;

    // Four kinds of subscribers are there before the recording is.
    let mut live = third_party.subscribe("pose.motion_detected").await?;
    let mut kept = durable(
        &third_party,
        "POSE",
        "third-party",
        "pose.motion_detected.*",
    )
    .await?;
    let streaming = channel(&sandbox.address("streaming", "grpc")?).await?;
    let request = SubscribeRequest {
        subjects: vec!["pose.motion_detected".into()],
        client_id: "story".into(),
        ..SubscribeRequest::default()
    };
    let mut stream = StreamServiceClient::new(streaming)
        .subscribe(request)
        .await?
        .into_inner();
    let greeting = stream.message().await?.and_then(|answer| answer.message);
    assert!(
        matches!(greeting, Some(Message::Subscribed(_))),
        "{greeting:?}"
    );
    let socket_url = format!(
        "ws://{}/v1/stream?subjects=pose.motion_detected",
        sandbox.address("streaming", "http")?
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(socket_url).await?;
    let greeting = next_text(&mut socket).await?;
    assert_eq!(greeting["type"], "subscribed");
    // `subscribe` has reached the server when this answers.
    third_party.flush().await?;

    let signal = channel(&sandbox.address("signal", "grpc")?).await?;
    let request = WatchZoneRequest {
        zone: "lab".into(),
        every_update: true,
    };
    let mut watch = SignalServiceClient::new(signal)
        .watch_zone(request)
        .await?
        .into_inner();

    let gateway = sandbox.address("hardware-gateway", "grpc")?;
    let run = replay(
        &channel(&gateway).await?,
        &recording.path,
        "node",
        "lab",
        0.0,
    )
    .await?;
    let run = replayed(&gateway, &run.replay_id).await?;
    assert_eq!((run.frames_sent, run.frames_malformed), (FRAMES as u64, 0));

    // The same envelope everywhere.
    let seen = within("motion at a NATS subscriber", live.next())
        .await?
        .unwrap();
    let seen: Value = serde_json::from_slice(&seen.payload)?;
    let stored = within("motion at a durable consumer", kept.next())
        .await?
        .unwrap()?;
    assert_eq!(serde_json::from_slice::<Value>(&stored.payload)?, seen);
    let answer = within("motion at a gRPC client", stream.message())
        .await??
        .unwrap();
    let Some(Message::Event(event)) = answer.message else {
        panic!("{answer:?}")
    };
    assert_eq!(serde_json::from_str::<Value>(&event.envelope_json)?, seen);
    assert_eq!(event.subject, "pose.motion_detected.lab");
    let message = within("motion at a WebSocket", next_text(&mut socket)).await??;
    assert_eq!(message["envelope"], seen);
    let call = within("the webhook", calls.recv()).await?.unwrap();
    assert_eq!(call.body["status"], "firing");
    assert_eq!(call.body["alerts"][0]["labels"]["zone"], "lab");
    assert_eq!(call.body["alerts"][0]["labels"]["data_source"], "replay");

    // It is true: stamped as what it is, and no motion in the quiet half.
    assert_eq!(seen["metadata"]["data_source"], "replay");
    assert_eq!(seen["correlation_id"], Value::String(run.replay_id.clone()));
    assert!(seen["metadata"]["method"].is_string());
    let frames = events(&third_party, "FRAMES", "signal.csi_frame_received.node").await?;
    assert_eq!(frames.len(), FRAMES);
    let start = seconds(&frames[0]["occurred_at"]);
    for motion in events(&third_party, "POSE", "pose.motion_detected.*").await? {
        let offset = seconds(&motion["occurred_at"]) - start;
        assert!(
            offset > 29.0,
            "motion at {offset:.1} s, while the room was quiet until 30 s: {motion}"
        );
    }
    assert!(
        seconds(&seen["occurred_at"]) - start < 33.0,
        "found late: {seen}"
    );

    // Each frame is announced and validated, once.
    wait_for_count(&third_party, "signal.csi_frame_validated.node", FRAMES).await?;
    let validated = events(&third_party, "FRAMES", "signal.csi_frame_validated.node").await?;
    let ids = |events: &[Value]| -> BTreeSet<String> {
        events
            .iter()
            .map(|e| e["aggregate_id"].to_string())
            .collect()
    };
    assert_eq!(ids(&frames), ids(&validated));
    assert_eq!(validated.len(), FRAMES);

    // And who watched the zone saw it move, with the evidence.
    let moved = async {
        while let Some(answer) = watch.message().await? {
            let state = answer.state.unwrap_or_default();
            if state.state() == MotionState::Motion {
                return Ok(state);
            }
        }
        anyhow::bail!("the watch ended")
    };
    let moved = within("the zone in motion", moved).await??;
    let evidence = moved.evidence.first().unwrap();
    assert_eq!(evidence.device, "node");
    assert!(
        evidence.statistic.unwrap() > evidence.threshold,
        "{evidence:?}"
    );
    assert!(evidence.frames_seen > 0);
    Ok(())
}

/// Waits until a filter of FRAMES holds `count` messages.
pub async fn wait_for_count(
    client: &async_nats::Client,
    filter: &str,
    count: usize,
) -> anyhow::Result<()> {
    let context = async_nats::jetstream::new(client.clone());
    let stream = context.get_stream("FRAMES").await?;
    let config = async_nats::jetstream::consumer::pull::Config {
        filter_subject: filter.into(),
        ack_policy: async_nats::jetstream::consumer::AckPolicy::None,
        ..Default::default()
    };
    let messages = stream.create_consumer(config).await?.messages().await?;
    let what = format!("message {count} on {filter}");
    within(&what, messages.take(count).for_each(|_| async {})).await
}

async fn next_text<S>(socket: &mut S) -> anyhow::Result<Value>
where
    S: futures::Stream<Item = Result<tungstenite::Message, tungstenite::Error>> + Unpin,
{
    loop {
        match within("a WebSocket message", socket.next()).await? {
            Some(Ok(tungstenite::Message::Text(text))) => return Ok(serde_json::from_str(&text)?),
            Some(Ok(_)) => {}
            other => anyhow::bail!("the WebSocket ended: {other:?}"),
        }
    }
}

/// Seconds since the Unix epoch of an RFC 3339 time.
pub fn seconds(time: &Value) -> f64 {
    let time: events::Timestamp = time
        .as_str()
        .unwrap_or_default()
        .parse()
        .expect("an RFC 3339 time");
    time.as_micros() as f64 / 1e6
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_replayed_twice_gives_the_same_events_twice() -> anyhow::Result<()> {
    let Some(recording) = recordings::for_test(RECORDING)? else {
        return Ok(());
    };
    let sandbox = Sandbox::start(&[], &[]).await?;
    let third_party = sandbox.third_party().await?;
    let gateway = sandbox.address("hardware-gateway", "grpc")?;
    let mut runs = Vec::new();
    for n in 1..=2 {
        let run = replay(
            &channel(&gateway).await?,
            &recording.path,
            "node",
            "lab",
            0.0,
        )
        .await?;
        replayed(&gateway, &run.replay_id).await?;
        wait_for_count(&third_party, "signal.csi_frame_validated.node", n * FRAMES).await?;
        runs.push(run.replay_id);
    }
    for (stream, filter) in [
        ("SIGNAL", "signal.signal_processed.*"),
        ("POSE", "pose.motion_detected.*"),
    ] {
        let all = events(&third_party, stream, filter).await?;
        let of = |run: &str| -> Vec<(String, Value)> {
            let of_run = all.iter().filter(|event| event["correlation_id"] == run);
            of_run
                .map(|event| (event["id"].to_string(), without_wall_time(event)))
                .collect()
        };
        assert!(!of(&runs[0]).is_empty(), "no {filter}");
        assert_eq!(of(&runs[0]).len() * 2, all.len());
        assert_eq!(of(&runs[0]), of(&runs[1]), "{filter}");
    }
    Ok(())
}

/// The payload but for what was measured of our own work, and the run.
fn without_wall_time(event: &Value) -> Value {
    let mut payload = event["payload"].clone();
    for key in ["processing_time_ms", "validation_time_us", "session_id"] {
        payload.as_object_mut().unwrap().remove(key);
    }
    payload
}

#[test]
fn ids_are_counted() {
    let events = [
        serde_json::json!({"id": "a"}),
        serde_json::json!({"id": "b"}),
        serde_json::json!({"id": "a"}),
    ];
    assert_eq!(
        clients::by_id(&events).into_values().collect::<Vec<_>>(),
        [2, 1]
    );
}
