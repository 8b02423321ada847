//! Thresholds of zones, what they would have made of the past, features and spectra.

use prost::Message as _;
use proto::csi::v1::DataSource;
use proto::signal::v1::{
    GetSpectrogramRequest, GetThresholdsRequest, GetZoneStateRequest, HistoryInHand,
    UpdateThresholdsRequest, UpdateThresholdsResponse, WatchFeaturesRequest, WindowHistory,
    ZoneThresholds,
};
use signal::Input;
use tonic::Code;

use crate::client;
use crate::sandbox::{Sandbox, within};
use crate::source::{self, body, room, still};

/// Four minutes at 100 Hz; somebody walks from 30 s to 40 s and from 150 s to 165 s.
fn inputs() -> Vec<Input> {
    source::inputs(room(240.0, 3, |t, k| {
        if (30.0..40.0).contains(&t) || (150.0..165.0).contains(&t) {
            body(t, k)
        } else {
            still(t, k)
        }
    }))
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// The frames begin at 1,000 s.
fn request(motion_threshold: Option<f64>) -> UpdateThresholdsRequest {
    UpdateThresholdsRequest {
        thresholds: Some(ZoneThresholds {
            zone: "lab".into(),
            motion_threshold,
            ..ZoneThresholds::default()
        }),
        validate_only: true,
        start_time: at(1_000),
        end_time: at(1_240),
        source: DataSource::Replay.into(),
        ..UpdateThresholdsRequest::default()
    }
}

/// Waits until the window that ends at `seconds`, or a later one, is kept among what is in hand.
async fn in_hand_until(sandbox: &Sandbox, seconds: f64) {
    let kept = sandbox.bus().kv("history-in-hand").await.unwrap();
    let mut again = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        again.tick().await;
        let Some((value, _)) = kept.get("lab").await.unwrap() else {
            continue;
        };
        let in_hand = HistoryInHand::decode(value).unwrap();
        let ends = |stretch: &WindowHistory| {
            let hops = stretch.states.len() as i64 - 1;
            stretch.first_end_us + hops * stretch.hop_us
        };
        if in_hand.stretches.iter().map(ends).max() >= Some((seconds * 1e6) as i64) {
            return;
        }
    }
}

/// Seconds of which a question about the past knows, and the motion in them.
async fn known(sandbox: &Sandbox) -> (f64, u32) {
    let answer = client(sandbox).await.update_thresholds(request(None)).await;
    let found = answer.unwrap().into_inner().what_if.unwrap();
    (found.observed_hours * 3600.0, found.recorded_alarms)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_a_few_seconds_of_the_past_at_most() {
    let mut sandbox = Sandbox::start().await;
    let inputs = inputs();
    // 100 s: a minute that is full, and 40 s in hand, with somebody who walks in the first.
    let (before, after) = inputs.split_at(10_000);
    sandbox.publish(before).await;
    within("what is in hand", in_hand_until(&sandbox, 1_099.5)).await;
    assert_eq!(known(&sandbox).await, (98.0, 1));
    sandbox.crash().await;
    assert_eq!(
        known(&sandbox).await,
        (98.0, 1),
        "nothing is lost by a crash"
    );
    sandbox.publish(after).await;
    within("what is in hand", in_hand_until(&sandbox, 1_239.5)).await;
    let (seconds, alarms) = known(&sandbox).await;
    assert!(seconds > 235.0 && alarms == 2, "{seconds} s, {alarms}");
    sandbox.stop().await;
}

/// What the zone makes of links that are each below their threshold is what the past says of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_judged_as_the_zone_and_not_link_by_link() {
    let sandbox = Sandbox::start().await;
    let inputs = source::together(
        (0..5)
            .map(|link| {
                room(80.0, 40 + link, |t, k| {
                    let moves = (20.0..30.0).contains(&t) || (50.0..56.0).contains(&t);
                    if moves {
                        1.0 + FAINT * (body(t, k) - 1.0)
                    } else {
                        still(t, k)
                    }
                })
            })
            .collect(),
    );
    let outputs = source::run(&inputs);
    let highest = source::windows(&outputs);
    let highest = highest.iter().filter_map(|window| window.motion_score);
    let highest = highest.fold(0.0, f32::max);
    let onsets = source::events(&outputs)
        .iter()
        .filter(|event| event.metadata.extra.get("motion") == Some(&"onset".into()))
        .count();
    // No link is in motion by itself at a little more than its highest statistic.
    let threshold = f64::from(highest) + 0.01;
    assert!(onsets >= 2, "{onsets}");
    sandbox.publish(&inputs).await;
    within("what is in hand", in_hand_until(&sandbox, 1_079.5)).await;
    let mut signal = client(&sandbox).await;
    let mut ask = async |threshold| {
        let answer = signal.update_thresholds(request(Some(threshold))).await;
        answer.unwrap().into_inner().what_if.unwrap()
    };
    let together = ask(threshold).await;
    assert_eq!((together.links, together.alarms), (5, 2), "{together:?}");
    // And the live code says the same with that threshold.
    let settings = signal::Settings {
        threshold,
        release: 0.75 * threshold,
        threshold_is_chosen: true,
        ..signal::Settings::default()
    };
    let mut pipeline = signal::Pipeline::new(settings, "signal/test");
    let outputs: Vec<_> = inputs
        .iter()
        .flat_map(|input| pipeline.push(input))
        .collect();
    let events = source::events(&outputs);
    let onsets: Vec<_> = events
        .iter()
        .filter(|event| event.metadata.extra.get("motion") == Some(&"onset".into()))
        .collect();
    assert_eq!(onsets.len(), 2, "{onsets:?}");
    assert!(
        onsets
            .iter()
            .all(|event| event.metadata.extra["by"] == "fusion")
    );
    sandbox.stop().await;
}

