//! Daily files that are cut, short, spoilt, somebody else's, or brought twice at once: what they prove of
//! our orders, and what their senders are told.

use std::time::Duration;

use alipayhk_gateway::domain::access::principal::Scope;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    reconciliation::{upload, upload_all},
    support::{
        PARTNER, World, eventually,
        http::{Answer, Caller},
    },
};

/// A file of the day, the operator that brings it, and the payments in it.
struct Day {
    world: World,
    operator: Caller,
    name: String,
    text: String,
}

impl Day {
    /// A day of payments whose answers were lost, so that the file alone can settle them.
    async fn of(pool: PgPool, payments: usize) -> (Self, Vec<String>) {
        let world = World::start(pool).await;
        let mut ids = vec![];
        for _ in 0..payments {
            ids.push(world.pay_unheard().await.id().to_owned());
        }
        let day = (world.now() + chrono::TimeDelta::hours(8))
            .format("%Y%m%d")
            .to_string();
        let bytes = world.simulator.daily_file("transaction", &day).await;
        let text = String::from_utf8(bytes.unwrap_or_default()).expect("UTF-8");
        let operator = world.overseer(&[Scope::Reconciliation]).await;
        let name = format!("{PARTNER}_transaction_{day}.txt");
        let day = Self {
            world,
            operator,
            name,
            text,
        };
        (day, ids)
    }

    async fn bring(&self, bytes: impl AsRef<[u8]>) -> Answer {
        upload(&self.operator, &self.name, bytes.as_ref(), false).await
    }

    async fn status(&self, id: &str) -> Value {
        self.world.till.payment(id).await["status"].clone()
    }

    /// How many of these are not settled.
    async fn open(&self, ids: &[String]) -> usize {
        let mut open = 0;
        for id in ids {
            open += usize::from(self.status(id).await != "succeeded");
        }
        open
    }

    async fn classes(&self, made: &Answer) -> Vec<(Value, Value)> {
        let path = format!("{}/differences", made.header("location"));
        let list = self.operator.get(&path).await;
        let items = list.body["items"].as_array().expect("a list").iter();
        items
            .map(|item| (item["line"].clone(), item["class"].clone()))
            .collect()
    }

    /// The field of a row, from 0.
    fn field(&self, line: usize, at: usize) -> &str {
        let line = self.text.lines().nth(line - 1).expect("a line");
        line.split('|').nth(at).expect("a field")
    }
}

fn detail(answer: &Answer) -> &str {
    assert_eq!(
        answer.summary("code"),
        (422, "validation_failed"),
        "{answer:?}"
    );
    answer.body["errors"][0]["detail"].as_str().expect("words")
}

#[sqlx::test]
async fn a_cut_file_is_provisional_and_the_whole_one_takes_its_place(pool: PgPool) {
    let (day, ids) = Day::of(pool, 2).await;
    // The wallet of the last row is cut: ALIPAYH is no wallet.
    let cut = day.bring(&day.text[..day.text.len() - 2]).await;
    assert_eq!(cut.status, 201, "{cut:?}");
    let file = &cut.body["files"][0];
    assert_eq!(
        (&file["provisional"], &file["rows"], &file["faults"]),
        (&json!(true), &json!(1), &json!(1))
    );
    assert_eq!(cut.body["agrees"], false);
    assert_eq!(cut.body["row_faults"][0]["line"], 4, "{cut:?}");
    // What is whole in it counts, and nothing is said to be missing.
    assert_eq!(day.classes(&cut).await, [(json!(3), json!("corrected"))]);
    assert_eq!(day.open(&ids).await, 1);

    let whole = day.bring(&day.text).await;
    assert_eq!(whole.status, 201, "{whole:?}");
    assert_eq!(whole.body["agrees"], true, "{whole:?}");
    let file = &whole.body["files"][0];
    assert_eq!(
        (&file["provisional"], &file["version"]),
        (&json!(false), &json!(2))
    );
    for id in &ids {
        let payment = day.world.till.payment(id).await;
        assert_eq!(payment["status"], "succeeded", "{payment}");
        assert_eq!(payment["wallet"], "ALIPAYHK");
    }
    // One that lacks rows does not take the place of one that has them.
    let short = day
        .bring(day.text.lines().take(3).collect::<Vec<_>>().join("\n") + "\n")
        .await;
    assert_eq!(short.status, 201, "{short:?}");
    let file = &short.body["files"][0];
    assert_eq!(
        (&file["provisional"], &file["superseded"], &file["version"]),
        (&json!(true), &json!(true), &json!(3))
    );
    // Nothing of it waits for anybody, and still it does not agree; nor does the first one now.
    assert_eq!(
        (&short.body["agrees"], &short.body["open_differences"]),
        (&json!(false), &json!(0)),
        "{short:?}"
    );
    let cut = day.operator.get(cut.header("location")).await;
    assert_eq!(
        (&cut.body["agrees"], &cut.body["files"][0]["superseded"]),
        (&json!(false), &json!(true)),
        "{cut:?}"
    );
    let again = day.operator.get(whole.header("location")).await;
    assert_eq!(again.body["files"][0]["superseded"], false, "{again:?}");
    day.world.finish().await;
}

