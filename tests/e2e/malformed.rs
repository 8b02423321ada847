//! Malformed datagrams cost one `hardware.device_error` per device, code and interval, with the count, and nothing else.

use std::collections::BTreeMap;

use e2e::clients::{channel, events, register, within};
use e2e::datagram;
use e2e::sandbox::Sandbox;
use futures::StreamExt;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn malformed_datagrams_cost_one_event_and_nothing_else() -> anyhow::Result<()> {
    let mut sandbox = Sandbox::of(&["hardware-gateway"], &[], &[]).await?;
    let third_party = sandbox.third_party().await?;
    let mut errors = third_party.subscribe("hardware.device_error").await?;
    let mut received = third_party.subscribe("signal.csi_frame_received").await?;
    third_party.flush().await?;
    let gateway = channel(&sandbox.address("hardware-gateway", "grpc")?).await?;
    register(&gateway, "lamp", "hall", "adr018:7").await?;
    let socket = datagram::sender(&sandbox.address("hardware-gateway", "udp")?)?;
    let iq: Vec<i8> = (0..128).map(|k| i8::try_from(k % 50).unwrap()).collect();
    let good = |sequence| datagram::csi(7, sequence, &iq);

    // Truncated anywhere, too long, another magic, absurd counts, noise: with good ones between.
    let whole = good(0);
    let mut sent = 0_u64;
    let mut bad = |bytes: &[u8]| -> std::io::Result<()> {
        sent += 1;
        socket.send(bytes).map(|_| ())
    };
    for length in 0..whole.len() {
        bad(&whole[..length])?;
    }
    for extra in [1, 7, 1000] {
        let mut long = whole.clone();
        long.resize(whole.len() + extra, 0x5A);
        bad(&long)?;
    }
    for (at, value) in [
        (0, 0xFF),
        (3, 0x00),
        (5, 0),
        (5, 255),
        (6, 0),
        (6, 255),
        (7, 255),
    ] {
        let mut twisted = whole.clone();
        twisted[at] = value;
        bad(&twisted)?;
    }
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for length in (0..1400).step_by(17) {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        bad(&noise)?;
    }
    for sequence in 0..10 {
        socket.send(&good(sequence))?;
    }

    // Nothing else: the good frames all came.
    for sequence in 0..10 {
        let message = within("a good frame", received.next()).await?.unwrap();
        let event: Value = serde_json::from_slice(&message.payload)?;
        assert_eq!(event["payload"]["sequence_number"], sequence);
    }
    // The counts of the reports add up to what was sent.
    let mut reports = BTreeMap::new();
    let all = async {
        while reports.values().sum::<u64>() < sent {
            let message = errors.next().await.unwrap();
            let event: Value = serde_json::from_slice(&message.payload)?;
            let payload = &event["payload"];
            let key = (
                payload["device_id"].to_string(),
                payload["error_code"].to_string(),
            );
            assert!(
                !payload["error_message"]
                    .as_str()
                    .unwrap_or_default()
                    .is_empty()
            );
            let count = event["metadata"]["count"].as_u64().unwrap();
            assert_eq!(
                reports.insert(key.clone(), count),
                None,
                "two events of {key:?} within the interval"
            );
        }
        anyhow::Ok(())
    };
    within("the reports", all).await??;
    assert_eq!(reports.values().sum::<u64>(), sent, "{reports:?}");
    let stored = events(&third_party, "HARDWARE", "hardware.device_error.*").await?;
    assert_eq!(stored.len(), reports.len());
    assert_eq!(sandbox.service("hardware-gateway")?.stop().await?, Some(0));
    Ok(())
}
