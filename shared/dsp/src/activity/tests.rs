use super::*;

fn subcarriers() -> Vec<i16> {
    (0..32).chain(-32..0).collect()
}

fn valid() -> Vec<bool> {
    subcarriers()
        .iter()
        .map(|k| *k != 0 && k.abs() <= 26)
        .collect()
}

/// Power of subcarrier `k` at `time`: a body that moves smoothly in time and over frequency.
fn moving(time_s: f64, k: i16) -> f32 {
    let path = 0.3 * (5.0 * time_s + 0.1 * f64::from(k)).sin()
        + 0.2 * (2.3 * time_s - 0.05 * f64::from(k)).cos();
    (15.0 * (1.0 + path)).powi(2) as f32
}

fn feed(extractor: &mut Extractor, rate_hz: i64, seconds: i64, power: impl Fn(f64, i16) -> f32) {
    for frame in 0..rate_hz * seconds {
        let time_us = frame * 1_000_000 / rate_hz;
        let powers: Vec<f32> = subcarriers()
            .iter()
            .map(|k| power(time_us as f64 / 1e6, *k))
            .collect();
        assert!(extractor.push(time_us, &powers, &valid()));
    }
}

fn features(rate_hz: i64, power: impl Fn(f64, i16) -> f32) -> Vec<f32> {
    let mut extractor = Extractor::new(&subcarriers(), 1);
    feed(&mut extractor, rate_hz, 4, power);
    let mut out = Vec::new();
    extractor.window(0, 4_000_000, &mut out).unwrap();
    out
}

#[test]
fn a_shorter_reach_and_shared_memory_say_the_same() {
    let mut whole = Extractor::new(&subcarriers(), 1);
    let mut short = Extractor::reaching(&subcarriers(), 1, 21);
    let (mut work, mut expected, mut found) = (Work::default(), Vec::new(), Vec::new());
    // Used by another before.
    let mut other = Extractor::new(&[0, 1, 2, 3, 4, 5, 6, 7, 8], 2);
    for frame in 0..20 {
        other.push(frame * 100_000, &[1.0; 18], &[true; 18]);
    }
    other
        .window_in(&mut work, 0, 2_000_000, &mut found)
        .unwrap();
    for time_us in (0..20_000_000).step_by(10_000) {
        if time_us % 500_000 == 0 && time_us >= 2_000_000 {
            whole
                .window(time_us - 2_000_000, time_us, &mut expected)
                .unwrap();
            let same = short.window_in(&mut work, time_us - 2_000_000, time_us, &mut found);
            assert_eq!((same, &found), (Ok(()), &expected));
        }
        let powers: Vec<f32> = subcarriers()
            .iter()
            .map(|k| moving(time_us as f64 / 1e6, *k))
            .collect();
        assert!(whole.push(time_us, &powers, &valid()));
        assert!(short.push(time_us, &powers, &valid()));
    }
    let too_long = short.window(15_000_000, 20_000_000, &mut found);
    assert_eq!(too_long, Err(Insufficient::Span { cells: 50 }));
}

#[test]
fn names_and_values_agree_in_number() {
    let values = features(10, moving);
    assert_eq!(values.len(), NAMES.len());
    assert!(values.iter().all(|v| v.is_finite()));
    assert!(
        values.iter().all(|v| *v != 0.0),
        "movement shows in every feature: {values:?}"
    );
}

#[test]
fn constant_input_gives_zeros() {
    for rate in [10, 100] {
        let values = features(rate, |_, k| 100.0 + f32::from(k));
        assert!(values.iter().all(|v| *v == 0.0), "{rate} Hz: {values:?}");
    }
}

#[test]
fn the_scale_of_each_frame_does_not_matter() {
    let plain = features(20, moving);
    let scaled = features(20, |t, k| {
        moving(t, k) * (1.0 + (t * 7.0).floor() as f32).powi(2)
    });
    for ((name, plain), scaled) in NAMES.iter().zip(plain).zip(scaled) {
        assert!(
            (plain - scaled).abs() < 1e-4,
            "{name}: {plain} and {scaled}"
        );
    }
}

