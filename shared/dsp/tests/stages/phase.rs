use dsp::phase::{Line, Phases, Sanitizer, conjugate_product, ratio};

use super::*;

#[test]
fn lines_ratio_and_product() {
    let vectors: Value = serde_json::from_str(include_str!("../data/phase.json")).unwrap();
    let subcarriers: Vec<i16> = list(&vectors["subcarriers"])
        .iter()
        .map(|k| *k as i16)
        .collect();
    let sanitizer = Sanitizer::new(&subcarriers, &[true; 30], 3);
    let mut phases = Phases::default();
    for case in vectors["cases"].as_array().unwrap() {
        let samples = complex(&case["re"], &case["im"]);
        for (line, name) in [(Line::Each, "each"), (Line::SharedSlope, "shared")] {
            sanitizer.sanitize(&samples, line, &mut phases).unwrap();
            assert!(phases.known.iter().all(|known| *known));
            let radians = phases.radians.iter().map(|r| f64::from(*r));
            close(radians, &list(&case[name]), 1e-5);
        }
        let (first, second) = (&samples[..30], &samples[30..60]);
        let mut quotient = Vec::new();
        ratio(first, second, &mut quotient).unwrap();
        let quotient: Vec<Complex32> = quotient.into_iter().map(Option::unwrap).collect();
        close(
            quotient.iter().map(|q| q.re.into()),
            &list(&case["ratio_re"]),
            1e-5,
        );
        close(
            quotient.iter().map(|q| q.im.into()),
            &list(&case["ratio_im"]),
            1e-5,
        );
        let mut product = Vec::new();
        conjugate_product(first, second, &mut product).unwrap();
        close(
            product.iter().map(|p| p.re.into()),
            &list(&case["product_re"]),
            1e-5,
        );
        close(
            product.iter().map(|p| p.im.into()),
            &list(&case["product_im"]),
            1e-5,
        );
    }
}
