//! Logs, metrics and traces.
//!
//! Logs go to standard error. Metrics are made with the opentelemetry API and are always readable at `/metrics`. Traces, and
//! metrics too, go to an OTLP endpoint where the standard `OTEL_*` variables name one; an endpoint that does not answer costs
//! a warning and nothing else.

use std::io::IsTerminal;
use std::sync::{Once, OnceLock};
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, metrics::ObservableGauge};
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Encoder, Registry, TextEncoder};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{ConfigError, Log, LogFormat};
use crate::tasks::TASK_SPAN;

/// How long the last export may take at exit.
const LAST_EXPORT: Duration = Duration::from_secs(2);
/// Crates whose own spans say nothing about Fresnel, and would trace the export of traces.
const QUIET: [&str; 6] = ["h2", "hyper", "hyper_util", "tonic", "tower", "reqwest"];

/// Spans of this target go into traces and never into the log, which would write their fields down for each frame.
pub const TRACED_ONLY: &str = "fresnel::traced_only";

static REGISTRY: OnceLock<Registry> = OnceLock::new();
static METRICS: Once = Once::new();

/// What is exported, until `shutdown`.
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

/// Sets logs, traces and metrics up for the whole process. Called inside its tokio runtime; a second call in a process
/// changes nothing.
pub(crate) fn init(log: &Log, service: &str, instance: &str) -> Result<Telemetry, ConfigError> {
    let resource = resource(service, instance);
    let mut trouble = Vec::new();
    let traces = exporting("TRACES", &mut trouble)
        .then(|| SpanExporter::builder().with_tonic().build())
        .and_then(|exporter| {
            exporter
                .map_err(|error| trouble.push(format!("traces: {error}")))
                .ok()
        })
        .map(|exporter| {
            SdkTracerProvider::builder()
                .with_resource(resource.clone())
                .with_batch_exporter(exporter)
                .build()
        });
    let exporter = exporting("METRICS", &mut trouble)
        .then(|| MetricExporter::builder().with_tonic().build())
        .and_then(|exporter| {
            exporter
                .map_err(|error| trouble.push(format!("metrics: {error}")))
                .ok()
        });
    let metrics = init_metrics(resource, exporter);
    let spans = traces.as_ref().map(|provider| -> Result<_, ConfigError> {
        global::set_tracer_provider(provider.clone());
        let quiet: String = QUIET.iter().map(|name| format!(",{name}=off")).collect();
        let directives = format!("{}{quiet},{TASK_SPAN}=off", log.spans);
        Ok(tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("fresnel"))
            .with_filter(directives_of("log.spans", &directives)?))
    });
    let spans = spans.transpose()?;
    let plain = match log.format {
        LogFormat::Plain => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if plain {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed()
    };
    let level = directives_of("log.level", &log.level)?;
    let lines = lines.with_filter(without_traced_only(level)?);
    // An error here means that the process has a subscriber already, which then stays.
    let _ = tracing_subscriber::registry()
        .with(spans)
        .with(lines)
        .try_init();
    for what in trouble {
        tracing::warn!("no OTLP export of {what}");
    }
    Ok(Telemetry { traces, metrics })
}

impl Telemetry {
    /// Exports what is left. Blocks for [`LAST_EXPORT`] at most for each of traces and metrics.
    pub(crate) fn shutdown(self) {
        if let Some(traces) = self.traces
            && let Err(error) = traces.shutdown_with_timeout(LAST_EXPORT)
        {
            tracing::warn!("the last traces were not exported: {error}");
        }
        if let Some(metrics) = self.metrics
            && let Err(error) = metrics.shutdown_with_timeout(LAST_EXPORT)
        {
            tracing::warn!("the last metrics were not exported: {error}");
        }
    }
}

