use super::*;
use crate::{
    book::{Book, RefundPolicy, Script},
    charset::Charset,
    params::Message,
    request::{Pay, Place, Refund as RefundRequest},
    signing::Keys,
};

const PARTNER: &str = "2088000000000001";

fn keys() -> Keys {
    Keys::Md5 {
        key: "0123456789abcdef0123456789abcdef".to_owned(),
    }
}

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-{}+08:00", text.replace(' ', "T"))
        .parse()
        .unwrap()
}

/// Notifications with one about the refund `R` of 28.50, which succeeded at noon.
fn announced(charset: Charset) -> Notifications {
    let mut notifications = Notifications::new();
    announce(&mut notifications, "R", "01-01 12:00:00", charset);
    notifications
}

fn announce(notifications: &mut Notifications, id: &str, when: &str, charset: Charset) {
    let mut book = Book::new();
    let at_once = RefundPolicy {
        same_day_immediate: true,
        ..RefundPolicy::default()
    };
    book.set_policy(at(when), at_once);
    let pay = Pay {
        partner_trans_id: "HKT1".to_owned(),
        amount_minor: 10_000,
        currency: "HKD".to_owned(),
        buyer_user_id: "2088000000000099".to_owned(),
        ending: "0001".to_owned(),
        place: Place::default(),
    };
    book.pay(at(when), &pay, &Script::PLAIN);
    let request = RefundRequest {
        partner_trans_id: "HKT1".to_owned(),
        alipay_trans_id: None,
        partner_refund_id: id.to_owned(),
        amount_minor: 2850,
        currency: "HKD".to_owned(),
        reason: String::new(),
        sync: false,
        notify_to: Some(NotifyTo {
            url: "http://127.0.0.1:1/n?a=b".to_owned(),
            charset,
        }),
    };
    book.refund(at(when), &request);
    for (at, refund, trade) in book.take_announcements(at(when)) {
        notifications.announce(at, refund, trade).unwrap();
    }
}

/// Answers whatever is due by `now` with `body`; the `notify_time` of each.
fn answer_all(notifications: &mut Notifications, now: &str, body: &str) -> Vec<DateTime<Utc>> {
    let mut times = Vec::new();
    while let Some(parcel) = notifications.next(at(now)) {
        times.push(parcel.notify_time);
        notifications.sent(at(now), &parcel, Answer::received(200, body));
    }
    times
}

#[test]
fn a_notification_repeats_on_the_documented_schedule() {
    let mut notifications = announced(Charset::Utf8);
    assert!(notifications.next(at("01-01 11:59:59.999")).is_none());
    let schedule = [
        "01-01 12:00:00",
        "01-01 12:02:00",
        "01-01 12:12:00",
        "01-01 12:22:00",
        "01-01 13:22:00",
        "01-01 15:22:00",
        "01-01 21:22:00",
        "01-02 12:22:00",
    ];
    for instant in schedule {
        let just_before = at(instant) - TimeDelta::milliseconds(1);
        assert!(notifications.next(just_before).is_none(), "{instant}");
        let sent = answer_all(&mut notifications, instant, "fail");
        assert_eq!(sent, [at(instant)]);
    }
    assert!(notifications.next(at("03-01 00:00:00")).is_none());
    assert_eq!(notifications.list()[0].state(), "exhausted");
}

#[test]
fn a_jump_makes_all_attempts_due_in_order_until_one_is_acknowledged() {
    let mut deaf = announced(Charset::Utf8);
    announce(&mut deaf, "R2", "01-01 12:05:00", Charset::Utf8);
    let times = answer_all(&mut deaf, "01-01 12:20:00", "later");
    let expected = [
        "01-01 12:00:00",
        "01-01 12:02:00",
        "01-01 12:05:00",
        "01-01 12:07:00",
        "01-01 12:12:00",
        "01-01 12:17:00",
    ];
    assert_eq!(times, expected.map(at));
    let mut heard = announced(Charset::Utf8);
    let times = answer_all(&mut heard, "01-09 12:20:00", " SUCCESS\n");
    assert_eq!(times, [at("01-01 12:00:00")]);
    assert_eq!(heard.list()[0].state(), "acknowledged");
}

#[test]
fn only_success_with_status_200_acknowledges() {
    for (status, body, expected) in [
        (200, "success", AttemptResult::Acknowledged),
        (200, "SUCCESS", AttemptResult::Acknowledged),
        (200, "success!", AttemptResult::NotAcknowledged),
        (200, "<p>success</p>", AttemptResult::NotAcknowledged),
        (302, "success", AttemptResult::NotAcknowledged),
        (500, "success", AttemptResult::NotAcknowledged),
        (200, "", AttemptResult::NotAcknowledged),
    ] {
        let answer = Answer::received(status, body);
        assert_eq!(answer.result, expected, "{status} {body}");
    }
}

