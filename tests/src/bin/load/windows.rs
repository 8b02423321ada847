//! The latency from a datagram to `signal.signal_processed`.
//!
//! The end: the event reaches this program's subscription to the bare subject `signal.signal_processed`, to which the server
//! republishes what it has stored in the stream. The beginning, in two readings:
//! - `newest`: the newest frame of the window was handed to the kernel. It includes the wait for what closes the window, up
//!   to a frame's period where the next frame does.
//! - `closing`: the first frame of the same device after the window was handed to the kernel. It is the system's own time
//!   from a datagram to the event, where the next frame of the device is what closes a window. Events that came before that
//!   frame was sent are counted apart.
//!
//! Which frame lies in which window follows from the receive times that the gateway wrote into `data.csi.>`, which are read
//! back from the stream when all is over, so that reading them disturbs nothing.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use events::Timestamp;
use prost::Message;
use proto::csi::v1::CsiFrame;
use serde::{Deserialize, Serialize};

use crate::profile::Load;
use crate::sender::Offered;

/// An event as it came.
pub struct Arrived {
    pub at: Instant,
    pub payload: Bytes,
}

/// The stored frames of one device: (receive time, sequence), sorted.
type Stored = HashMap<String, Vec<(i64, u64)>>;

/// Some latencies.
#[derive(Debug, Default, Serialize)]
pub struct Latency {
    pub windows: usize,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// Both readings.
#[derive(Debug, Default, Serialize)]
pub struct Latencies {
    pub newest: Option<Latency>,
    pub closing: Option<Latency>,
    /// Events that came before the next frame was sent.
    pub before_closing: usize,
    /// Events whose window's frames are no longer, or not yet, in the stream, or that belong to the warm-up.
    pub left_out: usize,
}

/// What the stream holds of the frames.
pub struct Kept {
    pub frames: u64,
    /// Different (device, sequence) pairs.
    pub distinct: u64,
    stored: Stored,
}

impl Kept {
    /// Frames of the device with the fewest, and of the one with the most.
    pub fn by_device(&self) -> (u64, u64) {
        let counts = || self.stored.values().map(|frames| frames.len() as u64);
        (counts().min().unwrap_or(0), counts().max().unwrap_or(0))
    }
}

#[derive(Deserialize)]
struct Envelope {
    payload: Window,
}

#[derive(Deserialize)]
struct Window {
    device_id: String,
    window_end: Timestamp,
}

/// Reads the frames of `data.csi.>` from their messages.
pub fn kept<'a>(payloads: impl Iterator<Item = &'a Bytes>) -> anyhow::Result<Kept> {
    let mut stored = Stored::new();
    let mut frames = 0;
    for payload in payloads {
        let frame = CsiFrame::decode(payload.clone()).context("a message of data.csi.>")?;
        frames += 1;
        stored
            .entry(frame.device)
            .or_default()
            .push((frame.receive_time_us, frame.sequence));
    }
    let mut distinct = 0;
    for device in stored.values_mut() {
        device.sort_unstable();
        let mut sequences: Vec<u64> = device.iter().map(|(_, sequence)| *sequence).collect();
        sequences.sort_unstable();
        sequences.dedup();
        distinct += sequences.len() as u64;
    }
    Ok(Kept {
        frames,
        distinct,
        stored,
    })
}

