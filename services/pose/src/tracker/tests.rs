use super::*;

const SECOND: i64 = 1_000_000;

fn settings() -> Settings {
    Settings {
        debounce_us: 2 * SECOND,
        unknown_after_us: 5 * SECOND,
        link_stale_us: 3 * SECOND,
    }
}

fn classes() -> Arc<[Arc<str>]> {
    [Arc::from("inactive"), Arc::from("moving")].into()
}

fn id(sequence: u64) -> Uuid {
    Uuid::from_u128(u128::from(sequence) + 1)
}

/// A window every half second; the letter says what the model thinks: `m`oving, `i`nactive, `u`nknown.
fn windows(text: &str) -> Vec<(u64, i64, Option<[f32; 2]>)> {
    let belief = |letter| match letter {
        'm' => Some([0.1, 0.9]),
        'i' => Some([0.8, 0.2]),
        _ => None,
    };
    text.chars()
        .enumerate()
        .map(|(n, letter)| (n as u64, n as i64 * SECOND / 2, belief(letter)))
        .collect()
}

fn feed(tracker: &mut Tracker, window: &(u64, i64, Option<[f32; 2]>)) -> Option<Change> {
    let (sequence, end_us, belief) = window;
    tracker.observe(&Observation {
        id: id(*sequence),
        sequence: *sequence,
        device: "a",
        end_us: *end_us,
        quality: 1.0,
        belief: belief.as_ref().map(<[f32; 2]>::as_slice),
    })
}

fn changes(text: &str) -> Vec<(i64, String, f32, i64)> {
    let mut tracker = Tracker::new(settings(), classes(), None);
    let windows = windows(text);
    let changes = windows
        .iter()
        .filter_map(|window| feed(&mut tracker, window));
    changes
        .map(|c| {
            (
                c.at_us,
                format!("{}>{}", c.previous, c.activity),
                c.confidence,
                c.previous_us,
            )
        })
        .collect()
}

fn check(text: &str, expected: &[(i64, &str, f32, i64)]) {
    let found = changes(text);
    let expected: Vec<_> = expected
        .iter()
        .map(|(at, what, p, d)| (at * SECOND / 2, (*what).to_owned(), *p, d * SECOND / 2))
        .collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn a_change_counts_when_it_lasted() {
    check("iiii", &[]);
    check("iiiii", &[(4, "unknown>inactive", 0.8, 4)]);
    check("iiiiimmmm", &[(4, "unknown>inactive", 0.8, 4)]);
    check(
        "iiiiimmmmm",
        &[
            (4, "unknown>inactive", 0.8, 4),
            (9, "inactive>moving", 0.9, 5),
        ],
    );
}

#[test]
fn what_flickers_does_not_count() {
    check("iiiiimmmimmmimmmim", &[(4, "unknown>inactive", 0.8, 4)]);
}

#[test]
fn nothing_usable_becomes_unknown_after_its_time() {
    check("iiiiiuuuuuuuuuu", &[(4, "unknown>inactive", 0.8, 4)]);
    check(
        "iiiiiuuuuuuuuuuu",
        &[
            (4, "unknown>inactive", 0.8, 4),
            (15, "inactive>unknown", 0.0, 11),
        ],
    );
    check("iiiiiuuuuuuiiiuuuuuuu", &[(4, "unknown>inactive", 0.8, 4)]);
}

#[test]
fn links_are_averaged_by_quality() {
    let belief = |quality_a: f32, quality_b: f32| {
        let mut tracker = Tracker::new(settings(), classes(), None);
        let mut last = None;
        for n in 0..6_i64 {
            for (sequence, device, quality, belief) in [
                (2 * n, "a", quality_a, [0.1, 0.9]),
                (2 * n + 1, "b", quality_b, [0.7, 0.3]),
            ] {
                let observation = Observation {
                    id: id(sequence as u64),
                    sequence: sequence as u64,
                    device,
                    end_us: n * SECOND,
                    quality,
                    belief: Some(&belief),
                };
                last = tracker.observe(&observation).or(last);
            }
        }
        let change = last.unwrap();
        (change.activity, (change.confidence * 100.0).round())
    };
    assert_eq!(belief(1.0, 1.0), ("moving".to_owned(), 60.0));
    assert_eq!(belief(0.2, 0.8), ("inactive".to_owned(), 58.0));
    assert_eq!(belief(f32::NAN, 1.0).0, "inactive");
}

#[test]
fn a_link_that_fell_silent_no_longer_counts() {
    let mut tracker = Tracker::new(settings(), classes(), None);
    let observe = |tracker: &mut Tracker, n: i64, device, belief: [f32; 2]| {
        tracker.observe(&Observation {
            id: id(n as u64),
            sequence: n as u64,
            device,
            end_us: n * SECOND,
            quality: 1.0,
            belief: Some(&belief),
        })
    };
    observe(&mut tracker, 0, "gone", [0.0, 1.0]);
    let change = (1..=6).find_map(|n| {
        observe(&mut tracker, n, "here", [0.6, 0.4]).map(|change| (n, change.activity))
    });
    // Until 3 s the two average to moving; the candidate of 1 s counts at 2 s.
    assert_eq!(change, Some((2, "moving".to_owned())));
    let change = (7..=12).find_map(|n| {
        observe(&mut tracker, n, "here", [0.6, 0.4]).map(|change| (n, change.activity))
    });
    assert_eq!(change, Some((9, "inactive".to_owned())));
}

#[test]
fn a_late_window_does_not_turn_time_back() {
    let mut tracker = Tracker::new(settings(), classes(), None);
    for window in windows("iiiii") {
        feed(&mut tracker, &window);
    }
    assert_eq!(tracker.now_us(), Some(2 * SECOND));
    assert_eq!(feed(&mut tracker, &(9, SECOND, Some([0.0, 1.0]))), None);
    assert_eq!(tracker.now_us(), Some(2 * SECOND));
    assert_eq!(tracker.activity(), "inactive");
}

#[test]
fn a_clock_that_was_set_back_is_followed() {
    let mut tracker = Tracker::new(settings(), classes(), None);
    let day = 86_400 * SECOND;
    for (sequence, end, belief) in windows("iiiii") {
        feed(&mut tracker, &(sequence, end + day, belief));
    }
    let changes: Vec<Change> = windows("mmmmm")
        .iter()
        .filter_map(|window| feed(&mut tracker, window))
        .collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].activity.as_str(), changes[0].at_us),
        ("moving", 2 * SECOND)
    );
}

