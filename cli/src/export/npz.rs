//! Arrays for NumPy: `.npy` files (format version 1.0) in a zip archive.
//!
//! An array says its length first, so the frames are held in memory until all are read.

use std::io::{self, Write};
use std::sync::Arc;

use csi::Layout;
use hardware_gateway::recording::frames::Item;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Frames of one device, layout and number of antennas.
struct Group {
    device: String,
    layout: Arc<Layout>,
    antennas: u8,
    rssi_values: usize,
    samples: Vec<u8>,
    times: Vec<u8>,
    device_times: Vec<u8>,
    sequences: Vec<u8>,
    rssi: Vec<Vec<i8>>,
}

/// Writes the frames.
pub fn write(items: impl Iterator<Item = Item>, out: impl Write + io::Seek) -> anyhow::Result<()> {
    let mut groups: Vec<Group> = Vec::new();
    for item in items {
        let frame = item.frame;
        let same = |group: &Group| {
            group.device == item.from
                && group.antennas == frame.antennas
                && (Arc::ptr_eq(&group.layout, &frame.layout) || group.layout == frame.layout)
        };
        let place = groups.iter().position(same).unwrap_or_else(|| {
            groups.push(Group {
                device: item.from.clone(),
                layout: Arc::clone(&frame.layout),
                antennas: frame.antennas,
                rssi_values: 0,
                samples: Vec::new(),
                times: Vec::new(),
                device_times: Vec::new(),
                sequences: Vec::new(),
                rssi: Vec::new(),
            });
            groups.len() - 1
        });
        let Some(group) = groups.get_mut(place) else {
            continue;
        };
        let parts = frame
            .samples
            .iter()
            .flat_map(|sample| [sample.re, sample.im]);
        group.samples.extend(parts.flat_map(f32::to_le_bytes));
        group.times.extend(frame.receive_time_us.to_le_bytes());
        let device_time = frame
            .device_time_us
            .and_then(|time| i64::try_from(time).ok());
        group
            .device_times
            .extend(device_time.unwrap_or(-1).to_le_bytes());
        group.sequences.extend(frame.sequence.to_le_bytes());
        group.rssi_values = group.rssi_values.max(frame.rssi_dbm.len());
        group.rssi.push(frame.rssi_dbm);
    }
    let mut zip = ZipWriter::new(out);
    let names: Vec<String> = groups
        .iter()
        .map(|group| format!("{} {} {}", group.device, group.layout.name, group.antennas))
        .collect();
    let width = names.iter().map(|name| name.chars().count()).max();
    let width = width.unwrap_or_default().max(1);
    let letters = names.iter().flat_map(|name| {
        let padding = std::iter::repeat_n('\0', width - name.chars().count());
        name.chars().chain(padding)
    });
    let letters: Vec<u8> = letters.flat_map(|c| u32::from(c).to_le_bytes()).collect();
    array(
        &mut zip,
        "groups",
        &format!("<U{width}"),
        &[names.len()],
        &letters,
    )?;
    for (index, group) in groups.iter().enumerate() {
        group.write(index, &mut zip)?;
    }
    zip.finish()?.flush()?;
    Ok(())
}

impl Group {
    fn write<W: Write + io::Seek>(
        &self,
        index: usize,
        zip: &mut ZipWriter<W>,
    ) -> anyhow::Result<()> {
        let (frames, subcarriers) = (self.rssi.len(), self.layout.len());
        let mut put = |name: &str, kind: &str, shape: &[usize], data: &[u8]| {
            array(zip, &format!("{name}_{index}"), kind, shape, data)
        };
        let shape = [frames, usize::from(self.antennas), subcarriers];
        put("samples", "<c8", &shape, &self.samples)?;
        put("times", "<i8", &[frames], &self.times)?;
        put("device_times", "<i8", &[frames], &self.device_times)?;
        put("sequences", "<u8", &[frames], &self.sequences)?;
        let value =
            |rssi: &Vec<i8>, k: usize| rssi.get(k).map_or(f32::NAN, |rssi| f32::from(*rssi));
        let rssi = self
            .rssi
            .iter()
            .flat_map(|rssi| (0..self.rssi_values).map(move |k| value(rssi, k)));
        let rssi: Vec<u8> = rssi.flat_map(f32::to_le_bytes).collect();
        put("rssi", "<f4", &[frames, self.rssi_values], &rssi)?;
        let indices = self.layout.subcarriers.iter();
        let indices: Vec<u8> = indices.flat_map(|index| index.to_le_bytes()).collect();
        put("subcarriers", "<i2", &[subcarriers], &indices)?;
        let valid: Vec<u8> = self
            .layout
            .valid
            .iter()
            .map(|valid| u8::from(*valid))
            .collect();
        put("valid", "|b1", &[subcarriers], &valid)
    }
}

/// Writes one array, C order.
fn array<W: Write + io::Seek>(
    zip: &mut ZipWriter<W>,
    name: &str,
    kind: &str,
    shape: &[usize],
    data: &[u8],
) -> anyhow::Result<()> {
    let lengths: Vec<String> = shape.iter().map(|length| format!("{length},")).collect();
    let described = format!(
        "{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}",
        lengths.join(" ")
    );
    // The data begin at a multiple of 64; a newline ends what is before them.
    let length = (10 + described.len() + 1).next_multiple_of(64) - 10;
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .large_file(true);
    zip.start_file(format!("{name}.npy"), options)?;
    zip.write_all(b"\x93NUMPY\x01\x00")?;
    zip.write_all(&u16::try_from(length)?.to_le_bytes())?;
    zip.write_all(format!("{described:<width$}\n", width = length - 1).as_bytes())?;
    zip.write_all(data)?;
    Ok(())
}
