//! Telling operators of refunds that look like abuse (`docs/invariants.md` Q9). The limits
//! themselves are kept by [`crate::db::Db::insert_refund_intent`].

use crate::{
    app::App,
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
        "Times that a merchant gave money back 30 times within ten minutes, by refunds or cancels."
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

impl App {
    /// Counts and logs a burst at the refund that makes it one, or continues it.
    pub(super) async fn watch_refund(&self, merchant_id: MerchantId, refund: &CommittedRefund) {
        if refund.refunds_in_ten_minutes >= BURST {
            self.watch_for_bursts(merchant_id).await;
        }
    }

    /// Counts and logs that a merchant gives back as a stolen key would: once for each burst, at whichever
    /// replica, by refunds and by cancels of what was paid.
    pub(in crate::app) async fn watch_for_bursts(&self, merchant_id: MerchantId) {
        match self.db.note_refund_burst(merchant_id, BURST).await {
            Ok(true) => {
                metrics::counter!("refund_bursts_total").increment(1);
                tracing::warn!(
                    merchant.id = %merchant_id,
                    "the merchant made {BURST} refunds within ten minutes; see whether they are meant"
                );
            }
            Ok(false) => {}
            // The next refund, or cancel, of the burst tells.
            Err(error) => tracing::debug!(%error, "whether refunds come in a burst is not known"),
        }
    }
}
