//! The model on real recordings that it was never trained on.

use csi::read::{Format, Options, Reader};
use dsp::activity::{Extractor, WINDOW_US};
use pose::model::Model;
use pose::package::Package;
use recordings::{Recording, require_or_skip};

use crate::sandbox::{library, package_directory};

/// Share of the windows between two times of a recording, in seconds, that the model calls moving.
fn share_moving(model: &mut Model, recording: &Recording, from_s: i64, to_s: i64) -> f64 {
    let bytes = recording.contents.clone().into();
    let reader = Reader::new(
        bytes,
        &recording.file_name(),
        Format::Auto,
        Options::default(),
    )
    .unwrap();
    let frames: Vec<csi::Frame> = reader.map(Result::unwrap).collect();
    let start = frames[0].receive_time_us;
    let mut extractor = Extractor::new(&frames[0].layout.subcarriers, frames[0].antennas.into());
    let (mut next, mut moving, mut windows) = (start + from_s * 1_000_000 + WINDOW_US, 0, 0);
    let mut features = Vec::new();
    for frame in &frames {
        while frame.receive_time_us >= next && next <= start + to_s * 1_000_000 {
            if extractor
                .window(next - WINDOW_US, next, &mut features)
                .is_ok()
            {
                windows += 1;
                moving += i32::from(model.infer(&features).unwrap()[1] > 0.5);
            }
            next += 500_000;
        }
        let powers: Vec<f32> = frame
            .samples
            .iter()
            .map(num_complex::Complex32::norm_sqr)
            .collect();
        extractor.push(frame.receive_time_us, &powers, &frame.layout.valid);
    }
    assert!(windows >= 10, "{windows} windows");
    f64::from(moving) / f64::from(windows)
}

#[test]
fn quiet_rooms_are_inactive_and_movement_is_moving() {
    let Some(library) = library() else { return };
    let mut model = Model::load(Package::read(&package_directory()).unwrap(), &library).unwrap();
    let quiet = require_or_skip!("espectre-baseline-c6-20260310-230414");
    let motion = require_or_skip!("espectre-movement-c6-20260310-230434");
    let both = require_or_skip!("espectre-test-c3-20260329-130804");
    let quiet = share_moving(&mut model, &quiet, 0, 10);
    assert!(quiet <= 0.1, "quiet: {quiet}");
    let motion = share_moving(&mut model, &motion, 0, 10);
    assert!(motion >= 0.9, "motion: {motion}");
    let (before, after) = (
        share_moving(&mut model, &both, 0, 30),
        share_moving(&mut model, &both, 30, 60),
    );
    assert!(
        before <= 0.1 && after >= 0.9,
        "quiet, then motion: {before}, then {after}"
    );
}
