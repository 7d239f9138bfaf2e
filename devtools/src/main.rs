//! The developer's tools: `devtools`, which `./dev` builds and starts.
//!
//! The contract: one command brings up everything a payment needs (a private Postgres, throw-away keys, the simulator, the
//! gateway) and takes it down again, whichever way it ends, leaving no process behind. The gateway runs here exactly as in production:
//! as a program of its own that reads its environment. So nothing of its library is used, whatever works here works by
//! the documented command line, and these tools build when the gateway does not.
//!
//! State lies in `.dev` of the repository (keys, logs, the simulator's daily files, the database), except that the data of a
//! Postgres started by root is below `/var/tmp`, closed to others.
//!
//! | file | what |
//! |---|---|
//! | `guard.rs` | a process that ends a program when its parent is gone |
//! | `children.rs` | the programs started, and the waiting for them |
//! | `postgres.rs` | the private Postgres |
//! | `machine.rs` | its user, its version, its port |
//! | `up.rs` | `up`: everything, until Ctrl-C |
//! | `gateway.rs` | the command line and the environment of the gateway and the simulator |
//! | `greeting.rs` | what `up` prints to try |
//! | `bench/` | `bench`: what a payment costs, beside what a user would build instead |
//! | `with_postgres.rs` | `postgres`: a command with a database |
//! | `mutants/` | `mutants`: is the proof any good? |

mod bench;
mod children;
mod gateway;
mod greeting;
mod guard;
mod machine;
mod mutants;
mod postgres;
mod up;
mod with_postgres;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use secrecy::SecretString;
use tokio::signal::unix::{Signal, SignalKind, signal};

use bench::BenchArgs;
use bench::stub::{self, StubArgs};
use guard::GuardArgs;
use mutants::MutantsArgs;
use up::UpArgs;
use with_postgres::PostgresArgs;

/// The developer's tools; `./dev` builds and starts them.
#[derive(Debug, clap::Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Start Postgres, the simulator and the gateway; stop them on Ctrl-C
    Up(UpArgs),
    /// Measure what a payment costs, beside the peers of `benches/peers`
    Bench(BenchArgs),
    /// Run a command with `DATABASE_URL` of a private, throw-away Postgres
    Postgres(PostgresArgs),
    /// Put the faults of `tests/mutants` into a copy of the tree, one by one: does the proof catch them?
    Mutants(MutantsArgs),
    /// Alipay for a benchmark: pays everything and costs next to nothing
    #[command(hide = true)]
    AlipayStub(StubArgs),
    /// Run a program until standard input is closed
    #[command(hide = true)]
    Guard(GuardArgs),
}

/// Where everything is; common to the subcommands.
#[derive(Debug, Clone, clap::Args)]
struct Place {
    /// Directory for keys, logs and the database
    #[arg(long, default_value = ".dev")]
    state_dir: PathBuf,
    /// Directory with `initdb` and `postgres`; `./dev` finds it
    #[arg(long, env = "DEV_POSTGRES_BIN")]
    postgres_bin: Option<PathBuf>,
    /// Postgres to use instead of a private one (for tests: a role that may create databases and roles)
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<SecretString>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // With stderr gone too, there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code is 0, or that of the command which `postgres` or `guard` ran.
#[tokio::main]
async fn run(command: Command) -> anyhow::Result<ExitCode> {
    // The clients want a provider although they never speak TLS. An error means that there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match command {
        Command::Up(options) => up::up(options).await.map(|()| ExitCode::SUCCESS),
        Command::Bench(options) => bench::bench(options).await.map(|()| ExitCode::SUCCESS),
        Command::AlipayStub(options) => stub::serve(options).await.map(|()| ExitCode::SUCCESS),
        Command::Postgres(options) => with_postgres::with_postgres(options).await,
        Command::Mutants(options) => mutants::mutants(options).await,
        Command::Guard(options) => guard::guard(options).await,
    }
}

/// The signals that end these tools in order. From its making on, none of them ends the process by itself.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Prints a line for the person. A reader that went away must not keep us from stopping in order.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