/// Both readings of the latency, over the windows whose newest frame left after `from_us`.
pub fn latencies(
    arrived: &[Arrived],
    kept: &Kept,
    offered: &Offered,
    epoch: Instant,
    from_us: u64,
) -> anyhow::Result<Latencies> {
    let sent: HashMap<String, &[u64]> = offered
        .devices
        .iter()
        .map(|device| (Load::device(device.node), device.at_us.as_slice()))
        .collect();
    let (mut newest_us, mut closing_us) = (Vec::new(), Vec::new());
    let mut all = Latencies::default();
    for event in arrived {
        let Envelope { payload: window } =
            serde_json::from_slice(&event.payload).context("an event signal.signal_processed")?;
        let at_us = event.at.saturating_duration_since(epoch).as_micros() as u64;
        let frames = kept
            .stored
            .get(&window.device_id)
            .map_or(&[][..], Vec::as_slice);
        let end = frames.partition_point(|(time, _)| *time < window.window_end.as_micros());
        let left_at = |index: Option<usize>| {
            let (_, sequence) = frames.get(index?)?;
            sent.get(&window.device_id)?
                .get(usize::try_from(*sequence).ok()?)
                .copied()
        };
        match left_at(end.checked_sub(1)) {
            Some(left_us) if left_us >= from_us => {
                newest_us.push(at_us.saturating_sub(left_us));
                match left_at(Some(end)) {
                    Some(left_us) if left_us <= at_us => closing_us.push(at_us - left_us),
                    _ => all.before_closing += 1,
                }
            }
            _ => all.left_out += 1,
        }
    }
    all.newest = summary(newest_us);
    all.closing = summary(closing_us);
    Ok(all)
}

/// Percentiles by nearest rank; nothing of nothing.
fn summary(mut us: Vec<u64>) -> Option<Latency> {
    us.sort_unstable();
    let at = |share: f64| percentile(&us, share).map(|us| us as f64 / 1e3);
    Some(Latency {
        windows: us.len(),
        p50_ms: at(0.5)?,
        p90_ms: at(0.9)?,
        p99_ms: at(0.99)?,
        max_ms: at(1.0)?,
    })
}

/// The value below or at which the given share of sorted values lies.
pub fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sender::Sent;

    fn frame(sequence: u64, receive_time_us: i64) -> Bytes {
        let device = Load::device(7);
        CsiFrame {
            device,
            sequence,
            receive_time_us,
            ..CsiFrame::default()
        }
        .encode_to_vec()
        .into()
    }

    #[test]
    fn latency_counts_from_the_newest_and_from_the_closing_frame() {
        // Frames leave every 10 ms and are received 1 ms later, where 0 is 1970; the window ends at 25 ms.
        let frames: Vec<Bytes> = (0..5_u32)
            .map(|n| frame(n.into(), i64::from(n) * 10_000 + 1_000))
            .collect();
        let kept = kept(frames.iter()).expect("frames");
        assert_eq!((kept.frames, kept.distinct), (5, 5));
        let offered = Offered {
            devices: vec![Sent {
                node: 7,
                at_us: (0..5).map(|n| n * 10_000).collect(),
            }],
            late_us: Vec::new(),
            elapsed: Duration::ZERO,
        };
        let epoch = Instant::now();
        let payload = Bytes::from_static(
            br#"{"payload":{"device_id":"load-007","window_end":"1970-01-01T00:00:00.025Z"}}"#,
        );
        let at = |ms: u64| Arrived {
            at: epoch + Duration::from_millis(ms),
            payload: payload.clone(),
        };
        let measure = |arrived: &[Arrived], from_us| {
            latencies(arrived, &kept, &offered, epoch, from_us).expect("events")
        };
        let all = measure(&[at(34), at(36)], 0);
        let newest = all.newest.expect("windows");
        assert_eq!(
            (newest.windows, newest.p50_ms, newest.max_ms),
            (2, 14.0, 16.0)
        );
        let closing = all.closing.expect("windows");
        assert_eq!((closing.p50_ms, closing.max_ms), (4.0, 6.0));
        assert_eq!((all.before_closing, all.left_out), (0, 0));

        let early = measure(&[at(27)], 0);
        assert_eq!(early.before_closing, 1);
        assert!(early.closing.is_none());
        assert_eq!(measure(&[at(34)], 20_001).left_out, 1, "the warm-up's");
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&values, 0.5), Some(50));
        assert_eq!(percentile(&values, 0.99), Some(99));
        assert_eq!(percentile(&values, 1.0), Some(100));
        assert_eq!(percentile(&[7], 0.01), Some(7));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
