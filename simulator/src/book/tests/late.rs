//! Effects after their answers, and trades that Alipay closes by itself.

use super::*;
use crate::request::Refund as RefundRequest;

fn hk(text: &str) -> DateTime<Utc> {
    at(&format!("2026-01-01T{text}+08:00"))
}

fn cancel() -> LateEffect {
    LateEffect::Cancel {
        out_trade_no: "A".to_owned(),
        trade_no: None,
    }
}

fn refund(id: &str, amount_minor: i64) -> RefundRequest {
    RefundRequest {
        partner_trans_id: "A".to_owned(),
        alipay_trans_id: None,
        partner_refund_id: id.to_owned(),
        amount_minor,
        currency: "HKD".to_owned(),
        reason: String::new(),
        sync: true,
        notify_to: None,
    }
}

#[test]
fn a_late_cancel_takes_effect_at_its_instant() {
    let mut book = book(NOON, Buyer::PaysAtOnce);
    book.take_effect_at(hk("12:00:10"), cancel());
    let before = book.trade(hk("12:00:09"), "A", None).unwrap();
    assert_eq!(
        (before.status, before.refunded_minor),
        (Status::TradeSuccess, 0)
    );
    assert_eq!(book.late_effects().len(), 1);
    let after = book.trade(hk("12:30:00"), "A", None).unwrap();
    assert_eq!(after.close_reason, Some(CloseReason::CancelledPaid));
    assert_eq!(after.closed_at, Some(hk("12:00:10")));
    assert_eq!(after.refunded_minor, 1000);
    assert!(book.late_effects().is_empty());
}

#[test]
fn late_effects_and_buyers_act_in_the_order_of_time() {
    let mut canceled = book(NOON, Buyer::ConfirmsAfter(20));
    canceled.take_effect_at(hk("12:00:10"), cancel());
    let closed = canceled.all(hk("12:01:00"))[0].clone();
    assert_eq!(closed.close_reason, Some(CloseReason::CancelledUnpaid));
    assert_eq!(closed.paid_at, None);
    let mut paid = book(NOON, Buyer::ConfirmsAfter(5));
    paid.take_effect_at(hk("12:00:10"), cancel());
    let returned = paid.all(hk("12:01:00"))[0].clone();
    assert_eq!(returned.close_reason, Some(CloseReason::CancelledPaid));
    assert_eq!(returned.paid_at, Some(hk("12:00:05")));
}

#[test]
fn a_late_refund_is_not_known_before_its_instant_and_counts_once() {
    let mut book = book(NOON, Buyer::PaysAtOnce);
    book.take_effect_at(hk("12:00:10"), LateEffect::Refund(refund("R1", 400)));
    assert!(book.find_refund(hk("12:00:05"), "A", "R1").is_none());
    // Repeated meanwhile under its own id: the late one finds it.
    book.refund(hk("12:00:06"), &refund("R1", 400));
    let trade = book.trade(hk("12:01:00"), "A", None).unwrap();
    assert_eq!(trade.refunded_minor, 400);
    book.take_effect_at(hk("12:02:00"), LateEffect::Refund(refund("R2", 700)));
    assert!(
        book.find_refund(hk("12:03:00"), "A", "R2").is_none(),
        "too much"
    );
}

#[test]
fn alipay_closes_a_paid_trade_and_returns_what_no_refund_holds() {
    let mut book = book(NOON, Buyer::PaysAtOnce);
    book.refund(hk("12:00:05"), &refund("R1", 100));
    assert_eq!(book.close_paid(hk("12:00:10"), "A", true), Some(true));
    let trade = book.trade(hk("12:00:11"), "A", None).unwrap();
    assert_eq!(trade.close_reason, Some(CloseReason::AlipayReturned));
    assert_eq!((trade.refunded_minor, trade.canceled_minor), (1000, 900));
    assert_eq!(book.close_paid(hk("12:00:12"), "A", true), Some(false));
    assert_eq!(book.close_paid(hk("12:00:12"), "B", true), None);
}

#[test]
fn a_trade_closed_without_its_money_can_be_canceled_and_refunded_no_more() {
    let mut book = book(NOON, Buyer::PaysAtOnce);
    assert_eq!(book.close_paid(hk("12:00:10"), "A", false), Some(true));
    let late = CancelOutcome::Refused("TRADE_HAS_CLOSE");
    assert_eq!(book.cancel(hk("12:00:11"), "A", None), late);
    let RefundOutcome::Refused(code) = book.refund(hk("12:00:12"), &refund("R1", 100)) else {
        panic!("it is closed");
    };
    assert_eq!(code, "TRADE_HAS_CLOSE");
    let trade = book.trade(hk("12:00:13"), "A", None).unwrap();
    assert_eq!((trade.refunded_minor, trade.canceled_minor), (0, 0));
}
