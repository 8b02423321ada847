//! The scenarios that ship.

use crate::body::{Body, Breathing, Furniture, Walking};
use crate::geometry::Room;
use crate::scenario::{Scenario, ScenarioError};

/// Names of the presets, each with what happens in it.
pub const PRESETS: &[(&str, &str)] = &[
    ("empty", "furniture, nobody, 60 s"),
    (
        "quiet-then-walk",
        "nobody for 30 s, then one person walks for 30 s",
    ),
    ("walk", "one person walks round the room, 60 s"),
    (
        "breathing",
        "one person sits and breathes, 15 breaths a minute, 120 s",
    ),
    ("load", "fifty receivers in a hall, two people walk, 30 s"),
];

impl Scenario {
    /// A scenario by name.
    ///
    /// # Errors
    /// [`ScenarioError::Unknown`], which lists the names.
    pub fn preset(name: &str) -> Result<Self, ScenarioError> {
        let furnished = Self {
            name: name.into(),
            bodies: furniture(),
            ..Self::default()
        };
        match name {
            "empty" => Ok(furnished),
            "quiet-then-walk" => Ok(furnished.plus(Body::Walking(Walking {
                start_s: 30.0,
                ..Walking::default()
            }))),
            "walk" => Ok(furnished.plus(Body::Walking(Walking::default()))),
            "breathing" => Ok(Self {
                duration_s: 120.0,
                ..furnished
            }
            .plus(Body::Breathing(Breathing {
                variation: 0.05,
                ..Breathing::default()
            }))),
            "load" => hall(name),
            _ => Err(ScenarioError::Unknown {
                name: name.into(),
                known: PRESETS.iter().map(|(name, _)| *name).collect(),
            }),
        }
    }

    fn plus(mut self, body: Body) -> Self {
        self.bodies.push(body);
        self
    }
}

/// A shelf, a table and a radiator.
fn furniture() -> Vec<Body> {
    [
        ([0.4, 4.0, 1.2], 1.5),
        ([3.2, 2.2, 0.7], 0.4),
        ([5.7, 0.5, 0.5], 0.8),
    ]
    .map(|(position_m, cross_section_m2)| {
        Body::Furniture(Furniture {
            position_m,
            cross_section_m2,
        })
    })
    .into()
}

fn hall(name: &str) -> Result<Scenario, ScenarioError> {
    let round = |corners: [[f64; 2]; 4], speed_m_s: f64| {
        Body::Walking(Walking {
            path_m: corners.map(|[x, y]| [x, y, 1.1]).into(),
            speed_m_s,
            ..Walking::default()
        })
    };
    let scenario = Scenario {
        name: name.into(),
        duration_s: 30.0,
        room: Room {
            size_m: [20.0, 12.0, 4.0],
            ..Room::default()
        },
        bodies: vec![
            round([[2.0, 2.0], [18.0, 2.0], [18.0, 10.0], [2.0, 10.0]], 1.2),
            round([[6.0, 4.0], [6.0, 8.0], [14.0, 8.0], [14.0, 4.0]], 0.8),
        ],
        ..Scenario::default()
    };
    scenario.with_receivers(50, 1)
}
