//! How a server says that it is, by its monitoring port.
//!
//! A nats-server (2.15.1) whose disk was full once takes nothing into that stream any more, and answers no publish to it,
//! until it is started again: also when there is room again. Its clients see nothing but acknowledgements that do not come;
//! `/healthz` says why.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Its answer is a line; what is longer is none.
const MOST_BYTES: u64 = 64 << 10;

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Well,
    /// It could not write to its disk, and stores nothing in that stream until it is started again. What it says.
    CannotWrite(String),
    /// It says something else, or nothing: it starts, or is busy.
    Unknown(String),
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
}

pub(super) async fn ask(port: u16) -> Health {
    match tokio::time::timeout(ANSWER, request(port)).await {
        Ok(Ok(text)) => read(&text),
        Ok(Err(error)) => Health::Unknown(error.to_string()),
        Err(_) => Health::Unknown(format!("no answer within {ANSWER:?}")),
    }
}

async fn request(port: u16) -> std::io::Result<String> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    socket.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
    let mut text = String::new();
    socket.take(MOST_BYTES).read_to_string(&mut text).await?;
    Ok(text)
}

/// Head and body of an HTTP answer.
fn read(text: &str) -> Health {
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match serde_json::from_str::<Answer>(body) {
        Ok(answer) if answer.status == "ok" => Health::Well,
        Ok(answer) if answer.error.contains("write error") => Health::CannotWrite(answer.error),
        Ok(answer) => Health::Unknown(format!("{}: {}", answer.status, answer.error)),
        Err(_) => Health::Unknown("it says nothing that can be read".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_told_apart() {
        let answer = |body: &str| read(&format!("HTTP/1.0 200 OK\r\nDate: now\r\n\r\n{body}"));
        assert_eq!(answer(r#"{"status":"ok"}"#), Health::Well);
        let error =
            r"JetStream stream '$G \u003e F' write error: write 1.blk: no space left on device";
        let Health::CannotWrite(said) =
            answer(&format!(r#"{{"status":"unavailable","error":"{error}"}}"#))
        else {
            panic!("it cannot write");
        };
        assert!(said.contains("'$G > F'"), "{said}");
        let starting = r#"{"status":"unavailable","error":"JetStream is not current"}"#;
        for body in [starting, "", "{"] {
            assert!(matches!(answer(body), Health::Unknown(_)), "{body}");
        }
    }
}
