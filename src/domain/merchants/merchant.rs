//! Merchants and stores as administrators see them.

use chrono::{DateTime, Utc};

use super::{
    limits::Limits,
    rules::{TerminalPattern, TerminalRules},
};
use crate::domain::id::{MerchantId, MerchantReference};

/// Everything of a merchant that an administrator says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What people call it: at most [`crate::domain::text::longest::MERCHANT_NAME`] bytes.
    pub name: String,
    /// The merchant's id at Alipay: 1 to 64 letters, digits and underscores.
    pub secondary_merchant_id: String,
    /// The merchant's legal name: at most [`crate::domain::text::longest::MERCHANT_NAME`] bytes.
    pub secondary_merchant_name: String,
    /// The merchant category code: 4 digits.
    pub secondary_merchant_industry: String,
    /// The store of payments that name none.
    pub default_store_id: String,
    /// Which tills may take payments.
    pub terminals: TerminalRules,
    /// How much may be taken and given back.
    pub limits: Limits,
    /// Which wallets it wants to be paid with; `None`: any.
    pub allowed_wallets: Option<Vec<String>>,
}

/// A merchant to be made, with its default store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMerchant {
    /// What its maker calls it, unique for ever: a repeated request finds it again by this.
    pub external_id: MerchantReference,
    /// The Alipay account that is paid: one that the configuration holds.
    pub partner: String,
    /// The rest.
    pub profile: Profile,
    pub default_store_name: String,
}

/// A merchant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merchant {
    pub id: MerchantId,
    /// Counts changes; also the `ETag`.
    pub version: i64,
    /// What its maker calls it.
    pub external_id: Option<String>,
    /// The Alipay account that is paid. It never changes: the account's payments and refunds stay
    /// with it.
    pub partner: String,
    /// What an administrator says of it.
    pub profile: Profile,
    /// Whether it is the merchant of the configuration: its name, its data at Alipay and its default
    /// store come from there.
    pub is_configured: bool,
    /// Since when it takes no payments.
    pub disabled_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Merchant {
    /// Whether a request to make it would make the same.
    pub fn is_as(&self, new: &NewMerchant) -> bool {
        self.external_id.as_deref() == Some(new.external_id.as_str())
            && self.partner == new.partner
            && self.profile == new.profile
    }
}

/// Which merchants to list. Absent fields do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MerchantFilter {
    /// What its maker calls it.
    pub external_id: Option<String>,
    pub partner: Option<String>,
    /// Only those that take payments, or only the others.
    pub active: Option<bool>,
}

/// What an administrator says of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreProfile {
    /// Its name: at most [`crate::domain::text::longest::STORE_NAME`] bytes, without `"`.
    pub name: String,
    /// Its merchant category code where it differs from the merchant's.
    pub industry: Option<String>,
    /// Whether it takes no payments.
    pub is_disabled: bool,
}

/// A store of a merchant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerchantStore {
    pub merchant_id: MerchantId,
    /// Its id, unique within the merchant.
    pub store_id: String,
    /// Counts changes; also the `ETag`.
    pub version: i64,
    /// What an administrator says of it.
    pub profile: StoreProfile,
    /// Since when it takes no payments.
    pub disabled_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Changes of a merchant: what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfilePatch {
    pub name: Option<String>,
    pub secondary_merchant_id: Option<String>,
    pub secondary_merchant_name: Option<String>,
    pub secondary_merchant_industry: Option<String>,
    pub default_store_id: Option<String>,
    pub terminal_required: Option<bool>,
    pub allowed_terminals: Option<Option<Vec<TerminalPattern>>>,
    pub max_payment_minor: Option<Option<i64>>,
    pub max_refund_minor: Option<Option<i64>>,
    pub max_refunded_per_day_minor: Option<Option<i64>>,
    pub allowed_wallets: Option<Option<Vec<String>>>,
}

impl ProfilePatch {
    /// The profile with the changes.
    pub fn over(&self, profile: &Profile) -> Profile {
        fn or<T: Clone>(change: Option<&T>, before: &T) -> T {
            change.unwrap_or(before).clone()
        }
        let (terminals, limits) = (&profile.terminals, &profile.limits);
        Profile {
            name: or(self.name.as_ref(), &profile.name),
            secondary_merchant_id: or(
                self.secondary_merchant_id.as_ref(),
                &profile.secondary_merchant_id,
            ),
            secondary_merchant_name: or(
                self.secondary_merchant_name.as_ref(),
                &profile.secondary_merchant_name,
            ),
            secondary_merchant_industry: or(
                self.secondary_merchant_industry.as_ref(),
                &profile.secondary_merchant_industry,
            ),
            default_store_id: or(self.default_store_id.as_ref(), &profile.default_store_id),
            terminals: TerminalRules {
                required: or(self.terminal_required.as_ref(), &terminals.required),
                allowed: or(self.allowed_terminals.as_ref(), &terminals.allowed),
            },
            limits: Limits {
                max_payment_minor: or(self.max_payment_minor.as_ref(), &limits.max_payment_minor),
                max_refund_minor: or(self.max_refund_minor.as_ref(), &limits.max_refund_minor),
                max_refunded_per_day_minor: or(
                    self.max_refunded_per_day_minor.as_ref(),
                    &limits.max_refunded_per_day_minor,
                ),
                largest_refund_minor: limits.largest_refund_minor,
            },
            allowed_wallets: or(self.allowed_wallets.as_ref(), &profile.allowed_wallets),
        }
    }
}

impl Profile {
    /// The fields in which another profile differs that come from the configuration for the merchant
    /// that is made from it: there they would be undone by the next `migrate`.
    pub fn configured_changes(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("name", self.name != other.name),
            (
                "secondary_merchant_id",
                self.secondary_merchant_id != other.secondary_merchant_id,
            ),
            (
                "secondary_merchant_name",
                self.secondary_merchant_name != other.secondary_merchant_name,
            ),
            (
                "secondary_merchant_industry",
                self.secondary_merchant_industry != other.secondary_merchant_industry,
            ),
            (
                "default_store_id",
                self.default_store_id != other.default_store_id,
            ),
        ];
        let changed = fields.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(name, _)| name).collect()
    }
}

/// Changes of a store: what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorePatch {
    pub name: Option<String>,
    pub industry: Option<Option<String>>,
    pub is_disabled: Option<bool>,
}

impl StorePatch {
    /// The profile with the changes.
    pub fn over(&self, profile: &StoreProfile) -> StoreProfile {
        StoreProfile {
            name: self.name.clone().unwrap_or_else(|| profile.name.clone()),
            industry: self
                .industry
                .clone()
                .unwrap_or_else(|| profile.industry.clone()),
            is_disabled: self.is_disabled.unwrap_or(profile.is_disabled),
        }
    }
}
