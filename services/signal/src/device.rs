//! One device: the order of its frames, its links and their windows, and when motion began.

use std::collections::BTreeMap;
use std::sync::Arc;

use csi::Frame;
use dsp::gain::GainError;
use dsp::motion::Lasting;
use events::DataSource;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::calibration::Calibrated;
use crate::config::Settings;
use crate::detector::{Counts, LinkState};
use crate::false_alarms::{Limit, Origin};
use crate::link::{Bench, Evaluation, Link, LinkKey, Taken};
use crate::masks::Part;
pub use crate::onset::{MotionNews, Onset};
use crate::order::{Order, Place, Tallies};
use crate::presence::Presence;
use crate::zone::Fused;

/// Links of one device at most; the one that was silent longest makes room.
const MOST_LINKS: usize = 16;

/// A window of one link, evaluated.
#[derive(Debug)]
pub struct Closed {
    /// Place of the link among the device's.
    pub key: LinkKey,
    /// Beginning of the window, microseconds.
    pub start_us: i64,
    /// Its end.
    pub end_us: i64,
    /// What it says.
    pub evaluation: Evaluation,
    /// The calibration that the threshold (then `limit.learnt` is there) or the distance from the empty room comes from, or both.
    pub calibration: Option<Uuid>,
    /// The threshold, and what is known of it.
    pub limit: Limit,
    /// To be announced.
    pub news: Option<MotionNews>,
    /// Motion of the zone that no link shows by itself, to be announced with this window.
    pub fused: Option<Box<Fused>>,
    /// Trace that the newest announced frame belongs to.
    pub trace: Option<std::sync::Arc<str>>,
    /// Id of the newest frame.
    pub newest_frame: Uuid,
    /// Gateway's wall clock at the newest frame.
    pub ingest_time_us: i64,
    /// Presence in the zone after this window.
    pub presence: Presence,
    /// Motion in the zone after this window.
    pub zone_state: LinkState,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It counts.
    Taken {
        /// Usable share of it.
        quality: f32,
        /// No part of it is empty.
        complete: bool,
        /// Frames that were lost before it.
        missed: u64,
    },
    /// Sent twice: passed over.
    Repeated,
    /// Out of order: left out.
    Late,
    /// It holds no channel.
    Faulty(GainError),
    /// The device sends more than is kept.
    Overflow,
}

/// State of one device.
#[derive(Debug)]
pub struct Device {
    /// The replay, recording session or simulation that its frames belong to.
    pub run: Option<Uuid>,
    /// Where they come from.
    pub source: DataSource,
    /// The empty-room calibration in use.
    calibration: Option<Arc<Calibrated>>,
    masks: Vec<Part>,
    /// Settings of its zone that differ from the service's.
    pub chosen: Option<Arc<Settings>>,
    order: Order,
    tallies: Tallies,
    slot: Option<i64>,
    links: Vec<Link>,
    /// Motion, where there is any.
    pub onset: Option<Onset>,
    /// When each failure was last announced.
    pub failures: BTreeMap<String, i64>,
    trace: Option<std::sync::Arc<str>>,
    newest_frame: Uuid,
    ingest_time_us: i64,
    /// Sequence in the stream of the newest frame.
    pub newest_in_stream: u64,
}

/// What is kept of a link over a restart, besides the frames that its windows need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLink {
    /// Which link.
    pub key: LinkKey,
    /// Hop that its first window begins with.
    pub first_slot: i64,
    /// In motion in the latest window.
    pub moving: bool,
    /// Frequency of something that moves steadily, microhertz.
    #[serde(default)]
    pub mover_uhz: Option<u64>,
    /// Statistics of the latest windows, as bits: JSON may lose the last one of a number, and a restart must not show.
    #[serde(default)]
    pub recent: Vec<u64>,
    /// End of the last of them, microseconds.
    #[serde(default)]
    pub recent_end_us: i64,
}

impl Device {
    /// A device without frames, and what is not to be looked at of it.
    #[must_use]
    pub fn new(source: DataSource, run: Option<Uuid>, masks: Vec<Part>) -> Self {
        Self {
            run,
            source,
            calibration: None,
            masks,
            chosen: None,
            order: Order::default(),
            tallies: Tallies::default(),
            slot: None,
            links: Vec::new(),
            onset: None,
            failures: BTreeMap::new(),
            trace: None,
            newest_frame: Uuid::nil(),
            ingest_time_us: 0,
            newest_in_stream: 0,
        }
    }

