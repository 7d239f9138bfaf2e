//! Merchants and stores: made, changed, disabled, and what they take and give back.

use alipayhk_gateway::{
    app::accounts::Account,
    domain::{
        access::principal::{Scope, TenantScope},
        merchants::limits::Limits,
    },
};
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, PARTNER, World, api_key,
    http::{Answer, Caller},
};

const MERCHANTS: &str = "/v1/admin/merchants";

fn harbour_tea() -> Value {
    json!({
        "external_id": "TEAM-7", "name": "Harbour Tea", "partner": PARTNER,
        "secondary_merchant_id": "SM007", "secondary_merchant_name": "Harbour Tea Ltd",
        "secondary_merchant_industry": "5812",
        "default_store": {"store_id": "ST01", "name": "Harbour Tea Central"},
    })
}

fn path(made: &Value, rest: &str) -> String {
    format!("{MERCHANTS}/{}{rest}", made["id"].as_str().expect("an id"))
}

/// The default merchant's path.
fn own(world: &World, rest: &str) -> String {
    format!("{MERCHANTS}/{}{rest}", world.merchant_id)
}

fn faults(answer: &Answer) -> Vec<(String, String)> {
    let errors = answer.body["errors"].as_array().cloned();
    let mut found: Vec<_> = errors
        .unwrap_or_default()
        .iter()
        .map(|fault| {
            let text = |name: &str| fault[name].as_str().unwrap_or_default().to_owned();
            (text("pointer"), text("code"))
        })
        .collect();
    found.sort();
    found
}

async fn change(world: &World, operator: &Caller, patch: Value) -> Answer {
    let changed = operator.patch(&own(world, ""), None, &patch).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    changed
}

/// A payment of 128.50 with these other members; the code is new each time.
async fn pay_with(till: &Caller, key: &str, code: &str, other: Value) -> Answer {
    let mut body = json!({
        "amount": {"value": 12850, "currency": "HKD"}, "barcode": code,
        "merchant_reference": format!("R-{key}"),
    });
    let (Some(members), Some(other)) = (body.as_object_mut(), other.as_object()) else {
        panic!("objects");
    };
    members.extend(other.clone());
    till.create(key, &body, 5).await
}

#[sqlx::test]
async fn a_new_merchant_takes_payments_and_a_repeat_finds_it(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let made = operator.post(MERCHANTS, &harbour_tea()).await;
    assert_eq!(made.summary("status"), (201, "active"), "{made:?}");
    assert_eq!(made.header("location"), path(&made.body, ""));
    assert_eq!(made.header("etag"), "\"1\"");
    let again = operator.post(MERCHANTS, &harbour_tea()).await;
    assert_eq!((again.status, &again.body["id"]), (200, &made.body["id"]));
    let mut other = harbour_tea();
    other["name"] = json!("Another Tea");
    let taken = operator.post(MERCHANTS, &other).await;
    assert_eq!(taken.summary("code"), (409, "merchant_exists"), "{taken:?}");

    let key = json!({"name": "till-1", "scopes": ["payments:read", "payments:write"],
        "merchant_id": made.body["id"]});
    let key = operator.post("/v1/admin/api-keys", &key).await;
    let till = Caller::new(
        &world.replicas[0].url,
        key.body["key"].as_str().expect("a key"),
    );
    let paid = till.pay("0001").await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    assert_eq!(paid.body["merchant_id"], made.body["id"]);
    let listed = operator
        .get(&format!("{MERCHANTS}?external_id=TEAM-7"))
        .await;
    assert_eq!(listed.body["items"][0]["id"], made.body["id"]);
    let all = operator.get(&format!("{MERCHANTS}?limit=1")).await;
    let cursor = all.body["next_cursor"].as_str().expect("a second page");
    let rest = operator
        .get(&format!("{MERCHANTS}?limit=1&cursor={cursor}"))
        .await;
    assert_eq!(
        rest.body["items"][0]["id"].as_str(),
        Some(world.merchant_id.to_string().as_str())
    );
    world.finish().await;
}

