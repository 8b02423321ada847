//! `fresnel watch`: events as they happen, from the streaming service or straight from NATS.

mod line;
mod source;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use events::Timestamp;

use crate::client::{self, Address, print_line};
use line::Style;
use source::{Begin, Source};

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// NATS subject filters, for example `pose.motion_detected` or `*.*.hall`. All events where none is given.
    #[arg(value_name = "SUBJECT", default_value = ">")]
    subjects: Vec<String>,
    /// The envelopes as they are, one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    address: Address,
    /// Read from this NATS server instead of the streaming service.
    #[arg(long, value_name = "URL", conflicts_with = "address")]
    nats: Option<String>,
    /// Begin with the oldest event kept.
    #[arg(long, conflicts_with = "since")]
    from_start: bool,
    /// Begin with the events stored so long ago, for example 10m.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Only events whose confidence or motion score, where they have one, is at least this (0 to 1).
    #[arg(long, value_name = "NUMBER", conflicts_with = "nats")]
    min_confidence: Option<f32>,
    /// Stop after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop after so many seconds; a failure where --count was not reached.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "must be a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let mut seen = 0;
        let watching = watch(&args, &mut seen);
        let finished = match args.timeout {
            Some(limit) => tokio::time::timeout(limit, watching).await.ok(),
            None => Some(watching.await),
        };
        match (finished, args.count) {
            (Some(result), _) => result.map(|()| ExitCode::SUCCESS),
            (None, Some(count)) => {
                eprintln!("{seen} of {count} events came in time");
                Ok(ExitCode::FAILURE)
            }
            (None, None) => Ok(ExitCode::SUCCESS),
        }
    })
}

async fn watch(args: &Args, seen: &mut u64) -> anyhow::Result<()> {
    let begin = match args.since {
        Some(ago) => Begin::Since(before_now(ago)),
        None if args.from_start => Begin::Since(Timestamp::from_micros(0)),
        None => Begin::Now,
    };
    let mut source = match &args.nats {
        Some(url) => Source::nats(url, &args.subjects, begin).await?,
        None => {
            Source::streaming(&args.address, &args.subjects, args.min_confidence, begin).await?
        }
    };
    let style = Style {
        colours: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    while args.count.is_none_or(|count| *seen < count) {
        let event = source.next().await?;
        let line = if args.json {
            event.envelope.to_string()
        } else {
            style.line(&event)
        };
        print_line(&line)?;
        *seen += 1;
    }
    Ok(())
}

fn before_now(ago: Duration) -> Timestamp {
    let since = SystemTime::now()
        .checked_sub(ago)
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    Timestamp::from_micros(
        since
            .and_then(|d| i64::try_from(d.as_micros()).ok())
            .unwrap_or(0),
    )
}
