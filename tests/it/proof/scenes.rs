//! Scenes: each is the smallest world in which one fault of `tests/mutants` shows. Here the oracle must find nothing in any of
//! them; `./dev mutants` plays them in a program that has the fault, and then it must.

use alipayhk_gateway::failpoint::Action;
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{
    driver::{
        Act, Ear, Order, PAST_THE_LEASE, act, create, next_visit, points, settle, unless_stopped,
        verdict, work,
    },
    races::hang_up,
};
use crate::support::{
    Options, World, all, eventually,
    http::{Answer, Caller, body},
    oracle::{Evidence, TOLD_APART, judge},
    refund_oracle::{RefundEvidence, judge_refunds},
    violation::Violation,
};

macro_rules! scenes {
    ($($name:ident),+ $(,)?) => {
        $(#[sqlx::test]
        async fn $name(pool: PgPool) {
            let violations = play(pool, stringify!($name)).await;
            assert!(violations.is_empty(), "{violations:#?}");
        })+
    };
}

scenes! {
    timeout_is_failure,
    not_found_is_failure,
    cancel_silence_is_success,
    no_grace,
    exhaustion_is_failure,
    late_pay,
    id_per_attempt,
    not_detached,
    call_before_intent,
    no_fence,
    doubled_transition,
    signature_ignored,
    id_ignored,
    amount_ignored,
    wrong_zone,
    late_batch_edge,
    refund_timeout_is_failure,
    refund_id_per_submit,
    acknowledged_early,
    notification_unverified,
    cancel_before_asking,
    inconclusive_is_not_done,
    final_while_canceling,
    old_version_shown,
    contradiction_dropped,
    denial_dropped,
    refusal_believed,
    absence_ignored,
    no_unique_reference,
    no_unique_key,
    no_guard,
    no_append_only,
    no_unique_follow_up,
}

/// A world and what its callers heard.
struct Scene {
    world: World,
    ear: Ear,
}

impl Scene {
    async fn set(pool: PgPool) -> Self {
        let options = Options {
            replicas: 2,
            ..Options::default()
        };
        Self {
            world: World::start_with(pool, options).await,
            ear: Ear::default(),
        }
    }

    /// A payment taken at replica 0, as far as that gets.
    async fn pay(&mut self, code: &str) -> Option<Answer> {
        let mut request = body(code);
        request["cancel_after_seconds"] = json!(15);
        let answer = create(&self.world, 0, code, &request, 0).await;
        self.world.quiet_down().await;
        if let Some(answer) = &answer {
            self.ear.create(0, code, true, answer);
        }
        answer
    }

    /// What Alipay does wrong next.
    async fn script(&self, service: &str, fault: &str) {
        self.world
            .simulator
            .script(service, 1, json!({"type": fault}))
            .await;
    }

    async fn cancel(&self, payment: &Answer) {
        let path = format!("/v1/payments/{}/cancel", payment.id());
        let till = self.world.till_at(1);
        let request = till.request(reqwest::Method::POST, &path);
        Caller::send(request.header("prefer", "wait=0")).await;
        self.world.quiet_down().await;
    }

    /// A payment taken at replica 0, as its caller knows it.
    async fn order(&mut self, code: &str) -> Order {
        let payment = self.pay(code).await.expect("an answer");
        Order {
            key: code.to_owned(),
            request: json!({"merchant_reference": payment.body["merchant_reference"]}),
        }
    }

    /// Something asked of replica 0 about an order, whose answer the oracle hears.
    async fn hear(&mut self, order: &Order, asked: Act) {
        act(&self.world, &mut self.ear, 0, 0, order, asked).await;
        self.world.quiet_down().await;
    }

    /// A payment at replica 0, and a refund of a part of it.
    async fn give_back(&mut self, mode: &'static str) {
        let batch = json!({"same_day_immediate": false, "in_window": "next_night"});
        self.world.simulator.set_refund_policy(&batch).await;
        let order = self.order("0001").await;
        self.hear(&order, Act::Refund(mode, 0)).await;
    }

    /// Time passes, and replica 0 looks at what is due.
    async fn visit_after(&mut self, by: TimeDelta) {
        self.world.advance(by).await;
        work(&self.world, 0).await;
    }

    /// What the oracle says once everything has had its time.
    async fn end(mut self) -> Vec<Violation> {
        settle(&mut self.world).await;
        let violations = verdict(&self.world, &self.ear).await;
        self.world.end_without_checks().await;
        violations
    }