#[sqlx::test]
async fn every_fault_of_a_new_merchant_is_named_at_once(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let bad = json!({
        "external_id": "a b", "partner": "2088999999999999", "secondary_merchant_id": "S M",
        "secondary_merchant_name": "Tea \"Ltd\"", "secondary_merchant_industry": "581",
        "default_store": {"store_id": "", "nmae": "x"},
        "terminals": {"required": "yes", "allowed": ["T*1"]},
        "limits": {"max_refund_minor": -1, "max_payment_minor": 0},
        "allowed_wallets": ["alipay"], "oops": 1,
    });
    let refused = operator.post(MERCHANTS, &bad).await;
    assert_eq!(refused.summary("code"), (422, "validation_failed"));
    let found = faults(&refused);
    let found: Vec<_> = found
        .iter()
        .map(|(p, c)| (p.as_str(), c.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("/allowed_wallets/0", "invalid_value"),
            ("/default_store/name", "required"),
            ("/default_store/nmae", "unknown_field"),
            ("/default_store/store_id", "invalid_format"),
            ("/external_id", "invalid_format"),
            ("/limits/max_payment_minor", "out_of_range"),
            ("/limits/max_refund_minor", "out_of_range"),
            ("/name", "required"),
            ("/oops", "unknown_field"),
            ("/partner", "unknown_partner"),
            ("/secondary_merchant_id", "invalid_format"),
            ("/secondary_merchant_industry", "invalid_format"),
            ("/secondary_merchant_name", "invalid_format"),
            ("/terminals/allowed/0", "invalid_value"),
            ("/terminals/required", "wrong_type"),
        ]
    );
    assert_eq!(world.count_rows("select count(*) from merchant").await, 1);
    world.finish().await;
}

#[sqlx::test]
async fn a_patch_changes_what_it_names_guarded_by_the_version(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let made = operator.post(MERCHANTS, &harbour_tea()).await.body;
    let patch = json!({"name": "Harbour Tea House", "limits": {"max_refund_minor": 5000},
        "terminals": {"allowed": ["T1", "K-*"]}});
    let changed = operator
        .patch(&path(&made, ""), Some("\"1\""), &patch)
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.header("etag"), "\"2\"");
    assert_eq!(changed.body["secondary_merchant_id"], "SM007");
    assert_eq!(
        changed.body["terminals"],
        json!({"required": false, "allowed": ["T1", "K-*"]})
    );
    let stale = operator
        .patch(&path(&made, ""), Some("\"1\""), &patch)
        .await;
    assert_eq!(stale.summary("code"), (412, "version_mismatch"));
    let same = operator.patch(&path(&made, ""), None, &patch).await;
    assert_eq!(same.body["version"], 2, "nothing changed: {same:?}");
    let cleared = json!({"limits": {"max_refund_minor": null}, "terminals": null});
    let cleared = operator.patch(&path(&made, ""), None, &cleared).await;
    assert_eq!(cleared.body["limits"]["max_refund_minor"], Value::Null);
    assert_eq!(cleared.body["terminals"]["allowed"], Value::Null);
    for (bad, expected) in [
        (json!({"name": null}), ("/name", "required")),
        (json!({"partner": PARTNER}), ("/partner", "unknown_field")),
        (
            json!({"default_store_id": "ST9"}),
            ("/default_store_id", "unknown_store"),
        ),
    ] {
        let refused = operator.patch(&path(&made, ""), None, &bad).await;
        assert_eq!(
            faults(&refused),
            [(expected.0.to_owned(), expected.1.to_owned())]
        );
    }
    // What the configuration says of its merchant is changed there.
    let refused = operator
        .patch(&own(&world, ""), None, &json!({"name": "X"}))
        .await;
    assert_eq!(
        faults(&refused),
        [("/name".to_owned(), "configured".to_owned())]
    );

    let id = made["id"].as_str().expect("an id");
    let log = operator
        .get(&format!("/v1/admin/audit-log?subject={id}"))
        .await;
    let items = log.body["items"].as_array().expect("items");
    let acts: Vec<_> = items.iter().map(|item| item["action"].as_str()).collect();
    assert_eq!(
        acts,
        [
            Some("merchant.updated"),
            Some("merchant.updated"),
            Some("merchant.created")
        ],
        "{log:?}"
    );
    assert_eq!(items[1]["before"]["name"], "Harbour Tea");
    assert_eq!(items[1]["after"]["name"], "Harbour Tea House");
    world.finish().await;
}

