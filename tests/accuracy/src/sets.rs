//! The labelled sets: which recordings, which sessions, and what counts as motion.

use std::collections::BTreeSet;

use recordings::{Catalogue, Entry, Places, Recording};

use crate::path::{self, Window};

/// A set of recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Quiet and moving rooms, five ESP32 chips, about 100 frames/s.
    Espectre,
    /// Recordings that ESPectre's repository held earlier, and does not any more: nobody looked at one before the constants stood.
    EspectreHistory,
    /// Recordings that ESPectre's author added later, in two more rooms: five chips, about 100 frames/s.
    EspectreLater,
    /// The sessions of IALR that are not in [`Set::Ialr`].
    IalrMore,
    /// The sessions of thu4n that are not in [`Set::Thu4n`].
    Thu4nMore,
    /// Quiet and walking, ESP32-C6 at 40 MHz, about 100 frames/s.
    Tzanis,
    /// Still and moving, ESP32, frames in bursts.
    Surya,
    /// An empty room, somebody still, somebody moving; ESP32, 11 frames/s.
    Fauzan,
    /// An empty room or somebody moving, ESP32-S3, 10 amplitude frames/s.
    Ialr,
    /// Exercises on the spot, ESP32, about 100 frames/s.
    Thu4n,
    /// Activities, Intel 5300, 20 frames/s.
    CsiHar,
    /// The two subjects of csi-har that nobody looked at before the features and the probes stood.
    CsiHarUnseen,
    /// The other trials of these two subjects.
    CsiHarUnseenMore,
    /// Activities, Nexmon 80 MHz, 50 frames/s.
    Fition,
}

/// A recording as the service saw it.
#[derive(Clone, Debug)]
pub struct Take {
    /// Its entry.
    pub entry: Entry,
    /// What cannot be split: a session, a pair of recordings, a subject.
    pub session: String,
    /// Its windows.
    pub windows: Vec<Window>,
    /// Seconds from the first to the last frame.
    pub length_s: f64,
    /// Seconds at which the room was not settled, IALR only.
    unsettled: Vec<f64>,
}

impl Set {
    /// All of them that are not blind.
    pub const ALL: [Self; 5] = [
        Self::Espectre,
        Self::Ialr,
        Self::Thu4n,
        Self::CsiHar,
        Self::Fition,
    ];

    /// Those from which no constant is; what was looked at of them is in docs/accuracy.md.
    pub const BLIND: [Self; 7] = [
        Self::EspectreHistory,
        Self::EspectreLater,
        Self::IalrMore,
        Self::Thu4nMore,
        Self::Tzanis,
        Self::Surya,
        Self::Fauzan,
    ];

    /// It is one of [`BLIND`](Self::BLIND).
    #[must_use]
    pub fn is_blind(self) -> bool {
        Self::BLIND.contains(&self)
    }

