//! Stores registered with Alipay: accepted is not approved, a review is followed to its end whatever is
//! lost on the way, and people are kept no longer than needed.

use std::sync::Arc;

use alipayhk_gateway::{
    alipay::{
        client::{Alipay, AlipaySettings},
        outcome::MaintainStoreOutcome,
        request::MaintainStoreRequest,
    },
    clock::ManualClock,
    domain::{
        access::principal::{Scope, TenantScope},
        accounts::signing::SignType,
        registrations::{MerchantType, PersonalData, StoreFacts},
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    PARTNER, World, all, api_key, credentials,
    http::{Answer, Caller},
};

pub(crate) const STORE: &str = "/v1/secondary-merchants/SM001/stores/ST01";

/// People who must not be found where they are not needed.
pub(crate) const PEOPLE: [&str; 5] = [
    "Wong Tai Man",
    "A123456(7)",
    "012345678901",
    "+852-2345-6789",
    "tai.man.wong",
];

/// The body of a good registration.
pub(crate) fn store_body() -> Value {
    json!({
        "secondary_merchant_name": "Demo Cafe Ltd",
        "secondary_merchant_type": "ENTERPRISE",
        "store_name": "Demo Cafe Central",
        "store_country": "HK",
        "store_address": "1 Queen's Road Central, 香港",
        "store_industry": "5812",
        "external_storefront_photo": "https://example.com/front.jpg?size=1&v=2",
        "registration_no": "12345678-000",
        "register_country": "HK",
        "shareholder_name": PEOPLE[0],
        "shareholder_id": PEOPLE[1],
        "settlement_no": PEOPLE[2],
        "contact_no": PEOPLE[3],
        "contact_email": format!("{}@example.com", PEOPLE[4]),
        "cs_no": "+852-2345-6780",
    })
}

/// The usual store under another name.
fn renamed(name: &str) -> Value {
    let mut body = store_body();
    body["store_name"] = json!(name);
    body
}

/// The usual store as a taxi.
fn taxi(drivers: &Value) -> Value {
    let mut body = renamed("AB 1234");
    body["store_industry"] = json!("4121");
    body["drivers"] = drivers.clone();
    body
}

/// A merchant's administrator.
async fn admin(world: &World) -> Caller {
    world.caller(0, &[Scope::Admin, Scope::Operations]).await
}

fn summary(answer: &Answer) -> (u16, &str) {
    answer.summary("status")
}

fn instant(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().expect("an instant");
    text.parse().expect("an instant")
}

/// The names of what happened, oldest first.
fn events(registration: &Value) -> Vec<&str> {
    let history = registration["history"].as_array().expect("a list");
    let events = history.iter().rev().map(|change| change["event"].as_str());
    events.map(Option::unwrap_or_default).collect()
}

/// Moves the clock and lets the schedule work.
async fn pass(world: &mut World, by: TimeDelta) {
    world.advance(by).await;
    world.run_due().await;
}

/// How many times Alipay was asked to register, and about a registration.
async fn asked(world: &World) -> (usize, usize) {
    let simulator = &world.simulator;
    (
        simulator.count("maintain").await,
        simulator.count("query_status").await,
    )
}

#[sqlx::test]
async fn a_store_is_approved_by_its_review_and_not_by_its_acceptance(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    let put = admin.put(STORE, &store_body()).await;
    assert_eq!(summary(&put), (202, "under_review"), "{put:?}");
    assert_eq!(put.header("location"), STORE);
    let retry_after: i64 = put.header("retry-after").parse().expect("seconds");
    assert!((118..=121).contains(&retry_after), "{retry_after}");
    assert!(put.body["in_force"].is_null() && !put.body["accepted_at"].is_null());
    let waits = instant(&put.body["gives_up_at"]) - instant(&put.body["submitted_at"]);
    assert_eq!(waits, TimeDelta::hours(72));
    let rows = admin.get("/v1/follow-ups?kind=registration").await;
    assert_eq!(
        rows.body["items"][0]["subject_id"], put.body["id"],
        "{rows:?}"
    );
    let of_it = format!("/v1/follow-ups?subject={}", put.id());
    assert_eq!(admin.get(&of_it).await.body["items"], rows.body["items"]);

    pass(&mut world, TimeDelta::seconds(121)).await;
    let read = admin.get(STORE).await;
    assert_eq!(summary(&read), (200, "under_review"), "{read:?}");
    assert_eq!(read.body["checks_done"], 1);
    assert_eq!(asked(&world).await, (1, 1), "a GET asks nothing");
    pass(&mut world, TimeDelta::seconds(181)).await;
    let approved = admin.get(STORE).await;
    assert_eq!(summary(&approved), (200, "approved"), "{approved:?}");
    let in_force = &approved.body["in_force"];
    assert_eq!(in_force["store_name"], "Demo Cafe Central");
    assert_eq!(in_force["store_industry"], "5812");
    assert_eq!(approved.body["store_status"], "ACTIVATED");
    assert!(approved.body["next_check_at"].is_null() && approved.body["gives_up_at"].is_null());
    assert_eq!(
        events(&approved.body),
        ["submitted", "accepted", "approved"]
    );
    let left = world.count_rows("select count(*) from follow_up").await;
    assert_eq!(left, 0, "nothing is owed any more");

    // What Alipay has is what was sent, field by field.
    let registered = world.simulator.registrations().await;
    let data = registered[0]["data"].as_object().expect("an object");
    let sent = store_body();
    for (name, value) in sent.as_object().expect("an object") {
        assert_eq!(data.get(name), Some(value), "{name}");
    }
    assert!(data.get("representative_name").is_none());
    world.finish().await;
}

#[sqlx::test]
async fn the_same_data_ask_nothing_and_others_wait_for_the_review(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    let first = admin.put(STORE, &store_body()).await;
    let again = admin.put(STORE, &store_body()).await;
    assert_eq!(summary(&again), (202, "under_review"), "{again:?}");
    assert_eq!(again.body, first.body);
    let other = admin.put(STORE, &renamed("Demo Cafe Peak")).await;
    assert_eq!(
        other.summary("code"),
        (409, "review_under_way"),
        "{other:?}"
    );
    pass(&mut world, TimeDelta::minutes(6)).await;
    let approved = admin.put(STORE, &store_body()).await;
    assert_eq!(summary(&approved), (200, "approved"), "{approved:?}");
    assert_eq!(asked(&world).await, (1, 1));
    let audited = "select count(*) from audit_log where action = 'store_registration.submitted'";
    assert_eq!(world.count_rows(audited).await, 1);
    world.finish().await;
}

#[sqlx::test]
async fn twins_at_once_register_once(pool: PgPool) {
    let world = World::start(pool).await;
    let admin = admin(&world).await;
    let body = store_body();
    let answers = all((0..6).map(|_| admin.put(STORE, &body))).await;
    for answer in &answers {
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.body["id"], answers[0].body["id"]);
    }
    assert_eq!(asked(&world).await.0, 1);
    world.finish().await;
}

