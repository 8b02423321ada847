//! The data plane, read from a checkpoint.

use bus::{Bus, Error, Tail};
use bytes::Bytes;

use crate::sandbox::{Sandbox, soon, strings, until};

async fn send(bus: &Bus, range: std::ops::RangeInclusive<u64>) {
    let pipeline = bus.pipeline(512);
    for n in range {
        let subject = format!("data.csi.kitchen.esp-{}", n % 2);
        pipeline
            .publish_data(subject, Bytes::from(n.to_string()), None)
            .await
            .unwrap();
    }
    pipeline.flush().await.unwrap();
}

async fn read(tail: &mut Tail, count: usize) -> Vec<(u64, u64)> {
    let mut read = Vec::new();
    while read.len() < count {
        for message in soon("messages", tail.next_batch(count - read.len()))
            .await
            .unwrap()
        {
            read.push((
                message.sequence,
                std::str::from_utf8(&message.payload)
                    .unwrap()
                    .parse()
                    .unwrap(),
            ));
        }
    }
    read
}

#[tokio::test]
async fn a_reader_goes_on_at_its_checkpoint() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let filters = strings(&["data.csi.>"]);
    send(&bus, 1..=1_000).await;
    let mut tail = bus.tail("signal", &filters).await.unwrap();
    let first = read(&mut tail, 600).await;
    assert_eq!(
        first.iter().map(|(_, n)| *n).collect::<Vec<_>>(),
        (1..=600).collect::<Vec<_>>()
    );
    assert!(tail.pending() > 0);
    tail.checkpoint(first[499].0).await.unwrap();
    // What was not given out cannot be done with, and a checkpoint does not go back.
    tail.checkpoint(900).await.unwrap();
    tail.checkpoint(10).await.unwrap();
    tail.close().await.unwrap();
    let mut tail = bus.tail("signal", &filters).await.unwrap();
    assert_eq!(read(&mut tail, 500).await.first(), Some(&(501, 501)));
    assert_eq!(tail.pending(), 0);
    // Another name is another reader.
    let mut other = bus.tail("pose", &filters).await.unwrap();
    assert_eq!(read(&mut other, 1).await, [(1, 1)]);
    assert!(matches!(
        bus.tail("both", &strings(&["data.csi.>", "pose.>"]))
            .await
            .err(),
        Some(Error::Filter { .. })
    ));
}

#[tokio::test]
async fn a_reader_that_is_dropped_repeats_only_what_its_windows_need() {
    let sandbox = Sandbox::start().await;
    let filters = strings(&["data.csi.>"]);
    let bus = sandbox.bus().await;
    send(&bus, 1..=100).await;
    let mut tail = bus.tail("signal", &filters).await.unwrap();
    read(&mut tail, 80).await;
    tail.checkpoint(60).await.unwrap();
    // The checkpoint is written in the background; then the process is gone.
    let kv = bus.kv("checkpoints").await.unwrap();
    until("the checkpoint", || async {
        kv.get("signal")
            .await
            .unwrap()
            .is_some_and(|(value, _)| String::from_utf8_lossy(&value).contains(":60}"))
    })
    .await;
    drop(tail);
    let mut tail = sandbox.bus().await.tail("signal", &filters).await.unwrap();
    assert_eq!(
        read(&mut tail, 40)
            .await
            .iter()
            .map(|(_, n)| *n)
            .collect::<Vec<_>>(),
        (61..=100).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_reader_follows_the_stream_through_a_restart_of_the_server() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let filters = strings(&["data.csi.>"]);
    send(&bus, 1..=50).await;
    let mut tail = bus.tail("signal", &filters).await.unwrap();
    assert_eq!(read(&mut tail, 50).await.len(), 50);
    tail.checkpoint(50).await.unwrap();
    // The data plane is in memory: after this it is another stream, from 1, and the reader reads it from there.
    let sandbox = sandbox.crash().await;
    until("the connection", || async { bus.is_connected() }).await;
    send(&bus, 51..=90).await;
    assert_eq!(
        read(&mut tail, 40).await,
        (51..=90).map(|n| (n - 50, n)).collect::<Vec<_>>()
    );
    assert_eq!(tail.restarts(), 1);
    // A checkpoint of the lost stream is not taken for one of the new.
    tail.checkpoint(50).await.unwrap();
    tail.checkpoint(30).await.unwrap();
    tail.close().await.unwrap();
    let mut tail = bus.tail("signal", &filters).await.unwrap();
    assert_eq!(read(&mut tail, 10).await.first(), Some(&(31, 81)));
    // Also when the reader is away in the meantime.
    tail.checkpoint(40).await.unwrap();
    tail.close().await.unwrap();
    let _sandbox = sandbox.crash().await;
    until("the connection", || async { bus.is_connected() }).await;
    send(&bus, 91..=190).await;
    let mut tail = bus.tail("signal", &filters).await.unwrap();
    assert_eq!(read(&mut tail, 1).await, [(1, 91)]);
}