/// Q7: a merchant's administrator reads its merchant and looks after its stores, and nothing else.
#[sqlx::test]
async fn q7_a_merchants_administrator_stays_within_its_merchant(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let made = operator.post(MERCHANTS, &harbour_tea()).await.body;
    let admin = world.caller(0, &[Scope::Admin]).await;
    let listed = admin.get(MERCHANTS).await;
    assert_eq!(
        listed.body["items"].as_array().map(Vec::len),
        Some(1),
        "{listed:?}"
    );
    assert_eq!(admin.get(&own(&world, "")).await.status, 200);
    let missing = "/v1/admin/merchants/mer_00000000000070008000000000000000";
    for rest in ["", "/stores", "/stores/ST01"] {
        let hidden = admin.get(&path(&made, rest)).await;
        let absent = admin.get(&format!("{missing}{rest}")).await;
        assert_eq!(hidden.summary("code"), (404, "merchant_not_found"));
        assert_eq!(hidden.body["detail"], absent.body["detail"]);
    }
    let store = json!({"store_id": "ST02", "name": "Second"});
    let hidden = admin.post(&path(&made, "/stores"), &store).await;
    assert_eq!(hidden.summary("code"), (404, "merchant_not_found"));
    let reason = json!({"reason": "no"});
    for (target, body) in [
        (MERCHANTS.to_owned(), harbour_tea()),
        (own(&world, "/disable"), reason.clone()),
        (path(&made, "/disable"), reason.clone()),
        (path(&made, "/enable"), reason),
    ] {
        let refused = admin.post(&target, &body).await;
        assert_eq!(refused.summary("code"), (403, "operator_required"));
    }
    let refused = admin
        .patch(&own(&world, ""), None, &json!({"limits": null}))
        .await;
    assert_eq!(refused.summary("code"), (403, "operator_required"));
    let refused = world.till.get(MERCHANTS).await;
    assert_eq!(refused.summary("code"), (403, "insufficient_scope"));
    world.finish().await;
}

#[sqlx::test]
async fn stores_are_made_changed_and_closed(pool: PgPool) {
    let world = World::start(pool).await;
    let admin = world.caller(0, &[Scope::Admin]).await;
    let stores = own(&world, "/stores");
    let new = json!({"store_id": "MK/2", "name": "Mong Kok", "industry": "5814"});
    let made = admin.post(&stores, &new).await;
    assert_eq!(made.summary("status"), (201, "active"), "{made:?}");
    assert_eq!(admin.post(&stores, &new).await.status, 200);
    let taken = json!({"store_id": "MK/2", "name": "Elsewhere"});
    let taken = admin.post(&stores, &taken).await;
    assert_eq!(taken.summary("code"), (409, "store_exists"));
    let one = format!("{stores}/MK%2F2");
    assert_eq!(admin.get(&one).await.body["industry"], "5814");
    let missing = admin.get(&format!("{stores}/ST99")).await;
    assert_eq!(missing.summary("code"), (404, "store_not_found"));
    let first = admin.get(&format!("{stores}?limit=1")).await;
    let cursor = first.body["next_cursor"].as_str().expect("a second page");
    let second = admin
        .get(&format!("{stores}?limit=1&cursor={cursor}"))
        .await;
    let ids = [&first, &second].map(|page| page.body["items"][0]["store_id"].clone());
    assert_eq!(ids, [json!("MK/2"), json!("ST01")]);

    let here = json!({"store_id": "MK/2"});
    let paid = pay_with(&world.till, "k1", "281234567100170001", here.clone()).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    let closed = admin
        .patch(&one, Some("\"1\""), &json!({"disabled": true}))
        .await;
    assert_eq!(closed.summary("status"), (200, "disabled"), "{closed:?}");
    let refused = pay_with(&world.till, "k2", "281234567200170001", here).await;
    assert_eq!(
        faults(&refused),
        [("/store_id".to_owned(), "store_disabled".to_owned())],
        "{refused:?}"
    );
    let configured = admin
        .patch(&format!("{stores}/ST01"), None, &json!({"name": "X"}))
        .await;
    assert_eq!(
        faults(&configured),
        [("/name".to_owned(), "configured".to_owned())]
    );
    world.finish().await;
}

