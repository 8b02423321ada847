//! The edge between the bus and the alerts: events in, alerts kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Aggregate, AppendError, Bus, Delivery, Version};
use events::alerting::AlertRaised;
use events::{AlertId, DomainEvent, EventEnvelope, Metadata, Timestamp};
use tokio::sync::Mutex;
use tracing::{info, warn};
use uuid::Uuid;

use crate::alert::{self, Alert};
use crate::error::{Error, chain};
use crate::rule::Rule;
use crate::state::{Alerts, Cleared, Lane};

/// Rounds of a command that meets other writers.
const ROUNDS: usize = 4;
const MINUTE_US: i64 = 60_000_000;

/// The alerts and where they are stored. One process at a time works them: a second would not see what the first holds.
#[derive(Clone)]
pub struct Desk {
    inner: Arc<Inner>,
}

struct Inner {
    bus: Bus,
    source: String,
    rules: Vec<Rule>,
    began: Instant,
    /// Held while an alert is changed: alerts are few, and what is decided on must still be so when it is stored.
    alerts: Mutex<Alerts>,
}

impl Desk {
    /// The alerts that the ALERTING stream holds, with their conditions as far as the events still kept tell.
    ///
    /// # Errors
    /// Where the bus cannot be read.
    pub async fn open(
        bus: Bus,
        source: &str,
        rules: Vec<Rule>,
        history: usize,
    ) -> Result<Self, Error> {
        let mut alerts = Alerts::new(history);
        let mut take = |delivery: Delivery| {
            remember(&mut alerts, &delivery);
            ControlFlow::Continue(())
        };
        bus.replay_each("alerting.*.*", bus::From::Start, &mut take)
            .await?;
        let desk = Self {
            inner: Arc::new(Inner {
                bus,
                source: source.to_owned(),
                rules,
                began: Instant::now(),
                alerts: Mutex::new(alerts),
            }),
        };
        desk.recover_conditions().await?;
        Ok(desk)
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.inner.rules
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// What must be consumed for the rules: filters by stream.
    #[must_use]
    pub fn filters(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut filters: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for rule in &self.inner.rules {
            let of_stream = filters
                .entry(events::stream_of(&rule.event_type))
                .or_default();
            let filter = format!("{}.*", rule.event_type);
            if !of_stream.contains(&filter) {
                of_stream.push(filter);
            }
        }
        filters
    }

    /// When each open alert's condition last matched: read again from the events, since matches that raise nothing leave
    /// no trace of their own. Where the rule is gone, its alerts stay until somebody resolves them.
    async fn recover_conditions(&self) -> Result<(), Error> {
        let mut alerts = self.inner.alerts.lock().await;
        let now = self.inner.began.elapsed();
        let mut unseen: BTreeMap<AlertId, (&Rule, Timestamp)> = BTreeMap::new();
        let open: Vec<Alert> = alerts
            .newest_first(None)
            .filter(|alert| alert.resolved.is_none())
            .cloned()
            .collect();
        for alert in &open {
            match self
                .inner
                .rules
                .iter()
                .find(|rule| rule.id == alert.raised.rule_id)
            {
                Some(rule) => {
                    unseen.insert(alert.id(), (rule, alert.stored));
                }
                None => {
                    warn!(alert = %alert.id(), rule = %alert.raised.rule_id, "the rule of an open alert is no longer there");
                }
            }
        }
        // An event is stored just before its alert; after a long outage of this service, long before it.
        for all in [false, true] {
            let types: BTreeSet<String> = unseen
                .values()
                .map(|(rule, _)| rule.event_type.clone())
                .collect();
            for event_type in types {
                let stored = unseen
                    .values()
                    .filter(|(rule, _)| rule.event_type == event_type)
                    .map(|(_, stored)| *stored);
                let from = match stored.min() {
                    Some(first) if !all => {
                        bus::From::Time(first.as_micros().saturating_sub(MINUTE_US))
                    }
                    _ => bus::From::Start,
                };
                let mut take = |delivery: Delivery| {
                    self.recall(&mut alerts, &mut unseen, &delivery.event, now);
                    ControlFlow::Continue(())
                };
                self.inner
                    .bus
                    .replay_each(&format!("{event_type}.*"), from, &mut take)
                    .await?;
            }
        }
        // The event is no longer kept: no event tells how its time passes, so only silence ends it.
        for (id, (rule, _)) in unseen {
            alerts.watch(id, Lane::default(), rule.resolve_after, now);
        }
        info!(open = open.len(), "alerts read");
        Ok(())
    }

    /// What an event of the past tells of the alerts that are open.
    fn recall<'a>(
        &'a self,
        alerts: &mut Alerts,
        unseen: &mut BTreeMap<AlertId, (&'a Rule, Timestamp)>,
        event: &EventEnvelope,
        now: Duration,
    ) {
        for rule in &self.inner.rules {
            let Some(found) = rule.check(event) else {
                continue;
            };
            let id = alert::alert_id(rule, event);
            if unseen.remove(&id).is_some() {
                alerts.watch(id, Lane::of(event), rule.resolve_after, now);
            } else if alerts.holds(&found.fingerprint, event.occurred_at) {
                alerts.repeated(&found.fingerprint, event.occurred_at, now);
            }
        }
    }

    /// Since when events of `stream` are news: the first time that anybody asked for alerts over them.
    ///
    /// # Errors
    /// Where the bus cannot be asked.
    pub async fn news_since(&self, stream: &str) -> Result<Timestamp, Error> {
        let began = self.inner.bus.kv("config").await?;
        let key = format!("alerting.began.{stream}");
        let now = Timestamp::now();
        let written = began
            .update(&key, now.to_string().into_bytes().into(), 0)
            .await?;
        let before = if written.is_none() {
            began.get(&key).await?
        } else {
            None
        };
        let before = before.and_then(|(value, _)| str::from_utf8(&value).ok()?.parse().ok());
        Ok(before.unwrap_or(now))
    }

    /// Looks at one event with all rules.
    ///
    /// # Errors
    /// Where what follows could not be stored; the event can be handled again.
    pub async fn handle(&self, event: &EventEnvelope) -> Result<(), Error> {
        let found: Vec<_> = self
            .inner
            .rules
            .iter()
            .filter_map(|rule| Some((rule, rule.check(event)?)))
            .collect();
        let fingerprints: Vec<&str> = found
            .iter()
            .map(|(_, found)| found.fingerprint.as_str())
            .collect();
        let lane = Lane::of(event);
        let mut alerts = self.inner.alerts.lock().await;
        for cleared in alerts.due(&lane, &fingerprints, event.occurred_at) {
            self.clear(&mut alerts, cleared).await?;
        }
        for (rule, found) in found {
            let now = self.inner.began.elapsed();
            let known = alerts.get(alert::alert_id(rule, event)).is_some();
            if known || alerts.repeated(&found.fingerprint, event.occurred_at, now) {
                continue;
            }
            let raised = alert::raise(rule, event, found);
            let id = raised.alert_id;
            alerts.put(self.raise(event, &raised).await?);
            alerts.watch(id, lane.clone(), rule.resolve_after, now);
        }
        Ok(())
    }

    /// Stores that an alert was raised; where it was before, the alert as it is now.
    async fn raise(&self, event: &EventEnvelope, raised: &AlertRaised) -> Result<Alert, Error> {
        let name = format!("{}/{}", AlertRaised::EVENT_TYPE, raised.rule_id);
        let id = Uuid::new_v5(&event.id, name.as_bytes());
        let mut metadata = self.metadata(event.metadata.data_source);
        metadata.method = Some(format!("rule/{}", raised.rule_id));
        let envelope = EventEnvelope::new(id, raised, metadata)?
            .caused_by(event.id)
            .correlated(event.correlation_id);
        let appended = self
            .append(raised.alert_id, Version::default(), envelope.clone())
            .await;
        match appended {
            Ok(version) => match Alert::begun(&envelope, Timestamp::now(), version) {
                Some(alert) => {
                    info!(alert = %raised.alert_id, rule = %raised.rule_id, severity = %raised.severity, title = raised.title, "alert raised");
                    Ok(alert)
                }
                None => Err(Error::NotFound(raised.alert_id)),
            },
            Err(AppendError::Conflict { .. }) => self.load(raised.alert_id, Timestamp::now()).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Ends what was quiet for its time. While we were cut off from the events, silence tells nothing.
    ///
    /// # Errors
    /// Where it could not be stored; it is tried again at the next tick.
    pub async fn tick(&self) -> Result<(), Error> {
        let mut alerts = self.inner.alerts.lock().await;
        let now = self.inner.began.elapsed();
        if !self.inner.bus.is_connected() {
            alerts.deaf_until(now);
            return Ok(());
        }
        for cleared in alerts.quiet(now) {
            self.clear(&mut alerts, cleared).await?;
        }
        Ok(())
    }

    async fn clear(&self, alerts: &mut Alerts, cleared: Cleared) -> Result<(), Error> {
        let ended = self
            .change(alerts, cleared.alert, None, |alert| {
                Ok(alert.clear(cleared.at))
            })
            .await?;
        info!(alert = %ended.id(), rule = %ended.raised.rule_id, "alert resolved: its condition cleared");
        Ok(())
    }

    /// Somebody takes an alert on.
    ///
    /// # Errors
    /// Where there is none, it is over, or somebody else did.
    pub async fn acknowledge(
        &self,
        id: AlertId,
        by: &str,
        comment: Option<String>,
    ) -> Result<Alert, Error> {
        let mut alerts = self.inner.alerts.lock().await;
        let decide = |alert: &Alert| alert.acknowledge(by, comment.clone(), Timestamp::now());
        self.change(&mut alerts, id, Some(by), decide).await
    }

    /// Somebody says that an alert is over.
    ///
    /// # Errors
    /// Where there is none, or it is over already.
    pub async fn resolve(&self, id: AlertId, by: &str, reason: &str) -> Result<Alert, Error> {
        let mut alerts = self.inner.alerts.lock().await;
        let decide = |alert: &Alert| alert.resolve(by, reason, Timestamp::now()).map(Some);
        self.change(&mut alerts, id, Some(by), decide).await
    }

    /// Appends what `decide` makes of the alert; after a conflict it decides again on what the others made of it.
    async fn change<E: DomainEvent>(
        &self,
        alerts: &mut Alerts,
        id: AlertId,
        by: Option<&str>,
        decide: impl Fn(&Alert) -> Result<Option<E>, alert::Refusal>,
    ) -> Result<Alert, Error> {
        let mut alert = match alerts.get(id) {
            Some(alert) => alert.clone(),
            None => self.load(id, Timestamp::now()).await?,
        };
        for _ in 0..ROUNDS {
            let Some(event) = decide(&alert)? else {
                alerts.put(alert.clone());
                return Ok(alert);
            };
            // One kind of event happens to an alert once: its id follows, and a repeated append is the same event.
            let event_id = Uuid::new_v5(&id.0, E::EVENT_TYPE.as_bytes());
            let mut metadata = self.metadata(alert.data_source);
            metadata.user_id = by.map(str::to_owned);
            let envelope = EventEnvelope::new(event_id, &event, metadata)?
                .caused_by(alert.raised.trigger_event_id.0)
                .correlated(alert.correlation);
            match self.append(id, alert.version, envelope.clone()).await {
                Ok(version) => {
                    alert.apply(&envelope);
                    alert.version = version;
                    alerts.put(alert.clone());
                    return Ok(alert);
                }
                Err(AppendError::Conflict { .. }) => {
                    alert = self.load(id, alert.stored).await?;
                    alerts.put(alert.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Busy(id))
    }

    async fn append(
        &self,
        id: AlertId,
        expected: Version,
        event: EventEnvelope,
    ) -> Result<Version, AppendError> {
        self.inner
            .bus
            .append(&aggregate(id), expected, vec![event])
            .await
    }

    /// The alert as the stream has it, `stored` at a time known from elsewhere.
    async fn load(&self, id: AlertId, stored: Timestamp) -> Result<Alert, Error> {
        let (events, version) = self.inner.bus.load(&aggregate(id)).await?;
        Alert::replay(&events, stored, version).ok_or(Error::NotFound(id))
    }

    /// The alert of this id, kept here or in the stream.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn get(&self, id: AlertId) -> Result<Alert, Error> {
        let kept = self.inner.alerts.lock().await.get(id).cloned();
        match kept {
            Some(alert) => Ok(alert),
            None => self.load(id, Timestamp::now()).await,
        }
    }

    /// At most `limit` alerts that `wanted` takes, newest first, after the one at `after`.
    pub async fn list(
        &self,
        after: Option<(Timestamp, AlertId)>,
        limit: usize,
        wanted: impl Fn(&Alert) -> bool,
    ) -> Vec<Alert> {
        let alerts = self.inner.alerts.lock().await;
        alerts
            .newest_first(after)
            .filter(|alert| wanted(alert))
            .take(limit)
            .cloned()
            .collect()
    }

    pub(crate) fn metadata(&self, data_source: Option<events::DataSource>) -> Metadata {
        Metadata {
            source: self.inner.source.clone(),
            data_source,
            ..Metadata::default()
        }
    }
}

/// Applies an event of the ALERTING stream.
fn remember(alerts: &mut Alerts, delivery: &Delivery) {
    let event = &delivery.event;
    let version = Version {
        number: event.sequence_number,
        stream_sequence: delivery.stream_sequence,
    };
    let stored = Timestamp::from_micros(delivery.stored_us);
    match event.read::<AlertRaised>() {
        Ok(Some(_)) => Alert::begun(event, stored, version)
            .into_iter()
            .for_each(|alert| alerts.put(alert)),
        Ok(None) => {
            let Ok(id) = event.aggregate_id.parse().map(AlertId) else {
                return;
            };
            let Some(mut alert) = alerts.get(id).cloned() else {
                return;
            };
            if event.sequence_number > 0 {
                alert.apply(event);
                alert.version = version;
                alerts.put(alert);
            }
        }
        Err(error) => warn!(error = chain(&error), "an alert cannot be read"),
    }
}

fn aggregate(id: AlertId) -> Aggregate {
    Aggregate {
        context: "alerting".into(),
        key: id.to_string(),
    }
}
