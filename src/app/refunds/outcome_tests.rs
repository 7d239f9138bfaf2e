//! Every documented code, from Alipay's signed answer to the refund's state
//! (`docs/protocol.md` 6.2, 6.5, 7.2).

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::{
    alipay::{
        read_refund_answer, read_refund_query_answer, read_refused_refund,
        request::RefundMode as WireMode,
        result_code::{ACCESS_CODES, REFUND_CODES},
    },
    domain::refunds::refund::{PendingReason, tests::refund as new_refund},
};

/// Says nothing: ask for the refund.
const UNKNOWN: &str =
    "SYSTEM_ERROR SYSTEM_EXCEPTION REPEATED_REFUNDMENT_REQUEST DISCORDANT_REPEAT_REQUEST";
/// A definite no.
const DEFINITE: &str = "TRADE_NOT_EXIST PURCHASE_TRADE_NOT_EXIST RETURN_AMOUNT_EXCEED \
     REFUND_AMT_RESTRICTION REQUEST_AMOUNT_EXCEED REASON_TRADE_BEEN_FREEZEN CURRENCY_NOT_SAME \
     REFUNDMENT_VALID_DATE_EXCEED BUYER_NOT_EXIST TRADE_HAS_FINISHED REFUND_AMT_NOT_EQUAL_TOTAL \
     TRADE_ROLE_ERROR ACCESS_FORBIDDEN";
/// Not executed: the request, the contract or the set-up is at fault.
const ACCESS: &str = "INVALID_PARAMETER ILLEGAL_SIGN ILLEGAL_DYN_MD5_KEY ILLEGAL_ENCRYPT \
     ILLEGAL_ARGUMENT ILLEGAL_SERVICE ILLEGAL_USER ILLEGAL_PARTNER ILLEGAL_EXTERFACE \
     ILLEGAL_PARTNER_EXTERFACE ILLEGAL_SECURITY_PROFILE ILLEGAL_AGENT ILLEGAL_SIGN_TYPE \
     ILLEGAL_CHARSET INVALID_CHARACTER_SET HAS_NO_PRIVILEGE HAS_NO_PUBLICKEY ILLEGAL_CLIENT_IP \
     EXTERFACE_IS_CLOSED SESSION_TIMEOUT ILLEGAL_TARGET_SERVICE ILLEGAL_ACCESS_SWITCH_SYSTEM";
/// The payment is in a state that takes no refund; it may be this refund that brought it there.
const CHECK: &str = "TRADE_HAS_CLOSE TRADE_STATUS_ERROR";
/// The merchant's balance is too low.
const SHORT: &str = "MERCHANT_BALANCE_NOT_ENOUGH SELLER_BALANCE_NOT_ENOUGH";
/// What no document knows.
const UNDOCUMENTED: &str = "FANTASY return_amount_exceed ACQ.RETURN_AMOUNT_EXCEED 12345";

const MODES: [RefundMode; 2] = [RefundMode::Sync, RefundMode::Async];

fn codes(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split_whitespace()
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_323_045 + seconds, 0).expect("a date of our time")
}

/// A refund whose request was sent so many times, the last time at `at(0)`.
fn refund(mode: RefundMode, submits: i32) -> Refund {
    let mut refund = new_refund(mode, at(0));
    refund.poll.submits = submits;
    refund
}

const fn wire(mode: RefundMode) -> WireMode {
    match mode {
        RefundMode::Sync => WireMode::Synchronous,
        RefundMode::Async => WireMode::Asynchronous { notify_url: None },
    }
}

/// The refund after an event; as it was where that says nothing new.
fn after(refund: &Refund, event: &RefundEvent) -> Refund {
    let after = refund.apply(event, at(1)).expect("no contradiction");
    after.unwrap_or_else(|| refund.clone())
}

/// The refund after a failure with a code, as the answer to its request.
fn after_failure(refund: &Refund, code: &str) -> Refund {
    let spellings = ["FAIL", "FAILED"].map(|result_code| {
        let answer = [("error", code), ("result_code", result_code)];
        let outcome = read_refund_answer(wire(refund.mode), &answer);
        after(refund, &refund_event(outcome, refund))
    });
    assert_eq!(spellings[0], spellings[1], "{code}");
    spellings[0].clone()
}

/// The refund after a query a minute after its request found no such refund.
fn after_not_found(refund: &Refund) -> Refund {
    let mut refund = refund.clone();
    refund.poll.checks_done = 1;
    refund.poll.last_check_at = Some(at(0) + TimeDelta::minutes(1));
    let outcome = read_refund_query_answer(&[("response_code", "NOT_FOUND")]);
    let (event, not_found) = query_event(outcome, &refund);
    assert_eq!(not_found, Some(true));
    after(&refund, &event.expect("an event"))
}

