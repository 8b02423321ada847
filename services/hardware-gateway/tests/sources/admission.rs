//! Who may publish, and how much.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;

use hardware_gateway::source::signed::Key;

use crate::bytes::adr018;
use crate::sandbox::Sandbox;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[tokio::test(flavor = "multi_thread")]
async fn signed_datagrams_pass_once_and_others_are_violations() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    std::fs::write(&keys, format!("adr018:7 {KEY}\n")).unwrap();
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = "keys_file = 'DIR/keys'\ndevice_admission = { 'adr018:7' = 'signed' }";
    let sandbox = Sandbox::start_in(dir, config).await;
    sandbox.register("lamp", "adr018:7").await;
    sandbox.register("plain", "adr018:8").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let mut violations = sandbox.follow("security.violation_detected").await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(sandbox.address("udp")).unwrap();
    let key = Key::new(&hex::decode(KEY).unwrap()).unwrap();
    let other = Key::new(&[1; 32]).unwrap();

    socket.send(&adr018(7, 1)).unwrap();
    socket.send(&other.sign(&adr018(7, 2), 100)).unwrap();
    let first = key.sign(&adr018(7, 3), 1);
    for _ in 0..50 {
        socket.send(&first).unwrap();
    }
    socket.send(&key.sign(&adr018(7, 4), 2)).unwrap();
    socket.send(&key.sign(&adr018(8, 5), 3)).unwrap();
    frames.frame("lamp", 4).await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    frames.frame("plain", 5).await;
    // All are counted, in a few events.
    let expected = BTreeMap::from([
        ("bad_signature".to_owned(), 1),
        ("missing_signature".to_owned(), 1),
        ("replayed_datagram".to_owned(), 49),
    ]);
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    while kinds != expected {
        let event = violations.find("a violation", |_| true).await;
        assert_eq!(event.payload["principal"], "adr018:7");
        assert_eq!(event.payload["source_ip"], "127.0.0.1");
        let count = event.metadata.extra["count"].as_u64().unwrap();
        let kind = event.payload["violation_type"].as_str().unwrap().to_owned();
        *kinds.entry(kind).or_default() += count;
    }
    assert!(sandbox.stored("security.violation_detected").await.len() < 10);
    let received = sandbox.stored("signal.csi_frame_received").await;
    let mut sequences: Vec<u64> = received
        .iter()
        .map(|event| event.payload["sequence_number"].as_u64().unwrap())
        .collect();
    // Devices take turns: only within one is there an order.
    sequences.sort_unstable();
    assert_eq!(sequences, [3, 4, 5]);
    for event_type in [
        "security.violation_detected",
        "hardware.device_configured",
        "hardware.device_error",
    ] {
        for event in sandbox.stored(event_type).await {
            assert!(!format!("{event:?}").contains(&KEY[..8]));
        }
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_device_is_held_back_and_counted() {
    let sandbox = Sandbox::start("device_rate_hz = 20.0").await;
    sandbox.register("loud", "adr018:7").await;
    sandbox.register("quiet", "adr018:8").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let mut errors = sandbox.follow("hardware.device_error").await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(sandbox.address("udp")).unwrap();
    for sequence in 0..300 {
        socket.send(&adr018(7, sequence)).unwrap();
        if sequence % 30 == 0 {
            socket.send(&adr018(8, sequence / 30)).unwrap();
        }
    }
    frames.frame("quiet", 9).await;
    let error = errors.error("rate_limited").await;
    assert_eq!(error.payload["device_id"], "loud");
    let stored = sandbox.stored("signal.csi_frame_received").await;
    let of = |device: &str| {
        stored
            .iter()
            .filter(|event| event.payload["device_id"] == device)
            .count()
    };
    assert_eq!(of("quiet"), 10);
    assert!((40..200).contains(&of("loud")), "{}", of("loud"));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_drops_is_told() {
    let config = "[[hardware_gateway.sources]]\nkind = 'udp'\nname = 'small'\nlisten = '127.0.0.1:0'\nreceive_buffer_bytes = 1";
    let sandbox = Sandbox::start(config).await;
    let mut errors = sandbox.follow("hardware.device_error").await;
    let address = sandbox.address("small");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let until = std::sync::Arc::clone(&stop);
    let sending = std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sequence = 0;
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            for _ in 0..100 {
                sequence += 1;
                socket.send_to(&adr018(7, sequence), address).unwrap();
            }
            std::thread::yield_now();
        }
    });
    let error = errors.error("kernel_drops").await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    sending.join().unwrap();
    assert_eq!(error.payload["device_id"], "source-small");
    let action = error.metadata.extra["recommended_action"].as_str().unwrap();
    assert!(action.contains("net.core.rmem_max"), "{action}");
    assert!(error.metadata.extra["count"].as_u64().unwrap() > 0);
    sandbox.stop().await;
}
