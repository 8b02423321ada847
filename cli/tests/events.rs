//! `fresnel events` as people call it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn fresnel(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fresnel"))
        .arg("events")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn wire() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/wire")
}

#[test]
fn list_and_show_tell_what_the_catalogue_has() {
    let list = fresnel(&["list"], "");
    assert!(list.status.success());
    assert!(out(&list).contains("79 events"));
    let line = out(&list)
        .lines()
        .find(|line| line.starts_with("pose.fall_detected"))
        .unwrap()
        .to_owned();
    assert_eq!(
        line.split_whitespace().take(4).collect::<Vec<_>>(),
        ["pose.fall_detected", "1", "POSE", "pose"]
    );
    let json = out(&fresnel(&["list", "job.", "--json"], ""));
    assert_eq!(
        json.lines()
            .filter(|line| serde_json::from_str::<Value>(line).is_ok())
            .count(),
        3
    );

    let show = out(&fresnel(&["show", "pose.pose_estimated"], ""));
    for part in [
        "version 2",
        "pose_estimate",
        "POSE (kept 7 days)",
        "overall_confidence",
        "PersonSummary",
        "BoundingBox",
    ] {
        assert!(show.contains(part), "{part} is not in\n{show}");
    }
    let unknown = fresnel(&["show", "pose.fall_detekted"], "");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean pose.fall_detected?"));
}

#[test]
fn schema_and_asyncapi_are_json() {
    let schema: Value =
        serde_json::from_str(&out(&fresnel(&["schema", "pose.motion_detected"], ""))).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let document: Value = serde_json::from_str(&out(&fresnel(
        &["asyncapi", "--server", "nats.example:4222"],
        "",
    )))
    .unwrap();
    assert_eq!(document["servers"]["nats"]["host"], "nats.example:4222");
}

#[test]
fn the_wire_files_are_valid() {
    let mut files = 0;
    for file in std::fs::read_dir(wire()).unwrap() {
        let path = file.unwrap().path();
        let output = fresnel(&["validate", path.to_str().unwrap()], "");
        assert!(
            output.status.success(),
            "{}: {}",
            path.display(),
            out(&output)
        );
        files += 1;
    }
    assert!(files > 79);
}

#[test]
fn a_bad_event_is_named_with_line_place_and_reason() {
    let good = std::fs::read_to_string(wire().join("pose.motion_detected.v1.jsonl")).unwrap();
    let good = good.lines().next().unwrap().to_owned();
    let with = |pointer: &str, value: Value| {
        let mut event: Value = serde_json::from_str(&good).unwrap();
        *event.pointer_mut(pointer).unwrap() = value;
        event
    };
    let check = |input: String, code: i32, expected: &[&str]| {
        let output = fresnel(&["validate", "-"], &input);
        let text = out(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        for part in expected {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    };
    check(
        format!("{good}\n\n{good}\n"),
        0,
        &["2 events: 2 good, 0 bad"],
    );
    let high = with("/payload/motion_score", "high".into());
    check(
        format!("{good}\n{high}\n{good}\n"),
        1,
        &[
            "standard input:2: /payload/motion_score: ",
            "number",
            "3 events: 2 good, 1 bad",
        ],
    );
    check(
        format!("{}\n", with("/payload/motion_type", "flying".into())),
        1,
        &[":1: /payload/motion_type: "],
    );
    check(
        format!("{}\n", with("/aggregate_id", "other".into())),
        1,
        &["/aggregate_id: is not the payload's event_id"],
    );
    check(
        format!("{}\n", with("/version", 0.into())),
        1,
        &["/version: "],
    );
    check(
        format!("{good}\nnonsense\n"),
        1,
        &[":2: the whole: no JSON", "2 events: 1 good, 1 bad"],
    );
    check("{\"id\": \n".into(), 1, &["the whole: EOF"]);
    check("3\n".into(), 1, &[":1: the whole: "]);
    // One document of several lines; a list.
    let pretty = serde_json::to_string_pretty(&high).unwrap();
    check(pretty, 1, &[":1: /payload/motion_score: "]);
    let list = serde_json::to_string_pretty(&[with("/version", 1.into()), high]).unwrap();
    check(
        list,
        1,
        &["/1/payload/motion_score: ", "2 events: 1 good, 1 bad"],
    );
    // What we cannot know is no fault.
    check(
        format!("{}\n", with("/event_type", "custom.thing".into())),
        0,
        &["1 of a type that is not in the catalogue"],
    );
    check(
        format!("{}\n", with("/version", 7.into())),
        0,
        &["1 of a newer version than ours"],
    );
}
