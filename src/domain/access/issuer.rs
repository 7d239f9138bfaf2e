//! The issuer of access tokens.

use std::path::PathBuf;

use url::Url;

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// At this address.
    Url(Url),
    /// In this file, which is read again like an address.
    File(PathBuf),
    /// Where the issuer says in `/.well-known/openid-configuration` (OpenID Connect Discovery 4).
    Discovery,
}