/// A row that was whole, of a version that was not, names a wallet. The whole version corrects it, but nothing that
/// an answer has said.
#[sqlx::test]
async fn a_whole_version_corrects_the_wallet_that_an_earlier_one_alone_named(pool: PgPool) {
    let (day, ids) = Day::of(pool, 3).await;
    let wrong = day.text.replace("|ALIPAYHK\n", "|ALIPAYCN\n");
    let cut = day.bring(&wrong[..wrong.len() - 2]).await;
    assert_eq!(cut.body["files"][0]["provisional"], true, "{cut:?}");
    let wallet = async |id: &str| day.world.till.payment(id).await["wallet"].clone();
    for id in &ids[..2] {
        assert_eq!(wallet(id).await, "ALIPAYCN");
    }
    // Of one of them Alipay is asked in between.
    let path = format!("/v1/payments/{}/refresh", ids[0]);
    let told = day.world.till.post(&path, &Value::Null).await;
    assert_eq!(told.body["wallet"], "ALIPAYHK", "{told:?}");
    let whole = day.bring(&day.text).await;
    assert_eq!(whole.body["agrees"], true, "{whole:?}");
    for id in &ids {
        assert_eq!(wallet(id).await, "ALIPAYHK");
    }
    let steps = day.world.till.timeline(&ids[1]).await;
    let named = steps.iter().find(|step| step["event"] == "wallet_named");
    let actor = &named.expect("on the timeline")["actor"];
    assert_eq!(
        (&actor["type"], &actor["line"]),
        (&json!("file"), &json!(4))
    );

    // Another version says otherwise: what an answer said stays, and is a difference.
    let other = day.bring(wrong + "\n").await;
    let differ: Vec<_> = day.classes(&other).await;
    assert_eq!(differ, [(json!(3), json!("identity_differs"))], "{other:?}");
    assert_eq!(wallet(&ids[0]).await, "ALIPAYHK");
    assert_eq!(
        wallet(&ids[1]).await,
        "ALIPAYCN",
        "the last whole version's"
    );
    day.world.finish().await;
}

/// A comparison that nobody ends is none to wait for once other files of its days were compared.
#[sqlx::test]
async fn what_was_interrupted_is_superseded_by_the_next_version(pool: PgPool) {
    let (day, _) = Day::of(pool, 1).await;
    let name = &day.name;
    let begun = format!(
        "with begun as (
            insert into reconciliation (partner, reconciliation_id, fingerprint, source, by, touched_at)
            values ('{PARTNER}', '00000000-0000-7000-8000-000000000001', '\\x01', 'sftp',
                '{{}}', db_now() - interval '11 minutes')
        ), file as (
            insert into statement_file (partner, file_id, kind, day, name, sha256, size_bytes)
            values ('{PARTNER}', '00000000-0000-7000-8000-000000000002', 'transaction',
                business_day(db_now()), '{name}', '\\x01', 1)
        )
        insert into reconciliation_file (partner, reconciliation_id, position, file_id)
        values ('{PARTNER}', '00000000-0000-7000-8000-000000000001', 1,
            '00000000-0000-7000-8000-000000000002')"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(begun))
        .execute(&day.world.pool)
        .await
        .expect("inserted");
    let of = async |status: &str| {
        let path = format!("/v1/reconciliations?status={status}");
        let list = day.operator.get(&path).await;
        list.body["items"].as_array().expect("a list").len()
    };
    assert_eq!(of("interrupted").await, 1);
    let whole = day.bring(&day.text).await;
    assert_eq!(whole.body["status"], "complete", "{whole:?}");
    assert_eq!((of("interrupted").await, of("superseded").await), (0, 1));
    day.world.finish().await;
}

