//! The frames of a stored recording, and of which device each is.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use csi::read::{Error, Format, Options, Reader};
use csi::{Frame, mcap};
use events::DataSource;

use super::Device;

/// Malformed places of which the messages are logged; all are counted.
const LOGGED_PLACES: u64 = 5;
/// A step in a device's count that is no loss but another count.
const LARGEST_LOSS: u64 = 10_000;

/// Reads a recording, frame by frame. MCAP is read chunk by chunk; of the other formats the file is in memory.
pub enum Frames {
    /// In pieces.
    Mcap(Box<mcap::Reader<BufReader<File>>>),
    /// Whole.
    Whole(Box<Reader>),
}

/// A frame, and of which device it is in the recording.
pub struct Item {
    /// The device, as [`Device::device`] names it.
    pub from: String,
    /// Its zone; empty where the recording does not say.
    pub zone: String,
    /// The frame.
    pub frame: Frame,
    /// What the frame was when it was recorded.
    pub source: DataSource,
}

impl Frames {
    /// Opens a file of at most `max_bytes`, where it must be in memory. Blocks.
    ///
    /// # Errors
    /// Where it cannot be read, or is in no known format.
    pub fn open(mut file: File, name: &str, format: Format, max_bytes: u64) -> Result<Self, Error> {
        let unreadable = |source| Error::Gzip {
            file_name: name.to_owned(),
            source,
        };
        let mut head = Vec::new();
        (&mut file)
            .take(mcap::MAGIC.len() as u64)
            .read_to_end(&mut head)
            .map_err(unreadable)?;
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        if head == mcap::MAGIC && matches!(format, Format::Auto | Format::Mcap) {
            let opened = mcap::Reader::open(BufReader::new(file), u64::MAX);
            let opened = opened.map_err(|source| Error::Mcap {
                file_name: name.to_owned(),
                source,
            })?;
            return Ok(Self::Mcap(Box::new(opened)));
        }
        let mut bytes = Vec::new();
        (&mut file)
            .take(max_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > max_bytes {
            return Err(Error::TooLarge {
                file_name: name.to_owned(),
                limit: max_bytes,
            });
        }
        let reader = Reader::new(bytes.into(), name, format, Options::default())?;
        Ok(Self::Whole(Box::new(reader)))
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::Mcap(_) => Format::Mcap,
            Self::Whole(reader) => reader.format(),
        }
    }

    /// Whether the frames have times.
    #[must_use]
    pub fn has_time(&self) -> bool {
        match self {
            Self::Mcap(_) => true,
            Self::Whole(reader) => reader.has_time(),
        }
    }
}

impl Iterator for Frames {
    /// A frame, or the place that is none.
    type Item = Result<Item, String>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Mcap(reader) => Some(match reader.next()? {
                Ok(recorded) => Ok(Item {
                    from: recorded.channel.device.clone(),
                    zone: recorded.channel.zone.clone(),
                    source: recorded.published.source,
                    frame: recorded.frame,
                }),
                Err((offset, error)) => Err(format!("offset {offset}: {error}")),
            }),
            Self::Whole(reader) => Some(match reader.next()? {
                Ok(frame) => {
                    let channel = reader.channel();
                    let node = reader.node().map(|node| format!("node-{node}"));
                    Ok(Item {
                        from: channel
                            .map(|channel| channel.device.clone())
                            .or(node)
                            .unwrap_or_default(),
                        zone: channel
                            .map(|channel| channel.zone.clone())
                            .unwrap_or_default(),
                        source: if frame.simulated {
                            DataSource::Simulated
                        } else {
                            channel.map_or(DataSource::Live, |channel| channel.source)
                        },
                        frame,
                    })
                }
                Err(place) => Err(place.to_string()),
            }),
        }
    }
}

/// What a recording holds.
#[derive(Debug)]
pub struct Scan {
    /// Its format.
    pub format: Format,
    /// Whether its frames have times.
    pub has_time: bool,
    /// Its devices, in the order of their first frames.
    pub devices: Vec<Device>,
    /// Places that are no frames.
    pub malformed: u64,
    span: Option<(i64, i64)>,
    tally: Tally,
}

/// The last number of each device's count.
#[derive(Debug, Default)]
pub struct Tally(Vec<Option<u64>>);

impl Tally {
    /// Counts a frame to its device; a device that is new is added.
    pub fn add(
        &mut self,
        devices: &mut Vec<Device>,
        from: &str,
        zone: &str,
        frame: &Frame,
        source: DataSource,
    ) {
        let place = devices.iter().position(|device| device.device == from);
        let place = place.unwrap_or_else(|| {
            devices.push(Device {
                device: from.to_owned(),
                zone: zone.to_owned(),
                frames: 0,
                source,
                lost: 0,
            });
            devices.len() - 1
        });
        self.0.resize(devices.len(), None);
        let (Some(device), Some(last)) = (devices.get_mut(place), self.0.get_mut(place)) else {
            return;
        };
        device.frames += 1;
        if source == DataSource::Simulated {
            device.source = source;
        }
        if frame.counted {
            let missing = last
                .and_then(|last| frame.sequence.checked_sub(last + 1))
                .filter(|missing| *missing < LARGEST_LOSS);
            device.lost += missing.unwrap_or_default();
            *last = Some(frame.sequence);
        }
    }
}

impl Scan {
    /// Reads a recording to its end. Blocks.
    #[must_use]
    pub fn of(mut frames: Frames, name: &str) -> Self {
        let mut scan = Self {
            format: frames.format(),
            has_time: frames.has_time(),
            devices: Vec::new(),
            malformed: 0,
            span: None,
            tally: Tally::default(),
        };
        for item in frames.by_ref() {
            match item {
                Ok(item) => {
                    let time = item.frame.receive_time_us;
                    scan.span = Some(scan.span.map_or((time, time), |(first, _)| (first, time)));
                    scan.tally.add(
                        &mut scan.devices,
                        &item.from,
                        &item.zone,
                        &item.frame,
                        item.source,
                    );
                }
                Err(place) => {
                    scan.malformed += 1;
                    if scan.malformed <= LOGGED_PLACES {
                        tracing::warn!(name, place, "a place in a recording is malformed");
                    }
                }
            }
        }
        scan
    }

    /// Seconds from the first frame to the last.
    #[allow(clippy::cast_precision_loss)]
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.span
            .map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e6)
    }
}
