//! The headers of a message: its id, the trace that it belongs to, and the CloudEvents binary binding.

use std::borrow::Cow;
use std::fmt::Write as _;

use async_nats::header::{HeaderMap, HeaderName, HeaderValue, NATS_MESSAGE_ID};
use events::{EventEnvelope, Metadata, OutgoingEvent, Timestamp};
use opentelemetry::propagation::{Extractor, Injector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

use crate::headers::Headers;
use crate::types::id_in_run;

pub(crate) const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");
const CE_ID: HeaderName = HeaderName::from_static("ce-id");
const CE_SOURCE: HeaderName = HeaderName::from_static("ce-source");
const CE_SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");
const CE_SUBJECT: HeaderName = HeaderName::from_static("ce-subject");
const CE_TIME: HeaderName = HeaderName::from_static("ce-time");
const CE_TYPE: HeaderName = HeaderName::from_static("ce-type");
pub(crate) const TRACEPARENT: &str = "traceparent";

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        // Most spans have no state; and what is no name of a header is nothing that a propagator sets.
        if let (Ok(name), false) = (key.parse::<HeaderName>(), value.is_empty()) {
            self.push(name, value);
        }
    }
}

struct Received<'a>(&'a HeaderMap);

impl Extractor for Received<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(HeaderValue::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}

/// Writes `traceparent` and `tracestate` of the current span, where it is part of a trace.
pub(crate) fn inject(headers: &mut Headers) {
    let span = Span::current();
    if span.is_none() {
        return;
    }
    let context = span.context();
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, headers);
    });
}

/// Makes `span` a child of the span that sent the message.
pub(crate) fn continue_trace(span: &Span, headers: Option<&HeaderMap>) {
    let Some(headers) = headers else { return };
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&Received(headers))
    });
    // Without a tracing layer there is nothing to link, which is no fault.
    let _ = span.set_parent(parent);
}

/// The `traceparent` of a message.
pub(crate) fn traceparent(headers: Option<&HeaderMap>) -> Option<String> {
    headers?
        .get(TRACEPARENT)
        .map(|value| value.as_str().to_owned())
}

/// What the headers of an event are made of.
pub(crate) struct Heading<'a> {
    pub id: Uuid,
    pub event_type: &'a str,
    pub aggregate_id: &'a str,
    pub occurred_at: Timestamp,
    pub correlation_id: Option<Uuid>,
    pub metadata: &'a Metadata,
}

impl<'a> From<&'a EventEnvelope> for Heading<'a> {
    fn from(event: &'a EventEnvelope) -> Self {
        Self {
            id: event.id,
            event_type: &event.event_type,
            aggregate_id: &event.aggregate_id,
            occurred_at: event.occurred_at,
            correlation_id: event.correlation_id,
            metadata: &event.metadata,
        }
    }
}

impl<'a, E> From<&'a OutgoingEvent<'_, E>> for Heading<'a> {
    fn from(event: &'a OutgoingEvent<'_, E>) -> Self {
        Self {
            id: event.id,
            event_type: event.event_type,
            aggregate_id: &event.aggregate_id,
            occurred_at: event.occurred_at,
            correlation_id: event.correlation_id,
            metadata: event.metadata,
        }
    }
}

/// All headers of an event: `Nats-Msg-Id`, trace, CloudEvents (binary mode of the NATS protocol binding).
pub(crate) fn event_headers(event: &Heading<'_>) -> Headers {
    let mut headers = Headers::with_capacity(10, 320);
    let metadata = event.metadata;
    let id = id_in_run(event.id, metadata.data_source, event.correlation_id);
    headers.push(NATS_MESSAGE_ID, id);
    headers.push(CE_SPECVERSION, "1.0");
    headers.push(CE_ID, event.id);
    headers.push(CE_TYPE, encoded(event.event_type));
    let source = match &*metadata.source {
        "" => "fresnel",
        source => source,
    };
    headers.push(CE_SOURCE, encoded(source));
    headers.push(CE_TIME, event.occurred_at);
    headers.push(CE_SUBJECT, encoded(event.aggregate_id));
    headers.push(CONTENT_TYPE, "application/json");
    inject(&mut headers);
    headers
}

/// A header value as CloudEvents writes it: what is not printable ASCII, and space, `"` and `%`, percent-encoded. So no
/// text of a user can begin another header.
pub(crate) fn encoded(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| matches!(byte, 0x21..=0x7e) && byte != b'"' && byte != b'%';
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}

/// The text that [`encoded`] wrote.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = ahead;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_cannot_break_out() {
        assert_eq!(encoded("signal/host-1"), "signal/host-1");
        assert_eq!(
            encoded("a\r\nNats-Rollup: all"),
            "a%0D%0ANats-Rollup:%20all"
        );
        assert_eq!(encoded("Küche 100%"), "K%C3%BCche%20100%25");
        for text in ["plain", "a\r\nb", "Küche 100%", "%", "%4", "%zz"] {
            assert_eq!(decoded(&encoded(text)), text);
        }
        assert_eq!(decoded("%"), "%");
        assert_eq!(decoded("100%x"), "100%x");
    }
}
