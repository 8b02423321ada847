//! Butterworth filters as cascades of second-order sections, over many streams at once.
//!
//! S. Butterworth, "On the theory of filter amplifiers", Wireless Engineer 7 (1930); from the analogue prototype to sections
//! by the bilinear transform with prewarped edges, as in A. V. Oppenheim, R. W. Schafer, "Discrete-Time Signal Processing",
//! chapter 7. The transfer function is that of `scipy.signal.butter(order, edges, output="sos")`; zeros are paired otherwise
//! (each section of a band-pass has one at 0 Hz and one at half the rate), which only rounding can tell.

use std::f64::consts::PI;

use num_complex::Complex64;

/// Largest order of the prototype.
pub const HIGHEST_ORDER: usize = 12;
/// Breathing, Hz (order 4): 6 to 36 breaths a minute.
pub const BREATHING_HZ: (f64, f64) = (0.1, 0.6);
/// Movement of a body, Hz (order 4), as in CARM.
pub const MOTION_HZ: (f64, f64) = (2.0, 80.0);
/// Share of half the rate up to which an edge makes sense.
const HIGHEST_EDGE: f64 = 0.95;

/// What passes. Edges in Hz, where the gain is -3 dB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Band {
    /// Everything below.
    Low(f64),
    /// Everything above.
    High(f64),
    /// What lies between. The order counts for each edge: there are twice as many poles.
    Pass(f64, f64),
}

/// Why there is no such filter.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum DesignError {
    /// The order is 0 or above [`HIGHEST_ORDER`].
    #[error("order {0}; 1 to {HIGHEST_ORDER} are possible")]
    Order(usize),
    /// An edge is not between 0 and half the rate, or the edges are not ascending.
    #[error("{band:?} in Hz is not possible at {rate_hz} samples a second")]
    Edges {
        /// The band asked for.
        band: Band,
        /// Samples a second.
        rate_hz: f64,
    },
}

/// One section: `H(z) = (b0 + b1 z^-1 + b2 z^-2) / (1 + a1 z^-1 + a2 z^-2)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Section {
    /// Numerator.
    pub b: [f64; 3],
    /// Denominator without its leading 1.
    pub a: [f64; 2],
}

/// Designs a filter of `order` for `rate_hz` samples a second.
///
/// # Errors
/// Where the order or an edge is not possible.
pub fn design(order: usize, band: Band, rate_hz: f64) -> Result<Vec<Section>, DesignError> {
    if !(1..=HIGHEST_ORDER).contains(&order) {
        return Err(DesignError::Order(order));
    }
    let possible = |edge: f64| edge > 0.0 && edge < 0.5 * rate_hz;
    let fits = match band {
        Band::Low(edge) | Band::High(edge) => possible(edge),
        Band::Pass(low, high) => possible(low) && possible(high) && low < high,
    };
    if !fits || !rate_hz.is_finite() {
        return Err(DesignError::Edges { band, rate_hz });
    }
    // Analogue frequencies in units of twice the rate, so that z = (1 + s) / (1 - s).
    let warped = |edge: f64| (PI * edge / rate_hz).tan();
    let mut sections = Vec::with_capacity(order);
    // Poles of the prototype in the upper half plane; an odd order has one on the real axis as well.
    for k in 0..order.div_ceil(2) {
        let angle = PI * (2 * k + 1 + order) as f64 / (2 * order) as f64;
        let real = 2 * k + 1 == order;
        let pole = if real {
            Complex64::new(-1.0, 0.0)
        } else {
            Complex64::from_polar(1.0, angle)
        };
        match band {
            Band::Low(edge) => {
                let pole = digital(pole * warped(edge));
                sections.push(section(pole, (!real).then(|| pole.conj()), -1.0, 0.0));
            }
            Band::High(edge) => {
                let pole = digital(warped(edge) / pole);
                sections.push(section(pole, (!real).then(|| pole.conj()), 1.0, PI));
            }
            Band::Pass(low, high) => {
                let (low, high) = (warped(low), warped(high));
                let half = pole * (0.5 * (high - low));
                let root = (half * half - low * high).sqrt();
                let centre = 2.0 * (low * high).sqrt().atan();
                let (one, other) = (digital(half + root), digital(half - root));
                if real {
                    sections.push(resonator(one, other, centre));
                } else {
                    sections.push(resonator(one, one.conj(), centre));
                    sections.push(resonator(other, other.conj(), centre));
                }
            }
        }
    }
    Ok(sections)
}