#[test]
fn steps_of_one_training_field_are_no_movement() {
    let both: Vec<i16> = subcarriers().into_iter().chain(subcarriers()).collect();
    let both_valid: Vec<bool> = valid().into_iter().chain(valid()).collect();
    let mut extractor = Extractor::new(&both, 1);
    for frame in 0..40_i64 {
        let step = if frame % 3 == 0 { 4.0 } else { 1.0 };
        let powers: Vec<f32> = (0..128)
            .map(|k| if k < 64 { 100.0 } else { 900.0 * step })
            .collect();
        assert!(extractor.push(frame * CELL_US, &powers, &both_valid));
    }
    let mut out = Vec::new();
    extractor.window(0, 4_000_000, &mut out).unwrap();
    assert!(out.iter().all(|v| *v == 0.0), "{out:?}");
}

#[test]
fn frames_in_shuffled_order_lose_their_coherence() {
    let ordered = features(100, moving);
    let shuffled = features(100, |t, k| {
        let frame = (t * 100.0).round() as u64;
        moving((frame * 7919 % 400) as f64 / 100.0, k)
    });
    let smooth = NAMES.iter().position(|name| *name == "smooth_std").unwrap();
    assert!(
        shuffled[smooth] < 0.2 * ordered[smooth],
        "{shuffled:?} against {ordered:?}"
    );
}

#[test]
fn rate_changes_little() {
    let slow = features(10, moving);
    let fast = features(100, moving);
    for ((name, slow), fast) in NAMES.iter().zip(slow).zip(fast) {
        assert!(
            (slow - fast).abs() < 0.1 * slow.abs().max(0.2),
            "{name}: {slow} at 10 Hz, {fast} at 100 Hz"
        );
    }
}

#[test]
fn too_little_is_said_to_be_too_little() {
    let mut extractor = Extractor::new(&subcarriers(), 1);
    let mut out = vec![1.0];
    assert_eq!(
        extractor.window(0, 3_000_000, &mut out),
        Err(Insufficient::Cells {
            filled: 0,
            cells: 30,
            needed: 18
        })
    );
    assert!(out.is_empty());
    assert_eq!(
        extractor.window(0, 500_000, &mut out),
        Err(Insufficient::Span { cells: 5 })
    );
    assert_eq!(
        extractor.window(5, 0, &mut out),
        Err(Insufficient::Span { cells: 0 })
    );
    assert!(matches!(
        extractor.window(i64::MIN, i64::MAX, &mut out),
        Err(Insufficient::Span { .. })
    ));
    feed(&mut extractor, 10, 1, moving);
    assert_eq!(
        extractor.window(0, 3_000_000, &mut out),
        Err(Insufficient::Cells {
            filled: 10,
            cells: 30,
            needed: 18
        })
    );
    let few = [true, true, true, false];
    let mut narrow = Extractor::new(&[0, 1, 2, 3], 1);
    for frame in 0..30 {
        narrow.push(frame * CELL_US, &[1.0; 4], &few);
    }
    assert_eq!(
        narrow.window(0, 3_000_000, &mut out),
        Err(Insufficient::Subcarriers { live: 3 })
    );
}

#[test]
fn frames_without_a_channel_do_not_count() {
    let mut extractor = Extractor::new(&subcarriers(), 1);
    assert!(!extractor.push(0, &[0.0; 64], &valid()));
    assert!(!extractor.push(0, &[f32::NAN; 64], &valid()));
    assert!(!extractor.push(0, &[f32::INFINITY; 64], &valid()));
    assert!(!extractor.push(0, &[], &valid()));
    assert!(!extractor.push(0, &[1.0; 64], &[]));
    assert!(!extractor.push(0, &vec![1.0; MAX_SAMPLES + 1], &valid()));
    assert!(extractor.push(i64::MIN, &[1.0; 64], &valid()));
    assert!(extractor.push(i64::MAX, &[1.0; 64], &valid()));
}