#[sqlx::test]
async fn differences_of_a_version_are_not_open_once_another_took_its_place(pool: PgPool) {
    let (day, _) = Day::of(pool, 2).await;
    let amount = day.field(4, 2).to_owned();
    let wrong = day.text.replacen(&format!("|{amount}|"), "|1.23|", 1);
    let first = day.bring(&wrong).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_ne!(first.body["open_differences"], 0, "{first:?}");
    let second = day.bring(&day.text).await;
    assert_eq!(second.body["open_differences"], 0, "{second:?}");
    let first = day.operator.get(first.header("location")).await;
    assert_eq!(first.body["open_differences"], 0, "{first:?}");
    assert_eq!(first.body["files"][0]["superseded"], true);
    day.world.finish().await;
}

#[sqlx::test]
async fn a_row_with_the_ids_of_another_trade_settles_nothing(pool: PgPool) {
    let (day, ids) = Day::of(pool, 2).await;
    let paid = day.world.pay("0001").await;
    let third = day.world.till.payment(paid.id()).await;
    let trade = third["alipay_trans_id"].as_str().expect("known");
    let bytes = day
        .world
        .simulator
        .daily_file("transaction", &day.name[29..37])
        .await;
    let text = String::from_utf8(bytes.expect("a file")).expect("UTF-8");
    let line = 1 + text
        .lines()
        .position(|line| line.contains(trade))
        .expect("its row");
    for (spoilt, found) in [
        ("2.02611E+27", "Transaction_id 2.02611E+27"),
        (
            "2026010222001499999900000001",
            "Transaction_id 2026010222001499999900000001",
        ),
    ] {
        let made = day.bring(text.replace(trade, spoilt)).await;
        assert_eq!(made.status, 201, "{made:?}");
        let path = format!(
            "{}/differences?class=identity_differs",
            made.header("location")
        );
        let list = day.operator.get(&path).await;
        let items = list.body["items"].as_array().expect("a list");
        assert_eq!(items.len(), 1, "{list:?}");
        assert_eq!(items[0]["line"], line);
        assert_eq!(items[0]["expected"], format!("Transaction_id {trade}"));
        assert_eq!(items[0]["found"], found);
        assert_eq!(made.body["agrees"], false);
    }
    // The others were settled by their rows; this one is as it was.
    for id in &ids {
        assert_eq!(day.status(id).await, "succeeded");
    }
    assert_eq!(day.world.till.payment(paid.id()).await, third);
    day.world.finish().await;
}

/// The ids of two trades that are swapped, another wallet and another merchant: of open payments that know
/// them, none is settled.
#[sqlx::test]
async fn swapped_ids_another_wallet_and_another_merchant_do_not_agree(pool: PgPool) {
    let (day, _) = Day::of(pool, 0).await;
    let mut trades = vec![];
    for _ in 0..2 {
        let paid = day.world.pay("0001").await;
        let payment = day.world.till.payment(paid.id()).await;
        trades.push(
            payment["alipay_trans_id"]
                .as_str()
                .expect("known")
                .to_owned(),
        );
    }
    let bytes = day
        .world
        .simulator
        .daily_file("transaction", &day.name[29..37])
        .await;
    let text = String::from_utf8(bytes.expect("a file")).expect("UTF-8");
    let swapped = text
        .replace(&trades[0], "SWAP")
        .replace(&trades[1], &trades[0])
        .replace("SWAP", &trades[1]);
    let foreign = text.replacen("|SM001|", "|SM999|", 1);
    assert_ne!(foreign, text);
    for (what, text, count) in [
        ("swapped", swapped, 2),
        ("wallet", text.replace("|ALIPAYHK\n", "|ALIPAYCN\n"), 2),
        ("merchant", foreign, 1),
        ("nothing", text.clone(), 0),
    ] {
        let made = day.bring(&text).await;
        assert_eq!(made.status, 201, "{made:?}");
        let classes = day.classes(&made).await;
        assert_eq!(classes.len(), count, "{what}: {classes:?}");
        assert!(
            classes.iter().all(|(_, class)| class == "identity_differs"),
            "{what}: {classes:?}"
        );
        assert_eq!(made.body["open_differences"], count, "{what}");
    }
    // The merchant had that id before.
    let id = day.world.merchant_id;
    let admin = day.world.overseer(&[Scope::Admin]).await;
    let path = format!("/v1/admin/merchants/{id}");
    let configured = admin.get(&path).await.body["configured"] == true;
    assert!(configured, "its id comes from the configuration");
    day.world
        .sql("update merchant set secondary_merchant_id = 'SM_NEW', version = version + 1")
        .await;
    let made = day.bring(text.clone() + "\n").await;
    assert_eq!(made.body["agrees"], true, "{made:?}");
    day.world.finish().await;
}

