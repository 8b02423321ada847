//! `fresnel zones thresholds`, `features` and `spectrogram`.

use anyhow::{Context as _, anyhow};
use chrono::{DateTime, Utc};
use proto::csi::v1::DataSource;
use proto::signal::v1::signal_service_client::SignalServiceClient;
use proto::signal::v1::{
    GetSpectrogramRequest, GetSpectrogramResponse, GetThresholdsRequest, SignalWindow,
    UpdateThresholdsRequest, WatchFeaturesRequest, WhatIf, ZoneThresholds,
};
use serde_json::json;
use tonic::transport::Channel;

use super::source;
use crate::client::{print_line, printable, refusal};
use crate::show::{time, without_nulls};

/// Rows and columns that a terminal is given.
const MOST_ROWS: usize = 40;
const MOST_COLUMNS: usize = 72;
/// Columns are this many seconds wide at least: spectra come every 50 ms, give or take a frame.
const LEAST_COLUMN_S: f64 = 0.1;
/// A column without a spectrum.
const GAP: char = '/';
/// Power from none to much.
const SHADES: [char; 6] = [' ', '.', ':', '+', '#', '@'];

/// Arguments.
#[derive(clap::Args)]
pub struct Thresholds {
    /// Name of the zone.
    zone: String,
    /// Motion statistic from which a window is motion, 0.01 to 1.
    #[arg(long, conflicts_with_all = ["false_alarms_per_week", "clear"])]
    motion: Option<f64>,
    /// The lowest threshold that would have kept to so many alarms a week from --since to --until, when nobody was there.
    #[arg(long, requires = "since", requires = "until", conflicts_with = "clear")]
    false_alarms_per_week: Option<f64>,
    /// Back to what holds for all zones.
    #[arg(long)]
    clear: bool,
    /// Only say what it would have made of the past.
    #[arg(long)]
    dry_run: bool,
    /// The past to look at, RFC 3339 [default: seven days before --until].
    #[arg(long, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Its end [default: now].
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// Whose windows count.
    #[arg(long, value_enum, default_value = "live")]
    source: Source,
    /// Only if this is still the etag.
    #[arg(long, default_value = "")]
    etag: String,
}

/// Where data comes from.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Source {
    Live,
    Replay,
    Simulated,
}

/// Arguments.
#[derive(clap::Args)]
pub struct Spectrogram {
    /// Name of the zone.
    zone: String,
    /// Name of the device.
    device: String,
    /// Seconds back from the newest frame, 1 to 60.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Length of the Hann window in seconds.
    #[arg(long, default_value_t = 0.5)]
    window: f64,
}

/// Shows or sets thresholds.
pub async fn thresholds(
    signal: &mut SignalServiceClient<Channel>,
    args: Thresholds,
    json: bool,
) -> anyhow::Result<()> {
    let sets = args.motion.is_some() || args.clear || args.false_alarms_per_week.is_some();
    let stamp = |time: DateTime<Utc>| prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default(),
    };
    let request = UpdateThresholdsRequest {
        thresholds: Some(ZoneThresholds {
            zone: args.zone.clone(),
            motion_threshold: args.motion,
            etag: args.etag,
            ..ZoneThresholds::default()
        }),
        update_mask: args.clear.then(|| prost_types::FieldMask {
            paths: vec!["motion_threshold".to_owned()],
        }),
        validate_only: args.dry_run || !sets,
        false_alarms_per_week: args.false_alarms_per_week,
        start_time: args.since.map(stamp),
        end_time: args.until.map(stamp),
        source: match args.source {
            Source::Live => DataSource::Live,
            Source::Replay => DataSource::Replay,
            Source::Simulated => DataSource::Simulated,
        }
        .into(),
    };
    let answer = signal.update_thresholds(request).await;
    let answer = answer.map_err(|status| refusal(&status))?.into_inner();
    let what_if = answer
        .what_if
        .context("the signal service answered without what it made of the past")?;
    let mut set = answer
        .thresholds
        .context("the signal service answered without thresholds")?;
    if !sets {
        let get = GetThresholdsRequest { zone: args.zone };
        let kept = signal.get_thresholds(get).await;
        set = kept
            .map_err(|status| refusal(&status))?
            .into_inner()
            .thresholds
            .unwrap_or(set);
    }
    if json {
        print_line(&object(&set, &what_if).to_string())?;
        return Ok(());
    }
    let what = match set.motion_threshold {
        Some(threshold) => format!("motion from {threshold:.2}"),
        None => format!(
            "none of its own: a calibration's, else motion from {:.2}",
            set.default_motion_threshold
        ),
    };
    let verb = match (sets, args.dry_run) {
        (false, _) => "",
        (true, true) => " (tried, not set)",
        (true, false) => " (set)",
    };
    print_line(&format!("{}: {what}{verb}", printable(&set.zone)))?;
    for line in sentences(&what_if, args.false_alarms_per_week) {
        print_line(&line)?;
    }
    Ok(())
}

