//! The simulated Alipay reviews stores: it takes what the documents allow and nothing else, and does not
//! take payments where it was told that they need an approval.

use alipayhk_gateway::{
    alipay::{
        client::Alipay,
        outcome::{MaintainStoreOutcome, StoreStatusOutcome},
        request::{MaintainStoreRequest, StoreStatusRequest},
    },
    domain::{
        accounts::signing::SignType,
        registrations::{Driver, MerchantType, PersonalData, StoreFacts},
    },
};
use serde_json::json;

use super::{PayOutcome, Simulator, client, noon, pay_at};
use crate::support::PARTNER;

fn store_body() -> MaintainStoreRequest {
    MaintainStoreRequest {
        secondary_merchant_id: "SM001".to_owned(),
        store_id: "ST01".to_owned(),
        facts: StoreFacts {
            secondary_merchant_name: "Demo Cafe Ltd".to_owned(),
            secondary_merchant_type: MerchantType::Enterprise,
            store_name: "Demo Cafe Central".to_owned(),
            store_country: "HK".to_owned(),
            store_address: "1 Queen's Road".to_owned(),
            store_industry: "5812".to_owned(),
            internal_store_photo: None,
            external_storefront_photo: None,
            registration_no: None,
            register_country: "HK".to_owned(),
            register_address: None,
            cs_no: None,
            cs_email: None,
        },
        personal: PersonalData {
            owner_name: "Wong".to_owned(),
            owner_id: "A1".to_owned(),
            settlement_no: None,
            contact_no: None,
            contact_email: None,
            drivers: vec![],
        },
    }
}

async fn maintain(alipay: &Alipay, request: &MaintainStoreRequest) -> MaintainStoreOutcome {
    alipay.maintain_store(request, || false).await.outcome
}

fn illegal() -> MaintainStoreOutcome {
    MaintainStoreOutcome::Refused {
        code: "PARAM_ILLEGAL".to_owned(),
    }
}

/// Whether a payment at a store is taken; if not, Alipay's code.
async fn pay(alipay: &Alipay, store_id: &str) -> Result<(), String> {
    match pay_at(alipay, "0001", store_id).await.1 {
        PayOutcome::Paid { .. } => Ok(()),
        PayOutcome::Declined(failure) => Err(failure.code),
        other => panic!("{other:?}"),
    }
}

/// Changes one thing of a good registration.
type Spoil = fn(&mut MaintainStoreRequest);

#[tokio::test]
async fn a_registration_is_held_to_every_rule_of_its_fields() {
    let simulator = Simulator::start(Some(noon()), SignType::Rsa2).await;
    let alipay = client(&simulator, SignType::Rsa2, noon());
    let driver = || Driver {
        operation_id: "D1".to_owned(),
        contact_way: None,
        contact_person: "Chan".to_owned(),
    };
    let wrong: [(&str, Spoil); 14] = [
        ("id", |store| {
            store.store_id = "ST-01".to_owned();
        }),
        ("long id", |store| {
            store.secondary_merchant_id = "x".repeat(65);
        }),
        ("country", |store| {
            store.facts.store_country = "hk".to_owned();
        }),
        ("register country", |store| {
            store.facts.register_country = String::new();
        }),
        ("industry", |store| {
            store.facts.store_industry = "58x2".to_owned();
        }),
        ("owner", |store| {
            store.personal.owner_id = String::new();
        }),
        ("name", |store| {
            store.facts.secondary_merchant_name = "x".repeat(129);
        }),
        ("address", |store| {
            store.facts.store_address = "茶".repeat(331);
        }),
        ("contact", |store| {
            store.personal.contact_no = Some("1 2".to_owned());
        }),
        ("settlement", |store| {
            store.personal.settlement_no = Some("1-2".to_owned());
        }),
        ("photo", |store| {
            store.facts.internal_store_photo = Some("ftp://x".to_owned());
        }),
        ("taxi without drivers", |store| {
            store.facts.store_industry = "4121".to_owned();
            store.facts.store_name = "ST 01".to_owned();
        }),
        ("plate", |store| {
            store.facts.store_industry = "4121".to_owned();
        }),
        ("null", |store| {
            store.facts.cs_no = Some("null".to_owned());
        }),
    ];
    for (what, spoil) in wrong {
        let mut request = store_body();
        spoil(&mut request);
        assert_eq!(maintain(&alipay, &request).await, illegal(), "{what}");
    }
    let mut taxi = store_body();
    taxi.facts.store_industry = "4121".to_owned();
    taxi.facts.store_name = "ST 01".to_owned();
    taxi.personal.drivers = (0..11).map(|_| driver()).collect();
    assert_eq!(maintain(&alipay, &taxi).await, illegal(), "11 drivers");
    taxi.personal.drivers.truncate(10);
    assert_eq!(
        maintain(&alipay, &taxi).await,
        MaintainStoreOutcome::Accepted
    );
    let mut cafe = store_body();
    cafe.store_id = "ST02".to_owned();
    cafe.personal.drivers = vec![driver()];
    assert_eq!(
        maintain(&alipay, &cafe).await,
        illegal(),
        "drivers of a cafe"
    );
    assert_eq!(simulator.registrations().await.len(), 1);
}

#[tokio::test]
async fn a_timestamp_is_good_for_thirty_minutes() {
    let simulator = Simulator::start(Some(noon()), SignType::Rsa2).await;
    for (minutes, expected) in [
        (-30, MaintainStoreOutcome::Accepted),
        (-31, illegal()),
        (31, illegal()),
    ] {
        let alipay = client(
            &simulator,
            SignType::Rsa2,
            noon() + chrono::TimeDelta::minutes(minutes),
        );
        assert_eq!(
            maintain(&alipay, &store_body()).await,
            expected,
            "{minutes}"
        );
    }
}

#[tokio::test]
async fn a_review_takes_as_long_as_it_was_told_and_payments_wait_for_it() {
    let simulator = Simulator::start(Some(noon()), SignType::Rsa2).await;
    let policy = json!({"review_seconds": 60, "payments_need_approval": true});
    simulator.set_review_policy(&policy).await;
    let alipay = client(&simulator, SignType::Rsa2, noon());
    let status = async || {
        let request = StoreStatusRequest {
            secondary_merchant_id: "SM001".to_owned(),
            store_id: "ST01".to_owned(),
            partner: PARTNER.to_owned(),
        };
        alipay.query_store_status(&request).await.outcome
    };
    assert_eq!(status().await, StoreStatusOutcome::NotRegistered);
    assert_eq!(
        maintain(&alipay, &store_body()).await,
        MaintainStoreOutcome::Accepted
    );
    assert_eq!(
        maintain(&alipay, &store_body()).await,
        MaintainStoreOutcome::ReviewUnderWay
    );
    simulator
        .set_clock(noon() + chrono::TimeDelta::seconds(59))
        .await;
    assert!(matches!(
        status().await,
        StoreStatusOutcome::UnderReview { .. }
    ));
    let refused = Err("INVALID_STORE_ID".to_owned());
    assert_eq!(pay(&alipay, "ST01").await, refused);
    simulator
        .set_clock(noon() + chrono::TimeDelta::seconds(60))
        .await;
    let StoreStatusOutcome::Approved { echo, store_status } = status().await else {
        panic!("the review is over");
    };
    assert_eq!(echo.store_name.as_deref(), Some("Demo Cafe Central"));
    assert_eq!(store_status.as_deref(), Some("ACTIVATED"));
    assert_eq!(pay(&alipay, "ST01").await, Ok(()));
    assert_eq!(pay(&alipay, "ST02").await, refused);
}
