//! The developer's set-up: `alipayhk-gateway dev`, which `./dev` builds and starts.
//!
//! The contract: one command brings up everything a payment needs (a private Postgres, throw-away keys, the simulator, this
//! gateway) and takes it down again, whichever way it ends, leaving no process behind. The gateway runs here exactly as in production:
//! as a program of its own that reads its environment. So nothing of the library is used but [`crate::keys`], and
//! whatever works here works by the documented command line.
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
//! | `up.rs` | `dev up`: everything, until Ctrl-C |
//! | `gateway.rs` | the command line and the environment of the gateway and the simulator |
//! | `greeting.rs` | what `dev up` prints to try |
//! | `bench.rs` | `dev bench`: a load loop against a running `dev up` |
//! | `process.rs` | what the machine tells of the gateway's process |
//! | `with_postgres.rs` | `dev postgres`: a command with a database |

mod bench;
mod children;
mod gateway;
mod greeting;
mod guard;
mod machine;
mod postgres;
mod process;
mod up;
mod with_postgres;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use secrecy::SecretString;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use bench::BenchArgs;
pub use guard::GuardArgs;
pub use up::UpArgs;
pub use with_postgres::PostgresArgs;

/// `alipayhk-gateway dev ...`; without a subcommand: `up`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevArgs {
    #[command(subcommand)]
    command: Option<DevCommand>,
    #[command(flatten)]
    up: UpArgs,
}

#[derive(Debug, clap::Subcommand)]
enum DevCommand {
    /// Start Postgres, the simulator and the gateway; stop them on Ctrl-C
    Up(UpArgs),
    /// Make payments against the running `dev up` and print throughput, latency and memory
    Bench(BenchArgs),
    /// Run a command with `DATABASE_URL` of a private, throw-away Postgres
    Postgres(PostgresArgs),
    /// Run a program until standard input is closed
    #[command(hide = true)]
    Guard(GuardArgs),
}

/// Where everything is; common to the subcommands.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Directory for keys, logs and the database
    #[arg(long, default_value = ".dev")]
    pub state_dir: PathBuf,
    /// Directory with `initdb` and `postgres`; `./dev` finds it
    #[arg(long, env = "DEV_POSTGRES_BIN")]
    pub postgres_bin: Option<PathBuf>,
    /// Postgres to use instead of a private one (for tests: a role that may create databases and roles)
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,
}

/// Runs the command; the exit code is 0, or that of the command which `dev postgres` ran.
pub async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    match args.command.unwrap_or(DevCommand::Up(args.up)) {
        DevCommand::Up(options) => up::up(options).await.map(|()| ExitCode::SUCCESS),
        DevCommand::Bench(options) => bench::bench(options).await.map(|()| ExitCode::SUCCESS),
        DevCommand::Postgres(options) => with_postgres::with_postgres(options).await,
        DevCommand::Guard(options) => guard::guard(options).await,
    }
}

/// The signals that end `dev` in order. From its making on, none of them ends the process by itself.
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
