//! CPU time of the whole path of a frame through the service's pipeline, from the frame to what is decided: history,
//! autocorrelation and the evaluation of windows are in it, as they fall due every half second.

// A benchmark may panic: it runs on inputs of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use csi::wire::{self, Decoder};
use signal::{Pipeline, Settings};

#[path = "support/links.rs"]
mod links;

use links::{Links, RATE_HZ, SHAPES};

/// Frames of a link until everything that looks back is full: the search for a steady mover takes 45 s.
const WARM: usize = 50 * RATE_HZ;

fn whole_path(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame to decisions, per frame");
    group.throughput(Throughput::Elements(1));
    for shape in SHAPES {
        let name = format!("{}x{}", shape.0, shape.1);
        let scenes = [
            (", motion", Links::new(shape, 1)),
            (", still", Links::new(shape, 1).still()),
            (", motion, all announced", Links::new(shape, 1).announced()),
        ];
        for (what, mut links) in scenes {
            let mut pipeline = Pipeline::new(Settings::default(), "bench");
            for _ in 0..WARM {
                pipeline.push(links.next());
            }
            group.bench_function(format!("{name}{what}"), |bencher| {
                bencher.iter(|| pipeline.push(black_box(links.next())));
            });
        }
    }
    group.finish();
}

/// Half a second of all links at a time, so that each pass closes one window of each, as the common time axis has it.
fn links_together(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("half a second of so many links, 4x64, motion");
    group.sample_size(20).sampling_mode(SamplingMode::Flat);
    for count in [1, 10, 100, 1000] {
        let mut links = Links::new((4, 64), count);
        let mut pipeline = Pipeline::new(Settings::default(), "bench");
        for _ in 0..WARM * count {
            pipeline.push(links.next());
        }
        let frames = count * RATE_HZ / 2;
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(count.to_string(), |bencher| {
            bencher.iter(|| {
                for _ in 0..frames {
                    black_box(pipeline.push(black_box(links.next())));
                }
            });
        });
    }
    group.finish();
}

/// What comes before: reading the message of the data plane.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message to frame, per frame");
    group.throughput(Throughput::Elements(1));
    for shape in SHAPES {
        let mut links = Links::new(shape, 1);
        let input = links.next();
        let message: Bytes = wire::encode(&input.frame, &input.published);
        println!(
            "{}x{}: a message of {} bytes",
            shape.0,
            shape.1,
            message.len()
        );
        let mut decoder = Decoder::default();
        group.bench_function(format!("{}x{}", shape.0, shape.1), |bencher| {
            bencher.iter(|| decoder.decode(black_box(&message)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, whole_path, links_together, decode);
criterion_main!(benches);
