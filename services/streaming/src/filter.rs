//! Which events a client asked for. Pure: subjects and payloads in, a yes or no out.
//!
//! A subject filter is a NATS filter over `{context}.{event}.{key}`: `*` stands for one part, `>` for one or more at the
//! end. An event type alone (`pose.motion_detected`) means all its keys (`pose.motion_detected.*`). A filter that begins
//! with a wildcard leaves out the announcements of single frames (`signal.csi_frame_*`), which `bus` reads only for those who
//! name them.

use std::fmt;

use events::EventEnvelope;
use serde_json::Value;

/// Parts of an event's subject: context, event, key.
const PARTS: usize = 3;
/// Longest subject filter, in bytes.
const MAX_LENGTH: usize = 255;
/// What the first part of an event's subject can be.
const CONTEXTS: [&str; 12] = [
    "hardware",
    "signal",
    "pose",
    "streaming",
    "alerting",
    "pipeline",
    "model",
    "job",
    "auth",
    "security",
    "workflow",
    "custom",
];
/// Payload fields that say how sure or how strong an event is, the first one present counts.
const CONFIDENCES: [&str; 4] = [
    "confidence",
    "overall_confidence",
    "motion_score",
    "presence_confidence",
];

/// Why a filter cannot be used. Each message names the filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// None given.
    #[error(
        "no subject filter given; name at least one, for example `pose.motion_detected` or `>`"
    )]
    None,
    /// More than one client may have.
    #[error("{count} subject filters given; at most {most} are allowed")]
    TooMany {
        /// Given.
        count: usize,
        /// Allowed.
        most: usize,
    },
    /// Longer than a subject may be.
    #[error("subject filter `{filter}...` has {length} bytes; at most {MAX_LENGTH} are allowed")]
    TooLong {
        /// Its beginning.
        filter: String,
        /// Its length in bytes.
        length: usize,
    },
    /// An empty filter, or two dots in a row, or one at an end.
    #[error("subject filter `{filter}`: part {part} is empty")]
    EmptyPart {
        /// The filter.
        filter: String,
        /// Which part, from 1.
        part: usize,
    },
    /// White space or a control character.
    #[error("subject filter `{filter}`: {character:?} cannot be in a subject")]
    Character {
        /// The filter.
        filter: String,
        /// The first character at fault.
        character: char,
    },
    /// `*` or `>` beside other characters.
    #[error("subject filter `{filter}`: `{wildcard}` must be a part of its own")]
    Wildcard {
        /// The filter.
        filter: String,
        /// `*` or `>`.
        wildcard: char,
    },
    /// `>` before the end.
    #[error("subject filter `{filter}`: `>` must be the last part")]
    NotLast {
        /// The filter.
        filter: String,
    },
    /// A first part that no event has.
    #[error("subject filter `{filter}`: no event begins with `{context}`; the contexts are {}", CONTEXTS.join(", "))]
    Context {
        /// The filter.
        filter: String,
        /// Its first part.
        context: String,
    },
    /// One part only.
    #[error("subject filter `{filter}` names no event; `{filter}.>` means all of them")]
    ContextOnly {
        /// The filter.
        filter: String,
    },
    /// More parts than an event's subject has.
    #[error(
        "subject filter `{filter}` has {parts} parts; an event's subject has {PARTS}: context, event and key"
    )]
    TooManyParts {
        /// The filter.
        filter: String,
        /// Its parts.
        parts: usize,
    },
    /// A threshold outside 0 to 1.
    #[error("min_confidence {value} is not between 0 and 1")]
    MinConfidence {
        /// As given.
        value: String,
    },
}

/// One subject filter, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectFilter(String);

