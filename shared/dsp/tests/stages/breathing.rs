use dsp::breathing::RateFinder;

use super::*;

#[test]
fn period_of_streams() {
    let cases: Value = serde_json::from_str(include_str!("../data/breathing.json")).unwrap();
    let mut finder = RateFinder::default();
    for case in cases.as_array().unwrap() {
        let ticks = case["ticks"].as_u64().unwrap() as usize;
        let period = finder
            .find(&floats(&case["streams"]), &vec![true; ticks])
            .unwrap();
        let expected = |name: &str| case[name].as_f64().unwrap();
        assert!(
            (period.period_s - expected("period_s")).abs() < 1e-3,
            "{period:?}"
        );
        assert!((period.peak - expected("peak")).abs() < 1e-4, "{period:?}");
        assert!(
            (period.snr_db - expected("snr_db")).abs() < 0.01,
            "{period:?}"
        );
        assert!(
            (period.excess - expected("excess")).abs() < 1e-3,
            "{period:?}"
        );
        assert!(
            (period.variance / expected("variance") - 1.0).abs() < 1e-3,
            "{period:?}"
        );
    }
}
