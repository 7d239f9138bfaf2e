//! Who calls, and what they may do: what a key or an access token stands for.

use crate::domain::id::{ApiKeyId, MerchantId};

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Create and cancel payments.
    PaymentsWrite,
    PaymentsRead,
    /// Create refunds.
    RefundsWrite,
    /// Steer follow-ups and resolve what stayed open.
    Operations,
    /// Import and read reconciliation files.
    Reconciliation,
    /// Administer merchants and API keys.
    Admin,
    /// Read the payments, refunds and follow-ups of every merchant, each look audited: the operator's.
    SupportRead,
}

impl Scope {
    /// What a key of the operator may carry: it looks after payments and does not make them.
    pub const OF_OPERATOR: [Self; 4] = [
        Self::Operations,
        Self::Reconciliation,
        Self::Admin,
        Self::SupportRead,
    ];

    /// What a merchant's key may carry.
    pub const OF_MERCHANT: [Self; 6] = [
        Self::PaymentsWrite,
        Self::PaymentsRead,
        Self::RefundsWrite,
        Self::Operations,
        Self::Reconciliation,
        Self::Admin,
    ];

    /// Every scope, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::PaymentsWrite,
        Self::PaymentsRead,
        Self::RefundsWrite,
        Self::Operations,
        Self::Reconciliation,
        Self::Admin,
        Self::SupportRead,
    ];

    /// The name on the command line, in JSON and in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaymentsWrite => "payments:write",
            Self::PaymentsRead => "payments:read",
            Self::RefundsWrite => "refunds:write",
            Self::Operations => "operations",
            Self::Reconciliation => "reconciliation",
            Self::Admin => "admin",
            Self::SupportRead => "support:read",
        }
    }

    /// Reads a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// Whose objects somebody may touch: what the SQL filters by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TenantScope {
    /// One merchant's.
    Merchant(MerchantId),
    /// Every merchant's: the operator of the gateway.
    Operator,
}

impl TenantScope {
    /// The merchant to filter by; `None` where nothing is filtered.
    pub const fn merchant_id(self) -> Option<MerchantId> {
        match self {
            Self::Merchant(id) => Some(id),
            Self::Operator => None,
        }
    }
}

/// By what somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    ApiKey,
    /// An access token of the configured issuer: its subject.
    Token,
}

stored_names!(Credential {
    ApiKey = "api_key",
    Token = "jwt",
});

/// Whoever presented a valid API key or access token: a merchant's, or the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What was presented.
    pub credential: Credential,
    /// The key's id, or that of the token's subject, for the audit trail; not the secret.
    pub api_key_id: ApiKeyId,
    /// The key's name, for example `till-1`.
    pub name: String,
    /// Whose objects it may touch.
    pub tenant_scope: TenantScope,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl Identity {
    /// Whether the key carries a scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// The same as a merchant's caller; `None` for the operator, who takes no payments.
    pub fn into_principal(self) -> Option<Principal> {
        Some(Principal {
            api_key_id: self.api_key_id,
            merchant_id: self.tenant_scope.merchant_id()?,
            name: self.name,
            scopes: self.scopes,
        })
    }
}

/// A merchant's caller: who makes and reads its payments and refunds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The key's id, for the audit trail; not the secret.
    pub api_key_id: ApiKeyId,
    /// The key's name, for example `till-1`.
    pub name: String,
    /// The merchant whose objects it may touch.
    pub merchant_id: MerchantId,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl Principal {
    /// Whether the key carries a scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}