#[sqlx::test]
async fn a_row_with_a_bad_amount_is_counted_and_named_and_does_not_agree(pool: PgPool) {
    let (day, ids) = Day::of(pool, 2).await;
    let amount = day.field(3, 2).to_owned();
    for bad in ["1,28.50", "1e3", "", "-39.25", "39.255"] {
        let text = day
            .text
            .replacen(&format!("|{amount}|"), &format!("|{bad}|"), 1);
        let made = day.bring(text).await;
        assert_eq!(made.status, 201, "{made:?}");
        let file = &made.body["files"][0];
        assert_eq!((&file["rows"], &file["faults"]), (&json!(1), &json!(1)));
        assert_eq!(file["provisional"], false, "it is counted: {made:?}");
        let named = &made.body["row_faults"][0];
        assert_eq!(
            (&named["line"], &named["column"]),
            (&json!(3), &json!("Transaction_amount"))
        );
        assert_eq!(made.body["agrees"], false);
    }
    assert_eq!(day.open(&ids).await, 1, "the bad row settled nothing");
    day.world.finish().await;
}

#[sqlx::test]
async fn a_file_of_another_partner_is_refused_by_its_name_before_it_is_kept(pool: PgPool) {
    let (day, _) = Day::of(pool, 1).await;
    let other = "2088999999999999";
    // By the name and the first line, and by the first line alone.
    let foreign = day.text.replace(PARTNER, other);
    for name in [day.name.replace(PARTNER, other), "file.txt".to_owned()] {
        for dry_run in [true, false] {
            let refused = upload(&day.operator, &name, foreign.as_bytes(), dry_run).await;
            assert!(detail(&refused).contains(other), "{refused:?}");
        }
    }
    let disguised = day.bring(&foreign).await;
    assert!(detail(&disguised).contains(other), "{disguised:?}");
    for table in [
        "select count(*) from reconciliation",
        "select count(*) from statement_file",
    ] {
        assert_eq!(day.world.count_rows(table).await, 0, "{table}");
    }
    day.world.finish().await;
}

#[sqlx::test]
async fn what_is_no_text_is_refused_in_one_sentence(pool: PgPool) {
    let (day, _) = Day::of(pool, 0).await;
    for (bytes, sentence) in [
        (
            b"\x1f\x8b\x08\0\0\0".as_slice(),
            "this is a gzip file: unpack it first",
        ),
        (
            b"PK\x03\x04\x14\0rows",
            "this is a zip file: unpack it first",
        ),
        (
            b"PK\x03\x04\x14\0[Content_Types].xml",
            "this is a spreadsheet file",
        ),
        (b"<!DOCTYPE html>\n<html></html>\n", "this is an HTML page"),
        (b"", "the file is empty"),
    ] {
        let refused = day.bring(bytes).await;
        assert!(detail(&refused).contains(sentence), "{refused:?}");
    }
    // Damaged from some line on.
    let mut bytes = format!(
        "Partner:{PARTNER}|Payment_time: 2026-01-02|Total_count:9\n{}\n",
        "Partner_transaction_id|Transaction_id|Transaction_amount|Charge_amount|Currency|Payment_time|Transaction_type|Remark|Secondary_merchant_industry|Secondary_merchant_name|Secondary_merchant_id|Operator_name|Order_scene|Trans_currency|Trans_amount|Trans_forex_rate|Issue"
    )
    .into_bytes();
    bytes.extend_from_slice(&[0xff, 0xfe, b'\n', 0, 1, b'\n', 0xff, b'\n', 0xff, b'\n']);
    let refused = day.bring(bytes).await;
    assert!(detail(&refused).contains("from line 3 on"), "{refused:?}");
    // Whoever did not wait for the answer finds the same there.
    let failed = day.operator.get("/v1/reconciliations?status=failed").await;
    let failed = &failed.body["items"][0];
    assert_eq!(failed["error"], detail(&refused), "{failed}");
    assert_eq!(failed["agrees"], false);
    assert_eq!(
        day.world
            .count_rows("select count(*) from statement_file where imported_at is not null")
            .await,
        0
    );
    day.world.finish().await;
}

