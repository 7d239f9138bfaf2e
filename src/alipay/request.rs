//! The seven services' requests, and the parameters they become (`docs/protocol.md` 4.2–4.8).
//!
//! A request becomes the same parameters each time, so that a repeated query, cancel or refund is
//! the same question; only `timestamp` follows the clock, because Alipay refuses old ones.

use chrono::{DateTime, Utc};
use serde::Serialize;
use url::Url;

use super::parameters::{Parameters, leaf};
use crate::domain::{
    attempt::AttemptKind,
    calendar::beijing,
    id::{PartnerRefundId, PartnerTransId},
    money::Money,
    payments::barcode::Barcode,
    registrations::{Driver, MerchantType, PersonalData, StoreFacts},
    text::{longest, shortened},
};

/// Take a payment (`docs/protocol.md` 4.2).
#[derive(Clone, Debug)]
pub struct PayRequest {
    /// Our id, the idempotency key at Alipay.
    pub partner_trans_id: PartnerTransId,
    /// What is charged.
    pub amount: Money,
    /// The scanned code.
    pub barcode: Barcode,
    /// What the buyer reads in the bill (`trans_name`); double quotes and control characters are
    /// taken out, what Alipay has no room for is cut off, and if nothing is left the store's name
    /// stands in.
    pub description: String,
    /// When the order was created (`trans_create_time`, sent in GMT+8).
    pub created_at: DateTime<Utc>,
    /// Whose till it is.
    pub secondary_merchant: SecondaryMerchant,
}

/// Whose till it is (`extend_info` of pay).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondaryMerchant {
    /// `secondary_merchant_id`: letters, digits, underscore, at most 64.
    pub id: String,
    /// `secondary_merchant_name`.
    pub name: String,
    /// `secondary_merchant_industry`: a four-digit merchant category code.
    pub industry: String,
    /// `store_id`, unique within the merchant.
    pub store_id: String,
    pub store_name: String,
    /// `terminal_id`: the till, where known.
    pub terminal_id: Option<String>,
    /// `sys_service_provider_id`: the partner id of an integrator, where there is one.
    pub service_provider_id: Option<String>,
}

/// Ask where a trade stands (`docs/protocol.md` 4.5).
#[derive(Clone, Debug)]
pub struct QueryRequest {
    /// Our id.
    pub partner_trans_id: PartnerTransId,
    /// What the answer must say was charged; not sent.
    pub amount: Money,
    /// Alipay's id if it is known, which the answer must then name; not sent.
    pub alipay_trans_id: Option<String>,
}

/// Close or reverse a trade (`docs/protocol.md` 4.3). Its `timestamp` is the clock's at sending.
#[derive(Clone, Debug)]
pub struct CancelRequest {
    /// Our id, sent as `out_trade_no`.
    pub partner_trans_id: PartnerTransId,
    /// Alipay's id if it is known, which the answer must not contradict; not sent.
    pub alipay_trans_id: Option<String>,
}

/// Return money (`docs/protocol.md` 4.4).
#[derive(Clone, Debug)]
pub struct RefundRequest {
    /// The payment.
    pub partner_trans_id: PartnerTransId,
    /// Our id of the refund, the idempotency key at Alipay.
    pub partner_refund_id: PartnerRefundId,
    /// How much goes back.
    pub amount: Money,
    /// Why (`refund_reson`, spelled so in this product), at most [`longest::REFUND_REASON`] bytes.
    pub reason: Option<String>,
    /// Now or later.
    pub mode: RefundMode,
    /// Alipay's id of the payment if it is known, which the answer must not contradict; not sent.
    pub alipay_trans_id: Option<String>,
}

/// Whether the answer is the refund's result (`docs/protocol.md` 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundMode {
    /// `is_sync=Y`: done in the call.
    Synchronous,
    /// `is_sync=N`: recorded now, done by Alipay later.
    Asynchronous {
        /// Where Alipay reports success, if anywhere.
        notify_url: Option<Url>,
    },
}

/// Ask where a refund stands (`docs/protocol.md` 4.6).
#[derive(Clone, Debug)]
pub struct RefundQueryRequest {
    /// The payment, sent as `out_trade_no`.
    pub partner_trans_id: PartnerTransId,
    /// The refund, sent as `out_return_no`.
    pub partner_refund_id: PartnerRefundId,
    /// Alipay's id of the payment, to be compared with the answer's.
    pub alipay_trans_id: Option<String>,
}

