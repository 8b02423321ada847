use std::sync::Arc;

use bytes::Bytes;
use events::DataSource;
use num_complex::Complex32;
use prost::Message;
use proto::csi::v1::CsiFrame;
use uuid::Uuid;

use super::{Decoder, Published, encode};
use crate::layout::{self, Fields, Order};
use crate::{Chain, Frame, Ppdu, SampleFormat};

fn frame(format: SampleFormat, antennas: u8) -> Frame {
    let layout = layout::esp32(Fields::LegacyHt20, Order::Fft, true);
    let samples = usize::from(antennas) * layout.len();
    let value = |k: usize| match format {
        SampleFormat::Ci8 => Complex32::new(k as f32 % 256.0 - 128.0, 127.0 - k as f32 % 256.0),
        SampleFormat::Ci16 => Complex32::new(k as f32 * 100.0 - 32768.0, 32767.0 - k as f32),
        SampleFormat::Cf32 => Complex32::new(k as f32 / 3.0, -1e-7 * k as f32),
        SampleFormat::Af32 => Complex32::new(k as f32 / 7.0, 0.0),
    };
    Frame {
        sequence: u64::MAX,
        counted: true,
        device_time_us: Some(1 << 40),
        receive_time_us: -5,
        rssi_dbm: vec![-50; usize::from(antennas)],
        noise_floor_dbm: Some(-128),
        agc: Some(255),
        frequency_mhz: Some(5180),
        channel: Some(36),
        bandwidth_mhz: Some(160),
        ppdu: Ppdu::He,
        antennas,
        transmit_streams: antennas,
        scale: Some(0.125),
        layout,
        samples: (0..samples).map(value).collect(),
        format,
        raw_size: 532,
        transmitter: Some([1, 2, 3, 4, 5, 6]),
        simulated: false,
        chain: Some(Chain { core: 3, stream: 0 }),
    }
}

fn published() -> Published {
    Published {
        frame_id: Uuid::from_u128(7),
        device: "esp32-livingroom".to_owned(),
        zone: "livingroom".to_owned(),
        source: DataSource::Replay,
        run_id: Some(Uuid::from_u128(8)),
        announced: true,
        sampled_one_in: 4,
        ingest_time_us: 99,
        last_of_run: true,
    }
}

#[test]
fn a_frame_comes_out_as_it_went_in() {
    let mut decoder = Decoder::default();
    for format in [
        SampleFormat::Ci8,
        SampleFormat::Ci16,
        SampleFormat::Cf32,
        SampleFormat::Af32,
    ] {
        for antennas in [1, 3] {
            let (frame, published) = (frame(format, antennas), published());
            let found = decoder.decode(&encode(&frame, &published)).unwrap();
            assert_eq!(found, (frame, published));
        }
    }
}

/// The same values in the struct that prost generates from the protocol file.
fn message(frame: &Frame, published: &Published) -> CsiFrame {
    let bits = |eight: &[bool]| {
        eight
            .iter()
            .rev()
            .fold(0_u8, |byte, bit| byte << 1 | u8::from(*bit))
    };
    let bytes = |sample: &Complex32| match frame.format {
        SampleFormat::Ci8 => [sample.re, sample.im].map(|part| part as i8 as u8).to_vec(),
        SampleFormat::Ci16 => [sample.re, sample.im]
            .map(|part| (part as i16).to_le_bytes())
            .concat(),
        SampleFormat::Cf32 => [sample.re, sample.im].map(f32::to_le_bytes).concat(),
        SampleFormat::Af32 => sample.re.to_le_bytes().to_vec(),
    };
    CsiFrame {
        frame_id: Bytes::copy_from_slice(published.frame_id.as_bytes()),
        device: published.device.clone(),
        zone: published.zone.clone(),
        sequence: frame.sequence,
        device_time_us: frame.device_time_us,
        receive_time_us: frame.receive_time_us,
        rssi_dbm: frame.rssi_dbm.iter().map(|rssi| i32::from(*rssi)).collect(),
        noise_floor_dbm: frame.noise_floor_dbm.map(i32::from),
        frequency_mhz: frame.frequency_mhz,
        channel: frame.channel.map(u32::from),
        bandwidth_mhz: frame.bandwidth_mhz.map(u32::from),
        ppdu_type: match frame.ppdu {
            Ppdu::Unknown => 0,
            Ppdu::NonHt => 1,
            Ppdu::Ht => 2,
            Ppdu::Vht => 3,
            Ppdu::He => 4,
            Ppdu::Eht => 5,
        },
        antennas: u32::from(frame.antennas),
        subcarriers: frame
            .layout
            .subcarriers
            .iter()
            .map(|index| i32::from(*index))
            .collect(),
        valid: frame
            .layout
            .valid
            .chunks(8)
            .map(bits)
            .collect::<Vec<u8>>()
            .into(),
        sample_format: match frame.format {
            SampleFormat::Ci8 => 1,
            SampleFormat::Ci16 => 2,
            SampleFormat::Cf32 => 3,
            SampleFormat::Af32 => 4,
        },
        samples: frame
            .samples
            .iter()
            .flat_map(bytes)
            .collect::<Vec<u8>>()
            .into(),
        raw_size: frame.raw_size,
        source: match published.source {
            DataSource::Live => 1,
            DataSource::Replay => 2,
            DataSource::Simulated => 3,
        },
        run_id: published
            .run_id
            .map_or_else(Bytes::new, |run| Bytes::copy_from_slice(run.as_bytes())),
        transmitter_mac: frame
            .transmitter
            .map_or_else(Bytes::new, |mac| Bytes::copy_from_slice(&mac)),
        agc: frame.agc.map(u32::from),
        ingest_time_us: published.ingest_time_us,
        sampled_one_in: published.sampled_one_in,
        announced: published.announced,
        last_of_run: published.last_of_run,
        sequence_counted: frame.counted,
        transmit_streams: match frame.transmit_streams {
            1 => 0,
            streams => u32::from(streams),
        },
        scale: frame.scale,
        core: frame.chain.map(|chain| chain.core.into()),
        spatial_stream: frame.chain.map(|chain| chain.stream.into()),
    }
}

