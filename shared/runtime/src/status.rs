//! Refusals as rich gRPC errors (google.rpc.BadRequest and google.rpc.ErrorInfo).

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every ErrorInfo.
const DOMAIN: &str = "fresnel";

/// Items in a page where the request does not say.
const PAGE_ITEMS: usize = 100;
/// Items in a page at most.
const MOST_PAGE_ITEMS: usize = 1000;

/// How many items the page has that a list request asks for (AIP-158): 100 where `page_size` is 0, at most 1,000.
///
/// # Errors
/// INVALID_ARGUMENT where it is negative.
pub fn page_items(page_size: i32) -> Result<usize, Status> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE_ITEMS),
        Ok(size) => Ok(size.min(MOST_PAGE_ITEMS)),
        Err(_) => {
            let problem = format!("{page_size} is negative");
            Err(invalid_argument("page_size", problem))
        }
    }
}

/// Cuts `items` to the `size` of a page, where it was asked for one more, and gives the token of the next page: that of the last
/// item; empty where there is none behind it.
pub fn next_page<T>(items: &mut Vec<T>, size: usize, token: impl FnOnce(&T) -> String) -> String {
    if items.len() <= size {
        return String::new();
    }
    items.truncate(size);
    items.last().map(token).unwrap_or_default()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_bounds_and_the_last_one_no_successor() {
        assert_eq!(page_items(0).ok(), Some(100));
        assert_eq!(
            (page_items(7).ok(), page_items(i32::MAX).ok()),
            (Some(7), Some(1000))
        );
        assert_eq!(
            page_items(-1).map_err(|status| status.code()),
            Err(Code::InvalidArgument)
        );
        let page = |mut items: Vec<u8>| {
            let next = next_page(&mut items, 2, u8::to_string);
            (items, next)
        };
        assert_eq!(page(vec![1, 2, 3]), (vec![1, 2], "2".to_owned()));
        assert_eq!(page(vec![1, 2]), (vec![1, 2], String::new()));
        assert_eq!(page(Vec::new()), (Vec::new(), String::new()));
    }
}