/// M1: a repeat is answered with its payment, whatever the merchant's rules have become.
#[sqlx::test]
async fn m1_a_disabled_merchant_takes_no_payment_and_still_gives_money_back(pool: PgPool) {
    let options = Options {
        replicas: 2,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let code = "281234567100170001";
    let paid = pay_with(&world.till, "k1", code, json!({})).await;
    let body = json!({"reason": "contract ended", "ticket": "OPS-12"});
    let disabled = operator.post(&own(&world, "/disable"), &body).await;
    assert_eq!(disabled.summary("status"), (200, "disabled"));
    let refused = pay_with(&world.till, "k2", "281234567200170001", json!({})).await;
    assert_eq!(refused.summary("code"), (403, "merchant_disabled"));
    assert_eq!(refused.body["attempted"], "false");
    // A replica that never saw the merchant looks it up.
    let elsewhere = world.till.at(&world.replicas[1].url);
    let refused = pay_with(&elsewhere, "k3", "281234567300170001", json!({})).await;
    assert_eq!(refused.summary("code"), (403, "merchant_disabled"));

    let again = pay_with(&world.till, "k1", code, json!({})).await;
    assert_eq!((again.status, again.id()), (200, paid.id()));
    let refund = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refund.summary("status"), (201, "succeeded"), "{refund:?}");
    let enabled = operator
        .post(&own(&world, "/enable"), &json!({"reason": "signed again"}))
        .await;
    assert_eq!(enabled.summary("status"), (200, "active"));
    let paid = pay_with(&world.till, "k4", "281234567400170001", json!({})).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    let log = operator
        .get("/v1/admin/audit-log?action=merchant.disabled")
        .await;
    assert_eq!(
        log.body["items"][0]["by"]["reason"], "contract ended",
        "{log:?}"
    );
    world.finish().await;
}

#[sqlx::test]
async fn m1_tills_and_amounts_follow_the_merchants_rules_but_repeats_do_not(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let code = "281234567100170001";
    let paid = pay_with(&world.till, "k1", code, json!({})).await;
    assert_eq!(paid.status, 201, "{paid:?}");
    change(
        &world,
        &operator,
        json!({"terminals": {"required": true, "allowed": ["T1", "K-*"]},
            "limits": {"max_payment_minor": 12849}}),
    )
    .await;
    let other = "281234567200170001";
    let refused = pay_with(
        &world.till,
        "k2",
        other,
        json!({"terminal_id": "T2", "description": "a\"b"}),
    )
    .await;
    assert_eq!(
        faults(&refused),
        [
            ("/amount/value".to_owned(), "above_limit".to_owned()),
            ("/description".to_owned(), "invalid_format".to_owned()),
            ("/terminal_id".to_owned(), "terminal_not_allowed".to_owned()),
        ],
        "{refused:?}"
    );
    let refused = pay_with(&world.till, "k2", other, json!({})).await;
    assert_eq!(
        faults(&refused),
        [
            ("/amount/value".to_owned(), "above_limit".to_owned()),
            ("/terminal_id".to_owned(), "required".to_owned()),
        ]
    );
    let again = pay_with(&world.till, "k1", code, json!({})).await;
    assert_eq!((again.status, again.id()), (200, paid.id()), "{again:?}");
    let fits = json!({"terminal_id": "K-7", "amount": {"value": 12849, "currency": "HKD"}});
    let taken = pay_with(&world.till, "k2", other, fits).await;
    assert_eq!(taken.summary("status"), (201, "succeeded"), "{taken:?}");
    world.finish().await;
}

#[sqlx::test]
async fn a_wallet_that_is_not_wanted_is_shown_and_stands(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let before = world.pay("0001").await;
    assert_eq!(before.body["wallet_allowed"], true, "{before:?}");
    let wallet = before.body["wallet"].as_str().expect("a wallet");
    let unwanted = if wallet == "ALIPAYHK" {
        "ALIPAYCN"
    } else {
        "ALIPAYHK"
    };
    change(&world, &operator, json!({"allowed_wallets": [unwanted]})).await;
    let paid = world.pay("0001").await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    assert_eq!(paid.body["wallet_allowed"], false);
    let read = world.till.payment(paid.id()).await;
    assert_eq!(read["wallet_allowed"], false);
    let earlier = world.till.payment(before.id()).await;
    assert_eq!(earlier["wallet_allowed"], true, "as it was then");
    let declined = world.pay("1016").await;
    assert_eq!(declined.body["wallet_allowed"], Value::Null);
    world.finish().await;
}

