//! `validate`: the order of each device's frames.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{StageError, StateError, Work, read, write};
use crate::order;
use crate::processing::batch::{Batch, Links};
use crate::processing::stage::Validate;

/// Places from which on the share of faulty ones says something.
const ENOUGH: u64 = 1000;

#[derive(Default, Serialize, Deserialize)]
struct State {
    orders: BTreeMap<Option<u8>, order::Order>,
    places: u64,
    faulty: u64,
}

/// Follows the order of each device.
pub struct Order {
    max_faulty: f64,
    state: State,
}

impl Order {
    pub fn new(of: &Validate) -> Self {
        Self {
            max_faulty: of.max_faulty,
            state: State::default(),
        }
    }
}

impl Work for Order {
    fn push(&mut self, batch: Batch, _: &mut Links) -> Result<Batch, StageError> {
        let Batch::Frames(mut frames) = batch else {
            return Err(StageError::Input);
        };
        for tracked in &mut frames {
            let frame = &tracked.frame;
            let order = self.state.orders.entry(tracked.node).or_default();
            tracked.place = Some(order.place(frame.sequence, frame.receive_time_us));
            let power: f32 = frame.samples.iter().map(|s| s.norm_sqr()).sum();
            self.state.places += 1;
            self.state.faulty += u64::from(!(power.is_finite() && power > 0.0));
            self.judge()?;
        }
        Ok(Batch::Frames(frames))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        write(&self.state)
    }

    fn restore(&mut self, state: &[u8], _: &Links) -> Result<(), StateError> {
        self.state = read(state)?;
        Ok(())
    }

    fn malformed(&mut self, places: u64) -> Result<(), StageError> {
        self.state.places += places;
        self.state.faulty += places;
        self.judge()
    }
}

impl Order {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    fn judge(&self) -> Result<(), StageError> {
        let State { places, faulty, .. } = self.state;
        if places >= ENOUGH && faulty as f64 > self.max_faulty * places as f64 {
            return Err(StageError::TooManyFaults {
                faulty,
                places,
                limit: (self.max_faulty * 1000.0) as u64,
            });
        }
        Ok(())
    }
}
