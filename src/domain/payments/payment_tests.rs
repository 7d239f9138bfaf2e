//! The transition table of [`Payment::apply`], every state against every event.

use super::*;
use crate::domain::{id::MerchantId, money::Currency, standing::NextActionKind};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_323_045 + seconds, 0).expect("a date of our time")
}

pub(crate) fn payment(state: PaymentState) -> Payment {
    let id = PaymentId::mint();
    let finalized_at = state.is_final().then(|| at(1));
    let charge = matches!(state, PaymentState::Succeeded).then(charge);
    let canceling = matches!(state, PaymentState::Processing(ProcessingReason::Canceling))
        .then_some(CancelReason::BuyerDidNotConfirm);
    Payment {
        id,
        version: 3,
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
        state,
        alipay_trans_id: None,
        charge,
        unpaid_wallet: None,
        canceling,
        reversal: None,
        refund_reserved_minor: 0,
        refunded_minor: 0,
        contradicted_at: None,
        proven_returned_minor: 0,
        decided_by_operator: false,
        poll: PollState::default(),
        created_at: at(0),
        updated_at: at(1),
        finalized_at,
    }
}

fn charge() -> Charge {
    Charge {
        paid_at: Some(at(1)),
        wallet: Some("ALIPAYHK".to_owned()),
        wallet_file: None,
        buyer_user_id: None,
        buyer_login_id: None,
    }
}

fn failure() -> Failure {
    Failure {
        code: "BUYER_BALANCE_NOT_ENOUGH".to_owned(),
        message: "not enough money".to_owned(),
        retry: RetryAdvice::OtherMethod,
    }
}

fn states() -> Vec<PaymentState> {
    use ProcessingReason as R;
    vec![
        PaymentState::Processing(R::Submitting),
        PaymentState::Processing(R::AwaitingBuyer),
        PaymentState::Processing(R::OutcomeUnknown),
        PaymentState::Processing(R::Canceling),
        PaymentState::Unresolved,
        PaymentState::Succeeded,
        PaymentState::Failed(failure()),
        PaymentState::Canceled {
            reason: CancelReason::BuyerDidNotConfirm,
            money_returned: false,
        },
        PaymentState::Canceled {
            reason: CancelReason::Requested,
            money_returned: true,
        },
    ]
}

fn events() -> Vec<PaymentEvent> {
    let closed = |money_returned| PaymentEvent::Closed {
        reason: CancelReason::Requested,
        money_returned,
        alipay_trans_id: None,
        charge: None,
    };
    vec![
        PaymentEvent::Paid {
            charge: charge(),
            alipay_trans_id: Some("2026".to_owned()),
        },
        PaymentEvent::BuyerMustConfirm {
            alipay_trans_id: None,
            wallet: None,
        },
        PaymentEvent::Declined(failure()),
        PaymentEvent::OutcomeBecameUnknown,
        PaymentEvent::CancelStarted {
            reason: CancelReason::BuyerDidNotConfirm,
            reversal: None,
        },
        closed(false),
        closed(true),
        PaymentEvent::PlanExhausted,
        PaymentEvent::CancelStarted {
            reason: CancelReason::Requested,
            reversal: None,
        },
        PaymentEvent::CancelRefused,
        PaymentEvent::Resolved(Resolution::Succeeded),
        PaymentEvent::NeverSent,
    ]
}

