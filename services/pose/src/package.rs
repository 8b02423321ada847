//! A model package: a directory with a manifest and the weights, checked before anything is run.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Format that this service reads.
const FORMAT: &str = "fresnel-model/1";
/// File of the manifest.
const MANIFEST: &str = "manifest.json";
/// Weights and manifests above this size are refused, bytes.
const MAX_BYTES: u64 = 512 << 20;

/// What the manifest says that the service needs; the rest (provenance, limits) is for people.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Format of the package.
    pub format: String,
    /// Name, a DNS label.
    pub name: events::ModelId,
    /// Version.
    pub version: String,
    /// What it does, `activity`.
    pub task: String,
    /// The weights.
    pub weights: Weights,
    /// What goes in.
    pub input: Input,
    /// What comes out.
    pub output: Output,
    /// Inputs with the outputs that they must give.
    pub self_test: SelfTest,
    /// Metrics as the training script measured them.
    #[serde(default)]
    pub metrics: serde_json::Value,
}

/// The weights' file.
#[derive(Clone, Debug, Deserialize)]
pub struct Weights {
    /// Name of the file beside the manifest.
    pub file: String,
    /// SHA-256, hex.
    pub sha256: String,
}

/// The input tensor: `[windows, features]` of f32.
#[derive(Clone, Debug, Deserialize)]
pub struct Input {
    /// Name in the graph.
    pub name: String,
    /// Schema of the features.
    pub schema: String,
    /// Their names, in order.
    pub features: Vec<String>,
    /// Length in seconds of the windows that it was trained and measured on.
    pub window_s: f64,
}

/// The output tensor: `[windows, classes]` of f32, probabilities.
#[derive(Clone, Debug, Deserialize)]
pub struct Output {
    /// Name in the graph.
    pub name: String,
    /// Names of the classes, in order.
    pub classes: Vec<String>,
}

/// What the model must answer.
#[derive(Clone, Debug, Deserialize)]
pub struct SelfTest {
    /// Largest difference allowed.
    pub tolerance: f32,
    /// Rows of features.
    pub inputs: Vec<Vec<f32>>,
    /// Rows of probabilities.
    pub outputs: Vec<Vec<f32>>,
}

/// A package whose parts fit each other.
#[derive(Clone, Debug)]
pub struct Package {
    /// The manifest.
    pub manifest: Manifest,
    /// The weights, with the digest that the manifest states.
    pub weights: Vec<u8>,
}

/// What is wrong with a package.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Far larger than a model of this service.
    #[error("{path} has {bytes} bytes: at most {MAX_BYTES} are read")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The manifest is not what it should be.
    #[error("{path} is no manifest of a model")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The weights are others than those that were measured.
    #[error("{path} has the digest {found}, the manifest states {stated}")]
    Digest {
        /// The weights.
        path: PathBuf,
        /// What they have.
        found: String,
        /// What they should have.
        stated: String,
    },
    /// A value that this service cannot work with.
    #[error("{path}: {key} is {found}; {expected}")]
    Value {
        /// The manifest.
        path: PathBuf,
        /// Key of the manifest.
        key: &'static str,
        /// What it says.
        found: String,
        /// What is needed.
        expected: String,
    },
}

impl Package {
    /// Reads and checks the package in `directory`.
    ///
    /// # Errors
    /// Where a file is missing or damaged, the weights have another digest, or the model is not one for this service's
    /// features.
    pub fn read(directory: &Path) -> Result<Self, PackageError> {
        let path = directory.join(MANIFEST);
        let text = read(&path)?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|source| PackageError::Manifest {
                path: path.clone(),
                source,
            })?;
        manifest.check(&path)?;
        let path = directory.join(&manifest.weights.file);
        let weights = read(&path)?;
        let found = hex::encode(Sha256::digest(&weights));
        if !found.eq_ignore_ascii_case(&manifest.weights.sha256) {
            return Err(PackageError::Digest {
                path,
                found,
                stated: manifest.weights.sha256,
            });
        }
        Ok(Self { manifest, weights })
    }
}

impl Manifest {
    /// `model activity-lr@1.0.0 sha256:...`: for `metadata.method`.
    #[must_use]
    pub fn method(&self) -> String {
        format!(
            "model {}@{} sha256:{}",
            self.name, self.version, self.weights.sha256
        )
    }

    /// Whether windows of this length are those that the model was measured on, to a tenth.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn takes_length(&self, length_us: i64) -> bool {
        let ratio = length_us as f64 / (self.input.window_s * 1e6);
        (0.9..=1.1).contains(&ratio)
    }

    fn check(&self, path: &Path) -> Result<(), PackageError> {
        let require = |key, found: String, expected: String, holds: bool| {
            if holds {
                return Ok(());
            }
            Err(PackageError::Value {
                path: path.to_path_buf(),
                key,
                found,
                expected,
            })
        };
        let equal = |key, found: &str, expected: &str| {
            require(
                key,
                format!("{found:?}"),
                format!("expected {expected:?}"),
                found == expected,
            )
        };
        equal("format", &self.format, FORMAT)?;
        equal("task", &self.task, "activity")?;
        equal("input.schema", &self.input.schema, dsp::activity::SCHEMA)?;
        let expected = dsp::activity::NAMES;
        let names = &self.input.features;
        require(
            "input.features",
            format!("{names:?}"),
            format!("expected {expected:?}"),
            names == expected,
        )?;
        let file = &self.weights.file;
        let plain = Path::new(file).components().count() == 1 && !file.contains(['/', '\\']);
        require(
            "weights.file",
            format!("{file:?}"),
            "expected a file beside the manifest".into(),
            plain,
        )?;
        let classes = &self.output.classes;
        let usable = classes.len() >= 2
            && classes
                .iter()
                .all(|class| !class.is_empty() && class != crate::tracker::UNKNOWN);
        require(
            "output.classes",
            format!("{classes:?}"),
            "expected two or more, none of them \"unknown\"".into(),
            usable,
        )?;
        let test = &self.self_test;
        let rows = !test.inputs.is_empty()
            && test.inputs.len() == test.outputs.len()
            && test.inputs.iter().all(|row| row.len() == names.len())
            && test.outputs.iter().all(|row| row.len() == classes.len());
        let found = format!(
            "{} inputs and {} outputs",
            test.inputs.len(),
            test.outputs.len()
        );
        require(
            "self_test",
            found,
            "expected as many of each, one value for each feature and class".into(),
            rows,
        )?;
        let window_s = self.input.window_s;
        let possible = (0.1..=3600.0).contains(&window_s);
        require(
            "input.window_s",
            window_s.to_string(),
            "expected 0.1 to 3600".into(),
            possible,
        )?;
        let tolerance = test.tolerance;
        require(
            "self_test.tolerance",
            tolerance.to_string(),
            "expected 0 to 0.01".into(),
            (0.0..=0.01).contains(&tolerance),
        )
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PackageError> {
    let fault = |source| PackageError::File {
        path: path.to_path_buf(),
        source,
    };
    let bytes = std::fs::metadata(path).map_err(fault)?.len();
    if bytes > MAX_BYTES {
        return Err(PackageError::TooLarge {
            path: path.to_path_buf(),
            bytes,
        });
    }
    std::fs::read(path).map_err(fault)
}
