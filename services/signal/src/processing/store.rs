//! The pipelines: decide on the aggregate, append to its stream, apply what was appended. On a conflict it is loaded again
//! and decided again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bus::{Aggregate, AppendError, Bus, EventSourced, Version};
use events::pipeline::{PipelineCreated, PipelineDeleted, PipelineUpdated};
use events::{DomainEvent, EventEnvelope, Metadata, Name, PipelineId, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::built_in;
use super::definition::{DESCRIPTION, Definition, REQUEST_ID, STAGES};
use super::error::Error;
use super::stage::{Stage, check};

/// How often a decision is made anew when other writers come first.
const MAX_CONFLICTS: usize = 8;
/// Characters of a description at most.
const LONGEST_DESCRIPTION: usize = 1000;

type Entry = (Definition, Version);

/// All pipelines.
pub struct Pipelines {
    bus: Bus,
    source: String,
    built_in: BTreeMap<String, Definition>,
    created: Mutex<BTreeMap<String, Entry>>,
}

/// What a user may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// For people.
    pub description: String,
    /// What it does.
    pub stages: Vec<Stage>,
}

impl Pipelines {
    /// The built-in pipelines and those of the stored events.
    ///
    /// # Errors
    /// Where the events cannot be read.
    pub async fn load(bus: Bus, source: String) -> Result<Self, Error> {
        let built_in = built_in::all()
            .into_iter()
            .map(|(name, description, stages)| {
                let definition = Definition {
                    exists: true,
                    description: description.to_owned(),
                    stages,
                    built_in: true,
                    ..Definition::default()
                };
                (name.to_owned(), definition)
            });
        let mut stored = Vec::new();
        for event_type in [
            PipelineCreated::EVENT_TYPE,
            PipelineUpdated::EVENT_TYPE,
            PipelineDeleted::EVENT_TYPE,
        ] {
            stored.extend(bus.replay(event_type, bus::From::Start).await?);
        }
        stored.sort_by_key(|delivery| delivery.stream_sequence);
        let mut created: BTreeMap<String, Entry> = BTreeMap::new();
        for delivery in stored {
            let (definition, version) = created
                .entry(delivery.event.aggregate_id.clone())
                .or_default();
            definition.apply(&delivery.event);
            *version = Version {
                number: delivery.event.sequence_number,
                stream_sequence: delivery.stream_sequence,
            };
        }
        Ok(Self {
            bus,
            source,
            built_in: built_in.collect(),
            created: Mutex::new(created),
        })
    }

