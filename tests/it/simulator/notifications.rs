//! What is posted, when, and what can be wrong with it.

use alipayhk_gateway::{
    alipay::{
        notification::NotificationError, outcome::RefundQueryOutcome, request::RefundMode,
        sign::VerifyError,
    },
    domain::accounts::signing::SignType,
};
use chrono::TimeDelta;
use serde_json::json;

use super::{Post, Store, hk, noon, text};
use crate::support::{PARTNER, eventually};

async fn a_success_is_notified(sign_type: SignType) {
    let mut store = Store::open_with(Some(noon()), sign_type).await;
    store.simulator.shape_notifications("answer").await;
    let refund = store.refund_later().await;
    assert!(store.inbox.take().is_empty(), "the clock stands still");
    assert_eq!(store.simulator.deliver_notifications().await, 1);
    let posts = store.inbox.take();
    let [post] = posts.as_slice() else {
        panic!("{} posts", posts.len());
    };
    let form = "application/x-www-form-urlencoded;charset=UTF-8";
    assert_eq!(post.content_type, form);
    let fields = post.verify(sign_type).expect("signed by Alipay");
    let trans_id = refund.partner_trans_id.as_str();
    for (name, value) in [
        ("partner_trans_id", trans_id),
        ("out_trade_no", trans_id),
        ("partner_refund_id", refund.partner_refund_id.as_str()),
        ("out_return_no", refund.partner_refund_id.as_str()),
        ("partner", PARTNER),
        ("seller_id", PARTNER),
        ("refund_amount", "1.00"),
        ("currency", "HKD"),
        ("refund_status", "SUCCESS"),
        ("result_code", "SUCCESS"),
        ("notify_type", "refund_status_sync"),
        ("notify_time", "2026-01-02 12:00:00"),
    ] {
        assert_eq!(fields.get(name), Some(value), "{name}");
    }
    let notification = store.notification().await;
    assert_eq!(fields.get("notify_id"), notification["notify_id"].as_str());
    assert_eq!(notification["state"], "acknowledged");
    let shown = store
        .simulator
        .refund(refund.partner_refund_id.as_str())
        .await;
    assert_eq!(shown["notify"]["state"], "acknowledged", "{shown}");
}

#[tokio::test]
async fn a_success_is_notified_and_signed_with_rsa2() {
    a_success_is_notified(SignType::Rsa2).await;
}

#[tokio::test]
async fn a_success_is_notified_and_signed_with_rsa() {
    a_success_is_notified(SignType::Rsa).await;
}

#[tokio::test]
async fn a_success_is_notified_and_signed_with_md5() {
    a_success_is_notified(SignType::Md5).await;
}

/// The fields by which five clients of the family read it, and what was refunded so far.
#[tokio::test]
async fn a_success_is_notified_as_the_family_does() {
    let mut store = Store::open().await;
    let payment = store.pay("0001").await;
    for (so_far, trade_status) in [("1.00", "TRADE_SUCCESS"), ("2.00", "TRADE_SUCCESS")] {
        let request = store.request(&payment, "async");
        store.send(&request).await;
        assert_eq!(store.simulator.deliver_notifications().await, 1);
        let post = store.inbox.take().remove(0);
        let fields = post.genuine();
        for (name, value) in [
            ("notify_type", "trade_status_sync"),
            ("notify_action_type", "refundFPAction"),
            ("out_trade_no", payment.as_str()),
            ("trade_status", trade_status),
            ("seller_id", PARTNER),
            ("total_fee", "10.00"),
            ("refund_fee", so_far),
            ("out_biz_no", request.partner_refund_id.as_str()),
        ] {
            assert_eq!(fields.get(name), Some(value), "{name}");
        }
        for given in ["notify_id", "notify_time", "trade_no", "buyer_id"] {
            assert!(fields.get(given).is_some(), "{given}");
        }
        for absent in [
            "partner",
            "partner_refund_id",
            "out_return_no",
            "refund_amount",
            "currency",
            "result_code",
        ] {
            assert_eq!(fields.get(absent), None, "{absent}");
        }
    }
}

