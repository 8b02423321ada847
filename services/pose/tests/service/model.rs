//! The package that ships, and packages that are broken.

use std::path::Path;

use pose::model::{Model, ModelError};
use pose::package::{Package, PackageError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::sandbox::{library, package_directory};

#[test]
fn the_package_that_ships_fits_the_features() {
    let package = Package::read(&package_directory()).unwrap();
    assert_eq!(package.manifest.input.features, dsp::activity::NAMES);
    assert_eq!(package.manifest.input.schema, dsp::activity::SCHEMA);
    assert!(package.manifest.takes_length(dsp::activity::WINDOW_US));
    assert_eq!(package.manifest.output.classes, ["inactive", "moving"]);
    let metrics = &package.manifest.metrics["leave_one_session_out"];
    assert!(
        metrics["balanced_accuracy"].as_f64().unwrap()
            > metrics["baseline_balanced_accuracy"].as_f64().unwrap()
    );
}

/// A copy of the package with a changed manifest.
fn changed(directory: &Path, change: impl Fn(&mut Value)) -> Result<Package, PackageError> {
    let text = std::fs::read(package_directory().join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_slice(&text).unwrap();
    change(&mut manifest);
    std::fs::copy(
        package_directory().join("model.onnx"),
        directory.join("model.onnx"),
    )
    .unwrap();
    std::fs::write(directory.join("manifest.json"), manifest.to_string()).unwrap();
    Package::read(directory)
}

#[test]
fn a_broken_package_is_refused_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let error = changed(directory.path(), change).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(
        &|m| m["weights"]["sha256"] = json!("00"),
        "the manifest states 00",
    );
    check(
        &|m| m["format"] = json!("fresnel-model/7"),
        "fresnel-model/7",
    );
    check(&|m| m["task"] = json!("pose"), "task");
    check(
        &|m| m["input"]["schema"] = json!("activity-features/9"),
        "activity-features/9",
    );
    check(
        &|m| m["input"]["features"][0] = json!("std_q11"),
        "input.features",
    );
    check(&|m| m["input"]["window_s"] = json!(0.0), "window_s");
    check(
        &|m| m["output"]["classes"][0] = json!("unknown"),
        "output.classes",
    );
    check(
        &|m| m["weights"]["file"] = json!("../model.onnx"),
        "weights.file",
    );
    check(&|m| m["self_test"]["inputs"] = json!([]), "self_test");
    check(&|m| m["self_test"]["tolerance"] = json!(0.5), "tolerance");
    check(&|m| m["name"] = json!("Not A Name"), "no manifest");
    check(&|m| m["weights"]["file"] = json!("gone.onnx"), "gone.onnx");
}

#[test]
fn the_runtime_answers_as_the_reference_does() {
    let Some(library) = library() else { return };
    // `load` runs the self-test: the probabilities that NumPy gave for five rows of features.
    let mut model = Model::load(Package::read(&package_directory()).unwrap(), &library).unwrap();
    let test = model.manifest().self_test.clone();
    assert!(test.inputs.len() >= 5);
    for (input, expected) in test.inputs.iter().zip(&test.outputs) {
        let found = model.infer(input).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-4,
                "{input:?}: {found}, NumPy {expected}"
            );
        }
    }
    assert!(matches!(
        model.infer(&[0.0; 3]),
        Err(ModelError::Features {
            found: 3,
            expected: 13
        })
    ));
    let error = model.infer(&[f32::NAN; 13]).unwrap_err();
    assert!(matches!(error, ModelError::Output { .. }), "{error}");
    assert!(
        model.infer(&test.inputs[0]).is_ok(),
        "it goes on after bad input"
    );
}

#[test]
fn another_answer_than_the_reference_is_no_model() {
    let Some(library) = library() else { return };
    let directory = tempfile::tempdir().unwrap();
    let package = changed(directory.path(), |m| {
        m["self_test"]["outputs"][2] = json!([0.5, 0.5])
    })
    .unwrap();
    let error = Model::load(package, &library).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, ModelError::SelfTest { row: 2, .. }),
        "{error}"
    );
    let package = changed(directory.path(), |m| m["output"]["name"] = json!("logit")).unwrap();
    let error = Model::load(package, &library).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("no output \"logit\""), "{error}");
}

#[test]
fn weights_that_are_no_graph_are_no_model() {
    let Some(library) = library() else { return };
    let mut package = Package::read(&package_directory()).unwrap();
    package.weights = b"no graph at all".to_vec();
    package.manifest.weights.sha256 = hex::encode(Sha256::digest(&package.weights));
    let error = Model::load(package, &library).map(|_| ()).unwrap_err();
    assert!(matches!(error, ModelError::Weights { .. }), "{error}");
}
