//! What a link costs in memory: bounded, and nothing for a frame between two windows. Counted by a counting allocator.

// A test may panic: that is how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use allocation_counter::measure;
use signal::{Pipeline, Settings};

#[path = "../benches/support/links.rs"]
mod links;

use links::{Links, RATE_HZ, SHAPES};

/// Bytes that a link may hold.
const MOST: i64 = 1 << 20;

/// Bytes held after so many more seconds of so many links, and the most of them meanwhile.
fn pass(pipeline: &mut Pipeline, links: &mut Links, count: usize, seconds: usize) -> (i64, u64) {
    let counted = measure(|| {
        for _ in 0..count * seconds * RATE_HZ {
            pipeline.push(links.next());
        }
    });
    (counted.bytes_current, counted.bytes_max)
}

#[test]
fn a_link_holds_no_more_than_a_megabyte_and_does_not_grow() {
    for shape in SHAPES {
        // Still and for longer than a minute, so that the longest window of breathing is looked at; each frame announced, so that its id is kept.
        let of = |count: usize| {
            let mut links = Links::new(shape, count).still().announced();
            let mut pipeline = Pipeline::new(Settings::default(), "signal/test");
            let held = pass(&mut pipeline, &mut links, count, 65);
            let more = pass(&mut pipeline, &mut links, count, 10);
            (held, more)
        };
        let ((one, most_of_one), _) = of(1);
        let ((two, _), (later, most_later)) = of(2);
        let each = two - one;
        println!(
            "{shape:?}: {each} bytes for each link more, {one} with the first (at most {most_of_one}); {later} more later"
        );
        assert!(each < MOST, "{shape:?}: {each} bytes");
        // What is decided in a hop is in use for a moment.
        assert!(
            later <= 0 && most_later < 32 << 10,
            "{shape:?}: {later}, {most_later}"
        );
    }
}

#[test]
fn a_frame_between_two_windows_allocates_nothing() {
    for shape in SHAPES {
        let mut links = Links::new(shape, 3);
        let mut pipeline = Pipeline::new(Settings::default(), "signal/test");
        for _ in 0..3 * 10 * RATE_HZ {
            pipeline.push(links.next());
        }
        let (mut hops, mut quiet) = (0, 0);
        for _ in 0..3 * 5 * RATE_HZ {
            let input = links.next();
            let mut outputs = 0;
            let counted = measure(|| outputs = pipeline.push(input).len());
            if outputs > 0 {
                hops += 1;
            } else {
                quiet += 1;
                assert_eq!(counted.count_total, 0, "{shape:?}: {counted:?}");
            }
        }
        assert_eq!((hops, quiet), (30, 1470), "{shape:?}");
    }
}