/// Share of a body that a link hears.
const FAINT: f64 = 0.2;

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_is_tried_on_the_past_before_it_is_set() {
    let sandbox = Sandbox::start().await;
    let mut signal = client(&sandbox).await;
    let filter = ["history.signal.lab.*".to_owned()];
    let mut history = sandbox.bus().tap(&filter).await.unwrap();
    let inputs = inputs();
    sandbox.publish(&inputs).await;
    let mut minutes = 0;
    while minutes < 4 {
        for message in within("the history", history.next_batch(8)).await {
            let stretch = WindowHistory::decode(message.payload).unwrap();
            assert_eq!(stretch.states.len() * 2, stretch.scores.len());
            minutes += 1;
        }
    }

    let mut ask = async |request: UpdateThresholdsRequest| -> UpdateThresholdsResponse {
        signal
            .update_thresholds(request)
            .await
            .unwrap()
            .into_inner()
    };
    // The last minute is not full: it is in hand, and counts.
    within("the minute in hand", in_hand_until(&sandbox, 1_240.0)).await;
    let as_it_is = ask(request(None)).await.what_if.unwrap();
    let outputs = source::run(&inputs);
    let onsets = source::events(&outputs)
        .iter()
        .filter(|event| event.metadata.extra.get("motion") == Some(&"onset".into()))
        .count();
    assert_eq!((onsets, as_it_is.recorded_alarms as usize), (2, 2));
    assert_eq!(as_it_is.alarms, as_it_is.recorded_alarms);
    assert!((as_it_is.motion_hours - as_it_is.recorded_motion_hours).abs() < 1e-9);
    assert!(
        (as_it_is.observed_hours * 3600.0 - 238.5).abs() < 1.0,
        "{as_it_is:?}"
    );
    assert!(as_it_is.alarms_per_week_at_most.unwrap() > 10_000.0);
    assert_eq!(as_it_is.links, 1);

    let strict = ask(request(Some(1.0))).await;
    assert_eq!(strict.what_if.unwrap().alarms, 0);
    assert_eq!(strict.thresholds.unwrap().motion_threshold, Some(1.0));
    // Nothing was set by that, and nothing by a live past that there is not.
    let live = UpdateThresholdsRequest {
        source: DataSource::Live.into(),
        ..request(None)
    };
    assert_eq!(ask(live).await.what_if.unwrap().observed_hours, 0.0);
    let quiet = UpdateThresholdsRequest {
        false_alarms_per_week: Some(1.0),
        start_time: at(1_050),
        end_time: at(1_140),
        ..request(None)
    };
    let found = ask(quiet).await;
    let threshold = found.thresholds.unwrap().motion_threshold.unwrap();
    // A minute and a half supports no alarm a week: not below the service's own. A rate that it supports leads lower.
    assert_eq!(threshold, signal::Settings::default().threshold);
    assert_eq!(found.what_if.unwrap().alarms, 0);
    let often = UpdateThresholdsRequest {
        false_alarms_per_week: Some(100_000.0),
        start_time: at(1_050),
        end_time: at(1_140),
        ..request(None)
    };
    let threshold = ask(often)
        .await
        .thresholds
        .unwrap()
        .motion_threshold
        .unwrap();
    assert!((0.05..0.2).contains(&threshold), "{threshold}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_holds_and_outlives_the_service() {
    let mut sandbox = Sandbox::start().await;
    let mut signal = client(&sandbox).await;
    let get = GetThresholdsRequest { zone: "lab".into() };
    let none = signal
        .get_thresholds(get.clone())
        .await
        .unwrap()
        .into_inner();
    let none = none.thresholds.unwrap();
    assert_eq!((none.motion_threshold, none.etag.as_str()), (None, ""));
    assert_eq!(
        none.default_motion_threshold,
        signal::Settings::default().threshold
    );

    let set = UpdateThresholdsRequest {
        validate_only: false,
        ..request(Some(0.99))
    };
    let set = signal.update_thresholds(set).await.unwrap().into_inner();
    let etag = set.thresholds.unwrap().etag;
    assert!(!etag.is_empty());
    let faults = [
        (request(Some(1.5)), Code::InvalidArgument),
        (
            UpdateThresholdsRequest {
                false_alarms_per_week: Some(1.0),
                ..request(Some(0.5))
            },
            Code::InvalidArgument,
        ),
        (
            UpdateThresholdsRequest {
                thresholds: Some(ZoneThresholds {
                    zone: "lab".into(),
                    motion_threshold: Some(0.5),
                    etag: "999".into(),
                    ..ZoneThresholds::default()
                }),
                ..UpdateThresholdsRequest::default()
            },
            Code::Aborted,
        ),
        (
            UpdateThresholdsRequest {
                false_alarms_per_week: Some(1.0),
                ..request(None)
            },
            Code::FailedPrecondition,
        ),
    ];
    for (fault, code) in faults {
        let refused = signal.update_thresholds(fault).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
    }

    sandbox.restart().await;
    let mut signal = client(&sandbox).await;
    let inputs = source::inputs(room(20.0, 3, body));
    let windows = source::windows(&source::run(&inputs)).len();
    sandbox.publish(&inputs).await;
    assert_eq!(sandbox.stored_windows(windows).await, windows);
    let state = signal
        .get_zone_state(GetZoneStateRequest { zone: "lab".into() })
        .await;
    let state = state.unwrap().into_inner().state.unwrap();
    assert!(
        (state.evidence[0].threshold - 0.99).abs() < 1e-6,
        "{state:?}"
    );

    let back = UpdateThresholdsRequest {
        validate_only: false,
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["motion_threshold".into()],
        }),
        ..request(None)
    };
    let back = signal.update_thresholds(back).await.unwrap().into_inner();
    assert_eq!(back.thresholds.unwrap().motion_threshold, None);
    sandbox.stop().await;
}

