//! What nodes send beside whole frames: their own conclusions, and compressed frames.

use std::time::Duration;

use csi::decode::adr018::{EdgeReport, FeatureState, Report, Vitals, compress};
use csi::wire::Decoder;
use proto::gateway::v1 as pb;

use crate::sandbox::{Sandbox, datagram, next, within};
use crate::simulated::room;

fn vitals() -> EdgeReport {
    EdgeReport {
        node: 7,
        report: Report::Vitals(Vitals {
            flags: 1,
            breaths_x100: 1450,
            persons: 2,
            ..Vitals::default()
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_claims_is_shown_as_its_own_claim() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let mut events = sandbox.follow("hardware.device_health_changed.lamp").await;
    let state = EdgeReport {
        node: 7,
        report: Report::FeatureState(FeatureState::default()),
    };
    // Of a node that nobody registered nothing is kept.
    let stranger = EdgeReport {
        node: 9,
        ..vitals()
    };
    for report in [&stranger, &vitals(), &state, &vitals()] {
        sandbox.socket.send(&report.encode()).unwrap();
    }
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let mut sent = 0;
    let health = next(&mut events, "the health");
    tokio::pin!(health);
    // Every second frame is missing, so that there is something to tell.
    let event = loop {
        tokio::select! {
            _ = pace.tick() => {
                sandbox.send(2 * sent);
                sent += 1;
            }
            event = &mut health => break event,
        }
    };
    // On an event as the device's claim; nothing of it is Fresnel's measurement.
    assert_eq!(event.metadata.extra["edge_persons"], "2");
    assert_eq!(event.metadata.extra["edge_breaths_per_minute"], "14.5");
    assert_eq!(event.metadata.extra["causes"][0], "loss");

    let device = sandbox.get("lamp").await;
    assert_eq!(device.edge_reports_received, 3);
    let kinds: Vec<&str> = device
        .edge_reports
        .iter()
        .map(|r| r.kind.as_str())
        .collect();
    assert_eq!(kinds, ["feature_state", "vitals"]);
    let claimed = &device.edge_reports[1];
    assert_eq!(claimed.values["edge_presence"], "true");
    assert!(claimed.receive_time.is_some());
    assert!(claimed.values.keys().all(|key| key.starts_with("edge_")));
    assert!(device.frames_received <= u64::from(sent), "{device:?}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_frames_are_published_as_the_frames_that_they_are() {
    const WHOLE_EVERY: usize = 10;
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let mut tail = sandbox.data("frames", &["data.csi.hall.lamp"]).await;
    let room = room("empty", 7);
    let (all, socket) = (room.clone(), sandbox.socket.try_clone().unwrap());
    let sending = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for (k, whole) in all.iter().enumerate() {
            pace.tick().await;
            if k.is_multiple_of(WHOLE_EVERY) {
                socket.send(whole).unwrap();
                continue;
            }
            let packet = compress(6, &all[k - 1][20..], &whole[20..]).unwrap();
            let node = 7;
            let report = Report::Compressed(packet);
            socket.send(&EdgeReport { node, report }.encode()).unwrap();
        }
    });
    let mut decoder = Decoder::default();
    let mut unpacked = 0;
    within("unpacked frames", async {
        while unpacked < 20 {
            for message in tail.next_batch(64).await.unwrap() {
                let (frame, _) = decoder.decode(&message.payload).unwrap();
                // Every frame that came out is the one that was measured, whole or not.
                let sent = usize::try_from(frame.sequence).unwrap();
                assert_eq!(frame.samples, samples(&room[sent]), "frame {sent}");
                let whole = sent.is_multiple_of(WHOLE_EVERY);
                assert_eq!(frame.rssi_dbm.is_empty(), !whole, "frame {sent}");
                unpacked += u32::from(!whole);
            }
        }
    })
    .await;
    sending.abort();
    let device = sandbox.get("lamp").await;
    assert_eq!(device.frames_malformed, 0);
    assert_eq!(device.edge_reports, Vec::<pb::EdgeReport>::new());
    sandbox.stop().await;
}

fn samples(datagram: &[u8]) -> Vec<num_complex::Complex32> {
    match csi::decode::adr018::decode(datagram, 0) {
        Ok(csi::decode::adr018::Packet::Csi { frame, .. }) => frame.samples,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_come_twice_or_late_are_counted_on_the_device() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    for sequence in [0, 1, 1, 2, 4, 3] {
        sandbox.socket.send(&datagram(sequence, -50)).unwrap();
    }
    within("the frames", async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while sandbox.get("lamp").await.frames_received < 5 {
            pace.tick().await;
        }
    })
    .await;
    let device = sandbox.get("lamp").await;
    assert_eq!((device.frames_duplicate, device.frames_late), (1, 1));
    assert_eq!((device.frames_shed, device.frames_rate_limited), (0, 0));
    assert_eq!(device.frames_lost, 0);
    sandbox.stop().await;
}
