//! The service against a real nats-server, with real receivers and a real gRPC client.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod sandbox;

use std::time::Duration;

use axum::http::StatusCode;
use events::alerting::{
    AlertAcknowledged, AlertRaised, AlertResolved, NotificationDelivered, NotificationFailed,
    Severity,
};
use events::{DataSource, EventEnvelope};
use proto::alerting::v1 as api;
use sandbox::{Receiver, Sandbox, fall, motion, within};
use tonic::Code;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

const HALL: &str = r#"{id = "hall", event_type = "pose.motion_detected", min_score = 0.5, zone = "hall", severity = "warning"}"#;

#[tokio::test]
async fn a_fall_reaches_the_receiver_and_an_operator_ends_it() {
    let mut ops = Receiver::start().await;
    ops.answer_first([
        (StatusCode::SERVICE_UNAVAILABLE, None),
        (StatusCode::TOO_MANY_REQUESTS, Some("0")),
    ]);
    let picky = Receiver::start().await;
    picky.answer_first([(StatusCode::UNPROCESSABLE_ENTITY, None); 2]);
    // Nobody listens there any more.
    let dead = Receiver::start().await.stopped().await;
    let receivers = format!(
        "{{name = 'dead', webhook = '{dead}'}}, {{name = 'ops', webhook = '{}'}}, {{name = 'picky', webhook = '{}'}}",
        ops.url, picky.url
    );
    let sandbox = Sandbox::start(&receivers, HALL, "").await;
    let mut log = sandbox.log().await;

    sandbox.publish(fall(1, 0.8, "hall")).await;
    sandbox.publish(motion(2, "hall", 0.0, 0.4)).await;
    sandbox.publish(motion(3, "attic", 0.0, 0.9)).await;
    let trigger = fall(4, 0.95, "hall");
    let span = tracing::info_span!("camera");
    sandbox
        .publish(trigger.clone())
        .instrument(span.clone())
        .await;
    let trace = opentelemetry::trace::TraceContextExt::span(&span.context())
        .span_context()
        .trace_id()
        .to_string();

    // Raised once, by the rule that nobody configured.
    let raised = log.next::<AlertRaised>().await;
    let alert = raised.read::<AlertRaised>().unwrap().unwrap();
    assert_eq!(
        (alert.rule_id.as_str(), alert.severity),
        ("fall-critical", Severity::Critical)
    );
    assert_eq!(alert.trigger_event_id.0, trigger.id);
    assert_eq!(
        (raised.causation_id, raised.sequence_number),
        (Some(trigger.id), 1)
    );
    assert_eq!(raised.correlation_id, trigger.correlation_id);

    // The receiver that was down for two calls has it at the third, in the same trace, while another stays down.
    for (index, status) in [503, 429, 200].into_iter().enumerate() {
        let call = ops.call().await;
        assert_eq!(call.body["status"], "firing");
        assert_eq!(
            call.body["alerts"][0]["labels"]["alertname"],
            "fall-critical"
        );
        assert_eq!(call.body["alerts"][0]["fingerprint"], alert.fingerprint);
        assert_eq!(
            call.headers["traceparent"]
                .to_str()
                .unwrap()
                .split('-')
                .nth(1),
            Some(trace.as_str())
        );
        if status == 200 {
            let delivered = log.next_of::<NotificationDelivered>("ops").await;
            let delivered = delivered.read::<NotificationDelivered>().unwrap().unwrap();
            assert_eq!((delivered.alert_id, delivered.attempt), (alert.alert_id, 3));
            assert!(delivered.latency_ms > 0.0);
            assert_eq!(
                call.headers["idempotency-key"],
                delivered.notification_id.to_string()
            );
        } else {
            let failed = log
                .next_of::<NotificationFailed>("ops")
                .await
                .read::<NotificationFailed>()
                .unwrap()
                .unwrap();
            assert_eq!(
                (failed.error_code, failed.will_retry),
                (format!("http_{status}"), true)
            );
            assert_eq!(usize::from(failed.attempt), index + 1);
        }
    }
    let down = log
        .next_of::<NotificationFailed>("dead")
        .await
        .read::<NotificationFailed>()
        .unwrap()
        .unwrap();
    assert_eq!(
        (down.error_code.as_str(), down.will_retry),
        ("connect", true)
    );
    let refused = log
        .next_of::<NotificationFailed>("picky")
        .await
        .read::<NotificationFailed>()
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            refused.error_code.as_str(),
            refused.will_retry,
            refused.attempt
        ),
        ("http_422", false, 1)
    );

    // A repeat of the same condition is no other alert; the fall of another person is.
    sandbox.publish(fall(5, 0.99, "hall")).await;
    let mut other = fall(6, 0.99, "hall");
    other.payload["person_id"] = Uuid::from_u128(77).to_string().into();
    sandbox.publish(other).await;
    let second = log
        .next::<AlertRaised>()
        .await
        .read::<AlertRaised>()
        .unwrap()
        .unwrap();
    assert_eq!(second.labels["person"], Uuid::from_u128(77).to_string());

    // People.
    let mut alerts = sandbox.alerts().await;
    let id = alert.alert_id.to_string();
    let listed = alerts
        .list_alerts(api::ListAlertsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (listed.alerts.len(), listed.next_page_token.as_str()),
        (2, "")
    );
    let page = alerts
        .list_alerts(api::ListAlertsRequest {
            page_size: 1,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let next = api::ListAlertsRequest {
        page_size: 1,
        page_token: page.next_page_token.clone(),
        ..Default::default()
    };
    let next = alerts.list_alerts(next).await.unwrap().into_inner();
    assert_eq!([&page.alerts[..], &next.alerts[..]].concat(), listed.alerts);
    assert_eq!(next.next_page_token, "");

    let acknowledge = |by: &str| api::AcknowledgeAlertRequest {
        alert_id: id.clone(),
        acknowledged_by: by.into(),
        comment: "on my way".into(),
    };
    let taken = alerts
        .acknowledge_alert(acknowledge("ada"))
        .await
        .unwrap()
        .into_inner()
        .alert
        .unwrap();
    assert_eq!(
        (taken.state(), taken.acknowledged_by.as_str()),
        (api::AlertState::Acknowledged, "ada")
    );
    let event = log.next::<AlertAcknowledged>().await;
    assert_eq!(
        (event.sequence_number, event.metadata.user_id.as_deref()),
        (2, Some("ada"))
    );
    assert_eq!(
        alerts
            .acknowledge_alert(acknowledge("ada"))
            .await
            .unwrap()
            .into_inner()
            .alert
            .unwrap(),
        taken
    );
    let refused = |status: tonic::Status, code: Code, part: &str| {
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(part), "{status}");
    };
    refused(
        alerts
            .acknowledge_alert(acknowledge("bob"))
            .await
            .unwrap_err(),
        Code::FailedPrecondition,
        "ada",
    );
    refused(
        alerts
            .acknowledge_alert(acknowledge(" "))
            .await
            .unwrap_err(),
        Code::InvalidArgument,
        "acknowledged_by",
    );

    let resolve = api::ResolveAlertRequest {
        alert_id: id.clone(),
        resolved_by: "ada".into(),
        reason: "helped".into(),
    };
    let over = alerts
        .resolve_alert(resolve.clone())
        .await
        .unwrap()
        .into_inner()
        .alert
        .unwrap();
    assert_eq!(over.state(), api::AlertState::Resolved);
    let resolved = log
        .next::<AlertResolved>()
        .await
        .read::<AlertResolved>()
        .unwrap()
        .unwrap();
    assert_eq!(
        (resolved.reason.as_str(), resolved.resolved_by.as_deref()),
        ("helped", Some("ada"))
    );
    assert!(
        resolved.duration_seconds < 60.0,
        "by the clock of people, not from 1970 on"
    );
    refused(
        alerts.resolve_alert(resolve).await.unwrap_err(),
        Code::FailedPrecondition,
        "is resolved",
    );
    let call = ops
        .call_where(|call| call.body["status"] == "resolved")
        .await;
    assert_eq!(
        call.body["alerts"][0]["labels"]["person"],
        alert.labels["person"]
    );
    assert_eq!(
        call.body["alerts"][0]["endsAt"],
        resolved.timestamp.to_string()
    );

    let mut open = api::ListAlertsRequest::default();
    open.set_state(api::AlertState::Firing);
    assert_eq!(
        alerts
            .list_alerts(open)
            .await
            .unwrap()
            .into_inner()
            .alerts
            .len(),
        1
    );
    let get = |id: &str| api::GetAlertRequest {
        alert_id: id.into(),
    };
    assert_eq!(
        alerts
            .get_alert(get(&id))
            .await
            .unwrap()
            .into_inner()
            .alert
            .unwrap(),
        over
    );
    refused(
        alerts.get_alert(get("7")).await.unwrap_err(),
        Code::InvalidArgument,
        "alert_id",
    );
    refused(
        alerts
            .get_alert(get(&Uuid::nil().to_string()))
            .await
            .unwrap_err(),
        Code::NotFound,
        "no alert",
    );
    let bad = api::ListAlertsRequest {
        page_token: "x".into(),
        ..Default::default()
    };
    refused(
        alerts.list_alerts(bad).await.unwrap_err(),
        Code::InvalidArgument,
        "page_token",
    );
    let bad = api::ListAlertsRequest {
        page_size: -1,
        ..Default::default()
    };
    refused(
        alerts.list_alerts(bad).await.unwrap_err(),
        Code::InvalidArgument,
        "page_size",
    );

    let mut client = sandbox.rules().await;
    let rules = client.list_rules(api::ListRulesRequest {
        page_size: 1,
        ..Default::default()
    });
    let rules = rules.await.unwrap().into_inner();
    assert_eq!(
        (rules.rules[0].rule_id.as_str(), rules.rules[0].built_in),
        ("fall-critical", true)
    );
    let rest = api::ListRulesRequest {
        page_token: rules.next_page_token,
        ..Default::default()
    };
    let rest = client.list_rules(rest).await.unwrap().into_inner();
    assert_eq!(
        (rest.rules[0].rule_id.as_str(), rest.rules[0].min_score),
        ("hall", Some(0.5))
    );
    assert_eq!(rest.next_page_token, "");
    sandbox.stop().await;
}

