use std::time::Duration;

use bus::EventSourced as _;
use events::id::SessionId;
use events::{EventEnvelope, Timestamp};
use uuid::Uuid;

use super::{Client, Ending, Session, Statistics};
use crate::filter::Filters;

const ID: SessionId = SessionId(Uuid::from_u128(7));
const STATISTICS: Statistics = Statistics {
    messages_sent: 3,
    messages_failed: 1,
    bytes_sent: 900,
    average_latency_ms: 1.5,
};

fn opened() -> Vec<EventEnvelope> {
    let client = Client {
        id: "panel".into(),
        transport: "grpc",
        ..Client::default()
    };
    let filters = Filters::new(&["pose.*.hall"], Some(0.5), 4).unwrap();
    let lifetime = Duration::from_secs(60);
    Session::default()
        .open(
            ID,
            &client,
            &filters,
            Timestamp::from_micros(1_000_000),
            lifetime,
            "streaming/1",
        )
        .unwrap()
}

fn end(session: &Session, ending: &Ending) -> Vec<EventEnvelope> {
    let now = Timestamp::from_micros(3_500_000);
    session
        .end(ID, ending, STATISTICS, now, "streaming/1")
        .unwrap()
}

fn types(events: &[EventEnvelope]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.event_type.as_str())
        .collect()
}

#[test]
fn a_session_opens_once() {
    let events = opened();
    assert_eq!(
        types(&events),
        [
            "streaming.session_created",
            "streaming.session_started",
            "streaming.session_activated"
        ]
    );
    assert_eq!(
        events[0].payload["expires_at"],
        "1970-01-01T00:01:01.000000Z"
    );
    assert!(
        events
            .iter()
            .all(|event| event.key == ID.to_string() && event.aggregate_id == ID.to_string())
    );
    let session = Session::replay(&events);
    let filters = Filters::new(&[">"], None, 1).unwrap();
    let again = session.open(
        ID,
        &Client::default(),
        &filters,
        Timestamp::default(),
        Duration::from_secs(1),
        "s",
    );
    assert_eq!(again.unwrap(), []);
}

#[test]
fn the_same_decision_makes_the_same_events() {
    assert_eq!(opened(), opened());
    let session = Session::replay(&opened());
    assert_eq!(
        end(&session, &Ending::Closed),
        end(&session, &Ending::Closed)
    );
}

#[test]
fn how_it_ended_is_told() {
    let check = |ending: Ending, before: &[&str], reason: &str, message: Option<&str>| {
        let events = end(&Session::replay(&opened()), &ending);
        let (last, first) = events.split_last().unwrap();
        assert_eq!(types(first), before, "{ending:?}");
        assert_eq!(last.event_type, "streaming.session_ended");
        assert_eq!(last.payload["reason"], reason, "{ending:?}");
        assert_eq!(
            last.payload.get("error_message").and_then(|m| m.as_str()),
            message,
            "{ending:?}"
        );
        assert_eq!(last.payload["client_id"], "panel");
        assert_eq!(last.payload["started_at"], "1970-01-01T00:00:01.000000Z");
        assert_eq!(last.payload["duration_seconds"], 2.5);
        assert_eq!(last.payload["messages_sent"], 3);
        assert_eq!(last.payload["messages_failed"], 1);
        assert_eq!(last.payload["bytes_sent"], 900);
        assert_eq!(last.payload["average_latency_ms"], 1.5);
    };
    check(
        Ending::Closed,
        &["streaming.session_closed"],
        "client_disconnect",
        None,
    );
    check(
        Ending::Lost("reset".into()),
        &[],
        "client_disconnect",
        Some("reset"),
    );
    check(
        Ending::Idle(Duration::from_secs(45)),
        &["streaming.session_timed_out"],
        "timeout",
        Some("nothing was heard from the client for 45 s"),
    );
    let stalled = Ending::Stalled {
        message: "too slow".into(),
        event: None,
    };
    check(stalled, &[], "error", Some("too slow"));
    check(
        Ending::Failed("no NATS".into()),
        &[],
        "error",
        Some("no NATS"),
    );
    check(Ending::Shutdown, &[], "server_shutdown", None);
}

#[test]
fn what_has_ended_or_never_began_does_not_end() {
    assert_eq!(end(&Session::default(), &Ending::Closed), []);
    let mut events = opened();
    events.extend(end(&Session::replay(&events), &Ending::Closed));
    assert_eq!(end(&Session::replay(&events), &Ending::Shutdown), []);
}
