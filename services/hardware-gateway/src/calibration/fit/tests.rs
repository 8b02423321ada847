use csi::wire::Published;
use events::DataSource;
use proto::gateway::v1::{Calibration, EmptyRoom, LinkCalibration, link_calibration};
use simulator::{Scenario, Simulation};
use uuid::Uuid;

use super::*;

const DAY: i64 = 86_400;

/// What a device hears of a scenario in 2.6 s.
fn gathered(preset: &str) -> Collector {
    let scenario = Scenario {
        duration_s: 2.65,
        ..Scenario::preset(preset).unwrap()
    };
    let published = Published {
        frame_id: Uuid::nil(),
        device: "lamp".into(),
        zone: "hall".into(),
        source: DataSource::Simulated,
        run_id: None,
        announced: false,
        sampled_one_in: 1,
        ingest_time_us: 0,
        last_of_run: false,
    };
    let mut collector = Collector::new(2.6);
    for simulated in Simulation::new(&scenario, 1, 0).unwrap() {
        collector.push(&simulated.frame, &published).unwrap();
    }
    collector
}

/// A calibration of that link.
fn kept(id: &str, of: &Collector) -> (Kind, Calibration) {
    let calibration = Calibration {
        calibration_id: id.into(),
        expire_time: Some(prost_types::Timestamp {
            seconds: DAY,
            nanos: 0,
        }),
        links: vec![LinkCalibration {
            result: Some(link_calibration::Result::EmptyRoom(EmptyRoom {
                motion_threshold: 0.1,
                motion_quantiles: vec![0.01, 0.02, 0.03, 0.04],
                motion_method: METHOD.into(),
                ..EmptyRoom::default()
            })),
            ..describe(&of.links[0])
        }],
        ..Calibration::default()
    };
    (Kind::EmptyRoom, calibration)
}

#[test]
fn one_expires_at_its_time() {
    let (_, kept) = kept("a", &gathered("empty"));
    assert!(!is_expired(&kept, DAY * 1_000_000 - 1));
    assert!(is_expired(&kept, DAY * 1_000_000));
    assert!(!is_expired(&Calibration::default(), i64::MAX));
}

#[test]
fn one_of_another_statistic_has_expired_and_does_not_drift() {
    let (quiet, loud) = (gathered("empty"), gathered("walk"));
    let (kind, mut before) = kept("a", &quiet);
    let Some(link_calibration::Result::EmptyRoom(room)) = &mut before.links[0].result else {
        panic!("an empty room")
    };
    room.motion_method = "power-autocorrelation/1".into();
    assert!(is_expired(&before, 0));
    let in_use = [(kind, before)];
    let seen = Watched::default().look(&in_use, &loud, 1, 0);
    assert_eq!((seen.expired, seen.quietest), (Some("empty_room"), None));
}

#[test]
fn drift_is_said_when_all_windows_are_louder_and_forgotten_with_the_calibration() {
    let (quiet, loud) = (gathered("empty"), gathered("walk"));
    let in_use = [kept("a", &quiet)];
    let mut watched = Watched::default();
    let mut look = |gathered: &Collector| watched.look(&in_use, gathered, 3, 0).quietest;
    assert_eq!(look(&quiet), None);
    assert_eq!(look(&loud), None);
    let (now, most) = look(&loud).unwrap();
    assert_eq!(most, 0.05);
    assert!(now < most, "the quiet window still counts: {now}");
    let (now, _) = look(&loud).unwrap();
    assert!(now > 2.0 * most, "{now}");
    assert!(look(&quiet).unwrap().0 < most);
    let other = [kept("b", &quiet)];
    assert_eq!(watched.look(&other, &loud, 3, 0).quietest, None);
}

#[test]
fn frames_of_another_link_do_not_fit() {
    let quiet = gathered("empty");
    let mut watched = Watched::default();
    let seen = watched.look(&[kept("a", &quiet)], &quiet, 1, 0);
    assert_eq!(seen.fit, Some(("empty_room", 1.0)));
    let (kind, mut other) = kept("a", &quiet);
    other.links[0].antennas = 2;
    let seen = watched.look(&[(kind, other.clone())], &quiet, 1, 0);
    assert_eq!(seen.fit, Some(("empty_room", 0.0)));
    // Of noise it does not matter, and without frames nothing is known anew.
    let noise = [(Kind::NoiseFloor, other.clone())];
    assert_eq!(watched.look(&noise, &quiet, 1, 0).fit, None);
    let nothing = Collector::new(2.6);
    let seen = watched.look(&[(kind, other)], &nothing, 1, DAY * 1_000_000);
    assert_eq!((seen.fit, seen.expired), (None, Some("empty_room")));
}
