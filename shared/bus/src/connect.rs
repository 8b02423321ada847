//! The connection: reaching the server, knowing whether it is there, and trying again within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{ConnectErrorKind, ConnectOptions, Event};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

use crate::error::Attempt;
use crate::{BoxFuture, Config, Error, reconcile};

/// Longest wait for one answer; what is left of the time allowed is the other bound.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Publishes without an ack that one connection may have, over all publishers.
const MAX_UNACKED: usize = 32_768;

/// The state of the connection, and how often it was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub up: bool,
    /// Rises by one with each reconnect: what was under way before may be lost.
    pub epoch: u64,
}

/// What every part of the crate works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Core {
    pub client: async_nats::Client,
    pub js: jetstream::Context,
    pub config: Arc<Config>,
    pub link: watch::Receiver<Link>,
    /// Set by the first reconcile: from then on, a reconnect reconciles again, since memory streams end with the server.
    pub reconciled: Arc<AtomicBool>,
    /// Whether the worker that turns the server's advisories into dead letters runs.
    pub undertaker: Arc<AtomicBool>,
    /// Cancelled when the last handle on the bus is dropped.
    pub closed: CancellationToken,
}

/// Ends the tasks of a bus when the last handle on it goes.
pub(crate) struct Life {
    pub _guard: DropGuard,
}

/// Connects within `connect_timeout_s`, trying again while nobody answers.
pub(crate) async fn connect(config: Config) -> Result<(Core, Life), Error> {
    check(&config)?;
    let began = Instant::now();
    let limit = seconds(config.connect_timeout_s);
    let (sender, link) = watch::channel(Link { up: true, epoch: 0 });
    let sender = Arc::new(sender);
    let url = shown(&config.url);
    let mut last = String::from("no attempt was made");
    let client = loop {
        let left = limit.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(Error::Connect {
                url,
                waited_s: began.elapsed().as_secs_f64(),
                reason: last,
            });
        }
        let options = options(&config, &sender).connection_timeout(left.min(ANSWER_TIMEOUT));
        let servers: Vec<&str> = config
            .url
            .split(',')
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .collect();
        let attempt = tokio::time::timeout(left, options.connect(servers)).await;
        match attempt {
            Ok(Ok(client)) => break client,
            Ok(Err(error)) => match error.kind() {
                ConnectErrorKind::AuthorizationViolation
                | ConnectErrorKind::Authentication
                | ConnectErrorKind::ServerParse => {
                    return Err(Error::Login {
                        url,
                        reason: chain(&error),
                    });
                }
                _ => last = chain(&error),
            },
            Err(_) => last = "no answer".to_owned(),
        }
        tokio::time::sleep(Duration::from_millis(50).min(limit.saturating_sub(began.elapsed())))
            .await;
    };
    let js = ContextBuilder::new()
        .timeout(ANSWER_TIMEOUT)
        .ack_timeout(ANSWER_TIMEOUT)
        .max_ack_inflight(MAX_UNACKED)
        .build(client.clone());
    let closed = CancellationToken::new();
    let core = Core {
        client,
        js,
        config: Arc::new(config),
        link,
        reconciled: Arc::default(),
        undertaker: Arc::default(),
        closed: closed.clone(),
    };
    tokio::spawn(restore(core.clone()));
    Ok((
        core,
        Life {
            _guard: closed.drop_guard(),
        },
    ))
}

fn check(config: &Config) -> Result<(), Error> {
    let numbers = [
        ("connect_timeout_s", config.connect_timeout_s),
        ("publish_timeout_s", config.publish_timeout_s),
        ("storage_scale", config.storage_scale),
    ];
    for (field, value) in numbers {
        // Above this, sizes and times no longer fit into what they are counted in.
        if !(value > 0.0 && value <= 1e6) {
            return Err(Error::Config { field, value });
        }
    }
    Ok(())
}

fn options(config: &Config, link: &Arc<watch::Sender<Link>>) -> ConnectOptions {
    let link = Arc::clone(link);
    let mut options = ConnectOptions::new()
        .name(if config.name.is_empty() {
            "fresnel"
        } else {
            &config.name
        })
        .max_reconnects(None)
        // Whoever makes a subject checks it, once (`subject::check`).
        .skip_subject_validation(true)
        .reconnect_delay_callback(|attempts| {
            let doubled = Duration::from_millis(10).saturating_mul(1 << attempts.clamp(1, 7));
            doubled.min(Duration::from_secs(1))
        })
        .event_callback(move |event| {
            observe(&link, &event);
            std::future::ready(())
        });
    if let Some(token) = &config.token {
        options = options.token(token.clone());
    } else if let Some(user) = &config.user {
        options =
            options.user_and_password(user.clone(), config.password.clone().unwrap_or_default());
    }
    options
}

/// A denied subject looks like a time-out to whoever publishes: the reason comes only through here.
fn observe(link: &watch::Sender<Link>, event: &Event) {
    match event {
        Event::Connected => {
            let changed = link.send_if_modified(|link| {
                let changed = !link.up;
                if changed {
                    *link = Link {
                        up: true,
                        epoch: link.epoch + 1,
                    };
                }
                changed
            });
            if changed {
                info!("connected to nats again");
            }
        }
        Event::Disconnected => {
            link.send_modify(|link| link.up = false);
            warn!("connection to nats lost");
        }
        Event::ServerError(error) => warn!(%error, "nats server reports an error"),
        Event::ClientError(error) => warn!(%error, "nats client reports an error"),
        Event::SlowConsumer(subscription) => {
            warn!(subscription, "messages dropped: a subscriber is too slow")
        }
        other => debug!(event = %other, "nats"),
    }
}

