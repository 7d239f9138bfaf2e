//! `bench`: what a payment costs, beside what a user would build instead.
//!
//! A private Postgres that writes durably, a stub of Alipay that costs next to nothing, the gateway as it is released, and
//! the peers of `benches/peers`, all on this machine. Rounds are interleaved, and whoever is not measured is stopped.
//! CPU for each payment and ratios are the figures; absolute times are shown and not judged, since load and programs share the
//! machine.

mod cost;
mod load;
mod report;
pub(crate) mod stub;
mod stub_key;
mod subject;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use url::Url;

use cost::Counters;
use load::Run;
use report::{Plot, Report, Target, number};
use subject::{Bed, Kind, Subject};

use crate::children::{Program, Stack};
use crate::postgres;
use crate::{Place, StopSignals, gateway, say};

/// What every payment of a benchmark is about.
const AMOUNT_MINOR: u32 = 12_850;
const AMOUNT_DECIMAL: &str = "128.50";
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    place: Place,
    /// End within 4 minutes: fewer rounds and payments
    #[arg(long)]
    quick: bool,
    /// Compare with the `bench.json` of an earlier run
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
struct Extent {
    rounds: usize,
    payments: u32,
    /// Of the payments with which the cost over the size is looked at.
    growth: u32,
    open_loop: Duration,
    starts: usize,
}

/// Measures everything, prints the table and writes the report.
pub(super) async fn bench(options: BenchArgs) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen()?;
    let mut stack = Stack::default();
    let outcome = tokio::select! {
        outcome = run(&options, &mut stack) => outcome,
        () = signals.any() => Err(anyhow::anyhow!("stopped")),
    };
    stack.stop().await;
    outcome
}

async fn run(options: &BenchArgs, stack: &mut Stack) -> anyhow::Result<()> {
    let earlier = match &options.compare {
        Some(file) => {
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            Some(serde_json::from_str::<Value>(&text)?)
        }
        None => None,
    };
    let extent = if options.quick {
        Extent {
            rounds: 3,
            payments: 1_500,
            growth: 12_000,
            open_loop: Duration::from_secs(8),
            starts: 3,
        }
    } else {
        Extent {
            rounds: 5,
            payments: 4_000,
            growth: 40_000,
            open_loop: Duration::from_secs(20),
            starts: 5,
        }
    };
    let bed = prepare(options, stack).await?;
    let mut report = Report::default();
    let half = compare(&bed, stack, extent, &mut report).await?;
    latency(&bed, stack, extent, half, &mut report).await?;
    growth(&bed, stack, extent, &mut report).await?;
    slow_alipay(&bed, stack, &mut report).await?;
    starts(&bed, stack, extent, &mut report).await?;
    // The last one: what was measured before is told whatever becomes of it.
    if let Err(error) = killed(&bed, stack, &mut report).await {
        let what = format!("payments in flight when the program is killed: {error:#}");
        report.left_out.push(what);
    }
    say(&report.table(earlier.as_ref()));
    report.write(&bed.state_dir)?;
    say(&format!(
        "bench.json and bench.html are in {}",
        bed.state_dir.display()
    ));
    Ok(())
}

async fn prepare(options: &BenchArgs, stack: &mut Stack) -> anyhow::Result<Bed> {
    let place = &options.place;
    ensure!(
        place.database_url.is_none(),
        "the benchmark fills databases and kills programs: it uses a Postgres of its own, never that of DATABASE_URL"
    );
    let state_dir = std::path::absolute(&place.state_dir)?.join("bench");
    if state_dir.exists() {
        fs::remove_dir_all(&state_dir)?;
    }
    fs::create_dir_all(&state_dir)?;
    progress("Postgres, keys, Alipay's stub");
    let keys = state_dir.join("keys");
    gateway::generate_keys(&keys).await?;
    let bin = place.postgres_bin.as_deref();
    let owner = postgres::start(stack, postgres::Kind::Measured, &state_dir, bin, "bench").await?;
    let service = postgres::service_role(&owner).await?;
    let public_key = keys.join(gateway::ALIPAY_PUBLIC_KEY);
    fs::remove_file(&public_key)?;
    let command: [OsString; 4] = [
        std::env::current_exe()?.into(),
        "alipay-stub".into(),
        "--public-key-file".into(),
        public_key.into(),
    ];
    let running = stack.start(Program {
        name: "Alipay's stub",
        command: command.into(),
        environment: vec![],
        stop_signal: "TERM",
        owner: None,
        working_dir: None,
        remove: None,
        log: state_dir.join("stub.log"),
    })?;
    let stub_url = running
        .ready(READY_LIMIT, async |log| gateway::announced(log, stub::SAYS))
        .await?;
    Ok(Bed {
        state_dir,
        keys,
        owner_url: Url::parse(&owner)?,
        service_url: Url::parse(&service)?,
        stub_url,
    })
}