fn object(set: &ZoneThresholds, what_if: &WhatIf) -> serde_json::Value {
    without_nulls(json!({
        "zone": set.zone,
        "motion_threshold": set.motion_threshold,
        "default_motion_threshold": set.default_motion_threshold,
        "etag": set.etag,
        "update_time": set.update_time.as_ref().map(time),
        "what_if": {
            "start_time": what_if.start_time.as_ref().map(time),
            "end_time": what_if.end_time.as_ref().map(time),
            "observed_hours": what_if.observed_hours,
            "unknown_hours": what_if.unknown_hours,
            "recorded_alarms": what_if.recorded_alarms,
            "recorded_motion_hours": what_if.recorded_motion_hours,
            "alarms": what_if.alarms,
            "motion_hours": what_if.motion_hours,
            "alarms_per_week_at_most": what_if.alarms_per_week_at_most,
            "links": what_if.links,
        },
    }))
}

fn sentences(what_if: &WhatIf, wanted: Option<f64>) -> Vec<String> {
    let span = match (&what_if.start_time, &what_if.end_time) {
        (Some(start), Some(end)) => format!("from {} to {}", time(start), time(end)),
        _ => String::new(),
    };
    if what_if.observed_hours <= 0.0 {
        return vec![format!(
            "nothing was observed {span}: nothing can be said of it"
        )];
    }
    let mut lines = vec![
        format!(
            "{span}: {} observed, {} unknown, {} link{}",
            lasted(what_if.observed_hours),
            lasted(what_if.unknown_hours),
            what_if.links,
            if what_if.links == 1 { "" } else { "s" }
        ),
        format!(
            "motion began {} as it was decided then ({} in all), {} with this ({} in all)",
            times(what_if.recorded_alarms),
            lasted(what_if.recorded_motion_hours),
            times(what_if.alarms),
            lasted(what_if.motion_hours)
        ),
    ];
    if let Some(most) = what_if.alarms_per_week_at_most {
        let short = wanted.filter(|wanted| most > *wanted);
        lines.push(match short {
            Some(wanted) => format!(
                "with 95 % confidence that is at most {most:.1} a week: the time observed is too short to promise {wanted}"
            ),
            None => format!("with 95 % confidence that is at most {most:.1} a week"),
        });
    }
    lines
}

fn times(count: u32) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// `44 s`, `12 min`, `3.2 h`
fn lasted(hours: f64) -> String {
    let seconds = hours * 3600.0;
    if seconds < 90.0 {
        format!("{seconds:.0} s")
    } else if seconds < 5400.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{hours:.1} h")
    }
}

