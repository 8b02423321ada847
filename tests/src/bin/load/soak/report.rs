//! The result as tables.

use comfy_table::{CellAlignment, Table, presets};

use super::{FIRST_ROUND, HOURS, Outcome, SECOND_ROUND};

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

/// All of it.
pub fn table(outcome: &Outcome) -> String {
    let parts = [
        format!(
            "{HOURS} h of the devices' time in {:.0} s, {:.0} times as fast; frames are received on the wall's clock",
            outcome.wall_s, outcome.speed
        ),
        frames(outcome).to_string(),
        faults(outcome).to_string(),
        recordings(outcome).to_string(),
        memory(outcome),
        devices(outcome).to_string(),
        verdict(outcome),
    ];
    parts.join("\n") + "\n"
}

fn frames(outcome: &Outcome) -> Table {
    let frames = &outcome.frames;
    let mut table = sheet(&["frames", "count"]);
    let mut row = |what: &str, count: u64| {
        table.add_row([what.to_owned(), count.to_string()]);
    };
    row("sent", frames.sent);
    row("not sent: nobody was connected", frames.unheard);
    row("stored, and read back", frames.stored);
    row("stored twice", frames.stored_twice);
    for (what, count) in &frames.missing {
        row(&format!("missing: {what}"), *count);
    }
    row(
        "missing where nothing was wrong",
        frames.unexplained.values().sum(),
    );
    row("lives of the stream", frames.streams);
    row("wraps of device clocks", frames.clock_wraps);
    row("restarts of devices", frames.boots);
    row("wrong device times", frames.wrong_clocks);
    for (name, count) in &outcome.counters {
        row(name, *count);
    }
    table
}

fn faults(outcome: &Outcome) -> Table {
    let mut table = sheet(&[
        "fault",
        "at, h",
        "lasted, s",
        "frames stored after, s",
        "events stored after, s",
    ]);
    let shown = |seconds: Option<f64>| seconds.map_or("never".to_owned(), |s| format!("{s:.2}"));
    for fault in &outcome.faults {
        let lasted = fault
            .cleared_us
            .map(|cleared| (cleared - fault.began_us) as f64 / 1e6);
        table.add_row([
            fault.what.to_owned(),
            format!("{:.1}", fault.hour),
            shown(lasted),
            shown(fault.frames_after_s),
            shown(fault.events_after_s),
        ]);
    }
    table
}

fn recordings(outcome: &Outcome) -> Table {
    let mut table = sheet(&[
        "recording",
        "seconds",
        "frames",
        "in the file",
        "state",
        "ended by",
    ]);
    for taken in &outcome.recordings {
        table.add_row([
            taken.name.clone(),
            format!("{:.1}", taken.seconds),
            taken.frames.to_string(),
            taken
                .in_file
                .map_or("none".into(), |frames| frames.to_string()),
            taken.state.clone(),
            taken
                .error
                .clone()
                .unwrap_or_else(|| taken.ended_by.clone()),
        ]);
    }
    table
}

fn memory(outcome: &Outcome) -> String {
    let mut table = sheet(&["hour", "fresnel up, MB", "nats-server, MB"]);
    for sample in &outcome.memory {
        table.add_row([
            format!("{:02}", sample.hour),
            format!("{:.1}", sample.fresnel_mb),
            sample.nats_mb.map_or("-".into(), |mb| format!("{mb:.1}")),
        ]);
    }
    let [first, second] = outcome.rounds_mb;
    format!(
        "{table}\nfresnel up, mean: {first:.1} MB from {} to {} h, {second:.1} MB from {} to {} h",
        FIRST_ROUND.start(),
        FIRST_ROUND.end(),
        SECOND_ROUND.start(),
        SECOND_ROUND.end()
    )
}

fn devices(outcome: &Outcome) -> Table {
    let mut table = sheet(&["device", "state", "health", "frames/s", "causes"]);
    for device in &outcome.devices {
        table.add_row([
            device.device.clone(),
            device.state.clone(),
            device.health.clone(),
            device
                .rate_hz
                .map_or("-".into(), |rate| format!("{rate:.1}")),
            device.causes.join(", "),
        ]);
    }
    table
}

fn verdict(outcome: &Outcome) -> String {
    if outcome.broken.is_empty() {
        return "all promises hold: what is missing was counted, no device is stuck, memory does not grow from round to round".into();
    }
    let broken: Vec<String> = outcome
        .broken
        .iter()
        .map(|what| format!("BROKEN: {what}"))
        .collect();
    broken.join("\n")
}