    /// What the oracle says now.
    async fn end_at_once(mut self) -> Vec<Violation> {
        for replica in 0..self.world.replicas.len() {
            if points(&self.world, replica).is_stopped() {
                self.world.replace(replica).await;
            }
        }
        let mut violations = judge(&Evidence::of(&self.world, &self.ear.0, false).await);
        violations.extend(judge_refunds(&RefundEvidence::of(&self.world, false).await));
        self.world.end_without_checks().await;
        violations
    }
}

/// The smallest world in which a fault must show.
async fn play(pool: PgPool, name: &str) -> Vec<Violation> {
    let mut scene = Scene::set(pool).await;
    match name {
        // Paid, and nobody heard.
        "timeout_is_failure" | "id_per_attempt" => {
            scene.pay("2003").await;
        }
        "not_found_is_failure" => {
            scene.pay("2003").await;
            scene.script("query", "not_exist").await;
            scene.visit_after(TimeDelta::seconds(5)).await;
        }
        "cancel_silence_is_success" => return unheard_cancel(scene).await,
        "no_grace" => {
            let payment = scene.pay("2004").await.expect("an answer");
            scene.cancel(&payment).await;
        }
        "exhaustion_is_failure" => {
            scene.pay("2003").await;
            // The last visit asks, and is not told.
            scene.script("query", "not_exist").await;
            scene.visit_after(TimeDelta::days(7)).await;
        }
        "late_pay" => return held_before_its_call(scene).await,
        "not_detached" => return hung_up(scene).await,
        "call_before_intent" => {
            points(&scene.world, 0).arm("db.intent.before", 0, Action::Crash);
            scene.pay("0001").await;
        }
        "no_fence" => return lease_lost_under_way(scene).await,
        "doubled_transition" => {
            scene.pay("0102").await;
            scene.visit_after(TimeDelta::seconds(5)).await;
            scene.visit_after(TimeDelta::seconds(3)).await;
        }
        "signature_ignored" => {
            for code in ["3001", "3007", "3010"] {
                scene.pay(code).await;
            }
        }
        "id_ignored" => {
            scene.pay("3002").await;
        }
        "amount_ignored" => {
            scene.pay("3003").await;
            scene.pay("3011").await;
        }
        "wrong_zone" => {
            scene.pay("0001").await;
        }
        "late_batch_edge" => {
            // 23:00 of Hong Kong sharp.
            let opening = "2026-03-09T15:00:00Z".parse().expect("a time");
            scene.world.set_clock(opening).await;
            scene.give_back("async").await;
            return scene.end_at_once().await;
        }
        "refund_timeout_is_failure" => {
            scene.script("refund", "drop_after_effect").await;
            scene.give_back("sync").await;
        }
        "refund_id_per_submit" => {
            scene.script("refund", "drop_before_effect").await;
            scene.give_back("sync").await;
        }
        "acknowledged_early" => return acknowledged(scene, None).await,
        "notification_unverified" => return acknowledged(scene, Some("forged_signature")).await,
        "cancel_before_asking" => {
            // Paid, unheard, and the first visit comes when the buyer's time is long over.
            scene.pay("2003").await;
            scene.visit_after(TimeDelta::seconds(62)).await;
        }
        "inconclusive_is_not_done" => return canceled_late(scene).await,
        "final_while_canceling" => {
            let order = scene.order("0001").await;
            scene.script("cancel", "system_error_before_effect").await;
            scene.hear(&order, Act::Cancel(0)).await;
            scene.hear(&order, Act::Read).await;
        }
        "contradiction_dropped" | "denial_dropped" | "refusal_believed" | "absence_ignored" => {
            refund_against_the_books(&mut scene, name).await;
        }
        "old_version_shown" => return overtaken_refresh(scene).await,
        _ => return play_in_the_schema(scene, name).await,
    }
    scene.end().await
}

/// What Alipay says of a refund, or in refusing it, against the books.
async fn refund_against_the_books(scene: &mut Scene, name: &str) {
    let order = scene.order("0001").await;
    let simulator = &scene.world.simulator;
    simulator.refund_on_the_same_day().await;
    let lie = json!({
        "type": "result_after_effect", "code": "FAIL", "error": "REASON_TRADE_BEEN_FREEZEN"
    });
    match name {
        // Closed at Alipay after it was paid; only a refused refund tells.
        "denial_dropped" => {
            let trade = simulator.trades().await;
            let trade = trade[0]["partner_trans_id"].as_str().expect("an id");
            simulator.close_paid(trade, true).await;
            scene.world.advance(TimeDelta::seconds(1)).await;
        }
        // Called done, and never done.
        "absence_ignored" => simulator.script_late("refund", 1, "success", None).await,
        // Refused, and done all the same.
        _ => simulator.script("refund", 1, lie).await,
    }
    // Of an asynchronous refund a notification tells as well.
    let mode = if name == "contradiction_dropped" {
        "async"
    } else {
        "sync"
    };
    scene.hear(&order, Act::Refund(mode, 0)).await;
    scene.world.advance(TimeDelta::seconds(1)).await;
    if name == "absence_ignored" {
        scene.hear(&order, Act::RefreshRefund).await;
    }
}