/// Q9: what is above a limit is refused before anything is stored, and the key is not used up.
#[sqlx::test]
async fn q9_refunds_stay_within_the_limits_of_a_refund_and_of_a_day(pool: PgPool) {
    let mut world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let limits = json!({"limits": {"max_refund_minor": 1500, "max_refunded_per_day_minor": 2000}});
    change(&world, &operator, limits).await;
    let paid = world.pay("0001").await;
    let refund = |value: i64| json!({"amount": {"value": value, "currency": "HKD"}});
    let rows = world.rows().await;
    let refused = world
        .till
        .refund_under(paid.id(), "r1", &refund(1501), 5)
        .await;
    assert_eq!(
        refused.summary("code"),
        (422, "refund_limit_exceeded"),
        "{refused:?}"
    );
    assert_eq!(
        faults(&refused),
        [("/amount".to_owned(), "max_refund_minor".to_owned())]
    );
    // All that is left is above it too.
    let refused = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refused.summary("code"), (422, "refund_limit_exceeded"));
    assert_eq!(world.rows().await, rows, "nothing was stored");
    let done = world
        .till
        .refund_under(paid.id(), "r1", &refund(1500), 5)
        .await;
    assert_eq!(done.summary("status"), (201, "succeeded"), "{done:?}");

    let refused = world.till.refund(paid.id(), &refund(501), 5).await;
    assert_eq!(
        faults(&refused),
        [(
            "/amount".to_owned(),
            "max_refunded_per_day_minor".to_owned()
        )]
    );
    let detail = refused.body["detail"].as_str().expect("a detail");
    assert!(detail.contains("HKD 5.00 may still"), "{detail}");
    let again = world
        .till
        .refund_under(paid.id(), "r1", &refund(1500), 5)
        .await;
    assert_eq!(again.status, 200, "a repeat is no refund: {again:?}");
    let done = world.till.refund(paid.id(), &refund(500), 5).await;
    assert_eq!(done.status, 201, "{done:?}");
    // The day ends in Hong Kong.
    world.advance(TimeDelta::hours(13)).await;
    let tomorrow = world.till.refund(paid.id(), &refund(1500), 5).await;
    assert_eq!(
        tomorrow.summary("status"),
        (201, "succeeded"),
        "{tomorrow:?}"
    );
    world.finish().await;
}

/// Q9: a reversal says beforehand that its refund would be refused, and by which limit.
#[sqlx::test]
async fn q9_the_preview_of_a_reversal_knows_the_limits(pool: PgPool) {
    let mut world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let paid = world.pay("0001").await;
    // A cancel is not limited.
    let limits = json!({"limits": {"max_refunded_per_day_minor": 3924}});
    change(&world, &operator, limits).await;
    let preview = format!("/v1/payments/{}/reverse?preview=true", paid.id());
    let told = world.till.post(&preview, &json!({})).await;
    assert_eq!(told.summary("action"), (200, "cancel"), "{told:?}");
    // On the next day it would be a refund of 39.25.
    world.advance(TimeDelta::hours(13)).await;
    for refused in [
        world.till.post(&preview, &json!({})).await,
        world.till.reverse(paid.id()).await,
    ] {
        assert_eq!(
            refused.summary("code"),
            (422, "refund_limit_exceeded"),
            "{refused:?}"
        );
    }
    let limits = json!({"limits": {"max_refunded_per_day_minor": 3925}});
    change(&world, &operator, limits).await;
    let told = world.till.post(&preview, &json!({})).await;
    assert_eq!(told.summary("action"), (200, "refund"), "{told:?}");
    world.finish().await;
}

/// Q9: a refund that failed returned nothing, so it no longer counts.
#[sqlx::test]
async fn q9_a_failed_refund_gives_its_part_of_the_day_back(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let limits = json!({"limits": {"max_refunded_per_day_minor": 3925}});
    change(&world, &operator, limits).await;
    // The balance is too low: refused for good.
    let poor = world.pay("4004").await;
    let failed = world.till.refund(poor.id(), &json!({}), 5).await;
    assert_eq!(failed.summary("status"), (201, "failed"), "{failed:?}");
    let sum = "select refunded_minor from refund_day";
    assert_eq!(world.count_rows(sum).await, 0);
    let paid = world.pay("0001").await;
    let done = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(done.summary("status"), (201, "succeeded"), "{done:?}");
    assert_eq!(world.count_rows(sum).await, 3925);
    world.finish().await;
}

