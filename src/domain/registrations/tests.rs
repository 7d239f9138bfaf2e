//! The review over time and under every answer.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Decision, Fingerprint, MerchantType, PersonalData, RegisteredData, Registration,
    RegistrationEvent as Event, RegistrationStatus as Status, RegistrationStep as Step, StoreFacts,
    Submission, gives_up_at, next_step,
};
use crate::domain::id::{MerchantId, RegistrationId};

pub(super) fn facts() -> StoreFacts {
    StoreFacts {
        secondary_merchant_name: "Demo Cafe Ltd".to_owned(),
        secondary_merchant_type: MerchantType::Enterprise,
        store_name: "Demo Cafe Central".to_owned(),
        store_country: "HK".to_owned(),
        store_address: "1 Queen's Road".to_owned(),
        store_industry: "5812".to_owned(),
        internal_store_photo: None,
        external_storefront_photo: None,
        registration_no: None,
        register_country: "HK".to_owned(),
        register_address: None,
        cs_no: None,
        cs_email: None,
    }
}

fn start() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().expect("an instant")
}

fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint(vec![number; 32])
}

/// A registration whose intent has just been written.
fn submitting() -> Registration {
    Registration {
        id: RegistrationId::mint(),
        version: 1,
        merchant_id: MerchantId::mint(),
        partner: "2088000000000001".to_owned(),
        secondary_merchant_id: "SM001".to_owned(),
        store_id: "ST01".to_owned(),
        status: Status::Submitting,
        rejection: None,
        facts: facts(),
        masked: PersonalData {
            owner_name: "***".to_owned(),
            owner_id: "***".to_owned(),
            settlement_no: None,
            contact_no: None,
            contact_email: None,
            drivers: vec![],
        },
        submission: Submission {
            number: 1,
            fingerprint: fingerprint(1),
            drivers: None,
            submitted_at: start(),
            accepted_at: None,
            after_earlier: false,
            to_send: false,
            is_kept: true,
            submits: 1,
            last_submit_at: Some(start()),
            checks_done: 0,
            last_check_at: None,
        },
        in_force: None,
        store_status: None,
        next_check_at: None,
        created_at: start(),
        updated_at: start(),
    }
}

fn after(registration: &Registration, event: &Event) -> Registration {
    registration
        .apply(event, start() + TimeDelta::minutes(2))
        .unwrap_or_else(|| panic!("{event:?} changes nothing of {registration:?}"))
}

fn unchanged(registration: &Registration, event: &Event) {
    assert_eq!(registration.apply(event, start()), None, "{event:?}");
}

fn echo_of(facts: &StoreFacts) -> RegisteredData {
    RegisteredData {
        secondary_merchant_name: Some(facts.secondary_merchant_name.clone()),
        store_name: Some(facts.store_name.clone()),
        store_industry: Some(facts.store_industry.clone()),
        store_address: Some(facts.store_address.clone()),
        ..RegisteredData::default()
    }
}

fn ours() -> RegisteredData {
    echo_of(&facts())
}

fn theirs() -> RegisteredData {
    RegisteredData {
        store_name: Some("Somebody Else".to_owned()),
        ..ours()
    }
}

fn approved(echo: RegisteredData) -> Event {
    Event::Approved {
        echo,
        store_status: Some("ACTIVATED".to_owned()),
    }
}

fn rejected(echo: RegisteredData) -> Event {
    Event::Rejected {
        reason: Some("High risk merchant, registration reject.".to_owned()),
        echo,
    }
}

fn reviewing(echo: RegisteredData) -> Event {
    Event::UnderReview {
        is_change: false,
        echo,
    }
}

/// A second submission, under way, of a registration that is approved.
fn changing() -> Registration {
    let first = after(&after(&submitting(), &Event::Accepted), &approved(ours()));
    let mut facts = facts();
    facts.store_name = "Demo Cafe Peak".to_owned();
    Registration {
        status: Status::Submitting,
        facts,
        submission: Submission {
            number: 2,
            fingerprint: fingerprint(2),
            ..submitting().submission
        },
        ..first
    }
}

