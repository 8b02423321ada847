//! `window`: windows as the live service cuts them, with the same counts.
//!
//! It is the same bookkeeping as [`crate::device`] and [`crate::link`] do for live frames, over rows instead of frames; a
//! test holds the two together on recordings.

use std::collections::{BTreeMap, VecDeque};

use dsp::clock::{longest_gap_us, nominal_period_us};
use dsp::gain::GainBlocks;
use serde::{Deserialize, Serialize};

use super::{StageError, StateError, Work, read, write};
use crate::config::Settings;
use crate::detector::Counts;
use crate::link;
use crate::order::Tallies;
use crate::processing::batch::{self, Batch, Fate, LinkInfo, Links, Row};
use crate::processing::stage;
use crate::window::{Mark, PhaseSteadiness, Rows, levels};

/// Links of one device at most; the one that began first makes room.
const MOST_LINKS: usize = 16;

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Tally {
    slot: i64,
    seen: usize,
    no_energy: usize,
    identical: usize,
    left_out: usize,
}

/// The open windows of one link.
#[derive(Serialize, Deserialize)]
struct Link {
    number: u32,
    first_slot: i64,
    begins: bool,
    rows: Rows,
    powers: Option<Rows>,
    fresh: Vec<Row>,
    phase: PhaseSteadiness,
    tallies: VecDeque<Tally>,
}

/// The open windows of one device.
#[derive(Default, Serialize, Deserialize)]
struct Device {
    tallies: Tallies,
    slot: Option<i64>,
    newest_us: Option<i64>,
    validated: bool,
    links: Vec<Link>,
}

/// Cuts windows.
pub struct Windows {
    settings: Settings,
    powers: bool,
    fresh: bool,
    devices: BTreeMap<Option<u8>, Device>,
    /// Places of the valid samples of each link.
    places: BTreeMap<u32, Vec<usize>>,
    intervals: Vec<i64>,
    row: Vec<f32>,
}

impl Windows {
    /// `powers`: a later stage goes back to the powers of the frames; `fresh`: one goes back to the rows since the window before.
    pub fn new(of: &stage::Window, powers: bool, fresh: bool) -> Self {
        Self {
            settings: Settings {
                window_s: of.window_s,
                hop_s: of.hop_s,
                ..Settings::default()
            },
            powers,
            fresh,
            devices: BTreeMap::new(),
            places: BTreeMap::new(),
            intervals: Vec::new(),
            row: Vec::new(),
        }
    }

    fn take(&mut self, row: &Row, links: &Links, out: &mut Vec<batch::Window>) {
        let Some(info) = links.get(row.link) else {
            return;
        };
        let mut device = self.devices.remove(&info.node).unwrap_or_default();
        device.validated = row.missed.is_some();
        let slot = row.time_us.div_euclid(self.settings.hop_us());
        if matches!(row.fate, Fate::Repeated | Fate::Late) {
            // Time goes on, whatever the sequence numbers do; never back.
            let slot = device.slot.map_or(slot, |current| current.max(slot));
            self.advance(&mut device, slot, links, out);
            device.left_out(row, slot);
        } else {
            if row.restarted {
                device.begin_anew();
            }
            self.advance(&mut device, slot, links, out);
            device.newest_us = Some(row.time_us);
            if let Some(tally) = device.tallies.at(slot, 0, true) {
                tally.seen += 1;
                tally.missed += row.missed.unwrap_or_default();
            }
            self.keep(&mut device, row, info, slot);
        }
        self.devices.insert(info.node, device);
    }