/// Of files that are brought together, none counts where one cannot be read, and all faults are told at once.
#[sqlx::test]
async fn one_unreadable_file_of_an_upload_lets_none_of_them_change_anything(pool: PgPool) {
    let (day, ids) = Day::of(pool, 2).await;
    let first = day.bring(&day.text[..day.text.len() - 2]).await;
    assert_eq!(first.body["files"][0]["provisional"], true, "{first:?}");
    assert_eq!(day.open(&ids).await, 1);

    let settlement_name = day.name.replace("transaction", "settlement");
    let columns = "Partner_transaction_id|Transaction_id|Amount|Fee|Settlement|Currency|Payment_time|Settlement_time|Type|Status|Remarks|Secondary_merchant_industry|Secondary_merchant_name|Secondary_merchant_id|Operator_name|Order_scene|Trans_currency|Trans_amount|Trans_forex_rate|Issue\n";
    let damage = b"\xff\xfe\n\x00\x01\n\xff\n\xff\n".as_slice();
    let damaged_settlement = [columns.as_bytes(), damage].concat();
    let damaged = [day.text.as_bytes(), damage].concat();
    let gzip = b"\x1f\x8b\x08\0\0\0".as_slice();
    for (transactions, settlement, faults) in [
        (
            day.text.as_bytes(),
            damaged_settlement.as_slice(),
            vec!["settlement: from line 2 on"],
        ),
        (
            damaged.as_slice(),
            damaged_settlement.as_slice(),
            vec!["transaction: from line 5 on", "settlement: from line 2 on"],
        ),
        (
            damaged.as_slice(),
            gzip,
            vec![
                "settlement: this is a gzip file",
                "transaction: from line 5 on",
            ],
        ),
    ] {
        for dry_run in [true, false] {
            let files = [
                (day.name.as_str(), transactions),
                (settlement_name.as_str(), settlement),
            ];
            let refused = upload_all(&day.operator, &files, dry_run).await;
            assert_eq!(refused.summary("code"), (422, "validation_failed"));
            let errors = refused.body["errors"].as_array().expect("a list");
            assert_eq!(errors.len(), faults.len(), "{refused:?}");
            for (error, fault) in errors.iter().zip(&faults) {
                let detail = error["detail"].as_str().expect("words");
                let (kind, why) = fault.split_once(": ").expect("two parts");
                assert!(detail.contains(kind) && detail.contains(why), "{refused:?}");
            }
            let stands = day.operator.get(first.header("location")).await;
            assert_eq!(stands.body, first.body);
            assert_eq!(day.open(&ids).await, 1);
            let counting = "select count(*) from statement_file where imported_at is not null";
            assert_eq!(day.world.count_rows(counting).await, 1);
        }
    }
    let files = [
        (day.name.as_str(), day.text.as_bytes()),
        (settlement_name.as_str(), columns.as_bytes()),
    ];
    let whole = upload_all(&day.operator, &files, false).await;
    assert_eq!(whole.status, 201, "{whole:?}");
    assert_eq!(whole.body["agrees"], true, "{whole:?}");
    assert_eq!(day.open(&ids).await, 0);
    day.world.finish().await;
}

/// Every way in which a part of a file is no data: the line is named, nothing is taken from it, and the file does not
/// agree. What lacks its end is provisional besides.
#[sqlx::test]
async fn what_cannot_be_read_is_named_with_its_line_and_takes_nothing(pool: PgPool) {
    let (day, ids) = Day::of(pool, 2).await;
    let lines: Vec<&str> = day.text.lines().collect();
    let last = lines[3];
    let with_last = |last: &[u8]| {
        let head = lines[..3].join("\n") + "\n";
        [head.as_bytes(), last].concat()
    };
    let garbled = [last.as_bytes(), b"\xff\xfe\x81\n"].concat();
    let (most, _) = last.rsplit_once('|').expect("fields");
    let quoted = last.replacen("|HKD|", "|\"HKD", 1);
    let (in_quotes, _) = quoted.split_once("HKD").expect("a field");
    for (what, bytes, line, provisional) in [
        ("bytes of no text", with_last(&garbled), 4, false),
        (
            "a column too few",
            with_last(format!("{most}\n").as_bytes()),
            4,
            false,
        ),
        ("cut in a field", with_last(most.as_bytes()), 4, true),
        (
            "cut within quotes",
            with_last(in_quotes.as_bytes()),
            4,
            true,
        ),
        (
            "a count that is none",
            format!("{}Total_count:two\n", day.text).into_bytes(),
            5,
            false,
        ),
        (
            "a count that is cut",
            format!("{}Total_count:1", day.text).into_bytes(),
            5,
            true,
        ),
    ] {
        let made = day.bring(&bytes).await;
        assert_eq!(made.status, 201, "{what}: {made:?}");
        let faults = made.body["row_faults"].as_array().expect("a list");
        assert_eq!(faults.len(), 1, "{what}: {made:?}");
        assert_eq!(faults[0]["line"], line, "{what}: {made:?}");
        let file = &made.body["files"][0];
        assert_eq!(file["provisional"], provisional, "{what}: {made:?}");
        // What lacks its end takes no place of what does not, and does not agree either.
        assert_eq!(made.body["agrees"], false, "{what}: {made:?}");
        assert_eq!(file["superseded"], provisional, "{what}");
        let open = usize::from(line == 4);
        assert_eq!(day.open(&ids).await, open, "{what}");
    }
    day.world.finish().await;
}