/// Where a refund stands: its status with the reason or the code, and after `?` the refusal that waits
/// for a query.
fn standing(refund: &Refund) -> String {
    let detail = match &refund.state {
        RefundState::Pending(reason) => format!("pending/{}", reason.as_str()),
        RefundState::Failed(failure) => format!("failed/{}", failure.code),
        RefundState::Succeeded | RefundState::Unresolved => refund.state.status().to_owned(),
    };
    match &refund.refusal {
        Some(refusal) => format!("{detail}?{}", refusal.code),
        None => detail,
    }
}

#[test]
fn the_tables_of_this_test_hold_every_documented_code_once() {
    let listed: Vec<_> = [UNKNOWN, DEFINITE, ACCESS, CHECK, SHORT]
        .into_iter()
        .flat_map(codes)
        .collect();
    let documented: BTreeSet<_> = REFUND_CODES
        .iter()
        .chain(ACCESS_CODES)
        .map(|(code, _)| *code)
        .collect();
    assert_eq!(listed.len(), documented.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), documented);
}

#[test]
fn hk_10_an_answer_of_success_means_done_or_recorded() {
    for submits in [1, 2] {
        for (mode, expected) in [
            (RefundMode::Sync, "succeeded"),
            (RefundMode::Async, "pending/awaiting_batch"),
        ] {
            let refund = refund(mode, submits);
            let outcome = read_refund_answer(wire(mode), &[("result_code", "SUCCESS")]);
            let refund = after(&refund, &refund_event(outcome, &refund));
            assert_eq!(standing(&refund), expected);
            assert_eq!(refund.accepted_at, Some(at(1)));
        }
    }
}

/// A documented no fails a refund; but where an earlier request may have been heard, only once a query
/// finds nothing.
#[test]
fn s3_a_definite_code_fails_the_only_request_and_waits_for_a_query_after_a_repeat() {
    for code in codes(DEFINITE).chain(codes(ACCESS)) {
        for mode in MODES {
            let failed = after_failure(&refund(mode, 1), code);
            assert_eq!(standing(&failed), format!("failed/{code}"), "{mode:?}");
            let doubted = after_failure(&refund(mode, 2), code);
            let waits = format!("pending/outcome_unknown?{code}");
            assert_eq!(standing(&doubted), waits, "{mode:?}");
            let failed = after_not_found(&doubted);
            assert_eq!(standing(&failed), format!("failed/{code}"), "{mode:?}");
        }
    }
}

/// No code of which nothing follows ever fails a refund, also not with a query that finds nothing.
#[test]
fn s3_repeated_discordant_system_and_unknown_codes_mean_query_and_never_failure() {
    for code in codes(UNKNOWN).chain(codes(UNDOCUMENTED)) {
        for mode in MODES {
            for submits in [1, 2] {
                let open = after_failure(&refund(mode, submits), code);
                assert_eq!(standing(&open), "pending/outcome_unknown", "{code}");
                let still = after_not_found(&open);
                assert_eq!(standing(&still), "pending/outcome_unknown", "{code}");
            }
        }
    }
    for answer in [
        [("result_code", "UNKNOW"), ("error", "RETURN_AMOUNT_EXCEED")],
        [("result_code", "UNKNOWN"), ("error", "CURRENCY_NOT_SAME")],
        [("result_code", "SUCCESS"), ("error", "CURRENCY_NOT_SAME")],
        [("result_code", "MAYBE"), ("error", "CURRENCY_NOT_SAME")],
    ] {
        for mode in MODES {
            let refund = refund(mode, 1);
            let outcome = read_refund_answer(wire(mode), &answer);
            let open = after(&refund, &refund_event(outcome, &refund));
            assert_eq!(standing(&open), "pending/outcome_unknown", "{answer:?}");
        }
    }
}

