//! From what a window measured to what the link says: motion, still, or unknown with the reason.

use dsp::motion::{Explanation, Lasting, Motion};

use crate::config::Settings;

/// What a link says about motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinkState {
    /// Not enough was measured to say.
    Unknown,
    /// Nothing moves.
    Still,
    /// Something moves.
    Motion,
}

impl LinkState {
    /// snake_case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Still => "still",
            Self::Motion => "motion",
        }
    }
}

/// Why a link's state is unknown, or still although something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Frames are zero throughout.
    NoEnergy,
    /// Frames are the same to the last bit: a frozen source, not a room.
    IdenticalFrames,
    /// Frames come in another order than they were made.
    OutOfOrder,
    /// Frames are too far apart to tell a body's movement from noise.
    RateTooLow,
    /// Too few frames in the window.
    TooFewFrames,
    /// Too many frames of the window were lost.
    FramesMissing,
    /// The device sent frames of another layout meanwhile.
    LayoutChanged,
    /// A part of the window has no frames.
    Gap,
    /// A mask covers the link.
    Masked,
    /// Still: the change sits in few jumps, as frames from elsewhere make it.
    Bursts,
    /// Still: the channel stepped once.
    Step,
    /// Still: the change is one steady tone.
    SteadyTone,
    /// Still: what changes has kept one frequency for long, and nothing else moves.
    PeriodicMover,
    /// Still: the change is large, but not coherent from frame to frame; no body moves so.
    Uncorrelated,
}

impl Reason {
    /// The code in events and on the data plane.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoEnergy => "no_energy",
            Self::IdenticalFrames => "identical_frames",
            Self::OutOfOrder => "out_of_order",
            Self::RateTooLow => "rate_too_low",
            Self::TooFewFrames => "too_few_frames",
            Self::FramesMissing => "frames_missing",
            Self::LayoutChanged => "layout_changed",
            Self::Gap => "gap",
            Self::Masked => "masked",
            Self::Bursts => "bursts",
            Self::Step => "step",
            Self::SteadyTone => "steady_tone",
            Self::PeriodicMover => "periodic_mover",
            Self::Uncorrelated => "uncorrelated",
        }
    }

    /// A sentence for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NoEnergy => "the frames hold only zeros",
            Self::IdenticalFrames => "the frames are identical: the source repeats itself",
            Self::OutOfOrder => "the frames are out of order",
            Self::RateTooLow => "the frame rate is too low to tell motion from noise",
            Self::TooFewFrames => "the window holds too few frames",
            Self::FramesMissing => "too many frames of the window were lost",
            Self::LayoutChanged => "the device changed the layout of its frames within the window",
            Self::Masked => "a mask covers the link",
            Self::Gap => "a part of the window has no frames",
            Self::Bursts => {
                "the channel changes in single jumps, as with another sender's frames in between"
            }
            Self::Step => "the channel stepped once",
            Self::SteadyTone => "the channel follows one steady tone, as with a fan",
            Self::PeriodicMover => {
                "the channel has moved at one steady frequency for long, as with a slow fan"
            }
            Self::Uncorrelated => "the channel changes without coherence from frame to frame",
        }
    }
}

/// What was counted in one window of one link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Frames of the link that carry a channel.
    pub seen: usize,
    /// Frames of the link that came late or repeated a sequence number.
    pub left_out: usize,
    /// Frames of the link that were zero.
    pub no_energy: usize,
    /// Frames of the link that repeated the one before to the last bit.
    pub identical: usize,
    /// Frames of the device, all layouts.
    pub device_seen: usize,
    /// Frames of the device that its sequence numbers say were lost.
    pub missed: Option<usize>,
    /// Frames of the device that came out of order and were left out.
    pub disorder: usize,
    /// Median interval between frames, microseconds.
    pub period_us: Option<f64>,
    /// Longest time without a frame of the link, microseconds.
    pub longest_gap_us: i64,
    /// Length of the window, microseconds.
    pub window_us: i64,
}

/// A share of repeated or zero frames that makes a window worthless.
const WORTHLESS: f64 = 0.5;
/// A share of frames out of order that makes a window worthless.
const DISORDERLY: f64 = 0.1;
/// Standard deviation of normalised power from which incoherent change is worth a word.
const LARGE: f64 = 0.1;

impl Counts {
    /// All frames of the link that came, usable or not.
    #[must_use]
    pub fn received(&self) -> usize {
        self.seen + self.no_energy + self.left_out
    }

    /// Share of the device's frames that were lost, 0 where it does not count.
    #[must_use]
    pub fn missing_share(&self) -> f64 {
        share(self.missed.unwrap_or(0), self.device_seen)
    }

