//! Principal components of the subcarriers: one movement, seen by many, taken together; their own noise left behind.
//!
//! W. Wang, A. X. Liu, M. Shahzad, K. Ling, S. Lu, "Understanding and Modeling of WiFi Signal Based Human Activity
//! Recognition" (CARM), ACM `MobiCom` 2015: of the principal components of amplitude over subcarriers the second to fifth
//! ([`CARM`]) carry the movement; the first is often what all subcarriers share, the receiver's interference. That holds in
//! general, not in each window.
//!
//! The covariance follows the stream by exponential forgetting, `C' = a C + (1 - a) d d'` with `d` the deviation from the
//! mean, which follows in the same way: a rank-one update per frame over the upper triangle. Eigenvectors are computed when
//! asked for, by cyclic Jacobi rotations (G. H. Golub, C. F. Van Loan, "Matrix Computations", 8.5). More than
//! [`MOST_CHANNELS`] subcarriers are averaged over neighbours to so many channels.

/// Channels at most: the width of the covariance.
pub const MOST_CHANNELS: usize = 64;
/// The components that carry movement, counted from 0.
pub const CARM: std::ops::Range<usize> = 1..5;
/// Sweeps of rotations at most; some eight are enough for 64 channels.
const SWEEPS: usize = 30;
/// Variance below which nothing changes, and as a share of the largest what is rounding.
const STILL: f32 = 1e-14;
const ROUNDING: f32 = 1e-6;

/// Covariance of a stream of rows, and its principal components.
#[derive(Clone, Debug)]
pub struct Pca {
    width: usize,
    channels: usize,
    forget: f32,
    frames: u64,
    mean: Vec<f32>,
    deviation: Vec<f32>,
    /// Full symmetric matrix, row after row.
    covariance: Vec<f32>,
    work: Vec<f64>,
    vectors: Vec<f64>,
    order: Vec<usize>,
    /// Components in descending order of variance, one after the other.
    components: Vec<f32>,
    variances: Vec<f32>,
}

/// What a [`Pca`] rests on: enough to go on as if it had never stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Rows seen.
    pub frames: u64,
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Covariance of the channels, row after row.
    pub covariance: Vec<f32>,
    /// Components of the latest decomposition, one after the other; empty before the first.
    pub components: Vec<f32>,
}

impl Pca {
    /// For rows of `width` values. `frames` is the time constant of forgetting; until so many were seen the covariance is the
    /// plain mean.
    #[must_use]
    pub fn new(width: usize, frames: f32) -> Self {
        let channels = width.min(MOST_CHANNELS);
        Self {
            width,
            channels,
            forget: frames.max(1.0).recip(),
            frames: 0,
            mean: vec![0.0; channels],
            deviation: vec![0.0; channels],
            covariance: vec![0.0; channels * channels],
            work: vec![0.0; channels * channels],
            vectors: vec![0.0; channels * channels],
            order: Vec::with_capacity(channels),
            components: Vec::with_capacity(channels * channels),
            variances: Vec::with_capacity(channels),
        }
    }

    /// What is to be kept; see [`resume`](Self::resume).
    #[must_use]
    pub fn state(&self) -> State {
        State {
            frames: self.frames,
            mean: self.mean.clone(),
            covariance: self.covariance.clone(),
            components: self.components.clone(),
        }
    }

    /// Takes up what [`state`](Self::state) of one for the same width gave. Gives whether it fits; what does not is not taken.
    /// Variances are there from the next decomposition on.
    pub fn resume(&mut self, state: State) -> bool {
        let all = self.covariance.len();
        let fits = state.mean.len() == self.channels
            && state.covariance.len() == all
            && (state.components.is_empty() || state.components.len() == all);
        if fits {
            self.frames = state.frames;
            self.mean = state.mean;
            self.covariance = state.covariance;
            self.components = state.components;
        }
        fits
    }

    /// Channels of a component: the width, at most [`MOST_CHANNELS`].
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Takes a row; one of another width or with a value that is not finite does not count.
    pub fn push(&mut self, row: &[f32]) -> bool {
        if row.len() != self.width || row.iter().any(|x| !x.is_finite()) {
            return false;
        }
        self.frames += 1;
        let follow = self.forget.max((self.frames as f32).recip());
        self.gather(row);
        // With the mean moving by follow * d, the covariance is (1 - follow) (C + follow d d').
        let keep = 1.0 - follow;
        for (mean, deviation) in self.mean.iter_mut().zip(&self.deviation) {
            *mean += follow * deviation;
        }
        let rows = self.covariance.chunks_exact_mut(self.channels.max(1));
        for (row, one) in rows.zip(&self.deviation) {
            let weight = keep * follow * one;
            for (cell, other) in row.iter_mut().zip(&self.deviation) {
                *cell = keep * *cell + weight * other;
            }
        }
        true
    }

