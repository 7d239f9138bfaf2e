//! What administrators do at a terminal, without a running gateway: most of it needs the database's URL,
//! and whoever has that needs no API key.
//!
//! | module | command |
//! |---|---|
//! | [`api_key`] | `api-key create`, `list`, `revoke`, `rotate` |
//! | [`audit`] | `audit verify` |
//! | [`database`] | `database verify` |
//! | [`reconcile`] | `reconcile` |
//! | [`keys`] | `keys check`; `keys generate` is [`crate::keys`] |

pub mod api_key;
pub mod audit;
pub mod database;
pub mod keys;
pub mod reconcile;

use std::os::unix::fs::MetadataExt as _;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::{config::process_environment, domain::audit::AuditActor};

/// What a command prints, and how the program ends.
#[derive(Clone, Debug)]
pub struct Report {
    /// The whole text, ending with a line break.
    pub text: String,
    /// The exit status: 0 where all is well.
    pub status: u8,
}

impl Report {
    fn good(text: String) -> Self {
        Self { text, status: 0 }
    }

    /// The report of a check: 1 where not all is well.
    fn of_check(text: String, all_is_well: bool) -> Self {
        Self {
            text,
            status: u8::from(!all_is_well),
        }
    }
}

/// How what was checked is told.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

impl VerifyArgs {
    fn report(
        &self,
        all_is_well: bool,
        as_json: impl FnOnce() -> serde_json::Value,
        in_words: impl FnOnce() -> String,
    ) -> Report {
        let text = if self.json {
            json_line(&as_json())
        } else {
            in_words()
        };
        Report::of_check(text, all_is_well)
    }
}

/// RFC 3339 in UTC, to the second.
fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Who sits at the terminal, as far as the system says: the name, or in a container, where there is
/// none, the number of the account.
fn somebody() -> AuditActor {
    let named = ["SUDO_USER", "LOGNAME", "USER"]
        .into_iter()
        .filter_map(process_environment)
        .find(|name| !name.is_empty());
    let numbered = || {
        let process = std::fs::metadata("/proc/self").ok()?;
        Some(format!("uid {}", process.uid()))
    };
    let account = named.or_else(numbered);
    AuditActor::command_line(account.unwrap_or_else(|| "unknown".to_owned()))
}

/// A value as a line of JSON.
fn json_line(value: &serde_json::Value) -> String {
    format!("{value}\n")
}
