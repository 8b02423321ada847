//! Two signal processes share the zones; one is killed, the other goes on with all of them: each frame and window is
//! announced once, as if one process had done it all, and any process answers for any zone.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use e2e::clients::{by_id, channel, events, replay, replayed, within};
use e2e::sandbox::Sandbox;
use proto::signal::v1::signal_service_client::SignalServiceClient;
use proto::signal::v1::{GetZoneStateRequest, ListZoneStatesRequest};
use serde_json::Value;

use crate::recording_to_alert::wait_for_count;

const RECORDING: &str = "espectre-test-c3-20260329-130804";
const FRAMES: usize = 6068;
/// They lie in different partitions.
const ZONES: [&str; 4] = ["attic", "bath", "cellar", "den"];
const SPEED: f64 = 20.0;

/// Ids of what follows from the recording in all zones, and the instances that said so. With `two`, two processes work, and
/// one of them is killed on the way.
async fn story(
    two: bool,
) -> anyhow::Result<(BTreeMap<&'static str, BTreeSet<String>>, BTreeSet<String>)> {
    let recording = recordings::find(RECORDING)?;
    // All announcements are counted in the end: none may be dropped for room.
    let room = ["nats.storage_scale=0.5"];
    let mut sandbox = Sandbox::of(&["signal", "hardware-gateway"], &room, &[]).await?;
    let mut another = if two {
        Some(sandbox.another("signal").await?)
    } else {
        None
    };
    let third_party = sandbox.third_party().await?;
    let gateway = sandbox.address("hardware-gateway", "grpc")?;
    let connected = channel(&gateway).await?;
    let mut runs = Vec::new();
    for zone in ZONES {
        let node = format!("node-{zone}");
        runs.push(
            replay(&connected, &recording.path, &node, zone, SPEED)
                .await?
                .replay_id,
        );
    }
    if let Some((another, ports)) = &mut another {
        wait_for_count(
            &third_party,
            "signal.csi_frame_validated.*",
            ZONES.len() * FRAMES / 3,
        )
        .await?;
        // Who did most dies.
        let so_far = events(&third_party, "FRAMES", "signal.csi_frame_validated.*").await?;
        let by_another = so_far.iter().filter(|event| by(event) == "signal/another");
        let survivor = if 2 * by_another.count() > so_far.len() {
            another.kill()?;
            sandbox.address("signal", "grpc")?
        } else {
            sandbox.service("signal")?.kill()?;
            let address = ports["signal"]["grpc"].as_str();
            address.context("an address")?.to_owned()
        };
        let killed = std::time::Instant::now();
        for run in &runs {
            replayed(&gateway, run).await?;
        }
        wait_for_count(
            &third_party,
            "signal.csi_frame_validated.*",
            ZONES.len() * FRAMES,
        )
        .await?;
        println!(
            "all frames were worked {:.1} s after the kill",
            killed.elapsed().as_secs_f64()
        );
        every_zone_is_known(&survivor).await?;
    } else {
        for run in &runs {
            replayed(&gateway, run).await?;
        }
        wait_for_count(
            &third_party,
            "signal.csi_frame_validated.*",
            ZONES.len() * FRAMES,
        )
        .await?;
    }
    let mut said = BTreeMap::new();
    let mut instances = BTreeSet::new();
    for (stream, filter) in [
        ("FRAMES", "signal.csi_frame_validated.*"),
        ("SIGNAL", "signal.signal_processed.*"),
        ("POSE", "pose.motion_detected.*"),
    ] {
        let found = events(&third_party, stream, filter).await?;
        instances.extend(found.iter().map(by));
        let counted = by_id(&found);
        let doubled: Vec<_> = counted.iter().filter(|(_, count)| **count > 1).collect();
        assert!(doubled.is_empty(), "{filter}: {doubled:?}");
        said.insert(filter, counted.into_keys().collect());
    }
    Ok((said, instances))
}

/// The instance that said it.
fn by(event: &Value) -> String {
    event["metadata"]["source"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The process answers for each zone, whoever worked it.
async fn every_zone_is_known(address: &str) -> anyhow::Result<()> {
    let mut client = SignalServiceClient::new(channel(address).await?);
    let states = client
        .list_zone_states(ListZoneStatesRequest::default())
        .await?
        .into_inner()
        .states;
    let zones: Vec<&str> = states.iter().map(|state| state.zone.as_str()).collect();
    assert_eq!(zones, ZONES);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_process_takes_over() -> anyhow::Result<()> {
    if recordings::for_test(RECORDING)?.is_none() {
        return Ok(());
    }
    let (undisturbed, one) = story(false).await?;
    assert_eq!(one.len(), 1, "{one:?}");
    let (disturbed, two) = story(true).await?;
    assert_eq!(two.len(), 2, "both processes worked: {two:?}");
    for (filter, ids) in &disturbed {
        assert_eq!(ids, &undisturbed[filter], "{filter}");
    }
    assert_eq!(
        disturbed["signal.csi_frame_validated.*"].len(),
        ZONES.len() * FRAMES
    );
    assert!(!disturbed["pose.motion_detected.*"].is_empty());
    Ok(())
}

/// While both live, each answers for the zones of the other.
#[tokio::test(flavor = "multi_thread")]
async fn any_process_answers_for_any_zone() -> anyhow::Result<()> {
    let Some(recording) = recordings::for_test(RECORDING)? else {
        return Ok(());
    };
    let sandbox = Sandbox::of(&["signal", "hardware-gateway"], &[], &[]).await?;
    let (_other, ports) = sandbox.another("signal").await?;
    let gateway = sandbox.address("hardware-gateway", "grpc")?;
    let connected = channel(&gateway).await?;
    let mut runs = Vec::new();
    for zone in ZONES {
        let node = format!("node-{zone}");
        runs.push(
            replay(&connected, &recording.path, &node, zone, SPEED)
                .await?
                .replay_id,
        );
    }
    for address in [
        sandbox.address("signal", "grpc")?,
        ports["signal"]["grpc"]
            .as_str()
            .context("an address")?
            .to_owned(),
    ] {
        let mut client = SignalServiceClient::new(channel(&address).await?);
        for zone in ZONES {
            let known = async {
                let mut again = tokio::time::interval(std::time::Duration::from_millis(50));
                loop {
                    again.tick().await;
                    let request = GetZoneStateRequest { zone: zone.into() };
                    if client.get_zone_state(request).await.is_ok() {
                        return;
                    }
                }
            };
            within(&format!("a state of {zone} from {address}"), known).await?;
        }
    }
    Ok(())
}
