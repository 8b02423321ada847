//! A link keeps its rows in 16 bits a value: that changes no decision, and no figure by more than noise hides many times over.

use csi::{Frame, SampleFormat};
use dsp::autocorrelation::Series;
use dsp::gain::GainBlocks;
use dsp::motion::{Motion, MotionMeter};
use proto::signal::v1::SignalWindow;

use crate::source::{self, body, room, still};

/// What the window says of rows that were not rounded.
fn unrounded(frames: &[Frame], window: &SignalWindow) -> Motion {
    let within = window.window_start_us..window.window_end_us;
    let first = &frames[0];
    let blocks = GainBlocks::new(
        &first.layout.subcarriers,
        &first.layout.valid,
        first.antennas.into(),
    );
    let (mut times_us, mut rows, mut row) = (Vec::new(), Vec::new(), Vec::new());
    let mut rounding = 0.0;
    for frame in frames
        .iter()
        .filter(|f| within.contains(&f.receive_time_us))
    {
        let gain = blocks.normalise(&frame.samples, &mut row).unwrap();
        rounding += f64::from(gain.inverse_power) / 3.0;
        times_us.push(frame.receive_time_us);
        rows.extend_from_slice(&row);
    }
    let series = Series {
        times_us: &times_us,
        rows: &rows,
        width: blocks.width(),
    };
    let rounding = rounding / times_us.len() as f64;
    MotionMeter::default().measure(series, rounding).unwrap()
}

/// The largest change of the statistic, of frames whose samples are multiplied by `scale` and rounded again.
fn change(mut frames: Vec<Frame>, scale: f32, format: SampleFormat) -> f64 {
    for frame in &mut frames {
        frame.format = format;
        for sample in &mut frame.samples {
            (sample.re, sample.im) = ((scale * sample.re).round(), (scale * sample.im).round());
        }
    }
    let windows = source::windows(&source::run(&source::inputs(frames.clone())));
    assert!(windows.len() > 5, "{}", windows.len());
    let changes = windows.iter().map(|window| {
        let statistic = unrounded(&frames, window).statistic;
        (f64::from(window.window_score.unwrap()) - statistic).abs()
    });
    changes.fold(0.0, f64::max)
}

#[test]
fn samples_of_8_bits_lose_nothing() {
    for shape in [body as fn(f64, usize) -> f64, still] {
        let changed = change(room(6.0, 3, shape), 1.0, SampleFormat::Ci8);
        assert!(changed <= f64::from(f32::EPSILON), "{changed}");
    }
}

#[test]
fn samples_of_16_bits_change_the_statistic_by_less_than_a_thousandth() {
    for (shape, seed) in [(body as fn(f64, usize) -> f64, 4), (still, 5)] {
        let changed = change(room(6.0, seed, shape), 37.3, SampleFormat::Ci16);
        println!("{changed}");
        assert!(changed < 1e-3, "{changed}");
    }
}
