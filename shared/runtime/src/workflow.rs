//! Long-running operations: each is an event-sourced `workflow.*` aggregate, run by one service and seen by callers as
//! `google.longrunning.Operation`.
//!
//! A service opens its [`Workflows`] once ([`Runtime::workflows`](crate::Runtime::workflows)), adds
//! [`Workflows::operations`] to its gRPC routes, and gives each [`Run`] to a task of its own, which steps it and ends it.
//! A run that is dropped without an end (its task panicked) is ended as failed, `abandoned`. A run that is
//! [suspended](Run::suspend), or whose process dies, is found at the next start: it goes on where the service says that it
//! can, and is ended as failed, `interrupted`, where not. Where several processes of a service run at once, each is to
//! [leave](Run::release) what [another began](Workflows::is_own).

mod run;
mod state;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::{Aggregate, AppendError, Bus, EventSourced, From, Version};
use events::workflow::{WorkflowStarted, WorkflowStateChanged};
use events::{DomainEvent, EventEnvelope, Metadata, Timestamp, WorkflowId};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use run::Run;
pub use state::{Outcome, Workflow};

use state::{DELETED, PARAMETERS};

/// Ended workflows that are listed; older ones can still be asked for by name.
const MOST_ENDED: usize = 1000;
/// Namespace of the ids that follow from a request's id.
const NAMESPACE: Uuid = Uuid::from_u128(0x2c1f_0f43_8f0e_5d0b_a1a5_54d2_9a6c_70be);

/// Why a workflow could not be begun, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// The bus refused or could not be reached.
    #[error("the message bus failed: {0}")]
    Bus(#[from] bus::Error),
    /// An event could not be written as JSON.
    #[error("an event of a workflow could not be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    /// There is none of that id in this service.
    #[error("there is no operation {0}")]
    NotFound(Uuid),
    /// It has not ended.
    #[error("operation {0} runs: cancel it first, or wait for its end")]
    Running(Uuid),
    /// It has ended, or another process runs it.
    #[error("operation {0} does not run here")]
    NotRunning(Uuid),
    /// Somebody else changed it at the same time, repeatedly.
    #[error("operation {0} was changed by somebody else at the same time")]
    Conflict(Uuid),
}

/// What is to be begun.
#[derive(Clone, Debug, Default)]
pub struct NewWorkflow {
    /// calibration, recording, ...
    pub kind: &'static str,
    /// What it is about: `devices/NAME`.
    pub subject: String,
    /// Who asked for it, where that is known.
    pub requested_by: Option<String>,
    /// A repeated request with the same id begins nothing. Empty where the caller gave none.
    pub request_id: String,
    /// What it is asked to do, enough for going on after a restart.
    pub parameters: Value,
}

/// What came of [`Workflows::start`].
#[derive(Debug)]
pub enum Begun {
    /// A new one: to be given to a task.
    New(Run),
    /// The one that the same request began earlier.
    Known(Box<Workflow>),
}

/// The workflows of one service; cheap to clone.
#[derive(Clone)]
pub struct Workflows(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    bus: Bus,
    source: String,
    service: String,
    known: Mutex<BTreeMap<Uuid, Known>>,
    /// Longest time that a caller may wait in one request.
    pub(crate) longest_wait: Duration,
    /// Cancelled when the service drains: nobody waits then.
    pub(crate) stop: CancellationToken,
}

struct Known {
    now: watch::Sender<Workflow>,
    cancel: CancellationToken,
}

impl Workflows {
    /// Reads the workflows of the service in `source` (`service/instance`). Those that a former process did not end are
    /// given back as runs where `resumable` says so, and are ended as `interrupted` otherwise.
    ///
    /// # Errors
    /// Where the events cannot be read.
    pub async fn open(
        bus: Bus,
        source: &str,
        longest_wait: Duration,
        stop: CancellationToken,
        resumable: impl Fn(&Workflow) -> bool,
    ) -> Result<(Self, Vec<Run>), WorkflowError> {
        let service = source.split('/').next().unwrap_or_default().to_owned();
        let mut found: BTreeMap<Uuid, Workflow> = BTreeMap::new();
        let mut fold = |delivery: bus::Delivery| {
            if let Ok(id) = Uuid::parse_str(&delivery.event.key) {
                let workflow = found.entry(id).or_default();
                workflow.apply(&delivery.event);
                workflow.version.stream_sequence = delivery.stream_sequence;
            }
            ControlFlow::Continue(())
        };
        bus.replay_each("workflow.*.*", From::Start, &mut fold)
            .await?;
        let workflows = Self(Arc::new(Inner {
            bus,
            source: source.to_owned(),
            service,
            known: Mutex::default(),
            longest_wait,
            stop,
        }));
        let mut runs = Vec::new();
        for workflow in found.into_values() {
            if workflow.service != workflows.0.service || !workflow.exists() {
                continue;
            }
            let unfinished = !workflow.ended();
            let goes_on = unfinished && resumable(&workflow);
            let run = workflows.enter(workflow);
            if goes_on {
                runs.push(run);
            } else if unfinished {
                run.fail(
                    tonic::Code::Aborted,
                    "interrupted",
                    "the service ended before the operation did; start it again",
                )
                .await;
            } else {
                run.leave();
            }
        }
        Ok((workflows, runs))
    }

