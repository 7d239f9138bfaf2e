//! The plan as a table over time.

use std::collections::BTreeMap;

use super::*;
use crate::domain::{
    attempt::AttemptKind,
    id::{AttemptId, MerchantId, PartnerTransId, PaymentId},
    money::{Currency, Money},
    payments::{
        payment::{CancelReason, Charge},
        poll::{Asked, PollState},
    },
};

/// 2026-01-02 11:04:05 in GMT+8.
fn noon() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().expect("an RFC 3339 instant")
}

fn open(reason: ProcessingReason, created_at: DateTime<Utc>) -> Payment {
    let id = PaymentId::mint();
    Payment {
        id,
        version: 1,
        merchant_id: MerchantId::mint(),
        store_id: "ST01".to_owned(),
        terminal_id: None,
        merchant_reference: "ORDER-1".parse().expect("a valid reference"),
        description: "tea".to_owned(),
        amount: Money::new(3925, Currency::HKD),
        barcode_hint: "28**************56".to_owned(),
        partner: "2088000000000001".to_owned(),
        partner_trans_id: PartnerTransId::for_payment(id),
        cancel_after_seconds: 60,
        metadata: BTreeMap::new(),
        allowed_wallets: None,
        state: PaymentState::Processing(reason),
        alipay_trans_id: None,
        charge: None,
        unpaid_wallet: None,
        canceling: None,
        reversal: None,
        refund_reserved_minor: 0,
        refunded_minor: 0,
        contradicted_at: None,
        proven_returned_minor: 0,
        decided_by_operator: false,
        poll: PollState::default(),
        created_at,
        updated_at: created_at,
        finalized_at: None,
    }
}

/// A question, and its answer at once.
fn ask(payment: &mut Payment, kind: AttemptKind, at: DateTime<Utc>, class: AnswerClass) {
    let poll = &mut payment.poll;
    poll.note(Asked {
        id: AttemptId::mint(),
        kind,
        sent_at: at,
        answer: Some((class, at)),
    });
    if kind == AttemptKind::Query {
        poll.queries += 1;
        poll.last_query_at = Some(at);
    } else {
        poll.cancels += 1;
        poll.last_cancel_at = Some(at);
    }
}

/// Plays the plan for `horizon`, answering each question with silence; returns when each was asked,
/// in seconds after creation.
fn play(payment: &mut Payment, horizon: TimeDelta) -> Vec<(i64, NextStep)> {
    let plan = Plan::default();
    let mut now = payment.created_at;
    let mut asked = vec![];
    while now <= payment.created_at + horizon {
        let step = next_step(&plan, payment, now);
        match step {
            NextStep::WaitUntil(due) => {
                assert!(due > now, "the plan must move on");
                now = due;
                continue;
            }
            NextStep::Query => ask(payment, AttemptKind::Query, now, AnswerClass::TimedOut),
            NextStep::Cancel => {
                ask(payment, AttemptKind::Cancel, now, AnswerClass::TimedOut);
                payment.canceling = Some(CancelReason::BuyerDidNotConfirm);
                payment.state = PaymentState::Processing(ProcessingReason::Canceling);
            }
            NextStep::GiveUp => {
                payment.state = PaymentState::Unresolved;
            }
            NextStep::Settled => unreachable!("silence settles nothing"),
        }
        asked.push(((now - payment.created_at).num_seconds(), step));
        now += TimeDelta::milliseconds(1);
    }
    asked
}

#[test]
fn r13_silence_is_answered_by_queries_then_cancels_between_queries() {
    let mut payment = open(ProcessingReason::Submitting, noon());
    let asked = play(&mut payment, TimeDelta::seconds(75));
    let queries: Vec<i64> = asked
        .iter()
        .take_while(|(_, step)| *step == NextStep::Query)
        .map(|(second, _)| *second)
        .collect();
    let mut expected: Vec<i64> = (0..19).map(|n| 5 + 3 * n).collect();
    // M10: once more, now that the buyer's time is over.
    expected.push(60);
    assert_eq!(queries, expected);
    let rest: Vec<_> = asked.iter().skip(queries.len()).copied().collect();
    assert_eq!(
        rest[..4],
        [
            (60, NextStep::Cancel),
            (60, NextStep::Query),
            (61, NextStep::Cancel),
            (62, NextStep::Query),
        ]
    );
}

