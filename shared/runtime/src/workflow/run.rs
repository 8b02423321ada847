//! A workflow that runs, in the hands of the task that runs it.

use std::sync::Arc;
use std::time::Duration;

use bus::EventSourced;
use events::workflow::{WorkflowCompleted, WorkflowFailed, WorkflowStateChanged};
use events::{DomainEvent, Timestamp, WorkflowId};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use uuid::Uuid;

use super::state::STATUS_CODE;
use super::{Append, Inner, Workflow};

/// Progress within one step is published at most so often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How often an ending is tried again where the bus does not take it (each time within its own limit).
const ENDING_ATTEMPTS: usize = 6;

/// A running workflow. Whoever has it ends it: [`complete`](Self::complete), [`fail`](Self::fail), or
/// [`suspend`](Self::suspend) when the service drains.
pub struct Run {
    inner: Arc<Inner>,
    now: watch::Sender<Workflow>,
    cancel: CancellationToken,
    published: Option<Instant>,
    held: bool,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("workflow", &*self.now.borrow())
            .finish_non_exhaustive()
    }
}

impl Run {
    pub(super) fn new(
        inner: Arc<Inner>,
        now: watch::Sender<Workflow>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            inner,
            now,
            cancel,
            published: None,
            held: true,
        }
    }

    /// The workflow's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.now.borrow().id
    }

    /// The workflow as it stands.
    #[must_use]
    pub fn workflow(&self) -> Workflow {
        self.now.borrow().clone()
    }

    /// Cancelled when somebody asks the workflow to end: to be answered by [`cancelled`](Self::cancelled).
    #[must_use]
    pub fn cancellation(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Says which step it is in, and how far it came (0 to 100). Those who wait see it at once; as an event it is published
    /// when the step is another one, or a second after the last. A failure to publish is logged: the work goes on.
    pub async fn step(&mut self, state: &str, percent: Option<f32>) {
        let percent = percent
            .filter(|p| p.is_finite())
            .map(|p| p.clamp(0.0, 100.0));
        let before = self.workflow();
        let another = before.state != state;
        let due = self
            .published
            .is_none_or(|last| last.elapsed() >= PROGRESS_EVERY);
        if another || (due && before.progress_percent != percent) {
            let event = WorkflowStateChanged {
                workflow_id: WorkflowId(before.id),
                timestamp: Timestamp::now(),
                previous_state: before.state,
                new_state: state.to_owned(),
                progress_percent: percent,
            };
            self.published = Some(Instant::now());
            if let Err(error) = self.append(&event, &[]).await {
                tracing::warn!(workflow = %before.id, state, %error, "a step of a workflow could not be stored");
            }
        }
        self.now.send_modify(|now| {
            now.state = state.to_owned();
            now.progress_percent = percent;
            now.updated = Timestamp::now();
        });
    }

    /// Ends it well.
    pub async fn complete(mut self, result: Value) {
        let workflow = self.workflow();
        let now = Timestamp::now();
        let event = WorkflowCompleted {
            workflow_id: WorkflowId(workflow.id),
            timestamp: now,
            duration_seconds: workflow.seconds(now),
            result,
        };
        self.end(&event, &[]).await;
    }

    /// Ends it badly. `code` is what callers get as the status, `reason` the event's `error_code` (a word), `message` a
    /// sentence.
    pub async fn fail(mut self, code: Code, reason: &str, message: impl Into<String>) {
        let workflow = self.workflow();
        let now = Timestamp::now();
        let event = WorkflowFailed {
            workflow_id: WorkflowId(workflow.id),
            timestamp: now,
            error_code: reason.to_owned(),
            error_message: message.into(),
            duration_seconds: workflow.seconds(now),
        };
        self.end(&event, &[(STATUS_CODE, i32::from(code).into())])
            .await;
    }

    /// Ends it because somebody asked for that.
    pub async fn cancelled(self) {
        self.fail(Code::Cancelled, "cancelled", "the operation was cancelled")
            .await;
    }

    /// Leaves it unfinished for the next process of this service: the service drains.
    pub fn suspend(self) {
        self.leave();
    }

    /// Leaves it to the other process of this service that runs it: what is asked about it is looked up from now on.
    pub fn release(self) {
        let (inner, id) = (Arc::clone(&self.inner), self.id());
        self.leave();
        inner.known().remove(&id);
    }

    pub(super) fn leave(mut self) {
        self.held = false;
    }

    async fn end<E: DomainEvent>(&mut self, event: &E, extra: &[(&str, Value)]) {
        self.held = false;
        for attempt in 1..=ENDING_ATTEMPTS {
            match self.append(event, extra).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(workflow = %self.id(), attempt, %error, "the end of a workflow could not be stored");
                }
            }
            if self.inner.stop.is_cancelled() {
                return;
            }
        }
    }

    /// Appends, and takes over what the event says. After a conflict (an earlier attempt got through after all, or another
    /// process ended it) the aggregate is loaded again and tried once more.
    async fn append<E: DomainEvent>(
        &self,
        event: &E,
        extra: &[(&str, Value)],
    ) -> Result<(), super::WorkflowError> {
        let id = self.id();
        let expected = self.now.borrow().version;
        let mut outcome = self.inner.append(id, expected, event, extra).await;
        if let Err(Append::Conflict) = outcome {
            let (events, version) = self.inner.bus.load(&super::aggregate(id)).await?;
            let mut stored = Workflow::replay(&events);
            stored.version = version;
            let ended = stored.ended();
            if !stored.id.is_nil() {
                self.now.send_replace(stored);
            }
            if ended {
                return Ok(());
            }
            outcome = self.inner.append(id, version, event, extra).await;
        }
        match outcome {
            Ok((stored, version)) => {
                self.now.send_modify(|now| {
                    now.apply(&stored);
                    now.version = version;
                });
                Ok(())
            }
            Err(Append::Conflict) => Err(super::WorkflowError::Conflict(id)),
            Err(Append::Other(error)) => Err(error),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        self.held = false;
        // Without a runtime the process ends: the next one finds the workflow.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.inner.stop.is_cancelled() {
            return;
        }
        let run = Self {
            inner: Arc::clone(&self.inner),
            now: self.now.clone(),
            cancel: self.cancel.clone(),
            published: None,
            held: false,
        };
        runtime.spawn(run.fail(
            Code::Internal,
            "abandoned",
            "the task that ran the operation ended without saying how",
        ));
    }
}
