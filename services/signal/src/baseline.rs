//! How far a link's channel is from that of the empty room.
//!
//! The calibration holds, for each subcarrier, the median `a` and the spread `s` of the gain-normalised amplitude of single
//! frames. Their power is then `a^2 + s^2` with a deviation of `2 a s`, and the distance of a window with the mean powers `p`
//! is the median over subcarriers of `abs(p - (a^2 + s^2)) / (2 a s)`: a robust z, in deviations of single frames. The mean
//! of a window is steadier than a frame, so an empty room stays well below 1.
//!
//! The reference follows drift where the caller knows that nobody is there ([`Baseline::follow`]), and never further than
//! [`MOST_DRIFT`]: then the calibration no longer applies, and says so. It does not move to another channel or layout.

use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use crate::calibration::EmptyLink;

/// Least spread, as a share of the amplitude: less is rounding.
const LEAST_SPREAD: f32 = 0.01;
/// Drift of half of the subcarriers, in deviations of single frames, beyond which the calibration no longer applies.
pub const MOST_DRIFT: f32 = 2.0;
/// Time in which the reference follows, seconds.
const FOLLOW_S: f32 = 600.0;

/// Why a distance is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDistance {
    /// The device has no empty-room calibration.
    NotCalibrated,
    /// The calibration holds nothing of this link, or of another length.
    OtherLayout,
    /// The link is on another channel, or of another bandwidth, than when it was calibrated.
    ChannelChanged,
    /// The empty room is no longer as it was.
    Drifted,
    /// No frames.
    NoFrames,
    /// A mask covers the link.
    Masked,
}

impl NoDistance {
    /// snake_case.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotCalibrated => "not_calibrated",
            Self::OtherLayout => "other_layout",
            Self::ChannelChanged => "channel_changed",
            Self::Drifted => "drifted",
            Self::NoFrames => "no_frames",
            Self::Masked => "masked",
        }
    }
}

/// Sums of normalised power, hop by hop, against the calibration in use.
#[derive(Debug)]
pub struct Baseline {
    /// The calibration that it belongs to.
    pub calibration: Uuid,
    link: Arc<EmptyLink>,
    /// Power to be expected, and deviation of a frame.
    expected: Vec<f32>,
    deviation: Vec<f32>,
    /// Expected power as calibrated.
    calibrated: Vec<f32>,
    hops: VecDeque<(i64, u32, Vec<f32>)>,
    spare: Vec<Vec<f32>>,
    /// Mean power of the window that was measured last.
    mean: Vec<f32>,
    scores: Vec<f32>,
    channel: (Option<u8>, Option<u16>),
    drifted: bool,
    latest: Option<f64>,
}

impl Baseline {
    /// Against what was learnt of the link.
    #[must_use]
    pub fn new(calibration: Uuid, link: Arc<EmptyLink>) -> Self {
        let both = || link.amplitude.iter().zip(&link.spread);
        let expected: Vec<f32> = both().map(|(a, s)| a * a + s * s).collect();
        let deviation = both()
            .map(|(a, s)| 2.0 * a * s.max(LEAST_SPREAD * a))
            .collect();
        Self {
            calibration,
            deviation,
            calibrated: expected.clone(),
            mean: vec![0.0; expected.len()],
            scores: Vec::with_capacity(expected.len()),
            expected,
            link,
            hops: VecDeque::new(),
            spare: Vec::new(),
            channel: (None, None),
            drifted: false,
            latest: None,
        }
    }

    /// Adds a row of the hop `slot`, on this channel and with this bandwidth in MHz.
    pub fn push(&mut self, slot: i64, row: &[f32], channel: (Option<u8>, Option<u16>)) {
        self.channel = channel;
        if self
            .hops
            .back()
            .is_none_or(|(newest, _, _)| *newest != slot)
        {
            let mut sums = self.spare.pop().unwrap_or_default();
            sums.clear();
            sums.resize(self.expected.len(), 0.0);
            self.hops.push_back((slot, 0, sums));
        }
        if let Some((_, frames, sums)) = self.hops.back_mut() {
            *frames += 1;
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, power)| *sum += power);
        }
    }

    /// Forgets the hops before `slot`.
    pub fn drop_before(&mut self, slot: i64) {
        while self
            .hops
            .front()
            .is_some_and(|(oldest, _, _)| *oldest < slot)
        {
            self.spare
                .extend(self.hops.pop_front().map(|(_, _, sums)| sums));
            self.spare.truncate(4);
        }
    }

    /// The distance of the window of the hops from `first` to `last`, in deviations of single frames.
    ///
    /// # Errors
    /// Where the calibration does not apply.
    #[allow(clippy::cast_precision_loss)]
    pub fn distance(&mut self, first: i64, last: i64) -> Result<f64, NoDistance> {
        self.latest = None;
        let (channel, bandwidth) = self.channel;
        let differs = |was: Option<u32>, is: Option<u32>| {
            was.is_some_and(|was| is.is_some_and(|is| is != was))
        };
        if differs(self.link.channel, channel.map(u32::from))
            || differs(self.link.bandwidth_mhz, bandwidth.map(u32::from))
        {
            return Err(NoDistance::ChannelChanged);
        }
        if self.drifted {
            return Err(NoDistance::Drifted);
        }
        self.mean.fill(0.0);
        let mut frames = 0;
        for (slot, count, sums) in &self.hops {
            if (first..=last).contains(slot) {
                frames += count;
                self.mean
                    .iter_mut()
                    .zip(sums)
                    .for_each(|(mean, sum)| *mean += sum);
            }
        }
        if frames == 0 {
            return Err(NoDistance::NoFrames);
        }
        let scale = (frames as f32).recip();
        self.mean.iter_mut().for_each(|mean| *mean *= scale);
        self.latest = median_score(
            &self.mean,
            &self.expected,
            &self.deviation,
            &mut self.scores,
        );
        self.latest.ok_or(NoDistance::OtherLayout)
    }

    /// Nobody is there: the reference moves towards the window that was measured last, which ended `hop_s` after the one
    /// before, where its distance was below `near`.
    #[allow(clippy::cast_possible_truncation)]
    pub fn follow(&mut self, hop_s: f64, near: f64) {
        if self.latest.is_none_or(|distance| distance >= near) {
            return;
        }
        let share = (hop_s as f32 / FOLLOW_S).min(1.0);
        for (expected, mean) in self.expected.iter_mut().zip(&self.mean) {
            *expected += share * (mean - *expected);
        }
        let drift = median_score(
            &self.expected,
            &self.calibrated,
            &self.deviation,
            &mut self.scores,
        );
        self.drifted = drift.is_some_and(|drift| drift > f64::from(MOST_DRIFT));
    }
}