    /// Begins a workflow, or finds the one that the same `kind` and `request_id` began.
    ///
    /// # Errors
    /// Where its first event cannot be stored.
    pub async fn start(&self, new: NewWorkflow) -> Result<Begun, WorkflowError> {
        if let Some(known) = self.of_request(new.kind, &new.request_id).await? {
            return Ok(Begun::Known(Box::new(known)));
        }
        let id = if new.request_id.is_empty() {
            Uuid::now_v7()
        } else {
            self.0.id(new.kind, &new.request_id)
        };
        let now = Timestamp::now();
        let event = WorkflowStarted {
            workflow_id: WorkflowId(id),
            timestamp: now,
            kind: new.kind.to_owned(),
            subject: new.subject,
            requested_by: new.requested_by,
        };
        // Two at once with one request id make two events: the aggregate takes only one of them.
        let event_id = Uuid::now_v7();
        let mut envelope = EventEnvelope::new(event_id, &event, self.0.metadata())?;
        if !new.parameters.is_null() {
            envelope
                .metadata
                .extra
                .insert(PARAMETERS.to_owned(), new.parameters);
        }
        let mut workflow = Workflow::default();
        match self
            .0
            .bus
            .append(&aggregate(id), Version::default(), vec![envelope.clone()])
            .await
        {
            Ok(version) => {
                envelope.sequence_number = version.number;
                workflow.apply(&envelope);
                workflow.version = version;
                Ok(Begun::New(self.enter(workflow)))
            }
            Err(AppendError::Conflict { .. }) => Ok(Begun::Known(Box::new(self.get(id).await?))),
            Err(AppendError::Bus(error)) => Err(error.into()),
        }
    }

    /// A workflow of this service.
    ///
    /// # Errors
    /// [`WorkflowError::NotFound`], or where the events cannot be read.
    pub async fn get(&self, id: Uuid) -> Result<Workflow, WorkflowError> {
        if let Some(known) = self.0.known().get(&id) {
            return Ok(known.now.borrow().clone());
        }
        let (events, version) = self.0.bus.load(&aggregate(id)).await?;
        let mut workflow = Workflow::replay(&events);
        workflow.version = version;
        if workflow.service == self.0.service && workflow.exists() {
            Ok(workflow)
        } else {
            Err(WorkflowError::NotFound(id))
        }
    }

