//! Callers with an access token of the configured issuer: who they are here.
//!
//! A subject is recorded with its first token and has an id from then on, like an API key: what it does
//! is limited, audited and revoked by that id. What it may do is in each token.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::app::{App, error::Error};
use crate::{
    domain::access::{
        principal::Identity,
        token::{Recorded, TokenFault},
    },
    oidc::{
        Issuer,
        keys::{KeySet, Presented},
        source::SourceFault,
    },
};

/// How often the issuer's keys are read.
const REFRESH_EVERY: Duration = Duration::from_mins(5);
/// How soon again where they could not be.
const REFRESH_AGAIN: Duration = Duration::from_secs(30);

impl App {
    /// Whether access tokens can be judged: the issuer's keys are known, or there is no issuer. A
    /// replica is ready without: its API keys work.
    pub fn knows_issuer_keys(&self) -> bool {
        let keys = self.issuer.as_ref().map(Issuer::keys);
        keys.is_none_or(|keys| !keys.is_empty())
    }

    /// Finds who presented an access token.
    pub(in crate::app) async fn authenticate_token(
        &self,
        issuer: &Issuer,
        token: &str,
    ) -> Result<Identity, Error> {
        let presented = Presented::read(token).map_err(refused)?;
        let mut keys = issuer.keys();
        if keys.may_be_old(&presented) {
            keys = self.refresh_keys_beyond(issuer, keys).await?;
        }
        if keys.is_empty() {
            return Err(Error::IssuerSilent);
        }
        let bearer = issuer.judge(&keys, &presented).map_err(refused)?;
        match self.find_subject(&bearer).await? {
            Recorded::Known(identity) => Ok(Identity {
                scopes: bearer.scopes,
                ..identity
            }),
            Recorded::Revoked => Err(refused(TokenFault::Revoked)),
            Recorded::NoMerchant => Err(refused(TokenFault::Merchant)),
        }
    }

    /// The issuer's keys, asked for anew if that may be. Detached: a caller who hangs up takes the new
    /// keys from nobody.
    async fn refresh_keys_beyond(
        &self,
        issuer: &Issuer,
        known: Arc<KeySet>,
    ) -> Result<Arc<KeySet>, Error> {
        let asking = issuer.clone();
        let asked = self.detached(async move {
            if let Some(outcome) = asking.refresh_beyond(&known).await {
                note(&outcome);
            }
            Ok(())
        });
        asked.await?;
        Ok(issuer.keys())
    }

    /// Reads the issuer's keys now. What cannot be read is logged and changes nothing: an issuer that is
    /// down keeps no replica from starting, and takes no caller away.
    pub async fn refresh_issuer_keys(&self) {
        if let Some(issuer) = &self.issuer {
            note(&issuer.refresh().await);
        }
    }

    /// Reads the issuer's keys every few minutes, until the program is told to stop.
    pub async fn keep_issuer_keys(self, stop: CancellationToken) {
        let Some(issuer) = self.issuer.clone() else {
            return;
        };
        let mut pause = self.pause();
        while stop
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_some()
        {
            let outcome = issuer.refresh().await;
            note(&outcome);
            pause = if outcome.is_ok() {
                REFRESH_EVERY
            } else {
                REFRESH_AGAIN
            };
        }
    }

    /// How long until the issuer's keys are read again, after the start.
    fn pause(&self) -> Duration {
        if self.knows_issuer_keys() {
            REFRESH_EVERY
        } else {
            REFRESH_AGAIN
        }
    }
}

fn refused(fault: TokenFault) -> Error {
    metrics::counter!("access_tokens_refused_total", "reason" => fault.as_str()).increment(1);
    Error::InvalidToken(fault)
}

fn note(outcome: &Result<usize, SourceFault>) {
    let name = match outcome {
        Ok(keys) => {
            tracing::debug!(keys, "the token issuer's keys were read");
            "replaced"
        }
        Err(error) => {
            tracing::warn!(
                error = %error,
                "the token issuer's keys could not be read: those that are known stay"
            );
            "failed"
        }
    };
    metrics::counter!("oidc_jwks_refreshes_total", "outcome" => name).increment(1);
}

/// Describes the metrics of this module.
pub(in crate::app) fn describe_metrics() {
    metrics::describe_counter!(
        "access_tokens_refused_total",
        "Access tokens that were refused, by what is wrong with them"
    );
    metrics::describe_counter!(
        "oidc_jwks_refreshes_total",
        "How often the token issuer's keys were read, by what came of it: replaced or failed"
    );
}
