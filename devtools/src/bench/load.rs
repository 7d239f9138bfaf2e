//! Tills that pay: a closed loop for what a gateway can do, an open one for how long a till waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use url::{Host, Url};

/// A payment is held for at most 5 s; what takes longer than this is an error.
const DEADLINE: Duration = Duration::from_mins(1);

/// Tills of one merchant, all at one gateway. Only one on this machine: a load of real payments must not be one
/// mistyped option away.
#[derive(Debug)]
pub(super) struct Tills {
    client: Client,
    url: Url,
    authorization: SecretString,
    /// Sets the payments of this run apart from those of others.
    run: u32,
    /// The number of the next payment, over all loops of this run.
    next: AtomicU32,
}

/// One payment: how it ended, and after how long.
#[derive(Debug)]
pub(super) struct Sample {
    /// Such as `201 succeeded`.
    pub(super) outcome: String,
    pub(super) took: Duration,
}

/// Payments that were made one after the other, or at their times.
#[derive(Debug)]
pub(super) struct Run {
    /// Sorted.
    pub(super) times: Vec<Duration>,
    pub(super) took: Duration,
}

impl Tills {
    pub(super) fn new(gateway: &Url, api_key: &str) -> anyhow::Result<Self> {
        ensure!(
            is_on_this_machine(gateway),
            "only a gateway on this machine is loaded, not {gateway}"
        );
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
            .timeout(DEADLINE)
            .pool_max_idle_per_host(usize::MAX)
            .build()?;
        Ok(Self {
            client,
            url: gateway.join("/v1/payments")?,
            authorization: format!("Bearer {api_key}").into(),
            run: rand::random::<u32>() % 1_000_000,
            next: AtomicU32::new(0),
        })
    }

    /// Takes one payment. Its code is new: the same one twice within a minute is a suspected duplicate.
    pub(super) async fn pay(&self) -> Sample {
        let (run, number) = (self.run, self.next.fetch_add(1, Ordering::Relaxed));
        let body = format!(
            r#"{{"amount":{{"value":{},"currency":"HKD"}},"barcode":"28{run:06}{number:07}0001","merchant_reference":"bench-{run:06}-{number}"}}"#,
            super::AMOUNT_MINOR
        );
        let request = self
            .client
            .post(self.url.clone())
            .header(AUTHORIZATION, self.authorization.expose_secret())
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", format!("bench-{run:06}-{number}"))
            .body(body);
        let begun = Instant::now();
        let outcome = outcome_of(request).await;
        Sample {
            outcome: outcome.unwrap_or_else(|error| format!("no answer: {error:?}")),
            took: begun.elapsed(),
        }
    }

    /// So many payments over so many connections, each with one at a time. All of them must be paid at once.
    pub(super) async fn closed_loop(
        self: &Arc<Self>,
        count: u32,
        connections: u32,
    ) -> anyhow::Result<Run> {
        let left = Arc::new(AtomicU32::new(count));
        let mut tasks = JoinSet::new();
        let begun = Instant::now();
        for _ in 0..connections.min(count) {
            let (tills, left) = (Arc::clone(self), Arc::clone(&left));
            tasks.spawn(async move {
                let mut samples = vec![];
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    samples.push(tills.pay().await);
                }
                samples
            });
        }
        let mut samples = vec![];
        while let Some(some) = tasks.join_next().await {
            samples.extend(some.context("a till's task failed")?);
        }
        Run::of(samples, begun.elapsed())
    }

    /// A payment every `pause`, whether or not the last one has been answered. Its time counts from when it was due.
    pub(super) async fn open_loop(
        self: &Arc<Self>,
        pause: Duration,
        how_long: Duration,
    ) -> anyhow::Result<Run> {
        let mut tasks = JoinSet::new();
        let mut due = tokio::time::interval(pause);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let begun = Instant::now();
        while begun.elapsed() < how_long {
            let intended = due.tick().await.into_std();
            let tills = Arc::clone(self);
            tasks.spawn(async move {
                let sample = tills.pay().await;
                Sample {
                    took: intended.elapsed(),
                    ..sample
                }
            });
        }
        let samples = tasks.join_all().await;
        Run::of(samples, begun.elapsed())
    }
}

impl Run {
    fn of(samples: Vec<Sample>, took: Duration) -> anyhow::Result<Self> {
        let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
        for sample in &samples {
            *outcomes.entry(&sample.outcome).or_default() += 1;
        }
        ensure!(
            outcomes.keys().eq(["201 succeeded"].iter()),
            "not all payments were paid at once: {outcomes:?}"
        );
        let mut times: Vec<Duration> = samples.into_iter().map(|sample| sample.took).collect();
        times.sort_unstable();
        Ok(Self { times, took })
    }

    /// Payments a second, in hundredths.
    pub(super) fn per_second(&self) -> u128 {
        self.times.len() as u128 * 100_000_000 / self.took.as_micros().max(1)
    }

    /// The smallest time that at least so many of a thousand do not exceed.
    pub(super) fn quantile(&self, per_mille: usize) -> Duration {
        let rank = (self.times.len() * per_mille).div_ceil(1_000);
        let found = self.times.get(rank.saturating_sub(1));
        found.copied().unwrap_or_default()
    }
}

fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Status and payment status, once the whole answer is there.
async fn outcome_of(request: reqwest::RequestBuilder) -> Result<String, reqwest::Error> {
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await?;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    // A refusal has a code instead.
    let word = body["code"].as_str().or_else(|| body["status"].as_str());
    Ok(format!("{status} {}", word.unwrap_or("unreadable")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loaded() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://0.0.0.0", false),
            ("http://10.0.0.1", false),
            ("https://payments.example.com", false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(is_on_this_machine(&url), expected, "{url}");
        }
    }

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let run = Run {
            times,
            took: Duration::from_secs(2),
        };
        let found = [500, 990, 1_000].map(|rank| run.quantile(rank).as_millis());
        assert_eq!(found, [100, 198, 200]);
        assert_eq!(run.per_second(), 10_000);
    }
}
