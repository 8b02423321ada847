//! What is counted and measured of one device's frames: losses by sequence number, rate, signal. Pure.

use csi::Frame;

/// Sequence numbers that jump back further than this, or forward beyond it, mean a restart of the sender, not a loss.
const RESTART_GAP: u64 = 10_000;

/// Sequence numbers behind the newest in which a duplicate is known and a late frame is late: as many as RFC 4303 keeps.
const WINDOW: u64 = 64;
const PLACES: usize = 64;
/// A datagram that the network delivers twice comes again within this time, microseconds.
const DUPLICATE_US: i64 = 1_000_000;

/// How a frame stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first, or the next.
    Next,
    /// So many are missing before it.
    Gap(u64),
    /// Older than the newest, by so many, within the reordering range.
    Late(u64),
    /// The same frame again: its sequence number and its samples were seen within the last second.
    Duplicate,
    /// The sender counts from another start.
    Restart,
}

/// Counts of one device since the service started.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// Frames taken, duplicates not among them.
    pub frames: u64,
    /// Frames that the sequence numbers say were lost.
    pub lost: u64,
    /// Frames that came twice.
    pub duplicates: u64,
    /// Frames that came after younger ones.
    pub late: u64,
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
    /// The newest sequence numbers with a fingerprint of their samples, each in its place modulo [`WINDOW`].
    recent: Vec<Option<(u64, u64)>>,
    second_start_us: i64,
    second_frames: u32,
}

impl Track {
    /// Counts one frame.
    pub fn push(&mut self, frame: &Frame) -> Order {
        let print = fingerprint(frame);
        let order = self.order(frame, print);
        match order {
            Order::Duplicate => {
                self.duplicates += 1;
                return order;
            }
            Order::Gap(missing) => self.lost += missing,
            Order::Restart => {
                self.restarts += 1;
                self.recent.clear();
            }
            Order::Late(_) => {
                self.late += 1;
                self.lost = self.lost.saturating_sub(1);
            }
            Order::Next => {}
        }
        if !matches!(order, Order::Late(_)) {
            self.last_sequence = Some(frame.sequence);
        }
        if frame.counted {
            self.recent.resize(PLACES, None);
            if let Some(known) = self.recent.get_mut(place(frame.sequence)) {
                *known = Some((frame.sequence, print));
            }
        }
        self.frames += 1;
        self.measure(frame);
        order
    }

    fn order(&self, frame: &Frame, print: u64) -> Order {
        let Some(last) = self.last_sequence.filter(|_| frame.counted) else {
            return Order::Next;
        };
        if frame.sequence > last {
            return match frame.sequence - last - 1 {
                0 => Order::Next,
                missing if missing <= RESTART_GAP => Order::Gap(missing),
                _ => Order::Restart,
            };
        }
        let seen = self
            .recent
            .get(place(frame.sequence))
            .copied()
            .flatten()
            .filter(|(sequence, _)| *sequence == frame.sequence);
        let newest_us = self.last_frame_us.unwrap_or(frame.receive_time_us);
        let soon = frame.receive_time_us.saturating_sub(newest_us) <= DUPLICATE_US;
        match (seen, last - frame.sequence) {
            (Some((_, before)), _) if before == print && soon => Order::Duplicate,
            // Another frame of the same number, or the same much later: the sender counts anew.
            (Some(_), _) => Order::Restart,
            (None, behind) if behind <= WINDOW => Order::Late(behind),
            (None, _) => Order::Restart,
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

/// Where a sequence number is kept.
#[allow(clippy::cast_possible_truncation)]
fn place(sequence: u64) -> usize {
    (sequence % WINDOW) as usize
}

/// Tells frames of one sequence number apart: after FNV-1a, over the first samples, which hold noise.
fn fingerprint(frame: &Frame) -> u64 {
    let samples = frame.samples.iter().take(32);
    samples.fold(
        0xCBF2_9CE4_8422_2325 ^ frame.samples.len() as u64,
        |hash, sample| {
            let bits = u64::from(sample.re.to_bits()) << 32 | u64::from(sample.im.to_bits());
            // A product moves nothing down.
            (hash ^ bits)
                .wrapping_mul(0x0000_0100_0000_01B3)
                .rotate_left(23)
        },
    )
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