#[test]
fn the_buyers_time_is_the_callers_choice() {
    for seconds in [15, 170] {
        let mut payment = open(ProcessingReason::AwaitingBuyer, noon());
        payment.cancel_after_seconds = seconds;
        let asked = play(&mut payment, TimeDelta::seconds(200));
        let first_cancel = asked.iter().find(|(_, step)| *step == NextStep::Cancel);
        assert_eq!(
            first_cancel.map(|(second, _)| *second),
            Some(i64::from(seconds))
        );
    }
}

#[test]
fn s4_a_week_of_silence_ends_unresolved_and_the_queries_go_on() {
    let mut payment = open(ProcessingReason::OutcomeUnknown, noon());
    let asked = play(&mut payment, TimeDelta::days(9));
    let give_up = asked.iter().position(|(_, step)| *step == NextStep::GiveUp);
    let give_up = give_up.expect("the plan ends");
    assert_eq!(asked[give_up].0, 7 * 24 * 3600);
    let later = &asked[give_up + 1..];
    assert!(later.len() >= 4, "a query every six hours: {later:?}");
    assert!(later.iter().all(|(_, step)| *step == NextStep::Query));
    assert!(
        asked.len() < 1_000,
        "the pace slows down: {} questions",
        asked.len()
    );
}

#[test]
fn no_cancel_is_sent_after_the_window() {
    // Created at 23:59:30 in GMT+8: cancelable for 15 minutes.
    let created_at: DateTime<Utc> = "2026-01-02T15:59:30Z".parse().expect("an RFC 3339 instant");
    let mut payment = open(ProcessingReason::OutcomeUnknown, created_at);
    let asked = play(&mut payment, TimeDelta::hours(2));
    let cancels: Vec<i64> = asked
        .iter()
        .filter(|(_, step)| *step == NextStep::Cancel)
        .map(|(second, _)| *second)
        .collect();
    assert_eq!(cancels.first(), Some(&60));
    assert!(
        cancels.last().is_some_and(|last| *last < 15 * 60),
        "{cancels:?}"
    );
    assert!(
        asked
            .last()
            .is_some_and(|(_, step)| *step == NextStep::Query)
    );
}

#[test]
fn a_worker_that_comes_after_the_window_only_asks() {
    let payment = open(ProcessingReason::Submitting, noon());
    let tomorrow = noon() + TimeDelta::days(1);
    assert_eq!(
        next_step(&Plan::default(), &payment, tomorrow),
        NextStep::Query
    );
}

#[test]
fn a_final_payment_owes_nothing() {
    let mut payment = open(ProcessingReason::Submitting, noon());
    for state in [
        PaymentState::Succeeded,
        PaymentState::Canceled {
            reason: CancelReason::NeverCreated,
            money_returned: false,
        },
    ] {
        payment.state = state;
        assert_eq!(
            next_step(&Plan::default(), &payment, noon()),
            NextStep::Settled
        );
    }
}

/// What turns out paid after its cancel window is asked about at once, not at the pace of what is old:
/// the answer decides what becomes of the wish to undo it. It waits while a cancel may still act.
#[test]
fn a_wish_that_finds_a_paid_payment_too_late_for_a_cancel_is_decided_at_once() {
    let mut payment = open(ProcessingReason::Submitting, noon());
    let paid = noon() + TimeDelta::days(7);
    payment.state = PaymentState::Succeeded;
    payment.canceling = Some(CancelReason::Requested);
    payment.finalized_at = Some(paid);
    payment.poll.last_query_at = Some(paid - TimeDelta::seconds(1));
    let at = |seconds| {
        next_step(
            &Plan::default(),
            &payment,
            paid + TimeDelta::seconds(seconds),
        )
    };
    assert_eq!(at(0), NextStep::Query);
    payment.poll.open_cancel_at = Some(paid - TimeDelta::seconds(20));
    let at = |seconds| {
        next_step(
            &Plan::default(),
            &payment,
            paid + TimeDelta::seconds(seconds),
        )
    };
    assert_eq!(at(39), NextStep::WaitUntil(paid + TimeDelta::seconds(40)));
    assert_eq!(at(40), NextStep::Query);
    payment.poll.last_query_at = Some(paid + TimeDelta::seconds(40));
    let at = |seconds| {
        next_step(
            &Plan::default(),
            &payment,
            paid + TimeDelta::seconds(seconds),
        )
    };
    assert_eq!(at(41), NextStep::WaitUntil(paid + TimeDelta::seconds(3640)));
}

