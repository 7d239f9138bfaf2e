//! Both sides sign and verify with code of their own: payments go through under every agreement.

use alipayhk_gateway::domain::accounts::signing::SignType;
use chrono::TimeDelta;
use sqlx::PgPool;

use crate::support::{Options, World};

/// A paid, a declined, a waiting, a canceled and a lied-about payment under one agreement.
async fn payments_go_through(pool: PgPool, sign_type: SignType) {
    let options = Options {
        sign_type,
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let paid = world.pay("0001").await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    let declined = world.pay("1016").await;
    assert_eq!(declined.summary("status"), (201, "failed"), "{declined:?}");
    let confirmed = world.pay_until_open("0101").await;
    assert_eq!(confirmed["status_reason"], "awaiting_buyer");
    let never_confirmed = world.pay_until_open("0102").await;
    let forged = world.pay_until_open("3001").await;
    assert_eq!(forged["status_reason"], "outcome_unknown");
    for (payment, status) in [
        (confirmed, "succeeded"),
        (forged, "succeeded"),
        (never_confirmed, "canceled"),
    ] {
        let id = payment["id"].as_str().expect("an id");
        let end = world.run_until_final(id, TimeDelta::seconds(90)).await;
        assert_eq!(end["status"], status, "{end}");
    }
    let requests = world.simulator.requests().await;
    for service in ["pay", "query", "cancel"] {
        assert!(
            requests.iter().any(|r| r["service"] == service),
            "{service}"
        );
    }
    for request in requests {
        assert_eq!(request["signature_ok"], true, "{request}");
        assert_eq!(request["params"]["sign_type"], sign_type.as_str());
    }
    world.finish().await;
}

#[sqlx::test]
async fn payments_go_through_signed_with_rsa2(pool: PgPool) {
    payments_go_through(pool, SignType::Rsa2).await;
}

#[sqlx::test]
async fn payments_go_through_signed_with_rsa(pool: PgPool) {
    payments_go_through(pool, SignType::Rsa).await;
}

#[sqlx::test]
async fn payments_go_through_signed_with_md5(pool: PgPool) {
    payments_go_through(pool, SignType::Md5).await;
}
