use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::HeaderMap as Headers;
use axum::response::IntoResponse;
use axum::routing::post;
use bus::Version;
use events::alerting::{AlertRaised, AlertResolved, Severity};
use events::{EventId, RuleId, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;

fn alert() -> Alert {
    Alert {
        raised: AlertRaised {
            alert_id: Uuid::from_u128(1).into(),
            rule_id: RuleId::new("fall-critical").unwrap(),
            timestamp: Timestamp::from_micros(1_000_000),
            severity: Severity::Critical,
            title: "Fall detected in hall".into(),
            message: "pose.fall_detected in zone hall".into(),
            labels: BTreeMap::from([
                ("alertname".to_owned(), "fall-critical".to_owned()),
                ("zone".to_owned(), "hall".to_owned()),
            ]),
            zone_id: None,
            person_id: None,
            trigger_event_id: EventId(Uuid::from_u128(2)),
            fingerprint: "00ff".into(),
        },
        data_source: None,
        correlation: None,
        acknowledged: None,
        resolved: None,
        stored: Timestamp::default(),
        version: Version::default(),
    }
}

fn webhook(url: &str, timeout: Duration) -> Webhook {
    let config = ReceiverConfig {
        name: "ops".parse().unwrap(),
        webhook: url.into(),
        timeout,
        send_resolved: true,
    };
    Webhook::new(&config, "http://fresnel.example").unwrap()
}

#[test]
fn the_body_is_alertmanagers() {
    let hook = webhook("http://127.0.0.1/", Duration::from_secs(1));
    let labels = json!({"alertname": "fall-critical", "zone": "hall"});
    let annotations = json!({
        "summary": "Fall detected in hall",
        "description": "pose.fall_detected in zone hall",
        "alert_id": Uuid::from_u128(1),
    });
    let mut expected = json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"fall-critical\", zone=\"hall\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "ops",
        "groupLabels": labels,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "http://fresnel.example",
        "alerts": [{
            "status": "firing",
            "labels": labels,
            "annotations": annotations,
            "startsAt": "1970-01-01T00:00:01.000000Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": "00ff",
        }],
    });
    assert_eq!(
        serde_json::to_value(hook.body(&alert(), false)).unwrap(),
        expected
    );
    let mut over = alert();
    over.resolved = Some(AlertResolved {
        alert_id: over.id(),
        timestamp: Timestamp::from_micros(9_000_000),
        resolved_by: None,
        reason: "condition_cleared".into(),
        duration_seconds: 8.0,
    });
    assert_eq!(
        serde_json::to_value(hook.body(&over, false)).unwrap(),
        expected,
        "told of its beginning although it is over"
    );
    expected["status"] = "resolved".into();
    expected["alerts"][0]["status"] = "resolved".into();
    expected["alerts"][0]["endsAt"] = "1970-01-01T00:00:09.000000Z".into();
    assert_eq!(
        serde_json::to_value(hook.body(&over, true)).unwrap(),
        expected
    );
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    let check = |text: &'static str, expected: Option<u64>| {
        assert_eq!(
            retry_after(&HeaderValue::from_static(text), now),
            expected.map(Duration::from_secs),
            "{text}"
        );
    };
    check("120", Some(120));
    check("Fri, 02 Jan 2026 03:05:05 GMT", Some(60));
    check("Fri, 02 Jan 2026 03:00:00 GMT", Some(0));
    check("soon", None);
    check("-1", None);
}

type Answers = Arc<Mutex<(VecDeque<axum::response::Response>, Vec<(Headers, Value)>)>>;

async fn answer(
    Shared(answers): Shared<Answers>,
    headers: Headers,
    body: axum::body::Bytes,
) -> axum::response::Response {
    let mut answers = answers.lock().unwrap();
    answers
        .1
        .push((headers, serde_json::from_slice(&body).unwrap()));
    answers.0.pop_front().unwrap()
}

/// Calls a real HTTP server that gives `response`.
async fn called(response: impl IntoResponse) -> (Outcome, Headers, Value) {
    let answers: Answers = Arc::default();
    answers
        .lock()
        .unwrap()
        .0
        .push_back(response.into_response());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/hook", post(answer))
        .with_state(Arc::clone(&answers));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let hook = webhook(&url, Duration::from_secs(20));
    let outcome = hook
        .call(&hook.body(&alert(), false), Uuid::from_u128(5).into())
        .await;
    let (headers, body) = answers.lock().unwrap().1.pop().unwrap();
    (outcome, headers, body)
}

#[tokio::test]
async fn what_an_answer_means() {
    let fault = |code: &str, message: &str| Fault {
        code: code.into(),
        message: message.into(),
    };
    let unavailable = |fault, seconds: Option<u64>| Outcome::Unavailable {
        fault,
        retry_after: seconds.map(Duration::from_secs),
    };
    let (outcome, headers, body) = called(StatusCode::OK).await;
    assert_eq!(outcome, Outcome::Accepted);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["idempotency-key"], Uuid::from_u128(5).to_string());
    assert_eq!(body["alerts"][0]["fingerprint"], "00ff");
    assert_eq!(called(StatusCode::NO_CONTENT).await.0, Outcome::Accepted);
    let refused = called((StatusCode::BAD_REQUEST, "no such team\n")).await.0;
    assert_eq!(
        refused,
        Outcome::Refused(fault("http_400", "400 Bad Request: no such team"))
    );
    let moved = called((StatusCode::FOUND, [("location", "/elsewhere")]))
        .await
        .0;
    assert_eq!(
        moved,
        Outcome::Refused(fault("http_302", "302 Found")),
        "nothing is followed"
    );
    let down = called(StatusCode::SERVICE_UNAVAILABLE).await.0;
    assert_eq!(
        down,
        unavailable(fault("http_503", "503 Service Unavailable"), None)
    );
    let busy = called((
        StatusCode::TOO_MANY_REQUESTS,
        [("retry-after", "7")],
        "slow down",
    ))
    .await
    .0;
    assert_eq!(
        busy,
        unavailable(
            fault("http_429", "429 Too Many Requests: slow down"),
            Some(7)
        )
    );
    let long = called((StatusCode::BAD_GATEWAY, "x".repeat(1_000_000)))
        .await
        .0;
    let Outcome::Unavailable { fault, .. } = long else {
        panic!("{long:?}")
    };
    assert!(fault.message.len() < 600);
}

#[tokio::test]
async fn a_receiver_that_is_not_there_or_does_not_answer_may_be_back_later() {
    let code = |outcome: Outcome| match outcome {
        Outcome::Unavailable {
            fault,
            retry_after: None,
        } => fault,
        other => panic!("{other:?}"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?token=secret", listener.local_addr().unwrap());
    // It listens and never answers.
    let hook = webhook(&url, Duration::from_millis(200));
    let fault = code(
        hook.call(&hook.body(&alert(), false), Uuid::nil().into())
            .await,
    );
    assert_eq!(fault.code, "timeout");
    drop(listener);
    let fault = code(
        hook.call(&hook.body(&alert(), false), Uuid::nil().into())
            .await,
    );
    assert_eq!(fault.code, "connect", "{fault:?}");
    assert!(!fault.message.contains("secret"), "{fault:?}");
}
