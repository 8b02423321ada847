//! `breathing`: the breathing rate of each link while it is still, by the monitor of the live service.
//!
//! The history of a link holds its frames up to the end of the window, and begins anew with every motion; the rate is looked
//! for every few seconds and holds until the next look. See [`crate::breathing`].

use std::collections::BTreeMap;

use dsp::gain::GainBlocks;

use super::{StageError, StateError, Work, read, write};
use crate::breathing::{Kept, Monitor};
use crate::config::Settings;
use crate::processing::batch::{Batch, LinkInfo, Links};
use crate::processing::stage;

/// A monitor for each link.
pub struct Breathing {
    hop_us: i64,
    monitors: BTreeMap<u32, Monitor>,
    /// Shared by all of them.
    memory: dsp::breathing::Work,
}

impl Breathing {
    /// For windows as `of` cuts them.
    pub fn new(of: &stage::Window) -> Self {
        Self {
            hop_us: Settings {
                hop_s: of.hop_s,
                ..Settings::default()
            }
            .hop_us(),
            monitors: BTreeMap::new(),
            memory: dsp::breathing::Work::default(),
        }
    }
}

fn monitor(info: &LinkInfo) -> Monitor {
    let antennas = info.key.antennas;
    let blocks = GainBlocks::new(&info.subcarriers, &info.valid, usize::from(antennas));
    Monitor::of(&blocks, antennas, &info.pairs)
}

impl Work for Breathing {
    fn push(&mut self, batch: Batch, links: &mut Links) -> Result<Batch, StageError> {
        let Batch::Windows(mut windows) = batch else {
            return Err(StageError::Input);
        };
        for window in &mut windows {
            let (Some(info), Some(verdict)) = (links.get(window.link), &window.verdict) else {
                continue;
            };
            if window.begins {
                self.monitors.remove(&window.link);
            }
            let of_link = self.monitors.entry(window.link);
            let of_link = of_link.or_insert_with(|| monitor(info));
            for row in &window.fresh {
                of_link.take(row.time_us, &row.values, &row.samples);
            }
            window.breath =
                Some(of_link.look(window.end_us, self.hop_us, verdict, &mut self.memory));
        }
        Ok(Batch::Windows(windows))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        let monitors = self.monitors.iter();
        let kept: BTreeMap<u32, Kept> = monitors.map(|(link, one)| (*link, one.save())).collect();
        write(&kept)
    }

    fn restore(&mut self, state: &[u8], links: &Links) -> Result<(), StateError> {
        let kept: BTreeMap<u32, Kept> = read(state)?;
        for (link, kept) in kept {
            let mut monitor = monitor(links.get(link).ok_or_else(StateError::other)?);
            if !monitor.restore(kept) {
                return Err(StateError::other());
            }
            self.monitors.insert(link, monitor);
        }
        Ok(())
    }
}
