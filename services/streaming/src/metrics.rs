//! What `/metrics` says of the clients.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, UpDownCounter};

/// The instruments; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    open: UpDownCounter<i64>,
    ended: Counter<u64>,
    sent: Counter<u64>,
    failed: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter("streaming");
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        Self {
            open: meter
                .i64_up_down_counter("streaming_sessions_open")
                .with_description("Sessions of clients that are connected now")
                .build(),
            ended: counter("streaming_sessions_ended", "Sessions that ended, by reason"),
            sent: counter(
                "streaming_messages_sent",
                "Events written to clients, by transport",
            ),
            failed: counter(
                "streaming_messages_failed",
                "Events taken for clients and not written, by transport",
            ),
        }
    }

    pub(crate) fn opened(&self, transport: &'static str) {
        self.open.add(1, &[KeyValue::new("transport", transport)]);
    }

    pub(crate) fn sent(&self, transport: &'static str) {
        self.sent.add(1, &[KeyValue::new("transport", transport)]);
    }

    pub(crate) fn ended(&self, transport: &'static str, reason: &'static str, failed: u64) {
        let transport = KeyValue::new("transport", transport);
        self.open.add(-1, std::slice::from_ref(&transport));
        self.failed.add(failed, std::slice::from_ref(&transport));
        self.ended
            .add(1, &[transport, KeyValue::new("reason", reason)]);
    }
}
