//! Public recordings of what no recording that the tests require shows: chips, bandwidths and versions of formats. They are
//! optional, and each test says SKIPPED where its own are not there.
//!
//! Sums are over values that other programs decoded: csiread 1.4.1 for the Intel 5300 (receive streams in the order of the
//! antennas where the record names a permutation) and Nexmon, and for the other formats a program written after the layouts
//! alone. The samples are summed by subcarrier, receive chain and transmit stream.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use csi::decode::record::Header;
use csi::read::{Format, Options, Reader};
use csi::{Frame, Ppdu};
use recordings::require_or_skip;

struct Read {
    format: Format,
    frames: Vec<Frame>,
    headers: Vec<Option<Header>>,
    malformed: Vec<String>,
}

fn read(recording: &recordings::Recording) -> Read {
    let bytes = Bytes::from(recording.contents.clone());
    let name = recording.file_name();
    let mut reader = Reader::new(bytes, &name, Format::Auto, Options::default()).unwrap();
    let mut all = Read {
        format: reader.format(),
        frames: Vec::new(),
        headers: Vec::new(),
        malformed: Vec::new(),
    };
    while let Some(next) = reader.next() {
        match next {
            Ok(frame) => {
                all.headers.push(reader.header().cloned());
                all.frames.push(frame);
            }
            Err(place) => all.malformed.push(place.to_string()),
        }
    }
    assert_eq!(
        all.frames.len() as u64,
        recording.entry.frames,
        "{}",
        recording.entry.name
    );
    all
}

/// Samples by subcarrier and antenna.
fn samples(frames: &[Frame]) -> impl Iterator<Item = (f32, f32)> + '_ {
    frames.iter().flat_map(|frame| {
        let places = (0..frame.layout.len()).flat_map(move |tone| {
            (0..frame.antennas).map(move |antenna| frame.sample(antenna, tone).unwrap())
        });
        places.map(|sample| (sample.re, sample.im))
    })
}

fn checksum(frames: &[Frame]) -> String {
    let mut crc = flate2::Crc::new();
    for (re, im) in samples(frames) {
        crc.update(&(re as i32).to_le_bytes());
        crc.update(&(im as i32).to_le_bytes());
    }
    format!("{:08x}", crc.sum())
}

