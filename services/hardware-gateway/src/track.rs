//! What is counted and measured of one device's frames: losses by sequence number, rate, signal. Pure.

use csi::Frame;

/// Sequence numbers that jump back further than this, or forward beyond it, mean a restart of the sender, not a loss.
const RESTART_GAP: u64 = 10_000;

/// How a frame stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first, or the next.
    Next,
    /// So many are missing before it.
    Gap(u64),
    /// Older than the newest, by so many, within the reordering range.
    Late(u64),
    /// The same sequence number as the newest.
    Duplicate,
    /// The sender counts from another start.
    Restart,
}

/// Counts of one device since the service started.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// Frames taken.
    pub frames: u64,
    /// Frames that the sequence numbers say were lost.
    pub lost: u64,
    /// Frames with the sequence number of the one before.
    pub duplicates: u64,
    /// Restarts of the count.
    pub restarts: u64,
    /// Time of the newest frame, microseconds since the Unix epoch, in the time of the input.
    pub last_frame_us: Option<i64>,
    /// Frames per second over the last full second of the input.
    pub rate_hz: Option<f32>,
    /// RSSI of the newest frame, the strongest antenna, dBm.
    pub rssi_dbm: Option<f32>,
    /// Subcarriers per antenna of the newest frame.
    pub subcarriers: Option<u32>,
    /// Antennas of the newest frame.
    pub antennas: Option<u32>,
    /// Channel of the newest frame.
    pub channel: Option<u32>,
    /// Bandwidth of the newest frame, MHz.
    pub bandwidth_mhz: Option<u32>,
    last_sequence: Option<u64>,
    second_start_us: i64,
    second_frames: u32,
}

impl Track {
    /// Counts one frame.
    pub fn push(&mut self, frame: &Frame) -> Order {
        let order = self.order(frame);
        match order {
            Order::Gap(missing) => self.lost += missing,
            Order::Duplicate => self.duplicates += 1,
            Order::Restart => self.restarts += 1,
            Order::Late(_) => self.lost = self.lost.saturating_sub(1),
            Order::Next => {}
        }
        if !matches!(order, Order::Late(_) | Order::Duplicate) {
            self.last_sequence = Some(frame.sequence);
        }
        self.frames += 1;
        self.measure(frame);
        order
    }

    fn order(&self, frame: &Frame) -> Order {
        let Some(last) = self.last_sequence.filter(|_| frame.counted) else {
            return Order::Next;
        };
        if frame.sequence > last {
            match frame.sequence - last - 1 {
                0 => Order::Next,
                missing if missing <= RESTART_GAP => Order::Gap(missing),
                _ => Order::Restart,
            }
        } else {
            match last - frame.sequence {
                0 => Order::Duplicate,
                behind if behind <= 64 => Order::Late(behind),
                _ => Order::Restart,
            }
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn measure(&mut self, frame: &Frame) {
        let now = frame.receive_time_us;
        if self.last_frame_us.is_none() {
            self.second_start_us = now;
        }
        let elapsed = now.saturating_sub(self.second_start_us);
        if !(0..3_000_000).contains(&elapsed) {
            self.second_start_us = now;
            self.second_frames = 0;
            self.rate_hz = None;
        } else if elapsed >= 1_000_000 {
            self.rate_hz = Some(self.second_frames as f32 * 1e6 / elapsed as f32);
            self.second_start_us = now;
            self.second_frames = 0;
        }
        self.second_frames += 1;
        self.last_frame_us = Some(now);
        self.rssi_dbm = frame.rssi_dbm.iter().max().map(|&rssi| f32::from(rssi));
        self.subcarriers = u32::try_from(frame.layout.subcarriers.len()).ok();
        self.antennas = Some(u32::from(frame.antennas));
        self.channel = frame.channel.map(u32::from);
        self.bandwidth_mhz = frame.bandwidth_mhz.map(u32::from);
    }
}

/// Which frames are announced: each, up to a budget per second of input time; above it one in N.
///
/// N follows from the second before, so that the decision needs no look ahead and a recording gives the same
/// announcements each time.
#[derive(Clone, Debug)]
pub struct Announcer {
    budget: u32,
    second: i64,
    seen: u32,
    one_in: u32,
    count: u32,
}

impl Announcer {
    /// At most about `budget` announcements per second of input time.
    #[must_use]
    pub fn new(budget: u32) -> Self {
        Self {
            budget: budget.max(1),
            second: i64::MIN,
            seen: 0,
            one_in: 1,
            count: 0,
        }
    }

    /// `Some(n)` where the frame at `time_us` is announced, standing for n frames.
    pub fn announce(&mut self, time_us: i64) -> (bool, u32) {
        let second = time_us.div_euclid(1_000_000);
        if second != self.second {
            let adjacent = second == self.second.saturating_add(1);
            self.one_in = if adjacent {
                self.seen.div_ceil(self.budget).max(1)
            } else {
                1
            };
            self.second = second;
            self.seen = 0;
            self.count = 0;
        }
        self.seen += 1;
        // Within a second that is busier than the one before, the budget still holds.
        if self.seen > self.budget.saturating_mul(self.one_in) {
            self.one_in = self.one_in.saturating_mul(2);
        }
        let announced = self.count.is_multiple_of(self.one_in);
        self.count = self.count.wrapping_add(1);
        (announced, self.one_in)
    }
}

#[cfg(test)]
mod tests;