#[sqlx::test]
async fn a_refused_store_is_corrected_and_registered_again(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    admin.put(STORE, &store_body()).await;
    let reason = "For security reason, registration reject.";
    world
        .simulator
        .decide_registration("SM001", "ST01", Some(reason))
        .await;
    pass(&mut world, TimeDelta::seconds(121)).await;
    let rejected = admin.get(STORE).await;
    assert_eq!(summary(&rejected), (200, "rejected"), "{rejected:?}");
    assert_eq!(rejected.body["reject_reason"], reason);
    assert!(rejected.body["in_force"].is_null());
    // The same data may be meant: what was wrong may have been put right elsewhere.
    let again = admin.put(STORE, &store_body()).await;
    assert_eq!(summary(&again), (202, "under_review"), "{again:?}");
    assert!(again.body["reject_reason"].is_null());
    world
        .simulator
        .decide_registration("SM001", "ST01", Some(reason))
        .await;
    pass(&mut world, TimeDelta::seconds(121)).await;
    let corrected = admin.put(STORE, &renamed("Demo Cafe Peak")).await;
    assert_eq!(summary(&corrected), (202, "under_review"), "{corrected:?}");
    pass(&mut world, TimeDelta::minutes(6)).await;
    let approved = admin.get(STORE).await;
    assert_eq!(approved.body["in_force"]["store_name"], "Demo Cafe Peak");
    assert_eq!(asked(&world).await.0, 3);
    world.finish().await;
}

#[sqlx::test]
async fn a_change_under_review_leaves_the_approved_data_in_force(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    admin.put(STORE, &store_body()).await;
    pass(&mut world, TimeDelta::minutes(6)).await;
    let changing = admin.put(STORE, &renamed("Demo Cafe Peak")).await;
    assert_eq!(
        summary(&changing),
        (202, "modification_review"),
        "{changing:?}"
    );
    assert_eq!(changing.body["submitted"]["store_name"], "Demo Cafe Peak");
    let in_force = |answer: &Answer| answer.body["in_force"]["store_name"].clone();
    assert_eq!(in_force(&changing), "Demo Cafe Central");
    pass(&mut world, TimeDelta::seconds(121)).await;
    let read = admin.get(STORE).await;
    assert_eq!(summary(&read), (200, "modification_review"), "{read:?}");
    // Refused, it leaves what was approved.
    world
        .simulator
        .decide_registration("SM001", "ST01", Some("no"))
        .await;
    pass(&mut world, TimeDelta::seconds(181)).await;
    let refused = admin.get(STORE).await;
    assert_eq!(summary(&refused), (200, "rejected"), "{refused:?}");
    assert_eq!(in_force(&refused), "Demo Cafe Central");
    admin.put(STORE, &renamed("Demo Cafe Hill")).await;
    pass(&mut world, TimeDelta::minutes(6)).await;
    let approved = admin.get(STORE).await;
    assert_eq!(summary(&approved), (200, "approved"), "{approved:?}");
    assert_eq!(in_force(&approved), "Demo Cafe Hill");
    world.finish().await;
}

