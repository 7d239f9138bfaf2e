//! The transition table of [`Refund::apply`], every state against every event, and what no sequence of
//! events may break.

use proptest::prelude::*;

use super::*;
use crate::domain::money::Currency;

fn at(milliseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_767_323_045_000 + milliseconds).expect("a date of our time")
}

/// A refund of HK$10 that was sent once, when it was made.
pub(crate) fn refund(mode: RefundMode, created_at: DateTime<Utc>) -> Refund {
    let (id, payment_id) = (RefundId::mint(), PaymentId::mint());
    Refund {
        id,
        version: 1,
        merchant_id: MerchantId::mint(),
        payment_id,
        origin: RefundOrigin::Gateway,
        mode,
        amount: Money::new(1000, Currency::HKD),
        merchant_reference: Some("RETURN-1".parse().expect("a valid reference")),
        reason: Some("soup missing".to_owned()),
        partner: "2088000000000001".to_owned(),
        partner_trans_id: PartnerTransId::for_payment(payment_id),
        partner_refund_id: PartnerRefundId::for_refund(id),
        alipay_trans_id: Some("2026010222001400000000000001".to_owned()),
        state: RefundState::Pending(PendingReason::Submitting),
        refusal: None,
        unknown_code: None,
        accepted_at: None,
        succeeded_at: None,
        contradicted_at: None,
        decided_by_operator: false,
        failed_late: false,
        poll: RefundPollState {
            next_check_at: Some(created_at + TimeDelta::seconds(10)),
            submits: 1,
            last_submit_at: Some(created_at),
            ..RefundPollState::default()
        },
        created_at,
        updated_at: created_at,
        finalized_at: None,
    }
}

fn failure(code: &str) -> RefundFailure {
    RefundFailure {
        code: code.to_owned(),
        message: format!("what {code} means"),
    }
}

/// The codes that the events of these tests carry; each names the event in the failure it leads to.
const REFUSED: &str = "RETURN_AMOUNT_EXCEED";
const DOUBTED: &str = "TRADE_HAS_CLOSE";
const SHORT: &str = "MERCHANT_BALANCE_NOT_ENOUGH";
const EARLIER: &str = "CURRENCY_NOT_SAME";
const GIVEN_UP: &str = "REFUND_EXPIRED";
const REVERSED: &str = "BUYER_NOT_EXIST";

const ACCEPTED_AT: i64 = 2_000;

/// Every way a refund can stand.
fn standings() -> Vec<(&'static str, Refund)> {
    use PendingReason as R;
    let pending = |reason| {
        let mut refund = refund(RefundMode::Sync, at(0));
        refund.version = 3;
        refund.state = RefundState::Pending(reason);
        refund
    };
    let accepted = |mut refund: Refund| {
        refund.accepted_at = Some(at(ACCEPTED_AT));
        refund
    };
    let refused = |mut refund: Refund| {
        refund.refusal = Some(failure(EARLIER));
        refund
    };
    let ended = |state: RefundState| {
        let mut refund = accepted(pending(R::Submitting));
        refund.succeeded_at = (state == RefundState::Succeeded).then(|| at(4_000));
        refund.finalized_at = state.is_final().then(|| at(4_000));
        if state.is_final() {
            refund.poll.next_check_at = None;
        }
        refund.state = state;
        refund
    };
    let unheard_of = |mut refund: Refund| {
        refund.accepted_at = None;
        refund
    };
    vec![
        ("submitting", pending(R::Submitting)),
        ("unknown", pending(R::OutcomeUnknown)),
        ("unknown, refused", refused(pending(R::OutcomeUnknown))),
        ("in the batch", accepted(pending(R::AwaitingBatch))),
        ("short of funds, refused", pending(R::InsufficientFunds)),
        (
            "short of funds, accepted",
            accepted(pending(R::InsufficientFunds)),
        ),
        ("processing", accepted(pending(R::Processing))),
        (
            "unresolved, unheard of",
            unheard_of(ended(RefundState::Unresolved)),
        ),
        (
            "unresolved, refused",
            refused(unheard_of(ended(RefundState::Unresolved))),
        ),
        ("unresolved, accepted", ended(RefundState::Unresolved)),
        ("succeeded", ended(RefundState::Succeeded)),
        ("failed", ended(RefundState::Failed(failure(EARLIER)))),
    ]
}

