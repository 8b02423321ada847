use num_complex::Complex32;

use super::{Chip, Error, Header, decode, encode, recognised};
use crate::frame::Chain;

fn header() -> Header {
    Header {
        rssi: -58,
        frame_control: 0x88,
        transmitter: [2, 0, 0, 0, 0, 9],
        sequence_control: 5584,
        core_stream: 0,
        chanspec: 0xE02A,
        chip_version: 0x0065,
    }
}

/// Magnitudes of at most 8 bits, shifted so that one of them has bit 10.
fn samples(count: usize) -> Vec<Complex32> {
    let part = |k: usize| ((k * 37 % 511) as f32 - 255.0) * 8.0;
    (0..count)
        .map(|k| Complex32::new(part(k), part(k + 100)))
        .collect()
}

#[test]
fn the_header_byte_by_byte() {
    let mut datagram = vec![
        0x11, 0x11, 0xC6, 0x88, 2, 0, 0, 0, 0, 9, 0xD0, 0x15, 0x09, 0, 0x2A, 0xE0, 0x65, 0,
    ];
    datagram.extend([0x07, 0x00, 0xFE, 0xFF]);
    datagram.resize(18 + 4 * 256, 0);
    let (found, frame) = decode(&datagram, None, 3, 77).unwrap();
    assert_eq!(
        found,
        Header {
            core_stream: 9,
            ..header()
        }
    );
    assert_eq!((frame.sequence, frame.counted), (3, false));
    assert_eq!((frame.receive_time_us, frame.device_time_us), (77, None));
    assert_eq!(frame.rssi_dbm, [-58]);
    assert_eq!(
        (frame.channel, frame.frequency_mhz, frame.bandwidth_mhz),
        (Some(36), Some(5180), Some(80))
    );
    assert_eq!(frame.transmitter, Some([2, 0, 0, 0, 0, 9]));
    assert_eq!(frame.chain, Some(Chain { core: 1, stream: 1 }));
    // The real part first.
    assert_eq!(frame.samples[0], Complex32::new(7.0, -2.0));
    assert_eq!((frame.raw_size, frame.layout.name), (1042, "nexmon-256"));
}

#[test]
fn the_older_header_has_no_rssi_and_swapped_cores_are_read() {
    let older = Header {
        rssi: 0x11,
        frame_control: 0x11,
        core_stream: 0x1A00,
        ..header()
    };
    let datagram = encode(&older, &samples(256), Chip::Bcm43455c0, false).unwrap();
    let (_, frame) = decode(&datagram, None, 0, 0).unwrap();
    assert!(frame.rssi_dbm.is_empty());
    assert_eq!(frame.chain, Some(Chain { core: 2, stream: 3 }));
}

#[test]
fn every_chip_and_bandwidth_reads_as_written() {
    for (chanspec, bins, measured) in [
        (0x100D, 64, 48),
        (0xD926, 128, 108),
        (0xE02A, 256, 234),
        (0xE832, 512, 468),
    ] {
        for (chip, version) in [
            (Chip::Bcm4339, 0x0001),
            (Chip::Bcm43455c0, 0x0065),
            (Chip::Bcm4358, 0xDEAD),
            (Chip::Bcm4366c0, 0x006A),
            (Chip::Bcm4366c0, 0xE834),
            // No version that anyone has listed: the words say what they are.
            (Chip::Bcm4358, 0x1234),
            (Chip::Bcm4366c0, 0x1234),
            (Chip::Bcm43455c0, 0x1234),
        ] {
            let header = Header {
                chanspec,
                chip_version: version,
                ..header()
            };
            for trailer in [false, true] {
                let written = encode(&header, &samples(bins), chip, trailer).unwrap();
                let (found, frame) = decode(&written, None, 0, 0).unwrap();
                assert_eq!(found, header);
                assert_eq!(frame.samples, samples(bins), "{chip} {version:#x}");
                assert_eq!(frame.layout.measured().count(), measured);
                let (_, forced) = decode(&written, Some(chip), 0, 0).unwrap();
                assert_eq!(forced, frame);
            }
        }
    }
}

#[test]
fn a_forced_chip_counts_more_than_the_version() {
    let written = encode(&header(), &samples(256), Chip::Bcm4358, false).unwrap();
    let (_, as_announced) = decode(&written, None, 0, 0).unwrap();
    assert_ne!(as_announced.samples, samples(256));
    let (_, forced) = decode(&written, Some(Chip::Bcm4358), 0, 0).unwrap();
    assert_eq!(forced.samples, samples(256));
}

#[test]
fn bins_are_in_fft_order_and_rubbish_is_marked() {
    let written = encode(&header(), &samples(256), Chip::Bcm43455c0, false).unwrap();
    let layout = decode(&written, None, 0, 0).unwrap().1.layout;
    assert_eq!(
        [0, 127, 128, 255].map(|place: usize| layout.subcarriers[place]),
        [0, 127, -128, -1]
    );
    let unmeasured: Vec<i16> = layout
        .subcarriers
        .iter()
        .zip(&layout.valid)
        .filter(|(k, valid)| !**valid && **k >= 0)
        .map(|(k, _)| *k)
        .collect();
    assert_eq!(unmeasured, [0, 1, 11, 39, 75, 103, 123, 124, 125, 126, 127]);
}

#[test]
fn damaged_datagrams_are_named() {
    let good = encode(&header(), &samples(256), Chip::Bcm43455c0, false).unwrap();
    for length in 0..good.len() {
        let error = decode(&good[..length], None, 0, 0).unwrap_err();
        let code = if length < 18 {
            "truncated"
        } else {
            "bad_length"
        };
        assert_eq!(error.code(), code, "{length}");
        assert!(error.to_string().contains(&length.to_string()), "{error}");
        assert_eq!(recognised(5500, &good[..length]), length >= 2);
        assert!(!recognised(5501, &good[..length]));
    }
    assert!(recognised(5501, &good) && !recognised(5500, &good[1..]));
    let mut other = good.clone();
    other[1] = 0x12;
    assert_eq!(
        decode(&other, None, 0, 0).unwrap_err(),
        Error::WrongMagic { found: 0x1211 }
    );
    other = good;
    other[15] = 0xF8;
    assert_eq!(
        decode(&other, None, 0, 0).unwrap_err(),
        Error::Bandwidth { found: 0xF82A }
    );
}

#[test]
fn words_of_zero_and_extreme_exponents_stay_in_range() {
    use super::float::Packing;
    for packing in [Packing::BCM4358, Packing::BCM4366C0] {
        for words in [[0_u32; 2], [u32::MAX; 2], [0x10, u32::MAX], [0x20, 1 << 20]] {
            let mut found = Vec::new();
            packing.unpack(&words.map(u32::to_le_bytes), &mut found);
            let within = |part: f32| part.abs() <= 2047.0;
            assert!(
                found.iter().all(|c| within(c.re) && within(c.im)),
                "{found:?}"
            );
        }
    }
}
