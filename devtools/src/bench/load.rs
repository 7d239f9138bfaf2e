//! `bench`: a bounded load loop against a running `up`.
//!
//! A closed loop: so many connections, each with one payment at a time, every payment new and paid at once by the
//! simulator. Loader, gateway, simulator and Postgres share this machine, so the figures compare one build with another on
//! one machine; they are no capacity of a real set-up. Only addresses of this machine are accepted: a load of real
//! payments must not be one mistyped option away.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinSet;
use url::{Host, Url};

use super::{process, say};

/// Files in the state directory by which `up` tells how to reach its gateway.
pub(super) const URL_FILE: &str = "gateway-url";
pub(super) const KEY_FILE: &str = "api-key";

/// A payment is held for at most 5 s; what takes longer than this is an error.
const DEADLINE: Duration = Duration::from_secs(30);

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// How many payments to make
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// How many at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Address of the gateway; that of the running `up` where it is left out
    #[arg(long)]
    url: Option<Url>,
    /// API key; that of `up` where it is left out
    #[arg(long)]
    api_key: Option<SecretString>,
    /// Directory in which `up` keeps its state
    #[arg(long, default_value = ".dev")]
    state_dir: PathBuf,
}

/// Makes the payments and prints what they took.
pub(super) async fn bench(options: BenchArgs) -> anyhow::Result<()> {
    let load = Arc::new(Load::new(&options)?);
    // Opens the connections and warms every pool; not counted.
    let warm_up = drive(&load, options.connections, options.connections).await?;
    if let Some(failed) = warm_up.iter().find(|sample| !sample.paid()) {
        bail!("{} does not take payments: {}", load.url, failed.outcome);
    }
    let gateway = process::find_gateway(&load.url);

    let begun = Instant::now();
    let samples = drive(&load, options.count, options.connections).await?;
    let took = begun.elapsed();

    say(&report(&samples, took, options.connections));
    say(&gateway.as_deref().and_then(process::memory).map_or_else(
        || "gateway memory  unknown: its process was not found in /proc".to_owned(),
        |memory| {
            format!(
                "gateway memory  {} KiB now, {} KiB at most",
                memory.now_kib, memory.peak_kib
            )
        },
    ));
    let errors = samples.iter().filter(|sample| !sample.paid()).count();
    ensure!(errors == 0, "{errors} payments were not paid at once");
    Ok(())
}

/// What every connection needs.
struct Load {
    client: Client,
    url: Url,
    authorization: SecretString,
    /// Sets the payments of this run apart from those of others.
    run: u32,
    /// The number of the next payment, over all loops of this run.
    next: AtomicU32,
}

/// One payment: how it ended, and after how long.
struct Sample {
    /// Such as `201 succeeded`.
    outcome: String,
    took: Duration,
}

impl Sample {
    fn paid(&self) -> bool {
        self.outcome == "201 succeeded"
    }
}

impl Load {
    fn new(options: &BenchArgs) -> anyhow::Result<Self> {
        let url = match &options.url {
            Some(url) => url.clone(),
            None => Url::parse(&told_by_up(&options.state_dir, URL_FILE)?)?,
        };
        if !is_on_this_machine(&url) {
            bail!("only a gateway on this machine is loaded, not {url}");
        }
        let api_key = match &options.api_key {
            Some(key) => key.clone(),
            None => told_by_up(&options.state_dir, KEY_FILE)?.into(),
        };
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
            url: url.join("/v1/payments")?,
            authorization: format!("Bearer {}", api_key.expose_secret()).into(),
            run: rand::random::<u32>() % 1_000_000,
            next: AtomicU32::new(0),
        })
    }

    /// Takes one payment. Its code is new: the same one twice within a minute is a suspected duplicate.
    async fn pay(&self) -> Sample {
        let (run, number) = (self.run, self.next.fetch_add(1, Ordering::Relaxed));
        let body = format!(
            r#"{{"amount":{{"value":12850,"currency":"HKD"}},"barcode":"28{run:06}{number:07}0001","merchant_reference":"bench-{run:06}-{number}"}}"#
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
            outcome: outcome.unwrap_or_else(|error| format!("no answer: {}", root(&error))),
            took: begun.elapsed(),
        }
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

fn root(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(|cause| cause.source()) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

fn told_by_up(state_dir: &Path, file: &str) -> anyhow::Result<String> {
    let path = state_dir.join(file);
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}: start `./dev up` first", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Makes `count` payments over `connections` tasks, each with one payment at a time.
async fn drive(load: &Arc<Load>, count: u32, connections: u32) -> anyhow::Result<Vec<Sample>> {
    let left = Arc::new(AtomicU32::new(count));
    let mut tasks = JoinSet::new();
    for _ in 0..connections.min(count) {
        let (load, left) = (Arc::clone(load), Arc::clone(&left));
        tasks.spawn(async move {
            let mut samples = vec![];
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                samples.push(load.pay().await);
            }
            samples
        });
    }
    let mut all = vec![];
    while let Some(samples) = tasks.join_next().await {
        all.extend(samples.context("a connection's task failed")?);
    }
    Ok(all)
}

fn report(samples: &[Sample], took: Duration, connections: u32) -> String {
    let mut times: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
    times.sort_unstable();
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for sample in samples {
        *outcomes.entry(&sample.outcome).or_default() += 1;
    }
    let outcomes: Vec<String> = outcomes
        .iter()
        .map(|(outcome, count)| format!("{count} x {outcome}"))
        .collect();
    let count = samples.len();
    let per_second = count as u128 * 1_000 / took.as_millis().max(1);
    let [p50, p99, most] = [50, 99, 100].map(|percent| in_ms(percentile(&times, percent)));
    format!(
        "payments        {count} over {connections} connections in {} ms
throughput      {per_second} per second
latency         p50 {p50}, p99 {p99}, most {most}
answers         {}",
        took.as_millis(),
        outcomes.join(", "),
    )
}

/// The smallest time that at least `percent` of the sorted ones do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// Milliseconds with one decimal, in integer arithmetic.
fn in_ms(time: Duration) -> String {
    let tenths = time.as_micros() / 100;
    format!("{}.{} ms", tenths / 10, tenths % 10)
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
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let found = [50, 99, 100].map(|percent| percentile(&times, percent).as_millis());
        assert_eq!(found, [100, 198, 200]);
        assert_eq!(percentile(&[], 99), Duration::ZERO);
        assert_eq!(in_ms(Duration::from_micros(12_345)), "12.3 ms");
    }
}
