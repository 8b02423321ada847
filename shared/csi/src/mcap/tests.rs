use std::collections::BTreeMap;
use std::sync::Arc;

use events::DataSource;
use num_complex::Complex32;
use prost::Message as _;
use uuid::Uuid;

use super::{Error, Reader, Recorded, Writer};
use crate::layout::{self, Fields, Order};
use crate::wire::{self, Published};
use crate::{Frame, Layout, Ppdu, SampleFormat};

fn frame(sequence: u64, layout: Arc<Layout>) -> Frame {
    Frame {
        sequence,
        counted: true,
        device_time_us: Some(sequence * 10_000),
        receive_time_us: 1_700_000_000_000_000 + sequence as i64 * 10_000,
        rssi_dbm: vec![-50, -61],
        noise_floor_dbm: Some(-92),
        agc: Some(17),
        frequency_mhz: Some(2437),
        channel: Some(6),
        bandwidth_mhz: Some(20),
        ppdu: Ppdu::Ht,
        antennas: 2,
        samples: (0..2 * layout.len() as u64)
            .map(|k| {
                // Noise, so that a chunk does not pack into nothing.
                let mixed = (k + 1 + sequence * 977).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
                Complex32::new((mixed % 251) as f32 - 125.0, (mixed % 127) as f32 / 8.0)
            })
            .collect(),
        layout,
        format: SampleFormat::Cf32,
        raw_size: 300,
        transmit_streams: 1,
        scale: None,
        transmitter: Some([2, 0, 0, 0, 0, 1]),
        simulated: false,
        chain: None,
    }
}

fn published(device: &str, source: DataSource) -> Published {
    Published {
        frame_id: Uuid::from_u128(7),
        device: device.to_owned(),
        zone: "lab".to_owned(),
        source,
        run_id: None,
        announced: true,
        sampled_one_in: 1,
        ingest_time_us: 5,
        last_of_run: false,
    }
}

fn strange() -> Arc<Layout> {
    Arc::new(Layout {
        name: "not-an-esp32",
        subcarriers: (-40..40).collect(),
        valid: (0..80).map(|k| k % 3 != 0).collect(),
    })
}

/// A file of two devices, flushed after every `each` frames; also the frames, and the lengths of the file after each flush.
fn file(frames: u64, each: u64) -> (Vec<u8>, Vec<(Frame, Published)>, Vec<usize>) {
    let known = layout::esp32(Fields::LegacyHt20, Order::Fft, true);
    let (mut all, mut lengths) = (Vec::new(), Vec::new());
    let shared = Shared::default();
    let mut writer = Writer::new(shared.clone()).unwrap();
    writer
        .note(
            "recording",
            BTreeMap::from([("why".to_owned(), "test".to_owned())]),
        )
        .unwrap();
    for sequence in 0..frames {
        let (device, layout) = if sequence % 3 == 0 {
            ("a", Arc::clone(&known))
        } else {
            ("b", strange())
        };
        let frame = frame(sequence, layout);
        let published = published(device, DataSource::Live);
        writer.frame(&frame, &published, "esp32").unwrap();
        all.push((frame, published));
        if (sequence + 1) % each == 0 {
            writer.flush().unwrap();
            lengths.push(shared.bytes().len());
        }
    }
    assert_eq!(writer.frames(), frames);
    writer.finish().unwrap();
    (shared.bytes(), all, lengths)
}

/// An output that can be looked at while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn read(bytes: &[u8]) -> (Vec<Recorded>, Vec<Error>) {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for item in Reader::open(bytes, 1 << 30).unwrap() {
        match item {
            Ok(recorded) => found.push(recorded),
            Err((_, error)) => errors.push(error),
        }
    }
    (found, errors)
}

