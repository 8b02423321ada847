use std::sync::Arc;

use csi::{Frame, Layout, Ppdu, SampleFormat};
use proptest::prelude::*;

use super::advice::advice;
use super::gate::{Edge, Gate, Holds, Limit};
use super::meter::{Measured, Meter};
use super::*;

const SECOND: i64 = 1_000_000;
const HOLDS: Holds = Holds {
    raise_us: 3 * SECOND,
    clear_us: 10 * SECOND,
};
const LIMIT: Limit = Limit {
    degraded: Some(Edge::Above {
        raise: 5.0,
        clear: 3.0,
    }),
    unhealthy: Some(Edge::Above {
        raise: 30.0,
        clear: 20.0,
    }),
};

fn frame(sequence: u64) -> Frame {
    Frame {
        sequence,
        counted: true,
        device_time_us: None,
        receive_time_us: 0,
        rssi_dbm: vec![-60],
        noise_floor_dbm: Some(-90),
        agc: None,
        frequency_mhz: None,
        channel: Some(6),
        bandwidth_mhz: Some(20),
        ppdu: Ppdu::Unknown,
        antennas: 1,
        layout: Arc::new(Layout {
            name: "none",
            subcarriers: Box::new([]),
            valid: Box::new([]),
        }),
        samples: Vec::new(),
        format: SampleFormat::Ci8,
        raw_size: 0,
        transmitter: None,
        simulated: false,
        chain: None,
        scale: None,
        transmit_streams: 1,
    }
}

/// Levels of a gate that gets one value a second.
fn levels(values: &[f64]) -> Vec<u8> {
    let mut gate = Gate::default();
    let mut now = 0;
    values
        .iter()
        .map(|value| {
            gate.push(&LIMIT, Some(*value), HOLDS, now);
            now += SECOND;
            gate.level()
        })
        .collect()
}

#[test]
fn a_level_rises_after_its_hold_and_falls_after_its_own() {
    let check = |values: Vec<f64>, expected: &[u8]| {
        assert_eq!(levels(&values), expected, "{values:?}");
    };
    check(vec![6.0; 5], &[0, 0, 0, 1, 1]);
    check(
        vec![6.0, 6.0, 5.0, 6.0, 6.0, 6.0, 6.0],
        &[0, 0, 0, 0, 0, 0, 1],
    );
    // Between the thresholds: what holds, holds.
    check(
        [vec![6.0; 4], vec![4.0; 20]].concat(),
        &[&[0, 0, 0][..], &[1; 21]].concat(),
    );
    check(
        [vec![6.0; 4], vec![3.0; 12]].concat(),
        &[&[0, 0, 0][..], &[1; 11], &[0, 0]].concat(),
    );
    // All the while at least degraded, in the end unhealthy.
    check(
        vec![6.0, 6.0, 40.0, 40.0, 40.0, 40.0, 40.0],
        &[0, 0, 0, 1, 1, 1, 1],
    );
    check(vec![40.0; 4], &[0, 0, 0, 2]);
}

#[test]
fn what_is_no_longer_measured_is_no_longer_wrong() {
    let mut gate = Gate::default();
    for second in 0..4 {
        gate.push(&LIMIT, Some(6.0), HOLDS, second * SECOND);
    }
    assert_eq!(gate.level(), 1);
    gate.push(&LIMIT, None, HOLDS, 5 * SECOND);
    assert_eq!(gate.level(), 1);
    gate.push(&LIMIT, None, HOLDS, 15 * SECOND);
    assert_eq!(gate.level(), 0);
}

proptest! {
    #[test]
    fn no_flapping_whatever_the_values(
        steps in prop::collection::vec((0.0..60.0_f64, 0..2_500_000_i64), 1..400)
    ) {
        let mut gate = Gate::default();
        let (mut now, mut changed, mut level) = (0, i64::MIN / 2, 0);
        for (value, step) in steps {
            now += step;
            gate.push(&LIMIT, Some(value), HOLDS, now);
            if gate.level() != level {
                let hold = if gate.level() > level { HOLDS.raise_us } else { HOLDS.clear_us };
                prop_assert!(now - changed >= hold, "{level} -> {} after {}", gate.level(), now - changed);
                (changed, level) = (now, gate.level());
            }
        }
    }

    #[test]
    fn a_value_that_dances_on_a_threshold_changes_at_most_once(
        steps in prop::collection::vec((3.01..5.5_f64, 1..2_500_000_i64), 1..400)
    ) {
        let mut gate = Gate::default();
        let (mut now, mut changes, mut level) = (0, 0, 0);
        for (value, step) in steps {
            now += step;
            gate.push(&LIMIT, Some(value), HOLDS, now);
            changes += u32::from(gate.level() != level);
            level = gate.level();
        }
        prop_assert!(changes <= 1);
    }

    #[test]
    fn rates_and_losses_are_what_was_sent(rate in 1..200_i64, keep_every in 1..5_u64) {
        let mut meter = Meter::default();
        let mut last = None;
        for n in 0..u64::try_from(rate * 12).unwrap() {
            if n % keep_every != 0 {
                continue;
            }
            let missing = last.map_or(0, |last| i64::try_from(n - last - 1).unwrap());
            last = Some(n);
            meter.frame(&frame(n), missing, i64::try_from(n).unwrap() * SECOND / rate);
        }
        let measured = meter.measured(5, 12 * SECOND - 1);
        let kept = rate as f64 / keep_every as f64;
        prop_assert!((measured.rate_hz.unwrap() - kept).abs() <= 1.0, "{measured:?}");
        let lost = 1.0 - 1.0 / keep_every as f64;
        let whole = f64::from(measured.frames);
        prop_assert!((measured.loss.unwrap() - lost).abs() <= 2.0 / whole.max(1.0), "{measured:?}");
    }
}

