use super::*;
use crate::{
    alipay::{response::tests::pay_request, sign::canonical},
    domain::money::Currency,
};

const PARTNER: &str = "2088000000000001";

fn now() -> DateTime<Utc> {
    "2026-01-01T19:04:05Z".parse().expect("an RFC 3339 instant")
}

fn ours() -> PartnerTransId {
    PartnerTransId::from_stored("HKT0000001".to_owned())
}

#[test]
fn free_texts_lose_what_alipay_forbids() {
    let mut request = pay_request();
    let trans_name = |request: &PayRequest| {
        let parameters = request.to_parameters(PARTNER);
        parameters.get("trans_name").map(str::to_owned)
    };
    for (description, sent) in [
        ("  12\" cake \n", "12 cake"),
        ("a\u{7}b\tc", "a b c"),
        ("\"\"", "Demo Cafe Central"),
        ("null", "Demo Cafe Central"),
        ("港式奶茶 ☕ & <toast>", "港式奶茶 ☕ & <toast>"),
    ] {
        description.clone_into(&mut request.description);
        assert_eq!(
            trans_name(&request).as_deref(),
            Some(sent),
            "{description:?}"
        );
    }
    "Demo \"Cafe\"".clone_into(&mut request.secondary_merchant.name);
    request.secondary_merchant.terminal_id = Some(" ".to_owned());
    let parameters = request.to_parameters(PARTNER);
    assert_eq!(
        parameters.get("extend_info"),
        Some(
            r#"{"secondary_merchant_id":"SM001","secondary_merchant_name":"Demo Cafe","secondary_merchant_industry":"5812","store_id":"ST01","store_name":"Demo Cafe Central"}"#
        )
    );
}

#[test]
fn what_a_buyer_reads_is_cut_to_the_bytes_that_alipay_takes() {
    let mut request = pay_request();
    request.description = "港式奶茶 ".repeat(40);
    request.secondary_merchant.name = "茶".repeat(128);
    request.secondary_merchant.store_name = "店".repeat(256);
    let parameters = request.to_parameters(PARTNER);
    let sent = parameters.get("trans_name").expect("a name");
    assert_eq!(sent.len(), 256);
    assert_eq!(sent, format!("{}港式奶", "港式奶茶 ".repeat(19)));
    let extend_info: serde_json::Value =
        serde_json::from_str(parameters.get("extend_info").expect("given")).expect("JSON");
    assert_eq!(extend_info["secondary_merchant_name"], "茶".repeat(42));
    assert_eq!(extend_info["store_name"], "店".repeat(85));
    // One character of which nothing fits leaves nothing, and then the store's name stands in.
    request.description = format!("x{}", "\u{301}".repeat(200));
    let parameters = request.to_parameters(PARTNER);
    assert_eq!(parameters.get("trans_name"), Some("店".repeat(85).as_str()));
}

#[test]
fn a_repeated_request_is_the_same_question() {
    let request = pay_request();
    let text = |request: &PayRequest| canonical(request.to_parameters(PARTNER).signed_pairs());
    assert_eq!(text(&request), text(&request.clone()));
}

#[test]
fn a_refund_is_spelled_as_this_product_spells_it() {
    let request = |mode| RefundRequest {
        partner_trans_id: ours(),
        partner_refund_id: PartnerRefundId::from_stored("HKR0000001".to_owned()),
        amount: Money::new(1000, Currency::HKD),
        reason: Some("cold \"tea\"".to_owned()),
        mode,
        alipay_trans_id: Some("not sent".to_owned()),
    };
    let text = |mode| canonical(request(mode).to_parameters(PARTNER).signed_pairs());
    assert_eq!(
        text(RefundMode::Synchronous),
        "_input_charset=UTF-8&currency=HKD&is_sync=Y&partner=2088000000000001&\
         partner_refund_id=HKR0000001&partner_trans_id=HKT0000001&refund_amount=10.00&\
         refund_reson=cold tea&service=alipay.acquire.overseas.spot.refund"
    );
    let notify_url = Some("https://example.com/n?a=1".parse().expect("a URL"));
    let asynchronous = text(RefundMode::Asynchronous { notify_url });
    assert!(
        asynchronous.contains("&is_sync=N&notify_url=https://example.com/n?a=1&"),
        "{asynchronous}"
    );
}