    /// Key of its source in the list of recordings.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::Espectre => "espectre",
            Self::EspectreHistory => "espectre-history",
            Self::EspectreLater => "espectre-later",
            Self::IalrMore => "ialr-more",
            Self::Thu4nMore => "thu4n-more",
            Self::Tzanis => "tzanis",
            Self::Surya => "surya",
            Self::Fauzan => "fauzan",
            Self::Ialr => "ialr",
            Self::Thu4n => "thu4n",
            Self::CsiHar => "csi-har",
            Self::CsiHarUnseen => "csi-har-unseen",
            Self::CsiHarUnseenMore => "csi-har-unseen-more",
            Self::Fition => "fition",
        }
    }

    /// One case is a whole recording (or 15 s of a longer one), since its label holds only for the whole.
    #[must_use]
    pub fn by_recording(self) -> bool {
        matches!(
            self,
            Self::CsiHar | Self::CsiHarUnseen | Self::CsiHarUnseenMore | Self::Fition
        )
    }

    /// Takes every recording of the set through the service's code. `None` where they are not to be had.
    ///
    /// # Errors
    /// Where one is damaged or cannot be opened.
    pub fn takes(self, places: &Places) -> anyhow::Result<Option<Vec<Take>>> {
        let catalogue = Catalogue::built_in()?;
        let mut takes = Vec::new();
        for entry in catalogue.entries() {
            if entry.source != self.source() {
                continue;
            }
            let recording = match catalogue.find(&entry.name, places) {
                Ok(recording) => recording,
                Err(recordings::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            takes.push(self.take(entry, &recording, &catalogue)?);
        }
        Ok(Some(takes))
    }

    fn take(
        self,
        entry: &Entry,
        recording: &Recording,
        catalogue: &Catalogue,
    ) -> anyhow::Result<Take> {
        let frames = path::frames(recording)?;
        let ends = (frames.first(), frames.last());
        let length_s = match ends {
            (Some(first), Some(last)) => {
                (last.receive_time_us - first.receive_time_us) as f64 / 1e6
            }
            _ => 0.0,
        };
        let unsettled = match self {
            Self::Ialr | Self::IalrMore => unsettled(&recording.contents),
            _ => Vec::new(),
        };
        Ok(Take {
            entry: entry.clone(),
            session: self.session(entry, catalogue),
            windows: path::windows(&frames),
            length_s,
            unsettled,
        })
    }

    /// What must not be divided: of ESPectre a quiet recording and the one of motion that followed it, of IALR and thu4n a
    /// session, of the activities a subject.
    fn session(self, entry: &Entry, catalogue: &Catalogue) -> String {
        let session = entry.session.as_deref().unwrap_or_default();
        match self {
            Self::Espectre => {
                let before = catalogue.entries().iter().filter(|other| {
                    other.source == entry.source
                        && other.chip == entry.chip
                        && other.label() == Some("quiet")
                        && moment(other) <= moment(entry)
                });
                // The long recording of both is a session of its own.
                let begin = before
                    .max_by_key(|other| moment(other))
                    .filter(|_| entry.label().is_some())
                    .unwrap_or(entry);
                begin.name.clone()
            }
            Self::Ialr
            | Self::EspectreHistory
            | Self::EspectreLater
            | Self::IalrMore
            | Self::Tzanis
            | Self::Surya
            | Self::Fauzan => session.to_owned(),
            Self::Thu4n | Self::Thu4nMore => format!("session {session}"),
            Self::CsiHar | Self::CsiHarUnseen | Self::CsiHarUnseenMore => {
                session.split('-').next().unwrap_or_default().to_owned()
            }
            Self::Fition => {
                let mut parts = entry.name.split('-');
                let user = parts.find(|part| part.starts_with("user"));
                user.unwrap_or_default().to_owned()
            }
        }
    }
}

/// Date and time in the name of a recording of ESPectre.
fn moment(entry: &Entry) -> Vec<&str> {
    entry.name.split('-').skip(3).collect()
}

impl Take {
    /// Chip, as the tables have it.
    #[must_use]
    pub fn chip(&self) -> &str {
        match (self.entry.source.as_str(), &self.entry.chip) {
            (_, Some(chip)) => chip,
            ("ialr" | "ialr-more", None) => "s3",
            ("thu4n" | "thu4n-more", None) => "esp32",
            ("fition", None) => "bcm43455c0",
            _ => "",
        }
    }

    /// Whether something moves in a window; absent where the label does not say.
    #[must_use]
    pub fn truth(&self, window: &Window) -> Option<bool> {
        match self.entry.source.as_str() {
            "espectre" | "espectre-history" | "espectre-later" | "tzanis" | "surya" | "fauzan" => {
                let at = |second| self.entry.label_at(second);
                let label = at(window.start_s)?;
                (at(window.end_s) == Some(label)).then_some(label == "motion")
            }
            "ialr" | "ialr-more" => {
                let touches = |at: &f64| (window.start_s..window.end_s).contains(at);
                let settled = !self.unsettled.iter().any(touches);
                settled.then(|| self.entry.label() == Some("moving"))
            }
            // The subject comes and goes in the first and last seconds of each file.
            "thu4n" | "thu4n-more" => {
                let middle = window.start_s >= 8.0 && window.end_s <= self.length_s - 10.0;
                middle.then(|| self.entry.label() != Some("no_activity"))
            }
            _ => Some(!self.still()),
        }
    }

    /// Nobody moves in the whole recording.
    #[must_use]
    pub fn still(&self) -> bool {
        matches!(
            self.entry.label(),
            Some("quiet" | "empty" | "no_activity" | "lying" | "sitting" | "still" | "no_movement")
        )
    }
}

/// Seconds after the first row at which rows are marked as settling: right after somebody came or went.
fn unsettled(contents: &[u8]) -> Vec<f64> {
    let text = String::from_utf8_lossy(contents);
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split(',');
        let time: i64 = fields.nth(1)?.parse().ok()?;
        Some((time, fields.nth(3)? == "1"))
    });
    let rows: Vec<(i64, bool)> = rows.collect();
    let begin = rows.first().map_or(0, |row| row.0);
    rows.into_iter()
        .filter(|row| row.1)
        .map(|row| (row.0 - begin) as f64 / 1e6)
        .collect()
}

/// The names of the sessions of takes, in order.
#[must_use]
pub fn sessions(takes: &[Take]) -> Vec<String> {
    let names: BTreeSet<&str> = takes.iter().map(|take| take.session.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}
