//! Alipay's daily files against the books, and back into them.

use std::{fmt::Write as _, fs, path::PathBuf};

use alipayhk_gateway::{
    app::{
        accounts::Account,
        reconciliation::{Order, ReconcileError, Reconciled, StagedFile},
    },
    domain::{
        access::principal::TenantScope,
        audit::AuditActor,
        listing::Page,
        reconciliation::{
            Difference, DifferenceClass, DifferenceFilter, FeeOfRefunds, Rules, Source,
        },
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;

use alipayhk_gateway::domain::access::principal::Scope;

use crate::support::{
    PARTNER, World,
    http::{Answer, Caller},
};

/// A directory with files of one test.
pub(crate) struct Desk(PathBuf);

impl Desk {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("desk-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    /// Where a file of this name is, or would be.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn put(&self, kind: &str, day: &str, bytes: &[u8]) -> StagedFile {
        let path = self.0.join(format!("{PARTNER}_{kind}_{day}.txt"));
        fs::write(&path, bytes).expect("a file");
        StagedFile::at(&path)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn order(dry_run: bool) -> Order {
    Order {
        source: Source::CommandLine,
        by: AuditActor::command_line("test"),
        dry_run,
        other_layouts: false,
        kept_of_dry_run: 1_000,
    }
}

/// The GMT+8 day of the world's clock.
fn today(world: &World) -> String {
    (world.now() + TimeDelta::hours(8))
        .format("%Y%m%d")
        .to_string()
}

async fn reconcile(world: &World, file: StagedFile) -> Reconciled {
    let app = &world.replicas[0].app;
    app.reconcile(vec![file], order(false), None)
        .await
        .expect("a good file")
}

async fn todays_file(world: &World, desk: &Desk) -> StagedFile {
    let day = today(world);
    let bytes = world.simulator.daily_file("transaction", &day).await;
    desk.put("transaction", &day, &bytes.expect("a file"))
}

async fn differences(world: &World, found: &Reconciled) -> Vec<Difference> {
    let Page { items, .. } = world.replicas[0]
        .app
        .list_differences(
            TenantScope::Operator,
            found.report.item.id.expect("an id"),
            DifferenceFilter::default(),
            None,
            200,
        )
        .await
        .expect("a list")
        .expect("the reconciliation");
    items
}

async fn classes(world: &World, found: &Reconciled) -> Vec<(Option<i64>, &'static str)> {
    let found = differences(world, found).await;
    found.iter().map(|d| (d.line, d.class.as_str())).collect()
}

/// A transaction file with one row, of now.
fn one_row(world: &World, row_type: &str, payment: &Value, amount: &str, id: &str) -> Vec<u8> {
    one_row_at(world.now(), row_type, payment, amount, id)
}

/// A transaction file with one row.
pub(crate) fn one_row_at(
    at: DateTime<Utc>,
    row_type: &str,
    payment: &Value,
    amount: &str,
    id: &str,
) -> Vec<u8> {
    let at = at + TimeDelta::hours(8);
    let (day, time) = (at.format("%Y-%m-%d"), at.format("%Y-%m-%d %H:%M:%S"));
    let alipay = payment["alipay_trans_id"].as_str().unwrap_or_default();
    format!(
        "Partner:{PARTNER}|Payment_time: {day}|Total_count:1\n\
         Partner_transaction_id|Transaction_id|Transaction_amount|Charge_amount|Currency|Payment_time|Transaction_type|Remark|Secondary_merchant_industry|Secondary_merchant_name|Secondary_merchant_id|Operator_name|Order_scene|Trans_currency|Trans_amount|Trans_forex_rate|Issue\n\
         {id}|{alipay}|{amount}|0.00|HKD|{time}|{row_type}||5812|M|SM001|B||HKD|{amount}|1|ALIPAYHK\n"
    )
    .into_bytes()
}

fn our_id(payment: &Value) -> &str {
    payment["partner_trans_id"].as_str().expect("an id")
}

fn amount_of(payment: &Value) -> String {
    let minor = payment["amount"]["value"].as_i64().expect("an amount");
    format!("{}.{:02}", minor / 100, minor % 100)
}

async fn version_of(world: &World, answer: &Answer) -> Value {
    world.till.payment(answer.id()).await["version"].clone()
}

#[sqlx::test]
async fn a_file_that_says_what_we_know_agrees_and_the_same_file_again_is_the_same_result(
    pool: PgPool,
) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world.pay("0001").await;
    let refund = world
        .till
        .refund(
            paid.id(),
            &json!({"amount": {"value": 100, "currency": "HKD"}}),
            10,
        )
        .await;
    assert_eq!(refund.body["status"], "succeeded", "{refund:?}");
    let desk = Desk::new();
    let found = reconcile(&world, todays_file(&world, &desk).await).await;
    assert_eq!(classes(&world, &found).await, []);
    assert!(found.report.agrees() && !found.is_replay, "{found:?}");
    let file = &found.report.item.files[0];
    assert_eq!((file.rows, file.matched, file.version), (3, 3, Some(1)));
    let (net, expected) = found.report.totals.iter().fold((0, 0), |sums, total| {
        (sums.0 + total.net_minor, sums.1 + total.expected_net_minor)
    });
    assert_eq!(net, expected, "{:?}", found.report.totals);

    let rows = world.count_rows("select count(*) from statement_row").await;
    let again = reconcile(&world, todays_file(&world, &desk).await).await;
    assert!(again.is_replay);
    assert_eq!(again.report.item.id, found.report.item.id);
    assert_eq!(
        world.count_rows("select count(*) from statement_row").await,
        rows
    );
    world.finish().await;
}

#[sqlx::test]
async fn every_kind_of_planted_difference_is_told_with_its_line(pool: PgPool) {
    let world = World::start(pool).await;
    let mut ids = vec![];
    for _ in 0..5 {
        let paid = world.pay("0001").await;
        ids.push(our_id(&world.till.payment(paid.id()).await).to_owned());
    }
    let day = today(&world);
    for plant in [
        json!({"type": "wrong_amount", "row": ids[0], "by_minor": 7}),
        json!({"type": "missing", "row": ids[1]}),
        json!({"type": "duplicate", "row": ids[2]}),
        json!({"type": "other_day", "row": ids[3], "days": 1}),
        json!({"type": "extra_payment", "id": "PORTAL-1", "amount_minor": 900}),
    ] {
        world.simulator.plant("transaction", &day, &plant).await;
    }
    let desk = Desk::new();
    let found = reconcile(&world, todays_file(&world, &desk).await).await;
    let all = differences(&world, &found).await;
    let of = |class: DifferenceClass| -> Vec<Option<&str>> {
        all.iter()
            .filter(|difference| difference.class == class)
            .map(|difference| difference.partner_trans_id.as_deref())
            .collect()
    };
    assert_eq!(
        of(DifferenceClass::AmountDiffers),
        [Some(ids[0].as_str())],
        "{all:#?}"
    );
    assert_eq!(of(DifferenceClass::MissingInFile), [Some(ids[1].as_str())]);
    assert_eq!(of(DifferenceClass::Duplicate), [Some(ids[2].as_str())]);
    assert_eq!(of(DifferenceClass::DayDiffers), [Some(ids[3].as_str())]);
    assert_eq!(of(DifferenceClass::UnknownToUs), [Some("PORTAL-1")]);
    assert_eq!(all.len(), 5, "{all:#?}");
    assert_eq!(found.report.item.open, 5);
    world.finish().await;
}

#[sqlx::test]
async fn a_row_settles_a_payment_whose_answer_was_lost(pool: PgPool) {
    let world = World::start(pool).await;
    let open = world.pay_unheard().await;
    let before = world.till.payment(open.id()).await;
    assert_eq!(before["status"], "processing");
    let desk = Desk::new();
    let found = reconcile(&world, todays_file(&world, &desk).await).await;
    let all = classes(&world, &found).await;
    assert_eq!(all, [(Some(3), "corrected")]);
    assert!(found.report.agrees());
    let after = world.till.payment(open.id()).await;
    assert_eq!(after["status"], "succeeded");
    assert_eq!(world.count_rows("select count(*) from follow_up").await, 0);
    let timeline = world.till.timeline(open.id()).await;
    let last = timeline.last().expect("a timeline");
    assert_eq!(
        (&last["event"], &last["actor"]["type"]),
        (&json!("paid"), &json!("file"))
    );
    assert_eq!(last["actor"]["line"], 3);
    world.finish().await;
}

#[sqlx::test]
async fn m3_a_refund_from_the_portal_is_taken_from_what_is_refundable_once(pool: PgPool) {
    let world = World::start(pool).await;
    world.simulator.refund_on_the_same_day().await;
    let paid = world.pay("0001").await;
    let payment = world.till.payment(paid.id()).await;
    world.simulator.portal_refund(our_id(&payment), 250).await;
    let desk = Desk::new();
    let found = reconcile(&world, todays_file(&world, &desk).await).await;
    let all = differences(&world, &found).await;
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0].class, DifferenceClass::PortalRefund);
    let after = world.till.payment(paid.id()).await;
    let before = payment["refunds"]["refundable"]
        .as_i64()
        .expect("an amount");
    assert_eq!(after["refunds"]["refundable"], before - 250, "{after}");
    let refunds = world.till.get("/v1/refunds").await;
    assert_eq!(refunds.body["items"][0]["origin"], "portal");
    // A changed file is a new version, and finds the refund known.
    let mut bytes = fs::read(todays_file(&world, &desk).await.path.clone()).expect("a file");
    bytes.extend_from_slice(b"\n");
    let again = reconcile(&world, desk.put("transaction", &today(&world), &bytes)).await;
    assert!(!again.is_replay);
    assert_eq!(again.report.item.files[0].version, Some(2));
    assert_eq!(classes(&world, &again).await.len(), 1);
    let unchanged = world.till.payment(paid.id()).await;
    assert_eq!(unchanged, after);
    world.finish().await;
}

#[sqlx::test]
async fn a_row_against_a_final_state_is_kept_and_waits_for_a_person(pool: PgPool) {
    let world = World::start(pool).await;
    let failed = world.pay("1001").await;
    let payment = world.till.payment(failed.id()).await;
    assert_eq!(payment["status"], "failed", "{payment}");
    let version = version_of(&world, &failed).await;
    let desk = Desk::new();
    let bytes = one_row(
        &world,
        "PAYMENT",
        &payment,
        &amount_of(&payment),
        our_id(&payment),
    );
    let found = reconcile(&world, desk.put("transaction", &today(&world), &bytes)).await;
    assert_eq!(classes(&world, &found).await, [(Some(3), "status_differs")]);
    assert_eq!(found.report.item.open, 1);
    // What it says is kept, and nothing else changes.
    let now = world.till.payment(failed.id()).await;
    assert_eq!(now["status"], "failed", "{now}");
    let events = world.events(failed.id()).await;
    assert_eq!(events.last().map(String::as_str), Some("contradicted"));
    assert_eq!(
        version_of(&world, &failed).await,
        version
            .as_i64()
            .map_or(json!(null), |version| json!(version + 1))
    );
    world.finish().await;
}

#[sqlx::test]
async fn m3_a_refund_above_what_is_left_is_an_incident_and_not_in_the_books(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let payment = world.till.payment(paid.id()).await;
    let version = version_of(&world, &paid).await;
    let desk = Desk::new();
    let bytes = one_row(&world, "REFUND", &payment, "99999.00", "PORTAL-R1");
    let found = reconcile(&world, desk.put("transaction", &today(&world), &bytes)).await;
    let all = classes(&world, &found).await;
    assert!(all.contains(&(Some(3), "unknown_to_us")), "{all:?}");
    assert!(all.contains(&(None, "missing_in_file")), "{all:?}");
    assert_eq!(version_of(&world, &paid).await, version);
    world.finish().await;
}

/// A payment in each state that a row may meet, made under the world's present day.
#[cfg(feature = "failpoints")]
async fn payment_that_is(world: &World, state: &str) -> Value {
    let id = match state {
        "processing" => world.pay_unheard().await.id().to_owned(),
        "succeeded" => world.pay("0001").await.id().to_owned(),
        "failed" => world.pay("1016").await.id().to_owned(),
        "canceled, never charged" | "canceled, returned" => {
            let id = if state == "canceled, returned" {
                world.pay("0001").await.id().to_owned()
            } else {
                let open = world.pay_until_open("0102").await;
                open["id"].as_str().expect("an id").to_owned()
            };
            let path = format!("/v1/payments/{id}/cancel");
            let canceled = world.till.post(&path, &Value::Null).await;
            assert_eq!(
                canceled.summary("status"),
                (200, "canceled"),
                "{canceled:?}"
            );
            id
        }
        other => panic!("{other}?"),
    };
    world.till.payment(&id).await
}

/// R23, S1: every kind of row against every state of a payment. What is open is settled by what the row
/// proves, with the file as its cause; what is final stays, and the contradiction waits for a person.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn r23_s1_every_row_settles_what_is_open_and_changes_nothing_final(pool: PgPool) {
    const ROWS: [&str; 4] = ["PAYMENT", "CANCEL", "REVERSAL", "REFUND"];
    // What each of the four makes of the state, and how it is told.
    let open = [
        ("succeeded", "corrected"),
        ("canceled", "corrected"),
        ("canceled", "corrected"),
        ("", "unknown_to_us"),
    ];
    let cases: [(&str, [(&str, &str); 4]); 6] = [
        ("unresolved", open),
        ("processing", open),
        (
            "succeeded",
            [
                ("", ""),
                ("", "status_differs"),
                ("", "status_differs"),
                ("", "portal_refund"),
            ],
        ),
        (
            "failed",
            [
                ("", "status_differs"),
                ("", "status_differs"),
                ("", "status_differs"),
                ("", "unknown_to_us"),
            ],
        ),
        (
            "canceled, never charged",
            [
                ("", "status_differs"),
                ("", "status_differs"),
                ("", "status_differs"),
                ("", "unknown_to_us"),
            ],
        ),
        (
            "canceled, returned",
            [("", ""), ("", ""), ("", ""), ("", "unknown_to_us")],
        ),
    ];
    let mut world = World::start(pool).await;
    let silence = json!({"type": "drop_before_effect"});
    world.simulator.script("any", 1000, silence).await;
    let mut unresolved = vec![];
    for _ in ROWS {
        unresolved.push(world.till.pay_without_waiting("0001").await.id().to_owned());
    }
    world.settle_calls().await;
    world.advance(TimeDelta::days(8)).await;
    world.run_due().await;
    world.simulator.clear_faults().await;

    let at = (world.now() + TimeDelta::hours(8)).format("%Y-%m-%d %H:%M:%S");
    let (mut lines, mut expected) = (String::new(), vec![]);
    for (state, outcomes) in cases {
        for (row, (becomes, class)) in ROWS.into_iter().zip(outcomes) {
            let payment = match state {
                "unresolved" => {
                    let id = unresolved.pop().expect("one per row");
                    world.till.payment(&id).await
                }
                state => payment_that_is(&world, state).await,
            };
            let was = payment["status"].as_str().expect("a status");
            let becomes = if becomes.is_empty() { was } else { becomes };
            let portal = format!("PORTAL-{}", expected.len());
            let id = if row == "REFUND" {
                &portal
            } else {
                our_id(&payment)
            };
            let alipay = payment["alipay_trans_id"].as_str().unwrap_or_default();
            let amount = amount_of(&payment);
            writeln!(lines, "{id}|{alipay}|{amount}|0.00|HKD|{at}|{row}||5812|M|SM001|B||HKD|{amount}|1|ALIPAYHK")
                .expect("a text takes it");
            let line = i64::try_from(expected.len()).expect("a small number") + 3;
            let what = format!("{state} and {row}");
            expected.push((payment["id"].clone(), becomes.to_owned(), line, class, what));
        }
    }
    // A portal refund of a trade whose id Alipay never told us names nothing of ours.
    let day = today(&world);
    let head = one_row(&world, "PAYMENT", &Value::Null, "0.01", "X");
    let head = String::from_utf8(head).expect("text");
    let head: Vec<&str> = head.lines().take(2).collect();
    let text = format!("{}\n{lines}", head.join("\n"));
    let desk = Desk::new();
    let found = reconcile(&world, desk.put("transaction", &day, text.as_bytes())).await;
    let told = classes(&world, &found).await;
    for (id, becomes, line, class, what) in &expected {
        let id = id.as_str().expect("an id");
        let now = world.till.payment(id).await;
        assert_eq!(now["status"], becomes.as_str(), "{what}: {now}");
        let classes: Vec<&str> = told
            .iter()
            .filter(|(of, _)| of == &Some(*line))
            .map(|(_, class)| *class)
            .collect();
        let wanted: Vec<&str> = Some(*class).into_iter().filter(|c| !c.is_empty()).collect();
        assert_eq!(classes, wanted, "{what}");
        if *class == "status_differs" {
            let timeline = world.till.timeline(id).await;
            let incident = timeline.iter().any(|entry| {
                entry["type"] == "difference"
                    && (&entry["class"], &entry["line"], &entry["incident"])
                        == (&json!("status_differs"), &json!(line), &json!(true))
            });
            assert!(incident, "{what}: {timeline:#?}");
        }
        if *class == "corrected" {
            let timeline = world.till.timeline(id).await;
            let by_file = timeline
                .iter()
                .any(|entry| entry["actor"]["type"] == "file" && entry["actor"]["line"] == *line);
            assert!(by_file, "{what}: {timeline:#?}");
        }
    }
    // The ledger of the simulator was not what the file says.
    world.end_without_checks().await;
}

