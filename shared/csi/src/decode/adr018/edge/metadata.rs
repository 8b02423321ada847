//! Reports as key and value, for the metadata of a device.

use super::{EdgeReport, FeatureState, Report, Vitals};

/// Events of a module that are rendered.
const MOST_VALUES: usize = 16;

type Pairs = Vec<(&'static str, String)>;

impl EdgeReport {
    /// What the node says, as keys that all begin with `edge_` and values in words. What the node does not know (a rate of 0,
    /// a value that its flags call invalid, a number that is none) is left out. Empty for a compressed frame.
    #[must_use]
    pub fn metadata(&self) -> Pairs {
        let mut pairs = Pairs::new();
        match &self.report {
            Report::Vitals(report) => vitals(report, &mut pairs),
            Report::Features(report) => {
                let values = report.values.map(|value| value.to_string()).join(" ");
                pairs.push(("edge_features", values));
            }
            Report::FusedVitals(report) => {
                vitals(&report.vitals, &mut pairs);
                let confidence = report.fusion_confidence.to_string();
                pairs.push(("edge_fusion_confidence", confidence));
                rate(
                    "edge_radar_breaths_per_minute",
                    report.radar_breaths,
                    &mut pairs,
                );
                rate(
                    "edge_radar_heart_rate_per_minute",
                    report.radar_heart,
                    &mut pairs,
                );
                rate("edge_radar_distance_cm", report.distance_cm, &mut pairs);
                pairs.push(("edge_radar_targets", report.targets.to_string()));
            }
            Report::ModuleOutput(report) => {
                let values = report.values.iter().take(MOST_VALUES);
                let values: Vec<String> = values
                    .map(|(kind, value)| format!("{kind}={value}"))
                    .collect();
                let more = report.values.len().saturating_sub(MOST_VALUES);
                let more = match more {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let text = format!("module {}: {}{more}", report.module, values.join(" "));
                pairs.push(("edge_module_output", text));
            }
            Report::Compressed(_) => {}
            Report::FeatureState(report) => state(report, &mut pairs),
        }
        pairs
    }
}

fn vitals(report: &Vitals, pairs: &mut Pairs) {
    let flag = |bit: u8| (report.flags >> bit & 1 == 1).to_string();
    pairs.push(("edge_presence", flag(0)));
    pairs.push(("edge_fall", flag(1)));
    pairs.push(("edge_motion", flag(2)));
    pairs.push(("edge_persons", report.persons.to_string()));
    // 32 bits of heart rate are more than a float holds, and more than any heart has.
    #[allow(clippy::cast_precision_loss)]
    let heart = report.heart_x10000 as f32 / 10_000.0;
    rate(
        "edge_breaths_per_minute",
        f32::from(report.breaths_x100) / 100.0,
        pairs,
    );
    rate("edge_heart_rate_per_minute", heart, pairs);
    number("edge_motion_energy", report.motion, pairs);
    number("edge_presence_score", report.presence, pairs);
    pairs.push(("edge_uptime_ms", report.uptime_ms.to_string()));
}

fn state(report: &FeatureState, pairs: &mut Pairs) {
    let valid = |bit: u16| report.flags >> bit & 1 == 1;
    let [
        motion,
        presence,
        breaths,
        breaths_sure,
        heart,
        heart_sure,
        anomaly,
        shift,
        coherence,
    ] = report.values;
    pairs.push(("edge_mode", report.mode.to_string()));
    number("edge_motion_score", motion, pairs);
    if valid(0) {
        number("edge_presence_score", presence, pairs);
    }
    if valid(1) {
        rate("edge_breaths_per_minute", breaths, pairs);
        number("edge_breaths_confidence", breaths_sure, pairs);
    }
    if valid(2) {
        rate("edge_heart_rate_per_minute", heart, pairs);
        number("edge_heart_rate_confidence", heart_sure, pairs);
    }
    number("edge_anomaly_score", anomaly, pairs);
    number("edge_environment_shift", shift, pairs);
    number("edge_coherence", coherence, pairs);
}

/// A number, where it is one.
fn number(key: &'static str, value: f32, pairs: &mut Pairs) {
    if value.is_finite() {
        pairs.push((key, value.to_string()));
    }
}

/// A number that is 0 where the node has none.
fn rate(key: &'static str, value: f32, pairs: &mut Pairs) {
    if value > 0.0 {
        number(key, value, pairs);
    }
}
