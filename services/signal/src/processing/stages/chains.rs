//! `csi_ratio` and `conjugate_product`: two receive chains on one clock held against one another, by [`dsp::phase`].
//!
//! A row has the real parts of all valid samples, transmit stream by transmit stream in the order of the layout, and behind them
//! the imaginary parts. In a null of the second chain the ratio is not a number. A frame with an empty or damaged chain gives a
//! row without values.

use csi::{Frame, SampleFormat};
use dsp::phase::{PhaseError, conjugate_product, ratio};
use num_complex::Complex32;

use super::{StageError, Work};
use crate::processing::batch::{Batch, Fate, Links, MOST_LINKS, Row, Tracked};
use crate::processing::stage;

/// What is made of the two chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The quotient.
    Ratio,
    /// The first times the conjugate of the second.
    Product,
}

/// Holds two chains against one another. It keeps memory, and nothing of the past.
pub struct Chains {
    form: Form,
    first: usize,
    second: usize,
    quotients: Vec<Option<Complex32>>,
    products: Vec<Complex32>,
}

impl Chains {
    pub fn new(of: &stage::Chains, form: Form) -> Self {
        Self {
            form,
            first: of.first,
            second: of.second,
            quotients: Vec::new(),
            products: Vec::new(),
        }
    }

    fn row(&mut self, tracked: Tracked, links: &mut Links) -> Result<Row, StageError> {
        let Tracked { frame, node, place } = tracked;
        let number = links
            .number(&frame, node)
            .ok_or(StageError::TooManyLinks { most: MOST_LINKS })?;
        let chains = usize::from(frame.receive_chains());
        if frame.format == SampleFormat::Af32 {
            return Err(StageError::NoPhase { link: number });
        }
        if self.first.max(self.second) >= chains {
            return Err(StageError::TooFewChains {
                link: number,
                chains,
                first: self.first,
                second: self.second,
            });
        }
        let mut values = Vec::new();
        let fate = match self.of(&frame, &mut values) {
            Ok(()) => Fate::Taken,
            Err(PhaseError::NoEnergy) => Fate::NoEnergy,
            Err(_) => Fate::Faulty,
        };
        if fate != Fate::Taken {
            values.clear();
        }
        Ok(Row {
            values,
            samples: Vec::new(),
            ..Row::of(number, frame, place, fate)
        })
    }

    fn of(&mut self, frame: &Frame, values: &mut Vec<f32>) -> Result<(), PhaseError> {
        let streams = usize::from(frame.transmit_streams.max(1));
        let antenna = |chain: usize, stream: usize| {
            u8::try_from(chain * streams + stream).map_or(&[][..], |antenna| frame.antenna(antenna))
        };
        let mut imaginary = Vec::new();
        for stream in 0..streams {
            let (first, second) = (antenna(self.first, stream), antenna(self.second, stream));
            self.pair(first, second)?;
            for (valid, place) in frame.layout.valid.iter().zip(0..) {
                let missing = Complex32::new(f32::NAN, f32::NAN);
                let value = match self.form {
                    Form::Ratio => self.quotients.get(place).copied().flatten(),
                    Form::Product => self.products.get(place).copied(),
                };
                let value = value.unwrap_or(missing);
                if *valid {
                    values.push(value.re);
                    imaginary.push(value.im);
                }
            }
        }
        values.append(&mut imaginary);
        Ok(())
    }

    fn pair(&mut self, first: &[Complex32], second: &[Complex32]) -> Result<(), PhaseError> {
        match self.form {
            Form::Ratio => ratio(first, second, &mut self.quotients),
            Form::Product => conjugate_product(first, second, &mut self.products),
        }
    }
}

impl Work for Chains {
    fn push(&mut self, batch: Batch, links: &mut Links) -> Result<Batch, StageError> {
        let Batch::Frames(frames) = batch else {
            return Err(StageError::Input);
        };
        let rows = frames.into_iter().map(|frame| self.row(frame, links));
        Ok(Batch::Rows(rows.collect::<Result<_, _>>()?))
    }
}