fn layouts(all: &Read) -> Vec<(&'static str, usize)> {
    let mut found: Vec<(&'static str, usize)> = Vec::new();
    for frame in &all.frames {
        match found
            .iter_mut()
            .find(|(name, _)| *name == frame.layout.name)
        {
            Some((_, number)) => *number += 1,
            None => found.push((frame.layout.name, 1)),
        }
    }
    found
}

#[test]
fn nexmon_4339_with_three_streams_and_4358_at_40_mhz() {
    let all = read(&require_or_skip!("csikit-nexmon-4339"));
    assert_eq!((all.format, all.malformed.len()), (Format::Pcap, 0));
    assert_eq!(checksum(&all.frames), "b28d84f9");
    let mut chains: Vec<_> = all
        .frames
        .iter()
        .filter_map(|frame| frame.chain)
        .map(|chain| (chain.core, chain.stream))
        .collect();
    chains.sort_unstable();
    chains.dedup();
    assert_eq!(chains, [(0, 0), (0, 1), (0, 2)]);

    let all = read(&require_or_skip!("csi-extraction-nexmon-nexus"));
    assert_eq!(checksum(&all.frames), "69676ba4");
    assert_eq!(layouts(&all), [("nexmon-128", 20)]);
    assert!(all.frames.iter().all(|frame| frame.channel == Some(100)));
}

#[test]
fn feitcsi_of_the_other_widths() {
    for (name, crc, layout, ppdu, width) in [
        ("vht40", "ae483b90", "ht40-p", Ppdu::Vht, 40),
        ("vht160", "09f453a8", "vht160-p", Ppdu::Vht, 160),
        ("hesu40", "990b3c5e", "he40-p", Ppdu::He, 40),
        ("hesu160", "d9dd8c42", "he160-p", Ppdu::He, 160),
    ] {
        let all = read(&require_or_skip!(&format!("csikit-feitcsi-{name}")));
        assert!(all.malformed.is_empty(), "{name}");
        assert_eq!(checksum(&all.frames), crc, "{name}");
        for frame in &all.frames {
            assert_eq!((frame.layout.name, frame.ppdu), (layout, ppdu), "{name}");
            assert_eq!(frame.bandwidth_mhz, Some(width));
        }
        // The card writes zero at a pilot, and hardly anywhere else.
        let zero = |valid: bool| {
            let places = all.frames[0].layout.valid.iter().enumerate();
            let places: Vec<usize> = places
                .filter(|(_, v)| **v == valid)
                .map(|(k, _)| k)
                .collect();
            let of = |frame: &Frame, antenna| {
                let zeros = places
                    .iter()
                    .filter(|place| frame.sample(antenna, **place).unwrap().norm_sqr() == 0.0);
                zeros.count()
            };
            let all = all.frames.iter();
            let zeros: usize = all.map(|frame| of(frame, 0) + of(frame, 1)).sum();
            zeros as f64 / (2 * places.len() * recordings_frames(name)) as f64
        };
        assert_eq!(zero(false), 1.0, "{name}");
        assert!(zero(true) < 0.01, "{name}: {}", zero(true));
    }
}

fn recordings_frames(name: &str) -> usize {
    if name == "vht160" { 35 } else { 26 }
}

#[test]
fn intel_of_one_and_two_antennas_beside_payloads() {
    let all = read(&require_or_skip!("csiread-intel-0x5-64"));
    assert_eq!((all.format, all.malformed.len()), (Format::Intel5300, 0));
    assert_eq!(checksum(&all.frames), "e543a1af");

    let all = read(&require_or_skip!("csikit-intel-los-100"));
    assert_eq!(checksum(&all.frames), "6b81e040");
    let two = all.frames.iter().filter(|frame| frame.antennas == 2);
    assert!(two.clone().all(|frame| frame.rssi_dbm.len() == 2));
    assert_eq!(two.count(), 18);

    let all = read(&require_or_skip!("csi-respiration-sample1"));
    assert_eq!(checksum(&all.frames), "2b10ce09");
    let one = all.frames.iter().filter(|frame| frame.antennas == 1);
    assert!(one.count() > 0);
}

#[test]
fn intel_with_what_the_wsr_toolbox_adds() {
    let all = read(&require_or_skip!("wsr-toolbox-intel-count"));
    assert_eq!((all.format, all.malformed.len()), (Format::Intel5300, 0));
    assert_eq!(checksum(&all.frames), "dc3a2435");
    let first = &all.frames[0];
    assert_eq!(first.transmitter, Some([0, 0x21, 0x6A, 0xC5, 0xFC, 0]));
    // In May 2021.
    assert_eq!(first.receive_time_us, 1_620_759_348_161_870);
    let times = || all.frames.iter().map(|frame| frame.receive_time_us);
    assert!(times().zip(times().skip(1)).all(|(a, b)| a <= b));
}

#[test]
fn atheros_of_114_tones() {
    let all = read(&require_or_skip!("atheros-liveview-router"));
    assert_eq!(all.format, Format::Atheros);
    assert_eq!(checksum(&all.frames), "2e317930");
    assert_eq!(layouts(&all), [("ht40", 253)]);
    // The file is cut off.
    assert_eq!(all.malformed.len(), 1);
    // 768 records without CSI, many of them in front.
    let all = read(&require_or_skip!("atheros-liveview-apu"));
    assert_eq!(checksum(&all.frames), "3b689e4c");
    assert_eq!(layouts(&all), [("ht40", 13)]);
}

#[test]
fn picoscenes_of_a_software_radio() {
    let all = read(&require_or_skip!("csiread-picoscenes-usrpn210"));
    assert_eq!((all.format, all.malformed.len()), (Format::PicoScenes, 0));
    assert_eq!(layouts(&all), [("legacy20", 68), ("ht20", 6)]);
    let power = samples(&all.frames).map(|(re, im)| f64::from(re).powi(2) + f64::from(im).powi(2));
    let (found, expected) = (power.sum::<f64>(), 2.819_240_264_874_398_6);
    assert!((found / expected - 1.0).abs() < 1e-6, "{found}");
}

/// RxSBasic of version 4: packets of 20 MHz in a channel of 80 MHz, whose subcarriers lie 96 below its centre.
#[test]
fn picoscenes_with_the_time_of_the_host() {
    let all = read(&require_or_skip!("picoscenes-collection-static"));
    assert_eq!((all.format, all.malformed.len()), (Format::PicoScenes, 0));
    assert_eq!(checksum(&all.frames), "9f5c8867");
    let frame = &all.frames[0];
    assert_eq!(
        (frame.frequency_mhz, frame.channel),
        (Some(5745), Some(149))
    );
    assert_eq!((frame.bandwidth_mhz, frame.ppdu), (Some(20), Ppdu::NonHt));
    assert_eq!(frame.rssi_dbm, [-60, -69]);
    let indices = &frame.layout.subcarriers;
    assert_eq!((indices[0], indices[51], indices.len()), (-122, -70, 52));
    // In December 2025; the card's clock counts from when it was started.
    assert_eq!(frame.receive_time_us, 1_764_983_293_732_887);
    assert_eq!(frame.device_time_us, Some(156_196_060));
    let last = all.headers.last().unwrap().as_ref().unwrap();
    let json = serde_json::to_value(last).unwrap();
    assert_eq!(json["rx_basic"]["deviceType"], 0x2000);
    assert!(json["rx_basic"]["systemTime"].as_u64() > Some(1_764_000_000_000_000_000));
}

#[test]
fn esp32_lines_of_40_mhz() {
    let all = read(&require_or_skip!("esp32-csi-python-parser-40mhz"));
    assert_eq!((all.format, all.malformed.len()), (Format::Esp32Csv, 0));
    assert_eq!(checksum(&all.frames), "4c0a756a");
    assert_eq!(
        layouts(&all),
        [
            ("esp32-lltf64-ht128-asc-w", 2965),
            ("esp32-lltf64-asc-w", 199)
        ]
    );
}
