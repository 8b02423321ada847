use super::{
    Compressed, DecompressError, Decompressor, EdgeReport, FeatureState, Features, FusedVitals,
    ModuleOutput, Report, Vitals, compress,
};
use crate::decode::adr018::{Packet, decode};

fn report(bytes: &[u8]) -> EdgeReport {
    match decode(bytes, 0).unwrap() {
        Packet::Edge(report) => report,
        other => panic!("{other:?}"),
    }
}

/// Byte by byte, as the firmware's table has it.
fn vitals_packet() -> Vec<u8> {
    let mut bytes = vec![0x02, 0, 0x11, 0xC5, 3, 0b101];
    bytes.extend(1525_u16.to_le_bytes());
    bytes.extend(723_400_u32.to_le_bytes());
    bytes.extend([(-47_i8) as u8, 2, 0, 0]);
    bytes.extend(0.25_f32.to_le_bytes());
    bytes.extend(7.5_f32.to_le_bytes());
    bytes.extend(61_000_u32.to_le_bytes());
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn vitals_byte_by_byte_and_as_metadata() {
    let found = report(&vitals_packet());
    let expected = Vitals {
        flags: 0b101,
        breaths_x100: 1525,
        heart_x10000: 723_400,
        rssi_dbm: -47,
        persons: 2,
        motion: 0.25,
        presence: 7.5,
        uptime_ms: 61_000,
    };
    assert_eq!(
        found,
        EdgeReport {
            node: 3,
            report: Report::Vitals(expected)
        }
    );
    let pairs = [
        ("edge_presence", "true"),
        ("edge_fall", "false"),
        ("edge_motion", "true"),
        ("edge_persons", "2"),
        ("edge_breaths_per_minute", "15.25"),
        ("edge_heart_rate_per_minute", "72.34"),
        ("edge_motion_energy", "0.25"),
        ("edge_presence_score", "7.5"),
        ("edge_uptime_ms", "61000"),
    ];
    let pairs: Vec<_> = pairs.map(|(key, value)| (key, value.to_owned())).into();
    assert_eq!(found.metadata(), pairs);
}

#[test]
fn every_report_reads_as_written() {
    let vitals = Vitals {
        flags: 8,
        persons: 1,
        motion: f32::MAX,
        ..Vitals::default()
    };
    let reports = [
        Report::Vitals(vitals),
        Report::Features(Features {
            sequence: 9,
            time_us: -5,
            values: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.5],
        }),
        Report::FusedVitals(FusedVitals {
            vitals,
            radar: 4,
            fusion_confidence: 80,
            radar_heart: 61.5,
            radar_breaths: 12.0,
            distance_cm: 150.0,
            targets: 2,
            radar_confidence: 7,
        }),
        Report::ModuleOutput(ModuleOutput {
            module: 5,
            values: vec![(1, 0.5), (2, -1.0), (3, 0.0)],
        }),
        Report::Compressed(Compressed {
            channel: 6,
            original: 300,
            runs: vec![[0, 255], [7, 45]],
        }),
        Report::FeatureState(FeatureState {
            mode: 2,
            sequence: 77,
            time_us: u64::MAX,
            values: [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
            flags: 0b11,
        }),
    ];
    for written in reports {
        let written = EdgeReport {
            node: 9,
            report: written,
        };
        let bytes = written.encode();
        assert_eq!(report(&bytes), written);
        // A cut report of a radar can look like a module's output: they share the number.
        let radar = matches!(written.report, Report::FusedVitals(_));
        for length in (0..bytes.len()).filter(|_| !radar) {
            assert_eq!(decode(&bytes[..length], 0).unwrap_err().code(), "truncated");
        }
        let keys = written.metadata();
        assert!(keys.iter().all(|(key, _)| key.starts_with("edge_")));
    }
}

#[test]
fn what_a_node_does_not_know_is_left_out() {
    let state = |flags| {
        let values = [0.5, 1.0, 14.0, 0.9, 66.0, f32::NAN, 0.0, 0.0, 1.0];
        let state = FeatureState {
            values,
            flags,
            ..FeatureState::default()
        };
        let report = EdgeReport {
            node: 1,
            report: Report::FeatureState(state),
        };
        report
            .metadata()
            .into_iter()
            .map(|(key, _)| key)
            .collect::<Vec<_>>()
    };
    assert!(!state(0).contains(&"edge_breaths_per_minute"));
    assert!(state(2).contains(&"edge_breaths_per_minute"));
    assert!(!state(2).contains(&"edge_heart_rate_per_minute"));
    // No number.
    assert!(state(4).contains(&"edge_heart_rate_per_minute"));
    assert!(!state(4).contains(&"edge_heart_rate_confidence"));
    let mut still = vitals_packet();
    still[6..12].fill(0);
    assert!(
        report(&still)
            .metadata()
            .iter()
            .all(|(key, _)| !key.ends_with("per_minute"))
    );
}

#[test]
fn compressed_frames_follow_a_whole_one_until_something_is_lost() {
    let buffers: Vec<Vec<u8>> = (0..4_u8)
        .map(|frame| {
            (0..600_u32)
                .map(|k| (k / 300) as u8 * 3 + frame * 7)
                .collect()
        })
        .collect();
    let packets: Vec<Compressed> = buffers
        .windows(2)
        .map(|pair| compress(6, &pair[0], &pair[1]).unwrap())
        .collect();
    // 300 equal bytes are two runs.
    assert_eq!(packets[0].runs.len(), 4);

    let mut node = Decompressor::default();
    let no_reference = Err(DecompressError::NoReference);
    assert_eq!(node.unpack(&packets[0]), no_reference);
    node.whole(&buffers[0]);
    for (packet, buffer) in packets.iter().zip(&buffers[1..]) {
        assert_eq!(node.unpack(packet), Ok(&buffer[..]));
    }
    node.lost();
    assert_eq!(node.unpack(&packets[0]), no_reference);
    node.whole(&buffers[1]);
    assert_eq!(node.unpack(&packets[1]), Ok(&buffers[2][..]));
}

#[test]
fn what_does_not_fit_is_a_loss() {
    let buffer = [1_u8; 8];
    let packet = |original, runs: &[[u8; 2]]| Compressed {
        channel: 1,
        original,
        runs: runs.to_vec(),
    };
    for (packet, error) in [
        (
            packet(6, &[[0, 6]]),
            DecompressError::OtherLength {
                expected: 8,
                found: 6,
            },
        ),
        (
            packet(8, &[[0, 7]]),
            DecompressError::Runs {
                expected: 8,
                found: 7,
            },
        ),
        (
            packet(8, &[[0, 7], [1, 255]]),
            DecompressError::Runs {
                expected: 8,
                found: 262,
            },
        ),
    ] {
        let mut node = Decompressor::default();
        node.whole(&buffer);
        assert_eq!(node.unpack(&packet), Err(error));
        assert!(!node.ready());
        node.whole(&buffer);
        assert!(node.ready());
    }
    assert_eq!(compress(1, &buffer, &buffer[1..]), None);
}
