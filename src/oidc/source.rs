//! Where an issuer's keys are read from, within bounds of size and time.

use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode, redirect};
use serde::Deserialize;
use url::Url;

use super::keys::{KeySet, KeysFault};
use crate::{config::is_https_or_loopback, domain::access::issuer::KeySource};

/// No set of keys, and no description of an issuer, is larger, in bytes.
const MAX_BODY: usize = 256 * 1024;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one answer may take in all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why the client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("no connection to an issuer can be set up")]
pub struct SetupFault(#[source] reqwest::Error);

/// Why there are no new keys. None of it is told to callers.
#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    /// No whole answer came.
    #[error("no whole answer came from {0}: {1}")]
    NoAnswer(Url, String),
    /// It answered something else.
    #[error("HTTP status {1} came from {0}")]
    Status(Url, u16),
    /// It answered too much.
    #[error("the answer is larger than 256 KiB")]
    TooLarge,
    /// The file could not be read.
    #[error("the file cannot be read: {0}")]
    File(std::io::Error),
    /// The keys are none.
    #[error(transparent)]
    Keys(#[from] KeysFault),
    /// The issuer's description is none, or another issuer's.
    #[error("the description of the issuer is not its own: {0}")]
    Description(&'static str),
}

/// Reads keys.
#[derive(Debug)]
pub(super) struct Source {
    client: Client,
    issuer: String,
    keys: KeySource,
}

/// What is read of an issuer's description.
#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    pub(super) fn new(
        issuer: String,
        keys: KeySource,
        extra_root_certificates: &[Vec<u8>],
    ) -> Result<Self, SetupFault> {
        // One crypto provider for the whole program. An error means that one is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let extra = extra_root_certificates
            .iter()
            .map(|pem| Certificate::from_pem(pem))
            .collect::<Result<Vec<_>, _>>()
            .map_err(SetupFault)?;
        let builder = Client::builder()
            // Where the keys are is not for an answer to say.
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // Asked every few minutes: a kept connection would be dead by then.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("alipayhk-gateway/", env!("CARGO_PKG_VERSION")));
        let plain = match &keys {
            KeySource::Url(url) => url.scheme() == "http",
            KeySource::Discovery => issuer.starts_with("http://"),
            KeySource::File(_) => true,
        };
        // Without TLS no roots are needed, and a machine may have none.
        let builder = match (plain, extra.is_empty()) {
            (true, _) => builder.tls_certs_only(extra),
            (false, true) => builder,
            (false, false) => builder.tls_certs_merge(extra),
        };
        Ok(Self {
            client: builder.build().map_err(SetupFault)?,
            issuer,
            keys,
        })
    }

    /// Reads the keys anew.
    pub(super) async fn read(&self) -> Result<KeySet, SourceFault> {
        let document = match &self.keys {
            KeySource::Url(url) => self.get(url).await?,
            KeySource::File(path) => tokio::fs::read(path).await.map_err(SourceFault::File)?,
            KeySource::Discovery => self.get(&self.discover().await?).await?,
        };
        Ok(KeySet::read(&document)?)
    }

    /// Where the issuer says that its keys are.
    async fn discover(&self) -> Result<Url, SourceFault> {
        let issuer = self.issuer.trim_end_matches('/');
        let address = format!("{issuer}/.well-known/openid-configuration");
        let address: Url = address
            .parse()
            .map_err(|_| SourceFault::Description("the issuer is no URL"))?;
        let document = self.get(&address).await?;
        let description: Description = serde_json::from_slice(&document)
            .map_err(|_| SourceFault::Description("it has no issuer and jwks_uri"))?;
        if description.issuer != self.issuer {
            return Err(SourceFault::Description("it names another issuer"));
        }
        let jwks_uri: Url = description
            .jwks_uri
            .parse()
            .map_err(|_| SourceFault::Description("its jwks_uri is no URL"))?;
        if !is_https_or_loopback(&jwks_uri) {
            return Err(SourceFault::Description("its jwks_uri is not https"));
        }
        Ok(jwks_uri)
    }

    async fn get(&self, url: &Url) -> Result<Vec<u8>, SourceFault> {
        let no_answer = |error: reqwest::Error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            SourceFault::NoAnswer(url.clone(), cause.to_string())
        };
        let mut response = self
            .client
            .get(url.clone())
            .send()
            .await
            .map_err(no_answer)?;
        if response.status() != StatusCode::OK {
            let status = response.status().as_u16();
            return Err(SourceFault::Status(url.clone(), status));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if bytes.len() + chunk.len() > MAX_BODY {
                return Err(SourceFault::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
