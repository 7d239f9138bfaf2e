//! The files of a day at the noodle store, line by line.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::*;
use crate::{
    book::{Book, RefundStatus, Script},
    request::{Pay, Place, Refund as RefundRequest},
};

const PARTNER: &str = "2088000000000017";
const HEADER: &str = "Partner:2088000000000017|Payment_time: 2026-03-09|Total_count:4\n";
const NAMES: &str = "Partner_transaction_id|Transaction_id|Transaction_amount|Charge_amount|Currency|Payment_time|Transaction_type|Remark|Secondary_merchant_industry|Secondary_merchant_name|Secondary_merchant_id|Operator_name|Order_scene|Trans_currency|Trans_amount|Trans_forex_rate|Issue\n";
const RECORDS: &str = "HKP-41|{41}|128.50|1.03|HKD|2026-03-09 10:14:07|PAYMENT||5812|Harbour Noodles Ltd|M0001|Central Branch||HKD|128.50|1|ALIPAYHK
HKP-42|{42}|60.00|0.48|HKD|2026-03-09 11:02:55|PAYMENT||5812|Harbour Noodles Ltd|M0001|Central Branch||HKD|60.00|1|ALIPAYHK
HKP-42|{42}|60.00|0.48|HKD|2026-03-09 11:04:20|CANCEL||5812|Harbour Noodles Ltd|M0001|Central Branch||HKD|60.00|1|ALIPAYHK
HKR-7|{41}|28.50|0.23|HKD|2026-03-09 17:40:31|REFUND|soup missing|5812|Harbour Noodles Ltd|M0001|Central Branch||HKD|28.50|1|ALIPAYHK
";
const SETTLEMENT: &str = "Partner_transaction_id|Transaction_id|Amount|Fee|Settlement|Currency|Payment_time|Settlement_time|Type|Status|Remarks|Secondary_merchant_industry|Secondary_merchant_name|Secondary_merchant_id|Operator_name|Order_scene|Trans_currency|Trans_amount|Trans_forex_rate|Issue
HKP-41|{41}|128.50|1.03|127.47|HKD|2026-03-09 10:14:07|2026-03-10 02:30:00|P|L||5812|Harbour Noodles Ltd|M0001|Central Branch||HKD|128.50|1|ALIPAYHK
HKR-7|{41}|28.50|0.23|28.27|HKD|2026-03-09 17:40:31|2026-03-10 02:30:00|R|L|HKP-41|5812|Harbour Noodles Ltd|M0001|Central Branch||HKD|28.50|1|ALIPAYHK
";

/// The store's book and files.
struct Store {
    book: Book,
    files: Files,
}

/// An instant of March 2026 in Hong Kong.
fn at(text: &str) -> DateTime<Utc> {
    format!("2026-03-{}+08:00", text.replace(' ', "T"))
        .parse()
        .unwrap()
}

fn id(kind: Kind, day: &str) -> FileId {
    let day = format!("2026-03-{day}").parse().unwrap();
    FileId { kind, day }
}

impl Store {
    fn empty() -> Self {
        Self {
            book: Book::new(),
            files: Files::new(at("01 00:00:00")),
        }
    }

    /// The day of the samples of `docs/protocol.md` 9.5, and a payment that nobody made.
    fn after_the_ninth() -> Self {
        let mut store = Self::empty();
        store.pay("HKP-41", 12850, "09 10:14:07");
        store.pay("HKP-42", 6000, "09 11:02:55");
        store.book.cancel(at("09 11:04:20"), "HKP-42", None);
        store.refund("HKP-41", "HKR-7", 2850, "09 17:40:31", true);
        store
    }

    fn pay(&mut self, id: &str, amount_minor: i64, when: &str) {
        let pay = Pay {
            partner_trans_id: id.to_owned(),
            amount_minor,
            currency: "HKD".to_owned(),
            buyer_user_id: "2088000000000099".to_owned(),
            ending: "9999".to_owned(),
            place: Place {
                industry: "5812".to_owned(),
                merchant_name: "Harbour Noodles Ltd".to_owned(),
                merchant_id: "M0001".to_owned(),
                store_id: "ST01".to_owned(),
                store_name: "Central Branch".to_owned(),
            },
        };
        self.book.pay(at(when), &pay, &Script::PLAIN);
    }

    fn refund(&mut self, of: &str, id: &str, amount_minor: i64, when: &str, sync: bool) {
        let request = RefundRequest {
            partner_trans_id: of.to_owned(),
            alipay_trans_id: None,
            partner_refund_id: id.to_owned(),
            amount_minor,
            currency: "HKD".to_owned(),
            reason: "soup missing".to_owned(),
            sync,
            notify_to: None,
        };
        self.book.refund(at(when), &request);
    }

