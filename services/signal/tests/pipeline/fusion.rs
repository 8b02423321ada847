//! Motion that only the links of a zone together show: announced once, with those links, whoever else speaks of it.

use std::io::Write as _;

use events::EventEnvelope;
use signal::{Input, Output, Pipeline, Settings, What};

use crate::source::{self, room, still, together};

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn settings(threshold: f64) -> Settings {
    Settings {
        threshold,
        release: 0.75 * threshold,
        ..Settings::default()
    }
}

fn run(settings: &Settings, inputs: &[Input]) -> Vec<Output> {
    let mut pipeline = Pipeline::new(settings.clone(), "signal/test");
    let push = |input| pipeline.push(input);
    inputs.iter().flat_map(push).collect()
}

fn motions(outputs: &[Output]) -> Vec<EventEnvelope> {
    let mut all = source::events(outputs);
    all.retain(|event| event.event_type == "pose.motion_detected");
    all
}

fn text<'a>(event: &'a EventEnvelope, key: &str) -> &'a str {
    event
        .metadata
        .extra
        .get(key)
        .map_or("", |value| value.as_str().unwrap())
}

/// Kind and author of each: `onset of zone`, `refresh of node-1`.
fn told(motions: &[EventEnvelope]) -> Vec<String> {
    let one = |event: &EventEnvelope| {
        let by = match text(event, "by") {
            "" => event.payload["device_id"].as_str().unwrap(),
            "fusion" => "zone",
            other => other,
        };
        format!("{} of {by}", text(event, "motion"))
    };
    motions.iter().map(one).collect()
}

/// A threshold that a walk does not reach.
const HARDLY: f64 = 0.999;

/// Real recordings of a person who walks, as links of one room, held against a threshold that none of them reaches.
#[test]
fn real_links_that_are_each_below_their_threshold_announce_motion_once_together() {
    let moving = [
        "c3-20260329-130321",
        "c5-20260329-124504",
        "c6-20260310-234839",
        "esp32-20260310-232137",
        "s3-20260329-125616",
    ];
    let mut devices = Vec::new();
    for name in moving {
        let name = format!("espectre-movement-{name}");
        devices.push(source::recorded(&recordings::require_or_skip!(&name)));
    }
    let inputs = together(devices);
    let settings = Settings {
        // Longer than the recordings: one motion, announced once.
        refresh_s: 600.0,
        rearm_s: 600.0,
        ..settings(HARDLY)
    };
    let outputs = run(&settings, &inputs);
    let windows = source::windows(&outputs);
    let highest = windows.iter().filter_map(|window| window.motion_score);
    let highest = highest.fold(0.0, f32::max);
    say(&format!(
        "{} windows, highest statistic {highest}",
        windows.len()
    ));
    assert!(f64::from(highest) < HARDLY, "no link by itself");
    let motions = motions(&outputs);
    assert_eq!(told(&motions), ["onset of zone"]);
    let event = &motions[0];
    assert_eq!(event.payload["event_id"], event.id.to_string());
    assert_eq!(event.payload["zone_id"], "lab");
    assert_eq!(event.payload["person_count"], 0);
    assert_eq!(event.correlation_id, Some(source::RUN));
    let method = event.metadata.method.as_deref().unwrap();
    assert!(method.starts_with("noisy-or/1 links="), "{method}");
    let extra = &event.metadata.extra;
    assert_eq!(extra["motion_threshold"], 0.5);
    let score = event.payload["motion_score"].as_f64().unwrap();
    let links = extra["links"].as_array().unwrap();
    assert!(links.len() > 1, "{links:?}");
    assert_eq!(links[0]["device_id"], event.payload["device_id"]);
    let mut none = 1.0;
    for link in links {
        let number = |key: &str| link[key].as_f64().unwrap();
        assert!(number("statistic") < number("threshold"), "{link}");
        assert!(number("chance") > 0.0 && number("chance") < 0.5, "{link}");
        none *= 1.0 - number("chance") * (number("quality") / 0.5).min(1.0);
    }
    assert!((1.0 - none - score).abs() < 1e-6 && score >= 0.5, "{score}");
    // What it follows from is announced too.
    let cause = event.causation_id.unwrap();
    assert!(
        source::events(&outputs)
            .iter()
            .any(|other| other.id == cause)
    );
    // And it is the same whenever the recordings are played.
    assert_eq!(motions, self::motions(&run(&settings, &inputs)));
}

