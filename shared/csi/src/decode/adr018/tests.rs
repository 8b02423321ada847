use num_complex::Complex32;

use super::{Error, MAGIC_CSI, Packet, Report, decode, encode, flag, peek_node};
use crate::layout::{self, Fields, Order};
use crate::{Frame, Ppdu};

/// A datagram as the table of the format has it, byte by byte.
fn datagram(antennas: u8, subcarriers: u16, frequency: u32, tail: [u8; 2]) -> Vec<u8> {
    let mut bytes = MAGIC_CSI.to_le_bytes().to_vec();
    bytes.extend([7, antennas]);
    bytes.extend(subcarriers.to_le_bytes());
    bytes.extend(frequency.to_le_bytes());
    bytes.extend(0x0023_0000_u32.to_le_bytes());
    bytes.extend([(-50_i8) as u8, (-92_i8) as u8]);
    bytes.extend(tail);
    let samples = usize::from(antennas) * usize::from(subcarriers);
    bytes.extend((0..samples).flat_map(|k| [(k % 100) as u8, ((k % 90) as i8 - 100) as u8]));
    bytes
}

fn frame(bytes: &[u8]) -> Frame {
    match decode(bytes, 1_234_567).unwrap() {
        Packet::Csi { node: 7, frame, .. } => frame,
        other => panic!("{other:?}"),
    }
}

/// Two public parsers read sequence, RSSI and noise at 10, 14 and 15, and the subcarriers as one byte.
#[test]
fn fields_are_where_the_firmware_writes_them() {
    let found = frame(&datagram(1, 64, 2437, [0, 0]));
    assert_eq!(found.sequence, 0x23_0000);
    assert_eq!(found.rssi_dbm, [-50]);
    assert_eq!(found.noise_floor_dbm, Some(-92));
    assert_eq!(
        (found.receive_time_us, found.device_time_us),
        (1_234_567, None)
    );
    assert_eq!(
        (found.antennas, found.layout.len(), found.raw_size),
        (1, 64, 148)
    );

    let wide = frame(&datagram(1, 256, 2437, [0, 0]));
    assert_eq!((wide.layout.len(), wide.samples.len()), (256, 256));
    assert_eq!((wide.layout.name, wide.bandwidth_mhz), ("positions", None));
}

#[test]
fn the_imaginary_part_comes_first() {
    let found = frame(&datagram(1, 64, 2437, [0, 0]));
    assert_eq!(found.samples[3], Complex32::new(-97.0, 3.0));
    assert_eq!(found.sample(0, 3), Some(Complex32::new(-97.0, 3.0)));
    assert_eq!((found.sample(0, 64), found.sample(1, 0)), (None, None));
}

#[test]
fn frequency_in_megahertz_or_in_hertz() {
    for (written, frequency, channel) in [
        (2437, Some(2437), Some(6)),
        (2_437_000_000, Some(2437), Some(6)),
        (5180, Some(5180), Some(36)),
        (2_484_000_000, Some(2484), Some(14)),
        (0, None, None),
        (999_999, Some(999_999), None),
    ] {
        let found = frame(&datagram(1, 64, written, [0, 0]));
        assert_eq!(
            (found.frequency_mhz, found.channel),
            (frequency, channel),
            "{written}"
        );
    }
}

#[test]
fn layout_bandwidth_and_packet_follow_from_count_and_flags() {
    for (subcarriers, tail, name, bandwidth, ppdu) in [
        (64, [0, 0], "esp32-lltf64", Some(20), Ppdu::Unknown),
        (
            64,
            [0, flag::FIRST_WORD_INVALID],
            "esp32-lltf64-w",
            Some(20),
            Ppdu::Unknown,
        ),
        (128, [0, 0], "esp32-lltf64-ht64", Some(20), Ppdu::Ht),
        (192, [0, 0], "esp32-lltf64-ht64-stbc64", Some(20), Ppdu::Ht),
        (
            192,
            [0, flag::BANDWIDTH_40],
            "esp32-lltf64-ht128",
            Some(40),
            Ppdu::Ht,
        ),
        (
            192,
            [0, flag::STBC],
            "esp32-lltf64-ht64-stbc64",
            Some(20),
            Ppdu::Ht,
        ),
        (
            306,
            [0, flag::BANDWIDTH_40 | flag::STBC],
            "esp32-lltf64-ht121-stbc121",
            Some(40),
            Ppdu::Ht,
        ),
        (256, [1, flag::SYNCHRONISED], "positions", None, Ppdu::He),
        (
            57,
            [0, flag::FIRST_WORD_INVALID],
            "positions-w",
            None,
            Ppdu::Unknown,
        ),
    ] {
        let found = frame(&datagram(1, subcarriers, 2437, tail));
        assert_eq!(
            (found.layout.name, found.bandwidth_mhz, found.ppdu),
            (name, bandwidth, ppdu),
            "{subcarriers} {tail:?}"
        );
        assert!(!found.simulated);
    }
    assert!(frame(&datagram(1, 64, 2437, [0, flag::SIMULATED])).simulated);
}

