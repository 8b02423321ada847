//! The recordings that there are.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::{Bus, Kv, Objects};
use bytes::Bytes;
use csi::read::Format;
use events::Timestamp;
use sha2::Digest;

use super::frames::{Frames, Scan};
use super::{Recording, State};
use crate::config;
use crate::error::{Error, chain};

/// Uploads that broke off can be gone on with for so long.
const KEPT_UPLOADS: Duration = Duration::from_secs(24 * 60 * 60);
/// Storing a recording takes no longer, seconds.
const STORING_S: u64 = 60 * 60;

/// The recordings of this gateway.
pub struct Library {
    kv: Kv,
    objects: Objects,
    directory: Option<PathBuf>,
    spool: PathBuf,
    /// This gateway, `service/instance`.
    gateway: String,
    max_bytes: u64,
    /// A recording that was begun longer ago has ended, whoever made it.
    longest: Duration,
    /// One scan at a time: some formats are in memory meanwhile.
    scanning: tokio::sync::Semaphore,
}

impl Library {
    /// Opens the stores and makes the directories.
    ///
    /// # Errors
    /// Where they cannot be reached or made.
    pub async fn open(
        bus: &Bus,
        config: &config::Recordings,
        max_bytes: u64,
        gateway: String,
    ) -> Result<Self, Error> {
        let library = Self {
            kv: bus.kv("recordings").await?,
            objects: bus.objects("recordings").await?,
            directory: config.directory.clone(),
            spool: config.spool(),
            gateway,
            max_bytes,
            longest: Duration::from_secs(config.max_seconds.saturating_add(STORING_S)),
            scanning: tokio::sync::Semaphore::new(1),
        };
        for directory in library.directory.iter().chain([&library.spool]) {
            tokio::fs::create_dir_all(directory)
                .await
                .map_err(|source| Error::disk("make the directory", directory, source))?;
        }
        library.forget_old_uploads();
        Ok(library)
    }

