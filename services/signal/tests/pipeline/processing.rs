//! Pipelines over recordings: what they give is what the live path gives, and neither chunks nor restarts show in it.

use std::collections::BTreeMap;

use csi::Frame;
use dsp::butterworth::{Band, Filter, design};
use dsp::clock::RegularClock;
use dsp::doppler::{Doppler, Shape};
use dsp::hampel::{Scratch, hampel};
use dsp::pca::Pca;
use dsp::phase::{Line, Phases, Sanitizer};
use proptest::prelude::*;
use proto::signal::v1::{LinkState, SignalWindow};
use serde_json::json;
use signal::processing::built_in;
use signal::processing::engine::{Chunk, Engine};
use signal::processing::stage::{Stage, check};
use signal::processing::table::{Table, Values};

use crate::restart::eventful;
use crate::source::{self, Noise, body, room};

pub const STATE: u64 = 1 << 30;

fn built_in(name: &str) -> Vec<Stage> {
    let all = built_in::all();
    let found = all.into_iter().find(|(known, _, _)| *known == name);
    found.unwrap().2
}

pub fn stages(list: &[serde_json::Value]) -> Vec<Stage> {
    let one = |(place, value): (usize, &serde_json::Value)| {
        let mut fields = value.as_object().cloned().unwrap();
        let kind = fields.remove("type").unwrap();
        Stage::read(place, "", kind.as_str().unwrap(), fields).unwrap()
    };
    let stages: Vec<Stage> = list.iter().enumerate().map(one).collect();
    check(&stages).unwrap();
    stages
}

/// Runs chunks that end after so many frames; saves, drops and restores the engine where `restart` says so.
pub fn run(stages: &[Stage], frames: &[Frame], ends: &[usize], restart: bool) -> Table {
    let mut engine = Engine::new(stages, STATE).unwrap();
    let mut table = engine.columns();
    let mut from = 0;
    for end in ends.iter().copied().chain([frames.len()]) {
        let chunk = Chunk {
            frames: frames[from..end]
                .iter()
                .map(|f| (None, f.clone()))
                .collect(),
            ..Chunk::default()
        };
        from = end;
        table.append(engine.push(chunk).unwrap());
        if restart {
            let saved = engine.save().unwrap();
            engine = Engine::new(stages, STATE).unwrap();
            engine.restore(&saved).unwrap();
        }
    }
    table.append(engine.finish().unwrap());
    table
}

pub fn whole(stages: &[Stage], frames: &[Frame]) -> Table {
    run(stages, frames, &[], false)
}

