//! A small disk for one process and its children: a tmpfs in a mount namespace of their own, which vanishes with them.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// What fills it is written in pieces of this size.
const PIECE: usize = 64 << 10;

/// A small disk.
#[derive(Clone, Debug)]
pub struct SmallDisk {
    dir: PathBuf,
    mebibytes: u32,
}

impl SmallDisk {
    /// Of this size, at `dir` as the process sees it. `None` where the system lets nobody mount (no root, and no user
    /// namespaces).
    ///
    /// # Errors
    /// Where `dir` cannot be made.
    pub fn new(dir: &Path, mebibytes: u32) -> anyhow::Result<Option<Self>> {
        std::fs::create_dir_all(dir)?;
        let disk = Self {
            dir: dir.to_owned(),
            mebibytes,
        };
        let tried = disk
            .command(Path::new("true"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        Ok(tried.is_ok_and(|status| status.success()).then_some(disk))
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that runs a program which sees the disk; its process id is the program's.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let script = r#"mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@""#;
        let mut command = Command::new("unshare");
        command
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(format!("{}m", self.mebibytes))
            .arg(&self.dir)
            .arg(program);
        command
    }

    /// The disk as others than `process` reach it.
    fn seen_by(&self, process: u32) -> anyhow::Result<PathBuf> {
        let dir = self.dir.strip_prefix("/").context("a relative path")?;
        Ok(Path::new(&format!("/proc/{process}/root")).join(dir))
    }

    /// Fills it, so that nothing more can be written.
    ///
    /// # Errors
    /// Where it does not get full.
    pub fn fill(&self, process: u32) -> anyhow::Result<()> {
        let path = self.seen_by(process)?.join("balloon");
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        let most = self.mebibytes as usize * (1 << 20) / PIECE + 1;
        let mut piece: &[u8] = &[0; PIECE];
        for _ in 0..2 * most {
            match file.write_all(piece) {
                Ok(()) => {}
                Err(error) if error.kind() != ErrorKind::StorageFull => return Err(error.into()),
                // What is left is less than a piece.
                Err(_) if piece.len() == PIECE => piece = &[0; 1],
                Err(_) => return Ok(()),
            }
        }
        bail!("{} does not get full", self.dir.display())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// Where it was not filled.
    pub fn free(&self, process: u32) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(
            self.seen_by(process)?.join("balloon"),
        )?)
    }
}
