//! Public recordings of CSI, and where to find them.
//!
//! None is part of this repository. `tests/recordings.toml` names them, with origin, licence, labels and SHA-256;
//! [`Catalogue`] reads it, and [`Catalogue::find`] brings one: from the folder `$FRESNEL_RECORDINGS`, then from
//! `shared/data` beside the repository, then from the cache of earlier downloads, then from its origin over HTTPS. What does
//! not have the right sum is an error and is never used.
//!
//! Tests use [`require_or_skip!`], which says plainly when a recording is missing.

mod catalogue;
mod origin;
mod place;

use std::path::PathBuf;

pub use catalogue::{Catalogue, CatalogueError, Entry, Label, Source, Split};
pub use place::{CACHE_LIMIT, Places};

/// A recording that was found.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What is known about it.
    pub entry: Entry,
    /// Where it was found, or where it was put.
    pub path: PathBuf,
    /// Its contents, unpacked where `path` ends in `.gz`, with the right sum.
    pub contents: Vec<u8>,
}

impl Recording {
    /// Name of the file, without `.gz`.
    #[must_use]
    pub fn file_name(&self) -> String {
        let name = self
            .path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        name.strip_suffix(".gz").map(str::to_owned).unwrap_or(name)
    }
}

/// Why a recording cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such entry.
    #[error("no recording {name:?} is listed{}", near.as_ref().map(|near| format!("; the nearest is {near:?}")).unwrap_or_default())]
    Unlisted {
        /// What was asked for.
        name: String,
        /// The listed name that begins alike.
        near: Option<String>,
    },
    /// It is in none of the places.
    #[error("no recording {name}: looked in {}", looked.join(", "))]
    NotFound {
        /// Its name.
        name: String,
        /// Where it was looked for, and what happened there.
        looked: Vec<String>,
    },
    /// It is not what it should be.
    #[error("recording {name} at {place}: expected SHA-256 {expected}, found {found}")]
    Sum {
        /// Its name.
        name: String,
        /// Where it was found.
        place: String,
        /// The sum of the entry.
        expected: String,
        /// The sum of what is there.
        found: String,
    },
    /// It is there and cannot be read.
    #[error("recording {name} at {place} cannot be read")]
    Read {
        /// Its name.
        name: String,
        /// Where it was found.
        place: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The catalogue itself.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// Finds a recording of the built-in catalogue in the usual places.
///
/// # Errors
/// Where it is not listed, not to be had, or not what it should be.
pub fn find(name: &str) -> Result<Recording, Error> {
    Catalogue::built_in()?.find(name, &Places::from_environment())
}

/// What a test is to do about a recording: run with it, or skip (`None`; that was said on standard error). For
/// [`require_or_skip!`].
///
/// # Errors
/// Where the recording is damaged; and where it is missing, not optional, and `FRESNEL_REQUIRE_RECORDINGS` is set.
pub fn for_test(name: &str) -> Result<Option<Recording>, Error> {
    use std::io::Write as _;

    let catalogue = Catalogue::built_in()?;
    let all_required = std::env::var_os("FRESNEL_REQUIRE_RECORDINGS")
        .is_some_and(|value| value != "0" && !value.is_empty());
    let required = all_required && !is_optional(&catalogue, name);
    match catalogue.find(name, &Places::from_environment()) {
        Ok(recording) => Ok(Some(recording)),
        Err(missing @ Error::NotFound { .. }) if !required => {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("test");
            // Not through eprintln!, which the test harness swallows where the test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {missing}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether tests do without a recording everywhere. One that is not listed is required: to ask for it is a mistake.
fn is_optional(catalogue: &Catalogue, name: &str) -> bool {
    catalogue.entry(name).is_some_and(|entry| entry.optional)
}

/// The recording of this name, in a test. Where it is nowhere to be had the test says `SKIPPED` on standard error and
/// returns; with `FRESNEL_REQUIRE_RECORDINGS=1` it fails, unless the recording is optional. A recording with a wrong sum always
/// fails.
#[macro_export]
macro_rules! require_or_skip {
    ($name:expr) => {
        match $crate::for_test($name) {
            Ok(Some(recording)) => recording,
            Ok(None) => return,
            Err(error) => panic!("{error}"),
        }
    };
}

#[cfg(test)]
mod tests;
