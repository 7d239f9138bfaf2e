//! Every state of an order against every type of row.

use chrono::{DateTime, Utc};

use super::*;
use crate::domain::{
    money::{Currency, Money},
    payments::payment::{Failure, ProcessingReason, RetryAdvice, tests::payment},
    refunds::refund::{PendingReason, RefundFailure, RefundMode, tests::refund},
};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_323_045 + seconds, 0).expect("a date of our time")
}

fn row(row_type: RowType, amount: Money) -> FileRow {
    let our_id = (row_type == RowType::Refund).then(|| "HKR-1".to_owned());
    FileRow {
        line: 3,
        duplicate_of: None,
        row_type,
        partner_trans_id: our_id,
        alipay_trans_id: Some("2026".to_owned()),
        amount,
        fee: Money::new(0, Currency::HKD),
        completed_at: at(5),
        settlement: None,
        remark: None,
        secondary_merchant_industry: None,
        secondary_merchant_name: None,
        secondary_merchant_id: None,
        store_name: None,
        order_scene: None,
        trans_amount: None,
        trans_forex_rate: None,
        wallet: Some("ALIPAYHK".to_owned()),
    }
}

fn file() -> FileId {
    FileId::from(uuid::Uuid::from_u128(7))
}

fn judge_payment(
    row: &FileRow,
    payment: &Payment,
    sibling_rows: SiblingRows,
) -> Verdict<PaymentEvent> {
    super::judge_payment(row, file(), payment, sibling_rows)
}

fn failed() -> PaymentState {
    PaymentState::Failed(Failure {
        code: "X".to_owned(),
        message: "no".to_owned(),
        retry: RetryAdvice::No,
    })
}

const fn canceled(money_returned: bool) -> PaymentState {
    PaymentState::Canceled {
        reason: CancelReason::Requested,
        money_returned,
    }
}

/// `agrees`, `contradicts`, the name of the event that settles the payment, or what is claimed against it.
fn told(verdict: &Verdict<PaymentEvent>) -> &'static str {
    match verdict {
        Verdict::Agrees => "agrees",
        Verdict::Contradicts => "contradicts",
        Verdict::Settles(event) => event.name(),
        Verdict::Claims(PaymentEvent::Paid { .. }) => "claims_paid",
        Verdict::Claims(PaymentEvent::Closed { .. }) => "claims_closed",
        Verdict::Claims(_) => "claims",
    }
}

#[test]
fn m6_each_row_against_each_state_of_a_payment() {
    let none = SiblingRows::default();
    let with_cancel = SiblingRows {
        canceled: true,
        ..SiblingRows::default()
    };
    let states = [
        PaymentState::Processing(ProcessingReason::Submitting),
        PaymentState::Processing(ProcessingReason::AwaitingBuyer),
        PaymentState::Processing(ProcessingReason::OutcomeUnknown),
        PaymentState::Processing(ProcessingReason::Canceling),
        PaymentState::Unresolved,
        PaymentState::Succeeded,
        failed(),
        canceled(true),
        canceled(false),
    ];
    let table = [
        ("paid", "closed", "closed"),
        ("paid", "closed", "closed"),
        ("paid", "closed", "closed"),
        ("paid", "closed", "closed"),
        ("paid", "closed", "closed"),
        ("agrees", "agrees", "claims_closed"),
        ("claims_paid", "claims_closed", "claims_closed"),
        ("agrees", "agrees", "agrees"),
        ("claims_paid", "claims_closed", "claims_closed"),
    ];
    for (state, expected) in states.into_iter().zip(table) {
        let payment = payment(state);
        let paid = row(RowType::Payment, payment.amount);
        let found = (
            told(&judge_payment(&paid, &payment, none)),
            told(&judge_payment(&paid, &payment, with_cancel)),
            told(&judge_payment(
                &row(RowType::Cancel, payment.amount),
                &payment,
                with_cancel,
            )),
        );
        assert_eq!(found, expected, "{:?}", payment.state);
        let reversal = row(RowType::Reversal, payment.amount);
        let same = told(&judge_payment(&reversal, &payment, with_cancel));
        assert_eq!(same, expected.2, "a reversal is a cancel");
    }
}

#[test]
fn m12_a_cancel_of_what_refunds_left_is_asked_about() {
    for (state, expected) in [
        (PaymentState::Succeeded, "claims_closed"),
        (failed(), "claims_closed"),
        (canceled(false), "claims_closed"),
        (canceled(true), "contradicts"),
        (PaymentState::Unresolved, "contradicts"),
        (
            PaymentState::Processing(ProcessingReason::OutcomeUnknown),
            "contradicts",
        ),
    ] {
        let payment = payment(state);
        let minor = payment.amount.minor();
        let part = |minor| Money::new(minor, Currency::HKD);
        for row_type in [RowType::Cancel, RowType::Reversal] {
            let rest = row(row_type, part(minor - 1));
            let verdict = judge_payment(&rest, &payment, SiblingRows::default());
            assert_eq!(told(&verdict), expected, "{:?}", payment.state);
        }
        for wrong in [
            row(RowType::Cancel, part(minor + 1)),
            row(RowType::Payment, part(minor - 1)),
        ] {
            let verdict = judge_payment(&wrong, &payment, SiblingRows::default());
            assert_eq!(told(&verdict), "contradicts", "{:?}", payment.state);
        }
    }
}

