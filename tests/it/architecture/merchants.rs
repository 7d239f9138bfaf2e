//! Every statement on merchants' data says whose it means (`docs/invariants.md` Q7).
//!
//! What is read are the texts that `query!` keeps in `.sqlx`: all of them, since a statement that is
//! not there does not compile.

use std::{fs, path::Path};

use serde_json::Value;

/// The tables of which every row is one merchant's.
const TABLES: [&str; 17] = [
    "attempt",
    "contradiction",
    "follow_up",
    "follow_up_subject",
    "idempotency_key",
    "merchant_reference",
    "notification",
    "payment",
    "payment_transition",
    "recent_scan",
    "refund",
    "refund_day",
    "refund_transition",
    "store",
    "store_registration",
    "store_registration_attempt",
    "store_registration_transition",
];

/// Statements for which no one merchant is meant, by a part of their text, and why that is right.
const OF_ALL: [(&str, &str); 20] = [
    (
        "with leads_to_a_payment as ( select 'attempt' as \"table\", merchant_id, payment_id from attempt",
        "what leads nowhere, in the whole database, for whoever has its URL",
    ),
    (
        "from unnest($1::uuid[], $2::uuid[]) as wanted (merchant_id, subject_id) join contradiction on contradiction.merchant_id = wanted.merchant_id",
        "contradictions of rows that were filtered by reach, each under its own merchant",
    ),
    (
        "with made as ( insert into merchant (merchant_id, external_id,",
        "a new merchant with its default store, under the id that was minted for it",
    ),
    (
        "with made as ( insert into store (merchant_id, store_id, store_name, industry,",
        "a new store: whose it is, is its first value",
    ),
    (
        "with due as ( select merchant_id, follow_up_id from follow_up where kind = $4",
        "the schedule visits whatever is due, one kind at a time; joined by merchant",
    ),
    (
        "update follow_up set leased_until = null, worker = null where worker = $1",
        "a worker gives back whatever it had claimed",
    ),
    (
        "from unnest($1::uuid[], $2::uuid[]) as wanted (merchant_id, subject_id) join attempt on attempt.merchant_id = wanted.merchant_id",
        "evidence for rows that were filtered by reach, each under its own merchant",
    ),
    (
        "from unnest($1::uuid[], $2::uuid[]) as wanted (merchant_id, subject_id) join follow_up using (merchant_id, subject_id)",
        "the schedule of rows that were filtered by reach, each under its own merchant",
    ),
    (
        "from notification where partner = $1 and notify_id = $2",
        "whether Alipay said this before: nobody else is told",
    ),
    (
        "with paid as materialized ( select merchant_id, payment_id from payment where partner = $1",
        "Alipay names a payment or a refund by our id under its partner, after its signature was verified",
    ),
    (
        "update follow_up set due_at = db_now() where (error_count > 0",
        "accounts were read again: whatever failed is visited, whosesoever it is",
    ),
    (
        "(select count(*) from follow_up where parked_at is not null) as \"parked!\"",
        "how long the schedule is: a number for metrics",
    ),
    (
        "on conflict (is_default) where is_default do update",
        "the merchant of the environment, made at the start",
    ),
    (
        "delete from recent_scan where (merchant_id, scan_hash) in",
        "what is too old is removed, whose it was does not matter",
    ),
    (
        "from follow_up_subject as subject where is_open and kind = $1",
        "rows that are missing from the schedule are made again for everybody (R12)",
    ),
    (
        "insert into statement_row (partner, file_id, line,",
        "a daily file is an account's: whose a row is, is found by its ids, under the same partner",
    ),
    (
        "gate as ( update reconciliation_file set matched_at",
        "the comparison of an account's file with our books; each row is written under its merchant",
    ),
    (
        "from statement_row as r join merchant on merchant.merchant_id = r.merchant_id join payment on payment.merchant_id = r.merchant_id",
        "what an account's file proves of open payments, each under the merchant of its row",
    ),
    (
        "insert into daily_fetch_missing (partner, kind, day)",
        "whether an account has sales of a day for which no file came",
    ),
    (
        "select merchant_id from merchant where case $1 when 'payment' then exists",
        "whose row an operator names; nobody else is let to ask",
    ),
];

