//! `up`: everything a payment needs, until Ctrl-C.

use std::fs::{self, File, TryLockError};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use secrecy::ExposeSecret as _;

use super::children::Stack;
use super::gateway::{self, Gateway};
use super::postgres::{self, Kind};
use super::{Place, StopSignals, greeting, say};

const DATABASE: &str = "alipayhk_gateway";

/// Options of `up`.
#[derive(Debug, clap::Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    place: Place,
    /// Address of the gateway; where its port is taken, a free one is used
    #[arg(long, env = "HTTP_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// Starts everything, says how to use it, and stops everything on a signal or when a part of it fails.
pub(super) async fn up(options: UpArgs) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen()?;
    let _only_one = lock(&options.place.state_dir)?;
    let mut stack = Stack::default();
    let run = async {
        start(&options, &mut stack).await?;
        Err(stack.first_exit().await)
    };
    let outcome = tokio::select! {
        failed = run => failed,
        () = signals.any() => Ok(()),
    };
    say("\nstopping ...");
    stack.stop().await;
    say(if outcome.is_ok() {
        "stopped; the data is kept, `./dev up` continues with it"
    } else {
        "stopped"
    });
    outcome
}

async fn start(options: &UpArgs, stack: &mut Stack) -> anyhow::Result<()> {
    let state_dir = std::path::absolute(&options.place.state_dir)?;

    let step = Step::begin("keys");
    let keys = state_dir.join("keys");
    gateway::generate_keys(&keys).await?;
    step.done(&format!("throw-away keys in {}", keys.display()));

    let step = Step::begin("Postgres");
    let (owner_url, database_url) = if let Some(url) = &options.place.database_url {
        postgres::check(url.expose_secret()).await?;
        step.done("as DATABASE_URL says");
        (None, url.clone())
    } else {
        let bin = options.place.postgres_bin.as_deref();
        let url = postgres::start(stack, Kind::Lasting, &state_dir, bin, DATABASE).await?;
        let service_url = postgres::service_role(&url).await?;
        step.done(&format!("private, on {}", address_of(&url)));
        (Some(url.into()), service_url.into())
    };

    let step = Step::begin("simulator");
    let simulator_url = gateway::start_simulator(stack, &keys, &state_dir).await?;
    step.done(&simulator_url);

    let listen = free_address(options.listen)?;
    let gateway = Gateway {
        listen,
        owner_url,
        database_url,
        simulator_url,
        keys,
        state_dir,
        settings: vec![],
    };
    let step = Step::begin("migrations");
    gateway.migrate().await?;
    step.done("applied");

    let step = Step::begin("gateway");
    gateway.serve(stack).await?;
    step.done(&format!("http://{listen}"));

    let api_key = gateway.api_key().await?;
    let operator_key = gateway.operator_key().await?;
    say(&greeting::greeting(&gateway, &api_key, &operator_key));
    Ok(())
}

/// One line of progress: what took how long.
struct Step {
    name: &'static str,
    begun: Instant,
}

impl Step {
    fn begin(name: &'static str) -> Self {
        Self {
            name,
            begun: Instant::now(),
        }
    }

    fn done(&self, what: &str) {
        let took = self.begun.elapsed().as_millis();
        say(&format!("  {:<11} {what} ({took} ms)", self.name));
    }
}

/// Two starts at once would fight over the cluster and the logs. The lock goes with the process, however it ends.
fn lock(state_dir: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(state_dir)
        .with_context(|| format!("cannot make {}", state_dir.display()))?;
    let path = state_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another `./dev up` of this repository is running"),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock the state directory"),
    }
}

/// The wished address, or the same host with a free port where the port is taken.
fn free_address(wished: SocketAddr) -> anyhow::Result<SocketAddr> {
    if TcpListener::bind(wished).is_ok() {
        return Ok(wished);
    }
    let free = TcpListener::bind((wished.ip(), 0))
        .with_context(|| format!("cannot listen on {}", wished.ip()))?
        .local_addr()?;
    say(&format!(
        "  (port {} is taken: the gateway uses {})",
        wished.port(),
        free.port()
    ));
    Ok(free)
}

/// Host and port of a database URL, without its password.
fn address_of(url: &str) -> &str {
    let after_user = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
    after_user
        .split_once('/')
        .map_or(after_user, |(address, _)| address)
}
