//! Whose pages may connect.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// Anyone's page can open a WebSocket to this machine; the browser only tells us whose it is.
pub(super) fn check(headers: &HeaderMap, allowed: &[String]) -> Result<(), String> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or("(not a text)");
    if allowed.iter().any(|one| one == "*" || one == origin) {
        return Ok(());
    }
    let host = headers
        .get(header::HOST)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let same = origin
        .split_once("://")
        .is_some_and(|(_, authority)| authority == host);
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(n, _)| n);
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
        .is_ok();
    if same && (address || name == "localhost") {
        Ok(())
    } else {
        Err(origin.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use axum::http::{HeaderMap, HeaderValue, header};

    #[test]
    fn only_pages_that_nobody_else_can_serve() {
        let allowed = ["https://panel.example".to_owned()];
        let check = |origin: &'static str, host: &'static str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if !origin.is_empty() {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(
                check(&headers, &allowed).is_ok(),
                expected,
                "{origin} at {host}"
            );
        };
        check("", "127.0.0.1:7480", true);
        check("http://127.0.0.1:7480", "127.0.0.1:7480", true);
        check("http://localhost:7480", "localhost:7480", true);
        check("http://[::1]:7480", "[::1]:7480", true);
        check("https://192.168.1.5", "192.168.1.5", true);
        check("https://panel.example", "127.0.0.1:7480", true);
        // Another port is another origin; a name can be pointed at this machine by whoever owns it.
        check("http://127.0.0.1:3000", "127.0.0.1:7480", false);
        check("http://evil.example:7480", "evil.example:7480", false);
        check("http://evil.example", "127.0.0.1:7480", false);
        check("null", "127.0.0.1:7480", false);
    }
}
