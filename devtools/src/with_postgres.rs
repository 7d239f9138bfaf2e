//! `postgres -- COMMAND`: a command with a database at its side.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use sqlx::migrate::{MigrateDatabase as _, Migrator};
use sqlx::{Connection as _, PgConnection, Postgres};
use tokio::process::{Child, Command};

use super::children::Stack;
use super::postgres::{self, Kind};
use super::{Place, StopSignals, guard};

/// What to run, and with which database.
#[derive(Debug, clap::Args)]
pub(super) struct PostgresArgs {
    #[command(flatten)]
    place: Place,
    /// Give the command a database of its own with the migrations of this directory applied
    #[arg(long, value_name = "DIR")]
    migrated: Option<PathBuf>,
    /// Apply the migrations of this directory to the private server's template, so that every database the command
    /// makes begins with them: a copy takes a third of the time. Does nothing to a server of --database-url
    #[arg(long, value_name = "DIR", conflicts_with = "migrated")]
    template: Option<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command with `DATABASE_URL` set; the exit code is the command's.
pub(super) async fn with_postgres(options: PostgresArgs) -> anyhow::Result<ExitCode> {
    let mut signals = StopSignals::listen()?;
    let mut stack = Stack::default();
    let outcome = run(&options, &mut signals, &mut stack).await;
    stack.stop().await;
    outcome
}

async fn run(
    options: &PostgresArgs,
    signals: &mut StopSignals,
    stack: &mut Stack,
) -> anyhow::Result<ExitCode> {
    let place = &options.place;
    let server = if let Some(url) = &place.database_url {
        url.expose_secret().to_owned()
    } else {
        let bin = place.postgres_bin.as_deref();
        let url = tokio::select! {
            url = postgres::start(stack, Kind::ThrowAway, &place.state_dir, bin, "postgres") => url?,
            () = signals.any() => return Ok(ExitCode::FAILURE),
        };
        if let Some(migrations) = &options.template {
            migrate(&at(&url, "template1")?, migrations).await?;
        }
        url
    };
    let Some(migrations) = &options.migrated else {
        return run_command(&options.command, &server, signals).await;
    };
    let own = own_database(&server)?;
    Postgres::create_database(&own).await?;
    let outcome = match migrate(&own, migrations).await {
        Ok(()) => run_command(&options.command, &own, signals).await,
        Err(error) => Err(error),
    };
    Postgres::drop_database(&own).await?;
    outcome
}

/// The URL of a database that nobody else uses on the same server.
fn own_database(server: &str) -> anyhow::Result<String> {
    let name = format!("dev_{}_{:08x}", std::process::id(), rand::random::<u32>());
    at(server, &name)
}

/// The URL of another database of the same server.
fn at(server: &str, database: &str) -> anyhow::Result<String> {
    let mut url = url::Url::parse(server).context("DATABASE_URL is not a URL")?;
    url.set_path(database);
    Ok(url.into())
}

/// Reads the migrations at run time: those compiled into this program may be older than the ones being written.
async fn migrate(url: &str, migrations: &Path) -> anyhow::Result<()> {
    let migrator = Migrator::new(migrations)
        .await
        .with_context(|| format!("cannot read the migrations in {}", migrations.display()))?;
    let mut connection = PgConnection::connect(url).await?;
    migrator
        .run(&mut connection)
        .await
        .context("a migration failed")?;
    connection.close().await?;
    Ok(())
}

/// Runs the command in the foreground: a Ctrl-C of the terminal reaches it directly, so we wait for it to end; a
/// signal sent to us alone is passed on.
async fn run_command(
    command: &[OsString],
    url: &str,
    signals: &mut StopSignals,
) -> anyhow::Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no command to run")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", url)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.to_string_lossy()))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            () = signals.any() => pass_on(&child).await,
        }
    };
    Ok(ExitCode::from(guard::exit_code(status)))
}

async fn pass_on(child: &Child) {
    if let Some(pid) = child.id() {
        guard::send_signal("TERM", pid).await;
    }
}
