use csi::decode::adr018::compress;
use simulator::{Scenario, Simulation, Traffic};

use super::*;

const FROM: From = From::Local(1);
const SPACING_US: i64 = 10_000;

/// Datagrams of an empty room, node 1.
fn datagrams() -> Vec<Vec<u8>> {
    let scenario = Scenario {
        duration_s: 1.0,
        traffic: Traffic::ideal(),
        ..Scenario::preset("empty").unwrap()
    };
    let frames = Simulation::new(&scenario, 1, 0).unwrap();
    let datagrams = frames.map(|simulated| {
        let mut bytes = Vec::new();
        simulator::datagram(&simulated, &mut bytes).unwrap();
        bytes
    });
    datagrams.collect()
}

fn packet(before: &[u8], now: &[u8]) -> Compressed {
    compress(6, &before[20..], &now[20..]).unwrap()
}

fn samples(datagram: &[u8]) -> Vec<num_complex::Complex32> {
    match adr018::decode(datagram, 0) {
        Ok(Packet::Csi { frame, .. }) => frame.samples,
        other => panic!("{other:?}"),
    }
}

fn sequence(datagram: &[u8]) -> u64 {
    u32::from_le_bytes(datagram[12..16].try_into().unwrap()).into()
}

/// Sends the frames `from` to `to`, the first of them whole: what came out, by frame.
fn send(packed: &mut Packed, all: &[Vec<u8>], from: usize, to: usize) -> Vec<Unpacked> {
    let mut out = Vec::new();
    for k in from..to {
        let time_us = i64::try_from(k).unwrap() * SPACING_US;
        if k == from {
            packed.whole(FROM, 1, &all[k], time_us);
        } else {
            let packet = packet(&all[k - 1], &all[k]);
            out.push(packed.unpack(FROM, 1, &packet, 99, time_us));
        }
    }
    out
}

#[test]
fn a_node_that_sends_compressed_frames_instead_is_unpacked_after_a_whole_one() {
    let all = datagrams();
    let mut packed = Packed::default();
    // Nobody knows this node yet, and its first packets have nothing before them.
    assert!(
        send(&mut packed, &all, 0, 20)
            .iter()
            .all(|out| *out == Unpacked::Waiting)
    );
    let out = send(&mut packed, &all, 20, 30);
    for (k, out) in (21..30).zip(out) {
        let Unpacked::Frame(frame) = out else {
            panic!("{k}: {out:?}");
        };
        assert_eq!(frame.samples, samples(&all[k]), "{k}");
        assert_eq!((frame.counted, frame.sequence), (true, sequence(&all[k])));
        assert_eq!((frame.rssi_dbm.len(), frame.noise_floor_dbm), (0, None));
        assert_eq!((frame.channel, frame.raw_size), (Some(6), 99));
        assert!(frame.simulated);
    }
}

#[test]
fn after_a_loss_a_whole_frame_is_waited_for() {
    let all = datagrams();
    let known = || {
        let mut packed = Packed::default();
        send(&mut packed, &all, 0, 20);
        send(&mut packed, &all, 20, 30);
        packed
    };
    let next = |packed: &mut Packed, k: usize, at_us: i64| {
        packed.unpack(FROM, 1, &packet(&all[k - 1], &all[k]), 99, at_us)
    };
    assert!(matches!(
        next(&mut known(), 30, 300_000),
        Unpacked::Frame(_)
    ));
    // A packet is missing: the pause tells.
    assert_eq!(next(&mut known(), 31, 310_000), Unpacked::Waiting);
    let mut packed = known();
    packed.lost(FROM, 1);
    assert_eq!(next(&mut packed, 30, 300_000), Unpacked::Waiting);
    let mut packed = known();
    packed.all_lost();
    assert_eq!(next(&mut packed, 30, 300_000), Unpacked::Waiting);
    assert_eq!(next(&mut packed, 31, 310_000), Unpacked::Waiting);
    let out = send(&mut packed, &all, 32, 35);
    assert!(
        out.iter().all(|out| matches!(out, Unpacked::Frame(_))),
        "{out:?}"
    );
}

#[test]
fn what_comes_whole_as_well_is_left_alone() {
    let all = datagrams();
    let mut packed = Packed::default();
    for k in 1..60 {
        let time_us = i64::try_from(k).unwrap() * SPACING_US;
        packed.whole(FROM, 1, &all[k], time_us);
        let out = packed.unpack(FROM, 1, &packet(&all[k - 1], &all[k]), 99, time_us);
        assert!(!matches!(out, Unpacked::Frame(_)), "{k}");
    }
}
