//! Whether anybody is in a zone, moving or not: present, empty, or unknown with the reason.
//!
//! Present is what motion, breathing, or a channel that stays far from that of the empty room show; it is held for
//! `hold_s` after the last of them. Empty is only what was calibrated: every link of the zone still, near the empty room, and
//! without a breath, for `empty_after_s`. All else is unknown. One who sits still is therefore never taken for nobody: with a
//! calibration the distance or the breathing shows, without one nothing is said after the hold.

use serde::{Deserialize, Serialize};

use crate::detector::LinkState;

/// Share of `far` down to which presence by distance stays.
const RELEASE: f64 = 0.75;

/// How presence is decided, in the section `[signal.presence]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Seconds that presence is held after what showed it. More than the 30 s that breathing needs, so that a takeover in
    /// which its history is lost does not interrupt it.
    pub hold_s: f64,
    /// Seconds that all links must look empty before the zone is empty.
    pub empty_after_s: f64,
    /// Distance from the empty room, in deviations of single frames, from which a link shows that somebody is there. Empty
    /// rooms drift: in the recordings that were measured mostly up to 1.3 within a minute, but some up to 5 within ten.
    pub far: f64,
    /// Distance below which it looks empty. Between the two it says nothing, and the zone is not empty.
    pub near: f64,
    /// Seconds that a link must be far for presence.
    pub far_for_s: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            hold_s: 45.0,
            empty_after_s: 60.0,
            far: 3.0,
            near: 0.8,
            far_for_s: 10.0,
        }
    }
}

impl Rules {
    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        let within = |key: &str, value: f64, least: f64, most: f64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!(
                    "presence.{key} = {value}: must be from {least} to {most}"
                ))
            }
        };
        within("hold_s", self.hold_s, 0.0, 86_400.0)?;
        within("empty_after_s", self.empty_after_s, 1.0, 86_400.0)?;
        within("far", self.far, 0.1, 100.0)?;
        within("near", self.near, 0.05, self.far)?;
        within("far_for_s", self.far_for_s, 0.0, 3_600.0)
    }
}

/// Whether anybody is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not known.
    #[default]
    Unknown,
    /// Nobody.
    Empty,
    /// Somebody.
    Present,
}

impl State {
    /// snake_case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Empty => "empty",
            Self::Present => "present",
        }
    }
}

/// What one link says, for presence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voice {
    /// Motion, still, or unknown.
    pub state: LinkState,
    /// Why it is unknown.
    pub reason: &'static str,
    /// Autocorrelation of the breathing, where a rate was measured.
    pub breath: Option<f64>,
    /// Breathing was looked for and not found.
    pub quiet: bool,
    /// Too little still time so far to look for breathing.
    pub young: bool,
    /// Distance from the empty room, where the link's calibration applies.
    pub distance: Option<f64>,
    /// The link changes as no body does: its distance may be that of another sender.
    pub disturbed: bool,
    /// Why there is no distance.
    pub no_distance: &'static str,
    /// The zone counts on this link to say that it is empty.
    pub needed: bool,
}

/// Presence in one zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// Whether anybody is there.
    pub state: State,
    /// When it became so, in the time of the input.
    pub since_us: i64,
    /// What shows that somebody is there, or why it is unknown; empty where empty.
    pub reason: String,
    /// Strength of the evidence for presence, 0 to 1: the motion statistic, the autocorrelation of the breath, or `d / (d +
    /// far)` of the distance `d`, whichever is largest; while presence is held, what it was. 0 unless present.
    pub confidence: f32,
    shown_us: Option<i64>,
    far_since_us: Option<i64>,
    calm_since_us: Option<i64>,
    latest_us: Option<i64>,
}

/// Input that goes back by more than this is another input.
const BACK_US: i64 = 10_000_000;

impl Presence {
    /// Nothing known at this time.
    #[must_use]
    pub fn new(time_us: i64) -> Self {
        Self {
            since_us: time_us,
            reason: "no_window".to_owned(),
            ..Self::default()
        }
    }

    /// Takes what the links say at `time_us`; `motion` is the largest statistic where the zone is in motion. Gives whether the state changed.
    pub fn step(
        &mut self,
        rules: &Rules,
        time_us: i64,
        motion: Option<f64>,
        links: impl Iterator<Item = Voice> + Clone,
    ) -> bool {
        let before = self.state;
        self.conclude(rules, time_us, motion, links);
        self.state != before
    }

