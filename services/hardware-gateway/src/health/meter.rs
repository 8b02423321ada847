//! What is measured of one device over the last seconds. Pure; constant memory.

use std::collections::VecDeque;

use csi::Frame;

/// Seconds that are kept at most.
const MAX_SECONDS: usize = 60;
/// Seconds from which a rate is learned: no earlier than after the first number, from no more than the second.
const LEARN_FROM: (usize, usize) = (10, 30);
/// Spacings longer than this are pauses, microseconds: they tell nothing of jitter.
const PAUSE_US: i64 = 2_000_000;
const SECOND_US: i64 = 1_000_000;

/// One second of the clock that frames arrive by.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: i64,
    frames: u32,
    counted: u32,
    missing: i64,
    malformed: u32,
    rssi: Mean,
    snr: Mean,
    jitter_us: Mean,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn push(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn add(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
    }

    fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

/// What was measured; absent what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Seconds that it was measured over.
    pub seconds: u32,
    /// Frames per second.
    pub rate_hz: Option<f64>,
    /// Lost of sent, 0 to 1; only where the device counts.
    pub loss: Option<f64>,
    /// Mean deviation of the spacing, milliseconds.
    pub jitter_ms: Option<f64>,
    /// Mean RSSI of the strongest antenna, dBm.
    pub rssi_dbm: Option<f64>,
    /// Mean of RSSI over noise floor, dB.
    pub snr_db: Option<f64>,
    /// Malformed datagrams of all, 0 to 1.
    pub error_rate: Option<f64>,
    /// Malformed datagrams.
    pub malformed: u32,
    /// Frames.
    pub frames: u32,
    /// Bandwidth of the newest frame, MHz.
    pub bandwidth_mhz: Option<u32>,
    /// Channel of the newest frame.
    pub channel: Option<u32>,
}

/// Measures one device.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    seconds: VecDeque<Second>,
    first_us: Option<i64>,
    last: Option<Arrival>,
    spacing_us: Option<f64>,
    bandwidth_mhz: Option<u32>,
    channel: Option<u32>,
    learning: Vec<u32>,
    learned_hz: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    arrived_us: i64,
    device_us: Option<u64>,
}

impl Meter {
    /// Takes a frame that arrived at `now_us`; `missing` frames before it were lost (below 0: a late one came after all).
    pub fn frame(&mut self, frame: &Frame, missing: i64, now_us: i64) {
        let jitter = self.jitter(frame, missing, now_us);
        let Some(second) = self.second(now_us) else {
            return;
        };
        second.frames += 1;
        second.counted += u32::from(frame.counted);
        second.missing += missing;
        if let Some(rssi) = frame.rssi_dbm.iter().max().map(|&rssi| f64::from(rssi)) {
            second.rssi.push(rssi);
            if let Some(noise) = frame.noise_floor_dbm {
                second.snr.push(rssi - f64::from(noise));
            }
        }
        if let Some(jitter) = jitter {
            second.jitter_us.push(jitter);
        }
        self.bandwidth_mhz = frame.bandwidth_mhz.map(u32::from);
        self.channel = frame.channel.map(u32::from);
    }

    /// Takes a malformed datagram that arrived at `now_us`.
    pub fn malformed(&mut self, now_us: i64) {
        if let Some(second) = self.second(now_us) {
            second.malformed += 1;
        }
    }

