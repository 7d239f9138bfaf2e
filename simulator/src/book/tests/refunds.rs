//! How refunds run, fail and are undone.

use chrono::TimeDelta;

use super::*;
use crate::{
    book::policy::{InWindow, Repeats},
    charset::Charset,
    fault::Fault,
    request::{NotifyTo, Refund as RefundRequest},
    scenario::chosen_by,
};

/// An instant in Beijing, `01-02 13:00:00` of 2026.
fn hk(text: &str) -> DateTime<Utc> {
    at(&format!("2026-{}+08:00", text.replace(' ', "T")))
}

/// A book with the trade `A` over 10.00, paid at noon of January 1st.
fn paid() -> Book {
    book(NOON, Buyer::PaysAtOnce)
}

/// The same, with the code of a refund scenario.
fn paid_with(ending: &str) -> Book {
    let mut book = Book::new();
    book.pay(at(NOON), &pay("A"), &chosen_by(ending).0);
    book
}

fn under(policy: RefundPolicy) -> Book {
    let mut book = paid();
    book.set_policy(hk("01-01 12:00:00"), policy);
    book
}

/// The strictest reading: every asynchronous refund waits for the batch that begins after its acceptance.
fn strict() -> RefundPolicy {
    RefundPolicy {
        in_window: InWindow::NextNight,
        ..RefundPolicy::default()
    }
}

fn request(id: &str, amount_minor: i64, sync: bool) -> RefundRequest {
    RefundRequest {
        partner_trans_id: "A".to_owned(),
        alipay_trans_id: None,
        partner_refund_id: id.to_owned(),
        amount_minor,
        currency: "HKD".to_owned(),
        reason: String::new(),
        sync,
        notify_to: None,
    }
}

/// Asks for an asynchronous refund of 1.00, or a synchronous one; the status or the refusal.
fn ask(book: &mut Book, now: &str, id: &str, sync: bool) -> &'static str {
    answer(book.refund(hk(now), &request(id, 100, sync)))
}

fn answer(outcome: RefundOutcome) -> &'static str {
    match outcome {
        RefundOutcome::Refused(code) => code,
        RefundOutcome::Accepted { refund, .. } => refund.status.label(),
    }
}

fn look(book: &mut Book, now: &str, id: &str) -> Refund {
    book.find_refund(hk(now), "A", id).unwrap().clone()
}

/// Status and finish of a refund, as it is at `now`.
fn end(book: &mut Book, now: &str, id: &str) -> (&'static str, Option<DateTime<Utc>>) {
    let refund = look(book, now, id);
    (refund.status.label(), refund.finished_at)
}

#[test]
fn a_failed_refund_is_done_after_all_if_the_money_is_there() {
    let mut book = paid();
    let now = hk("01-01 13:00:00");
    assert_eq!(ask(&mut book, "01-01 12:00:10", "R1", true), "SUCCESS");
    let failed = RefundStatus::Failed;
    assert_eq!(book.undo_refund(now, "R1", failed, None), Some(true));
    let done = RefundStatus::Success;
    assert_eq!(book.undo_refund(now, "R1", done, None), Some(true));
    assert_eq!(book.trade(now, "A", None).unwrap().refunded_minor, 100);
    assert_eq!(book.undo_refund(now, "R1", done, None), Some(false));
    assert_eq!(book.undo_refund(now, "R1", failed, None), Some(true));
    book.refund(now, &request("R2", 1000, true));
    assert_eq!(book.undo_refund(now, "R1", done, None), Some(false));
}

#[test]
fn refunds_are_bounded_idempotent_and_close_the_trade() {
    let mut book = paid();
    let now = hk("01-03 12:00:00");
    let mut ask = |id, amount| answer(book.refund(now, &request(id, amount, true)));
    assert_eq!(ask("R1", 400), "SUCCESS");
    assert_eq!(ask("R1", 400), "SUCCESS");
    assert_eq!(ask("R1", 401), "DISCORDANT_REPEAT_REQUEST");
    assert_eq!(ask("R2", 601), "RETURN_AMOUNT_EXCEED");
    assert_eq!(ask("R2", 600), "SUCCESS");
    assert_eq!(ask("R3", 1), "TRADE_HAS_CLOSE");
    let closed = (Status::TradeClosed, Some(CloseReason::Refunded));
    assert_eq!(status(&mut book, "2026-01-03T12:00:00+08:00"), closed);
    let refused = CancelOutcome::Refused("TRADE_STATUS_ERROR");
    assert_eq!(book.cancel(now, "A", None), refused);
}

