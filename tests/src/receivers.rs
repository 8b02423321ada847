//! The far ends: an HTTP server that takes webhooks, and a collector that takes traces.

use std::net::SocketAddr;

use axum::Json;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;

/// A webhook call as it arrived.
#[derive(Clone, Debug)]
pub struct Call {
    /// `traceparent` header.
    pub traceparent: Option<String>,
    /// Body.
    pub body: Value,
}

/// Starts an HTTP server on loopback that accepts webhooks on `/`.
///
/// # Errors
/// Where no port can be bound.
pub async fn webhook() -> anyhow::Result<(String, mpsc::UnboundedReceiver<Call>)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let handler = move |headers: HeaderMap, Json(body): Json<Value>| {
        let traceparent = headers
            .get("traceparent")
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned);
        // The test may have ended.
        let _ = sender.send(Call { traceparent, body });
        async { "ok" }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let app = axum::Router::new().route("/", post(handler));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok((url, receiver))
}

/// A span and the service that it came from.
#[derive(Clone, Debug)]
pub struct Received {
    /// `service.name`.
    pub service: String,
    /// The span.
    pub span: Span,
}

struct Collector {
    spans: mpsc::UnboundedSender<Received>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let service = attributes
                .into_iter()
                .find(|attribute| attribute.key == "service.name")
                .and_then(|attribute| attribute.value?.value)
                .map(|value| match value {
                    opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(text) => {
                        text
                    }
                    other => format!("{other:?}"),
                })
                .unwrap_or_default();
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                // The test may have ended.
                let _ = self.spans.send(Received {
                    service: service.clone(),
                    span,
                });
            }
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Starts an OTLP collector on loopback.
///
/// # Errors
/// Where no port can be bound.
pub async fn collector() -> anyhow::Result<(SocketAddr, mpsc::UnboundedReceiver<Received>)> {
    let (spans, receiver) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Collector { spans }));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok((address, receiver))
}
