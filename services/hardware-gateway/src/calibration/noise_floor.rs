//! What can be measured of a receiver's noise, of one link.
//!
//! The noise floor that the hardware reports, as it is; and the spread of gain-normalised amplitude between neighbouring
//! frames, which holds the receiver's noise and whatever else changes from one frame to the next.

use dsp::gain::GainBlocks;
use dsp::robust::{median_and_spread, quantile};
use proto::gateway::v1 as pb;

use super::collect::LinkFrames;
use super::{Measured, Refusal};

const LEAST_FRAMES: usize = 100;

/// Measures one link.
///
/// # Errors
/// With fewer than 100 frames, or where nothing changes at all.
#[allow(clippy::cast_precision_loss)]
pub fn measure(link: &LinkFrames) -> Result<Measured, Refusal> {
    let antennas = usize::from(link.antennas);
    let blocks = GainBlocks::new(&link.layout.subcarriers, &link.layout.valid, antennas);
    let width = blocks.width();
    let (mut row, mut amplitudes, mut guards) = (Vec::new(), Vec::new(), Vec::new());
    for samples in link.frames() {
        if blocks.normalise(samples, &mut row).is_err() {
            continue;
        }
        amplitudes.extend(row.iter().map(|power| f64::from(*power).sqrt()));
        guards.extend(guard_db(link, samples));
    }
    let frames = amplitudes.len() / width.max(1);
    if frames < LEAST_FRAMES {
        return Err(Refusal::new(
            "too_few_frames",
            format!("{frames} frames with a channel; {LEAST_FRAMES} are needed"),
        ));
    }
    let mut relative = Vec::with_capacity(width);
    for k in 0..width {
        let column: Vec<f64> = amplitudes.iter().skip(k).step_by(width).copied().collect();
        let mut steps: Vec<f64> = column
            .windows(2)
            .map(|p| {
                p.iter()
                    .rev()
                    .copied()
                    .reduce(|a, b| a - b)
                    .unwrap_or_default()
            })
            .collect();
        let level = quantile(&mut column.clone(), 0.5).unwrap_or_default();
        let (_, spread) = median_and_spread(&mut steps).unwrap_or_default();
        if level > 0.0 {
            relative.push(spread / std::f64::consts::SQRT_2 / level);
        }
    }
    let relative_noise = quantile(&mut relative, 0.5).unwrap_or_default();
    if relative_noise <= 0.0 {
        return Err(Refusal::new(
            "identical_frames",
            "the frames do not change at all: a source that repeats itself, no receiver",
        ));
    }
    let reported = median_and_spread(&mut link.noise_dbm.clone());
    Ok(Measured {
        result: pb::link_calibration::Result::NoiseFloor(pb::NoiseFloor {
            reported_dbm: reported.map(|(median, _)| median),
            reported_spread_db: reported.map(|(_, spread)| spread),
            relative_noise,
            amplitude_to_noise_db: -20.0 * relative_noise.log10(),
            guard_db: quantile(&mut guards, 0.5),
        }),
        quality_before: None,
        quality_after: None,
    })
}

/// Mean power of the guard band to that of the measured samples, dB; absent where it is zero. DC is left out.
#[allow(clippy::cast_precision_loss)]
fn guard_db(link: &LinkFrames, samples: &[num_complex::Complex32]) -> Option<f64> {
    let layout = &link.layout;
    let (mut guard, mut guards, mut valid, mut valids) = (0.0, 0_u32, 0.0, 0_u32);
    let places = layout.subcarriers.iter().zip(layout.valid.iter()).cycle();
    for (sample, (index, is_valid)) in samples.iter().zip(places) {
        let power = f64::from(sample.norm_sqr());
        if *is_valid {
            (valid, valids) = (valid + power, valids + 1);
        } else if *index != 0 {
            (guard, guards) = (guard + power, guards + 1);
        }
    }
    let ratio = (guard / f64::from(guards)) / (valid / f64::from(valids));
    (ratio.is_finite() && ratio > 0.0).then(|| 10.0 * ratio.log10())
}
