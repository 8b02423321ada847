//! A serial port with lines. A port that goes away is opened again when it is back.

use std::path::Path;

use anyhow::{Context, bail};
use tokio_serial::SerialPortBuilderExt;
use tokio_util::sync::CancellationToken;

use crate::config::Framing;
use crate::source::feed::Feed;
use crate::source::identity::From;
use crate::source::tcp::{self, Content};

/// Reads a port until `stop`.
///
/// # Errors
/// Where it cannot be opened, or goes away.
pub async fn run(
    path: &Path,
    baud: u32,
    from: From,
    feed: &mut Feed,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let shown = path.display();
    let port = tokio_serial::new(path.to_string_lossy(), baud)
        .open_native_async()
        .with_context(|| format!("cannot open {shown}"))?;
    tracing::info!(source = feed.name(), path = %shown, baud, "serial port is open");
    feed.status().opened(None);
    tcp::read(port, from, Content::Esp32(Framing::Lines), feed, stop)
        .await
        .with_context(|| format!("{shown} is gone"))?;
    if stop.is_cancelled() {
        return Ok(());
    }
    bail!("{shown} is gone")
}
