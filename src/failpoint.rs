//! Named points at which a test may stop, break or delay the program. They exist only with the cargo
//! feature `failpoints`, which is off by default and refused in a build without debug assertions: a
//! release cannot contain them, and without the feature the macros below expand to nothing.
//!
//! Two kinds of points: at a `failpoint!` the program can meet an error (a database call, a call
//! to Alipay), and the point may report one; at a `crashpoint!` nothing can fail, and the point
//! may only stop or wait.
//!
//! Why not the crate `fail`: its points are global to the process, and the tests run several
//! replicas in one process and stop one of them; its actions block a thread where these suspend a
//! task; and a crash here means that *nothing* of the replica runs any further, which a panic, which
//! unwinds into handlers that help, is not.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("the feature `failpoints` is for tests: a release must not contain it");

/// A point where an error may be met; the surrounding function returns it with `?`.
macro_rules! failpoint {
    ($points:expr, $($name:expr),+) => {
        #[cfg(feature = "failpoints")]
        $points.reach(&[$($name),+]).await?;
    };
}

/// A point between two steps, where nothing can fail: the task may stop there for ever, or wait.
macro_rules! crashpoint {
    ($points:expr, $($name:expr),+) => {
        #[cfg(feature = "failpoints")]
        {
            let _ = $points.reach(&[$($name),+]).await;
        }
    };
}

pub(crate) use {crashpoint, failpoint};

/// The points of one replica: cheap to clone, and of no size without the feature.
#[derive(Clone, Debug, Default)]
pub struct Failpoints {
    #[cfg(feature = "failpoints")]
    inner: std::sync::Arc<active::Inner>,
}

#[cfg(feature = "failpoints")]
pub use active::{Action, Injected, PANIC_TEXT};