#[test]
fn accepted_is_not_approved() {
    let accepted = after(&submitting(), &Event::Accepted);
    assert_eq!(accepted.status, Status::UnderReview);
    assert_eq!(accepted.in_force, None);
    let approved = after(&accepted, &approved(ours()));
    assert_eq!(approved.status, Status::Approved);
    let in_force = approved.in_force.as_ref().expect("approved");
    assert_eq!(in_force.store_name, "Demo Cafe Central");
    assert!(!approved.submission.is_kept, "people are forgotten");
    assert_eq!(approved.version, 3);
}

#[test]
fn what_alipay_registered_is_what_holds() {
    let accepted = after(&submitting(), &Event::Accepted);
    let renamed = after(&accepted, &approved(theirs()));
    let in_force = renamed.in_force.expect("approved");
    assert_eq!(in_force.store_name, "Somebody Else");
    let silent = after(&accepted, &approved(RegisteredData::default()));
    assert_eq!(
        silent.in_force.expect("approved").store_name,
        "Demo Cafe Central"
    );
}

#[test]
fn a_change_under_review_leaves_in_force_what_was_approved() {
    let accepted = after(&changing(), &Event::Accepted);
    assert_eq!(accepted.status, Status::ModificationReview);
    let holds = |registration: &Registration| {
        let in_force = registration.in_force.as_ref().expect("in force");
        in_force.store_name.clone()
    };
    assert_eq!(holds(&accepted), "Demo Cafe Central");
    // Alipay still shows the approval of before.
    unchanged(&accepted, &approved(ours()));
    let done = after(&accepted, &approved(echo_of(&accepted.facts)));
    assert_eq!(
        (done.status, holds(&done)),
        (Status::Approved, "Demo Cafe Peak".to_owned())
    );
    let refused = after(&accepted, &rejected(RegisteredData::default()));
    assert_eq!(
        (refused.status, holds(&refused)),
        (Status::Rejected, "Demo Cafe Central".to_owned())
    );
}

#[test]
fn after_a_lost_answer_only_what_is_surely_about_it_counts() {
    let lost = after(&submitting(), &Event::AnswerLost);
    assert_eq!(lost.status, Status::Unknown);
    assert_eq!(after(&lost, &approved(ours())).status, Status::Approved);
    assert_eq!(after(&lost, &rejected(ours())).status, Status::Rejected);
    for event in [
        approved(RegisteredData::default()),
        approved(theirs()),
        rejected(RegisteredData::default()),
        rejected(theirs()),
        Event::NotRegistered,
    ] {
        let again = after(&lost, &event);
        assert_eq!(again.status, Status::Unknown, "{event:?}");
        assert!(again.submission.to_send, "{event:?}");
    }
    // A change whose answer is lost: what is approved or refused may be what was there before, even
    // where the two cannot be told apart.
    let lost = after(&changing(), &Event::AnswerLost);
    for event in [
        approved(ours()),
        approved(echo_of(&lost.facts)),
        rejected(echo_of(&lost.facts)),
    ] {
        let again = after(&lost, &event);
        assert!(again.submission.to_send, "{event:?}");
        assert_eq!(again.status, Status::Unknown);
    }
    // What is under review is a change that was heard: no other one was made here.
    let heard = after(&lost, &reviewing(RegisteredData::default()));
    assert!(heard.submission.accepted_at.is_some() && !heard.submission.to_send);
}

#[test]
fn an_earlier_review_is_waited_for_and_then_it_is_sent_again() {
    let behind = after(&submitting(), &Event::EarlierReviewUnderWay);
    assert_eq!(behind.status, Status::UnderReview);
    assert!(behind.submission.after_earlier);
    unchanged(&behind, &reviewing(theirs()));
    unchanged(&behind, &reviewing(RegisteredData::default()));
    // It was this one that Alipay had: the answer to an earlier request was lost.
    let own = after(&behind, &reviewing(ours()));
    assert!(own.submission.accepted_at.is_some());
    assert_eq!(after(&behind, &approved(ours())).status, Status::Approved);
    let again = after(&behind, &approved(theirs()));
    assert!(again.submission.to_send && !again.submission.after_earlier);
    assert_eq!(
        again.in_force.expect("the earlier one").store_name,
        "Somebody Else"
    );
    assert!(after(&behind, &rejected(theirs())).submission.to_send);
}

