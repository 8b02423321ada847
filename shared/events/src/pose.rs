//! Events of `pose`.

use crate::Timestamp;
use crate::declare::{choices, events};
use crate::id::{DeviceId, EstimateId, EventId, PersonId, SessionId, SignalId, ZoneId};
pub use crate::types::{BoundingBox, PersonSummary, Position2D};

choices! {
    /// What the motion looks like.
    pub enum MotionType {
        General = "general",
        Walking = "walking",
        Running = "running",
        Sudden = "sudden",
        Repetitive = "repetitive",
    }
    /// How somebody fell.
    pub enum FallType {
        Forward = "forward",
        Backward = "backward",
        Lateral = "lateral",
        Gradual = "gradual",
        Unknown = "unknown",
    }
    /// How hard somebody hit the ground.
    pub enum ImpactSeverity {
        Low = "low",
        Medium = "medium",
        High = "high",
        Critical = "critical",
    }
}

events! {
    /// The persons in a zone were estimated once.
    "pose.pose_estimated" v2 from [crate::upgrade::pose_estimated_1] of "pose_estimate" estimate_id, key(zone_id or device_id: zone_id session_id),
    by "pose", flags(),
    when "inference over a processed signal completed";
    pub struct PoseEstimated {
        pub estimate_id: EstimateId,
        pub signal_id: SignalId,
        pub session_id: SessionId,
        pub zone_id: Option<ZoneId>,
        pub timestamp: Timestamp,
        pub frame_number: u64,
        pub person_count: u8,
        pub persons: Vec<PersonSummary>,
        pub overall_confidence: f32,
        pub processing_time_ms: f64,
        pub model_version: String,
    }

    /// A person's track was confirmed.
    "pose.person_detected" v1 of "person" person_id, key(person_id), by "pose", flags(sourced),
    when "a track was confirmed";
    pub struct PersonDetected {
        pub person_id: PersonId,
        pub session_id: SessionId,
        pub zone_id: Option<ZoneId>,
        pub estimate_id: EstimateId,
        pub timestamp: Timestamp,
        pub confidence: f32,
        pub bounding_box: BoundingBox,
        pub initial_activity: String,
        pub entry_position: Option<Position2D>,
    }

    /// A confirmed track ended.
    "pose.person_lost" v1 of "person" person_id, key(person_id), by "pose", flags(sourced),
    when "a confirmed track was not seen for its grace period";
    pub struct PersonLost {
        pub person_id: PersonId,
        pub session_id: SessionId,
        pub zone_id: Option<ZoneId>,
        pub timestamp: Timestamp,
        pub first_seen: Timestamp,
        pub duration_seconds: f64,
        pub last_position: Option<Position2D>,
        pub last_activity: String,
        pub total_frames_tracked: u64,
        pub average_confidence: f32,
    }

    /// What a person does changed, and stayed changed.
    "pose.activity_changed" v1 of "person" person_id, key(person_id), by "pose", flags(sourced),
    when "the classified activity changed and stayed changed for the debounce time";
    pub struct ActivityChanged {
        pub person_id: PersonId,
        pub session_id: SessionId,
        pub zone_id: Option<ZoneId>,
        pub timestamp: Timestamp,
        pub previous_activity: String,
        pub new_activity: String,
        pub confidence: f32,
        pub previous_activity_duration_seconds: f64,
    }

    /// Something moves. `velocity_estimate` is in m/s, `direction` in radians in the zone's frame.
    "pose.motion_detected" v1 of "motion" event_id, key(zone_id or device_id: zone_id device_id),
    by "signal and pose", flags(),
    when "the motion statistic of a link, or of the links of its zone together, rose above its threshold (once per onset, then at most every refresh interval)";
    pub struct MotionDetected {
        pub event_id: EventId,
        pub session_id: Option<SessionId>,
        pub zone_id: Option<ZoneId>,
        pub device_id: DeviceId,
        pub timestamp: Timestamp,
        pub motion_score: f32,
        pub motion_type: MotionType,
        pub person_ids: Vec<PersonId>,
        pub person_count: u8,
        pub velocity_estimate: Option<f32>,
        pub direction: Option<f32>,
    }

    /// Somebody fell.
    "pose.fall_detected" v1 of "fall" event_id, key(zone_id or device_id: zone_id session_id),
    by "pose", flags(),
    when "the fall detector fired: critical";
    pub struct FallDetected {
        pub event_id: EventId,
        pub person_id: PersonId,
        pub session_id: SessionId,
        pub zone_id: Option<ZoneId>,
        pub timestamp: Timestamp,
        pub confidence: f32,
        pub fall_type: FallType,
        pub duration_ms: Option<u64>,
        pub impact_severity: ImpactSeverity,
        pub fall_location: Option<Position2D>,
        pub pre_fall_activity: String,
        pub requires_verification: bool,
        pub auto_alert_sent: bool,
    }
}