#[cfg(feature = "failpoints")]
mod active {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, MutexGuard, PoisonError},
    };

    use tokio::sync::watch;

    use super::Failpoints;

    /// What happens at an armed point, once.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Action {
        /// The replica ends here: this task goes no further, and no other task of the replica
        /// passes another point.
        Crash,
        /// The process ends here.
        Abort,
        /// The operation reports an error: a broken connection.
        Error,
        /// The task waits until [`Failpoints::resume`].
        Pause,
        /// The task panics with this text.
        Panic(&'static str),
    }

    /// What a panic says that a test's switch asks for: what nobody may read.
    pub const PANIC_TEXT: &str = "cannot cut 281234567890120001 in two";

    /// The error of [`Action::Error`].
    #[derive(Debug, thiserror::Error)]
    #[error("injected at {0}")]
    pub struct Injected(pub String);

    #[derive(Debug)]
    pub(super) struct Inner {
        plan: Mutex<Plan>,
        stopped: watch::Sender<Option<String>>,
        resumed: watch::Sender<u64>,
    }

    #[derive(Debug, Default)]
    struct Plan {
        hits: BTreeMap<String, u64>,
        fired: BTreeMap<String, u64>,
        /// The point, how many hits pass before, and what then happens.
        armed: Vec<(String, u64, Action)>,
        dead: bool,
    }

    impl Default for Inner {
        fn default() -> Self {
            let armed = from_environment();
            Self {
                plan: Mutex::new(Plan {
                    armed,
                    ..Plan::default()
                }),
                stopped: watch::channel(None).0,
                resumed: watch::channel(0).0,
            }
        }
    }

    /// `FAILPOINT=pay.after_call:3` ends the process at the third hit of the point, and
    /// `FAILPOINT=pay.after_call:3:panic` the task alone: for processes that a test starts.
    fn from_environment() -> Vec<(String, u64, Action)> {
        let Some(text) = variable("FAILPOINT") else {
            return vec![];
        };
        let (point, hit) = text.split_once(':').unwrap_or((&text, "1"));
        let (hit, action) = match hit.split_once(':') {
            Some((hit, _)) => (hit, Action::Panic(PANIC_TEXT)),
            None => (hit, Action::Abort),
        };
        let before = hit.parse::<u64>().map_or(0, |hit| hit.saturating_sub(1));
        vec![(point.to_owned(), before, action)]
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "not configuration: a test's switch, absent from every release"
    )]
    fn variable(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    impl Failpoints {
        fn plan(&self) -> MutexGuard<'_, Plan> {
            self.inner
                .plan
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        }

        /// Arms a point: `action` happens once, after `passes` hits have passed.
        pub fn arm(&self, point: &str, passes: u64, action: Action) {
            self.plan().armed.push((point.to_owned(), passes, action));
        }

        /// Disarms every point.
        pub fn disarm(&self) {
            self.plan().armed.clear();
        }

        /// Ends the replica as [`Action::Crash`] does, at whatever points its tasks reach next.
        pub fn kill(&self) {
            self.plan().dead = true;
        }

        /// How often each point was reached.
        pub fn hits(&self) -> BTreeMap<String, u64> {
            self.plan().hits.clone()
        }

        /// How often something armed happened at a point.
        pub fn fired(&self, point: &str) -> u64 {
            self.plan().fired.get(point).copied().unwrap_or(0)
        }

        /// Waits until a task has crashed or paused, and says where.
        pub async fn stopped(&self) -> String {
            let mut stopped = self.inner.stopped.subscribe();
            loop {
                if let Some(point) = stopped.borrow_and_update().clone() {
                    return point;
                }
                if stopped.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }

        /// Whether a task has crashed or is paused.
        pub fn is_stopped(&self) -> bool {
            self.inner.stopped.borrow().is_some()
        }

        /// Lets paused tasks go on. A crashed replica stays stopped.
        pub fn resume(&self) {
            if self.plan().dead {
                return;
            }
            self.inner.stopped.send_replace(None);
            self.inner.resumed.send_modify(|times| *times += 1);
        }

        /// What a point of the program calls.
        pub(crate) async fn reach(&self, name: &[&str]) -> Result<(), Injected> {
            let name = name.join(".");
            match self.at(&name) {
                None => Ok(()),
                Some(Action::Abort) => std::process::abort(),
                Some(Action::Error) => Err(Injected(name)),
                // Put together at the time, as the texts of the standard library are.
                Some(Action::Panic(text)) => panic!("{name}: {text}"),
                Some(Action::Crash) => {
                    self.inner.stopped.send_replace(Some(name));
                    std::future::pending().await
                }
                Some(Action::Pause) => {
                    let mut resumed = self.inner.resumed.subscribe();
                    self.inner.stopped.send_replace(Some(name));
                    // An error means that the replica is being dropped.
                    let _ = resumed.changed().await;
                    Ok(())
                }
            }
        }

        /// Counts a hit and takes what is armed for it.
        fn at(&self, name: &str) -> Option<Action> {
            let mut plan = self.plan();
            if plan.dead {
                return Some(Action::Crash);
            }
            *plan.hits.entry(name.to_owned()).or_default() += 1;
            let position = plan.armed.iter().position(|(point, ..)| point == name)?;
            let (_, passes, action) = &mut plan.armed[position];
            if *passes > 0 {
                *passes -= 1;
                return None;
            }
            let action = *action;
            plan.armed.remove(position);
            plan.dead = action == Action::Crash;
            *plan.fired.entry(name.to_owned()).or_default() += 1;
            Some(action)
        }
    }
}

#[cfg(test)]
mod tests {
    /// The feature is nobody's default, and the programs that people run are built without it.
    #[test]
    fn a_release_has_no_failpoints() {
        let manifest = include_str!("../Cargo.toml");
        assert!(manifest.contains("\nfailpoints = []"));
        assert!(!manifest.contains("default = ["), "no default features");
        assert!(!include_str!("../Dockerfile").contains("--features"));
        assert!(!include_str!("../Dockerfile").contains("--all-features"));
    }
}
