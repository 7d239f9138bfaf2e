//! What Alipay posts about refunds: believed when it is signed and agrees, acknowledged when its
//! effect is committed, and harmless in every other form.

use alipayhk_gateway::domain::accounts::signing::SignType;
use chrono::{DateTime, TimeDelta, Utc};
use md5::{Digest as _, Md5};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, PARTNER, World,
    alipay::{MD5_KEY, client},
    http::{Answer, Caller},
    refund_oracle::finish,
};

fn at(text: &str) -> DateTime<Utc> {
    format!("{text}+08:00")
        .parse()
        .expect("an instant in GMT+8")
}

async fn world(pool: PgPool) -> World {
    let options = Options {
        now: at("2026-03-09T15:00:00"),
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let strict = json!({"same_day_immediate": false, "in_window": "next_night"});
    world.simulator.set_refund_policy(&strict).await;
    world
}

/// A payment with an asynchronous refund of 10.00 that Alipay has accepted.
async fn accepted(world: &World) -> (Answer, Answer) {
    let paid = world.pay("0001").await;
    let body = json!({"amount": {"value": 1000, "currency": "HKD"}, "mode": "async"});
    let accepted = world.till.refund(paid.id(), &body, 5).await;
    assert_eq!(accepted.summary("status"), (202, "pending"), "{accepted:?}");
    (paid, accepted)
}

/// The attempts of the only notification.
async fn attempts(world: &World) -> Vec<Value> {
    let notifications = world.simulator.notifications().await;
    assert_eq!(notifications.len(), 1, "{notifications:?}");
    notifications[0]["attempts"]
        .as_array()
        .expect("a list")
        .clone()
}

/// What became of the last attempt.
async fn last_result(world: &World) -> String {
    let attempts = attempts(world).await;
    let last = attempts.last().expect("an attempt");
    last["result"].as_str().expect("a result").to_owned()
}

/// Where a refund stands, without visits of the schedule.
async fn status(world: &World, refund: &Answer) -> String {
    let refund = world.till.get_refund(refund.id()).await;
    refund["status"].as_str().expect("a status").to_owned()
}

/// NT-1, HK-10: the batch does the refund, Alipay says so in either shape, with the refund's id or without,
/// and one query at the same moment says that it has succeeded.
#[sqlx::test]
async fn nt_1_a_notification_has_its_refund_asked_about_at_once(pool: PgPool) {
    let mut world = world(pool).await;
    let mut paid = vec![];
    for (shape, fault) in [
        ("family", None),
        ("family", Some("no_refund_id")),
        ("answer", None),
    ] {
        world.simulator.shape_notifications(shape).await;
        let (payment, refund) = accepted(&world).await;
        if let Some(fault) = fault {
            world.simulator.script_notification(1, fault).await;
        }
        let tonight =
            at("2026-03-09T23:00:00") + TimeDelta::days(paid.len().try_into().expect("few"));
        world.set_clock(tonight).await;
        let notifications = world.simulator.notifications().await;
        let attempt = &notifications.last().expect("announced")["attempts"][0];
        assert_eq!(attempt["result"], "acknowledged", "{shape} {fault:?}");
        let hinted = world.till.get_refund(refund.id()).await;
        assert_eq!(
            hinted["status"], "pending",
            "the query settles it: {hinted}"
        );
        let due = hinted["next_check_at"].as_str().expect("a time").to_owned();
        let due = due.parse::<DateTime<Utc>>().expect("a time");
        assert!(due <= tonight, "asked about at once: {hinted}");
        let asked = hinted["checks_done"].as_i64().expect("a number");
        world.run_due().await;
        let done = world.till.get_refund(refund.id()).await;
        assert_eq!(done["status"], "succeeded", "{shape} {fault:?}: {done}");
        assert_eq!(done["checks_done"], asked + 1);
        paid.push(payment);
    }
    let timeline = world.till.timeline(paid[0].id()).await;
    let step = timeline
        .iter()
        .find(|item| item["event"] == "refund_succeeded" && item["refund_id"].is_string())
        .expect("on the timeline");
    assert_eq!(step["actor"]["type"], "follow_up");
    let payment = world.till.payment(paid[0].id()).await;
    assert_eq!(payment["refunds"]["refunded"], 1000);
    assert_eq!(open_questions(&world).await, 0, "each was answered");
    finish(world).await;
}

/// How many payments and refunds are to be asked about besides the plan.
async fn open_questions(world: &World) -> i64 {
    world
        .count_rows("select count(*) from follow_up where question_due_at is not null")
        .await
}

/// NT-1: repeated on the documented schedule until it is acknowledged: after one that got lost comes
/// the next in two minutes.
#[sqlx::test]
async fn nt_1_a_lost_notification_is_repeated_until_it_is_acknowledged(pool: PgPool) {
    let mut world = world(pool).await;
    let (_, refund) = accepted(&world).await;
    world.simulator.script_notification(2, "lost").await;
    world.set_clock(at("2026-03-09T23:00:00")).await;
    assert_eq!(status(&world, &refund).await, "pending");
    world.set_clock(at("2026-03-09T23:02:00")).await;
    assert_eq!(status(&world, &refund).await, "pending");
    world.set_clock(at("2026-03-09T23:12:00")).await;
    assert_eq!(attempts(&world).await.len(), 3);
    world.run_due().await;
    assert_eq!(status(&world, &refund).await, "succeeded");
    finish(world).await;
}

/// NT-1, V3, S7: duplicates, replays and floods are acknowledged and change nothing more.
#[sqlx::test]
async fn nt_1_v3_repeats_and_floods_have_one_effect(pool: PgPool) {
    let mut world = world(pool).await;
    let (paid, refund) = accepted(&world).await;
    world.set_clock(at("2026-03-09T23:00:00")).await;
    world.run_due().await;
    let before = world.till.get_refund(refund.id()).await;
    let events = world.events(paid.id()).await;
    let notifications = world.simulator.notifications().await;
    let id = notifications[0]["notify_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for how in [
        json!({"times": 3}),
        json!({"times": 3, "replay": true}),
        json!({"times": 200, "concurrency": 16}),
    ] {
        world.simulator.repeat_notification(&id, &how).await;
    }
    let attempts = attempts(&world).await;
    assert_eq!(attempts.len(), 207);
    let refused: Vec<_> = attempts
        .iter()
        .filter(|attempt| attempt["body"] != "success")
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    world.run_due().await;
    assert_eq!(world.till.get_refund(refund.id()).await, before);
    assert_eq!(
        world.events(paid.id()).await,
        events,
        "one event per change"
    );
    finish(world).await;
}

/// NT-1, V1, S9: what is forged, unsigned, downgraded, or about somebody else changes nothing and is not
/// acknowledged. What Alipay signed and what does not agree with our books is a hint: it settles nothing, and the
/// query says that the refund still waits.
#[sqlx::test]
async fn nt_1_v1_s9_forgeries_change_nothing_and_contradictions_are_asked_about(pool: PgPool) {
    let mut world = world(pool).await;
    for (fault, is_hint) in [
        ("forged_signature", false),
        ("missing_sign", false),
        ("downgraded_sign_type", false),
        ("other_partner", false),
        ("other_trade_id", false),
        ("duplicate_field", false),
        ("other_refund_id", true),
        ("other_amount", true),
        ("other_currency", true),
        ("other_status", true),
    ] {
        let (_, refund) = accepted(&world).await;
        let theirs = refund.body["partner_refund_id"].as_str().expect("an id");
        world.simulator.script_notification(1, fault).await;
        world.simulator.announce_refund(theirs).await;
        let notifications = world.simulator.notifications().await;
        let attempt = &notifications.last().expect("announced")["attempts"][0];
        let body = if is_hint { "success" } else { "fail" };
        assert_eq!(attempt["body"], body, "{fault}: {attempt}");
        assert_eq!(open_questions(&world).await, i64::from(is_hint), "{fault}");
        world.run_due().await;
        assert_eq!(open_questions(&world).await, 0, "{fault}: asked");
        assert_eq!(status(&world, &refund).await, "pending", "{fault}");
    }
    world.set_clock(at("2026-03-10T08:00:00")).await;
    world.run_due().await;
    for refund in world.simulator.refunds().await {
        assert_eq!(refund["status"], "SUCCESS");
    }
    let open = world
        .count_rows("select count(*) from refund where status <> 'succeeded'")
        .await;
    assert_eq!(open, 0, "the genuine notifications led to the truth");
    finish(world).await;
}

/// Further fields are noted by their names, whatever they hold; a charset, or a wrong label of one, is no reason to
/// refuse what verifies.
#[sqlx::test]
async fn nt_1_further_fields_and_another_charset_do_not_matter(pool: PgPool) {
    let world = world(pool).await;
    for fault in ["gbk", "extra_fields", "mislabeled"] {
        let (_, refund) = accepted(&world).await;
        let theirs = refund.body["partner_refund_id"].as_str().expect("an id");
        world.simulator.script_notification(1, fault).await;
        let said = world.simulator.announce_refund(theirs).await;
        assert_eq!(said["state"], "acknowledged", "{fault}: {said}");
        world.run_due().await;
    }
    let noted = world
        .count_rows(
            "select count(*) from notification
            where kind = 'refund' and unknown_fields = '{wallet_brand_name}'",
        )
        .await;
    assert_eq!(noted, 1, "the empty field is none");
    finish(world).await;
}

/// S7: the query came first, the notification late; and a notification for a refund that has failed
/// meanwhile is no way back.
#[sqlx::test]
async fn s7_a_late_notification_changes_nothing_that_is_known(pool: PgPool) {
    let mut world = world(pool).await;
    let (_, refund) = accepted(&world).await;
    world.simulator.set_notifications("hold").await;
    world.set_clock(at("2026-03-10T06:00:00")).await;
    world.run_due().await;
    let before = world.till.get_refund(refund.id()).await;
    assert_eq!(before["status"], "succeeded");
    world.advance(TimeDelta::seconds(1)).await;
    world.simulator.set_notifications("on").await;
    assert_eq!(last_result(&world).await, "acknowledged");
    assert_eq!(open_questions(&world).await, 1, "asked all the same");
    world.run_due().await;
    let mut after = world.till.get_refund(refund.id()).await;
    assert_eq!(
        after["checks_done"],
        1 + before["checks_done"].as_i64().expect("a number")
    );
    after["checks_done"] = before["checks_done"].clone();
    assert_eq!(after, before);
    let left = world.count_rows("select count(*) from follow_up").await;
    assert_eq!(left, 0, "the answered question leaves nothing behind");
    finish(world).await;
}

/// Nobody but Alipay is believed, whatever is posted wherever; each is answered in plain text.
#[sqlx::test]
async fn v1_anything_else_that_is_posted_is_answered_fail(pool: PgPool) {
    let world = world(pool).await;
    let (_, refund) = accepted(&world).await;
    let url = |partner: &str| format!("{}/alipay/notify/{partner}", world.replicas[0].url);
    let big = "a=".to_owned() + &"x".repeat(70_000);
    for (partner, body) in [
        (PARTNER, ""),
        (PARTNER, "notify_id=1&sign=AA&sign_type=RSA2"),
        (PARTNER, "%ff%fe=%00&&&==="),
        (PARTNER, "<xml/>"),
        (PARTNER, big.as_str()),
        ("2088000000000002", "notify_id=1"),
        ("nobody", "notify_id=1"),
    ] {
        let answer = client()
            .request(Method::POST, url(partner))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer");
        let content_type = answer.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(content_type.starts_with("text/plain"), "{content_type}");
        assert_eq!(answer.text().await.expect("text"), "fail");
    }
    assert_eq!(status(&world, &refund).await, "pending");
    finish(world).await;
}

// ------------------------------------------------------------------------------------------------
// The table of shapes.

/// What a notification names, under which names; signed by Alipay or not.
struct Row {
    shape: &'static str,
    fields: Vec<(&'static str, String)>,
    /// The `Content-Type`'s charset.
    label: &'static str,
    spoil: fn(String) -> String,
    /// What Alipay is told.
    word: &'static str,
    /// What is asked about then.
    asked: &'static [&'static str],
}

/// A row that is acknowledged.
fn hint(
    shape: &'static str,
    fields: &[(&'static str, &str)],
    asked: &'static [&'static str],
) -> Row {
    Row {
        shape,
        fields: fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        label: "UTF-8",
        spoil: |form| form,
        word: "success",
        asked,
    }
}

/// A row that is not.
fn enemy(shape: &'static str, fields: &[(&'static str, &str)], spoil: fn(String) -> String) -> Row {
    Row {
        word: "fail",
        spoil,
        ..hint(shape, fields, &[])
    }
}