    fn file(&mut self, kind: Kind, day: &str) -> Option<File> {
        self.book.all(at("31 00:00:00"));
        let ledger = Ledger {
            partner: PARTNER,
            trades: self.book.trades(),
            refunds: self.book.refunds(),
        };
        self.files.make(&ledger, id(kind, day))
    }

    /// The file's text, with Alipay's ids as `{41}` for that of `HKP-41`.
    fn text(&mut self, kind: Kind, day: &str) -> String {
        let file = self.file(kind, day).expect("something happened");
        let mut text = String::from_utf8(file.bytes).expect("text");
        for trade in self.book.trades() {
            let short = trade.partner_trans_id.replace("HKP-", "");
            text = text.replace(&trade.alipay_trans_id, &format!("{{{short}}}"));
        }
        text
    }

    fn set(&mut self, settings: &Value) {
        let mut all = json!(self.files.settings);
        let fields = settings.as_object().expect("an object").clone();
        all.as_object_mut().expect("an object").extend(fields);
        self.files.settings = serde_json::from_value(all).expect("settings");
    }

    /// Plants a difference in the transaction file of the ninth, and says what came of it.
    fn plant(&mut self, plant: Value) -> Value {
        let file = id(Kind::Transaction, "09");
        let plant = serde_json::from_value(plant).expect("a plant");
        self.files.plant(file, plant);
        let file = self.file(Kind::Transaction, "09").expect("a file");
        file.planted.last().expect("planted").clone()
    }
}

#[test]
fn the_transaction_file_is_that_of_the_sample() {
    let mut store = Store::after_the_ninth();
    let text = store.text(Kind::Transaction, "09");
    assert_eq!(text, format!("{HEADER}{NAMES}{RECORDS}"));
    let file = store.file(Kind::Transaction, "09").expect("a file");
    assert_eq!(file.name, "2088000000000017_transaction_20260309.txt");
}

#[test]
fn the_settlement_file_is_that_of_the_sample() {
    let mut store = Store::after_the_ninth();
    assert_eq!(store.text(Kind::Settlement, "10"), SETTLEMENT);
}

#[test]
fn there_is_no_file_of_a_day_of_nothing() {
    let mut store = Store::after_the_ninth();
    for (kind, day) in [
        (Kind::Transaction, "08"),
        (Kind::Transaction, "10"),
        (Kind::Settlement, "09"),
        (Kind::Settlement, "11"),
    ] {
        assert!(store.file(kind, day).is_none(), "{kind:?} {day}");
    }
}

#[test]
fn the_day_is_that_of_the_completion_in_gmt_plus_8() {
    let mut store = Store::empty();
    store.pay("HKP-1", 1000, "09 23:59:59");
    store.pay("HKP-2", 1000, "10 00:00:00");
    // Accepted on the tenth, done by the batch of the eleventh, at 23:00.
    store.refund("HKP-1", "HKR-1", 500, "11 10:00:00", false);
    let ids = |store: &mut Store, day| {
        let text = store.text(Kind::Transaction, day);
        let records = text.lines().skip(2);
        records
            .map(|line| line.split('|').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&mut store, "09"), ["HKP-1"]);
    assert_eq!(ids(&mut store, "10"), ["HKP-2"]);
    assert_eq!(ids(&mut store, "11"), ["HKR-1"]);
    let text = store.text(Kind::Transaction, "11");
    assert!(text.contains("|2026-03-11 23:00:00|REFUND|"), "{text}");
}

#[test]
fn what_was_never_paid_or_refunded_is_not_there_and_portal_refunds_are() {
    let mut store = Store::empty();
    store.pay("HKP-1", 1000, "09 10:00:00");
    store.pay("HKP-2", 1000, "09 10:01:00");
    let now = at("09 12:00:00");
    let portal = store.book.portal_refund(now, "HKP-1", 300, None);
    assert!(portal.is_some());
    store.refund("HKP-2", "HKR-2", 300, "09 12:00:00", true);
    let undone = RefundStatus::Failed;
    assert_eq!(
        store.book.undo_refund(now, "HKR-2", undone, None),
        Some(true)
    );
    let text = store.text(Kind::Transaction, "09");
    let refunds: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("|REFUND|"))
        .collect();
    assert_eq!(refunds.len(), 1, "{text}");
    assert!(refunds[0].starts_with("PORTAL"), "{text}");
    assert!(refunds[0].contains("|3.00|0.02|HKD|"), "{text}");
}