/// What each state (row) does on each event (column, in the order of `events`): the new status with
/// its reason, `-` for nothing new, `!` for a contradiction.
#[test]
fn s1_every_state_answers_every_event_as_the_table_says() {
    let table = [
        "succeeded processing/awaiting_buyer failed processing/outcome_unknown processing/canceling canceled/requested canceled/requested unresolved processing/canceling - - failed",
        "succeeded - failed - processing/canceling canceled/requested canceled/requested unresolved processing/canceling - - failed",
        "succeeded processing/awaiting_buyer failed - processing/canceling canceled/requested canceled/requested unresolved processing/canceling - - failed",
        "succeeded - failed - - canceled/buyer_did_not_confirm canceled/buyer_did_not_confirm unresolved processing/canceling - - canceled/never_created",
        "succeeded - failed - - canceled/requested canceled/requested - unresolved - succeeded failed",
        "- - ! - ! ! canceled/closed_after_payment - succeeded - - !",
        "! ! - - ! - ! - ! - - -",
        "! - - - ! - ! - ! - - -",
        "- - - - ! - - - ! - - !",
    ];
    for (state, row) in states().into_iter().zip(table) {
        for (event, expected) in events().iter().zip(row.split(' ')) {
            let before = payment(state.clone());
            let found = match before.apply(event, at(9)) {
                Ok(None) => "-".to_owned(),
                Err(_) => "!".to_owned(),
                Ok(Some(after)) => {
                    assert_eq!(after.version, before.version + 1);
                    assert_eq!(after.updated_at, at(9));
                    assert_eq!(after.finalized_at.is_some(), after.state.is_final());
                    match after.state.status_reason() {
                        Some(reason) => format!("{}/{reason}", after.state.status()),
                        None => after.state.status().to_owned(),
                    }
                }
            };
            assert_eq!(found, expected, "{state:?} on {}", event.name());
        }
    }
}

/// The same where Alipay contradicts the end: a person may accept what was said, and what an operator had
/// decided yields by itself.
#[test]
fn s1_an_end_that_alipay_contradicts_yields_to_a_person_or_to_alipay() {
    let resolved = |resolution| PaymentEvent::Resolved(resolution);
    let returned = |money_returned| Resolution::Canceled { money_returned };
    let events = [
        events()[0].clone(),
        events()[5].clone(),
        events()[6].clone(),
        resolved(Resolution::Succeeded),
        resolved(Resolution::Failed),
        resolved(returned(false)),
        resolved(returned(true)),
    ];
    let table = [
        (
            5,
            "- ! canceled/closed_after_payment - - canceled/requested canceled/closed_after_payment",
            "- canceled/requested canceled/closed_after_payment",
        ),
        (
            6,
            "! - ! succeeded - canceled/requested canceled/requested",
            "succeeded - canceled/requested",
        ),
        (
            7,
            "! - canceled/buyer_did_not_confirm succeeded - - canceled/buyer_did_not_confirm",
            "succeeded - canceled/buyer_did_not_confirm",
        ),
        (8, "- - - succeeded - canceled/requested -", "succeeded - -"),
    ];
    let found = |payment: &Payment, event: &PaymentEvent| match payment.apply(event, at(9)) {
        Ok(None) => "-".to_owned(),
        Err(_) => "!".to_owned(),
        Ok(Some(after)) => {
            assert_eq!(after.contradicted_at, None, "it is settled");
            let is_by_operator = matches!(event, PaymentEvent::Resolved(_));
            assert_eq!(after.decided_by_operator, is_by_operator);
            let status = after.state.status();
            after
                .state
                .status_reason()
                .map_or(status.to_owned(), |reason| format!("{status}/{reason}"))
        }
    };
    for (state, by_alipay, by_operator) in table {
        let mut contradicted = payment(states().remove(state));
        contradicted.contradicted_at = Some(at(8));
        let all: Vec<String> = events
            .iter()
            .map(|event| found(&contradicted, event))
            .collect();
        assert_eq!(all.join(" "), by_alipay, "{:?}", contradicted.state);
        contradicted.decided_by_operator = true;
        let told: Vec<String> = events[..3]
            .iter()
            .map(|event| found(&contradicted, event))
            .collect();
        assert_eq!(told.join(" "), by_operator, "{:?}", contradicted.state);
    }
}

/// A cancel that Alipay says is done, and a query that says the money is still there: a person decides, and with
/// that ends the cancel.
#[test]
fn s1_a_person_ends_a_cancel_that_alipay_contradicts() {
    let mut paid = payment(PaymentState::Succeeded);
    paid.canceling = Some(CancelReason::Requested);
    paid.contradicted_at = Some(at(8));
    assert!(
        !paid.agrees_with(&events()[0]),
        "the next cancel would contradict it again"
    );
    let kept = applied(&paid, &PaymentEvent::Resolved(Resolution::Succeeded));
    assert_eq!(kept.state, PaymentState::Succeeded);
    assert!(kept.is_settled() && kept.contradicted_at.is_none());
    // What the person confirmed is Alipay's word, and none that yields to its next one.
    assert!(!kept.decided_by_operator);
    paid.canceling = None;
    assert!(paid.agrees_with(&events()[0]));
}