#[test]
fn what_settles_a_payment_is_a_legal_event_of_it() {
    for state in [
        PaymentState::Processing(ProcessingReason::OutcomeUnknown),
        PaymentState::Unresolved,
    ] {
        let payment = payment(state);
        for (row_type, status) in [
            (RowType::Payment, "succeeded"),
            (RowType::Cancel, "canceled"),
        ] {
            let row = row(row_type, payment.amount);
            let Verdict::Settles(event) = judge_payment(&row, &payment, SiblingRows::default())
            else {
                panic!("{row_type:?} settles {:?}", payment.state);
            };
            let after = payment.apply(&event, at(9)).expect("no contradiction");
            assert_eq!(after.expect("a change").state.status(), status);
        }
    }
}

#[test]
fn a_cancel_that_is_under_way_is_ended_by_its_row_unless_refunds_hold_money() {
    let mut payment = payment(PaymentState::Succeeded);
    payment.canceling = Some(CancelReason::Requested);
    let row = row(RowType::Cancel, payment.amount);
    let none = SiblingRows::default();
    assert_eq!(told(&judge_payment(&row, &payment, none)), "closed");
    payment.refund_reserved_minor = 1;
    assert_eq!(told(&judge_payment(&row, &payment, none)), "claims_closed");
}

#[test]
fn another_amount_currency_or_trade_settles_nothing() {
    let mut payment = payment(PaymentState::Unresolved);
    let none = SiblingRows::default();
    let usd = Currency::from_code("USD").expect("a currency");
    for amount in [
        Money::new(payment.amount.minor() + 1, Currency::HKD),
        Money::new(payment.amount.minor(), usd),
    ] {
        let row = row(RowType::Payment, amount);
        assert_eq!(told(&judge_payment(&row, &payment, none)), "contradicts");
    }
    payment.alipay_trans_id = Some("another".to_owned());
    let row = row(RowType::Payment, payment.amount);
    assert_eq!(told(&judge_payment(&row, &payment, none)), "contradicts");
}

#[test]
fn a_row_that_names_another_trade_wallet_or_merchant_settles_nothing() {
    let mut known = payment(PaymentState::Unresolved);
    known.alipay_trans_id = Some("2026".to_owned());
    known.charge = Some(Charge {
        wallet: Some("ALIPAYHK".to_owned()),
        ..Charge::default()
    });
    let none = SiblingRows::default();
    let our_id = Some(known.partner_trans_id.as_str().to_owned());
    let row = |change: fn(&mut FileRow)| {
        let mut row = row(RowType::Payment, known.amount);
        row.partner_trans_id.clone_from(&our_id);
        change(&mut row);
        row
    };
    let text = |text: &str| Some(text.to_owned());
    for (what, row, sibling_rows, is_another) in [
        ("the same", row(|_| {}), none, false),
        (
            "less is said",
            row(|row| (row.alipay_trans_id, row.wallet) = (None, None)),
            none,
            false,
        ),
        (
            "other letters",
            row(|row| row.wallet = Some("AlipayHK".to_owned())),
            none,
            false,
        ),
        (
            "a rounded id",
            row(|row| row.alipay_trans_id = Some("2.02611E+27".to_owned())),
            none,
            true,
        ),
        (
            "another trade",
            row(|row| row.alipay_trans_id = Some("2027".to_owned())),
            none,
            true,
        ),
        (
            "another order",
            row(|row| row.partner_trans_id = Some("HKP-2".to_owned())),
            none,
            true,
        ),
        (
            "another wallet",
            row(|row| row.wallet = Some("ALIPAYCN".to_owned())),
            none,
            true,
        ),
        (
            "another merchant",
            row(|_| {}),
            SiblingRows {
                other_merchant: true,
                ..none
            },
            true,
        ),
    ] {
        assert_eq!(
            tells_of_another(&row, &known, sibling_rows),
            is_another,
            "{what}"
        );
        let expected = if is_another { "contradicts" } else { "paid" };
        assert_eq!(
            told(&judge_payment(&row, &known, sibling_rows)),
            expected,
            "{what}"
        );
    }
    // A settlement names a cancelled trade by Alipay's id, and what is not known cannot differ.
    let by_trade = row(|row| row.partner_trans_id = row.alipay_trans_id.clone());
    assert!(!tells_of_another(&by_trade, &known, none));
    known.alipay_trans_id = None;
    known.charge = None;
    let other = super::tests::row(RowType::Payment, known.amount);
    let other = FileRow {
        wallet: text("ALIPAYCN"),
        ..other
    };
    assert!(!tells_of_another(&other, &known, none));
}

