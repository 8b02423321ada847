//! The result as a table, beside what it is to be held against.

use comfy_table::{CellAlignment, Table, presets};

use crate::run::Outcome;
use crate::windows::Latency;

/// Targets and known limits, from the design's pages on sensing and on the platform.
const BESIDE: &str = "\
To hold against, on two cores: target 5,000 frames/s from 50 devices without loss; ready in under 1 s; under 80 MB
resident without the model runtime. The best-known peer, datagram to decision in one process: 645 to 1,220 us of CPU per
frame, 16 to 46 % loss at 190 to 490 frames/s; 8 MB resident, ready in 4 ms. Limits of the bus on an idle machine: JetStream
in memory stores 125-130 k messages/s of 1 KiB, 66-68 k/s with a consumer; publish to consume on file p50 0.24-0.57 ms.";

/// The tables of one run.
pub fn table(outcome: &Outcome) -> String {
    let mut text = format!(
        "{}, {}\n",
        outcome.load,
        if outcome.separate {
            "five processes"
        } else {
            "`fresnel up`"
        }
    );
    text.push_str(&frames(outcome).to_string());
    text.push('\n');
    text.push_str(&processes(outcome).to_string());
    text.push('\n');
    text.push_str(&latency(outcome));
    text.push_str(BESIDE);
    text.push('\n');
    text
}

fn sheet(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn frames(outcome: &Outcome) -> Table {
    let frames = &outcome.frames;
    let share = |count: u64| {
        format!(
            "{count} ({:.3} %)",
            100.0 * count as f64 / frames.offered.max(1) as f64
        )
    };
    let mut table = sheet(&["frames and events", "measured"]);
    let mut row = |what: &str, value: String| {
        table.add_row([what.to_owned(), value]);
    };
    row(
        "offered",
        format!("{} at {:.0}/s", frames.offered, outcome.sender.rate_hz),
    );
    row(
        "read by the gateway",
        frames
            .read
            .map_or("no counter".into(), |read| read.to_string()),
    );
    row(
        "taken",
        outcome.taken_hz().map_or("no counter".into(), |taken_hz| {
            let times = outcome.sender.rate_hz / taken_hz;
            format!("{taken_hz:.0}/s; {times:.1} times that was offered")
        }),
    );
    row("dropped at the socket", share(frames.dropped_at_socket));
    row("stored on data.csi.>", frames.stored.to_string());
    row(
        "missing there",
        frames
            .missing
            .map_or("unknown: the stream is too small".into(), share),
    );
    row("stored twice", frames.stored_twice.to_string());
    row("shed by the gateway", share(frames.shed.unwrap_or(0)));
    row(
        "stored of a device: fewest, most",
        format!("{}, {}", frames.by_device.0, frames.by_device.1),
    );
    for (event_type, count) in &outcome.events {
        row(event_type, count.to_string());
    }
    row(
        "worked off after the last datagram",
        if outcome.drained {
            format!("{:.1} s", outcome.drain_s)
        } else {
            "not within 60 s".into()
        },
    );
    row(
        "start on an empty folder",
        format!("{:.3} s", outcome.start_empty_s),
    );
    row(
        "start on its own data",
        format!("{:.3} s", outcome.start_again_s),
    );
    row("stop", format!("{:.3} s", outcome.stop_s));
    row(
        "sender: late p99, most",
        format!(
            "{:.1} ms, {:.1} ms",
            outcome.sender.late_p99_ms, outcome.sender.late_max_ms
        ),
    );
    table
}

fn processes(outcome: &Outcome) -> Table {
    let mut table = sheet(&[
        "process",
        "CPU us/frame",
        "cores",
        "MB when ready",
        "MB at the end",
        "MB at most",
        "model runtime",
    ]);
    let (mut cpu, mut cores, mut ready, mut end) = (0.0, 0.0, 0.0, 0.0);
    for used in &outcome.processes {
        cpu += used.cpu_us_per_frame;
        cores += used.cores;
        ready += used.ready.resident_mb;
        end += used.end.resident_mb;
        table.add_row([
            used.name.clone(),
            format!("{:.1}", used.cpu_us_per_frame),
            format!("{:.2}", used.cores),
            format!("{:.1}", used.ready.resident_mb),
            format!("{:.1}", used.end.resident_mb),
            format!("{:.1}", used.end.peak_mb),
            if used.end.model_runtime {
                "loaded"
            } else {
                "-"
            }
            .into(),
        ]);
    }
    table.add_row([
        "all".into(),
        format!("{cpu:.1}"),
        format!("{cores:.2}"),
        format!("{ready:.1}"),
        format!("{end:.1}"),
        String::new(),
        String::new(),
    ]);
    let sender = outcome.sender.cpu_us_per_frame;
    table.add_row(["(this sender)".to_owned(), format!("{sender:.1}")]);
    table
}

fn latency(outcome: &Outcome) -> String {
    let mut table = sheet(&[
        "ms from a datagram to signal.signal_processed",
        "windows",
        "p50",
        "p90",
        "p99",
        "most",
    ]);
    let mut row = |what: &str, latency: Option<&Latency>| match latency {
        Some(latency) => {
            table.add_row([
                what.to_owned(),
                latency.windows.to_string(),
                format!("{:.1}", latency.p50_ms),
                format!("{:.1}", latency.p90_ms),
                format!("{:.1}", latency.p99_ms),
                format!("{:.1}", latency.max_ms),
            ]);
        }
        None => {
            table.add_row([what, "none"]);
        }
    };
    row(
        "from the newest frame of the window",
        outcome.latency.newest.as_ref(),
    );
    row(
        "from the frame that closes it",
        outcome.latency.closing.as_ref(),
    );
    format!(
        "{table}\n{} events came before the next frame was sent; {} of the warm-up or without their frames left out\n",
        outcome.latency.before_closing, outcome.latency.left_out
    )
}
