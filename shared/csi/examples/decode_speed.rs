//! How fast a recording is decoded: `decode_speed FILE [REPETITIONS]` reads FILE whole, decodes all of it that often, and
//! prints format, frames of one pass and the seconds of each pass as JSON. `make bench-decode` runs it beside other programs.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use csi::read::{Format, Options, Reader};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: decode_speed FILE [REPETITIONS]")?;
    let repetitions: u32 = arguments.next().map_or(Ok(1), |count| count.parse())?;
    let contents = Bytes::from(std::fs::read(&path)?);
    let name = Path::new(&path)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let (mut format, mut frames, mut errors) = (Format::Auto, 0_u64, 0_u64);
    let mut seconds = Vec::new();
    for _ in 0..repetitions {
        (frames, errors) = (0, 0);
        let start = Instant::now();
        let reader = Reader::new(
            black_box(contents.clone()),
            &name,
            Format::Auto,
            Options::default(),
        )?;
        format = reader.format();
        for step in reader {
            match black_box(step) {
                Ok(_) => frames += 1,
                Err(_) => errors += 1,
            }
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    let line = serde_json::json!({
        "format": format.name(), "frames": frames, "errors": errors, "seconds": seconds,
    });
    println!("{line}");
    Ok(())
}