#[test]
fn a_trade_with_a_pending_refund_cannot_be_canceled() {
    let mut book = under(strict());
    assert_eq!(ask(&mut book, "01-01 13:00:00", "R", false), "PROCESSING");
    let now = hk("01-01 13:00:01");
    let refused = CancelOutcome::Refused("TRADE_STATUS_ERROR");
    assert_eq!(book.cancel(now, "A", None), refused);
    assert_eq!(
        book.undo_refund(now, "R", RefundStatus::Failed, None),
        Some(true)
    );
    assert!(matches!(
        book.cancel(now, "A", None),
        CancelOutcome::Refunded { now: true, .. }
    ));
}

#[test]
fn in_the_strict_reading_a_refund_waits_for_the_batch_that_opens_after_its_acceptance() {
    for (accepted, opens) in [
        ("01-01 13:00:00", "01-01 23:00:00"),
        ("01-01 22:59:59.999", "01-01 23:00:00"),
        ("01-01 23:00:00.000", "01-02 23:00:00"),
        ("01-01 23:00:00.001", "01-02 23:00:00"),
        ("01-02 00:00:00", "01-02 23:00:00"),
        ("01-31 23:59:59.999", "02-01 23:00:00"),
    ] {
        let mut book = under(strict());
        assert_eq!(
            ask(&mut book, accepted, "R", false),
            "PROCESSING",
            "{accepted}"
        );
        let just_before = hk(opens) - TimeDelta::milliseconds(1);
        assert_eq!(
            book.find_refund(just_before, "A", "R").unwrap().status,
            RefundStatus::Processing,
            "{accepted}"
        );
        let done = ("SUCCESS", Some(hk(opens)));
        assert_eq!(end(&mut book, opens, "R"), done, "{accepted}");
    }
}

#[test]
fn in_the_other_reading_the_open_batch_takes_what_is_accepted() {
    let reading = RefundPolicy::default();
    for now in ["01-01 23:00:00.000", "01-02 00:30:00", "01-02 04:59:59.999"] {
        let mut book = under(reading.clone());
        assert_eq!(ask(&mut book, now, "R", false), "SUCCESS", "{now}");
        assert_eq!(end(&mut book, now, "R").1, Some(hk(now)));
    }
    for (now, opens) in [
        ("01-01 22:59:59.999", "01-01 23:00:00"),
        ("01-02 05:00:00.000", "01-02 23:00:00"),
    ] {
        let mut book = under(reading.clone());
        assert_eq!(ask(&mut book, now, "R", false), "PROCESSING", "{now}");
        assert_eq!(end(&mut book, opens, "R"), ("SUCCESS", Some(hk(opens))));
    }
}

#[test]
fn a_refund_on_the_payments_day_runs_at_once_and_a_later_one_in_the_night() {
    let mut book = under(RefundPolicy {
        same_day_immediate: true,
        ..strict()
    });
    assert_eq!(ask(&mut book, "01-01 13:00:00", "R1", false), "SUCCESS");
    assert_eq!(ask(&mut book, "01-01 23:30:00", "R2", false), "SUCCESS");
    assert_eq!(ask(&mut book, "01-02 13:00:00", "R3", false), "PROCESSING");
    let done = ("SUCCESS", Some(hk("01-02 23:00:00")));
    assert_eq!(end(&mut book, "01-09 00:00:00", "R3"), done);
}

#[test]
fn a_batch_that_takes_its_time_works_until_five_and_leaves_the_rest_to_the_next_night() {
    let mut book = under(RefundPolicy {
        batch_delay_seconds: 3600,
        ..strict()
    });
    let ids: Vec<String> = (1..=8).map(|n| format!("R{n}")).collect();
    for id in &ids {
        assert_eq!(ask(&mut book, "01-01 13:00:00", id, false), "PROCESSING");
    }
    assert_eq!(
        end(&mut book, "01-02 02:59:59.999", "R4"),
        ("PROCESSING", None)
    );
    assert_eq!(end(&mut book, "01-02 03:00:00", "R4").0, "SUCCESS");
    let ends: Vec<_> = ids
        .iter()
        .map(|id| end(&mut book, "01-05 00:00:00", id).1.unwrap())
        .collect();
    let expected = [
        "01-02 00:00:00",
        "01-02 01:00:00",
        "01-02 02:00:00",
        "01-02 03:00:00",
        "01-02 04:00:00",
        "01-02 05:00:00",
        "01-03 00:00:00",
        "01-03 01:00:00",
    ];
    assert_eq!(ends, expected.map(hk));
    assert_eq!(look(&mut book, "01-05 00:00:00", "R8").batches_tried, 1);
}

