use std::io::Read as _;

use csi::layout::{self, Fields, Order};
use csi::{Frame, Ppdu, SampleFormat};
use events::DataSource;
use hardware_gateway::recording::frames::Item;
use num_complex::Complex32;

use super::{csv, npz};

fn item(number: u64, from: &str) -> Item {
    let layout = layout::esp32(Fields::Legacy, Order::Fft, false);
    Item {
        from: from.to_owned(),
        zone: "lab".to_owned(),
        source: DataSource::Live,
        frame: Frame {
            sequence: number,
            counted: true,
            device_time_us: None,
            receive_time_us: 1_000 * number as i64,
            rssi_dbm: vec![-50],
            noise_floor_dbm: None,
            agc: None,
            frequency_mhz: Some(2437),
            channel: Some(6),
            bandwidth_mhz: Some(20),
            ppdu: Ppdu::Ht,
            antennas: 1,
            transmit_streams: 1,
            chain: None,
            scale: None,
            samples: (0..64)
                .map(|k| Complex32::new(k as f32 + 0.5, -(number as f32)))
                .collect(),
            layout,
            format: SampleFormat::Cf32,
            raw_size: 148,
            transmitter: None,
            simulated: false,
        },
    }
}

#[test]
fn a_row_says_what_the_frame_holds() {
    let mut out = Vec::new();
    csv::write([item(7, "a,b")].into_iter(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let (header, row) = text.split_once('\n').unwrap();
    assert!(row.starts_with("\"a,b\",lab,live,7,1,7000,,-50,,,6,2437,20,Ht,1,esp32-lltf64,0 1 2 "));
    assert!(row.trim_end().ends_with("-7 -7"));
    assert_eq!(header.split(',').count(), row.split(',').count() - 1);
}

#[test]
fn the_arrays_are_read_by_others() {
    let mut out = std::io::Cursor::new(Vec::new());
    let items = [item(1, "one"), item(2, "two"), item(3, "one")];
    npz::write(items.into_iter(), &mut out).unwrap();
    let mut archive = zip::ZipArchive::new(out).unwrap();
    let mut bytes = |name: &str| {
        let mut bytes = Vec::new();
        archive
            .by_name(name)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    };
    let samples = bytes("samples_0.npy");
    let header = npyz::NpyFile::new(samples.as_slice()).unwrap();
    assert_eq!(header.shape(), [2, 1, 64]);
    assert_eq!(header.dtype().descr(), "'<c8'");
    let data = &samples[samples.len() - 2 * 64 * 8..];
    let last = [
        &data[data.len() - 8..data.len() - 4],
        &data[data.len() - 4..],
    ];
    let last = last.map(|part| f32::from_le_bytes(part.try_into().unwrap()));
    assert_eq!(last, [63.5, -3.0]);
    let times = bytes("times_0.npy");
    let times = npyz::NpyFile::new(times.as_slice())
        .unwrap()
        .into_vec::<i64>()
        .unwrap();
    assert_eq!(times, [1000, 3000]);
    let absent = bytes("device_times_1.npy");
    let absent = npyz::NpyFile::new(absent.as_slice())
        .unwrap()
        .into_vec::<i64>()
        .unwrap();
    assert_eq!(absent, [-1]);
}