#[test]
fn frames_of_several_devices_come_back_as_they_were() {
    let (bytes, all, _) = file(40, 7);
    let mut reader = Reader::open(bytes.as_slice(), 1 << 30).unwrap();
    let found: Vec<Recorded> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(reader.notes()["recording"]["why"], "test");
    let pairs: Vec<_> = found
        .iter()
        .map(|recorded| (recorded.frame.clone(), recorded.published.clone()))
        .collect();
    assert_eq!(pairs, all);
    let first = &found[1].channel;
    assert_eq!(
        (
            first.device.as_str(),
            first.zone.as_str(),
            first.layout.as_str(),
            first.hardware.as_str()
        ),
        ("b", "lab", "not-an-esp32", "esp32")
    );
    assert_eq!(first.topic(), "csi/lab/b");
    // Frames of one layout share it.
    assert!(Arc::ptr_eq(&found[1].frame.layout, &found[2].frame.layout));
}

#[test]
fn the_crate_of_others_reads_the_file_and_the_schema_in_it() {
    let (bytes, all, _) = file(40, 7);
    let mut messages = 0;
    for message in ::mcap::MessageStream::new(&bytes).unwrap() {
        let message = message.unwrap();
        let (frame, _) = &all[messages];
        assert_eq!(message.log_time, frame.receive_time_us as u64 * 1000);
        assert_eq!(message.publish_time, frame.device_time_us.unwrap() * 1000);
        let schema = message.channel.schema.as_ref().unwrap();
        assert_eq!(
            (schema.name.as_str(), schema.encoding.as_str()),
            (super::SCHEMA, "protobuf")
        );
        let set = prost_types::FileDescriptorSet::decode(&*schema.data).unwrap();
        let of = |file: &prost_types::FileDescriptorProto| {
            file.message_type
                .iter()
                .any(|message| message.name() == "CsiFrame")
        };
        assert!(set.file.iter().any(of));
        let decoded = proto::csi::v1::CsiFrame::decode(&*message.data).unwrap();
        assert_eq!(decoded.sequence, frame.sequence);
        messages += 1;
    }
    assert_eq!(messages, all.len());
    let summary = ::mcap::Summary::read(&bytes).unwrap().unwrap();
    assert_eq!(summary.stats.unwrap().message_count, 40);
}

#[test]
fn a_file_cut_anywhere_gives_what_was_flushed_and_says_that_it_was_cut() {
    let (bytes, all, flushed) = file(24, 8);
    let mut partly = 0;
    // A step that is no divisor of anything, and each place at the end of a chunk.
    let near = flushed.iter().flat_map(|end| end - 12..end + 12);
    for length in (super::MAGIC.len()..bytes.len()).step_by(23).chain(near) {
        let (found, errors) = read(&bytes[..length]);
        assert_eq!(errors.len(), 1, "cut at {length}: {errors:?}");
        assert_eq!(errors[0].code(), "interrupted", "cut at {length}");
        let complete = flushed.iter().filter(|end| **end <= length).count() * 8;
        assert!(
            found.len() >= complete,
            "cut at {length}: {} of {complete}",
            found.len()
        );
        partly += usize::from(found.len() > complete);
        let of = |recorded: &Recorded| recorded.frame.clone();
        let expected: Vec<_> = all
            .iter()
            .take(found.len())
            .map(|(frame, _)| frame.clone())
            .collect();
        assert_eq!(
            found.iter().map(of).collect::<Vec<_>>(),
            expected,
            "cut at {length}"
        );
    }
    assert!(partly > 0, "nothing came from a chunk that was cut");
    assert_eq!(read(&bytes).1, []);
}

#[test]
fn zeros_at_the_end_are_an_interruption() {
    let (bytes, all, flushed) = file(16, 8);
    let mut torn = bytes[..flushed[1]].to_vec();
    torn.extend([0; 4096]);
    let (found, errors) = read(&torn);
    assert_eq!(
        (found.len(), errors),
        (all.len(), vec![Error::Interrupted { what: "zeros" }])
    );
}

#[test]
fn a_damaged_chunk_is_left_out_and_the_others_are_read() {
    let (bytes, _, flushed) = file(24, 8);
    let mut damaged = bytes.clone();
    // In the middle of the second chunk.
    damaged[flushed[0] + (flushed[1] - flushed[0]) / 2] ^= 0x10;
    let (found, errors) = read(&damaged);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let sequences: Vec<_> = found
        .iter()
        .map(|recorded| recorded.frame.sequence)
        .collect();
    assert_eq!(sequences, (0..8).chain(16..24).collect::<Vec<_>>());
}

