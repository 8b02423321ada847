//! Every stream, bucket and object store, in one table. [`reconcile`](crate::reconcile) brings the server to it.

use std::time::Duration;

use crate::subject;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const MIB: u64 = 1 << 20;

/// Where a stream keeps its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    File,
    /// In the server's memory: gone when the server ends.
    Memory,
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Domain events: republished to the bare event type, appended to in atomic batches, seen by the filter `>`.
    Events,
    /// Announcements of single frames: domain events too, but in such numbers that the filter `>` leaves them out.
    Announcements,
    /// Bulk data in protobuf.
    Data,
    /// Messages that a consumer could not handle.
    DeadLetters,
    /// What the server itself announces.
    Advisories,
}

/// One stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamSpec {
    /// Name.
    pub name: &'static str,
    /// What it is for.
    pub kind: Kind,
    /// Subjects that it takes.
    pub subjects: &'static [&'static str],
    /// How long messages are kept.
    pub max_age: Duration,
    /// Bound on its size in bytes at `storage_scale` 1; the oldest messages go first.
    pub max_bytes: u64,
    /// Where they are kept.
    pub storage: Storage,
    /// For how long a repeated `Nats-Msg-Id` is recognised.
    pub duplicate_window: Duration,
    /// Subjects to which the server adds a token, the [partition](PARTITIONS) of their zone, in storing them.
    pub partitioned: Option<Partitioned>,
    /// Takes batches whose messages are stored as they come and acknowledged many at once (docs/adr/011).
    pub batched: bool,
}

/// How a stream's subjects get their partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitioned {
    /// Subjects that get one, as they are published.
    pub published: &'static str,
    /// Their form in the stream, as the server's `subject_transform` has it.
    pub stored: &'static str,
}

/// Partitions of the data plane: a zone's messages lie in one of them.
pub const PARTITIONS: u16 = 16;

const fn events(
    name: &'static str,
    subjects: &'static [&'static str],
    days: u64,
    mib: u64,
) -> StreamSpec {
    StreamSpec {
        name,
        kind: Kind::Events,
        subjects,
        max_age: Duration::from_secs(days * DAY),
        max_bytes: mib * MIB,
        storage: Storage::File,
        duplicate_window: DUPLICATE_WINDOW,
        partitioned: None,
        batched: false,
    }
}

/// For how long a repeated publish is recognised as the same message.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(2 * MINUTE);

/// All streams.
pub static STREAMS: &[StreamSpec] = &[
    StreamSpec {
        name: "DATA",
        kind: Kind::Data,
        subjects: &["data.csi.*.*", "data.signal.*.*", "data.pose.*"],
        max_age: Duration::from_secs(10 * MINUTE),
        max_bytes: 256 * MIB,
        storage: Storage::Memory,
        duplicate_window: DUPLICATE_WINDOW,
        partitioned: Some(Partitioned {
            published: "data.*.*.*",
            stored: "data.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.{{partition(16,2)}}",
        }),
        batched: true,
    },
    // Minutes of windows, so that a threshold can be tried on the past week.
    StreamSpec {
        name: "HISTORY",
        kind: Kind::Data,
        subjects: &["history.signal.*.*"],
        max_age: Duration::from_secs(8 * DAY),
        max_bytes: 256 * MIB,
        storage: Storage::File,
        duplicate_window: DUPLICATE_WINDOW,
        partitioned: None,
        batched: false,
    },
    StreamSpec {
        name: "FRAMES",
        kind: Kind::Announcements,
        subjects: &[
            "signal.csi_frame_received.*",
            "signal.csi_frame_validated.*",
        ],
        max_age: Duration::from_secs(10 * MINUTE),
        max_bytes: 128 * MIB,
        storage: Storage::Memory,
        duplicate_window: DUPLICATE_WINDOW,
        partitioned: None,
        batched: false,
    },
    events("HARDWARE", &["hardware.*.*"], 90, 128),
    events(
        "SIGNAL",
        &[
            "signal.signal_processed.*",
            "signal.signal_processing_failed.*",
        ],
        1,
        512,
    ),
    events("POSE", &["pose.*.*"], 7, 512),
    events("STREAMING", &["streaming.*.*"], 30, 128),
    events("ALERTING", &["alerting.*.*"], 365, 256),
    events("PIPELINE", &["pipeline.*.*"], 90, 128),
    events("MODEL", &["model.*.*", "job.*.*"], 365, 64),
    events("ACCESS", &["auth.*.*", "security.*.*"], 365, 128),
    events("WORKFLOW", &["workflow.*.*"], 90, 64),
    events("CUSTOM", &["custom.*.*"], 7, 128),
    StreamSpec {
        name: DEADLETTER,
        kind: Kind::DeadLetters,
        subjects: &["deadletter.>"],
        max_age: Duration::from_secs(30 * DAY),
        max_bytes: 128 * MIB,
        storage: Storage::File,
        duplicate_window: DUPLICATE_WINDOW,
        partitioned: None,
        batched: false,
    },
    // The server says here that a message used up its deliveries: the only trace that a crashing worker leaves.
    StreamSpec {
        name: ADVISORY,
        kind: Kind::Advisories,
        subjects: &["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>"],
        max_age: Duration::from_secs(7 * DAY),
        max_bytes: 16 * MIB,
        storage: Storage::File,
        duplicate_window: DUPLICATE_WINDOW,
        partitioned: None,
        batched: false,
    },
];

/// Stream of the dead letters.
pub const DEADLETTER: &str = "DEADLETTER";
/// Stream of the server's advisories about exhausted deliveries.
pub const ADVISORY: &str = "ADVISORY";

