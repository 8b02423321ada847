//! `decision`: motion, still or unknown, by the judgement of the live service.

use std::collections::BTreeSet;

use super::{StageError, StateError, Work, read, write};
use crate::config::Settings;
use crate::detector::{LinkState, judge};
use crate::processing::batch::{Batch, Links};
use crate::processing::stage;

/// Decides; keeps which links are in motion.
pub struct Decision {
    settings: Settings,
    moving: BTreeSet<u32>,
}

impl Decision {
    pub fn new(of: &stage::Decision) -> Self {
        Self {
            settings: of.settings(),
            moving: BTreeSet::new(),
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
            let verdict = judge(
                &self.settings,
                &window.counts,
                window.motion.as_ref(),
                moving,
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
        write(&self.moving)
    }

    fn restore(&mut self, state: &[u8], _: &Links) -> Result<(), StateError> {
        self.moving = read(state)?;
        Ok(())
    }
}
