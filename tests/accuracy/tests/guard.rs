//! The committed figures of `docs/accuracy.json` still hold.

// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use accuracy::figures::Figures;
use accuracy::report::{Measured, Scope};
use recordings::{Catalogue, Places};

/// Sources that the core figures rest on.
const SOURCES: [&str; 5] = [
    "espectre",
    "ialr",
    "thu4n",
    "breathsense",
    "csi-respiration",
];
/// Keys of the core figures.
const PARTS: [&str; 9] = [
    "motion.esp32",
    "motion.espectre",
    "motion.ialr",
    "motion.thu4n",
    "presence.espectre",
    "presence.ialr",
    "presence.thu4n",
    "anti_truth",
    "breathing",
];

#[test]
fn no_figure_of_the_service_got_worse() {
    let catalogue = Catalogue::built_in().unwrap();
    let needed = catalogue
        .entries()
        .iter()
        .filter(|entry| SOURCES.contains(&entry.source.as_str()));
    for entry in needed {
        if recordings::for_test(&entry.name)
            .unwrap_or_else(|error| panic!("{error}"))
            .is_none()
        {
            return;
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/accuracy.json");
    let committed: Figures = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let measured = Measured::all(&Places::from_environment(), Scope::Core).unwrap();
    let worse = committed.regressions(&measured.figures(), &PARTS);
    assert!(
        worse.is_empty(),
        "worse than docs/accuracy.json:\n{}\nwhere this is meant: make accuracy, and say why in the commit",
        worse.join("\n")
    );
}

#[test]
fn what_is_not_motion_never_was() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/accuracy.json");
    let committed: Figures = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (key, figure) in &committed.0 {
        if key.starts_with("anti_truth") {
            assert_eq!(figure.value, 0.0, "{key}");
        }
    }
    assert!(committed.0.len() > 50);
}
