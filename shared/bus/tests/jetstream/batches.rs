//! Frames of the data plane, acknowledged many at once: in order, counted, and stored once, whatever happens on the way.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream;
use bus::{Bus, Config, DataSubject, Error, From, Message, Pipeline};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::sandbox::{Sandbox, soon, until};

const MANY: u64 = 20_000;

fn message(device: &str, number: u64) -> Message {
    let subject = DataSubject::new(format!("data.csi.kitchen.{device}")).unwrap();
    Message::data(&subject, Bytes::from(number.to_string()), None)
}

/// Publishes a range, up to 64 at once, as the gateway does.
async fn publish(pipeline: &Pipeline, device: &str, range: std::ops::RangeInclusive<u64>) {
    let numbers: Vec<u64> = range.collect();
    for some in numbers.chunks(64) {
        let messages = some.iter().map(|n| message(device, *n)).collect();
        pipeline.publish_all(messages).await.unwrap();
    }
}

/// What is stored of a device, oldest first.
async fn stored(bus: &Bus, device: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    bus.read_each(
        &format!("data.csi.*.{device}"),
        From::Start,
        &mut |message| {
            numbers.push(
                std::str::from_utf8(&message.payload)
                    .unwrap()
                    .parse()
                    .unwrap(),
            );
            ControlFlow::Continue(())
        },
    )
    .await
    .unwrap();
    numbers
}

fn patient(sandbox: &Sandbox) -> Config {
    Config {
        publish_timeout_s: 30.0,
        ..sandbox.config()
    }
}

/// How many answers come to those who publish.
async fn answers(sandbox: &Sandbox) -> Arc<Mutex<u64>> {
    let client = async_nats::connect(sandbox.server.url()).await.unwrap();
    let mut inboxes = client.subscribe("_INBOX.>").await.unwrap();
    client.flush().await.unwrap();
    let count = Arc::new(Mutex::new(0));
    let into = Arc::clone(&count);
    tokio::spawn(async move {
        while let Some(answer) = inboxes.next().await {
            if answer.subject.ends_with("$FI") {
                *into.lock().unwrap() += 1;
            }
        }
    });
    count
}

#[tokio::test]
async fn frames_are_stored_in_order_and_acknowledged_many_at_once() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let answers = answers(&sandbox).await;
    let pipeline = bus.pipeline(1024);
    publish(&pipeline, "esp", 1..=MANY).await;
    soon("the flush", pipeline.flush()).await.unwrap();
    assert_eq!((pipeline.counts(), pipeline.outstanding()), ((MANY, 0), 0));
    assert!(stored(&bus, "esp").await == (1..=MANY).collect::<Vec<_>>());
    let answers = *answers.lock().unwrap();
    assert!((1..MANY / 20).contains(&answers), "{answers} answers");
    // A few more than none, and a flush where there is nothing to wait for.
    publish(&pipeline, "esp", MANY + 1..=MANY + 3).await;
    soon("the flush", pipeline.flush()).await.unwrap();
    soon("the flush", pipeline.flush()).await.unwrap();
    assert_eq!(pipeline.counts(), (MANY + 3, 0));
}

#[tokio::test]
async fn what_nobody_flushes_is_acknowledged_all_the_same() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let pipeline = bus.pipeline(1024);
    publish(&pipeline, "esp", 1..=3).await;
    until("the acks", || async { pipeline.counts() == (3, 0) }).await;
    // Mixed with messages that have ids, which go by themselves.
    let subject = DataSubject::new("data.csi.kitchen.esp".to_owned()).unwrap();
    let with_id = |id: &str| Message::data(&subject, Bytes::from("4"), Some(id.to_owned()));
    let mixed = vec![with_id("a"), with_id("a"), message("esp", 5), with_id("a")];
    pipeline.publish_all(mixed).await.unwrap();
    drop(pipeline);
    until("all of them", || async {
        stored(&bus, "esp").await == [1, 2, 3, 4, 5]
    })
    .await;
}

