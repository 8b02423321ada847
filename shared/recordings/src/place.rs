//! The places where a recording is looked for.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::catalogue::{Catalogue, Entry};
use crate::{Error, Recording, origin};

/// Largest recording that is read or fetched, unpacked, in bytes.
pub const CACHE_LIMIT: u64 = 256 * 1024 * 1024;

/// Where recordings are looked for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Local folders, first to last.
    pub folders: Vec<PathBuf>,
    /// Where downloads are kept; without one nothing is fetched.
    pub cache: Option<PathBuf>,
    /// Whether the origin is asked.
    pub online: bool,
}

impl Places {
    /// The usual places: `$FRESNEL_RECORDINGS`; `shared/data` in a folder above the current one, or above the package that
    /// is being tested; the user's cache; the origin.
    #[must_use]
    pub fn from_environment() -> Self {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let mut folders: Vec<PathBuf> = set("FRESNEL_RECORDINGS").into_iter().collect();
        for start in [std::env::current_dir().ok(), set("CARGO_MANIFEST_DIR")]
            .into_iter()
            .flatten()
        {
            for above in start.ancestors() {
                let folder = above.join("shared").join("data");
                if folder.is_dir() && !folders.contains(&folder) {
                    folders.push(folder);
                }
            }
        }
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        Self {
            folders,
            cache: cache.map(|cache| cache.join("fresnel").join("recordings")),
            online: true,
        }
    }

    /// Place in the cache, under the name without `.gz`: what is fetched is not packed.
    fn cached(&self, entry: &Entry) -> Option<PathBuf> {
        let path = entry.path.strip_suffix(".gz").unwrap_or(&entry.path);
        self.cache.as_ref().map(|cache| cache.join(path))
    }
}

fn sum_of(contents: &[u8]) -> String {
    hex::encode(Sha256::digest(contents))
}

fn read(entry: &Entry, path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read {
        name: entry.name.clone(),
        place: path.display().to_string(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut contents = Vec::new();
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let read = if packed {
        flate2::read::MultiGzDecoder::new(file)
            .take(CACHE_LIMIT + 1)
            .read_to_end(&mut contents)
    } else {
        file.take(CACHE_LIMIT + 1).read_to_end(&mut contents)
    };
    read.map_err(failed)?;
    check(entry, &path.display().to_string(), &contents)?;
    Ok(contents)
}

fn check(entry: &Entry, place: &str, contents: &[u8]) -> Result<(), Error> {
    let found = sum_of(contents);
    if found.eq_ignore_ascii_case(&entry.sha256) {
        return Ok(());
    }
    let (name, expected) = (entry.name.clone(), entry.sha256.clone());
    Err(Error::Sum {
        name,
        place: place.to_owned(),
        expected,
        found,
    })
}

impl Catalogue {
    /// Where a recording lies on this machine, without looking into it.
    #[must_use]
    pub fn locate(&self, entry: &Entry, places: &Places) -> Option<PathBuf> {
        let folders = places.folders.iter().map(|folder| folder.join(&entry.path));
        folders
            .chain(places.cached(entry))
            .find(|path| path.is_file())
    }

    /// Finds a recording.
    ///
    /// # Errors
    /// Where it is not listed, in none of the places, unreadable, or not what it should be.
    pub fn find(&self, name: &str, places: &Places) -> Result<Recording, Error> {
        let Some(entry) = self.entry(name) else {
            let alike = |other: &str| {
                name.bytes()
                    .zip(other.bytes())
                    .take_while(|(a, b)| a == b)
                    .count()
            };
            let near = self
                .entries()
                .iter()
                .map(|entry| entry.name.as_str())
                .max_by_key(|other| alike(other));
            let near = near.filter(|near| alike(near) >= 4).map(str::to_owned);
            return Err(Error::Unlisted {
                name: name.to_owned(),
                near,
            });
        };
        let found = |path: PathBuf, contents| Recording {
            entry: entry.clone(),
            path,
            contents,
        };
        if let Some(path) = self.locate(entry, places) {
            let contents = read(entry, &path)?;
            return Ok(found(path, contents));
        }
        let mut looked: Vec<String> = places
            .folders
            .iter()
            .map(|folder| folder.join(&entry.path).display().to_string())
            .collect();
        let cached = places.cached(entry);
        match (self.origin(entry), cached) {
            (None, _) => looked.push("(it has no origin to be fetched from)".to_owned()),
            (Some(url), Some(path)) if places.online => match origin::fetch(&url, CACHE_LIMIT) {
                Ok(contents) => {
                    check(entry, &url, &contents)?;
                    origin::keep(&path, &contents).map_err(|source| Error::Read {
                        name: entry.name.clone(),
                        place: path.display().to_string(),
                        source,
                    })?;
                    return Ok(found(path, contents));
                }
                Err(problem) => looked.push(format!("{url} ({problem})")),
            },
            (Some(url), _) => looked.push(format!("{url} (not asked)")),
        }
        Err(Error::NotFound {
            name: name.to_owned(),
            looked,
        })
    }
}