/// R23: the same of refunds.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn r23_s1_a_refund_row_settles_an_open_refund_and_changes_no_final_one(pool: PgPool) {
    let world = World::start(pool).await;
    world.simulator.refund_on_the_same_day().await;
    let desk = Desk::new();
    let mut rows = vec![];
    for (code, mode, status) in [
        ("0001", "sync", "succeeded"),
        ("0001", "async", "pending"),
        // The balance is too low.
        ("4004", "sync", "failed"),
    ] {
        let paid = world.pay(code).await;
        let refund = world
            .till
            .refund(paid.id(), &json!({"mode": mode}), 5)
            .await;
        assert_eq!(refund.body["status"], status, "{refund:?}");
        rows.push((world.till.payment(paid.id()).await, refund));
    }
    let mut text = String::new();
    for (index, (payment, refund)) in rows.iter().enumerate() {
        let id = refund.body["partner_refund_id"].as_str().expect("an id");
        let one = one_row(&world, "REFUND", payment, "39.25", id);
        let one = String::from_utf8(one).expect("text");
        let skipped = if index == 0 { 0 } else { 2 };
        for line in one.lines().skip(skipped) {
            writeln!(text, "{line}").expect("a text takes it");
        }
    }
    let day = today(&world);
    let found = reconcile(&world, desk.put("transaction", &day, text.as_bytes())).await;
    let told: Vec<_> = classes(&world, &found)
        .await
        .into_iter()
        .filter(|(line, _)| line.is_some())
        .collect();
    assert_eq!(told, [(Some(4), "corrected"), (Some(5), "status_differs")]);
    for ((_, refund), status) in rows.iter().zip(["succeeded", "succeeded", "failed"]) {
        let now = world.till.get_refund(refund.id()).await;
        assert_eq!(now["status"], status, "{now}");
    }
    world.end_without_checks().await;
}