#[test]
fn what_was_simulated_stays_simulated() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let frame = frame(1, strange());
    let simulated = published("a", DataSource::Simulated);
    // The message itself was tampered with: the channel's stamp holds.
    let payload = wire::encode(&frame, &published("a", DataSource::Live));
    writer.message(&frame, &simulated, "", &payload).unwrap();
    let bytes = writer.finish().unwrap();
    let (found, errors) = read(&bytes);
    assert_eq!(errors, []);
    assert!(found[0].frame.simulated);
    assert_eq!(found[0].published.source, DataSource::Simulated);
}

#[test]
fn messages_of_others_are_passed_over() {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = ::mcap::Writer::new(&mut bytes).unwrap();
    let channel = writer
        .add_channel(0, "/imu", "json", &BTreeMap::new())
        .unwrap();
    let header = ::mcap::records::MessageHeader {
        channel_id: channel,
        sequence: 1,
        log_time: 1,
        publish_time: 1,
    };
    writer.write_to_known_channel(&header, b"{}").unwrap();
    writer
        .attach(&::mcap::Attachment {
            log_time: 1,
            create_time: 1,
            name: "a".into(),
            media_type: "text/plain".into(),
            data: b"attached".as_slice().into(),
        })
        .unwrap();
    writer.finish().unwrap();
    drop(writer);
    let (found, errors) = read(&bytes.into_inner());
    assert_eq!((found.len(), errors), (0, vec![]));
}

/// A file of one record whose length says one thing and whose bytes another.
fn hostile(op: u8, length: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = super::MAGIC.to_vec();
    bytes.push(op);
    bytes.extend(length.to_le_bytes());
    bytes.extend(body);
    bytes
}

fn chunk_header(unpacked: u64, name: u32, packed: u64) -> Vec<u8> {
    let mut body = vec![0; 16];
    body.extend(unpacked.to_le_bytes());
    body.extend([0; 4]);
    body.extend(name.to_le_bytes());
    body.extend(packed.to_le_bytes());
    body
}

#[test]
fn lengths_that_lie_cost_nothing() {
    for op in 0..=0x12 {
        for length in [
            1,
            9,
            40,
            1 << 20,
            u64::from(u32::MAX),
            u64::MAX - 9,
            u64::MAX,
        ] {
            for body in [
                &[][..],
                &[0xFF; 64],
                &chunk_header(u64::MAX, 0, u64::MAX),
                &chunk_header(1 << 24, 0, 8),
                &chunk_header(8, u32::MAX, 8),
                // A record longer than its chunk, in a chunk that is not packed.
                &[chunk_header(9, 0, 9), vec![5, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0]].concat(),
            ] {
                let bytes = hostile(op, length, body);
                let allocated = allocation_counter::measure(|| {
                    let (found, errors) = read(&bytes);
                    assert_eq!(found.len(), 0);
                    assert!(!errors.is_empty());
                })
                .bytes_total;
                assert!(
                    allocated < 200_000,
                    "record {op:#x} of {length}: {allocated} bytes"
                );
            }
        }
    }
    assert!(matches!(
        Reader::open(b"PK".as_slice(), 1),
        Err(Error::Magic { .. })
    ));
}

#[test]
fn a_bomb_is_refused() {
    // 4 MiB of zeros pack into a few hundred bytes.
    let packed = zstd::stream::encode_all(&*vec![0; 4 << 20], 3).unwrap();
    let mut body = vec![0; 16];
    body.extend((4_u64 << 20).to_le_bytes());
    body.extend([0; 4]);
    body.extend(4_u32.to_le_bytes());
    body.extend(b"zstd");
    body.extend((packed.len() as u64).to_le_bytes());
    body.extend(&packed);
    let bytes = hostile(0x06, body.len() as u64, &body);
    let errors: Vec<_> = Reader::open(bytes.as_slice(), 1 << 20)
        .unwrap()
        .map(|item| item.unwrap_err().1.code())
        .collect();
    assert_eq!(errors, ["too_long"]);
}
