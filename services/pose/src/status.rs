//! What the service tells those who ask: its model, its counts, the activity of each zone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use events::ZoneId;

use crate::package::Manifest;
use crate::zones::Activity;

/// The model that runs, or why none does.
#[derive(Clone, Debug)]
pub enum ModelState {
    /// Nothing is inferred, for this reason.
    None(String),
    /// This one runs.
    Loaded(Box<Manifest>),
}

/// Shared between the task that reads windows and the gRPC server.
#[derive(Debug)]
pub struct Status {
    /// The model.
    pub model: ModelState,
    windows: AtomicU64,
    inferences: AtomicU64,
    activities: Mutex<BTreeMap<ZoneId, Activity>>,
}

impl Status {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(model: ModelState) -> Self {
        Self {
            model,
            windows: AtomicU64::new(0),
            inferences: AtomicU64::new(0),
            activities: Mutex::new(BTreeMap::new()),
        }
    }

    /// A window was read.
    pub fn count_window(&self) {
        self.windows.fetch_add(1, Ordering::Relaxed);
    }

    /// The model was run.
    pub fn count_inference(&self) {
        self.inferences.fetch_add(1, Ordering::Relaxed);
    }

    /// Windows read, and runs of the model.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (
            self.windows.load(Ordering::Relaxed),
            self.inferences.load(Ordering::Relaxed),
        )
    }

    /// The activity of a zone is this now.
    pub fn set_activity(&self, zone: &ZoneId, activity: Activity) {
        let mut activities = self
            .activities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match activities.get_mut(zone) {
            Some(known) => *known = activity,
            None => {
                activities.insert(zone.clone(), activity);
            }
        }
    }

    /// What is known of a zone.
    #[must_use]
    pub fn activity(&self, zone: &ZoneId) -> Option<Activity> {
        self.activities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(zone)
            .cloned()
    }
}