    /// The workflow that an earlier request of the same `kind` and `request_id` began, if any; none for an empty id.
    ///
    /// # Errors
    /// Where the events cannot be read.
    pub async fn of_request(
        &self,
        kind: &str,
        request_id: &str,
    ) -> Result<Option<Workflow>, WorkflowError> {
        if request_id.is_empty() {
            return Ok(None);
        }
        match self.get(self.0.id(kind, request_id)).await {
            Ok(known) => Ok(Some(known)),
            Err(WorkflowError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All that are remembered, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Workflow> {
        let known = self.0.known();
        let mut all: Vec<Workflow> = known.values().map(|k| k.now.borrow().clone()).collect();
        all.sort_by_key(|workflow| std::cmp::Reverse((workflow.started, workflow.id)));
        all
    }

    /// The workflow once it has ended, or as it stands after `timeout` (at most the server's own limit), or when the service
    /// drains.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn wait(&self, id: Uuid, timeout: Duration) -> Result<Workflow, WorkflowError> {
        let Some(mut changes) = self.watch(id) else {
            return self.get(id).await;
        };
        let limit = timeout.min(self.0.longest_wait);
        tokio::select! {
            _ = tokio::time::timeout(limit, changes.wait_for(Workflow::ended)) => {}
            () = self.0.stop.cancelled() => {}
        }
        let workflow = changes.borrow().clone();
        Ok(workflow)
    }

    /// The workflow as it changes, where it is remembered.
    #[must_use]
    pub fn watch(&self, id: Uuid) -> Option<watch::Receiver<Workflow>> {
        self.0.known().get(&id).map(|known| known.now.subscribe())
    }

    /// Asks a workflow to end. One that has ended already stays as it is.
    ///
    /// # Errors
    /// [`WorkflowError::NotFound`]; [`WorkflowError::NotRunning`] where no task of this process runs it.
    pub async fn cancel(&self, id: Uuid) -> Result<(), WorkflowError> {
        let workflow = self.get(id).await?;
        if workflow.ended() {
            return Ok(());
        }
        let known = self.0.known();
        let known = known.get(&id).ok_or(WorkflowError::NotRunning(id))?;
        known.now.send_modify(|now| now.cancel_requested = true);
        known.cancel.cancel();
        Ok(())
    }

    /// Takes over a workflow that another process of this service began and did not end; `None` where it has ended.
    ///
    /// # Errors
    /// [`WorkflowError::NotFound`], or where the events cannot be read.
    pub async fn take_over(&self, id: Uuid) -> Result<Option<Run>, WorkflowError> {
        let workflow = self.get(id).await?;
        Ok((!workflow.ended()).then(|| self.enter(workflow)))
    }

    /// Whether this process of the service began a workflow, in this life or a former one.
    #[must_use]
    pub fn is_own(&self, workflow: &Workflow) -> bool {
        workflow.source == self.0.source
    }

    /// Forgets a workflow that has ended.
    ///
    /// # Errors
    /// [`WorkflowError::NotFound`], [`WorkflowError::Running`], or where the event cannot be stored.
    pub async fn delete(&self, id: Uuid) -> Result<(), WorkflowError> {
        let workflow = self.get(id).await?;
        if !workflow.ended() {
            return Err(WorkflowError::Running(id));
        }
        let event = WorkflowStateChanged {
            workflow_id: WorkflowId(id),
            timestamp: Timestamp::now(),
            previous_state: workflow.state,
            new_state: DELETED.to_owned(),
            progress_percent: None,
        };
        match self.0.append(id, workflow.version, &event, &[]).await {
            Ok(_) => {
                self.0.known().remove(&id);
                Ok(())
            }
            Err(Append::Conflict) => Err(WorkflowError::Conflict(id)),
            Err(Append::Other(error)) => Err(error),
        }
    }

    fn enter(&self, workflow: Workflow) -> Run {
        let mut known = self.0.known();
        let ended: Vec<_> = known
            .iter()
            .filter(|(_, known)| known.now.borrow().ended())
            .map(|(id, known)| (known.now.borrow().started, *id))
            .collect();
        if ended.len() >= MOST_ENDED
            && let Some((_, oldest)) = ended.into_iter().min()
        {
            known.remove(&oldest);
        }
        let id = workflow.id;
        let (now, cancel) = (watch::channel(workflow).0, CancellationToken::new());
        let entry = Known {
            now: now.clone(),
            cancel: cancel.clone(),
        };
        known.insert(id, entry);
        Run::new(Arc::clone(&self.0), now, cancel)
    }
}

enum Append {
    Conflict,
    Other(WorkflowError),
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, BTreeMap<Uuid, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id that follows from a request.
    fn id(&self, kind: &str, request_id: &str) -> Uuid {
        let request = format!("{}/{kind}/{request_id}", self.service);
        Uuid::new_v5(&NAMESPACE, request.as_bytes())
    }

    fn metadata(&self) -> Metadata {
        Metadata {
            source: self.source.clone(),
            ..Metadata::default()
        }
    }

    /// Appends one event; gives it as it was stored, and the new version. The id follows from the version, so that the same
    /// event appended again is stored once.
    async fn append<E: DomainEvent>(
        &self,
        id: Uuid,
        expected: Version,
        event: &E,
        extra: &[(&str, Value)],
    ) -> Result<(EventEnvelope, Version), Append> {
        let cause = format!("{} {}", E::EVENT_TYPE, expected.number + 1);
        let event_id = Uuid::new_v5(&id, cause.as_bytes());
        let mut envelope = EventEnvelope::new(event_id, event, self.metadata())
            .map_err(|error| Append::Other(error.into()))?;
        for (key, value) in extra {
            envelope
                .metadata
                .extra
                .insert((*key).to_owned(), value.clone());
        }
        match self
            .bus
            .append(&aggregate(id), expected, vec![envelope.clone()])
            .await
        {
            Ok(version) => {
                envelope.sequence_number = version.number;
                Ok((envelope, version))
            }
            Err(AppendError::Conflict { .. }) => Err(Append::Conflict),
            Err(AppendError::Bus(error)) => Err(Append::Other(error.into())),
        }
    }
}

fn aggregate(id: Uuid) -> Aggregate {
    Aggregate {
        context: "workflow".to_owned(),
        key: id.to_string(),
    }
}