/// What the last payment said of its store.
async fn store_of_the_last_payment(world: &World) -> Value {
    let requests = world.simulator.requests().await;
    let mut pays = requests.iter().filter(|asked| asked["service"] == "pay");
    let info = pays.next_back().expect("a payment")["params"]["extend_info"].as_str();
    serde_json::from_str(info.expect("a text")).expect("JSON")
}

/// `docs/protocol.md` 4.2: Alipay finds the store by the ids, and buyers see what is registered.
#[sqlx::test]
async fn payments_name_the_store_as_it_is_registered(pool: PgPool) {
    let mut world = World::start(pool).await;
    let policy = json!({"payments_need_approval": true});
    world.simulator.set_review_policy(&policy).await;
    let admin = admin(&world).await;
    let mut body = renamed("Demo Cafe Peak");
    body["secondary_merchant_name"] = json!("Demo Cafe (HK) Ltd");
    body["store_industry"] = json!("5814");
    admin.put(STORE, &body).await;
    let early = world.pay("0001").await;
    assert_eq!(early.summary("status"), (201, "failed"), "{early:?}");
    let info = store_of_the_last_payment(&world).await;
    assert_eq!(info["store_name"], "Demo Cafe Central", "{info}");

    pass(&mut world, TimeDelta::minutes(6)).await;
    let paid = world.pay("0002").await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    let info = store_of_the_last_payment(&world).await;
    for (name, value) in [
        ("secondary_merchant_id", "SM001"),
        ("secondary_merchant_name", "Demo Cafe (HK) Ltd"),
        ("secondary_merchant_industry", "5814"),
        ("store_id", "ST01"),
        ("store_name", "Demo Cafe Peak"),
    ] {
        assert_eq!(info[name], value, "{name}: {info}");
    }
    world.finish().await;
}

#[sqlx::test]
async fn the_drivers_of_a_taxi_are_registered_and_then_fixed(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    let cab = "/v1/secondary-merchants/SM001/stores/AB1234";
    let driver = json!({"operation_id": "D-1001", "contact_person": "Chan Siu Ming", "contact_way": "9123 4567"});
    let drivers = Value::Array(vec![driver; 2]);
    let put = admin.put(cab, &taxi(&drivers)).await;
    assert_eq!(summary(&put), (202, "under_review"), "{put:?}");
    let shown = &put.body["submitted"]["drivers"];
    assert_eq!(
        shown[1],
        json!({"operation_id": "***", "contact_way": "9***7", "contact_person": "C***g"})
    );
    let sent = world.simulator.requests().await;
    let sent = sent.last().expect("a request")["params"]["extend_params"].clone();
    let sent: Value = serde_json::from_str(sent.as_str().expect("text")).expect("JSON");
    assert_eq!(sent, drivers);
    pass(&mut world, TimeDelta::minutes(6)).await;
    let others = json!([{"operation_id": "D-2", "contact_person": "Lee"}]);
    let refused = admin.put(cab, &taxi(&others)).await;
    assert_eq!(
        refused.summary("code"),
        (422, "validation_failed"),
        "{refused:?}"
    );
    assert_eq!(refused.body["errors"][0]["pointer"], "/drivers");
    assert_eq!(refused.body["errors"][0]["code"], "cannot_be_changed");
    let mut moved = taxi(&drivers);
    moved["store_address"] = json!("2 Queen's Road");
    let changed = admin.put(cab, &moved).await;
    assert_eq!(
        summary(&changed),
        (202, "modification_review"),
        "{changed:?}"
    );
    world.finish().await;
}

