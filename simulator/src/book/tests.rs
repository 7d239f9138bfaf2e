//! The ledger's rules, one test each.

mod late;
mod refunds;

use chrono::{DateTime, Utc};

use super::*;
use crate::request::Place;

const NOON: &str = "2026-01-01T12:00:00+08:00";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn pay(id: &str) -> Pay {
    Pay {
        partner_trans_id: id.to_owned(),
        amount_minor: 1000,
        currency: "HKD".to_owned(),
        buyer_user_id: "2088000000000099".to_owned(),
        ending: "9999".to_owned(),
        place: Place::default(),
    }
}

fn script(buyer: Buyer) -> Script {
    Script {
        buyer,
        ..Script::PLAIN
    }
}

/// A book with one trade `A`, created at `created`.
fn book(created: &str, buyer: Buyer) -> Book {
    let mut book = Book::new();
    book.pay(at(created), &pay("A"), &script(buyer));
    book
}

fn status(book: &mut Book, now: &str) -> (Status, Option<CloseReason>) {
    let trade = book.trade(at(now), "A", None).unwrap();
    (trade.status, trade.close_reason)
}

#[test]
fn an_unpaid_trade_expires_three_minutes_after_its_creation() {
    let mut book = book(NOON, Buyer::NeverActs);
    assert_eq!(
        status(&mut book, "2026-01-01T12:02:59.999+08:00").0,
        Status::WaitBuyerPay
    );
    let closed = (Status::TradeClosed, Some(CloseReason::Expired));
    assert_eq!(status(&mut book, "2026-01-01T12:30:00+08:00"), closed);
    let trade = book
        .trade(at("2026-01-01T13:00:00+08:00"), "A", None)
        .unwrap();
    assert_eq!(trade.closed_at, Some(at("2026-01-01T12:03:00+08:00")));
}

#[test]
fn the_buyer_confirms_or_dismisses_at_the_planned_instant() {
    let mut confirmed = book(NOON, Buyer::ConfirmsAfter(5));
    assert_eq!(
        status(&mut confirmed, "2026-01-01T12:00:04+08:00").0,
        Status::WaitBuyerPay
    );
    assert_eq!(
        status(&mut confirmed, "2026-01-01T14:00:00+08:00").0,
        Status::TradeSuccess
    );
    let trade = confirmed
        .trade(at("2026-01-01T14:00:00+08:00"), "A", None)
        .unwrap();
    assert_eq!(trade.paid_at, Some(at("2026-01-01T12:00:05+08:00")));
    let mut dismissed = book(NOON, Buyer::DismissesAfter(5));
    let closed = (Status::TradeClosed, Some(CloseReason::Dismissed));
    assert_eq!(status(&mut dismissed, "2026-01-01T12:00:05+08:00"), closed);
}

#[test]
fn a_confirmation_after_the_expiry_comes_too_late() {
    let mut book = book(NOON, Buyer::ConfirmsAfter(180));
    let closed = (Status::TradeClosed, Some(CloseReason::Expired));
    assert_eq!(status(&mut book, "2026-01-01T12:05:00+08:00"), closed);
    assert_eq!(
        book.act(at("2026-01-01T12:05:00+08:00"), "A", true),
        Some(false)
    );
}

#[test]
fn a_repeated_payment_gets_the_trade_as_it_is() {
    let mut book = book(NOON, Buyer::ConfirmsAfter(5));
    let again = |book: &mut Book, now: &str, pay: &Pay| match book.pay(at(now), pay, &Script::PLAIN)
    {
        PayOutcome::Trade { trade, created } => {
            assert!(!created);
            trade.status.label()
        }
        PayOutcome::Refused(code) => code,
    };
    assert_eq!(again(&mut book, NOON, &pay("A")), "WAIT_BUYER_PAY");
    assert_eq!(
        again(&mut book, "2026-01-01T12:00:06+08:00", &pay("A")),
        "TRADE_SUCCESS"
    );
    let other_buyer = Pay {
        buyer_user_id: "2088000000000001".to_owned(),
        ..pay("A")
    };
    assert_eq!(
        again(&mut book, NOON, &other_buyer),
        "TRADE_BUYER_NOT_MATCH"
    );
    let other_amount = Pay {
        amount_minor: 1001,
        ..pay("A")
    };
    assert_eq!(
        again(&mut book, NOON, &other_amount),
        "CONTEXT_INCONSISTENT"
    );
    book.cancel(at("2026-01-01T12:00:07+08:00"), "A", None);
    assert_eq!(
        again(&mut book, "2026-01-01T12:00:08+08:00", &pay("A")),
        "TRADE_HAS_CLOSE"
    );
}

#[test]
fn cancel_succeeds_with_three_meanings_and_repeats_itself() {
    let now = at("2026-01-01T12:01:00+08:00");
    assert_eq!(
        Book::new().cancel(now, "A", None),
        CancelOutcome::NeverCreated
    );
    let mut unpaid = book(NOON, Buyer::NeverActs);
    assert!(matches!(
        unpaid.cancel(now, "A", None),
        CancelOutcome::Closed { now: true, .. }
    ));
    assert!(matches!(
        unpaid.cancel(now, "A", None),
        CancelOutcome::Closed { now: false, .. }
    ));
    let mut paid = book(NOON, Buyer::PaysAtOnce);
    let trade_no = paid.trade(now, "A", None).unwrap().alipay_trans_id.clone();
    let first = paid.cancel(now, "something else", Some(&trade_no));
    assert_eq!(
        first,
        CancelOutcome::Refunded {
            trade_no: trade_no.clone(),
            now: true
        }
    );
    let again = paid.cancel(at("2026-01-09T12:00:00+08:00"), "A", None);
    assert_eq!(
        again,
        CancelOutcome::Refunded {
            trade_no,
            now: false
        }
    );
    assert_eq!(paid.trade(now, "A", None).unwrap().refunded_minor, 1000);
}

#[test]
fn a_paid_trade_is_cancellable_until_midnight_only() {
    let created = "2026-01-01T23:50:00+08:00";
    let mut in_time = book(created, Buyer::PaysAtOnce);
    let outcome = in_time.cancel(at("2026-01-01T23:59:59.999+08:00"), "A", None);
    assert!(matches!(outcome, CancelOutcome::Refunded { now: true, .. }));
    let mut late = book(created, Buyer::PaysAtOnce);
    let outcome = late.cancel(at("2026-01-02T00:00:00+08:00"), "A", None);
    assert_eq!(outcome, CancelOutcome::Refused("TRADE_STATUS_ERROR"));
    assert_eq!(
        status(&mut late, "2026-01-02T00:00:00+08:00").0,
        Status::TradeSuccess
    );
}

#[test]
fn an_unpaid_trade_is_cancellable_over_midnight() {
    let mut unpaid = book("2026-01-01T23:59:00+08:00", Buyer::NeverActs);
    let outcome = unpaid.cancel(at("2026-01-02T00:01:00+08:00"), "A", None);
    assert!(matches!(outcome, CancelOutcome::Closed { now: true, .. }));
    // Paid after midnight, it belongs to the day before: too late at once.
    let mut paid = book("2026-01-01T23:59:00+08:00", Buyer::ConfirmsAfter(90));
    let outcome = paid.cancel(at("2026-01-02T00:01:00+08:00"), "A", None);
    assert_eq!(outcome, CancelOutcome::Refused("TRADE_STATUS_ERROR"));
}