fn progress(what: &str) {
    say(&format!("  {what} ..."));
}

/// What the payments of one run cost, each; in hundredths.
#[derive(Clone, Copy, Debug)]
struct Cost {
    program: u64,
    postgres: u64,
    wal: u64,
    buffers: u64,
    rows: u64,
    index_tuples: u64,
}

impl Cost {
    fn of(counted: Counters, run: &Run) -> Self {
        let payments = run.times.len().max(1) as u64;
        let each = |counted: u64| counted * 100 / payments;
        Self {
            program: each(counted.program_us),
            postgres: each(counted.postgres_us),
            wal: each(counted.wal_bytes),
            buffers: each(counted.buffers),
            rows: each(counted.rows),
            index_tuples: each(counted.index_tuples),
        }
    }

    const fn cpu(self) -> u64 {
        self.program + self.postgres
    }
}

async fn measured(
    subject: &mut Subject,
    payments: u32,
    connections: u32,
) -> anyhow::Result<(Run, Cost)> {
    let before = subject.meter.read().await?;
    let run = subject.tills.closed_loop(payments, connections).await?;
    let after = subject.meter.read().await?;
    let cost = Cost::of(after.since(before), &run);
    Ok((run, cost))
}

const fn ratio(part: u64, whole: u64) -> u64 {
    match (part * 100).checked_div(whole) {
        Some(hundredths) => hundredths,
        None => 0,
    }
}