    fn keep(&mut self, device: &mut Device, row: &Row, info: &LinkInfo, slot: i64) {
        let Some(link) = device.link(row, info, slot, self.powers) else {
            return;
        };
        match row.fate {
            Fate::NoEnergy => return link.count(slot, |tally| tally.no_energy += 1),
            Fate::Taken => {}
            Fate::Repeated | Fate::Late | Fate::Faulty => return,
        }
        let identical = link.rows.repeats(&row.values);
        let mark = Mark {
            time_us: row.time_us,
            log_rms: row.log_rms,
            inverse_power: row.inverse_power,
            level_dbm: row.level_dbm,
            identical,
            announced: None,
        };
        if !link.rows.push(&row.values, row.sample_us, mark) {
            return;
        }
        link.count(slot, |tally| {
            tally.seen += 1;
            tally.identical += usize::from(identical);
        });
        if info.has_phase() {
            let places = self.places.entry(row.link).or_insert_with(|| {
                let blocks = GainBlocks::new(
                    &info.subcarriers,
                    &info.valid,
                    usize::from(info.key.antennas),
                );
                blocks.places().to_vec()
            });
            link.phase.push(slot, &row.samples, places);
        }
        if self.fresh {
            link.fresh.push(row.clone());
        }
        if let Some(powers) = &mut link.powers {
            self.row.clear();
            self.row
                .extend(row.samples.iter().map(|sample| sample.norm_sqr()));
            powers.push(&self.row, row.sample_us, mark);
        }
    }

    /// Closes the windows that end at or before the beginning of `slot`.
    fn advance(
        &mut self,
        device: &mut Device,
        slot: i64,
        links: &Links,
        out: &mut Vec<batch::Window>,
    ) {
        let Some(current) = device.slot.replace(slot) else {
            return;
        };
        let hops = self.settings.hops();
        for last in current..slot.min(current.saturating_add(hops)) {
            self.close(device, last, links, out);
        }
        let oldest = slot - hops + 1;
        device.tallies.drop_before(oldest);
        let hop_us = self.settings.hop_us();
        device.links.retain_mut(|link| {
            link.drop_before(oldest, hop_us);
            link.active(oldest, slot)
        });
    }

    /// Gives the window of each link that ends with the hop `last`.
    fn close(
        &mut self,
        device: &mut Device,
        last: i64,
        links: &Links,
        out: &mut Vec<batch::Window>,
    ) {
        let first = last - self.settings.hops() + 1;
        let tally = device.tallies.sum(first, last);
        let hop = self.settings.hop_us();
        let counts = Counts {
            device_seen: tally.seen,
            missed: device
                .validated
                .then(|| usize::try_from(tally.missed).ok())
                .flatten(),
            disorder: tally.disorder,
            window_us: (last + 1 - first) * hop,
            ..Counts::default()
        };
        let begin = out.len();
        let validated = device.validated;
        for link in &mut device.links {
            if link.first_slot > first || !link.active(first, last) {
                continue;
            }
            let Some(info) = links.get(link.number) else {
                continue;
            };
            out.push(batch::Window {
                validated,
                ..link.cut(first, last, hop, counts, info, &mut self.intervals)
            });
        }
        if let Some(together) = out.get_mut(begin..) {
            // In an order that does not depend on which link was seen first.
            together.sort_by(|a, b| {
                let key = |window: &batch::Window| links.get(window.link).map(|info| &info.key);
                key(a).cmp(&key(b))
            });
        }
    }
}

impl Device {
    fn begin_anew(&mut self) {
        self.links.clear();
        self.tallies = Tallies::default();
        self.slot = None;
    }

    fn left_out(&mut self, row: &Row, slot: i64) {
        let late = row.fate == Fate::Late;
        if let Some(tally) = self.tallies.at(slot, 0, false) {
            tally.disorder += usize::from(late);
        }
        let link = self.links.iter_mut().find(|link| link.number == row.link);
        if let Some(link) = link {
            let identical = !late && !row.values.is_empty() && link.rows.repeats(&row.values);
            link.count(slot, |tally| {
                tally.left_out += 1;
                tally.identical += usize::from(identical);
            });
        }
    }

    fn link(&mut self, row: &Row, info: &LinkInfo, slot: i64, powers: bool) -> Option<&mut Link> {
        let place = match self.links.iter().position(|link| link.number == row.link) {
            Some(place) => place,
            None => {
                if self.links.len() >= MOST_LINKS {
                    self.links.remove(0);
                }
                let width = info.valid.iter().filter(|valid| **valid).count();
                self.links.push(Link {
                    number: row.link,
                    first_slot: slot,
                    begins: true,
                    rows: Rows::new(width * usize::from(info.key.antennas)),
                    powers: powers.then(|| Rows::new(info.frame_samples())),
                    fresh: Vec::new(),
                    phase: PhaseSteadiness::default(),
                    tallies: VecDeque::new(),
                });
                self.links.len() - 1
            }
        };
        self.links.get_mut(place)
    }
}

