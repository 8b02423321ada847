//! The state machine, second by second.

use super::*;

/// A calibrated link that shows an empty room.
const CALM: Voice = Voice {
    state: LinkState::Still,
    reason: "",
    breath: None,
    quiet: true,
    young: false,
    distance: Some(0.2),
    disturbed: false,
    no_distance: "",
    needed: true,
};
const MOVING: Voice = Voice {
    state: LinkState::Motion,
    quiet: false,
    ..CALM
};
/// Nobody calibrated.
const PLAIN: Voice = Voice {
    distance: None,
    no_distance: "not_calibrated",
    ..CALM
};

struct Room {
    presence: Presence,
    rules: Rules,
    second: i64,
}

impl Room {
    fn new() -> Self {
        Self {
            presence: Presence::new(0),
            rules: Rules::default(),
            second: 0,
        }
    }

    /// The same for so many seconds; gives the states in it, each once, with its reason.
    fn lasts(&mut self, seconds: i64, links: &[Voice]) -> Vec<(State, String)> {
        let mut states: Vec<(State, String)> = Vec::new();
        for _ in 0..seconds {
            self.second += 1;
            let time_us = self.second * 1_000_000;
            let moves = links.iter().any(|link| link.state == LinkState::Motion);
            let motion = moves.then_some(0.7);
            let before = self.presence.state;
            let changed = self
                .presence
                .step(&self.rules, time_us, motion, links.iter().copied());
            assert_eq!(changed, before != self.presence.state);
            assert_eq!(
                self.presence.state == State::Present,
                self.presence.confidence > 0.0
            );
            // Kept and taken up at any moment it goes on alike.
            let text = serde_json::to_string(&self.presence).unwrap();
            self.presence = serde_json::from_str(&text).unwrap();
            let now = (self.presence.state, self.presence.reason.clone());
            if states.last() != Some(&now) {
                states.push(now);
            }
        }
        states
    }

    fn state(&self) -> (State, &str) {
        (self.presence.state, &self.presence.reason)
    }
}

fn known(states: &[(State, &str)]) -> Vec<(State, String)> {
    states
        .iter()
        .map(|(state, reason)| (*state, (*reason).to_owned()))
        .collect()
}

#[test]
fn motion_shows_at_once_and_is_held_and_then_nothing_is_said_without_calibration() {
    let mut room = Room::new();
    assert_eq!(
        room.lasts(5, &[PLAIN]),
        known(&[(State::Unknown, "not_calibrated")])
    );
    room.lasts(
        1,
        &[Voice {
            needed: true,
            ..MOVING
        }],
    );
    assert_eq!(room.state(), (State::Present, "motion"));
    assert_eq!(
        room.lasts(44, &[PLAIN]),
        known(&[(State::Present, "motion")])
    );
    assert_eq!(
        room.lasts(9999, &[PLAIN]),
        known(&[(State::Unknown, "not_calibrated")])
    );
    assert_eq!(room.presence.since_us, 51_000_000);
}

#[test]
fn a_calibrated_room_is_empty_after_a_while_and_stays_so() {
    let mut room = Room::new();
    assert_eq!(
        room.lasts(60, &[CALM]),
        known(&[(State::Unknown, "settling")])
    );
    let later = [
        CALM,
        Voice {
            distance: Some(2.0),
            ..CALM
        },
        Voice {
            quiet: false,
            young: true,
            ..CALM
        },
    ];
    for link in later {
        assert_eq!(room.lasts(50, &[link]), known(&[(State::Empty, "")]));
    }
    room.lasts(1, &[MOVING]);
    assert_eq!(room.state(), (State::Present, "motion"));
    // Hold, then a minute since the motion, then empty.
    let after = room.lasts(100, &[CALM]);
    assert_eq!(
        after,
        known(&[
            (State::Present, "motion"),
            (State::Unknown, "settling"),
            (State::Empty, "")
        ])
    );
}