/// NT-1 on Alipay's side.
#[tokio::test]
async fn nt_1_whoever_moves_the_clock_is_answered_after_the_deliveries() {
    let mut store = Store::open().await;
    store
        .inbox
        .answer(&["fail", "<html>success</html>", "SUCCESS"]);
    store.refund_later().await;
    for (now, so_far) in [
        ("01-02 12:00:00", 1),
        ("01-02 12:01:59.999", 1),
        ("01-02 12:02:00", 2),
        ("01-02 12:12:00", 3),
        ("01-05 00:00:00", 3),
    ] {
        store.simulator.set_clock(hk(now)).await;
        let notification = store.notification().await;
        let attempts = notification["attempts"].as_array().expect("a list");
        assert_eq!(attempts.len(), so_far, "{now}: {notification}");
        assert!(attempts.iter().all(|attempt| attempt["status"] == 200));
    }
    let posts = store.inbox.take();
    let ids: Vec<String> = posts.iter().map(|post| post.field("notify_id")).collect();
    assert_eq!(ids, vec![ids[0].clone(); 3]);
    let times = posts.iter().map(|post| post.field("notify_time"));
    let expected = [
        "2026-01-02 12:00:00",
        "2026-01-02 12:02:00",
        "2026-01-02 12:12:00",
    ];
    assert_eq!(times.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_jump_delivers_every_attempt_with_its_own_time() {
    let mut store = Store::open().await;
    store.inbox.answer(&["no"; 8]);
    let night = json!({"same_day_immediate": false, "in_window": "next_night"});
    store.simulator.set_refund_policy(&night).await;
    store.refund_later().await;
    store.simulator.advance_clock(TimeDelta::days(3)).await;
    let times: Vec<String> = store
        .inbox
        .take()
        .iter()
        .map(|post| post.field("notify_time"))
        .collect();
    let expected = [
        "2026-01-02 23:00:00",
        "2026-01-02 23:02:00",
        "2026-01-02 23:12:00",
        "2026-01-02 23:22:00",
        "2026-01-03 00:22:00",
        "2026-01-03 02:22:00",
        "2026-01-03 08:22:00",
        "2026-01-03 23:22:00",
    ];
    assert_eq!(times, expected);
    assert_eq!(store.notification().await["state"], "exhausted");
}

#[tokio::test]
async fn a_running_clock_delivers_by_itself() {
    let mut store = Store::open_with(None, SignType::Rsa2).await;
    store.refund_later().await;
    eventually("the notification", async || {
        store.notification_state().await == "acknowledged"
    })
    .await;
    assert_eq!(store.inbox.take().len(), 1);
}

#[tokio::test]
async fn notify_verify_confirms_until_the_acknowledgement() {
    let mut store = Store::open().await;
    store.inbox.answer(&["not yet"]);
    store.refund_later().await;
    store.simulator.deliver_notifications().await;
    let notification = store.notification().await;
    let id = text(&notification, "notify_id");
    assert_eq!(store.verify(id).await, "true");
    assert_eq!(store.verify("another").await, "false");
    store.simulator.advance_clock(TimeDelta::minutes(2)).await;
    assert_eq!(store.verify(id).await, "false");
}

#[tokio::test]
async fn spoilt_notifications_are_what_they_are_called() {
    let mut store = Store::open().await;
    store.refund_later().await;
    store.simulator.deliver_notifications().await;
    let id = text(&store.notification().await, "notify_id").to_owned();
    store.inbox.take();
    let signature = |fault| Err(NotificationError::Signature(fault));
    for (fault, expected) in [
        ("forged_signature", signature(VerifyError::Wrong)),
        ("missing_sign", signature(VerifyError::Missing)),
        (
            "downgraded_sign_type",
            signature(VerifyError::OtherSignType),
        ),
        ("duplicate_field", Err(NotificationError::Repeated)),
        ("other_partner", Ok(("seller_id", "2088999999999999"))),
        ("other_trade_id", Ok(("out_trade_no", "ANOTHER_PAYMENT"))),
        ("other_refund_id", Ok(("out_biz_no", "ANOTHER_REFUND"))),
        ("other_amount", Ok(("refund_fee", "2.00"))),
        ("other_currency", Ok(("currency", "USD"))),
        ("other_status", Ok(("trade_status", "TRADE_PENDING"))),
        ("mislabeled", Ok(("subject", "退款成功"))),
        ("extra_fields", Ok(("subject", "港式奶茶 & toast"))),
    ] {
        store.simulator.script_notification(1, fault).await;
        store.simulator.repeat_notification(&id, &json!({})).await;
        let posts = store.inbox.take();
        let read = posts[0].verify(SignType::Rsa2);
        match expected {
            Ok((name, value)) => {
                let fields = read.unwrap_or_else(|error| panic!("{fault}: {error}"));
                assert_eq!(fields.get(name), Some(value), "{fault}");
            }
            Err(error) => assert_eq!(read.err(), Some(error), "{fault}"),
        }
    }
    store.simulator.script_notification(1, "gbk").await;
    store.simulator.repeat_notification(&id, &json!({})).await;
    let post = store.inbox.take().remove(0);
    let form = "application/x-www-form-urlencoded;charset=GBK";
    assert_eq!(post.content_type, form);
    let text = String::from_utf8_lossy(&post.body).into_owned();
    assert!(text.contains("subject=%CD%CB%BF%EE%B3%C9%B9%A6"), "{text}");
}

#[tokio::test]
async fn copies_come_in_floods_and_byte_for_byte() {
    let mut store = Store::open().await;
    store.refund_later().await;
    store.simulator.deliver_notifications().await;
    let id = text(&store.notification().await, "notify_id").to_owned();
    let first = store.inbox.take().remove(0);
    store.simulator.advance_clock(TimeDelta::hours(5)).await;
    let flood = json!({"times": 100, "concurrency": 8, "replay": true});
    let notification = store.simulator.repeat_notification(&id, &flood).await;
    assert_eq!(notification["attempts"].as_array().map(Vec::len), Some(101));
    let posts = store.inbox.take();
    assert_eq!(posts.len(), 100);
    assert!(posts.iter().all(|post| post.body == first.body));
    store.simulator.repeat_notification(&id, &json!({})).await;
    let copy = store.inbox.take().remove(0);
    assert_eq!(copy.field("notify_time"), "2026-01-02 17:00:00");
    assert_eq!(copy.genuine().get("notify_id"), Some(id.as_str()));
}

#[tokio::test]
async fn notifications_come_late_out_of_order_early_or_not_at_all() {
    let mut store = Store::open().await;
    store.simulator.set_notifications("hold").await;
    let late = store.refund_later().await;
    store.simulator.advance_clock(TimeDelta::minutes(1)).await;
    assert!(store.inbox.take().is_empty());
    store.simulator.script_notification(1, "reorder").await;
    let overtaking = store.refund_later().await;
    store.simulator.set_notifications("on").await;
    let order = |posts: Vec<Post>| -> Vec<String> {
        let posts = posts.iter();
        posts.map(|post| post.field("out_biz_no")).collect()
    };
    let reversed = [&overtaking, &late].map(|refund| refund.partner_refund_id.as_str().to_owned());
    assert_eq!(order(store.inbox.take()), reversed);

    store.simulator.set_notifications("off").await;
    let silent = store.refund_later().await;
    store.simulator.set_notifications("on").await;
    store.simulator.advance_clock(TimeDelta::days(2)).await;
    assert!(store.inbox.take().is_empty());
    let shown = store
        .simulator
        .refund(silent.partner_refund_id.as_str())
        .await;
    assert_eq!(shown["notify"]["state"], "not_announced", "{shown}");

    let night = json!({"same_day_immediate": false});
    store.simulator.set_refund_policy(&night).await;
    let early = store.refund_later().await;
    let said = store
        .simulator
        .announce_refund(early.partner_refund_id.as_str())
        .await;
    assert_eq!(said["state"], "acknowledged", "{said}");
    assert_eq!(store.inbox.take().len(), 1);
    let processing = RefundQueryOutcome::Processing {
        code: None,
        accepted_at: Some(hk("01-04 12:01:00")),
    };
    assert_eq!(store.ask(&early).await, processing);
}

#[tokio::test]
async fn nothing_is_sent_to_another_machine() {
    let mut store = Store::open().await;
    for elsewhere in [
        "http://192.0.2.1/n",
        "https://127.0.0.1/n",
        "http://gateway/n",
    ] {
        let payment = store.pay("0001").await;
        let mut request = store.request(&payment, "async");
        request.mode = RefundMode::Asynchronous {
            notify_url: Some(elsewhere.parse().expect("an address")),
        };
        store.send(&request).await;
    }
    store.simulator.advance_clock(TimeDelta::days(2)).await;
    let notifications = store.simulator.notifications().await;
    assert_eq!(notifications.len(), 3);
    for notification in notifications {
        assert_eq!(notification["state"], "undeliverable", "{notification}");
        let attempts = notification["attempts"].as_array().expect("a list");
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0]["result"], "undeliverable");
    }
}