/// The same for a fault of the schema.
async fn play_in_the_schema(scene: Scene, name: &str) -> Vec<Violation> {
    match name {
        "no_unique_reference" => rivals_for_a_reference(scene).await,
        "no_unique_key" => rivals_for_a_key(scene).await,
        "no_guard" => {
            let rogue = "update payment
                set status = 'processing', status_reason = 'outcome_unknown', finalized_at = null";
            tampered(scene, rogue).await
        }
        "no_append_only" => {
            tampered(scene, "delete from payment_transition where event = 'paid'").await
        }
        "no_unique_follow_up" => {
            let rogue =
                "insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, gen_random_uuid(), kind, subject_id, due_at from follow_up";
            tampered(scene, rogue).await
        }
        _ => panic!("no such scene: {name}"),
    }
}

/// A cancel of ours that Alipay answers UNKNOWN and performs 8 s later; meanwhile the buyer pays.
async fn canceled_late(mut scene: Scene) -> Vec<Violation> {
    let payment = scene.pay("0102").await.expect("an answer");
    let simulator = &scene.world.simulator;
    simulator.script_late("cancel", 1, "unknown", Some(8)).await;
    while scene.world.simulator.count("cancel").await == 0 {
        scene.visit_after(TimeDelta::seconds(1)).await;
    }
    let id = payment.body["partner_trans_id"].as_str().expect("an id");
    scene.world.simulator.confirm(id).await;
    for _ in 0..6 {
        scene.visit_after(TimeDelta::seconds(1)).await;
    }
    scene.end().await
}

/// A refresh that learns nothing, and is answered after the payment was canceled meanwhile.
async fn overtaken_refresh(mut scene: Scene) -> Vec<Violation> {
    let order = scene.order("0102").await;
    // The first question brings the wallet, which is news.
    scene.hear(&order, Act::Refresh).await;
    scene.script("query", "hold").await;
    let (mut ear, mut rival) = (Ear::default(), Ear::default());
    let world = &scene.world;
    let refresh = act(world, &mut ear, 0, 1, &order, Act::Refresh);
    let cancel = async {
        world.until_received("query", 2).await;
        act(world, &mut rival, 0, 2, &order, Act::Cancel(20)).await;
        // The oracle tells two answers apart by when they were heard.
        tokio::time::sleep(2 * TOLD_APART).await;
        world.simulator.release().await;
    };
    tokio::join!(refresh, cancel);
    scene.ear.0.extend(rival.0);
    scene.ear.0.extend(ear.0);
    scene.end().await
}

/// A notification of a refund that waits for its batch: a forged one, or a genuine one that comes to a replica which
/// stops before it has noted it.
async fn acknowledged(mut scene: Scene, lie: Option<&str>) -> Vec<Violation> {
    scene.world.simulator.refund_on_the_same_day().await;
    scene.give_back("async").await;
    let refunds = scene.world.simulator.refunds().await;
    let id = refunds[0]["partner_refund_id"].as_str().expect("an id");
    if let Some(lie) = lie {
        scene.world.simulator.script_notification(1, lie).await;
    } else {
        points(&scene.world, 0).arm("db.note.before", 0, Action::Crash);
    }
    unless_stopped(&scene.world, 0, scene.world.simulator.announce_refund(id)).await;
    scene.end_at_once().await
}

/// A cancel whose answer never came, and a buyer who confirms after all.
async fn unheard_cancel(mut scene: Scene) -> Vec<Violation> {
    let payment = scene.pay("0102").await.expect("an answer");
    scene.script("cancel", "drop_before_effect").await;
    scene.cancel(&payment).await;
    let id = payment.body["partner_trans_id"].as_str().expect("an id");
    scene.world.simulator.confirm(id).await;
    scene.end().await
}

/// A replica that stands still before it sends, while the other one gives the payment up.
async fn held_before_its_call(mut scene: Scene) -> Vec<Violation> {
    points(&scene.world, 0).arm("pay.replied", 0, Action::Pause);
    scene.pay("0001").await;
    let until = scene.world.now() + TimeDelta::seconds(250);
    while let Some(next) = next_visit(&scene.world).await {
        if next > until {
            break;
        }
        if next > scene.world.now() {
            scene.world.set_clock(next).await;
        }
        work(&scene.world, 1).await;
    }
    points(&scene.world, 0).resume();
    scene.world.quiet_down().await;
    scene.end().await
}