/// The statements, with single spaces.
fn statements() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let files = fs::read_dir(directory).expect("the statements are checked in");
    files
        .map(|file| {
            let text = fs::read_to_string(file.expect("a file").path()).expect("text");
            let kept: Value = serde_json::from_str(&text).expect("JSON");
            spaced(kept["query"].as_str().expect("a statement"))
        })
        .collect()
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What follows each mention of a merchant's table, up to the next; empty where there is none.
fn mentions(statement: &str) -> Vec<String> {
    let words: Vec<&str> = statement.split(' ').collect();
    let mut parts: Vec<Vec<&str>> = vec![];
    for (index, word) in words.iter().enumerate() {
        let table = word.trim_matches(|c| c == '(' || c == ')' || c == ',');
        let before = index.checked_sub(1).map(|before| words[before]);
        let opens = ["from", "join", "update", "into"];
        let named = before.is_some_and(|before| opens.contains(&before.trim_start_matches('(')));
        if named && TABLES.contains(&table) {
            parts.push(vec![]);
        } else if let Some(part) = parts.last_mut() {
            part.push(word);
        }
    }
    parts.into_iter().map(|part| part.join(" ")).collect()
}

/// What is wrong with a statement, if anything is.
fn fault(statement: &str) -> Option<&'static str> {
    let mentions = mentions(statement);
    if mentions.is_empty() {
        return None;
    }
    let inserts = statement.starts_with("insert into ")
        && mentions[0].starts_with("(merchant_id,")
        && mentions.len() == 1;
    // Where the parameters have names, the merchant is one of them.
    let has_input = statement
        .starts_with("with input as not materialized ( select $1::uuid as merchant_id,")
        || (statement.starts_with("with input as materialized ( select input.* from ")
            && statement.contains(") as input ( merchant_id,"));
    let named = statement.contains("merchant_id = $")
        || (has_input
            && ["merchant_id = input.merchant_id", "using (merchant_id,"]
                .iter()
                .any(|join| statement.contains(join)));
    if !named && !inserts {
        return Some("names no merchant");
    }
    // `payment left join follow_up on ...`: the condition is with the second of the two.
    let joined = |part: &str| ["join", "left join"].contains(&part.trim());
    let unscoped = mentions
        .iter()
        .any(|part| !part.contains("merchant_id") && !joined(part));
    unscoped.then_some("mentions a table without saying whose rows")
}

fn exempt(statement: &str) -> bool {
    OF_ALL.iter().any(|(part, _)| statement.contains(part))
}

#[test]
fn q7_every_statement_on_merchants_data_filters_by_merchant() {
    let faults: Vec<String> = statements()
        .iter()
        .filter(|statement| !exempt(statement))
        .filter_map(|statement| fault(statement).map(|fault| format!("{fault}: {statement}")))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// An exemption that is needed no more would excuse the next statement like it.
#[test]
fn every_exempt_statement_is_there_and_needs_it() {
    let statements = statements();
    for (part, reason) in OF_ALL {
        let mut excused = statements.iter().filter(|s| s.contains(part)).peekable();
        assert!(excused.peek().is_some(), "there is no `{part}`: {reason}");
        for statement in excused {
            assert!(fault(statement).is_some(), "needs no excuse: {statement}");
        }
    }
}

#[test]
fn statements_that_forget_the_merchant_are_found() {
    for wrong in [
        "select status from payment where payment_id = $1",
        "update refund set status = $2 where refund_id = $1",
        "select 1 from payment where merchant_id = $1 and exists ( select from refund where refund_id = $2)",
        "delete from follow_up where follow_up_id = $1",
        "insert into attempt (attempt_id, merchant_id) values ($1, $2)",
        "insert into attempt (merchant_id, x) select merchant_id, $1 from payment where payment_id = $2",
        "with input as not materialized ( select $1::uuid as merchant_id, $2::uuid as payment_id ) update payment set status = null from input where payment.payment_id = input.payment_id",
        "with input as not materialized ( select $1::uuid as payment_id ) select 1 from payment where merchant_id = input.merchant_id",
        "with input as materialized ( select input.* from unnest($1::uuid[]) as input ( payment_id) ) select 1 from payment join input on payment.merchant_id = input.merchant_id",
    ] {
        assert!(fault(wrong).is_some(), "{wrong}");
    }
    for right in [
        "select status from payment where merchant_id = $1 and payment_id = $2",
        "select now()",
        "with input as not materialized ( select $1::uuid as merchant_id, $2::uuid as payment_id ) update payment set status = null from input where payment.merchant_id = input.merchant_id",
        "insert into attempt (merchant_id, attempt_id) values ($1, $2)",
        "select 1 from payment left join follow_up on follow_up.merchant_id = payment.merchant_id where payment.merchant_id = $1",
    ] {
        assert_eq!(fault(right), None, "{right}");
    }
}
