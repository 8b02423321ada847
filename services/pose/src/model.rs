//! The model in memory. The only module that knows ONNX Runtime.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;

use crate::package::{Manifest, Package};

/// ONNX Runtime allows one environment a process: several services in one process share it.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// A model ready to run.
pub struct Model {
    session: Session,
    manifest: Manifest,
}

/// Why there is no model, or no answer of it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The library cannot be used.
    #[error("ONNX Runtime in {path} cannot be used: {reason}")]
    Library {
        /// The library.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// The weights are no graph that the library can run.
    #[error("the weights of {model} cannot be loaded: {reason}")]
    Weights {
        /// Name of the model.
        model: String,
        /// What the library said.
        reason: String,
    },
    /// The graph has no tensor of that name.
    #[error("the graph of {model} has no {kind} {name:?}")]
    Tensor {
        /// Name of the model.
        model: String,
        /// input or output.
        kind: &'static str,
        /// Name in the manifest.
        name: String,
    },
    /// It answers other than it should.
    #[error("{model} fails its self-test in row {row}: expected {expected:?}, found {found:?}")]
    SelfTest {
        /// Name of the model.
        model: String,
        /// Row of the test, from 0.
        row: usize,
        /// As the manifest says.
        expected: Vec<f32>,
        /// As it answered.
        found: Vec<f32>,
    },
    /// The input has another number of features.
    #[error("{found} features: the model takes {expected}")]
    Features {
        /// In the window.
        found: usize,
        /// In the manifest.
        expected: usize,
    },
    /// The run failed.
    #[error("the model could not be run: {reason}")]
    Run {
        /// What the library said.
        reason: String,
    },
    /// The output is no set of probabilities.
    #[error("the model answered {found:?}: these are no {classes} probabilities")]
    Output {
        /// What it answered.
        found: Vec<f32>,
        /// Classes in the manifest.
        classes: usize,
    },
}

impl Model {
    /// Loads the package's weights with the library at `library`, and lets the model pass its self-test.
    ///
    /// One thread: a window costs microseconds. The first library of a process stays; a second one is not loaded.
    ///
    /// # Errors
    /// Where the library or the graph cannot be used, or the self-test fails.
    pub fn load(package: Package, library: &Path) -> Result<Self, ModelError> {
        let Package { manifest, weights } = package;
        let session = session(&manifest, &weights, library)?;
        let missing = |kind, name: &str| ModelError::Tensor {
            model: manifest.name.to_string(),
            kind,
            name: name.to_owned(),
        };
        if !session
            .inputs()
            .iter()
            .any(|input| input.name() == manifest.input.name)
        {
            return Err(missing("input", &manifest.input.name));
        }
        if !session
            .outputs()
            .iter()
            .any(|output| output.name() == manifest.output.name)
        {
            return Err(missing("output", &manifest.output.name));
        }
        let mut model = Self { session, manifest };
        model.self_test()?;
        Ok(model)
    }

    /// What the model says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Probabilities of the classes for one window.
    ///
    /// # Errors
    /// Where the number of features is another, the run fails, or the answer is no set of probabilities.
    pub fn infer(&mut self, features: &[f32]) -> Result<Vec<f32>, ModelError> {
        let expected = self.manifest.input.features.len();
        if features.len() != expected {
            return Err(ModelError::Features {
                found: features.len(),
                expected,
            });
        }
        let failed = |error: ort::Error| ModelError::Run {
            reason: error.to_string(),
        };
        let input = TensorRef::from_array_view(([1_usize, expected], features)).map_err(failed)?;
        let inputs = ort::inputs![self.manifest.input.name.as_str() => input];
        let outputs = self.session.run(inputs).map_err(failed)?;
        let classes = self.manifest.output.classes.len();
        let found = match outputs.get(self.manifest.output.name.as_str()) {
            Some(output) => output
                .try_extract_tensor::<f32>()
                .map_err(failed)?
                .1
                .to_vec(),
            None => Vec::new(),
        };
        let probabilities = found.iter().all(|p| (-1e-4..=1.0001).contains(p));
        if found.len() != classes
            || !probabilities
            || (found.iter().sum::<f32>() - 1.0).abs() > 1e-2
        {
            return Err(ModelError::Output { found, classes });
        }
        Ok(found)
    }

    fn self_test(&mut self) -> Result<(), ModelError> {
        let test = self.manifest.self_test.clone();
        for (row, (input, expected)) in test.inputs.iter().zip(test.outputs).enumerate() {
            let found = self.infer(input)?;
            let fits = found
                .iter()
                .zip(&expected)
                .all(|(found, expected)| (found - expected).abs() <= test.tolerance);
            if !fits {
                return Err(ModelError::SelfTest {
                    model: self.manifest.name.to_string(),
                    row,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}

fn session(manifest: &Manifest, weights: &[u8], library: &Path) -> Result<Session, ModelError> {
    let unusable = |reason: String| ModelError::Library {
        path: library.to_path_buf(),
        reason,
    };
    // The library's own search panics where it finds nothing: it is never left to it.
    let absolute = library
        .canonicalize()
        .map_err(|error| unusable(error.to_string()))?;
    let mut shared = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    let environment = match shared.take() {
        Some(environment) => environment,
        None => ort::init_from(&absolute)
            .map_err(|error| unusable(error.to_string()))?
            .with_telemetry(false)
            .build()
            .map_err(|error| unusable(error.to_string()))?,
    };
    let environment = shared.insert(environment);
    let failed = |reason: String| ModelError::Weights {
        model: manifest.name.to_string(),
        reason,
    };
    Session::builder(environment)
        .map_err(|error| failed(error.to_string()))?
        .with_intra_threads(1)
        .map_err(|error| failed(error.to_string()))?
        .commit_from_memory(weights)
        .map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test in this binary that loads a library: a process keeps its first.
    #[test]
    fn a_file_that_is_no_library_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("libonnxruntime.so");
        std::fs::write(&library, "no library").unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/activity");
        let check = |library: &Path| {
            let error = Model::load(Package::read(&shipped).unwrap(), library)
                .map(|_| ())
                .unwrap_err();
            assert!(matches!(error, ModelError::Library { .. }), "{error}");
        };
        check(&library);
        check(&directory.path().join("gone.so"));
    }
}