/// What a payment's books say of its refunds.
#[cfg(feature = "failpoints")]
async fn refunds_of(world: &World, payment: &Value) -> Value {
    let id = payment["id"].as_str().expect("an id");
    world.till.payment(id).await["refunds"].clone()
}

/// M12: a file shows a paid payment canceled: nothing of it is refunded while that stands, and a question
/// is due at once. Alipay then says "paid", and the books are right.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn m12_a_paid_payment_that_a_file_shows_canceled_is_asked_about(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let payment = world.till.payment(paid.id()).await;
    let row = one_row(&world, "CANCEL", &payment, "39.25", our_id(&payment));
    let desk = Desk::new();
    reconcile(&world, desk.put("transaction", &today(&world), &row)).await;
    let refused = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let events = world.events(paid.id()).await;
    assert_eq!(events.last().map(String::as_str), Some("contradicted"));
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    let events = world.events(paid.id()).await;
    assert_eq!(
        events.last().map(String::as_str),
        Some("contradiction_settled")
    );
    let refund = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refund.body["status"], "succeeded", "{refund:?}");
    world.run_due().await;
    world.end_without_checks().await;
}

/// M12: a file shows a failed refund done: its amount cannot go out a second time, and it waits on the
/// work-list until a person accepts it.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn m12_a_failed_refund_that_a_file_shows_done_reserves_its_amount(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("4004").await;
    let payment = world.till.payment(paid.id()).await;
    let refund = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refund.body["status"], "failed", "{refund:?}");
    let id = refund.body["partner_refund_id"].as_str().expect("an id");
    let row = one_row(&world, "REFUND", &payment, "39.25", id);
    let desk = Desk::new();
    reconcile(&world, desk.put("transaction", &today(&world), &row)).await;
    let again = world
        .till
        .refund(paid.id(), &json!({"mode": "async"}), 5)
        .await;
    assert_eq!(again.status, 422, "{again:?}");
    let asked = world.simulator.count("refund_query").await;
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    assert_eq!(world.simulator.count("refund_query").await, asked + 1);
    let operator = world.operator_at(0);
    let listed = operator.get("/v1/unresolved").await;
    let said = &listed.body["items"][0]["contradictions"][0];
    assert_eq!(
        (&said["claim"], &said["source"], &said["returned"]),
        (&json!("refund_succeeded"), &json!("file"), &json!(3925)),
        "{listed:?}"
    );
    let path = format!("/v1/refunds/{}/resolve", refund.id());
    let decision = json!({"status": "succeeded", "reason": "as the file", "ticket": "OPS-1"});
    let resolved = operator.post(&path, &decision).await;
    assert_eq!(
        resolved.summary("status"),
        (200, "succeeded"),
        "{resolved:?}"
    );
    assert_eq!(
        refunds_of(&world, &payment).await,
        json!({"refunded": 3925, "pending": 0, "refundable": 0})
    );
    let proven = "select proven_returned_minor from payment";
    assert_eq!(world.count_rows(proven).await, 0);
    world.end_without_checks().await;
}

