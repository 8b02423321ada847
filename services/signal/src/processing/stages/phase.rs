//! `phase`: rows of phase less the receiver's line, by [`dsp::phase`].
//!
//! A row has a value for each valid sample: antenna by antenna, in ascending subcarrier index; not a number where the phase
//! is not known. A link without phase gives rows without values.

use std::collections::BTreeMap;

use dsp::phase::{Line, PhaseError, Phases, Sanitizer};

use super::{StageError, Work};
use crate::processing::batch::{Batch, Fate, Links, MOST_LINKS, Row, Tracked};
use crate::processing::stage;

/// Sanitises each frame. What it keeps follows from the links.
pub struct Phase {
    line: Line,
    sanitizers: BTreeMap<u32, Sanitizer>,
    phases: Phases,
}

impl Phase {
    pub fn new(of: &stage::Phase) -> Self {
        Self {
            line: of.line.into(),
            sanitizers: BTreeMap::new(),
            phases: Phases::default(),
        }
    }

    fn row(&mut self, tracked: Tracked, links: &mut Links) -> Result<Row, StageError> {
        let Tracked { frame, node, place } = tracked;
        let number = links
            .number(&frame, node)
            .ok_or(StageError::TooManyLinks { most: MOST_LINKS })?;
        let sanitizer = self.sanitizers.entry(number).or_insert_with(|| {
            let layout = &frame.layout;
            Sanitizer::new(
                &layout.subcarriers,
                &layout.valid,
                usize::from(frame.antennas),
            )
        });
        let sanitized = sanitizer.sanitize(&frame.samples, self.line, &mut self.phases);
        let mut values = Vec::new();
        let fate = match sanitized {
            Ok(()) => Fate::Taken,
            Err(PhaseError::NoEnergy) => Fate::NoEnergy,
            Err(_) => Fate::Faulty,
        };
        if fate == Fate::Taken && links.get(number).is_some_and(|link| link.has_phase()) {
            let pairs = self.phases.radians.iter().zip(&self.phases.known);
            values.extend(pairs.map(|(radians, known)| if *known { *radians } else { f32::NAN }));
        }
        Ok(Row {
            values,
            samples: Vec::new(),
            ..Row::of(number, frame, place, fate)
        })
    }
}

impl Work for Phase {
    fn push(&mut self, batch: Batch, links: &mut Links) -> Result<Batch, StageError> {
        let Batch::Frames(frames) = batch else {
            return Err(StageError::Input);
        };
        let rows = frames.into_iter().map(|frame| self.row(frame, links));
        Ok(Batch::Rows(rows.collect::<Result<_, _>>()?))
    }
}