/// Signs a form over its bytes, as Alipay does under the MD5 agreement; the text is in GBK.
fn signed_in_gbk(fields: &[(&'static str, String)]) -> String {
    let gbk = |text: &str| encoding_rs::GBK.encode(text).0.into_owned();
    let mut sorted: Vec<_> = fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    sorted.sort();
    let text: Vec<_> = sorted
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let signed = [&gbk(&text.join("&"))[..], MD5_KEY.as_bytes()].concat();
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| {
            let value = form_urlencoded::byte_serialize(&gbk(value)).collect::<String>();
            format!("{name}={value}")
        })
        .collect();
    let sign = hex::encode(Md5::digest(signed));
    format!("{}&sign={sign}&sign_type=MD5", pairs.join("&"))
}

/// Every shape that is known of a message, with what becomes of it: what Alipay is told, and what is asked
/// about at once. Nothing is settled by any of them.
#[sqlx::test]
async fn the_table_of_shapes(pool: PgPool) {
    let options = Options {
        now: at("2026-03-09T15:00:00"),
        sign_type: SignType::Md5,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let strict = json!({"same_day_immediate": false, "in_window": "next_night"});
    world.simulator.set_refund_policy(&strict).await;
    world.simulator.set_notifications("off").await;
    let rows = shapes("P", "T", "R1").len();
    for number in 0..rows {
        let (paid, refund) = accepted(&world).await;
        let names = |answer: &Answer, name: &str| answer.body[name].as_str().map(str::to_owned);
        let (p, t) = (
            names(&paid, "partner_trans_id"),
            names(&paid, "alipay_trans_id"),
        );
        let r = names(&refund, "partner_refund_id");
        let mut rows = shapes(
            p.as_deref().expect("an id"),
            t.as_deref().expect("an id"),
            r.as_deref().expect("an id"),
        );
        let Row {
            shape,
            mut fields,
            label,
            spoil,
            word,
            asked,
        } = rows.swap_remove(number);
        if !fields.iter().any(|(name, _)| *name == "notify_id") {
            fields.push(("notify_id", format!("n-{number}")));
        }
        let form = spoil(signed_in_gbk(&fields));
        let post = || {
            let url = format!("{}/alipay/notify/{PARTNER}", world.replicas[0].url);
            let content_type = format!("application/x-www-form-urlencoded;charset={label}");
            client()
                .request(Method::POST, url)
                .header("content-type", content_type)
                .body(form.clone())
        };
        let answer = post().send().await.expect("an answer");
        assert_eq!(answer.text().await.expect("text"), word, "{shape}");
        let kinds: Vec<String> = sqlx::query_scalar(
            "select kind from follow_up where question_due_at is not null order by kind",
        )
        .fetch_all(&world.pool)
        .await
        .expect("the database answers");
        assert_eq!(kinds, asked, "{shape}");
        let questions = async || {
            let payments = world.simulator.count("query").await;
            let refunds = world.simulator.count("refund_query").await;
            payments + refunds
        };
        let before = questions().await;
        world.run_due().await;
        assert_eq!(questions().await, before + asked.len(), "{shape}");
        assert_eq!(open_questions(&world).await, 0, "{shape}: answered");
        assert_eq!(status(&world, &refund).await, "pending", "{shape}");
        // A repeat has no further effect, whatever its first answer was.
        let again = post().send().await.expect("an answer");
        assert_eq!(again.text().await.expect("text"), word, "{shape}, again");
        assert_eq!(open_questions(&world).await, 0, "{shape}: once");
    }
    let noted = world
        .count_rows(
            "select count(*) from notification
            where kind = 'other' and unknown_fields = '{brand_new_field}'",
        )
        .await;
    assert_eq!(noted, 1, "names of unknown fields are noted");
    finish(world).await;
}

/// V4: nobody works for a week after a notification was acknowledged, and the answer to the first question is
/// lost: it is asked again.
#[sqlx::test]
async fn v4_what_a_notification_raised_a_week_ago_is_asked_again_where_the_answer_is_lost(
    pool: PgPool,
) {
    let mut world = world(pool).await;
    world.simulator.refund_on_the_same_day().await;
    let paid = world.pay("0001").await;
    let lie = json!({
        "type": "result_after_effect", "code": "FAIL", "error": "REASON_TRADE_BEEN_FREEZEN"
    });
    world.simulator.script("refund", 1, lie).await;
    let body = json!({"amount": {"value": 1000, "currency": "HKD"}, "mode": "async"});
    let refused = world.till.refund(paid.id(), &body, 5).await;
    assert_eq!(refused.summary("status"), (201, "failed"), "{refused:?}");
    world.advance(TimeDelta::seconds(1)).await;
    assert_eq!(last_result(&world).await, "acknowledged");
    let lost = json!({"type": "drop_after_effect"});
    world.simulator.script("refund_query", 1, lost).await;
    world.advance(TimeDelta::days(7)).await;
    world.run_due().await;
    assert_eq!(world.simulator.count("refund_query").await, 1);
    for _ in 0..4 {
        world.advance(TimeDelta::days(1)).await;
        world.run_due().await;
    }
    assert_eq!(status(&world, &refused).await, "succeeded");
    finish(world).await;
}

/// S5: a notification about the payment does not use up the question that waits for what a person has ended and may act.
#[sqlx::test]
async fn s5_a_notification_does_not_use_up_the_question_about_a_decision(pool: PgPool) {
    let options = Options {
        sign_type: SignType::Md5,
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_late("cancel", 1000, "success", Some(40))
        .await;
    let path = format!("/v1/payments/{}", paid.id());
    let cancel = world.till.request(Method::POST, &format!("{path}/cancel"));
    Caller::send(cancel.header("prefer", "wait=0")).await;
    world.settle_calls().await;
    world.advance(TimeDelta::seconds(2)).await;
    world.run_due().await;
    let stays = json!({"status": "succeeded", "reason": "the portal shows it", "ticket": "OPS-1"});
    let resolved = world.operate(&format!("{path}/resolve"), stays).await;
    assert_eq!(
        resolved.summary("status"),
        (200, "succeeded"),
        "{resolved:?}"
    );
    let ours = paid.body["partner_trans_id"].as_str().expect("an id");
    let form = signed_in_gbk(&[
        ("notify_id", "n-1".to_owned()),
        ("out_trade_no", ours.to_owned()),
    ]);
    let posted = client()
        .request(
            Method::POST,
            format!("{}/alipay/notify/{PARTNER}", world.replicas[0].url),
        )
        .header(
            "content-type",
            "application/x-www-form-urlencoded;charset=GBK",
        )
        .body(form);
    let word = posted.send().await.expect("an answer");
    assert_eq!(word.text().await.expect("text"), "success");
    world.advance(TimeDelta::seconds(5)).await;
    world.run_due().await;
    let told = world.till.payment(paid.id()).await;
    assert_eq!(told["next_action"]["type"], "wait", "{told}");
    world.advance(TimeDelta::seconds(60)).await;
    world.run_due().await;
    let told = world.till.payment(paid.id()).await;
    assert_eq!(
        (&told["status"], &told["money_returned"]),
        (&json!("canceled"), &json!(true)),
        "{told}"
    );
    world.finish().await;
}

const REFUND: &[&str] = &["refund"];
const BOTH: &[&str] = &["payment", "refund"];

/// The rows, about the payment `p`, Alipay's `t`, and its open refund `r`.
fn shapes(p: &str, t: &str, r: &str) -> Vec<Row> {
    let family = family(p, t);
    [
        about_refunds(&family, p, t, r),
        about_trades(p),
        in_charsets(&family, r),
        enemies(&family, p, r),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The shape of the family, without the refund's id.
fn family<'a>(p: &'a str, t: &'a str) -> [(&'static str, &'a str); 9] {
    [
        ("notify_type", "trade_status_sync"),
        ("notify_action_type", "refundFPAction"),
        ("out_trade_no", p),
        ("trade_no", t),
        ("trade_status", "TRADE_SUCCESS"),
        ("seller_id", PARTNER),
        ("buyer_id", "2088000000000099"),
        ("total_fee", "39.25"),
        ("refund_fee", "10.00"),
    ]
}

type Fields<'a> = [(&'static str, &'a str)];

fn about_refunds(family: &Fields<'_>, p: &str, t: &str, r: &str) -> Vec<Row> {
    let with = |name, value| [family, &[(name, value)]].concat();
    let named = |name| with(name, r);
    vec![
        hint("family, named by out_biz_no", &named("out_biz_no"), REFUND),
        hint(
            "family, named by out_request_no",
            &named("out_request_no"),
            REFUND,
        ),
        hint(
            "family, named by out_return_no",
            &named("out_return_no"),
            REFUND,
        ),
        hint(
            "family, named by partner_refund_id",
            &named("partner_refund_id"),
            REFUND,
        ),
        hint("family, without the refund's id", family, REFUND),
        hint(
            "family, a refund of the portal",
            &with("out_biz_no", "PORTAL1"),
            REFUND,
        ),
        hint(
            "family, another sum",
            &[
                ("out_trade_no", p),
                ("refund_fee", "39.25"),
                ("out_biz_no", r),
            ],
            REFUND,
        ),
        hint(
            "the shape of an answer, complete",
            &[
                ("notify_type", "refund_status_sync"),
                ("partner", PARTNER),
                ("partner_trans_id", p),
                ("partner_refund_id", r),
                ("alipay_trans_id", t),
                ("refund_amount", "10.00"),
                ("currency", "HKD"),
                ("refund_status", "SUCCESS"),
                ("result_code", "SUCCESS"),
            ],
            REFUND,
        ),
        hint("the refund's id alone", &[("out_biz_no", r)], REFUND),
        hint(
            "Alipay's id of the trade alone",
            &[("trade_no", t), ("refund_fee", "1.00")],
            REFUND,
        ),
        hint(
            "without a notify_id",
            &[&named("out_biz_no")[..], &[("notify_id", "")]].concat(),
            REFUND,
        ),
    ]
}

fn about_trades(p: &str) -> Vec<Row> {
    let about = |action| [("notify_action_type", action), ("out_trade_no", p)];
    vec![
        hint("a closed trade", &about("closeTradeAction"), BOTH),
        hint("a finished trade", &about("finishFPAction"), BOTH),
        hint(
            "a paid trade",
            &about("createDirectPayTradeByBuyerAction"),
            BOTH,
        ),
        hint(
            "a status alone",
            &[("out_trade_no", p), ("trade_status", "TRADE_CLOSED")],
            BOTH,
        ),
        hint("nothing but the payment", &[("out_trade_no", p)], BOTH),
        hint(
            "an unknown action and field",
            &[
                &about("brandNewAction")[..],
                &[("brand_new_field", "secret")],
            ]
            .concat(),
            BOTH,
        ),
    ]
}

fn in_charsets(family: &Fields<'_>, r: &str) -> Vec<Row> {
    let fields = [family, &[("out_biz_no", r), ("subject", "退款成功")]].concat();
    let labeled = |label, shape| Row {
        label,
        ..hint(shape, &fields, REFUND)
    };
    vec![
        labeled("UTF-8", "GBK under another label"),
        labeled("GBK", "GBK"),
        labeled("GB18030", "GB18030"),
        labeled("gb2312", "GB2312, in small letters"),
        labeled("utf8", "GBK under utf8 without a hyphen"),
        labeled("x-klingon", "an unknown label"),
    ]
}

fn enemies(family: &Fields<'_>, p: &str, r: &str) -> Vec<Row> {
    let named = |name| [family, &[(name, r)]].concat();
    vec![
        enemy(
            "a payment that is not ours",
            &[("out_trade_no", "NOBODYS")],
            |form| form,
        ),
        enemy(
            "a refund that is not ours, without a payment",
            &[("out_biz_no", "NOBODYS")],
            |form| form,
        ),
        enemy(
            "no name at all",
            &[("notify_type", "trade_status_sync")],
            |form| form,
        ),
        enemy(
            "another account",
            &[("out_trade_no", p), ("seller_id", "2088000000000002")],
            |form| form,
        ),
        enemy("changed after signing", &named("out_biz_no"), |form| {
            form.replace("10.00", "10.01")
        }),
        enemy("unsigned", &named("out_biz_no"), |form| {
            form.split("&sign=").next().unwrap_or_default().to_owned()
        }),
        enemy("another sign_type", &named("out_biz_no"), |form| {
            form.replace("sign_type=MD5", "sign_type=RSA")
        }),
        enemy("a field twice", &named("out_biz_no"), |form| {
            format!("refund_fee=10.01&{form}")
        }),
    ]
}
