//! What every gRPC request passes: the caller's trace, a span, the limits, and the end of streams when the server drains.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use axum::middleware::Next;
use futures::FutureExt;
use http_body::{Frame, SizeHint};
use opentelemetry::metrics::Histogram;
use opentelemetry::propagation::Extractor;
use opentelemetry::{KeyValue, global};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Code, Status};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::config::Limits;
use crate::status::refuse;

/// How long an open stream may take to end by itself when the server drains.
const STREAM_GRACE: Duration = Duration::from_secs(1);
/// Bounds of the duration histogram in seconds, as OpenTelemetry's conventions have them.
const DURATION_BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

pub(super) struct Edge {
    permits: Arc<Semaphore>,
    concurrent: usize,
    timeout: Duration,
    streaming: HashSet<String>,
    drain: CancellationToken,
    /// The requests whose responses have not ended.
    pub(super) in_hand: TaskTracker,
    durations: Histogram<f64>,
}

impl Edge {
    pub(super) fn new(
        limits: &Limits,
        streaming: HashSet<String>,
        drain: CancellationToken,
    ) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits.concurrent_requests)),
            concurrent: limits.concurrent_requests,
            timeout: Duration::from_secs_f64(limits.request_timeout_s),
            streaming,
            drain,
            in_hand: TaskTracker::new(),
            durations: global::meter("runtime")
                .f64_histogram("rpc.server.duration")
                .with_unit("s")
                .with_description("Time from a gRPC request to the end of its response.")
                .with_boundaries(DURATION_BOUNDS.to_vec())
                .build(),
        }
    }
}

pub(super) async fn pass(
    State(edge): State<Arc<Edge>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let in_hand = edge.in_hand.token();
    // Health and reflection are asked all the time: no spans, no limits.
    if path.starts_with("/grpc.") {
        let response = next.run(request).await;
        return response.map(|body| Body::new(Observed::new(body, &edge, in_hand, None, true)));
    }
    let call = Call::begin(&path, request.headers(), &edge);
    let streams = edge.streaming.contains(&path);
    let response = match edge.permits.clone().try_acquire_owned() {
        Err(_) => {
            let message = format!(
                "{} requests are in hand already; try again later",
                edge.concurrent
            );
            refuse(Code::ResourceExhausted, "TOO_MANY_REQUESTS", message).into_http()
        }
        Ok(permit) => {
            let response = next.run(request).instrument(call.span.clone());
            answer(response, permit, (!streams).then_some(edge.timeout)).await
        }
    };
    if let Some(status) = Status::from_header_map(response.headers()) {
        call.end(&status);
        return response;
    }
    response.map(|body| Body::new(Observed::new(body, &edge, in_hand, Some(call), streams)))
}

async fn answer(
    response: impl Future<Output = Response<Body>>,
    _permit: OwnedSemaphorePermit,
    timeout: Option<Duration>,
) -> Response<Body> {
    // What panicked was logged where it happened; the connection, and the other requests on it, go on.
    let response = AssertUnwindSafe(response).catch_unwind().map(|outcome| {
        outcome.unwrap_or_else(|_| {
            refuse(
                Code::Internal,
                "PANIC",
                "the request met a fault of the service",
            )
            .into_http()
        })
    });
    let Some(timeout) = timeout else {
        return response.await;
    };
    tokio::time::timeout(timeout, response)
        .await
        .unwrap_or_else(|_| {
            let message = format!("not answered within {} s", timeout.as_secs_f64());
            refuse(Code::DeadlineExceeded, "REQUEST_TIMEOUT", message).into_http()
        })
}

/// One request, from its headers to its status.
struct Call {
    span: Span,
    service: String,
    method: String,
    began: Instant,
    durations: Histogram<f64>,
}

impl Call {
    fn begin(path: &str, headers: &HeaderMap, edge: &Edge) -> Self {
        let name = path.trim_start_matches('/');
        let (service, method) = name.split_once('/').unwrap_or((name, ""));
        let span = tracing::info_span!(
            "grpc",
            otel.name = name,
            otel.kind = "server",
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        );
        let parent =
            global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
        // Without an exporter there is nothing to attach the parent to.
        let _ = span.set_parent(parent);
        Self {
            span,
            service: service.to_owned(),
            method: method.to_owned(),
            began: Instant::now(),
            durations: edge.durations.clone(),
        }
    }

    /// Only what is our fault is an error in the log: a NOT_FOUND is an answer.
    fn end(&self, status: &Status) {
        let code = status.code();
        self.span.record("rpc.grpc.status_code", code as i32);
        let text = status.message();
        self.span.in_scope(|| match code {
            Code::Unknown | Code::Internal | Code::DataLoss => {
                self.span.record("otel.status_code", "ERROR");
                tracing::error!(?code, text, "request failed");
            }
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Unimplemented => {
                self.span.record("otel.status_code", "ERROR");
                tracing::warn!(?code, text, "request refused");
            }
            _ => tracing::debug!(?code, text, "request answered"),
        });
        let attributes = [
            KeyValue::new("rpc.service", self.service.clone()),
            KeyValue::new("rpc.method", self.method.clone()),
            KeyValue::new("rpc.grpc.status_code", code as i64),
        ];
        self.durations
            .record(self.began.elapsed().as_secs_f64(), &attributes);
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// A response body that ends its call's span, and itself when the server drains and the service does not end it.
struct Observed {
    body: Body,
    call: Option<Call>,
    drain: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    ended: bool,
    _in_hand: TaskTrackerToken,
}

impl Observed {
    fn new(
        body: Body,
        edge: &Edge,
        in_hand: TaskTrackerToken,
        call: Option<Call>,
        streams: bool,
    ) -> Self {
        let drain = streams.then(|| {
            let draining = edge.drain.clone().cancelled_owned();
            let grace = async move {
                draining.await;
                tokio::time::sleep(STREAM_GRACE).await;
            };
            Box::pin(grace) as Pin<Box<dyn Future<Output = ()> + Send>>
        });
        Self {
            body,
            call,
            drain,
            ended: false,
            _in_hand: in_hand,
        }
    }

    fn end(&mut self, status: &Status) {
        self.ended = true;
        if let Some(call) = self.call.take() {
            call.end(status);
        }
    }
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let _inside = self.call.as_ref().map(|call| call.span.clone().entered());
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                match &frame {
                    Some(Ok(frame)) => {
                        if let Some(trailers) = frame.trailers_ref() {
                            let status = Status::from_header_map(trailers);
                            self.end(
                                &status.unwrap_or_else(|| {
                                    Status::unknown("trailers without a status")
                                }),
                            );
                        }
                    }
                    Some(Err(error)) => self.end(&Status::internal(error.to_string())),
                    None => self.end(&Status::ok("")),
                }
                Poll::Ready(frame)
            }
            Poll::Pending => {
                let drained = self
                    .drain
                    .as_mut()
                    .is_some_and(|drain| drain.as_mut().poll(context).is_ready());
                if !drained {
                    return Poll::Pending;
                }
                let status = refuse(
                    Code::Unavailable,
                    "DRAINING",
                    "the service is stopping; connect again",
                );
                self.end(&status);
                let mut trailers = HeaderMap::new();
                if status.add_header(&mut trailers).is_err() {
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        // The client went away before the end.
        if !self.ended {
            self.end(&Status::cancelled("the client ended the call"));
        }
    }
}
