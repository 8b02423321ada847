//! Which sources are open, what was read of each, and what went wrong.

use std::net::UdpSocket;
use std::time::Duration;

use proto::gateway::v1 as pb;

use crate::bytes::adr018;
use crate::sandbox::{Sandbox, within};

async fn sources(sandbox: &Sandbox) -> Vec<pb::Source> {
    let mut client = sandbox.devices().await;
    let answer = client.get_reception(pb::GetReceptionRequest {}).await;
    answer.unwrap().into_inner().sources
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_says_whether_it_is_open_and_what_was_read() {
    let config =
        "[[hardware_gateway.sources]]\nkind = 'file'\nname = 'log'\npath = 'DIR/csi.log'\n";
    let sandbox = Sandbox::start(config).await;
    sandbox.register("lamp", "adr018:7").await;
    let mut frames = sandbox.follow("signal.csi_frame_received").await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(sandbox.address("udp")).unwrap();
    let datagrams = [adr018(7, 1), adr018(8, 1), vec![1, 2, 3], adr018(7, 2)];
    for datagram in &datagrams {
        socket.send(datagram).unwrap();
    }
    frames.frame("lamp", 2).await;
    let bytes: usize = datagrams.iter().map(Vec::len).sum();
    let seen = within("the counts", async {
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        loop {
            poll.tick().await;
            let seen = sources(&sandbox).await;
            if seen[0].datagrams == 4 && seen[1].failures > 0 {
                return seen;
            }
        }
    })
    .await;
    let [udp, log] = &*seen else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (udp.name.as_str(), udp.kind.as_str(), udp.open),
        ("udp", "udp", true)
    );
    assert_eq!(udp.address, sandbox.address("udp").to_string());
    assert_eq!(udp.bytes, bytes as u64);
    assert_eq!(
        (udp.frames, udp.frames_unregistered, udp.malformed),
        (2, 1, 1)
    );
    assert!(udp.last_receive_time.is_some());
    assert_eq!((udp.failures, udp.last_error.as_str()), (0, ""));
    assert_eq!(
        (log.name.as_str(), log.kind.as_str(), log.open),
        ("log", "file", false)
    );
    assert!(log.address.ends_with("/csi.log"), "{log:?}");
    assert!(log.last_error.contains("cannot open"), "{log:?}");
    assert_eq!((log.bytes, log.last_receive_time), (0, None));

    std::fs::write(&log.address, "").unwrap();
    within("the file", async {
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        while !sources(&sandbox).await[1].open {
            poll.tick().await;
        }
    })
    .await;
    sandbox.stop().await;
}