#[test]
fn a_cancel_of_a_paid_payment_is_repeated_until_its_day_ends_then_a_query_decides() {
    let mut payment = open(ProcessingReason::Submitting, noon());
    payment.state = PaymentState::Succeeded;
    payment.canceling = Some(CancelReason::Requested);
    assert_eq!(
        next_step(&Plan::default(), &payment, noon()),
        NextStep::Cancel
    );
    payment.poll.cancels = 3;
    payment.poll.last_cancel_at = Some(noon());
    let midnight: DateTime<Utc> = "2026-01-02T16:00:00Z".parse().expect("an RFC 3339 instant");
    assert_eq!(
        next_step(&Plan::default(), &payment, midnight),
        NextStep::Query
    );
    payment.canceling = None;
    assert_eq!(
        next_step(&Plan::default(), &payment, midnight),
        NextStep::Settled
    );
}

#[test]
fn a_payment_that_turned_out_paid_is_not_canceled_again_unless_a_caller_wants_it() {
    let mut payment = open(ProcessingReason::Canceling, noon());
    payment.canceling = Some(CancelReason::BuyerDidNotConfirm);
    payment.charge = Some(Charge::default());
    let asked_at = noon() + TimeDelta::seconds(61);
    payment.poll = PollState {
        cancels: 1,
        last_cancel_at: Some(asked_at - TimeDelta::seconds(1)),
        queries: 19,
        last_query_at: Some(asked_at),
        ..PollState::default()
    };
    let steps = |payment: &Payment| {
        let after = (1..3600).map(|second| asked_at + TimeDelta::seconds(second));
        after
            .map(|now| next_step(&Plan::default(), payment, now))
            .filter(|step| !matches!(step, NextStep::WaitUntil(_)))
            .collect::<Vec<_>>()
    };
    assert!(
        steps(&payment).iter().all(|step| *step == NextStep::Query),
        "only asked"
    );
    assert_eq!(
        next_step(&Plan::default(), &payment, asked_at + TimeDelta::seconds(8)),
        NextStep::Query
    );
    payment.canceling = Some(CancelReason::Requested);
    assert!(steps(&payment).contains(&NextStep::Cancel));
}

/// How an open payment stood when our side went away at the end of the buyer's time: last asked, and
/// told that it waits, half a second before.
fn left_at_the_end(state: PaymentState, canceling: Option<CancelReason>) -> Payment {
    let mut payment = open(ProcessingReason::AwaitingBuyer, noon());
    let end = payment.cancel_at();
    payment.state = state;
    payment.canceling = canceling;
    if canceling.is_some() {
        let before = end - TimeDelta::seconds(1);
        ask(
            &mut payment,
            AttemptKind::Cancel,
            before,
            AnswerClass::TimedOut,
        );
    }
    let before = end - TimeDelta::milliseconds(500);
    ask(
        &mut payment,
        AttemptKind::Query,
        before,
        AnswerClass::Pending,
    );
    payment
}

/// M10: visits that come on time, and 5 s, 60 s, an hour and a day late, in every open state: what they do
/// first, and then on each answer. `q` is a query, `c` a cancel, `-` nothing now.
#[test]
fn m10_a_late_visit_asks_before_it_cancels_in_every_state() {
    use PaymentState::{Processing, Succeeded, Unresolved};
    use ProcessingReason as R;
    let unasked = Some(CancelReason::BuyerDidNotConfirm);
    let wanted = Some(CancelReason::Requested);
    // First, then on: waits, not found, paid, silence.
    for (state, canceling, by_lateness) in [
        (
            Processing(R::Submitting),
            None,
            ["qcc--", "qcc--", "qcc--", "qcc--", "q----"],
        ),
        (
            Processing(R::AwaitingBuyer),
            None,
            ["qcc--", "qcc--", "qcc--", "qcc--", "q----"],
        ),
        (
            Processing(R::OutcomeUnknown),
            None,
            ["qcc--", "qcc--", "qcc--", "qcc--", "q----"],
        ),
        (
            Processing(R::Canceling),
            unasked,
            ["ccc-c", "qcc--", "qcc--", "qcc--", "q----"],
        ),
        (
            Processing(R::Canceling),
            wanted,
            ["ccccc", "ccccc", "qcccc", "qcccc", "q----"],
        ),
        (
            Succeeded,
            wanted,
            ["ccccc", "ccccc", "qcccc", "qcccc", "q----"],
        ),
        (
            Unresolved,
            None,
            ["-----", "-----", "-----", "-----", "q----"],
        ),
    ] {
        for (late, expected) in [0, 5, 60, 3_600, 86_400].into_iter().zip(by_lateness) {
            let payment = left_at_the_end(state.clone(), canceling);
            let now = payment.cancel_at() + TimeDelta::seconds(late);
            let step = |payment: &Payment| match next_step(&Plan::default(), payment, now) {
                NextStep::Query => 'q',
                NextStep::Cancel => 'c',
                NextStep::WaitUntil(due) => {
                    assert!(due > now);
                    '-'
                }
                other => panic!("{other:?}"),
            };
            let mut found = String::from(step(&payment));
            for class in [
                AnswerClass::Pending,
                AnswerClass::NotFound,
                AnswerClass::Success,
                AnswerClass::TimedOut,
            ] {
                let mut asked = payment.clone();
                ask(&mut asked, AttemptKind::Query, now, class);
                found.push(step(&asked));
            }
            assert_eq!(found, expected, "{state:?} {canceling:?}, {late} s late");
        }
    }
}