#[test]
fn fees_are_rounded_half_up_and_a_refund_may_keep_them() {
    let settings = FileSettings::default();
    for (amount, fee) in [
        (1, 0),
        (62, 0),
        (63, 1),
        (12850, 103),
        (2850, 23),
        (10_000_000_000, 80_000_000),
    ] {
        assert_eq!(settings.fee(amount), fee, "{amount}");
    }
    let mut store = Store::after_the_ninth();
    store.set(&json!({"fee_returned_on_refund": false, "fee_basis_points": 100}));
    let text = store.text(Kind::Transaction, "09");
    assert!(text.contains("|28.50|0.00|HKD|"), "{text}");
    assert!(
        text.contains("|60.00|0.60|HKD|2026-03-09 11:04:20|CANCEL|"),
        "{text}"
    );
    let text = store.text(Kind::Settlement, "10");
    assert!(text.contains("|28.50|0.00|28.50|HKD|"), "{text}");
}

#[test]
fn a_weekend_is_paid_out_on_monday_each_payment_once() {
    let mut store = Store::empty();
    for (id, when) in [
        ("HKP-12", "12 10:00:00"),
        ("HKP-13", "13 10:00:00"),
        ("HKP-14", "14 10:00:00"),
        ("HKP-15", "15 23:59:59"),
        ("HKP-16", "16 00:00:00"),
    ] {
        store.pay(id, 1000, when);
    }
    let mut settled = vec![];
    for day in 1..=31 {
        let day = format!("{day:02}");
        if let Some(file) = store.file(Kind::Settlement, &day) {
            settled.push((day, file.records));
        }
    }
    let expected = [("13", 1), ("16", 3), ("17", 1)];
    assert_eq!(
        settled,
        expected.map(|(day, records)| (day.to_owned(), records))
    );
}

#[test]
fn canceled_payments_are_settled_only_by_switch() {
    let mut store = Store::after_the_ninth();
    store.set(&json!({"settle_canceled": true}));
    let text = store.text(Kind::Settlement, "10");
    let lines: Vec<&str> = text
        .lines()
        .skip(1)
        .map(|line| &line[..line.find("|HKD").expect("there")])
        .collect();
    assert_eq!(
        lines,
        [
            "HKP-41|{41}|128.50|1.03|127.47",
            "HKP-42|{42}|60.00|0.48|59.52",
            "{42}|{42}|60.00|0.48|59.52",
            "HKR-7|{41}|28.50|0.23|28.27",
        ]
    );
}

#[test]
fn a_file_can_be_written_in_every_way() {
    let mut store = Store::after_the_ninth();
    let plain = store.text(Kind::Transaction, "09");
    let mut with = |settings: Value| {
        store.files.settings = FileSettings::default();
        store.set(&settings);
        store.text(Kind::Transaction, "09")
    };
    assert_eq!(with(json!({"header": false})), format!("{NAMES}{RECORDS}"));
    assert_eq!(with(json!({"names": false})), format!("{HEADER}{RECORDS}"));
    assert_eq!(with(json!({"crlf": true})), plain.replace('\n', "\r\n"));
    assert_eq!(
        with(json!({"blank_lines": true})),
        plain.replace('\n', "\n\n")
    );
    assert_eq!(
        with(json!({"charset": "UTF-8-BOM"})),
        format!("\u{feff}{plain}")
    );
    assert_eq!(
        with(json!({"cancel_word": "REVERSAL"})),
        plain.replace("CANCEL", "REVERSAL")
    );
    let signed = with(json!({"signed_refunds": true}));
    assert!(
        signed.contains("|-28.50|-0.23|HKD|") && signed.contains("|HKD|-28.50|"),
        "{signed}"
    );
    assert!(
        signed.contains("|-60.00|-0.48|HKD|") && signed.contains("|60.00|0.48|HKD|"),
        "{signed}"
    );
    for (layout, columns) in [("standard", 15), ("old", 8)] {
        let text = with(json!({"layout": layout}));
        let counts: Vec<usize> = text
            .lines()
            .skip(1)
            .map(|line| line.split('|').count())
            .collect();
        assert_eq!(counts, [columns; 5], "{layout}");
        assert!(
            !text.contains("ALIPAYHK") && !text.contains("M0001"),
            "{text}"
        );
    }
}

#[test]
fn gbk_is_written_as_gbk() {
    let mut store = Store::empty();
    store.pay("HKP-1", 1000, "09 10:00:00");
    store.refund("HKP-1", "HKR-1", 500, "09 12:00:00", true);
    store.set(&json!({"charset": "GBK"}));
    store.plant(json!({"type": "field", "row": "HKR-1", "column": "Remark", "value": "失败"}));
    let file = store.file(Kind::Transaction, "09").expect("a file");
    assert!(
        file.bytes
            .windows(4)
            .any(|bytes| bytes == b"\xca\xa7\xb0\xdc")
    );
}