/// Windows as they close.
pub async fn features(
    signal: &mut SignalServiceClient<Channel>,
    request: WatchFeaturesRequest,
    json: bool,
) -> anyhow::Result<()> {
    let answer = signal.watch_features(request).await;
    let mut windows = answer.map_err(|status| refusal(&status))?.into_inner();
    while let Some(window) = windows.message().await.map_err(|status| refusal(&status))? {
        let Some(window) = window.window else {
            continue;
        };
        let line = if json {
            window_object(&window).to_string()
        } else {
            window_line(&window)
        };
        print_line(&line)?;
    }
    Ok(())
}

fn micros(time_us: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(time_us).map_or_else(
        || "-".to_owned(),
        |time| time.format("%FT%T%.3fZ").to_string(),
    )
}

fn window_line(window: &SignalWindow) -> String {
    let number = |value: Option<f32>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
    format!(
        "{} {} [{}] {} score {} against {:.2}, {:.1} Hz, quality {:.2}, {} features{}",
        micros(window.window_end_us),
        printable(&window.device),
        printable(&window.link),
        window
            .state()
            .as_str_name()
            .trim_start_matches("LINK_STATE_")
            .to_lowercase(),
        number(window.motion_score),
        window.motion_threshold,
        window.frame_rate_hz,
        window.quality,
        window.features.len(),
        if window.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", printable(&window.reason))
        }
    )
}

fn window_object(window: &SignalWindow) -> serde_json::Value {
    without_nulls(json!({
        "zone": window.zone,
        "device": window.device,
        "link": window.link,
        "window_start_us": window.window_start_us,
        "window_end_us": window.window_end_us,
        "state": window.state().as_str_name().trim_start_matches("LINK_STATE_").to_lowercase(),
        "reason": window.reason,
        "motion_score": window.motion_score,
        "motion_threshold": window.motion_threshold,
        "frame_rate_hz": window.frame_rate_hz,
        "quality": window.quality,
        "breaths_per_minute": window.breaths_per_minute,
        "baseline_distance": window.baseline_distance,
        "feature_schema": window.feature_schema,
        "features": window.features,
        "source": source(window.source()),
    }))
}

/// A picture of the latest frames.
pub async fn spectrogram(
    signal: &mut SignalServiceClient<Channel>,
    args: Spectrogram,
    json: bool,
) -> anyhow::Result<()> {
    let request = GetSpectrogramRequest {
        zone: args.zone,
        device: args.device,
        seconds: Some(args.seconds),
        window_seconds: Some(args.window),
    };
    let answer = signal.get_spectrogram(request).await;
    let found = answer.map_err(|status| refusal(&status))?.into_inner();
    if json {
        print_line(&spectrum_object(&found).to_string())?;
        return Ok(());
    }
    for line in picture(&found)? {
        print_line(&line)?;
    }
    Ok(())
}

fn spectrum_object(found: &GetSpectrogramResponse) -> serde_json::Value {
    json!({
        "link": found.link,
        "frame_rate_hz": found.frame_rate_hz,
        "frames": found.frames,
        "frequencies_hz": found.frequencies_hz,
        "path_speeds_m_s": found.path_speeds_m_s,
        "times": found.times.iter().map(time).collect::<Vec<_>>(),
        "power": found.power,
        "source": source(found.source()),
    })
}