/// Register or change a store (`docs/protocol.md` 4.7). Its `timestamp` is the clock's at sending.
#[derive(Clone, Debug)]
pub struct MaintainStoreRequest {
    /// The merchant: letters, digits, underscore, at most 64.
    pub secondary_merchant_id: String,
    /// The store, unique within the merchant.
    pub store_id: String,
    /// What everybody may know of it.
    pub facts: StoreFacts,
    /// Who is behind it.
    pub personal: PersonalData,
}

/// Ask where a registration stands (`docs/protocol.md` 4.8).
#[derive(Clone, Debug)]
pub struct StoreStatusRequest {
    pub secondary_merchant_id: String,
    pub store_id: String,
    /// The account that the answer must name, if it names one; sent by the client that asks.
    pub partner: String,
}

/// Which of Alipay's products the store is registered for.
pub(super) const IN_STORE: &str = "INSTORE_PAYMENT";

/// A driver in `extend_params`, in the order it is serialised and signed.
#[derive(Serialize)]
struct DriverEntry {
    operation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact_way: Option<String>,
    contact_person: String,
}

/// `extend_params`: the drivers of a taxi as Alipay takes them, in a JSON array. Its text may be no longer
/// than [`longest::DRIVERS`].
pub fn drivers_text(drivers: &[Driver]) -> String {
    let entries: Vec<DriverEntry> = drivers
        .iter()
        .map(|driver| DriverEntry {
            operation_id: leaf(&driver.operation_id),
            contact_way: driver.contact_way.as_deref().map(leaf),
            contact_person: leaf(&driver.contact_person),
        })
        .collect();
    serde_json::to_string(&entries).expect("structs of strings always serialise")
}

/// `extend_info`, in the order it is serialised and signed.
#[derive(Serialize)]
struct ExtendInfo {
    secondary_merchant_id: String,
    secondary_merchant_name: String,
    secondary_merchant_industry: String,
    store_id: String,
    store_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminal_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sys_service_provider_id: Option<String>,
}

impl SecondaryMerchant {
    fn to_json(&self) -> String {
        let optional =
            |text: &Option<String>| text.as_deref().map(leaf).filter(|text| !text.is_empty());
        serde_json::to_string(&ExtendInfo {
            secondary_merchant_id: leaf(&self.id),
            secondary_merchant_name: within(&self.name, longest::MERCHANT_NAME),
            secondary_merchant_industry: leaf(&self.industry),
            store_id: leaf(&self.store_id),
            store_name: within(&self.store_name, longest::STORE_NAME),
            terminal_id: optional(&self.terminal_id),
            sys_service_provider_id: optional(&self.service_provider_id),
        })
        .expect("a struct of strings always serialises")
    }
}

/// A text that buyers read, as long as Alipay takes it. No sale is lost for its texts: they are cut,
/// where other requests, which can wait for a better text, are refused before they come here.
fn within(text: &str, most: usize) -> String {
    shortened(&leaf(text), most).to_owned()
}

impl PayRequest {
    pub(super) fn to_parameters(&self, partner: &str) -> Parameters {
        // Alipay's own client drops a value that reads "null", and then the signatures differ.
        let description = Some(within(&self.description, longest::TRANS_NAME))
            .filter(|text| !text.is_empty() && text != "null")
            .unwrap_or_else(|| within(&self.secondary_merchant.store_name, longest::TRANS_NAME));
        let created_at = self.created_at.with_timezone(&beijing());
        Parameters::new(AttemptKind::Pay, partner)
            .with("alipay_seller_id", partner)
            .with("trans_name", &description)
            .with("partner_trans_id", self.partner_trans_id.as_str())
            .with("currency", self.amount.currency().code())
            .with("trans_amount", &self.amount.to_decimal())
            .with("buyer_identity_code", self.barcode.expose())
            .with("identity_code_type", "barcode")
            .with(
                "trans_create_time",
                &created_at.format("%Y%m%d%H%M%S").to_string(),
            )
            .with("biz_product", "OVERSEAS_MBARCODE_PAY")
            .with("extend_info", &self.secondary_merchant.to_json())
    }
}