#[test]
fn one_who_sits_still_is_never_nobody() {
    let mut room = Room::new();
    room.lasts(3, &[MOVING]);
    // Nearly as far as to be sure: not empty, however long it lasts.
    let near = room.lasts(
        5000,
        &[Voice {
            distance: Some(1.0),
            ..CALM
        }],
    );
    assert_eq!(
        near.last(),
        known(&[(State::Unknown, "baseline_unclear")]).last()
    );
    let far = Voice {
        distance: Some(4.0),
        ..CALM
    };
    assert_eq!(
        room.lasts(5000, &[CALM, far]),
        known(&[
            (State::Unknown, "baseline_unclear"),
            (State::Present, "baseline")
        ])
    );
    assert_eq!(
        room.lasts(
            50,
            &[Voice {
                distance: Some(2.5),
                ..CALM
            }]
        ),
        known(&[(State::Present, "baseline")])
    );
    // Somebody who moves away and cannot be seen by the distance, but breathes.
    let breathing = Voice {
        breath: Some(0.6),
        quiet: false,
        ..CALM
    };
    assert_eq!(
        room.lasts(600, &[breathing, CALM]),
        known(&[(State::Present, "breathing")])
    );
    assert!((room.presence.confidence - 0.6).abs() < 1e-6);
    // Something periodic, but no breath for certain: not empty either.
    let restless = Voice {
        quiet: false,
        ..CALM
    };
    assert_eq!(
        room.lasts(600, &[restless]),
        known(&[
            (State::Present, "breathing"),
            (State::Unknown, "breathing_not_looked_for")
        ])
    );
}

#[test]
fn a_far_moment_is_no_presence() {
    let mut room = Room::new();
    room.lasts(70, &[CALM]);
    let foreign = Voice {
        distance: Some(9.0),
        disturbed: true,
        ..CALM
    };
    let states = room.lasts(60, &[foreign]);
    assert_eq!(states, known(&[(State::Unknown, "baseline_unclear")]));
    for _ in 0..20 {
        let states = room.lasts(
            9,
            &[Voice {
                distance: Some(9.0),
                ..CALM
            }],
        );
        assert!(
            states.iter().all(|(state, _)| *state != State::Present),
            "{states:?}"
        );
        room.lasts(1, &[CALM]);
    }
}

#[test]
fn a_link_that_cannot_say_makes_it_unknown_with_its_reason() {
    let gap = Voice {
        state: LinkState::Unknown,
        reason: "gap",
        distance: Some(9.0),
        ..CALM
    };
    let mut room = Room::new();
    room.lasts(100, &[CALM, CALM]);
    assert_eq!(
        room.lasts(100, &[CALM, gap]),
        known(&[(State::Unknown, "gap")])
    );
    assert_eq!(
        room.lasts(61, &[CALM, CALM]),
        known(&[(State::Unknown, "settling"), (State::Empty, "")])
    );
    // Another channel: what was learnt does not apply.
    let moved = Voice {
        distance: None,
        no_distance: "channel_changed",
        ..CALM
    };
    assert_eq!(
        room.lasts(100, &[CALM, moved]),
        known(&[(State::Unknown, "channel_changed")])
    );
    // A link that nobody asked for must be still, and need not be near.
    let other = Voice {
        needed: false,
        quiet: false,
        ..PLAIN
    };
    room.lasts(61, &[CALM, other]);
    assert_eq!(room.state(), (State::Empty, ""));
    assert!(room.presence.silence("no_input"));
    assert_eq!(room.state(), (State::Unknown, "no_input"));
}

#[test]
fn another_input_begins_anew() {
    let mut room = Room::new();
    room.lasts(100, &[CALM]);
    room.second = 5;
    assert_eq!(
        room.lasts(60, &[CALM]),
        known(&[(State::Unknown, "settling")])
    );
}

#[test]
fn a_fault_is_named() {
    let faulty = |rules: Rules| rules.validate().unwrap_err();
    assert_eq!(Rules::default().validate(), Ok(()));
    assert!(
        faulty(Rules {
            near: 4.0,
            ..Rules::default()
        })
        .contains("presence.near")
    );
    assert!(
        faulty(Rules {
            hold_s: f64::NAN,
            ..Rules::default()
        })
        .contains("presence.hold_s")
    );
}
