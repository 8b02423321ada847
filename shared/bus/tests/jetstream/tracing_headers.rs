//! One trace runs through publish, stream and handler; the headers say what the event is.

use std::time::Duration;

use bus::{ConsumerConfig, From};
use bytes::Bytes;
use futures::StreamExt as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::sandbox::{Sandbox, event, handler, soon, strings};

#[tokio::test]
async fn a_trace_runs_through_the_stream() {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;

    let span = tracing::info_span!("datagram");
    let trace_id = span.context().span().span_context().trace_id();
    let pipeline = bus.pipeline(8);
    async {
        bus.publish(&event("pose.motion_detected", "kitchen", 1))
            .await
            .unwrap();
        pipeline
            .publish_data(
                "data.csi.kitchen.esp".to_owned(),
                Bytes::from_static(b"x"),
                Some("frame-1".to_owned()),
            )
            .await
            .unwrap();
        pipeline.flush().await.unwrap();
    }
    .instrument(span)
    .await;

    let mut tail = bus.tail("traced", &strings(&["data.csi.>"])).await.unwrap();
    let data = soon("the frame", tail.next_batch(1)).await.unwrap();
    let traceparent = data[0].traceparent.clone().unwrap();
    assert!(traceparent.contains(&trace_id.to_string()), "{traceparent}");

    let (sender, mut seen) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let config = ConsumerConfig {
        durable: "traced".to_owned(),
        filters: strings(&["pose.motion_detected"]),
        concurrency: 1,
        ack_wait: Duration::from_secs(5),
        max_deliver: 3,
        from_now: false,
    };
    let work = handler(move |delivery| {
        let sender = sender.clone();
        Box::pin(async move {
            let context = tracing::Span::current().context();
            sender
                .send(context.span().span_context().trace_id())
                .unwrap();
            Ok(vec![event("alerting.alert_raised", &delivery.event.key, 2)])
        })
    });
    let running = tokio::spawn(bus.consume(config, work, stop.clone()));
    assert_eq!(
        soon("the event", seen.recv()).await,
        Some(trace_id),
        "the handler is part of the trace"
    );
    let mut alerts = bus
        .follow(&strings(&["alerting.>"]), From::Start)
        .await
        .unwrap();
    soon("what follows", alerts.next()).await.unwrap();
    let next = soon("what follows", bus.last("alerting.alert_raised.kitchen"))
        .await
        .unwrap()
        .unwrap();
    assert!(
        next.traceparent.unwrap().contains(&trace_id.to_string()),
        "what follows is part of the trace"
    );
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_headers_are_the_cloudevents_binding() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let client = async_nats::connect(sandbox.server.url()).await.unwrap();
    let mut live = client.subscribe("pose.motion_detected.*").await.unwrap();
    client
        .request("$SYS.REQ.USER.INFO", "".into())
        .await
        .unwrap();
    let mut sent = event("pose.motion_detected", "kitchen", 7);
    sent.aggregate_id = "a\r\nNats-Rollup: all".to_owned();
    bus.publish(&sent).await.unwrap();
    let headers = soon("the event", live.next())
        .await
        .unwrap()
        .headers
        .unwrap();
    let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    assert_eq!(header("Nats-Msg-Id"), Some(sent.id.to_string()));
    assert_eq!(header("ce-specversion").as_deref(), Some("1.0"));
    assert_eq!(header("ce-id"), Some(sent.id.to_string()));
    assert_eq!(header("ce-type").as_deref(), Some("pose.motion_detected"));
    assert_eq!(header("ce-source").as_deref(), Some("test/1"));
    assert_eq!(
        header("ce-time").as_deref(),
        Some("1970-01-01T00:00:07.000000Z")
    );
    assert_eq!(
        header("ce-subject").as_deref(),
        Some("a%0D%0ANats-Rollup:%20all")
    );
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    assert_eq!(header("Nats-Rollup"), None, "a text became a header");
}