impl Link {
    fn count(&mut self, slot: i64, add: impl FnOnce(&mut Tally)) {
        if self.tallies.back().is_none_or(|newest| newest.slot < slot) {
            self.tallies.push_back(Tally {
                slot,
                ..Tally::default()
            });
        }
        if let Some(tally) = self.tallies.back_mut() {
            add(tally);
        }
    }

    fn active(&self, first: i64, last: i64) -> bool {
        self.tallies
            .iter()
            .any(|tally| (first..=last).contains(&tally.slot))
    }

    fn drop_before(&mut self, slot: i64, hop_us: i64) {
        let time_us = slot.saturating_mul(hop_us);
        self.rows.drop_before(time_us);
        if let Some(powers) = &mut self.powers {
            powers.drop_before(time_us);
        }
        self.phase.drop_before(slot);
        while self
            .tallies
            .front()
            .is_some_and(|oldest| oldest.slot < slot)
        {
            self.tallies.pop_front();
        }
    }

    fn cut(
        &mut self,
        first: i64,
        last: i64,
        hop: i64,
        mut counts: Counts,
        info: &LinkInfo,
        intervals: &mut Vec<i64>,
    ) -> batch::Window {
        let (start_us, end_us) = (first * hop, (last + 1) * hop);
        let (sample_us, values, marks) = self.rows.between(start_us, end_us);
        for tally in &self.tallies {
            if (first..=last).contains(&tally.slot) {
                counts.seen += tally.seen;
                counts.no_energy += tally.no_energy;
                counts.identical += tally.identical;
                counts.left_out += tally.left_out;
            }
        }
        let times_us: Vec<i64> = marks.iter().map(|mark| mark.time_us).collect();
        counts.period_us = nominal_period_us(sample_us, intervals);
        counts.longest_gap_us = longest_gap_us(&times_us, start_us, end_us);
        let (amplitude_mean, amplitude_std) = link::amplitude(marks);
        let mut levels_dbm = Vec::new();
        levels(marks, &mut levels_dbm);
        let powers = self
            .powers
            .as_ref()
            .map(|powers| powers.between(start_us, end_us).1.to_vec());
        batch::Window {
            link: self.number,
            start_us,
            end_us,
            hop_us: hop,
            begins: std::mem::take(&mut self.begins),
            validated: false,
            sample_us: sample_us.to_vec(),
            values: values.to_vec(),
            width: self.rows.width(),
            powers: powers.unwrap_or_default(),
            rounding: if info.is_rounded() {
                link::rounding(marks)
            } else {
                0.0
            },
            levels_dbm,
            times_us,
            amplitude_mean,
            amplitude_std,
            phase_variance: self.phase.variance(first, last),
            counts,
            motion: None,
            verdict: None,
            fresh: std::mem::take(&mut self.fresh),
            breath: None,
            selected: None,
            speed: None,
            level: None,
            features: Vec::new(),
        }
    }
}

impl Work for Windows {
    fn push(&mut self, batch: Batch, links: &mut Links) -> Result<Batch, StageError> {
        let Batch::Rows(rows) = batch else {
            return Err(StageError::Input);
        };
        let mut out = Vec::new();
        for row in &rows {
            self.take(row, links, &mut out);
        }
        Ok(Batch::Windows(out))
    }

    fn finish(&mut self, links: &mut Links) -> Result<Option<Batch>, StageError> {
        let mut out = Vec::new();
        for (_, mut device) in std::mem::take(&mut self.devices) {
            let (Some(slot), Some(newest)) = (device.slot, device.newest_us) else {
                continue;
            };
            // The open hop counts where at least half of it was covered.
            let hop = self.settings.hop_us();
            if (newest - slot * hop) * 2 >= hop {
                self.close(&mut device, slot, links, &mut out);
            }
        }
        Ok(Some(Batch::Windows(out)))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        write(&self.devices)
    }

    fn restore(&mut self, state: &[u8], _: &Links) -> Result<(), StateError> {
        self.devices = read(state)?;
        Ok(())
    }
}