#[test]
fn a_refund_that_joins_the_open_batch_stands_behind_those_that_were_there() {
    let mut book = under(RefundPolicy {
        batch_delay_seconds: 600,
        ..RefundPolicy::default()
    });
    for id in ["R1", "R2", "R3"] {
        assert_eq!(ask(&mut book, "01-01 13:00:00", id, false), "PROCESSING");
    }
    assert_eq!(ask(&mut book, "01-01 23:05:00", "R4", false), "PROCESSING");
    assert_eq!(ask(&mut book, "01-02 01:00:00", "R5", false), "PROCESSING");
    let mut ended = |id| end(&mut book, "01-02 06:00:00", id).1;
    assert_eq!(ended("R3"), Some(hk("01-01 23:30:00")));
    assert_eq!(ended("R4"), Some(hk("01-01 23:40:00")));
    assert_eq!(ended("R5"), Some(hk("01-02 01:10:00")));
}

#[test]
fn a_partial_batch_does_the_first_and_the_next_night_the_others() {
    let mut book = under(RefundPolicy {
        batch_limit: Some(2),
        ..strict()
    });
    for id in ["R1", "R2", "R3", "R4", "R5"] {
        ask(&mut book, "01-01 13:00:00", id, false);
    }
    let statuses = |book: &mut Book, now| {
        ["R1", "R2", "R3", "R4", "R5"].map(|id| end(book, now, id).0 == "SUCCESS")
    };
    let first = [true, true, false, false, false];
    assert_eq!(statuses(&mut book, "01-02 12:00:00"), first);
    let left = look(&mut book, "01-02 12:00:00", "R3");
    assert_eq!((left.batches_tried, left.error_code), (0, None));
    let second = [true, true, true, true, false];
    assert_eq!(statuses(&mut book, "01-03 12:00:00"), second);
    book.set_policy(hk("01-03 12:00:00"), strict());
    assert_eq!(statuses(&mut book, "01-03 23:00:00"), [true; 5]);
}

#[test]
fn short_funds_refuse_a_synchronous_refund_and_delay_an_asynchronous_one() {
    let poor = RefundPolicy {
        funds_sufficient: false,
        same_day_immediate: true,
        ..RefundPolicy::default()
    };
    let mut book = under(poor);
    let now = "01-01 13:00:00";
    assert_eq!(ask(&mut book, now, "R1", true), BALANCE_TOO_LOW);
    assert_eq!(ask(&mut book, now, "R2", false), "PROCESSING");
    let at_once = look(&mut book, now, "R2");
    assert_eq!(at_once.error_code.as_deref(), Some(BALANCE_TOO_LOW));
    assert_eq!(book.next_try(&at_once), Some(hk("01-01 23:00:00")));
    let later = look(&mut book, "01-03 12:00:00", "R2");
    assert_eq!(later.status, RefundStatus::Processing);
    assert_eq!(later.error_code.as_deref(), Some(BALANCE_TOO_LOW));
    assert_eq!(later.batches_tried, 2);
    book.set_policy(hk("01-03 12:00:00"), RefundPolicy::default());
    let done = look(&mut book, "01-04 12:00:00", "R2");
    assert_eq!(
        (done.status, done.error_code),
        (RefundStatus::Success, None)
    );
    assert_eq!(done.finished_at, Some(hk("01-03 23:00:00")));
    assert_eq!(done.batches_tried, 3);
}

const BALANCE_TOO_LOW: &str = "MERCHANT_BALANCE_NOT_ENOUGH";

