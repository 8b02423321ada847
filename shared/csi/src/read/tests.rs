use std::io::Write as _;

use bytes::Bytes;

use super::{Error, Format, Options, Position, Reader};
use crate::Frame;
use crate::decode::adr018;

const LINE: &str =
    "CSI_DATA,9,aa:bb:cc:00:11:22,-52,11,1,7,0,1,1,1,0,0,1,-91,1,11,0,5000,0,100,0,128,0,";

fn csv_line() -> String {
    format!("{LINE}[{}]\n", "1 -2 ".repeat(64))
}

fn open(bytes: impl Into<Bytes>) -> Result<Reader, Error> {
    Reader::new(bytes.into(), "file", Format::Auto, Options::default())
}

fn datagram(sequence: u64) -> Vec<u8> {
    let mut frame = open(csv_line()).unwrap().next().unwrap().unwrap();
    frame.sequence = sequence;
    let mut bytes = Vec::new();
    adr018::encode(&frame, 5, &mut bytes).unwrap();
    bytes
}

/// Ethernet, IPv4, UDP to port 5005 around a payload.
fn packet(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xFF; 12];
    bytes.extend([0x08, 0x00, 0x45, 0]);
    bytes.extend((28 + payload.len() as u16).to_be_bytes());
    bytes.extend([
        0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34,
    ]);
    bytes.extend(5005_u16.to_be_bytes());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

fn pcap(packets: &[Vec<u8>], magic: u32, big_endian: bool) -> Vec<u8> {
    let u32 = |value: u32| {
        if big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let mut file: Vec<u8> = [magic, 0x0004_0002, 0, 0, 65535, 1]
        .into_iter()
        .flat_map(u32)
        .collect();
    for (index, packet) in packets.iter().enumerate() {
        let length = packet.len() as u32;
        file.extend(
            [1_700_000_000 + index as u32, 250_000, length, length]
                .into_iter()
                .flat_map(u32),
        );
        file.extend(packet);
    }
    file
}

fn frames(reader: Reader) -> Vec<Frame> {
    reader.map(Result::unwrap).collect()
}

#[test]
fn pcap_of_either_byte_order_and_unit() {
    let vitals = [0x02, 0, 0x11, 0xC5, 1]
        .into_iter()
        .chain([0; 27])
        .collect::<Vec<u8>>();
    let mut tagged = packet(&datagram(9));
    tagged.splice(12..12, [0x81, 0x00, 0, 7]);
    let packets = [
        packet(&datagram(1)),
        packet(b"other traffic"),
        packet(&vitals),
        vec![1, 2, 3],
        tagged,
    ];
    for (magic, big_endian, micros) in [
        (0xA1B2_C3D4, false, 250_000),
        (0xA1B2_C3D4, true, 250_000),
        (0xA1B2_3C4D, false, 250),
        (0xA1B2_3C4D, true, 250),
    ] {
        let reader = open(pcap(&packets, magic, big_endian)).unwrap();
        assert_eq!((reader.format(), reader.has_time()), (Format::Pcap, true));
        let found = frames(reader);
        let found: Vec<_> = found
            .iter()
            .map(|frame| (frame.sequence, frame.receive_time_us))
            .collect();
        assert_eq!(
            found,
            [
                (1, 1_700_000_000_000_000 + micros),
                (9, 1_700_000_004_000_000 + micros)
            ]
        );
    }
}

#[test]
fn a_damaged_datagram_in_a_pcap_does_not_stop_it() {
    let cut = datagram(1)[..100].to_vec();
    let file = pcap(&[packet(&cut), packet(&datagram(2))], 0xA1B2_C3D4, false);
    let mut found: Vec<_> = open(file.clone()).unwrap().collect();
    assert_eq!(found.remove(1).unwrap().sequence, 2);
    let place = found.remove(0).unwrap_err();
    assert_eq!(
        (place.position, place.error.code()),
        (Position::Offset(24), "truncated")
    );
    // A file that is cut off ends in one error.
    let found: Vec<_> = open(file[..file.len() - 5].to_vec()).unwrap().collect();
    assert!(found.len() == 2 && found[1].is_err());
    let mut absurd = file;
    absurd[24 + 8..24 + 12].fill(0xFF);
    let found: Vec<_> = open(absurd).unwrap().collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].as_ref().unwrap_err().error.code(), "absurd_length");
}

