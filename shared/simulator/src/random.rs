//! Random numbers: ChaCha, one stream for each purpose, so that one more draw in one place changes nothing elsewhere.

use num_complex::Complex64;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A seeded stream of draws.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// Uniform over 0..1.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0.random::<f64>()
    }

    /// True with the given probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Circular complex normal of unit power (each part has variance 1/2): Box-Muller gives both parts at once.
    pub(crate) fn complex_normal(&mut self) -> Complex64 {
        let radius = (-(1.0 - self.uniform()).ln()).sqrt();
        Complex64::from_polar(radius, std::f64::consts::TAU * self.uniform())
    }

    /// Normal of variance 1.
    pub(crate) fn normal(&mut self) -> f64 {
        self.complex_normal().re * std::f64::consts::SQRT_2
    }
}
