use serde_json::{Value, json};

use crate::system::System;

/// Simulated recording of so many seconds at 50 frames a second.
async fn recording(system: &System, seconds: &str) -> String {
    let path = system.data.path().join(format!("{seconds}.csv"));
    let path = path.to_str().unwrap().to_owned();
    let simulate = [
        "simulate",
        "--scenario",
        "walk",
        "--rate",
        "50",
        "--seconds",
        seconds,
        "--out",
        &path,
    ];
    let (code, _, err) = system.output(&simulate).await;
    assert_eq!(code, 0, "{err}");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_played_to_its_end_and_once_for_each_id() {
    let mut system = System::start().await;
    system.start_gateway(None).await;
    let file = recording(&system, "4").await;
    let replay = [
        "replay", &file, "--device", "sim-1", "--zone", "hall", "--speed", "max",
    ];
    let (code, out, err) = system.output(&replay).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("frames sent, 0 malformed"), "{out}");

    let id = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
    let with_id = [&replay[..], &["--id", id, "--json"]].concat();
    let first = system.json(&with_id).await;
    assert_eq!(first["replay_id"], id);
    assert_eq!(first["state"], "completed");
    assert!(first["frames_sent"].as_u64().unwrap() > 0);
    assert_eq!(first["frames_sent"], first["frames_total"]);
    assert_eq!(system.json(&with_id).await, first);

    let (code, out, _) = system.output(&[&replay[..], &["--no-wait"]].concat()).await;
    assert_eq!(code, 0);
    out.trim().parse::<uuid::Uuid>().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_gateway_in_mid_replay_is_survived() {
    let mut system = System::start().await;
    system.start_gateway(None).await;
    let file = recording(&system, "10").await;
    let mut devices = system.fresnel(&["devices", "watch", "--json"]);
    let replay = system.fresnel(&[
        "replay", &file, "--device", "sim-1", "--zone", "hall", "--json",
    ]);
    // Its frames have begun to come.
    loop {
        let change: Value = serde_json::from_str(&devices.line().await).unwrap();
        if change["device"]["state"] == "active" {
            break;
        }
    }
    let address = system.stop_gateway().await;
    system.start_gateway(Some(address)).await;
    let mut replay = replay;
    let outcome: Value = serde_json::from_str(&replay.line().await).unwrap();
    assert_eq!(outcome["state"], "completed", "{outcome}");
    assert_eq!(outcome["frames_sent"], outcome["frames_total"]);
    let (status, err) = replay.end().await;
    assert!(status.success());
    assert!(err.contains("the gateway went away"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_replay() {
    let mut system = System::start().await;
    system.start_gateway(None).await;
    let file = recording(&system, "600").await;
    let mut devices = system.fresnel(&["devices", "watch", "--json"]);
    let mut replay = system.fresnel(&[
        "replay", &file, "--device", "sim-1", "--zone", "hall", "--json",
    ]);
    loop {
        let change: Value = serde_json::from_str(&devices.line().await).unwrap();
        if change["device"]["state"] == "active" {
            break;
        }
    }
    replay.interrupt();
    let outcome: Value = serde_json::from_str(&replay.line().await).unwrap();
    assert_eq!(outcome["state"], "cancelled", "{outcome}");
    assert_eq!(replay.end().await.0.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_played_is_said() {
    let mut system = System::start().await;
    system.start_gateway(None).await;
    let check = async |file: &str, device: &str, speed: &str, part: &str| {
        let replay = [
            "replay", file, "--device", device, "--zone", "z", "--speed", speed,
        ];
        let (code, out, err) = system.output(&replay).await;
        assert_eq!((code != 0, out.as_str()), (true, ""), "{file}");
        assert!(err.contains(part), "{file}: {err}");
    };
    let path = system.data.path().join("noise.bin");
    std::fs::write(&path, json!(["no", "recording"]).to_string()).unwrap();
    let noise = path.to_str().unwrap();
    check(noise, "d", "1", "noise.bin").await;
    check("/nowhere/at-all.csv", "d", "1", "cannot be opened").await;
    check(
        system.data.path().to_str().unwrap(),
        "d",
        "1",
        "is not a file",
    )
    .await;
    check(noise, "Not_A_Name", "1", "Not_A_Name").await;
    check(noise, "d", "0", "above 0").await;
    std::fs::write(&path, "").unwrap();
    check(noise, "d", "1", "empty").await;
}
