//! The simulator's table of payments is true: every line is taken through the gateway and must show
//! what the table's third column says. Also the acceptance cases of Alipay that no other module has.

use std::{collections::BTreeSet, time::Duration};

use alipayhk_gateway::domain::payments::plan::Plan;
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Options, World, all, http::body};

/// What a line of the table promises.
#[derive(Debug)]
enum Shown {
    Paid { wallet: String },
    Failed { code: String, retry: String },
    Open { reason: String, end: End },
}

/// How an open payment ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// By itself, with this `status` and `status_reason`.
    Settled {
        status: String,
        reason: Option<String>,
    },
    /// Not before a person has mended the account: the `next_action` of the till.
    Next(String),
}

impl Shown {
    /// Reads the third column. Any wording it does not know is an error: what cannot be read cannot
    /// be held to be true.
    fn read(cell: &str) -> Self {
        let parts: Vec<&str> = cell.split('`').collect();
        let open = |reason: &str, status: &str, why: Option<&str>| Self::Open {
            reason: reason.to_owned(),
            end: End::Settled {
                status: status.to_owned(),
                reason: why.map(str::to_owned),
            },
        };
        match parts.as_slice() {
            ["", "201 succeeded", ", wallet ", wallet, ""] => Self::Paid {
                wallet: (*wallet).to_owned(),
            },
            ["", "201 failed", ", ", code, ", retry ", retry, ""] => Self::Failed {
                code: (*code).to_owned(),
                retry: (*retry).to_owned(),
            },
            [
                "",
                "202 processing",
                " / ",
                reason,
                ", then ",
                "succeeded",
                "",
            ] => open(reason, "succeeded", None),
            [
                "",
                "202 processing",
                " / ",
                reason,
                ", then ",
                "canceled",
                " / ",
                why,
                "",
            ] => open(reason, "canceled", Some(why)),
            [
                "",
                "202 processing",
                " / ",
                reason,
                ", then ",
                "next_action",
                " ",
                action,
                "",
            ] => Self::Open {
                reason: (*reason).to_owned(),
                end: End::Next((*action).to_owned()),
            },
            _ => panic!("the table says what no test can check: {cell:?}"),
        }
    }

    /// For how many seconds the caller waits: until the end where there is one to wait for.
    fn wait(&self) -> u32 {
        match self {
            Self::Paid { .. } | Self::Failed { .. } => 20,
            Self::Open { .. } => 1,
        }
    }
}

/// The table as the program prints it: each ending and what is shown for it. The endings of the table
/// of refunds stand for payments that are paid at once.
fn table() -> Vec<(String, Shown)> {
    let text = alipay_simulator::scenarios();
    let (payments, refunds) = text.split_once("\n\n").expect("two tables");
    let mut lines = payments.lines();
    assert_eq!(
        lines.next(),
        Some("| code ends in | what happens | what the gateway shows |")
    );
    assert_eq!(lines.next(), Some("|---|---|---|"));
    // A code that chooses how refunds go chooses nothing for the payment.
    let endings = refunds
        .lines()
        .skip(2)
        .filter_map(|line| line.split(' ').nth(1));
    let endings: BTreeSet<&str> = endings.filter(|ending| *ending != "any").collect();
    assert!(endings.len() > 10, "{endings:?}");
    let paid = endings.into_iter().map(|ending| {
        let wallet = "ALIPAYHK".to_owned();
        (ending.to_owned(), Shown::Paid { wallet })
    });
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["", ending, what, shown, ""] = cells.as_slice() else {
                panic!("not a line of the table: {line}");
            };
            assert!(!what.is_empty(), "{line}");
            let ending = if *ending == "any other" {
                "9999"
            } else {
                ending
            };
            (ending.to_owned(), Shown::read(shown))
        })
        .chain(paid)
        .collect()
}

/// One scenario under way.
struct Sale {
    ending: String,
    id: String,
    end: End,
}

