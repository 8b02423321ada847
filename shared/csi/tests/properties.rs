//! What holds for all input: what is written reads the same, and no input makes a decoder panic or allocate without measure.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use csi::decode::adr018::{self, Packet};
use csi::decode::esp32_csv::{self, Decoder};
use csi::decode::nexmon;
use csi::layout::{self, Fields, Order};
use csi::mcap;
use csi::read::{Format, Options, Reader};
use csi::wire::{self, Published};
use csi::{Frame, Ppdu, SampleFormat};
use num_complex::Complex32;
use proptest::prelude::*;
use uuid::Uuid;

proptest! {

    #[test]
    fn adr018_round_trip(frame in frame(), node: u8, time: i64) {
        let mut bytes = Vec::new();
        adr018::encode(&frame, node, &mut bytes).unwrap();
        let Packet::Csi { node: found_node, frame: found, .. } = adr018::decode(&bytes, time).unwrap() else {
            panic!("no CSI");
        };
        prop_assert_eq!(found_node, node);
        prop_assert_eq!(&found.samples, &frame.samples);
        prop_assert_eq!(&found.rssi_dbm, &frame.rssi_dbm);
        prop_assert_eq!(found.noise_floor_dbm, frame.noise_floor_dbm);
        prop_assert_eq!(found.sequence, frame.sequence);
        prop_assert_eq!(found.receive_time_us, time);
        prop_assert_eq!(found.simulated, frame.simulated);
        prop_assert_eq!(found.frequency_mhz, frame.frequency_mhz);
    }

    #[test]
    fn csv_round_trip(frame in frame()) {
        let mut line = String::new();
        esp32_csv::write_line(&frame, &mut line).unwrap();
        let found = Decoder::new().line(line.as_bytes(), Some(frame.receive_time_us)).unwrap().unwrap();
        let expected = Frame { raw_size: found.raw_size, simulated: false, ..frame };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn nexmon_round_trip(parts in prop::collection::vec(any::<(i16, i16)>(), 64), rssi: i8, mac: [u8; 6],
                         sequence_control: u16, core_stream in 0_u16..64, trailer: bool) {
        let header = nexmon::Header {
            rssi, frame_control: 0x88, transmitter: mac, sequence_control, core_stream, chanspec: 0x100D, chip_version: 0x0065,
        };
        let samples: Vec<Complex32> = parts.iter().map(|(re, im)| Complex32::new((*re).into(), (*im).into())).collect();
        let bytes = nexmon::encode(&header, &samples, nexmon::Chip::Bcm43455c0, trailer).unwrap();
        let (found, frame) = nexmon::decode(&bytes, None, 0, 0).unwrap();
        prop_assert_eq!(found, header);
        prop_assert_eq!(frame.samples, samples);
        // 8 bits and a common exponent: exact where the largest magnitude of the frame has bit 10.
        let eight_bits = |part: i16| f32::from((part / 128).max(-255)) * 4.0;
        let mut floats: Vec<Complex32> = parts.iter()
            .map(|(re, im)| Complex32::new(eight_bits(*re), eight_bits(*im))).collect();
        floats[0] = Complex32::new(1024.0, 0.0);
        let bytes = nexmon::encode(&header, &floats, nexmon::Chip::Bcm4358, trailer).unwrap();
        prop_assert_eq!(nexmon::decode(&bytes, Some(nexmon::Chip::Bcm4358), 0, 0).unwrap().1.samples, floats);
    }

    #[test]
    fn compressed_round_trip(before in prop::collection::vec(0_u8..3, 1..600), change in prop::collection::vec(0_u8..3, 600)) {
        let buffer: Vec<u8> = before.iter().zip(&change).map(|(a, b)| a ^ (b / 2)).collect();
        let packet = adr018::compress(6, &before, &buffer).unwrap();
        let mut node = adr018::Decompressor::default();
        node.whole(&before);
        prop_assert_eq!(node.unpack(&packet), Ok(&buffer[..]));
    }

    #[test]
    fn any_nexmon_datagram(chanspec: u16, length in 0_usize..1100, fill: u8, seed in prop::collection::vec(any::<u8>(), 18)) {
        let mut bytes = seed;
        bytes[..2].copy_from_slice(&[0x11, 0x11]);
        bytes[14..16].copy_from_slice(&chanspec.to_le_bytes());
        bytes.resize(length, fill);
        bounded(&bytes, || { let _ = nexmon::decode(&bytes, None, 0, 0); });
    }

    #[test]
    fn wire_round_trip(frame in frame(), id: u128, one_in: u32, announced: bool, simulated: bool) {
        let published = Published {
            frame_id: Uuid::from_u128(id),
            device: "device-1".to_owned(),
            zone: "zone-1".to_owned(),
            source: if simulated { events::DataSource::Simulated } else { events::DataSource::Live },
            run_id: None,
            announced,
            sampled_one_in: one_in,
            ingest_time_us: 5,
            last_of_run: false,
        };
        let frame = Frame { simulated, ..frame };
        let found = wire::Decoder::default().decode(&wire::encode(&frame, &published)).unwrap();
        prop_assert_eq!(found, (frame, published));
    }

    #[test]
    fn an_encoder_writes_each_frame_as_if_it_were_the_first(frames in prop::collection::vec(frame(), 1..40)) {
        let mut encoder = wire::Encoder::default();
        for frame in frames.iter().chain(frames.iter().rev()) {
            let published = published("one", frame.simulated);
            prop_assert_eq!(encoder.encode(frame, &published), wire::encode(frame, &published));
        }
    }

    #[test]
    fn mcap_round_trip(frames in prop::collection::vec((frame(), any::<bool>()), 1..20)) {
        let mut writer = mcap::Writer::new(Vec::new()).unwrap();
        for (frame, first) in &frames {
            writer.frame(frame, &published(if *first { "one" } else { "two" }, frame.simulated), "").unwrap();
        }
        let bytes = Bytes::from(writer.finish().unwrap());
        let mut reader = Reader::new(bytes, "x.mcap", Format::Auto, Options::default()).unwrap();
        prop_assert_eq!(reader.format(), Format::Mcap);
        for (frame, first) in frames {
            prop_assert_eq!(reader.next(), Some(Ok(frame)));
            prop_assert_eq!(&reader.channel().unwrap().device, if first { "one" } else { "two" });
        }
        prop_assert_eq!(reader.next(), None);
    }

    #[test]
    fn a_damaged_mcap(frames in prop::collection::vec(frame(), 1..6), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut writer = mcap::Writer::new(Vec::new()).unwrap();
        for frame in &frames {
            writer.frame(frame, &published("one", false), "").unwrap();
        }
        let mut bytes = writer.finish().unwrap();
        for (at, byte) in damage {
            let at = 8 + at.index(bytes.len() - 8);
            bytes[at] = byte;
        }
        bounded(&bytes, || {
            for found in mcap::Reader::open(bytes.as_slice(), 1 << 20).unwrap().flatten() {
                let frame = found.frame;
                assert_eq!(frame.samples.len(), usize::from(frame.antennas) * frame.layout.len());
            }
        });
    }

    #[test]
    fn a_damaged_line_never_gives_another_number_of_samples(frame in frame(), at: prop::sample::Index, byte: u8) {
        let mut line = String::new();
        esp32_csv::write_line(&frame, &mut line).unwrap();
        let mut line = line.into_bytes();
        let at = at.index(line.len() - 1);
        line[at] = byte;
        if let Ok(Some(found)) = Decoder::new().line(&line, None) {
            prop_assert_eq!(found.samples.len(), found.layout.len());
        }
    }

    #[test]
    fn any_datagram(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        bounded(&bytes, || { let _ = adr018::decode(&bytes, 0); });
    }

    #[test]
    fn any_datagram_of_the_family(kind in 1_u8..7, rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes: Vec<u8> = [kind, 0, 0x11, 0xC5].into_iter().chain(rest).collect();
        bounded(&bytes, || { let _ = adr018::decode(&bytes, 0); });
    }

    #[test]
    fn any_message(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let bytes = Bytes::from(bytes);
        bounded(&bytes, || { let _ = wire::Decoder::default().decode(&bytes); });
    }

    #[test]
    fn a_damaged_message(frame in frame(), at: prop::sample::Index, byte: u8) {
        let published = Published {
            frame_id: Uuid::nil(), device: String::new(), zone: String::new(), source: events::DataSource::Live, run_id: None,
            announced: false, sampled_one_in: 1, ingest_time_us: 0, last_of_run: false,
        };
        let mut bytes = wire::encode(&frame, &published).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let bytes = Bytes::from(bytes);
        bounded(&bytes, || {
            if let Ok((frame, _)) = wire::Decoder::default().decode(&bytes) {
                assert_eq!(frame.samples.len(), usize::from(frame.antennas) * frame.layout.len());
            }
        });
    }

    #[test]
    fn any_file(format in prop::sample::select(Format::ALL.to_vec()), start in prop::sample::select(STARTS.to_vec()),
                rest in prop::collection::vec(any::<u8>(), 0..2000)) {
        let bytes: Bytes = [start, &rest].concat().into();
        for format in [Format::Auto, format] {
            bounded(&bytes, || {
                let options = Options { max_bytes: 1 << 16, ..Options::default() };
                if let Ok(reader) = Reader::new(bytes.clone(), "any", format, options) {
                    reader.for_each(|found| drop(found.map(|frame| frame.samples.len())));
                }
            });
        }
    }
}

fn published(device: &str, simulated: bool) -> Published {
    Published {
        frame_id: Uuid::nil(),
        device: device.to_owned(),
        zone: "zone-1".to_owned(),
        source: if simulated {
            events::DataSource::Simulated
        } else {
            events::DataSource::Live
        },
        run_id: None,
        announced: false,
        sampled_one_in: 1,
        ingest_time_us: 0,
        last_of_run: false,
    }
}

/// How files of each format begin.
const STARTS: &[&[u8]] = &[
    b"",
    b"CSI_DATA,1,aa:bb:cc:00:11:22,-52,11,1,7,0,1,1,1,0,0,1,-91,1,11,0,5,0,100,0,128,0,[",
    b"session_id,host_unix_us,timestamp_us,label,esp_label,settling,rssi,num_subcarriers,amp_0\na,1,2,0,0,0,-50,",
    b"{\"timestamp\": 1.5, \"node_id\": 2, \"type\": \"raw_csi\", \"iq_hex\": \"",
    b"\xD4\xC3\xB2\xA1\x02\0\x04\0\0\0\0\0\0\0\0\0\xFF\xFF\0\0\x01\0\0\0",
    b"\x94\0\0\0\x01\0\x11\xC5\x01\x01\x40\0",
    b"\x0A\x0D\x0D\x0A\x1C\0\0\0\x4D\x3C\x2B\x1A\x01\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x1C\0\0\0",
    b"type,rssi,extra,data\nCSI_DATA,-50,x,[",
    b"PK\x03\x04",
    b"\x89MCAP0\r\n",
    b"\x89MCAP0\r\n\x06\xFF\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\x1F\x8B\x08\0\0\0\0\0\0\x03",
];

fn frame() -> impl Strategy<Value = Frame> {
    let fields = prop::sample::select(vec![
        Fields::Legacy,
        Fields::LegacyHt20,
        Fields::LegacyHt20Stbc,
        Fields::LegacyHt40,
    ]);
    let numbers = (
        any::<u32>(),
        any::<u32>(),
        any::<i8>(),
        any::<i8>(),
        1_u8..14,
    );
    (
        fields,
        any::<bool>(),
        numbers,
        any::<u64>(),
        any::<[u8; 6]>(),
    )
        .prop_map(
            |(fields, flag, (sequence, clock, rssi, noise, channel), seed, mac)| {
                let layout = layout::esp32(fields, Order::Fft, flag);
                let mut state = seed;
                // A generator is faster than a strategy for each sample, and shrinks as well for what is looked at here.
                let mut byte = || {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    f32::from((state >> 56) as u8 as i8)
                };
                Frame {
                    sequence: u64::from(sequence),
                    counted: true,
                    device_time_us: Some(u64::from(clock)),
                    receive_time_us: i64::from(clock),
                    rssi_dbm: vec![rssi],
                    noise_floor_dbm: Some(noise),
                    agc: None,
                    frequency_mhz: csi::frame::frequency_of(channel),
                    channel: Some(channel),
                    bandwidth_mhz: Some(fields.bandwidth_mhz()),
                    ppdu: Ppdu::Ht,
                    antennas: 1,
                    transmit_streams: 1,
                    samples: (0..layout.len())
                        .map(|_| Complex32::new(byte(), byte()))
                        .collect(),
                    layout,
                    format: SampleFormat::Ci8,
                    scale: None,
                    raw_size: 148,
                    transmitter: Some(mac),
                    simulated: flag,
                    chain: None,
                }
            },
        )
}

/// Runs `decode` and holds what it allocates in sum against the length of its input.
fn bounded(input: &[u8], decode: impl FnOnce()) {
    let allocated = allocation_counter::measure(decode).bytes_total;
    // Samples of 8 bytes are made of 2; messages of errors, decompressors and tables are there for every input.
    let limit = 256 * 1024 + 64 * input.len() as u64;
    assert!(
        allocated <= limit,
        "{allocated} bytes for {} bytes of input",
        input.len()
    );
}
