use std::collections::BTreeMap;
use std::time::Duration;

use proto::gateway::v1 as pb;

use crate::sandbox::{Sandbox, within};

/// Frames of the stream.
const FRAMES: u32 = 4000;
/// How often the device moves meanwhile.
const MOVES: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_moves_loses_no_frame_and_doubles_none() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let mut data = sandbox.data("test", &["data.csi.*.lamp"]).await;
    let socket = sandbox.socket.try_clone().unwrap();
    let sender = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(2));
        for sequence in 0..FRAMES {
            if sequence % 4 == 0 {
                pace.tick().await;
            }
            socket
                .send(&crate::sandbox::datagram(sequence, -50))
                .unwrap();
        }
    });
    let mut seen: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut moves = 0;
    while seen.len() < FRAMES as usize {
        // A move between any two batches, in the middle of the stream.
        if moves < MOVES {
            let zone = if moves % 2 == 0 { "attic" } else { "hall" };
            let request = pb::UpdateDeviceRequest {
                device: Some(pb::Device {
                    name: "lamp".into(),
                    zone: zone.into(),
                    ..pb::Device::default()
                }),
                update_mask: Some(prost_types::FieldMask {
                    paths: vec!["zone".into()],
                }),
                validate_only: false,
            };
            sandbox.devices.update_device(request).await.unwrap();
            moves += 1;
        }
        for message in within("frames", data.next_batch(100)).await.unwrap() {
            let (frame, published) = csi::wire::Decoder::default()
                .decode(&message.payload)
                .unwrap();
            let zone = message.subject.split('.').nth(2).unwrap().to_owned();
            assert_eq!(published.zone, zone, "the subject says what the frame says");
            seen.entry(frame.sequence).or_default().push(zone);
        }
    }
    sender.await.unwrap();
    assert!(
        seen.values().all(|zones| zones.len() == 1),
        "on exactly one subject"
    );
    let moved = |zone: &str| seen.values().filter(|zones| zones[0] == zone).count();
    assert!(
        moved("hall") > 0 && moved("attic") > 0,
        "{} in hall, {} in attic",
        moved("hall"),
        moved("attic")
    );
    let device = sandbox.get("lamp").await;
    assert_eq!(
        (device.frames_received, device.frames_lost),
        (u64::from(FRAMES), 0)
    );
    sandbox.stop().await;
}