/// The first answer is as promised; an open payment is handed on.
fn first_answer(ending: String, shown: Shown, status: u16, payment: &Value) -> Option<Sale> {
    match shown {
        Shown::Paid { wallet } => {
            assert_eq!(
                (status, &payment["status"]),
                (201, &json!("succeeded")),
                "{ending}: {payment}"
            );
            assert_eq!(payment["wallet"], json!(wallet), "{ending}");
            None
        }
        Shown::Failed { code, retry } => {
            assert_eq!(
                (status, &payment["status"]),
                (201, &json!("failed")),
                "{ending}: {payment}"
            );
            assert_eq!(payment["failure"]["code"], json!(code), "{ending}");
            assert_eq!(payment["failure"]["retry"], json!(retry), "{ending}");
            let message = payment["failure"]["message"].as_str().unwrap_or_default();
            assert!(
                message.len() > 20,
                "{ending}: advice for the till: {payment}"
            );
            None
        }
        Shown::Open { reason, end } => {
            assert_eq!(
                (status, &payment["status"]),
                (202, &json!("processing")),
                "{ending}: {payment}"
            );
            assert_eq!(
                payment["status_reason"],
                json!(reason),
                "{ending}: {payment}"
            );
            let id = payment["id"].as_str().expect("an id").to_owned();
            Some(Sale { ending, id, end })
        }
    }
}

/// The payment once the call for it was answered, where the line says that it is: a slow machine
/// may have answered the caller before.
async fn answered(world: &World, shown: &Shown, payment: Value) -> Value {
    let answered_at_once = match shown {
        Shown::Open { reason, .. } => reason != "submitting",
        Shown::Paid { .. } | Shown::Failed { .. } => false,
    };
    if !answered_at_once || payment["status_reason"] != "submitting" {
        return payment;
    }
    let id = payment["id"].as_str().expect("an id");
    let answer = world.till.get(&format!("/v1/payments/{id}?wait=30")).await;
    answer.body
}

