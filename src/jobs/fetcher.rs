//! The loop that fetches Alipay's daily files when their time has come. It asks the schedule of every account
//! again and again, so that a replica that was away, or took over from one that died, needs no memory.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// How often a replica looks whether a try is due: files come once a day.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// Fetches what is due.
#[derive(Debug)]
pub struct Fetcher {
    app: App,
    name: String,
}

impl Fetcher {
    /// A fetcher that calls itself `name` in claims.
    pub fn new(app: App, name: String) -> Self {
        Self { app, name }
    }

    /// The loop, until `stop` is cancelled; a fetch under way then hands its claim back.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            self.run_once().await;
            // Replicas that were started together do not ask together.
            let jitter = rand::thread_rng().gen_range(Duration::ZERO..POLL_INTERVAL / 4);
            let pause = POLL_INTERVAL + jitter;
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Makes what is due, and answers how many tries those were: the loop's step on its own, for tests that
    /// move the clock by hand.
    pub async fn run_once(&self) -> usize {
        self.app.fetch_due_files(&self.name).await
    }
}