/// A file that has a refund settles that a query knew of none.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn m12_a_file_that_has_a_refund_settles_that_a_query_knew_of_none(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let payment = world.till.payment(paid.id()).await;
    let done = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(done.body["status"], "succeeded", "{done:?}");
    world
        .simulator
        .script("refund_query", 9, json!({"type": "not_exist"}))
        .await;
    world.advance(TimeDelta::seconds(1)).await;
    world.till.refresh_refund(done.id()).await;
    assert_eq!(world.unresolved().await.len(), 1);
    world.advance(TimeDelta::seconds(1)).await;
    let id = done.body["partner_refund_id"].as_str().expect("an id");
    let row = one_row(&world, "REFUND", &payment, "39.25", id);
    let desk = Desk::new();
    reconcile(&world, desk.put("transaction", &today(&world), &row)).await;
    assert!(world.unresolved().await.is_empty());
    let events = world.events(paid.id()).await;
    assert_eq!(
        events.last().map(String::as_str),
        Some("refund_contradiction_settled")
    );
    world.end_without_checks().await;
}

/// M3: a refund of the portal for which there is no room while ours is pending is booked once ours fails,
/// and "all that is left" counts it from the first moment.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn m3_a_portal_refund_without_room_is_booked_once_there_is(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let payment = world.till.payment(paid.id()).await;
    world
        .simulator
        .set_refund_policy(&json!({"same_day_immediate": false}))
        .await;
    let part = json!({"mode": "async", "amount": {"value": 2500, "currency": "HKD"}});
    let ours = world.till.refund(paid.id(), &part, 5).await;
    assert_eq!(ours.body["status"], "pending", "{ours:?}");
    let row = one_row(&world, "REFUND", &payment, "20.00", "PORTAL-1");
    let desk = Desk::new();
    reconcile(&world, desk.put("transaction", &today(&world), &row)).await;
    assert_eq!(
        refunds_of(&world, &payment).await,
        json!({"refunded": 0, "pending": 2500, "refundable": 0})
    );
    let theirs = ours.body["partner_refund_id"].as_str().expect("an id");
    world.simulator.fail_refund(theirs, "ACCOUNT_CLOSED").await;
    let refreshed = world.till.refresh_refund(ours.id()).await;
    assert_eq!(refreshed.body["status"], "failed", "{refreshed:?}");
    assert_eq!(
        refunds_of(&world, &payment).await,
        json!({"refunded": 2000, "pending": 0, "refundable": 1925})
    );
    let open = "select count(*) from contradiction where settled_at is null";
    assert_eq!(world.count_rows(open).await, 0);
    world.end_without_checks().await;
}

