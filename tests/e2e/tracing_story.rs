//! One trace runs from the datagram over gateway, signal and alerting to the webhook call.

use std::collections::BTreeMap;

use e2e::clients::{channel, register, within};
use e2e::receivers;
use e2e::sandbox::Sandbox;

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_the_datagram_to_the_webhook() -> anyhow::Result<()> {
    let (url, mut calls) = receivers::webhook().await?;
    let (collector, mut spans) = receivers::collector().await?;
    let receiver = format!(r#"alerting.receivers=[{{name="ops",webhook="{url}"}}]"#);
    let rule = r#"alerting.rules=[{id="motion-hall",event_type="pose.motion_detected",zone="hall",severity="warning"}]"#;
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ];
    let env: Vec<(&str, &str)> = env
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let sandbox = Sandbox::start(&[&receiver, rule], &env).await?;
    let gateway = channel(&sandbox.address("hardware-gateway", "grpc")?).await?;
    register(&gateway, "lamp", "hall", "adr018:1").await?;
    let udp = sandbox.address("hardware-gateway", "udp")?;
    let mut simulation = tokio::process::Command::new(e2e::process::binary("fresnel")?)
        .args([
            "simulate",
            "--scenario",
            "walk",
            "--seconds",
            "8",
            "--rate",
            "100",
            "--udp",
            &udp,
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()?;

    let call = within("the webhook", calls.recv()).await?.unwrap();
    let traceparent = call
        .traceparent
        .expect("the webhook call carries no traceparent");
    let trace: Vec<&str> = traceparent.split('-').collect();
    let (trace_id, caller) = (trace[1].to_owned(), trace[2].to_owned());

    // Every span of that trace, until the chain from the webhook call to the gateway is whole.
    let mut of_trace = BTreeMap::new();
    let whole = async {
        while let Some(received) = spans.recv().await {
            let span = received.span;
            if hex(&span.trace_id) != trace_id {
                continue;
            }
            of_trace.insert(
                hex(&span.span_id),
                (received.service, span.name, hex(&span.parent_span_id)),
            );
            let chain = chain(&of_trace, &caller);
            if chain
                .first()
                .is_some_and(|(service, _)| service == "hardware-gateway")
            {
                return chain;
            }
        }
        Vec::new()
    };
    let chain = within("the trace", whole)
        .await
        .map_err(|error| error.context(format!("{of_trace:#?}")))?;
    let mut services: Vec<&str> = chain.iter().map(|(service, _)| service.as_str()).collect();
    services.dedup();
    assert_eq!(
        services,
        ["hardware-gateway", "signal", "alerting"],
        "{chain:?}"
    );
    simulation.kill().await?;
    Ok(())
}

/// From the root to `span`, as far as it is known.
fn chain(spans: &BTreeMap<String, (String, String, String)>, span: &str) -> Vec<(String, String)> {
    let mut chain = Vec::new();
    let mut next = span.to_owned();
    while let Some((service, name, parent)) = spans.get(&next) {
        chain.push((service.clone(), name.clone()));
        next.clone_from(parent);
    }
    chain.reverse();
    chain
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