#[sqlx::test]
async fn after_a_lost_answer_the_review_is_found_by_asking(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    let fault = json!({"type": "drop_after_effect"});
    world.simulator.script("maintain", 1, fault).await;
    let put = admin.put(STORE, &store_body()).await;
    assert_eq!(summary(&put), (202, "unknown"), "{put:?}");
    assert!(put.body["accepted_at"].is_null());
    pass(&mut world, TimeDelta::seconds(31)).await;
    let found = admin.get(STORE).await;
    assert_eq!(summary(&found), (200, "under_review"), "{found:?}");
    assert!(!found.body["accepted_at"].is_null());
    pass(&mut world, TimeDelta::minutes(6)).await;
    assert_eq!(summary(&admin.get(STORE).await), (200, "approved"));
    assert_eq!(asked(&world).await.0, 1, "nothing was sent twice");
    world.finish().await;
}

#[sqlx::test]
async fn what_alipay_never_had_is_sent_again_with_the_same_data(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    let fault = json!({"type": "drop_before_effect"});
    world.simulator.script("maintain", 1, fault).await;
    let put = admin.put(STORE, &store_body()).await;
    assert_eq!(summary(&put), (202, "unknown"), "{put:?}");
    pass(&mut world, TimeDelta::seconds(31)).await;
    let missing = admin.get(STORE).await;
    assert_eq!(summary(&missing), (200, "unknown"), "{missing:?}");
    assert_eq!(asked(&world).await, (1, 1));
    pass(&mut world, TimeDelta::seconds(31)).await;
    let sent = admin.get(STORE).await;
    assert_eq!(summary(&sent), (200, "under_review"), "{sent:?}");
    assert_eq!(sent.body["submits"], 2);
    let requests = world.simulator.requests().await;
    let params: Vec<Value> = requests
        .iter()
        .filter(|request| request["service"] == "maintain")
        .map(|request| {
            let mut params = request["params"].clone();
            for changing in ["timestamp", "sign"] {
                params.as_object_mut().expect("an object").remove(changing);
            }
            params
        })
        .collect();
    assert_eq!(params[0], params[1], "the same but for the time");
    pass(&mut world, TimeDelta::minutes(6)).await;
    assert_eq!(summary(&admin.get(STORE).await), (200, "approved"));
    world.finish().await;
}

/// A change whose answer is lost is not taken for approved because what was there before is.
#[sqlx::test]
async fn a_lost_change_is_not_confused_with_the_approval_of_before(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    admin.put(STORE, &store_body()).await;
    pass(&mut world, TimeDelta::minutes(6)).await;
    let fault = json!({"type": "drop_before_effect"});
    world.simulator.script("maintain", 1, fault).await;
    let lost = admin.put(STORE, &renamed("Demo Cafe Peak")).await;
    assert_eq!(summary(&lost), (202, "unknown"), "{lost:?}");
    pass(&mut world, TimeDelta::seconds(31)).await;
    let read = admin.get(STORE).await;
    assert_eq!(summary(&read), (200, "unknown"), "{read:?}");
    assert_eq!(read.body["in_force"]["store_name"], "Demo Cafe Central");
    pass(&mut world, TimeDelta::seconds(31)).await;
    assert_eq!(
        summary(&admin.get(STORE).await),
        (200, "modification_review")
    );
    pass(&mut world, TimeDelta::minutes(6)).await;
    let approved = admin.get(STORE).await;
    assert_eq!(summary(&approved), (200, "approved"), "{approved:?}");
    assert_eq!(approved.body["in_force"]["store_name"], "Demo Cafe Peak");
    world.finish().await;
}

/// Alipay's client as somebody else with our keys uses it: the merchant portal, or an older system.
fn elsewhere(world: &World) -> Alipay {
    let settings = AlipaySettings::new(
        world.simulator.endpoint(),
        PARTNER.to_owned(),
        credentials(SignType::Rsa2),
    );
    let clock = Arc::new(ManualClock::new(world.now()));
    Alipay::new(settings, clock).expect("the settings are good")
}

fn somebody_elses() -> MaintainStoreRequest {
    MaintainStoreRequest {
        secondary_merchant_id: "SM001".to_owned(),
        store_id: "ST01".to_owned(),
        facts: StoreFacts {
            secondary_merchant_name: "Demo Cafe Ltd".to_owned(),
            secondary_merchant_type: MerchantType::Individual,
            store_name: "An Older Name".to_owned(),
            store_country: "HK".to_owned(),
            store_address: "3 Queen's Road".to_owned(),
            store_industry: "5812".to_owned(),
            internal_store_photo: None,
            external_storefront_photo: None,
            registration_no: None,
            register_country: "HK".to_owned(),
            register_address: None,
            cs_no: None,
            cs_email: None,
        },
        personal: PersonalData {
            owner_name: "Old".to_owned(),
            owner_id: "B1".to_owned(),
            settlement_no: None,
            contact_no: None,
            contact_email: None,
            drivers: vec![],
        },
    }
}

