//! What must never be motion: identical frames, zeros, frames in a shuffled order. Through the whole system, over UDP.

use e2e::clients::{channel, events, register, within};
use e2e::datagram;
use e2e::sandbox::Sandbox;
use proto::signal::v1::signal_service_client::SignalServiceClient;
use proto::signal::v1::{MotionState, WatchZoneRequest, ZoneState};

/// Sends `frames` to a node of its own zone at 100 Hz and returns the zone's states as they came.
async fn states(zone: &str, frames: Vec<Vec<u8>>) -> anyhow::Result<Vec<ZoneState>> {
    let count = u32::try_from(frames.len())?;
    let sandbox = Sandbox::of(&["signal", "hardware-gateway"], &[], &[]).await?;
    let gateway = channel(&sandbox.address("hardware-gateway", "grpc")?).await?;
    register(&gateway, "node", zone, "adr018:7").await?;
    let signal = channel(&sandbox.address("signal", "grpc")?).await?;
    let request = WatchZoneRequest {
        zone: zone.into(),
        every_update: true,
    };
    let mut watch = SignalServiceClient::new(signal)
        .watch_zone(request)
        .await?
        .into_inner();
    let socket = datagram::sender(&sandbox.address("hardware-gateway", "udp")?)?;
    let sending = tokio::spawn(async move {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(10));
        for frame in frames {
            pace.tick().await;
            socket.send(&frame)?;
        }
        std::io::Result::Ok(())
    });
    let mut states: Vec<ZoneState> = Vec::new();
    let mut seen = 0;
    let all = async {
        // Until the windows hold nearly all that was sent (the last ones close with later frames).
        while seen + 150 < count {
            let Some(answer) = watch.message().await? else {
                break;
            };
            let state = answer.state.unwrap_or_default();
            seen += state
                .evidence
                .iter()
                .map(|link| link.frames_seen)
                .sum::<u32>()
                / 2;
            states.push(state);
        }
        anyhow::Ok(())
    };
    within("the windows", all).await??;
    sending.await??;
    let motions = events(
        &sandbox.third_party().await?,
        "POSE",
        "pose.motion_detected.*",
    )
    .await?;
    assert!(motions.is_empty(), "motion was announced: {motions:?}");
    assert!(!states.is_empty());
    Ok(states)
}

fn never_motion(states: &[ZoneState], reason: &str) {
    for state in states {
        assert_ne!(state.state(), MotionState::Motion, "{state:?}");
    }
    let last = states.last().unwrap();
    let reasons: Vec<&str> = states
        .iter()
        .flat_map(|s| s.evidence.iter())
        .map(|e| e.reason.as_str())
        .filter(|r| !r.is_empty())
        .collect();
    assert!(
        last.state() == MotionState::Still || reasons.contains(&reason),
        "{reasons:?} {last:?}"
    );
}

fn room(phase: f32) -> Vec<i8> {
    #[allow(clippy::cast_possible_truncation)]
    (0..128)
        .map(|k| (40.0 * (phase + f32::from(i16::try_from(k).unwrap()) / 9.0).sin()) as i8)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_frames_are_not_motion() -> anyhow::Result<()> {
    let iq = room(0.3);
    let frames = (0..400)
        .map(|sequence| datagram::csi(7, sequence, &iq))
        .collect();
    never_motion(&states("lab", frames).await?, "identical_frames");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_are_not_motion() -> anyhow::Result<()> {
    let frames = (0..400)
        .map(|sequence| datagram::csi(7, sequence, &[0; 128]))
        .collect();
    never_motion(&states("lab", frames).await?, "no_energy");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shuffled_order_is_not_motion() -> anyhow::Result<()> {
    // A walker's smooth changes, but each frame far from where it belongs.
    let frames = (0..400_u32)
        .map(|i| {
            let sequence = (i * 173) % 400;
            #[allow(clippy::cast_precision_loss)]
            let phase = sequence as f32 / 12.0;
            datagram::csi(7, sequence, &room(phase))
        })
        .collect();
    never_motion(&states("lab", frames).await?, "out_of_order");
    Ok(())
}
