//! SIGINT and SIGTERM: the first asks to stop, the second ends the process at once.
//!
//! They are waited for on a thread of their own, so that the second one works also when every worker is stuck.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

type Hook = Box<dyn FnOnce() + Send>;

/// What must happen before the process ends at once (stopping a child process, say).
#[derive(Clone, Default)]
pub(crate) struct AbortHooks(Arc<Mutex<Vec<Hook>>>);

impl AbortHooks {
    pub(crate) fn add(&self, hook: Hook) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(hook);
    }

    fn run(&self) {
        let hooks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for hook in hooks.into_iter().rev() {
            hook();
        }
    }
}

/// Cancels `stop` on the first signal; on the second, runs the hooks and exits 130.
pub(crate) fn watch(stop: CancellationToken, hooks: AbortHooks) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                let first = next(&mut interrupt, &mut terminate).await;
                tracing::info!(
                    signal = first,
                    "stopping; a second signal ends the process at once"
                );
                stop.cancel();
                let second = next(&mut interrupt, &mut terminate).await;
                tracing::warn!(signal = second, "ending at once");
                hooks.run();
                std::process::exit(i32::from(Exit::Aborted.code()));
            });
        })?;
    Ok(())
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
