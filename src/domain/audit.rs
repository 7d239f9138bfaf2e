//! Who did what an auditor will ask about: the `by` of an entry of the audit log
//! (`design/correctness.md` Q17).
//!
//! An entry is written by the statement of the act itself, as a part of it:
//! `insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before, after)`; the
//! table's trigger numbers, dates and chains it, so an act without its entry cannot be committed.

use serde::Serialize;

use super::merchant::Identity;

/// Who, from which request, and why. Never a secret: it is stored for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct By {
    /// `api_key`, `jwt`, or `command_line`.
    pub kind: &'static str,
    /// The key's id, or the account of the operating system.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The request; absent on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Why, where that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the case is documented, where that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

impl By {
    /// Whoever presented an API key.
    pub fn identity(identity: &Identity) -> Self {
        Self {
            kind: "api_key",
            id: identity.api_key_id.to_string(),
            name: identity.name.clone(),
            request_id: None,
            reason: None,
            ticket: None,
        }
    }

    /// Somebody at a terminal, by the account of the operating system.
    pub fn command_line(account: impl Into<String>) -> Self {
        let account = account.into();
        Self {
            kind: "command_line",
            id: account.clone(),
            name: account,
            request_id: None,
            reason: None,
            ticket: None,
        }
    }

    /// In which request.
    #[must_use]
    pub fn in_request(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Where the case is documented.
    #[must_use]
    pub fn documented_in(mut self, ticket: impl Into<String>) -> Self {
        self.ticket = Some(ticket.into());
        self
    }
}
