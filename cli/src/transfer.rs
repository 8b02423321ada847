//! Recordings on their way to the gateway and back.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::BytesMut;
use indicatif::{ProgressBar, ProgressStyle};
use proto::gateway::v1::recording_service_client::RecordingServiceClient;
use proto::gateway::v1::{
    DownloadRecordingRequest, GetUploadRequest, UploadRecordingRequest, UploadRecordingResponse,
};
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::client::{Address, GATEWAY, explain, is_broken_connection, refusal};

/// Bytes of a recording in one message.
const CHUNK: usize = 256 * 1024;
/// How long the gateway may be away before we give up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(500);

/// The gateway's recordings, through its restarts.
pub struct Gateway {
    /// Where it listens.
    pub address: Address,
}

/// A file that is being uploaded.
struct Source<'a> {
    path: &'a Path,
    format: &'a str,
    id: Uuid,
    size: u64,
    sha256: String,
    labels: HashMap<String, String>,
    bar: ProgressBar,
}

impl Gateway {
    /// A connection.
    pub async fn client(&self) -> anyhow::Result<RecordingServiceClient<Channel>> {
        GATEWAY
            .connect(&self.address)
            .await
            .map(RecordingServiceClient::new)
    }

    /// Uploads a recording. Where the connection breaks it goes on with what has not arrived.
    pub async fn upload(
        &self,
        path: &Path,
        format: &str,
        labels: HashMap<String, String>,
    ) -> anyhow::Result<UploadRecordingResponse> {
        let (size, sha256) = digest(path).await?;
        let source = Source {
            path,
            format,
            id: Uuid::new_v4(),
            size,
            sha256,
            labels,
            bar: bytes_bar(size, "uploading"),
        };
        let mut patience = Patience::new();
        let mut client = self.client().await?;
        let uploaded = loop {
            let begun = source.bar.position();
            match source.attempt(&mut client).await {
                Ok(Ok(uploaded)) => break Ok(uploaded),
                Ok(Err(status)) => {
                    if source.bar.position() > begun {
                        patience = Patience::new();
                    }
                    client = self
                        .again(&mut patience, &status, Some(&source.bar))
                        .await?;
                }
                Err(error) => break Err(error),
            }
        };
        source.bar.finish_and_clear();
        uploaded
    }

    /// Writes a recording to a file. Where the connection breaks it goes on with what has not arrived.
    pub async fn download(&self, recording: &str, size: u64, out: &Path) -> anyhow::Result<()> {
        let shown = out.display();
        let mut file = tokio::fs::File::create(out)
            .await
            .with_context(|| format!("{shown} cannot be written"))?;
        let bar = bytes_bar(size, "downloading");
        let mut patience = Patience::new();
        let mut client = self.client().await?;
        let mut offset = 0;
        let broken = loop {
            let request = DownloadRecordingRequest {
                recording: recording.to_owned(),
                offset,
            };
            let status = match client.download_recording(request).await {
                Err(status) => status,
                Ok(answer) => {
                    let mut parts = answer.into_inner();
                    loop {
                        match parts.message().await {
                            Ok(Some(part)) => {
                                file.write_all(&part.data)
                                    .await
                                    .with_context(|| format!("{shown} cannot be written"))?;
                                offset += part.data.len() as u64;
                                bar.set_position(offset);
                                patience = Patience::new();
                            }
                            Ok(None) => {
                                file.flush().await?;
                                bar.finish_and_clear();
                                return Ok(());
                            }
                            Err(status) => break status,
                        }
                    }
                }
            };
            match self.again(&mut patience, &status, Some(&bar)).await {
                Ok(again) => client = again,
                Err(error) => break error,
            }
        };
        bar.finish_and_clear();
        Err(broken)
    }

    /// A new connection after `status`, where that may help.
    pub async fn again(
        &self,
        patience: &mut Patience,
        status: &Status,
        bar: Option<&ProgressBar>,
    ) -> anyhow::Result<RecordingServiceClient<Channel>> {
        if !is_broken_connection(status) {
            return Err(refusal(status));
        }
        if !std::mem::replace(&mut patience.told, true) {
            let line = format!(
                "the gateway went away ({}); waiting for it",
                explain(status)
            );
            match bar.filter(|bar| !bar.is_hidden()) {
                Some(bar) => bar.println(line),
                None => eprintln!("{line}"),
            }
        }
        loop {
            if patience.since.elapsed() > PATIENCE {
                return Err(refusal(status).context(format!(
                    "the gateway did not come back within {} s",
                    PATIENCE.as_secs()
                )));
            }
            tokio::time::sleep(PAUSE).await;
            if let Ok(client) = self.client().await {
                return Ok(client);
            }
        }
    }
}