    fn created(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pipeline.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Definition> {
        if let Some(definition) = self.built_in.get(name) {
            return Some(definition.clone());
        }
        let created = self.created();
        let (definition, _) = created.get(name)?;
        definition.exists.then(|| definition.clone())
    }

    /// Up to `count` pipelines after `after`, by name.
    #[must_use]
    pub fn list(&self, after: &str, count: usize) -> Vec<(String, Definition)> {
        let created = self.created();
        let of_users = created
            .iter()
            .filter(|(_, (definition, _))| definition.exists)
            .map(|(name, (definition, _))| (name, definition));
        let all: BTreeMap<_, _> = of_users.chain(&self.built_in).collect();
        let page = all.into_iter().filter(|(name, _)| name.as_str() > after);
        page.take(count)
            .map(|(name, definition)| (name.clone(), definition.clone()))
            .collect()
    }

    /// Creates a pipeline.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::Misfit`], [`Error::Invalid`].
    pub async fn create(
        &self,
        name: &Name,
        settings: Settings,
        request_id: &str,
        by: Option<&str>,
        validate_only: bool,
    ) -> Result<Definition, Error> {
        checked(&settings)?;
        let taken = || Error::Taken {
            kind: "pipeline",
            name: name.to_string(),
        };
        if let Some(known) = self.get(name.as_str()) {
            // AIP-155: the same request again gets the same answer.
            let repeated = !request_id.is_empty() && known.request_id == request_id;
            return if repeated { Ok(known) } else { Err(taken()) };
        }
        if validate_only {
            return Ok(preview(settings));
        }
        let now = Timestamp::now();
        self.change(name, |known| {
            if known.exists {
                return Err(taken());
            }
            let event = PipelineCreated {
                pipeline_id: PipelineId(name.clone()),
                timestamp: now,
                pipeline_name: name.to_string(),
                stage_count: settings.stages.len() as u64,
                created_by: by.map(str::to_owned),
            };
            let mut event = self.envelope(&event, Some(&settings), by)?;
            if !request_id.is_empty() {
                let extra = &mut event.metadata.extra;
                extra.insert(REQUEST_ID.to_owned(), json!(request_id));
            }
            Ok(event)
        })
        .await
    }

    /// Changes a pipeline. Runs keep the stages that they began with.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`] where `etag` is given and not current, and those of `create`.
    pub async fn update(
        &self,
        name: &Name,
        etag: &str,
        by: Option<&str>,
        validate_only: bool,
        edit: impl Fn(&mut Settings) -> Result<(), Error>,
    ) -> Result<Definition, Error> {
        self.own(name)?;
        let decide = |known: &Definition| {
            current(name, known, etag)?;
            let before = Settings {
                description: known.description.clone(),
                stages: known.stages.clone(),
            };
            let mut settings = before.clone();
            edit(&mut settings)?;
            checked(&settings)?;
            Ok::<_, Error>((before, settings))
        };
        if validate_only {
            let known = self.get(name.as_str()).unwrap_or_default();
            return Ok(preview(decide(&known)?.1));
        }
        let now = Timestamp::now();
        self.change(name, |known| {
            let (before, settings) = decide(known)?;
            let event = PipelineUpdated {
                pipeline_id: PipelineId(name.clone()),
                timestamp: now,
                changes: changes(&before, &settings),
                updated_by: by.map(str::to_owned),
            };
            self.envelope(&event, Some(&settings), by)
        })
        .await
    }

    /// Deletes a pipeline; its history stays in the stream, and its runs go on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`].
    pub async fn delete(&self, name: &Name, etag: &str, by: Option<&str>) -> Result<(), Error> {
        self.own(name)?;
        let now = Timestamp::now();
        self.change(name, |known| {
            current(name, known, etag)?;
            let event = PipelineDeleted {
                pipeline_id: PipelineId(name.clone()),
                timestamp: now,
                deleted_by: by.map(str::to_owned),
            };
            self.envelope(&event, None, by)
        })
        .await?;
        Ok(())
    }

    fn own(&self, name: &Name) -> Result<(), Error> {
        if self.built_in.contains_key(name.as_str()) {
            return Err(Error::State {
                reason: "BUILT_IN",
                what: format!(
                    "pipeline {:?} comes with the service and stays as it is",
                    name.as_str()
                ),
            });
        }
        Ok(())
    }

    /// Appends what `decide` says to the pipeline's stream.
    async fn change(
        &self,
        name: &Name,
        decide: impl Fn(&Definition) -> Result<EventEnvelope, Error>,
    ) -> Result<Definition, Error> {
        let aggregate = Aggregate {
            context: "pipeline".to_owned(),
            key: name.to_string(),
        };
        for _ in 0..MAX_CONFLICTS {
            let (mut definition, expected) = self
                .created()
                .get(name.as_str())
                .cloned()
                .unwrap_or_default();
            let mut event = decide(&definition)?;
            match self
                .bus
                .append(&aggregate, expected, vec![event.clone()])
                .await
            {
                Ok(version) => {
                    event.sequence_number = version.number;
                    definition.apply(&event);
                    self.created()
                        .insert(name.to_string(), (definition.clone(), version));
                    return Ok(definition);
                }
                Err(AppendError::Conflict { .. }) => {
                    let (events, version) = self.bus.load(&aggregate).await?;
                    let definition = Definition::replay(&events);
                    self.created()
                        .insert(name.to_string(), (definition, version));
                }
                Err(AppendError::Bus(error)) => return Err(error.into()),
            }
        }
        Err(Error::Changed {
            name: name.to_string(),
            etag: String::new(),
        })
    }

    fn envelope<E: DomainEvent>(
        &self,
        event: &E,
        settings: Option<&Settings>,
        by: Option<&str>,
    ) -> Result<EventEnvelope, Error> {
        let mut metadata = Metadata {
            source: self.source.clone(),
            user_id: by.map(str::to_owned),
            ..Metadata::default()
        };
        if let Some(settings) = settings {
            let extra = &mut metadata.extra;
            extra.insert(STAGES.to_owned(), serde_json::to_value(&settings.stages)?);
            extra.insert(DESCRIPTION.to_owned(), json!(settings.description));
        }
        Ok(EventEnvelope::new(Uuid::now_v7(), event, metadata)?)
    }
}

fn checked(settings: &Settings) -> Result<(), Error> {
    check(&settings.stages)?;
    if settings.description.chars().count() > LONGEST_DESCRIPTION {
        return Err(Error::invalid(
            "pipeline.description",
            format!("must have at most {LONGEST_DESCRIPTION} characters"),
        ));
    }
    Ok(())
}

fn preview(settings: Settings) -> Definition {
    Definition {
        exists: true,
        description: settings.description,
        stages: settings.stages,
        ..Definition::default()
    }
}

fn current(name: &Name, known: &Definition, etag: &str) -> Result<(), Error> {
    if !known.exists {
        return Err(Error::NotFound {
            kind: "pipeline",
            name: name.to_string(),
        });
    }
    if etag.is_empty() || etag == known.etag() {
        return Ok(());
    }
    Err(Error::Changed {
        name: name.to_string(),
        etag: etag.to_owned(),
    })
}

/// What differs, in words: `description`, `stages[2] added`, `stages "hampel" changed`.
fn changes(before: &Settings, after: &Settings) -> Vec<String> {
    let mut changes = Vec::new();
    if before.description != after.description {
        changes.push("description".to_owned());
    }
    let of = |stages: &[Stage], name: &str| stages.iter().find(|stage| stage.name == name).cloned();
    for stage in &before.stages {
        match of(&after.stages, &stage.name) {
            None => changes.push(format!("stage {:?} removed", stage.name)),
            Some(now) if now != *stage => changes.push(format!("stage {:?} changed", stage.name)),
            Some(_) => {}
        }
    }
    for stage in &after.stages {
        if of(&before.stages, &stage.name).is_none() {
            changes.push(format!("stage {:?} added", stage.name));
        }
    }
    if changes.is_empty() && before.stages != after.stages {
        changes.push("order of the stages".to_owned());
    }
    changes
}