#[sqlx::test]
async fn an_earlier_registration_is_waited_for_and_then_ours_is_sent_again(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    let call = elsewhere(&world)
        .maintain_store(&somebody_elses(), || false)
        .await;
    assert_eq!(call.outcome, MaintainStoreOutcome::Accepted, "{call:?}");
    let put = admin.put(STORE, &store_body()).await;
    assert_eq!(summary(&put), (202, "under_review"), "{put:?}");
    assert_eq!(put.body["waits_for_earlier_review"], true);
    assert!(put.body["accepted_at"].is_null());
    pass(&mut world, TimeDelta::seconds(121)).await;
    let waiting = admin.get(STORE).await;
    assert_eq!(
        waiting.body["waits_for_earlier_review"], true,
        "{waiting:?}"
    );
    assert_eq!(asked(&world).await.0, 2);
    // The earlier one is approved; ours is sent at once, as a change of it.
    pass(&mut world, TimeDelta::seconds(181)).await;
    let sent = admin.get(STORE).await;
    assert_eq!(summary(&sent), (200, "modification_review"), "{sent:?}");
    assert_eq!(sent.body["in_force"]["store_name"], "An Older Name");
    assert_eq!(asked(&world).await.0, 3);
    pass(&mut world, TimeDelta::minutes(6)).await;
    let approved = admin.get(STORE).await;
    assert_eq!(summary(&approved), (200, "approved"), "{approved:?}");
    assert_eq!(approved.body["in_force"]["store_name"], "Demo Cafe Central");
    world.finish().await;
}

/// Our own first request was heard and its repetition is called a duplicate.
#[sqlx::test]
async fn a_duplicate_of_ours_is_known_by_its_data(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    let dropped = json!({"type": "drop_after_effect"});
    world.simulator.script("maintain", 1, dropped).await;
    let missing = json!({"type": "not_exist"});
    world.simulator.script("query_status", 1, missing).await;
    admin.put(STORE, &store_body()).await;
    pass(&mut world, TimeDelta::seconds(31)).await;
    pass(&mut world, TimeDelta::seconds(31)).await;
    let duplicate = admin.get(STORE).await;
    assert_eq!(
        duplicate.body["waits_for_earlier_review"], true,
        "{duplicate:?}"
    );
    pass(&mut world, TimeDelta::seconds(121)).await;
    let ours = admin.get(STORE).await;
    assert_eq!(ours.body["waits_for_earlier_review"], false, "{ours:?}");
    pass(&mut world, TimeDelta::minutes(6)).await;
    assert_eq!(summary(&admin.get(STORE).await), (200, "approved"));
    assert_eq!(asked(&world).await.0, 2);
    world.finish().await;
}

#[sqlx::test]
async fn a_refused_request_is_rejected_with_alipays_code_and_no_set_up_fault_is(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    let refusal = |code: &str| json!({"type": "access_error", "code": code});
    world
        .simulator
        .script("maintain", 1, refusal("PARAM_ILLEGAL"))
        .await;
    let put = admin.put(STORE, &store_body()).await;
    assert_eq!(summary(&put), (200, "rejected"), "{put:?}");
    assert_eq!(put.body["reject_code"], "PARAM_ILLEGAL");
    // Unsigned, and about the set-up: it proves nothing about the store.
    world
        .simulator
        .script("maintain", 1, refusal("ILLEGAL_PARTNER_EXTERFACE"))
        .await;
    let put = admin.put(STORE, &store_body()).await;
    assert_eq!(summary(&put), (202, "unknown"), "{put:?}");
    pass(&mut world, TimeDelta::seconds(31)).await;
    pass(&mut world, TimeDelta::seconds(31)).await;
    assert_eq!(summary(&admin.get(STORE).await), (200, "under_review"));
    world.finish().await;
}

/// V1, S9: whatever is not Alipay's signed word about this very store changes nothing.
#[sqlx::test]
async fn v1_s9_lies_about_a_review_change_nothing(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    admin.put(STORE, &store_body()).await;
    world.advance(TimeDelta::minutes(6)).await;
    let before = admin.get(STORE).await.body;
    for fault in [
        json!({"type": "wrong_signature_key"}),
        json!({"type": "missing_signature"}),
        json!({"type": "downgrade_sign_type"}),
        json!({"type": "wrong_id"}),
        json!({"type": "wrong_partner"}),
        json!({"type": "forged_success"}),
        json!({"type": "second_response"}),
        json!({"type": "truncated_xml"}),
        json!({"type": "html"}),
        json!({"type": "drop_after_effect"}),
        json!({"type": "system_error_before_effect"}),
        json!({"type": "access_error", "code": "ILLEGAL_SIGN"}),
        json!({"type": "result", "code": "PERHAPS"}),
    ] {
        world
            .simulator
            .script("query_status", 1, fault.clone())
            .await;
        let refresh = admin.post(&format!("{STORE}/refresh"), &Value::Null).await;
        assert_eq!(
            refresh.summary("code"),
            (504, "upstream_silent"),
            "{fault}: {refresh:?}"
        );
        let after = admin.get(STORE).await.body;
        for member in ["status", "version", "in_force", "history", "next_check_at"] {
            assert_eq!(after[member], before[member], "{fault}: {member}");
        }
    }
    let truth = admin.post(&format!("{STORE}/refresh"), &Value::Null).await;
    assert_eq!(summary(&truth), (200, "approved"), "{truth:?}");
    world.finish().await;
}

