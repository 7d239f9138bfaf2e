//! Who did what an auditor will ask about: the `by` of an entry of the audit log
//! (`docs/invariants.md` Q17).
//!
//! An entry is written by the statement of the act itself, as a part of it:
//! `insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before, after)`; the
//! table's trigger numbers, dates and chains it, so an act without its entry cannot be committed.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{access::principal::Identity, id::MerchantId};

/// Who, from which request, and why. Never a secret: it is stored for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditActor {
    /// `api_key`, `jwt`, `command_line`, or `schedule`.
    pub kind: &'static str,
    /// The id of the key or of the token's subject, the account of the operating system, or the replica's
    /// name.
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

impl AuditActor {
    /// Whoever presented an API key or an access token.
    pub fn identity(identity: &Identity) -> Self {
        Self {
            kind: identity.credential.as_str(),
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

    /// The clock, by the replica that followed it.
    pub fn schedule(replica: impl Into<String>) -> Self {
        let replica = replica.into();
        Self {
            kind: "schedule",
            id: replica.clone(),
            name: replica,
            request_id: None,
            reason: None,
            ticket: None,
        }
    }

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

/// What the operator may look at of a merchant's, or ask about: each look is an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A payment.
    Payment,
    /// Everything that happened to one.
    Timeline,
    /// A refund.
    Refund,
    /// The refunds of a payment.
    RefundsOfPayment,
    /// The payments of a merchant.
    Payments,
    /// The refunds of a merchant.
    Refunds,
    /// The schedule of all merchants.
    FollowUps,
    /// What needs a person, of all merchants.
    Unresolved,
    /// Alipay is asked about a payment.
    RefreshOfPayment,
    /// Alipay is asked about a refund.
    RefreshOfRefund,
}

stored_names!(Look {
    Payment = "payment.read",
    Timeline = "payment.timeline_read",
    Refund = "refund.read",
    RefundsOfPayment = "payment.refunds_listed",
    Payments = "payments.listed",
    Refunds = "refunds.listed",
    FollowUps = "follow_ups.listed",
    Unresolved = "unresolved.listed",
    RefreshOfPayment = "payment.refreshed",
    RefreshOfRefund = "refund.refreshed",
});

/// An entry as administrators read it.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditItem {
    /// Its number in the chain, from 1.
    pub entry_no: i64,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// Whose affairs it touched; absent where they are the operator's own.
    pub merchant_id: Option<MerchantId>,
    /// What was done, for example `api_key.created`.
    pub action: String,
    /// To what kind of thing.
    pub subject_kind: String,
    /// To which.
    pub subject_id: String,
    /// Who and why: a [`AuditActor`] as it was stored.
    pub by: Value,
    /// The subject before.
    pub before: Option<Value>,
    /// The subject after.
    pub after: Option<Value>,
    /// What chains the next entry to this one.
    pub hash: Vec<u8>,
}

/// Which entries to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub merchant_id: Option<MerchantId>,
    /// About this object.
    pub subject: Option<String>,
    /// By this key or account.
    pub by: Option<String>,
    /// This act.
    pub action: Option<String>,
    /// At or after.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub to: Option<DateTime<Utc>>,
}

/// An entry as it was hashed: each value as the text that Postgres hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub entry_no: i64,
    pub at: DateTime<Utc>,
    pub merchant_id: Option<Uuid>,
    pub action: String,
    pub subject_kind: String,
    pub subject_id: String,
    pub by: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub previous_hash: Vec<u8>,
    pub hash: Vec<u8>,
}

impl Sealed {
    /// The hash that the entry must have, made anew: SHA-256 over its fields, each with its length in
    /// bytes, so that no two entries have the same text.
    pub fn digest(&self) -> [u8; 32] {
        let mut text = String::new();
        let mut field = |value: Option<&str>| {
            if let Some(value) = value {
                text.push_str(&value.len().to_string());
                text.push(':');
                text.push_str(value);
            } else {
                text.push('-');
            }
            text.push('\n');
        };
        field(Some(&hex::encode(&self.previous_hash)));
        field(Some(&self.entry_no.to_string()));
        field(Some(&self.at.timestamp_micros().to_string()));
        field(self.merchant_id.map(|id| id.to_string()).as_deref());
        field(Some(&self.action));
        field(Some(&self.subject_kind));
        field(Some(&self.subject_id));
        field(Some(&self.by));
        field(self.before.as_deref());
        field(self.after.as_deref());
        Sha256::digest(text.as_bytes()).into()
    }
}

/// The end of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How many entries there are.
    pub entries: i64,
    /// The hash of the last one; empty where there is none.
    pub hash: Vec<u8>,
}

/// Follows the chain entry by entry, and remembers nothing but its end.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    end: Head,
}

impl Chain {
    /// How far it was followed.
    pub fn end(&self) -> &Head {
        &self.end
    }

    /// Follows one entry further.
    pub fn follow(&mut self, entry: &Sealed) -> Result<(), Break> {
        let expected = self.end.entries + 1;
        let kind = if entry.entry_no != expected {
            BreakKind::Gap
        } else if entry.previous_hash != self.end.hash {
            BreakKind::NotChained
        } else if entry.hash != entry.digest() {
            BreakKind::Altered
        } else {
            self.end.entries = expected;
            self.end.hash.clone_from(&entry.hash);
            return Ok(());
        };
        Err(Break {
            entry_no: expected,
            kind,
        })
    }

    /// Whether the chain ends where the database says that it does.
    pub fn ends_at(&self, head: &Head) -> Result<(), Break> {
        if self.end == *head {
            Ok(())
        } else {
            Err(Break {
                entry_no: self.end.entries + 1,
                kind: BreakKind::WrongEnd,
            })
        }
    }
}

/// Where the chain is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// The first entry that is not as it was written.
    pub entry_no: i64,
    /// How it shows.
    pub kind: BreakKind,
}

/// How a break shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakKind {
    /// The entry is missing.
    Gap,
    /// It does not continue the entry before it.
    NotChained,
    /// Its content is not what was hashed.
    Altered,
    /// The log ends earlier or later than the database remembers.
    WrongEnd,
}

stored_names!(BreakKind {
    Gap = "gap",
    NotChained = "not_chained",
    Altered = "altered",
    WrongEnd = "wrong_end",
});

impl BreakKind {
    /// What it means, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Gap => "the entry is missing",
            Self::NotChained => "the entry does not continue the one before it",
            Self::Altered => "the entry's content is not what was written",
            Self::WrongEnd => {
                "the log does not end where it should: its last entries were removed, or others were added"
            }
        }
    }
}