#[test]
fn another_layout_begins_anew() {
    let mut extractor = Extractor::new(&subcarriers(), 1);
    feed(&mut extractor, 10, 2, moving);
    let mut other = valid();
    other[5] = false;
    assert!(extractor.push(2_000_000, &[1.0; 64], &other));
    let mut out = Vec::new();
    assert_eq!(
        extractor.window(0, 2_100_000, &mut out),
        Err(Insufficient::Cells {
            filled: 1,
            cells: 21,
            needed: 13
        })
    );
}

#[test]
fn a_clock_that_restarts_begins_anew() {
    let mut extractor = Extractor::new(&subcarriers(), 1);
    let day = 86_400_000_000;
    extractor.push(day, &[1.0; 64], &valid());
    feed(&mut extractor, 10, 2, moving);
    let mut out = Vec::new();
    assert_eq!(extractor.window(0, 2_000_000, &mut out), Ok(()));
}

#[test]
fn an_old_lap_of_the_ring_is_not_taken_for_a_new_one() {
    let mut extractor = Extractor::new(&subcarriers(), 1);
    feed(&mut extractor, 10, 8, moving);
    let mut out = Vec::new();
    assert!(
        extractor.window(0, 2_000_000, &mut out).is_err(),
        "most of it was overwritten"
    );
    assert_eq!(extractor.window(5_000_000, 8_000_000, &mut out), Ok(()));
}

#[test]
fn one_validity_serves_all_antennas() {
    let mut short = Extractor::new(&subcarriers(), 2);
    let mut long = Extractor::new(&subcarriers(), 2);
    let both: Vec<bool> = valid().into_iter().chain(valid()).collect();
    for frame in 0..30 {
        let powers: Vec<f32> = subcarriers()
            .iter()
            .chain(&subcarriers())
            .map(|k| moving(frame as f64 / 10.0, *k))
            .collect();
        short.push(frame * CELL_US, &powers, &valid());
        long.push(frame * CELL_US, &powers, &both);
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    short.window(0, 3_000_000, &mut a).unwrap();
    long.window(0, 3_000_000, &mut b).unwrap();
    assert_eq!(a, b);
}

#[test]
fn gain_blocks_are_antennas_and_training_fields() {
    let check = |subcarriers: &[i16], antennas: usize, expected: &[usize]| {
        assert_eq!(
            gain_blocks(subcarriers, antennas),
            expected,
            "{subcarriers:?} x {antennas}"
        );
    };
    check(&[0, 1, -1], 1, &[0]);
    check(&[0, 1, -1], 2, &[0, 3]);
    check(&[0, 1, -1, 0, 1, -1], 1, &[0, 3]);
    check(&[0, 1, -1, 0, 1, 2, -2, -1], 2, &[0, 3, 8, 11]);
    check(&[0, 1], 0, &[0]);
    check(&[], 1, &[0]);
}

/// The numbers of an independent program: `tests/data/activity.py`.
#[test]
fn numpy_agrees() {
    #[derive(Debug)]
    struct Case<'a>(&'a serde_json::Value);
    impl Case<'_> {
        fn numbers(&self, key: &str) -> Vec<f64> {
            self.0[key]
                .as_array()
                .unwrap()
                .iter()
                .map(|v| v.as_f64().unwrap())
                .collect()
        }
    }
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/data/activity.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases.iter().map(Case) {
        let subcarriers: Vec<i16> = case
            .numbers("subcarriers")
            .iter()
            .map(|v| *v as i16)
            .collect();
        let valid: Vec<bool> = case.0["valid"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_bool().unwrap())
            .collect();
        let mut extractor = Extractor::new(&subcarriers, 1);
        for (time, power) in case
            .numbers("times_us")
            .iter()
            .zip(case.0["power"].as_array().unwrap())
        {
            let power: Vec<f32> = power
                .as_array()
                .unwrap()
                .iter()
                .map(|v| v.as_f64().unwrap() as f32)
                .collect();
            assert!(extractor.push(*time as i64, &power, &valid));
        }
        let (mut out, mut work) = (Vec::new(), Work::default());
        let bound = |key: &str| case.0[key].as_i64().unwrap();
        extractor
            .window_in(&mut work, bound("start_us"), bound("end_us"), &mut out)
            .unwrap();
        let (mut found, mut profile) = (Vec::new(), Vec::new());
        extractor.course_in(&mut work, &mut found, &mut profile);
        let names = course::NAMES.iter().chain(std::iter::repeat(&"profile"));
        let numpy = [case.numbers("course"), case.numbers("profile")].concat();
        let ours = [found, profile].concat();
        assert_eq!(ours.len(), numpy.len(), "{}", case.0["name"]);
        for ((name, ours), numpy) in names.zip(ours).zip(numpy) {
            assert!(
                (f64::from(ours) - numpy).abs() < 3e-4,
                "{}: {name}: {ours}, NumPy {numpy}",
                case.0["name"]
            );
        }
        for ((name, ours), numpy) in NAMES.iter().zip(&out).zip(case.numbers("features")) {
            assert!(
                (f64::from(*ours) - numpy).abs() < 2e-4,
                "{}: {name}: {ours}, NumPy {numpy}",
                case.0["name"]
            );
        }
    }
}

