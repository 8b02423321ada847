//! Fuzzes without nightly or libFuzzer: `cargo run -p csi --example fuzz_loop -- TARGET SECONDS [FILE...]`. Seeds are
//! the target's corpus and the files (recordings, of which the first 64 KiB are taken). `all` shares the time among the targets.
//! An input that makes a target panic, or allocate out of proportion, is written to the working directory and named.

#![allow(clippy::print_stdout)]

#[path = "../fuzz/mutator.rs"]
#[allow(clippy::indexing_slicing)]
mod mutator;
// A target panics where it finds something.
#[path = "../fuzz/targets.rs"]
#[allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing)]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutator::Mutator;

/// What a file is cut to.
const MOST: usize = 64 * 1024;

fn seeds(target: &str, files: &[String]) -> std::io::Result<Vec<Vec<u8>>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let corpus = std::fs::read_dir(corpus)?.map(|file| Ok(file?.path()));
    let files = files.iter().map(|file| Ok(Path::new(file).to_owned()));
    let read = |path: std::io::Result<PathBuf>| {
        let mut bytes = std::fs::read(path?)?;
        bytes.truncate(MOST);
        Ok(bytes)
    };
    corpus.chain(files).map(read).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, seconds, files @ ..] = arguments.as_slice() else {
        println!("usage: fuzz_loop TARGET|all SECONDS [FILE...]");
        std::process::exit(64);
    };
    let chosen: Vec<_> = targets::ALL
        .into_iter()
        .filter(|(target, _)| name == "all" || name == target)
        .collect();
    if chosen.is_empty() {
        let all: Vec<_> = targets::ALL.iter().map(|(target, _)| *target).collect();
        return Err(format!("no target {name:?}; there are {}", all.join(", ")).into());
    }
    let each = Duration::from_secs(seconds.parse()?) / chosen.len().max(1) as u32;
    let mut found = 0;
    for (name, target) in chosen {
        let seeds = seeds(name, files)?;
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
                    std::fs::write(&file, &input)?;
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
