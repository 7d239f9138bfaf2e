//! The command line: what to run, and the order in which it starts and ends.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    process::ExitCode,
    time::Duration,
};

use alipayhk_gateway::{
    commands::{
        self, Report, api_key::ApiKeyCommand, audit::AuditCommand, database::DatabaseCommand,
        keys::CheckArgs, reconcile::ReconcileArgs,
    },
    config::{self, Config, MigrateConfig, process_environment, variables},
    http::openapi,
    keys::{self, KeysCommand},
    shutdown::Shutdown,
    startup::{self, Gateway, Roles},
    telemetry::{self, LogTo, Telemetry},
};
use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use url::Url;

/// How long a health check waits for an answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// A gateway for AlipayHK in-store barcode payments.
#[derive(Debug, Parser)]
#[command(version, after_long_help = variables::help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests, and follow up payments whose outcome is open
    #[command(after_long_help = variables::help())]
    Serve {
        /// Leave the following up to processes that run `work`
        #[arg(long)]
        no_workers: bool,
    },
    /// Only follow up payments whose outcome is open
    #[command(after_long_help = variables::help())]
    Work,
    /// Bring the database up to date; make the first merchant and store
    #[command(after_long_help = variables::help())]
    Migrate,
    /// Print the OpenAPI document
    Openapi {
        /// As OpenAPI 3.0.3, for generators that do not read 3.1
        #[arg(long)]
        older: bool,
    },
    /// Manage API keys
    #[command(subcommand)]
    ApiKey(ApiKeyCommand),
    /// Check the audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Check the database
    #[command(subcommand)]
    Database(DatabaseCommand),
    /// Make and check key files
    #[command(subcommand)]
    Keys(KeysSubcommand),
    /// Compare Alipay's daily files with the books, and settle what they prove; ends with 2 where they differ
    Reconcile(ReconcileArgs),
    /// Ask a running gateway whether it is healthy
    Healthcheck(HealthcheckArgs),
}

#[derive(Debug, Subcommand)]
enum KeysSubcommand {
    #[command(flatten)]
    Make(KeysCommand),
    /// Check that the configured keys of every account can work: their form, length, times, who may read
    /// them, and whether what they sign verifies; fails where one cannot
    #[command(after_long_help = variables::help())]
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct HealthcheckArgs {
    /// What to ask; the liveness of the gateway at `HTTP_LISTEN` where it is left out
    #[arg(long)]
    url: Option<Url>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // With stderr gone too, there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve { no_workers: false } => serve(Roles::ApiAndWorkers),
        Command::Serve { no_workers: true } => serve(Roles::Api),
        Command::Work => serve(Roles::Workers),
        Command::Migrate => {
            let config = MigrateConfig::read(process_environment)?;
            with_telemetry(LogTo::Stderr, startup::migrate(&config))
        }
        Command::Openapi { older: false } => print(openapi::document::text()),
        Command::Openapi { older: true } => print(openapi::document::text_3_0()),
        Command::ApiKey(command) => return reporting(commands::api_key::run(command)),
        Command::Audit(command) => return reporting(commands::audit::run(command)),
        Command::Database(command) => return reporting(commands::database::run(command)),
        Command::Reconcile(args) => return reporting(commands::reconcile::run(args)),
        Command::Keys(KeysSubcommand::Make(command)) => keys::run(&command).map_err(Into::into),
        Command::Keys(KeysSubcommand::Check(args)) => {
            return reporting(async move { commands::keys::run(&args).await });
        }
        Command::Healthcheck(args) => healthcheck(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn serve(roles: Roles) -> anyhow::Result<()> {
    let config = Config::read(process_environment)?;
    let recorder = telemetry::install_metrics()?;
    with_telemetry(LogTo::Stdout, async {
        let shutdown = Shutdown::new();
        shutdown.on_signals().context("cannot listen for signals")?;
        let gateway = Gateway::build(&config, roles, recorder, &shutdown).await?;
        gateway.run_until(&shutdown).await;
        Ok(())
    })
}

/// Runs a command that reports to the person at the terminal.
fn reporting(command: impl Future<Output = anyhow::Result<Report>>) -> anyhow::Result<ExitCode> {
    let report = with_telemetry(LogTo::Stderr, command)?;
    print(&report.text)?;
    Ok(ExitCode::from(report.status))
}

/// Runs a command between setting telemetry up and flushing it: it is made before the runtime and
/// outlives it, so that the last events of every task are kept.
fn with_telemetry<T>(
    to: LogTo,
    command: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let settings = config::Telemetry::from_lookup(process_environment)?;
    telemetry::install_crypto_provider();
    let telemetry = Telemetry::init(&settings, to)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(command);
    // What the hard stop cut is not waited for again.
    runtime.shutdown_timeout(Duration::from_secs(1));
    telemetry.shutdown();
    result
}

/// A reader that closed the pipe has read enough.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// For containers, whose images have no other HTTP client.
fn healthcheck(args: HealthcheckArgs) -> anyhow::Result<()> {
    let url = match args.url {
        Some(url) => url,
        None => default_health_url()?,
    };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        bail!("{url} has no host");
    };
    if url.scheme() != "http" {
        bail!("only http is spoken: {url}");
    }
    let address = (host.trim_matches(['[', ']']), port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve {host}"))?
        .next()
        .with_context(|| format!("{host} has no address"))?;
    let status = ask(address, &url).with_context(|| format!("no answer from {url}"))?;
    if status.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        bail!("{url} answered: {status}")
    }
}

fn default_health_url() -> anyhow::Result<Url> {
    let listen = process_environment("HTTP_LISTEN").unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let local = listen
        .replace("0.0.0.0", "127.0.0.1")
        .replace("[::]", "[::1]");
    Url::parse(&format!("http://{local}/health/live"))
        .with_context(|| format!("HTTP_LISTEN is no address: {listen}"))
}

/// The status line of one request.
fn ask(address: std::net::SocketAddr, url: &Url) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    stream.set_write_timeout(Some(HEALTH_TIMEOUT))?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        url.path(),
        url.authority(),
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