#[test]
fn a_container_goes_on_behind_a_damaged_datagram() {
    let mut file = Vec::new();
    for bytes in [datagram(1), datagram(2)[..90].to_vec(), datagram(3)] {
        file.extend((bytes.len() as u32).to_le_bytes());
        file.extend(bytes);
    }
    file.extend([1, 2]);
    let reader = open(file).unwrap();
    assert_eq!(
        (reader.format(), reader.has_time()),
        (Format::Adr018, false)
    );
    let found: Vec<_> = reader
        .map(|found| {
            found
                .map(|frame| frame.sequence)
                .map_err(|place| place.to_string())
        })
        .collect();
    assert_eq!(
        (found[0].clone(), found[2].clone(), found.len()),
        (Ok(1), Ok(3), 4)
    );
    assert!(
        found[1]
            .as_ref()
            .unwrap_err()
            .starts_with("offset 152: truncated"),
        "{found:?}"
    );
    assert!(
        found[3]
            .as_ref()
            .unwrap_err()
            .contains("expected 4 bytes of length, found 2"),
        "{found:?}"
    );
}

/// Bytes between datagrams, a length that is wrong, and one that leads behind the end cost what they hit.
#[test]
fn a_container_goes_on_behind_garbage() {
    let put = |file: &mut Vec<u8>, bytes: &[u8], length: usize| {
        file.extend((length as u32).to_le_bytes());
        file.extend(bytes);
    };
    let mut file = Vec::new();
    put(&mut file, &datagram(1), 148);
    file.extend([0xA5; 333]);
    put(&mut file, &datagram(2), 148);
    put(&mut file, &datagram(3), 100);
    put(&mut file, &datagram(4), 148);
    put(&mut file, &datagram(5), 60_000);
    put(&mut file, &datagram(6), 148);
    // A file that begins with garbage is known by what follows it.
    let behind: Vec<u8> = [&[0x5A; 77], file.as_slice()].concat();
    let reader = open(behind).unwrap();
    assert_eq!(reader.format(), Format::Adr018);
    assert_eq!(reader.flatten().count(), 4);
    let found: Vec<_> = open(file).unwrap().collect();
    let sequences: Vec<u64> = found.iter().flatten().map(|frame| frame.sequence).collect();
    assert_eq!(sequences, [1, 2, 4, 6]);
    let codes: Vec<_> = found
        .iter()
        .filter_map(|found| found.as_ref().err())
        .map(|place| place.error.code())
        .collect();
    // What lies between, the short one and what is left of it, the long one.
    assert_eq!(
        codes,
        ["absurd_length", "truncated", "absurd_length", "truncated"]
    );
}

