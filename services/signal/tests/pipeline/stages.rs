//! The stages that look at two receive chains, choose subcarriers, measure speed and watch levels: over recordings, against
//! what `dsp` gives for the same frames and windows.

use csi::Frame;
use dsp::autocorrelation::Series;
use dsp::cusum::{Change, Cusum, Drift};
use dsp::gain::GainBlocks;
use dsp::phase::{conjugate_product, ratio};
use dsp::select::{Selector, combine};
use dsp::speed::SpeedMeter;
use num_complex::Complex32;
use serde_json::json;
use signal::processing::engine::{Chunk, Engine};
use signal::processing::table::{Table, Values};

use crate::processing::{
    STATE, either_way, floats, integers, lists, one_link, rows, stages, texts, whole,
};
use crate::source::{self, room, still};

fn doubles(table: &Table, name: &str) -> Vec<Option<f64>> {
    match table.column(name) {
        Some(Values::Doubles(values)) => values.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

fn same(found: &[f32], expected: &[f32]) {
    let bits = |values: &[f32]| {
        values
            .iter()
            .map(|value| value.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(found), bits(expected));
}

/// Frames of an Intel 5300 with three receive chains.
fn three_chains(recording: &recordings::Recording) -> Vec<Frame> {
    let mut frames = source::recorded(recording);
    let streams = frames[0].transmit_streams;
    frames.retain(|frame| (frame.receive_chains(), frame.transmit_streams) == (3, streams));
    assert!(frames.len() > 20, "{}", frames.len());
    frames
}

#[test]
fn two_chains_of_a_recording_are_held_against_one_another() {
    let frames = three_chains(&recordings::require_or_skip!("csikit-intel-example"));
    let ends = [1, 2, frames.len() / 2];
    for (kind, name) in [("csi_ratio", "ratio"), ("conjugate_product", "product")] {
        let of = stages(&[json!({"type": kind, "first": 2, "second": 0})]);
        let table = either_way(&of, &frames, &ends);
        let real = lists(&table, &format!("{name}_re"));
        let imaginary = lists(&table, &format!("{name}_im"));
        assert_eq!((real.len(), imaginary.len()), (frames.len(), frames.len()));
        let (mut quotients, mut products, mut known) = (Vec::new(), Vec::new(), 0);
        for ((frame, (time, re)), (_, im)) in frames.iter().zip(&real).zip(&imaginary) {
            assert_eq!(frame.receive_time_us, *time);
            let streams = frame.transmit_streams.max(1);
            let mut expected: Vec<Option<Complex32>> = Vec::new();
            for stream in 0..streams {
                let (first, second) = (frame.antenna(2 * streams + stream), frame.antenna(stream));
                let all: Vec<_> = if kind == "csi_ratio" {
                    ratio(first, second, &mut quotients).unwrap();
                    quotients.clone()
                } else {
                    conjugate_product(first, second, &mut products).unwrap();
                    products.iter().copied().map(Some).collect()
                };
                let valid = all
                    .iter()
                    .zip(&frame.layout.valid)
                    .filter(|(_, valid)| **valid);
                expected.extend(valid.map(|(value, _)| *value));
            }
            let nothing = Complex32::new(f32::NAN, f32::NAN);
            let part = |part: fn(Complex32) -> f32| -> Vec<f32> {
                expected
                    .iter()
                    .map(|value| part(value.unwrap_or(nothing)))
                    .collect()
            };
            same(re, &part(|value| value.re));
            same(im, &part(|value| value.im));
            known += expected.iter().flatten().count();
        }
        assert!(known > 1000, "{known}");
    }
}

/// What the receiver does to the phase of a frame is the same in all chains, and is gone.
#[test]
fn the_ratio_does_not_see_the_receiver_s_phase_and_gain() {
    let frames = three_chains(&recordings::require_or_skip!("csikit-intel-example"));
    let mut turned = frames.clone();
    for (index, frame) in turned.iter_mut().enumerate() {
        let turn = Complex32::from_polar(1.0 + (index % 7) as f32 / 10.0, index as f32 * 0.37);
        frame.samples.iter_mut().for_each(|sample| *sample *= turn);
    }
    let of = stages(&[json!({"type": "csi_ratio"})]);
    for name in ["ratio_re", "ratio_im"] {
        let (plain, turned) = (
            lists(&whole(&of, &frames), name),
            lists(&whole(&of, &turned), name),
        );
        let pairs = plain
            .iter()
            .zip(&turned)
            .flat_map(|(a, b)| a.1.iter().zip(&b.1));
        let mut compared = 0;
        for (a, b) in pairs.filter(|(a, b)| a.is_finite() && b.is_finite()) {
            assert!((a - b).abs() <= 1e-3 * (1.0 + a.abs()), "{a} {b}");
            compared += 1;
        }
        assert!(compared > 1000, "{compared}");
    }
}

#[test]
fn one_chain_is_refused_with_what_is_missing() {
    let push = |kind: serde_json::Value, frame: Frame| {
        let mut engine = Engine::new(&stages(&[kind]), STATE).unwrap();
        let chunk = Chunk {
            frames: vec![(None, frame)],
            ..Chunk::default()
        };
        engine.push(chunk).unwrap_err().to_string()
    };
    let frame = room(1.0, 1, still).remove(0);
    assert_eq!(
        push(json!({"type": "csi_ratio"}), frame.clone()),
        "stage \"csi_ratio\": link 0 has 1 receive chain(s); chains 0 and 1 are asked for (first, second; counted from 0): two that share a clock are needed"
    );
    let amplitudes = Frame {
        format: csi::SampleFormat::Af32,
        ..frame
    };
    assert_eq!(
        push(json!({"type": "conjugate_product"}), amplitudes),
        "stage \"conjugate_product\": link 0 has amplitudes without phase: nothing can be said of one chain against another"
    );
}

/// Times and values of the rows in each window of the table.
fn of_windows<'a>(
    table: &Table,
    frames: &[Frame],
    plain: &'a [(i64, Vec<f32>)],
) -> Vec<(Vec<i64>, Vec<f32>, usize)> {
    let (start, end) = (
        integers(table, "window_start_us"),
        integers(table, "window_end_us"),
    );
    let width = plain[0].1.len();
    let cut = |(start, end): (Option<i64>, Option<i64>)| {
        let within = |(time, _): &(i64, &'a Vec<f32>)| (start..end).contains(&Some(*time));
        let rows: Vec<(usize, &Vec<f32>)> = plain
            .iter()
            .enumerate()
            .filter(|(_, (time, row))| within(&(*time, row)) && !row.is_empty())
            .map(|(index, (_, row))| (index, row))
            .collect();
        let times = rows
            .iter()
            .map(|(index, _)| frames[*index].time_us())
            .collect();
        let values = rows
            .iter()
            .flat_map(|(_, row)| row.iter().copied())
            .collect();
        (times, values, width)
    };
    start.into_iter().zip(end).map(cut).collect()
}

#[test]
fn subcarriers_and_speeds_of_a_recording_are_those_of_dsp() {
    let recording = recordings::require_or_skip!("espectre-test-c3-20260329-130804");
    let (frames, ends) = one_link(source::recorded(&recording));
    let gain = json!({"type": "gain"});
    let cut = json!({"type": "window", "window_s": 2, "hop_s": 1});
    let plain = rows(&whole(&stages(std::slice::from_ref(&gain)), &frames));
    let layout = &frames[0].layout;
    let blocks = GainBlocks::new(&layout.subcarriers, &layout.valid, 1);

    let all = stages(&[
        gain.clone(),
        cut.clone(),
        json!({"type": "speed", "carrier_mhz": 2437}),
    ]);
    let table = either_way(&all, &frames, &ends);
    let (speeds, reasons) = (doubles(&table, "speed_m_s"), texts(&table, "speed_reason"));
    let mut meter = SpeedMeter::default();
    let windows = of_windows(&table, &frames, &plain);
    assert!(windows.len() > 20, "{}", windows.len());
    for (place, (times_us, values, width)) in windows.iter().enumerate() {
        let series = Series {
            times_us,
            rows: values,
            width: *width,
        };
        let direct = meter.measure(series, 299.792_458 / 2437.0);
        assert_eq!(
            speeds[place],
            direct.ok().map(|speed| speed.metres_per_second)
        );
        assert_eq!(reasons[place].is_some(), direct.is_err());
    }
    let missing = stages(&[gain.clone(), cut.clone(), json!({"type": "speed"})]);
    let known = frames[0].frequency_mhz.is_some();
    let missing = texts(&whole(&missing, &frames), "speed_reason");
    assert!(
        known
            || missing
                .iter()
                .all(|reason| reason.as_deref() == Some("no_carrier"))
    );

    for together in [false, true] {
        let select = json!({"type": "select", "count": 6, "combine": together});
        let speed = json!({"type": "speed", "carrier_mhz": 2437});
        let table = either_way(
            &stages(&[gain.clone(), cut.clone(), select, speed]),
            &frames,
            &ends,
        );
        let list = |name: &str| match table.column(name) {
            Some(Values::Lists(values)) => values.clone(),
            other => panic!("{name}: {other:?}"),
        };
        let (subcarriers, weights) = (list("selected_subcarriers"), list("weights"));
        let periods = doubles(&table, "period_us");
        let speeds = doubles(&table, "speed_m_s");
        let mut selector = Selector::default();
        let mut chosen = 0;
        for (place, (times_us, values, width)) in windows.iter().enumerate() {
            let series = Series {
                times_us,
                rows: values,
                width: *width,
            };
            selector.weigh(series, 2.5 * periods[place].unwrap());
            let mut best = selector.best(6).to_vec();
            best.sort_unstable();
            let found: Vec<f32> = best
                .iter()
                .map(|column| f32::from(layout.subcarriers[blocks.places()[*column]]))
                .collect();
            assert_eq!(subcarriers[place], found);
            let sum: f32 = best.iter().map(|column| selector.weights()[*column]).sum();
            let expected: Vec<f32> = best.iter().map(|c| selector.weights()[*c] / sum).collect();
            same(&weights[place], &expected);
            chosen += best.len();
            let reduced = values.chunks(*width).flat_map(|row| {
                let of: Vec<f32> = best.iter().map(|column| row[*column]).collect();
                if together {
                    vec![combine(&of, &expected)]
                } else {
                    of
                }
            });
            let reduced: Vec<f32> = reduced.collect();
            let width = if together { 1 } else { best.len() };
            let direct = (!best.is_empty()).then(|| {
                let series = Series {
                    times_us,
                    rows: &reduced,
                    width,
                };
                meter.measure(series, 299.792_458 / 2437.0)
            });
            let direct = direct
                .and_then(Result::ok)
                .map(|speed| speed.metres_per_second);
            assert_eq!(speeds[place], direct);
        }
        assert!(chosen > 50, "{chosen}");
    }
}

#[test]
fn a_level_that_changes_is_told_with_its_direction_and_beginning() {
    let mut frames = room(60.0, 8, still);
    for frame in &mut frames[3000..] {
        frame.samples.iter_mut().for_each(|sample| *sample *= 0.5);
    }
    let watch = json!({"type": "change_points", "time_constant_s": 20});
    let list = [
        json!({"type": "gain"}),
        json!({"type": "window", "window_s": 0.5, "hop_s": 0.5}),
        watch,
    ];
    let table = either_way(&stages(&list), &frames, &[10, 2_999, 3_000, 3_020]);
    let (values, levels) = (floats(&table, "level_value"), floats(&table, "level"));
    let (changes, since) = (texts(&table, "change"), integers(&table, "change_windows"));
    let (mut cusum, mut drift) = (Cusum::new(0.5, 8.0), Drift::new(20.0, 0.1));
    let mut told = Vec::new();
    let amplitudes = floats(&table, "amplitude_mean");
    for place in 0..table.rows() {
        let value = 20.0 * amplitudes[place].unwrap().log10();
        assert_eq!(values[place], Some(value));
        let change = drift.z(value).and_then(|z| cusum.push(z));
        if change.is_some() {
            drift = Drift::new(20.0, 0.1);
        }
        drift.push(value, if place == 0 { 0.0 } else { 0.5 });
        assert_eq!(levels[place], drift.level());
        let word = change.map(|(change, _)| if change == Change::Up { "up" } else { "down" });
        assert_eq!(changes[place].as_deref(), word);
        assert_eq!(since[place], change.map(|(_, windows)| i64::from(windows)));
        told.extend(change.map(|change| (place, change)));
    }
    // Half the amplitude, in the 61st window of half a second.
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].0, told[0].1.0), (60, Change::Down));
    assert!((levels[59].unwrap() - levels[100].unwrap() - 6.02).abs() < 0.1);
}

#[test]
fn the_level_of_a_real_quiet_link_does_not_change_and_its_statistic_does_where_somebody_walks() {
    let recording = recordings::require_or_skip!("espectre-test-c3-20260329-130804");
    let frames = source::recorded(&recording);
    let watched = |of: &str| {
        let list = [
            json!({"type": "validate"}),
            json!({"type": "gain"}),
            json!({"type": "window", "window_s": 2, "hop_s": 2}),
            json!({"type": "motion"}),
            json!({"type": "change_points", "of": of, "floor": 0.05, "limit": 20}),
        ];
        whole(&stages(&list), &frames)
    };
    let table = watched("statistic");
    let (changes, statistics) = (texts(&table, "change"), doubles(&table, "statistic"));
    let half = changes.len() / 2;
    let ups = |changes: &[Option<String>]| {
        changes
            .iter()
            .filter(|change| change.as_deref() == Some("up"))
            .count()
    };
    assert_eq!(ups(&changes[..half - 2]), 0, "{statistics:?}");
    assert!(ups(&changes[half - 2..]) >= 1, "{statistics:?}");
}
