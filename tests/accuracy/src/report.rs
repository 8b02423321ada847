//! Everything measured, and docs/accuracy.md.

use std::fmt::Write as _;

use anyhow::bail;
use recordings::Places;

use crate::anti_truth::{self, Falsehood};
use crate::figures::Figures;
use crate::measure::{Estimate, highest_rate};
use crate::motion::{self, Alarms, Group, Method, Presence, Scored};
use crate::sets::{Set, Take};
use crate::{breathing, probe};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All sets.
    Everything,
    /// What a test has the time for: motion on the ESP32 sets, what is not motion, and breathing.
    Core,
}

/// One set.
#[derive(Clone, Debug)]
pub struct OfSet {
    /// Which.
    pub set: Set,
    /// All of it, then chip by chip where there are several.
    pub groups: Vec<Group>,
    /// Alarms while nothing moved.
    pub alarms: Alarms,
    /// Seconds to the first window of motion, where a label says when it began.
    pub delays: Vec<Option<f64>>,
    /// What is said of presence.
    pub presence: Presence,
    /// Threshold, recall and false positives where the other sets choose the threshold.
    pub at_threshold_of_others: Option<(f64, f64, f64)>,
}

/// All that was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Motion, set by set.
    pub sets: Vec<OfSet>,
    /// Motion on recordings that nobody looked at before the constants stood, as far as they are to be had.
    pub blind: Vec<OfSet>,
    /// Several of them together.
    pub blind_together: Vec<Group>,
    /// Motion, all ESP32 chips together.
    pub together: Vec<Group>,
    /// What is not motion.
    pub anti_truth: Vec<(Falsehood, anti_truth::Outcome)>,
    /// Breathing.
    pub breathing: Vec<breathing::Outcome>,
    /// Activities.
    pub probes: Vec<probe::Outcome>,
}

impl Measured {
    /// Measures.
    ///
    /// # Errors
    /// Where recordings are missing or damaged.
    pub fn all(places: &Places, scope: Scope) -> anyhow::Result<Self> {
        let sets: &[Set] = match scope {
            Scope::Everything => &Set::ALL,
            Scope::Core => &[Set::Espectre, Set::Ialr, Set::Thu4n],
        };
        let mut measured = Self::default();
        let mut scored: Vec<(Set, Vec<Scored>)> = Vec::new();
        for set in sets {
            let Some(takes) = set.takes(places)? else {
                bail!("the recordings of {} are missing", set.source());
            };
            let cases = motion::scored(*set, &takes);
            measured.sets.push(of_set(*set, &takes, &cases));
            if scope == Scope::Everything {
                measured.probes.extend(probe::measure(*set, &takes));
            }
            if scope == Scope::Everything && *set == Set::CsiHar {
                for (set, names) in [
                    (Set::CsiHarUnseen, &probe::UNSEEN),
                    (Set::CsiHarUnseenMore, &probe::UNSEEN_MORE),
                ] {
                    if let Some(unseen) = set.takes(places)? {
                        measured
                            .probes
                            .extend(probe::unseen(&takes, &unseen, names));
                    }
                }
            }
            scored.push((*set, cases));
        }
        for of_set in &mut measured.sets {
            let (own, others): (Vec<_>, Vec<_>) =
                scored.iter().partition(|(set, _)| *set == of_set.set);
            let all = |sets: Vec<&(Set, Vec<Scored>)>| -> Vec<Scored> {
                sets.into_iter()
                    .flat_map(|(_, cases)| cases.clone())
                    .collect()
            };
            let esp32 = others.into_iter().filter(|(set, _)| !set.by_recording());
            of_set.at_threshold_of_others =
                motion::at_threshold_of(&all(esp32.collect()), &all(own));
        }
        let together: Vec<Scored> = scored
            .iter()
            .filter(|(set, _)| !set.by_recording())
            .flat_map(|(_, cases)| cases.clone())
            .filter(|case| case.said.is_some())
            .collect();
        measured.together.push(motion::group(
            "motion.esp32",
            "all ESP32 recordings that are judged",
            &together,
        ));
        let blind: &[Set] = match scope {
            Scope::Everything => &Set::BLIND,
            Scope::Core => &[],
        };
        let mut chips: Vec<Scored> = Vec::new();
        for set in blind {
            if let Some(takes) = set.takes(places)? {
                let cases = motion::scored(*set, &takes);
                measured.blind.push(of_set(*set, &takes, &cases));
                if matches!(set, Set::EspectreHistory | Set::EspectreLater) {
                    chips.extend(cases);
                }
            }
        }
        if !chips.is_empty() {
            measured.blind_together.push(motion::group(
                "blind.chips",
                "ESPectre's earlier and later recordings, five chips, together",
                &chips,
            ));
        }
        for falsehood in Falsehood::ALL {
            let Some(outcome) = anti_truth::measure(falsehood, places)? else {
                bail!("the recordings of espectre are missing");
            };
            measured.anti_truth.push((falsehood, outcome));
        }
        let Some(breathing) = breathing::measure(places)? else {
            bail!("the recordings of breathing are missing");
        };
        measured.breathing = breathing;
        Ok(measured)
    }

