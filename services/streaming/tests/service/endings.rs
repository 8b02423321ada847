//! Sessions that do not end by their client's wish, and one that does not end.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::streaming::v1::SubscribeRequest;
use streaming::Config;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{Sandbox, number, numbers, request, take, types, within};

/// More than the socket buffers and windows between server and client hold.
const MANY: u32 = 400;
const PADDING: usize = 64 * 1024;

fn impatient() -> Config {
    Config {
        stall_timeout: Duration::from_millis(300),
        queue_messages: 4,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_websocket_client_is_cut_off_and_costs_nobody_else() {
    let sandbox = Sandbox::start(impatient()).await;
    let mut slow = sandbox.websocket("subjects=pose.%3E").await;
    let greeting = slow.next().await;
    let (_, mut fast) = sandbox.subscribe(request(&["pose.>"])).await.unwrap();
    let reading = tokio::spawn(async move { numbers(&take(&mut fast, MANY as usize).await) });
    sandbox.publish("hall", 0..MANY, PADDING).await;
    assert_eq!(
        reading.await.unwrap(),
        (0..u64::from(MANY)).collect::<Vec<_>>()
    );

    let session = sandbox
        .ended(greeting["session_id"].as_str().unwrap())
        .await;
    assert_cut_off(&types(&session));
    let ended = &session.last().unwrap().payload;
    assert_eq!(ended["reason"], "error");
    assert!(
        ended["error_message"].as_str().unwrap().contains("0.3 s"),
        "{ended}"
    );
    assert!(ended["messages_failed"].as_u64().unwrap() > 0);
    assert!(ended["messages_sent"].as_u64().unwrap() < u64::from(MANY));

    // What had been written can still be read; the rest comes by the last offset.
    let mut seen = Vec::new();
    let mut offset = greeting["offset"].as_str().unwrap().to_owned();
    while let Some(message) = slow.try_next().await {
        if message["type"] == "event" {
            seen.push(number(&message["envelope"]));
            offset = message["offset"].as_str().unwrap().to_owned();
        }
    }
    let mut resumed = sandbox
        .websocket(&format!("subjects=pose.%3E&offset={offset}"))
        .await;
    assert_eq!(resumed.next().await["type"], "subscribed");
    while seen.len() < MANY as usize {
        seen.push(number(&resumed.next().await["envelope"]));
    }
    assert_eq!(seen, (0..u64::from(MANY)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_grpc_client_is_cut_off_with_a_status_and_resumes() {
    let sandbox = Sandbox::start(impatient()).await;
    let (greeting, mut slow) = sandbox.subscribe(request(&["pose.>"])).await.unwrap();
    sandbox.publish("hall", 0..MANY, PADDING).await;
    let session = sandbox.ended(&greeting.session_id).await;
    assert_cut_off(&types(&session));

    let mut offset = greeting.offset;
    let mut seen = BTreeSet::new();
    let status = loop {
        match within("event or status", slow.message()).await {
            Ok(Some(answer)) => {
                if let Some(proto::streaming::v1::subscribe_response::Message::Event(event)) =
                    answer.message
                {
                    offset = event.offset.clone();
                    assert!(seen.insert(numbers(&[event])[0]));
                }
            }
            Ok(None) => panic!("no status"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "SLOW_CLIENT"
    );
    let ended = &session.last().unwrap().payload;
    assert_eq!(ended["messages_sent"], seen.len());

    let left = MANY as usize - seen.len();
    let (_, mut resumed) = sandbox
        .subscribe(SubscribeRequest {
            offset,
            ..request(&["pose.>"])
        })
        .await
        .unwrap();
    for number in numbers(&take(&mut resumed, left).await) {
        assert!(seen.insert(number), "{number} came twice");
    }
    assert_eq!(seen.len(), MANY as usize);
}

fn assert_cut_off(types: &[&str]) {
    let expected = [
        "session_created",
        "session_started",
        "session_activated",
        "message_delivery_failed",
        "session_ended",
    ];
    assert_eq!(types, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_client_that_answers_no_ping_is_cut_off() {
    let config = Config {
        ping_interval: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let sandbox = Sandbox::start(config).await;
    let mut deaf = sandbox.websocket("subjects=pose.%3E").await;
    let greeting = deaf.next().await;
    // Pongs are sent while reading, and this client does not read.
    let session = sandbox
        .ended(greeting["session_id"].as_str().unwrap())
        .await;
    let expected = [
        "session_created",
        "session_started",
        "session_activated",
        "session_timed_out",
        "session_ended",
    ];
    assert_eq!(types(&session), expected);
    assert_eq!(session[3].payload["original_state"], "active");
    assert_eq!(session[4].payload["reason"], "timeout");
    assert_eq!(session[4].payload["messages_sent"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_listens_is_kept_though_nothing_happens() {
    let config = Config {
        ping_interval: Duration::from_millis(20),
        idle_timeout: Duration::from_secs(30),
        ..Config::default()
    };
    let sandbox = Sandbox::start(config).await;
    let mut socket = sandbox.websocket("subjects=pose.%3E").await;
    socket.next().await;
    for _ in 0..5 {
        let ping = within("ping", futures::StreamExt::next(&mut socket.0))
            .await
            .unwrap()
            .unwrap();
        assert!(ping.is_ping(), "{ping:?}");
    }
    sandbox.publish("hall", 0..1, 0).await;
    assert_eq!(number(&socket.next().await["envelope"]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_told_apart_from_a_closed_one() {
    let sandbox = Sandbox::start(Config::default()).await;
    let mut socket = sandbox.websocket("subjects=pose.%3E").await;
    let greeting = socket.next().await;
    drop(socket);
    let session = sandbox
        .ended(greeting["session_id"].as_str().unwrap())
        .await;
    assert_eq!(
        types(&session),
        [
            "session_created",
            "session_started",
            "session_activated",
            "session_ended"
        ]
    );
    let ended = &session[3].payload;
    assert_eq!(ended["reason"], "client_disconnect");
    assert!(ended["error_message"].is_string(), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_says_so_and_ends_every_session() {
    let sandbox = Sandbox::start(Config::default()).await;
    let (first, mut grpc) = sandbox.subscribe(request(&["pose.>"])).await.unwrap();
    let mut socket = sandbox.websocket("subjects=pose.%3E").await;
    let second = socket.next().await;
    let mut undecided = sandbox.websocket("").await;
    sandbox.shutdown.cancel();

    let status = within("status", grpc.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "SERVER_SHUTDOWN"
    );
    for socket in [&mut socket, &mut undecided] {
        let (said, close) = socket.closed().await;
        assert_eq!(said[0]["code"], "SERVER_SHUTDOWN");
        assert_eq!(u16::from(close.unwrap().code), 1001);
    }
    within("drained", sandbox.fanout.drained()).await;
    for session in [
        first.session_id.as_str(),
        second["session_id"].as_str().unwrap(),
    ] {
        let session = sandbox.ended(session).await;
        assert_eq!(session.last().unwrap().payload["reason"], "server_shutdown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_outlives_the_nats_server() {
    let mut sandbox = Sandbox::start(Config::default()).await;
    let (_, mut grpc) = sandbox.subscribe(request(&["pose.>"])).await.unwrap();
    let mut socket = sandbox.websocket("subjects=pose.%3E").await;
    socket.next().await;
    sandbox.publish("hall", 0..3, 0).await;
    assert_eq!(numbers(&take(&mut grpc, 3).await), [0, 1, 2]);
    sandbox.restart_nats().await;
    sandbox.publish("hall", 3..6, 0).await;
    assert_eq!(numbers(&take(&mut grpc, 3).await), [3, 4, 5]);
    for expected in 0..6 {
        assert_eq!(number(&socket.next().await["envelope"]), expected);
    }
}
