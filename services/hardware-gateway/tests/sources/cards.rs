//! WiFi cards in computers: what a real one sent goes through a socket.

use std::net::UdpSocket;

use csi::decode::pcap::Capture;
use recordings::require_or_skip;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::sandbox::Sandbox;

#[tokio::test(flavor = "multi_thread")]
async fn nexmon_datagrams_are_frames_of_their_receiver() {
    let recording = require_or_skip!("csikit-nexmon-43455c0");
    let file = std::fs::read(&recording.path).unwrap();
    let source = "[[hardware_gateway.sources]]\nkind = 'nexmon'\nlisten = '127.0.0.1:0'";
    let sandbox = Sandbox::start(source).await;
    sandbox.register("pi", "nexmon:127.0.0.1").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let mut errors = sandbox.follow("hardware.device_error").await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(sandbox.address("nexmon")).unwrap();
    let mut capture = Capture::open(&file).unwrap();
    let mut sent = 0;
    while let Some(packet) = capture.next(&file) {
        if let Some((5500, payload)) = packet.unwrap().udp {
            socket.send(payload).unwrap();
            // One after the other: a socket's buffer is not what is tested.
            let event = frames.frame("pi", sent).await;
            assert_eq!(event.payload["num_subcarriers"], 256);
            sent += 1;
            if sent == 50 {
                break;
            }
        }
    }
    assert_eq!(sent, 50);
    socket.send(&[0x11, 0x11, 0xC4]).unwrap();
    let error = errors.error("truncated").await;
    assert_eq!(error.payload["device_id"], "pi");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_of_an_intel_5300_is_taken() {
    let recording = require_or_skip!("csiread-intel-0x1-ap");
    let log = std::fs::read(&recording.path).unwrap();
    let source = "[[hardware_gateway.sources]]\nkind = 'intel-netlink'\nlisten = '127.0.0.1:0'";
    let sandbox = Sandbox::start(source).await;
    sandbox.register("nic", "intel5300:127.0.0.1").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let address = sandbox.address("intel-netlink");
    let mut relay = TcpStream::connect(address).await.unwrap();
    relay.write_all(&log).await.unwrap();
    let options = csi::read::Options::default();
    let reader = csi::read::Reader::new(log.into(), "log", csi::read::Format::Auto, options);
    let expected: Vec<u64> = reader
        .unwrap()
        .map(|frame| frame.unwrap().sequence)
        .collect();
    assert!(expected.len() > 300);
    for sequence in expected.into_iter().take(300) {
        let event = frames.frame("nic", sequence).await;
        assert_eq!(event.payload["num_antennas"], 6);
        assert_eq!(event.payload["num_subcarriers"], 30);
    }
    sandbox.stop().await;
}