/// That a trade was closed after payment is taken for the return of its money; whether it really went back may
/// be decided by a person at any time, and a later "closed" says nothing against that.
#[test]
fn s1_whether_the_money_of_a_trade_closed_after_payment_is_back_may_be_decided() {
    let after_payment = |money_returned| PaymentState::Canceled {
        reason: CancelReason::ClosedAfterPayment,
        money_returned,
    };
    let decided = |money_returned| PaymentEvent::Resolved(Resolution::Canceled { money_returned });
    let mut closed = payment(after_payment(true));
    closed.charge = Some(charge());
    assert!(closed.may_be_decided(at(9)) && !closed.needs_a_person(at(9)));
    assert_eq!(closed.apply(&decided(true), at(9)), Ok(None));
    let kept = applied(&closed, &decided(false));
    assert_eq!(kept.state, after_payment(false));
    let again = PaymentEvent::Closed {
        reason: CancelReason::ClosedAfterPayment,
        money_returned: true,
        alipay_trans_id: None,
        charge: None,
    };
    assert_eq!(kept.apply(&again, at(10)), Ok(None));
    // Not even where a row of a file has said that it was paid, which nobody doubts.
    let mut told = kept.clone();
    told.contradicted_at = Some(at(10));
    assert_eq!(told.apply(&again, at(11)), Ok(None));
    assert!(told.agrees_with(&again), "the question settles it");
    assert_eq!(applied(&kept, &decided(true)).state, after_payment(true));
    // Whoever closed it; but of what was never paid nobody decides that nothing contradicts.
    let mut requested = payment(PaymentState::Canceled {
        reason: CancelReason::Requested,
        money_returned: true,
    });
    assert!(!requested.may_be_decided(at(9)));
    assert_eq!(requested.apply(&decided(false), at(9)), Ok(None));
    requested.charge = Some(charge());
    assert!(requested.may_be_decided(at(9)));
    assert_eq!(
        applied(&requested, &decided(false)).state.status(),
        "canceled"
    );
}

/// M12: what is proven to be back is not refundable, whatever else the books say.
/// What an answer says of a payment whose end is known tells its wallet, where nobody or a file alone had named it.
#[test]
fn an_answer_names_the_wallet_of_what_is_known_to_be_paid() {
    let file = Some(FileId::from(uuid::Uuid::from_u128(1)));
    let said = |wallet: &str| PaymentEvent::Paid {
        charge: Charge {
            wallet: Some(wallet.to_owned()),
            ..charge()
        },
        alipay_trans_id: None,
    };
    for (wallet, wallet_file, expected) in [
        (None, None, Some("ALIPAYCN")),
        (Some("ALIPAYHK"), file, Some("ALIPAYCN")),
        (Some("ALIPAYCN"), file, Some("ALIPAYCN")),
        (Some("ALIPAYHK"), None, None),
    ] {
        let mut paid = payment(PaymentState::Succeeded);
        paid.charge = Some(Charge {
            wallet: wallet.map(str::to_owned),
            wallet_file,
            ..charge()
        });
        let event = paid.beyond_its_end(said("ALIPAYCN"));
        let after = paid.apply(&event, at(9)).expect("no contradiction");
        let named = after.as_ref().and_then(|after| after.wallet());
        assert_eq!(named, expected, "{wallet:?} {wallet_file:?}");
        let Some(after) = after else { continue };
        assert_eq!(
            after.charge.as_ref().and_then(|charge| charge.wallet_file),
            None
        );
        let again = after.beyond_its_end(said("ALIPAYHK"));
        assert_eq!(after.apply(&again, at(10)), Ok(None), "said once");
        paid.contradicted_at = Some(at(3));
        assert_eq!(paid.beyond_its_end(said("ALIPAYCN")), said("ALIPAYCN"));
    }
    let open = payment(PaymentState::Unresolved);
    assert_eq!(open.beyond_its_end(said("ALIPAYCN")), said("ALIPAYCN"));
}