/// Every subcarrier's amplitude swings by 10 % five times a second, each in its own phase.
fn five_hertz(time: f64, subcarrier: usize) -> f64 {
    1.0 + 0.1 * (std::f64::consts::TAU * 5.0 * time + subcarrier as f64).sin()
}

#[tokio::test(flavor = "multi_thread")]
async fn features_come_as_windows_close_and_the_spectrogram_shows_the_tone() {
    let sandbox = Sandbox::start().await;
    let mut signal = client(&sandbox).await;
    let watch = WatchFeaturesRequest {
        zone: "lab".into(),
        device: String::new(),
    };
    let mut features = signal.watch_features(watch).await.unwrap().into_inner();
    let spectrogram = GetSpectrogramRequest {
        zone: "lab".into(),
        device: "node-1".into(),
        seconds: Some(10.0),
        window_seconds: Some(1.0),
    };
    let nothing = signal
        .get_spectrogram(spectrogram.clone())
        .await
        .unwrap_err();
    assert_eq!(nothing.code(), Code::FailedPrecondition);
    assert!(nothing.message().contains("0 frames"), "{nothing:?}");

    let inputs = source::inputs(room(20.0, 3, five_hertz));
    sandbox.publish(&inputs).await;
    let windows = source::windows(&source::run(&inputs));
    for wanted in &windows {
        let found = within("a window", features.message())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&found.window.unwrap().signal_id, &wanted.signal_id);
    }
    let found = signal
        .get_spectrogram(spectrogram)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.link, "esp32-lltf64 64x1 ht");
    assert_eq!((found.frames, found.source()), (1_001, DataSource::Replay));
    assert!((found.frame_rate_hz - 100.0).abs() < 1e-6);
    let bins = found.frequencies_hz.len();
    assert_eq!(found.power.len(), bins * found.times.len());
    assert_eq!(found.path_speeds_m_s.len(), bins);
    // Windows of 1 s over 10 s, one each 50 ms.
    assert!(
        (178..=182).contains(&found.times.len()),
        "{}",
        found.times.len()
    );
    for row in found.power.chunks(bins) {
        let (peak, _) = row
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .unwrap();
        assert!((found.frequencies_hz[peak] - 5.0).abs() < 0.5, "{peak}");
    }
    // 5 Hz at 2.437 GHz is a path that changes by 0.6 m a second.
    let (bin, _) = (0..bins)
        .map(|bin| (bin, (found.frequencies_hz[bin] - 5.0).abs()))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap();
    assert!((found.path_speeds_m_s[bin] - 0.615).abs() < 0.06);

    for (seconds, device, code) in [
        (Some(0.1), "node-1", Code::InvalidArgument),
        (None, "", Code::InvalidArgument),
        (None, "node-9", Code::FailedPrecondition),
    ] {
        let request = GetSpectrogramRequest {
            zone: "lab".into(),
            device: device.into(),
            seconds,
            window_seconds: None,
        };
        let refused = signal.get_spectrogram(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
    }
    sandbox.stop().await;
}