#[test]
fn after_n_short_nights_the_next_batch_does_it() {
    for n in [1, 2, 30] {
        let mut book = under(RefundPolicy {
            short_nights: n,
            ..strict()
        });
        let now = "01-01 13:00:00";
        assert_eq!(ask(&mut book, now, "R1", true), BALANCE_TOO_LOW);
        assert_eq!(ask(&mut book, now, "R2", false), "PROCESSING");
        assert_eq!(look(&mut book, now, "R2").error_code, None);
        // What is accepted later is not touched by the nights before it.
        book.set_policy(hk(now), strict());
        assert_eq!(ask(&mut book, now, "R3", true), "SUCCESS");
        let last_short = hk("01-01 23:00:00") + TimeDelta::days(i64::from(n) - 1);
        let waiting = book.find_refund(last_short, "A", "R2").unwrap().clone();
        assert_eq!(waiting.status, RefundStatus::Processing, "{n}");
        assert_eq!(waiting.error_code.as_deref(), Some(BALANCE_TOO_LOW));
        let done_at = last_short + TimeDelta::days(1);
        let done = book.find_refund(done_at, "A", "R2").unwrap();
        assert_eq!(done.status, RefundStatus::Success, "{n}");
        assert_eq!(done.finished_at, Some(done_at));
        assert_eq!(done.batches_tried, n + 1);
    }
}

#[test]
fn without_money_alipay_gives_up_180_days_after_the_acceptance() {
    let mut book = under(RefundPolicy {
        short_nights: 1000,
        ..strict()
    });
    ask(&mut book, "01-01 13:00:00", "R", false);
    let given_up = hk("01-01 13:00:00") + TimeDelta::days(180);
    let before = book.find_refund(given_up - TimeDelta::milliseconds(1), "A", "R");
    assert_eq!(before.unwrap().status, RefundStatus::Processing);
    assert_eq!(
        amounts(&mut book, given_up - TimeDelta::milliseconds(1)),
        (0, 100)
    );
    let after = book.find_refund(given_up, "A", "R").unwrap().clone();
    assert_eq!(after.status, RefundStatus::Failed);
    assert_eq!(after.error_code.as_deref(), Some(BALANCE_TOO_LOW));
    assert_eq!(after.finished_at, Some(given_up));
    assert_eq!(after.batches_tried, 180);
    assert_eq!(amounts(&mut book, given_up), (0, 0));
    let states: Vec<_> = after
        .history
        .iter()
        .map(|(status, _)| status.label())
        .collect();
    assert_eq!(states, ["PROCESSING", "FAILED"]);
}

/// What was refunded, and what is pending.
fn amounts(book: &mut Book, now: DateTime<Utc>) -> (i64, i64) {
    let trade = book.trade(now, "A", None).unwrap();
    (trade.refunded_minor, trade.refund_pending_minor)
}

#[test]
fn a_silent_failure_is_found_in_the_batch_and_reported_to_nobody() {
    let mut book = under(RefundPolicy {
        fails_with: Some("BUYER_NOT_EXIST".into()),
        ..RefundPolicy::default()
    });
    let mut asked = request("R", 100, false);
    asked.notify_to = Some(notify_to());
    let accepted = book.refund(hk("01-01 13:00:00"), &asked);
    assert_eq!(answer(accepted), "PROCESSING");
    let failed = look(&mut book, "01-01 23:00:00", "R");
    assert_eq!(failed.status, RefundStatus::Failed);
    assert_eq!(failed.error_code.as_deref(), Some("BUYER_NOT_EXIST"));
    assert!(book.take_announcements(hk("01-02 12:00:00")).is_empty());
    assert_eq!(amounts(&mut book, hk("01-02 12:00:00")), (0, 0));
}

fn notify_to() -> NotifyTo {
    NotifyTo {
        url: "http://127.0.0.1:1/n".to_owned(),
        charset: Charset::Utf8,
    }
}

#[test]
fn a_success_is_announced_once_with_its_own_instant() {
    let mut book = under(strict());
    for (id, sync) in [("R1", false), ("R2", true)] {
        let mut asked = request(id, 100, sync);
        asked.notify_to = Some(notify_to());
        book.refund(hk("01-01 13:00:00"), &asked);
    }
    assert!(book.take_announcements(hk("01-01 22:59:59")).is_empty());
    let announced = book.take_announcements(hk("01-09 00:00:00"));
    let [(instant, refund, trade)] = announced.as_slice() else {
        panic!("{announced:?}");
    };
    assert_eq!(*instant, hk("01-01 23:00:00"));
    assert_eq!(refund.partner_refund_id, "R1");
    assert_eq!(trade.alipay_trans_id.len(), 28);
    assert_eq!(trade.refunded_minor, 200, "what went back so far");
    assert!(book.take_announcements(hk("01-09 00:00:01")).is_empty());
}

