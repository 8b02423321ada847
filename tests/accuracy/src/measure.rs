//! Arithmetic of detection: ROC, operating points, intervals by session.

/// One decision to be judged: a window, or a whole recording where its label holds only for the whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Something moves.
    pub truth: bool,
    /// The score, larger for motion.
    pub score: f64,
    /// What the detector decided at its own threshold.
    pub said: bool,
    /// Place of its session among the set's.
    pub session: usize,
}

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value over all cases.
    pub value: f64,
    /// The interval by resampling sessions; absent where there are fewer than [`LEAST_SESSIONS`].
    pub interval: Option<(f64, f64)>,
}

/// Sessions from which an interval is given.
pub const LEAST_SESSIONS: usize = 4;
/// Resamplings of an interval.
const RESAMPLINGS: usize = 1000;

/// Area under the ROC curve: how often a score of motion is above one of none, ties counting half. Absent where one of
/// both is missing.
#[must_use]
pub fn auc(cases: &[&Case]) -> Option<f64> {
    let mut order: Vec<&Case> = cases.to_vec();
    order.sort_by(|a, b| a.score.total_cmp(&b.score));
    let (mut below, mut wins, mut positive) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|a, b| a.score == b.score) {
        let moving = tied.iter().filter(|case| case.truth).count() as f64;
        let still = tied.len() as f64 - moving;
        wins += moving * (below + still / 2.0);
        below += still;
        positive += moving;
    }
    (positive > 0.0 && below > 0.0).then(|| wins / (positive * below))
}

/// The highest recall that any threshold has at a share of false positives of at most `most`.
#[must_use]
pub fn recall_at(cases: &[&Case], most: f64) -> Option<f64> {
    let mut still: Vec<f64> = cases
        .iter()
        .filter(|case| !case.truth)
        .map(|case| case.score)
        .collect();
    let moving: Vec<f64> = cases
        .iter()
        .filter(|case| case.truth)
        .map(|case| case.score)
        .collect();
    if still.is_empty() || moving.is_empty() {
        return None;
    }
    still.sort_by(f64::total_cmp);
    let allowed = (most * still.len() as f64) as usize;
    // Above this score lie at most `allowed` of the still ones.
    let limit = still.get(still.len() - 1 - allowed).copied()?;
    Some(moving.iter().filter(|score| **score > limit).count() as f64 / moving.len() as f64)
}

/// Share of the cases of `truth` that were said to be motion.
#[must_use]
pub fn said(cases: &[&Case], truth: bool) -> Option<f64> {
    let of = || cases.iter().filter(|case| case.truth == truth);
    let count = of().count();
    (count > 0).then(|| of().filter(|case| case.said).count() as f64 / count as f64)
}

/// Mean of the recall of motion and the recall of stillness.
#[must_use]
pub fn balanced(cases: &[&Case]) -> Option<f64> {
    Some((said(cases, true)? + 1.0 - said(cases, false)?) / 2.0)
}

/// The threshold with the best balanced accuracy; the middle of the gap that it lies in.
#[must_use]
pub fn best_threshold(cases: &[&Case]) -> Option<f64> {
    let mut order: Vec<&Case> = cases.to_vec();
    order.sort_by(|a, b| a.score.total_cmp(&b.score));
    let moving = order.iter().filter(|case| case.truth).count() as f64;
    let still = order.len() as f64 - moving;
    if moving == 0.0 || still == 0.0 {
        return None;
    }
    let (mut missed, mut kept) = (0.0, 0.0);
    let mut best = (0.5, f64::NEG_INFINITY);
    for (index, case) in order.iter().enumerate() {
        if case.truth {
            missed += 1.0;
        } else {
            kept += 1.0;
        }
        let next = order.get(index + 1).map(|next| next.score);
        if next == Some(case.score) {
            continue;
        }
        let value = (1.0 - missed / moving + kept / still) / 2.0;
        if value > best.0 {
            best = (
                value,
                next.map_or(case.score, |next| (case.score + next) / 2.0),
            );
        }
    }
    Some(best.1)
}

/// The cases, each judged with the best threshold of the other sessions; what is left out is said by nobody.
#[must_use]
pub fn leave_session_out(cases: &[Case]) -> Vec<Case> {
    let sessions: std::collections::BTreeSet<usize> =
        cases.iter().map(|case| case.session).collect();
    let mut judged = Vec::new();
    for session in sessions {
        let others: Vec<&Case> = cases.iter().filter(|c| c.session != session).collect();
        let Some(threshold) = best_threshold(&others) else {
            continue;
        };
        let own = cases.iter().filter(|c| c.session == session);
        judged.extend(own.map(|case| Case {
            said: case.score > threshold,
            ..case.clone()
        }));
    }
    judged
}

