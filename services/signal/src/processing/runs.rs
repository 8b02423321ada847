//! The runs: what is known of each, and the commands on them. [`super::worker`] does the work.

mod snapshot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus::{Aggregate, AppendError, Bus, EventSourced, Objects, Version};
use bytes::Bytes;
use events::pipeline::{
    ProcessingCancelled, ProcessingResumed, ProcessingStarted, ResourceExhausted, SecurityContext,
};
use events::{DomainEvent, EventEnvelope, Metadata, PipelineId, ProcessingId, Timestamp};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use self::snapshot::Entry;
pub use self::snapshot::{Progress, Snapshot, Wish};
use super::error::Error;
use super::run::{ORDER, Order, Run, SHUTDOWN, State};
use super::stage::check;
use crate::config::Processing;

/// How often a decision is made anew when other writers come first.
const MAX_CONFLICTS: usize = 8;

/// All runs.
pub struct Runs {
    pub(super) bus: Bus,
    pub(super) recordings: Objects,
    pub(super) outputs: Objects,
    pub(super) config: Processing,
    source: String,
    entries: Mutex<BTreeMap<Uuid, Entry>>,
    launch: mpsc::UnboundedSender<Uuid>,
}

impl Runs {
    /// The runs of the stored events. The ids of runs that are to be worked on come out of the receiver.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub async fn load(
        bus: Bus,
        config: Processing,
        source: String,
    ) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Uuid>), Error> {
        let mut stored = Vec::new();
        for event_type in [
            "pipeline.processing_started",
            "pipeline.processing_completed",
            "pipeline.processing_failed",
            "pipeline.processing_paused",
            "pipeline.processing_resumed",
            "pipeline.processing_cancelled",
        ] {
            stored.extend(bus.replay(event_type, bus::From::Start).await?);
        }
        stored.sort_by_key(|delivery| delivery.stream_sequence);
        let mut runs: BTreeMap<Uuid, (Run, Version)> = BTreeMap::new();
        for delivery in stored {
            let Ok(id) = Uuid::parse_str(&delivery.event.aggregate_id) else {
                continue;
            };
            let (run, version) = runs.entry(id).or_default();
            run.apply(&delivery.event);
            *version = Version {
                number: delivery.event.sequence_number,
                stream_sequence: delivery.stream_sequence,
            };
        }
        let entries = runs
            .into_iter()
            .map(|(id, (run, version))| (id, Entry::new(run, version)));
        let (launch, launched) = mpsc::unbounded_channel();
        let runs = Self {
            recordings: bus.objects("recordings").await?,
            outputs: bus.objects("processing").await?,
            bus,
            config,
            source,
            entries: Mutex::new(entries.collect()),
            launch,
        };
        Ok((Arc::new(runs), launched))
    }

    /// Goes on with the runs of this instance that a former process did not end.
    ///
    /// # Errors
    /// Where an event cannot be appended.
    pub async fn recover(&self) -> Result<(), Error> {
        let all: Vec<(Uuid, Run)> = self
            .entries()
            .iter()
            .map(|(id, entry)| (*id, entry.now.borrow().run.clone()))
            .collect();
        for (id, run) in all {
            let left = run.state == State::Running
                || (run.state == State::Paused && run.pause == SHUTDOWN);
            if left && run.owner == self.source {
                tracing::info!(processing = %id, pipeline = run.order.pipeline, "run goes on");
                self.go_on(id, |run| {
                    run.state == State::Running || run.state == State::Paused
                })
                .await?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Uuid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a run.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn watch(&self, id: Uuid) -> Result<watch::Receiver<Snapshot>, Error> {
        let entries = self.entries();
        let entry = entries.get(&id).ok_or_else(|| not_found(id))?;
        Ok(entry.now.subscribe())
    }

    /// A run as it stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: Uuid) -> Result<Snapshot, Error> {
        Ok(self.watch(id)?.borrow().clone())
    }

    /// Up to `count` runs older than `before`, the newest first.
    #[must_use]
    pub fn list(
        &self,
        pipeline: &str,
        before: Option<(i64, Uuid)>,
        count: usize,
    ) -> Vec<(Uuid, Snapshot)> {
        let entries = self.entries();
        let mut all: Vec<(Uuid, Snapshot)> = entries
            .iter()
            .map(|(id, entry)| (*id, entry.now.borrow().clone()))
            .filter(|(_, now)| pipeline.is_empty() || now.run.order.pipeline == pipeline)
            .collect();
        drop(entries);
        let place = |(id, now): &(Uuid, Snapshot)| (now.run.started.as_micros(), *id);
        all.sort_by_key(|one| std::cmp::Reverse(place(one)));
        all.retain(|one| before.is_none_or(|before| place(one) < before));
        all.truncate(count);
        all
    }

    /// Starts a run, or returns the one of that id.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a recording that is not there, [`Error::Misfit`], [`Error::Queue`]; [`Error::Taken`] where the id
    /// names another run.
    pub async fn start(
        &self,
        id: Uuid,
        order: Order,
        on_behalf: SecurityContext,
        validate_only: bool,
    ) -> Result<Snapshot, Error> {
        if let Ok(known) = self.get(id) {
            let same = known.run.order.pipeline == order.pipeline
                && known.run.order.recording == order.recording;
            return if same {
                Ok(known)
            } else {
                Err(Error::Taken {
                    kind: "processing",
                    name: id.to_string(),
                })
            };
        }
        check(&order.stages)?;
        let size = self.recordings.size(&order.recording).await?;
        let file_size = size.ok_or_else(|| Error::NotFound {
            kind: "recording",
            name: order.recording.clone(),
        })?;
        if validate_only {
            return Ok(Snapshot {
                run: Run {
                    order,
                    ..Run::default()
                },
                ..Snapshot::default()
            });
        }
        let waiting = self
            .entries()
            .values()
            .filter(|entry| entry.now.borrow().run.state == State::Running)
            .count();
        if waiting >= self.config.max_queued {
            self.queue_full(id, &order, waiting).await;
            return Err(Error::Queue {
                waiting,
                limit: self.config.max_queued,
            });
        }
        let event = ProcessingStarted {
            pipeline_id: pipeline_id(&order)?,
            processing_id: ProcessingId(id),
            timestamp: Timestamp::now(),
            input_path: format!("recordings/{}", order.recording),
            output_path: output_path(id),
            file_size,
            security_context: on_behalf,
        };
        let mut event = self.envelope(id, "started", &event)?;
        event
            .metadata
            .extra
            .insert(ORDER.to_owned(), serde_json::to_value(&order)?);
        let started = self
            .change(id, |run| {
                Ok((run.state == State::Absent).then(|| event.clone()))
            })
            .await?;
        self.launch(id);
        Ok(started)
    }

    async fn queue_full(&self, id: Uuid, order: &Order, waiting: usize) {
        let Ok(pipeline_id) = pipeline_id(order) else {
            return;
        };
        let event = ResourceExhausted {
            pipeline_id,
            processing_id: ProcessingId(id),
            timestamp: Timestamp::now(),
            resource_type: "queue".to_owned(),
            current_usage: waiting as u64,
            limit: self.config.max_queued as u64,
            action_taken: "the run was refused".to_owned(),
        };
        let published = match self.envelope(id, "queue", &event) {
            Ok(event) => self
                .bus
                .publish(&event)
                .await
                .map(|_| ())
                .map_err(Error::from),
            Err(error) => Err(error),
        };
        if let Err(error) = published {
            tracing::warn!(%error, "a full queue could not be announced");
        }
    }

    /// Stops a run behind the chunk in hand, and waits until it stands still.
    ///
    /// # Errors
    /// [`Error::State`] where it does not run.
    pub async fn pause(&self, id: Uuid) -> Result<Snapshot, Error> {
        self.wish(id, Wish::Pause, State::Paused).await
    }

    /// Gives a run up.
    ///
    /// # Errors
    /// [`Error::State`] where it has ended.
    pub async fn cancel(&self, id: Uuid, reason: &str) -> Result<Snapshot, Error> {
        if self.get(id)?.run.state != State::Paused {
            let wish = Wish::Cancel(reason.to_owned());
            return self.wish(id, wish, State::Cancelled).await;
        }
        let cancelled = self
            .change(id, |run| {
                if run.state == State::Paused {
                    self.cancelled(id, run, reason).map(Some)
                } else {
                    Err(state_error(id, run.state, "paused"))
                }
            })
            .await?;
        super::worker::discard(self, id).await;
        Ok(cancelled)
    }

    /// Goes on with a paused run.
    ///
    /// # Errors
    /// [`Error::State`] where it is not paused.
    pub async fn resume(&self, id: Uuid) -> Result<Snapshot, Error> {
        self.go_on(id, |run| run.state == State::Paused).await
    }

    async fn go_on(&self, id: Uuid, may: impl Fn(&Run) -> bool) -> Result<Snapshot, Error> {
        let resumed_from_checkpoint = super::worker::usable(self, id).await?;
        let now = Timestamp::now();
        let resumed = self
            .change(id, |run| {
                if !may(run) {
                    return Err(state_error(id, run.state, "paused"));
                }
                let event = ProcessingResumed {
                    pipeline_id: pipeline_id(&run.order)?,
                    processing_id: ProcessingId(id),
                    timestamp: now,
                    resumed_from_checkpoint,
                };
                let distinction = format!("resumed {}", run.version);
                self.envelope(id, &distinction, &event).map(Some)
            })
            .await?;
        self.launch(id);
        Ok(resumed)
    }

    /// The output of a completed run.
    ///
    /// # Errors
    /// [`Error::State`] where it is not completed; [`Error::NotFound`] where the output is gone.
    pub async fn output(&self, id: Uuid) -> Result<Bytes, Error> {
        let state = self.get(id)?.run.state;
        if state != State::Completed {
            return Err(state_error(id, state, "completed"));
        }
        let name = super::worker::output_name(id);
        let output = self.outputs.get(&name).await?;
        output.ok_or(Error::NotFound {
            kind: "output",
            name,
        })
    }

    fn launch(&self, id: Uuid) {
        if let Some(entry) = self.entries().get(&id) {
            entry.wish.send_replace(Wish::Go);
        }
        // Nobody takes it where the service drains: it is taken up after the restart.
        let _ = self.launch.send(id);
    }

    async fn wish(&self, id: Uuid, wish: Wish, wanted: State) -> Result<Snapshot, Error> {
        let mut now = {
            let entries = self.entries();
            let entry = entries.get(&id).ok_or_else(|| not_found(id))?;
            let state = entry.now.borrow().run.state;
            if state != State::Running {
                return Err(state_error(id, state, "running"));
            }
            entry.wish.send_replace(wish);
            entry.now.subscribe()
        };
        // An error means that the service has stopped meanwhile.
        let settled = now.wait_for(|now| now.run.state != State::Running).await;
        let settled = settled.map(|now| now.clone()).unwrap_or_default();
        if settled.run.state == wanted {
            Ok(settled)
        } else {
            Err(state_error(id, settled.run.state, "running"))
        }
    }

    pub(super) fn wishes(&self, id: Uuid) -> Option<watch::Receiver<Wish>> {
        Some(self.entries().get(&id)?.wish.subscribe())
    }

    pub(super) fn progress(&self, id: Uuid, change: impl FnOnce(&mut Progress)) {
        if let Some(entry) = self.entries().get(&id) {
            entry.now.send_modify(|now| change(&mut now.progress));
        }
    }

    pub(super) fn cancelled(
        &self,
        id: Uuid,
        run: &Run,
        reason: &str,
    ) -> Result<EventEnvelope, Error> {
        let event = ProcessingCancelled {
            pipeline_id: pipeline_id(&run.order)?,
            processing_id: ProcessingId(id),
            timestamp: Timestamp::now(),
            reason: if reason.is_empty() {
                "requested".to_owned()
            } else {
                reason.to_owned()
            },
            cancelled_by: None,
        };
        self.envelope(id, "cancelled", &event)
    }

    /// Appends what `decide` says, if anything, to the run's stream.
    pub(super) async fn change(
        &self,
        id: Uuid,
        decide: impl Fn(&Run) -> Result<Option<EventEnvelope>, Error>,
    ) -> Result<Snapshot, Error> {
        let aggregate = Aggregate {
            context: "pipeline".to_owned(),
            key: id.to_string(),
        };
        for _ in 0..MAX_CONFLICTS {
            let (run, expected) = match self.entries().get(&id) {
                Some(entry) => (entry.now.borrow().run.clone(), entry.version),
                None => <(Run, Version)>::default(),
            };
            let Some(mut event) = decide(&run)? else {
                return self.get(id);
            };
            match self
                .bus
                .append(&aggregate, expected, vec![event.clone()])
                .await
            {
                Ok(version) => {
                    event.sequence_number = version.number;
                    let mut run = run;
                    run.apply(&event);
                    return Ok(self.put(id, run, version));
                }
                Err(AppendError::Conflict { .. }) => {
                    let (events, version) = self.bus.load(&aggregate).await?;
                    self.put(id, Run::replay(&events), version);
                }
                Err(AppendError::Bus(error)) => return Err(error.into()),
            }
        }
        Err(Error::Changed {
            name: id.to_string(),
            etag: String::new(),
        })
    }

    fn put(&self, id: Uuid, run: Run, version: Version) -> Snapshot {
        let mut entries = self.entries();
        let entry = entries
            .entry(id)
            .or_insert_with(|| Entry::new(Run::default(), version));
        entry.version = version;
        entry.now.send_modify(|now| now.run = run);
        entry.now.borrow().clone()
    }

    /// An event of a run; its id follows from the run and what it says.
    pub(super) fn envelope<E: DomainEvent>(
        &self,
        id: Uuid,
        distinction: &str,
        event: &E,
    ) -> Result<EventEnvelope, Error> {
        let metadata = Metadata {
            source: self.source.clone(),
            ..Metadata::default()
        };
        let name = format!("{} {distinction}", E::EVENT_TYPE);
        let event_id = Uuid::new_v5(&id, name.as_bytes());
        Ok(EventEnvelope::new(event_id, event, metadata)?.correlated(Some(id)))
    }
}

pub(super) fn pipeline_id(order: &Order) -> Result<PipelineId, Error> {
    PipelineId::new(&*order.pipeline).map_err(|error| Error::invalid("pipeline", error.to_string()))
}

/// Where a run's output lies: object store and name.
#[must_use]
pub fn output_path(id: Uuid) -> String {
    format!("processing/{}", super::worker::output_name(id))
}

fn not_found(id: Uuid) -> Error {
    Error::NotFound {
        kind: "processing",
        name: id.to_string(),
    }
}

fn state_error(id: Uuid, state: State, wanted: &str) -> Error {
    Error::State {
        reason: "WRONG_STATE",
        what: format!("run {id} is {}, not {wanted}", state.name()),
    }
}
