//! The import of a daily file, killed at every point: the program ends at once, as by `kill -9`, and the
//! same file again ends as it does for one that nothing befell (C1, R23).

use std::collections::BTreeMap;

use chrono::{NaiveDate, TimeDelta};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::driver::publish;
use crate::{
    reconciliation::Desk,
    support::{
        PARTNER,
        http::body,
        program::{Stage, gateway_command},
    },
};

/// More rows than one statement loads, so that a file may be half in.
const STRANGERS: usize = 5_100;
/// Where the program ends, and at which hit.
const POINTS: [&str; 10] = [
    "import.begun",
    "import.file_begun",
    "import.rows_added:1",
    "import.rows_added:2",
    "import.file_ended",
    "record.written",
    "import.settled:1",
    "import.settled:2",
    "import.compared",
    "import.completed",
];

/// How a run ended: its status, which a killed program has none of, and what it said.
struct Run {
    status: Option<i32>,
    said: String,
}

/// Reconciles a file by the command, which ends at a point where one is named.
async fn run(stage: &Stage, point: Option<&str>, file: &str) -> Run {
    let mut settings = stage.settings();
    settings.extend(point.map(|point| ("FAILPOINT".to_owned(), point.to_owned())));
    let output = gateway_command(&["reconcile", "--json", file], &settings)
        .output()
        .await
        .expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Run {
        status: output.status.code(),
        said: text(output.stdout) + &text(output.stderr),
    }
}

/// What one file made of the books: its differences, totals, rows and what it settled, without the ids.
async fn effects(stage: &Stage, day: &str) -> Vec<String> {
    let sql = "
        with file as (select * from statement_file where day = to_date($1, 'YYYYMMDD'))
        select what from (
            select 'file ' || concat_ws(' ', imported_at is not null, superseded_at is null)
                as what from file
            union all
            select 'comparison ' || (completed_at is not null)::text
            from reconciliation join reconciliation_file using (partner, reconciliation_id)
            join file using (partner, file_id)
            union all
            select concat_ws(' ', 'row', r.line, r.row_type, r.amount_minor,
                r.payment_id is not null, r.refund_id is not null)
            from statement_row as r join file using (partner, file_id)
            union all
            select concat_ws(' ', 'difference', d.line, d.class, d.amount_minor, d.expected, d.found)
            from reconciliation_difference as d join file using (partner, file_id)
            union all
            select concat_ws(' ', 'total', t.wallet, t.row_count, t.amount_minor, t.net_minor,
                t.expected_net_minor)
            from reconciliation_total as t join file using (partner, file_id)
            union all
            select concat_ws(' ', 'payment', t.statement_line, t.event, t.from_status, t.to_status)
            from payment_transition as t join file on file.file_id = t.statement_file_id
            union all
            select concat_ws(' ', 'refund', t.statement_line, t.event, t.from_status, t.to_status)
            from refund_transition as t join file on file.file_id = t.statement_file_id
        ) as effects order by what";
    sqlx::query_scalar(sql)
        .bind(day)
        .fetch_all(&stage.pool)
        .await
        .expect("the database answers")
}