fn waiting(code: Option<&str>) -> RefundEvent {
    RefundEvent::Waiting {
        code: code.map(str::to_owned),
        accepted_at: Some(at(ACCEPTED_AT)),
    }
}

/// An event, and how long after the request the last query was sent.
type Told = (RefundEvent, i64);

/// What means the same in both modes and however often the request was sent.
fn events() -> Vec<Told> {
    let soon = |event| (event, 59_999);
    vec![
        soon(RefundEvent::Succeeded { accepted_at: None }),
        soon(RefundEvent::Succeeded {
            accepted_at: Some(at(ACCEPTED_AT)),
        }),
        soon(RefundEvent::Accepted),
        soon(waiting(Some(SHORT))),
        soon(waiting(Some("SOME_OTHER_REASON"))),
        soon(RefundEvent::NotFound),
        (RefundEvent::NotFound, 60_000),
        soon(RefundEvent::OutcomeBecameUnknown),
        soon(RefundEvent::FailedAtAlipay(failure(GIVEN_UP))),
        soon(RefundEvent::ReversedByAlipay(failure(REVERSED))),
        soon(RefundEvent::PlanExhausted),
        soon(RefundEvent::Resolved(RefundResolution::Succeeded)),
        soon(RefundEvent::Resolved(RefundResolution::Failed)),
    ]
}

/// What means another thing by the mode, or where the request was repeated.
fn answers() -> Vec<Told> {
    let soon = |event| (event, 59_999);
    vec![
        soon(waiting(None)),
        soon(RefundEvent::Refused(failure(REFUSED))),
        soon(RefundEvent::Doubted(failure(DOUBTED))),
        soon(RefundEvent::FundsShort(failure(SHORT))),
    ]
}

fn letter(state: &RefundState) -> &'static str {
    use PendingReason as R;
    match state {
        RefundState::Pending(R::Submitting) => "Q",
        RefundState::Pending(R::AwaitingBatch) => "B",
        RefundState::Pending(R::InsufficientFunds) => "I",
        RefundState::Pending(R::OutcomeUnknown) => "U",
        RefundState::Pending(R::Processing) => "P",
        RefundState::Succeeded => "S",
        RefundState::Failed(_) => "F",
        RefundState::Unresolved => "X",
    }
}

/// The failure that an event leads to, where it leads to one.
fn told_failure(event: &RefundEvent) -> RefundFailure {
    match event {
        RefundEvent::Refused(failure)
        | RefundEvent::Doubted(failure)
        | RefundEvent::FundsShort(failure)
        | RefundEvent::FailedAtAlipay(failure)
        | RefundEvent::ReversedByAlipay(failure) => failure.clone(),
        // Confirms what had been refused before.
        RefundEvent::NotFound => failure(EARLIER),
        RefundEvent::Resolved(RefundResolution::Failed) => RefundFailure {
            code: "RESOLVED_BY_OPERATOR".to_owned(),
            message: "Nothing went back, as an operator has found out.".to_owned(),
        },
        other => unreachable!("{} fails nothing", other.name()),
    }
}