#[test]
fn the_bytes_are_those_of_prost() {
    for format in [
        SampleFormat::Ci8,
        SampleFormat::Ci16,
        SampleFormat::Cf32,
        SampleFormat::Af32,
    ] {
        let (full, published) = (frame(format, 2), published());
        assert_eq!(
            encode(&full, &published),
            message(&full, &published).encode_to_vec(),
            "{format:?}"
        );
        let bare = Frame {
            sequence: 0,
            counted: false,
            device_time_us: Some(0),
            receive_time_us: 0,
            rssi_dbm: Vec::new(),
            noise_floor_dbm: Some(0),
            agc: None,
            frequency_mhz: Some(0),
            channel: None,
            bandwidth_mhz: None,
            ppdu: Ppdu::Unknown,
            raw_size: 0,
            transmitter: None,
            transmit_streams: 1,
            scale: None,
            ..full
        };
        let plain = Published {
            device: String::new(),
            zone: String::new(),
            source: DataSource::Live,
            run_id: None,
            announced: false,
            sampled_one_in: 0,
            ingest_time_us: -1,
            last_of_run: false,
            ..published
        };
        assert_eq!(
            encode(&bare, &plain),
            message(&bare, &plain).encode_to_vec(),
            "{format:?}"
        );
    }
}

#[test]
fn fields_of_a_newer_writer_are_passed_over() {
    let (frame, published) = (frame(SampleFormat::Ci8, 1), published());
    let mut bytes = encode(&frame, &published).to_vec();
    // Field 50 in each type: a number, 8 bytes, a text, 4 bytes.
    bytes.extend([
        0x90, 3, 5, 0x91, 3, 1, 2, 3, 4, 5, 6, 7, 8, 0x92, 3, 2, b'h', b'i', 0x95, 3, 1, 2, 3, 4,
    ]);
    assert_eq!(
        Decoder::default().decode(&bytes.into()).unwrap(),
        (frame, published)
    );
}

/// What the format calls packed may also come one by one, or in several pieces.
#[test]
fn repeated_numbers_in_other_forms_read_the_same() {
    let (frame, published) = (frame(SampleFormat::Ci8, 1), published());
    let mut bare = message(&frame, &published);
    let subcarriers = std::mem::take(&mut bare.subcarriers);
    bare.rssi_dbm.clear();
    let mut bytes = bare.encode_to_vec();
    // Field 7, a number: -50 is 99. Field 14: half of it one by one, half packed.
    bytes.extend([7 << 3, 99]);
    let (one_by_one, packed) = subcarriers.split_at(subcarriers.len() / 2);
    let zigzag = |index: &i32| (index << 1 ^ index >> 31) as u8;
    bytes.extend(one_by_one.iter().flat_map(|index| [14 << 3, zigzag(index)]));
    bytes.extend([14 << 3 | 2, packed.len() as u8]);
    bytes.extend(packed.iter().map(zigzag));
    assert_eq!(
        Decoder::default().decode(&bytes.into()).unwrap(),
        (frame, published)
    );
}

#[test]
fn what_is_absent_stays_absent() {
    let bare = Frame {
        counted: false,
        device_time_us: None,
        rssi_dbm: Vec::new(),
        noise_floor_dbm: None,
        agc: None,
        frequency_mhz: None,
        channel: None,
        bandwidth_mhz: None,
        ppdu: Ppdu::Unknown,
        transmitter: None,
        simulated: true,
        chain: None,
        ..frame(SampleFormat::Ci8, 1)
    };
    let published = Published {
        run_id: None,
        source: DataSource::Simulated,
        ..published()
    };
    assert_eq!(
        Decoder::default()
            .decode(&encode(&bare, &published))
            .unwrap(),
        (bare, published)
    );
}

