//! What one row of a file means for the order it names.

use crate::domain::{
    id::FileId,
    payments::payment::{CancelReason, Charge, Payment, PaymentEvent, PaymentState},
    reconciliation::daily_file::{FileRow, RowType},
    refunds::refund::{Refund, RefundEvent, RefundState},
};

/// What follows from a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<E> {
    /// The books say the same.
    Agrees,
    /// The order is open, and the row proves how it ended: this event settles it.
    Settles(E),
    /// The books hold another end, and the row proves this: it is kept, and asked about.
    Claims(E),
    /// The row does not fit what it names. Nothing changes; a person must look.
    Contradicts,
}

/// What the files say of the same payment besides the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiblingRows {
    /// There is a row that all of the money went back by a cancel. A payment that was paid and
    /// cancelled must never be read as paid in between (`docs/invariants.md` M6).
    pub canceled: bool,
    /// The row names another secondary merchant than the one whose payment it is.
    pub other_merchant: bool,
    /// The row is of a whole file, and an earlier version of it had named the payment's wallet.
    pub corrects_wallet: bool,
}

/// What a `PAYMENT`, `CANCEL` or `REVERSAL` row of `file` means for its payment.
pub fn judge_payment(
    row: &FileRow,
    file: FileId,
    payment: &Payment,
    sibling_rows: SiblingRows,
) -> Verdict<PaymentEvent> {
    if tells_of_another(row, payment, sibling_rows) {
        return Verdict::Contradicts;
    }
    if row.amount != payment.amount {
        return match payment.state {
            // Refunds had returned the rest: the trade is closed, and the question says so.
            PaymentState::Succeeded
            | PaymentState::Failed(_)
            | PaymentState::Canceled {
                money_returned: false,
                ..
            } if returns_a_part(row, payment) => Verdict::Claims(closed(row, file, payment)),
            _ => Verdict::Contradicts,
        };
    }
    let went_back = row.row_type.gives_back() || sibling_rows.canceled;
    match (&payment.state, row.row_type.gives_back()) {
        (PaymentState::Processing(_) | PaymentState::Unresolved, _) if went_back => {
            Verdict::Settles(closed(row, file, payment))
        }
        (PaymentState::Processing(_) | PaymentState::Unresolved, _) => {
            Verdict::Settles(paid(row, file, payment))
        }
        // Our own cancel is under way, and the file says that it was done.
        (PaymentState::Succeeded, true)
            if payment.canceling.is_some() && payment.refund_reserved_minor == 0 =>
        {
            Verdict::Settles(closed(row, file, payment))
        }
        (PaymentState::Succeeded, false)
        | (
            PaymentState::Canceled {
                money_returned: true,
                ..
            },
            _,
        ) => match &row.wallet {
            Some(wallet) if differs_in_wallet(row, payment) => {
                Verdict::Settles(PaymentEvent::WalletNamed {
                    wallet: wallet.clone(),
                    file: Some(file),
                })
            }
            _ => Verdict::Agrees,
        },
        (PaymentState::Succeeded, true) => Verdict::Claims(closed(row, file, payment)),
        (
            PaymentState::Failed(_)
            | PaymentState::Canceled {
                money_returned: false,
                ..
            },
            _,
        ) if went_back => Verdict::Claims(closed(row, file, payment)),
        (
            PaymentState::Failed(_)
            | PaymentState::Canceled {
                money_returned: false,
                ..
            },
            _,
        ) => Verdict::Claims(paid(row, file, payment)),
    }
}

/// What a `REFUND` row means for the refund that it names.
pub fn judge_refund(row: &FileRow, refund: &Refund) -> Verdict<RefundEvent> {
    if row.amount != refund.amount || row.row_type != RowType::Refund {
        return Verdict::Contradicts;
    }
    let done = RefundEvent::Succeeded {
        accepted_at: Some(row.completed_at),
    };
    match refund.state {
        RefundState::Pending(_) | RefundState::Unresolved => Verdict::Settles(done),
        // What an answer said against it is settled.
        RefundState::Succeeded if refund.contradicted_at.is_some() => Verdict::Settles(done),
        RefundState::Succeeded => Verdict::Agrees,
        RefundState::Failed(_) => Verdict::Claims(done),
    }
}

