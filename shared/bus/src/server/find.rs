//! Where a nats-server may lie, and whether it is new enough.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{PROGRAM, ServerError};

/// Oldest server with everything that the bus uses.
const MIN_VERSION: (u32, u32) = (2, 14);

/// Finds a nats-server: `explicit`, `$NATS_SERVER_BIN`, `PATH`, then the nearest `.tools/bin` above the working directory or
/// the running program. What is named explicitly must be usable; elsewhere, versions before 2.14 are passed over.
///
/// # Errors
/// Where none is found; the error says where it looked.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, ServerError> {
    let named = explicit.map(Path::to_path_buf).or_else(|| {
        std::env::var_os("NATS_SERVER_BIN")
            .filter(|bin| !bin.is_empty())
            .map(PathBuf::from)
    });
    if let Some(path) = named {
        return match usable(&path) {
            Ok(()) => Ok(path),
            Err(reason) => Err(ServerError::Unusable { path, reason }),
        };
    }
    let mut looked_at = Vec::new();
    for candidate in candidates() {
        if !candidate.is_file() {
            continue;
        }
        match usable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(reason) => looked_at.push(format!("{}: {reason}", candidate.display())),
        }
    }
    looked_at.push("PATH and .tools/bin".to_owned());
    Err(ServerError::NotFound {
        looked_at: looked_at.join("; "),
    })
}

fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&path)
        .map(|dir| dir.join(PROGRAM))
        .collect();
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    for start in starts.into_iter().flatten() {
        candidates.extend(
            start
                .ancestors()
                .map(|dir| dir.join(".tools/bin").join(PROGRAM)),
        );
    }
    candidates
}

fn usable(path: &Path) -> Result<(), String> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.trim();
    match version(text) {
        Some(version) if version >= MIN_VERSION => Ok(()),
        Some((major, minor)) => Err(format!(
            "is {major}.{minor}; {}.{} or later is needed",
            MIN_VERSION.0, MIN_VERSION.1
        )),
        None => Err(format!("does not tell its version, but {text:?}")),
    }
}

/// `nats-server: v2.15.1` is (2, 15).
fn version(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.rsplit_once('v')?;
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("nats-server: v2.15.1"), Some((2, 15)));
        assert_eq!(version("nats-server: v2.9.10"), Some((2, 9)));
        assert!(version("nats-server: v2.9.10") < Some(MIN_VERSION));
        assert_eq!(version("what"), None);
    }

    #[test]
    fn a_program_that_is_named_must_be_usable() {
        let error = find(Some(Path::new("/nowhere/nats-server"))).unwrap_err();
        assert!(
            error.to_string().contains("/nowhere/nats-server"),
            "{error}"
        );
        // Any program that is no nats-server.
        let other = std::env::current_exe().unwrap();
        assert!(matches!(
            find(Some(&other)),
            Err(ServerError::Unusable { .. })
        ));
    }
}
