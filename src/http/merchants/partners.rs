//! `GET /v1/admin/partners`: the Alipay accounts that the configuration holds.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::{
        App,
        accounts::{Account, CIRCUIT_OPEN_BECAUSE, KeyOverview, RefusalOverview},
    },
    domain::accounts::signing::{KeyRole, KeyState, SignType},
    http::{
        answer::timestamp,
        extract::{AdminCaller, Administer, query::RawPairs},
        problem::Problem,
        refusals::refusals,
    },
};

/// Every configured account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PartnerList {
    /// The accounts, by their partner id.
    pub items: Vec<PartnerView>,
}

/// An Alipay account as this replica has it configured; never a secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Partner)]
pub struct PartnerView {
    /// The account's id at Alipay.
    #[schema(example = "2088000000000017", pattern = "^[0-9]{16}$")]
    pub partner: String,
    /// Always `partner`.
    #[schema(example = "partner")]
    pub object: &'static str,
    /// Where it is reached.
    #[schema(example = "intlmapi.alipay.com")]
    pub endpoint_host: String,
    /// `RSA2`, `RSA` or `MD5`.
    #[schema(example = "RSA2", extensions(("x-extensible-enum" = json!([SignType::Rsa2, SignType::Rsa, SignType::Md5].map(SignType::as_str)))))]
    pub sign_type: &'static str,
    /// Whether there is a key to sign with now; without one no payment is taken.
    #[schema(example = true)]
    pub can_sign: bool,
    /// Whether this replica refuses new payments and refunds.
    #[schema(example = false)]
    pub circuit_open: bool,
    /// Why: `silent`: Alipay does not answer; `refused`: it refuses whatever the account asks.
    #[schema(required = true, example = json!(null), extensions(("x-extensible-enum" = json!(CIRCUIT_OPEN_BECAUSE))))]
    pub circuit_open_because: Option<&'static str>,
    /// The last time Alipay refused this account at its door, as this replica met it; `null` where it
    /// has not.
    #[schema(required = true)]
    pub last_refusal: Option<RefusalView>,
    /// Its keys, ours first.
    pub keys: Vec<KeyView>,
    /// When its nightly batch of refunds opens, in GMT+8.
    #[schema(example = "23:00")]
    pub refund_batch_opens: String,
    /// When it closes, in GMT+8.
    #[schema(example = "05:00")]
    pub refund_batch_closes: String,
    /// For how many days refunds are tried.
    #[schema(example = 180)]
    pub refund_give_up_days: i64,
    /// What its merchants may do where they have no limits of their own.
    pub limits: AccountLimitsView,
}

/// A refusal of an account.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PartnerRefusal)]
pub struct RefusalView {
    /// Alipay's code. More codes may be added.
    #[schema(example = "ILLEGAL_SIGN")]
    pub code: String,
    /// What a person should look at.
    #[schema(
        example = "key: the public key that Alipay has of this account is not that of our key"
    )]
    pub check: &'static str,
    /// When it came.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub at: String,
}

/// A key as it may be shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PartnerKey)]
pub struct KeyView {
    /// `own`: signs what we send; `alipay`: verifies what Alipay sends; `shared`: both (`MD5`).
    #[schema(
        example = "own",
        extensions(("x-extensible-enum" = json!(KeyRole::NAMES)))
    )]
    pub role: &'static str,
    /// SHA-256 of the public key (SubjectPublicKeyInfo), in hexadecimal; `null` of a shared key.
    #[schema(
        required = true,
        example = "2f1c0c5b8ed0d9a4d9b8ddc4fb0a1f5d5d63f4f0a0e7c5fd2c7a2b6c9c1e3d58"
    )]
    pub fingerprint: Option<String>,
    /// Its length in bits; `null` of a shared key.
    #[schema(required = true, example = 2048)]
    pub bits: Option<usize>,
    /// From when on it is valid.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub not_before: Option<String>,
    /// Until when.
    #[schema(required = true, format = DateTime, example = "2027-01-01T00:00:00.000Z")]
    pub not_after: Option<String>,
    /// `active`: signs, or is accepted; `next`: will be; `valid`: could sign, but a newer one does;
    /// `expired`: not any more.
    #[schema(
        example = "active",
        extensions(("x-extensible-enum" = json!(KeyState::NAMES)))
    )]
    pub state: &'static str,
}