#[test]
fn nulls_are_where_the_standard_has_them() {
    let layout = frame(&datagram(1, 128, 2437, [0, 0])).layout;
    let nulls: Vec<usize> = (0..128)
        .filter(|position| !layout.valid[*position])
        .collect();
    let expected: Vec<usize> = [0]
        .into_iter()
        .chain(27..=37)
        .chain([64])
        .chain(93..=99)
        .collect();
    assert_eq!(nulls, expected);
    assert_eq!(
        (
            layout.subcarriers[31],
            layout.subcarriers[32],
            layout.subcarriers[63]
        ),
        (31, -32, -1)
    );
    assert_eq!(
        (
            layout.subcarriers[64],
            layout.subcarriers[96],
            layout.subcarriers[127]
        ),
        (0, -32, -1)
    );
}

/// The zeros of the C5 and C6, which the header does not name.
#[test]
fn an_ascending_buffer_is_told_by_its_zeros() {
    let mut bytes = datagram(1, 64, 2437, [0, 0]);
    for position in [0, 1, 2, 3, 32, 61, 62, 63] {
        bytes[20 + 2 * position..22 + 2 * position].fill(0);
    }
    assert_eq!(frame(&bytes).layout.name, "esp32-ht64-asc");
    for position in [4, 5, 59, 60] {
        bytes[20 + 2 * position..22 + 2 * position].fill(0);
    }
    assert_eq!(frame(&bytes).layout.name, "esp32-lltf64-asc");
    bytes[20..].fill(0);
    assert_eq!(frame(&bytes).layout.name, "esp32-lltf64");
}

#[test]
fn several_antennas_one_after_another() {
    let found = frame(&datagram(3, 64, 2437, [0, 0]));
    assert_eq!((found.antennas, found.samples.len()), (3, 192));
    assert_eq!(found.antenna(2), &found.samples[128..]);
    assert!(found.antenna(3).is_empty());
    let mut powers = vec![1.0];
    found.powers(1, &mut powers);
    assert_eq!(powers.len(), 52);
    assert_eq!(powers[0], found.samples[65].norm_sqr());
}

fn refused(bytes: &[u8]) -> Error {
    decode(bytes, 0).unwrap_err()
}

#[test]
fn damaged_datagrams_are_named() {
    let good = datagram(1, 64, 2437, [0, 0]);
    for length in 0..good.len() {
        let error = refused(&good[..length]);
        assert_eq!(error.code(), "truncated", "{length}");
        assert!(
            error.to_string().contains(&format!("found {length}")),
            "{error}"
        );
    }
    let mut long = good.clone();
    long.push(0);
    assert_eq!(refused(&long).code(), "oversized");
    assert!(
        refused(&long).to_string().contains("148"),
        "{}",
        refused(&long)
    );

    let mut other = good.clone();
    other[0] = 9;
    assert_eq!(refused(&other), Error::WrongMagic { found: 0xC511_0009 });
    for antennas in [0, 9, 255] {
        let mut bytes = good.clone();
        bytes[5] = antennas;
        assert_eq!(refused(&bytes), Error::AbsurdAntennas { found: antennas });
    }
    for subcarriers in [0_u16, 2049, 65535] {
        let mut bytes = good.clone();
        bytes[6..8].copy_from_slice(&subcarriers.to_le_bytes());
        assert_eq!(
            refused(&bytes),
            Error::AbsurdSubcarriers { found: subcarriers }
        );
    }
}

#[test]
fn a_damaged_datagram_still_names_its_node() {
    let good = datagram(1, 64, 2437, [0, 0]);
    assert_eq!(peek_node(&good[..9]), Some(7));
    assert_eq!(peek_node(&good[..4]), None);
    assert_eq!(peek_node(b"GET / HTTP/1.1"), None);
}

