//! One call of a webhook, in Alertmanager's JSON (version 4), so that what takes alerts from Alertmanager takes ours.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use events::NotificationId;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Serialize;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::alert::Alert;
use crate::config::ReceiverConfig;
use crate::error::chain;

/// Of an answer that is no success, so much is told in the event.
const ANSWER_BYTES: usize = 500;
/// What Alertmanager sends as the end of an alert that has none.
const NO_END: &str = "0001-01-01T00:00:00Z";

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// 2xx.
    Accepted,
    /// It will never take this.
    Refused(Fault),
    /// It may take it later.
    Unavailable {
        /// Why not now.
        fault: Fault,
        /// What it asked us to wait.
        retry_after: Option<Duration>,
    },
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `http_503`, `timeout`, `connect`, `network`.
    pub code: String,
    /// In words, without the URL, which may hold a secret.
    pub message: String,
}

impl Outcome {
    /// In one word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused(_) => "refused",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

/// A webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    client: Client,
    url: Url,
    receiver: String,
    external_url: String,
}

/// The body: one group of one alert.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    version: &'static str,
    group_key: String,
    truncated_alerts: u32,
    status: &'static str,
    receiver: String,
    group_labels: BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<&'static str, String>,
    #[serde(rename = "externalURL")]
    external_url: String,
    alerts: [BodyAlert; 1],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyAlert {
    status: &'static str,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

impl Webhook {
    /// A webhook of `receiver`.
    ///
    /// # Errors
    /// Where its URL is none, or no HTTP client can be made.
    pub fn new(receiver: &ReceiverConfig, external_url: &str) -> anyhow::Result<Self> {
        let url = receiver.url().map_err(anyhow::Error::msg)?;
        // Somebody else in this process may have installed it: one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .timeout(receiver.timeout)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("fresnel/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            client = client.no_proxy();
        }
        let client = client
            .build()
            .with_context(|| format!("no HTTP client for receiver {}", receiver.name))?;
        Ok(Self {
            client,
            url,
            receiver: receiver.name.to_string(),
            external_url: external_url.to_owned(),
        })
    }

    /// What is sent of `alert`.
    #[must_use]
    pub fn body(&self, alert: &Alert, resolved: bool) -> Body {
        let raised = &alert.raised;
        let status = if resolved { "resolved" } else { "firing" };
        let ends = alert
            .resolved
            .as_ref()
            .filter(|_| resolved)
            .map(|resolved| resolved.timestamp.to_string());
        let annotations = BTreeMap::from([
            ("summary", raised.title.clone()),
            ("description", raised.message.clone()),
            ("alert_id", raised.alert_id.to_string()),
        ]);
        let labels: Vec<String> = raised
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        Body {
            version: "4",
            group_key: format!("{{}}:{{{}}}", labels.join(", ")),
            truncated_alerts: 0,
            status,
            receiver: self.receiver.clone(),
            group_labels: raised.labels.clone(),
            common_labels: raised.labels.clone(),
            common_annotations: annotations.clone(),
            external_url: self.external_url.clone(),
            alerts: [BodyAlert {
                status,
                labels: raised.labels.clone(),
                annotations,
                starts_at: raised.timestamp.to_string(),
                ends_at: ends.unwrap_or_else(|| NO_END.to_owned()),
                generator_url: String::new(),
                fingerprint: raised.fingerprint.clone(),
            }],
        }
    }

    /// Posts `body` once, within a span of its own whose `traceparent` goes along.
    pub async fn call(&self, body: &Body, notification: NotificationId) -> Outcome {
        let span = info_span!(
            "webhook",
            otel.name = "POST",
            otel.kind = "client",
            otel.status_code = Empty,
            http.request.method = "POST",
            http.response.status_code = Empty,
            server.address = self.url.host_str().unwrap_or_default(),
            server.port = self.url.port_or_known_default(),
            error.type = Empty,
            fresnel.receiver = self.receiver,
        );
        self.post(body, notification).instrument(span).await
    }

    async fn post(&self, body: &Body, notification: NotificationId) -> Outcome {
        let span = Span::current();
        let request = match serde_json::to_vec(body) {
            Ok(bytes) => self
                .client
                .post(self.url.clone())
                .headers(trace_headers(&span))
                .header(CONTENT_TYPE, "application/json")
                .header("idempotency-key", notification.to_string())
                .body(bytes),
            Err(error) => {
                return Outcome::Refused(Fault {
                    code: "body".into(),
                    message: error.to_string(),
                });
            }
        };
        let outcome = match request.send().await {
            Ok(response) => {
                span.record("http.response.status_code", response.status().as_u16());
                judge(response).await
            }
            Err(error) => {
                let code = match &error {
                    error if error.is_timeout() => "timeout",
                    error if error.is_connect() => "connect",
                    _ => "network",
                };
                let message = chain(&error.without_url());
                Outcome::Unavailable {
                    fault: Fault {
                        code: code.into(),
                        message,
                    },
                    retry_after: None,
                }
            }
        };
        if let Outcome::Refused(fault) | Outcome::Unavailable { fault, .. } = &outcome {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", display(&fault.code));
        }
        outcome
    }
}

/// What an answer means.
async fn judge(mut response: Response) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Accepted;
    }
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value, Utc::now()));
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => answer.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    answer.truncate(ANSWER_BYTES);
    let answer = String::from_utf8_lossy(&answer);
    let message = match answer.trim() {
        "" => status.to_string(),
        answer => format!("{status}: {answer}"),
    };
    let fault = Fault {
        code: format!("http_{}", status.as_u16()),
        message,
    };
    let later = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
    if later {
        Outcome::Unavailable { fault, retry_after }
    } else {
        Outcome::Refused(fault)
    }
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(value: &HeaderValue, now: DateTime<Utc>) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or_default())
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// `traceparent` and `tracestate` of the span, where it is part of a trace.
fn trace_headers(span: &Span) -> HeaderMap {
    let mut fields: HashMap<String, String> = HashMap::new();
    let context = span.context();
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut fields)
    });
    let headers = fields.into_iter().filter_map(|(name, value)| {
        Some((
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(value).ok()?,
        ))
    });
    headers.collect()
}

#[cfg(test)]
mod tests;
