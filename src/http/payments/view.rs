//! The payment as callers see it: one schema for every answer.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{
        payments::payment::{
            CancelReason, Failure, KNOWN_WALLETS, OutcomeCertainty, Payment, PaymentState,
            ProcessingReason, RetryAdvice,
        },
        standing::{NextActionKind, Standing},
    },
    http::answer::{MoneyView, timestamp},
};

/// Who paid: what may be kept of what Alipay tells.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Buyer)]
pub struct BuyerView {
    /// Alipay's number of the buyer, masked.
    #[schema(required = true, example = "2088********0000")]
    pub user_id: Option<String>,
    /// The buyer's login, masked.
    #[schema(required = true, example = "852-****0001")]
    pub login_id: Option<String>,
}

/// Why a payment failed for good.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Failure)]
pub struct FailureView {
    /// Alipay's code, verbatim, or one of ours: `NOT_SENT` where the request never left the gateway,
    /// so that nothing was charged, and `RESOLVED_BY_OPERATOR`. More codes may be added.
    #[schema(example = "BUYER_BALANCE_NOT_ENOUGH")]
    pub code: String,
    /// What the person at the till should do.
    #[schema(example = "The buyer's balance is too low: ask for another means of payment.")]
    pub message: String,
    /// What may be tried next: `same_barcode`, `new_barcode`, `other_method` or `no`.
    #[schema(
        example = "other_method",
        extensions(("x-extensible-enum" = json!(RetryAdvice::NAMES)))
    )]
    pub retry: &'static str,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code.clone(),
            message: failure.message.clone(),
            retry: failure.retry.as_str(),
        }
    }
}

/// What was returned of a payment and what may still be, in minor units of its currency.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Refunds)]
pub struct RefundsView {
    /// Returned for certain.
    #[schema(example = 0)]
    pub refunded: i64,
    /// Asked for and not yet certain.
    #[schema(example = 0)]
    pub pending: i64,
    /// What may still be asked for.
    #[schema(example = 12850)]
    pub refundable: i64,
}

/// What the till should do now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = NextAction)]
pub struct NextActionView {
    /// `wait`, `ask_buyer_to_confirm`, `show_code_again` (in a new payment), `other_method`,
    /// `call_operator` or `done`.
    #[serde(rename = "type")]
    #[schema(
        example = "done",
        extensions(("x-extensible-enum" = json!(NextActionKind::NAMES)))
    )]
    pub kind: &'static str,
    /// After how many milliseconds to read it again; `null` once nothing changes by itself (of a payment:
    /// once `outcome_certainty` is `final`), and never before.
    #[schema(required = true, example = json!(null))]
    pub poll_after_ms: Option<u32>,
}

impl From<Standing> for NextActionView {
    fn from(standing: Standing) -> Self {
        Self {
            kind: standing.next_action().as_str(),
            poll_after_ms: standing.poll_after_ms(),
        }
    }
}