#[test]
fn frames_of_one_layout_share_it_and_known_layouts_keep_their_name() {
    let mut decoder = Decoder::default();
    let mut other = frame(SampleFormat::Ci8, 1);
    other.layout = Arc::new(crate::Layout {
        name: "mine",
        subcarriers: other
            .layout
            .subcarriers
            .iter()
            .map(|index| index + 100)
            .collect(),
        valid: other.layout.valid.clone(),
    });
    let (known, unknown) = (
        encode(&frame(SampleFormat::Ci8, 1), &published()),
        encode(&other, &published()),
    );
    let mut layout = |bytes| decoder.decode(bytes).unwrap().0.layout;
    let first = [layout(&known), layout(&unknown)];
    let second = [layout(&known), layout(&unknown)];
    assert_eq!(
        (first[0].name, first[1].name),
        ("esp32-lltf64-ht64-w", "other")
    );
    assert!(Arc::ptr_eq(&first[0], &second[0]) && Arc::ptr_eq(&first[1], &second[1]));
}

#[test]
fn the_memory_for_layouts_is_bounded() {
    let mut decoder = Decoder::default();
    for shift in 0..200 {
        let mut frame = frame(SampleFormat::Ci8, 1);
        frame.layout = Arc::new(crate::Layout {
            name: "mine",
            subcarriers: frame
                .layout
                .subcarriers
                .iter()
                .map(|index| index + shift)
                .collect(),
            valid: frame.layout.valid.clone(),
        });
        decoder.decode(&encode(&frame, &published())).unwrap();
    }
    assert!(decoder.remembered() <= super::decode::MOST_LAYOUTS);
}

#[test]
fn counts_that_do_not_agree_are_refused() {
    let good = encode(&frame(SampleFormat::Ci8, 1), &published());
    let check = |change: &dyn Fn(&mut CsiFrame), field: &str| {
        let mut message = CsiFrame::decode(good.clone()).unwrap();
        change(&mut message);
        let error = Decoder::default()
            .decode(&message.encode_to_vec().into())
            .unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
        assert_eq!(error.code(), "bad_field");
    };
    check(&|message| message.antennas = 0, "antennas");
    check(&|message| message.antennas = 256, "antennas");
    check(&|message| message.antennas = 200, "samples");
    check(
        &|message| message.transmit_streams = 2,
        "transmit_streams: expected a divisor of 1",
    );
    check(
        &|message| message.transmit_streams = 256,
        "transmit_streams",
    );
    check(&|message| message.scale = Some(f32::NAN), "scale");
    check(&|message| message.scale = Some(0.0), "scale");
    check(&|message| message.subcarriers.truncate(64), "valid");
    check(&|message| message.subcarriers[0] = 40_000, "subcarriers");
    check(
        &|message| {
            message.subcarriers.clear();
            message.valid.clear();
            message.samples.clear();
        },
        "subcarriers",
    );
    check(&|message| message.samples.truncate(255), "samples");
    check(&|message| message.sample_format = 0, "sample_format");
    check(&|message| message.ppdu_type = 9, "ppdu_type");
    check(&|message| message.source = 0, "source");
    check(&|message| message.frame_id.truncate(15), "frame_id");
    check(
        &|message| message.run_id = Bytes::from_static(b"x"),
        "run_id",
    );
    check(
        &|message| message.transmitter_mac.truncate(5),
        "transmitter_mac",
    );
    check(&|message| message.rssi_dbm[0] = 300, "rssi_dbm");
    check(&|message| message.channel = Some(256), "channel");
    check(
        &|message| {
            message.sample_format = proto::csi::v1::SampleFormat::Af32.into();
            message.samples = f32::NAN.to_le_bytes().repeat(128).into();
        },
        "samples",
    );
    assert_eq!(
        Decoder::default()
            .decode(&good.slice(..good.len() - 1))
            .unwrap_err()
            .code(),
        "not_protobuf"
    );
}

#[test]
fn eight_bits_hold_the_nearest_number() {
    let values = [
        (f32::NAN, 0_i8),
        (f32::INFINITY, 127),
        (f32::NEG_INFINITY, -128),
        (1e20, 127),
        (127.6, 127),
        (-128.9, -128),
        (0.49, 0),
        (0.5, 0),
        (1.5, 2),
        (-0.51, -1),
        (-127.5, -128),
    ];
    let whole = (i8::MIN..=i8::MAX).map(|number| (f32::from(number), number));
    for (value, expected) in values.into_iter().chain(whole) {
        let mut out = Vec::new();
        super::samples::pack(
            &[Complex32::new(value, -value)],
            SampleFormat::Ci8,
            &mut out,
        );
        assert_eq!(out[0].cast_signed(), expected, "{value}");
        assert_eq!(out.len(), 2);
    }
}
