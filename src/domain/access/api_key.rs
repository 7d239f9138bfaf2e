//! API keys as administrators see them: everything but the secret.

use chrono::{DateTime, Utc};

use super::principal::{Credential, Scope, TenantScope};
use crate::domain::id::ApiKeyId;

/// What people call a key: at most this many characters.
pub const MAX_NAME: usize = 64;
/// For how long a rotated key may go on, at most: 30 days, in seconds.
pub const MAX_OVERLAP_SECONDS: i64 = 30 * 24 * 60 * 60;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id; not the secret.
    pub id: ApiKeyId,
    /// Whose objects it may touch.
    pub tenant_scope: TenantScope,
    /// What people call it, for example `till-1`.
    pub name: String,
    /// Its first characters, by which people tell keys apart; absent of the oldest keys.
    pub prefix: Option<String>,
    /// Of whom it stands for where it is no key: whoever presented access tokens.
    pub subject: Option<TokenSubject>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    pub created_at: DateTime<Utc>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is refused because somebody said so.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last presented, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The key it took the place of.
    pub replaces: Option<ApiKeyId>,
    /// Whether it is accepted, by the database's clock.
    pub status: ApiKeyStatus,
}

impl ApiKey {
    /// Whether it is a key.
    pub const fn credential(&self) -> Credential {
        match self.subject {
            None => Credential::ApiKey,
            Some(_) => Credential::Token,
        }
    }
}

/// Whoever access tokens are issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSubject {
    /// Who issues them.
    pub issuer: String,
    /// For whom, by the issuer's own name.
    pub subject: String,
}

/// Whether a key is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKeyStatus {
    /// It is.
    Active,
    /// Not any more: its time is over.
    Expired,
    /// Not any more: somebody revoked it.
    Revoked,
}

stored_names!(ApiKeyStatus {
    Active = "active",
    Expired = "expired",
    Revoked = "revoked",
});

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApiKey {
    /// Whose objects it may touch.
    pub tenant_scope: TenantScope,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
}

/// How a key is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// For how long the old key is still accepted, in seconds.
    pub overlap_seconds: i64,
    /// From when on the new key is refused.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What became of the wish to replace a key.
#[derive(Clone, Debug)]
pub enum Rotated<T> {
    /// The new key.
    Made(T),
    /// The old key is refused already, so nothing can overlap.
    NotActive,
    /// There is no such key.
    Missing,
}

/// Which keys to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiKeyFilter {
    /// Only those of this merchant.
    pub merchant_id: Option<crate::domain::id::MerchantId>,
    /// Only those that are accepted, or only the others.
    pub active: Option<bool>,
}

impl Scope {
    /// The scopes of `wanted` that no key with this reach may carry: payments and refunds are a
    /// merchant's, the operator looks after them, and nobody else reads those of all merchants.
    pub fn out_of_reach(tenant_scope: TenantScope, wanted: &[Self]) -> Vec<Self> {
        let within: &[Self] = match tenant_scope {
            TenantScope::Merchant(_) => &Self::OF_MERCHANT,
            TenantScope::Operator => &Self::OF_OPERATOR,
        };
        let wanted = wanted.iter().copied();
        wanted.filter(|scope| !within.contains(scope)).collect()
    }
}
