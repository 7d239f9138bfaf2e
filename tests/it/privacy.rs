//! Buyers are masked before they are written, and the database holds no other (`docs/invariants.md`
//! Q14).

use alipayhk_gateway::domain::payments::buyer::{BuyerLoginId, BuyerUserId};
use sqlx::PgPool;

use crate::support::World;

type Buyer = (Option<String>, Option<String>);

#[sqlx::test]
async fn q14_a_buyer_is_shown_and_kept_masked(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let user = paid.body["buyer"]["user_id"].as_str().expect("a user id");
    assert_eq!(BuyerUserId::mask(user).as_str(), user);
    assert!(user.starts_with("2088********"), "{user}");
    let (kept_user, kept_login): Buyer =
        sqlx::query_as("select buyer_user_id, buyer_login_id from payment")
            .fetch_one(&world.pool)
            .await
            .expect("a payment");
    assert_eq!(kept_user.as_deref(), Some(user));
    assert_eq!(
        kept_login.as_deref(),
        paid.body["buyer"]["login_id"].as_str()
    );
    world.finish().await;
}

/// One more payment, of this buyer, by raw SQL.
async fn store(pool: &PgPool, number: i32, status: &str, buyer: &Buyer) -> Result<(), sqlx::Error> {
    let (reason, returned) = if status == "canceled" {
        ("'requested'", "true")
    } else {
        ("null", "null")
    };
    let sql = format!(
        "insert into payment (merchant_id, payment_id, store_id, merchant_reference, description,
            amount_minor, currency, barcode_hint, partner, partner_trans_id, cancel_after_seconds, status,
            status_reason, money_returned, charged, finalized_at, buyer_user_id, buyer_login_id)
        select merchant_id, gen_random_uuid(), 'ST01', 'R{number}', 'tea', 100, 'HKD', '28', partner,
            'P{number}', 60, '{status}', {reason}, {returned}, true, db_now(), $1, $2
        from merchant
        returning 1"
    );
    sqlx::query_scalar::<_, i32>(sqlx::AssertSqlSafe(sql))
        .bind(&buyer.0)
        .bind(&buyer.1)
        .fetch_one(pool)
        .await
        .map(drop)
}

async fn open_store(pool: &PgPool) {
    let store = "insert into merchant (merchant_id, name, partner, secondary_merchant_id,
            secondary_merchant_name, secondary_merchant_industry, default_store_id, is_default)
        values (gen_random_uuid(), 'Cafe', '2088000000000001', 'SM001', 'Cafe Ltd', '5812', 'ST01', true);
        insert into store (merchant_id, store_id, store_name)
        select merchant_id, 'ST01', 'Cafe' from merchant";
    let done = sqlx::raw_sql(store).execute(pool).await;
    done.expect("a merchant and a store");
}

#[sqlx::test]
async fn q14_the_database_takes_every_mask_and_no_plain_buyer(pool: PgPool) {
    open_store(&pool).await;
    let texts = [
        "2088029910344991",
        "852-98765432",
        "85298765432",
        "jonathan@example.com",
        "a@b@example.com",
        "@",
        "-",
        "1234-5",
        "陳大文@例.hk",
        "line\r\nbreak\u{1b}[31m",
        "\u{0}\u{7f}",
        "",
        &"9".repeat(10_000),
    ];
    for (number, text) in texts.iter().enumerate() {
        let masked = (
            Some(BuyerUserId::mask(text).as_str().to_owned()),
            Some(BuyerLoginId::mask(text).as_str().to_owned()),
        );
        let number = i32::try_from(number).expect("few");
        let stored = store(&pool, number, "succeeded", &masked).await;
        stored.unwrap_or_else(|error| panic!("{masked:?}: {error}"));
    }
    for plain in [
        (Some("2088029910344991".to_owned()), None),
        (Some("208802***0344991".to_owned()), None),
        (None, Some("852-98765432".to_owned())),
        (None, Some("jonathan@example.com".to_owned())),
        (None, Some("jon***@example.com".to_owned())),
        (None, Some("98765432".to_owned())),
    ] {
        let refused = store(&pool, 99, "succeeded", &plain).await;
        let refused = refused.expect_err("a plain buyer is refused").to_string();
        assert!(
            refused.contains("payment_buyer_masked_check"),
            "{plain:?}: {refused}"
        );
    }
}
