//! Alipay's acceptance items (`docs/protocol.md` 11): the ones that no other module's tests show,
//! and the list of all of them, which the README carries. A test shows an item by its id in its name.

use std::{collections::BTreeSet, fs, path::Path};

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;

use crate::support::{
    World,
    http::{Caller, body},
};

/// Every item that payments, cancels, refunds and notifications touch. HK-15 (the daily files) and HK-16
/// (the registration of stores) belong to what is not built yet.
pub(crate) const ITEMS: &[(&str, &str)] = &[
    ("IV-1", "direct payment, no password"),
    ("IV-2", "24-digit payment code"),
    ("IV-3", "password or biometric is asked for"),
    ("IV-4", "the buyer does not confirm, the payment expires"),
    ("IV-5", "pay answers SYSTEM_ERROR"),
    ("IV-6", "the pay request times out"),
    ("PT-1", "a payment started by the merchant succeeds"),
    ("PT-2", "24-digit codes with each prefix from 25 to 30"),
    ("PT-3", "payment with password entry"),
    (
        "PT-4",
        "polling stays without success, the payment is canceled",
    ),
    ("PT-5", "full refund"),
    ("PT-6", "several partial refunds"),
    (
        "HK-1",
        "every listed interface of payments, cancels and refunds is used",
    ),
    ("HK-2", "offline and offline-to-online mode"),
    (
        "HK-3",
        "every transaction ends in TRADE_SUCCESS or TRADE_CLOSED, and all agree",
    ),
    ("HK-4", "WAIT_BUYER_PAY at our time-out: cancel is called"),
    ("HK-5", "leftovers are corrected without the cashier"),
    ("HK-6", "cancel: not created, unpaid, paid, each told apart"),
    (
        "HK-7",
        "cancel after the day: refused, and a refund instead",
    ),
    ("HK-8", "cancel around midnight"),
    ("HK-9", "full and partial refund, bounded, in the books"),
    (
        "HK-10",
        "synchronous refund at once, asynchronous refund by the batch",
    ),
    (
        "HK-11",
        "short funds: pending, then done; after 180 days failed",
    ),
    ("HK-12", "a repeated refund never refunds twice"),
    ("HK-13", "both wallets are taken and reported"),
    ("HK-14", "secondary merchant and store in each payment"),
    (
        "NT-1",
        "notifications repeated until acknowledged; duplicates and forgeries harmless",
    ),
];

/// The names of the tests that show an item, in order.
pub(crate) fn tests_of(item: &str) -> BTreeSet<String> {
    let id = item.to_lowercase().replace('-', "_");
    let mut found = BTreeSet::new();
    for folder in ["tests/it", "src", "simulator/src"] {
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &id,
            &mut found,
        );
    }
    found
}

fn collect(folder: &Path, id: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, id, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source is readable");
            let names = text
                .split("fn ")
                .skip(1)
                .filter_map(|rest| rest.split('(').next());
            found.extend(names.filter(|name| shows(name, id)).map(str::to_owned));
        }
    }
}

/// Whether the name holds the id as whole words: `hk_1` is not in `hk_10_...`.
fn shows(name: &str, id: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(word) && format!("_{name}_").contains(&format!("_{id}_"))
}

#[test]
fn an_id_is_found_as_whole_words_only() {
    assert!(shows("hk_1_hk_2_both", "hk_1") && shows("t2_hk_10", "hk_10"));
    assert!(!shows("hk_10_batch", "hk_1") && !shows("hk_1", "hk_10"));
}

#[test]
fn every_acceptance_item_is_a_test() {
    let missing: Vec<&str> = ITEMS
        .iter()
        .map(|(item, _)| *item)
        .filter(|item| tests_of(item).is_empty())
        .collect();
    assert!(missing.is_empty(), "no test has the id of: {missing:?}");
}

/// HK-1: the five interfaces of payments, cancels and refunds are used, each signed. PT-1: the till gets
/// what it prints.
#[sqlx::test]
async fn hk_1_pt_1_every_interface_is_used_and_a_payment_has_its_receipt(pool: PgPool) {
    let mut world = World::start(pool).await;
    world.simulator.set_notifications("off").await;
    let paid = world.pay("0001").await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    assert!(paid.body["paid_at"].is_string() && paid.body["alipay_trans_id"].is_string());
    let part = json!({"amount": {"value": 1000, "currency": "HKD"}, "mode": "async"});
    world.till.refund(paid.id(), &part, 5).await;
    let open = world.pay_until_open("0102").await;
    let id = open["id"].as_str().expect("an id").to_owned();
    world.run_until_final(&id, TimeDelta::minutes(4)).await;
    // The first check of the refund.
    world.run_next().await;
    let requests = world.simulator.requests().await;
    let used: BTreeSet<&str> = requests
        .iter()
        .filter(|request| request["signature_ok"] == true)
        .filter_map(|request| request["service"].as_str())
        .collect();
    let wanted = BTreeSet::from(["pay", "query", "cancel", "refund", "refund_query"]);
    assert_eq!(used, wanted);
    world.finish().await;
}