    /// Writes the deviation of the channels of `row` from the mean.
    fn gather(&mut self, row: &[f32]) {
        let (width, channels) = (self.width, self.channels);
        for (channel, (out, mean)) in self.deviation.iter_mut().zip(&self.mean).enumerate() {
            let (begin, end) = (channel * width / channels, (channel + 1) * width / channels);
            let group = row.get(begin..end).unwrap_or_default();
            *out = group.iter().sum::<f32>() / group.len().max(1) as f32 - mean;
        }
    }

    /// Decomposes the covariance as it is now. Gives the number of components with variance; 0 where nothing changes.
    ///
    /// An eigenvector has no sign of its own: the new one takes that of the same component of the last decomposition where
    /// they agree by more than half, so that a projected stream does not flip; otherwise its largest entry is positive.
    pub fn decompose(&mut self) -> usize {
        let n = self.channels;
        for (work, cell) in self.work.iter_mut().zip(&self.covariance) {
            *work = f64::from(*cell);
        }
        jacobi(&mut self.work, &mut self.vectors, n);
        let variance = |i: usize| self.work.get(i * n + i).copied().unwrap_or_default();
        self.order.clear();
        self.order.extend(0..n);
        self.order
            .sort_unstable_by(|a, b| variance(*b).total_cmp(&variance(*a)));
        let first_time = self.components.len() != n * n;
        if first_time {
            self.components.resize(n * n, 0.0);
        }
        self.variances.clear();
        let old = self.components.chunks_exact_mut(n.max(1));
        for (place, component) in self.order.iter().zip(old) {
            let column = |row: usize| {
                self.vectors
                    .get(row * n + place)
                    .copied()
                    .unwrap_or_default()
            };
            let agreement: f64 = component
                .iter()
                .enumerate()
                .map(|(row, old)| f64::from(*old) * column(row))
                .sum();
            let largest = (0..n)
                .map(column)
                .max_by(|a, b| a.abs().total_cmp(&b.abs()));
            let sign = if agreement.abs() > 0.5 {
                agreement
            } else {
                largest.unwrap_or(1.0)
            };
            for (row, value) in component.iter_mut().enumerate() {
                *value = (column(row) * sign.signum()) as f32;
            }
            self.variances.push(variance(*place).max(0.0) as f32);
        }
        let largest = self.variances.first().copied().unwrap_or_default();
        let least = STILL.max(ROUNDING * largest);
        self.variances
            .iter()
            .filter(|variance| **variance > least)
            .count()
    }

    /// Variances of the components of the latest decomposition, descending, in the squared unit of the rows.
    #[must_use]
    pub fn variances(&self) -> &[f32] {
        &self.variances
    }

    /// One component of the latest decomposition: [`channels`](Self::channels) entries, of length 1.
    #[must_use]
    pub fn component(&self, index: usize) -> &[f32] {
        let (begin, end) = (index * self.channels, (index + 1) * self.channels);
        self.components.get(begin..end).unwrap_or_default()
    }

    /// Projects a row, less the mean, onto the components `which` of the latest decomposition, into `out` (cleared first).
    pub fn project(&mut self, row: &[f32], which: std::ops::Range<usize>, out: &mut Vec<f32>) {
        out.clear();
        self.gather(row);
        for index in which {
            let component = self.component(index);
            out.push(
                component
                    .iter()
                    .zip(&self.deviation)
                    .map(|(a, b)| a * b)
                    .sum(),
            );
        }
    }
}

