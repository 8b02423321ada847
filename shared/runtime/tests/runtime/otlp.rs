//! Export to a real OTLP receiver, and none where no endpoint is named.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use proto::signal::v1::GetZoneStateRequest;
use proto::signal::v1::signal_service_client::SignalServiceClient;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::process::Sample;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[derive(Clone, Default)]
struct Receiver {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

impl Receiver {
    async fn listen() -> (Self, SocketAddr) {
        let receiver = Self::default();
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = incoming.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(receiver.clone()))
            .add_service(MetricsServiceServer::new(receiver.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        (receiver, address)
    }
}

/// Runs the sample, asks it for one zone with a `traceparent`, stops it.
async fn one_request(environment: Vec<(&'static str, String)>) -> (Option<i32>, String) {
    let (mut sample, (grpc, _)) = tokio::task::spawn_blocking(move || {
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut sample = Sample::start(&[], &environment);
        let addresses = sample.started();
        (sample, addresses)
    })
    .await
    .unwrap();
    let mut client = SignalServiceClient::connect(format!("http://{grpc}"))
        .await
        .unwrap();
    let mut request = Request::new(GetZoneStateRequest {
        zone: "hall".into(),
    });
    request.metadata_mut().insert(
        "traceparent",
        format!("00-{TRACE}-{PARENT}-01").parse().unwrap(),
    );
    client.get_zone_state(request).await.unwrap();
    drop(client);
    tokio::task::spawn_blocking(move || {
        sample.signal(Signal::SIGTERM);
        sample.wait_for("stopped");
        let (code, _, log) = sample.end();
        (code, log)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn traces_and_metrics_reach_the_receiver_with_the_callers_trace() {
    let (receiver, address) = Receiver::listen().await;
    let endpoint = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))];
    let (code, log) = one_request(endpoint).await;
    assert_eq!(code, Some(0), "{log}");

    let traces = receiver.traces.lock().unwrap();
    let resources: Vec<_> = traces
        .iter()
        .flat_map(|request| &request.resource_spans)
        .collect();
    let spans: Vec<_> = resources
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect();
    let span = spans
        .iter()
        .find(|span| span.name == "fresnel.signal.v1.SignalService/GetZoneState");
    let span = span.unwrap_or_else(|| panic!("{spans:#?}"));
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(
        (
            hex(&span.trace_id).as_str(),
            hex(&span.parent_span_id).as_str()
        ),
        (TRACE, PARENT)
    );
    assert_eq!(span.kind, 2, "a server span");
    let attributes = format!("{:?}", span.attributes);
    for name in [
        "rpc.system",
        "rpc.service",
        "rpc.method",
        "rpc.grpc.status_code",
    ] {
        assert!(attributes.contains(name), "{attributes}");
    }
    let resource = format!("{:?}", resources.first().unwrap().resource);
    for expected in ["service.name", "\"sample\"", "service.instance.id"] {
        assert!(resource.contains(expected), "{resource}");
    }
    // No span of the transport or of the supervision, or every trace would begin with one.
    assert_eq!(spans.len(), 1, "{spans:#?}");

    let metrics = format!("{:?}", receiver.metrics.lock().unwrap());
    assert!(metrics.contains("rpc.server.duration"), "{metrics}");
}

#[tokio::test]
async fn nothing_is_exported_without_an_endpoint_or_when_disabled() {
    let (receiver, address) = Receiver::listen().await;
    for environment in [
        vec![],
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
            ("OTEL_SDK_DISABLED", "true".into()),
        ],
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
            ("OTEL_TRACES_EXPORTER", "none".into()),
            ("OTEL_METRICS_EXPORTER", "none".into()),
        ],
    ] {
        let (code, log) = one_request(environment).await;
        assert_eq!(code, Some(0), "{log}");
    }
    assert!(receiver.traces.lock().unwrap().is_empty());
    assert!(receiver.metrics.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_endpoint_that_nobody_serves_fails_nothing() {
    for endpoint in [
        "http://127.0.0.1:1",
        "not an address",
        "https://127.0.0.1:1",
    ] {
        let (code, log) = one_request(vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.into())]).await;
        assert_eq!(code, Some(0), "{endpoint}: {log}");
    }
}
