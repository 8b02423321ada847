//! The stages against what NumPy and SciPy give for the same input: `../data/NAME.py` writes `../data/NAME.json`.

// A test may panic: that is how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod breathing;
mod breathing_rooms;

mod butterworth;
mod movement;
mod phase;

use num_complex::Complex32;
use serde_json::Value;

fn list(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|v| v.as_f64().unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    list(value).into_iter().map(|v| v as f32).collect()
}

fn complex(re: &Value, im: &Value) -> Vec<Complex32> {
    let pairs = list(re).into_iter().zip(list(im));
    pairs
        .map(|(re, im)| Complex32::new(re as f32, im as f32))
        .collect()
}

fn close(found: impl IntoIterator<Item = f64>, expected: &[f64], tolerance: f64) {
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance,
            "{index}: {found} instead of {expected}"
        );
    }
}
