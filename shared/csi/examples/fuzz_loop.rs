//! Fuzzes without nightly or libFuzzer: `cargo run -p csi --example fuzz_loop -- TARGET SECONDS [FILE...]`. Seeds are
//! the target's corpus and the files (recordings, of which the first 64 KiB are taken). `all` shares the time among the targets.
//! An input that makes a target panic, or allocate out of proportion, is written to the working directory and named.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

#[path = "../fuzz/mutator.rs"]
mod mutator;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use mutator::Mutator;

/// What a file is cut to.
const MOST: usize = 64 * 1024;

fn seeds(target: &str, files: &[String]) -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let corpus = std::fs::read_dir(corpus)
        .unwrap()
        .map(|file| file.unwrap().path());
    let files = files.iter().map(|file| Path::new(file).to_owned());
    corpus
        .chain(files)
        .filter_map(|path| std::fs::read(path).ok())
        .map(|mut bytes| {
            bytes.truncate(MOST);
            bytes
        })
        .collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, seconds, files @ ..] = arguments.as_slice() else {
        println!("usage: fuzz_loop TARGET|all SECONDS [FILE...]");
        std::process::exit(64);
    };
    let chosen: Vec<_> = targets::ALL
        .into_iter()
        .filter(|(target, _)| name == "all" || name == target)
        .collect();
    let each = Duration::from_secs(seconds.parse().unwrap()) / chosen.len().max(1) as u32;
    let mut found = 0;
    for (name, target) in chosen {
        let seeds = seeds(name, files);
        let start = Instant::now();
        let (mut runs, mut slowest, mut most) = (0_u64, Duration::ZERO, 0_u64);
        let mut mutator = Mutator::new(std::process::id().into());
        while start.elapsed() < each {
            for seed in &seeds {
                let input = mutator.mutate(seed, &seeds);
                let began = Instant::now();
                let mut held = true;
                let allocated = allocation_counter::measure(|| {
                    held = catch_unwind(AssertUnwindSafe(|| target(&input))).is_ok();
                });
                slowest = slowest.max(began.elapsed());
                most = most.max(allocated.bytes_max);
                // A gzip member or a zip may unpack to the limit of the targets.
                if !held || allocated.bytes_max > (8 << 20) + 64 * input.len() as u64 {
                    found += 1;
                    let file = format!("crash-{name}-{found}");
                    std::fs::write(&file, &input).unwrap();
                    println!(
                        "{name}: {file}: panicked: {}, bytes {}",
                        !held, allocated.bytes_max
                    );
                }
                runs += 1;
            }
        }
        println!(
            "{name}: {runs} inputs from {} seeds, slowest {slowest:?}, at most {most} bytes at once",
            seeds.len()
        );
    }
    std::process::exit(i32::from(found > 0));
}