#[sqlx::test]
async fn answers_in_gbk_and_with_further_fields_are_understood(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    for service in ["maintain", "query_status"] {
        world
            .simulator
            .script(service, 1, json!({"type": "gbk"}))
            .await;
    }
    let put = admin.put(STORE, &store_body()).await;
    assert_eq!(summary(&put), (202, "under_review"), "{put:?}");
    world.advance(TimeDelta::minutes(6)).await;
    let truth = admin.post(&format!("{STORE}/refresh"), &Value::Null).await;
    assert_eq!(summary(&truth), (200, "approved"), "{truth:?}");
    world.finish().await;
}

/// Every planned question of three days, counted; then a person is called and the truth still taken.
#[sqlx::test]
async fn a_review_without_end_is_asked_for_72_hours_and_still_takes_the_truth(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    let slow = "/v1/secondary-merchants/SM001/stores/ST_SLOW";
    let put = admin.put(slow, &store_body()).await;
    assert_eq!(summary(&put), (202, "under_review"), "{put:?}");
    let start = world.now();
    while admin.get(slow).await.body["status"] == "under_review" {
        assert!(world.run_next().await, "something is planned");
    }
    let unresolved = admin.get(slow).await;
    assert_eq!(summary(&unresolved), (200, "unresolved"), "{unresolved:?}");
    let waited = world.now() - start;
    assert!(
        (TimeDelta::hours(72)..TimeDelta::hours(72) + TimeDelta::minutes(1)).contains(&waited),
        "{waited}"
    );
    assert_eq!(
        asked(&world).await,
        (1, 4 + 72),
        "2, 5, 10, 30 minutes, then hourly"
    );
    let listed = admin.get("/v1/secondary-merchants?status=unresolved").await;
    assert_eq!(listed.body["items"][0]["store_id"], "ST_SLOW", "{listed:?}");
    world
        .simulator
        .decide_registration("SM001", "ST_SLOW", None)
        .await;
    assert!(world.run_next().await, "it is asked for slowly");
    let approved = admin.get(slow).await;
    assert_eq!(summary(&approved), (200, "approved"), "{approved:?}");
    world.finish().await;
}

#[sqlx::test]
async fn every_fault_of_a_field_is_named_and_nothing_is_stored_or_sent(pool: PgPool) {
    let world = World::start(pool).await;
    let admin = admin(&world).await;
    let mut body = store_body();
    body["store_country"] = json!("Hong Kong");
    body["contact_no"] = json!("call me");
    body["shareholder_id"] = Value::Null;
    body["drivers"] = json!([]);
    let refused = admin.put(STORE, &body).await;
    assert_eq!(
        refused.summary("code"),
        (422, "validation_failed"),
        "{refused:?}"
    );
    let errors = refused.body["errors"].as_array().expect("a list");
    let mut pointers: Vec<_> = errors
        .iter()
        .map(|error| error["pointer"].as_str())
        .collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            Some("/contact_no"),
            Some("/drivers"),
            Some("/shareholder_id"),
            Some("/store_country")
        ]
    );
    for path in [
        "/v1/secondary-merchants/SM001/stores/ST-01",
        "/v1/secondary-merchants/SM%20001/stores/ST01",
        "/v1/secondary-merchants/SM999/stores/ST01",
    ] {
        let refused = admin.put(path, &store_body()).await;
        assert_eq!(
            refused.summary("code"),
            (404, "registration_not_found"),
            "{path}"
        );
    }
    let rows = world
        .count_rows("select count(*) from store_registration")
        .await;
    assert_eq!((rows, asked(&world).await), (0, (0, 0)));
    world.finish().await;
}