fn hundredths(per_second: u128) -> u64 {
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A millisecond is 1,000 microseconds, so 10 of them are a hundredth of it.
fn hundredths_of_ms(time: Duration) -> u64 {
    micros(time) / 10
}

/// Gateway and peers in turn. Yields half of what the gateway can do, as the pause between two payments.
async fn compare(
    bed: &Bed,
    stack: &mut Stack,
    extent: Extent,
    report: &mut Report,
) -> anyhow::Result<Duration> {
    progress("gateway and peers start");
    let mut subjects = vec![bed.gateway(stack, "compared", &[]).await?];
    for kind in [Kind::Node, Kind::Python] {
        match bed.peer(stack, kind).await {
            Ok(peer) => subjects.push(peer),
            Err(error) => report.left_out.push(format!("{}: {error:#}", kind.name())),
        }
    }
    for subject in &mut subjects {
        // Compiles what is hot in Node, opens every connection, and lets Postgres see the tables filled.
        subject.tills.closed_loop(extent.payments, 16).await?;
        subject.signal("STOP").await?;
    }
    let mut of_each: Vec<Vec<(Run, Cost)>> = subjects.iter().map(|_| vec![]).collect();
    let mut curves: Vec<Vec<(u64, u64)>> = subjects.iter().map(|_| vec![]).collect();
    for round in 0..extent.rounds {
        for (subject, results) in subjects.iter_mut().zip(&mut of_each) {
            progress(&format!(
                "round {} of {}: {}",
                round + 1,
                extent.rounds,
                subject.kind.name()
            ));
            subject.signal("CONT").await?;
            let payments = extent.payments / if subject.kind == Kind::Python { 3 } else { 1 };
            results.push(measured(subject, payments, 16).await?);
            subject.signal("STOP").await?;
        }
    }
    for connections in [1, 4, 64] {
        let name = format!("payments/s over {connections} connections");
        let mut rates = vec![];
        for (subject, curve) in subjects.iter_mut().zip(&mut curves) {
            progress(&format!("{name}: {}", subject.kind.name()));
            subject.signal("CONT").await?;
            let payments = (extent.payments / 4).max(200);
            let (run, _) = measured(subject, payments, connections).await?;
            subject.signal("STOP").await?;
            curve.push((u64::from(connections), hundredths(run.per_second()) / 100));
            rates.push(hundredths(run.per_second()));
        }
        report.add(format!("{name}: gateway"), "", vec![rates[0]], None);
        for (subject, rate) in subjects.iter().zip(&rates).skip(1) {
            let name = format!("{name}: gateway ÷ {}", subject.kind.name());
            report.add(name, "", vec![ratio(rates[0], *rate)], None);
        }
    }
    for (subject, results) in subjects.iter().zip(&of_each) {
        say_of(subject.kind, results, report);
    }
    for (subject, results) in subjects.iter().zip(&of_each).skip(1) {
        ratios(subject.kind, &of_each[0], results, report);
    }
    for (curve, results) in curves.iter_mut().zip(&of_each) {
        curve.push((16, median_rate(results) / 100));
        curve.sort_unstable();
    }
    let names = subjects
        .iter()
        .map(|subject| subject.kind.name().to_owned());
    let lines = names.clone().zip(curves).collect();
    report.plots.push(Plot {
        title: "Payments a second over connections".to_owned(),
        across: "connections",
        up: "/s",
        lines,
    });
    let distribution = |results: &Vec<(Run, Cost)>| {
        let run = &results[results.len() / 2].0;
        (1..=999)
            .step_by(2)
            .map(|rank| {
                (
                    rank,
                    micros(run.quantile(usize::try_from(rank).unwrap_or(0))),
                )
            })
            .collect::<Vec<_>>()
    };
    report.plots.push(Plot {
        title: "How long a till waits, 16 connections".to_owned(),
        across: "of 1,000 payments",
        up: "µs",
        lines: names.zip(of_each.iter().map(distribution)).collect(),
    });
    let rate = median_rate(&of_each[0]);
    for _ in &subjects {
        stack.discard_newest().await;
    }
    Ok(Duration::from_micros(200_000_000 / rate.max(1)))
}

fn median_rate(results: &[(Run, Cost)]) -> u64 {
    let mut rates: Vec<u64> = results
        .iter()
        .map(|(run, _)| hundredths(run.per_second()))
        .collect();
    rates.sort_unstable();
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

fn say_of(kind: Kind, results: &[(Run, Cost)], report: &mut Report) {
    let name = kind.name();
    let of = |what: &dyn Fn(&(Run, Cost)) -> u64| results.iter().map(what).collect::<Vec<u64>>();
    let rates = of(&|(run, _)| hundredths(run.per_second()));
    report.add(format!("{name}: payments/s"), "", rates, None);
    let medians = of(&|(run, _)| hundredths_of_ms(run.quantile(500)));
    report.add(format!("{name}: p50"), "ms", medians, None);
    let worst = of(&|(run, _)| hundredths_of_ms(run.quantile(990)));
    report.add(format!("{name}: p99"), "ms", worst, None);
    for (what, unit, value) in [
        (
            "program CPU",
            "µs",
            (|cost| cost.program) as fn(&Cost) -> u64,
        ),
        ("Postgres CPU", "µs", |cost| cost.postgres),
        ("WAL", "bytes", |cost| cost.wal),
        ("buffers", "", |cost| cost.buffers),
        ("rows written", "", |cost| cost.rows),
        ("index tuples read", "", |cost| cost.index_tuples),
    ] {
        let values = of(&|(_, cost)| value(cost));
        report.add(format!("{name}: {what} for a payment"), unit, values, None);
    }
}

fn ratios(peer: Kind, gateway: &[(Run, Cost)], results: &[(Run, Cost)], report: &mut Report) {
    let name = peer.name();
    let of = |what: &dyn Fn(&(Run, Cost)) -> u64| {
        let pairs = gateway.iter().zip(results);
        pairs
            .map(|(ours, theirs)| ratio(what(ours), what(theirs)))
            .collect::<Vec<u64>>()
    };
    let is_node = peer == Kind::Node;
    let rate = Target::AtLeast(if is_node { 150 } else { 500 });
    let rates = of(&|(run, _)| hundredths(run.per_second()));
    report.add(
        format!("payments/s: gateway ÷ {name}"),
        "",
        rates,
        Some(rate),
    );
    let cpu = of(&|(_, cost)| cost.cpu());
    let target = is_node.then_some(Target::AtMost(70));
    report.add(format!("CPU of both: gateway ÷ {name}"), "", cpu, target);
    let postgres = of(&|(_, cost)| cost.postgres);
    let target = is_node.then_some(Target::AtMost(100));
    report.add(
        format!("Postgres CPU: gateway ÷ {name}"),
        "",
        postgres,
        target,
    );
}

/// Payments that come at their times, at half of what the gateway can do.
async fn latency(
    bed: &Bed,
    stack: &mut Stack,
    extent: Extent,
    pause: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress("payments that come at their times, at half of what is possible");
    let subject = bed.gateway(stack, "compared", &[]).await?;
    subject.tills.closed_loop(300, 16).await?;
    let mut ratios = vec![];
    for _ in 0..extent.rounds {
        let how_long = extent.open_loop / u32::try_from(extent.rounds)?;
        let run = subject.tills.open_loop(pause, how_long).await?;
        ratios.push(ratio(
            micros(run.quantile(990)),
            micros(run.quantile(500)).max(1),
        ));
    }
    report.add(
        "p99 ÷ p50 at half capacity",
        "",
        ratios,
        Some(Target::AtMost(300)),
    );
    stack.discard_newest().await;
    Ok(())
}

/// What a payment costs on a database that nobody has analysed or vacuumed.
async fn growth(
    bed: &Bed,
    stack: &mut Stack,
    extent: Extent,
    report: &mut Report,
) -> anyhow::Result<()> {
    const STEP: u32 = 1_000;
    let mut subject = bed.gateway(stack, "fresh", &[]).await?;
    subject.meter.autovacuum(false).await?;
    let (mut both, mut postgres) = (vec![], vec![]);
    for step in 0..extent.growth / STEP {
        if step % 4 == 0 {
            progress(&format!("a fresh database, payment {}", step * STEP + 1));
        }
        let (_, cost) = measured(&mut subject, STEP, 16).await?;
        let size = u64::from((step + 1) * STEP);
        both.push((size, cost.cpu() / 100));
        postgres.push((size, cost.postgres / 100));
    }
    let [first, later] = [0, 10].map(|step| {
        let point: Option<&(u64, u64)> = postgres.get(step);
        point.map_or(0, |point| point.1)
    });
    let last = postgres.last().map_or(0, |point| point.1);
    let flat = Some(Target::AtMost(125));
    report.add(
        "Postgres CPU, payments 10,001–11,000 ÷ 1–1,000, fresh, no vacuum",
        "",
        vec![ratio(later, first)],
        flat,
    );
    report.add(
        format!(
            "Postgres CPU, the last 1,000 of {} ÷ the first",
            extent.growth
        ),
        "",
        vec![ratio(last, first)],
        flat,
    );
    report.plots.push(Plot {
        title: "CPU of a payment on a fresh database, autovacuum off".to_owned(),
        across: "payments",
        up: "µs",
        lines: vec![
            ("gateway and Postgres".to_owned(), both),
            ("Postgres".to_owned(), postgres),
        ],
    });
    subject.meter.autovacuum(true).await?;
    stack.discard_newest().await;
    Ok(())
}

/// An Alipay that takes its time must cost neither throughput nor memory.
async fn slow_alipay(bed: &Bed, stack: &mut Stack, report: &mut Report) -> anyhow::Result<()> {
    const IN_FLIGHT: u32 = 400;
    const DELAY_MS: u32 = 200;
    progress(
        "400 payments in flight at an Alipay that takes 200 ms, over 8 connections to Postgres",
    );
    let subject = bed
        .gateway(stack, "slow", &[("DATABASE_MAX_CONNECTIONS", "8")])
        .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kib = |subject: &Subject| anyhow::Ok(subject.resident_kib()? * 100 / 1_024);
    report.add(
        "memory idle",
        "MiB",
        vec![kib(&subject)?],
        Some(Target::AtMost(2_400)),
    );
    subject.tills.closed_loop(800, IN_FLIGHT).await?;
    set_delay(bed, DELAY_MS).await?;
    let run = subject.tills.closed_loop(4_000, IN_FLIGHT);
    let middle = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        kib(&subject)
    };
    let (run, middle) = tokio::join!(run, middle);
    set_delay(bed, 0).await?;
    let ideal = u64::from(IN_FLIGHT) * 1_000 / u64::from(DELAY_MS);
    report.add(
        "memory with 400 in flight",
        "MiB",
        vec![middle?],
        Some(Target::AtMost(6_400)),
    );
    report.add(
        "payments/s with 400 in flight at a slow Alipay ÷ ideal",
        "",
        vec![hundredths(run?.per_second()) / ideal],
        Some(Target::AtLeast(90)),
    );
    stack.discard_newest().await;
    Ok(())
}

async fn set_delay(bed: &Bed, milliseconds: u32) -> anyhow::Result<()> {
    let url = format!("{}/delay/{milliseconds}", bed.stub_url);
    let client = reqwest::Client::builder().no_proxy().build()?;
    client.post(url).send().await?.error_for_status()?;
    Ok(())
}

/// From the start of the program until it is ready.
async fn starts(
    bed: &Bed,
    stack: &mut Stack,
    extent: Extent,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress("starts");
    let mut took = vec![];
    for _ in 0..extent.starts {
        let subject = bed.gateway(stack, "slow", &[]).await?;
        took.push(hundredths_of_ms(subject.ready_after));
        stack.discard_newest().await;
    }
    report.add("start to ready", "ms", took, Some(Target::AtMost(30_000)));
    Ok(())
}

/// What a killed gateway leaves behind is known soon after the next start.
async fn killed(bed: &Bed, stack: &mut Stack, report: &mut Report) -> anyhow::Result<()> {
    const IN_FLIGHT: usize = 1_000;
    progress("1,000 payments in flight, and the program is killed");
    // More at once than one merchant may have by default.
    let roomy = [("MAX_WORK", "4000"), ("MAX_WORK_PER_MERCHANT", "4000")];
    let subject = bed.gateway(stack, "killed", &roomy).await?;
    subject.tills.closed_loop(200, 16).await?;
    set_delay(bed, 30_000).await?;
    let mut tills = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let till = std::sync::Arc::clone(&subject.tills);
        tills.spawn(async move { till.pay().await });
    }
    let mut subject = subject;
    let mut waited = 0;
    loop {
        let count = subject.meter.open_payments().await?;
        if count >= i64::try_from(IN_FLIGHT)? {
            break;
        }
        waited += 1;
        ensure!(waited < 400, "only {count} payments are in flight");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    subject.signal("KILL").await?;
    tills.shutdown().await;
    stack.discard_newest().await;
    set_delay(bed, 0).await?;
    let begun = Instant::now();
    let mut subject = bed.gateway(stack, "killed", &[]).await?;
    loop {
        let count = subject.meter.open_payments().await?;
        if count == 0 {
            break;
        }
        ensure!(
            begun.elapsed() < Duration::from_mins(5),
            "{count} payments are open still after {} s",
            begun.elapsed().as_secs()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    report.add(
        "1,000 in flight after kill -9, until all are known",
        "s",
        vec![hundredths_of_ms(begun.elapsed()) / 1_000],
        Some(Target::AtMost(6_000)),
    );
    say(&format!(
        "  all known after {} s",
        number(hundredths_of_ms(begun.elapsed()) / 1_000)
    ));
    stack.discard_newest().await;
    Ok(())
}