#[test]
fn the_other_services_name_what_they_are_about() {
    let query = QueryRequest {
        partner_trans_id: ours(),
        amount: Money::new(1, Currency::HKD),
        alipay_trans_id: Some("not sent".to_owned()),
    };
    assert_eq!(
        canonical(query.to_parameters(PARTNER).signed_pairs()),
        "_input_charset=UTF-8&partner=2088000000000001&partner_trans_id=HKT0000001&\
         service=alipay.acquire.overseas.query"
    );
    let refund_query = RefundQueryRequest {
        partner_trans_id: ours(),
        partner_refund_id: PartnerRefundId::from_stored("HKR0000001".to_owned()),
        alipay_trans_id: Some("not sent".to_owned()),
    };
    assert_eq!(
        canonical(refund_query.to_parameters(PARTNER).signed_pairs()),
        "_input_charset=UTF-8&out_return_no=HKR0000001&out_trade_no=HKT0000001&\
         partner=2088000000000001&service=alipay.acquire.refund.query"
    );
    let status = StoreStatusRequest {
        secondary_merchant_id: "SM001".to_owned(),
        store_id: "ST01".to_owned(),
        partner: PARTNER.to_owned(),
    };
    assert_eq!(
        canonical(status.to_parameters(PARTNER, now()).signed_pairs()),
        "_input_charset=UTF-8&partner=2088000000000001&payment_method=INSTORE_PAYMENT&\
         secondary_merchant_id=SM001&service=alipay.overseas.secmerchant.maintain.queryStatus&\
         store_id=ST01&timestamp=2026-01-02 03:04:05"
    );
}

fn store(secondary_merchant_type: MerchantType, drivers: Vec<Driver>) -> MaintainStoreRequest {
    let text = |text: &str| Some(text.to_owned());
    MaintainStoreRequest {
        secondary_merchant_id: "SM001".to_owned(),
        store_id: "ST01".to_owned(),
        facts: StoreFacts {
            secondary_merchant_name: "Demo Cafe Ltd".to_owned(),
            secondary_merchant_type,
            store_name: "Demo Cafe Central".to_owned(),
            store_country: "HK".to_owned(),
            store_address: "1 Queen's Road".to_owned(),
            store_industry: "5812".to_owned(),
            internal_store_photo: text("https://example.com/in.jpg"),
            external_storefront_photo: text("https://example.com/out.jpg"),
            registration_no: text("BR-1"),
            register_country: "HK".to_owned(),
            register_address: text("2 Queen's Road"),
            cs_no: text("2345-6789"),
            cs_email: text("help@example.com"),
        },
        personal: PersonalData {
            owner_name: "Wong".to_owned(),
            owner_id: "A1".to_owned(),
            settlement_no: text("0123"),
            contact_no: text("+852(1)"),
            contact_email: text("w@example.com"),
            drivers,
        },
    }
}

#[test]
fn every_field_of_a_registration_is_sent() {
    let request = store(MerchantType::Enterprise, vec![]).to_parameters(PARTNER, now());
    assert_eq!(
        canonical(request.signed_pairs()),
        "_input_charset=UTF-8&contact_email=w@example.com&contact_no=+852(1)&cs_email=help@example.com&\
         cs_no=2345-6789&external_storefront_photo=https://example.com/out.jpg&\
         internal_store_photo=https://example.com/in.jpg&partner=2088000000000001&\
         register_address=2 Queen's Road&register_country=HK&registration_no=BR-1&\
         secondary_merchant_id=SM001&secondary_merchant_name=Demo Cafe Ltd&\
         secondary_merchant_type=ENTERPRISE&service=alipay.overseas.secmerchant.offline.maintain&\
         settlement_no=0123&shareholder_id=A1&shareholder_name=Wong&store_address=1 Queen's Road&\
         store_country=HK&store_id=ST01&store_industry=5812&store_name=Demo Cafe Central&\
         timestamp=2026-01-02 03:04:05"
    );
}

#[test]
fn a_stores_owner_decides_which_person_is_named() {
    let individual = store(MerchantType::Individual, vec![]).to_parameters(PARTNER, now());
    assert_eq!(
        individual.get("secondary_merchant_type"),
        Some("INDIVIDUAL")
    );
    assert_eq!(individual.get("representative_name"), Some("Wong"));
    assert_eq!(individual.get("representative_id"), Some("A1"));
    assert_eq!(individual.get("shareholder_name"), None);
    assert_eq!(individual.get("extend_params"), None);
}

#[test]
fn the_drivers_of_a_taxi_are_a_json_array() {
    let driver = |contact_way: Option<&str>| Driver {
        operation_id: "OP1".to_owned(),
        contact_way: contact_way.map(str::to_owned),
        contact_person: "Chan \"Ming\"".to_owned(),
    };
    let drivers = vec![driver(Some("9123 4567")), driver(None)];
    let taxi = store(MerchantType::Individual, drivers).to_parameters(PARTNER, now());
    assert_eq!(
        taxi.get("extend_params"),
        Some(
            r#"[{"operation_id":"OP1","contact_way":"9123 4567","contact_person":"Chan Ming"},{"operation_id":"OP1","contact_person":"Chan Ming"}]"#
        )
    );
}

#[test]
fn q14_a_registration_prints_nobody() {
    let printed = format!("{:?}", store(MerchantType::Enterprise, vec![]));
    for hidden in ["Wong", "A1", "0123", "+852", "w@example"] {
        assert!(!printed.contains(hidden), "{hidden}: {printed}");
    }
}
