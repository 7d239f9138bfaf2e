//! Texts and amounts as Alipay takes them: lengths are bytes. The simulated Alipay refuses what is longer,
//! so whatever is paid here fits.

use alipayhk_gateway::{
    app::accounts::Account,
    domain::{access::principal::Scope, merchants::limits::Limits, money::Money},
};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    secondary_merchants::{STORE, store_body},
    support::{
        PARTNER, World,
        http::{Answer, body},
    },
};

/// The only fault of a refused request: where, which, and in which words.
fn fault(answer: &Answer) -> (&str, &str, &str) {
    assert_eq!(
        answer.summary("code"),
        (422, "validation_failed"),
        "{answer:?}"
    );
    let faults = answer.body["errors"].as_array().expect("faults");
    assert_eq!(faults.len(), 1, "{answer:?}");
    let text = |name: &str| faults[0][name].as_str().expect("text");
    (text("pointer"), text("code"), text("detail"))
}

#[sqlx::test]
async fn a_sale_is_not_refused_for_the_length_of_its_description_which_is_kept_whole(pool: PgPool) {
    let world = World::start(pool).await;
    for description in [
        "港式奶茶".repeat(50),
        "👨‍👩‍👧‍👦".repeat(30),
        "a very long description ".repeat(150),
        // Nothing of it fits: one character, with marks without end.
        format!("x{}", "\u{301}".repeat(300)),
    ] {
        let mut request = body("0001");
        request["description"] = json!(description);
        let key = format!("long-{}", description.len());
        let paid = world.till.create(&key, &request, 5).await;
        assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
        assert_eq!(paid.body["description"], description);
        let kept = world.till.payment(paid.id()).await;
        assert_eq!(kept["description"], description);
        let again = world.till.create(&key, &request, 5).await;
        assert_eq!((again.status, again.id()), (200, paid.id()));
    }
    world.finish().await;
}

/// Names that were stored when characters were counted.
#[sqlx::test]
async fn a_sale_is_not_refused_for_the_length_of_a_name_that_is_stored(pool: PgPool) {
    let world = World::start(pool).await;
    world
        .sql("update merchant set secondary_merchant_name = repeat('茶', 128)")
        .await;
    world
        .sql("update store set store_name = repeat('店', 256)")
        .await;
    let mut request = body("0001");
    request["description"] = Value::Null;
    let paid = world.till.create("k", &request, 5).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    world.finish().await;
}

#[sqlx::test]
async fn other_texts_are_refused_with_the_limit_and_their_length_in_bytes(pool: PgPool) {
    let world = World::start(pool).await;
    let tea = |count: usize| "茶".repeat(count);
    let paid = world.pay("0001").await;
    let refund = |count| json!({"reason": tea(count)});
    let refused = world.till.refund(paid.id(), &refund(43), 5).await;
    let (pointer, code, detail) = fault(&refused);
    assert_eq!((pointer, code), ("/reason", "invalid_length"));
    assert!(detail.contains("128") && detail.contains("129"), "{detail}");
    let done = world.till.refund(paid.id(), &refund(42), 5).await;
    assert_eq!(done.summary("status"), (201, "succeeded"), "{done:?}");

    let operator = world.overseer(&[Scope::Admin]).await;
    let stores = format!("/v1/admin/merchants/{}/stores", world.merchant_id);
    let store = |count| json!({"store_id": "ST77", "name": tea(count)});
    let refused = operator.post(&stores, &store(86)).await;
    let (pointer, _, detail) = fault(&refused);
    assert_eq!(pointer, "/name");
    assert!(detail.contains("256") && detail.contains("258"), "{detail}");
    let made = operator.post(&stores, &store(85)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let mut request = body("0001");
    request["store_id"] = json!("ST77");
    let paid = world.till.create("at-ST77", &request, 5).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");

    let registrar = world.caller(0, &[Scope::Admin]).await;
    let mut longest = store_body();
    for (name, most) in [
        ("secondary_merchant_name", 128),
        ("store_name", 256),
        ("store_address", 330),
        ("registration_no", 128),
        ("register_address", 256),
        ("shareholder_name", 64),
        ("shareholder_id", 128),
        ("cs_no", 64),
    ] {
        let fits = most / 3;
        let mut long = store_body();
        long[name] = json!(tea(fits + 1));
        longest[name] = json!(tea(fits));
        let refused = registrar.put(STORE, &long).await;
        let (pointer, code, detail) = fault(&refused);
        assert_eq!((pointer, code), (&*format!("/{name}"), "invalid_length"));
        let bytes = (3 * (fits + 1)).to_string();
        assert!(
            detail.contains(&most.to_string()) && detail.contains(&bytes),
            "{detail}"
        );
    }
    let taken = registrar.put(STORE, &longest).await;
    assert!(matches!(taken.status, 200..=202), "{taken:?}");
    world.finish().await;
}

#[sqlx::test]
async fn what_can_be_paid_can_be_refunded_in_one_piece(pool: PgPool) {
    let world = World::start(pool).await;
    let app = &world.replicas[0].app;
    let account = Account::clone(&app.accounts()[PARTNER]);
    let with_limits = async |max_payment_minor, largest_refund_minor| {
        let limits = Limits {
            max_payment_minor,
            largest_refund_minor,
            ..Limits::default()
        };
        let account = Account {
            limits,
            ..account.clone()
        };
        app.replace_accounts(vec![account]).await;
    };
    let most = Money::MAX_REFUND_MINOR;
    let pay = async |key: &str, minor: i64| {
        let mut request = body("0001");
        request["amount"]["value"] = json!(minor);
        world.till.create(key, &request, 5).await
    };
    with_limits(Some(Money::MAX_PAYMENT_MINOR), Some(most)).await;
    let refused = pay("above", most + 1).await;
    let (pointer, code, detail) = fault(&refused);
    assert_eq!((pointer, code), ("/amount/value", "above_limit"));
    assert!(detail.contains("999999999"), "{detail}");
    let paid = pay("most", most).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    let back = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(back.summary("status"), (201, "succeeded"), "{back:?}");

    // An account that knew of no limit took more: that goes back in pieces.
    with_limits(None, None).await;
    let paid = pay("more", most + 1).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    with_limits(None, Some(most)).await;
    let whole = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(
        whole.summary("code"),
        (422, "refund_limit_exceeded"),
        "{whole:?}"
    );
    assert_eq!(whole.body["errors"][0]["code"], "largest_refund_minor");
    let piece = |minor: i64| json!({"amount": {"value": minor, "currency": "HKD"}});
    for minor in [most, 1] {
        let back = world.till.refund(paid.id(), &piece(minor), 5).await;
        assert_eq!(back.summary("status"), (201, "succeeded"), "{back:?}");
    }
    world.finish().await;
}
