//! `fresnel` as a user meets it.

use std::process::Stdio;

use e2e::process::{Process, binary};
use serde_json::Value;

fn fresnel(args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(binary("fresnel").expect("built"));
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn up_replay_zones_and_down_again() -> anyhow::Result<()> {
    let Some(recording) = recordings::for_test("espectre-test-c3-20260329-130804")? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data").to_string_lossy().into_owned();
    let args = ["up", "--ephemeral", "--data-dir", &data].map(str::to_owned);
    let mut up = Process::start("fresnel", dir.path(), &args, &[])?;
    let ports = up.ready().await?;
    let gateway = ports["hardware-gateway"]["grpc"]
        .as_str()
        .unwrap()
        .to_owned();
    let signal = ports["signal"]["grpc"].as_str().unwrap().to_owned();

    let file = recording.path.to_string_lossy().into_owned();
    let replay = [
        "replay",
        &file,
        "--device",
        "node",
        "--zone",
        "lab",
        "--speed",
        "max",
        "--address",
        &gateway,
    ];
    let output = fresnel(&replay).output().await?;
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        up.log()
    );
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("6068"), "{text}");

    let output = fresnel(&["devices", "list", "--json", "--address", &gateway])
        .output()
        .await?;
    let text = String::from_utf8(output.stdout)?;
    assert!(text.contains("\"node\""), "{text}");
    let output = fresnel(&["zones", "list", "--address", &signal])
        .output()
        .await?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success() && text.contains("lab"), "{text}");

    assert_eq!(up.stop().await?, Some(0), "{}", up.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn analyze_finds_the_moving_half_without_nats() -> anyhow::Result<()> {
    let Some(recording) = recordings::for_test("espectre-test-c3-20260329-130804")? else {
        return Ok(());
    };
    let output = fresnel(&["analyze", &recording.path.to_string_lossy(), "--json"])
        .output()
        .await?;
    assert!(output.status.success());
    let lines: Vec<Value> = String::from_utf8(output.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let (summary, windows) = lines.split_last().unwrap();
    assert!(summary.get("summary").is_some(), "{summary}");
    let moving = |from: f64, to: f64| {
        let inside: Vec<_> = windows
            .iter()
            .filter(|w| {
                w["start_s"].as_f64().unwrap() >= from && w["end_s"].as_f64().unwrap() <= to
            })
            .collect();
        let motion = inside.iter().filter(|w| w["state"] == "motion").count();
        motion as f64 / inside.len() as f64
    };
    assert!(
        moving(0.0, 29.0) < 0.05,
        "{} of the quiet half",
        moving(0.0, 29.0)
    );
    assert!(
        moving(31.0, 60.0) > 0.95,
        "{} of the moving half",
        moving(31.0, 60.0)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_without_a_system_says_what_to_do() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("x.csv");
    std::fs::write(&file, "CSI_DATA,")?;
    // Port 1 of loopback: nothing listens there.
    let file = file.to_string_lossy();
    let output = fresnel(&[
        "replay",
        &file,
        "--device",
        "a",
        "--zone",
        "b",
        "--address",
        "127.0.0.1:1",
    ])
    .output()
    .await?;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr)?;
    assert!(
        text.contains("127.0.0.1:1") && text.contains("fresnel up"),
        "{text}"
    );
    Ok(())
}