#[test]
fn m12_what_is_proven_to_be_back_is_not_refundable() {
    let mut paid = payment(PaymentState::Succeeded);
    let amount = paid.amount.minor();
    paid.refund_reserved_minor = 100;
    paid.proven_returned_minor = 30;
    assert_eq!(paid.refundable_minor(), amount - 130);
    assert_eq!(paid.bookable_minor(), amount - 100);
    assert_eq!(paid.left_to_return_minor(), amount - 30);
    paid.proven_returned_minor = amount;
    assert_eq!(paid.refundable_minor(), 0);
    assert_eq!(paid.left_to_return_minor(), 0);
}

/// A decision at second 20 about what Alipay has seen.
#[test]
fn s5_a_decision_is_asked_about_once_no_cancel_acts_any_more() {
    let closed = |finalized_at| Payment {
        finalized_at: Some(at(finalized_at)),
        alipay_trans_id: Some("2026".to_owned()),
        ..payment(PaymentState::Canceled {
            reason: CancelReason::Requested,
            money_returned: true,
        })
    };
    let canceled_at = |sent| Payment {
        alipay_trans_id: Some("2026".to_owned()),
        poll: PollState {
            open_cancel_at: Some(at(sent)),
            ..PollState::default()
        },
        ..payment(PaymentState::Succeeded)
    };
    let paid = Payment {
        alipay_trans_id: Some("2026".to_owned()),
        finalized_at: Some(at(15)),
        ..payment(PaymentState::Succeeded)
    };
    for (payment, expected) in [
        (paid, 30),
        (canceled_at(10), 70),
        // Nothing is scheduled any more, and with the schedule went what it knew of cancels.
        (closed(15), 75),
        (closed(-3600), 30),
    ] {
        let checked_at = payment.decision_is_checked_at(at(20), at(54));
        assert_eq!(checked_at, at(expected), "{:?}", payment.state);
    }
}

#[test]
fn s3_silence_never_ends_a_payment() {
    for state in states() {
        let before = payment(state);
        for event in [
            PaymentEvent::OutcomeBecameUnknown,
            PaymentEvent::PlanExhausted,
        ] {
            if let Ok(Some(after)) = before.apply(&event, at(9)) {
                assert!(
                    !after.state.is_final(),
                    "{:?} on {}",
                    before.state,
                    event.name()
                );
            }
        }
    }
}

#[test]
fn s7_the_same_news_twice_is_news_once() {
    for state in states() {
        for event in events() {
            if let Ok(Some(after)) = payment(state.clone()).apply(&event, at(9)) {
                let again = after.apply(&event, at(10));
                assert_eq!(again, Ok(None), "{state:?} on {} twice", event.name());
            }
        }
    }
}

#[test]
fn the_wallet_is_kept_as_soon_as_it_is_named() {
    let named = |wallet: Option<&str>| PaymentEvent::BuyerMustConfirm {
        alipay_trans_id: None,
        wallet: wallet.map(str::to_owned),
    };
    for state in [
        PaymentState::Processing(ProcessingReason::Submitting),
        PaymentState::Processing(ProcessingReason::AwaitingBuyer),
        PaymentState::Processing(ProcessingReason::Canceling),
        PaymentState::Unresolved,
    ] {
        let mut open = payment(state);
        open.allowed_wallets = Some(vec!["ALIPAYHK".to_owned()]);
        let after = applied(&open, &named(Some("ALIPAYCN")));
        assert_eq!(after.wallet(), Some("ALIPAYCN"), "{:?}", open.state);
        assert_eq!(after.wallet_allowed(), Some(false));
        assert!(!after.is_paid_from_unwanted_wallet(), "not paid yet");
        for again in [named(Some("ALIPAYCN")), named(None)] {
            assert_eq!(after.apply(&again, at(1)), Ok(None), "said once");
        }
        let paid = PaymentEvent::Paid {
            charge: Charge {
                wallet: None,
                ..charge()
            },
            alipay_trans_id: None,
        };
        let paid = applied(&after, &paid);
        assert_eq!(paid.wallet(), Some("ALIPAYCN"), "an answer leaves it out");
        assert!(paid.is_paid_from_unwanted_wallet());
    }
}

