use super::*;

const S: i64 = 1_000_000;

#[test]
fn a_burst_is_one_report_with_its_count() {
    let mut faults = Faults::new(10 * S);
    for i in 0..1000 {
        faults.push("lamp", "truncated", i * 100, || format!("error {i}"));
    }
    assert!(faults.due(S / 2, false).is_empty());
    let reports = faults.due(S, false);
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].count, 1000);
    assert_eq!(reports[0].message, "error 0");
}

#[test]
fn nothing_more_within_the_interval_and_one_after_it() {
    let mut faults = Faults::new(10 * S);
    faults.push("lamp", "truncated", 0, || "a".into());
    assert_eq!(faults.due(S, false).len(), 1);
    faults.push("lamp", "truncated", 2 * S, || "b".into());
    faults.push("lamp", "truncated", 3 * S, || "c".into());
    assert!(faults.due(9 * S, false).is_empty());
    let reports = faults.due(10 * S, false);
    assert_eq!((reports.len(), reports[0].count), (1, 2));
}

#[test]
fn devices_and_codes_are_apart() {
    let mut faults = Faults::new(10 * S);
    faults.push("lamp", "truncated", 0, String::new);
    faults.push("lamp", "wrong_magic", 0, String::new);
    faults.push("door", "truncated", 0, String::new);
    assert_eq!(faults.due(S, false).len(), 3);
}

#[test]
fn a_flood_of_senders_is_bounded() {
    let mut faults = Faults::new(10 * S);
    for i in 0..10_000 {
        faults.push(&format!("sender-{i}"), "wrong_magic", 0, String::new);
    }
    let reports = faults.due(S, false);
    assert_eq!(reports.len(), MAX_ENTRIES + 1);
    assert_eq!(reports.iter().map(|r| r.count).sum::<u64>(), 10_000);
}

#[test]
fn quiet_entries_are_forgotten() {
    let mut faults = Faults::new(10 * S);
    faults.push("lamp", "truncated", 0, String::new);
    faults.due(S, false);
    faults.due(11 * S, false);
    assert!(faults.entries.is_empty());
}

#[test]
fn what_could_not_be_announced_is_due_again() {
    let mut faults = Faults::new(10 * S);
    faults.push("lamp", "truncated", 0, || "first".into());
    let report = faults.due(S, false).remove(0);
    faults.push("lamp", "truncated", 5 * S, || "second".into());
    faults.again(report.clone());
    let reports = faults.due(10 * S, false);
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].count, &*reports[0].message), (2, "first"));
    assert_eq!(reports[0].first_us, report.first_us);
    // Also where it was forgotten meanwhile.
    assert!(faults.due(100 * S, false).is_empty());
    faults.again(report.clone());
    assert_eq!(faults.due(101 * S, false), [report]);
}
