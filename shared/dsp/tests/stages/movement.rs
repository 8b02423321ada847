use dsp::autocorrelation::Series;
use dsp::cusum::{Change, Cusum, Drift};
use dsp::doppler::{Doppler, Shape};
use dsp::pca::Pca;
use dsp::select::Selector;
use dsp::speed::SpeedMeter;

use super::*;

struct Rows {
    vectors: Value,
    times_us: Vec<i64>,
    rows: Vec<f32>,
}

impl Rows {
    fn read() -> Self {
        let vectors: Value = serde_json::from_str(include_str!("../data/movement.json")).unwrap();
        let rows = floats(&vectors["rows"]);
        Self {
            times_us: (0..rows.len() as i64 / 6).map(|t| t * 5_000).collect(),
            rows,
            vectors,
        }
    }
    fn series(&self) -> Series<'_> {
        Series {
            times_us: &self.times_us,
            rows: &self.rows,
            width: 6,
        }
    }
    fn list(&self, name: &str) -> Vec<f64> {
        list(&self.vectors[name])
    }
}

fn wide(values: &[f32]) -> impl Iterator<Item = f64> + '_ {
    values.iter().map(|x| f64::from(*x))
}

#[test]
fn weights_of_subcarriers() {
    let rows = Rows::read();
    let mut selector = Selector::default();
    close(
        wide(selector.weigh(rows.series(), 12_500.0)),
        &rows.list("weights"),
        1e-5,
    );
}

#[test]
fn principal_components() {
    let rows = Rows::read();
    let mut pca = Pca::new(6, 150.0);
    rows.series().iter().for_each(|row| assert!(pca.push(row)));
    assert_eq!(pca.decompose(), 6);
    close(wide(pca.variances()), &rows.list("variances"), 1e-6);
    let components = rows.list("components");
    // The last ones are noise of nearly equal variance: which is which depends on rounding.
    for index in 0..3 {
        close(
            wide(pca.component(index)),
            &components[index * 6..index * 6 + 6],
            2e-3,
        );
    }
}

#[test]
fn doppler_spectrum() {
    let rows = Rows::read();
    let shape = Shape {
        rate_hz: 200.0,
        window_s: 0.5,
        hop_s: 0.05,
    };
    let mut doppler = Doppler::new(6, shape).unwrap();
    let fresh = rows.series().iter().zip(&rows.times_us);
    let fresh: Vec<bool> = fresh.map(|(row, time)| doppler.push(*time, row)).collect();
    assert!(fresh[399], "the last spectrum ends with the last row");
    assert_eq!(fresh.iter().filter(|fresh| **fresh).count(), 31);
    let expected = rows.list("spectrum");
    // SciPy does not double the last bin.
    close(wide(&doppler.power()[1..64]), &expected[1..64], 1e-6);
}

#[test]
fn autocorrelation_of_power() {
    let rows = Rows::read();
    let mut meter = SpeedMeter::default();
    let _ = meter.measure(rows.series(), 0.0577);
    let found = meter.autocorrelation()[..60].iter().copied();
    close(found, &rows.list("autocorrelation"), 1e-4);
}

#[test]
fn change_points_and_drift() {
    let rows = Rows::read();
    let level = floats(&rows.vectors["level"]);
    let (mut cusum, mut drift) = (Cusum::new(0.5, 4.0), Drift::new(20.0, 0.01));
    let mut alarms = Vec::new();
    for (index, z) in level.iter().enumerate() {
        if let Some((change, since)) = cusum.push(*z) {
            let direction = if change == Change::Up { 1.0 } else { -1.0 };
            alarms.extend([index as f64, direction, f64::from(since)]);
        }
        drift.push(*z, 0.5);
    }
    close(alarms, &rows.list("alarms"), 0.0);
    close(
        [f64::from(drift.level().unwrap())],
        &[rows.vectors["drift"].as_f64().unwrap()],
        1e-4,
    );
    close(
        [f64::from(drift.spread())],
        &[rows.vectors["spread"].as_f64().unwrap()],
        1e-4,
    );
}
