//! Events of `signal`.

use crate::Timestamp;
use crate::declare::{choices, events};
use crate::id::{DeviceId, FrameId, SessionId, SignalId};
pub use crate::types::{FeatureSummary, ValidationWarning};

choices! {
    /// What kind of error ended the processing.
    pub enum ErrorCategory {
        InvalidData = "invalid_data",
        InsufficientQuality = "insufficient_quality",
        CalibrationRequired = "calibration_required",
        ResourceExhausted = "resource_exhausted",
        InternalError = "internal_error",
    }
}

events! {
    /// A CSI frame was decoded. The samples travel on the data plane; this announces them.
    "signal.csi_frame_received" v1 of "csi_frame" frame_id, key(device_id),
    by "hardware-gateway", flags(),
    when "a CSI frame was decoded; the raw samples travel on csi.frames, this is their announcement";
    pub struct CsiFrameReceived {
        pub frame_id: FrameId,
        pub device_id: DeviceId,
        pub session_id: Option<SessionId>,
        pub sequence_number: u64,
        pub timestamp: Timestamp,
        pub num_subcarriers: u16,
        pub num_antennas: u8,
        pub snr_db: Option<f64>,
        pub payload_size: u64,
    }

    /// A CSI frame passed the integrity checks.
    "signal.csi_frame_validated" v1 of "csi_frame" frame_id, key(device_id), by "signal", flags(),
    when "the frame passed the integrity checks (dimensions, finite, not all zero, order, rate)";
    pub struct CsiFrameValidated {
        pub frame_id: FrameId,
        pub device_id: DeviceId,
        pub timestamp: Timestamp,
        pub quality_score: f32,
        pub is_complete: bool,
        pub validation_time_us: u64,
        pub warnings: Vec<ValidationWarning>,
    }

    /// A window of frames was turned into features.
    "signal.signal_processed" v2 from [crate::upgrade::signal_processed_1] of "signal" signal_id, key(zone_id or device_id: device_id),
    by "signal", flags(),
    when "a window of frames was turned into features";
    pub struct SignalProcessed {
        pub signal_id: SignalId,
        pub source_frames: Vec<FrameId>,
        pub device_id: DeviceId,
        pub session_id: Option<SessionId>,
        pub timestamp: Timestamp,
        pub window_start: Timestamp,
        pub window_end: Timestamp,
        pub feature_summary: FeatureSummary,
        pub human_detected: bool,
        pub presence_confidence: f32,
        pub estimated_person_count: Option<u8>,
        pub quality_score: f32,
        pub processing_time_ms: f64,
    }

    /// A frame or window could not be processed.
    "signal.signal_processing_failed" v1 of "csi_frame" frame_id, key(device_id),
    by "signal", flags(),
    when "a frame or window could not be processed";
    pub struct SignalProcessingFailed {
        pub frame_id: FrameId,
        pub device_id: DeviceId,
        pub timestamp: Timestamp,
        pub error_code: String,
        pub error_message: String,
        pub error_category: ErrorCategory,
        pub recoverable: bool,
        pub suggested_action: Option<String>,
    }
}
