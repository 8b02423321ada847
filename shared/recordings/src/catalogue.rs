//! The list of recordings.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

const BUILT_IN: &str = include_str!("../../../tests/recordings.toml");

/// Why a list is no list of recordings.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The file.
    #[error("{path} cannot be read")]
    Read {
        /// Its path.
        path: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// Not the expected TOML.
    #[error("the list of recordings is damaged")]
    Toml(#[from] toml::de::Error),
    /// An entry does not hold together.
    #[error("recording {name}: {problem}")]
    Entry {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Where recordings come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Repository.
    pub repository: String,
    /// Commit, where it is known.
    pub commit: Option<String>,
    /// URL of one file, with `{commit}` and `{file}`; absent where the recordings are not there as they are here.
    pub origin: Option<String>,
    /// Licence, as an SPDX identifier, or `none stated`.
    pub licence: String,
    /// What else is to be known.
    pub note: Option<String>,
}

/// What happened in a recording, or in a part of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// What happened: `quiet`, `motion`, `empty`, `moving`, or an activity.
    pub label: String,
    /// From when, in seconds of the recording; absent for all of it.
    pub from_s: Option<f64>,
    /// Until when.
    pub to_s: Option<f64>,
}

/// What a recording may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Thresholds and models were chosen on it.
    Tuning,
    /// Only measured on.
    Test,
}

/// One recording.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// How it is asked for.
    pub name: String,
    /// Key of its source.
    pub source: String,
    /// Place in a local folder.
    pub path: String,
    /// `{file}` in the URL of its source.
    pub file: Option<String>,
    /// SHA-256 of the contents, unpacked where `path` ends in `.gz`.
    pub sha256: String,
    /// Frames that can be decoded.
    pub frames: u64,
    /// Whether tests do without it everywhere, also where recordings are required: it shows what no other does, and is not among
    /// those that this project is given.
    #[serde(default)]
    pub optional: bool,
    /// What happened.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Chip that recorded it.
    pub chip: Option<String>,
    /// Session that it belongs to.
    pub session: Option<String>,
    /// Room.
    pub room: Option<String>,
    /// What it may be used for.
    pub split: Option<Split>,
}

impl Entry {
    /// The label of the whole recording, where it has exactly one.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        match self.labels.as_slice() {
            [
                Label {
                    label,
                    from_s: None,
                    to_s: None,
                },
            ] => Some(label),
            _ => None,
        }
    }

    /// The label at a time, in seconds of the recording.
    #[must_use]
    pub fn label_at(&self, second: f64) -> Option<&str> {
        let holds = |label: &&Label| {
            label.from_s.is_none_or(|from| second >= from)
                && label.to_s.is_none_or(|to| second < to)
        };
        self.labels
            .iter()
            .find(holds)
            .map(|label| label.label.as_str())
    }
}

/// All recordings and their sources.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    sources: BTreeMap<String, Source>,
    pub(crate) recordings: Vec<Entry>,
}

impl Catalogue {
    /// The list of this repository, as it was when the program was built.
    ///
    /// # Errors
    /// Where the list is damaged; a test looks.
    pub fn built_in() -> Result<Self, CatalogueError> {
        Self::parse(BUILT_IN)
    }

    /// Another list.
    ///
    /// # Errors
    /// Where the file cannot be read or is no such list.
    pub fn load(path: &Path) -> Result<Self, CatalogueError> {
        let text = std::fs::read_to_string(path).map_err(|source| CatalogueError::Read {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, CatalogueError> {
        let catalogue: Self = toml::from_str(text)?;
        let mut names = std::collections::BTreeSet::new();
        for entry in &catalogue.recordings {
            let source = catalogue.sources.get(&entry.source);
            let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let sum = entry.sha256.len() == 64
                && entry.sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
            let relative = Path::new(&entry.path).components();
            let problem = if source.is_none() {
                "its source is not listed"
            } else if entry.name.is_empty() || !entry.name.chars().all(label) {
                "a name is of lower-case letters, digits and hyphens"
            } else if !names.insert(&entry.name) {
                "listed twice"
            } else if !sum {
                "sha256 is no SHA-256"
            } else if !relative
                .clone()
                .all(|part| matches!(part, std::path::Component::Normal(_)))
            {
                "path leads out of its folder"
            } else if entry.file.is_some() != source.is_some_and(|source| source.origin.is_some()) {
                "file and the source's origin belong together"
            } else {
                continue;
            };
            return Err(CatalogueError::Entry {
                name: entry.name.clone(),
                problem,
            });
        }
        Ok(catalogue)
    }

    /// All recordings, in the order of the list.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.recordings
    }

    /// The recording of a name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.recordings.iter().find(|entry| entry.name == name)
    }

    /// Where a recording comes from.
    #[must_use]
    pub fn source(&self, entry: &Entry) -> Option<&Source> {
        self.sources.get(&entry.source)
    }

    /// URL of a recording, where it has one.
    #[must_use]
    pub fn origin(&self, entry: &Entry) -> Option<String> {
        let source = self.source(entry)?;
        let url = source
            .origin
            .as_ref()?
            .replace("{file}", entry.file.as_ref()?);
        Some(url.replace("{commit}", source.commit.as_deref().unwrap_or_default()))
    }
}