/// Memory streams end with the server, so each reconnect brings the server to the table again.
async fn restore(core: Core) {
    let mut link = core.link.clone();
    let mut epoch = link.borrow_and_update().epoch;
    loop {
        tokio::select! {
            () = core.closed.cancelled() => return,
            changed = link.changed() => if changed.is_err() { return },
        }
        let now = *link.borrow_and_update();
        if !now.up || now.epoch == epoch || !core.reconciled.load(Ordering::Relaxed) {
            continue;
        }
        epoch = now.epoch;
        if let Err(error) = reconcile::reconcile(&core).await {
            warn!(%error, "streams could not be restored after the reconnect");
        }
    }
}

impl Core {
    pub fn is_connected(&self) -> bool {
        // The client knows of a loss first, and of a return before the epoch has risen: both must agree.
        self.client.connection_state() == State::Connected && self.link.borrow().up
    }

    /// Why nothing goes while the connection is down.
    pub fn absence(&self) -> String {
        format!("not connected to {}", shown(&self.config.url))
    }

    /// The time that a publish, or anything else asked of the server, may take.
    pub fn patience(&self) -> Duration {
        seconds(self.config.publish_timeout_s)
    }

    /// Does `attempt` until it succeeds, is refused, or the time allowed is over. Each attempt ends early when the
    /// connection is made anew, since its answer is then lost.
    pub async fn persist<'a, T: Send>(
        &'a self,
        what: &str,
        attempt: impl FnMut(u32) -> BoxFuture<'a, Result<T, Attempt>> + Send,
    ) -> Result<T, Error> {
        self.persist_within(what, self.patience(), ANSWER_TIMEOUT, attempt)
            .await
    }

    /// The same with other bounds: on the whole, and on one attempt.
    pub async fn persist_within<'a, T: Send>(
        &'a self,
        what: &str,
        limit: Duration,
        answer: Duration,
        mut attempt: impl FnMut(u32) -> BoxFuture<'a, Result<T, Attempt>> + Send,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let mut link = self.link.clone();
        let mut number = 0;
        let mut pause = Duration::from_millis(10);
        let mut reason = String::new();
        loop {
            let epoch = link.borrow_and_update().epoch;
            let left = limit.saturating_sub(began.elapsed());
            if self.is_connected() {
                let outcome = tokio::select! {
                    outcome = tokio::time::timeout(left.min(answer), attempt(number)) => outcome,
                    () = lost(&mut link, epoch) => {
                        Ok(Err(Attempt::Transient("the connection was lost under way".to_owned())))
                    }
                };
                number += 1;
                match outcome {
                    Ok(Ok(value)) => return Ok(value),
                    Ok(Err(Attempt::Fatal(error))) => return Err(error),
                    Ok(Err(Attempt::Transient(why))) => reason = why,
                    Err(_) => "the server does not answer".clone_into(&mut reason),
                }
            }
            if !self.is_connected() {
                reason = self.absence();
            }
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    waited_s: began.elapsed().as_secs_f64(),
                    reason,
                });
            }
            debug!(what, reason, "trying again");
            tokio::select! {
                () = tokio::time::sleep(pause.min(left)) => pause = (pause * 2).min(Duration::from_millis(500)),
                () = reconnected(&mut link, epoch) => pause = Duration::from_millis(10),
            }
        }
    }

    /// A round trip on this connection: what was subscribed before is known to the server afterwards.
    pub async fn barrier(&self) -> Result<(), Error> {
        self.persist("round trip", |_| {
            Box::pin(async {
                match self
                    .client
                    .request("$SYS.REQ.USER.INFO", bytes::Bytes::new())
                    .await
                {
                    Ok(_) => Ok(()),
                    Err(error) => Err(Attempt::Transient(chain(&error))),
                }
            })
        })
        .await
    }
}

/// Waits until the connection is down, or of a later epoch than `epoch`: what was asked before is then not answered.
async fn lost(link: &mut watch::Receiver<Link>, epoch: u64) {
    let gone = |link: &Link| !link.up || link.epoch != epoch;
    if link.wait_for(gone).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until the connection is of a later epoch than `epoch`; for ever where it never is.
pub(crate) async fn reconnected(link: &mut watch::Receiver<Link>, epoch: u64) {
    if link
        .wait_for(|link| link.up && link.epoch != epoch)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}

/// An error with its sources, one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

/// The address without user and password.
pub(crate) fn shown(url: &str) -> String {
    let strip = |server: &str| match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => server.to_owned(),
    };
    url.split(',')
        .map(|server| strip(server.trim()))
        .collect::<Vec<_>>()
        .join(",")
}

/// Seconds of the configuration; what is no sensible time is taken as none.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_numbers_are_refused() {
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let config = Config {
                storage_scale: value,
                ..Config::default()
            };
            let error = check(&config).unwrap_err().to_string();
            assert!(error.contains("nats.storage_scale"), "{error}");
        }
        assert_eq!(check(&Config::default()), Ok(()));
    }

    #[test]
    fn no_password_is_shown() {
        assert_eq!(shown("nats://me:secret@host:4222"), "nats://host:4222");
        assert_eq!(
            shown("me:secret@host:4222, nats://b:1"),
            "host:4222,nats://b:1"
        );
        assert_eq!(shown("nats://host:4222"), "nats://host:4222");
    }
}