#[test]
fn a_refusal_says_why_and_forgets_people() {
    let code = "PARAM_ILLEGAL".to_owned();
    let refused = after(&submitting(), &Event::Refused { code });
    assert_eq!(refused.status, Status::Rejected);
    let rejection = refused.rejection.as_ref().expect("why");
    assert_eq!(rejection.code.as_deref(), Some("PARAM_ILLEGAL"));
    assert!(!refused.submission.is_kept);
    unchanged(&refused, &approved(ours()));
    unchanged(&refused, &Event::NotRegistered);
    let accepted = after(&submitting(), &Event::Accepted);
    let refused = after(&accepted, &rejected(ours()));
    assert!(refused.rejection.as_ref().expect("why").reason.is_some());
    // Alipay has thought again.
    assert_eq!(after(&refused, &approved(ours())).status, Status::Approved);
}

#[test]
fn an_approval_can_be_withdrawn_and_is_not_lost_by_less() {
    let approval = after(&after(&submitting(), &Event::Accepted), &approved(ours()));
    unchanged(&approval, &approved(ours()));
    unchanged(&approval, &Event::NotRegistered);
    unchanged(&approval, &Event::AnswerLost);
    unchanged(&approval, &Event::PlanExhausted);
    let withdrawn = after(&approval, &rejected(ours()));
    assert_eq!(withdrawn.status, Status::Rejected);
    assert_eq!(withdrawn.in_force, None);
}

#[test]
fn unresolved_still_takes_the_truth() {
    let accepted = after(&submitting(), &Event::Accepted);
    let unresolved = after(&accepted, &Event::PlanExhausted);
    assert_eq!(unresolved.status, Status::Unresolved);
    assert_eq!(
        after(&unresolved, &approved(ours())).status,
        Status::Approved
    );
    assert_eq!(
        after(&unresolved, &rejected(ours())).status,
        Status::Rejected
    );
}

#[test]
fn the_same_data_ask_nothing_and_others_wait_for_the_review() {
    let (same, other) = (fingerprint(1), fingerprint(9));
    let resolve_conflict = |status, fingerprint: &Fingerprint| {
        Registration {
            status,
            ..submitting()
        }
        .resolve_conflict(fingerprint, None)
    };
    for status in [
        Status::Submitting,
        Status::Unknown,
        Status::UnderReview,
        Status::ModificationReview,
    ] {
        assert_eq!(
            resolve_conflict(status, &same),
            Decision::Unchanged,
            "{status:?}"
        );
        assert_eq!(
            resolve_conflict(status, &other),
            Decision::ReviewUnderWay,
            "{status:?}"
        );
    }
    assert_eq!(
        resolve_conflict(Status::Approved, &same),
        Decision::Unchanged
    );
    assert_eq!(resolve_conflict(Status::Approved, &other), Decision::Submit);
    for status in [Status::Rejected, Status::Unresolved] {
        assert_eq!(
            resolve_conflict(status, &same),
            Decision::Submit,
            "{status:?}"
        );
        assert_eq!(
            resolve_conflict(status, &other),
            Decision::Submit,
            "{status:?}"
        );
    }
    let mut taxi = submitting();
    taxi.status = Status::Approved;
    taxi.submission.drivers = Some(fingerprint(3));
    assert_eq!(
        taxi.resolve_conflict(&other, Some(&fingerprint(3))),
        Decision::Submit
    );
    assert_eq!(
        taxi.resolve_conflict(&other, Some(&fingerprint(4))),
        Decision::DriversAreFixed
    );
    assert_eq!(
        taxi.resolve_conflict(&other, None),
        Decision::DriversAreFixed
    );
}

