//! A pipeline over a real recording, from the command line: `kill -9` of signal in mid-run, twice, and the file that comes out is
//! the same to the last byte.

use std::path::Path;
use std::process::Stdio;

use e2e::clients::{by_id, channel, events, within};
use e2e::process::binary;
use e2e::sandbox::Sandbox;
use proto::signal::v1::pipeline_service_client::PipelineServiceClient;
use proto::signal::v1::{GetProcessingRequest, Processing};
use serde_json::Value;
use uuid::Uuid;

const RECORDING: &str = "espectre-test-c3-20260329-130804";
const FRAMES: u64 = 6068;

fn fresnel(args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(binary("fresnel").expect("built"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output_of(mut command: tokio::process::Command) -> anyhow::Result<String> {
    let output = within("the command", command.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "{said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// How the run stands; nothing while signal is away or does not know it yet.
async fn now(signal: &str, id: &str) -> Option<Processing> {
    let mut client = PipelineServiceClient::new(channel(signal).await.ok()?);
    let request = GetProcessingRequest {
        processing_id: id.to_owned(),
    };
    let answer = client.get_processing(request).await.ok()?;
    answer.into_inner().processing
}

async fn processed(signal: &str, id: &str, frames: u64) -> anyhow::Result<Processing> {
    let wait = async {
        let mut again = tokio::time::interval(std::time::Duration::from_millis(2));
        loop {
            again.tick().await;
            if let Some(run) = now(signal, id).await
                && run.frames_processed >= frames
            {
                return run;
            }
        }
    };
    within("the run's progress", wait).await
}

fn process<'a>(
    file: &'a str,
    id: &'a str,
    output: &'a Path,
    addresses: &'a (String, String),
) -> Vec<&'a str> {
    let output = output.to_str().unwrap_or_default();
    vec![
        "process",
        file,
        "--pipeline",
        "features",
        "--id",
        id,
        "--output",
        output,
        "--json",
        "--gateway",
        &addresses.0,
        "--signal",
        &addresses.1,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_signal_in_mid_run() -> anyhow::Result<()> {
    let Some(recording) = recordings::for_test(RECORDING)? else {
        return Ok(());
    };
    // Small chunks, so that there is a middle to be killed in.
    let settings = ["signal.processing.chunk_s=0.0001"];
    let mut sandbox = Sandbox::of(&["signal", "hardware-gateway"], &settings, &[]).await?;
    let addresses = (
        sandbox.address("hardware-gateway", "grpc")?,
        sandbox.address("signal", "grpc")?,
    );
    let file = recording.path.to_string_lossy().into_owned();
    let (one, other) = (
        sandbox.dir().join("one.parquet"),
        sandbox.dir().join("other.parquet"),
    );

    let id = Uuid::new_v4().to_string();
    let said = output_of(fresnel(&process(&file, &id, &one, &addresses))).await?;
    let undisturbed: Value = serde_json::from_str(said.trim())?;
    assert_eq!(undisturbed["state"], "completed");
    assert_eq!(undisturbed["frames_processed"], FRAMES);

    let id = Uuid::new_v4().to_string();
    let disturbed = tokio::spawn({
        let command = fresnel(&process(&file, &id, &other, &addresses));
        output_of(command)
    });
    for frames in [1, FRAMES / 2] {
        let run = processed(&addresses.1, &id, frames).await?;
        assert!(
            run.frames_processed < FRAMES,
            "it was over before it was killed: {run:?}"
        );
        sandbox.kill_and_restart("signal").await?;
    }
    let said = within("the end of the command", disturbed).await???;
    let end: Value = serde_json::from_str(said.trim())?;
    assert_eq!(end["state"], "completed", "{}", sandbox.logs());
    assert_eq!(end["frames_processed"], FRAMES);
    let (one, other) = (std::fs::read(one)?, std::fs::read(other)?);
    assert!(one.starts_with(b"PAR1") && one.len() > 10_000);
    assert!(
        one == other,
        "{} and {} bytes that differ",
        one.len(),
        other.len()
    );

    let third_party = sandbox.third_party().await?;
    let told = events(&third_party, "PIPELINE", &format!("pipeline.*.{id}")).await?;
    let of = |event_type: &str| {
        let all = told
            .iter()
            .filter(|event| event["event_type"] == event_type);
        all.cloned().collect::<Vec<_>>()
    };
    assert_eq!(of("pipeline.processing_resumed").len(), 2);
    assert_eq!(of("pipeline.processing_completed").len(), 1);
    let chunks = of("pipeline.chunk_processed");
    assert_eq!(chunks.len() as u64, end["chunks"].as_u64().unwrap());
    assert!(by_id(&chunks).values().all(|count| *count == 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_file_becomes_a_pipeline() -> anyhow::Result<()> {
    let sandbox = Sandbox::of(&["signal"], &[], &[]).await?;
    let signal = sandbox.address("signal", "grpc")?;
    let file = sandbox.write(
        "smooth.toml",
        b"description = \"rows without outliers\"\nstages = [\"validate\", \"gain\", { type = \"hampel\", half = 5 }]\n",
    )?;
    let file = file.to_string_lossy();
    output_of(fresnel(&[
        "pipeline",
        "create",
        "smooth",
        &file,
        "--address",
        &signal,
    ]))
    .await?;
    let shown = output_of(fresnel(&[
        "pipeline",
        "show",
        "smooth",
        "--json",
        "--address",
        &signal,
    ]))
    .await?;
    let shown: Value = serde_json::from_str(shown.trim())?;
    assert_eq!(shown["stages"][2]["half"], 5, "{shown}");
    assert_eq!(shown["description"], "rows without outliers");
    let list = output_of(fresnel(&["pipeline", "list", "--address", &signal])).await?;
    for name in ["features", "motion", "smooth", "validate > gain > hampel"] {
        assert!(list.contains(name), "{list}");
    }
    let wrong = sandbox.write("wrong.yaml", b"stages: [gain, motion]\n")?;
    let wrong = wrong.to_string_lossy();
    let refused = output_of(fresnel(&[
        "pipeline",
        "create",
        "wrong",
        &wrong,
        "--address",
        &signal,
    ]))
    .await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("stage 2 \"motion\" takes windows, and \"gain\" before it gives power"),
        "{refused}"
    );
    output_of(fresnel(&[
        "pipeline",
        "delete",
        "smooth",
        "--address",
        &signal,
    ]))
    .await?;
    Ok(())
}
