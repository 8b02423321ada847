//! The admin port: `/livez`, `/readyz`, `/metrics`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::telemetry;

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Where a service is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Starting = 0,
    Started = 1,
    Draining = 2,
}

/// Whether a service can do its work now, and if not, why.
#[derive(Default)]
pub(crate) struct Readiness {
    phase: AtomicU8,
    checks: Mutex<Vec<(&'static str, Check)>>,
}

impl Readiness {
    pub(crate) fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub(crate) fn add(&self, name: &'static str, check: Check) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.retain(|(present, _)| *present != name);
        checks.push((name, check));
    }

    /// Whether all is well, and a line for each check.
    fn report(&self) -> (bool, String) {
        let mut text = String::new();
        let mut ready = true;
        let phase = match self.phase.load(Ordering::Acquire) {
            0 => Err("starting".to_owned()),
            1 => Ok(()),
            _ => Err("draining".to_owned()),
        };
        let mut line = |name: &str, result: Result<(), String>| {
            let _ = match result {
                Ok(()) => writeln!(text, "[+] {name} ok"),
                Err(reason) => {
                    ready = false;
                    writeln!(text, "[-] {name} failed: {reason}")
                }
            };
        };
        line("service", phase);
        for (name, check) in self
            .checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            line(name, check());
        }
        (ready, text)
    }
}

pub(crate) fn router(readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(readiness)
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> Response {
    let (ready, text) = readiness.report();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, text).into_response()
}

async fn metrics() -> Response {
    match telemetry::prometheus_text() {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