/// M10: an Alipay that stays silent is asked several times, however late, before it is canceled unheard.
#[test]
fn m10_a_late_visit_to_a_silent_alipay_asks_several_times() {
    for late in [0, 5, 60, 3_600] {
        let mut payment = left_at_the_end(
            PaymentState::Processing(ProcessingReason::AwaitingBuyer),
            None,
        );
        let start = payment.cancel_at() + TimeDelta::seconds(late);
        let mut now = start;
        let mut asked = vec![];
        loop {
            match next_step(&Plan::default(), &payment, now) {
                NextStep::WaitUntil(due) => now = due,
                NextStep::Query => {
                    asked.push((now - start).num_seconds());
                    ask(&mut payment, AttemptKind::Query, now, AnswerClass::TimedOut);
                }
                NextStep::Cancel => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(asked, [0, 3, 6], "{late} s late");
    }
}

/// R13: a cancel that found no trade is not repeated; a query when the pay cannot arrive any more
/// decides.
#[test]
fn r13_a_lost_pay_that_a_cancel_did_not_find_is_asked_about_until_it_cannot_arrive() {
    let plan = Plan::default();
    let mut payment = open(ProcessingReason::Canceling, noon());
    payment.canceling = Some(CancelReason::Requested);
    let after = |seconds| noon() + TimeDelta::seconds(seconds);
    ask(
        &mut payment,
        AttemptKind::Cancel,
        after(3),
        AnswerClass::NotFound,
    );
    let mut now = after(3);
    let mut asked = vec![];
    while now <= after(52) {
        match next_step(&plan, &payment, now) {
            NextStep::WaitUntil(due) => now = due,
            NextStep::Query => {
                let second = (now - noon()).num_seconds();
                assert_eq!(never_existed(&plan, &payment, now), second >= 52);
                asked.push(second);
                ask(&mut payment, AttemptKind::Query, now, AnswerClass::NotFound);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(asked, [11, 19, 27, 35, 43, 51, 52]);
    // It arrived after all.
    ask(
        &mut payment,
        AttemptKind::Query,
        after(54),
        AnswerClass::Pending,
    );
    assert!(!never_existed(&plan, &payment, after(60)));
    assert_eq!(next_step(&plan, &payment, after(60)), NextStep::Cancel);
}

/// A pay that Alipay refused in words we do not know has come and gone: seconds, not minutes.
#[test]
fn r13_a_refused_pay_that_is_not_found_is_closed_in_seconds() {
    let plan = Plan::default();
    let mut payment = open(ProcessingReason::OutcomeUnknown, noon());
    payment.poll.pay_answer = Some(AnswerClass::UnknownCode);
    let after = |seconds| noon() + TimeDelta::seconds(seconds);
    assert_eq!(next_step(&plan, &payment, after(5)), NextStep::Query);
    ask(
        &mut payment,
        AttemptKind::Query,
        after(5),
        AnswerClass::NotFound,
    );
    assert_eq!(next_step(&plan, &payment, after(5)), NextStep::Cancel);
    assert!(
        !never_existed(&plan, &payment, after(5)),
        "no cancel says so"
    );
    payment.state = PaymentState::Processing(ProcessingReason::Canceling);
    payment.canceling = Some(CancelReason::BuyerDidNotConfirm);
    ask(
        &mut payment,
        AttemptKind::Cancel,
        after(5),
        AnswerClass::NotFound,
    );
    assert_eq!(next_step(&plan, &payment, after(6)), NextStep::Query);
    assert!(never_existed(&plan, &payment, after(6)));
}