/// What happened, in the signs of the tables, after a look at all that follows from them.
fn outcome(before: &Refund, told: &Told) -> String {
    let (event, asked_after) = told;
    let mut before = before.clone();
    before.poll.checks_done = 1;
    before.poll.last_check_at = Some(at(*asked_after));
    let now = at(90_000);
    let after = match before.apply(event, now) {
        Ok(None) => return "-".to_owned(),
        Err(contradiction) => {
            assert_eq!(contradiction.event, event.name());
            assert_eq!(contradiction.from, before.state.status());
            return "!".to_owned();
        }
        Ok(Some(after)) => after,
    };
    assert_eq!(after.version, before.version + 1);
    assert_eq!(after.updated_at, now);
    assert_eq!(after.apply(event, at(91_000)), Ok(None), "s7: news once");
    let is_final = after.state.is_final();
    assert_eq!(after.finalized_at, is_final.then_some(now));
    let succeeded_at = match after.state {
        RefundState::Succeeded => Some(now),
        _ => before.succeeded_at,
    };
    assert_eq!(after.succeeded_at, succeeded_at);
    if is_final {
        assert_eq!(after.poll.next_check_at, None, "nothing more is asked");
    } else {
        assert_eq!(after.poll, before.poll);
    }
    let amount = before.amount.minor();
    let books = match (&before.state, &after.state) {
        (RefundState::Succeeded, RefundState::Failed(_)) => (-amount, -amount),
        (_, RefundState::Failed(_)) => (-amount, 0),
        (_, RefundState::Succeeded) => (0, amount),
        _ => (0, 0),
    };
    let change = before.book_change(&after);
    assert_eq!((change.reserved_minor, change.refunded_minor), books);
    if let RefundState::Failed(failure) = &after.state {
        assert_eq!(*failure, told_failure(event));
    }
    let mut signs = if after.state == before.state {
        "=".to_owned()
    } else {
        letter(&after.state).to_owned()
    };
    if let Some(refusal) = &after.refusal {
        signs.push('r');
        if before.refusal.as_ref() != Some(refusal) {
            assert_eq!(*refusal, told_failure(event));
        }
    }
    if after.accepted_at.is_some() {
        signs.push('a');
    }
    signs
}

fn assert_row(name: &str, before: &Refund, events: &[Told], expected: &str) {
    let signs: Vec<&str> = expected.split(' ').collect();
    assert_eq!(signs.len(), events.len(), "the row of {name}");
    for (told, expected) in events.iter().zip(signs) {
        let found = outcome(before, told);
        let event = told.0.name();
        assert_eq!(
            found, expected,
            "{name} on {event} ({:?}, sent {} times)",
            before.mode, before.poll.submits
        );
    }
}

/// What each standing (row) makes of each event (column, in the order of `events`), whatever the mode
/// and however often the request was sent: the new state by its letter (`=` the old one), then `r` where
/// a refusal waits for a query and `a` where it is known when Alipay accepted; `-` for nothing new, `!`
/// for a contradiction.
#[test]
fn s1_every_standing_answers_every_event_as_the_table_says() {
    let table = [
        "Sa Sa Ba Ia Pa - - U F F X - -",
        "Sa Sa Ba Ia Pa - - - F F X - -",
        "Sa Sa Ba Ia Pa - F - F F Xr - -",
        "Sa Sa - Ia Pa - - - Fa Fa Xa - -",
        "Sa Sa Ba =a Pa - - - F F X - -",
        "Sa Sa - - Pa - - - Fa Fa Xa - -",
        "Sa Sa - Ia - - - - Fa Fa Xa - -",
        "Sa Sa =a =a =a - - - F F - S F",
        "Sa Sa =a =a =a - F - F F - S F",
        "Sa Sa - - - - - - Fa Fa - Sa Fa",
        "- - - - - - - - Fa Fa - - -",
        "! ! ! ! ! - - - - - - - -",
    ];
    let standings = standings();
    assert_eq!(standings.len(), table.len());
    for mode in [RefundMode::Sync, RefundMode::Async] {
        for submits in [1, 2] {
            for ((name, before), row) in standings.iter().zip(table) {
                let mut before = before.clone();
                before.mode = mode;
                before.poll.submits = submits;
                assert_row(name, &before, &events(), row);
            }
        }
    }
}

/// A failed refund that Alipay shows done is asked about, and believed when it says so again; a person, or
/// an operator's having decided it, spares the question.
#[test]
fn s1_a_failed_refund_that_alipay_shows_done_is_believed_when_it_says_so_again() {
    let done = RefundEvent::Succeeded { accepted_at: None };
    let mut failed = refund(RefundMode::Sync, at(0));
    failed.state = RefundState::Failed(RefundFailure {
        code: "X".to_owned(),
        message: "no".to_owned(),
    });
    failed.finalized_at = Some(at(1));
    assert!(failed.apply(&done, at(2)).is_err());
    failed.contradicted_at = Some(at(2));
    failed.poll.last_check_at = Some(at(2));
    assert!(failed.apply(&done, at(3)).is_err(), "the same answer");
    let resolved = RefundEvent::Resolved(RefundResolution::Succeeded);
    let mut asked = failed.clone();
    asked.poll.last_check_at = Some(at(3));
    let mut decided = failed.clone();
    decided.decided_by_operator = true;
    for (before, event) in [(&asked, &done), (&decided, &done), (&failed, &resolved)] {
        let after = before.apply(event, at(4)).expect("believed");
        let after = after.expect("and new");
        assert_eq!(after.state, RefundState::Succeeded);
        assert_eq!(after.contradicted_at, None);
        assert_eq!(before.book_change(&after).refunded_minor, 1000);
    }
}

