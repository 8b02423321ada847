//! A third party's gRPC client finds every service by reflection, v1 and v1alpha, and asks for its health.

use std::collections::BTreeSet;

use e2e::clients::channel;
use e2e::sandbox::Sandbox;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

macro_rules! services_by_reflection {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new($channel);
        let mut answers = client
            .server_reflection_info(tokio_stream::iter([request]))
            .await?
            .into_inner();
        let answer = answers
            .message()
            .await?
            .and_then(|answer| answer.message_response);
        let Some(MessageResponse::ListServicesResponse(list)) = answer else {
            panic!("{answer:?}")
        };
        list.service
            .into_iter()
            .map(|service| service.name)
            .collect::<BTreeSet<String>>()
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_found_and_serving() -> anyhow::Result<()> {
    let sandbox = Sandbox::start(&[], &[]).await?;
    let expected = [
        (
            "hardware-gateway",
            vec![
                "fresnel.gateway.v1.DeviceService",
                "fresnel.gateway.v1.RecordingService",
                "fresnel.gateway.v1.CalibrationService",
                "google.longrunning.Operations",
            ],
        ),
        (
            "signal",
            vec![
                "fresnel.signal.v1.SignalService",
                "fresnel.signal.v1.PipelineService",
            ],
        ),
        (
            "pose",
            vec![
                "fresnel.pose.v1.ModelService",
                "fresnel.pose.v1.PoseService",
            ],
        ),
        ("streaming", vec!["fresnel.streaming.v1.StreamService"]),
        (
            "alerting",
            vec![
                "fresnel.alerting.v1.AlertService",
                "fresnel.alerting.v1.RuleService",
            ],
        ),
    ];
    for (service, names) in expected {
        let channel = channel(&sandbox.address(service, "grpc")?).await?;
        let v1 = services_by_reflection!(v1, channel.clone());
        let v1alpha = services_by_reflection!(v1alpha, channel.clone());
        assert!(v1.contains("grpc.health.v1.Health"), "{service}: {v1:?}");
        for name in names {
            assert!(v1.contains(name), "{service}: {name} is not in {v1:?}");
            assert!(
                v1alpha.contains(name),
                "{service}: {name} is not in {v1alpha:?}"
            );
            let request = HealthCheckRequest {
                service: name.into(),
            };
            let health = HealthClient::new(channel.clone())
                .check(request)
                .await?
                .into_inner();
            assert_eq!(health.status(), ServingStatus::Serving, "{name}");
        }
    }
    Ok(())
}