/// Five links of a room in which somebody moves from 6 s to 20 s, who shows in each of them a little; from `strong` on the
/// first link shows it plainly.
fn faint(strong: f64, until: f64) -> Vec<Input> {
    let link = |index: u64| {
        room(26.0, 40 + index, move |t, k| {
            if !(6.0..20.0).contains(&t) {
                return still(t, k);
            }
            let size = if index == 0 && (strong..until).contains(&t) {
                0.5
            } else {
                SIZE
            };
            1.0 + size * (6.0 * t + 2.5 * (1.7 * t).sin() + k as f64 / 6.0).cos()
        })
    };
    together((0..5).map(link).collect())
}

/// Swing of the amplitude in a link that hears little of somebody.
const SIZE: f64 = 0.1;

/// A threshold that no link reaches by itself.
fn above(inputs: &[Input]) -> f64 {
    let windows = source::windows(&source::run(inputs));
    let scores = || windows.iter().filter_map(|window| window.motion_score);
    let highest = f64::from(scores().fold(0.0, f32::max));
    let loud = scores().filter(|score| *score > 0.15);
    let (count, sum) = loud.fold((0.0, 0.0), |(count, sum), score| (count + 1.0, sum + score));
    say(&format!(
        "highest statistic {highest}, mean {}",
        sum / count
    ));
    highest + 0.01
}

#[test]
fn what_one_link_announces_is_not_announced_of_the_zone_and_the_other_way_round() {
    // Only together: an onset, and a refresh after 10 s.
    let together = faint(99.0, 99.0);
    let settings = settings(above(&together));
    let alone = motions(&run(&settings, &together));
    assert_eq!(told(&alone), ["onset of zone", "refresh of zone"]);
    // A link follows: it is the same motion, whose next word comes after the refresh interval.
    let follows = motions(&run(&settings, &faint(10.0, 14.0)));
    assert_eq!(told(&follows), ["onset of zone", "refresh of zone"]);
    // A link is first, and what goes on together after it is the same motion.
    let first = motions(&run(&settings, &faint(6.0, 9.0)));
    assert_eq!(told(&first), ["onset of node-0", "refresh of zone"]);
    for events in [alone, follows, first] {
        let at = |event: &EventEnvelope| event.occurred_at.as_micros();
        assert!(at(&events[1]) - at(&events[0]) >= 10_000_000, "{events:?}");
    }
}

/// What would be published.
fn published(outputs: &[Output]) -> Vec<String> {
    let line = |output: &Output| match &output.what {
        What::Event(event) => Some(format!(
            "{} {} {}",
            event.event_type, event.id, event.payload
        )),
        What::Window(window) => Some(format!("{window:?}")),
        What::Zone { .. } => None,
    };
    outputs.iter().filter_map(line).collect()
}

#[test]
fn a_crash_between_two_links_loses_and_doubles_nothing() {
    let mut inputs = faint(8.0, 9.0);
    inputs.truncate(6_000);
    let settings = settings(above(&faint(99.0, 99.0)));
    let told = |lines: &[String]| {
        let motions = lines
            .iter()
            .filter(|line| line.starts_with("pose.motion_detected"));
        motions.cloned().collect::<Vec<_>>()
    };
    let whole = told(&published(&run(&settings, &inputs)));
    assert_eq!(whole.len(), 1, "{whole:?}");
    let mut pipeline = Pipeline::new(settings.clone(), "signal/test");
    let onset = |input: &Input| told(&published(&pipeline.push(input))) == whole;
    let onset = inputs.iter().position(onset).unwrap();
    // About the onset frame by frame, and where a link by itself is in motion.
    for crash in (onset - 6..onset + 6).chain([onset + 100, 4_030, 4_301, 4_750]) {
        let mut before = Pipeline::new(settings.clone(), "signal/test");
        let mut lines = Vec::new();
        for input in &inputs[..crash] {
            lines.extend(published(&before.push(input)));
        }
        let kept = serde_json::to_string(&before.kept()).unwrap();
        let checkpoint = before.checkpoint();
        let mut after = Pipeline::new(settings.clone(), "signal/test");
        after.resume(serde_json::from_str(&kept).unwrap());
        for input in inputs
            .iter()
            .filter(|input| input.stream_sequence > checkpoint)
        {
            lines.extend(published(&after.push(input)));
        }
        assert_eq!(
            told(&lines),
            whole,
            "crash before input {crash}, onset at {onset}"
        );
    }
}