#[test]
fn a_canceled_payment_keeps_the_charge_it_had() {
    let paid = payment(PaymentState::Processing(ProcessingReason::Canceling))
        .apply(&events()[0], at(2))
        .expect("paid is believed")
        .expect("and new");
    assert_eq!(paid.alipay_trans_id.as_deref(), Some("2026"));
    let canceled = paid
        .apply(&events()[6], at(3))
        .expect("a legal move")
        .expect("and new");
    assert_eq!(canceled.charge, Some(charge()));
    assert_eq!(canceled.finalized_at, Some(at(3)));
}

#[test]
fn the_cancel_window_of_a_paid_payment_ends_with_its_day() {
    let paid = payment(PaymentState::Succeeded);
    // 2026-01-02 11:04 in GMT+8: until the following midnight.
    assert_eq!(
        paid.cancelable_until().map(|t| t.to_rfc3339()).as_deref(),
        Some("2026-01-02T16:00:00+00:00")
    );
    assert_eq!(
        payment(PaymentState::Failed(failure())).cancelable_until(),
        None
    );
}

#[test]
fn s5_a_late_success_is_kept_unless_the_caller_wants_it_undone() {
    let started = |reason| {
        payment(PaymentState::Processing(ProcessingReason::AwaitingBuyer))
            .apply(
                &PaymentEvent::CancelStarted {
                    reason,
                    reversal: None,
                },
                at(2),
            )
            .expect("a legal move")
            .expect("and new")
    };
    let paid = PaymentEvent::Paid {
        charge: charge(),
        alipay_trans_id: None,
    };
    let late = started(CancelReason::BuyerDidNotConfirm).apply(&paid, at(3));
    let late = late.expect("believed").expect("and new");
    assert!(late.is_settled(), "the buyer has bought");
    let unwanted = started(CancelReason::Requested).apply(&paid, at(3));
    let unwanted = unwanted.expect("believed").expect("and new");
    assert_eq!(unwanted.state, PaymentState::Succeeded);
    assert!(!unwanted.is_settled(), "the cancel goes on");
    let kept = unwanted.apply(&PaymentEvent::CancelRefused, at(4));
    assert!(kept.expect("believed").expect("and new").is_settled());
}

/// M6: while a cancel of ours may still take effect, "paid" is not yet the end; once it cannot, or
/// was answered, it is.
#[test]
fn m6_a_paid_trade_is_not_believed_while_our_cancel_may_still_return_the_money() {
    let paid = PaymentEvent::Paid {
        charge: charge(),
        alipay_trans_id: None,
    };
    let mut canceling = payment(PaymentState::Processing(ProcessingReason::Canceling));
    let answered = canceling.apply(&paid, at(20)).expect("legal");
    assert_eq!(
        answered.map(|payment| payment.state),
        Some(PaymentState::Succeeded)
    );
    canceling.poll.open_cancel_at = Some(at(15));
    let held = canceling.apply(&paid, at(20)).expect("legal");
    let mut canceling = held.expect("the charge is news");
    assert_eq!(
        canceling.state,
        PaymentState::Processing(ProcessingReason::Canceling)
    );
    assert_eq!(canceling.charge, Some(charge()));
    assert_eq!(canceling.apply(&paid, at(74)), Ok(None));
    let declined = PaymentEvent::Declined(failure());
    assert_eq!(canceling.apply(&declined, at(74)), Ok(None));
    let late = canceling.apply(&paid, at(75)).expect("legal");
    assert_eq!(
        late.map(|payment| payment.state),
        Some(PaymentState::Succeeded)
    );
    // A cancel that the caller asked for goes on in a paid payment, which says so.
    canceling.canceling = Some(CancelReason::Requested);
    let still = canceling.apply(&paid, at(20)).expect("legal");
    assert_eq!(
        still.map(|payment| (payment.state, payment.canceling)),
        Some((PaymentState::Succeeded, Some(CancelReason::Requested)))
    );
}

fn cancel_started(reason: CancelReason, reversal: Option<RefundId>) -> PaymentEvent {
    PaymentEvent::CancelStarted { reason, reversal }
}

