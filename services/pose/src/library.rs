//! Where the ONNX Runtime library and the model package lie on this machine.

use std::path::{Path, PathBuf};

/// Places tried for `libonnxruntime`, and what was found.
#[derive(Debug, thiserror::Error)]
#[error(
    "no libonnxruntime: `make tools` puts one into .tools, or name one by pose.onnxruntime or $ORT_DYLIB_PATH (looked at: {looked_at})"
)]
pub struct NoLibrary {
    looked_at: String,
}

/// Finds the library: the configured path, else `$ORT_DYLIB_PATH` (`environment`), else the nearest
/// `.tools/onnxruntime/capi/libonnxruntime.so*` in `starts` and the directories above them.
///
/// # Errors
/// Where none is there; the error says where it looked.
pub fn find(
    configured: Option<&Path>,
    environment: Option<&Path>,
    starts: &[PathBuf],
) -> Result<PathBuf, NoLibrary> {
    if let Some(path) = configured {
        let looked_at = path.display().to_string();
        return path
            .is_file()
            .then(|| path.to_path_buf())
            .ok_or(NoLibrary { looked_at });
    }
    let mut looked_at = Vec::new();
    if let Some(path) = environment {
        if path.is_file() {
            return Ok(path.to_path_buf());
        }
        looked_at.push(path.display().to_string());
    }
    for start in starts {
        for directory in start.ancestors() {
            if let Some(library) = shared_library(&directory.join(".tools/onnxruntime/capi")) {
                return Ok(library);
            }
        }
        looked_at.push(format!(".tools in {} and above", start.display()));
    }
    Err(NoLibrary {
        looked_at: looked_at.join(", "),
    })
}

fn shared_library(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with("libonnxruntime.so") || name == "libonnxruntime.dylib"
        })
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.into_iter().next()
}

/// A directory, relative to the first of `starts` or of the directories above them that has it.
#[must_use]
pub fn find_directory(path: &Path, starts: &[PathBuf]) -> Option<PathBuf> {
    starts
        .iter()
        .flat_map(|start| start.ancestors())
        .map(|directory| directory.join(path))
        .find(|candidate| candidate.is_dir())
}

/// Where searches start: the working directory, and the directory of the running program.
#[must_use]
pub fn starts() -> Vec<PathBuf> {
    let program = std::env::current_exe()
        .ok()
        .and_then(|program| program.parent().map(Path::to_path_buf));
    std::env::current_dir()
        .ok()
        .into_iter()
        .chain(program)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_library_above_is_found() {
        let root = tempfile::tempdir().unwrap();
        let capi = root.path().join(".tools/onnxruntime/capi");
        let below = root.path().join("a/b");
        std::fs::create_dir_all(&capi).unwrap();
        std::fs::create_dir_all(&below).unwrap();
        let library = capi.join("libonnxruntime.so.1.31.1");
        std::fs::write(&library, "").unwrap();
        std::fs::write(capi.join("onnxruntime_pybind11_state.so"), "").unwrap();
        assert_eq!(
            find(None, None, std::slice::from_ref(&below)).unwrap(),
            library
        );
        assert_eq!(find(Some(&library), None, &[]).unwrap(), library);
        assert_eq!(find(None, Some(&library), &[]).unwrap(), library);
        let elsewhere = root.path().join("gone.so");
        assert_eq!(
            find(None, Some(&elsewhere), std::slice::from_ref(&below)).unwrap(),
            library
        );
        let error = find(Some(&elsewhere), None, &[below])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("gone.so") && error.contains("make tools"),
            "{error}"
        );
    }

    #[test]
    fn a_directory_is_found_above() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("target/debug");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::create_dir_all(root.path().join("models/activity")).unwrap();
        let found = find_directory(Path::new("models/activity"), std::slice::from_ref(&below));
        assert_eq!(found, Some(root.path().join("models/activity")));
        assert_eq!(find_directory(Path::new("models/none"), &[below]), None);
    }
}