/// A client that resets its connection while Alipay is being asked.
async fn hung_up(scene: Scene) -> Vec<Violation> {
    scene.script("pay", "hold").await;
    let world = &scene.world;
    let client = hang_up(world, 0, "gone", &body("0001")).await;
    world.until_received("pay", 1).await;
    client.reset();
    // By the time it has answered another, the replica has noticed.
    for _ in 0..3 {
        let answer = world.till_at(0).get("/v1/payments").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    world.simulator.release().await;
    world.quiet_down().await;
    scene.end().await
}

/// A worker whose lease runs out with the answer in hand, while another one, which Alipay tells
/// nothing, begins a cancel that stays unanswered.
async fn lease_lost_under_way(mut scene: Scene) -> Vec<Violation> {
    scene.pay("2003").await;
    points(&scene.world, 0).arm("ask.answered", 0, Action::Pause);
    scene.visit_after(TimeDelta::seconds(5)).await;
    assert!(points(&scene.world, 0).is_stopped(), "held with its answer");
    scene.world.advance(PAST_THE_LEASE).await;
    let silent = json!({"type": "system_error_before_effect"});
    scene.world.simulator.script("query", 10, silent).await;
    scene.script("cancel", "drop_before_effect").await;
    while scene.world.simulator.count("cancel").await == 0 {
        let next = next_visit(&scene.world)
            .await
            .expect("still to be asked about");
        if next > scene.world.now() {
            scene.world.set_clock(next).await;
        }
        work(&scene.world, 1).await;
    }
    points(&scene.world, 0).resume();
    scene.world.quiet_down().await;
    scene.end().await
}

/// Sends each request under its key at a replica of its own, so that both are inserted before either
/// is committed: both wait for the store's row, which the test holds.
async fn insert_together(scene: &Scene, requests: &[(&str, Value)]) -> Vec<Answer> {
    const MEET_AT_THE_STORE: &str = "
        create function meet_at_the_store() returns trigger
            language plpgsql security definer
            as $$ begin perform from store for key share; return new; end $$;
        create trigger meet_at_the_store before insert on payment
            for each row execute function meet_at_the_store()";
    let world = &scene.world;
    sqlx::raw_sql(MEET_AT_THE_STORE)
        .execute(&world.pool)
        .await
        .expect("a trigger");
    let mut hold = world.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("select from store for update")
        .execute(&mut *hold)
        .await
        .expect("the store's row is free");
    let calls = all(requests
        .iter()
        .enumerate()
        .map(|(replica, (key, request))| async move {
            let call = create(world, replica, key, request, 5);
            call.await.expect("no replica stops")
        }));
    let release = async {
        eventually("both wait", async || {
            let waiting = "select count(*) from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock'";
            world.count_rows(waiting).await == 2
        })
        .await;
        hold.rollback().await.expect("the row is free again");
    };
    tokio::join!(calls, release).0
}

/// Two keys for one order at once.
async fn rivals_for_a_reference(mut scene: Scene) -> Vec<Violation> {
    let first = body("0001");
    let mut second = body("0001");
    second["merchant_reference"] = first["merchant_reference"].clone();
    let requests = [("one", first), ("other", second)];
    let answers = insert_together(&scene, &requests).await;
    for (caller, answer) in answers.iter().enumerate() {
        scene.ear.create(caller, requests[caller].0, true, answer);
    }
    scene.end().await
}

/// Two orders under one key at once.
async fn rivals_for_a_key(mut scene: Scene) -> Vec<Violation> {
    let requests = [("key", body("0001")), ("key", body("0001"))];
    let answers = insert_together(&scene, &requests).await;
    let mut taken = false;
    for (caller, answer) in answers.iter().enumerate() {
        let first = answer.status < 300 && !taken;
        taken |= first;
        scene.ear.create(caller, "key", first, answer);
    }
    assert!(taken, "one of them is taken: {answers:?}");
    scene.end().await
}

/// Somebody writes what a guard of the schema is there to refuse.
async fn tampered(mut scene: Scene, rogue: &'static str) -> Vec<Violation> {
    scene.pay("0001").await;
    scene.pay("2003").await;
    let written = sqlx::raw_sql(rogue).execute(&scene.world.pool).await;
    let refused = written.err().and_then(|error| {
        let code = error.as_database_error()?.code()?;
        Some(code.into_owned())
    });
    // 42: there is no such table or column any more.
    assert!(
        refused
            .as_deref()
            .is_none_or(|code| !code.starts_with("42")),
        "the guard alone stands in the way: {refused:?}"
    );
    scene.end_at_once().await
}
