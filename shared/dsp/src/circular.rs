//! Statistics of angles.
//!
//! K. V. Mardia and P. E. Jupp, "Directional Statistics" (2000), chapter 2.

/// The sum of unit vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Circular {
    cosines: f64,
    sines: f64,
    count: usize,
}

impl Circular {
    /// Adds an angle, radians.
    pub fn add(&mut self, angle: f64) {
        let (sine, cosine) = angle.sin_cos();
        self.cosines += cosine;
        self.sines += sine;
        self.count += 1;
    }

    /// Angles added.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The mean direction, radians within -pi to pi; absent without angles.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sines.atan2(self.cosines))
    }

    /// Length of the mean vector: 1 where all angles are one, near 0 where they are spread around.
    #[must_use]
    pub fn concentration(&self) -> f64 {
        self.cosines.hypot(self.sines) / self.count.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_crosses_the_seam() {
        let mut angles = Circular::default();
        assert_eq!(angles.mean(), None);
        angles.add(3.1);
        angles.add(-3.1);
        assert!((angles.mean().unwrap().abs() - std::f64::consts::PI).abs() < 1e-12);
        assert!(angles.concentration() > 0.99);
        angles.add(3.1 - std::f64::consts::PI);
        angles.add(-3.1 + std::f64::consts::PI);
        assert!(angles.concentration() < 1e-12);
    }
}
