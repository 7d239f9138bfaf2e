//! Stopping in order: signals, two tokens, and one tracker of everything that must be waited for.
//!
//! The order is `docs/invariants.md` R21: readiness false, stop claiming work, stop accepting,
//! drain, release leases, close the pool. The soft token starts it; the hard token ends what did not
//! drain in time. What the hard token cuts is safe: its intent is stored, and a follow-up finds the
//! truth.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long what is cut may take to hand its claims back.
const HAND_BACK: Duration = Duration::from_secs(1);

/// The program's two stops and its tasks; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Take on nothing new and finish what is under way.
    pub soft: CancellationToken,
    /// End now.
    pub hard: CancellationToken,
    /// Every task that must finish before the program ends.
    pub tasks: TaskTracker,
}

impl Shutdown {
    /// Not stopping yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts listening for `SIGTERM` and `SIGINT`: the first starts the soft stop, the second the
    /// hard one.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (soft, hard) = (self.soft.clone(), self.hard.clone());
        // On a tracker of its own, which nobody waits for: listening is not work to be drained.
        TaskTracker::new().spawn(async move {
            for (token, name) in [(soft, "soft"), (hard, "hard")] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!(stop = name, "told to stop");
                token.cancel();
            }
        });
        Ok(())
    }

    /// Waits for the tracked tasks, at most `grace`; then cuts the rest, which may use
    /// a second to leave its work to others. True when nothing was cut.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.tasks.close();
        let drained = tokio::select! {
            () = self.tasks.wait() => true,
            () = tokio::time::sleep(grace) => false,
            () = self.hard.cancelled() => false,
        };
        self.hard.cancel();
        if !drained {
            tracing::warn!(open = self.tasks.len(), "some work did not finish in time");
            // What hangs in a call does not hear the stop, so this may run out.
            let _ = tokio::time::timeout(HAND_BACK, self.tasks.wait()).await;
        }
        drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_hangs_is_cut_at_the_deadline() {
        let shutdown = Shutdown::new();
        let hard = shutdown.hard.clone();
        shutdown.tasks.spawn(async move { hard.cancelled().await });
        assert!(!shutdown.drain(Duration::from_millis(10)).await);
        shutdown.tasks.wait().await;
    }

    #[tokio::test]
    async fn work_that_finishes_is_waited_for() {
        let shutdown = Shutdown::new();
        shutdown.tasks.spawn(async {});
        assert!(shutdown.drain(Duration::from_secs(5)).await);
    }
}
