//! What every gRPC request passes: health, reflection, limits, the drain.

use std::net::SocketAddr;

use proto::signal::v1::signal_service_client::SignalServiceClient;
use proto::signal::v1::{GetZoneStateRequest, WatchZoneRequest};
use runtime::{Exit, Process};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt;

use crate::in_process::{get, process};
use crate::process::Sample;
use crate::sample;

const SIGNAL: &str = "fresnel.signal.v1.SignalService";

async fn serve(toml: &str) -> (Process, SocketAddr, Channel) {
    let process = process(toml);
    let started = process.start("signal", sample::start).await.unwrap();
    let channel = connect(started.grpc.unwrap()).await;
    (process, started.admin, channel)
}

async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

async fn zone(channel: &Channel, zone: &str) -> Result<String, Status> {
    let request = GetZoneStateRequest { zone: zone.into() };
    let answer = SignalServiceClient::new(channel.clone())
        .get_zone_state(request)
        .await?;
    Ok(answer.into_inner().state.unwrap().zone)
}

#[tokio::test]
async fn reflection_lists_services_and_gives_their_files() {
    let (process, _, channel) = serve("").await;
    let expected = [
        SIGNAL,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    {
        use v1::server_reflection_request::MessageRequest;
        use v1::server_reflection_response::MessageResponse;
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let ask = |message_request| v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        };
        let asked = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol(SIGNAL.into())),
        ];
        let mut answers = client
            .server_reflection_info(tokio_stream::iter(asked))
            .await
            .unwrap()
            .into_inner();
        let Some(MessageResponse::ListServicesResponse(list)) =
            answers.message().await.unwrap().unwrap().message_response
        else {
            panic!("no list");
        };
        let mut names: Vec<_> = list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect();
        names.sort();
        assert_eq!(names, expected);
        let Some(MessageResponse::FileDescriptorResponse(files)) =
            answers.message().await.unwrap().unwrap().message_response
        else {
            panic!("no file");
        };
        assert!(!files.file_descriptor_proto.is_empty());
    }
    {
        use v1alpha::server_reflection_request::MessageRequest;
        let mut client =
            v1alpha::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let asked = v1alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let answer = client
            .server_reflection_info(tokio_stream::iter([asked]))
            .await
            .unwrap()
            .into_inner()
            .message()
            .await
            .unwrap()
            .unwrap();
        assert!(format!("{answer:?}").contains(SIGNAL), "{answer:?}");
    }
    process.stop().await;
}

#[tokio::test]
async fn health_knows_each_service_and_the_drain_begins_with_not_serving() {
    let (process, admin, channel) = serve("").await;
    let mut health = HealthClient::new(channel.clone());
    let ask = |service: &str| HealthCheckRequest {
        service: service.into(),
    };
    for service in ["", SIGNAL] {
        assert_eq!(
            health
                .check(ask(service))
                .await
                .unwrap()
                .into_inner()
                .status,
            1
        );
    }
    assert_eq!(
        health.check(ask("nobody")).await.unwrap_err().code(),
        Code::NotFound
    );

    let mut watch = health.watch(ask(SIGNAL)).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    // A stream that the service does not end, open over the drain.
    let mut zones = SignalServiceClient::new(channel)
        .watch_zone(WatchZoneRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(zones.message().await.unwrap().is_some());

    let stopping = tokio::spawn(process.stop());
    // NOT_SERVING while the stream is still open; then the stream ends by the server, with a reason.
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
    assert_eq!(get(admin, "/readyz").await.0, 503);
    let status = zones.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_error_info().unwrap().reason, "DRAINING");
    assert_eq!(stopping.await.unwrap(), Exit::Clean);
}

#[tokio::test]
async fn refusals_carry_their_details() {
    let (process, _, channel) = serve("").await;
    assert_eq!(zone(&channel, "hall").await.unwrap(), "hall");
    let status = zone(&channel, "").await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "zone: must not be empty")
    );
    let details = status.get_details_bad_request().unwrap();
    assert_eq!(details.field_violations.first().unwrap().field, "zone");
    let status = zone(&channel, "absent").await.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("ZONE_NOT_FOUND", "fresnel")
    );
    process.stop().await;
}

#[tokio::test]
async fn a_panic_in_a_handler_is_one_internal_error() {
    let (process, _, channel) = serve("").await;
    assert_eq!(
        zone(&channel, "panic").await.unwrap_err().code(),
        Code::Internal
    );
    assert_eq!(zone(&channel, "hall").await.unwrap(), "hall");
    assert_eq!(process.stop().await, Exit::Clean);
}

#[tokio::test]
async fn slow_unary_requests_end_and_streams_do_not() {
    let (process, _, channel) = serve("[limits]\nrequest_timeout_s = 0.2").await;
    let mut zones = SignalServiceClient::new(channel.clone())
        .watch_zone(WatchZoneRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(zones.message().await.unwrap().is_some());
    let status = zone(&channel, "slow").await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::DeadlineExceeded, "not answered within 0.2 s")
    );
    let next = tokio::time::timeout(std::time::Duration::from_millis(10), zones.message()).await;
    assert!(next.is_err(), "the stream ended: {next:?}");
    process.stop().await;
}

#[tokio::test]
async fn more_requests_than_the_limit_are_refused_at_once() {
    let (process, _, channel) =
        serve("[limits]\nconcurrent_requests = 1\nrequest_timeout_s = 20").await;
    let mut held = tokio::spawn({
        let channel = channel.clone();
        async move { zone(&channel, "slow").await }
    });
    // The first is in hand when another is refused.
    let status = loop {
        tokio::select! {
            biased;
            answer = &mut held => panic!("answered: {answer:?}"),
            answer = zone(&channel, "hall") => if let Err(status) = answer { break status },
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "TOO_MANY_REQUESTS"
    );
    held.abort();
    drop(channel);
    process.stop().await;
}

#[tokio::test]
async fn messages_above_4_mib_are_refused() {
    let (process, _, channel) = serve("").await;
    let status = zone(&channel, &"x".repeat(5 * 1024 * 1024))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    process.stop().await;
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let (process, admin, channel) = serve("").await;
    zone(&channel, "hall").await.unwrap();
    let _ = zone(&channel, "absent").await;
    let (status, text) = get(admin, "/metrics").await;
    assert_eq!(status, 200);
    for expected in [
        "# TYPE rpc_server_duration_seconds histogram",
        "rpc_method=\"GetZoneState\"",
        "rpc_grpc_status_code=\"5\"",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    process.stop().await;
}

#[tokio::test]
async fn only_our_own_failures_are_errors_in_the_log() {
    let mut sample = tokio::task::spawn_blocking(|| {
        let mut sample = Sample::start(&[], &[]);
        let addresses = sample.started();
        (sample, addresses)
    })
    .await
    .unwrap();
    let channel = connect(sample.1.0).await;
    assert_eq!(
        zone(&channel, "absent").await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        zone(&channel, "broken").await.unwrap_err().code(),
        Code::Internal
    );
    let line = sample.0.wait_for("request failed");
    assert_eq!(
        (line["level"].as_str(), line["text"].as_str()),
        (Some("ERROR"), Some("the state is lost"))
    );
    sample.0.signal(nix::sys::signal::Signal::SIGTERM);
    let (code, _, log) = sample.0.end();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches(r#""level":"ERROR""#).count(), 1, "{log}");
}