/// The band of breathing at this rate, order 4.
///
/// # Errors
/// Where the rate is too low.
pub fn breathing(rate_hz: f64) -> Result<Vec<Section>, DesignError> {
    design(4, Band::Pass(BREATHING_HZ.0, BREATHING_HZ.1), rate_hz)
}

/// The band of a moving body at this rate, order 4; without the upper edge where the rate cannot show it.
///
/// # Errors
/// Where the rate is too low.
pub fn motion(rate_hz: f64) -> Result<Vec<Section>, DesignError> {
    let band = if MOTION_HZ.1 < HIGHEST_EDGE * 0.5 * rate_hz {
        Band::Pass(MOTION_HZ.0, MOTION_HZ.1)
    } else {
        Band::High(MOTION_HZ.0)
    };
    design(4, band, rate_hz)
}

/// The squared gain of a cascade at `frequency_hz`.
#[must_use]
pub fn power_gain(sections: &[Section], frequency_hz: f64, rate_hz: f64) -> f64 {
    let angle = 2.0 * PI * frequency_hz / rate_hz;
    sections
        .iter()
        .map(|s| s.response(angle).norm_sqr())
        .product()
}

fn digital(pole: Complex64) -> Complex64 {
    (1.0 + pole) / (1.0 - pole)
}

/// A section with its zeros at `zero`, and gain 1 at the angle `at`.
fn section(one: Complex64, other: Option<Complex64>, zero: f64, at: f64) -> Section {
    let (b, a) = match other {
        Some(other) => (
            [1.0, -2.0 * zero, 1.0],
            [-(one + other).re, (one * other).re],
        ),
        None => ([1.0, -zero, 0.0], [-one.re, 0.0]),
    };
    Section { b, a }.scaled(at)
}

fn resonator(one: Complex64, other: Complex64, centre: f64) -> Section {
    let section = Section {
        b: [1.0, 0.0, -1.0],
        a: [-(one + other).re, (one * other).re],
    };
    section.scaled(centre)
}

impl Section {
    fn response(&self, angle: f64) -> Complex64 {
        let delay = Complex64::from_polar(1.0, -angle);
        let ([b0, b1, b2], [a1, a2]) = (self.b, self.a);
        (b0 + delay * (b1 + delay * b2)) / (1.0 + delay * (a1 + delay * a2))
    }

    fn scaled(mut self, angle: f64) -> Self {
        let gain = self.response(angle).norm();
        self.b.iter_mut().for_each(|b| *b /= gain);
        self
    }
}

/// A cascade running over `width` streams at once: one row of values in, one row out. Nothing is allocated after `new`.
#[derive(Clone, Debug)]
pub struct Filter {
    sections: Vec<Section>,
    /// For each section the two delayed values (direct form II transposed) of each stream.
    first: Vec<f64>,
    second: Vec<f64>,
    width: usize,
}

impl Filter {
    /// All streams at rest at 0.
    #[must_use]
    pub fn new(sections: Vec<Section>, width: usize) -> Self {
        let states = sections.len() * width;
        Self {
            sections,
            first: vec![0.0; states],
            second: vec![0.0; states],
            width,
        }
    }

    /// Puts each stream where it would be had it been `row` for ever (`scipy.signal.sosfilt_zi`): no transient from 0. Values
    /// past the width are not looked at, missing ones count as 0.
    pub fn settle(&mut self, row: &[f32]) {
        let states = self.first.chunks_exact_mut(self.width.max(1));
        let states = states.zip(self.second.chunks_exact_mut(self.width.max(1)));
        let mut gain = 1.0;
        for (section, (first, second)) in self.sections.iter().zip(states) {
            let ([b0, b1, b2], [a1, a2]) = (section.b, section.a);
            let through = (b0 + b1 + b2) / (1.0 + a1 + a2);
            let values = row.iter().copied().chain(std::iter::repeat(0.0));
            for ((first, second), value) in first.iter_mut().zip(second).zip(values) {
                let (x, y) = (gain * f64::from(value), gain * through * f64::from(value));
                *second = b2 * x - a2 * y;
                *first = b1 * x - a1 * y + *second;
            }
            gain *= through;
        }
    }

