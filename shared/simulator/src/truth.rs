//! What was really so at the instant of a frame.

use serde::Serialize;

use crate::body::Body;
use crate::geometry::Point;
use crate::scenario::Scenario;

/// What was really so at one instant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Truth {
    /// Seconds since the start of the simulation.
    pub time_s: f64,
    /// Somebody walks.
    pub motion: bool,
    /// People in the room, moving or not.
    pub people: usize,
    /// Rate of the one person who breathes; absent where nobody does, or several do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaths_per_min: Option<f64>,
    /// The people, in the scenario's order, without those out of the room.
    pub bodies: Vec<BodyTruth>,
}

/// One person at one instant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BodyTruth {
    /// Index in the scenario's `bodies`.
    pub body: usize,
    /// Place in metres.
    pub position_m: [f64; 3],
    /// Speed in m/s; a chest does not count.
    pub speed_m_s: f64,
    /// Breaths per minute, of one who breathes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaths_per_min: Option<f64>,
}

/// A stretch of time in which the answer to "does anything move?" does not change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// First second.
    pub start_s: f64,
    /// First second after it.
    pub end_s: f64,
    /// Somebody walks.
    pub motion: bool,
}

impl Scenario {
    /// What is so at this second.
    #[must_use]
    pub fn truth_at(&self, time_s: f64) -> Truth {
        let bodies: Vec<BodyTruth> = self
            .bodies
            .iter()
            .enumerate()
            .filter_map(|(index, body)| match body {
                Body::Walking(walking) => Some(BodyTruth {
                    body: index,
                    position_m: walking.position_at(time_s)?,
                    speed_m_s: if walking.walks_at(time_s) {
                        walking.speed_m_s
                    } else {
                        0.0
                    },
                    breaths_per_min: None,
                }),
                Body::Breathing(breathing) => Some(BodyTruth {
                    body: index,
                    position_m: breathing.position_at(time_s),
                    speed_m_s: 0.0,
                    breaths_per_min: Some(breathing.rate_at(time_s)),
                }),
                Body::Furniture(_) => None,
            })
            .collect();
        let mut rates = bodies.iter().filter_map(|body| body.breaths_per_min);
        let breaths_per_min = rates.next().filter(|_| rates.next().is_none());
        Truth {
            time_s,
            motion: bodies.iter().any(|body| body.speed_m_s > 0.0),
            people: bodies.len(),
            breaths_per_min,
            bodies,
        }
    }

    /// The stretches of motion and of none, from the start to the end, without gaps.
    #[must_use]
    pub fn intervals(&self) -> Vec<Interval> {
        let mut cuts = vec![0.0, self.duration_s];
        for body in &self.bodies {
            if let Body::Walking(walking) = body {
                cuts.push(walking.start_s);
                cuts.extend(walking.stop_s);
            }
        }
        cuts.retain(|cut| (0.0..=self.duration_s).contains(cut));
        cuts.sort_by(f64::total_cmp);
        let mut intervals: Vec<Interval> = Vec::new();
        for (start_s, end_s) in cuts.iter().copied().zip(cuts.iter().copied().skip(1)) {
            if end_s <= start_s {
                continue;
            }
            let motion = self.truth_at(start_s).motion;
            match intervals.last_mut() {
                Some(last) if last.motion == motion => last.end_s = end_s,
                _ => intervals.push(Interval {
                    start_s,
                    end_s,
                    motion,
                }),
            }
        }
        intervals
    }

    /// Places and cross-sections of all that scatters at this second, furniture apart.
    pub(crate) fn moving_at(&self, time_s: f64) -> impl Iterator<Item = (Point, f64)> + '_ {
        self.bodies.iter().filter_map(move |body| match body {
            Body::Walking(walking) => {
                Some((walking.position_at(time_s)?, walking.cross_section_m2))
            }
            Body::Breathing(breathing) => {
                Some((breathing.position_at(time_s), breathing.cross_section_m2))
            }
            Body::Furniture(_) => None,
        })
    }
}
