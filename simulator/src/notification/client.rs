//! The connections by which notifications leave.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use reqwest::{Client, redirect};

/// How long the merchant may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A client that goes to loopback addresses, and follows nobody elsewhere.
pub(crate) fn client() -> anyhow::Result<Client> {
    // The client wants a provider although it never speaks TLS. An error means that there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .timeout(PATIENCE)
        .tls_certs_only([])
        // Whatever the machine's resolver says.
        .resolve("localhost", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        // Alipay's connections do not stay either; a stale one would look like a deaf merchant.
        .pool_max_idle_per_host(0)
        .user_agent("alipay-simulator")
        .build()
        .context("cannot build the client that sends notifications")
}