/// S11: a refund of the portal that a file tells of while the cancel of a reversal is under way: the cancel,
/// which Alipay refuses, becomes the refund of the rest, and both are booked.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn s11_a_reversal_returns_the_rest_of_what_was_returned_in_the_portal(pool: PgPool) {
    let mut world = World::start(pool).await;
    world.simulator.refund_on_the_same_day().await;
    let paid = world.pay("0001").await;
    let payment = world.till.payment(paid.id()).await;
    world.simulator.portal_refund(our_id(&payment), 2000).await;
    let lost = json!({"type": "drop_before_effect"});
    world.simulator.script("cancel", 1, lost).await;
    let path = format!("/v1/payments/{}/reverse", paid.id());
    world.till.post(&path, &Value::Null).await;
    world.settle_calls().await;
    let row = one_row(&world, "REFUND", &payment, "20.00", "PORTAL-1");
    let desk = Desk::new();
    reconcile(&world, desk.put("transaction", &today(&world), &row)).await;
    for _ in 0..30 {
        world.advance(TimeDelta::seconds(30)).await;
        world.run_due().await;
    }
    assert_eq!(
        refunds_of(&world, &payment).await,
        json!({"refunded": 3925, "pending": 0, "refundable": 0})
    );
    let open = "select count(*) from contradiction where settled_at is null";
    assert_eq!(world.count_rows(open).await, 0);
    world.end_without_checks().await;
}