/// After a crash at any window, reading again from where the tracker said gives the same changes, none of them twice.
#[test]
fn a_restart_anywhere_changes_nothing() {
    for text in [
        "iiiiimmmmmmuiimmiiiiiiiuuuuuuuuuuuuummmmmm",
        "uuuuuuuuuuuuuuuuuummmmmmmmmuuuuiiiiimmmmmi",
    ] {
        let windows = windows(text);
        let mut whole = Tracker::new(settings(), classes(), None);
        let expected: Vec<(u64, Change)> = windows
            .iter()
            .filter_map(|window| feed(&mut whole, window).map(|change| (window.0, change)))
            .collect();
        assert!(expected.len() >= 3, "{expected:?}");
        for crash in 1..windows.len() {
            let mut before = Tracker::new(settings(), classes(), None);
            let mut stored: Vec<(u64, Change)> = Vec::new();
            // The checkpoint may be any that was written so far: they lag behind what is stored.
            let mut checkpoints = vec![0];
            for window in &windows[..crash] {
                stored.extend(feed(&mut before, window).map(|change| (window.0, change)));
                checkpoints.push(before.needed_from().unwrap());
            }
            checkpoints.dedup();
            for from in checkpoints.into_iter().rev().take(6) {
                let concluded = stored.last().map(|(cause, change)| Concluded {
                    activity: change.activity.clone(),
                    since_us: change.at_us,
                    cause: Some(id(*cause)),
                });
                let mut after = Tracker::new(settings(), classes(), concluded);
                let again = windows[from as usize..].iter();
                let mut all = stored.clone();
                all.extend(again.filter_map(|window| {
                    feed(&mut after, window).map(|change| (window.0, change))
                }));
                assert_eq!(
                    all, expected,
                    "{text}: crash after {crash}, read again from {from}"
                );
            }
        }
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut tracker = Tracker::new(settings(), classes(), None);
    for n in 0..20_000_u64 {
        feed(&mut tracker, &(n, n as i64 * SECOND, None));
    }
    assert!(tracker.recent.len() <= MAX_RECENT);
    assert_eq!(tracker.links.len(), 1);
}