fn applied(payment: &Payment, event: &PaymentEvent) -> Payment {
    let after = payment.apply(event, at(9)).expect("a legal move");
    after.expect("and new")
}

/// R11: the refund to make where the cancel is refused is minted once, with the wish.
#[test]
fn r11_a_reversal_joins_the_cancel_under_way_and_keeps_its_first_id() {
    let first = RefundId::mint();
    for (state, canceling) in [
        (PaymentState::Succeeded, None),
        (PaymentState::Succeeded, Some(CancelReason::Requested)),
        (
            PaymentState::Processing(ProcessingReason::AwaitingBuyer),
            None,
        ),
        (
            PaymentState::Processing(ProcessingReason::Canceling),
            Some(CancelReason::Requested),
        ),
        (
            PaymentState::Processing(ProcessingReason::Canceling),
            Some(CancelReason::BuyerDidNotConfirm),
        ),
    ] {
        let mut before = payment(state);
        before.canceling = canceling;
        let wish = cancel_started(CancelReason::Requested, Some(first));
        let wished = applied(&before, &wish);
        assert_eq!(wished.reversal, Some(first), "{before:?}");
        assert_eq!(wished.canceling, Some(CancelReason::Requested));
        assert_eq!(wished.state.status(), before.state.status());
        for again in [
            wish,
            cancel_started(CancelReason::Requested, Some(RefundId::mint())),
            cancel_started(CancelReason::Requested, None),
        ] {
            assert_eq!(wished.apply(&again, at(10)), Ok(None), "{again:?}");
        }
    }
}

/// A week of silence ends no wish: what turns out paid after it is still to be undone. That the gateway
/// closes what nobody confirmed is no wish of anybody's.
#[test]
fn r11_a_wish_outlasts_the_plan_and_holds_for_what_turns_out_paid() {
    let id = RefundId::mint();
    let waiting = payment(PaymentState::Processing(ProcessingReason::OutcomeUnknown));
    let exhausted = payment(PaymentState::Unresolved);
    let cancel = cancel_started(CancelReason::Requested, None);
    let reversal = cancel_started(CancelReason::Requested, Some(id));
    for (before, wish, kept) in [
        (&waiting, &cancel, None),
        (&waiting, &reversal, Some(id)),
        // Asked for when nobody knew any more.
        (&exhausted, &cancel, None),
        (&exhausted, &reversal, Some(id)),
    ] {
        let mut wished = applied(before, wish);
        if before == &waiting {
            wished = applied(&wished, &PaymentEvent::PlanExhausted);
        }
        assert_eq!(wished.state, PaymentState::Unresolved);
        let requested = Some(CancelReason::Requested);
        assert_eq!((wished.canceling, wished.reversal), (requested, kept));
        let paid = applied(&wished, &events()[0]);
        assert_eq!(paid.state, PaymentState::Succeeded);
        assert_eq!((paid.canceling, paid.reversal), (requested, kept));
        // A person who decides that the money stays withdraws it.
        let stays = PaymentEvent::Resolved(Resolution::Succeeded);
        assert!(applied(&wished, &stays).is_settled());
    }
    let ours = cancel_started(CancelReason::BuyerDidNotConfirm, None);
    let ours = applied(&waiting, &ours);
    assert_eq!(applied(&ours, &PaymentEvent::PlanExhausted).canceling, None);
}

/// Two refusals in a row at the door are told, once, of whatever is open: the till cannot wait for their
/// end. Nothing else changes.
#[test]
fn s3_a_refusal_at_the_door_is_believed_of_no_payment() {
    for state in states() {
        let mut before = payment(state.clone());
        for (refusals, is_news) in [(0, false), (1, true), (2, false), (7, false)] {
            before.poll.access_refusals = refusals;
            let after = before
                .apply(&PaymentEvent::AccessRefused, at(9))
                .expect("no contradiction");
            assert_eq!(
                after.is_some(),
                is_news && !before.is_settled(),
                "{state:?} {refusals}"
            );
            if let Some(after) = after {
                assert_eq!(
                    (&after.state, after.canceling),
                    (&before.state, before.canceling)
                );
                assert_eq!(after.version, before.version + 1);
            }
        }
        let told = before.standing().next_action() == NextActionKind::CallOperator;
        assert!(told || before.is_settled(), "{state:?}");
    }
}