impl SubjectFilter {
    /// Checks `text` and completes it: a filter of two parts means every key.
    ///
    /// # Errors
    /// A [`FilterError`] that names the filter and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let filter = || text.to_owned();
        if text.len() > MAX_LENGTH {
            return Err(FilterError::TooLong {
                filter: text.chars().take(32).collect(),
                length: text.len(),
            });
        }
        if let Some(character) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
            return Err(FilterError::Character {
                filter: filter(),
                character,
            });
        }
        let parts: Vec<&str> = text.split('.').collect();
        let last = parts.len() - 1;
        for (index, part) in parts.iter().enumerate() {
            if part.is_empty() {
                return Err(FilterError::EmptyPart {
                    filter: filter(),
                    part: index + 1,
                });
            }
            let wildcard = part.chars().find(|c| matches!(c, '*' | '>'));
            match wildcard {
                Some(wildcard) if part.len() > 1 => {
                    return Err(FilterError::Wildcard {
                        filter: filter(),
                        wildcard,
                    });
                }
                Some('>') if index < last => return Err(FilterError::NotLast { filter: filter() }),
                _ => {}
            }
        }
        let open_ended = parts.last() == Some(&">");
        if let Some(context) = parts
            .first()
            .filter(|c| !matches!(**c, "*" | ">") && !CONTEXTS.contains(*c))
        {
            return Err(FilterError::Context {
                filter: filter(),
                context: (*context).to_owned(),
            });
        }
        match parts.len() {
            1 if !open_ended => Err(FilterError::ContextOnly { filter: filter() }),
            2 if !open_ended => Ok(Self(format!("{text}.*"))),
            count if count > PARTS => Err(FilterError::TooManyParts {
                filter: filter(),
                parts: count,
            }),
            _ => Ok(Self(filter())),
        }
    }

    /// The filter, complete.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `subject` is one that the filter means.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        let mut parts = subject.split('.');
        for wanted in self.0.split('.') {
            match (wanted, parts.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(part)) if wanted == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }

    /// The key that the filter is bound to, where it is bound to one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.0
            .split('.')
            .nth(2)
            .filter(|key| !matches!(*key, "*" | ">"))
    }
}

impl fmt::Display for SubjectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All that a client asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Filters {
    subjects: Vec<SubjectFilter>,
    min_confidence: Option<f32>,
}

impl Filters {
    /// Checks a client's wishes. A filter given twice counts once.
    ///
    /// # Errors
    /// A [`FilterError`] that names the filter at fault.
    pub fn new<S: AsRef<str>>(
        subjects: &[S],
        min_confidence: Option<f32>,
        most: usize,
    ) -> Result<Self, FilterError> {
        if subjects.is_empty() {
            return Err(FilterError::None);
        }
        if subjects.len() > most {
            return Err(FilterError::TooMany {
                count: subjects.len(),
                most,
            });
        }
        if let Some(value) = min_confidence.filter(|v| !(0.0..=1.0).contains(v)) {
            return Err(FilterError::MinConfidence {
                value: value.to_string(),
            });
        }
        let mut kept: Vec<SubjectFilter> = Vec::new();
        for text in subjects {
            let filter = SubjectFilter::parse(text.as_ref())?;
            if !kept.contains(&filter) {
                kept.push(filter);
            }
        }
        Ok(Self {
            subjects: kept,
            min_confidence,
        })
    }

    /// The subject filters, complete, each once.
    #[must_use]
    pub fn subjects(&self) -> Vec<String> {
        self.subjects.iter().map(ToString::to_string).collect()
    }

    /// The keys (zones, devices, ...) that filters are bound to, each once.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .subjects
            .iter()
            .filter_map(|s| s.key())
            .map(str::to_owned)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The threshold, where the client gave one.
    #[must_use]
    pub fn min_confidence(&self) -> Option<f32> {
        self.min_confidence
    }

    /// Whether the client wants the event that lies on `subject`.
    #[must_use]
    pub fn pass(&self, subject: &str, event: &EventEnvelope) -> bool {
        self.subjects.iter().any(|filter| filter.matches(subject))
            && self.sure_enough(&event.payload)
    }

    /// An event that says nothing of its confidence passes.
    fn sure_enough(&self, payload: &Value) -> bool {
        let Some(least) = self.min_confidence else {
            return true;
        };
        let stated = CONFIDENCES
            .iter()
            .find_map(|field| payload.get(field)?.as_f64());
        // Payloads carry f32: compared as such, so that 0.8 reaches a threshold of 0.8.
        #[allow(clippy::cast_possible_truncation)]
        stated.is_none_or(|confidence| confidence as f32 >= least)
    }
}

#[cfg(test)]
mod tests;
