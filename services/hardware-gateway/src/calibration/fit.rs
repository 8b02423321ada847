//! Whether what a device sends is still what a calibration of it learnt. Pure.

use std::collections::VecDeque;

use dsp::motion::METHOD;
use proto::gateway::v1 as pb;
use proto::gateway::v1::link_calibration::Result::EmptyRoom;

use super::collect::{Collector, LinkFrames};
use super::keep::describe;
use super::{Kind, empty_room};
use crate::health::Calibrated;

/// Part of the threshold below which an empty room may always be: what is far from a false alarm is no drift.
const HARMLESS: f64 = 0.5;

/// What is remembered of one device from look to look.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// The empty-room calibration that the windows are held against.
    calibration_id: String,
    /// Motion statistic of a window of each of the last looks.
    windows: VecDeque<f64>,
    seen: Calibrated,
}

impl Watched {
    /// Takes a look at the calibrations `in_use`, at `now_us`, with what was gathered of the device meanwhile; `of` windows
    /// must all be louder than the empty room before that is said. A look at which no frame came changes only what expired.
    pub fn look(
        &mut self,
        in_use: &[(Kind, pb::Calibration)],
        gathered: &Collector,
        of: usize,
        now_us: i64,
    ) -> Calibrated {
        let expired = in_use.iter().find(|(_, kept)| is_expired(kept, now_us));
        self.seen.expired = expired.map(|(kind, _)| kind.as_str());
        if gathered.frames > 0 {
            let shares = in_use.iter().filter_map(|(kind, kept)| {
                // Noise is of the receiver, whatever it hears.
                let share = (*kind != Kind::NoiseFloor).then(|| share(kept, gathered))?;
                Some((kind.as_str(), share))
            });
            self.seen.fit = shares.min_by(|(_, a), (_, b)| a.total_cmp(b));
        }
        let room = in_use.iter().find(|(kind, _)| *kind == Kind::EmptyRoom);
        let id = room.map(|(_, kept)| kept.calibration_id.as_str());
        if id != Some(&self.calibration_id) {
            self.calibration_id = id.unwrap_or_default().to_owned();
            self.windows.clear();
            self.seen.quietest = None;
        }
        if let Some((window, most)) = room.and_then(|(_, kept)| window(kept, gathered)) {
            self.windows.push_back(window);
            while self.windows.len() > of {
                self.windows.pop_front();
            }
            let quietest = self.windows.iter().copied().reduce(f64::min);
            let full = self.windows.len() >= of;
            self.seen.quietest = quietest.filter(|_| full).map(|quietest| (quietest, most));
        }
        self.seen
    }
}

/// Whether its time is over, or it is of another motion statistic than the one in use.
#[must_use]
pub fn is_expired(kept: &pb::Calibration, now_us: i64) -> bool {
    let over = kept.expire_time.is_some_and(|time| {
        let micros = time.seconds.saturating_mul(1_000_000) + i64::from(time.nanos / 1000);
        micros <= now_us
    });
    over || kept.links.iter().any(|link| match &link.result {
        Some(EmptyRoom(room)) => room.motion_method != METHOD,
        _ => false,
    })
}

/// Share of the frames that are of a link that the calibration knows.
#[allow(clippy::cast_precision_loss)]
fn share(kept: &pb::Calibration, gathered: &Collector) -> f64 {
    let frames = |links: &mut dyn Iterator<Item = &LinkFrames>| -> usize {
        links.map(|link| link.receive_us.len()).sum()
    };
    let all = frames(&mut gathered.links.iter());
    let known = frames(
        &mut gathered
            .links
            .iter()
            .filter(|link| known(kept, link).is_some()),
    );
    known as f64 / all.max(1) as f64
}

/// What the calibration has of this link.
fn known<'a>(kept: &'a pb::Calibration, link: &LinkFrames) -> Option<&'a pb::LinkCalibration> {
    let link = describe(link);
    kept.links.iter().find(|known| {
        known.transmitter == link.transmitter
            && known.layout == link.layout
            && known.subcarriers == link.subcarriers
            && known.antennas == link.antennas
            && known.ppdu == link.ppdu
            && known.receive_chain == link.receive_chain
            && known.spatial_stream == link.spatial_stream
    })
}

/// Motion statistic of the newest window of the strongest link that is known, and the most that its empty room is to have:
/// what it had when it was calibrated, or what is harmless.
fn window(kept: &pb::Calibration, gathered: &Collector) -> Option<(f64, f64)> {
    let links = gathered.main_links();
    let (link, known) = links
        .iter()
        .find_map(|link| known(kept, link).map(|known| (link, known)))?;
    let Some(EmptyRoom(room)) = &known.result else {
        return None;
    };
    (room.motion_method == METHOD).then_some(())?;
    let most = room.motion_quantiles.last().copied().unwrap_or_default();
    let most = most.max(HARMLESS * room.motion_threshold);
    (most > 0.0).then_some(())?;
    Some((empty_room::newest(link)?, most))
}

#[cfg(test)]
mod tests;
