use std::sync::Arc;

use csi::{Layout, Ppdu, SampleFormat};

use super::*;

fn frame(sequence: u64, receive_time_us: i64) -> Frame {
    Frame {
        sequence,
        counted: true,
        device_time_us: None,
        receive_time_us,
        rssi_dbm: vec![-50],
        noise_floor_dbm: Some(-92),
        agc: None,
        frequency_mhz: None,
        channel: Some(6),
        bandwidth_mhz: Some(20),
        ppdu: Ppdu::Unknown,
        antennas: 1,
        transmit_streams: 1,
        layout: Arc::new(Layout {
            name: "none",
            subcarriers: Box::new([]),
            valid: Box::new([]),
        }),
        samples: Vec::new(),
        format: SampleFormat::Ci8,
        scale: None,
        raw_size: 0,
        transmitter: None,
        simulated: false,
        chain: None,
    }
}

fn orders(sequences: &[u64]) -> (Vec<Order>, Track) {
    let mut track = Track::default();
    let orders = sequences
        .iter()
        .map(|&s| track.push(&frame(s, 0)))
        .collect();
    (orders, track)
}

#[test]
fn losses_are_counted_and_late_frames_taken_back() {
    let (orders, track) = orders(&[5, 6, 9, 8, 10, 10]);
    assert_eq!(
        orders,
        [
            Order::Next,
            Order::Next,
            Order::Gap(2),
            Order::Late(1),
            Order::Next,
            Order::Duplicate
        ]
    );
    assert_eq!((track.lost, track.duplicates, track.frames), (1, 1, 5));
}

#[test]
fn a_restart_is_no_loss() {
    let (orders, track) = orders(&[1_000_000, 1_000_001, 0, 1]);
    assert_eq!(orders[2], Order::Restart);
    assert_eq!((track.lost, track.restarts), (0, 1));
}

#[test]
fn the_rate_is_measured_over_a_second() {
    let mut track = Track::default();
    for i in 0..=100 {
        track.push(&frame(i, i64::try_from(i).unwrap() * 10_000));
    }
    assert_eq!(track.rate_hz, Some(100.0));
    assert_eq!(track.rssi_dbm, Some(-50.0));
}

#[test]
fn all_frames_are_announced_within_the_budget() {
    let mut announcer = Announcer::new(1000);
    assert!((0..5_000).all(|i| announcer.announce(i * 1_000) == (true, 1)));
}

#[test]
fn above_the_budget_one_in_n_is() {
    let mut announcer = Announcer::new(1000);
    let mut announced = [0_u32; 4];
    let mut stands_for = 0;
    for i in 0..20_000 {
        let (yes, n) = announcer.announce(i * 200);
        if yes {
            announced[usize::try_from(i / 5_000).unwrap()] += 1;
        }
        if i >= 5_000 {
            stands_for = n;
        }
    }
    assert!(announced.iter().all(|&n| n <= 3_000), "{announced:?}");
    assert_eq!(announced[1..], [1000, 1000, 1000]);
    assert_eq!(stands_for, 5);
}

#[test]
fn a_datagram_that_comes_twice_is_a_duplicate_and_a_new_count_is_a_restart() {
    let mut track = Track::default();
    let sample = |re| vec![num_complex::Complex32::new(re, 0.0)];
    let mut push = |sequence, re, time_us| {
        let mut frame = frame(sequence, time_us);
        frame.samples = sample(re);
        track.push(&frame)
    };
    assert_eq!(push(1, 1.0, 0), Order::Next);
    assert_eq!(push(2, 2.0, 10), Order::Next);
    assert_eq!(push(3, 3.0, 20), Order::Next);
    assert_eq!(push(1, 1.0, 30), Order::Duplicate, "not only of the newest");
    assert_eq!(push(3, 3.0, 40), Order::Duplicate);
    assert_eq!(
        push(1, 9.0, 50),
        Order::Restart,
        "the same number, another frame"
    );
    assert_eq!(push(2, 8.0, 60), Order::Next);
    assert_eq!(push(5, 7.0, 70), Order::Gap(2));
    assert_eq!(push(4, 6.0, 80), Order::Late(1));
    assert_eq!(push(4, 6.0, 90), Order::Duplicate, "late and twice");
    assert_eq!(
        push(5, 7.0, 2_000_000),
        Order::Restart,
        "nothing is delivered twice so late"
    );
    assert_eq!(
        (track.frames, track.duplicates, track.late, track.restarts),
        (8, 3, 1, 2)
    );
}