/// D8: what is wholly on its way back, by refunds, is done when it has arrived; a part that goes back
/// leaves the sale done.
#[test]
fn d8_a_payment_whose_money_is_all_on_its_way_back_is_not_done() {
    let mut paid = payment(PaymentState::Succeeded);
    let all = paid.amount.minor();
    for (reserved, refunded, is_done) in [
        (0, 0, true),
        (all - 1, 0, true),
        (all, 0, false),
        (all, all - 1, false),
        (all, all, true),
    ] {
        paid.refund_reserved_minor = reserved;
        paid.refunded_minor = refunded;
        assert_eq!(
            paid.standing().is_settled(),
            is_done,
            "{reserved} {refunded}"
        );
        assert!(paid.cancel_has_ended(), "{reserved} {refunded}");
    }
}

/// A person decides what will not be settled by waiting a moment, and nothing else.
#[test]
fn a_person_decides_only_what_needs_one() {
    let stays = PaymentEvent::Resolved(Resolution::Succeeded);
    let went_back = PaymentEvent::Resolved(Resolution::Canceled {
        money_returned: true,
    });
    let ten_minutes = TimeDelta::minutes(10);
    let open = payment(PaymentState::Processing(ProcessingReason::OutcomeUnknown));
    let old = open.created_at + ten_minutes;
    assert_eq!(open.apply(&stays, old - TimeDelta::seconds(1)), Ok(None));
    let decided = open
        .apply(&stays, old)
        .expect("no contradiction")
        .expect("decided");
    assert_eq!(decided.state, PaymentState::Succeeded);
    let mut refused = open.clone();
    refused.poll.access_refusals = 2;
    assert!(
        refused
            .apply(&stays, at(9))
            .expect("no contradiction")
            .is_some()
    );

    // A cancel of a paid one that does not end.
    let mut paid = payment(PaymentState::Succeeded);
    assert!(
        !paid.needs_a_person(paid.created_at + TimeDelta::days(2)),
        "settled"
    );
    paid.canceling = Some(CancelReason::Requested);
    assert!(!paid.needs_a_person(paid.updated_at + ten_minutes - TimeDelta::seconds(1)));
    let old = paid.updated_at + ten_minutes;
    let kept = paid
        .apply(&stays, old)
        .expect("no contradiction")
        .expect("decided");
    assert!(kept.is_settled() && kept.state == PaymentState::Succeeded);
    let returned = paid
        .apply(&went_back, old)
        .expect("no contradiction")
        .expect("decided");
    assert_eq!(returned.state.status(), "canceled");
}

/// A caller is served by the cancel that goes on only where it does go on, and soon.
#[test]
fn a_cancel_is_repeated_only_where_the_schedule_comes_back_soon() {
    let mut wished = payment(PaymentState::Succeeded);
    for (canceling, due, repeated) in [
        (Some(CancelReason::Requested), Some(at(9)), true),
        (Some(CancelReason::Requested), Some(at(40)), true),
        (
            Some(CancelReason::Requested),
            Some(at(40) + TimeDelta::minutes(1)),
            false,
        ),
        // Parked, or taken off the schedule.
        (Some(CancelReason::Requested), None, false),
        (Some(CancelReason::BuyerDidNotConfirm), Some(at(9)), false),
        (None, Some(at(9)), false),
    ] {
        wished.canceling = canceling;
        wished.poll.next_check_at = due;
        assert_eq!(
            wished.cancel_is_repeated(at(20)),
            repeated,
            "{canceling:?} {due:?}"
        );
    }
}