/// What nobody knows is a refusal when it comes again, from another request, and a query finds nothing when
/// that one cannot act any more either.
#[test]
fn s3_the_same_unknown_code_twice_is_a_refusal_and_one_alone_or_two_others_are_none() {
    for mode in MODES {
        let once = after_failure(&refund(mode, 1), "FANTASY");
        let same_answer = after_failure(&once, "FANTASY");
        assert_eq!(standing(&same_answer), "pending/outcome_unknown");
        let mut repeated = after_not_found(&once);
        repeated.poll.submits = 2;
        let other = after_failure(&repeated, "ANOTHER_FANTASY");
        assert_eq!(standing(&other), "pending/outcome_unknown");
        let still = after_not_found(&other);
        assert_eq!(standing(&still), "pending/outcome_unknown");
        let twice = after_failure(&repeated, "FANTASY");
        assert_eq!(standing(&twice), "pending/outcome_unknown?FANTASY");
        let mut early = twice.clone();
        early.poll.last_check_at = Some(at(59));
        let still = early.apply(&RefundEvent::NotFound, at(60)).expect("legal");
        assert_eq!(still, None);
        let failed = after_not_found(&twice);
        assert_eq!(standing(&failed), "failed/FANTASY");
        // Alipay has it after all: nothing that was said before counts.
        let accepted = after(&twice, &RefundEvent::Accepted);
        assert!(accepted.refusal.is_none() && accepted.unknown_code.is_none());
    }
}

#[test]
fn s3_a_code_about_the_payments_state_is_confirmed_by_a_query() {
    for code in codes(CHECK) {
        for mode in MODES {
            for submits in [1, 2] {
                let doubted = after_failure(&refund(mode, submits), code);
                let waits = format!("pending/outcome_unknown?{code}");
                assert_eq!(standing(&doubted), waits);
                let failed = after_not_found(&doubted);
                assert_eq!(standing(&failed), format!("failed/{code}"));
                let done = [
                    ("refund_result_code", "SUCCESS"),
                    ("response_code", "SUCCESS"),
                ];
                let (event, _) = query_event(read_refund_query_answer(&done), &doubted);
                let done = after(&doubted, &event.expect("an event"));
                assert_eq!(standing(&done), "succeeded");
            }
        }
    }
}

/// HK-11: a short balance fails a synchronous refund, with the advice to use the other mode, and leaves
/// an asynchronous one waiting.
#[test]
fn hk_11_a_short_balance_fails_at_once_and_waits_in_the_batch() {
    for code in codes(SHORT) {
        let failed = after_failure(&refund(RefundMode::Sync, 1), code);
        assert_eq!(standing(&failed), format!("failed/{code}"));
        let RefundState::Failed(failure) = &failed.state else {
            unreachable!("it has failed");
        };
        assert!(failure.message.contains("\"async\""), "{}", failure.message);
        let doubted = after_failure(&refund(RefundMode::Sync, 2), code);
        assert_eq!(
            standing(&doubted),
            format!("pending/outcome_unknown?{code}")
        );
        for submits in [1, 2] {
            let short = after_failure(&refund(RefundMode::Async, submits), code);
            assert_eq!(standing(&short), "pending/insufficient_funds");
            let still = after_not_found(&short);
            assert_eq!(standing(&still), "pending/insufficient_funds");
        }
    }
}

/// A refusal at the door is believed only where it is signed and its code documented.
#[test]
fn v1_a_refusal_at_the_door_counts_only_when_signed_and_documented() {
    let after_refusal = |refund: &Refund, code, is_signed| {
        let outcome = read_refused_refund(wire(refund.mode), code, is_signed);
        standing(&after(refund, &refund_event(outcome, refund)))
    };
    for mode in MODES {
        let (once, twice) = (refund(mode, 1), refund(mode, 2));
        for code in codes(ACCESS) {
            assert_eq!(after_refusal(&once, code, true), format!("failed/{code}"));
            let waits = format!("pending/outcome_unknown?{code}");
            assert_eq!(after_refusal(&twice, code, true), waits);
            let open = after_refusal(&once, code, false);
            assert_eq!(open, "pending/outcome_unknown", "{code}, unsigned");
        }
        let others = [UNKNOWN, DEFINITE, CHECK, SHORT, UNDOCUMENTED];
        for code in others.into_iter().flat_map(codes) {
            for is_signed in [true, false] {
                let open = after_refusal(&once, code, is_signed);
                assert_eq!(open, "pending/outcome_unknown", "{code}");
            }
        }
    }
}