    /// The windows that close from now on are held against this calibration, or none.
    pub fn calibrate(&mut self, calibration: Option<Arc<Calibrated>>) {
        self.calibration = calibration;
        for link in &mut self.links {
            link.calibrate(self.calibration.as_deref());
        }
    }

    /// Nobody is in the zone: the baselines of links below the distance `near` follow.
    pub fn follow(&mut self, hop_s: f64, near: f64) {
        for link in &mut self.links {
            link.follow(hop_s, near);
        }
    }

    /// Takes a frame: first closes the windows that end before it, into `closed`.
    #[allow(clippy::too_many_arguments)]
    pub fn push(
        &mut self,
        settings: &Settings,
        frame: &Frame,
        published: &csi::wire::Published,
        stream_sequence: u64,
        trace: Option<&std::sync::Arc<str>>,
        bench: &mut Bench,
        closed: &mut Vec<Closed>,
    ) -> Fate {
        self.newest_in_stream = stream_sequence;
        let time_us = frame.receive_time_us;
        let slot = time_us.div_euclid(settings.hop_us());
        let place = self.order.place(frame.sequence, time_us);
        let missed = match place {
            Place::Next { missed } => missed,
            Place::Restarted => {
                self.begin_anew();
                0
            }
            Place::Repeated | Place::Late => {
                // Time goes on, whatever the sequence numbers do; never back.
                let slot = self.slot.map_or(slot, |current| current.max(slot));
                self.advance(settings, slot, bench, closed);
                let tally = self.tallies.at(slot, stream_sequence, false);
                let link = self.links.iter_mut().find(|link| link.fits(frame));
                if place == Place::Late {
                    if let Some(tally) = tally {
                        tally.disorder += 1;
                    }
                    if let Some(link) = link {
                        link.late(slot);
                    }
                    return Fate::Late;
                }
                if let Some(link) = link {
                    link.repeat(frame, slot, bench);
                }
                return Fate::Repeated;
            }
        };
        self.advance(settings, slot, bench, closed);
        self.newest_frame = published.frame_id;
        self.ingest_time_us = published.ingest_time_us;
        if let Some(tally) = self.tallies.at(slot, stream_sequence, true) {
            tally.seen += 1;
            tally.missed += missed;
        }
        if published.announced && trace.is_some() {
            self.trace = trace.cloned();
        }
        let announced = published.announced.then_some(published.frame_id);
        match self
            .link(settings, frame, slot)
            .map(|link| link.push(frame, slot, announced, bench))
        {
            Some(Ok(Taken::Row { quality, complete })) => Fate::Taken {
                quality,
                complete,
                missed,
            },
            Some(Ok(Taken::Full)) | None => Fate::Overflow,
            Some(Err(error)) => Fate::Faulty(error),
        }
    }

    /// Forgets the open windows: nothing came for so long that they will not be closed.
    pub fn begin_anew(&mut self) {
        self.links.clear();
        self.tallies = Tallies::default();
        self.slot = None;
    }

    fn link(&mut self, settings: &Settings, frame: &Frame, slot: i64) -> Option<&mut Link> {
        let place = match self.links.iter().position(|link| link.fits(frame)) {
            Some(place) => place,
            None => {
                if self.links.len() >= MOST_LINKS {
                    self.links.remove(0);
                }
                let window_us = settings.hops() * settings.hop_us();
                let mut link = Link::new(frame, slot, &self.masks, window_us);
                link.calibrate(self.calibration.as_deref());
                self.links.push(link);
                self.links.len() - 1
            }
        };
        self.links.get_mut(place)
    }

    /// Closes all windows that end at or before the beginning of `slot`.
    fn advance(
        &mut self,
        settings: &Settings,
        slot: i64,
        bench: &mut Bench,
        closed: &mut Vec<Closed>,
    ) {
        let Some(current) = self.slot.replace(slot) else {
            return;
        };
        let hops = settings.hops();
        // Beyond one window's length after the last frame no window holds anything.
        for last in current..slot.min(current.saturating_add(hops)) {
            self.close(settings, last, bench, closed);
        }
        let oldest = slot - hops + 1;
        self.tallies.drop_before(oldest);
        self.links.retain_mut(|link| {
            link.drop_before(oldest, settings.hop_us());
            link.active(oldest, slot)
        });
    }

