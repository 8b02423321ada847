//! How many of the calls that cost something may be under way at once.

use std::sync::Arc;

use runtime::refuse;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

/// A number of places; who finds none is refused.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    most: usize,
    /// What they are for, in the plural.
    what: &'static str,
    /// UPPER_SNAKE_CASE.
    reason: &'static str,
    /// The setting that says how many there are.
    setting: &'static str,
}

impl Places {
    pub fn new(
        most: usize,
        what: &'static str,
        reason: &'static str,
        setting: &'static str,
    ) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most)),
            most,
            what,
            reason,
            setting,
        }
    }

    /// A place, until it is dropped.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED where none is free.
    pub fn take(&self) -> Result<OwnedSemaphorePermit, Status> {
        let Self {
            most,
            what,
            setting,
            ..
        } = self;
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let message = format!("{most} {what} are under way already, and no more may be ({setting}); try again later");
            refuse(Code::ResourceExhausted, self.reason, message)
        })
    }
}
