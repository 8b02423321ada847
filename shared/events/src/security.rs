//! Events of `security`.

use crate::Timestamp;
use crate::declare::{choices, events};
use crate::id::ProcessingId;

choices! {
    /// How bad it is.
    pub enum Severity {
        Low = "low",
        Medium = "medium",
        High = "high",
        Critical = "critical",
    }
}

events! {
    /// Somebody, or something, tried what it may not.
    "security.violation_detected" v1 of "principal" principal, key(sha256 of principal),
    by "any service", flags(),
    when "a call without the right, a bad token, a reused refresh token, a frame with a bad signature, a rate limit passed; throttled per principal and kind";
    pub struct ViolationDetected {
        pub principal: String,
        pub timestamp: Timestamp,
        pub violation_type: String,
        pub description: String,
        pub severity: Severity,
        pub user_id: Option<String>,
        pub source_ip: Option<String>,
        pub processing_id: Option<ProcessingId>,
    }
}