/// Course and profile of the first four seconds.
fn course_of(extractor: &mut Extractor) -> (Vec<f32>, Vec<f32>) {
    let (mut work, mut features) = (Work::default(), Vec::new());
    extractor
        .window_in(&mut work, 0, 4_000_000, &mut features)
        .unwrap();
    let (mut found, mut profile) = (Vec::new(), Vec::new());
    extractor.course_in(&mut work, &mut found, &mut profile);
    (found, profile)
}

#[test]
fn a_channel_that_rests_has_no_course() {
    let mut extractor = Extractor::new(&subcarriers(), 1);
    feed(&mut extractor, 10, 4, |_, k| f32::from(k.abs()) + 9.0);
    let (found, profile) = course_of(&mut extractor);
    assert_eq!(found, vec![0.0; course::NAMES.len()]);
    assert_eq!(profile.len(), course::BANDS);
    assert!(profile.iter().all(|value| value.abs() < 0.5), "{profile:?}");
}

#[test]
fn a_changed_posture_is_a_step_and_one_that_comes_back_is_none() {
    let step_of = |power: &dyn Fn(f64, i16) -> f32| {
        let mut extractor = Extractor::new(&subcarriers(), 1);
        feed(&mut extractor, 10, 4, power);
        let (found, _) = course_of(&mut extractor);
        let place = course::NAMES.iter().position(|name| *name == "step");
        f64::from(found[place.unwrap()])
    };
    let shape = |k: i16, on: bool| {
        let bump = if on {
            0.3 * (0.2 * f64::from(k)).sin()
        } else {
            0.0
        };
        (10.0 * (1.0 + bump)).powi(2) as f32
    };
    let stays = step_of(&|time, k| shape(k, time > 2.0));
    let returns = step_of(&|time, k| shape(k, (1.5..2.5).contains(&time)));
    assert!(stays > 0.1, "{stays}");
    assert!(returns < 1e-3, "{returns}");
}

#[test]
fn a_rhythm_comes_back_after_its_period_and_gaps_do_no_harm() {
    let lags_of = |kept: &dyn Fn(i64) -> bool| {
        let mut extractor = Extractor::new(&subcarriers(), 1);
        for cell in (0..40).filter(|cell| kept(*cell)) {
            // A period of 0.8 s: the opposite after 0.4 s, the same after 0.8 s.
            let turn = std::f64::consts::TAU * cell as f64 / 8.0;
            let power = |k: &i16| {
                let bump = 0.1 * (turn + 0.1 * f64::from(*k)).sin();
                (10.0 * (1.0 + bump)).powi(2) as f32
            };
            let powers: Vec<f32> = subcarriers().iter().map(power).collect();
            assert!(extractor.push(cell * CELL_US, &powers, &valid()));
        }
        let (found, _) = course_of(&mut extractor);
        let named = |name: &str| {
            let place = course::NAMES.iter().position(|of| *of == name);
            found[place.unwrap()]
        };
        (named("lag_4"), named("lag_8"))
    };
    let every: &dyn Fn(i64) -> bool = &|_| true;
    for kept in [every, &|cell| cell % 5 != 3] {
        let (half, whole) = lags_of(kept);
        assert!(half < -0.9, "{half}");
        assert!(whole > 0.95, "{whole}");
    }
}