#[test]
fn a_success_that_is_reversed_books_the_money_back() {
    let mut book = paid();
    let now = hk("01-03 12:00:00");
    assert_eq!(
        answer(book.refund(now, &request("R1", 1000, true))),
        "SUCCESS"
    );
    let closed = (Status::TradeClosed, Some(CloseReason::Refunded));
    assert_eq!(status(&mut book, "2026-01-03T12:00:00+08:00"), closed);
    let later = hk("01-05 12:00:00");
    let code = Some("ACCOUNT_CLOSED".to_owned());
    let undone = book.undo_refund(later, "R1", RefundStatus::Failed, code.clone());
    assert_eq!(undone, Some(true));
    let open = (Status::TradeSuccess, None);
    assert_eq!(status(&mut book, "2026-01-05T12:00:00+08:00"), open);
    assert_eq!(amounts(&mut book, later), (0, 0));
    let refund = look(&mut book, "01-05 12:00:00", "R1");
    let states: Vec<_> = refund
        .history
        .iter()
        .map(|(status, _)| status.label())
        .collect();
    assert_eq!(states, ["PROCESSING", "SUCCESS", "FAILED"]);
    assert_eq!(refund.error_code.as_deref(), Some("ACCOUNT_CLOSED"));
    assert_eq!(refund.finished_at, Some(later));
    let again = book.undo_refund(later, "R1", RefundStatus::Failed, code);
    assert_eq!(again, Some(false));
    assert_eq!(
        book.undo_refund(later, "R9", RefundStatus::Failed, None),
        None
    );
    // The repetition of the request is told so; another refund may take the money.
    assert_eq!(
        answer(book.refund(later, &request("R1", 1000, true))),
        "FAILED"
    );
    assert_eq!(
        answer(book.refund(later, &request("R2", 1000, true))),
        "SUCCESS"
    );
}

#[test]
fn a_pending_refund_that_is_canceled_leaves_the_batch() {
    let mut book = under(RefundPolicy {
        batch_delay_seconds: 3600,
        ..strict()
    });
    for id in ["R1", "R2"] {
        ask(&mut book, "01-01 13:00:00", id, false);
    }
    // One waits for the night, the other is in the batch already.
    let waiting = book.undo_refund(hk("01-01 14:00:00"), "R1", RefundStatus::Canceled, None);
    let placed = book.undo_refund(hk("01-01 23:30:00"), "R2", RefundStatus::Canceled, None);
    assert_eq!((waiting, placed), (Some(true), Some(true)));
    for id in ["R1", "R2"] {
        assert_eq!(end(&mut book, "01-09 00:00:00", id).0, "CANCELED");
    }
    assert_eq!(amounts(&mut book, hk("01-09 00:00:00")), (0, 0));
}

#[test]
fn a_portal_refund_takes_from_what_can_be_refunded() {
    let mut book = under(strict());
    let now = hk("01-01 13:00:00");
    let portal = book.portal_refund(now, "A", 700, None);
    let Some(RefundOutcome::Accepted { refund, .. }) = portal else {
        panic!("{portal:?}");
    };
    assert_eq!(refund.origin, Origin::Portal);
    assert_eq!(refund.status, RefundStatus::Processing);
    assert!(refund.partner_refund_id.starts_with("PORTAL"));
    let mut ask = |id, amount| answer(book.refund(now, &request(id, amount, true)));
    assert_eq!(ask("R1", 301), "RETURN_AMOUNT_EXCEED");
    assert_eq!(ask("R1", 300), "SUCCESS");
    let named = book.portal_refund(now, "A", 1, Some("P2".to_owned()));
    assert_eq!(named.map(answer), Some("RETURN_AMOUNT_EXCEED"));
    assert!(book.portal_refund(now, "B", 1, None).is_none());
    assert_eq!(amounts(&mut book, hk("01-02 00:00:00")), (1000, 0));
}

#[test]
fn repetitions_are_answered_as_the_policy_says() {
    for (repeats, expected) in [
        (Repeats::CurrentState, "SUCCESS"),
        (
            Repeats::RepeatedRefundmentRequest,
            "REPEATED_REFUNDMENT_REQUEST",
        ),
        (
            Repeats::DiscordantRepeatRequest,
            "DISCORDANT_REPEAT_REQUEST",
        ),
    ] {
        let mut book = under(RefundPolicy {
            repeats,
            ..RefundPolicy::default()
        });
        assert_eq!(ask(&mut book, "01-01 13:00:00", "R", true), "SUCCESS");
        assert_eq!(ask(&mut book, "01-01 13:00:01", "R", true), expected);
        let moved = amounts(&mut book, hk("01-01 13:00:02"));
        assert_eq!(moved, (100, 0), "{expected}: done once");
    }
}