/// Makes `/metrics` work and sets the W3C propagator; once a process.
pub(crate) fn init_metrics(
    resource: Resource,
    otlp: Option<MetricExporter>,
) -> Option<SdkMeterProvider> {
    let mut exported = None;
    METRICS.call_once(|| {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let mut provider = SdkMeterProvider::builder().with_resource(resource);
        let registry = REGISTRY.get_or_init(Registry::new).clone();
        match opentelemetry_prometheus::exporter()
            .with_registry(registry)
            .build()
        {
            Ok(reader) => provider = provider.with_reader(reader),
            Err(error) => tracing::error!("/metrics is empty: {error}"),
        }
        let exporting = otlp.is_some();
        if let Some(exporter) = otlp {
            provider = provider.with_periodic_exporter(exporter);
        }
        let provider = provider.build();
        global::set_meter_provider(provider.clone());
        observe_process();
        exported = exporting.then_some(provider);
    });
    exported
}

/// All metrics of the process in Prometheus' text format.
pub(crate) fn prometheus_text() -> Result<Vec<u8>, prometheus::Error> {
    let mut text = Vec::new();
    if let Some(registry) = REGISTRY.get() {
        TextEncoder::new().encode(&registry.gather(), &mut text)?;
    }
    Ok(text)
}

pub(crate) fn resource(service: &str, instance: &str) -> Resource {
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if variable("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(service.to_owned());
    }
    resource.build()
}

fn directives_of(key: &str, directives: &str) -> Result<EnvFilter, ConfigError> {
    EnvFilter::builder()
        .parse(directives)
        .map_err(|error| ConfigError::new(format!("{key} = {directives:?}: {error}")))
}

fn without_traced_only(filter: EnvFilter) -> Result<EnvFilter, ConfigError> {
    let off = format!("{TRACED_ONLY}=off");
    let off = off
        .parse()
        .map_err(|error| ConfigError::new(format!("{off}: {error}")))?;
    Ok(filter.add_directive(off))
}

/// Whether the environment asks for export of this signal.
fn exporting(signal: &str, trouble: &mut Vec<String>) -> bool {
    let named = |name: &str| variable(name);
    if named("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return false;
    }
    let kind = named(&format!("OTEL_{signal}_EXPORTER"));
    if kind.is_some_and(|kind| kind == "none") {
        return false;
    }
    let specific = named(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
    if specific
        .or_else(|| named("OTEL_EXPORTER_OTLP_ENDPOINT"))
        .is_none()
    {
        return false;
    }
    let protocol = named(&format!("OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"))
        .or_else(|| named("OTEL_EXPORTER_OTLP_PROTOCOL"));
    match protocol {
        Some(protocol) if protocol != "grpc" => {
            trouble.push(format!(
                "{}: the protocol {protocol} is not built in, grpc is",
                signal.to_lowercase()
            ));
            false
        }
        _ => true,
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the kernel knows of this process, under the names that Prometheus' own clients use.
fn observe_process() {
    let meter = global::meter("runtime");
    let _: ObservableGauge<u64> = meter
        .u64_observable_gauge("process_resident_memory_bytes")
        .with_description("Resident memory.")
        .with_callback(|observer| {
            if let Some(bytes) = resident_bytes() {
                observer.observe(bytes, &[]);
            }
        })
        .build();
    let _ = meter
        .f64_observable_counter("process_cpu_seconds")
        .with_description("CPU time, user and system.")
        .with_callback(|observer| {
            if let Some(seconds) = cpu_seconds() {
                observer.observe(seconds, &[]);
            }
        })
        .build();
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn cpu_seconds() -> Option<f64> {
    /// USER_HZ: what the kernel's interface counts in, whatever its own clock does.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the process is in parentheses and may hold anything; state is the first field after it.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    #[allow(clippy::cast_precision_loss)]
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_frames_are_written_in_no_log() {
        let level = directives_of("log.level", "debug").unwrap();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::sink)
            .with_filter(without_traced_only(level).unwrap());
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            assert!(tracing::error_span!(target: TRACED_ONLY, "frame").is_disabled());
            assert!(!tracing::error_span!("other").is_disabled());
        });
    }
}
