use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

const WIDTH: usize = 32;

/// Deterministic noise.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (TAU * self.uniform()).cos()
    }
}

/// One antenna of 32 subcarriers; frames every `period_us` with jitter; power times `change(seconds, subcarrier)`.
struct Room {
    period_us: f64,
    seconds: f64,
    noise: f64,
    gain: f32,
    lost: f64,
}

const ROOM: Room = Room {
    period_us: 33_000.0,
    seconds: 40.0,
    noise: 0.05,
    gain: 1.0,
    lost: 0.0,
};

impl Room {
    fn rate(&self, change: impl Fn(f64, usize) -> f64) -> Result<Rate, Unknown> {
        let subcarriers: Vec<i16> = (0..WIDTH as i16).collect();
        let blocks = GainBlocks::new(&subcarriers, &[true; WIDTH], 1);
        let mut meter = Breathing::new(&blocks, 1, &[]);
        let mut noise = Noise(12345);
        let (mut row, mut time) = (Vec::new(), 1_000_000.0);
        while time < 1_000_000.0 + self.seconds * 1e6 {
            let samples: Vec<Complex32> = (0..WIDTH)
                .map(|k| {
                    let power = change(time / 1e6, k) * (1.0 + self.noise * noise.normal());
                    Complex32::new(self.gain * power.max(0.0).sqrt() as f32, 0.0)
                })
                .collect();
            if noise.uniform() >= self.lost && blocks.normalise(&samples, &mut row).is_ok() {
                meter.push(time as i64, &row, &[]);
            }
            time += self.period_us * (1.0 + 0.1 * (noise.uniform() - 0.5));
        }
        meter.estimate(1_000_000 + (self.seconds * 1e6) as i64, 30.0, true)
    }
}

fn chest(bpm: f64) -> impl Fn(f64, usize) -> f64 {
    move |t, k| 1.0 + 0.05 * (TAU * bpm / 60.0 * t).sin() * (k as f64 / 5.0).cos()
}

#[test]
fn a_chest_is_found_at_any_rate_of_frames() {
    for bpm in [8.0, 12.5, 15.0, 22.3, 33.0] {
        for period_us in [10_000.0, 33_000.0, 100_600.0] {
            let rate = Room { period_us, ..ROOM }.rate(chest(bpm)).unwrap();
            assert!((rate.bpm - bpm).abs() < 0.2, "{bpm} {period_us}: {rate:?}");
            assert_eq!(rate.source, Source::Amplitude);
        }
    }
}

#[test]
fn a_chest_is_found_with_two_fifths_of_the_frames_missing() {
    let rate = Room { lost: 0.4, ..ROOM }.rate(chest(15.0)).unwrap();
    assert!((rate.bpm - 15.0).abs() < 0.3, "{rate:?}");
}

#[test]
fn what_is_no_chest_is_unknown() {
    let still = Room { noise: 0.0, ..ROOM };
    let shape = |_: f64, k: usize| 1.0 + 0.5 * (k as f64 / 5.0).cos();
    assert_eq!(still.rate(shape), Err(Unknown::Silent));
    assert_eq!(
        still.rate(|_, _| 0.0),
        Err(Unknown::TooShort { span_s: 0.0 })
    );
    assert!(matches!(
        ROOM.rate(shape),
        Err(Unknown::NoPeriod | Unknown::Weak { .. })
    ));
    let short = Room {
        seconds: 12.0,
        ..ROOM
    };
    assert!(matches!(
        short.rate(chest(15.0)),
        Err(Unknown::TooShort { .. })
    ));
    let step = |t: f64, k: usize| {
        if t < 20.0 {
            1.0
        } else {
            1.0 + 0.3 * (k as f64 / 5.0).cos()
        }
    };
    assert!(ROOM.rate(step).is_err());
    let drift = |t: f64, k: usize| 1.0 + 0.2 * (t / 15.0).sin() * (k as f64 / 5.0).cos();
    assert!(ROOM.rate(drift).is_err());
}

#[test]
fn a_fan_is_unknown_where_the_frames_can_show_it() {
    for hz in [2.0, 3.7, 9.3, 9.75, 10.2, 19.8, 30.3] {
        let fan = move |t: f64, k: usize| 1.0 + 0.2 * (TAU * hz * t + k as f64 / 7.0).cos();
        let room = Room {
            period_us: 10_000.0,
            noise: 0.01,
            ..ROOM
        };
        let rate = room.rate(fan);
        assert!(rate.is_err(), "{hz}: {rate:?}");
    }
}

#[test]
fn without_stillness_nothing_is_looked_for_and_gaps_are_not_filled_in() {
    let blocks = GainBlocks::new(&[0, 1, 2, 3], &[true; 4], 1);
    let mut meter = Breathing::new(&blocks, 1, &[]);
    for t in 0..400_i64 {
        // Two seconds of every five are missing.
        if t % 50 < 30 {
            let x = 0.1 * (TAU * 0.25 * t as f64 / 10.0).sin() as f32;
            meter.push(t * 100_000, &[1.0 + x, 1.0 - x, 1.0, 1.0], &[]);
        }
    }
    assert_eq!(
        meter.estimate(40_000_000, 30.0, false),
        Err(Unknown::Moving)
    );
    assert!(matches!(
        meter.estimate(40_000_000, 30.0, true),
        Err(Unknown::Gaps { .. })
    ));
    assert!(!meter.push(41_000_000, &[f32::NAN; 4], &[]));
    assert!(!meter.push(41_000_000, &[1.0; 3], &[]));
}

#[test]
fn two_antennas_on_one_clock_show_what_amplitude_does_not() {
    let subcarriers: Vec<i16> = (0..WIDTH as i16).collect();
    let blocks = GainBlocks::new(&subcarriers, &[true; WIDTH], 2);
    for offset in [0.0, 1.1, 3.0] {
        let mut meter = Breathing::new(&blocks, 2, &[(0, 1)]);
        let (mut noise, mut row) = (Noise(7), Vec::new());
        for t in 0..1200_i64 {
            let time = t as f64 / 20.0;
            let common = TAU * noise.uniform();
            let slope = 0.1 * noise.normal();
            let chest = 0.1 * (TAU * 13.0 / 60.0 * time).sin();
            let samples: Vec<Complex32> = (0..2 * WIDTH)
                .map(|place| {
                    let (antenna, k) = (place / WIDTH, (place % WIDTH) as f64);
                    let own = if antenna == 1 {
                        chest + offset + k / 9.0
                    } else {
                        0.0
                    };
                    let amplitude = 1.0 + 0.03 * noise.normal();
                    let phase = common + slope * k + own + 0.05 * noise.normal();
                    Complex32::from_polar(amplitude as f32, phase as f32)
                })
                .collect();
            blocks.normalise(&samples, &mut row).unwrap();
            meter.push(t * 50_000, &row, &samples);
        }
        let rate = meter.estimate(60_000_000, 60.0, true).unwrap();
        assert_eq!(rate.source, Source::Phase);
        assert!((rate.bpm - 13.0).abs() < 0.05, "{rate:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn does_not_see_the_gain(gain in 0.01_f32..1000.0, bpm in 8.0_f64..30.0) {
        let (plain, louder) = (ROOM.rate(chest(bpm)).unwrap(), Room { gain, ..ROOM }.rate(chest(bpm)).unwrap());
        prop_assert!((plain.bpm - louder.bpm).abs() < 0.01, "{plain:?} {louder:?}");
    }
}