#[test]
fn what_is_held_comes_late_and_what_is_off_never() {
    let mut held = Notifications::new();
    held.mode = Mode::Hold;
    announce(&mut held, "R", "01-01 12:00:00", Charset::Utf8);
    assert!(held.next(at("01-01 12:05:00")).is_none());
    held.mode = Mode::On;
    let late = answer_all(&mut held, "01-01 12:05:00", "success");
    assert_eq!(late, [at("01-01 12:00:00")]);
    let mut off = announced(Charset::Utf8);
    off.mode = Mode::Off;
    let about = Arc::clone(&off.list()[0].about);
    let announced = off.announce(
        at("01-01 12:00:00"),
        about.refund.clone(),
        about.trade.clone(),
    );
    assert!(announced.is_none());
}

#[test]
fn an_acknowledged_notification_is_no_longer_verified() {
    let mut notifications = announced(Charset::Utf8);
    let id = notifications.list()[0].about.notify_id.clone();
    assert!(notifications.verify(&id));
    assert!(!notifications.verify("another"));
    answer_all(&mut notifications, "01-01 12:00:00", "success");
    assert!(!notifications.verify(&id));
}

#[test]
fn a_notification_to_elsewhere_is_given_up_at_once() {
    let mut notifications = announced(Charset::Utf8);
    let parcel = notifications.next(at("01-01 12:00:00")).unwrap();
    notifications.sent(at("01-01 12:00:00"), &parcel, Answer::undeliverable());
    assert!(notifications.next(at("03-01 00:00:00")).is_none());
    assert_eq!(notifications.list()[0].state(), "undeliverable");
}

#[test]
fn copies_are_made_whatever_was_acknowledged() {
    let mut notifications = announced(Charset::Utf8);
    answer_all(&mut notifications, "01-01 12:00:00", "success");
    let id = notifications.list()[0].about.notify_id.clone();
    let now = at("01-05 00:00:00");
    let replays = notifications.repeat(now, &id, 2, true).unwrap();
    let bodies: Vec<String> = replays.iter().map(|parcel| form(parcel).body).collect();
    assert_eq!(bodies[0], bodies[1]);
    assert!(bodies[0].contains("notify_time=2026-01-01+12%3A00%3A00"));
    let copy = &notifications.repeat(now, &id, 1, false).unwrap()[0];
    assert!(
        form(copy)
            .body
            .contains("notify_time=2026-01-05+00%3A00%3A00")
    );
    assert!(form(copy).body.contains(&format!("notify_id={id}&")));
    assert!(notifications.repeat(now, "another", 1, false).is_none());
}

fn form(parcel: &Parcel) -> form::Form {
    parcel.form(&keys(), PARTNER).unwrap()
}

/// The form of the first attempt, spoilt.
fn spoilt(fault: NotificationFault) -> form::Form {
    let mut notifications = announced(Charset::Utf8);
    script(&mut notifications, fault, None);
    form(&notifications.next(at("01-01 12:00:00")).unwrap())
}

fn script(notifications: &mut Notifications, fault: NotificationFault, refund: Option<&str>) {
    notifications.faults.push(NotificationFaultRule {
        partner_refund_id: refund.map(str::to_owned),
        times: 1,
        fault,
    });
}

/// The fields as a merchant reads them, and whether the signature is good.
fn read(form: &form::Form) -> (Message, bool) {
    let charset = form.content_type.split_once("charset=").unwrap().1;
    let query = format!("_input_charset={charset}");
    let message = Message::parse(query.as_bytes(), form.body.as_bytes()).unwrap();
    // The charset is not a field of the notification.
    let bare = Message::parse(b"", form.body.as_bytes());
    let text = bare.map(|bare| bare.signed_bytes());
    let sign = message.get("sign").unwrap_or_default().to_owned();
    let good = text.is_ok_and(|text| keys().verify(&text, &sign));
    (message, good)
}

#[test]
fn a_notification_is_signed_over_its_fields_in_the_charset_of_the_request() {
    for (charset, label) in [(Charset::Utf8, "UTF-8"), (Charset::Gbk, "GBK")] {
        let mut notifications = announced(charset);
        notifications.shape = Shape::Answer;
        let form = form(&notifications.next(at("01-01 12:00:00")).unwrap());
        let content_type = format!("application/x-www-form-urlencoded;charset={label}");
        assert_eq!(form.content_type, content_type);
        let (fields, good) = read(&form);
        assert!(good, "{}", form.body);
        for (name, value) in [
            ("notify_type", "refund_status_sync"),
            ("notify_time", "2026-01-01 12:00:00"),
            ("partner", PARTNER),
            ("seller_id", PARTNER),
            ("out_trade_no", "HKT1"),
            ("partner_trans_id", "HKT1"),
            ("out_return_no", "R"),
            ("partner_refund_id", "R"),
            ("refund_amount", "28.50"),
            ("currency", "HKD"),
            ("refund_status", "SUCCESS"),
            ("result_code", "SUCCESS"),
            ("sign_type", "MD5"),
        ] {
            assert_eq!(fields.get(name), Some(value), "{name}");
        }
        assert_eq!(fields.get("trade_no"), fields.get("alipay_trans_id"));
        assert_eq!(fields.get("notify_id").map(str::len), Some(32));
    }
}