    /// How much of what a window needs was there, 0 to 1: the product of the shares of frames that were not lost, came in
    /// order, carry a channel and are not repetitions, and of the time that is not one long gap.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    pub fn quality(&self) -> f32 {
        let usable = self.seen.saturating_sub(self.identical);
        let live = share(usable, self.seen.saturating_sub(usable) + self.no_energy);
        let bridged = self
            .period_us
            .map_or(0.0, |period| dsp::clock::LONGEST_BRIDGE * period);
        let gap = (self.longest_gap_us as f64 - bridged).max(0.0) / self.window_us.max(1) as f64;
        let order = 1.0 - share(self.disorder, self.device_seen);
        ((1.0 - self.missing_share()) * order * live * (1.0 - gap.min(1.0))) as f32
    }

    /// Why the window cannot be judged, before anything is computed.
    #[must_use]
    pub fn obstacle(&self, settings: &Settings) -> Option<Reason> {
        let other_layout = self.device_seen > 2 * self.seen;
        if self.no_energy > 0 && share(self.no_energy, self.seen) >= WORTHLESS {
            return Some(Reason::NoEnergy);
        }
        if self.identical > 0 && self.identical as f64 >= WORTHLESS * self.seen as f64 {
            return Some(Reason::IdenticalFrames);
        }
        if share(self.disorder, self.device_seen) > DISORDERLY {
            return Some(Reason::OutOfOrder);
        }
        if self.missing_share() > settings.max_missing {
            return Some(Reason::FramesMissing);
        }
        if self.longest_gap_us > crate::config::micros(settings.max_gap_s) {
            return Some(if other_layout {
                Reason::LayoutChanged
            } else {
                Reason::Gap
            });
        }
        // A period within 2 % of the limit is jitter about it.
        if self
            .period_us
            .is_some_and(|period| 1e6 / period < 0.98 * settings.min_rate_hz)
        {
            return Some(Reason::RateTooLow);
        }
        let fewest = fewest(settings, self.period_us.unwrap_or(f64::INFINITY));
        (self.seen < fewest).then_some(Reason::TooFewFrames)
    }
}

/// Frames that a window needs whose frames come every `period_us`.
fn fewest(settings: &Settings, period_us: f64) -> usize {
    if dsp::motion::is_fast(period_us) {
        settings.min_frames
    } else {
        settings.min_frames.div_ceil(2)
    }
}

#[allow(clippy::cast_precision_loss)]
fn share(part: usize, rest: usize) -> f64 {
    if part == 0 {
        0.0
    } else {
        part as f64 / (part + rest) as f64
    }
}

/// What a link says of one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Motion, still, or unknown.
    pub state: LinkState,
    /// The statistic that it rests on, where one was measured: the window's own, or that of the windows before with it ([`Lasting`]).
    pub statistic: Option<f64>,
    /// The threshold that it was held against.
    pub threshold: f64,
    /// Why.
    pub reason: Option<Reason>,
}

impl Verdict {
    /// Unknown, for this reason.
    #[must_use]
    pub fn unknown(threshold: f64, reason: Reason) -> Self {
        Self {
            state: LinkState::Unknown,
            statistic: None,
            threshold,
            reason: Some(reason),
        }
    }
}

/// Judges the window that ends at `end_us`, as one does every `hop_us`, after what `lasting` holds of those before. `moving`: the link was in motion in the window
/// before; it then stays there down to the release level.
#[must_use]
pub fn judge(
    settings: &Settings,
    counts: &Counts,
    motion: Option<&Motion>,
    moving: bool,
    (lasting, end_us, hop_us): (&mut Lasting, i64, i64),
) -> Verdict {
    let threshold = settings.bar(moving);
    let unknown = |reason| Verdict::unknown(threshold, reason);
    if let Some(reason) = counts.obstacle(settings) {
        return unknown(reason);
    }
    let Some(motion) = motion else {
        return unknown(Reason::IdenticalFrames);
    };
    // Of frames in bursts there are fewer looks at the channel than frames.
    if 1e6 / motion.period_us < 0.98 * settings.min_rate_hz {
        return unknown(Reason::RateTooLow);
    }
    // Most pairs of neighbours are needed: the statistic lives on them.
    if motion.pairs * 2 < fewest(settings, motion.period_us) {
        return unknown(Reason::TooFewFrames);
    }
    let statistic = lasting.judge(motion, end_us, hop_us);
    let moves = statistic >= threshold;
    let reason = if moves {
        None
    } else {
        match motion.explanation {
            Some(Explanation::Bursts) => Some(Reason::Bursts),
            Some(Explanation::Step) => Some(Reason::Step),
            Some(Explanation::SteadyTone) => Some(Reason::SteadyTone),
            None => (motion.fluctuation > LARGE).then_some(Reason::Uncorrelated),
        }
    };
    Verdict {
        state: if moves {
            LinkState::Motion
        } else {
            LinkState::Still
        },
        statistic: Some(statistic),
        threshold,
        reason,
    }
}