/// Whether a `REFUND` row that names no refund of ours can be taken into the payment's books: it never
/// makes more go back than came in (`docs/invariants.md` M3); what has no room yet is a claim, which
/// waits for it. The guard of the statement decides again.
pub fn judge_portal_refund(
    row: &FileRow,
    payment: &Payment,
    sibling_rows: SiblingRows,
) -> Verdict<()> {
    let is_sane = row.amount.currency() == payment.amount.currency()
        && row.amount.minor() >= 1
        && row.amount.minor() <= payment.amount.minor();
    let fits = row.amount.minor() <= payment.bookable_minor();
    let is_new_id = row
        .partner_trans_id
        .as_deref()
        .is_some_and(|id| id != payment.partner_trans_id.as_str());
    if !is_sane || !is_new_id || tells_of_another(row, payment, sibling_rows) {
        Verdict::Contradicts
    } else if fits {
        Verdict::Settles(())
    } else {
        Verdict::Claims(())
    }
}

/// Whether the row returns less than the payment took.
fn returns_a_part(row: &FileRow, payment: &Payment) -> bool {
    row.row_type.gives_back()
        && row.amount.currency() == payment.amount.currency()
        && (1..payment.amount.minor()).contains(&row.amount.minor())
}

/// Whether a row was found by one id of a payment, or of a refund of it, and names another trade, another
/// wallet or another merchant beside it: two ids that were swapped, or that a spreadsheet rounded. It
/// proves nothing of the payment. The comparison of the file tells the same (`identity_differs`).
pub fn tells_of_another(row: &FileRow, payment: &Payment, sibling_rows: SiblingRows) -> bool {
    let told_trade = row.alipay_trans_id.as_deref();
    // A refund has an id of its own, and a settlement names a cancelled trade by Alipay's.
    let told_payment = row
        .partner_trans_id
        .as_deref()
        .filter(|id| row.row_type != RowType::Refund && Some(*id) != told_trade);
    differ(told_trade, payment.alipay_trans_id.as_deref())
        || differ(told_payment, Some(payment.partner_trans_id.as_str()))
        || (differs_in_wallet(row, payment) && !corrects_the_wallet(payment, sibling_rows))
        || sibling_rows.other_merchant
}

fn differ(told: Option<&str>, known: Option<&str>) -> bool {
    told.zip(known)
        .is_some_and(|(told, known)| !told.eq_ignore_ascii_case(known))
}

fn differs_in_wallet(row: &FileRow, payment: &Payment) -> bool {
    differ(row.wallet.as_deref(), payment.wallet())
}

/// Whether nobody but an earlier version of the file has named the wallet; meanwhile an answer may have.
fn corrects_the_wallet(payment: &Payment, sibling_rows: SiblingRows) -> bool {
    let by_file = payment.charge.as_ref();
    sibling_rows.corrects_wallet && by_file.is_some_and(|charge| charge.wallet_file.is_some())
}

fn paid(row: &FileRow, file: FileId, payment: &Payment) -> PaymentEvent {
    PaymentEvent::Paid {
        charge: charge(row, file, payment),
        alipay_trans_id: row.alipay_trans_id.clone(),
    }
}

fn closed(row: &FileRow, file: FileId, payment: &Payment) -> PaymentEvent {
    let charge = match row.row_type {
        RowType::Payment => charge(row, file, payment),
        // The row's time is that of the cancel.
        RowType::Cancel | RowType::Reversal | RowType::Refund => payment
            .charge
            .clone()
            .unwrap_or_else(|| with_wallet(Charge::default(), row, file, payment)),
    };
    PaymentEvent::Closed {
        reason: CancelReason::Requested,
        money_returned: true,
        alipay_trans_id: row.alipay_trans_id.clone(),
        charge: Some(charge),
    }
}

/// What the row says of the charge. Of the buyer it says nothing.
fn charge(row: &FileRow, file: FileId, payment: &Payment) -> Charge {
    let known = payment.charge.clone().unwrap_or_default();
    let charge = Charge {
        paid_at: known.paid_at.or(Some(row.completed_at)),
        ..known
    };
    with_wallet(charge, row, file, payment)
}

/// The charge with the wallet that is known, or else the row's.
fn with_wallet(charge: Charge, row: &FileRow, file: FileId, payment: &Payment) -> Charge {
    match payment.wallet() {
        Some(wallet) => Charge {
            wallet: Some(wallet.to_owned()),
            ..charge
        },
        None => Charge {
            wallet: row.wallet.clone(),
            wallet_file: row.wallet.is_some().then_some(file),
            ..charge
        },
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