/// One sale. Fields may be added.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub struct PaymentView {
    /// The payment's id; ids of later payments sort later.
    #[schema(
        example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
        pattern = "^pay_[0-9a-f]{32}$"
    )]
    pub id: String,
    /// Always `payment`.
    #[schema(example = "payment")]
    pub object: &'static str,
    /// Counts changes, from 1; also the `ETag`.
    #[schema(example = 2, minimum = 1)]
    pub version: i64,
    /// `processing`: not yet told; `succeeded`: paid, verified; `failed`: a definite no;
    /// `canceled`: closed or never created; `unresolved`: the truth is still unknown and an
    /// operator must look.
    #[schema(
        example = "succeeded",
        extensions(("x-extensible-enum" = json!(PaymentState::STATUSES)))
    )]
    pub status: &'static str,
    /// More about `processing` (`submitting`, `awaiting_buyer`, `outcome_unknown`, `canceling`) and
    /// `canceled` (`requested`, `buyer_did_not_confirm`, `never_created`, `closed_after_payment`).
    #[schema(
        required = true, example = json!(null),
        extensions(("x-extensible-enum" = json!([ProcessingReason::NAMES, CancelReason::NAMES].concat())))
    )]
    pub status_reason: Option<&'static str>,
    /// `final`: nothing will change by itself; `pending`: Alipay said wait, or a cancel is under way,
    /// so that money that was taken may still go back; `unknown`: silence or an unreadable answer.
    #[schema(
        example = "final",
        extensions(("x-extensible-enum" = json!(OutcomeCertainty::NAMES)))
    )]
    pub outcome_certainty: &'static str,
    /// What is charged.
    pub amount: MoneyView,
    /// Who sells.
    #[schema(example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d")]
    pub merchant_id: String,
    /// The store.
    #[schema(example = "ST01")]
    pub store_id: String,
    /// The till.
    #[schema(required = true, example = "T1")]
    pub terminal_id: Option<String>,
    /// The caller's own number.
    #[schema(example = "ORDER-1001-1")]
    pub merchant_reference: String,
    /// What the buyer reads in the wallet's bill.
    #[schema(example = "Central Branch, table 4")]
    pub description: String,
    /// First two and last two digits of the scanned code, which is stored nowhere.
    #[schema(example = "28**************56")]
    pub barcode_hint: String,
    /// Which wallet pays or paid: `ALIPAYHK`, `ALIPAYCN` or another that Alipay names. It may be known before
    /// the buyer confirms; `null` until Alipay names it.
    #[schema(
        required = true, example = "ALIPAYHK",
        extensions(("x-extensible-enum" = json!(KNOWN_WALLETS)))
    )]
    pub wallet: Option<String>,
    /// Whether that wallet is one of the merchant's `allowed_wallets` as they were when the payment was
    /// made; `null` while no wallet is known. Often Alipay tells the wallet only with the payment, so one
    /// from another wallet is shown, not undone: cancel or refund it where it must not stand.
    #[schema(required = true, example = true)]
    pub wallet_allowed: Option<bool>,
    /// Our id towards Alipay.
    #[schema(example = "P0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub partner_trans_id: String,
    /// Alipay's id.
    #[schema(required = true, example = "2026112222001400000000000001")]
    pub alipay_trans_id: Option<String>,
    /// Who paid.
    #[schema(required = true)]
    pub buyer: Option<BuyerView>,
    /// Why it failed; only where `status` is `failed`.
    #[schema(required = true)]
    pub failure: Option<FailureView>,
    /// Whether money had been taken and went back; only where `status` is `canceled`.
    #[schema(required = true, example = json!(null))]
    pub money_returned: Option<bool>,
    /// Whether a cancel is under way; a paid payment stays `succeeded` until it is confirmed, and is
    /// not `final` meanwhile.
    #[schema(example = false)]
    pub cancel_pending: bool,
    /// What was returned and what may be.
    pub refunds: RefundsView,
    /// Until when a cancel may be asked for.
    #[schema(required = true, format = DateTime, example = "2026-11-22T16:00:00.000Z")]
    pub cancelable_until: Option<String>,
    /// What the till should do now.
    pub next_action: NextActionView,
    /// When the gateway asks Alipay next.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub next_check_at: Option<String>,
    /// The caller's own pairs.
    #[schema(example = json!({"order": "1001"}))]
    pub metadata: BTreeMap<String, String>,
    /// The calendar day in GMT+8 that the payment belongs to.
    #[schema(format = Date, example = "2026-11-22")]
    pub business_date: String,
    /// When the payment was accepted.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub created_at: String,
    /// When the buyer paid, by Alipay's clock.
    #[schema(required = true, format = DateTime, example = "2026-11-22T04:00:01.000Z")]
    pub paid_at: Option<String>,
    /// When the payment last changed.
    #[schema(format = DateTime, example = "2026-11-22T04:00:01.234Z")]
    pub updated_at: String,
    /// When the payment became final; `null` while `outcome_certainty` is anything else.
    #[schema(required = true, format = DateTime, example = "2026-11-22T04:00:01.234Z")]
    pub finalized_at: Option<String>,
}

impl From<&Payment> for PaymentView {
    fn from(payment: &Payment) -> Self {
        let charge = payment.charge.as_ref();
        let standing = payment.standing();
        Self {
            id: payment.id.to_string(),
            object: "payment",
            version: payment.version,
            status: payment.state.status(),
            status_reason: payment.state.status_reason(),
            outcome_certainty: standing.certainty().as_str(),
            amount: payment.amount.into(),
            merchant_id: payment.merchant_id.to_string(),
            store_id: payment.store_id.clone(),
            terminal_id: payment.terminal_id.clone(),
            merchant_reference: payment.merchant_reference.to_string(),
            description: payment.description.clone(),
            barcode_hint: payment.barcode_hint.clone(),
            wallet: payment.wallet().map(str::to_owned),
            wallet_allowed: payment.wallet_allowed(),
            partner_trans_id: payment.partner_trans_id.to_string(),
            alipay_trans_id: payment.alipay_trans_id.clone(),
            buyer: buyer(payment),
            failure: failure(&payment.state),
            money_returned: money_returned(&payment.state),
            cancel_pending: payment.canceling.is_some(),
            refunds: refunds(payment),
            cancelable_until: payment.cancelable_until().map(timestamp),
            next_action: standing.into(),
            next_check_at: payment.poll.next_check_at.map(timestamp),
            metadata: payment.metadata.clone(),
            business_date: payment.business_date().to_string(),
            created_at: timestamp(payment.created_at),
            paid_at: charge.and_then(|charge| charge.paid_at).map(timestamp),
            updated_at: timestamp(payment.updated_at),
            finalized_at: payment
                .finalized_at
                .filter(|_| standing.is_settled())
                .map(timestamp),
        }
    }
}