/// Time goes to the right, frequency up; each shade is 10 dB, the strongest cell `@`. A column without a spectrum is a gap.
fn picture(found: &GetSpectrogramResponse) -> anyhow::Result<Vec<String>> {
    let bins = found.frequencies_hz.len();
    let rows: Vec<&[f32]> = found.power.chunks(bins.max(1)).collect();
    let strongest = found.power.iter().copied().fold(0.0_f32, f32::max);
    if bins == 0 || rows.is_empty() {
        return Err(anyhow!("the signal service answered without a spectrum"));
    }
    let mut lines = vec![format!(
        "{}{}: {} frames at {:.1} Hz, {} spectra",
        printable(&found.link),
        source(found.source())
            .filter(|source| *source != "live")
            .map(|source| format!(" [{source}]"))
            .unwrap_or_default(),
        found.frames,
        found.frame_rate_hz,
        rows.len()
    )];
    if strongest <= 0.0 {
        lines.push("no power at any frequency: the channel stands still".to_owned());
        return Ok(lines);
    }
    let columns = columns(found, rows);
    if columns.iter().any(Vec::is_empty) {
        lines.push(format!(
            "{GAP} where frames were missing: no window reaches over a gap"
        ));
    }
    let high = bins.div_ceil(MOST_ROWS);
    for first in (0..bins).step_by(high).rev() {
        let last = (first + high).min(bins);
        let frequency = found.frequencies_hz.get(first).copied().unwrap_or_default();
        let speed = found
            .path_speeds_m_s
            .get(first)
            .map_or_else(String::new, |speed| format!("{speed:5.2} m/s "));
        let cells = columns.iter().map(|column| {
            if column.is_empty() {
                return GAP;
            }
            let cell = column
                .iter()
                .filter_map(|row| row.get(first..last))
                .flatten()
                .copied()
                .fold(0.0_f32, f32::max);
            shade(cell / strongest)
        });
        let cells: String = cells.collect();
        lines.push(format!("{frequency:6.1} Hz {speed}|{cells}|"));
    }
    Ok(lines)
}

/// The spectra of each column of the picture, by their times.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
fn columns<'a>(found: &GetSpectrogramResponse, rows: Vec<&'a [f32]>) -> Vec<Vec<&'a [f32]>> {
    let seconds = |time: &prost_types::Timestamp| time.seconds as f64 + f64::from(time.nanos) / 1e9;
    let first = found.times.first().map_or(0.0, seconds);
    let span = found.times.last().map_or(0.0, seconds) - first;
    let wide = (span / MOST_COLUMNS as f64).max(LEAST_COLUMN_S);
    let mut columns = vec![Vec::new(); (span / wide) as usize + 1];
    for (time, row) in found.times.iter().zip(rows) {
        let place = ((seconds(time) - first) / wide).max(0.0) as usize;
        if let Some(column) = columns.get_mut(place) {
            column.push(row);
        }
    }
    columns
}

/// `@` down to 5 dB below the strongest, then 10 dB each.
fn shade(relative: f32) -> char {
    let below_db = -10.0 * relative.max(1e-9).log10();
    let step = [5.0, 15.0, 25.0, 35.0, 45.0]
        .iter()
        .position(|limit| below_db <= *limit);
    let index = step.map_or(0, |step| SHADES.len() - 1 - step);
    SHADES.get(index).copied().unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_the_tone_where_it_is() {
        let found = GetSpectrogramResponse {
            link: "a".into(),
            frequencies_hz: vec![0.0, 5.0, 10.0],
            times: [0, 1]
                .map(|seconds| prost_types::Timestamp { seconds, nanos: 0 })
                .to_vec(),
            power: vec![0.0, 1.0, 0.001, 0.0, 1.0, 0.001],
            ..GetSpectrogramResponse::default()
        };
        let lines = picture(&found).unwrap();
        // A second apart, and nothing in between.
        let row = |edge: &str, shade: &str| format!("{edge} Hz |{shade}{}{shade}|", "/".repeat(9));
        assert!(lines[1].starts_with("/ where frames were missing"));
        assert_eq!(lines[2], row("  10.0", ":"));
        assert_eq!(lines[3], row("   5.0", "@"));
        assert_eq!(lines[4], row("   0.0", " "));
    }

    #[test]
    fn what_was_not_observed_is_said() {
        assert_eq!(
            [0.01, 0.5, 30.0].map(lasted),
            ["36 s", "30 min", "30.0 h"].map(String::from)
        );
        let lines = sentences(&WhatIf::default(), None);
        assert!(lines[0].starts_with("nothing was observed"));
        let short = WhatIf {
            observed_hours: 24.0,
            alarms_per_week_at_most: Some(21.0),
            ..WhatIf::default()
        };
        assert!(sentences(&short, Some(1.0))[2].contains("too short to promise 1"));
    }
}