#[test]
fn a_row_settles_an_open_refund_and_contradicts_one_that_failed() {
    let failure = RefundFailure {
        code: "X".to_owned(),
        message: "no".to_owned(),
    };
    let mut refund = refund(RefundMode::Async, at(0));
    let row = |amount| row(RowType::Refund, amount);
    for state in [
        RefundState::Pending(PendingReason::AwaitingBatch),
        RefundState::Unresolved,
    ] {
        refund.state = state;
        let Verdict::Settles(event) = judge_refund(&row(refund.amount), &refund) else {
            panic!("{:?} is settled", refund.state);
        };
        let after = refund.apply(&event, at(9)).expect("no contradiction");
        assert_eq!(after.expect("a change").state, RefundState::Succeeded);
        let more = Money::new(refund.amount.minor() + 1, Currency::HKD);
        assert_eq!(judge_refund(&row(more), &refund), Verdict::Contradicts);
    }
    refund.state = RefundState::Succeeded;
    assert_eq!(judge_refund(&row(refund.amount), &refund), Verdict::Agrees);
    refund.state = RefundState::Failed(failure);
    let claim = judge_refund(&row(refund.amount), &refund);
    assert!(matches!(
        claim,
        Verdict::Claims(RefundEvent::Succeeded { .. })
    ));
}

#[test]
fn m3_a_portal_refund_is_taken_up_to_what_is_left_of_a_paid_payment() {
    let mut payment = payment(PaymentState::Succeeded);
    payment.refund_reserved_minor = 1_000;
    let left = payment.refundable_minor();
    let of = |minor, payment: &Payment| {
        judge_portal_refund(
            &row(RowType::Refund, Money::new(minor, Currency::HKD)),
            payment,
            SiblingRows::default(),
        )
    };
    assert_eq!(of(left, &payment), Verdict::Settles(()));
    // What has no room waits for it.
    assert_eq!(of(left + 1, &payment), Verdict::Claims(()));
    assert_eq!(of(0, &payment), Verdict::Contradicts);
    let more_than_all = payment.amount.minor() + 1;
    assert_eq!(of(more_than_all, &payment), Verdict::Contradicts);
    for state in [failed(), canceled(true), PaymentState::Unresolved] {
        payment.state = state;
        assert_eq!(of(1, &payment), Verdict::Claims(()));
    }
    // It explains why Alipay closed the trade.
    payment.state = PaymentState::Canceled {
        reason: CancelReason::ClosedAfterPayment,
        money_returned: true,
    };
    assert_eq!(of(left, &payment), Verdict::Settles(()));
    assert_eq!(of(left + 1, &payment), Verdict::Claims(()));
}

/// Who may name the wallet of a charge: what an answer has said stays, what an earlier version of the file alone
/// has said gives way to the whole one.
#[test]
fn a_wallet_is_corrected_where_only_an_earlier_version_of_the_file_named_it() {
    let corrects = SiblingRows {
        corrects_wallet: true,
        ..SiblingRows::default()
    };
    let earlier = Some(FileId::from(uuid::Uuid::from_u128(6)));
    for state in [PaymentState::Succeeded, canceled(true)] {
        for (wallet_file, sibling_rows, expected) in [
            (earlier, corrects, "wallet_named"),
            (earlier, SiblingRows::default(), "contradicts"),
            // An answer has named it since the file was looked at.
            (None, corrects, "contradicts"),
        ] {
            let mut known = payment(state.clone());
            known.charge = Some(Charge {
                wallet: Some("ALIPAYCN".to_owned()),
                wallet_file,
                ..Charge::default()
            });
            let row = row(RowType::Payment, known.amount);
            let verdict = judge_payment(&row, &known, sibling_rows);
            assert_eq!(told(&verdict), expected, "{state:?} {wallet_file:?}");
            let Verdict::Settles(event) = verdict else {
                continue;
            };
            let after = known.apply(&event, at(9)).expect("no contradiction");
            let after = after.expect("a change");
            assert_eq!(after.state, state);
            let charge = after.charge.expect("charged");
            assert_eq!(charge.wallet.as_deref(), Some("ALIPAYHK"));
            assert_eq!(charge.wallet_file, Some(file()));
        }
    }
    let mut same = payment(PaymentState::Succeeded);
    same.charge = Some(Charge {
        wallet: Some("ALIPAYHK".to_owned()),
        wallet_file: earlier,
        ..Charge::default()
    });
    let row = row(RowType::Payment, same.amount);
    assert_eq!(told(&judge_payment(&row, &same, corrects)), "agrees");
}

/// The wallet of a trade that waits for its buyer is known by an answer, too.
#[test]
fn a_row_with_another_wallet_than_the_unpaid_trade_had_settles_nothing() {
    let mut waits = payment(PaymentState::Processing(ProcessingReason::AwaitingBuyer));
    waits.unpaid_wallet = Some("ALIPAYCN".to_owned());
    let mut row = row(RowType::Payment, waits.amount);
    assert_eq!(
        told(&judge_payment(&row, &waits, SiblingRows::default())),
        "contradicts"
    );
    row.wallet = None;
    let Verdict::Settles(PaymentEvent::Paid { charge, .. }) =
        judge_payment(&row, &waits, SiblingRows::default())
    else {
        panic!("it was paid");
    };
    assert_eq!(charge.wallet.as_deref(), Some("ALIPAYCN"));
    assert_eq!(charge.wallet_file, None, "an answer named it");
}