/// Median of `abs(of - from) / deviation` where there is a deviation.
fn median_score(of: &[f32], from: &[f32], deviation: &[f32], scores: &mut Vec<f32>) -> Option<f64> {
    scores.clear();
    let pairs = of.iter().zip(from).zip(deviation);
    scores.extend(
        pairs
            .filter(|(_, deviation)| **deviation > 0.0)
            .map(|((of, from), deviation)| (of - from).abs() / deviation),
    );
    if scores.is_empty() {
        return None;
    }
    let middle = scores.len() / 2;
    let (_, median, _) = scores.select_nth_unstable_by(middle, f32::total_cmp);
    Some(f64::from(*median))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(channel: Option<u32>) -> Arc<EmptyLink> {
        Arc::new(EmptyLink {
            amplitude: vec![1.0, 0.8, 1.2, 1.1],
            spread: vec![0.02; 4],
            channel,
            bandwidth_mhz: Some(20),
            ..EmptyLink::default()
        })
    }

    fn row(change: f32) -> Vec<f32> {
        let of = |(k, a): (usize, f32)| {
            let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
            a * a + 0.0004 + sign * change * 2.0 * a * 0.02
        };
        [1.0, 0.8, 1.2, 1.1]
            .into_iter()
            .enumerate()
            .map(of)
            .collect()
    }

    fn distance(baseline: &mut Baseline, change: f32) -> Result<f64, NoDistance> {
        baseline.drop_before(10);
        for _ in 0..20 {
            baseline.push(5, &row(change), (Some(6), Some(20)));
        }
        let distance = baseline.distance(5, 5);
        baseline.drop_before(6);
        distance
    }

    #[test]
    fn it_is_counted_in_deviations_of_single_frames() {
        let mut baseline = Baseline::new(Uuid::nil(), link(Some(6)));
        assert!(distance(&mut baseline, 0.0).unwrap() < 1e-3);
        assert!((distance(&mut baseline, 2.5).unwrap() - 2.5).abs() < 1e-3);
        assert_eq!(baseline.distance(5, 5), Err(NoDistance::NoFrames));
    }

    #[test]
    fn one_wild_subcarrier_does_not_move_it() {
        let mut baseline = Baseline::new(Uuid::nil(), link(None));
        let mut wild = row(0.0);
        wild[2] = 40.0;
        baseline.push(1, &wild, (None, None));
        assert!(baseline.distance(1, 1).unwrap() < 1e-3);
    }

    #[test]
    fn another_channel_is_another_room() {
        let mut baseline = Baseline::new(Uuid::nil(), link(Some(11)));
        assert_eq!(
            distance(&mut baseline, 0.0),
            Err(NoDistance::ChannelChanged)
        );
        // A source that does not name its channel is believed.
        let mut silent = Baseline::new(Uuid::nil(), link(Some(11)));
        silent.push(1, &row(0.0), (None, None));
        assert!(silent.distance(1, 1).is_ok());
    }

    #[test]
    fn it_follows_slowly_and_says_when_it_went_too_far() {
        let mut baseline = Baseline::new(Uuid::nil(), link(Some(6)));
        // One deviation off; after three times the constant 5 % of it is left.
        for _ in 0..3600 {
            distance(&mut baseline, 1.0).unwrap();
            baseline.follow(0.5, 1.5);
        }
        assert!(distance(&mut baseline, 1.0).unwrap() < 0.06);
        let mut far = Baseline::new(Uuid::nil(), link(Some(6)));
        let gone = (0..7200).any(|_| {
            let result = distance(&mut far, 2.5);
            far.follow(0.5, 3.0);
            result == Err(NoDistance::Drifted)
        });
        assert!(gone);
    }
}