/// A measure over all cases, with its interval by resampling whole sessions (bootstrap percentiles, seeded).
#[must_use]
pub fn estimate(cases: &[Case], measure: impl Fn(&[&Case]) -> Option<f64>) -> Option<Estimate> {
    let all: Vec<&Case> = cases.iter().collect();
    let value = measure(&all)?;
    let mut sessions: std::collections::BTreeMap<usize, Vec<&Case>> =
        std::collections::BTreeMap::new();
    for case in cases {
        sessions.entry(case.session).or_default().push(case);
    }
    let sessions: Vec<Vec<&Case>> = sessions.into_values().collect();
    if sessions.len() < LEAST_SESSIONS {
        return Some(Estimate {
            value,
            interval: None,
        });
    }
    let mut random = Random::new(20_260_101);
    let mut values = Vec::with_capacity(RESAMPLINGS);
    let mut drawn = Vec::new();
    for _ in 0..RESAMPLINGS {
        drawn.clear();
        for _ in 0..sessions.len() {
            if let Some(session) = sessions.get(random.below(sessions.len())) {
                drawn.extend_from_slice(session);
            }
        }
        values.extend(measure(&drawn));
    }
    Some(Estimate {
        value,
        interval: interval(values),
    })
}

/// The 2.5 and 97.5 % percentiles.
#[must_use]
pub fn interval(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * values.len().saturating_sub(1) as f64).round() as usize;
        values.get(place).copied()
    };
    Some((at(0.025)?, at(0.975)?))
}

/// The rate per hour that `events` in `hours` do not rule out at 95 %: the upper bound of a Poisson rate (Garwood 1936).
#[must_use]
pub fn highest_rate(events: usize, hours: f64) -> f64 {
    let at_most = |mean: f64| {
        let mut term = (-mean).exp();
        let mut sum = term;
        for k in 1..=events {
            term *= mean / k as f64;
            sum += term;
        }
        sum
    };
    let (mut low, mut high) = (0.0, 10.0 + 4.0 * events as f64);
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if at_most(middle) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high / hours
}

/// Deterministic random numbers (xorshift64*).
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number, 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from 0 to `count`, exclusive.
    pub fn below(&mut self, count: usize) -> usize {
        (((self.bits() >> 32) * count as u64) >> 32) as usize
    }

    /// Shuffles.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(of: &[(bool, f64, usize)]) -> Vec<Case> {
        of.iter()
            .map(|(truth, score, session)| Case {
                truth: *truth,
                score: *score,
                said: *score > 0.5,
                session: *session,
            })
            .collect()
    }

    #[test]
    fn roc_of_known_scores() {
        let all = cases(&[
            (false, 0.1, 0),
            (false, 0.4, 0),
            (true, 0.4, 1),
            (true, 0.9, 1),
        ]);
        let all: Vec<&Case> = all.iter().collect();
        assert_eq!(auc(&all), Some(0.875));
        assert_eq!(recall_at(&all, 0.01), Some(0.5));
        assert_eq!(recall_at(&all, 0.5), Some(1.0));
        assert_eq!(said(&all, true), Some(0.5));
        assert_eq!(balanced(&all), Some(0.75));
        assert_eq!(auc(&all[..2]), None);
    }

    #[test]
    fn a_threshold_lies_in_the_gap() {
        let all = cases(&[
            (false, 0.1, 0),
            (false, 0.2, 1),
            (true, 0.6, 0),
            (true, 0.9, 1),
        ]);
        let all: Vec<&Case> = all.iter().collect();
        assert_eq!(best_threshold(&all), Some(0.4));
    }

    #[test]
    fn a_session_is_judged_by_the_others() {
        // Each session alone would be separated; the threshold of one is wrong for the other.
        let all = cases(&[
            (false, 1.0, 0),
            (true, 2.0, 0),
            (false, 3.0, 1),
            (true, 4.0, 1),
        ]);
        let judged = leave_session_out(&all);
        assert_eq!(judged.iter().filter(|c| c.said == c.truth).count(), 2);
    }

    #[test]
    fn the_interval_is_of_sessions_not_of_cases() {
        // A hundred cases in each of four sessions: one session is wrong throughout.
        let of: Vec<_> = (0..800)
            .map(|i| {
                (
                    i % 2 == 0,
                    if (i % 2 == 0) == (i % 4 / 2 == 0 || i >= 200) {
                        1.0
                    } else {
                        0.0
                    },
                    i / 200,
                )
            })
            .collect();
        let all = cases(&of);
        let estimate = estimate(&all, balanced).unwrap();
        let (low, high) = estimate.interval.unwrap();
        assert!(high - low > 0.2, "{estimate:?}");
    }

    #[test]
    fn no_event_rules_out_three_in_the_time() {
        assert!((highest_rate(0, 1.0) - 2.9957).abs() < 1e-3);
        assert!((highest_rate(2, 0.5) - 2.0 * 6.2958).abs() < 1e-3);
    }
}