/// M3: a row of the portal explains why Alipay closed a paid trade, and is booked against it.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn m3_a_portal_refund_explains_a_closure_after_payment(pool: PgPool) {
    let mut world = World::start(pool).await;
    world.simulator.refund_on_the_same_day().await;
    let paid = world.pay("0001").await;
    let payment = world.till.payment(paid.id()).await;
    world.simulator.portal_refund(our_id(&payment), 3925).await;
    world.advance(TimeDelta::seconds(1)).await;
    let path = format!("/v1/payments/{}/refresh", paid.id());
    let told = world.till.post(&path, &Value::Null).await;
    assert_eq!(
        told.body["status_reason"], "closed_after_payment",
        "{told:?}"
    );
    let row = one_row(&world, "REFUND", &payment, "39.25", "PORTAL-1");
    let desk = Desk::new();
    reconcile(&world, desk.put("transaction", &today(&world), &row)).await;
    assert_eq!(
        refunds_of(&world, &payment).await,
        json!({"refunded": 3925, "pending": 0, "refundable": 0})
    );
    assert_eq!(
        world.till.payment(paid.id()).await["status_reason"],
        "closed_after_payment"
    );
    world.end_without_checks().await;
}

/// The world's account under other rules.
async fn under(world: &World, rules: Rules) {
    let app = &world.replicas[0].app;
    let account = Account::clone(&app.accounts()[PARTNER]);
    app.replace_accounts(vec![Account { rules, ..account }])
        .await;
}

/// A settlement file of the world's day with these rows: kind, our id, Alipay's id, amount, fee and net in
/// dollars, currency.
fn settlement(world: &World, rows: &[(&str, &str, &Value, [&str; 3], &str)]) -> Vec<u8> {
    let at = (world.now() + TimeDelta::hours(8)).format("%Y-%m-%d %H:%M:%S");
    let mut text = "Partner_transaction_id|Transaction_id|Amount|Fee|Settlement|Currency|Payment_time|Settlement_time|Type|Status|Remarks|Secondary_merchant_industry|Secondary_merchant_name|Secondary_merchant_id|Operator_name|Order_scene|Trans_currency|Trans_amount|Trans_forex_rate|Issue\n".to_owned();
    for (kind, id, payment, [amount, fee, net], currency) in rows {
        let alipay = payment["alipay_trans_id"].as_str().unwrap_or_default();
        writeln!(
            text,
            "{id}|{alipay}|{amount}|{fee}|{net}|{currency}|{at}|{at}|{kind}|L||5812|M|SM001|B||{currency}|{amount}|1|ALIPAYHK"
        )
        .expect("a text takes it");
    }
    text.into_bytes()
}

/// Fees by contract: half up to the cent, with a tolerance; those of refunds given back or kept.
#[sqlx::test]
async fn fees_are_checked_against_the_configured_rate(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let part = json!({"amount": {"value": 1000, "currency": "HKD"}});
    let refund = world.till.refund(paid.id(), &part, 5).await;
    assert_eq!(refund.summary("status"), (201, "succeeded"));
    let payment = world.till.payment(paid.id()).await;
    let refund_id = refund.body["partner_refund_id"].as_str().expect("an id");
    let desk = Desk::new();
    let day = today(&world);
    let rules = |tolerance, fee_of_refunds| Rules {
        // 39.25 at 0.8 % is 0.314, of a refund of 10.00 it is 0.08.
        fee_basis_points: Some(80),
        fee_tolerance_minor: tolerance,
        fee_of_refunds,
        ..Rules::default()
    };
    let file = |fee: &str, net: &str, refund_fee: &str, refund_net: &str| {
        settlement(
            &world,
            &[
                ("P", our_id(&payment), &payment, ["39.25", fee, net], "HKD"),
                (
                    "R",
                    refund_id,
                    &payment,
                    ["10.00", refund_fee, refund_net],
                    "HKD",
                ),
            ],
        )
    };
    let fee_differs = |lines: &[i64]| -> Vec<(Option<i64>, &'static str)> {
        lines
            .iter()
            .map(|line| (Some(*line), "fee_differs"))
            .collect()
    };
    for (rules, bytes, expected) in [
        (
            Rules::default(),
            file("0.99", "38.26", "0.05", "9.95"),
            vec![],
        ),
        (
            rules(0, None),
            file("0.31", "38.94", "0.05", "9.95"),
            vec![],
        ),
        (
            rules(0, None),
            file("0.32", "38.93", "0.05", "9.95"),
            fee_differs(&[2]),
        ),
        (
            rules(1, None),
            file("0.32", "38.93", "0.06", "9.94"),
            vec![],
        ),
        (
            rules(0, Some(FeeOfRefunds::Returned)),
            file("0.31", "38.94", "0.00", "10.00"),
            fee_differs(&[3]),
        ),
        (
            rules(0, Some(FeeOfRefunds::Returned)),
            file("0.31", "38.94", "0.08", "9.92"),
            vec![],
        ),
        (
            rules(0, Some(FeeOfRefunds::Kept)),
            file("0.31", "38.94", "0.08", "9.92"),
            fee_differs(&[3]),
        ),
    ] {
        under(&world, rules).await;
        let tried = world.replicas[0]
            .app
            .reconcile(
                vec![desk.put("settlement", &day, &bytes)],
                order(true),
                None,
            )
            .await
            .expect("a good file");
        let told: Vec<_> = tried
            .differences
            .iter()
            .map(|difference| (difference.line, difference.class.as_str()))
            .collect();
        assert_eq!(told, expected, "{rules:?}");
        assert_eq!(tried.report.item.fee_basis_points, rules.fee_basis_points);
    }
    // What we expect to be paid out, and what Alipay pays out.
    under(&world, rules(0, Some(FeeOfRefunds::Kept))).await;
    let bytes = file("0.32", "38.93", "0.00", "10.00");
    let found = reconcile(&world, desk.put("settlement", &day, &bytes)).await;
    let sums = found
        .report
        .totals
        .iter()
        .fold((0, 0), |(net, expected), total| {
            (net + total.net_minor, expected + total.expected_net_minor)
        });
    assert_eq!(sums, (2_893, 2_894));
    world.finish().await;
}

