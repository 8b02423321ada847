//! Uploads: written to the spool as they come, and resumed where they broke off.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use csi::read::Format;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::library::Library;
use super::{Recording, State};
use crate::error::Error;

/// What the first message of an upload says.
#[derive(Clone, Debug)]
pub struct Description {
    /// File name.
    pub name: String,
    /// Format, or auto.
    pub format: Format,
    /// The client's id; without one the upload cannot be resumed.
    pub upload: Option<Uuid>,
    /// Where in the file the data begin.
    pub offset: u64,
    /// Size of the whole, where known.
    pub size_bytes: Option<u64>,
    /// SHA-256 of the whole, hex, where known.
    pub sha256: Option<String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
}

/// An upload under way.
pub struct Upload {
    library: Arc<Library>,
    description: Description,
    file: File,
    path: PathBuf,
    received: u64,
}

/// Bytes that have arrived of an upload.
pub async fn received(library: &Library, upload: Uuid) -> u64 {
    let path = library.spooled(&format!("upload-{upload}"));
    tokio::fs::metadata(path)
        .await
        .map_or(0, |metadata| metadata.len())
}

impl Upload {
    /// Begins an upload, or goes on with it.
    ///
    /// # Errors
    /// [`Error::NotNow`] where `offset` is not what has arrived.
    pub async fn open(library: Arc<Library>, description: Description) -> Result<Self, Error> {
        let id = description.upload.unwrap_or_else(Uuid::new_v4);
        let path = library.spooled(&format!("upload-{id}"));
        let disk = |source| Error::disk("write to", &path, source);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .await
            .map_err(disk)?;
        let received = file.metadata().await.map_err(disk)?.len();
        if received != description.offset {
            return Err(Error::NotNow {
                problem: format!(
                    "the data begin at {}, but {received} bytes have arrived",
                    description.offset
                ),
            });
        }
        Ok(Self {
            library,
            description,
            file,
            path,
            received,
        })
    }

    /// Appends data.
    ///
    /// # Errors
    /// Where there is more than a recording may have, or the disk is full.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        let limit = self.library.max_bytes();
        self.received += data.len() as u64;
        if self.received > limit {
            self.discard().await;
            return Err(Error::Invalid {
                field: "data",
                problem: format!("a recording may have {limit} bytes (max_recording_bytes)"),
            });
        }
        self.file
            .write_all(data)
            .await
            .map_err(|source| Error::disk("write to", &self.path, source))
    }

    /// The stream broke: what has arrived is kept where the client can ask for it.
    pub async fn broken(mut self) {
        // What could not be written is missing, and is asked for again.
        let _ = self.file.flush().await;
    }

    async fn discard(&mut self) {
        match tokio::fs::remove_file(&self.path).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(file = %self.path.display(), %error, "an upload could not be removed");
            }
            _ => {}
        }
    }

    /// The stream has ended: stores the recording.
    ///
    /// # Errors
    /// Where it is not whole, not what was announced, or no recording.
    pub async fn finish(mut self) -> Result<Recording, Error> {
        self.file
            .flush()
            .await
            .map_err(|source| Error::disk("write to", &self.path, source))?;
        if self.received == 0 {
            self.discard().await;
            return Err(Error::Invalid {
                field: "data",
                problem: "the recording is empty".into(),
            });
        }
        if let Some(size) = self.description.size_bytes
            && size != self.received
        {
            let problem = format!("{} of {size} bytes have arrived", self.received);
            if self.received > size {
                self.discard().await;
            }
            return Err(Error::NotNow { problem });
        }
        let stored = self.store().await;
        if stored.is_err() {
            self.discard().await;
        }
        stored
    }

    async fn store(&mut self) -> Result<Recording, Error> {
        let Description {
            name,
            format,
            sha256,
            labels,
            ..
        } = self.description.clone();
        let disk = |source| Error::disk("read", &self.path, source);
        let file = std::fs::File::open(&self.path).map_err(disk)?;
        let (digest, _) = super::library::digest(&self.path).await?;
        if let Some(expected) = sha256.filter(|expected| !expected.eq_ignore_ascii_case(&digest)) {
            return Err(Error::Invalid {
                field: "sha256",
                problem: format!("expected {expected}, the bytes that arrived have {digest}"),
            });
        }
        let scan = self.library.scan(file, &name, format).await?;
        let mut recording = Recording::new(String::new(), name, labels);
        recording.state = State::Completed;
        recording.ended_by = "uploaded".into();
        recording.describe(scan);
        self.library.store(&mut recording, &self.path).await?;
        Ok(recording)
    }
}

impl Drop for Upload {
    /// What nobody can resume is not kept, also where the call was given up.
    fn drop(&mut self) {
        if self.description.upload.is_none() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