    fn conclude(
        &mut self,
        rules: &Rules,
        time_us: i64,
        motion: Option<f64>,
        links: impl Iterator<Item = Voice> + Clone,
    ) {
        let latest = *self.latest_us.get_or_insert(time_us);
        if time_us < latest - BACK_US {
            *self = Self::new(time_us);
        }
        let time_us = time_us.max(self.latest_us.unwrap_or(time_us));
        self.latest_us = Some(time_us);
        let lasted = |since: Option<i64>, seconds: f64| {
            since.is_some_and(|since| time_us - since >= crate::config::micros(seconds))
        };
        let by_baseline = self.state == State::Present && self.reason == "baseline";
        let far = if by_baseline {
            RELEASE * rules.far
        } else {
            rules.far
        };
        // A link that cannot be judged, or hears others in between, says nothing by its distance either.
        let judged = links
            .clone()
            .filter(|link| link.state != LinkState::Unknown && !link.disturbed);
        let farthest = judged.filter_map(|link| link.distance).fold(0.0, f64::max);
        if farthest >= far {
            self.far_since_us.get_or_insert(time_us);
        } else {
            self.far_since_us = None;
        }
        let breath = links
            .clone()
            .filter_map(|link| link.breath)
            .max_by(f64::total_cmp);
        let away = by_baseline || lasted(self.far_since_us, rules.far_for_s);
        let shown = if let Some(statistic) = motion {
            Some(("motion", statistic))
        } else if let Some(peak) = breath {
            Some(("breathing", peak))
        } else {
            (away && farthest >= far).then(|| ("baseline", farthest / (farthest + rules.far)))
        };
        if let Some((what, strength)) = shown {
            self.shown_us = Some(time_us);
            self.calm_since_us = None;
            self.confidence = narrow(strength.clamp(0.0, 1.0));
            self.enter(State::Present, what, time_us);
            return;
        }
        let obstacle = obstacle(rules, self.state == State::Empty, links);
        if obstacle.is_none() {
            self.calm_since_us.get_or_insert(time_us);
        } else {
            self.calm_since_us = None;
        }
        if self.state == State::Present && !lasted(self.shown_us, rules.hold_s) {
            return;
        }
        self.confidence = 0.0;
        let (state, reason) = match obstacle {
            Some(reason) => (State::Unknown, reason),
            None if self.state == State::Empty
                || lasted(self.calm_since_us, rules.empty_after_s) =>
            {
                (State::Empty, "")
            }
            None => (State::Unknown, "settling"),
        };
        self.enter(state, reason, time_us);
    }

    /// Nothing comes any more.
    pub fn silence(&mut self, reason: &str) -> bool {
        let time_us = self.latest_us.unwrap_or(self.since_us);
        (self.far_since_us, self.calm_since_us, self.shown_us) = (None, None, None);
        self.confidence = 0.0;
        self.enter(State::Unknown, reason, time_us)
    }

    fn enter(&mut self, state: State, reason: &str, time_us: i64) -> bool {
        if self.reason != reason {
            reason.clone_into(&mut self.reason);
        }
        if self.state == state {
            return false;
        }
        self.state = state;
        self.since_us = time_us;
        true
    }
}

/// Why the zone does not look empty now. `empty`: it was, and stays so while no link is far and none has to be asked again.
fn obstacle(
    rules: &Rules,
    empty: bool,
    links: impl Iterator<Item = Voice> + Clone,
) -> Option<&'static str> {
    if !links.clone().any(|link| link.needed) {
        return Some(
            links
                .into_iter()
                .next()
                .map_or("no_window", |_| "not_calibrated"),
        );
    }
    for link in links {
        if link.state == LinkState::Motion {
            return Some("disputed");
        }
        if link.state == LinkState::Unknown {
            return Some(if link.reason.is_empty() {
                "link_silent"
            } else {
                link.reason
            });
        }
        if !link.needed {
            continue;
        }
        let Some(distance) = link.distance else {
            return Some(link.no_distance);
        };
        if distance >= if empty { rules.far } else { rules.near } {
            return Some("baseline_unclear");
        }
        if !(link.quiet || empty && link.young) {
            return Some("breathing_not_looked_for");
        }
    }
    None
}

#[allow(clippy::cast_possible_truncation)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