/// Of lines with a mark in front, log lines between and a damaged one, those of data are counted as the references count them.
#[test]
fn lines_of_data_are_counted_apart() {
    let header = "type,role,mac,rssi,rate,sig_mode,mcs,bandwidth,smoothing,not_sounding,aggregation,stbc,fec_coding,sgi,\
                  noise_floor,ampdu_cnt,channel,secondary_channel,local_timestamp,ant,sig_len,rx_state,real_time_set,\
                  real_timestamp,len,CSI_DATA";
    let tool = "CSI_DATA,AP,AA:BB:CC:00:11:22,-72,11,0,0,0,0,0,0,0,0,0,-96,0,6,1,8346021,0,28,0,0,8.50623,128,";
    let list = "1\t-2 ".repeat(64);
    let line = format!("{tool} [{list}],1700000000.25");
    let text = format!(
        "\u{feff}{header}\r\n{line}\r\nI (312) wifi: [1]\r\n\r\nCSI_DATA,broken\r\n{line}\r\n{header}\r\n{line}"
    );
    for text in [text.clone(), text.replacen(header, "", 1)] {
        let mut reader = open(text).unwrap();
        assert_eq!(reader.format(), Format::Esp32Csv);
        let mut lines = Vec::new();
        while let Some(next) = reader.next() {
            let Ok(frame) = next else {
                lines.push(None);
                continue;
            };
            let fields = reader.header_fields(&frame);
            lines.push(fields["line"].as_u64());
            assert_eq!(fields["real_timestamp"], 8.50623);
            assert_eq!((frame.samples[0].im, frame.samples[0].re), (1.0, -2.0));
        }
        assert_eq!(lines, [Some(0), None, Some(2), Some(3)]);
    }
}

#[test]
fn places_in_lines_are_counted_from_one() {
    let text = format!(
        "type,id\n{}\nCSI_DATA,broken\n{}",
        csv_line(),
        csv_line().trim_end()
    );
    let reader = open(text).unwrap();
    assert_eq!(reader.format(), Format::Esp32Csv);
    let found: Vec<_> = reader
        .map(|found| found.map_err(|place| place.position))
        .collect();
    assert!(found[0].is_ok() && found[2].is_ok() && found.len() == 3);
    assert_eq!(found[1], Err(Position::Line(4)));
}

#[test]
fn the_stamp_of_the_simulator_is_carried() {
    let reader = open(format!("# simulated by fresnel 0.1.0\n{}", csv_line())).unwrap();
    assert!(frames(reader)[0].simulated);
    assert!(!frames(open(csv_line()).unwrap())[0].simulated);
}

#[test]
fn gzip_is_unpacked_within_a_limit() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed
        .write_all(csv_line().repeat(1000).as_bytes())
        .unwrap();
    let packed = Bytes::from(packed.finish().unwrap());
    assert_eq!(frames(open(packed.clone()).unwrap()).len(), 1000);
    let options = Options {
        max_bytes: 10_000,
        ..Options::default()
    };
    let error = Reader::new(packed.clone(), "bomb.gz", Format::Auto, options).unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit: 10_000, .. }),
        "{error}"
    );
    assert!(matches!(
        open(packed.slice(..packed.len() / 2)),
        Err(Error::Gzip { .. })
    ));
}

#[test]
fn an_unknown_format_is_refused_with_the_known_ones() {
    let error = Reader::new(
        Bytes::from_static(b"\x89PNG\r\n"),
        "picture.csv",
        Format::Auto,
        Options::default(),
    );
    let message = error.unwrap_err().to_string();
    for part in [
        "picture.csv",
        "esp32-csv",
        "nexmon-pcap",
        "ruview-jsonl",
        "\"\\x89PNG",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(matches!(open(""), Err(Error::Empty { .. })));
    assert!(matches!(
        open(b"\x0A\x0D\x0D\x0A\0\0\0\0".to_vec()),
        Err(Error::Pcap { .. })
    ));
    assert!(matches!(
        open(b"PK\x03\x04 no archive".to_vec()),
        Err(Error::EspectreNpz { .. })
    ));
    let rate = Options {
        rate_hz: Some(0.0),
        ..Options::default()
    };
    assert!(matches!(
        Reader::new(csv_line().into(), "file", Format::Auto, rate),
        Err(Error::Rate { .. })
    ));
}

#[test]
fn formats_have_names() {
    for format in Format::ALL.into_iter().chain([Format::Auto]) {
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert_eq!("adr018-pcap".parse(), Ok(Format::Pcap));
    let error = "tcpdump".parse::<Format>().unwrap_err();
    assert!(error.to_string().contains("nexmon-pcap"), "{error}");
}
