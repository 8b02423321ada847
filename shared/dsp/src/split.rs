//! A frame's valid samples as a structure of arrays: what goes over all subcarriers then becomes vector instructions.

use num_complex::Complex32;

/// Real parts, imaginary parts and powers of a frame's valid samples, each in the order of a row
/// ([`GainBlocks::split`](crate::gain::GainBlocks::split)). Keeps its memory from one frame to the next.
#[derive(Clone, Debug, Default)]
pub struct Split {
    re: Vec<f32>,
    im: Vec<f32>,
    power: Vec<f32>,
}

impl Split {
    /// Begins anew.
    pub fn clear(&mut self) {
        self.re.clear();
        self.im.clear();
        self.power.clear();
    }

    /// Appends neighbouring samples.
    pub fn extend(&mut self, samples: &[Complex32]) {
        let begin = self.re.len();
        self.re.extend(samples.iter().map(|sample| sample.re));
        self.im.extend(samples.iter().map(|sample| sample.im));
        let parts = self.re.iter().zip(&self.im).skip(begin);
        self.power.extend(parts.map(|(re, im)| re * re + im * im));
    }

    /// Becomes the product of one antenna's samples and the conjugates of another's, each as real and imaginary parts.
    pub(crate) fn conjugate_product(&mut self, one: (&[f32], &[f32]), other: (&[f32], &[f32])) {
        self.clear();
        let parts = || one.0.iter().zip(one.1).zip(other.0.iter().zip(other.1));
        self.re
            .extend(parts().map(|((a, b), (c, d))| a * c + b * d));
        self.im
            .extend(parts().map(|((a, b), (c, d))| b * c - a * d));
    }

    /// The sum of the squares of all parts.
    pub(crate) fn total_power(&self) -> f32 {
        crate::lanes::sum_pairs(&self.re, &self.im, |re: f32, im: f32| re * re + im * im)
    }

    /// Real parts, in the unit of the samples.
    #[must_use]
    pub fn re(&self) -> &[f32] {
        &self.re
    }

    /// Imaginary parts, in the unit of the samples.
    #[must_use]
    pub fn im(&self) -> &[f32] {
        &self.im
    }

    /// `abs(H)^2`, in the unit of the samples squared.
    #[must_use]
    pub fn power(&self) -> &[f32] {
        &self.power
    }

    /// Samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.power.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.power.is_empty()
    }

    /// How many samples have a part beside zero and both parts within `rail`, the end of the sample format.
    #[must_use]
    pub fn within(&self, rail: f32) -> usize {
        let usable = |re: f32, im: f32| {
            let largest = re.abs().max(im.abs());
            u32::from(largest > 0.0) & u32::from(largest < rail)
        };
        crate::lanes::sum_pairs(&self.re, &self.im, usable) as usize
    }
}
