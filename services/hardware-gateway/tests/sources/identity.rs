//! Two devices with one id, a device that moves, datagrams twice and out of order, clocks that wrap and jump.

use std::net::UdpSocket;
use std::time::Duration;

use crate::bytes::{adr018, csv};
use crate::sandbox::Sandbox;

fn sender(from: &str, to: std::net::SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(from).unwrap();
    socket.connect(to).unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_devices_with_one_id_the_first_is_taken() {
    let sandbox = Sandbox::start("").await;
    sandbox.register("lamp", "adr018:7").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let mut errors = sandbox.follow("hardware.device_error").await;
    let first = sender("127.0.0.1:0", sandbox.address("udp"));
    let second = sender("127.0.0.1:0", sandbox.address("udp"));
    first.send(&adr018(7, 0)).unwrap();
    second.send(&adr018(7, 5_000)).unwrap();
    for sequence in 1..50 {
        first.send(&adr018(7, sequence)).unwrap();
        second.send(&adr018(7, 5_000 + sequence)).unwrap();
    }
    frames.frame("lamp", 49).await;
    let error = errors.error("duplicate_identity").await;
    assert_eq!(error.payload["device_id"], "lamp");
    let message = error.payload["error_message"].as_str().unwrap();
    for socket in [&first, &second] {
        assert!(
            message.contains(&socket.local_addr().unwrap().to_string()),
            "{message}"
        );
    }
    let stored = sandbox.stored("signal.csi_frame_received").await;
    let others = stored
        .iter()
        .filter(|event| event.payload["sequence_number"].as_u64().unwrap() >= 5_000);
    assert_eq!(
        others.count(),
        1,
        "only before it was known that there are two"
    );
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_receivers_of_one_transmitter_are_two_devices() {
    let sandbox = Sandbox::start("").await;
    sandbox.register("one", "1a:00:00:00:00:01").await;
    sandbox.register("two", "esp32-csv:127.0.0.2").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let one = sender("127.0.0.1:0", sandbox.address("udp"));
    let two = sender("127.0.0.2:0", sandbox.address("udp"));
    for sequence in 0..10 {
        let line = csv("1a:00:00:00:00:01", sequence, 10_000 * sequence as u32);
        one.send(line.as_bytes()).unwrap();
        two.send(line.as_bytes()).unwrap();
    }
    frames.frame("one", 9).await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    frames.frame("two", 9).await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_moves_is_followed_and_noted() {
    let sandbox = Sandbox::start("").await;
    sandbox.register("lamp", "adr018:7").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let mut errors = sandbox.follow("hardware.device_error").await;
    sender("127.0.0.1:0", sandbox.address("udp"))
        .send(&adr018(7, 1))
        .unwrap();
    frames.frame("lamp", 1).await;
    sender("127.0.0.2:0", sandbox.address("udp"))
        .send(&adr018(7, 2))
        .unwrap();
    frames.frame("lamp", 2).await;
    let error = errors.error("address_changed").await;
    let message = error.payload["error_message"].as_str().unwrap();
    assert!(
        message.contains("127.0.0.2") && message.contains("127.0.0.1"),
        "{message}"
    );
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_is_published_once_and_a_late_one_is_not_lost() {
    let sandbox = Sandbox::start("").await;
    sandbox.register("lamp", "adr018:7").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let socket = sender("127.0.0.1:0", sandbox.address("udp"));
    for sequence in [1, 2, 2, 4, 3, 3, 1, 5] {
        socket.send(&adr018(7, sequence)).unwrap();
    }
    frames.frame("lamp", 5).await;
    let stored = sandbox.stored("signal.csi_frame_received").await;
    let sequences: Vec<u64> = stored
        .iter()
        .map(|event| event.payload["sequence_number"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, [1, 2, 4, 3, 5]);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_wraps_in_silence_and_jumps_are_named() {
    let sandbox = Sandbox::start("").await;
    sandbox.register("board", "1a:00:00:00:00:01").await;
    sandbox.register("other", "1a:00:00:00:00:02").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let mut errors = sandbox.follow("hardware.device_error").await;
    let wraps = sender("127.0.0.1:0", sandbox.address("udp"));
    for (sequence, time_us) in [(1, u32::MAX - 10_000), (2, 5_000), (3, 15_000)] {
        wraps
            .send(csv("1a:00:00:00:00:01", sequence, time_us).as_bytes())
            .unwrap();
    }
    frames.frame("board", 3).await;
    let jumps = sender("127.0.0.1:0", sandbox.address("udp"));
    for (sequence, time_us) in [(1, 1_000_000), (2, 1_010_000), (3, 3_600_000_000)] {
        jumps
            .send(csv("1a:00:00:00:00:02", sequence, time_us).as_bytes())
            .unwrap();
    }
    let error = errors.error("clock_jump").await;
    assert_eq!(error.payload["device_id"], "other");
    // What came before it is stored before it.
    let stored = sandbox.stored("hardware.device_error").await;
    assert!(
        stored
            .iter()
            .all(|event| event.payload["device_id"] != "board"),
        "{stored:?}"
    );
    tokio::time::timeout(Duration::from_secs(60), frames.frame("other", 3))
        .await
        .unwrap();
    sandbox.stop().await;
}
