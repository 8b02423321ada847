use serde_json::{Value, json};
use streaming::Config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::{Sandbox, motion, number, types, within};

#[tokio::test(flavor = "multi_thread")]
async fn events_come_by_the_url_and_go_on_by_the_message() {
    let sandbox = Sandbox::start(Config::default()).await;
    let mut socket = sandbox
        .websocket(
            "subjects=pose.motion_detected,pose.fall_detected&min_confidence=0.5&client_id=hall",
        )
        .await;
    let greeting = socket.next().await;
    assert_eq!(greeting["type"], "subscribed");
    assert_eq!(
        greeting["subjects"],
        json!(["pose.motion_detected.*", "pose.fall_detected.*"])
    );
    sandbox
        .bus
        .publish(&motion("hall", 100, 0.1, 0))
        .await
        .unwrap();
    sandbox.publish("hall", 0..4, 0).await;
    let mut offset = Value::Null;
    for expected in 0..2 {
        let event = socket.next().await;
        assert_eq!(event["type"], "event");
        assert_eq!(event["subject"], "pose.motion_detected.hall");
        assert_eq!(number(&event["envelope"]), expected);
        assert_eq!(event["envelope"]["payload"]["zone_id"], "hall");
        offset = event["offset"].clone();
    }
    socket.0.close(None).await.unwrap();
    let session = sandbox
        .ended(greeting["session_id"].as_str().unwrap())
        .await;
    let expected = [
        "session_created",
        "session_started",
        "session_activated",
        "session_closed",
        "session_ended",
    ];
    assert_eq!(types(&session), expected);
    assert_eq!(session[1].payload["stream_type"], "websocket");
    assert!(
        session[1].payload["remote_addr"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    assert_eq!(session[4].payload["client_id"], "hall");

    let mut socket = sandbox.websocket("client_id=hall").await;
    socket.send(json!({"subscribe": {"subjects": ["pose.motion_detected"], "offset": offset, "min_confidence": 0.5}})).await;
    assert_eq!(socket.next().await["type"], "subscribed");
    for expected in 2..4 {
        assert_eq!(number(&socket.next().await["envelope"]), expected);
    }

    // A second wish on the same connection is told off, and changes nothing.
    socket.send(json!({"subscribe": {"subjects": [">"]}})).await;
    assert_eq!(socket.next().await["code"], "ALREADY_SUBSCRIBED");
    sandbox.publish("hall", 4..5, 0).await;
    assert_eq!(number(&socket.next().await["envelope"]), 4);

    let mut socket = sandbox
        .websocket("subjects=pose.%3E&since=1970-01-01T00:00:00Z")
        .await;
    assert_eq!(socket.next().await["type"], "subscribed");
    assert_eq!(number(&socket.next().await["envelope"]), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_before_the_close() {
    let sandbox = Sandbox::start(Config {
        handshake_timeout: std::time::Duration::from_millis(50),
        ..Config::default()
    })
    .await;
    let check = async |query: &str, first: Option<Value>, field: &str, part: &str| {
        let mut socket = sandbox.websocket(query).await;
        if let Some(first) = first {
            socket.send(first).await;
        }
        let (said, close) = socket.closed().await;
        let error = said
            .last()
            .unwrap_or_else(|| panic!("{query}: nothing was said"));
        assert_eq!(error["type"], "error", "{query}");
        assert_eq!(error["field"], field, "{error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
        let close = close.unwrap();
        assert_eq!(u16::from(close.code), 1008);
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .starts_with(close.reason.as_str()),
            "{close:?}"
        );
    };
    check("subjects=pose.%3E.x", None, "subjects", "`pose.>.x`").await;
    check(
        "subjects=pose.%3E&offset=nonsense",
        None,
        "offset",
        "nonsense",
    )
    .await;
    check(
        "subjects=pose.%3E&min_confidence=7",
        None,
        "min_confidence",
        "7",
    )
    .await;
    check("subjects=pose.%3E&since=today", None, "since", "today").await;
    check(
        "subjects=pose.%3E&subject=x",
        None,
        "query",
        "unknown field `subject`",
    )
    .await;
    check(
        "",
        Some(json!({"subscribe": {"subjects": []}})),
        "subjects",
        "at least one",
    )
    .await;
    check(
        "",
        Some(json!({"unsubscribe": {}})),
        "subscribe",
        "unsubscribe",
    )
    .await;
    check("", None, "subjects", "nothing was asked for").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_may_not_connect() {
    let sandbox = Sandbox::start(Config::default()).await;
    let url = format!("ws://{}/v1/stream?subjects=pose.%3E", sandbox.http);
    let with_origin = |origin: &str| {
        let mut request = url.as_str().into_client_request().unwrap();
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        tokio_tungstenite::connect_async(request)
    };
    match within("answer", with_origin("http://evil.example")).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 403),
        other => panic!("{other:?}"),
    }
    within("answer", with_origin(&format!("http://{}", sandbox.http)))
        .await
        .unwrap();
}
