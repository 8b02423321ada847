//! What a simulated frame costs, and what the load generator pays for one made beforehand.

// A benchmark may panic: it runs on inputs of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use simulator::{DatagramLoop, Scenario, Simulation};

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulator");
    group.throughput(Throughput::Elements(1));
    for name in ["empty", "walk", "load"] {
        let Ok(mut scenario) = Scenario::preset(name) else {
            continue;
        };
        scenario.duration_s = 600_000.0;
        let Ok(mut simulation) = Simulation::new(&scenario, 1, 0) else {
            continue;
        };
        group.bench_function(format!("frame/{name}"), |bencher| {
            bencher.iter(|| simulation.next())
        });
        let mut datagram = Vec::new();
        group.bench_function(format!("frame and datagram/{name}"), |bencher| {
            bencher.iter(|| {
                simulation
                    .next()
                    .map(|frame| simulator::datagram(&frame, &mut datagram).is_ok())
            });
        });
    }
    let loops = Scenario::preset("load")
        .map_err(Into::into)
        .and_then(|scenario| DatagramLoop::for_receivers(&scenario, 1, 64));
    if let Ok(mut loops) = loops
        && let Some(first) = loops.first_mut()
    {
        group.bench_function("datagram made beforehand", |bencher| {
            bencher.iter(|| first.next_datagram().1.len());
        });
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