    /// What is committed.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        for of_set in &self.sets {
            of_set.groups.iter().for_each(|group| figures.motion(group));
            figures.alarms(&format!("motion.{}", of_set.set.source()), of_set.alarms);
            figures.presence(
                &format!("presence.{}", of_set.set.source()),
                &of_set.presence,
            );
        }
        self.together.iter().for_each(|group| figures.motion(group));
        self.blind_together
            .iter()
            .for_each(|group| figures.motion(group));
        for blind in &self.blind {
            blind.groups.iter().for_each(|group| figures.motion(group));
            figures.alarms(&format!("blind.{}", blind.set.source()), blind.alarms);
        }
        for (falsehood, outcome) in &self.anti_truth {
            figures.anti_truth(*falsehood, *outcome);
        }
        self.breathing
            .iter()
            .for_each(|outcome| figures.breathing(outcome));
        self.probes
            .iter()
            .for_each(|outcome| figures.probe(outcome));
        figures
    }

    /// docs/accuracy.md.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from(include_str!("report/head.md"));
        self.motion(&mut text);
        text.push_str(include_str!("report/motion.md"));
        self.blind(&mut text);
        self.presence(&mut text);
        self.falsehoods(&mut text);
        self.breaths(&mut text);
        self.activities(&mut text);
        text.push_str(include_str!("report/tail.md"));
        text
    }

    fn motion(&self, text: &mut String) {
        text.push_str("\n## Motion\n");
        let groups = self.sets.iter().flat_map(|of_set| &of_set.groups);
        table_of_motion(text, self.together.iter().chain(groups));
        table_of_alarms(text, &self.sets);
    }

    fn blind(&self, text: &mut String) {
        text.push_str(include_str!("report/blind.md"));
        for set in Set::BLIND {
            if self.blind.iter().all(|of_set| of_set.set != set) {
                let _ = writeln!(
                    text,
                    "\n`{}` is not measured in this run: the recordings are not on this machine.",
                    set.source()
                );
            }
        }
        if self.blind.is_empty() {
            return;
        }
        let groups = self.blind.iter().flat_map(|of_set| &of_set.groups);
        table_of_motion(text, self.blind_together.iter().chain(groups));
        table_of_alarms(text, &self.blind);
    }

    fn presence(&self, text: &mut String) {
        text.push_str(include_str!("report/presence.md"));
        text.push_str(
            "\n| recordings | empty room | somebody still | somebody moving |\n|---|---|---|---|\n",
        );
        let said = |share: Option<f64>, (_, all): (usize, usize)| {
            share.map_or_else(
                || "-".to_owned(),
                |share| format!("{} of {all}", percent(share)),
            )
        };
        for of_set in &self.sets {
            let presence = of_set.presence;
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                of_set.set.source(),
                said(presence.of_empty(), presence.empty),
                said(presence.of_still(), presence.still),
                said(presence.of_moving(), presence.moving)
            );
        }
    }

    fn falsehoods(&self, text: &mut String) {
        text.push_str("\n## What is not motion\n\n| put in | recordings | windows | said to be motion | somebody present | with a breathing rate |\n|---|---|---|---|---|---|\n");
        for (falsehood, outcome) in &self.anti_truth {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                falsehood.title(),
                outcome.recordings,
                outcome.windows,
                outcome.motion,
                outcome.present,
                outcome.breathing
            );
        }
    }

    fn breaths(&self, text: &mut String) {
        text.push_str(include_str!("report/breathing.md"));
        text.push_str("\n| recordings | windows | rates given | mean error, breaths/min | worst | strongest frequency of mean amplitude |\n|---|---|---|---|---|---|\n");
        for outcome in &self.breathing {
            let errors = outcome.errors();
            let error = breathing::mean(&errors).map_or_else(
                || "-".to_owned(),
                |error| match outcome.interval() {
                    Some((low, high)) => format!("{error:.3} ({low:.3} to {high:.3})"),
                    None => format!("{error:.3}"),
                },
            );
            let worst = errors.iter().copied().max_by(f64::total_cmp);
            let _ = writeln!(
                text,
                "| {} | {} of {} s | {} ({}) | {error} | {} | {} |",
                outcome.title,
                outcome.windows(),
                outcome.window_s,
                outcome.rates(),
                percent(outcome.coverage()),
                worst.map_or_else(|| "-".to_owned(), |worst| format!("{worst:.2}")),
                outcome
                    .naive_error()
                    .map_or_else(|| "-".to_owned(), |error| format!("{error:.1}"))
            );
        }
    }

    fn activities(&self, text: &mut String) {
        text.push_str(include_str!("report/activities.md"));
        text.push_str("\n| question | samples, classes, folds | accuracy | balanced | most frequent class | plain Python, the same recordings and folds: accuracy, balanced | plain Python, more recordings |\n|---|---|---|---|---|---|---|\n");
        for probe in &self.probes {
            let estimate = Estimate {
                value: probe.accuracy,
                interval: probe.interval,
            };
            let (samples, classes, folds) = probe.sizes;
            let plain = probe.plain().map_or_else(
                || "-".to_owned(),
                |(accuracy, balanced)| format!("{}, {}", percent(accuracy), percent(balanced)),
            );
            let beside = if probe.beside.is_empty() {
                "-"
            } else {
                probe.beside
            };
            let _ = writeln!(
                text,
                "| {} | {samples}, {classes}, {folds} | {} | {} | {} | {plain} | {beside} |",
                probe.title,
                share(Some(estimate)),
                percent(probe.balanced),
                percent(probe.chance),
            );
        }
    }
}