    /// Evaluates the window of each link that ends with the hop `last`.
    fn close(
        &mut self,
        settings: &Settings,
        last: i64,
        bench: &mut Bench,
        closed: &mut Vec<Closed>,
    ) {
        let first = last - settings.hops() + 1;
        let hop = settings.hop_us();
        let (start_us, end_us) = (first * hop, (last + 1) * hop);
        let tally = self.tallies.sum(first, last);
        let counts = Counts {
            device_seen: tally.seen,
            missed: usize::try_from(tally.missed).ok(),
            disorder: tally.disorder,
            ..Counts::default()
        };
        let begin = closed.len();
        for link in &mut self.links {
            if link.first_slot() > first || !link.active(first, last) {
                continue;
            }
            let key = link.key();
            let calibrated = self
                .calibration
                .as_ref()
                .and_then(|calibrated| Some((calibrated.id, calibrated.settings(&key, settings)?)));
            let of_link = calibrated.as_ref().map_or(settings, |(_, (with, _))| with);
            let masked = self
                .masks
                .iter()
                .any(|mask| mask.covers(key.transmitter, end_us));
            let evaluation = link.evaluate(of_link, first, last, counts, masked, bench);
            let default = Limit {
                threshold: settings.threshold,
                origin: if settings.threshold_is_chosen {
                    Origin::Zone
                } else {
                    Origin::Settings
                },
                ..Limit::default()
            };
            let used = self.calibration.as_ref().map(|calibration| calibration.id);
            closed.push(Closed {
                key,
                limit: calibrated
                    .as_ref()
                    .map_or(default, |(_, (_, limit))| *limit),
                calibration: used.filter(|_| calibrated.is_some() || evaluation.distance.is_ok()),
                start_us,
                end_us,
                evaluation,
                news: None,
                fused: None,
                trace: self.trace.clone(),
                newest_frame: self.newest_frame,
                ingest_time_us: self.ingest_time_us,
                presence: Presence::default(),
                zone_state: LinkState::Unknown,
            });
        }
        let windows = closed.get_mut(begin..).unwrap_or_default();
        // In an order that does not depend on which link was seen first.
        windows.sort_by(|a, b| a.key.cmp(&b.key));
        let moving = |window: &&mut Closed| window.evaluation.verdict.state == LinkState::Motion;
        let statistic =
            |window: &&mut Closed| window.evaluation.verdict.statistic.unwrap_or_default();
        let strongest = windows
            .iter_mut()
            .filter(moving)
            .max_by(|a, b| statistic(a).total_cmp(&statistic(b)));
        if let Some(window) = strongest {
            window.news = Onset::note(&mut self.onset, settings, end_us);
        }
    }

    /// The input is over: closes the open hop where at least half of it was covered.
    pub fn finish(&mut self, settings: &Settings, bench: &mut Bench, closed: &mut Vec<Closed>) {
        let (Some(slot), Some(newest)) = (self.slot, self.order.newest_us()) else {
            return;
        };
        let hop = settings.hop_us();
        if (newest - slot * hop) * 2 >= hop {
            self.close(settings, slot, bench, closed);
        }
        self.begin_anew();
        self.order = Order::default();
        self.onset = None;
    }

    /// Sequence in the stream of the oldest frame that is still needed.
    #[must_use]
    pub fn needs(&self) -> Option<u64> {
        self.tallies.needs()
    }

    /// Time of the newest frame in order.
    #[must_use]
    pub fn newest_us(&self) -> Option<i64> {
        self.order.newest_us()
    }

    /// What is to be kept of the links.
    #[must_use]
    pub fn kept_links(&self) -> Vec<KeptLink> {
        let keep = |link: &Link| KeptLink {
            key: link.key(),
            first_slot: link.first_slot(),
            moving: link.moving,
            mover_uhz: link.mover_uhz(),
            recent: link.lasting().recent().map(f64::to_bits).collect(),
            recent_end_us: link.lasting().end_us(),
        };
        self.links.iter().map(keep).collect()
    }

    /// Takes up what was kept of the links.
    pub fn resume_links(&mut self, kept: &[KeptLink]) {
        for link in &mut self.links {
            let key = link.key();
            if let Some(kept) = kept.iter().find(|kept| kept.key == key) {
                let recent = kept.recent.iter().copied().map(f64::from_bits);
                let lasting = Lasting::of(recent, kept.recent_end_us);
                link.resume(kept.first_slot, kept.moving, kept.mover_uhz, lasting);
            }
        }
    }
}
