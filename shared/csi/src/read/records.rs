//! Logs of network cards: which of them bytes are, and their frames.

use super::Format;
use crate::Frame;
use crate::decode::atheros::ByteOrder;
use crate::decode::record::{Error, Header, Shape};
use crate::decode::{atheros, feitcsi, intel5300, picoscenes};

/// A log, as far as it was read.
#[derive(Debug)]
pub(super) struct Records {
    shape: Shape,
    decoder: Decoder,
    offset: usize,
    header: Option<Header>,
}

#[derive(Debug)]
enum Decoder {
    Intel5300(intel5300::Decoder),
    Atheros(atheros::Decoder),
    PicoScenes(picoscenes::Decoder),
    FeitCsi(feitcsi::Decoder),
}

const SHAPES: [(Format, fn() -> Shape); 5] = [
    (Format::PicoScenes, || picoscenes::SHAPE),
    (Format::Intel5300, || intel5300::SHAPE),
    (Format::FeitCsi, || feitcsi::SHAPE),
    (Format::Atheros, || ByteOrder::Little.shape()),
    (Format::Atheros, || ByteOrder::Big.shape()),
];

/// The format of a log by its first record.
pub(super) fn detect(bytes: &[u8]) -> Option<Format> {
    let mut shapes = SHAPES.into_iter();
    let (format, _) = shapes.find(|(_, shape)| shape().begins(bytes))?;
    Some(format)
}

/// The format of a log whose first bytes are damaged.
pub(super) fn detect_later(beginning: &[u8]) -> Option<Format> {
    let mut shapes = SHAPES.into_iter();
    let (format, _) = shapes.find(|(_, shape)| shape().begins_later(beginning))?;
    Some(format)
}

fn byte_order(log: &[u8]) -> ByteOrder {
    let later = |order: &ByteOrder| {
        let beginning = log.get(..64 * 1024).unwrap_or(log);
        order.shape().begins_later(beginning)
    };
    let orders = [ByteOrder::Little, ByteOrder::Big];
    let found = ByteOrder::detect(log).or_else(|| orders.into_iter().find(later));
    found.unwrap_or(ByteOrder::Little)
}

impl Records {
    /// Opens a log. Another format than those of logs is read as the Intel 5300's.
    pub(super) fn open(format: Format, log: &[u8]) -> Self {
        let (shape, decoder) = match format {
            Format::Atheros => {
                let order = byte_order(log);
                (
                    order.shape(),
                    Decoder::Atheros(atheros::Decoder::new(order)),
                )
            }
            Format::PicoScenes => (
                picoscenes::SHAPE,
                Decoder::PicoScenes(picoscenes::Decoder::default()),
            ),
            Format::FeitCsi => (
                feitcsi::SHAPE,
                Decoder::FeitCsi(feitcsi::Decoder::default()),
            ),
            _ => (
                intel5300::SHAPE,
                Decoder::Intel5300(intel5300::Decoder::default()),
            ),
        };
        Self {
            shape,
            decoder,
            offset: 0,
            header: None,
        }
    }

    /// The next record: where it begins, and its frame, where it holds one.
    pub(super) fn next(&mut self, log: &[u8]) -> Option<(usize, Result<Option<Frame>, Error>)> {
        let offset = self.offset;
        let (record, next) = self.shape.next(log, offset)?;
        self.offset = next;
        let decoder = &mut self.decoder;
        let found = record.and_then(|record| {
            Ok(match decoder {
                Decoder::Intel5300(decoder) => decoder
                    .record(record)?
                    .map(|(header, frame)| (Header::Intel5300(header), frame)),
                Decoder::Atheros(decoder) => decoder
                    .record(record)?
                    .map(|(header, frame)| (Header::Atheros(header), frame)),
                Decoder::PicoScenes(decoder) => decoder
                    .record(record)?
                    .map(|(header, frame)| (Header::PicoScenes(Box::new(header)), frame)),
                Decoder::FeitCsi(decoder) => decoder
                    .record(record)?
                    .map(|(header, frame)| (Header::FeitCsi(header), frame)),
            })
        });
        let frame = found.map(|found| {
            found.map(|(header, frame)| {
                self.header = Some(header);
                frame
            })
        });
        Some((offset, frame))
    }

    pub(super) fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    pub(super) fn restarts(&self) -> u32 {
        match &self.decoder {
            Decoder::Intel5300(decoder) => decoder.restarts(),
            Decoder::Atheros(decoder) => decoder.restarts(),
            Decoder::PicoScenes(decoder) => decoder.restarts(),
            Decoder::FeitCsi(decoder) => decoder.restarts(),
        }
    }
}