fn buyer(payment: &Payment) -> Option<BuyerView> {
    let charge = payment.charge.as_ref()?;
    let known = charge.buyer_user_id.is_some() || charge.buyer_login_id.is_some();
    known.then(|| BuyerView {
        user_id: charge
            .buyer_user_id
            .as_ref()
            .map(|id| id.as_str().to_owned()),
        login_id: charge
            .buyer_login_id
            .as_ref()
            .map(|id| id.as_str().to_owned()),
    })
}

fn failure(state: &PaymentState) -> Option<FailureView> {
    match state {
        PaymentState::Failed(failure) => Some(failure.into()),
        PaymentState::Processing(_)
        | PaymentState::Succeeded
        | PaymentState::Canceled { .. }
        | PaymentState::Unresolved => None,
    }
}

fn money_returned(state: &PaymentState) -> Option<bool> {
    match state {
        PaymentState::Canceled { money_returned, .. } => Some(*money_returned),
        PaymentState::Processing(_)
        | PaymentState::Succeeded
        | PaymentState::Failed(_)
        | PaymentState::Unresolved => None,
    }
}

fn refunds(payment: &Payment) -> RefundsView {
    RefundsView {
        refunded: payment.refunded_minor,
        pending: payment.refund_reserved_minor - payment.refunded_minor,
        refundable: payment.refundable_minor(),
    }
}

#[cfg(test)]
pub(in crate::http) mod tests {
    use super::*;
    use crate::domain::{
        id::{MerchantId, PartnerTransId, PaymentId},
        money::{Currency, Money},
        payments::{
            buyer::{BuyerLoginId, BuyerUserId},
            payment::Charge,
            poll::PollState,
        },
    };
    use chrono::{DateTime, Utc};

    /// A paid payment.
    pub(in crate::http) fn paid() -> Payment {
        let at: DateTime<Utc> = "2026-11-22T04:00:00.1239Z".parse().expect("an instant");
        let id = PaymentId::mint();
        Payment {
            id,
            version: 3,
            merchant_id: MerchantId::mint(),
            store_id: "ST01".to_owned(),
            terminal_id: None,
            merchant_reference: "ORDER-1001-1".parse().expect("a reference"),
            description: "Central Branch, table 4".to_owned(),
            amount: Money::new(12850, Currency::HKD),
            barcode_hint: "28**************56".to_owned(),
            partner: "2088000000000001".to_owned(),
            partner_trans_id: PartnerTransId::for_payment(id),
            cancel_after_seconds: 60,
            metadata: BTreeMap::new(),
            allowed_wallets: None,
            state: PaymentState::Succeeded,
            alipay_trans_id: Some("2026112222001400000000000001".to_owned()),
            charge: Some(Charge {
                paid_at: Some(at),
                wallet: Some("ALIPAYHK".to_owned()),
                wallet_file: None,
                buyer_user_id: Some(BuyerUserId::mask("2088000000000000")),
                buyer_login_id: Some(BuyerLoginId::mask("852-****0001")),
            }),
            unpaid_wallet: None,
            canceling: None,
            reversal: None,
            refund_reserved_minor: 0,
            refunded_minor: 0,
            contradicted_at: None,
            proven_returned_minor: 0,
            decided_by_operator: false,
            poll: PollState::default(),
            created_at: at,
            updated_at: at,
            finalized_at: Some(at),
        }
    }

    #[test]
    fn a_paid_payment_looks_as_documented() {
        let view = serde_json::to_value(PaymentView::from(&paid())).expect("a view is JSON");
        assert_eq!(view["status"], "succeeded");
        assert_eq!(view["outcome_certainty"], "final");
        assert_eq!(view["refunds"]["refundable"], 12850);
        assert_eq!(
            view["next_action"],
            serde_json::json!({"type": "done", "poll_after_ms": null})
        );
        assert_eq!(
            view["created_at"], "2026-11-22T04:00:00.123Z",
            "milliseconds"
        );
        assert_eq!(view["cancelable_until"], "2026-11-22T16:00:00.000Z");
        assert_eq!(view["business_date"], "2026-11-22");
        for explicit in [
            "status_reason",
            "terminal_id",
            "failure",
            "money_returned",
            "next_check_at",
        ] {
            assert!(
                view.get(explicit).is_some_and(serde_json::Value::is_null),
                "{explicit}"
            );
        }
    }
}