/// Q7: another merchant's registration is answered like a missing one; the operator sees all, and says
/// which where two merchants have one id at Alipay.
#[sqlx::test]
async fn q7_a_merchant_registers_its_own_stores_and_the_operator_anybodys(pool: PgPool) {
    let world = World::start(pool).await;
    let admin = admin(&world).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let stranger = world.stranger().await;
    let paid = stranger.pay("0001").await;
    let merchant_id = paid.body["merchant_id"].as_str().expect("an id").to_owned();
    let tenant_scope = TenantScope::Merchant(merchant_id.parse().expect("an id"));
    let key = api_key(&world.db, tenant_scope, &[Scope::Admin]).await;
    let stranger = Caller::new(&world.replicas[0].url, &key);

    let put = operator.put(STORE, &store_body()).await;
    assert_eq!(summary(&put), (202, "under_review"), "{put:?}");
    assert_eq!(put.body["merchant_id"], world.merchant_id.to_string());
    let nowhere = "/v1/secondary-merchants/SM404/stores/ST01";
    for (hidden, missing) in [
        (
            stranger.put(STORE, &store_body()).await,
            stranger.put(nowhere, &store_body()).await,
        ),
        (stranger.get(STORE).await, stranger.get(nowhere).await),
        (
            stranger
                .post(&format!("{STORE}/refresh"), &Value::Null)
                .await,
            stranger
                .post(&format!("{nowhere}/refresh"), &Value::Null)
                .await,
        ),
    ] {
        assert_eq!(hidden.summary("code"), (404, "registration_not_found"));
        assert_eq!(hidden.summary("detail"), missing.summary("detail"));
    }
    let list = "/v1/secondary-merchants";
    assert_eq!(stranger.get(list).await.body["items"], json!([]));
    assert_eq!(admin.get(list).await.body["items"][0]["id"], put.body["id"]);

    world
        .sql("update merchant set secondary_merchant_id = 'SM001' where not is_default")
        .await;
    let ambiguous = operator.put(STORE, &store_body()).await;
    assert_eq!(
        ambiguous.summary("code"),
        (400, "invalid_query"),
        "{ambiguous:?}"
    );
    assert_eq!(ambiguous.body["errors"][0]["parameter"], "merchant_id");
    let own = format!("{STORE}?merchant_id={}", world.merchant_id);
    assert_eq!(operator.put(&own, &store_body()).await.status, 202);
    // What Alipay takes for one store cannot be two merchants'.
    let theirs = format!("{STORE}?merchant_id={merchant_id}");
    let taken = operator.put(&theirs, &store_body()).await;
    assert_eq!(taken.summary("code"), (409, "invalid_state"), "{taken:?}");
    assert_eq!(asked(&world).await.0, 1);
    world.finish().await;
}

