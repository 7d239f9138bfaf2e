//! A stateful, byte-faithful imitation of Alipay's side of the AlipayHK barcode payment protocol: the
//! program `alipay-simulator`, and the library by which a test starts one in its own process.
//!
//! It shares no code with the gateway, on purpose: it is the independent oracle against which the
//! gateway is tested. It verifies each request as strictly as the documents allow, keeps its own
//! ledger on its own clock, and answers in the captured shapes. The last four digits of a scanned code
//! choose a scenario, of the payment (`scenario`) or of its refunds (`refund_scenario`); the control
//! API (`control`) scripts faults, moves the clock and shows what really happened.

mod answer;
mod book;
mod charset;
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
mod settings;
mod signing;
mod state;
mod xml;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::{
    files::publish,
    line::{Line, LineListener},
    notification::courier,
    state::Simulator,
};

pub use crate::{
    settings::{ClockKind, Settings},
    signing::SignType,
};

/// A simulator with an address of its own; answers once it runs.
pub struct Server {
    simulator: Arc<Simulator>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Reads the keys, begins an empty ledger and takes the address.
    pub async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let simulator = Arc::new(settings.simulator()?);
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("cannot listen on {}", settings.listen))?;
        let address = listener
            .local_addr()
            .context("the listener has no address")?;
        Ok(Self {
            simulator,
            listener,
            address,
        })
    }

    /// Where it listens; with the real port where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers, notifies and lays out daily files until it is dropped; held and slow answers end with it.
    pub async fn run(self) -> anyhow::Result<()> {
        let app = server::routes()
            .merge(control::routes())
            .with_state(Arc::clone(&self.simulator));
        let app = app.into_make_service_with_connect_info::<Line>();
        tokio::select! {
            served = axum::serve(LineListener(self.listener), app) => served.context("cannot serve"),
            () = courier::keep_delivering(Arc::clone(&self.simulator)) => Ok(()),
            () = publish::keep_publishing(self.simulator) => Ok(()),
        }
    }
}

/// The tables of scenarios in Markdown: of payments, then of refunds.
pub fn scenarios() -> String {
    let mut tables = String::new();
    scenario::print(&mut tables).expect("a string takes every text");
    tables
}
