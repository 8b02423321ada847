//! Phase: what the receiver did to it is taken out, within one antenna or between two that share a clock.
//!
//! The phase that a receiver reports is that of the channel plus `offset + slope * k` over the subcarrier index `k`: the
//! offset is what is left of the carrier, the slope is the time between the packet and its detection. Both are new in every
//! frame. [`Sanitizer`] takes off the least-squares line over one antenna (K. Qian, C. Wu, Z. Yang, Y. Liu, Z. Zhou, "PADS:
//! Passive Detection of Moving Targets with Dynamic Speed using PHY Layer Information", IEEE ICPADS 2014), or one slope that
//! the antennas share and one offset (M. Kotaru, K. Joshi, D. Bharadia, S. Katti, "`SpotFi`: Decimeter Level Localization
//! Using WiFi", ACM SIGCOMM 2015, algorithm 1; each antenna has an offset of its own in the fit here). A true delay common to
//! all paths goes with the line.
//!
//! Where two antennas hang on one clock, line and gain are the same in both and [`ratio`] divides them out (Y. Zeng, D. Wu,
//! J. Xiong, E. Yi, R. Gao, D. Zhang, "`FarSense`: Pushing the Range Limit of WiFi-based Respiration Sensing with CSI Ratio of
//! Two Antennas", Proc. ACM IMWUT 3 (2019)); [`conjugate_product`] takes out the line and has no pole (X. Li et al.,
//! "`IndoTrack`", Proc. ACM IMWUT 1 (2017); K. Qian et al., "Widar2.0", ACM `MobiSys` 2018). Antennas of separate devices
//! share no clock: neither means anything there.

use std::f64::consts::{PI, TAU};

use num_complex::{Complex32, Complex64};

/// Power below which, as a share of the mean, a subcarrier stands in a null: its phase is noise.
pub const NULL: f32 = 0.01;
/// Samples off a null that a line needs: two would fit without a rest.
pub const LEAST_SAMPLES: usize = 3;

/// Why a frame has no phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhaseError {
    /// The frame has another number of samples than the layout, or two antennas differ in it.
    #[error("{found} samples; {expected} are expected")]
    Dimensions {
        /// Samples of the layout, or of the first antenna.
        expected: usize,
        /// Samples found.
        found: usize,
    },
    /// A sample is infinite or not a number.
    #[error("a sample is not finite")]
    NotFinite,
    /// No antenna has [`LEAST_SAMPLES`] samples with power.
    #[error("no antenna has {LEAST_SAMPLES} samples with power")]
    NoEnergy,
}

/// Which line is taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Each antenna's own: slope and offset.
    Each,
    /// One slope for all antennas, and the offset of the first: what antennas differ by stays, within -pi to pi.
    SharedSlope,
}

/// Phase of one frame, in the order of [`Sanitizer::places`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phases {
    /// What is left of the phase, radians; 0 where it is not known.
    pub radians: Vec<f32>,
    /// Whether it is known: not in a null, and in an antenna with a line.
    pub known: Vec<bool>,
    fits: Vec<Fit>,
}

/// Sums of one antenna's line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Fit {
    count: f64,
    index: f64,
    phase: f64,
    /// Sums of squares and of products about the means.
    squares: f64,
    products: f64,
}

/// Takes the receiver's line off the phase of frames of one layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Sanitizer {
    samples: usize,
    /// Places of the valid samples, field by field, ascending in subcarrier index within a field.
    places: Vec<usize>,
    /// Subcarrier index of each.
    index: Vec<f64>,
    /// End of each field (an antenna, and within it a training field) in `places`.
    ends: Vec<usize>,
    /// Smallest distance of neighbours in subcarrier indices.
    step: f64,
}

