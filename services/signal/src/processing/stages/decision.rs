//! `decision`: motion, still or unknown, by the judgement of the live service.

use std::collections::{BTreeMap, BTreeSet};

use dsp::motion::Lasting;
use serde::{Deserialize, Serialize};

use super::{StageError, StateError, Work, read, write};
use crate::config::Settings;
use crate::detector::{LinkState, judge};
use crate::processing::batch::{Batch, Links};
use crate::processing::stage;

/// Decides; keeps which links are in motion, and what their latest windows leave to the next.
pub struct Decision {
    settings: Settings,
    moving: BTreeSet<u32>,
    lasting: BTreeMap<u32, Lasting>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    moving: BTreeSet<u32>,
    lasting: Vec<(u32, Vec<f64>, i64)>,
}

impl Decision {
    pub fn new(of: &stage::Decision) -> Self {
        Self {
            settings: of.settings(),
            moving: BTreeSet::new(),
            lasting: BTreeMap::new(),
        }
    }
}

impl Work for Decision {
    fn push(&mut self, batch: Batch, _: &mut Links) -> Result<Batch, StageError> {
        let Batch::Windows(mut windows) = batch else {
            return Err(StageError::Input);
        };
        for window in &mut windows {
            let moving = !window.begins && self.moving.contains(&window.link);
            let lasting = self.lasting.entry(window.link).or_default();
            if window.begins {
                *lasting = Lasting::default();
            }
            let verdict = judge(
                &self.settings,
                &window.counts,
                window.motion.as_ref(),
                moving,
                (lasting, window.end_us, window.hop_us),
            );
            if verdict.state == LinkState::Motion {
                self.moving.insert(window.link);
            } else {
                self.moving.remove(&window.link);
            }
            window.verdict = Some(verdict);
        }
        Ok(Batch::Windows(windows))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        let of = |(link, lasting): (&u32, &Lasting)| {
            (*link, lasting.recent().collect(), lasting.end_us())
        };
        write(&Kept {
            moving: self.moving.clone(),
            lasting: self.lasting.iter().map(of).collect(),
        })
    }

    fn restore(&mut self, state: &[u8], _: &Links) -> Result<(), StateError> {
        let kept: Kept = read(state)?;
        self.moving = kept.moving;
        let of = |(link, recent, end_us): (u32, Vec<f64>, i64)| (link, Lasting::of(recent, end_us));
        self.lasting = kept.lasting.into_iter().map(of).collect();
        Ok(())
    }
}
