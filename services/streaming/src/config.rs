//! What can be set, section `[streaming]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Configuration of the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the HTTP listener with the WebSocket `/v1/stream` binds; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// Subscriptions at once, gRPC and WebSocket together; more are refused with RESOURCE_EXHAUSTED.
    pub max_subscriptions: usize,
    /// Subject filters in one subscription.
    pub max_subjects: usize,
    /// Events that wait for one client; when they are full, its reader stops reading.
    pub queue_messages: usize,
    /// A client that takes nothing for so long while events wait is cut off. It can resume by its offset.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
    /// Interval of WebSocket pings.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// A WebSocket client from which nothing was heard for so long, not even a pong, is cut off.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Time for a WebSocket client to say what it wants, where its URL does not.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// Lifetime of a session, announced as `expires_at` of `streaming.session_created`. A longer connection goes on.
    #[serde(with = "humantime_serde")]
    pub session_lifetime: Duration,
    /// Origins (`https://panel.example`) whose pages may connect besides the listener's own; `*` is every one.
    pub allowed_origins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7480)),
            max_subscriptions: 256,
            max_subjects: 32,
            queue_messages: 256,
            stall_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(45),
            handshake_timeout: Duration::from_secs(10),
            session_lifetime: Duration::from_secs(24 * 3600),
            allowed_origins: Vec::new(),
        }
    }
}

impl runtime::ServiceConfig for Config {
    fn validate(&self) -> Result<(), String> {
        let counts = [
            ("max_subscriptions", self.max_subscriptions, 100_000),
            ("max_subjects", self.max_subjects, 256),
            ("queue_messages", self.queue_messages, 100_000),
        ];
        if let Some((key, value, most)) = counts
            .into_iter()
            .find(|(_, value, most)| *value == 0 || value > most)
        {
            return Err(format!(
                "streaming.{key} is {value}; it must be from 1 to {most}"
            ));
        }
        let times = [
            ("stall_timeout", self.stall_timeout),
            ("ping_interval", self.ping_interval),
            ("idle_timeout", self.idle_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("session_lifetime", self.session_lifetime),
        ];
        if let Some((key, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(format!("streaming.{key} is 0; it must be longer"));
        }
        if self.ping_interval >= self.idle_timeout {
            return Err(format!(
                "streaming.ping_interval ({:?}) must be shorter than streaming.idle_timeout ({:?}), or no client could answer in time",
                self.ping_interval, self.idle_timeout
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Config;
    use runtime::ServiceConfig as _;
    use std::time::Duration;

    #[test]
    fn wrong_values_are_named() {
        let check = |config: Config, expected: &str| {
            let message = config.validate().unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        };
        assert_eq!(Config::default().validate(), Ok(()));
        let base = Config::default;
        check(
            Config {
                max_subscriptions: 0,
                ..base()
            },
            "streaming.max_subscriptions is 0",
        );
        check(
            Config {
                queue_messages: 1_000_000,
                ..base()
            },
            "streaming.queue_messages is 1000000",
        );
        check(
            Config {
                stall_timeout: Duration::ZERO,
                ..base()
            },
            "streaming.stall_timeout is 0",
        );
        check(
            Config {
                ping_interval: base().idle_timeout,
                ..base()
            },
            "streaming.ping_interval (45s)",
        );
    }
}
