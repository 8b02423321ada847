use proptest::prelude::*;

use super::*;

const WAVELENGTH: f64 = 0.0577;
const WIDTH: usize = 32;

struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Power of the field in a reverberant room, by theory: plane waves from all around, polarised across the walk, with random
/// phases of their own in each subcarrier.
fn walk(speed: f64, rate_hz: f64, seconds: f64, scale: f32) -> (Vec<i64>, Vec<f32>) {
    let mut noise = Noise(77);
    let waves = 60;
    let mut rows = vec![0.0_f32; (seconds * rate_hz) as usize * WIDTH];
    for k in 0..WIDTH {
        let mut field = vec![(0.0_f64, 0.0_f64); (seconds * rate_hz) as usize];
        for _ in 0..waves {
            let along = 2.0 * noise.uniform() - 1.0;
            // Of a wave at angle a to the walk, the field across it is 1 in one polarisation and cos a in the other.
            let strength = if noise.uniform() < 0.5 { 1.0 } else { along };
            let start = 2.0 * PI * noise.uniform();
            for (t, field) in field.iter_mut().enumerate() {
                let phase = start + 2.0 * PI * speed * along * t as f64 / rate_hz / WAVELENGTH;
                field.0 += strength * phase.cos();
                field.1 += strength * phase.sin();
            }
        }
        for (t, (re, im)) in field.iter().enumerate() {
            rows[t * WIDTH + k] = scale * (re * re + im * im) as f32 / waves as f32;
        }
    }
    let times = (0..(seconds * rate_hz) as i64)
        .map(|t| (t as f64 * 1e6 / rate_hz) as i64)
        .collect();
    (times, rows)
}

fn measure((times_us, rows): &(Vec<i64>, Vec<f32>)) -> Result<Speed, Unknown> {
    SpeedMeter::default().measure(
        Series {
            times_us,
            rows,
            width: WIDTH,
        },
        WAVELENGTH,
    )
}

#[test]
fn walks_have_their_speed() {
    for speed in [0.3, 0.6, 1.0, 1.5] {
        let found = measure(&walk(speed, 250.0, 4.0, 1.0)).unwrap();
        let error = found.metres_per_second / speed - 1.0;
        assert!(error.abs() < 0.15, "{speed}: {found:?}");
    }
}

#[test]
fn what_has_no_speed_is_unknown() {
    assert!(matches!(
        measure(&walk(1.0, 50.0, 4.0, 1.0)),
        Err(Unknown::Rate { .. })
    ));
    assert_eq!(measure(&walk(1.0, 250.0, 0.2, 1.0)), Err(Unknown::Frames));
    let (times, mut rows) = walk(1.0, 250.0, 4.0, 1.0);
    rows.fill(1.0);
    assert_eq!(
        measure(&(times.clone(), rows.clone())),
        Err(Unknown::Still { phi: 0.0 })
    );
    let mut noise = Noise(5);
    rows.iter_mut().for_each(|x| *x = noise.uniform() as f32);
    assert!(matches!(
        measure(&(times, rows)),
        Err(Unknown::Still { .. })
    ));
    assert!(matches!(
        measure(&(Vec::new(), Vec::new())),
        Err(Unknown::Frames)
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn does_not_see_the_scale(scale in 0.01_f32..100.0) {
        let (plain, scaled) = (measure(&walk(0.8, 200.0, 2.0, 1.0)).unwrap(), measure(&walk(0.8, 200.0, 2.0, scale)).unwrap());
        prop_assert!((plain.metres_per_second - scaled.metres_per_second).abs() < 1e-3);
    }
}