fn edge(magic: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..4].copy_from_slice(&magic.to_le_bytes());
    bytes[4] = 3;
    bytes
}

#[test]
fn conclusions_of_nodes_are_recognised_by_number_and_length() {
    let check = |bytes: &[u8], kind: fn(&Report) -> bool| match decode(bytes, 0).unwrap() {
        Packet::Edge(edge) => assert!(kind(&edge.report) && edge.node == 3),
        other => panic!("{other:?}"),
    };
    check(&edge(0xC511_0002, 32), |r| matches!(r, Report::Vitals(_)));
    check(&edge(0xC511_0003, 48), |r| matches!(r, Report::Features(_)));
    check(&edge(0xC511_0004, 48), |r| {
        matches!(r, Report::FusedVitals(_))
    });
    for magic in [0xC511_0004, 0xC511_0007] {
        let mut module = edge(magic, 8 + 5 * 3);
        module[6] = 3;
        check(&module, |r| matches!(r, Report::ModuleOutput(_)));
        module[6] = 4;
        assert_eq!(refused(&module).code(), "truncated");
    }
    let mut compressed = edge(0xC511_0005, 10 + 6);
    compressed[8] = 6;
    check(&compressed, |r| matches!(r, Report::Compressed(_)));
    compressed[8] = 5;
    assert_eq!(refused(&compressed).code(), "oversized");
    assert_eq!(refused(&compressed[..15]).code(), "truncated");
    let mut state = edge(0xC511_0006, 60);
    let mut crc = flate2::Crc::new();
    crc.update(&state[..56]);
    state[56..].copy_from_slice(&crc.sum().to_le_bytes());
    check(&state, |r| matches!(r, Report::FeatureState(_)));
    state[20] ^= 1;
    assert_eq!(refused(&state).code(), "wrong_checksum");

    assert_eq!(refused(&edge(0xC511_0002, 31)).code(), "truncated");
    assert_eq!(refused(&edge(0xC511_0003, 49)).code(), "oversized");
    for magic in [super::MAGIC_MESH, super::MAGIC_SYNC] {
        assert_eq!(decode(&magic.to_le_bytes(), 0), Ok(Packet::Mesh));
    }
}

/// The HE field of a C6, and the fields of a C5, told by their zeros.
#[test]
fn newer_chips_are_told_by_their_zeros() {
    for (fields, name, bandwidth, ppdu) in [
        (Fields::He256, "esp32-he256-asc", 20, Ppdu::He),
        (Fields::Ht40, "esp32-ht128-asc", 40, Ppdu::Ht),
        (Fields::Ht57, "esp32-ht57-asc", 20, Ppdu::Ht),
    ] {
        let layout = layout::esp32(fields, Order::Ascending, false);
        let mut bytes = datagram(1, layout.len() as u16, 2437, [0, 0]);
        for (place, _) in layout
            .valid
            .iter()
            .enumerate()
            .filter(|(_, valid)| !**valid)
        {
            bytes[20 + 2 * place..22 + 2 * place].fill(0);
        }
        let found = frame(&bytes);
        assert_eq!((found.layout.name, found.ppdu), (name, ppdu));
        assert_eq!(found.bandwidth_mhz, Some(bandwidth));
    }
}

#[test]
fn what_is_written_reads_the_same() {
    for (fields, wide) in [
        (Fields::Legacy, false),
        (Fields::LegacyHt20Stbc, false),
        (Fields::LegacyHt40, true),
    ] {
        for first_word_invalid in [false, true] {
            let layout = layout::esp32(fields, Order::Fft, first_word_invalid);
            let mut original = frame(&datagram(1, layout.len() as u16, 2412, [0, 0]));
            original.layout = layout;
            original.bandwidth_mhz = Some(if wide { 40 } else { 20 });
            original.simulated = first_word_invalid;
            let mut bytes = Vec::new();
            encode(&original, 7, &mut bytes).unwrap();
            assert_eq!(frame(&bytes), original);
        }
    }
}

#[test]
fn what_does_not_fit_is_not_written() {
    let mut original = frame(&datagram(1, 64, 2412, [0, 0]));
    original.samples[5].im = 0.5;
    let error = encode(&original, 7, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "sample 5 is no pair of 8-bit integers");
    original.samples.pop();
    assert!(encode(&original, 7, &mut Vec::new()).is_err());
}