/// Diagonalises the symmetric `a` of `n` rows in place; the columns of `v` become the eigenvectors.
fn jacobi(a: &mut [f64], v: &mut [f64], n: usize) {
    v.fill(0.0);
    v.iter_mut()
        .step_by(n + 1)
        .for_each(|diagonal| *diagonal = 1.0);
    let get = |m: &[f64], i: usize, j: usize| m.get(i * n + j).copied().unwrap_or_default();
    for _ in 0..SWEEPS {
        let trace: f64 = (0..n).map(|i| get(a, i, i).abs()).sum();
        let off = |(i, j): (usize, usize)| get(a, i, j).powi(2);
        let outside: f64 = (0..n)
            .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
            .map(off)
            .sum();
        if outside <= 1e-26 * trace * trace {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let apq = get(a, p, q);
                if apq.abs() <= 1e-18 * trace {
                    continue;
                }
                let theta = (get(a, q, q) - get(a, p, p)) / (2.0 * apq);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = (t * t + 1.0).sqrt().recip();
                let s = t * c;
                for k in 0..n {
                    rotate(a, k * n + p, k * n + q, c, s);
                }
                for k in 0..n {
                    rotate(a, p * n + k, q * n + k, c, s);
                    rotate(v, k * n + p, k * n + q, c, s);
                }
            }
        }
    }
}

fn rotate(m: &mut [f64], p: usize, q: usize, c: f64, s: f64) {
    if let Ok([one, other]) = m.get_disjoint_mut([p, q]) {
        (*one, *other) = (c * *one - s * *other, s * *one + c * *other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(count: usize, scale: f32) -> Vec<[f32; 6]> {
        (0..count)
            .map(|t| {
                let (a, b) = ((t as f32 / 7.0).sin(), (t as f32 / 3.0).cos());
                [0, 1, 2, 3, 4, 5].map(|k| {
                    let k = k as f32;
                    scale * (5.0 + 2.0 * a * (k / 2.0).cos() + 0.5 * b * (k / 3.0).sin())
                })
            })
            .collect()
    }

    fn filled(scale: f32) -> Pca {
        let mut pca = Pca::new(6, 1e9);
        rows(400, scale)
            .iter()
            .for_each(|row| assert!(pca.push(row)));
        pca
    }

    #[test]
    fn two_movements_are_two_components() {
        let mut pca = filled(1.0);
        assert!(pca.decompose() >= 2);
        assert!(
            pca.variances()[2] < 1e-4 * pca.variances()[1],
            "{:?}",
            pca.variances()
        );
        for component in 0..6 {
            let length: f32 = pca.component(component).iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn signs_stay_from_one_decomposition_to_the_next() {
        let mut pca = filled(1.0);
        pca.decompose();
        let before: Vec<f32> = pca.component(0).to_vec();
        for row in rows(37, 1.0) {
            pca.push(&row);
            pca.decompose();
            let agreement: f32 = pca
                .component(0)
                .iter()
                .zip(&before)
                .map(|(a, b)| a * b)
                .sum();
            assert!(agreement > 0.9, "{agreement}");
        }
    }

    #[test]
    fn silence_has_no_component_and_nonsense_does_not_count() {
        let mut pca = Pca::new(3, 100.0);
        for _ in 0..50 {
            assert!(pca.push(&[1.0, 2.0, 3.0]));
        }
        assert_eq!(pca.decompose(), 0);
        assert!(!pca.push(&[1.0, f32::NAN, 3.0]) && !pca.push(&[1.0]));
        let mut empty = Pca::new(0, 10.0);
        assert!(empty.push(&[]));
        assert_eq!(empty.decompose(), 0);
    }

    #[test]
    fn wide_rows_are_averaged_to_channels() {
        let mut pca = Pca::new(256, 100.0);
        assert_eq!(pca.channels(), 64);
        let row: Vec<f32> = (0..256).map(|k| (k / 4) as f32).collect();
        let zero = [0.0; 256];
        for t in 0..100 {
            pca.push(if t % 2 == 0 { &row } else { &zero });
        }
        assert_eq!(pca.decompose(), 1);
        let ratio = pca.component(0)[63] / pca.component(0)[21];
        assert!((ratio - 3.0).abs() < 1e-3, "{ratio}");
    }

    proptest! {
        #[test]
        fn components_do_not_see_the_scale(scale in 0.01_f32..100.0) {
            let (mut one, mut other) = (filled(1.0), filled(scale));
            one.decompose();
            other.decompose();
            for component in 0..2 {
                prop_assert!((other.variances()[component] / (scale * scale) / one.variances()[component] - 1.0).abs() < 1e-2);
                for (a, b) in one.component(component).iter().zip(other.component(component)) {
                    prop_assert!((a - b).abs() < 1e-2);
                }
            }
        }
    }
}