impl Source<'_> {
    /// One attempt, from where the last one ended. The outer error is ours (the file), the inner one the gateway's.
    async fn attempt(
        &self,
        client: &mut RecordingServiceClient<Channel>,
    ) -> anyhow::Result<Result<UploadRecordingResponse, Status>> {
        let request = GetUploadRequest {
            upload_id: self.id.to_string(),
        };
        let offset = match client.get_upload(request).await {
            Ok(answer) => answer.into_inner().received_bytes.min(self.size),
            Err(status) => return Ok(Err(status)),
        };
        let unreadable = || format!("{} cannot be read", self.path.display());
        let mut file = tokio::fs::File::open(self.path)
            .await
            .with_context(unreadable)?;
        file.seek(std::io::SeekFrom::Start(offset))
            .await
            .with_context(unreadable)?;
        self.bar.set_position(offset);
        let (parts, requests) = tokio::sync::mpsc::channel(2);
        let name = self.path.file_name().unwrap_or_default();
        let mut next = UploadRecordingRequest {
            name: name.to_string_lossy().into_owned(),
            format: self.format.to_owned(),
            upload_id: self.id.to_string(),
            offset,
            size_bytes: self.size,
            sha256: self.sha256.clone(),
            labels: self.labels.clone(),
            ..UploadRecordingRequest::default()
        };
        let read = async {
            loop {
                let mut data = BytesMut::with_capacity(CHUNK);
                while data.len() < CHUNK && file.read_buf(&mut data).await? > 0 {}
                let last = data.len() < CHUNK;
                let length = data.len() as u64;
                next.data = data.freeze();
                if parts.send(std::mem::take(&mut next)).await.is_err() || last {
                    break; // The call has ended, and says why; or the file has.
                }
                self.bar.inc(length);
            }
            drop(parts);
            Ok::<(), std::io::Error>(())
        };
        let call = client.upload_recording(tokio_stream::wrappers::ReceiverStream::new(requests));
        let (read, answer) = tokio::join!(read, call);
        read.with_context(unreadable)?;
        Ok(answer.map(tonic::Response::into_inner))
    }
}

/// Size and SHA-256 of a file.
async fn digest(path: &Path) -> anyhow::Result<(u64, String)> {
    let shown = path.display();
    let mut file = tokio::fs::File::open(path)
        .await
        .with_context(|| format!("{shown} cannot be opened"))?;
    let metadata = file
        .metadata()
        .await
        .with_context(|| format!("{shown} cannot be read"))?;
    anyhow::ensure!(metadata.is_file(), "{shown} is not a file");
    let (mut hash, mut size) = (sha2::Sha256::new(), 0);
    let mut part = vec![0; CHUNK];
    loop {
        let read = file
            .read(&mut part)
            .await
            .with_context(|| format!("{shown} cannot be read"))?;
        let Some(part) = part.get(..read).filter(|part| !part.is_empty()) else {
            break;
        };
        hash.update(part);
        size += read as u64;
    }
    anyhow::ensure!(size > 0, "{shown} is empty");
    Ok((size, hex::encode(hash.finalize())))
}

fn bytes_bar(size: u64, verb: &str) -> ProgressBar {
    let bar = ProgressBar::new(size);
    let template = format!("{{bar:30}} {verb} {{bytes}}/{{total_bytes}}  {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// How long we have been waiting for the gateway.
pub struct Patience {
    since: Instant,
    told: bool,
}

impl Patience {
    /// From now on.
    pub fn new() -> Self {
        Self {
            since: Instant::now(),
            told: false,
        }
    }
}

/// `key=value`.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".into()),
    }
}

/// What an answer should have held.
pub fn missing(what: &str) -> anyhow::Error {
    anyhow!("the gateway answered without a {what}")
}
