//! Every event and every stream, as tables.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::declare::same;
use crate::{
    alerting, auth, hardware, job, model, pipeline, pose, security, signal, streaming, workflow,
};

/// Makes the payload of one version that of the next.
pub type Upgrade = fn(Map<String, Value>) -> Map<String, Value>;

/// What is known of an event; made by its declaration.
#[derive(Clone, Copy, Debug)]
pub struct EventInfo {
    /// `{context}.{event}`.
    pub event_type: &'static str,
    /// Schema version that is written.
    pub version: u32,
    /// Type of the aggregate.
    pub aggregate_type: &'static str,
    /// The payload's field that is the aggregate's id.
    pub id_field: &'static str,
    /// How the subject's third token is made, in words.
    pub key_rule: &'static str,
    /// Whether the aggregate's state is rebuilt from these events.
    pub sourced: bool,
    /// Whether people should look.
    pub critical: bool,
    /// Whether it tells of an error.
    pub error: bool,
    /// The service that publishes it.
    pub by: &'static str,
    /// The fact that makes it do so.
    pub when: &'static str,
    /// The JetStream stream that keeps it.
    pub stream: &'static str,
    /// From version 1 to 2, from 2 to 3 and so on.
    pub upgrades: &'static [Upgrade],
    /// Names of the payload's fields in order, and their types in the words of the catalogue.
    pub fields: fn() -> Vec<(&'static str, String)>,
    /// JSON Schema 2020-12 of the envelope with this payload.
    pub schema: fn() -> schemars::Schema,
}

impl EventInfo {
    /// First token of the event_type.
    #[must_use]
    pub fn context(&self) -> &'static str {
        self.event_type
            .split_once('.')
            .map_or(self.event_type, |(context, _)| context)
    }
}

/// A JetStream stream of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: &'static str,
    /// What it takes in.
    pub subjects: &'static [&'static str],
    /// How long it keeps it, in words.
    pub kept: &'static str,
}

/// All events in the order of the catalogue.
#[must_use]
pub fn catalogue() -> &'static [EventInfo] {
    static ALL: LazyLock<Vec<EventInfo>> = LazyLock::new(|| {
        [
            hardware::CATALOGUE,
            signal::CATALOGUE,
            pose::CATALOGUE,
            streaming::CATALOGUE,
            alerting::CATALOGUE,
            pipeline::CATALOGUE,
            model::CATALOGUE,
            job::CATALOGUE,
            auth::CATALOGUE,
            security::CATALOGUE,
            workflow::CATALOGUE,
        ]
        .concat()
    });
    &ALL
}

/// The event of this type.
#[must_use]
pub fn find(event_type: &str) -> Option<&'static EventInfo> {
    catalogue()
        .iter()
        .find(|info| info.event_type == event_type)
}

/// All streams.
#[must_use]
pub fn streams() -> &'static [StreamInfo] {
    const MEMORY: &str = "10 minutes, memory, bounded in bytes";
    const FRAMES: &[&str] = &[
        "signal.csi_frame_received.*",
        "signal.csi_frame_validated.*",
    ];
    const SIGNAL: &[&str] = &[
        "signal.signal_processed.*",
        "signal.signal_processing_failed.*",
    ];
    const fn stream(
        name: &'static str,
        subjects: &'static [&'static str],
        kept: &'static str,
    ) -> StreamInfo {
        StreamInfo {
            name,
            subjects,
            kept,
        }
    }
    const STREAMS: &[StreamInfo] = &[
        stream(
            "DATA",
            &["data.csi.*.*", "data.signal.*.*", "data.pose.*"],
            MEMORY,
        ),
        stream("FRAMES", FRAMES, MEMORY),
        stream("HARDWARE", &["hardware.*.*"], "90 days"),
        stream("SIGNAL", SIGNAL, "24 hours"),
        stream("POSE", &["pose.*.*"], "7 days"),
        stream("STREAMING", &["streaming.*.*"], "30 days"),
        stream("ALERTING", &["alerting.*.*"], "365 days"),
        stream("PIPELINE", &["pipeline.*.*"], "90 days"),
        stream("MODEL", &["model.*.*", "job.*.*"], "365 days"),
        stream("ACCESS", &["auth.*.*", "security.*.*"], "365 days"),
        stream("WORKFLOW", &["workflow.*.*"], "90 days"),
        stream("DEADLETTER", &["deadletter.>"], "30 days"),
        stream("CUSTOM", &["custom.*.*"], "7 days"),
    ];
    STREAMS
}

/// The stream that keeps events of this type; `""` where there is none for the context.
#[must_use]
pub const fn stream_of(event_type: &str) -> &'static str {
    const CONTEXTS: &[(&str, &str)] = &[
        ("signal.csi_frame_received", "FRAMES"),
        ("signal.csi_frame_validated", "FRAMES"),
        ("hardware.", "HARDWARE"),
        ("signal.", "SIGNAL"),
        ("pose.", "POSE"),
        ("streaming.", "STREAMING"),
        ("alerting.", "ALERTING"),
        ("pipeline.", "PIPELINE"),
        ("model.", "MODEL"),
        ("job.", "MODEL"),
        ("auth.", "ACCESS"),
        ("security.", "ACCESS"),
        ("workflow.", "WORKFLOW"),
        ("deadletter.", "DEADLETTER"),
        ("custom.", "CUSTOM"),
    ];
    let mut rest = CONTEXTS;
    while let [(prefix, stream), others @ ..] = rest {
        if let Some((head, _)) = event_type.as_bytes().split_at_checked(prefix.len())
            && same(head, prefix.as_bytes())
        {
            return stream;
        }
        rest = others;
    }
    ""
}