/// Two contents under one name: the second waits for the first and is the version after it.
#[sqlx::test]
async fn two_contents_of_one_name_at_once_are_two_versions(pool: PgPool) {
    let (day, _) = Day::of(pool, 1).await;
    let mut first = day.world.pool.begin().await.expect("a transaction");
    // What the end of another import writes, not committed yet.
    let name = &day.name;
    let ended = format!(
        "insert into statement_file (partner, file_id, kind, day, name, sha256, size_bytes, version,
            row_count, fault_count, duplicate_count, imported_at)
        values ('{PARTNER}', gen_random_uuid(), 'transaction', business_day(db_now()), '{name}',
            '\\x01', 1, 1, 0, 0, 0, db_now())"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(ended))
        .execute(&mut *first)
        .await
        .expect("inserted");
    let (made, tried, ()) = tokio::join!(
        day.bring(&day.text),
        upload(&day.operator, &day.name, day.text.as_bytes(), true),
        async {
            eventually("both wait for the other version", async || {
                let waiting =
                    "select count(*) from pg_stat_activity where datname = current_database()
                    and wait_event_type = 'Lock'";
                day.world.count_rows(waiting).await >= 2
            })
            .await;
            first.commit().await.expect("committed");
        }
    );
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["files"][0]["version"], 2, "{made:?}");
    assert_eq!(tried.status, 200, "{tried:?}");
    let live = "select count(*) from statement_file where imported_at is not null
        and superseded_at is null";
    assert_eq!(day.world.count_rows(live).await, 1);

    // Eight at once.
    let texts: Vec<String> = (1..=8)
        .map(|count| day.text.clone() + &"\n".repeat(count))
        .collect();
    let brought = crate::support::all(texts.iter().map(|text| day.bring(text))).await;
    let mut versions: Vec<_> = brought
        .iter()
        .map(|made| {
            assert_eq!(made.status, 201, "{made:?}");
            made.body["files"][0]["version"]
                .as_i64()
                .expect("a version")
        })
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (3..=10).collect::<Vec<_>>());
    assert_eq!(day.world.count_rows(live).await, 1);
    day.world.finish().await;
}

/// A client that sends all of its upload before it looks for an answer.
#[sqlx::test]
async fn a_refused_upload_is_read_to_its_end_and_answered(pool: PgPool) {
    let (day, _) = Day::of(pool, 0).await;
    let address = day.world.replicas[0].url.replace("http://", "");
    let key = day.operator.key();
    let boundary = "multipart/form-data; boundary=b";
    let size = 24 * 1024 * 1024;
    let long = |head: &str| {
        let mut body = head.as_bytes().to_vec();
        body.resize(size, b'x');
        body
    };
    let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.txt\"\r\n\r\n";
    let other = "--b\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\n";
    for (what, key, media_type, body, status) in [
        ("no key", "nobody", boundary, long(file), "401"),
        ("no form", key, "text/plain", long(""), "415"),
        ("another field", key, boundary, long(other), "422"),
    ] {
        let mut stream = TcpStream::connect(&address).await.expect("connected");
        let head = format!(
            "POST /v1/reconciliations HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: {media_type}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
        );
        let exchange = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = tokio::time::timeout(Duration::from_mins(1), exchange)
            .await
            .expect("an end");
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{what}: {answer}"
        );
        assert!(
            answer.contains("application/problem+json"),
            "{what}: {answer}"
        );
    }
    day.world.finish().await;
}