    /// Removes uploads that nobody went on with for a day.
    fn forget_old_uploads(&self) {
        let Ok(files) = std::fs::read_dir(&self.spool) else {
            return;
        };
        for file in files.flatten() {
            let is_upload = file.file_name().to_string_lossy().starts_with("upload-");
            let age = file
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|time| time.elapsed().ok());
            if is_upload && age.is_some_and(|age| age > KEPT_UPLOADS) {
                // Another process may have been faster.
                let _ = std::fs::remove_file(file.path());
            }
        }
    }

    /// Where a recording is written while it comes to be.
    #[must_use]
    pub fn spooled(&self, id: &str) -> PathBuf {
        self.spool.join(format!("{id}.part"))
    }

    /// This gateway.
    #[must_use]
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Largest recording, bytes.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// The recording of that id (or digest).
    ///
    /// # Errors
    /// [`Error::NotFound`], or where it cannot be read.
    pub async fn get(&self, id: &str) -> Result<Recording, Error> {
        if let Some((bytes, _)) = self.kv.get(id).await? {
            return Ok(serde_json::from_slice(&bytes)?);
        }
        // Of a former version, which kept the bytes only.
        if let Some(size_bytes) = self.objects.size(id).await? {
            return Ok(Recording {
                state: State::Completed,
                format: Format::Auto.to_string(),
                sha256: id.to_owned(),
                size_bytes,
                ..Recording::new(id.to_owned(), String::new(), Default::default())
            });
        }
        Err(Error::NotFound {
            kind: "recording",
            name: id.to_owned(),
        })
    }

    /// Recordings after an id, in the order of their ids, at most `limit`.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub async fn list(&self, after: &str, limit: usize) -> Result<Vec<Recording>, Error> {
        let mut found = Vec::new();
        for key in self.kv.keys().await? {
            if key.as_str() <= after {
                continue;
            }
            if found.len() == limit {
                break;
            }
            if let Some((bytes, _)) = self.kv.get(&key).await? {
                found.push(serde_json::from_slice(&bytes)?);
            }
        }
        Ok(found)
    }

    /// Keeps what is known of a recording.
    ///
    /// # Errors
    /// Where it cannot be stored.
    pub async fn keep(&self, recording: &Recording) -> Result<(), Error> {
        let bytes = Bytes::from(serde_json::to_vec(recording)?);
        self.kv.put(&recording.id, bytes).await?;
        Ok(())
    }

    /// Keeps a recording that is new; false where one of that id is known.
    ///
    /// # Errors
    /// Where it cannot be stored.
    pub async fn begin(&self, recording: &Recording) -> Result<bool, Error> {
        let bytes = Bytes::from(serde_json::to_vec(recording)?);
        Ok(self.kv.update(&recording.id, bytes, 0).await?.is_some())
    }

    /// What a file holds; the frames are read one by one, on a thread for such work.
    ///
    /// # Errors
    /// Where it is no recording.
    pub async fn scan(&self, file: File, name: &str, format: Format) -> Result<Scan, Error> {
        let _turn = self.scanning.acquire().await;
        let (name, max_bytes) = (name.to_owned(), self.max_bytes);
        let shown = name.clone();
        let scanned = tokio::task::spawn_blocking(move || {
            Frames::open(file, &name, format, max_bytes).map(|frames| Scan::of(frames, &name))
        });
        match scanned.await {
            Ok(scanned) => scanned.map_err(|source| Error::Recording {
                recording: shown,
                source,
            }),
            Err(_) => Err(Error::Invalid {
                field: "recording",
                problem: "the reader failed on it".into(),
            }),
        }
    }

    /// Moves a spooled file to its place, sets digest and size, and keeps the recording. Its id is the digest where empty.
    ///
    /// # Errors
    /// Where it cannot be stored. The spooled file is left then.
    pub async fn store(&self, recording: &mut Recording, spooled: &Path) -> Result<(), Error> {
        let (sha256, size_bytes) = digest(spooled).await?;
        recording.size_bytes = size_bytes;
        if recording.id.is_empty() {
            recording.id.clone_from(&sha256);
        }
        match &self.directory {
            Some(directory) => {
                let extension = match recording.format.as_str() {
                    "mcap" => "mcap",
                    _ => "recording",
                };
                let path = directory.join(format!("{}.{extension}", recording.id));
                // Perhaps on another file system.
                tokio::fs::copy(spooled, &path)
                    .await
                    .map_err(|source| Error::disk("write", &path, source))?;
                recording.file = Some(path);
            }
            None => {
                if self.objects.size(&sha256).await? != Some(size_bytes) {
                    self.objects.put_file(&sha256, spooled).await?;
                }
            }
        }
        recording.sha256 = sha256;
        self.keep(recording).await?;
        if let Err(error) = tokio::fs::remove_file(spooled).await {
            tracing::warn!(file = %spooled.display(), %error, "a spooled recording could not be removed");
        }
        Ok(())
    }

    /// The bytes of a recording, as a file that vanishes when it is closed (but the one of a directory, which stays).
    ///
    /// # Errors
    /// Where they are not there.
    pub async fn file(&self, recording: &Recording) -> Result<File, Error> {
        if let Some(path) = &recording.file {
            return File::open(path).map_err(|source| Error::disk("open", path, source));
        }
        let temporary = tempfile::Builder::new()
            .prefix("replay-")
            .tempfile_in(&self.spool)
            .map_err(|source| Error::disk("write to", &self.spool, source))?;
        let there = !recording.sha256.is_empty()
            && self
                .objects
                .get_file(&recording.sha256, temporary.path())
                .await?;
        if !there {
            return Err(Error::NotFound {
                kind: "recording",
                name: recording.id.clone(),
            });
        }
        temporary
            .reopen()
            .map_err(|source| Error::disk("open", temporary.path(), source))
    }

    /// Removes a recording.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotNow`] while it is being recorded.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        let recording = self.get(id).await?;
        if recording.state == State::Recording {
            return Err(Error::NotNow {
                problem: format!("recording {id} is being recorded; stop it first"),
            });
        }
        match &recording.file {
            Some(path) => match tokio::fs::remove_file(path).await {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::disk("remove", path, source));
                }
                _ => {}
            },
            None => {
                let others = self.list("", usize::MAX).await?;
                let shared = others
                    .iter()
                    .any(|other| other.id != id && other.sha256 == recording.sha256);
                if !shared && !recording.sha256.is_empty() {
                    self.objects.delete(&recording.sha256).await?;
                }
            }
        }
        Ok(self.kv.delete(id).await?)
    }

    /// Stores what a former process of this gateway was recording when it was killed. What another gateway records is left
    /// to it: one of another name, or another process on this machine, which has the file locked. One that should have ended
    /// long ago has nobody any more who would end it.
    ///
    /// # Errors
    /// Where the list cannot be read. What goes wrong with one recording is noted on it.
    pub async fn recover(&self) -> Result<(), Error> {
        for mut recording in self.list("", usize::MAX).await? {
            if recording.state != State::Recording {
                continue;
            }
            let spooled = self.spooled(&recording.id);
            let age_s = Timestamp::now().seconds_since(recording.created);
            let over = age_s > self.longest.as_secs_f64();
            let ours = recording.gateway.is_empty() || recording.gateway == self.gateway;
            let locked = File::open(&spooled)
                .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
            if locked || !(ours || over) {
                tracing::debug!(
                    recording = recording.id,
                    gateway = recording.gateway,
                    "another gateway records"
                );
                continue;
            }
            recording.state = State::Interrupted;
            recording.ended_by = "the gateway was killed".into();
            let stored = match File::open(&spooled) {
                Ok(file) => match self.scan(file, &recording.name, Format::Mcap).await {
                    Ok(scan) => {
                        recording.describe(scan);
                        self.store(&mut recording, &spooled).await
                    }
                    Err(error) => Err(error),
                },
                Err(source) => Err(Error::disk("open", &spooled, source)),
            };
            if let Err(error) = stored {
                recording.state = State::Failed;
                recording.ended_by = format!("the gateway was killed; {}", chain(&error));
                self.keep(&recording).await?;
            }
            tracing::warn!(
                recording = recording.id,
                frames = recording.frames,
                state = ?recording.state,
                "a recording was interrupted"
            );
        }
        Ok(())
    }
}

/// SHA-256 (hex) and size of a file.
pub(super) async fn digest(path: &Path) -> Result<(String, u64), Error> {
    let read = {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut hasher = Hasher(sha2::Sha256::new());
            let size = io::copy(&mut File::open(path)?, &mut hasher)?;
            Ok((hex::encode(hasher.0.finalize()), size))
        })
    };
    let read = read
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    read.map_err(|source| Error::disk("read", path, source))
}

struct Hasher(sha2::Sha256);

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