#[tokio::test]
async fn a_pipeline_with_room_for_few_goes_on() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    for room in [1, 2, 7] {
        let pipeline = bus.pipeline(room);
        let device = format!("room-{room}");
        soon("room", publish(&pipeline, &device, 1..=200)).await;
        soon("the flush", pipeline.flush()).await.unwrap();
        assert!(stored(&bus, &device).await == (1..=200).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn two_publishers_at_once_get_in_each_others_way_in_nothing() {
    let sandbox = Sandbox::start().await;
    let (one, other) = (sandbox.bus().await, sandbox.bus().await);
    let both = [(&one, "one"), (&other, "other")].map(|(bus, device)| async move {
        let pipeline = bus.pipeline(512);
        publish(&pipeline, device, 1..=MANY / 4).await;
        pipeline.flush().await.unwrap();
        pipeline.counts()
    });
    let counts = soon("both", futures::future::join_all(both)).await;
    assert_eq!(counts, [(MANY / 4, 0); 2]);
    for device in ["one", "other"] {
        assert!(stored(&one, device).await == (1..=MANY / 4).collect::<Vec<_>>());
    }
}

/// The stream is in memory: what it had is gone with the server. What it did not have comes, once and in order.
#[tokio::test]
async fn a_server_killed_in_mid_flight_costs_no_frame_that_it_did_not_have() {
    let mut sandbox = Sandbox::start().await;
    let bus = sandbox.bus_with(patient(&sandbox)).await;
    let pipeline = bus.pipeline(512);
    let publishing = tokio::spawn({
        let pipeline = pipeline.clone();
        async move {
            publish(&pipeline, "esp", 1..=MANY).await;
            pipeline.flush().await
        }
    });
    let mut acked = 0;
    for enough in [500, MANY / 2] {
        until("some acks", || async { pipeline.counts().0 >= enough }).await;
        sandbox = sandbox.crash().await;
        acked = pipeline.counts().0;
    }
    soon("the flush", publishing).await.unwrap().unwrap();
    assert_eq!(pipeline.counts(), (MANY, 0));
    let stored = stored(&bus, "esp").await;
    assert!(stored[0] <= acked + 1, "{} after {acked}", stored[0]);
    assert!(stored == (stored[0]..=MANY).collect::<Vec<_>>());
}

/// Between a client and the server; all that runs through it can be cut off.
struct Line {
    address: std::net::SocketAddr,
    cut: Arc<Mutex<CancellationToken>>,
}

impl Line {
    async fn to(url: &str) -> Self {
        let server = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(Mutex::new(CancellationToken::new()));
        let cuts = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let cut = cuts.lock().unwrap().clone();
                let mut server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(async move {
                    tokio::select! {
                        () = cut.cancelled() => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        Self { address, cut }
    }

    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }
}

/// Publishes over a line that is cut time and again, after so many more acks; what is stored then.
async fn over_a_line_cut_after(acks: u64) -> Vec<u64> {
    let sandbox = Sandbox::start().await;
    let near = sandbox.bus().await;
    let line = Line::to(&sandbox.server.url()).await;
    let config = Config {
        url: format!("nats://{}", line.address),
        ..patient(&sandbox)
    };
    let bus = Bus::connect(config).await.unwrap();
    let pipeline = bus.pipeline(512);
    let publishing = tokio::spawn({
        let pipeline = pipeline.clone();
        async move {
            publish(&pipeline, "esp", 1..=MANY).await;
            pipeline.flush().await
        }
    });
    for _ in 0..8 {
        let before = pipeline.counts().0;
        until("more acks", || async {
            pipeline.counts().0 >= before + acks
        })
        .await;
        line.cut();
    }
    soon("the flush", publishing).await.unwrap().unwrap();
    assert_eq!(pipeline.counts(), (MANY, 0));
    stored(&near, "esp").await
}

/// What the server had is asked of it. Where its answer is lost as well, what was in flight comes again, from where it was
/// acknowledged on; nothing is left out, and nothing comes ahead.
fn check_order(stored: &[u64]) {
    assert_eq!((stored.first(), stored.last()), (Some(&1), Some(&MANY)));
    let repeats: Vec<(u64, u64)> = stored
        .windows(2)
        .map(|pair| (pair[0], pair[1]))
        .filter(|(before, next)| *next != before + 1)
        .collect();
    let in_flight = |&(before, next): &(u64, u64)| next <= before && before - next < 512;
    assert!(repeats.iter().all(in_flight), "{repeats:?}");
    assert!(repeats.len() <= 8, "{repeats:?}");
}

#[tokio::test]
async fn over_a_connection_that_is_cut_no_frame_is_lost_or_comes_ahead() {
    check_order(&over_a_line_cut_after(2_000).await);
}

#[tokio::test]
async fn over_a_connection_that_is_cut_again_and_again_no_frame_is_lost_or_comes_ahead() {
    check_order(&over_a_line_cut_after(1).await);
}

#[tokio::test]
async fn a_frame_that_is_refused_is_reported_and_the_others_are_stored() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let js = jetstream::new(async_nats::connect(sandbox.server.url()).await.unwrap());
    let mut config = js
        .get_stream("DATA")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert!(config.allow_batch_publish);
    config.max_message_size = 100;
    js.update_stream(config).await.unwrap();
    let pipeline = bus.pipeline(512);
    let subject = DataSubject::new("data.csi.kitchen.esp".to_owned()).unwrap();
    let large = || Message::data(&subject, Bytes::from(vec![b'7'; 1_000]), None);
    let mut messages = vec![large()];
    messages.extend((1..=300).map(|n| message("esp", n)));
    messages.insert(150, large());
    messages.push(large());
    pipeline.publish_all(messages).await.unwrap();
    let error = soon("the flush", pipeline.flush()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { what, .. } if what.contains("data.csi.kitchen.esp")),
        "{error:?}"
    );
    assert_eq!(pipeline.counts(), (300, 3));
    assert_eq!(pipeline.take_failures().len(), 3);
    assert!(stored(&bus, "esp").await == (1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn frames_without_a_server_wait_are_bounded_and_each_is_reported() {
    let sandbox = Sandbox::start().await;
    sandbox.bus().await;
    let config = Config {
        publish_timeout_s: 1.0,
        ..sandbox.config()
    };
    let bus = Bus::connect(config).await.unwrap();
    let pipeline = bus.pipeline(8);
    // One batch is open when the server goes.
    soon("room", publish(&pipeline, "esp", 1..=3)).await;
    soon("the flush", pipeline.flush()).await.unwrap();
    sandbox.server.kill().await;
    soon("room", publish(&pipeline, "esp", 4..=11)).await;
    let ninth = pipeline.publish_all(vec![message("esp", 12)]);
    tokio::pin!(ninth);
    let waits = tokio::time::timeout(Duration::from_millis(50), &mut ninth).await;
    assert!(waits.is_err(), "the pipeline grew");
    soon("room", ninth).await.unwrap();
    let error = soon("the flush", pipeline.flush()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert_eq!(pipeline.counts(), (3, 9));
    assert_eq!(pipeline.take_failures().len(), 9);
}

#[tokio::test]
async fn a_stream_that_takes_no_batches_takes_messages() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let js = jetstream::new(async_nats::connect(sandbox.server.url()).await.unwrap());
    let mut config = js
        .get_stream("DATA")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.allow_batch_publish = false;
    js.update_stream(config).await.unwrap();
    let pipeline = bus.pipeline(64);
    publish(&pipeline, "esp", 1..=500).await;
    soon("the flush", pipeline.flush()).await.unwrap();
    assert_eq!(pipeline.counts(), (500, 0));
    assert!(stored(&bus, "esp").await == (1..=500).collect::<Vec<_>>());
    // Taken away while a batch is open, and given back.
    bus.reconcile().await.unwrap();
    let pipeline = bus.pipeline(64);
    publish(&pipeline, "esp", 501..=600).await;
    let mut config = js
        .get_stream("DATA")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.allow_batch_publish = false;
    js.update_stream(config).await.unwrap();
    publish(&pipeline, "esp", 601..=900).await;
    soon("the flush", pipeline.flush()).await.unwrap();
    // The server forgot the batch, and what it had of it: some may be there twice.
    let mut distinct = stored(&bus, "esp").await;
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct == (1..=900).collect::<Vec<_>>());
}