/// The wish lasts as long as the cancel: through the word that the trade is paid, to its end.
#[test]
fn r11_a_reversal_is_kept_until_its_cancel_ends_and_then_dropped() {
    let id = RefundId::mint();
    let wish = cancel_started(CancelReason::Requested, Some(id));
    let waiting = payment(PaymentState::Processing(ProcessingReason::AwaitingBuyer));
    let wished = applied(&waiting, &wish);
    let paid = applied(&wished, &events()[0]);
    assert_eq!(paid.state, PaymentState::Succeeded);
    assert_eq!(
        (paid.reversal, paid.is_settled()),
        (Some(id), false),
        "the cancel goes on"
    );
    let closed = |money_returned| PaymentEvent::Closed {
        reason: CancelReason::BuyerDidNotConfirm,
        money_returned,
        alipay_trans_id: None,
        charge: None,
    };
    for (before, event) in [
        (&wished, PaymentEvent::Declined(failure())),
        (&wished, closed(false)),
        (&paid, closed(true)),
        (&paid, PaymentEvent::CancelRefused),
    ] {
        let after = applied(before, &event);
        assert_eq!((after.canceling, after.reversal), (None, None), "{event:?}");
    }
}

#[test]
fn m3_what_no_refund_has_reserved_of_a_paid_payment_may_be_refunded() {
    for state in states() {
        let mut payment = payment(state);
        payment.canceling = None;
        let is_paid = payment.state == PaymentState::Succeeded;
        let left = if is_paid { 3925 } else { 0 };
        assert_eq!(payment.refundable_minor(), left, "{:?}", payment.state);
    }
    let mut paid = payment(PaymentState::Succeeded);
    for (reserved, refunded, left) in [
        (1, 0, 3924),
        (3925, 0, 0),
        (3925, 3925, 0),
        (2000, 25, 1925),
    ] {
        paid.refund_reserved_minor = reserved;
        paid.refunded_minor = refunded;
        assert_eq!(paid.refundable_minor(), left);
    }
    // T4: cancel and refund never both run.
    paid.refund_reserved_minor = 0;
    paid.canceling = Some(CancelReason::Requested);
    assert_eq!(paid.refundable_minor(), 0);
}

/// Refunds close a trade too (`docs/protocol.md` 5.1): what they return is in the books, and
/// the payment was paid.
#[test]
fn m3_a_trade_closed_by_refunds_stays_a_paid_payment() {
    let closed = PaymentEvent::Closed {
        reason: CancelReason::BuyerDidNotConfirm,
        money_returned: true,
        alipay_trans_id: Some("2026".to_owned()),
        charge: Some(charge()),
    };
    let mut paid = payment(PaymentState::Succeeded);
    paid.refund_reserved_minor = paid.amount.minor();
    assert_eq!(paid.apply(&closed, at(9)), Ok(None));
    // Less than all of it closes no trade: whatever else was left is back as well.
    for reserved in [0, 1, paid.amount.minor() - 1] {
        paid.refund_reserved_minor = reserved;
        let after = applied(&paid, &closed);
        assert_eq!(after.state.status(), "canceled", "{reserved} reserved");
        assert_eq!(after.refundable_minor(), 0);
    }
}

/// M12: what is booked, what is proven besides, and whether refunds explain why the trade is closed.
#[test]
fn m12_a_trade_closed_by_refunds_of_which_one_is_not_booked_yet_stays_a_paid_payment() {
    for (reserved, proven, stays) in [
        (3925, 0, true),
        (2925, 1000, true),
        (2925, 999, false),
        (0, 3925, false),
        (2925, 3925, false),
        (0, 0, false),
    ] {
        let mut paid = payment(PaymentState::Succeeded);
        paid.refund_reserved_minor = reserved;
        paid.proven_returned_minor = proven;
        let closed = PaymentEvent::Closed {
            reason: CancelReason::ClosedAfterPayment,
            money_returned: true,
            alipay_trans_id: None,
            charge: None,
        };
        let after = paid.apply(&closed, at(9)).expect("a legal move");
        assert_eq!(after.is_none(), stays, "{reserved} {proven}");
    }
}

#[test]
fn a_change_of_state_leaves_the_books_alone() {
    for state in states() {
        for event in events() {
            let mut before = payment(state.clone());
            before.refunded_minor = 700;
            before.refund_reserved_minor = 900;
            if let Ok(Some(after)) = before.apply(&event, at(9)) {
                assert_eq!(
                    (after.refund_reserved_minor, after.refunded_minor),
                    (900, 700)
                );
            }
        }
    }
}