#[tokio::test]
async fn what_is_open_survives_a_crash_and_nothing_doubles() {
    let sandbox = Sandbox::start("", HALL, "resolve_after = '60s'").await;
    let mut log = sandbox.log().await;
    sandbox.publish(motion(1, "hall", 0.0, 0.9)).await;
    let first = log.next::<AlertRaised>().await;
    // It holds until 110 s by the second match, which leaves no event.
    sandbox.publish(motion(2, "hall", 50.0, 0.9)).await;
    // A fall in the same room is handled after it, and tells that it was.
    sandbox.publish(fall(3, 0.9, "hall")).await;
    log.next::<AlertRaised>().await;

    let sandbox = sandbox.crashed_and_started().await;
    let mut log = sandbox.log().await;
    sandbox.publish(motion(4, "hall", 100.0, 0.9)).await;
    sandbox.publish(motion(5, "hall", 161.0, 0.9)).await;
    let cleared = log.next::<AlertResolved>().await;
    assert_eq!(cleared.aggregate_id, first.aggregate_id);
    let cleared = cleared.read::<AlertResolved>().unwrap().unwrap();
    assert_eq!(
        (cleared.reason.as_str(), cleared.duration_seconds),
        ("condition_cleared", 160.0)
    );
    let second = log
        .next::<AlertRaised>()
        .await
        .read::<AlertRaised>()
        .unwrap()
        .unwrap();
    assert_eq!(second.trigger_event_id.0, Uuid::from_u128(5));

    let sandbox = sandbox.crashed_and_started().await;
    let listed = sandbox
        .alerts()
        .await
        .list_alerts(api::ListAlertsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let states: Vec<_> = listed
        .alerts
        .iter()
        .map(|alert| (alert.rule_id.as_str(), alert.state()))
        .collect();
    let [firing, resolved] = [api::AlertState::Firing, api::AlertState::Resolved];
    assert_eq!(
        states,
        [
            ("hall", firing),
            ("fall-critical", firing),
            ("hall", resolved)
        ]
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn silence_ends_an_alert_and_replays_are_told_apart() {
    let mut ops = Receiver::start().await;
    let receivers = format!("{{name = 'ops', webhook = '{}'}}", ops.url);
    let sandbox = Sandbox::start(&receivers, HALL, "resolve_after = '1s'").await;
    let mut log = sandbox.log().await;
    let replayed = |run: u128| {
        let mut event = motion(1, "hall", 0.0, 0.9).correlated(Some(Uuid::from_u128(run)));
        event.metadata.data_source = Some(DataSource::Replay);
        event
    };
    // The same recording twice: the same event, and two alerts.
    sandbox.publish(replayed(7)).await;
    sandbox.publish(replayed(8)).await;
    let raised = [
        log.next::<AlertRaised>().await,
        log.next::<AlertRaised>().await,
    ];
    assert_eq!(
        raised[0].id, raised[1].id,
        "the id of the event follows from its cause alone"
    );
    assert_ne!(raised[0].aggregate_id, raised[1].aggregate_id);
    assert_eq!(
        raised.clone().map(|event| event.metadata.data_source),
        [Some(DataSource::Replay); 2]
    );
    let call = ops.call().await;
    assert_eq!(call.body["alerts"][0]["labels"]["data_source"], "replay");
    // Nothing follows: after a second here it has cleared, a second after the match in the time of the data.
    let ended = [
        log.next::<AlertResolved>().await,
        log.next::<AlertResolved>().await,
    ];
    let ended: Vec<EventEnvelope> = ended.into();
    for event in &ended {
        let resolved = event.read::<AlertResolved>().unwrap().unwrap();
        assert_eq!(resolved.timestamp.as_micros(), 1_000_000);
    }
    within(
        "the resolved webhook",
        ops.call_where(|call| call.body["status"] == "resolved"),
    )
    .await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_wrong_configuration_is_named() {
    let settings = runtime::Settings::explicit(
        "[[alerting.rules]]\nid = 'fall-critical'\nevent_type = 'pose.fall_detected'\nseverity = 'info'",
    );
    let error = runtime::Process::check(&settings.unwrap(), "alerting", alerting::start)
        .err()
        .unwrap();
    assert!(
        format!("{error:#}").contains("cannot be replaced"),
        "{error:#}"
    );
    assert_eq!(
        Duration::from_secs(300),
        alerting::Config::default().resolve_after
    );
}