#[test]
fn the_code_of_the_payment_chooses_how_its_refunds_go() {
    let mut short = paid_with("4004");
    assert_eq!(
        ask(&mut short, "01-01 13:00:00", "R1", true),
        BALANCE_TOO_LOW
    );
    assert_eq!(ask(&mut short, "01-01 13:00:00", "R2", false), "PROCESSING");
    assert_eq!(end(&mut short, "01-03 22:59:59", "R2").0, "PROCESSING");
    let third_night = ("SUCCESS", Some(hk("01-03 23:00:00")));
    assert_eq!(end(&mut short, "01-09 00:00:00", "R2"), third_night);

    let mut failing = paid_with("4005");
    assert_eq!(
        ask(&mut failing, "01-01 13:00:00", "R1", false),
        "PROCESSING"
    );
    assert_eq!(ask(&mut failing, "01-01 13:00:00", "R2", true), "SUCCESS");
    let failed = look(&mut failing, "01-01 23:00:00", "R1");
    assert_eq!(
        failed.error_code.as_deref(),
        Some("REASON_TRADE_BEEN_FREEZEN")
    );

    let mut slow = paid_with("4013");
    let at_once = RefundPolicy {
        same_day_immediate: true,
        ..RefundPolicy::default()
    };
    slow.set_policy(hk("01-01 12:00:00"), at_once);
    assert_eq!(ask(&mut slow, "01-01 13:00:00", "R1", false), "PROCESSING");
    let tonight = ("SUCCESS", Some(hk("01-01 23:00:00")));
    assert_eq!(end(&mut slow, "01-02 00:00:00", "R1"), tonight);

    let mut hopeless = paid_with("4014");
    ask(&mut hopeless, "01-01 13:00:00", "R1", false);
    assert_eq!(end(&mut hopeless, "07-30 00:00:00", "R1").0, "FAILED");
}

#[test]
fn a_scenario_lies_about_each_refund_once() {
    let mut book = paid_with("4003");
    let lost = Some(Fault::DropBeforeEffect);
    assert_eq!(book.refund_fault(&request("R1", 100, true)), lost);
    assert_eq!(book.refund_fault(&request("R1", 100, true)), None);
    assert_eq!(book.refund_fault(&request("R2", 100, true)), lost);
    assert_eq!(paid().refund_fault(&request("R1", 100, true)), None);
}

/// Reading is free while nothing is due, and a night costs one look at each refund that waits.
#[test]
fn ten_thousand_refunds_wait_180_nights() {
    const COUNT: usize = 10_000;
    let mut book = Book::new();
    let large = Pay {
        amount_minor: 10_000_000,
        ..pay("A")
    };
    book.pay(at(NOON), &large, &script(Buyer::PaysAtOnce));
    book.set_policy(
        at(NOON),
        RefundPolicy {
            funds_sufficient: false,
            ..RefundPolicy::default()
        },
    );
    let accepted_at =
        |n: usize| hk("01-01 13:00:00") + TimeDelta::seconds(i64::try_from(n).unwrap());
    for n in 0..COUNT {
        let outcome = book.refund(accepted_at(n), &request(&format!("R{n}"), 100, false));
        assert_eq!(answer(outcome), "PROCESSING");
    }
    for night in 0..=180 {
        let now = hk("01-02 12:00:00") + TimeDelta::days(night);
        // As many readings as a gateway would make.
        for n in (0..COUNT).step_by(10) {
            book.find_refund(now, "A", &format!("R{n}")).unwrap();
        }
    }
    let trade = book.trade(hk("07-01 12:00:00"), "A", None).unwrap();
    assert_eq!(trade.refund_pending_minor, 0);
    for (n, refund) in book.refunds().iter().enumerate() {
        assert_eq!(refund.status, RefundStatus::Failed);
        let given_up = accepted_at(n) + TimeDelta::days(180);
        assert_eq!(refund.finished_at, Some(given_up));
        assert_eq!(refund.batches_tried, 180);
    }
}
