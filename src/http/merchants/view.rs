//! A merchant as callers see it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::merchants::{Activity, merchant::Merchant, rules::TerminalPattern},
    http::answer::{Resource, timestamp},
};

/// Limits in minor units; `null` does not limit.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Limits)]
pub struct LimitsView {
    /// Most of one payment.
    #[schema(required = true, example = 500_000)]
    pub max_payment_minor: Option<i64>,
    /// Most of one refund.
    #[schema(required = true, example = 500_000)]
    pub max_refund_minor: Option<i64>,
    /// Most that refunds of one day in Hong Kong may come to.
    #[schema(required = true, example = 5_000_000)]
    pub max_refunded_per_day_minor: Option<i64>,
}

/// Which tills may take payments.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Terminals)]
pub struct TerminalsView {
    /// Whether a payment must name its till.
    #[schema(example = false)]
    pub required: bool,
    /// The names, or with `*` at the end their beginnings; `null`: any.
    #[schema(required = true, example = json!(["T1", "KIOSK-*"]), min_items = 1, max_items = 100)]
    pub allowed: Option<Vec<String>>,
}

/// A merchant. Fields may be added.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Merchant)]
pub struct MerchantView {
    /// Its id.
    #[schema(
        example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d",
        pattern = "^mer_[0-9a-f]{32}$"
    )]
    pub id: String,
    /// Always `merchant`.
    #[schema(example = "merchant")]
    pub object: &'static str,
    /// Counts changes, from 1; also the `ETag`.
    #[schema(example = 1, minimum = 1)]
    pub version: i64,
    /// Your own name for it; `null` of the merchant that the configuration makes.
    #[schema(required = true, example = "TEAM-7")]
    pub external_id: Option<String>,
    /// What people call it.
    #[schema(example = "Harbour Tea")]
    pub name: String,
    /// `active`, or `disabled`: it takes no payments; refunds, cancels and reads go on.
    #[schema(
        example = "active",
        extensions(("x-extensible-enum" = json!(Activity::NAMES)))
    )]
    pub status: &'static str,
    /// The Alipay account that is paid.
    #[schema(example = "2088000000000001")]
    pub partner: String,
    /// The merchant's id at Alipay.
    #[schema(example = "SM007")]
    pub secondary_merchant_id: String,
    /// The merchant's legal name.
    #[schema(example = "Harbour Tea Ltd")]
    pub secondary_merchant_name: String,
    /// The merchant category code.
    #[schema(example = "5812")]
    pub secondary_merchant_industry: String,
    /// The store of payments that name none.
    #[schema(example = "ST01")]
    pub default_store_id: String,
    /// Which tills may take payments.
    pub terminals: TerminalsView,
    /// The merchant's own limits; where they are `null`, those of its Alipay account hold.
    pub limits: LimitsView,
    /// Which wallets it wants to be paid with; `null`: any. A payment from another one is not undone:
    /// it says `wallet_allowed: false`, and it is logged and counted.
    #[schema(required = true, example = json!(["ALIPAYHK"]))]
    pub allowed_wallets: Option<Vec<String>>,
    /// Whether the configuration makes it.
    #[schema(example = false)]
    pub configured: bool,
    /// Since when it takes no payments.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub disabled_at: Option<String>,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub updated_at: String,
}

impl From<&Merchant> for MerchantView {
    fn from(merchant: &Merchant) -> Self {
        let profile = &merchant.profile;
        let texts = |allowed: &Vec<TerminalPattern>| {
            let texts = allowed.iter().map(|pattern| pattern.as_str().to_owned());
            texts.collect()
        };
        Self {
            id: merchant.id.to_string(),
            object: "merchant",
            version: merchant.version,
            external_id: merchant.external_id.clone(),
            name: profile.name.clone(),
            status: Activity::of(merchant.disabled_at).as_str(),
            partner: merchant.partner.clone(),
            secondary_merchant_id: profile.secondary_merchant_id.clone(),
            secondary_merchant_name: profile.secondary_merchant_name.clone(),
            secondary_merchant_industry: profile.secondary_merchant_industry.clone(),
            default_store_id: profile.default_store_id.clone(),
            terminals: TerminalsView {
                required: profile.terminals.required,
                allowed: profile.terminals.allowed.as_ref().map(texts),
            },
            limits: LimitsView {
                max_payment_minor: profile.limits.max_payment_minor,
                max_refund_minor: profile.limits.max_refund_minor,
                max_refunded_per_day_minor: profile.limits.max_refunded_per_day_minor,
            },
            allowed_wallets: profile.allowed_wallets.clone(),
            configured: merchant.is_configured,
            disabled_at: merchant.disabled_at.map(timestamp),
            created_at: timestamp(merchant.created_at),
            updated_at: timestamp(merchant.updated_at),
        }
    }
}

/// A merchant's body and the headers every answer with one carries.
pub(super) fn represent(merchant: &Merchant) -> Resource<MerchantView> {
    Resource::new(merchant.version, MerchantView::from(merchant))
}
