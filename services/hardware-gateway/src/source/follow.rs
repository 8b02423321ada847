//! Files that grow: a log of lines, or a pcap file that is being written. A file that is truncated, or replaced by another
//! of the same name, is read from its beginning.

use std::fs::Metadata;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::source::feed::{Feed, Origin};
use crate::source::identity::From;
use crate::source::intake::now_us;
use crate::source::lines::Lines;
use crate::source::packets::Packets;

/// How often a file that has been read to its end is looked at.
const POLL: Duration = Duration::from_millis(100);
const CHUNK: usize = 64 * 1024;
/// A file may be missing for so many looks: one that is rotated is gone for a moment.
const MISSING: u32 = 10;
/// Bytes by which a file is known again.
const TAIL: usize = 128;

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// Lines.
    Lines(Lines),
    /// Captured packets.
    Packets(Packets),
}

/// A file that is followed, across its failures.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    begin: config::From,
    from: From,
    content: Content,
    /// Which file was read last, and how far.
    place: Option<(u64, u64)>,
    /// The last bytes that were read: they tell whether the file was written anew.
    tail: Vec<u8>,
}

impl Follow {
    /// A file that has not been opened yet.
    #[must_use]
    pub fn new(path: &Path, begin: config::From, from: From, content: Content) -> Self {
        Self {
            path: path.to_owned(),
            begin,
            from,
            content,
            place: None,
            tail: Vec::new(),
        }
    }

    /// Reads the file and follows it until `stop`.
    ///
    /// # Errors
    /// Where it is not there, cannot be read, or holds what it should not.
    pub async fn run(&mut self, feed: &mut Feed, stop: &CancellationToken) -> anyhow::Result<()> {
        let shown = self.path.display().to_string();
        let opened = File::open(&self.path).await;
        let mut file = opened.with_context(|| format!("cannot open {shown}"))?;
        let data = file.metadata().await?;
        if !data.is_file() {
            bail!("{shown} is no file");
        }
        let identity = identity(&data);
        // What was there before the first look at it was recorded before.
        let mut found_until = 0;
        let mut at = match self.place {
            Some((known, at)) if known == identity && at <= data.len() => at,
            Some(_) => {
                self.restart();
                0
            }
            None => {
                found_until = data.len();
                match (self.begin, &self.content) {
                    (config::From::Start, _) => 0,
                    (config::From::End, Content::Lines(_)) => data.len(),
                    // The header of a pcap file has to be read; the packets behind it are skipped one by one.
                    (config::From::End, Content::Packets(_)) => 0,
                }
            }
        };
        let skip = self.begin == config::From::End;
        file.seek(SeekFrom::Start(at)).await?;
        tracing::info!(source = feed.name(), path = shown, at, "following a file");
        feed.status().opened(None);
        let mut chunk = vec![0_u8; CHUNK];
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut missing = 0;
        let mut modified = None;
        loop {
            self.place = Some((identity, at));
            // What was found is cut where it ends, so that a chunk is of one kind.
            let most = usize::try_from(found_until.saturating_sub(at)).unwrap_or(CHUNK);
            let most = if most == 0 { CHUNK } else { most.min(CHUNK) };
            let read = file.read(chunk.get_mut(..most).unwrap_or_default()).await?;
            if read > 0 {
                let recorded = at < found_until;
                at += read as u64;
                let origin = Origin {
                    from: self.from,
                    time_us: now_us(),
                    recorded,
                };
                let bytes = chunk.get(..read).unwrap_or_default();
                self.tail
                    .extend_from_slice(bytes.get(read.saturating_sub(TAIL)..).unwrap_or_default());
                self.tail.drain(..self.tail.len().saturating_sub(TAIL));
                match &mut self.content {
                    Content::Lines(lines) => lines.push(bytes, |piece| feed.piece(piece, origin)),
                    Content::Packets(packets) => {
                        packets.push(bytes, origin, skip && recorded, feed)?;
                    }
                }
                feed.flush();
                // A file can wait: nothing in it is shed.
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = feed.intake().room() => {}
                }
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = poll.tick() => {}
            }
            match tokio::fs::metadata(&self.path).await {
                Ok(data) if self::identity(&data) == identity && data.len() >= at => {
                    missing = 0;
                    if data.modified().ok() != modified {
                        modified = data.modified().ok();
                        if !self.same(&mut file, at).await? {
                            self.place = Some((0, u64::MAX));
                            return Box::pin(self.run(feed, stop)).await;
                        }
                    }
                }
                // Truncated, replaced, or gone: the rest of the old file was read to its end.
                Ok(_) => {
                    self.place = Some((0, u64::MAX));
                    return Box::pin(self.run(feed, stop)).await;
                }
                Err(_) if missing < MISSING => missing += 1,
                Err(error) => {
                    self.place = Some((0, u64::MAX));
                    return Err(error).with_context(|| format!("{shown} is gone"));
                }
            }
        }
    }

    /// Whether the bytes before `at` are those that were read: a file may be truncated and grow again between two looks.
    async fn same(&self, file: &mut File, at: u64) -> std::io::Result<bool> {
        let Some(begin) = at.checked_sub(self.tail.len() as u64) else {
            return Ok(false);
        };
        file.seek(SeekFrom::Start(begin)).await?;
        let mut found = vec![0; self.tail.len()];
        match file.read_exact(&mut found).await {
            Ok(_) => Ok(found == self.tail),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn restart(&mut self) {
        self.tail.clear();
        match &mut self.content {
            Content::Lines(lines) => lines.reset(),
            Content::Packets(packets) => packets.reset(),
        }
    }
}

/// Tells files of one name apart.
fn identity(data: &Metadata) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        data.ino()
    }
    #[cfg(not(unix))]
    {
        let created = data.created().ok();
        let since = created.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        since.map_or(1, |since| since.as_micros() as u64)
    }
}
