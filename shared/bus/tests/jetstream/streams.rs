//! The table on the server.

use async_nats::jetstream;
use bus::{Bus, Config, Error, table};
use futures::StreamExt as _;

use crate::sandbox::{Sandbox, event, soon};

#[tokio::test]
async fn reconcile_makes_the_table_and_leaves_it_alone_afterwards() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let client = async_nats::connect(sandbox.server.url()).await.unwrap();
    let js = jetstream::new(client.clone());
    for spec in table::STREAMS {
        let info = js
            .get_stream(spec.name)
            .await
            .unwrap()
            .cached_info()
            .clone();
        assert_eq!(info.config.subjects, spec.subjects, "{}", spec.name);
        assert_eq!(info.config.max_age, spec.max_age, "{}", spec.name);
        assert!(info.config.allow_direct, "{}", spec.name);
    }
    // A second reconcile, and one of another service at the same time, ask for no change.
    let mut requests = client.subscribe("$JS.API.STREAM.*.>").await.unwrap();
    client.flush().await.unwrap();
    let other = Bus::connect(sandbox.config()).await.unwrap();
    let (first, second) = tokio::join!(bus.reconcile(), other.reconcile());
    first.unwrap();
    second.unwrap();
    client
        .publish("$JS.API.STREAM.end.end", "".into())
        .await
        .unwrap();
    let mut seen = Vec::new();
    while let Some(request) = soon("a request", requests.next()).await {
        if request.subject.ends_with("end.end") {
            break;
        }
        seen.push(request.subject.to_string());
    }
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_stream_of_an_older_table_is_brought_up_and_keeps_its_events() {
    let sandbox = Sandbox::start().await;
    let js = jetstream::new(async_nats::connect(sandbox.server.url()).await.unwrap());
    let old = jetstream::stream::Config {
        name: "POSE".to_owned(),
        subjects: vec!["pose.*.*".to_owned()],
        max_messages: 1_000_000,
        ..Default::default()
    };
    js.create_stream(old).await.unwrap();
    let before = Bus::connect(sandbox.config()).await.unwrap();
    before
        .publish(&event("pose.motion_detected", "kitchen", 1))
        .await
        .unwrap();
    let bus = sandbox
        .bus_with(Config {
            storage_scale: 0.1,
            ..sandbox.config()
        })
        .await;
    let config = js
        .get_stream("POSE")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert!(config.republish.is_some() && config.allow_atomic_publish);
    assert_eq!(
        config.max_bytes,
        table::scaled(table::stream("POSE").unwrap().max_bytes, 0.1)
    );
    assert_eq!(
        bus.replay("pose.motion_detected", bus::From::Start)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn what_cannot_be_changed_is_an_error_that_says_so() {
    let sandbox = Sandbox::start().await;
    let js = jetstream::new(async_nats::connect(sandbox.server.url()).await.unwrap());
    let memory = jetstream::stream::Config {
        name: "ALERTING".to_owned(),
        subjects: vec!["alerting.*.*".to_owned()],
        storage: jetstream::stream::StorageType::Memory,
        ..Default::default()
    };
    js.create_stream(memory).await.unwrap();
    let bus = Bus::connect(sandbox.config()).await.unwrap();
    let error = bus.reconcile().await.unwrap_err();
    assert!(matches!(&error, Error::Reconcile { .. }), "{error:?}");
    assert!(
        error.to_string().contains("ALERTING") && error.to_string().contains("storage"),
        "{error}"
    );
    // Somebody else's stream on our subjects.
    js.delete_stream("ALERTING").await.unwrap();
    let foreign = jetstream::stream::Config {
        name: "MINE".to_owned(),
        subjects: vec!["alerting.>".to_owned()],
        ..Default::default()
    };
    js.create_stream(foreign).await.unwrap();
    let error = bus.reconcile().await.unwrap_err();
    assert!(
        error.to_string().contains("ALERTING") && error.to_string().contains("overlap"),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_there_is_an_error_within_the_time_allowed() {
    let config = Config {
        url: "nats://me:secret@127.0.0.1:9".to_owned(),
        connect_timeout_s: 0.3,
        ..Config::default()
    };
    let Err(error) = soon("an error", Bus::connect(config)).await else {
        panic!("connected to nobody")
    };
    assert!(matches!(&error, Error::Connect { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("127.0.0.1:9") && !text.contains("secret"),
        "{text}"
    );
}

#[tokio::test]
async fn the_republished_event_reaches_a_core_subscriber_of_the_bare_type() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let client = async_nats::connect(sandbox.server.url()).await.unwrap();
    let mut live = client.subscribe("pose.motion_detected").await.unwrap();
    let mut job = client.subscribe("job.failed").await.unwrap();
    client
        .request("$SYS.REQ.USER.INFO", "".into())
        .await
        .unwrap();
    let sent = event("pose.motion_detected", "kitchen", 1);
    bus.publish(&sent).await.unwrap();
    let message = soon("the republished event", live.next()).await.unwrap();
    let mut received: events::EventEnvelope = serde_json::from_slice(&message.payload).unwrap();
    received.key.clone_from(&sent.key);
    assert_eq!(received, sent);
    bus.publish(&event("job.failed", "j-1", 2)).await.unwrap();
    soon("the republished event", job.next()).await.unwrap();
}

/// The catalogue of the events and the table of the streams say the same.
#[test]
fn the_catalogue_and_the_table_agree() {
    for event in events::catalogue() {
        let subject = format!("{}.key", event.event_type);
        let stream = table::stream_of(&subject).map(|stream| stream.name);
        assert_eq!(stream, Some(event.stream), "{subject}");
    }
    for stream in events::streams() {
        let spec = table::stream(stream.name)
            .unwrap_or_else(|| panic!("{} is not in the table", stream.name));
        assert_eq!(spec.subjects, stream.subjects, "{}", stream.name);
    }
}
