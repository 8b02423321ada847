//! Writes the sessions' events: appended to each session's own history at the version that was decided on.

use std::sync::Arc;
use std::time::Duration;

use bus::{Aggregate, AppendError, Bus, EventSourced as _, Version};
use events::id::{MessageId, SessionId};
use events::streaming::MessageDeliveryFailed;
use events::{EventEnvelope, Timestamp};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::error::Error;
use crate::filter::Filters;
use crate::session::{self, Client, Ending, Session, Statistics, Undelivered};

/// Appends under way at once: an append of several events is an atomic batch, of which a stream takes 50.
const APPENDS: usize = 16;
/// Attempts of an append that loses against another writer each time.
const ATTEMPTS: usize = 5;

/// The sessions' history.
#[derive(Clone)]
pub(crate) struct Journal {
    bus: Bus,
    source: Arc<str>,
    lifetime: Duration,
    appends: Arc<Semaphore>,
}

impl Journal {
    pub(crate) fn new(bus: Bus, source: &str, lifetime: Duration) -> Self {
        Self {
            bus,
            source: source.into(),
            lifetime,
            appends: Arc::new(Semaphore::new(APPENDS)),
        }
    }

    /// Opens a session; gives its version.
    pub(crate) async fn open(
        &self,
        id: SessionId,
        client: &Client,
        filters: &Filters,
    ) -> Result<(Session, Version), Error> {
        let mut session = Session::default();
        let events = session
            .open(
                id,
                client,
                filters,
                Timestamp::now(),
                self.lifetime,
                &self.source,
            )
            .map_err(|error| Error::Bus(error.to_string()))?;
        let version = self
            .append(id, Version::default(), events.clone())
            .await
            .map_err(|error| Error::Bus(error.to_string()))?;
        events.iter().for_each(|event| session.apply(event));
        Ok((session, version))
    }

    /// Ends a session. What cannot be written is logged: the client is gone, nobody else can be told.
    pub(crate) async fn end(
        &self,
        id: SessionId,
        opened: (Session, Version),
        ending: &Ending,
        statistics: Statistics,
    ) {
        if let Err(error) = self.try_end(id, opened, ending, statistics).await {
            tracing::warn!(session = %id, %error, "the end of the session could not be recorded");
        }
    }

    async fn try_end(
        &self,
        id: SessionId,
        (mut session, mut version): (Session, Version),
        ending: &Ending,
        statistics: Statistics,
    ) -> anyhow::Result<()> {
        for _ in 0..ATTEMPTS {
            let events = session.end(id, ending, statistics, Timestamp::now(), &self.source)?;
            if events.is_empty() {
                return Ok(());
            }
            match self.append(id, version, events).await {
                Ok(_) => return Ok(()),
                Err(AppendError::Conflict { .. }) => {
                    let (history, now_at) = self.bus.load(&aggregate(id)).await?;
                    session = Session::replay(&history);
                    version = now_at;
                }
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::bail!("another writer appended first, {ATTEMPTS} times")
    }

    /// Announces that a client did not take an event.
    pub(crate) async fn delivery_failed(
        &self,
        id: SessionId,
        event: &Undelivered,
        error_message: &str,
    ) {
        let failed = MessageDeliveryFailed {
            session_id: id,
            message_id: MessageId(event.id),
            timestamp: Timestamp::now(),
            message_type: event.event_type.clone(),
            error_code: "SLOW_CLIENT".into(),
            error_message: error_message.to_owned(),
            retry_count: 0,
            will_retry: false,
        };
        let event_id = Uuid::new_v5(
            &id.0,
            format!("streaming.message_delivery_failed {}", event.id).as_bytes(),
        );
        let published = match EventEnvelope::new(event_id, &failed, session::metadata(&self.source))
        {
            Ok(failure) => self
                .bus
                .publish(&failure.caused_by(event.id))
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = published {
            tracing::warn!(session = %id, %error, "a failed delivery could not be announced");
        }
    }

    async fn append(
        &self,
        id: SessionId,
        expected: Version,
        events: Vec<EventEnvelope>,
    ) -> Result<Version, AppendError> {
        // Never closed; without a permit the append is only less polite.
        let _turn = self.appends.acquire().await;
        self.bus.append(&aggregate(id), expected, events).await
    }
}

fn aggregate(id: SessionId) -> Aggregate {
    Aggregate {
        context: "streaming".into(),
        key: id.to_string(),
    }
}