/// Limits of an account in minor units; `null` does not limit.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = AccountLimits)]
pub struct AccountLimitsView {
    /// Most of one payment, of merchants that have no limit of their own.
    #[schema(required = true, example = 500_000)]
    pub max_payment_minor: Option<i64>,
    /// Most of one refund, of merchants that have no limit of their own.
    #[schema(required = true, example = 500_000)]
    pub max_refund_minor: Option<i64>,
    /// Most that refunds of one day in Hong Kong may come to, of merchants that have no limit of their own.
    #[schema(required = true, example = 5_000_000)]
    pub max_refunded_per_day_minor: Option<i64>,
    /// Most that Alipay gives back in one refund. No payment of the account may be larger, whatever a
    /// merchant's own limit is.
    #[schema(required = true, example = 999_999_999)]
    pub largest_refund_minor: Option<i64>,
}

refusals! {
    ListRefusals:
        [Problem::operator_required()],
}

/// List Alipay accounts
///
/// What the configuration of the replica that answers holds: keys by their fingerprints, never the
/// keys. For the operator.
#[utoipa::path(
    get,
    path = "/v1/admin/partners",
    tag = "administration",
    operation_id = "list_partners",
    security(("api_key" = ["admin"])),
    responses(ListRefusals, (status = 200, description = "The accounts.", body = PartnerList)),
)]
pub async fn list(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    query: RawPairs,
) -> Result<Json<PartnerList>, Problem> {
    query.reader().finish()?;
    overseer.operator_only()?;
    let accounts = app.accounts();
    let items = accounts
        .iter()
        .map(|(partner, account)| view(&app, partner, account));
    Ok(Json(PartnerList {
        items: items.collect(),
    }))
}

fn view(app: &App, partner: &str, account: &Account) -> PartnerView {
    let facts = app.account_overview(account);
    let hours = account.refund_plan.hours;
    PartnerView {
        partner: partner.to_owned(),
        object: "partner",
        endpoint_host: facts.endpoint_host,
        sign_type: facts.sign_type,
        can_sign: facts.can_sign,
        circuit_open: facts.circuit_open.is_some(),
        circuit_open_because: facts.circuit_open,
        last_refusal: facts.last_refusal.as_ref().map(RefusalView::from),
        keys: facts.keys.iter().map(KeyView::from).collect(),
        refund_batch_opens: hours.opens.format("%H:%M").to_string(),
        refund_batch_closes: hours.closes.format("%H:%M").to_string(),
        refund_give_up_days: account.refund_plan.horizon.num_days(),
        limits: AccountLimitsView {
            max_payment_minor: account.limits.max_payment_minor,
            max_refund_minor: account.limits.max_refund_minor,
            max_refunded_per_day_minor: account.limits.max_refunded_per_day_minor,
            largest_refund_minor: account.limits.largest_refund_minor,
        },
    }
}

impl From<&RefusalOverview> for RefusalView {
    fn from(refusal: &RefusalOverview) -> Self {
        Self {
            code: refusal.code.clone(),
            check: refusal.check,
            at: timestamp(refusal.at),
        }
    }
}

impl From<&KeyOverview> for KeyView {
    fn from(key: &KeyOverview) -> Self {
        Self {
            role: key.role,
            fingerprint: key.fingerprint.clone(),
            bits: key.bits,
            not_before: key.not_before.map(timestamp),
            not_after: key.not_after.map(timestamp),
            state: key.state,
        }
    }
}