#[test]
fn the_rate_is_learned_from_the_first_seconds_and_then_held() {
    let mut meter = Meter::default();
    let mut send = |rate: i64, from: i64, seconds: i64| {
        for n in 0..rate * seconds {
            meter.frame(&frame(0), 0, from * SECOND + n * SECOND / rate);
        }
        meter.learned_hz()
    };
    assert_eq!(send(100, 0, 10), None, "nine full seconds are too few");
    assert_eq!(send(100, 10, 2), Some(100.0));
    assert_eq!(send(100, 12, 30), Some(100.0));
    assert_eq!(
        send(12, 42, 60),
        Some(100.0),
        "a device that grows slow is noticed"
    );
}

#[test]
fn jitter_is_measured_against_the_devices_clock() {
    let mut meter = Meter::default();
    let (mut arrival, mut device) = (0, 0);
    for n in 0..1000 {
        // The device sends unevenly, and what it sends arrives 2 ms early or late in turn.
        device += 5_000 + 1_000 * (n % 7);
        arrival = device + if n % 2 == 0 { 1_000 } else { -1_000 };
        let frame = Frame {
            device_time_us: Some(u64::try_from(device).unwrap()),
            ..frame(0)
        };
        meter.frame(&frame, 0, arrival);
    }
    let jitter = meter.measured(5, arrival).jitter_ms.unwrap();
    assert!((jitter - 2.0).abs() < 0.01, "{jitter}");
}

#[test]
fn a_quiet_device_has_no_numbers() {
    let measured = Meter::default().measured(5, 100 * SECOND);
    assert_eq!(measured, Measured::default());
}

fn judged(measured: Measured, expected: Expected) -> Option<(Status, Vec<&'static str>)> {
    let mut health = Health::default();
    let mut last = None;
    for second in 0..20 {
        if let Some(change) = health.judge(&measured, &expected, HOLDS, second * SECOND) {
            last = Some((
                change.status,
                change
                    .findings
                    .iter()
                    .map(|finding| finding.cause.as_str())
                    .collect(),
            ));
        }
    }
    last
}

#[test]
fn causes_have_a_status_and_an_action() {
    let good = Measured {
        seconds: 5,
        rate_hz: Some(100.0),
        loss: Some(0.0),
        jitter_ms: Some(0.5),
        rssi_dbm: Some(-50.0),
        snr_db: Some(40.0),
        error_rate: Some(0.0),
        malformed: 0,
        frames: 500,
        bandwidth_mhz: Some(20),
        channel: Some(6),
    };
    let expected = Expected {
        rate: Some(ExpectedRate::Configured(100.0)),
        bandwidth_mhz: Some(20),
        channel: Some(6),
        ..Expected::default()
    };
    let check = |measured: Measured, status: Status, causes: &[&str], words: &str| {
        assert_eq!(
            judged(measured, expected),
            Some((status, causes.to_vec())),
            "{measured:?}"
        );
        if let Some(first) = causes.first() {
            let cause = LIMITS
                .iter()
                .map(|(cause, _)| *cause)
                .find(|cause| cause.as_str() == *first)
                .unwrap();
            let action = advice(cause, &measured, &expected);
            assert!(action.contains(words), "{action}");
        }
    };
    check(good, Status::Healthy, &[], "");
    let rate = Measured {
        rate_hz: Some(12.0),
        ..good
    };
    check(
        rate,
        Status::Unhealthy,
        &["rate"],
        "rate 12 Hz of 100 expected (configured)",
    );
    let rate = Measured {
        rate_hz: Some(70.0),
        ..good
    };
    check(rate, Status::Degraded, &["rate"], "ping it at 100 Hz");
    let loss = Measured {
        loss: Some(0.31),
        ..good
    };
    check(loss, Status::Unhealthy, &["loss"], "losing 31 %");
    let rssi = Measured {
        rssi_dbm: Some(-88.5),
        ..good
    };
    check(rssi, Status::Unhealthy, &["rssi"], "move it nearer");
    let rssi = Measured {
        rssi_dbm: Some(-81.0),
        ..good
    };
    check(rssi, Status::Degraded, &["rssi"], "RSSI -81 dBm");
    let snr = Measured {
        snr_db: Some(6.0),
        ..good
    };
    check(snr, Status::Degraded, &["snr"], "SNR 6 dB");
    let jitter = Measured {
        jitter_ms: Some(11.0),
        ..good
    };
    check(jitter, Status::Degraded, &["jitter"], "11.0 ms off");
    let malformed = Measured {
        malformed: 9,
        frames: 0,
        error_rate: Some(1.0),
        rate_hz: Some(0.0),
        ..good
    };
    check(
        malformed,
        Status::Unhealthy,
        &["malformed", "rate"],
        "every datagram is malformed",
    );
    let bandwidth = Measured {
        bandwidth_mhz: Some(40),
        ..good
    };
    check(
        bandwidth,
        Status::Degraded,
        &["bandwidth"],
        "sends 40 MHz, and 20 MHz is configured",
    );
    let channel = Measured {
        channel: Some(11),
        ..good
    };
    check(
        channel,
        Status::Degraded,
        &["channel"],
        "on channel 11, and 6",
    );
    // What was not measured is not wrong.
    let unknown = Measured {
        rssi_dbm: None,
        snr_db: None,
        loss: None,
        jitter_ms: None,
        bandwidth_mhz: None,
        channel: None,
        ..good
    };
    check(unknown, Status::Healthy, &[], "");
    let many = Measured {
        rssi_dbm: Some(-82.0),
        loss: Some(0.5),
        ..good
    };
    check(many, Status::Unhealthy, &["loss", "rssi"], "losing 50 %");
}