    /// What was measured over the last `window` full seconds before `now_us`.
    #[must_use]
    pub fn measured(&self, window: u32, now_us: i64) -> Measured {
        let now = now_us.div_euclid(SECOND_US);
        // The second in which the device was first heard is not full.
        let full = self
            .first_us
            .map_or(0, |first| now - first.div_euclid(SECOND_US) - 1);
        let seconds = u32::try_from(full).unwrap_or(0).min(window);
        let from = now - i64::from(seconds);
        let mut sum = Second::default();
        for second in &self.seconds {
            if (from..now).contains(&second.number) {
                sum.frames += second.frames;
                sum.counted += second.counted;
                sum.missing += second.missing;
                sum.malformed += second.malformed;
                sum.rssi.add(second.rssi);
                sum.snr.add(second.snr);
                sum.jitter_us.add(second.jitter_us);
            }
        }
        let missing = f64::from(u32::try_from(sum.missing).unwrap_or(0));
        let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        Measured {
            seconds,
            rate_hz: ratio(f64::from(sum.frames), f64::from(seconds)),
            loss: (sum.counted > 0)
                .then(|| ratio(missing, missing + f64::from(sum.counted)))
                .flatten(),
            jitter_ms: sum.jitter_us.value().map(|us| us / 1e3),
            rssi_dbm: sum.rssi.value(),
            snr_db: sum.snr.value(),
            error_rate: ratio(
                f64::from(sum.malformed),
                f64::from(sum.malformed) + f64::from(sum.frames),
            ),
            malformed: sum.malformed,
            frames: sum.frames,
            bandwidth_mhz: self.bandwidth_mhz,
            channel: self.channel,
        }
    }

    /// The median rate of the first full seconds with frames, once there are 10; held after 30, so that a device that grows
    /// slow is noticed.
    #[must_use]
    pub fn learned_hz(&self) -> Option<f64> {
        self.learned_hz
    }

    /// A new connection: what was learned stays, the measures begin anew.
    pub fn restart(&mut self) {
        let (learning, learned_hz) = (std::mem::take(&mut self.learning), self.learned_hz);
        *self = Self {
            learning,
            learned_hz,
            ..Self::default()
        };
    }

    /// The second that `now_us` lies in; none where the clock went back.
    fn second(&mut self, now_us: i64) -> Option<&mut Second> {
        let number = now_us.div_euclid(SECOND_US);
        self.first_us.get_or_insert(now_us);
        match self.seconds.back() {
            Some(newest) if newest.number == number => {}
            Some(newest) if newest.number > number => return None,
            newest => {
                let closed = newest.map(|second| (second.number, second.frames));
                self.learn(closed);
                if self.seconds.len() >= MAX_SECONDS {
                    self.seconds.pop_front();
                }
                self.seconds.push_back(Second {
                    number,
                    ..Second::default()
                });
            }
        }
        self.seconds.back_mut()
    }

    fn learn(&mut self, closed: Option<(i64, u32)>) {
        let first = self.first_us.map(|first| first.div_euclid(SECOND_US));
        let Some((number, frames)) = closed else {
            return;
        };
        if Some(number) == first || frames == 0 || self.learning.len() >= LEARN_FROM.1 {
            return;
        }
        self.learning.push(frames);
        if self.learning.len() >= LEARN_FROM.0 {
            let mut sorted = self.learning.clone();
            sorted.sort_unstable();
            self.learned_hz = sorted.get(sorted.len() / 2).map(|&hz| f64::from(hz));
        }
    }

    /// How far the spacing of this frame from the last is off, microseconds: against the device's clock where it has one
    /// (RFC 3550, 6.4.1), else against the mean spacing, an average over the last 16 or so.
    #[allow(clippy::cast_precision_loss)]
    fn jitter(&mut self, frame: &Frame, missing: i64, now_us: i64) -> Option<f64> {
        let arrival = Arrival {
            arrived_us: now_us,
            device_us: frame.device_time_us,
        };
        let last = self.last.replace(arrival)?;
        let spacing = now_us.saturating_sub(last.arrived_us);
        if !(0..PAUSE_US).contains(&spacing) {
            return None;
        }
        if let (Some(device), Some(before)) = (arrival.device_us, last.device_us) {
            // A clock that wrapped or was set tells nothing.
            let meant = i64::try_from(device.checked_sub(before)?).ok()?;
            return (meant < PAUSE_US).then(|| (spacing - meant).abs() as f64);
        }
        if missing != 0 {
            return None;
        }
        let spacing = spacing as f64;
        let mean = self.spacing_us.get_or_insert(spacing);
        let off = (spacing - *mean).abs();
        *mean += (spacing - *mean) / 16.0;
        Some(off)
    }
}