#[test]
fn a_notification_looks_as_the_familys_do() {
    let mut notifications = announced(Charset::Utf8);
    let (fields, good) = read(&form(&notifications.next(at("01-01 12:00:00")).unwrap()));
    assert!(good);
    for (name, value) in [
        ("notify_type", "trade_status_sync"),
        ("notify_action_type", "refundFPAction"),
        ("out_trade_no", "HKT1"),
        ("trade_status", "TRADE_SUCCESS"),
        ("seller_id", PARTNER),
        ("buyer_id", "2088000000000099"),
        ("total_fee", "100.00"),
        ("refund_fee", "28.50"),
        ("out_biz_no", "R"),
    ] {
        assert_eq!(fields.get(name), Some(value), "{name}");
    }
    for absent in [
        "partner_refund_id",
        "out_return_no",
        "currency",
        "result_code",
    ] {
        assert_eq!(fields.get(absent), None, "{absent}");
    }
    let nameless = read(&spoilt(NotificationFault::NoRefundId)).0;
    assert_eq!(nameless.get("out_biz_no"), None);
}

#[test]
fn faults_spoil_what_they_say() {
    for fault in [
        NotificationFault::ForgedSignature,
        NotificationFault::MissingSign,
    ] {
        assert!(!read(&spoilt(fault)).1, "{fault:?}");
    }
    let downgraded = read(&spoilt(NotificationFault::DowngradedSignType)).0;
    assert_eq!(downgraded.get("sign_type"), Some("RSA"));
    for (fault, name, value) in [
        (
            NotificationFault::OtherPartner,
            "seller_id",
            "2088999999999999",
        ),
        (
            NotificationFault::OtherTradeId,
            "out_trade_no",
            "ANOTHER_PAYMENT",
        ),
        (
            NotificationFault::OtherRefundId,
            "out_biz_no",
            "ANOTHER_REFUND",
        ),
        (NotificationFault::OtherAmount, "refund_fee", "29.50"),
        (NotificationFault::OtherCurrency, "currency", "USD"),
        (
            NotificationFault::OtherStatus,
            "trade_status",
            "TRADE_PENDING",
        ),
        (NotificationFault::Gbk, "subject", "退款成功"),
    ] {
        let (fields, good) = read(&spoilt(fault));
        assert_eq!(fields.get(name), Some(value), "{fault:?}");
        assert!(good, "{fault:?}: these are signed by Alipay");
    }
    let extra = spoilt(NotificationFault::ExtraFields);
    assert_eq!(read(&extra).0.get("subject"), Some("港式奶茶 & toast"));
    let twice = spoilt(NotificationFault::DuplicateField).body;
    assert!(twice.starts_with("refund_fee=29.50&"), "{twice}");
    assert!(twice.contains("&refund_fee=28.50&"), "{twice}");
    let mislabeled = spoilt(NotificationFault::Mislabeled);
    assert!(mislabeled.content_type.ends_with("charset=UTF-8"));
    assert!(mislabeled.body.contains("subject=%CD%CB%BF%EE"));
}

#[test]
fn a_lost_attempt_is_not_sent_and_a_reordered_one_after_the_next() {
    let mut notifications = announced(Charset::Utf8);
    script(&mut notifications, NotificationFault::Lost, None);
    let times = answer_all(&mut notifications, "01-01 12:01:00", "success");
    assert!(times.is_empty());
    assert_eq!(
        notifications.list()[0].attempts[0].result,
        AttemptResult::Lost
    );
    announce(&mut notifications, "R2", "01-01 12:01:30", Charset::Utf8);
    script(&mut notifications, NotificationFault::Reorder, Some("R2"));
    let times = answer_all(&mut notifications, "01-01 12:02:00", "success");
    let expected = ["01-01 12:02:00", "01-01 12:01:30"];
    assert_eq!(times, expected.map(at));
    let states = notifications.list().iter().map(Notification::state);
    assert_eq!(states.collect::<Vec<_>>(), ["acknowledged"; 2]);
}

#[test]
fn a_rule_is_for_one_refund_or_for_any() {
    let mut rules: Vec<NotificationFaultRule> = [
        r#"{"partner_refund_id":"R2","fault":{"type":"gbk"}}"#,
        r#"{"times":2,"fault":{"type":"forged_signature"}}"#,
    ]
    .map(|json| serde_json::from_str(json).unwrap())
    .into();
    assert_eq!(
        fault::take(&mut rules, "R1"),
        Some(NotificationFault::ForgedSignature)
    );
    assert_eq!(fault::take(&mut rules, "R2"), Some(NotificationFault::Gbk));
    assert_eq!(
        fault::take(&mut rules, "R2"),
        Some(NotificationFault::ForgedSignature)
    );
    assert_eq!(fault::take(&mut rules, "R2"), None);
    for json in [
        r#"{"fault":{"type":"explode"}}"#,
        r#"{"time":1,"fault":{"type":"gbk"}}"#,
    ] {
        assert!(
            serde_json::from_str::<NotificationFaultRule>(json).is_err(),
            "{json}"
        );
    }
}