pub fn integers(table: &Table, name: &str) -> Vec<Option<i64>> {
    match table.column(name) {
        Some(Values::Integers(values)) => values.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

pub fn floats(table: &Table, name: &str) -> Vec<Option<f32>> {
    match table.column(name) {
        Some(Values::Floats(values)) => values.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

pub fn texts(table: &Table, name: &str) -> Vec<Option<String>> {
    match table.column(name) {
        Some(Values::Texts(values)) => values.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

/// Every window of the live path is a row of the table with the same values, to the last bit, in the same order.
fn same(what: &str, table: &Table, live: &[SignalWindow], features: bool) {
    assert_eq!(table.rows(), live.len(), "{what}");
    let (start, end) = (
        integers(table, "window_start_us"),
        integers(table, "window_end_us"),
    );
    let (seen, missed) = (
        integers(table, "frames_seen"),
        integers(table, "frames_missed"),
    );
    let (state, reason) = (texts(table, "state"), texts(table, "reason"));
    let (score, threshold) = (
        floats(table, "motion_score"),
        floats(table, "motion_threshold"),
    );
    let quality = floats(table, "quality");
    let named: Vec<_> = if features {
        let names = dsp::activity::NAMES.iter();
        names
            .map(|name| floats(table, &format!("activity_{name}")))
            .collect()
    } else {
        assert!(table.column("activity_lag_1").is_none());
        Vec::new()
    };
    for (row, window) in live.iter().enumerate() {
        let at = format!("{what}, window {row}: {window:?}");
        assert_eq!(start[row], Some(window.window_start_us), "{at}");
        assert_eq!(end[row], Some(window.window_end_us), "{at}");
        assert_eq!(seen[row], Some(i64::from(window.frames_seen)), "{at}");
        assert_eq!(missed[row], window.frames_missed.map(i64::from), "{at}");
        let word = match window.state() {
            LinkState::Motion => "motion",
            LinkState::Still => "still",
            _ => "unknown",
        };
        assert_eq!(state[row].as_deref(), Some(word), "{at}");
        assert_eq!(
            reason[row].as_deref().unwrap_or_default(),
            window.reason,
            "{at}"
        );
        assert_eq!(score[row], window.motion_score, "{at}");
        assert_eq!(threshold[row], Some(window.motion_threshold), "{at}");
        assert_eq!(quality[row], Some(window.quality), "{at}");
        if features {
            let measured: Vec<f32> = named.iter().filter_map(|column| column[row]).collect();
            assert_eq!(measured, window.features, "{at}");
        }
    }
}

#[test]
fn the_built_in_pipelines_give_what_the_live_path_gives() {
    for name in [
        "espectre-test-c3-20260329-130804",
        "espectre-movement-s3-20260117-222626",
        "espectre-baseline-c6-20260310-230414",
    ] {
        let recording = recordings::require_or_skip!(name);
        let frames = source::recorded(&recording);
        let live = source::windows(&source::run(&source::inputs(frames.clone())));
        assert!(live.len() > 10, "{name}: {}", live.len());
        same(name, &whole(&built_in("motion"), &frames), &live, false);
        same(name, &whole(&built_in("features"), &frames), &live, true);
    }
}

#[test]
fn losses_disorder_zeros_layouts_and_restarts_are_counted_as_the_live_path_counts_them() {
    let mut frames: Vec<Frame> = eventful().into_iter().map(|input| input.frame).collect();
    let mut again = room(8.0, 9, body);
    for frame in &mut again {
        frame.receive_time_us += 30_000_000;
    }
    frames.extend(again);
    let live = source::windows(&source::run(&source::inputs(frames.clone())));
    let states: std::collections::BTreeSet<_> = live.iter().map(|w| w.reason.clone()).collect();
    assert!(states.len() > 3, "{states:?}");
    same(
        "eventful",
        &whole(&built_in("features"), &frames),
        &live,
        true,
    );
}

/// The live path up to breathing.
fn breathing() -> Vec<serde_json::Value> {
    let types = [
        "validate",
        "gain",
        "window",
        "motion",
        "decision",
        "breathing",
    ];
    types.iter().map(|kind| json!({"type": kind})).collect()
}

/// Each type of stage that gives rows or windows.
fn pipelines() -> Vec<Vec<Stage>> {
    let (gain, validate) = (json!({"type": "gain"}), json!({"type": "validate"}));
    vec![
        built_in("features"),
        stages(&breathing()),
        stages(&[
            validate.clone(),
            gain.clone(),
            json!({"type": "hampel", "half": 2}),
            json!({"type": "window"}),
            json!({"type": "motion"}),
        ]),
        stages(&[
            gain.clone(),
            json!({"type": "hampel"}),
            json!({"type": "clock", "rate_hz": 37.0}),
            json!({"type": "band_pass", "low_hz": 0.5, "high_hz": 5, "order": 3}),
        ]),
        stages(&[
            gain.clone(),
            json!({"type": "pca", "components": 3, "every_rows": 40, "memory_rows": 200}),
            json!({"type": "clock", "rate_hz": 50}),
            json!({"type": "high_pass", "edge_hz": 1}),
            json!({"type": "doppler", "window_s": 0.4, "hop_s": 0.1}),
        ]),
        stages(&[
            gain.clone(),
            json!({"type": "clock", "rate_hz": 50}),
            json!({"type": "low_pass", "edge_hz": 8, "order": 3}),
            json!({"type": "pca", "every_rows": 25}),
        ]),
        stages(&[
            validate.clone(),
            json!({"type": "phase", "line": "shared_slope"}),
        ]),
        stages(&[
            gain.clone(),
            json!({"type": "window"}),
            json!({"type": "select", "count": 5, "combine": true}),
            json!({"type": "speed", "carrier_mhz": 2437}),
        ]),
        stages(&[
            validate,
            gain,
            json!({"type": "window", "window_s": 1, "hop_s": 0.5}),
            json!({"type": "change_points", "time_constant_s": 5, "limit": 3}),
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn neither_chunks_nor_restarts_show(mut ends in prop::collection::vec(0_usize..2360, 0..12), restart in any::<bool>()) {
        let frames: Vec<Frame> = eventful().into_iter().map(|input| input.frame).collect();
        ends.sort_unstable();
        for stages in pipelines() {
            let one = whole(&stages, &frames);
            prop_assert!(one.rows() > 40);
            let other = run(&stages, &frames, &ends, restart);
            // By their bytes: a NaN is not equal to itself.
            let bytes = |table: &Table| format!("{table:?}");
            prop_assert_eq!(bytes(&one), bytes(&other));
        }
    }
}

/// Rows of a table: time and values.
pub fn rows(table: &Table) -> Vec<(i64, Vec<f32>)> {
    lists(table, "values")
}

/// Rows of a table: time and what is in that column.
pub fn lists(table: &Table, name: &str) -> Vec<(i64, Vec<f32>)> {
    let Some(Values::Lists(values)) = table.column(name) else {
        panic!("{table:?}")
    };
    let times = integers(table, "time_us").into_iter().map(Option::unwrap);
    times.zip(values.iter().cloned()).collect()
}

#[test]
fn hampel_over_chunks_is_hampel_over_the_whole() {
    let mut frames = room(10.0, 5, body);
    let mut noise = Noise::new(8);
    for frame in frames.iter_mut().filter(|_| noise.uniform() < 0.05) {
        frame.samples[40] *= 5.0;
    }
    let gain = stages(&[json!({"type": "gain"})]);
    let filter = stages(&[
        json!({"type": "gain"}),
        json!({"type": "hampel", "half": 4, "k": 3}),
    ]);
    let plain = rows(&whole(&gain, &frames));
    let filtered = rows(&run(&filter, &frames, &[17, 18, 400], true));
    assert_eq!(plain.len(), filtered.len());
    let mut replaced = 0;
    for column in 0..plain[0].1.len() {
        let mut values: Vec<f32> = plain.iter().map(|(_, row)| row[column]).collect();
        replaced += hampel(&mut values, 4, 3.0, &mut Scratch::default());
        for (value, (time, row)) in values.iter().zip(&filtered) {
            assert_eq!(*value, row[column], "column {column} at {time}");
        }
    }
    assert!(replaced > 100, "{replaced}");
}

#[test]
fn the_clock_over_chunks_is_the_clock_over_the_whole() {
    let mut noise = Noise::new(4);
    let mut frames = room(10.0, 5, body);
    for frame in &mut frames {
        frame.receive_time_us += (noise.uniform() * 8000.0) as i64;
    }
    frames.drain(300..360);
    let rate = 64.0;
    let plain = rows(&whole(&stages(&[json!({"type": "gain"})]), &frames));
    let clock = stages(&[
        json!({"type": "gain"}),
        json!({"type": "clock", "rate_hz": rate}),
    ]);
    let ticks: BTreeMap<i64, Vec<f32>> = rows(&run(&clock, &frames, &[1, 299, 300, 301], true))
        .into_iter()
        .collect();
    let times: Vec<i64> = plain.iter().map(|(time, _)| *time).collect();
    let width = plain[0].1.len();
    let values: Vec<f32> = plain.iter().flat_map(|(_, row)| row.clone()).collect();
    let mut regular = RegularClock::default();
    regular.lay(&times, 1e6 / rate, 1 << 20);
    assert_eq!(ticks.len(), regular.valid());
    assert!(regular.len() > regular.valid(), "there is a gap");
    for (tick, value) in regular.column(&values, width, 3).enumerate() {
        let time = times[0] + (tick as f64 * 1e6 / rate).round() as i64;
        assert_eq!(ticks.get(&time).map(|row| row[3]), value, "tick {tick}");
    }
}

#[test]
fn the_breathing_rates_of_a_recording_are_those_of_the_live_path() {
    let recording = recordings::require_or_skip!("csi-respiration-4-19-sn1");
    let frames = source::recorded(&recording);
    let live = source::windows(&source::run(&source::inputs(frames.clone())));
    let ends = [1, 100, frames.len() / 2, frames.len() / 2 + 1];
    let table = either_way(&stages(&breathing()), &frames, &ends);
    let Some(Values::Doubles(rates)) = table.column("breaths_per_minute") else {
        panic!("{:?}", table.columns.len())
    };
    let reasons = texts(&table, "breathing_reason");
    assert_eq!(rates.len(), live.len());
    for ((rate, reason), window) in rates.iter().zip(&reasons).zip(&live) {
        assert_eq!(rate.map(|rate| rate as f32), window.breaths_per_minute);
        assert_ne!(rate.is_some(), reason.is_some(), "one or the other");
    }
    let found = rates.iter().flatten().count();
    assert!(found > 20, "{found} of {}", rates.len());
}

/// The frames of one link of a recording, and places at which chunks end.
pub fn one_link(mut frames: Vec<Frame>) -> (Vec<Frame>, Vec<usize>) {
    let first = frames[0].clone();
    frames.retain(|f| (f.transmitter, f.layout.name) == (first.transmitter, first.layout.name));
    frames.truncate(3000);
    assert!(frames.len() > 1000, "{}", frames.len());
    (frames, vec![1, 2, 333, 334, 800])
}

/// The pipeline over the chunks, with a restart behind each, and over the whole: the same to the last bit.
pub fn either_way(stages: &[Stage], frames: &[Frame], ends: &[usize]) -> Table {
    let table = run(stages, frames, ends, true);
    assert_eq!(
        format!("{table:?}"),
        format!("{:?}", whole(stages, frames)),
        "chunks show"
    );
    table
}

#[test]
fn filters_components_spectra_and_phases_of_a_recording_are_those_of_dsp() {
    let name = "espectre-movement-s3-20260117-222626";
    let recording = recordings::require_or_skip!(name);
    let (frames, ends) = one_link(source::recorded(&recording));
    let list = |more: &[serde_json::Value]| {
        let mut all = vec![json!({"type": "gain"})];
        all.extend_from_slice(more);
        stages(&all)
    };
    let rate = 80.0;
    let clock = json!({"type": "clock", "rate_hz": rate});
    let regular = rows(&whole(&list(std::slice::from_ref(&clock)), &frames));
    let width = regular[0].1.len();

    for (stage, order, band) in [
        (
            json!({"type": "low_pass", "edge_hz": 6, "order": 3}),
            3,
            Band::Low(6.0),
        ),
        (
            json!({"type": "high_pass", "edge_hz": 1.5, "order": 5}),
            5,
            Band::High(1.5),
        ),
    ] {
        let table = either_way(&list(&[clock.clone(), stage]), &frames, &ends);
        let mut filter = Filter::new(design(order, band, rate).unwrap(), width);
        let mut before = i64::MIN;
        let direct = regular.iter().cloned().map(|(time, mut row)| {
            if time.saturating_sub(before) > (1.5e6 / rate) as i64 {
                filter.settle(&row);
            }
            before = time;
            filter.push(&mut row);
            (time, row)
        });
        assert_eq!(rows(&table), direct.collect::<Vec<_>>(), "{band:?}");
    }

    let pca = json!({"type": "pca", "components": 4, "memory_rows": 300, "every_rows": 50});
    let plain = rows(&whole(&list(&[]), &frames));
    for (input, stages) in [
        (&plain, list(std::slice::from_ref(&pca))),
        (&regular, list(&[clock.clone(), pca])),
    ] {
        let mut direct = Vec::new();
        let mut pca = Pca::new(width, 300.0);
        for (index, (time, row)) in input.iter().filter(|(_, row)| !row.is_empty()).enumerate() {
            assert!(pca.push(row));
            if (index + 1) % 50 == 0 {
                assert!(pca.decompose() >= 4);
            }
            if index + 1 >= 50 {
                let mut out = Vec::new();
                pca.project(row, 0..4, &mut out);
                direct.push((*time, out));
            }
        }
        let table = either_way(&stages, &frames, &ends);
        assert!(direct.len() > 500, "{}", direct.len());
        assert_eq!(lists(&table, "components"), direct);
    }

    let spectrum = json!({"type": "doppler", "window_s": 0.5, "hop_s": 0.1});
    let table = either_way(&list(&[clock, spectrum]), &frames, &ends);
    let shape = Shape {
        rate_hz: rate,
        window_s: 0.5,
        hop_s: 0.1,
    };
    let mut doppler = Doppler::new(width, shape).unwrap();
    let mut direct = Vec::new();
    for (time, row) in &regular {
        if doppler.push(*time, row) {
            direct.push((*time, doppler.power().to_vec()));
        }
    }
    assert!(direct.len() > 50, "{}", direct.len());
    assert_eq!(lists(&table, "power"), direct);
    let Some(Values::Doubles(bins)) = table.column("bin_hz") else {
        panic!("{table:?}")
    };
    assert!(bins.iter().all(|bin| *bin == Some(80.0 / 64.0)));

    let table = either_way(&stages(&[json!({"type": "phase"})]), &frames, &ends);
    let layout = &frames[0].layout;
    let antennas = usize::from(frames[0].antennas);
    let sanitizer = Sanitizer::new(&layout.subcarriers, &layout.valid, antennas);
    let mut known = 0;
    for (frame, (time, row)) in frames.iter().zip(lists(&table, "phase_rad")) {
        let mut phases = Phases::default();
        sanitizer
            .sanitize(&frame.samples, Line::Each, &mut phases)
            .unwrap();
        assert_eq!(
            (frame.receive_time_us, phases.radians.len()),
            (time, row.len())
        );
        for ((value, radians), is_known) in row.iter().zip(&phases.radians).zip(&phases.known) {
            assert_eq!(value.is_nan(), !is_known);
            assert!(!is_known || value == radians, "{value} {radians}");
            known += usize::from(*is_known);
        }
    }
    assert!(known > 10_000, "{known}");
}

#[test]
fn a_stage_that_gives_up_is_named() {
    let mut frames = room(20.0, 5, body);
    for frame in &mut frames[500..] {
        frame.samples.fill(num_complex::Complex32::default());
    }
    let strict = stages(&[
        json!({"type": "validate", "max_faulty": 0.2}),
        json!({"type": "gain"}),
    ]);
    let mut engine = Engine::new(&strict, STATE).unwrap();
    let all = frames.iter().map(|f| (None, f.clone())).collect();
    let failed = engine
        .push(Chunk {
            frames: all,
            ..Chunk::default()
        })
        .unwrap_err();
    assert_eq!(
        failed.to_string(),
        "stage \"validate\": 500 of 1000 places of the recording are no usable frame; at most 200 of a thousand may be (max_faulty)"
    );
    // And one that keeps more than it may.
    let mut engine = Engine::new(&built_in("features"), 10_000).unwrap();
    let some = frames[..300].iter().map(|f| (None, f.clone())).collect();
    engine
        .push(Chunk {
            frames: some,
            ..Chunk::default()
        })
        .unwrap();
    let failed = engine.save().unwrap_err().to_string();
    assert!(
        failed.starts_with("stage \"window\": the stage holds"),
        "{failed}"
    );
}
