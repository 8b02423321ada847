//! Phase between the receive antennas of one link, from a static channel: offsets that the receiver chains add, and what is
//! left per subcarrier. The antennas must share a clock; that they do shows in the steadiness of their phase difference.

use csi::SampleFormat;
use dsp::circular::Circular;
use dsp::robust::quantile;
use num_complex::Complex32;
use proto::gateway::v1 as pb;

use super::collect::LinkFrames;
use super::empty_room::wrapped;
use super::{Measured, Refusal};

const LEAST_FRAMES: usize = 50;
/// Concentration over time below which the antennas share no clock, or the channel is not static.
const STEADY: f64 = 0.9;
const LEARNT: f64 = 0.7;

/// Measures one link.
///
/// # Errors
/// With one antenna, without phase, with too few frames, or where the phase between antennas is not steady.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
pub fn measure(link: &LinkFrames) -> Result<Measured, Refusal> {
    if link.antennas < 2 {
        return Err(Refusal::new(
            "one_antenna",
            "the device gives one antenna; a phase between antennas needs two on one clock",
        ));
    }
    if link.format == SampleFormat::Af32 {
        return Err(Refusal::new(
            "no_phase",
            "the device gives amplitudes without phase",
        ));
    }
    let frames: Vec<&[Complex32]> = link.frames().collect();
    if frames.len() < LEAST_FRAMES {
        return Err(Refusal::new(
            "too_few_frames",
            format!("{} frames; {LEAST_FRAMES} are needed", frames.len()),
        ));
    }
    let split = (LEARNT * frames.len() as f64) as usize;
    let (learnt, held_out) = frames.split_at_checked(split).unwrap_or_default();
    let each = link.layout.len();
    let places: Vec<usize> = link.layout.measured().map(|(place, _)| place).collect();
    let turn = |samples: &[Complex32], antenna: usize, place: usize| {
        let (first, other) = (samples.get(place)?, samples.get(antenna * each + place)?);
        let product = other * first.conj();
        (product.norm_sqr() > 0.0).then(|| f64::from(product.arg()))
    };
    let (mut offsets, mut corrections) = (vec![0.0], vec![0.0; places.len()]);
    let mut steadiness = 1.0_f64;
    let (mut before, mut after, mut count) = (0.0, 0.0, 0_u32);
    for antenna in 1..usize::from(link.antennas) {
        let mut means = Vec::with_capacity(places.len());
        let mut concentrations = Vec::with_capacity(places.len());
        for place in &places {
            let mut circle = Circular::default();
            learnt
                .iter()
                .filter_map(|samples| turn(samples, antenna, *place))
                .for_each(|angle| circle.add(angle));
            means.push(circle.mean().unwrap_or_default());
            concentrations.push(circle.concentration());
        }
        steadiness = steadiness.min(quantile(&mut concentrations, 0.5).unwrap_or_default());
        let mut over_band = Circular::default();
        means.iter().for_each(|mean| over_band.add(*mean));
        let offset = over_band.mean().unwrap_or_default();
        for (place, mean) in places.iter().zip(&means) {
            for angle in held_out.iter().filter_map(|s| turn(s, antenna, *place)) {
                before += angle.cos();
                after += (angle - mean).cos();
                count += 1;
            }
        }
        offsets.push(offset);
        corrections.extend(means.iter().map(|mean| wrapped(mean - offset)));
    }
    if steadiness < STEADY {
        return Err(Refusal::new(
            "not_steady",
            format!(
                "the phase between antennas is not steady (concentration {steadiness:.2}, {STEADY} is needed): they share no clock, or something moves"
            ),
        ));
    }
    let share = |sum: f64| (count > 0).then(|| (sum / f64::from(count)).clamp(0.0, 1.0));
    Ok(Measured {
        result: pb::link_calibration::Result::AntennaPhase(pb::AntennaPhase {
            offsets,
            corrections,
            steadiness,
        }),
        quality_before: share(before),
        quality_after: share(after),
    })
}
