//! When a receiver may be called.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::MutexGuard;
use tokio::time::Instant;

/// Closed while the receiver answers: then anybody may call. Open after a failure: nobody calls for a time that doubles
/// with each failure, then one caller tries while the others wait for how it ends.
#[derive(Debug)]
pub struct Circuit {
    first: Duration,
    longest: Duration,
    state: Mutex<State>,
    /// Held by who tries an open circuit.
    probe: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    failures: u32,
    closed_until: Option<Instant>,
}

/// The right to call once; say how it ended.
#[derive(Debug)]
pub struct Turn<'a> {
    circuit: &'a Circuit,
    _probe: Option<MutexGuard<'a, ()>>,
}

impl Circuit {
    /// A closed circuit with pauses from `first` to `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            state: Mutex::default(),
            probe: tokio::sync::Mutex::new(()),
        }
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the right to call.
    pub async fn turn(&self) -> Turn<'_> {
        if self.state().failures == 0 {
            return Turn {
                circuit: self,
                _probe: None,
            };
        }
        let probe = self.probe.lock().await;
        if let Some(until) = self.state().closed_until {
            tokio::time::sleep_until(until).await;
        }
        Turn {
            circuit: self,
            _probe: Some(probe),
        }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Turn<'_> {
    /// The receiver answers.
    pub fn accepted(self) {
        self.circuit.set(|state| *state = State::default());
    }

    /// It does not; it may have said for how long. Returns when it will be tried again.
    pub fn failed(self, retry_after: Option<Duration>) -> Instant {
        let Circuit { first, longest, .. } = *self.circuit;
        let mut next = Instant::now();
        self.circuit.set(|state| {
            let doubled = first.saturating_mul(1 << state.failures.min(20));
            let pause = doubled.max(retry_after.unwrap_or_default()).min(longest);
            state.failures = state.failures.saturating_add(1);
            next += pause;
            state.closed_until = Some(next);
        });
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_pause_doubles_up_to_the_longest_and_success_ends_it() {
        let circuit = Circuit::new(SECOND, 5 * SECOND);
        for pause in [1, 2, 4, 5, 5] {
            let began = Instant::now();
            let next = circuit.turn().await.failed(None);
            assert_eq!(next - Instant::now(), pause * SECOND);
            drop(circuit.turn().await);
            assert_eq!(began.elapsed(), pause * SECOND);
        }
        circuit.turn().await.accepted();
        let began = Instant::now();
        let turns = (circuit.turn().await, circuit.turn().await);
        assert_eq!(began.elapsed(), Duration::ZERO, "{turns:?} at once");
        assert_eq!(
            circuit.turn().await.failed(None) - Instant::now(),
            SECOND,
            "from the first pause again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_receiver_may_ask_for_more_but_not_for_ever() {
        let circuit = Circuit::new(SECOND, 60 * SECOND);
        assert_eq!(
            circuit.turn().await.failed(Some(30 * SECOND)) - Instant::now(),
            30 * SECOND
        );
        assert_eq!(
            circuit.turn().await.failed(Some(Duration::MAX)) - Instant::now(),
            60 * SECOND
        );
        assert_eq!(
            circuit.turn().await.failed(Some(Duration::ZERO)) - Instant::now(),
            4 * SECOND
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_tries_while_the_others_wait() {
        let circuit = Circuit::new(SECOND, 60 * SECOND);
        circuit.turn().await.failed(None);
        let probe = circuit.turn().await;
        let second = tokio::time::timeout(100 * SECOND, circuit.turn());
        assert!(second.await.is_err(), "two try at once");
        probe.accepted();
        circuit.turn().await.accepted();
    }
}
