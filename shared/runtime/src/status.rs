//! Refusals as rich gRPC errors (google.rpc.BadRequest and google.rpc.ErrorInfo).

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every ErrorInfo.
const DOMAIN: &str = "fresnel";

/// A wrong value in a request: INVALID_ARGUMENT with google.rpc.BadRequest naming the field.
#[must_use]
pub fn invalid_argument(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let details = ErrorDetails::with_bad_request_violation(field, description.as_str());
    Status::with_error_details(
        Code::InvalidArgument,
        format!("{field}: {description}"),
        details,
    )
}

/// Any other refusal, with google.rpc.ErrorInfo: `reason` is UPPER_SNAKE_CASE, the domain `fresnel`.
#[must_use]
pub fn refuse(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}