/// A KV bucket.
#[derive(Clone, Copy, Debug)]
pub struct BucketSpec {
    /// Name.
    pub name: &'static str,
    /// What it holds.
    pub description: &'static str,
    /// Values kept per key.
    pub history: i64,
    /// Bound on its size in bytes at `storage_scale` 1.
    pub max_bytes: u64,
    /// Where its values are kept.
    pub storage: Storage,
}

/// Bucket of the readers' positions.
pub const CHECKPOINTS: &str = "checkpoints";
/// Bucket of the calibrations; see [`crate::calibration`].
pub const CALIBRATIONS: &str = "calibrations";
/// Bucket of the minutes of window history that are still in hand, by zone.
pub const HISTORY_IN_HAND: &str = "history-in-hand";
/// Bucket of the aggregates' snapshots.
pub const SNAPSHOTS: &str = "snapshots";

/// Bucket of the partitions' owners.
pub const CLAIMS: &str = "claims";
/// A process that was not heard for this long has lost its partitions.
pub const MEMBER_LIFETIME: Duration = Duration::from_secs(3);

/// All KV buckets.
pub static BUCKETS: &[BucketSpec] = &[
    BucketSpec {
        name: CHECKPOINTS,
        description: "positions of readers of the data plane",
        history: 1,
        max_bytes: 16 * MIB,
        storage: Storage::File,
    },
    BucketSpec {
        name: SNAPSHOTS,
        description: "states of aggregates, to bound their replay",
        history: 1,
        max_bytes: 64 * MIB,
        storage: Storage::File,
    },
    BucketSpec {
        name: CALIBRATIONS,
        description: "calibrations of devices and empty rooms, and which are in use",
        history: 1,
        max_bytes: 32 * MIB,
        storage: Storage::File,
    },
    BucketSpec {
        name: HISTORY_IN_HAND,
        description: "minutes of window history that are not full yet, by zone",
        history: 1,
        max_bytes: 32 * MIB,
        storage: Storage::File,
    },
    BucketSpec {
        name: "config",
        description: "configuration: zones, thresholds, rules, receivers",
        history: 8,
        max_bytes: 64 * MIB,
        storage: Storage::File,
    },
    BucketSpec {
        name: "replays",
        description: "progress of replays",
        history: 1,
        max_bytes: 16 * MIB,
        storage: Storage::File,
    },
    BucketSpec {
        name: CLAIMS,
        description: "which process works which partition",
        history: 1,
        max_bytes: MIB,
        storage: Storage::Memory,
    },
    BucketSpec {
        name: "recordings",
        description: "what is known of each recording",
        history: 1,
        max_bytes: 16 * MIB,
        storage: Storage::File,
    },
];

/// An object store.
#[derive(Clone, Copy, Debug)]
pub struct StoreSpec {
    /// Name.
    pub name: &'static str,
    /// What it holds.
    pub description: &'static str,
    /// Bound on its size in bytes at `storage_scale` 1.
    pub max_bytes: u64,
}

/// All object stores.
pub static STORES: &[StoreSpec] = &[
    StoreSpec {
        name: "recordings",
        description: "recordings of raw frames",
        max_bytes: 1024 * MIB,
    },
    StoreSpec {
        name: "processing",
        description: "outputs and checkpoints of pipelines' runs",
        max_bytes: 256 * MIB,
    },
    StoreSpec {
        name: "models",
        description: "model packages",
        max_bytes: 256 * MIB,
    },
];

impl StreamSpec {
    /// The filters of its subjects as they are stored: with the partition, where there is one.
    pub fn stored(&self) -> impl Iterator<Item = String> + '_ {
        self.subjects.iter().map(|subject| match self.partitioned {
            Some(partitioned) if subject::intersect(partitioned.published, subject).is_some() => {
                format!("{subject}.*")
            }
            _ => (*subject).to_owned(),
        })
    }
}

/// The stream that takes `subject` (a subject without wildcards).
#[must_use]
pub fn stream_of(subject: &str) -> Option<&'static StreamSpec> {
    STREAMS.iter().find(|stream| {
        stream
            .subjects
            .iter()
            .any(|filter| subject::matches(filter, subject))
    })
}

/// The stream of that name.
#[must_use]
pub fn stream(name: &str) -> Option<&'static StreamSpec> {
    STREAMS.iter().find(|stream| stream.name == name)
}

/// A size of the table at `scale`: whole bytes, never below 1 MiB.
#[must_use]
pub fn scaled(bytes: u64, scale: f64) -> i64 {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    let scaled = (bytes as f64 * scale) as i64;
    scaled.max(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_lies_in_one_stream() {
        for one in STREAMS {
            for other in STREAMS.iter().filter(|other| other.name != one.name) {
                for (a, b) in one
                    .subjects
                    .iter()
                    .flat_map(|a| other.subjects.iter().map(move |b| (a, b)))
                {
                    assert_eq!(
                        subject::intersect(a, b),
                        None,
                        "{} and {} overlap",
                        one.name,
                        other.name
                    );
                }
            }
        }
        assert_eq!(
            stream_of("signal.csi_frame_received.esp").map(|s| s.name),
            Some("FRAMES")
        );
        assert_eq!(
            stream_of("signal.signal_processed.zone").map(|s| s.name),
            Some("SIGNAL")
        );
        assert_eq!(stream_of("job.failed.x").map(|s| s.name), Some("MODEL"));
        assert!(
            stream_of("pose.motion_detected").is_none(),
            "the bare event type is republished, not stored"
        );
    }

    #[test]
    fn sizes_scale_and_stay_usable() {
        assert_eq!(scaled(100 * MIB, 0.1), 10 * 1024 * 1024);
        assert_eq!(scaled(16 * MIB, 0.001), 1024 * 1024);
    }
}
