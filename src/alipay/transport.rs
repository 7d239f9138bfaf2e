//! One POST and the bytes that came back. One call is one attempt on the wire: nothing here
//! retries, follows a redirect, or reads a proxy from the environment (`docs/invariants.md` R14).
//!
//! A fault's text is made of fixed words and the innermost error's own, which names a refused
//! connection or a bad certificate; the URL and the body are in none of them.

use std::{error::Error as _, time::Duration};

use chrono::{DateTime, Utc};
use reqwest::{
    Certificate, Client, ClientBuilder, Response, StatusCode,
    header::{CONTENT_TYPE, DATE, HeaderValue},
    redirect,
};
use url::Url;

use super::{
    charset,
    error::{Fault, SetupError},
    parameters::INPUT_CHARSET,
};
use crate::domain::attempt::AnswerClass;

/// No answer is larger (`docs/invariants.md` V2), in bytes.
const MAX_BODY: usize = 256 * 1024;

/// Shorter than what load balancers usually allow, so that an idle connection is dropped by us.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

const FORM: HeaderValue =
    HeaderValue::from_static("application/x-www-form-urlencoded;charset=UTF-8");

/// What came back with HTTP 200.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// The charset of the `Content-Type`, if it names one.
    pub(super) charset: Option<String>,
}

/// The pool of connections to one endpoint.
pub(super) struct Transport {
    client: Client,
    /// The endpoint with `_input_charset` in its query.
    endpoint: Url,
    /// The endpoint's server without a path.
    server: Url,
}

impl Transport {
    pub(super) fn new(
        endpoint: &Url,
        connect_timeout: Duration,
        extra_root_certificates: &[Vec<u8>],
    ) -> Result<Self, SetupError> {
        let is_http = matches!(endpoint.scheme(), "http" | "https") && endpoint.has_host();
        if !is_http {
            return Err(SetupError::Endpoint(endpoint.clone()));
        }
        // One crypto provider for the whole program. An error means that one is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30))
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(256)
            .user_agent(concat!("alipayhk-gateway/", env!("CARGO_PKG_VERSION")));
        let client = trust(builder, endpoint, extra_root_certificates)?
            .build()
            .map_err(SetupError::Http)?;
        let mut server = endpoint.clone();
        server.set_path("/");
        server.set_query(None);
        let mut endpoint = endpoint.clone();
        endpoint
            .query_pairs_mut()
            .append_pair(INPUT_CHARSET.0, INPUT_CHARSET.1);
        Ok(Self {
            client,
            endpoint,
            server,
        })
    }

    /// Sends a form; `deadline` spans everything from here to the last byte of the answer.
    pub(super) async fn post(&self, form: String, deadline: Duration) -> Result<Body, Fault> {
        let mut response = self
            .client
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, FORM)
            .timeout(deadline)
            .body(form)
            .send()
            .await
            .map_err(|error| fault(&error))?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            return Err(Fault {
                is_outage: status.is_server_error(),
                ..Fault::new(
                    AnswerClass::HttpStatus,
                    format!("HTTP status {}", status.as_u16()),
                )
            });
        }
        let bytes = read_bounded(&mut response).await?;
        Ok(Body {
            charset: http_charset(&response),
            bytes,
        })
    }

    /// Makes a connection by asking for the server's root, whatever it answers; returns its clock, where
    /// it tells.
    pub(super) async fn warm_up(&self, deadline: Duration) -> Result<Option<DateTime<Utc>>, Fault> {
        let head = self.client.head(self.server.clone()).timeout(deadline);
        let response = head.send().await.map_err(|error| fault(&error))?;
        let date = response.headers().get(DATE).map(HeaderValue::to_str);
        let date = date.and_then(Result::ok).map(DateTime::parse_from_rfc2822);
        Ok(date.and_then(Result::ok).map(|date| date.to_utc()))
    }
}

/// Trusts the machine's roots and the extra ones. A plain `http` endpoint (the simulator) needs no
/// roots, and must not fail to start on a machine that has none.
fn trust(
    builder: ClientBuilder,
    endpoint: &Url,
    extra_root_certificates: &[Vec<u8>],
) -> Result<ClientBuilder, SetupError> {
    let extra = extra_root_certificates
        .iter()
        .map(|pem| Certificate::from_pem(pem))
        .collect::<Result<Vec<_>, _>>()
        .map_err(SetupError::RootCertificate)?;
    Ok(if endpoint.scheme() == "http" {
        builder.tls_certs_only(extra)
    } else if extra.is_empty() {
        builder
    } else {
        builder.tls_certs_merge(extra)
    })
}

async fn read_bounded(response: &mut Response) -> Result<Vec<u8>, Fault> {
    let too_large = || Fault::malformed("the answer is larger than 256 KiB");
    let announced = response
        .content_length()
        .map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > MAX_BODY {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(announced.max(4096));
    while let Some(chunk) = response.chunk().await.map_err(|error| fault(&error))? {
        if bytes.len() + chunk.len() > MAX_BODY {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn http_charset(response: &Response) -> Option<String> {
    let content_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    charset::of_content_type(content_type).map(str::to_owned)
}

/// Sorts an error by the one question that matters: can anything have been sent?
fn fault(error: &reqwest::Error) -> Fault {
    let (class, what) = if error.is_connect() {
        (AnswerClass::ConnectFailed, "no connection could be made")
    } else if error.is_timeout() {
        return Fault::outage(AnswerClass::TimedOut, "no whole answer before the deadline");
    } else {
        (
            AnswerClass::ConnectionLost,
            "the connection broke before a whole answer came",
        )
    };
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    let detail = match cause {
        Some(cause) => format!("{what}: {cause}"),
        None => what.to_owned(),
    };
    Fault::outage(class, detail)
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
