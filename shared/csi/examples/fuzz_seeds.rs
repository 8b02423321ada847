//! Writes the seeds of the fuzz targets: `cargo run -p csi --example fuzz_seeds`. They are made here, not recorded.

#[path = "../tests/writers/mod.rs"]
mod writers;

use std::path::Path;

use bytes::Bytes;
use csi::decode::adr018::{
    self, Compressed, EdgeReport, FeatureState, Features, FusedVitals, ModuleOutput, Report, Vitals,
};
use csi::decode::atheros::ByteOrder;
use csi::decode::esp32_csv::{SIMULATED_LINE, write_line};
use csi::decode::nexmon;
use csi::layout::{self, Fields, Order, Tones};
use csi::wire::{self, Published};
use csi::{Frame, Ppdu, SampleFormat};
use num_complex::Complex32;
use uuid::Uuid;

fn frame(fields: Fields, order: Order) -> Frame {
    let layout = layout::esp32(fields, order, true);
    Frame {
        sequence: 7,
        counted: true,
        device_time_us: Some(5_000_000),
        receive_time_us: 1_700_000_000_000_000,
        rssi_dbm: vec![-50],
        noise_floor_dbm: Some(-92),
        agc: None,
        frequency_mhz: Some(2437),
        channel: Some(6),
        bandwidth_mhz: Some(fields.bandwidth_mhz()),
        ppdu: Ppdu::Ht,
        antennas: 1,
        transmit_streams: 1,
        samples: (0..layout.len())
            .map(|k| Complex32::new((k % 9) as f32, -((k % 7) as f32)))
            .collect(),
        layout,
        format: SampleFormat::Ci8,
        scale: None,
        raw_size: 148,
        transmitter: Some([2, 0, 0, 0, 0, 1]),
        simulated: true,
        chain: None,
    }
}

fn published() -> Published {
    Published {
        frame_id: Uuid::from_u128(1),
        device: "device-1".to_owned(),
        zone: "zone-1".to_owned(),
        source: events::DataSource::Simulated,
        run_id: Some(Uuid::from_u128(2)),
        announced: true,
        sampled_one_in: 1,
        ingest_time_us: 1,
        last_of_run: false,
    }
}

/// A pcap file of one datagram: Ethernet, IPv4, UDP.
fn pcap(datagram: &[u8]) -> Vec<u8> {
    let (payload, frame) = (datagram.len() as u16, 42 + datagram.len() as u32);
    let mut file = vec![
        0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 1, 0, 0, 0,
    ];
    file.extend(
        [1_700_000_000_u32, 0, frame, frame]
            .into_iter()
            .flat_map(u32::to_le_bytes),
    );
    file.extend([0xFF; 12]);
    file.extend([8, 0, 0x45, 0]);
    file.extend((28 + payload).to_be_bytes());
    file.extend([
        0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 0x30, 0x39, 0x13, 0x8D,
    ]);
    file.extend((8 + payload).to_be_bytes());
    file.extend([0, 0]);
    file.extend(datagram);
    file
}

/// MCAP: two devices in one file, the same without its end, and a chunk that is not packed (fuzzers cannot see through zstd).
fn mcap_seeds(
    write: impl Fn(&str, &str, &[u8]) -> std::io::Result<()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut writer = csi::mcap::Writer::new(Vec::new())?;
    for (device, fields) in [("one", Fields::Legacy), ("two", Fields::LegacyHt20)] {
        let to = Published {
            device: device.to_owned(),
            ..published()
        };
        writer.frame(&frame(fields, Order::Fft), &to, "esp32")?;
        writer.flush()?;
    }
    let whole = writer.finish()?;
    write("mcap", "two-devices", &whole)?;
    let first = whole
        .windows(9)
        .position(|bytes| bytes == b"\x0F\x04\0\0\0\0\0\0\0");
    let end = first.unwrap_or(whole.len()) - 150;
    write("mcap", "cut", whole.get(..end).unwrap_or_default())?;

    let mut unpacked = std::io::Cursor::new(Vec::new());
    let options = mcap::WriteOptions::new().compression(None);
    let mut writer = options.create(&mut unpacked)?;
    let schema = writer.add_schema(csi::mcap::SCHEMA, "protobuf", b"")?;
    let channel = writer.add_channel(schema, "csi", "protobuf", &Default::default())?;
    let header = mcap::records::MessageHeader {
        channel_id: channel,
        sequence: 1,
        log_time: 1,
        publish_time: 1,
    };
    let message = wire::encode(&frame(Fields::Legacy, Order::Fft), &published());
    writer.write_to_known_channel(&header, &message)?;
    writer.finish()?;
    drop(writer);
    write("mcap", "unpacked", unpacked.get_ref())?;
    Ok(())
}

