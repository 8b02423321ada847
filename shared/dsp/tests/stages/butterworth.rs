use dsp::butterworth::{Band, Filter, design, power_gain};

use super::*;

#[test]
fn sections_and_streams() {
    let cases: Value = serde_json::from_str(include_str!("../data/butterworth.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let edges = list(&case["edges_hz"]);
        let band = match case["kind"].as_str().unwrap() {
            "bandpass" => Band::Pass(edges[0], edges[1]),
            "highpass" => Band::High(edges[0]),
            _ => Band::Low(edges[0]),
        };
        let rate = case["rate_hz"].as_f64().unwrap();
        let sections = design(case["order"].as_u64().unwrap() as usize, band, rate).unwrap();
        let gains = list(&case["frequencies_hz"]);
        let gains = gains.iter().map(|f| power_gain(&sections, *f, rate));
        close(gains, &list(&case["power_gain"]), 1e-8);
        for (name, settle) in [("from_rest", false), ("settled", true)] {
            let values = floats(&case["values"]);
            let mut filter = Filter::new(sections.clone(), 1);
            if settle {
                filter.settle(&values[..1]);
            }
            let filtered = values.iter().map(|value| {
                let mut row = [*value];
                filter.push(&mut row);
                f64::from(row[0])
            });
            close(filtered, &list(&case[name]), 2e-5);
        }
    }
}
