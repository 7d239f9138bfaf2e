//! `alipay-simulator`: the command line.

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use alipay_simulator::{Server, Settings};
use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::EnvFilter;

/// A stateful imitation of Alipay's barcode payment gateway, for tests and demonstrations.
#[derive(Parser)]
#[command(name = "alipay-simulator", version)]
struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Subcommand)]
enum Command {
    /// Run the simulator. The first line on stdout says where it listens.
    Serve(Serve),
    /// Print the scenario table in Markdown.
    Scenarios,
    /// Exit with 0 if a running simulator answers, for a container's health check.
    Healthcheck {
        /// Base URL, for example `http://127.0.0.1:8090`.
        #[arg(long, env = "SIMULATOR_URL", default_value = "http://127.0.0.1:8090")]
        url: String,
    },
}

/// How the program is run.
#[derive(Args)]
struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Stop when stdin reaches its end.
    #[arg(long)]
    exit_with_parent: bool,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(arguments) => serve(&arguments),
        Command::Scenarios => print(&alipay_simulator::scenarios()),
        Command::Healthcheck { url } => healthcheck(&url),
    }
}

#[tokio::main]
async fn serve(arguments: &Serve) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let server = Server::bind(&arguments.settings).await?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let parent = arguments.exit_with_parent.then(parent_gone);
    // The only line on stdout: scripts read the address from it.
    print(&format!(
        "alipay-simulator listening on http://{}\n",
        server.address()
    ))?;
    // Held and slow answers would keep a graceful shutdown waiting, and nothing here needs saving.
    tokio::select! {
        ended = server.run() => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
        Some(_) = async { Some(parent?.await) } => Ok(()),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")
}

/// Resolves when stdin reaches its end, which it does when the parent is gone. A thread of its own
/// reads: tokio's stdin would keep the runtime from ending.
fn parent_gone() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while matches!(io::stdin().read(&mut buffer), Ok(1..)) {}
        // The receiver is gone only when the program is ending anyway.
        let _ = sender.send(());
    });
    receiver
}

/// Asks a running simulator whether it is well.
fn healthcheck(url: &str) -> anyhow::Result<()> {
    let host = url
        .strip_prefix("http://")
        .context("the URL must begin with http://")?;
    let host = host.split('/').next().unwrap_or_default();
    let patience = Some(Duration::from_secs(3));
    let mut stream = TcpStream::connect(host).with_context(|| format!("cannot reach {host}"))?;
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    write!(
        stream,
        "GET /_control/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        bail!("unhealthy: {}", answer.lines().next().unwrap_or_default());
    }
    Ok(())
}