/// The rest of the table: the columns of `answers`, for a synchronous refund whose request was sent
/// once and twice, then for an asynchronous one. Only the answer to the one request there was is the
/// last word; what a repeat is told, a query must confirm (`docs/protocol.md` 6.5).
#[test]
fn s3_a_no_to_the_request_counts_by_mode_and_by_who_may_have_been_heard() {
    let table = [
        ["Pa F Ur F", "Pa Ur Ur Ur", "Ba F Ur I", "Ba Ur Ur I"],
        ["Pa F =r F", "Pa =r =r =r", "Ba F =r I", "Ba =r =r I"],
        ["Pa F =r F", "Pa =r =r =r", "Ba F =r Ir", "Ba =r =r Ir"],
        ["Pa Fa - Fa", "Pa - - -", "- Fa - Ia", "- - - Ia"],
        ["Pa F Ur F", "Pa Ur Ur Ur", "Ba F Ur -", "Ba Ur Ur -"],
        ["Pa Fa - Fa", "Pa - - -", "Ba Fa - -", "Ba - - -"],
        ["- Fa - Fa", "- - - -", "Ba Fa - Ia", "Ba - - Ia"],
        ["=a =r =r =r", "=a =r =r =r", "=a =r =r -", "=a =r =r -"],
        ["=a =r =r =r", "=a =r =r =r", "=a =r =r -", "=a =r =r -"],
        ["- - - -", "- - - -", "- - - -", "- - - -"],
        ["- - - -", "- - - -", "- - - -", "- - - -"],
        ["! - - -", "! - - -", "! - - -", "! - - -"],
    ];
    let contexts = [
        (RefundMode::Sync, 1),
        (RefundMode::Sync, 2),
        (RefundMode::Async, 1),
        (RefundMode::Async, 2),
    ];
    let standings = standings();
    assert_eq!(standings.len(), table.len());
    for ((name, before), rows) in standings.iter().zip(table) {
        for ((mode, submits), row) in contexts.into_iter().zip(rows) {
            let mut before = before.clone();
            before.mode = mode;
            before.poll.submits = submits;
            assert_row(name, &before, &answers(), row);
        }
    }
}

/// The request is counted before it is sent, so one that was never sent cannot be answered; if it were,
/// nobody else would have been heard.
#[test]
fn a_no_is_also_the_last_word_where_no_request_was_counted() {
    let mut unsent = refund(RefundMode::Sync, at(0));
    unsent.poll = RefundPollState::default();
    let refused = unsent.apply(&RefundEvent::Refused(failure(REFUSED)), at(1));
    let refused = refused.expect("a legal move").expect("and new");
    assert_eq!(refused.state, RefundState::Failed(failure(REFUSED)));
}

fn apply(refund: &Refund, event: &RefundEvent, now: DateTime<Utc>) -> Refund {
    let after = refund.apply(event, now).expect("a legal move");
    after.expect("and new")
}

#[test]
fn a_success_does_not_change_when_it_was_accepted() {
    for mode in [RefundMode::Sync, RefundMode::Async] {
        let accepted = apply(&refund(mode, at(0)), &RefundEvent::Accepted, at(700));
        // A notification tells no acceptance time, hours later.
        let done = RefundEvent::Succeeded { accepted_at: None };
        let done = apply(&accepted, &done, at(20_000_000));
        assert_eq!(done.accepted_at, Some(at(700)));
        assert_eq!(done.succeeded_at, Some(at(20_000_000)));
    }
}

