//! The signal service from the outside: a real nats-server, real gRPC, frames as the gateway publishes them.

// A test may panic: that is how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod bounds;
mod checkpoints;
mod processing;
mod sandbox;
#[path = "../pipeline/source.rs"]
#[allow(dead_code)]
mod source;
mod thresholds;

use std::collections::BTreeSet;

use proto::signal::v1::signal_service_client::SignalServiceClient;
use proto::signal::v1::{
    GetZoneStateRequest, ListZoneStatesRequest, MotionState, WatchZoneRequest,
};
use signal::{Input, Output, What};
use tonic::Code;
use tonic::transport::Channel;

use crate::sandbox::{Sandbox, within};
use crate::source::{body, room, still};

/// Twenty seconds at 100 Hz: quiet, then somebody walks.
fn inputs() -> Vec<Input> {
    source::inputs(room(20.0, 3, |t, k| {
        if t < 10.0 { still(t, k) } else { body(t, k) }
    }))
}

/// Ids of the events of this type that the pure pipeline gives.
fn expected(outputs: &[Output], event_type: &str) -> BTreeSet<String> {
    let events = source::events(outputs);
    events
        .iter()
        .filter(|event| event.event_type == event_type)
        .map(|event| event.id.to_string())
        .collect()
}

async fn client(sandbox: &Sandbox) -> SignalServiceClient<Channel> {
    SignalServiceClient::connect(sandbox.grpc()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_become_windows_events_and_a_state() {
    let sandbox = Sandbox::start().await;
    let mut signal = client(&sandbox).await;
    let missing = signal
        .get_zone_state(GetZoneStateRequest { zone: "lab".into() })
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let wrong = signal
        .get_zone_state(GetZoneStateRequest {
            zone: "No Zone".into(),
        })
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let request = WatchZoneRequest {
        zone: "lab".into(),
        every_update: false,
    };
    let mut watch = signal.watch_zone(request).await.unwrap().into_inner();

    let inputs = inputs();
    sandbox.publish(&inputs).await;
    let mut states = Vec::new();
    while states.len() < 3 {
        let state = within("the states", watch.message())
            .await
            .unwrap()
            .unwrap()
            .state
            .unwrap();
        states.push(state.state());
    }
    assert_eq!(
        states,
        [
            MotionState::Unknown,
            MotionState::Still,
            MotionState::Motion
        ]
    );

    let outputs = source::run(&inputs);
    for event_type in [
        "signal.csi_frame_validated",
        "signal.signal_processed",
        "pose.motion_detected",
    ] {
        let wanted = expected(&outputs, event_type);
        assert!(!wanted.is_empty(), "{event_type}");
        let events = sandbox.events(event_type, wanted.len()).await;
        let ids: BTreeSet<String> = events.iter().map(|event| event.id.to_string()).collect();
        assert_eq!(ids, wanted, "{event_type}");
        for event in &events {
            // The time that it took was measured.
            let measured = |field: &str| {
                event
                    .payload
                    .get(field)
                    .is_none_or(|value| value.as_f64().unwrap() >= 0.0)
            };
            assert!(
                measured("validation_time_us") && measured("processing_time_ms"),
                "{event:?}"
            );
            assert_eq!(event.metadata.data_source, Some(events::DataSource::Replay));
        }
    }
    let processed = sandbox.events("signal.signal_processed", 1).await;
    assert!(processed[0].payload["processing_time_ms"].as_f64().unwrap() > 0.0);
    let windows = source::windows(&outputs).len();
    assert_eq!(sandbox.stored_windows(windows).await, windows);

    let state = signal
        .get_zone_state(GetZoneStateRequest { zone: "lab".into() })
        .await
        .unwrap()
        .into_inner()
        .state
        .unwrap();
    assert_eq!(state.state(), MotionState::Motion);
    assert!(
        state.score.unwrap() > 0.3 && state.reason.is_empty(),
        "{state:?}"
    );
    assert_eq!(state.evidence.len(), 1);
    assert_eq!(
        (
            state.evidence[0].device.as_str(),
            state.evidence[0].frames_missed
        ),
        ("node-1", Some(0))
    );
    assert!(
        state.evidence[0]
            .method
            .starts_with("power-autocorrelation/4")
    );
    // Nothing came for five seconds: it is not known any more.
    let after = within("unknown", watch.message())
        .await
        .unwrap()
        .unwrap()
        .state
        .unwrap();
    assert_eq!(
        (after.state(), after.reason.as_str(), after.score),
        (MotionState::Unknown, "no_input", None)
    );
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_are_listed_in_pages() {
    let sandbox = Sandbox::start().await;
    for zone in ["attic", "hall", "lab"] {
        let mut inputs = source::inputs(room(1.0, 1, still));
        for input in &mut inputs {
            input.published.zone = zone.to_owned();
            input.published.frame_id =
                uuid::Uuid::new_v5(&input.published.frame_id, zone.as_bytes());
        }
        sandbox.publish(&inputs).await;
    }
    sandbox.events("signal.csi_frame_validated", 300).await;
    let mut signal = client(&sandbox).await;
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListZoneStatesRequest {
            page_size: 2,
            page_token: token,
        };
        let page = signal.list_zone_states(request).await.unwrap().into_inner();
        names.push(
            page.states
                .iter()
                .map(|state| state.zone.clone())
                .collect::<Vec<_>>(),
        );
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names, [vec!["attic", "hall"], vec!["lab"]]);
    let request = ListZoneStatesRequest {
        page_size: -1,
        page_token: String::new(),
    };
    assert_eq!(
        signal.list_zone_states(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_and_doubles_nothing() {
    let mut sandbox = Sandbox::start().await;
    let inputs = inputs();
    let (before, after) = inputs.split_at(1234);
    sandbox.publish(before).await;
    sandbox
        .events("signal.csi_frame_validated", before.len())
        .await;
    sandbox.restart().await;
    sandbox.publish(after).await;
    let outputs = source::run(&inputs);
    for event_type in [
        "signal.csi_frame_validated",
        "signal.signal_processed",
        "pose.motion_detected",
    ] {
        let wanted = expected(&outputs, event_type);
        let events = sandbox.events(event_type, wanted.len()).await;
        let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
        assert_eq!(ids.len(), wanted.len(), "{event_type}");
        assert_eq!(
            ids.into_iter().collect::<BTreeSet<_>>(),
            wanted,
            "{event_type}"
        );
    }
    let windows = outputs
        .iter()
        .filter(|output| matches!(output.what, What::Window(_)))
        .count();
    assert_eq!(sandbox.stored_windows(windows).await, windows);
    sandbox.stop().await;
}
