//! The periodogram of several streams of one length, summed.

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

use crate::lanes;

/// `sum over streams of abs(F(bin))^2`, of streams zero-padded to at least twice their length. Plans and memory are kept from
/// one time to the next.
#[derive(Default)]
pub(crate) struct Periodogram {
    planner: Option<RealFftPlanner<f32>>,
    plan: Option<Arc<dyn RealToComplex<f32>>>,
    input: Vec<f32>,
    output: Vec<Complex32>,
    scratch: Vec<Complex32>,
    power: Vec<f64>,
    energy: f64,
}

impl std::fmt::Debug for Periodogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Periodogram")
            .field("bins", &self.power.len())
            .finish_non_exhaustive()
    }
}

impl Periodogram {
    /// Begins anew, for streams of `ticks` values. Gives the length that they are padded to.
    pub fn begin(&mut self, ticks: usize) -> usize {
        let length = (2 * ticks).next_power_of_two();
        let planner = self.planner.get_or_insert_with(RealFftPlanner::new);
        let plan = match self.plan.take() {
            Some(plan) if plan.len() == length => plan,
            _ => planner.plan_fft_forward(length),
        };
        self.output.resize(plan.complex_len(), Complex32::default());
        self.scratch
            .resize(plan.get_scratch_len(), Complex32::default());
        self.power.clear();
        self.power.resize(plan.complex_len(), 0.0);
        self.energy = 0.0;
        self.plan = Some(plan);
        length
    }

    /// Adds a stream, whose mean is taken off already.
    pub fn add(&mut self, centred: impl Iterator<Item = f32>) {
        let Some(plan) = &self.plan else { return };
        self.input.clear();
        self.input.extend(centred.take(plan.len()));
        let energy = lanes::sum(&self.input, |v: f32| f64::from(v) * f64::from(v));
        self.input.resize(plan.len(), 0.0);
        // Buffers of the plan's own lengths cannot be refused.
        let done = plan.process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch);
        if done.is_ok() {
            self.energy += energy;
            for (sum, bin) in self.power.iter_mut().zip(&self.output) {
                *sum += f64::from(bin.norm_sqr());
            }
        }
    }

    /// The sum of the streams' squared Fourier coefficients, by bin.
    pub fn power(&self) -> &[f64] {
        &self.power
    }

    /// The sum of the streams' squares.
    pub fn energy(&self) -> f64 {
        self.energy
    }

    /// As if no stream had been added.
    pub fn clear(&mut self) {
        self.power.clear();
        self.energy = 0.0;
    }
}
