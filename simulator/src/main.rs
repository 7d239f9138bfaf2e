//! `alipay-simulator`: a stateful, byte-faithful imitation of Alipay's side of the AlipayHK barcode
//! payment protocol.
//!
//! It shares no code with the gateway, on purpose: it is the independent oracle against which the
//! gateway is tested. It verifies each request as strictly as the documents allow, keeps its own
//! ledger on its own clock, and answers in the captured shapes. The last four digits of a scanned code
//! choose a scenario, of the payment ([`scenario`]) or of its refunds ([`refund_scenario`]); the control
//! API ([`control`]) scripts faults, moves the clock and shows what really happened.

mod answer;
mod book;
mod charset;
mod cli;
mod clock;
mod control;
mod fault;
mod files;
mod line;
mod merchants;
mod notification;
mod params;
mod refund_scenario;
mod request;
mod scenario;
mod server;
mod signing;
mod state;
mod xml;

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Parser as _;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::EnvFilter;

use crate::{
    cli::{Cli, Command, Serve},
    files::publish,
    line::{Line, LineListener},
    notification::courier,
};

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(arguments) => serve(&arguments),
        Command::Scenarios => scenario::print(&mut io::stdout().lock()).context("cannot print"),
        Command::Healthcheck { url } => cli::healthcheck(&url),
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
    let simulator = Arc::new(arguments.simulator()?);
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    let app = server::routes()
        .merge(control::routes())
        .with_state(Arc::clone(&simulator));
    let app = app.into_make_service_with_connect_info::<Line>();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let parent = arguments.exit_with_parent.then(parent_gone);
    announce(&format!("alipay-simulator listening on http://{address}"))?;
    // Held and slow answers would keep a graceful shutdown waiting, and nothing here needs saving.
    tokio::select! {
        served = axum::serve(LineListener(listener), app) => served.context("cannot serve"),
        () = courier::keep_delivering(Arc::clone(&simulator)) => Ok(()),
        () = publish::keep_publishing(simulator) => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
        Some(_) = async { Some(parent?.await) } => Ok(()),
    }
}

/// The only line on stdout: tests and scripts read the address from it.
fn announce(line: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")
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