    /// Filters the next value of each stream in place. Values past the width are left as they are.
    pub fn push(&mut self, row: &mut [f32]) {
        let states = self.first.chunks_exact_mut(self.width.max(1));
        let states = states.zip(self.second.chunks_exact_mut(self.width.max(1)));
        for (section, (first, second)) in self.sections.iter().zip(states) {
            let ([b0, b1, b2], [a1, a2]) = (section.b, section.a);
            for ((value, first), second) in row.iter_mut().zip(first).zip(second) {
                let x = f64::from(*value);
                let y = b0 * x + *first;
                *first = b1 * x - a1 * y + *second;
                *second = b2 * x - a2 * y;
                *value = y as f32;
            }
        }
    }

    /// The delayed values of each section and stream, to be kept; see [`resume`](Self::resume).
    #[must_use]
    pub fn state(&self) -> (&[f64], &[f64]) {
        (&self.first, &self.second)
    }

    /// Takes up what [`state`](Self::state) of a filter with the same sections and width gave; values of another number are
    /// not taken.
    pub fn resume(&mut self, first: &[f64], second: &[f64]) {
        if first.len() == self.first.len() && second.len() == self.second.len() {
            self.first.copy_from_slice(first);
            self.second.copy_from_slice(second);
        }
    }

    /// Streams of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_are_where_half_the_power_passes() {
        for order in 1..=HIGHEST_ORDER {
            for (band, inside, edges) in [
                (Band::Low(3.0), 0.1, vec![3.0]),
                (Band::High(3.0), 30.0, vec![3.0]),
                (Band::Pass(3.0, 12.0), 6.5, vec![3.0, 12.0]),
            ] {
                let sections = design(order, band, 100.0).unwrap();
                assert!(
                    power_gain(&sections, inside, 100.0) > 0.85,
                    "{order} {band:?}"
                );
                for edge in edges {
                    let gain = power_gain(&sections, edge, 100.0);
                    assert!((gain - 0.5).abs() < 1e-6, "{order} {band:?}: {gain}");
                }
            }
        }
    }

    #[test]
    fn the_impossible_is_refused() {
        assert_eq!(design(0, Band::Low(1.0), 10.0), Err(DesignError::Order(0)));
        assert_eq!(
            design(99, Band::Low(1.0), 10.0),
            Err(DesignError::Order(99))
        );
        for band in [
            Band::Low(5.0),
            Band::High(0.0),
            Band::Pass(3.0, 2.0),
            Band::Low(f64::NAN),
        ] {
            assert!(
                matches!(design(2, band, 10.0), Err(DesignError::Edges { .. })),
                "{band:?}"
            );
        }
        assert!(breathing(1.0).is_err());
        assert!(breathing(10.0).is_ok());
    }

    #[test]
    fn the_motion_band_drops_an_edge_that_the_rate_cannot_show() {
        let fast = motion(1000.0).unwrap();
        assert!(power_gain(&fast, 200.0, 1000.0) < 0.01);
        let slow = motion(100.0).unwrap();
        assert!(power_gain(&slow, 45.0, 100.0) > 0.99);
        assert!(power_gain(&slow, 0.5, 100.0) < 0.01);
    }

    #[test]
    fn silence_gives_silence_and_a_settled_constant_has_no_transient() {
        let mut filter = Filter::new(breathing(20.0).unwrap(), 3);
        for _ in 0..50 {
            let mut row = [0.0_f32; 3];
            filter.push(&mut row);
            assert_eq!(row, [0.0; 3]);
        }
        filter.settle(&[1.0, -20.0, 300.0]);
        for _ in 0..500 {
            let mut row = [1.0_f32, -20.0, 300.0];
            filter.push(&mut row);
            assert!(row.iter().all(|y| y.abs() < 1e-6), "{row:?}");
        }
    }

    proptest! {
        #[test]
        fn is_linear_and_streams_do_not_mix(scale in 0.01_f32..100.0, values in prop::collection::vec(-1.0_f32..1.0, 60)) {
            let mut filter = Filter::new(design(3, Band::Low(2.0), 20.0).unwrap(), 3);
            for value in &values {
                let mut row = [*value, value * scale, 0.0];
                filter.push(&mut row);
                prop_assert!((row[1] - row[0] * scale).abs() <= 1e-4 * scale);
                prop_assert_eq!(row[2], 0.0);
            }
        }
    }
}
