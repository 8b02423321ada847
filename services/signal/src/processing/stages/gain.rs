//! `gain`: rows of normalised power.

use std::collections::BTreeMap;

use dsp::gain::{GainBlocks, GainError};
use dsp::split::Split;

use super::{StageError, Work};
use crate::processing::batch::{Batch, Fate, Links, MOST_LINKS, Row, Tracked};

/// Divides the gain out of each frame. What it keeps follows from the links.
#[derive(Default)]
pub struct Gain {
    blocks: BTreeMap<u32, GainBlocks>,
    split: Split,
    scales: Vec<f32>,
    packed: Vec<u16>,
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
        let (split, scales) = (&mut self.split, &mut self.scales);
        let normalised = blocks
            .split(&frame.samples, split)
            .and_then(|()| blocks.normalise_split(split, &mut values, scales));
        if normalised.is_ok() {
            // Rounded as the live service keeps it, so that both say the same to the last bit.
            blocks.pack(split, &mut values, scales, &mut self.packed);
        }
        let fate = match &normalised {
            Err(GainError::NoEnergy { .. }) => Fate::NoEnergy,
            Err(_) => Fate::Faulty,
            Ok(_) => Fate::Taken,
        };
        let (log_rms, inverse_power) = match normalised {
            Ok(gain) => (gain.log_rms, gain.inverse_power),
            Err(_) => {
                values.clear();
                (0.0, 0.0)
            }
        };
        Ok(Row {
            values,
            log_rms,
            inverse_power,
            ..Row::of(number, frame, place, fate)
        })
    }
}