#[sqlx::test]
async fn registrations_are_listed_by_what_they_are(pool: PgPool) {
    let world = World::start(pool).await;
    let admin = admin(&world).await;
    let path = |store: &str| format!("/v1/secondary-merchants/SM001/stores/{store}");
    for store in ["ST01", "ST02", "ST03"] {
        admin.put(&path(store), &store_body()).await;
    }
    let stores = |answer: &Answer| -> Vec<String> {
        let items = answer.body["items"].as_array().expect("a list").iter();
        items
            .map(|item| item["store_id"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let list = "/v1/secondary-merchants";
    let first = admin.get(&format!("{list}?limit=2")).await;
    assert_eq!(stores(&first), ["ST03", "ST02"]);
    assert!(first.body["items"][0].get("history").is_none());
    let cursor = first.body["next_cursor"].as_str().expect("more");
    let second = admin.get(&format!("{list}?limit=2&cursor={cursor}")).await;
    assert_eq!(stores(&second), ["ST01"]);
    let filtered = format!("{list}?status=under_review&store_id=ST02&secondary_merchant_id=SM001");
    assert_eq!(stores(&admin.get(&filtered).await), ["ST02"]);
    assert!(stores(&admin.get(&format!("{list}?status=approved")).await).is_empty());
    let wrong = admin.get(&format!("{list}?status=fine")).await;
    assert_eq!(wrong.summary("code"), (400, "invalid_query"));
    world.finish().await;
}

/// Everything the database holds of registrations and of the audit log, as text.
async fn at_rest(world: &World) -> String {
    sqlx::query_scalar(
        "select string_agg(row::text, E'\\n') from (
            select store_registration::text as row from store_registration
            union all select store_registration_attempt::text from store_registration_attempt
            union all select store_registration_transition::text from store_registration_transition
            union all select audit_log::text from audit_log
            union all select follow_up::text from follow_up) as rows",
    )
    .fetch_one(&world.pool)
    .await
    .expect("the database answers")
}

/// Q14: people are sealed while they may have to be sent again, and forgotten afterwards.
#[sqlx::test]
async fn q14_people_are_sealed_at_rest_and_forgotten_after_the_review(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    let put = admin.put(STORE, &store_body()).await;
    let kept = "select count(*) from store_registration where sealed is not null";
    assert_eq!(world.count_rows(kept).await, 1);
    let nowhere = |text: &str, place: &str| {
        for person in PEOPLE {
            assert!(!text.contains(person), "{person} in {place}");
        }
    };
    nowhere(&at_rest(&world).await, "the database during the review");
    nowhere(&put.body.to_string(), "the answer");
    assert_eq!(put.body["submitted"]["shareholder_name"], "W***n");
    pass(&mut world, TimeDelta::minutes(6)).await;
    assert_eq!(world.count_rows(kept).await, 0);
    let text = at_rest(&world).await;
    nowhere(&text, "the database after the review");
    assert!(
        text.contains("Demo Cafe Central"),
        "the audit log has the store"
    );
    // A change is told from the same data all the same.
    assert_eq!(admin.put(STORE, &store_body()).await.status, 200);
    let mut other = store_body();
    other["shareholder_id"] = json!("A123456(8)");
    assert_eq!(admin.put(STORE, &other).await.status, 202);
    world.finish().await;
}

#[sqlx::test]
async fn a_registration_without_its_follow_up_gets_one_again(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    admin.put(STORE, &store_body()).await;
    world.sql("delete from follow_up").await;
    world.advance(TimeDelta::minutes(6)).await;
    world.replicas[0].maintenance.run_once().await;
    world.run_due().await;
    assert_eq!(summary(&admin.get(STORE).await), (200, "approved"));
    world.finish().await;
}

/// An approval that Alipay takes back, and a review that somebody began elsewhere, are learnt of by
/// asking.
#[sqlx::test]
async fn what_alipay_does_by_itself_is_learnt_by_asking(pool: PgPool) {
    let mut world = World::start(pool).await;
    let admin = admin(&world).await;
    admin.put(STORE, &store_body()).await;
    pass(&mut world, TimeDelta::minutes(6)).await;
    elsewhere(&world)
        .maintain_store(&somebody_elses(), || false)
        .await;
    let refresh = format!("{STORE}/refresh");
    let reviewed = admin.post(&refresh, &Value::Null).await;
    assert_eq!(
        summary(&reviewed),
        (200, "modification_review"),
        "{reviewed:?}"
    );
    assert_eq!(world.count_rows("select count(*) from follow_up").await, 1);
    pass(&mut world, TimeDelta::minutes(6)).await;
    let approved = admin.get(STORE).await;
    assert_eq!(summary(&approved), (200, "approved"), "{approved:?}");
    assert_eq!(approved.body["in_force"]["store_name"], "An Older Name");
    world
        .simulator
        .decide_registration("SM001", "ST01", Some("withdrawn"))
        .await;
    let withdrawn = admin.post(&refresh, &Value::Null).await;
    assert_eq!(summary(&withdrawn), (200, "rejected"), "{withdrawn:?}");
    assert_eq!(withdrawn.body["reject_reason"], "withdrawn");
    assert!(withdrawn.body["in_force"].is_null());
    world.finish().await;
}

/// R1: a gateway that dies between the intent and the call, or between the call and the record, leaves
/// what the next one ends.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn r1_a_crash_around_the_call_is_harmless(pool: PgPool) {
    use alipayhk_gateway::failpoint::Action;

    let options = crate::support::Options {
        replicas: 2,
        ..crate::support::Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let admin = admin(&world).await.at(&world.replicas[1].url);
    for (store, point, sent) in [
        ("ST_BEFORE", "maintain_store.before_call", 2),
        ("ST_AFTER", "maintain_store.after_call", 1),
    ] {
        let path = format!("/v1/secondary-merchants/SM001/stores/{store}");
        let points = world.replicas[0].app.failpoints().clone();
        points.arm(point, 0, Action::Crash);
        let doomed = admin.at(&world.replicas[0].url);
        let body = store_body();
        tokio::select! {
            answer = doomed.put(&path, &body) => panic!("it answered: {answer:?}"),
            _ = points.stopped() => {}
        }
        world.replace(0).await;
        let left = admin.get(&path).await;
        assert_eq!(summary(&left), (200, "submitting"), "{left:?}");
        for _ in 0..8 {
            world.advance(TimeDelta::seconds(61)).await;
            while world.replicas[1].worker.run_once().await > 0 {}
        }
        let approved = admin.get(&path).await;
        assert_eq!(summary(&approved), (200, "approved"), "{approved:?}");
        assert_eq!(approved.body["submits"], sent, "{approved:?}");
    }
    world.finish().await;
}
