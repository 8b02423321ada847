//! What the commands that call a service share: where it listens, how to reach it, and how to say what it refused.

use std::error::Error;
use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Time to reach a service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon a dead connection is noticed while a stream is quiet.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A service that the commands call.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// The environment variable that says where it listens.
    pub variable: &'static str,
    /// Where it listens otherwise.
    pub default: &'static str,
}

/// Devices, recordings.
pub const GATEWAY: Service = Service {
    name: "hardware-gateway",
    variable: "FRESNEL_GATEWAY_ADDRESS",
    default: "127.0.0.1:7401",
};
/// Zones.
pub const SIGNAL: Service = Service {
    name: "signal",
    variable: "FRESNEL_SIGNAL_ADDRESS",
    default: "127.0.0.1:7402",
};
/// Models.
pub const POSE: Service = Service {
    name: "pose",
    variable: "FRESNEL_POSE_ADDRESS",
    default: "127.0.0.1:7403",
};
/// Events.
pub const STREAMING: Service = Service {
    name: "streaming",
    variable: "FRESNEL_STREAMING_ADDRESS",
    default: "127.0.0.1:7404",
};
/// Alerts.
pub const ALERTING: Service = Service {
    name: "alerting",
    variable: "FRESNEL_ALERTING_ADDRESS",
    default: "127.0.0.1:7405",
};

/// All five, in the order of the data's way.
pub const SERVICES: [Service; 5] = [GATEWAY, SIGNAL, POSE, STREAMING, ALERTING];

/// `--address`, for commands that call one service.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Address {
    /// Where the service listens [default: its FRESNEL_..._ADDRESS, else its port on this machine].
    #[arg(long, value_name = "HOST:PORT", global = true)]
    pub address: Option<String>,
}

impl Service {
    /// Where it listens: as given, else as the environment says, else its port on this machine.
    #[must_use]
    pub fn address(&self, given: &Address) -> String {
        given
            .address
            .clone()
            .or_else(|| {
                std::env::var(self.variable)
                    .ok()
                    .filter(|text| !text.is_empty())
            })
            .unwrap_or_else(|| self.default.to_owned())
    }

    /// Connects.
    ///
    /// # Errors
    /// What is wrong with the address, or what keeps us from reaching it, with the next step.
    pub async fn connect(&self, given: &Address) -> anyhow::Result<Channel> {
        let address = self.address(given);
        let url = if address.contains("://") {
            address.clone()
        } else {
            format!("http://{address}")
        };
        let endpoint = Endpoint::from_shared(url)
            .with_context(|| {
                format!(
                    "`{address}` is no address; it should look like {}",
                    self.default
                )
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        endpoint
            .connect()
            .await
            .map_err(|error| self.unreachable(&address, &error))
    }

    fn unreachable(&self, address: &str, error: &tonic::transport::Error) -> anyhow::Error {
        let refused = causes(error).any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused)
        });
        if refused {
            anyhow!(
                "nothing listens on {address}: start `fresnel up`, or say where {} listens with --address or {}",
                self.name,
                self.variable
            )
        } else {
            let mut text = format!("{} at {address} cannot be reached", self.name);
            for cause in causes(error) {
                let _ = write!(text, ": {cause}");
            }
            anyhow!(text)
        }
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (**cause).source())
}

/// Runs a command's future to its end.
///
/// # Errors
/// Those of the future, or of the system where no runtime can be had. A closed standard output is none: the reader has
/// enough.
pub fn block_on(
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    match result {
        Err(error) if is_closed_output(&error) => Ok(ExitCode::SUCCESS),
        other => other,
    }
}

fn is_closed_output(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes a line to standard output.
///
/// # Errors
/// Where it is closed: see [`block_on`].
pub fn print_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// A refusal as a person reads it: the message, the fields at fault, the reason.
#[must_use]
pub fn explain(status: &Status) -> String {
    let details = status.get_error_details();
    let message = printable(status.message());
    let mut text = if message.is_empty() {
        status.code().description().to_owned()
    } else {
        message
    };
    if let Some(bad_request) = details.bad_request() {
        for violation in &bad_request.field_violations {
            let field = printable(&violation.field);
            let described = printable(&violation.description);
            let whole = format!("{field}: {described}");
            if text == described {
                text = whole;
            } else if text != whole {
                let _ = write!(text, "\n  {whole}");
            }
        }
    }
    let _ = write!(text, " ({}", code_name(status.code()));
    if let Some(info) = details.error_info() {
        let _ = write!(text, ", {}", printable(&info.reason));
        let mut facts: Vec<_> = info.metadata.iter().collect();
        facts.sort();
        for (key, value) in facts {
            let _ = write!(text, ", {}={}", printable(key), printable(value));
        }
    }
    text.push(')');
    text
}

/// The same as an error.
#[must_use]
pub fn refusal(status: &Status) -> anyhow::Error {
    anyhow!(explain(status))
}

/// Whether the same call may succeed on a new connection. `Unknown` and `Cancelled` are what a connection that was closed by
/// age or by a proxy looks like.
#[must_use]
pub fn is_broken_connection(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
    )
}

/// The code as the gRPC documents write it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Text from elsewhere as it may go to a terminal: control characters escaped, so that nobody's device name moves the cursor.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Address, GATEWAY, explain, printable};
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    #[test]
    fn refusals_are_readable() {
        let check = |status: Status, expected: &str| assert_eq!(explain(&status), expected);
        check(
            Status::not_found("no device `den`"),
            "no device `den` (NOT_FOUND)",
        );
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("device.name", "must not be empty");
        check(
            Status::with_error_details(Code::InvalidArgument, "must not be empty", details.clone()),
            "device.name: must not be empty (INVALID_ARGUMENT)",
        );
        check(
            Status::with_error_details(
                Code::InvalidArgument,
                "device.name: must not be empty",
                details.clone(),
            ),
            "device.name: must not be empty (INVALID_ARGUMENT)",
        );
        check(
            Status::with_error_details(Code::InvalidArgument, "bad device", details),
            "bad device\n  device.name: must not be empty (INVALID_ARGUMENT)",
        );
        let mut details = ErrorDetails::new();
        details.set_error_info(
            "ETAG_MISMATCH",
            "fresnel",
            [("etag".to_owned(), "7".to_owned())],
        );
        check(
            Status::with_error_details(Code::Aborted, "changed meanwhile", details),
            "changed meanwhile (ABORTED, ETAG_MISMATCH, etag=7)",
        );
        check(
            Status::new(Code::Unavailable, ""),
            "The service is currently unavailable (UNAVAILABLE)",
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\té"), "a\\u{1b}[2Jb\\té");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_closed_port_gives_the_next_step() {
        // Bound and dropped: nothing listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let address = Address {
            address: Some(free.to_string()),
        };
        let message = GATEWAY.connect(&address).await.unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "nothing listens on {free}: start `fresnel up`, or say where hardware-gateway listens with --address or FRESNEL_GATEWAY_ADDRESS"
            )
        );
        let address = Address {
            address: Some("not an address".into()),
        };
        let message = GATEWAY.connect(&address).await.unwrap_err().to_string();
        assert_eq!(
            message,
            "`not an address` is no address; it should look like 127.0.0.1:7401"
        );
    }
}