/// What a refund query says, from a request whose answer was lost, from an accepted refund, and from one
/// that had succeeded. `-`: nothing is learnt.
#[test]
fn s3_refund_query_answers_lead_where_their_two_codes_say() {
    let says = |result: &'static str, code: &'static str| {
        let mut answer = vec![("refund_result_code", result), ("response_code", "SUCCESS")];
        if !code.is_empty() {
            answer.push(("refund_error_code", code));
        }
        answer
    };
    let response = |code: &'static str| vec![("response_code", code)];
    let table = [
        (says("SUCCESS", ""), "succeeded succeeded -"),
        (says("PROCESSING", ""), "pending/awaiting_batch - -"),
        (
            says("PROCESSING", "MERCHANT_BALANCE_NOT_ENOUGH"),
            "pending/insufficient_funds pending/insufficient_funds -",
        ),
        (
            says("PROCESSING", "SELLER_BALANCE_NOT_ENOUGH"),
            "pending/insufficient_funds pending/insufficient_funds -",
        ),
        (
            says("PROCESSING", "RETURN_AMOUNT_EXCEED"),
            "pending/processing pending/processing -",
        ),
        (
            says("PROCESSING", "FANTASY"),
            "pending/processing pending/processing -",
        ),
        (
            says("FAILED", "BUYER_NOT_EXIST"),
            "failed/BUYER_NOT_EXIST failed/BUYER_NOT_EXIST failed/BUYER_NOT_EXIST",
        ),
        (
            says("FAIL", "FANTASY"),
            "failed/FANTASY failed/FANTASY failed/FANTASY",
        ),
        (
            says("FAILED", ""),
            "failed/FAILED failed/FAILED failed/FAILED",
        ),
        (
            says("CANCELED", ""),
            "failed/CANCELED failed/CANCELED failed/CANCELED",
        ),
        (says("SOMETHING", "BUYER_NOT_EXIST"), "- - -"),
        (says("FAILED", "SYSTEM_ERROR"), "- - -"),
        (response("SUCCESS"), "- - -"),
        (response("NOT_FOUND"), "- - -"),
        (response("TRADE_NOT_EXIST"), "- - -"),
        (response("QUERY_FAILED"), "- - -"),
        (response("ACCESS_FORBIDDEN"), "- - -"),
        (response("SYSTEM_ERROR"), "- - -"),
        (response("FANTASY"), "- - -"),
    ];
    let lost = after(
        &refund(RefundMode::Async, 1),
        &RefundEvent::OutcomeBecameUnknown,
    );
    let accepted = after(&refund(RefundMode::Async, 1), &RefundEvent::Accepted);
    let done = after(&accepted, &RefundEvent::Succeeded { accepted_at: None });
    assert_eq!(
        accepted.state,
        RefundState::Pending(PendingReason::AwaitingBatch)
    );
    for (answer, expected) in table {
        let found = [&lost, &accepted, &done].map(|refund| {
            let (event, not_found) = query_event(read_refund_query_answer(&answer), refund);
            let finds_none = ["NOT_FOUND", "TRADE_NOT_EXIST"].contains(&answer[0].1);
            let expected = event.as_ref().map(|_| finds_none);
            assert_eq!(not_found, expected, "{answer:?}");
            let changed = event.and_then(|event| refund.apply(&event, at(1)).expect("agrees"));
            changed.map_or_else(|| "-".to_owned(), |refund| standing(&refund))
        });
        assert_eq!(found.join(" "), expected, "{answer:?}");
    }
}

/// A refund that had succeeded and fails says so: its money had gone back.
#[test]
fn s7_what_was_taken_back_does_not_read_like_what_never_went_back() {
    let done = after(
        &refund(RefundMode::Sync, 1),
        &RefundEvent::Succeeded { accepted_at: None },
    );
    let open = refund(RefundMode::Sync, 1);
    for result in ["FAILED", "CANCELED"] {
        let answer = [("refund_result_code", result), ("response_code", "SUCCESS")];
        let messages = [&open, &done].map(|refund| {
            let (event, _) = query_event(read_refund_query_answer(&answer), refund);
            match after(refund, &event.expect("an event")).state {
                RefundState::Failed(failure) => failure.message,
                state => unreachable!("{state:?}"),
            }
        });
        assert!(messages[0].contains("nothing went back"), "{messages:?}");
        assert!(messages[1].contains("taken back"), "{messages:?}");
    }
}

/// A failure is read by whoever gives the money back, not by somebody who takes a payment.
#[test]
fn what_a_failed_refund_says_is_about_the_refund() {
    for code in codes(DEFINITE).chain(codes(ACCESS)).chain(codes(SHORT)) {
        let at_the_door = read_refused_refund(WireMode::Synchronous, code, true);
        let answered = [("error", code), ("result_code", "FAIL")];
        let answered = read_refund_answer(WireMode::Synchronous, &answered);
        for outcome in [answered, at_the_door] {
            let refund = refund(RefundMode::Sync, 1);
            let failed = after(&refund, &refund_event(outcome, &refund));
            let RefundState::Failed(failure) = failed.state else {
                continue;
            };
            assert!(
                !failure.message.contains("take another payment method"),
                "{code}: {}",
                failure.message
            );
            assert!(failure.message.ends_with('.'), "{code}");
        }
    }
}
