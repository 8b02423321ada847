//! How a source stands, for those who ask: which socket, port or file, whether it is open, and what went wrong last.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{Plan, Reach};
use crate::source::meters::Totals;

/// One source.
#[derive(Debug)]
pub struct Status {
    /// Name.
    pub name: String,
    /// `udp`, `tcp`, ...
    pub kind: &'static str,
    /// What was counted.
    pub totals: Arc<Totals>,
    open: AtomicBool,
    /// Microseconds; 0 before the first.
    newest_us: AtomicI64,
    told: Mutex<Told>,
}

/// What is told in words.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Address or path.
    pub address: String,
    /// The last failure, and when, in microseconds.
    pub error: Option<(String, i64)>,
}

impl Status {
    /// Of a source that was not opened yet.
    #[must_use]
    pub fn new(plan: &Plan, totals: Arc<Totals>) -> Self {
        let address = match &plan.reach {
            Reach::Datagrams { listen, .. } | Reach::Listen { listen, .. } => listen.to_string(),
            Reach::Connect { to, .. } => to.clone(),
            Reach::Serial { path, .. } | Reach::File { path, .. } => path.display().to_string(),
        };
        Self {
            name: plan.name.to_string(),
            kind: plan.kind.name(),
            totals,
            open: AtomicBool::new(false),
            newest_us: AtomicI64::new(0),
            told: Mutex::new(Told {
                address,
                error: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is being read; from `address`, where that was not known before.
    pub fn opened(&self, address: Option<String>) {
        self.open.store(true, Ordering::Relaxed);
        if let Some(address) = address {
            self.lock().address = address;
        }
    }

    /// It failed at `now_us`.
    pub fn failed(&self, error: String, now_us: i64) {
        self.open.store(false, Ordering::Relaxed);
        self.lock().error = Some((error, now_us));
    }

    /// Something was read at `now_us`.
    pub fn heard(&self, now_us: i64) {
        self.newest_us.store(now_us, Ordering::Relaxed);
    }

    /// Whether it is being read.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// When something was read last, microseconds.
    #[must_use]
    pub fn newest_us(&self) -> Option<i64> {
        Some(self.newest_us.load(Ordering::Relaxed)).filter(|us| *us != 0)
    }

    /// What is told in words.
    #[must_use]
    pub fn told(&self) -> Told {
        self.lock().clone()
    }
}