/// Q9, R4: 64 refunds of 32 payments at once, on two replicas, come to the limit and not above it.
#[sqlx::test]
async fn q9_refunds_at_once_never_exceed_the_limit_of_a_day(pool: PgPool) {
    let options = Options {
        replicas: 2,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let limits = json!({"limits": {"max_refunded_per_day_minor": 20_000}});
    change(&world, &operator, limits).await;
    let mut payments = vec![];
    for _ in 0..32 {
        payments.push(world.pay("0001").await.id().to_owned());
    }
    let body = json!({"amount": {"value": 1000, "currency": "HKD"}, "allow_duplicate": true});
    let calls = (0..64_usize).map(|n| {
        let till = world.till.at(&world.replicas[n % 2].url);
        let (payment, body) = (payments[n % 32].clone(), body.clone());
        async move { till.refund(&payment, &body, 5).await }
    });
    let answers = crate::support::all(calls).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 20, "{answers:?}");
    for answer in refused {
        assert_eq!(answer.summary("code"), (422, "refund_limit_exceeded"));
    }
    let sum = "select (select sum(amount_minor) from refund)::bigint";
    assert_eq!(world.count_rows(sum).await, 20_000);
    let counted = "select refunded_minor from refund_day";
    assert_eq!(world.count_rows(counted).await, 20_000);
    world.finish().await;
}

/// Another merchant's refunds count for themselves.
#[sqlx::test]
async fn q7_limits_are_a_merchants_own(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    change(
        &world,
        &operator,
        json!({"limits": {"max_refund_minor": 0}}),
    )
    .await;
    let made = operator.post(MERCHANTS, &harbour_tea()).await.body;
    let id = made["id"].as_str().and_then(|id| id.parse().ok());
    let scopes = [
        Scope::PaymentsWrite,
        Scope::PaymentsRead,
        Scope::RefundsWrite,
    ];
    let tenant_scope = TenantScope::Merchant(id.expect("an id"));
    let key = api_key(&world.db, tenant_scope, &scopes).await;
    let theirs = Caller::new(&world.replicas[0].url, &key);
    let paid = theirs.pay("0001").await;
    let refund = theirs.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refund.summary("status"), (201, "succeeded"), "{refund:?}");
    let ours = world.pay("0001").await;
    let refused = world.till.refund(ours.id(), &json!({}), 5).await;
    assert_eq!(refused.summary("code"), (422, "refund_limit_exceeded"));
    world.finish().await;
}

/// Q9: a merchant without limits of its own has its account's, and its own come first.
#[sqlx::test]
async fn q9_the_limits_of_an_account_hold_where_the_merchant_has_none(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let app = &world.replicas[0].app;
    let account = Account::clone(&app.accounts()[PARTNER]);
    let limits = Limits {
        max_payment_minor: Some(5000),
        max_refund_minor: Some(100),
        max_refunded_per_day_minor: Some(150),
        largest_refund_minor: None,
    };
    app.replace_accounts(vec![Account { limits, ..account }])
        .await;
    let refused = pay_with(&world.till, "k1", "281234567100170001", json!({})).await;
    assert_eq!(
        faults(&refused),
        [("/amount/value".to_owned(), "above_limit".to_owned())]
    );
    let paid = world.pay("0001").await;
    let refund = |value: i64| json!({"amount": {"value": value, "currency": "HKD"}});
    let refused = world.till.refund(paid.id(), &refund(101), 5).await;
    assert_eq!(
        faults(&refused),
        [("/amount".to_owned(), "max_refund_minor".to_owned())]
    );
    let done = world.till.refund(paid.id(), &refund(100), 5).await;
    assert_eq!(done.status, 201, "{done:?}");
    let refused = world.till.refund(paid.id(), &refund(51), 5).await;
    assert_eq!(
        faults(&refused),
        [(
            "/amount".to_owned(),
            "max_refunded_per_day_minor".to_owned()
        )]
    );
    let own = json!({"limits": {"max_refund_minor": 3000, "max_refunded_per_day_minor": 3000}});
    change(&world, &operator, own).await;
    let done = world.till.refund(paid.id(), &refund(2900), 5).await;
    assert_eq!(done.summary("status"), (201, "succeeded"), "{done:?}");
    world.finish().await;
}