/// A row for each group and method.
fn table_of_motion<'a>(text: &mut String, groups: impl IntoIterator<Item = &'a Group>) {
    text.push_str("\n| recordings | method | AUC | recall at 1 % false positives | recall | false positives | balanced accuracy |\n|---|---|---|---|---|---|---|\n");
    for group in groups {
        for (index, row) in group.rows.iter().enumerate() {
            let name = if index == 0 {
                format!(
                    "**{}**: {} quiet, {} moving, {} sessions; {} unknown",
                    group.title,
                    group.cases.0,
                    group.cases.1,
                    group.sessions,
                    percent(group.unknown)
                )
            } else {
                String::new()
            };
            let mark = if row.method == Method::Service {
                "**service**"
            } else {
                row.method.title()
            };
            let _ = writeln!(
                text,
                "| {name} | {mark} | {} | {} | {} | {} | {} |",
                area(row.auc),
                share(row.recall_at_1),
                share(row.recall),
                share(row.false_positives),
                share(row.balanced)
            );
        }
        if let Some(refitted) = group.refitted {
            let _ = writeln!(
                text,
                "| | service's score, threshold as for the baselines | | | | | {} |",
                share(Some(refitted))
            );
        }
    }
}

/// A row for each set.
fn table_of_alarms(text: &mut String, sets: &[OfSet]) {
    text.push_str("\n| recordings | time without motion | alarms | per hour, and what is not ruled out at 95 % | time to detect | threshold chosen on the other ESP32 sets |\n|---|---|---|---|---|---|\n");
    for of_set in sets {
        let Alarms { count, hours } = of_set.alarms;
        let rate = if hours > 0.0 {
            format!(
                "{:.1}, up to {:.0}",
                count as f64 / hours,
                highest_rate(count, hours)
            )
        } else {
            "nothing judged".to_owned()
        };
        let others = of_set.at_threshold_of_others.map_or_else(
            || "-".to_owned(),
            |(threshold, recall, alarms)| {
                format!(
                    "{threshold:.2}: recall {}, false positives {}",
                    percent(recall),
                    percent(alarms)
                )
            },
        );
        let _ = writeln!(
            text,
            "| {} | {:.3} h | {count} | {rate} | {} | {others} |",
            of_set.set.source(),
            hours,
            delays(&of_set.delays)
        );
    }
}

fn of_set(set: Set, takes: &[Take], scored: &[Scored]) -> OfSet {
    let source = set.source();
    // A key of its own: what guards the committed figures does not have the blind recordings.
    let key = match set {
        set if set.is_blind() => format!("blind.{source}"),
        _ => format!("motion.{source}"),
    };
    let mut groups = vec![motion::group(&key, source, scored)];
    let chips: std::collections::BTreeSet<&str> =
        scored.iter().map(|case| case.chip.as_str()).collect();
    if chips.len() > 1 {
        for chip in &chips {
            let of: Vec<Scored> = scored
                .iter()
                .filter(|case| case.chip == *chip)
                .cloned()
                .collect();
            groups.push(motion::group(
                &format!("{key}.{chip}"),
                &format!("{source}, {chip}"),
                &of,
            ));
        }
    }
    OfSet {
        set,
        groups,
        alarms: motion::alarms(takes),
        delays: motion::delays(takes),
        presence: motion::presence(takes),
        at_threshold_of_others: None,
    }
}

fn percent(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

fn area(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(
        || "-".to_owned(),
        |estimate| match estimate.interval {
            Some((low, high)) => format!("{:.4} ({low:.3} to {high:.3})", estimate.value),
            None => format!("{:.4}", estimate.value),
        },
    )
}

fn share(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(
        || "-".to_owned(),
        |estimate| match estimate.interval {
            Some((low, high)) => {
                format!(
                    "{} ({:.1} to {:.1})",
                    percent(estimate.value),
                    100.0 * low,
                    100.0 * high
                )
            }
            None => percent(estimate.value),
        },
    )
}

fn delays(delays: &[Option<f64>]) -> String {
    let mut found: Vec<f64> = delays.iter().flatten().copied().collect();
    found.sort_by(f64::total_cmp);
    let (Some(middle), Some(most)) = (found.get(found.len() / 2), found.last()) else {
        return "-".to_owned();
    };
    format!(
        "{middle:.1} s, at most {most:.1} s; {} of {} found",
        found.len(),
        delays.len()
    )
}
