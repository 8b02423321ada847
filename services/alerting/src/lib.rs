//! From events to people: rules over events, alerts that are acknowledged and resolved, and receivers that are told.
//!
//! [`rule`] says which events matter, [`alert`] what an alert is, [`state`] which condition has one and when it has cleared:
//! all pure. [`handler`] keeps the alerts in the ALERTING stream, [`notify`] tells the receivers, [`grpc`] serves people.

pub mod alert;
pub mod config;
pub mod error;
pub mod grpc;
pub mod handler;
pub mod notify;
pub mod rule;
pub mod state;

use std::sync::Arc;
use std::time::Duration;

use bus::{ConsumerConfig, Handler};
use events::Timestamp;
use tokio::time::MissedTickBehavior;

pub use config::Config;
pub use error::Error;
use handler::Desk;
use notify::Notifier;

/// How often silence is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Wires the service into a process.
///
/// # Errors
/// NATS out of reach, an address that cannot be bound, or a receiver that no HTTP client can be made for.
pub async fn start(config: Config, rt: &mut runtime::Runtime) -> anyhow::Result<()> {
    let bus = rt.bus().await?;
    let desk = Desk::open(
        bus.clone(),
        rt.source(),
        config.rules_in_force(),
        config.history,
    )
    .await?;
    for receiver in &config.receivers {
        let notifier = Notifier::new(desk.clone(), receiver, &config, rt.shutdown())?;
        rt.spawn("notify", notifier.run(bus.clone()));
    }
    for (stream, filters) in desk.filters() {
        let since = desk.news_since(stream).await?;
        let consumer = ConsumerConfig {
            durable: "alerting".into(),
            filters,
            concurrency: 16,
            ack_wait: Duration::from_secs(30),
            max_deliver: 20,
            // Not from now: what is published while the consumer is being made would be missed.
            from_now: false,
        };
        let consuming = bus.consume(consumer, handler(desk.clone(), since), rt.shutdown());
        rt.spawn("rules", async move { Ok(consuming.await?) });
    }
    let stop = rt.shutdown();
    let ticking = desk.clone();
    rt.spawn("tick", async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = ticking.tick().await {
                tracing::warn!(
                    error = error::chain(&error),
                    "cleared alerts are not resolved yet"
                );
            }
        }
        Ok(())
    });
    rt.serve_grpc(grpc::routes(desk), &grpc::NAMES).await?;
    Ok(())
}

/// What was stored before `since` is no news.
fn handler(desk: Desk, since: Timestamp) -> Handler {
    Arc::new(move |delivery| {
        let desk = desk.clone();
        Box::pin(async move {
            if delivery.stored_us < since.as_micros() {
                return Ok(Vec::new());
            }
            desk.handle(&delivery.event).await.map_err(Error::fault)?;
            Ok(Vec::new())
        })
    })
}
