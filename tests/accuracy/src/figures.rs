//! The figures that are committed, `docs/accuracy.json`, and how new ones are held against them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::anti_truth::{Falsehood, Outcome};
use crate::motion::{Alarms, Group, Presence};
use crate::{breathing, probe};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Larger.
    Higher,
    /// Smaller.
    Lower,
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its value.
    pub value: f64,
    /// 95 % interval by session, where there are enough.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interval: Option<(f64, f64)>,
    /// Which way is better.
    pub better: Better,
    /// A change for the worse of more than this is a regression. The recordings are the same each time and the code is
    /// deterministic: what is left is the rounding of another machine, and a window at a threshold.
    pub noise: f64,
}

/// All figures by key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Figures(pub BTreeMap<String, Figure>);

impl Figures {
    fn add(&mut self, key: String, value: f64, better: Better, noise: f64) {
        self.with(key, value, None, better, noise);
    }

    fn with(
        &mut self,
        key: String,
        value: f64,
        interval: Option<(f64, f64)>,
        better: Better,
        noise: f64,
    ) {
        let round = |value: f64| (value * 1e5).round() / 1e5;
        let figure = Figure {
            value: round(value),
            interval: interval.map(|(low, high)| (round(low), round(high))),
            better,
            noise,
        };
        self.0.insert(key, figure);
    }

    /// What a group of cases gave for the service. Shares may change by one case in a hundred, or one case where there are
    /// fewer.
    pub fn motion(&mut self, group: &Group) {
        let case = |count: usize| (1.0 / count.max(1) as f64).max(0.005);
        for row in &group.rows {
            let key = |what: &str| format!("{}.{}.{what}", group.key, row.method.key());
            let least = group.cases.0.min(group.cases.1);
            for (what, estimate, better, noise) in [
                ("auc", row.auc, Better::Higher, 0.003),
                (
                    "recall_at_1",
                    row.recall_at_1,
                    Better::Higher,
                    3.0 * case(group.cases.1),
                ),
                ("recall", row.recall, Better::Higher, case(group.cases.1)),
                (
                    "false_positives",
                    row.false_positives,
                    Better::Lower,
                    case(group.cases.0),
                ),
                ("balanced", row.balanced, Better::Higher, case(least)),
            ] {
                if let Some(estimate) = estimate {
                    self.with(key(what), estimate.value, estimate.interval, better, noise);
                }
            }
        }
        self.add(
            format!("{}.unknown", group.key),
            group.unknown,
            Better::Lower,
            case(group.cases.0 + group.cases.1),
        );
    }

    /// Alarms.
    pub fn alarms(&mut self, key: &str, alarms: Alarms) {
        self.add(
            format!("{key}.alarms"),
            alarms.count as f64,
            Better::Lower,
            0.0,
        );
    }

    /// Falsehoods.
    pub fn anti_truth(&mut self, falsehood: Falsehood, outcome: Outcome) {
        let key = format!("anti_truth.{}", falsehood.key());
        let said = outcome.motion + outcome.present + outcome.breathing;
        self.add(key, said as f64, Better::Lower, 0.0);
    }

    /// Presence without calibration: where nobody is, and where somebody moves.
    pub fn presence(&mut self, key: &str, presence: &Presence) {
        if let Some(share) = presence.of_empty() {
            self.add(
                format!("{key}.present_in_empty"),
                share,
                Better::Lower,
                0.01,
            );
        }
        if let Some(share) = presence.of_moving() {
            self.add(
                format!("{key}.present_in_motion"),
                share,
                Better::Higher,
                0.01,
            );
        }
    }

    /// Breathing.
    pub fn breathing(&mut self, outcome: &breathing::Outcome) {
        let abstains = outcome
            .subjects
            .iter()
            .all(|subject| subject.truth.is_none());
        let better = if abstains {
            Better::Lower
        } else {
            Better::Higher
        };
        self.add(
            format!("{}.coverage", outcome.key),
            outcome.coverage(),
            better,
            if abstains { 0.0 } else { 0.03 },
        );
        if let Some(error) = breathing::mean(&outcome.errors()) {
            self.with(
                format!("{}.error", outcome.key),
                error,
                outcome.interval(),
                Better::Lower,
                0.02,
            );
        }
    }

    /// A probe.
    pub fn probe(&mut self, outcome: &probe::Outcome) {
        self.with(
            format!("{}.accuracy", outcome.key),
            outcome.accuracy,
            outcome.interval,
            Better::Higher,
            0.02,
        );
    }

    /// What of `new` is worse than these figures by more than noise. A figure of the service that is missing is worse, too;
    /// one that is new is none. Baselines are not ours to keep.
    #[must_use]
    pub fn regressions(&self, new: &Self, parts: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for (key, old) in &self.0 {
            let part = parts.iter().any(|part| key.starts_with(part));
            let baseline = [".autocorrelation.", ".amplitude.", ".rssi."]
                .iter()
                .any(|name| key.contains(name));
            if !part || baseline {
                continue;
            }
            let Some(figure) = new.0.get(key) else {
                found.push(format!("{key}: {} before, not measured now", old.value));
                continue;
            };
            let worse = match old.better {
                Better::Higher => old.value - figure.value,
                Better::Lower => figure.value - old.value,
            };
            if worse > old.noise + 1e-9 {
                found.push(format!(
                    "{key}: {} before, {} now; {} is noise",
                    old.value, figure.value, old.noise
                ));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(recall: f64, alarms: f64) -> Figures {
        let mut figures = Figures::default();
        figures.add("a.service.recall".to_owned(), recall, Better::Higher, 0.01);
        figures.add("a.alarms".to_owned(), alarms, Better::Lower, 0.0);
        figures.add("a.rssi.recall".to_owned(), recall, Better::Higher, 0.01);
        figures
    }

    #[test]
    fn only_the_worse_is_a_regression() {
        let old = figures(0.9, 1.0);
        assert!(old.regressions(&figures(0.895, 1.0), &["a."]).is_empty());
        assert!(old.regressions(&figures(0.95, 0.0), &["a."]).is_empty());
        assert_eq!(old.regressions(&figures(0.88, 1.0), &["a."]).len(), 1);
        assert_eq!(old.regressions(&figures(0.9, 2.0), &["a."]).len(), 1);
        assert_eq!(old.regressions(&figures(0.8, 2.0), &["b."]).len(), 0);
        assert_eq!(old.regressions(&Figures::default(), &["a."]).len(), 2);
    }
}
