//! The phase between two antennas against its slow mean.

use num_complex::Complex32;

use crate::split::Split;

/// Values that are gone over together.
const LANES: usize = 8;

/// Two antennas on one clock, with the slow mean of their conjugate product over the subcarriers.
#[derive(Debug)]
pub(super) struct Pair {
    /// Places of the antennas' first samples in a row.
    first: usize,
    second: usize,
    /// Real and imaginary parts of the mean.
    re: Vec<f32>,
    im: Vec<f32>,
    frames: f32,
}

impl Pair {
    /// Of `subcarriers` samples each.
    pub fn new(first: usize, second: usize, subcarriers: usize) -> Self {
        Self {
            first,
            second,
            re: vec![0.0; subcarriers],
            im: vec![0.0; subcarriers],
            frames: 0.0,
        }
    }

    /// Forgets the mean.
    pub fn clear(&mut self) {
        self.re.fill(0.0);
        self.im.fill(0.0);
        self.frames = 0.0;
    }

    /// The mean, and the frames in it.
    pub fn state(&self) -> (Vec<Complex32>, f32) {
        let parts = self.re.iter().zip(&self.im);
        (
            parts.map(|(re, im)| Complex32::new(*re, *im)).collect(),
            self.frames,
        )
    }

    /// Takes up what [`state`](Self::state) gave.
    pub fn resume(&mut self, mean: &[Complex32], frames: f32) {
        for ((re, im), mean) in self.re.iter_mut().zip(&mut self.im).zip(mean) {
            (*re, *im) = (mean.re, mean.im);
        }
        self.frames = frames;
    }

    /// The phase of the antennas' conjugate product against the slow mean, which follows by the share `follow`: real and
    /// imaginary part of a number of modulus 1, or of 0 where there is none. `product` is overwritten.
    pub fn push(&mut self, split: &Split, follow: f32, product: &mut Split) -> (f32, f32) {
        let antenna = |first: usize| {
            let range = first..first + self.re.len();
            let (re, im) = (split.re().get(range.clone()), split.im().get(range));
            (re.unwrap_or_default(), im.unwrap_or_default())
        };
        product.conjugate_product(antenna(self.first), antenna(self.second));
        let power = product.total_power();
        if power <= 0.0 || !power.is_finite() {
            return (0.0, 0.0);
        }
        let scale = power.sqrt().recip();
        self.frames += 1.0;
        let follow = follow.max(self.frames.recip()).min(1.0);
        let (mean_re, mean_re_rest) = self.re.as_chunks_mut::<LANES>();
        let (mean_im, mean_im_rest) = self.im.as_chunks_mut::<LANES>();
        let (re, re_rest) = product.re().as_chunks::<LANES>();
        let (im, im_rest) = product.im().as_chunks::<LANES>();
        let mut sums = [[0.0_f32; LANES]; 2];
        let means = mean_re.iter_mut().zip(mean_im);
        for ((mean_re, mean_im), (re, im)) in means.zip(re.iter().zip(im)) {
            follow_chunk(mean_re, mean_im, re, im, (scale, follow), &mut sums);
        }
        follow_chunk(
            mean_re_rest,
            mean_im_rest,
            re_rest,
            im_rest,
            (scale, follow),
            &mut sums,
        );
        let [re, im] = sums.map(|lanes| lanes.iter().sum::<f32>());
        let modulus = re.hypot(im);
        if modulus > 0.0 {
            (re / modulus, im / modulus)
        } else {
            (re, im)
        }
    }
}

/// Lets the means follow the products times `scale`, and adds the products of those and the means' conjugates.
#[inline(always)]
fn follow_chunk(
    mean_re: &mut [f32],
    mean_im: &mut [f32],
    re: &[f32],
    im: &[f32],
    (scale, follow): (f32, f32),
    [sum_re, sum_im]: &mut [[f32; LANES]; 2],
) {
    let products = re.iter().zip(im);
    let means = mean_re.iter_mut().zip(mean_im);
    let sums = sum_re.iter_mut().zip(sum_im);
    for (((mean_re, mean_im), (re, im)), (sum_re, sum_im)) in means.zip(products).zip(sums) {
        let (re, im) = (re * scale, im * scale);
        *mean_re += (re - *mean_re) * follow;
        *mean_im += (im - *mean_im) * follow;
        *sum_re += re * *mean_re + im * *mean_im;
        *sum_im += im * *mean_re - re * *mean_im;
    }
}