/// HK-2, PT-3: the buyer's phone may stay offline, and it may be asked for a password; both end paid.
#[sqlx::test]
async fn hk_2_pt_3_both_modes_end_paid(pool: PgPool) {
    let mut world = World::start(pool).await;
    let offline = world.pay("0001").await;
    assert_eq!(offline.summary("status"), (201, "succeeded"), "{offline:?}");
    let online = world.pay_until_open("0101").await;
    assert_eq!(online["next_action"]["type"], "ask_buyer_to_confirm");
    let id = online["id"].as_str().expect("an id").to_owned();
    let paid = world.run_until_final(&id, TimeDelta::seconds(20)).await;
    assert_eq!(paid["status"], "succeeded", "{paid}");
    world.finish().await;
}

/// HK-3, HK-5: whatever a day brings ends without the cashier, and merchant, cashier and Alipay agree.
#[sqlx::test]
async fn hk_3_hk_5_every_transaction_ends_and_all_agree(pool: PgPool) {
    let mut world = World::start(pool).await;
    let mut ids = vec![];
    for code in [
        "0001", "0101", "0102", "0104", "1016", "2001", "2002", "2003", "2009",
    ] {
        let payment = world.till.pay_without_waiting(code).await;
        ids.push(payment.id().to_owned());
    }
    world.settle_calls().await;
    // Nobody asks: the schedule alone does it.
    while world.run_next().await {}
    let trades = world.simulator.trades().await;
    for id in ids {
        let payment = world.till.payment(&id).await;
        assert_eq!(payment["outcome_certainty"], "final", "{payment}");
        let trade = trades
            .iter()
            .find(|trade| trade["partner_trans_id"] == payment["partner_trans_id"]);
        let theirs = trade.and_then(|trade| trade["status"].as_str());
        let agrees = match payment["status"].as_str() {
            Some("succeeded") => theirs == Some("TRADE_SUCCESS"),
            Some("canceled") => matches!(theirs, Some("TRADE_CLOSED") | None),
            Some("failed") => theirs.is_none(),
            _ => false,
        };
        assert!(agrees, "{payment} but {trade:?}");
    }
    world.finish().await;
}

/// HK-4, PT-4: the buyer's time runs out at the till: the polling ends, the trade is canceled, the till
/// shows a failure and nothing is charged.
#[sqlx::test]
async fn hk_4_pt_4_a_buyer_out_of_time_is_canceled(pool: PgPool) {
    let mut world = World::start(pool).await;
    let mut request = body("0102");
    request["cancel_after_seconds"] = json!(30);
    let open = world.till.create("key-1", &request, 0).await;
    world.settle_calls().await;
    let end = world
        .run_until_final(open.id(), TimeDelta::seconds(40))
        .await;
    assert_eq!(end["status"], "canceled", "{end}");
    assert_eq!(end["next_action"]["type"], "show_code_again");
    assert!(world.simulator.count("query").await >= 5, "it was polled");
    assert_eq!(world.simulator.count("cancel").await, 1);
    let trade = &world.simulator.trades().await[0];
    assert_eq!(
        (&trade["status"], &trade["charged"]),
        (&json!("TRADE_CLOSED"), &json!(false))
    );
    world.finish().await;
}

/// PT-2: codes of 24 digits with each prefix are taken.
#[sqlx::test]
async fn pt_2_codes_of_24_digits_with_every_prefix_are_taken(pool: PgPool) {
    let world = World::start(pool).await;
    for prefix in 25..=30 {
        let mut request = body("0001");
        request["barcode"] = json!(format!("{prefix}{:018}0001", 123_456 + prefix));
        let key = format!("key-{prefix}");
        let paid = world.till.create(&key, &request, 5).await;
        assert_eq!(
            paid.summary("status"),
            (201, "succeeded"),
            "{prefix}: {paid:?}"
        );
        let inspect = world
            .till
            .request(Method::POST, "/v1/barcodes/inspect")
            .header("content-type", "application/json")
            .body(json!({"barcode": request["barcode"]}).to_string());
        assert_eq!(Caller::send(inspect).await.status, 200);
    }
    world.finish().await;
}