/// Logs of network cards: target, name, contents.
fn records() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let frame =
        |kind, chains, streams, bits| writers::frame(kind, false, chains, streams, bits, 11);
    let narrow = frame(Tones::Grouped20, 3, 3, 8);
    let (ht20, ht40) = (frame(Tones::Ht20, 2, 2, 10), frame(Tones::Ht40, 1, 1, 10));
    let one = writers::intel5300(&frame(Tones::Grouped20, 1, 1, 8), [0, 1, 2]);
    let payload = [0, 5, 0xC1, 1, 2, 3, 4];
    let damaged = [one.get(..60).unwrap_or_default(), &one, &one].concat();
    let wide = writers::intel5300(&frame(Tones::Grouped40, 3, 2, 8), [2, 0, 1]);
    let feitcsi = |kind| writers::feitcsi(&writers::frame(kind, true, 1, 1, 16, 12));
    let pico = |frame: &Frame, device, basic, csi| writers::picoscenes(frame, device, basic, csi);
    vec![
        ("intel5300", "1x1", one.clone()),
        ("intel5300", "3x2-wide", wide),
        ("intel5300", "3x3", writers::intel5300(&narrow, [1, 2, 0])),
        (
            "intel5300",
            "behind-payload",
            [payload.as_slice(), &one].concat(),
        ),
        ("intel5300", "damaged", damaged),
        (
            "intel5300",
            "wsr",
            writers::intel5300_wsr(&frame(Tones::Grouped20, 3, 1, 8), [0, 1, 2]),
        ),
        (
            "atheros",
            "little",
            writers::atheros(&ht20, ByteOrder::Little),
        ),
        ("atheros", "big", writers::atheros(&ht20, ByteOrder::Big)),
        ("atheros", "wide", writers::atheros(&ht40, ByteOrder::Big)),
        ("picoscenes", "iwl5300", pico(&narrow, 0x5300, 1, 2)),
        ("picoscenes", "qca9300", pico(&ht40, 0x9300, 2, 1)),
        ("picoscenes", "ax200", pico(&ht20, 0x2000, 3, 4)),
        ("picoscenes", "radio", pico(&ht40, 0x1234, 2, 3)),
        ("picoscenes", "ax210", pico(&ht20, 0x2100, 5, 4)),
        ("picoscenes", "soapy", pico(&ht20, 0x24D2, 4, 3)),
        ("feitcsi", "legacy", feitcsi(Tones::Legacy20)),
        ("feitcsi", "ht20", feitcsi(Tones::Ht20)),
        ("feitcsi", "vht80", feitcsi(Tones::Vht80)),
        ("feitcsi", "he20", feitcsi(Tones::He20)),
    ]
}

/// A pcapng file of one datagram: a section, an interface of Ethernet, a packet. Of `pcap` everything behind its headers.
fn pcapng(pcap: &[u8]) -> Vec<u8> {
    let packet = pcap.get(40..).unwrap_or_default();
    let block = |kind: u32, body: &[&[u8]]| {
        let mut body = body.concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = (12 + body.len() as u32).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    };
    let length = (packet.len() as u32).to_le_bytes();
    let section = block(
        0x0A0D_0D0A,
        &[&[0x4D, 0x3C, 0x2B, 0x1A, 1, 0, 0, 0], &[0xFF; 8]],
    );
    let interface = block(1, &[&[1, 0, 0, 0, 0, 0, 4, 0]]);
    let head = [&[0; 12][..], &length, &length].concat();
    [section, interface, block(6, &[&head, packet])].concat()
}