/// Settlement rows tie to what was paid and refunded: each way in which they can differ.
#[sqlx::test]
async fn settlement_rows_tie_to_payments_and_refunds(pool: PgPool) {
    let mut world = World::start(pool).await;
    let mut payments = vec![];
    for _ in 0..4 {
        let paid = world.pay("0001").await;
        payments.push(world.till.payment(paid.id()).await);
    }
    let desk = Desk::new();
    let transactions = todays_file(&world, &desk).await;
    reconcile(&world, transactions).await;
    let [good, foreign, short, left] = payments.as_slice() else {
        panic!("four payments");
    };
    let whole = ["39.25", "0.00", "39.25"];
    let rows = [
        ("P", our_id(good), good, whole, "HKD"),
        (
            "P",
            our_id(foreign),
            foreign,
            ["39.25", "0.00", "39.25"],
            "USD",
        ),
        ("P", our_id(short), short, ["39.25", "0.10", "39.25"], "HKD"),
        (
            "P",
            "STRANGER",
            &Value::Null,
            ["5.00", "0.00", "5.00"],
            "HKD",
        ),
        // The same row again.
        ("P", our_id(good), good, whole, "HKD"),
    ];
    let bytes = settlement(&world, &rows);
    let day = today(&world);
    let found = reconcile(&world, desk.put("settlement", &day, &bytes)).await;
    assert_eq!(
        classes(&world, &found).await,
        [
            (Some(3), "currency_differs"),
            (Some(4), "net_differs"),
            (Some(5), "unknown_to_us"),
            (Some(6), "settled_twice"),
        ]
    );
    // Paid out again on another day; and what never was is told when its time is over, once.
    world.advance(TimeDelta::days(6)).await;
    let bytes = settlement(&world, &rows[..1]);
    let day = today(&world);
    let found = reconcile(&world, desk.put("settlement", &day, &bytes)).await;
    let told = classes(&world, &found).await;
    assert!(told.contains(&(Some(2), "settled_twice")), "{told:?}");
    let late: Vec<_> = differences(&world, &found)
        .await
        .into_iter()
        .filter(|difference| difference.class == DifferenceClass::NotSettled)
        .map(|difference| difference.partner_trans_id)
        .collect();
    assert_eq!(late, [Some(our_id(left).to_owned())]);
    world.finish().await;
}

#[sqlx::test]
async fn a_dry_run_tells_the_same_and_changes_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    world.pay_unheard().await;
    let desk = Desk::new();
    let file = todays_file(&world, &desk).await;
    let rows = world.rows().await;
    let app = &world.replicas[0].app;
    let found = app
        .reconcile(vec![file], order(true), None)
        .await
        .expect("a good file");
    assert_eq!(found.report.item.id, None);
    let told: Vec<_> = found.differences.iter().map(|d| d.class.as_str()).collect();
    assert_eq!(told, ["status_differs"]);
    assert_eq!(world.rows().await, rows);
    for table in [
        "select count(*) from statement_file",
        "select count(*) from statement_row",
        "select count(*) from reconciliation",
        "select count(*) from reconciliation_difference",
    ] {
        assert_eq!(world.count_rows(table).await, 0, "{table}");
    }
    world.finish().await;
}

#[sqlx::test]
async fn imports_of_the_same_file_at_once_and_a_visit_of_the_worker_have_one_effect(pool: PgPool) {
    let world = World::start(pool).await;
    let open = world.pay_unheard().await;
    let desk = Desk::new();
    let (one, two) = (
        todays_file(&world, &desk).await,
        todays_file(&world, &desk).await,
    );
    let (one, two, ()) = tokio::join!(
        reconcile(&world, one),
        reconcile(&world, two),
        world.run_due()
    );
    assert_eq!(one.report.item.id, two.report.item.id);
    assert_eq!(world.till.payment(open.id()).await["status"], "succeeded");
    let paid = "select count(*) from payment_transition where event = 'paid'";
    assert_eq!(world.count_rows(paid).await, 1);
    assert_eq!(
        world
            .count_rows("select count(*) from statement_file")
            .await,
        1
    );
    world.finish().await;
}

#[sqlx::test]
async fn what_is_no_daily_file_is_refused_with_its_name(pool: PgPool) {
    let world = World::start(pool).await;
    let desk = Desk::new();
    let app = &world.replicas[0].app;
    let file = desk.put("transaction", "20260102", b"hello\n");
    let error = app.reconcile(vec![file], order(false), None).await;
    assert!(matches!(error, Err(ReconcileError::Files(_))), "{error:?}");
    let none = app.reconcile(vec![], order(false), None).await;
    assert!(matches!(none, Err(ReconcileError::NoFiles)));
    assert_eq!(
        world
            .count_rows("select count(*) from reconciliation")
            .await,
        0
    );
    world.finish().await;
}

