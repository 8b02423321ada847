//! Events of `streaming`.

use crate::Timestamp;
use crate::declare::{choices, events};
use crate::id::{MessageId, SessionId, StreamId};
pub use crate::types::{SessionState, StreamMetrics, SubscriptionFilters};

choices! {
    /// Why a session ended.
    pub enum SessionEndReason {
        ClientDisconnect = "client_disconnect",
        ServerShutdown = "server_shutdown",
        Timeout = "timeout",
        Error = "error",
        Evicted = "evicted",
    }
}

events! {
    /// A client was given a session.
    "streaming.session_created" v1 of "session" session_id, key(session_id),
    by "streaming", flags(sourced),
    when "CreateSession was accepted; state initializing";
    pub struct SessionCreated {
        pub session_id: SessionId,
        pub client_id: String,
        pub timestamp: Timestamp,
        pub expires_at: Timestamp,
    }

    /// A client connected in its session.
    "streaming.session_started" v1 of "session" session_id, key(session_id),
    by "streaming", flags(sourced),
    when "the client's connection (gRPC stream or WebSocket) was established";
    pub struct SessionStarted {
        pub session_id: SessionId,
        pub client_id: String,
        pub timestamp: Timestamp,
        pub stream_type: String,
        pub remote_addr: Option<String>,
        pub user_agent: Option<String>,
        pub zone_subscriptions: Vec<String>,
        pub filters: SubscriptionFilters,
    }

    /// Streams may be opened in a session.
    "streaming.session_activated" v1 of "session" session_id, key(session_id),
    by "streaming", flags(sourced),
    when "the handshake is done and streams may be opened; state active";
    pub struct SessionActivated {
        pub session_id: SessionId,
        pub timestamp: Timestamp,
    }

    /// A session was given more time.
    "streaming.session_timeout_extended" v1 of "session" session_id, key(session_id),
    by "streaming", flags(sourced),
    when "ExtendSession, or use of the session within its renewal window";
    pub struct SessionTimeoutExtended {
        pub session_id: SessionId,
        pub additional_seconds: u64,
        pub new_expires_at: Timestamp,
        pub timestamp: Timestamp,
    }

    /// A session's lifetime ended with no client connected.
    "streaming.session_expired" v1 of "session" session_id, key(session_id),
    by "streaming", flags(sourced, critical),
    when "the session's lifetime ended while no client was connected";
    pub struct SessionExpired {
        pub session_id: SessionId,
        pub timestamp: Timestamp,
    }

    /// An idle client was cut off.
    "streaming.session_timed_out" v1 of "session" session_id, key(session_id),
    by "streaming", flags(sourced),
    when "a connected client was idle past the timeout and was cut off";
    pub struct SessionTimedOut {
        pub session_id: SessionId,
        pub original_state: SessionState,
        pub timeout_duration: u64,
        pub timestamp: Timestamp,
    }

    /// A session was ended from outside.
    "streaming.session_invalidated" v1 of "session" session_id, key(session_id),
    by "streaming", flags(sourced),
    when "an operator evicted it, or its token was revoked";
    pub struct SessionInvalidated {
        pub session_id: SessionId,
        pub timestamp: Timestamp,
        pub reason: String,
        pub invalidated_by: Option<String>,
    }

    /// A client closed its session in good order.
    "streaming.session_closed" v1 of "session" session_id, key(session_id),
    by "streaming", flags(sourced),
    when "closed by its client in good order; state completed";
    pub struct SessionClosed {
        pub session_id: SessionId,
        pub timestamp: Timestamp,
    }

    /// The last word on a session: its statistics.
    "streaming.session_ended" v1 of "session" session_id, key(session_id),
    by "streaming", flags(sourced),
    when "last of all, however it ended: the statistics";
    pub struct SessionEnded {
        pub session_id: SessionId,
        pub client_id: String,
        pub timestamp: Timestamp,
        pub started_at: Timestamp,
        pub duration_seconds: f64,
        pub reason: SessionEndReason,
        pub error_message: Option<String>,
        pub messages_sent: u64,
        pub messages_failed: u64,
        pub bytes_sent: u64,
        pub average_latency_ms: f64,
    }

    /// A client changed what it listens to.
    "streaming.subscription_updated" v1 of "session" session_id, key(session_id),
    by "streaming", flags(sourced),
    when "the client changed zones or filters";
    pub struct SubscriptionUpdated {
        pub session_id: SessionId,
        pub timestamp: Timestamp,
        pub previous_filters: SubscriptionFilters,
        pub new_filters: SubscriptionFilters,
        pub zones_added: Vec<String>,
        pub zones_removed: Vec<String>,
    }

    /// A message was written to a client.
    "streaming.message_delivered" v1 of "session" session_id, key(session_id),
    by "streaming", flags(),
    when "off by default (high volume), per session: a message was written to the client";
    pub struct MessageDelivered {
        pub session_id: SessionId,
        pub message_id: MessageId,
        pub timestamp: Timestamp,
        pub message_type: String,
        pub payload_bytes: u64,
        pub latency_ms: f64,
    }

    /// A message did not reach its client.
    "streaming.message_delivery_failed" v1 of "session" session_id, key(session_id),
    by "streaming", flags(),
    when "a message was dropped or could not be written";
    pub struct MessageDeliveryFailed {
        pub session_id: SessionId,
        pub message_id: MessageId,
        pub timestamp: Timestamp,
        pub message_type: String,
        pub error_code: String,
        pub error_message: String,
        pub retry_count: u8,
        pub will_retry: bool,
    }

    /// A client opened a priority stream.
    "streaming.stream_created" v1 of "stream" stream_id, key(session_id), by "streaming", flags(),
    when "a client opened a priority stream in its session";
    pub struct StreamCreated {
        pub session_id: SessionId,
        pub stream_id: StreamId,
        pub timestamp: Timestamp,
    }

    /// A stream sent its first frame.
    "streaming.stream_started" v1 of "stream" stream_id, key(session_id), by "streaming", flags(),
    when "its first frame was sent";
    pub struct StreamStarted {
        pub session_id: SessionId,
        pub stream_id: StreamId,
        pub timestamp: Timestamp,
    }

    /// A stream ended in good order.
    "streaming.stream_completed" v1 of "stream" stream_id, key(session_id), by "streaming", flags(),
    when "the client ended it, or its source did";
    pub struct StreamCompleted {
        pub session_id: SessionId,
        pub stream_id: StreamId,
        pub timestamp: Timestamp,
    }

    /// A stream ended with an error.
    "streaming.stream_failed" v1 of "stream" stream_id, key(session_id),
    by "streaming", flags(critical, error),
    when "an error ended it";
    pub struct StreamFailed {
        pub session_id: SessionId,
        pub stream_id: StreamId,
        pub error: String,
        pub timestamp: Timestamp,
    }

    /// A stream was cancelled.
    "streaming.stream_cancelled" v1 of "stream" stream_id, key(session_id), by "streaming", flags(),
    when "cancelled through the API";
    pub struct StreamCancelled {
        pub session_id: SessionId,
        pub stream_id: StreamId,
        pub timestamp: Timestamp,
    }

    /// A stream's configuration changed.
    "streaming.stream_config_updated" v1 of "stream" stream_id, key(session_id),
    by "streaming", flags(),
    when "its configuration changed";
    pub struct StreamConfigUpdated {
        pub session_id: SessionId,
        pub stream_id: StreamId,
        pub timestamp: Timestamp,
    }

    /// A skeleton frame, the most urgent part of an update, was built.
    "streaming.skeleton_generated" v1 of "stream" stream_id, key(session_id),
    by "streaming", flags(),
    when "sampled (default one in 100): a skeleton frame, the first and most urgent part of an update, was built";
    pub struct SkeletonGenerated {
        pub session_id: SessionId,
        pub stream_id: StreamId,
        pub frame_size_bytes: u64,
        pub timestamp: Timestamp,
    }

    /// The patches that fill a skeleton in were built.
    "streaming.patch_frames_generated" v1 of "stream" stream_id, key(session_id),
    by "streaming", flags(),
    when "sampled likewise: the patches that fill the skeleton in, by priority";
    pub struct PatchFramesGenerated {
        pub session_id: SessionId,
        pub stream_id: StreamId,
        pub frame_count: u64,
        pub total_bytes: u64,
        pub highest_priority: u8,
        pub timestamp: Timestamp,
    }

    /// Several frames left in one write.
    "streaming.frames_batched" v1 of "session" session_id, key(session_id), by "streaming", flags(),
    when "sampled likewise: several frames left in one write";
    pub struct FramesBatched {
        pub session_id: SessionId,
        pub frame_count: u64,
        pub timestamp: Timestamp,
    }

    /// A session sends more, or less, of what is not urgent.
    "streaming.priority_threshold_adjusted" v1 of "session" session_id, key(session_id),
    by "streaming", flags(),
    when "the client was too slow, or had room again";
    pub struct PriorityThresholdAdjusted {
        pub session_id: SessionId,
        pub old_threshold: u8,
        pub new_threshold: u8,
        pub reason: String,
        pub timestamp: Timestamp,
    }

    /// How well a session is served.
    "streaming.performance_metrics_recorded" v1 of "session" session_id, key(session_id),
    by "streaming", flags(),
    when "every metrics interval of an active session (default 10 s)";
    pub struct PerformanceMetricsRecorded {
        pub session_id: SessionId,
        pub metrics: StreamMetrics,
        pub timestamp: Timestamp,
    }
}
