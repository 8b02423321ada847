//! The probe's model.

use super::Sample;

/// Strength of the penalty on squared weights.
const PENALTY: f64 = 0.1;
/// Steps of the descent.
const STEPS: usize = 600;

/// Multinomial logistic regression on standardised features; classes weigh alike.
pub(super) struct Model {
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// One row for each class: weights, then the bias.
    weights: Vec<Vec<f64>>,
}

impl Model {
    pub(super) fn fit(samples: &[&Sample], classes: &[&str]) -> Self {
        let width = samples.first().map_or(0, |sample| sample.features.len());
        let count = samples.len().max(1) as f64;
        let (mut mean, mut scale) = (vec![0.0; width], vec![0.0; width]);
        for sample in samples {
            mean.iter_mut()
                .zip(&sample.features)
                .for_each(|(m, x)| *m += x / count);
        }
        for sample in samples {
            for ((s, m), x) in scale.iter_mut().zip(&mean).zip(&sample.features) {
                *s += (x - m).powi(2) / count;
            }
        }
        scale
            .iter_mut()
            .for_each(|s| *s = if *s > 1e-18 { s.sqrt().recip() } else { 0.0 });
        let mut model = Self {
            mean,
            scale,
            weights: vec![vec![0.0; width + 1]; classes.len()],
        };
        let rows: Vec<Vec<f64>> = samples
            .iter()
            .map(|sample| model.standardise(&sample.features))
            .collect();
        let of: Vec<usize> = samples
            .iter()
            .map(|sample| {
                classes
                    .iter()
                    .position(|class| *class == sample.class)
                    .unwrap_or_default()
            })
            .collect();
        let mut counts = vec![0.0; classes.len()];
        for place in &of {
            if let Some(count) = counts.get_mut(*place) {
                *count += 1.0;
            }
        }
        let present = counts.iter().filter(|count| **count > 0.0).count().max(1) as f64;
        // Of two classes the rows mirror one another: so the penalty is that of a single row, plain logistic regression.
        let strength = if classes.len() == 2 {
            2.0 * PENALTY
        } else {
            PENALTY
        };
        // Nesterov's accelerated descent; the step suits the largest curvature of standardised features.
        let step = 4.0 / (width as f64 + 1.0);
        let mut ahead = model.weights.clone();
        for round in 0..STEPS {
            let mut gradient = vec![vec![0.0; width + 1]; classes.len()];
            for (row, place) in rows.iter().zip(&of) {
                let weight = 1.0 / (present * counts.get(*place).copied().unwrap_or(1.0));
                let shares = softmax(&ahead, row);
                for (class, (gradient, share)) in gradient.iter_mut().zip(shares).enumerate() {
                    let error = weight * (share - f64::from(u8::from(class == *place)));
                    gradient
                        .iter_mut()
                        .zip(row)
                        .for_each(|(g, x)| *g += error * x);
                }
            }
            let momentum = round as f64 / (round as f64 + 3.0);
            for ((weights, ahead), gradient) in
                model.weights.iter_mut().zip(&mut ahead).zip(&gradient)
            {
                for (place, ((w, a), g)) in weights
                    .iter_mut()
                    .zip(ahead.iter_mut())
                    .zip(gradient)
                    .enumerate()
                {
                    let penalty = if place < width { strength * *a } else { 0.0 };
                    let new = *a - step * (g + penalty);
                    *a = new + momentum * (new - *w);
                    *w = new;
                }
            }
        }
        model
    }

    fn standardise(&self, features: &[f64]) -> Vec<f64> {
        let scaled = features
            .iter()
            .zip(&self.mean)
            .zip(&self.scale)
            .map(|((x, m), s)| (x - m) * s);
        scaled.chain([1.0]).collect()
    }

    pub(super) fn class(&self, features: &[f64]) -> usize {
        let shares = softmax(&self.weights, &self.standardise(features));
        let best = shares.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(place, _)| place)
    }
}

fn softmax(weights: &[Vec<f64>], row: &[f64]) -> Vec<f64> {
    let mut scores: Vec<f64> = weights
        .iter()
        .map(|w| w.iter().zip(row).map(|(w, x)| w * x).sum())
        .collect();
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores
        .iter_mut()
        .for_each(|score| *score = (*score - highest).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
    scores
}