/// Every line of the table, in one world. M2, M6 and M7 over the whole ledger are checked at the
/// end, as in every test.
#[sqlx::test]
async fn every_line_of_the_scenario_table_is_true(pool: PgPool) {
    let options = Options {
        // Longer than the callers wait, shorter than the slow answer.
        pay_timeout: Duration::from_secs(4),
        // Half of the table waits for its cancel; each query on the way costs two signatures.
        plan: Plan {
            query_interval: Duration::from_secs(15),
            ..Plan::default()
        },
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let table = table();
    assert!(table.len() > 90, "{} lines", table.len());
    let mut open = vec![];
    let mut table = table.into_iter().peekable();
    while table.peek().is_some() {
        let batch: Vec<_> = table.by_ref().take(24).collect();
        let requests: Vec<_> = batch.iter().map(|(ending, _)| body(ending)).collect();
        let calls = batch
            .iter()
            .zip(&requests)
            .map(|((ending, shown), request)| world.till.create(ending, request, shown.wait()));
        let answers = all(calls).await;
        for ((ending, shown), answer) in batch.into_iter().zip(answers) {
            let payment = answered(&world, &shown, answer.body).await;
            open.extend(first_answer(ending, shown, answer.status, &payment));
        }
    }
    assert!(open.len() > 20, "{} lines are open at first", open.len());
    mend_the_account(&mut world, &mut open).await;
    while world.run_next().await {}
    for Sale { ending, id, end } in open {
        let payment = world.till.payment(&id).await;
        let end_of = |name: &str| payment[name].as_str().map(str::to_owned);
        let ended = End::Settled {
            status: end_of("status").unwrap_or_default(),
            reason: end_of("status_reason"),
        };
        assert_eq!(ended, end, "{ending}: {payment}");
        assert_eq!(payment["outcome_certainty"], "final", "{ending}");
    }
    let settled_after = world.now() - crate::support::start_of_test();
    assert!(settled_after < TimeDelta::minutes(5), "{settled_after}");
    world.finish().await;
}

/// What Alipay refuses at the door needs a person from the first question on, and is settled once the account is
/// let in: nothing had been created.
async fn mend_the_account(world: &mut World, open: &mut [Sale]) {
    world.advance(TimeDelta::seconds(5)).await;
    world.run_due().await;
    let mut refused = 0;
    for Sale { ending, id, end } in open {
        let End::Next(action) = end else {
            continue;
        };
        refused += 1;
        let payment = world.till.payment(id).await;
        assert_eq!(payment["next_action"]["type"], json!(action), "{ending}");
        assert_eq!(payment["status"], "processing", "{ending}: {payment}");
        *end = End::Settled {
            status: "canceled".to_owned(),
            reason: Some("never_created".to_owned()),
        };
    }
    assert!(refused > 15, "{refused} lines are refused at the door");
    world.simulator.refuse_access(None).await;
}

/// HK-14: Alipay gets the secondary merchant and the store with every payment, as it must.
#[sqlx::test]
async fn iv_1_hk_14_a_direct_payment_carries_store_and_secondary_merchant(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    assert_eq!(paid.summary("status"), (201, "succeeded"));
    assert_eq!(world.pay("1016").await.summary("status"), (201, "failed"));
    assert_eq!(world.till.pay_without_waiting("0102").await.status, 202);
    world.settle_calls().await;
    let requests = world.simulator.requests().await;
    let pays: Vec<_> = requests.iter().filter(|r| r["service"] == "pay").collect();
    assert_eq!(pays.len(), 3);
    for pay in pays {
        assert_eq!(pay["signature_ok"], true);
        let info = pay["params"]["extend_info"].as_str().expect("a text");
        let info: Value = serde_json::from_str(info).expect("JSON");
        for (name, value) in [
            ("secondary_merchant_id", "SM001"),
            ("secondary_merchant_name", "Demo Cafe Ltd"),
            ("secondary_merchant_industry", "5812"),
            ("store_id", "ST01"),
            ("store_name", "Demo Cafe Central"),
            ("terminal_id", "T1"),
        ] {
            assert_eq!(info[name], value, "{name}: {info}");
        }
    }
    let trade = &world.simulator.trades().await[0];
    assert_eq!(trade["status"], "TRADE_SUCCESS");
    assert_eq!(trade["alipay_trans_id"], paid.body["alipay_trans_id"]);
    world.finish().await;
}

/// The request takes effect at Alipay, its answer never comes: one query tells the truth.
#[sqlx::test]
async fn iv_6_a_pay_that_times_out_is_settled_by_query(pool: PgPool) {
    let options = Options {
        pay_timeout: Duration::from_millis(300),
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    world
        .simulator
        .script("pay", 1, json!({"type": "hold"}))
        .await;
    let pending = world.pay_until_open("0001").await;
    assert_eq!(pending["status_reason"], "outcome_unknown");
    assert_eq!(pending["outcome_certainty"], "unknown");
    assert_eq!(pending["next_action"]["type"], "wait");
    let id = pending["id"].as_str().expect("an id");
    let timeline = world.till.timeline(id).await;
    let attempt = timeline.iter().find(|item| item["type"] == "attempt");
    assert_eq!(
        attempt.expect("the pay")["answer"],
        "timed_out",
        "{timeline:?}"
    );
    let paid = world.run_until_final(id, TimeDelta::seconds(10)).await;
    assert_eq!(paid["status"], "succeeded");
    assert_eq!(
        world.simulator.count("pay").await,
        1,
        "a pay is never repeated"
    );
    assert_eq!(world.simulator.count("cancel").await, 0);
    // Too late for anyone to hear.
    world.simulator.release().await;
    assert_eq!(world.till.payment(id).await, paid);
    world.finish().await;
}

/// A cancel is answered SUCCESS whether there was no trade, an unpaid one or a paid one; the three
/// are told apart.
#[sqlx::test]
async fn hk_6_the_three_meanings_of_a_canceled_trade_are_told_apart(pool: PgPool) {
    let mut world = World::start(pool).await;
    // Every query stays silent, so that the cancel alone tells.
    world
        .simulator
        .script(
            "query",
            10_000,
            json!({"type": "system_error_before_effect"}),
        )
        .await;
    let mut sales = vec![];
    for (code, reason, money_returned, trade) in [
        ("2004", "never_created", false, None),
        ("0102", "buyer_did_not_confirm", false, Some(false)),
        ("2002", "buyer_did_not_confirm", true, Some(true)),
    ] {
        let open = world.pay_until_open(code).await;
        sales.push((open, reason, money_returned, trade));
    }
    while world.run_next().await {}
    let trades = world.simulator.trades().await;
    for (open, reason, money_returned, charged) in sales {
        let id = open["id"].as_str().expect("an id");
        let end = world.till.payment(id).await;
        assert_eq!(end["status"], "canceled", "{end}");
        assert_eq!(end["status_reason"], reason, "{end}");
        assert_eq!(end["money_returned"], money_returned, "{end}");
        let trade = trades
            .iter()
            .find(|trade| trade["partner_trans_id"] == open["partner_trans_id"]);
        assert_eq!(
            trade.map(|trade| trade["charged"] == true),
            charged,
            "{trade:?}"
        );
        if let Some(trade) = trade {
            assert_eq!(trade["status"], "TRADE_CLOSED");
        }
    }
    world.finish().await;
}