/// `gmt_create` has whole seconds, and a clock of its own.
#[test]
fn t2_the_acceptance_is_alipays_word_where_that_can_be_true() {
    let told_at = |known: Option<i64>, told: DateTime<Utc>, now: i64| {
        let mut refund = refund(RefundMode::Async, at(0));
        refund.accepted_at = known.map(at);
        let told = RefundEvent::Waiting {
            code: None,
            accepted_at: Some(told),
        };
        apply(&refund, &told, at(now)).accepted_at
    };
    assert_eq!(told_at(None, at(3_000), 9_000), Some(at(3_000)));
    assert_eq!(told_at(Some(3_900), at(3_000), 9_000), Some(at(3_900)));
    assert_eq!(told_at(Some(4_000), at(3_000), 9_000), Some(at(3_000)));
    // Before the refund was made, by the difference of two clocks.
    assert_eq!(told_at(Some(500), at(-59_000), 9_000), Some(at(-59_000)));
    // By more than that: no word at all.
    let epoch = DateTime::UNIX_EPOCH;
    assert_eq!(told_at(None, epoch, 9_000), Some(at(9_000)));
    assert_eq!(told_at(Some(500), epoch, 9_000), Some(at(500)));
    // After the answer that tells it: then the answer's own time.
    assert_eq!(told_at(None, at(3_600_000), 9_000), Some(at(9_000)));
    // Later than what is known: the plan's early checks must not start again with each answer.
    assert_eq!(told_at(Some(500), at(9_000), 9_000), Some(at(500)));
}

/// What Alipay has acknowledged fails by its own word alone: a repeat may be refused because of the
/// refund it repeats, and a query may read a copy that lags behind (`docs/invariants.md` M3).
#[test]
fn m3_no_answer_to_a_repeat_fails_what_alipay_has() {
    for mode in [RefundMode::Sync, RefundMode::Async] {
        let mut refund = apply(&refund(mode, at(0)), &waiting(None), at(11_000));
        refund.poll.submits = 2;
        refund.poll.last_submit_at = Some(at(10_000));
        refund.poll.last_check_at = Some(at(100_000));
        for event in [
            RefundEvent::Refused(failure(REFUSED)),
            RefundEvent::Doubted(failure(DOUBTED)),
            RefundEvent::FundsShort(failure(SHORT)),
            RefundEvent::NotFound,
        ] {
            if let Some(after) = refund.apply(&event, at(110_000)).expect("a legal move") {
                refund = after;
            }
            assert_eq!(refund.state.status(), "pending", "after {}", event.name());
            assert_eq!(refund.refusal, None);
        }
    }
}

#[test]
fn s3_a_code_beside_processing_never_fails_a_refund() {
    for code in [SHORT, "SELLER_BALANCE_NOT_ENOUGH", REFUSED, "NOT_KNOWN"] {
        for (name, before) in standings() {
            if let Ok(Some(after)) = before.apply(&waiting(Some(code)), at(90_000)) {
                assert!(!after.state.is_final(), "{name} with {code}");
            }
        }
    }
    let short = apply(
        &refund(RefundMode::Async, at(0)),
        &waiting(Some("SELLER_BALANCE_NOT_ENOUGH")),
        at(9),
    );
    assert_eq!(
        short.state,
        RefundState::Pending(PendingReason::InsufficientFunds)
    );
}

#[test]
fn names_are_stored_and_read_back() {
    for mode in [RefundMode::Sync, RefundMode::Async] {
        assert_eq!(RefundMode::from_name(mode.as_str()), Some(mode));
    }
    for (_, refund) in standings() {
        let state = &refund.state;
        if let Some(reason) = state.status_reason() {
            assert_eq!(PendingReason::from_name(reason.as_str()), Some(reason));
        }
        assert_eq!(state.status_reason().is_some(), state.status() == "pending");
    }
    let mut names: Vec<_> = events()
        .iter()
        .chain(&answers())
        .map(|(event, _)| event.name())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 12, "{names:?}");
}

/// One thing that happens in the life of a refund.
#[derive(Clone, Debug)]
enum Happening {
    /// The request leaves (again).
    Sent,
    /// A query leaves.
    Asked,
    /// Something is learnt.
    Learnt(RefundEvent),
}

