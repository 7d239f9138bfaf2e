//! Telling operators of refunds that look like abuse (`docs/invariants.md` Q9). The limits
//! themselves are kept by [`crate::db::Db::insert_refund_intent`].

use crate::{
    db::refunds::CommittedRefund,
    domain::{id::MerchantId, merchants::limits::LimitExceeded, payments::payment::Payment},
};

/// So many refunds of one merchant within ten minutes are a burst: more than a store's counter makes,
/// fewer than a stolen key would.
const BURST: i32 = 30;

/// Describes the metrics of this module; call once, after the recorder is installed.
pub(super) fn describe_metrics() {
    metrics::describe_counter!(
        "refund_limit_refusals_total",
        metrics::Unit::Count,
        "Refunds that were refused because of their merchant's limits, by the limit."
    );
    metrics::describe_counter!(
        "refund_bursts_total",
        metrics::Unit::Count,
        "Times that a merchant made 30 refunds within ten minutes."
    );
}

/// Counts and logs a refund that its merchant's limits refused.
pub(super) fn note_refusal(payment: &Payment, exceeded: LimitExceeded) {
    let limit = exceeded.limit.as_str();
    metrics::counter!("refund_limit_refusals_total", "limit" => limit).increment(1);
    tracing::warn!(
        merchant.id = %payment.merchant_id,
        payment.id = %payment.id,
        limit,
        "a refund was refused because of its merchant's limits"
    );
}

/// Counts and logs a burst, once: at the refund that makes it one.
pub(super) fn watch_for_bursts(merchant_id: MerchantId, refund: &CommittedRefund) {
    if refund.refunds_in_ten_minutes == BURST {
        metrics::counter!("refund_bursts_total").increment(1);
        tracing::warn!(
            merchant.id = %merchant_id,
            "the merchant made {BURST} refunds within ten minutes; see whether they are meant"
        );
    }
}
