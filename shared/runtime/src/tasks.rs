//! Supervised tasks: an error or a panic in one is a fault that stops the process with a message naming the task.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;

/// Spans of this target name the task in the log; they are not exported, or every trace would begin with one.
pub(crate) const TASK_SPAN: &str = "fresnel::task";

/// Why a process stops by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Service whose task it was.
    pub service: &'static str,
    /// Task.
    pub task: &'static str,
    /// The error's chain, or the panic's message.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "task `{}` of {}: {}",
            self.task, self.service, self.message
        )
    }
}

impl std::error::Error for Fault {}

/// The first fault of a process, for whoever waits for it.
#[derive(Clone)]
pub(crate) struct Faults(Arc<watch::Sender<Option<Fault>>>);

impl Faults {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }

    /// Later ones are logged only: they usually follow from the first.
    fn report(&self, fault: Fault) {
        tracing::error!(task = fault.task, service = fault.service, "{fault}");
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(fault);
            }
            is_first
        });
    }

    pub(crate) fn first(&self) -> Option<Fault> {
        self.0.borrow().clone()
    }

    /// Waits for the first fault.
    pub(crate) async fn wait(&self) -> Fault {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(fault) = receiver.borrow_and_update().clone() {
                return fault;
            }
            if receiver.changed().await.is_err() {
                // Cannot be: `self` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The tasks of one service, in the order in which they were started.
pub(crate) struct Tasks {
    service: &'static str,
    faults: Faults,
    running: Vec<(&'static str, JoinHandle<()>)>,
}

impl Tasks {
    pub(crate) fn new(service: &'static str, faults: Faults) -> Self {
        Self {
            service,
            faults,
            running: Vec::new(),
        }
    }

    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: BoxFuture<'static, anyhow::Result<()>>,
    ) {
        let (service, faults) = (self.service, self.faults.clone());
        let span = tracing::error_span!(target: TASK_SPAN, "task", service, task = name);
        let supervised = async move {
            let message = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("{error:#}"),
                Err(panic) => format!("panicked: {}", panic_message(panic.as_ref())),
            };
            faults.report(Fault {
                service,
                task: name,
                message,
            });
        };
        self.running.retain(|(_, handle)| !handle.is_finished());
        self.running
            .push((name, tokio::spawn(supervised.instrument(span))));
    }

    /// Waits for the tasks, last started first; what still runs at `deadline` is cut off and named.
    pub(crate) async fn join(&mut self, deadline: Instant) -> Vec<&'static str> {
        let mut cut_off = Vec::new();
        while let Some((name, mut handle)) = self.running.pop() {
            if tokio::time::timeout_at(deadline, &mut handle)
                .await
                .is_err()
            {
                handle.abort();
                cut_off.push(name);
            }
        }
        cut_off
    }

    pub(crate) fn abort(&mut self) {
        for (_, handle) in self.running.drain(..) {
            handle.abort();
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is no text")
}
