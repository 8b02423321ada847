//! What stands, walks and breathes in the room.

use serde::{Deserialize, Serialize};

use crate::geometry::{Point, distance};

/// Something that scatters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A person who walks.
    Walking(Walking),
    /// A person who sits or lies and breathes.
    Breathing(Breathing),
    /// A thing that never moves.
    Furniture(Furniture),
}

/// A person who walks along a path at constant speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Walking {
    /// Corners of the path in metres, at least two. The height is that of the chest.
    pub path_m: Vec<[f64; 3]>,
    /// From the last corner straight to the first and round again; otherwise back the way it came.
    pub closed: bool,
    /// Speed in m/s.
    pub speed_m_s: f64,
    /// Radar cross-section of the torso in square metres; 0.5 to 1 at 2.4 GHz.
    pub cross_section_m2: f64,
    /// Starts to walk at this second.
    pub start_s: f64,
    /// Stops at this second; absent: never.
    pub stop_s: Option<f64>,
    /// Before the start and after the stop the person is out of the room; otherwise stands still.
    pub absent_otherwise: bool,
}

impl Default for Walking {
    fn default() -> Self {
        Self {
            path_m: vec![
                [1.0, 1.0, 1.1],
                [5.0, 1.0, 1.1],
                [5.0, 3.5, 1.1],
                [1.0, 3.5, 1.1],
            ],
            closed: true,
            speed_m_s: 1.0,
            cross_section_m2: 0.6,
            start_s: 0.0,
            stop_s: None,
            absent_otherwise: true,
        }
    }
}

/// A person whose chest moves and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breathing {
    /// Place of the chest in metres, lungs empty.
    pub position_m: [f64; 3],
    /// Direction in which the chest rises; the length does not matter.
    pub direction: [f64; 3],
    /// How far the chest rises, trough to crest, in millimetres; 4 to 12 for an adult at rest.
    pub displacement_mm: f64,
    /// Breaths per minute.
    pub rate_per_min: f64,
    /// The rate swings by this fraction around `rate_per_min`, once in 40 s; 0 for a metronome.
    pub variation: f64,
    /// Radar cross-section of the chest in square metres.
    pub cross_section_m2: f64,
}

impl Default for Breathing {
    fn default() -> Self {
        Self {
            position_m: [3.0, 3.2, 1.0],
            direction: [0.0, -1.0, 0.0],
            displacement_mm: 8.0,
            rate_per_min: 15.0,
            variation: 0.0,
            cross_section_m2: 0.5,
        }
    }
}

/// A thing that scatters and never moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Furniture {
    /// Place in metres.
    pub position_m: [f64; 3],
    /// Radar cross-section in square metres.
    pub cross_section_m2: f64,
}

/// Period of the swing of a breathing rate.
const VARIATION_PERIOD_S: f64 = 40.0;

impl Walking {
    /// Whether the person walks at this second.
    pub(crate) fn walks_at(&self, time_s: f64) -> bool {
        self.speed_m_s > 0.0
            && time_s >= self.start_s
            && self.stop_s.is_none_or(|stop| time_s < stop)
    }

    /// Place at this second; `None` when the person is not in the room.
    pub(crate) fn position_at(&self, time_s: f64) -> Option<Point> {
        if self.absent_otherwise && !self.walks_at(time_s) {
            return None;
        }
        let until = self.stop_s.map_or(time_s, |stop| time_s.min(stop));
        self.along((until - self.start_s).max(0.0) * self.speed_m_s)
    }

    /// The point after so many metres of the path.
    fn along(&self, metres: f64) -> Option<Point> {
        let first = *self.path_m.first()?;
        let legs = || {
            let back = self.closed.then_some(first);
            let ends = self.path_m.iter().skip(1).copied().chain(back);
            self.path_m.iter().copied().zip(ends)
        };
        let length: f64 = legs().map(|(from, to)| distance(from, to)).sum();
        if length <= 0.0 {
            return Some(first);
        }
        let mut left = if self.closed {
            metres % length
        } else {
            let there_and_back = metres % (2.0 * length);
            length - (length - there_and_back).abs()
        };
        let mut end = first;
        for (from, to) in legs() {
            let leg = distance(from, to);
            if left <= leg && leg > 0.0 {
                return Some(between(from, to, left / leg));
            }
            left -= leg;
            end = to;
        }
        Some(end)
    }
}

