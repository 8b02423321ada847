//! What payloads are made of.

use crate::declare::{choices, records};
use crate::id::PersonId;

choices! {
    /// How much a warning matters.
    pub enum WarningSeverity {
        Info = "info",
        Warning = "warning",
        Error = "error",
    }
    /// Where a session stands in its life.
    pub enum SessionState {
        Initializing = "initializing",
        Active = "active",
        Closing = "closing",
        Completed = "completed",
        Failed = "failed",
    }
}

records! {
    /// A rectangle around a person; `x` and `y` are the corner with the smallest coordinates.
    pub struct BoundingBox {
        pub x: f32,
        pub y: f32,
        pub width: f32,
        pub height: f32,
    }

    /// A place in metres in the zone's frame.
    pub struct Position2D {
        pub x: f32,
        pub y: f32,
    }

    /// One person of an estimate.
    pub struct PersonSummary {
        pub person_id: PersonId,
        pub bounding_box: BoundingBox,
        pub confidence: f32,
        pub activity: String,
        pub keypoint_count: u8,
    }

    /// The features of a window in five numbers.
    pub struct FeatureSummary {
        pub amplitude_mean: f32,
        pub amplitude_std: f32,
        pub phase_variance: Option<f32>,
        pub dominant_frequency_hz: Option<f32>,
        pub motion_indicator: f32,
    }

    /// What is odd about a frame that was accepted.
    pub struct ValidationWarning {
        pub code: String,
        pub message: String,
        pub severity: WarningSeverity,
    }

    /// What a device can do, as far as it is known: what its first frame showed is the least of it.
    pub struct DeviceCapabilities {
        pub max_subcarriers: Option<u16>,
        pub max_antennas: Option<u8>,
        pub supported_bandwidths: Vec<String>,
        pub max_sampling_rate_hz: Option<u32>,
    }

    /// How a device is set up; absent what is neither measured nor asked for. Bandwidths are written `20MHz`.
    pub struct DeviceConfig {
        pub sampling_rate_hz: Option<u32>,
        pub subcarriers: Option<u16>,
        pub antennas: Option<u8>,
        pub bandwidth: Option<String>,
        pub channel: Option<u8>,
    }

    /// What a client wants of what it subscribed to.
    pub struct SubscriptionFilters {
        pub min_confidence: Option<f32>,
        pub max_persons: Option<u8>,
        pub include_keypoints: bool,
        pub include_segmentation: bool,
        pub throttle_ms: Option<u32>,
    }

    /// How well a client is served.
    pub struct StreamMetrics {
        pub frames_per_second: f64,
        pub bytes_per_second: f64,
        pub average_frame_size: f64,
        pub priority_distribution: PriorityDistribution,
        pub latency_ms: Option<u64>,
    }

    /// How many frames of each priority were sent.
    pub struct PriorityDistribution {
        pub critical_frames: u64,
        pub high_frames: u64,
        pub medium_frames: u64,
        pub low_frames: u64,
        pub background_frames: u64,
    }

    /// What a run did so far.
    pub struct ProcessingMetrics {
        pub bytes_processed: u64,
        pub frames_processed: u64,
        pub chunks_processed: u64,
        pub duration_ms: u64,
        pub throughput_bytes_per_second: f64,
        pub errors: u64,
    }

    /// On whose behalf something runs.
    pub struct SecurityContext {
        pub user_id: Option<String>,
        pub tenant_id: Option<String>,
        pub permissions: Vec<String>,
    }
}