/// Nexmon's datagrams and captures of them, and what nodes conclude.
fn more_seeds(
    write: &impl Fn(&str, &str, &[u8]) -> std::io::Result<()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let kinds = [
        ("integers-20", nexmon::Chip::Bcm43455c0, 0x0065, 0x100D, 64),
        ("integers-80", nexmon::Chip::Bcm4339, 0x0001, 0xE02A, 256),
        ("floats-40", nexmon::Chip::Bcm4366c0, 0x006A, 0xD926, 128),
        ("floats-80", nexmon::Chip::Bcm4358, 0xDEAD, 0xE29B, 256),
    ];
    for (name, chip, chip_version, chanspec, bins) in kinds {
        let header = nexmon::Header {
            rssi: -50,
            frame_control: 0x88,
            transmitter: [2, 0, 0, 0, 0, 1],
            sequence_control: 0x1230,
            core_stream: 9,
            chanspec,
            chip_version,
        };
        let samples: Vec<Complex32> = (0..bins)
            .map(|k| Complex32::new((k % 120) as f32 * 8.0, -((k % 70) as f32) * 8.0))
            .collect();
        let datagram = nexmon::encode(&header, &samples, chip, bins == 256)?;
        write("nexmon", name, &datagram)?;
        let file = pcap(&datagram);
        write("capture", &format!("pcap-{name}"), &file)?;
        write("capture", &format!("pcapng-{name}"), &pcapng(&file))?;
    }
    let vitals = Vitals {
        flags: 5,
        breaths_x100: 1500,
        persons: 1,
        ..Vitals::default()
    };
    let reports = [
        ("vitals", Report::Vitals(vitals)),
        ("features", Report::Features(Features::default())),
        (
            "fused",
            Report::FusedVitals(FusedVitals {
                vitals,
                ..FusedVitals::default()
            }),
        ),
        (
            "module",
            Report::ModuleOutput(ModuleOutput {
                module: 1,
                values: vec![(1, 0.5), (2, 1.0)],
            }),
        ),
        (
            "compressed",
            Report::Compressed(Compressed {
                channel: 6,
                original: 128,
                runs: vec![[0, 100], [9, 28]],
            }),
        ),
        (
            "state",
            Report::FeatureState(FeatureState {
                flags: 7,
                ..FeatureState::default()
            }),
        ),
    ];
    for (name, report) in reports {
        write("edge", name, &EdgeReport { node: 3, report }.encode())?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| -> std::io::Result<()> {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    };
    let kinds = [
        ("legacy", Fields::Legacy),
        ("legacy-ht", Fields::LegacyHt20),
        ("stbc", Fields::LegacyHt20Stbc),
        ("wide", Fields::LegacyHt40),
    ];
    let mut lines = format!("{SIMULATED_LINE}\n");
    for (name, fields) in kinds {
        let frame = frame(fields, Order::Fft);
        let mut datagram = Vec::new();
        adr018::encode(&frame, 1, &mut datagram)?;
        write("adr018", name, &datagram)?;
        let mut line = String::new();
        write_line(&frame, &mut line)?;
        lines.push_str(&line);
        write("esp32_csv", name, line.as_bytes())?;
        write("wire", name, &wire::encode(&frame, &published()))?;
        if fields == Fields::Legacy {
            write(
                "adr018",
                "truncated",
                datagram.get(..40).unwrap_or_default(),
            )?;
            write("recording", "pcap", &pcap(&datagram))?;
            let length = u32::try_from(datagram.len())?.to_le_bytes();
            write(
                "recording",
                "container",
                &[length.as_slice(), &datagram].concat(),
            )?;
        }
    }
    mcap_seeds(write)?;
    let tool = "CSI_DATA,AP,AA:BB:CC:00:11:22,-72,11,0,0,0,0,0,0,0,0,0,-96,0,6,1,8346021,0,28,0,0,8.50623,384,";
    let short = "CSI_DATA,9,aa:bb:cc:00:11:22,-40,11,-95,25,17,36,1000,100,0,128,1,";
    let list = "1 -2 ".repeat(64);
    write(
        "esp32_csv",
        "csi-tool",
        format!("{tool}[{list}]\n").as_bytes(),
    )?;
    write(
        "esp32_csv",
        "short",
        format!("{short}\"[{}]\"\n", list.trim().replace(' ', ",")).as_bytes(),
    )?;
    write(
        "esp32_csv",
        "run-together",
        format!("{tool}[{list}{tool}[{list}]\n").as_bytes(),
    )?;
    write("recording", "csv", lines.as_bytes())?;
    let amplitudes = ",1".repeat(64);
    let header = csi::decode::ialr_csv::HEADER;
    write(
        "recording",
        "ialr",
        format!("{header}\ns,1,2,0,0,0,-50,64{amplitudes}\n").as_bytes(),
    )?;
    let ruview = format!(
        "{{\"timestamp\": 1.5, \"node_id\": 2, \"type\": \"raw_csi\", \"iq_hex\": \"{}\", \"subcarriers\": 64}}\n",
        "01ff".repeat(64)
    );
    write("recording", "ruview", ruview.as_bytes())?;
    let mut vitals = vec![2, 0, 0x11, 0xC5, 1];
    vitals.resize(32, 0);
    write("adr018", "vitals", &vitals)?;
    more_seeds(&write)?;
    let amplitude = Frame {
        format: SampleFormat::Af32,
        samples: vec![Complex32::new(1.5, 0.0); 64],
        ..frame(Fields::Legacy, Order::Ascending)
    };
    let message: Bytes = wire::encode(&amplitude, &published());
    write("wire", "amplitudes", &message)?;
    for (target, name, log) in records() {
        write(target, name, &log)?;
    }
    Ok(())
}