/// Uploads a file as a browser does.
pub(crate) async fn upload(caller: &Caller, name: &str, bytes: &[u8], dry_run: bool) -> Answer {
    upload_all(caller, &[(name, bytes)], dry_run).await
}

/// Uploads files in one request, as a browser does.
pub(crate) async fn upload_all(caller: &Caller, files: &[(&str, &[u8])], dry_run: bool) -> Answer {
    let mut body =
        format!("--b\r\nContent-Disposition: form-data; name=\"dry_run\"\r\n\r\n{dry_run}\r\n")
            .into_bytes();
    for (name, bytes) in files {
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    let request = caller
        .request(reqwest::Method::POST, "/v1/reconciliations")
        .header("content-type", "multipart/form-data; boundary=b")
        .body(body);
    Caller::send(request).await
}

#[sqlx::test]
async fn q7_the_operator_imports_and_a_merchant_sees_what_is_its_own(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let payment = world.till.payment(paid.id()).await;
    let day = today(&world);
    let plant = json!({"type": "extra_payment", "id": "=PORTAL-1", "amount_minor": 900});
    world.simulator.plant("transaction", &day, &plant).await;
    let plant = json!({"type": "wrong_amount", "row": our_id(&payment), "by_minor": 7});
    world.simulator.plant("transaction", &day, &plant).await;
    let bytes = world.simulator.daily_file("transaction", &day).await;
    let bytes = bytes.expect("a file");
    let name = format!("{PARTNER}_transaction_{day}.txt");
    let operator = world.overseer(&[Scope::Reconciliation]).await;
    let merchant = world.caller(0, &[Scope::Reconciliation]).await;

    let refused = upload(&merchant, &name, &bytes, false).await;
    assert_eq!(refused.summary("code"), (403, "operator_required"));
    let tried = upload(&operator, &name, &bytes, true).await;
    assert_eq!(
        (tried.status, &tried.body["id"]),
        (200, &Value::Null),
        "{tried:?}"
    );
    assert_eq!(tried.body["found"].as_array().map(Vec::len), Some(2));
    let made = upload(&operator, &name, &bytes, false).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = made.header("location").to_owned();
    assert_eq!(made.body["open_differences"], 2);
    let again = upload(&operator, &name, &bytes, false).await;
    assert_eq!((again.status, again.id()), (200, made.id()));
    let bad = upload(&operator, "x.txt", b"hello", false).await;
    assert_eq!(bad.summary("code"), (422, "validation_failed"));

    // More than other bodies may have.
    let mut large = bytes.clone();
    large.resize(300 * 1024, b'\n');
    assert_eq!(upload(&operator, &name, &large, true).await.status, 200);

    let own = merchant.get(&format!("{path}/differences")).await;
    let items = own.body["items"].as_array().expect("a list").clone();
    assert_eq!(items.len(), 1, "{own:?}");
    assert_eq!(items[0]["class"], "amount_differs");
    assert_eq!(
        merchant.get(&path).await.body["totals"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    let listed = operator.get("/v1/reconciliations?kind=transaction").await;
    assert_eq!(listed.body["items"][0]["id"], made.id());
    let unknown = operator
        .get(&format!("{path}/differences?class=unknown_to_us"))
        .await;
    let unknown = unknown.body["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();

    let sheet = Caller::send(operator.request(
        reqwest::Method::GET,
        &format!("{path}/differences.csv?class=unknown_to_us"),
    ))
    .await;
    assert_eq!(sheet.status, 200);
    assert!(sheet.header("content-type").starts_with("text/csv"));

    // To print: all of it for the operator, its own for a merchant.
    let statement = format!("{path}/statement");
    let page = operator.get(&statement).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    let shown = page.body.as_str().expect("a page");
    assert!(shown.contains("=PORTAL-1") && shown.contains("2 differences are open"));
    let own = merchant.get(&statement).await;
    let own = own.body.as_str().expect("a page");
    assert!(
        !own.contains("=PORTAL-1") && own.contains(our_id(&payment)),
        "{own}"
    );
    let as_image = operator
        .request(reqwest::Method::GET, &statement)
        .header("accept", "image/png");
    let refused = Caller::send(as_image).await;
    assert_eq!(refused.summary("code"), (406, "not_acceptable"));

    let reason = json!({"reason": "made in the portal"});
    let foreign = format!("{path}/differences/{unknown}/acknowledge");
    let refused = merchant.post(&foreign, &reason).await;
    assert_eq!(refused.summary("code"), (404, "reconciliation_not_found"));
    let noted = operator.post(&foreign, &reason).await;
    assert_eq!(noted.body["acknowledged_reason"], "made in the portal");
    let later = operator.post(&foreign, &json!({"reason": "another"})).await;
    assert_eq!(later.body["acknowledged_reason"], "made in the portal");
    let audited = "select count(*) from audit_log where action = 'difference.acknowledged'";
    assert_eq!(world.count_rows(audited).await, 1);
    assert_eq!(operator.get(&path).await.body["open_differences"], 1);
    world.finish().await;
}