/// A file of a day: a payment of which nothing was heard, a refund from the portal, and strangers.
fn file_of(date: NaiveDate, number: usize, open: &Value, paid: &Value) -> String {
    let row = |id: &str, alipay: &str, amount: &str, kind: &str| {
        format!(
            "{id}|{alipay}|{amount}|0.00|HKD|{date} 12:00:00|{kind}||5812|M|SM001|B||HKD|{amount}|1|ALIPAYHK\n"
        )
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut file = format!(
        "Partner:{PARTNER}|Payment_time: {date}|Total_count:{}\n\
         Partner_transaction_id|Transaction_id|Transaction_amount|Charge_amount|Currency|Payment_time|Transaction_type|Remark|Secondary_merchant_industry|Secondary_merchant_name|Secondary_merchant_id|Operator_name|Order_scene|Trans_currency|Trans_amount|Trans_forex_rate|Issue\n",
        STRANGERS + 2,
    );
    let (ours, alipays) = (text(&open["partner_trans_id"]), format!("ALI{number}"));
    file += &row(&ours, &alipays, "39.25", "PAYMENT");
    let (portals, alipays) = (format!("PORTAL-{number}"), text(&paid["alipay_trans_id"]));
    file += &row(&portals, &alipays, "1.00", "REFUND");
    for stranger in 0..STRANGERS {
        file += &row(&format!("X{number}-{stranger}"), "", "1.00", "PAYMENT");
    }
    file
}

/// C1, R23: the program ends at once, as by `kill -9`, at every point of an import; the same file again
/// ends as it does for one that nothing befell, and settles each order once.
#[sqlx::test]
async fn c1_r23_an_import_that_is_killed_at_any_point_is_continued_to_the_same_end(pool: PgPool) {
    let stage = Stage::set(pool).await;
    // Nobody asks before the file says it.
    let late = [("FOLLOW_UP_FIRST_QUERY_MS", "600000")];
    let program = stage.gateway(&late).await;
    let till = stage.till(&program);
    let mut sales = vec![];
    for _ in 0..=POINTS.len() {
        let open = till.pay_without_waiting("2003").await;
        let paid = till
            .create(&uuid::Uuid::now_v7().to_string(), &body("0001"), 20)
            .await;
        assert_eq!(paid.summary("status"), (201, "succeeded"));
        assert_eq!(open.status, 202, "{open:?}");
        sales.push((open.body, paid.body));
    }
    program.stop().await;
    let desk = Desk::new();
    let first: NaiveDate = sales[0].1["business_date"]
        .as_str()
        .and_then(|day| day.parse().ok())
        .expect("a day");
    let mut undisturbed = vec![];
    let mut hits = BTreeMap::new();
    for (number, (open, paid)) in sales.iter().enumerate() {
        // A day for each: what another file says is not in question.
        let date = first + TimeDelta::days(i64::try_from(number).expect("few") + 1);
        let day = date.format("%Y%m%d").to_string();
        let file = file_of(date, number, open, paid);
        desk.put("transaction", &day, file.as_bytes());
        let path = desk.path(&format!("{PARTNER}_transaction_{day}.txt"));
        let path = path.to_str().expect("text");
        let point = number.checked_sub(1).map(|at| POINTS[at]);
        if let Some(point) = point {
            let killed = run(&stage, Some(point), path).await;
            assert_eq!(killed.status, None, "{point}: {}", killed.said);
        }
        let done = run(&stage, None, path).await;
        assert_eq!(done.status, Some(2), "{point:?}: {}", done.said);
        let effects = effects(&stage, &day).await;
        let count = |start: &str| effects.iter().filter(|it| it.starts_with(start)).count();
        assert_eq!(count("row "), STRANGERS + 2, "{point:?}");
        // The payment is paid; the other one's portal refund is an event of its payment too.
        let settled: Vec<_> = effects
            .iter()
            .filter(|it| it.starts_with("payment ") || it.starts_with("refund "))
            .collect();
        assert_eq!(settled.len(), 3, "{point:?}: {settled:?}");
        if point.is_none() {
            undisturbed = effects;
        } else {
            let differs: Vec<_> = effects
                .iter()
                .zip(&undisturbed)
                .filter(|(a, b)| a != b)
                .collect();
            assert_eq!(
                (effects.len(), differs),
                (undisturbed.len(), vec![]),
                "{point:?}"
            );
        }
        if let Some(point) = point {
            *hits
                .entry(point.split(':').next().unwrap_or(point))
                .or_insert(0_u64) += 1;
        }
    }
    let cases = POINTS.len();
    publish(
        "crash-points-import",
        &json!({"cases": cases, "hits": hits, "violations": 0}),
    );
    stage.close().await;
}