fn happening() -> impl Strategy<Value = Happening> {
    let events: Vec<RefundEvent> = events()
        .into_iter()
        .chain(answers())
        .map(|(event, _)| event)
        .collect();
    prop_oneof![
        1 => Just(Happening::Sent),
        2 => Just(Happening::Asked),
        6 => prop::sample::select(events).prop_map(Happening::Learnt),
    ]
}

/// Whether Alipay, or an operator, has said of a pending or unresolved refund that it fails.
fn is_definite(before: &Refund, event: &RefundEvent) -> bool {
    let unresolved = before.state == RefundState::Unresolved;
    let only_one_was_sent = !unresolved && before.poll.submits <= 1;
    match event {
        RefundEvent::FailedAtAlipay(_) | RefundEvent::ReversedByAlipay(_) => true,
        RefundEvent::Refused(_) => only_one_was_sent,
        RefundEvent::FundsShort(_) => only_one_was_sent && before.mode == RefundMode::Sync,
        RefundEvent::Resolved(RefundResolution::Failed) => unresolved,
        RefundEvent::NotFound => {
            let sent_at = before.poll.last_submit_at.expect("it was sent");
            let asked_late = before
                .poll
                .last_check_at
                .is_some_and(|asked_at| asked_at >= sent_at + TimeDelta::seconds(60));
            before.refusal.is_some() && before.accepted_at.is_none() && asked_late
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// M3, M4, S1, S3, S7: whatever is learnt, in whatever order.
    #[test]
    fn m3_m4_no_sequence_of_events_breaks_a_refund(
        mode in prop::sample::select(vec![RefundMode::Sync, RefundMode::Async]),
        story in prop::collection::vec((happening(), 1_i64..70_000), 1..40),
    ) {
        let first = refund(mode, at(0));
        let amount = first.amount.minor();
        let (mut reserved, mut refunded) = (amount, 0);
        let mut refund = first.clone();
        let mut now = 0;
        for (happening, pause) in story {
            now += pause;
            let event = match happening {
                Happening::Sent => {
                    refund.poll.submits += 1;
                    refund.poll.last_submit_at = Some(at(now));
                    continue;
                }
                Happening::Asked => {
                    refund.poll.checks_done += 1;
                    refund.poll.last_check_at = Some(at(now));
                    continue;
                }
                Happening::Learnt(event) => event,
            };
            let Ok(Some(after)) = refund.apply(&event, at(now)) else { continue };
            prop_assert_eq!(after.version, refund.version + 1);
            let change = refund.book_change(&after);
            reserved += change.reserved_minor;
            refunded += change.refunded_minor;
            let has_failed = matches!(after.state, RefundState::Failed(_));
            prop_assert_eq!(reserved, if has_failed { 0 } else { amount });
            let has_succeeded = after.state == RefundState::Succeeded;
            prop_assert_eq!(refunded, if has_succeeded { amount } else { 0 });
            match &refund.state {
                // It never changes; but a person may have seen to it.
                RefundState::Failed(_) => prop_assert!(
                    after.state == refund.state
                        && refund.failed_late && !after.failed_late
                        && matches!(event, RefundEvent::Resolved(_))
                ),
                RefundState::Succeeded => prop_assert!(has_failed && matches!(
                    event,
                    RefundEvent::FailedAtAlipay(_) | RefundEvent::ReversedByAlipay(_)
                )),
                RefundState::Pending(_) | RefundState::Unresolved if has_failed => {
                    prop_assert!(is_definite(&refund, &event), "failed by {}", event.name());
                }
                RefundState::Pending(_) => {}
                RefundState::Unresolved => prop_assert_ne!(after.state.status(), "pending"),
            }
            prop_assert!(after.refusal.is_none() || after.accepted_at.is_none());
            prop_assert!(after.refusal.is_none() || !after.state.is_final());
            prop_assert_eq!(after.finalized_at.is_some(), after.state.is_final());
            prop_assert!(after.succeeded_at.is_some() || !has_succeeded);
            prop_assert!(refund.accepted_at.is_none_or(|known| after.accepted_at <= Some(known)
                && after.accepted_at.is_some()));
            refund = after;
        }
        // Who it is and how much never change.
        let identity = |refund: &Refund| (
            refund.id, refund.merchant_id, refund.payment_id, refund.mode, refund.amount,
            refund.partner.clone(), refund.partner_trans_id.clone(),
            refund.partner_refund_id.clone(), refund.created_at,
        );
        prop_assert_eq!(identity(&refund), identity(&first));
    }
}

/// A success is contradicted by what a later question was told, and by nothing else; only a person then
/// takes it back.
#[test]
fn m6_a_success_is_contradicted_by_a_later_no_such_refund_and_moves_by_a_person_alone() {
    let mut done = refund(RefundMode::Sync, at(0));
    done.state = RefundState::Succeeded;
    done.finalized_at = Some(at(1_000));
    for (event, _) in events().into_iter().chain(answers()) {
        let denies = matches!(event, RefundEvent::NotFound | RefundEvent::Waiting { .. });
        let name = event.name();
        assert_eq!(done.is_contradicted_by(&event, at(1_001)), denies, "{name}");
        assert!(
            !done.is_contradicted_by(&event, at(1_000)),
            "asked before: {name}"
        );
    }
    let portal = Refund {
        origin: RefundOrigin::Portal,
        ..done.clone()
    };
    assert!(!portal.is_contradicted_by(&RefundEvent::NotFound, at(1_001)));
    let resolved = RefundEvent::Resolved(RefundResolution::Failed);
    assert_eq!(done.apply(&resolved, at(3_000)), Ok(None));
    done.contradicted_at = Some(at(2_000));
    assert_eq!(done.apply(&RefundEvent::NotFound, at(3_000)), Ok(None));
    let failed = apply(&done, &resolved, at(3_000));
    assert_eq!(failed.state, resolved_as_failed());
    assert!(failed.contradicted_at.is_none() && failed.decided_by_operator);
    let books = done.book_change(&failed);
    assert_eq!((books.reserved_minor, books.refunded_minor), (-1000, -1000));
}

/// What the request itself was refused is asked about once; what a question has told is not.
#[test]
fn a_refusal_of_the_request_is_asked_about_after_ten_seconds() {
    let sent = refund(RefundMode::Sync, at(0));
    for (event, _) in events().into_iter().chain(answers()) {
        let Ok(Some(after)) = sent.apply(&event, at(500)) else {
            continue;
        };
        let was_refused = matches!(event, RefundEvent::Refused(_) | RefundEvent::FundsShort(_));
        assert_eq!(
            after.refusal_is_asked_about_at(&event),
            was_refused.then(|| at(10_000)),
            "{}",
            event.name()
        );
    }
}

/// A failure that is the answer to the request is told there; a later one waits for a person.
#[test]
fn a_failure_is_late_unless_it_answers_the_request() {
    let standing = |state: RefundState| Refund {
        state,
        ..refund(RefundMode::Async, at(0))
    };
    let refused = RefundEvent::Refused(failure(REFUSED));
    let gave_up = RefundEvent::FailedAtAlipay(failure(GIVEN_UP));
    let took_back = RefundEvent::ReversedByAlipay(failure(REVERSED));
    let person = RefundEvent::Resolved(RefundResolution::Failed);
    let submitting = standing(RefundState::Pending(PendingReason::Submitting));
    let mut of_a_reversal = submitting.clone();
    of_a_reversal.poll.last_submit_at = Some(at(1));
    let accepted = standing(RefundState::Pending(PendingReason::AwaitingBatch));
    let done = standing(RefundState::Succeeded);
    let unresolved = standing(RefundState::Unresolved);
    for (before, event, is_late) in [
        (&submitting, &refused, false),
        (&of_a_reversal, &refused, true),
        (&accepted, &gave_up, true),
        (&done, &took_back, true),
        (&unresolved, &gave_up, true),
        (&unresolved, &person, false),
    ] {
        let after = apply(before, event, at(2_000));
        let name = (before.state.status(), event.name());
        assert_eq!(after.failed_late, is_late, "{name:?}");
        assert_eq!(after.needs_a_person(), is_late, "{name:?}");
        if is_late {
            let seen = apply(&after, &person, at(3_000));
            assert_eq!(seen.state, after.state, "{name:?}");
            assert!(!seen.failed_late && seen.decided_by_operator, "{name:?}");
        }
    }
}