impl QueryRequest {
    pub(super) fn to_parameters(&self, partner: &str) -> Parameters {
        Parameters::new(AttemptKind::Query, partner)
            .with("partner_trans_id", self.partner_trans_id.as_str())
    }
}

impl CancelRequest {
    pub(super) fn to_parameters(&self, partner: &str, now: DateTime<Utc>) -> Parameters {
        Parameters::new(AttemptKind::Cancel, partner)
            .with("timestamp", &now.timestamp_millis().to_string())
            .with("out_trade_no", self.partner_trans_id.as_str())
    }
}

impl RefundRequest {
    pub(super) fn to_parameters(&self, partner: &str) -> Parameters {
        let parameters = Parameters::new(AttemptKind::Refund, partner)
            .with("partner_trans_id", self.partner_trans_id.as_str())
            .with("partner_refund_id", self.partner_refund_id.as_str())
            .with("refund_amount", &self.amount.to_decimal())
            .with("currency", self.amount.currency().code())
            .with_text("refund_reson", self.reason.as_deref());
        match &self.mode {
            RefundMode::Synchronous => parameters.with("is_sync", "Y"),
            RefundMode::Asynchronous { notify_url } => parameters
                .with("is_sync", "N")
                .with_text("notify_url", notify_url.as_ref().map(Url::as_str)),
        }
    }
}

impl RefundQueryRequest {
    pub(super) fn to_parameters(&self, partner: &str) -> Parameters {
        Parameters::new(AttemptKind::RefundQuery, partner)
            .with("out_trade_no", self.partner_trans_id.as_str())
            .with("out_return_no", self.partner_refund_id.as_str())
    }
}

/// `timestamp` of the registration services: GMT+8, refused after 30 minutes.
fn date_time(now: DateTime<Utc>) -> String {
    now.with_timezone(&beijing())
        .format("%Y-%m-%d %H:%M:%S")
        .to_string()
}

impl MaintainStoreRequest {
    pub(super) fn to_parameters(&self, partner: &str, now: DateTime<Utc>) -> Parameters {
        let (facts, personal) = (&self.facts, &self.personal);
        let (owner_name, owner_id) = match facts.secondary_merchant_type {
            MerchantType::Enterprise => ("shareholder_name", "shareholder_id"),
            MerchantType::Individual => ("representative_name", "representative_id"),
        };
        let parameters = Parameters::new(AttemptKind::MaintainStore, partner)
            .with("timestamp", &date_time(now))
            .with("secondary_merchant_id", &self.secondary_merchant_id)
            .with(
                "secondary_merchant_name",
                &leaf(&facts.secondary_merchant_name),
            )
            .with(
                "secondary_merchant_type",
                facts.secondary_merchant_type.as_str(),
            )
            .with("store_id", &self.store_id)
            .with("store_name", &leaf(&facts.store_name))
            .with("store_country", &facts.store_country)
            .with("store_address", &leaf(&facts.store_address))
            .with("store_industry", &facts.store_industry)
            .with_text(
                "internal_store_photo",
                facts.internal_store_photo.as_deref(),
            )
            .with_text(
                "external_storefront_photo",
                facts.external_storefront_photo.as_deref(),
            )
            .with("register_country", &facts.register_country)
            .with_text("register_address", facts.register_address.as_deref())
            .with_text("registration_no", facts.registration_no.as_deref())
            .with(owner_name, &leaf(&personal.owner_name))
            .with(owner_id, &leaf(&personal.owner_id))
            .with_text("settlement_no", personal.settlement_no.as_deref())
            .with_text("contact_no", personal.contact_no.as_deref())
            .with_text("contact_email", personal.contact_email.as_deref())
            .with_text("cs_no", facts.cs_no.as_deref())
            .with_text("cs_email", facts.cs_email.as_deref());
        if personal.drivers.is_empty() {
            parameters
        } else {
            parameters.with("extend_params", &drivers_text(&personal.drivers))
        }
    }
}

impl StoreStatusRequest {
    pub(super) fn to_parameters(&self, partner: &str, now: DateTime<Utc>) -> Parameters {
        Parameters::new(AttemptKind::StoreStatus, partner)
            .with("timestamp", &date_time(now))
            .with("secondary_merchant_id", &self.secondary_merchant_id)
            .with("store_id", &self.store_id)
            .with("payment_method", IN_STORE)
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
