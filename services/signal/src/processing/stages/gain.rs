//! `gain`: rows of normalised power.

use std::collections::BTreeMap;

use dsp::gain::{GainBlocks, GainError};

use super::{StageError, Work};
use crate::order::Place;
use crate::processing::batch::{Batch, Fate, Links, MOST_LINKS, Row, Tracked};

/// Divides the gain out of each frame. What it keeps follows from the links.
#[derive(Default)]
pub struct Gain {
    blocks: BTreeMap<u32, GainBlocks>,
}

impl Work for Gain {
    fn push(&mut self, batch: Batch, links: &mut Links) -> Result<Batch, StageError> {
        let Batch::Frames(frames) = batch else {
            return Err(StageError::Input);
        };
        let rows = frames.into_iter().map(|frame| self.row(frame, links));
        Ok(Batch::Rows(rows.collect::<Result<_, _>>()?))
    }
}

impl Gain {
    fn row(&mut self, tracked: Tracked, links: &mut Links) -> Result<Row, StageError> {
        let Tracked { frame, node, place } = tracked;
        let number = links
            .number(&frame, node)
            .ok_or(StageError::TooManyLinks { most: MOST_LINKS })?;
        let blocks = self.blocks.entry(number).or_insert_with(|| {
            let layout = &frame.layout;
            GainBlocks::new(
                &layout.subcarriers,
                &layout.valid,
                usize::from(frame.antennas),
            )
        });
        let mut values = Vec::with_capacity(blocks.width());
        let normalised = blocks.normalise(&frame.samples, &mut values);
        let fate = match (place, &normalised) {
            (Some(Place::Repeated), _) => Fate::Repeated,
            (Some(Place::Late), _) => Fate::Late,
            (_, Err(GainError::NoEnergy { .. })) => Fate::NoEnergy,
            (_, Err(_)) => Fate::Faulty,
            (_, Ok(_)) => Fate::Taken,
        };
        let (log_rms, inverse_power) = match normalised {
            Ok(gain) => (gain.log_rms, gain.inverse_power),
            Err(_) => {
                values.clear();
                (0.0, 0.0)
            }
        };
        let time_us = frame.receive_time_us;
        Ok(Row {
            link: number,
            time_us,
            sample_us: frame.time_us(),
            fate,
            missed: match place {
                Some(Place::Next { missed }) => Some(missed),
                Some(_) => Some(0),
                None => None,
            },
            restarted: place == Some(Place::Restarted),
            values,
            log_rms,
            inverse_power,
            samples: frame.samples,
        })
    }
}