impl Sanitizer {
    /// For frames with `antennas` times `subcarriers` samples, antenna-major. `subcarriers` (0 is DC, in any order) and
    /// `valid` describe one antenna; an index that repeats begins another training field, which has a line of its own.
    #[must_use]
    pub fn new(subcarriers: &[i16], valid: &[bool], antennas: usize) -> Self {
        let (mut places, mut index, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut step = f64::INFINITY;
        for antenna in 0..antennas {
            let mut fields: Vec<Vec<(i16, usize)>> = vec![Vec::new()];
            let mut seen = std::collections::BTreeSet::new();
            for (position, (subcarrier, valid)) in subcarriers.iter().zip(valid).enumerate() {
                if !seen.insert(*subcarrier) {
                    fields.push(Vec::new());
                    seen.clear();
                    seen.insert(*subcarrier);
                }
                if let (true, Some(field)) = (*valid, fields.last_mut()) {
                    field.push((*subcarrier, antenna * subcarriers.len() + position));
                }
            }
            for mut field in fields.into_iter().filter(|field| !field.is_empty()) {
                field.sort_unstable();
                for (one, next) in field.iter().zip(field.iter().skip(1)) {
                    step = step.min(f64::from(next.0) - f64::from(one.0));
                }
                index.extend(field.iter().map(|(subcarrier, _)| f64::from(*subcarrier)));
                places.extend(field.iter().map(|(_, place)| *place));
                ends.push(places.len());
            }
        }
        Self {
            samples: subcarriers.len() * antennas,
            places,
            index,
            ends,
            step,
        }
    }

    /// Places of the samples in a frame, in the order of the result.
    #[must_use]
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// Writes the phase of each valid sample, less the line, into `out` (its memory is used again; unwrapped, radians).
    ///
    /// Neighbours are unwrapped over their true distance in subcarrier indices: the turn from one index to the next is first
    /// estimated as `arg(sum of H[b] conj(H[a])) / step` over neighbours at the smallest distance, taken off in proportion to
    /// the distance, and put on again after unwrapping. Samples below [`NULL`] of the antenna's mean power are left out of
    /// both the unwrapping and the line.
    ///
    /// # Errors
    /// Where the frame has another size, holds a value that is not finite, or no power to speak of.
    pub fn sanitize(
        &self,
        samples: &[Complex32],
        line: Line,
        out: &mut Phases,
    ) -> Result<(), PhaseError> {
        out.radians.clear();
        out.known.clear();
        out.fits.clear();
        if samples.len() != self.samples {
            return Err(PhaseError::Dimensions {
                expected: self.samples,
                found: samples.len(),
            });
        }
        let mut begin = 0;
        for end in &self.ends {
            let (Some(places), Some(index)) =
                (self.places.get(begin..*end), self.index.get(begin..*end))
            else {
                break;
            };
            begin = *end;
            self.unwrap_field(samples, places, index, out)?;
        }
        self.take_off(line, out)
    }

    fn unwrap_field(
        &self,
        samples: &[Complex32],
        places: &[usize],
        index: &[f64],
        out: &mut Phases,
    ) -> Result<(), PhaseError> {
        let field = || places.iter().filter_map(|place| samples.get(*place));
        let mean = field().map(Complex32::norm_sqr).sum::<f32>() / places.len().max(1) as f32;
        if !mean.is_finite() {
            return Err(PhaseError::NotFinite);
        }
        let mut turn = Complex64::default();
        let next = field().zip(index).skip(1);
        for ((one, at), (other, to)) in field().zip(index).zip(next) {
            if to - at <= self.step {
                let product = other * one.conj();
                turn += Complex64::new(product.re.into(), product.im.into());
            }
        }
        let per_index = if self.step.is_finite() {
            turn.arg() / self.step
        } else {
            0.0
        };
        let (mut fit, mut previous) = (Fit::default(), None);
        for (sample, index) in field().zip(index) {
            let power = sample.norm_sqr();
            let known = power > 0.0 && power >= NULL * mean;
            let mut phase = 0.0;
            if known {
                let turned = per_index * index;
                let angle = f64::from(sample.im).atan2(sample.re.into()) - turned;
                let unwrapped = match previous {
                    None => wrap(angle),
                    Some(previous) => previous + wrap(angle - previous),
                };
                previous = Some(unwrapped);
                phase = unwrapped + turned;
                fit.add(*index, phase);
            }
            out.radians.push(phase as f32);
            out.known.push(known);
        }
        out.fits.push(fit);
        Ok(())
    }

    fn take_off(&self, line: Line, out: &mut Phases) -> Result<(), PhaseError> {
        let usable = |fit: &Fit| fit.count >= LEAST_SAMPLES as f64;
        let of = |fit: &Fit| (fit.products, fit.squares);
        let shared = out.fits.iter().filter(|fit| usable(fit)).map(of);
        let shared = shared.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let slope = |(products, squares): (f64, f64)| {
            if squares > 0.0 {
                products / squares
            } else {
                0.0
            }
        };
        let mut first = None;
        let mut begin = 0;
        for (fit, end) in out.fits.iter().zip(&self.ends) {
            let range = begin..*end;
            begin = *end;
            let (Some(radians), Some(known), Some(index)) = (
                out.radians.get_mut(range.clone()),
                out.known.get_mut(range.clone()),
                self.index.get(range),
            ) else {
                break;
            };
            if !usable(fit) {
                radians.fill(0.0);
                known.fill(false);
                continue;
            }
            let slope = match line {
                Line::Each => slope(of(fit)),
                Line::SharedSlope => slope(shared),
            };
            let offset = fit.phase - slope * fit.index;
            let keep = match line {
                Line::Each => 0.0,
                Line::SharedSlope => wrap(offset - *first.get_or_insert(offset)),
            };
            first.get_or_insert(offset);
            for ((radians, index), known) in radians.iter_mut().zip(index).zip(known.iter()) {
                if *known {
                    *radians = (f64::from(*radians) - offset - slope * index + keep) as f32;
                }
            }
        }
        first.map(|_| ()).ok_or(PhaseError::NoEnergy)
    }
}

impl Fit {
    /// Adds a sample (B. P. Welford, "Note on a method for calculating corrected sums of squares and products", 1962).
    fn add(&mut self, index: f64, phase: f64) {
        self.count += 1.0;
        let before = index - self.index;
        self.index += before / self.count;
        self.phase += (phase - self.phase) / self.count;
        self.squares += before * (index - self.index);
        self.products += before * (phase - self.phase);
    }
}

/// The angle within -pi to pi.
pub(crate) fn wrap(angle: f64) -> f64 {
    let wrapped = angle - TAU * (angle / TAU).round();
    if wrapped <= -PI {
        wrapped + TAU
    } else {
        wrapped
    }
}

/// Writes the CSI ratio `H1[k] / H2[k]` of two antennas on one clock into `out` (cleared first, without unit).
///
/// `None` where either is zero, or `H2` stands in a null: its power is below [`NULL`] of its mean, and the quotient would be
/// its noise.
///
/// # Errors
/// Where the antennas differ in length, hold a value that is not finite, or one of them is zero throughout.
pub fn ratio(
    first: &[Complex32],
    second: &[Complex32],
    out: &mut Vec<Option<Complex32>>,
) -> Result<(), PhaseError> {
    out.clear();
    let (_, mean) = mean_powers(first, second)?;
    out.extend(first.iter().zip(second).map(|(one, other)| {
        let power = other.norm_sqr();
        let usable = power >= NULL * mean && one.norm_sqr() > 0.0;
        usable.then(|| one * other.conj() / power)
    }));
    Ok(())
}

/// Writes the conjugate product `H1[k] conj(H2[k])`, divided by the RMS amplitudes of both antennas, into `out` (cleared
/// first, without unit): the phase is that of the ratio, and a null gives a small number, not a large one.
///
/// # Errors
/// Where the antennas differ in length, hold a value that is not finite, or one of them is zero throughout.
pub fn conjugate_product(
    first: &[Complex32],
    second: &[Complex32],
    out: &mut Vec<Complex32>,
) -> Result<(), PhaseError> {
    out.clear();
    let (of_first, of_second) = mean_powers(first, second)?;
    let scale = 1.0 / (of_first.sqrt() * of_second.sqrt());
    let pairs = first.iter().zip(second);
    out.extend(pairs.map(|(one, other)| one * other.conj() * scale));
    Ok(())
}

fn mean_powers(first: &[Complex32], second: &[Complex32]) -> Result<(f32, f32), PhaseError> {
    if first.len() != second.len() {
        return Err(PhaseError::Dimensions {
            expected: first.len(),
            found: second.len(),
        });
    }
    let mean = |samples: &[Complex32]| {
        samples.iter().map(Complex32::norm_sqr).sum::<f32>() / samples.len().max(1) as f32
    };
    let (one, other) = (mean(first), mean(second));
    if !one.is_finite() || !other.is_finite() {
        Err(PhaseError::NotFinite)
    } else if one <= 0.0 || other <= 0.0 {
        Err(PhaseError::NoEnergy)
    } else {
        Ok((one, other))
    }
}

#[cfg(test)]
mod tests;
