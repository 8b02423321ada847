use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Kind, Misfit, Stage, Type, check};

fn read(list: Value) -> Result<Vec<Stage>, Misfit> {
    let list = list.as_array().cloned().unwrap();
    let one = |(place, value): (usize, Value)| {
        let mut fields = value.as_object().cloned().unwrap();
        let text = |value: Option<Value>| {
            value
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_default()
        };
        let (name, kind) = (text(fields.remove("name")), text(fields.remove("type")));
        Stage::read(place, &name, &kind, fields)
    };
    list.into_iter().enumerate().map(one).collect()
}

fn judged(list: Value) -> Result<Kind, String> {
    read(list)
        .and_then(|stages| check(&stages))
        .map_err(|misfit| misfit.to_string())
}

fn refused(list: Value, expected: &str) {
    assert_eq!(judged(list), Err(expected.to_owned()));
}

#[test]
fn what_fits() {
    assert_eq!(judged(json!([{"type": "gain"}])), Ok(Kind::Power));
    let clock = json!([{"type": "validate"}, {"type": "gain"}, {"type": "hampel", "half": 2.0}, {"type": "clock", "rate_hz": 50}]);
    assert_eq!(judged(clock), Ok(Kind::Regular));
    let spectra = json!([{"type": "gain"}, {"type": "pca"}, {"type": "clock"}, {"type": "band_pass"}, {"type": "doppler"}]);
    assert_eq!(judged(spectra), Ok(Kind::Spectra));
    let phases = json!([{"type": "validate"}, {"type": "phase", "line": "shared_slope"}]);
    assert_eq!(judged(phases), Ok(Kind::Phases));
    let product = json!([{"type": "conjugate_product", "second": 2}, {"type": "clock"}, {"type": "band_pass"}, {"type": "pca"}]);
    assert_eq!(judged(product), Ok(Kind::RegularComponents));
    let selected =
        json!([{"type": "gain"}, {"type": "window"}, {"type": "select"}, {"type": "speed"}]);
    assert_eq!(judged(selected), Ok(Kind::Selected));
    let changes = json!([{"type": "gain"}, {"type": "window"}, {"type": "motion"}, {"type": "change_points", "of": "statistic"}]);
    assert_eq!(judged(changes), Ok(Kind::Motion));
    let all = json!([{"type": "validate"}, {"type": "gain"}, {"type": "window"}, {"type": "motion"}, {"type": "decision"}, {"type": "activity"}]);
    assert_eq!(judged(all), Ok(Kind::Decisions));
}