impl Breathing {
    /// Breaths per minute at this second.
    pub(crate) fn rate_at(&self, time_s: f64) -> f64 {
        let swing = std::f64::consts::TAU * time_s / VARIATION_PERIOD_S;
        self.rate_per_min * (1.0 + self.variation * swing.sin())
    }

    /// Place of the chest at this second.
    pub(crate) fn position_at(&self, time_s: f64) -> Point {
        // The integral of `rate_at`, in turns.
        let omega = std::f64::consts::TAU / VARIATION_PERIOD_S;
        let swing = self.variation * (1.0 - (omega * time_s).cos()) / omega;
        let turns = self.rate_per_min / 60.0 * (time_s + swing);
        let risen_m =
            self.displacement_mm / 1000.0 * (1.0 - (std::f64::consts::TAU * turns).cos()) / 2.0;
        let length = self.direction.iter().map(|d| d * d).sum::<f64>().sqrt();
        let [x, y, z] = self.position_m;
        let [dx, dy, dz] = self.direction.map(|d| {
            if length > 0.0 {
                d / length * risen_m
            } else {
                0.0
            }
        });
        [x + dx, y + dy, z + dz]
    }
}

fn between(from: Point, to: Point, share: f64) -> Point {
    let [x, y, z] = from;
    let [u, v, w] = to;
    [
        x + (u - x) * share,
        y + (v - y) * share,
        z + (w - z) * share,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: Option<Point>, b: Point) {
        let a = a.expect("in the room");
        assert!(
            a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9),
            "{a:?} is not {b:?}"
        );
    }

    #[test]
    fn a_closed_path_goes_round() {
        let walk = Walking {
            speed_m_s: 1.0,
            ..Walking::default()
        };
        near(walk.position_at(0.0), [1.0, 1.0, 1.1]);
        near(walk.position_at(4.0), [5.0, 1.0, 1.1]);
        near(walk.position_at(12.0), [1.0, 2.0, 1.1]);
        near(walk.position_at(13.0), [1.0, 1.0, 1.1]);
        near(walk.position_at(15.0), [3.0, 1.0, 1.1]);
    }

    #[test]
    fn an_open_path_comes_back_the_way_it_went() {
        let walk = Walking {
            path_m: vec![[1.0, 1.0, 1.0], [3.0, 1.0, 1.0]],
            closed: false,
            ..Walking::default()
        };
        near(walk.position_at(1.5), [2.5, 1.0, 1.0]);
        near(walk.position_at(3.0), [2.0, 1.0, 1.0]);
        near(walk.position_at(5.0), [2.0, 1.0, 1.0]);
    }

    #[test]
    fn outside_its_time_a_walker_is_absent_or_stands() {
        let mut walk = Walking {
            start_s: 2.0,
            stop_s: Some(5.0),
            ..Walking::default()
        };
        assert_eq!(walk.position_at(1.0), None);
        assert_eq!(walk.position_at(5.0), None);
        near(walk.position_at(3.0), [2.0, 1.0, 1.1]);
        walk.absent_otherwise = false;
        near(walk.position_at(1.0), [1.0, 1.0, 1.1]);
        near(walk.position_at(9.0), [4.0, 1.0, 1.1]);
        assert!(!walk.walks_at(1.0) && walk.walks_at(2.0) && !walk.walks_at(5.0));
    }

    #[test]
    fn a_chest_rises_and_falls_once_a_breath() {
        let chest = Breathing::default();
        near(Some(chest.position_at(0.0)), [3.0, 3.2, 1.0]);
        near(Some(chest.position_at(2.0)), [3.0, 3.192, 1.0]);
        near(Some(chest.position_at(4.0)), [3.0, 3.2, 1.0]);
    }
}