#[test]
fn each_difference_is_planted_and_reported() {
    for (plant, change, from, to) in [
        (
            json!({"type": "wrong_amount", "row": "HKP-41", "by_minor": 100}),
            json!({"column": "Transaction_amount", "was": "128.50", "is": "129.50", "lines": [3]}),
            "|128.50|1.03|",
            "|129.50|1.03|",
        ),
        (
            json!({"type": "wrong_fee", "row": "HKR-7", "by_minor": -1}),
            json!({"column": "Charge_amount", "was": "0.23", "is": "0.22", "lines": [6]}),
            "|28.50|0.23|",
            "|28.50|0.22|",
        ),
        (
            json!({"type": "other_day", "row": "HKP-42 CANCEL", "days": 1}),
            json!({"column": "Payment_time", "was": "2026-03-09 11:04:20", "is": "2026-03-10 11:04:20", "lines": [5]}),
            "2026-03-09 11:04:20",
            "2026-03-10 11:04:20",
        ),
        (
            json!({"type": "field", "row": "HKP-42", "column": "Transaction_amount", "value": "60,00"}),
            json!({"column": "Transaction_amount", "was": "60.00", "is": "60,00", "lines": [4]}),
            "|60.00|0.48|HKD|2026-03-09 11:02:55",
            "|60,00|0.48|HKD|2026-03-09 11:02:55",
        ),
        (
            json!({"type": "total_count", "by": 3}),
            json!({"lines": []}),
            "Total_count:4",
            "Total_count:7",
        ),
    ] {
        let mut store = Store::after_the_ninth();
        let plain = store.text(Kind::Transaction, "09");
        let report = store.plant(plant.clone());
        let mut expected = plant;
        expected["applied"] = json!(true);
        for (name, value) in change.as_object().expect("an object") {
            expected[name] = value.clone();
        }
        assert_eq!(report, expected);
        let text = store.text(Kind::Transaction, "09");
        let differing = plain.replacen(from, to, 1);
        assert_ne!(differing, plain, "{from}");
        // A wrong amount is wrong in both currencies.
        assert_eq!(text.replace("|HKD|129.50|", "|HKD|128.50|"), differing);
    }
}

#[test]
fn rows_are_taken_away_added_and_repeated() {
    let mut store = Store::after_the_ninth();
    let plain = store.text(Kind::Transaction, "09");
    let records = |text: &str| -> Vec<String> { text.lines().skip(2).map(str::to_owned).collect() };
    let before = records(&plain);
    for (plant, lines) in [
        (json!({"type": "missing", "row": "HKP-42 CANCEL"}), vec![]),
        (json!({"type": "duplicate", "row": "HKP-41"}), vec![4]),
        (
            json!({"type": "extra_payment", "id": "UNKNOWN-1", "amount_minor": 500}),
            vec![7],
        ),
        (
            json!({"type": "extra_refund", "of": "HKP-41", "id": "UNKNOWN-2", "amount_minor": 100}),
            vec![8],
        ),
        (
            json!({"type": "paid_anyway", "id": "UNKNOWN-3", "amount_minor": 700}),
            vec![9],
        ),
        (json!({"type": "line", "text": "what is this"}), vec![10]),
    ] {
        let report = store.plant(plant);
        assert_eq!(
            (&report["applied"], &report["lines"]),
            (&json!(true), &json!(lines))
        );
    }
    let after = records(&store.text(Kind::Transaction, "09"));
    assert_eq!(
        after[..4],
        [&before[0], &before[0], &before[1], &before[3]].map(String::clone)
    );
    assert!(
        after[4].starts_with("UNKNOWN-1|")
            && after[4].contains("|5.00|0.04|HKD|2026-03-09 12:00:00|PAYMENT|")
    );
    assert!(after[5].starts_with("UNKNOWN-2|{41}|1.00|0.01|HKD|2026-03-09 12:00:00|REFUND|"));
    assert!(after[6].starts_with("UNKNOWN-3|") && after[6].contains("|7.00|"));
    assert_eq!(after[7], "what is this");
    assert_eq!(after.len(), 8);
    let file = store.file(Kind::Transaction, "09").expect("a file");
    assert_eq!((file.records, file.planted.len()), (8, 6));
    store.files.clear(id(Kind::Transaction, "09"));
    assert_eq!(store.text(Kind::Transaction, "09"), plain);
}

#[test]
fn what_cannot_be_planted_says_so() {
    let mut store = Store::after_the_ninth();
    let plain = store.text(Kind::Transaction, "09");
    for plant in [
        json!({"type": "missing", "row": "HKP-43"}),
        json!({"type": "missing", "row": "HKP-41 REFUND"}),
        json!({"type": "field", "row": "HKP-41", "column": "Amount", "value": "1"}),
        json!({"type": "extra_refund", "of": "HKP-43", "id": "R", "amount_minor": 1}),
        json!({"type": "paid_anyway", "id": "HKP-43", "amount_minor": null}),
    ] {
        assert_eq!(store.plant(plant)["applied"], json!(false));
    }
    assert_eq!(store.text(Kind::Transaction, "09"), plain);
}