/// What the plan does with a registration whose every question is answered "under review".
fn questions(registration: &Registration) -> Vec<i64> {
    let mut registration = registration.clone();
    let (mut now, mut asked) = (start(), vec![]);
    loop {
        match next_step(&registration, now) {
            Step::WaitUntil(due) => {
                assert!(due > now, "it moves on");
                now = due;
            }
            Step::Query => {
                asked.push((now - start()).num_seconds());
                registration.submission.last_check_at = Some(now);
                registration.submission.checks_done += 1;
            }
            Step::GiveUp => {
                asked.push(-(now - start()).num_seconds());
                return asked;
            }
            step => panic!("{step:?} at {now}"),
        }
    }
}

#[test]
fn a_review_is_asked_for_after_2_5_10_and_30_minutes_and_hourly_to_72_hours() {
    let accepted = after(&submitting(), &Event::Accepted);
    let asked = questions(&accepted);
    assert_eq!(asked[..6], [120, 300, 600, 1800, 3600, 7200]);
    assert_eq!(asked[4..asked.len() - 1].len(), 72, "hourly");
    assert_eq!(asked[asked.len() - 2..], [72 * 3600, -72 * 3600]);
    assert_eq!(gives_up_at(&accepted), start() + TimeDelta::hours(72));
    // Nobody knows whether Alipay has it: once more, before the others.
    let lost = questions(&after(&submitting(), &Event::AnswerLost));
    assert_eq!(lost[..3], [30, 120, 300]);
    assert_eq!(questions(&submitting())[0], 30, "after a crash, too");
}

#[test]
fn questions_that_were_missed_are_not_asked_one_after_the_other() {
    let mut late = after(&submitting(), &Event::Accepted);
    let now = start() + TimeDelta::minutes(90);
    assert_eq!(next_step(&late, now), Step::Query);
    late.submission.last_check_at = Some(now);
    let next = start() + TimeDelta::hours(2);
    assert_eq!(next_step(&late, now), Step::WaitUntil(next));
    // A worker that was away for a week asks once before it gives up.
    let week = start() + TimeDelta::days(7);
    late.submission.last_check_at = None;
    assert_eq!(next_step(&late, week), Step::Query);
    late.submission.last_check_at = Some(week);
    assert_eq!(next_step(&late, week), Step::GiveUp);
}

#[test]
fn what_alipay_does_not_have_is_sent_again_with_patience_and_not_for_ever() {
    let mut lost = after(&submitting(), &Event::NotRegistered);
    let mut sent = vec![];
    let mut now = start();
    while sent.len() < 20 {
        match next_step(&lost, now) {
            Step::WaitUntil(due) => now = due,
            Step::Submit => {
                sent.push((now - start()).num_minutes());
                lost.submission.submits += 1;
                lost.submission.last_submit_at = Some(now);
            }
            Step::Query => break,
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(sent[..5], [1, 6, 21, 81, 141]);
    assert_eq!(sent.len(), 11, "twelve with the first");
}

#[test]
fn what_is_settled_is_not_asked_for_and_unresolved_once_a_day() {
    let accepted = after(&submitting(), &Event::Accepted);
    let now = start() + TimeDelta::days(30);
    for event in [approved(ours()), rejected(ours())] {
        assert_eq!(next_step(&after(&accepted, &event), now), Step::Settled);
    }
    let mut unresolved = after(&accepted, &Event::PlanExhausted);
    unresolved.submission.last_check_at = Some(now);
    let next = now + TimeDelta::days(1);
    assert_eq!(next_step(&unresolved, now), Step::WaitUntil(next));
    assert_eq!(next_step(&unresolved, next), Step::Query);
}

#[test]
fn what_cannot_be_sent_again_is_only_asked_for() {
    let mut reopened = after(&submitting(), &Event::NotRegistered);
    reopened.submission.is_kept = false;
    let now = start() + TimeDelta::minutes(1);
    assert_eq!(next_step(&reopened, now), Step::Query);
}