#[test]
fn the_stage_and_what_does_not_fit_are_named() {
    refused(json!([]), "a pipeline has 1 to 32 stages; this one has 0");
    refused(
        json!([{"type": "motion"}]),
        "stage 1 \"motion\" takes windows, and the recording gives frames",
    );
    refused(
        json!([{"type": "gain"}, {"type": "clock"}, {"type": "window", "name": "cut"}]),
        "stage 3 \"cut\" takes power, and \"clock\" before it gives regular",
    );
    refused(
        json!([{"type": "gain"}, {"type": "activity"}]),
        "stage 2 \"activity\" takes windows or motion or decisions, and \"gain\" before it gives power",
    );
    refused(
        json!([{"type": "gain"}, {"type": "gain"}]),
        "stages 1 and 2 are both called \"gain\"",
    );
    refused(
        json!([{"type": "validate"}]),
        "stage 1 \"validate\" is the last one and gives frames: nothing was measured yet; let `gain` follow",
    );
    refused(
        json!([{"type": "gian"}]),
        "stage 1 \"gian\": there is no type \"gian\"; there are validate, gain, hampel, clock, low_pass, high_pass, band_pass, pca, doppler, phase, csi_ratio, conjugate_product, window, select, motion, decision, speed, change_points, breathing, activity",
    );
    refused(
        json!([{"type": "gain"}, {"type": "hampel", "half": 0}]),
        "stage 2 \"hampel\": half = 0: must be from 1 to 64",
    );
    refused(
        json!([{"type": "gain"}, {"type": "window", "window_s": 1.7}]),
        "stage 2 \"window\": window_s = 1.7: must be 1 to 64 times hop_s = 0.5",
    );
    refused(
        json!([{"type": "gain"}, {"type": "clock", "rate_hz": 1}, {"type": "band_pass"}]),
        "stage 3 \"band_pass\": Pass(0.1, 0.6) in Hz is not possible at 1 samples a second",
    );
    let clocked = |last: Value| json!([{"type": "gain"}, {"type": "clock", "rate_hz": 20}, last]);
    refused(
        clocked(json!({"type": "low_pass"})),
        "stage 3 \"low_pass\": Low(10.0) in Hz is not possible at 20 samples a second",
    );
    refused(
        clocked(json!({"type": "high_pass", "order": 13})),
        "stage 3 \"high_pass\": order 13; 1 to 12 are possible",
    );
    refused(
        clocked(json!({"type": "doppler", "window_s": 0.2})),
        "stage 3 \"doppler\": window_s = 0.2: 4 samples in a window of 0.2 s at 20 Hz; 8 to 1024 are possible",
    );
    refused(
        clocked(json!({"type": "doppler", "hop_s": 0.02})),
        "stage 3 \"doppler\": hop_s = 0.02: shorter than a tick at 20 Hz",
    );
    refused(
        clocked(json!({"type": "pca", "components": 65})),
        "stage 3 \"pca\": components = 65: must be from 1 to 64",
    );
    refused(
        json!([{"type": "gain"}, {"type": "pca"}, {"type": "doppler"}]),
        "stage 3 \"doppler\" takes regular or regular components or regular products, and \"pca\" before it gives components",
    );
    refused(
        json!([{"type": "gain"}, {"type": "pca"}, {"type": "window"}]),
        "stage 3 \"window\" takes power, and \"pca\" before it gives components",
    );
    refused(
        json!([{"type": "csi_ratio", "second": 0}]),
        "stage 1 \"csi_ratio\": first = second = 0: two receive chains are needed",
    );
    refused(
        json!([{"type": "conjugate_product", "first": 16}]),
        "stage 1 \"conjugate_product\": first = 16: must be from 0 to 15",
    );
    refused(
        json!([{"type": "csi_ratio"}, {"type": "clock"}]),
        "stage 2 \"clock\" takes power or components or products, and \"csi_ratio\" before it gives ratios",
    );
    refused(
        json!([{"type": "gain"}, {"type": "window"}, {"type": "select"}, {"type": "motion"}]),
        "stage 4 \"motion\" takes windows, and \"select\" before it gives selected windows",
    );
    refused(
        json!([{"type": "gain"}, {"type": "window"}, {"type": "select", "count": 0}]),
        "stage 3 \"select\": count = 0: must be from 1 to 1024",
    );
    refused(
        json!([{"type": "gain"}, {"type": "window"}, {"type": "speed", "carrier_mhz": 5}]),
        "stage 3 \"speed\": carrier_mhz = 5: must be from 100 to 100000",
    );
    refused(
        json!([{"type": "gain"}, {"type": "window"}, {"type": "change_points", "of": "statistic"}]),
        "stage 3 \"change_points\": of = \"statistic\": it is not measured yet; let `motion` stand before",
    );
    let line = judged(json!([{"type": "phase", "line": "bent"}])).unwrap_err();
    assert!(
        line.starts_with("stage 1 \"phase\": unknown variant `bent`"),
        "{line}"
    );
    let unknown = judged(json!([{"type": "gain"}, {"type": "clock", "rate": 3}])).unwrap_err();
    assert!(
        unknown.starts_with("stage 2 \"clock\": unknown field `rate`"),
        "{unknown}"
    );
    let wrong = judged(json!([{"type": "gain"}, {"type": "clock", "rate_hz": "x"}])).unwrap_err();
    assert!(
        wrong.contains("stage 2 \"clock\"") && wrong.contains("invalid type"),
        "{wrong}"
    );
}

#[test]
fn every_type_reads_its_own_parameters_and_gives_what_it_says() {
    for does in Type::all() {
        let stage = Stage::read(0, "", does.name(), does.parameters()).unwrap();
        assert_eq!((stage.name.as_str(), &stage.does), (does.name(), &does));
        assert!(!does.signatures().is_empty() && !does.description().is_empty());
        let text = serde_json::to_string(&stage).unwrap();
        assert_eq!(serde_json::from_str::<Stage>(&text).unwrap(), stage);
    }
}

proptest! {
    /// Whatever is accepted is a chain; whatever is refused breaks at the stage that is named, and not before.
    #[test]
    fn a_chain_or_the_first_break(picks in prop::collection::vec(0..Type::all().len(), 1..10)) {
        let types = Type::all();
        let stages: Vec<Stage> = picks.iter().enumerate()
            .map(|(index, pick)| Stage { name: format!("s{index}"), does: types[*pick].clone() })
            .collect();
        let mut kinds = vec![Kind::Frames];
        for stage in &stages {
            let now = *kinds.last().unwrap();
            match stage.does.signatures().iter().find(|(input, _)| *input == now) {
                Some((_, output)) => kinds.push(*output),
                None => break,
            }
        }
        let end = *kinds.last().unwrap();
        match check(&stages) {
            Ok(kind) => {
                prop_assert_eq!(kinds.len(), stages.len() + 1);
                prop_assert_eq!(kind, end);
                prop_assert_ne!(kind, Kind::Frames);
            }
            Err(misfit @ Misfit::Output { .. }) => {
                prop_assert_eq!(end, Kind::Frames);
                prop_assert_eq!(misfit.stage(), Some(stages.len() - 1));
            }
            Err(misfit) => prop_assert_eq!(misfit.stage(), Some(kinds.len() - 1)),
        }
    }

    #[test]
    fn no_number_is_taken_amiss(half in any::<f64>(), k in any::<f64>()) {
        // JSON has no NaN: it becomes null, which is refused.
        let list = json!([{"type": "gain"}, {"type": "hampel", "half": half, "k": k}]);
        if let Ok(kind) = judged(list) {
            prop_assert_eq!(kind, Kind::Power);
            prop_assert!((1.0..=64.0).contains(&half) && half.fract() == 0.0 && (0.5..=100.0).contains(&k));
        }
    }
}
