use serde_json::{Value, json};
use utoipa::PartialSchema;

use super::*;

fn good() -> Value {
    json!({
        "secondary_merchant_name": "Demo Cafe Ltd",
        "secondary_merchant_type": "ENTERPRISE",
        "store_name": "Demo Cafe Central",
        "store_country": "HK",
        "store_address": "1 Queen's Road",
        "store_industry": "5812",
        "internal_store_photo": "https://example.com/in.jpg",
        "external_storefront_photo": "http://example.com/out.jpg",
        "registration_no": "BR-1",
        "register_country": "HK",
        "register_address": "2 Queen's Road",
        "shareholder_name": "Wong Tai Man",
        "shareholder_id": "A123456(7)",
        "settlement_no": "0123456789ab",
        "contact_no": "+852-(2345)6789",
        "contact_email": "owner@example.com",
        "cs_no": "2345 6780",
        "cs_email": "help@example.com",
    })
}

fn taxi() -> Value {
    let mut body = good();
    for (name, value) in [
        ("store_industry", json!("4121")),
        ("store_name", json!("AB 1234")),
        (
            "drivers",
            json!([{"operation_id": "D1", "contact_person": "Chan", "contact_way": "91234567"}]),
        ),
    ] {
        body[name] = value;
    }
    body
}

/// A body with one member replaced, or left out where the value is null.
fn with(mut body: Value, name: &str, value: Value) -> Value {
    if value.is_null() {
        body.as_object_mut().expect("an object").remove(name);
    } else {
        body[name] = value;
    }
    body
}

fn faults(body: &Value, store_id: &str) -> Vec<(String, &'static str)> {
    let json = Json::parse(body.to_string().as_bytes()).expect("an object");
    let Err(problem) = read(&json, store_id) else {
        return vec![];
    };
    let document = problem.document("r", "/");
    let faults = document.errors.into_iter();
    faults
        .map(|fault| (fault.pointer.unwrap_or_default(), fault.code))
        .collect()
}

fn one(pointer: &str, code: &'static str) -> Vec<(String, &'static str)> {
    vec![(pointer.to_owned(), code)]
}

#[test]
fn a_good_registration_has_no_faults_and_may_leave_out_what_is_optional() {
    assert_eq!(faults(&good(), "ST01"), []);
    assert_eq!(faults(&taxi(), "AB1234"), []);
    for optional in [
        "internal_store_photo",
        "external_storefront_photo",
        "registration_no",
        "register_address",
        "settlement_no",
        "contact_no",
        "contact_email",
        "cs_no",
        "cs_email",
    ] {
        let body = with(good(), optional, Value::Null);
        assert_eq!(faults(&body, "ST01"), [], "{optional}");
    }
    for needed in [
        "secondary_merchant_name",
        "secondary_merchant_type",
        "store_name",
        "store_country",
        "store_address",
        "store_industry",
        "register_country",
        "shareholder_name",
        "shareholder_id",
    ] {
        let body = with(good(), needed, Value::Null);
        let expected = one(&format!("/{needed}"), "required");
        assert_eq!(faults(&body, "ST01"), expected, "{needed}");
    }
}

#[test]
fn every_fault_is_named_at_once() {
    let body = json!({
        "secondary_merchant_name": "a\"b", "secondary_merchant_type": "LTD", "store_name": " ",
        "store_country": "hk", "store_address": "a\nb", "store_industry": "58",
        "internal_store_photo": "ftp://x/y", "registration_no": 7, "contact_no": "2345 6789",
        "settlement_no": "01-2", "contact_email": "nobody", "cs_email": "a b@c.hk", "cs_no": "null",
        "store_adress": "x",
    });
    let mut found = faults(&body, "ST01");
    found.sort();
    let expected = [
        ("/contact_email", "invalid_format"),
        ("/contact_no", "invalid_format"),
        ("/cs_email", "invalid_format"),
        ("/cs_no", "invalid_format"),
        ("/internal_store_photo", "invalid_format"),
        ("/register_country", "required"),
        ("/registration_no", "wrong_type"),
        ("/secondary_merchant_name", "invalid_format"),
        ("/secondary_merchant_type", "invalid_value"),
        ("/settlement_no", "invalid_format"),
        ("/store_address", "invalid_format"),
        ("/store_adress", "unknown_field"),
        ("/store_country", "invalid_format"),
        ("/store_industry", "invalid_format"),
        ("/store_name", "invalid_length"),
    ];
    let expected = expected.map(|(pointer, code)| (pointer.to_owned(), code));
    assert_eq!(found, expected);
}

#[test]
fn each_length_is_exact_and_counts_bytes() {
    for (name, longest) in [
        ("secondary_merchant_name", 128),
        ("store_name", 256),
        ("store_address", 330),
        ("registration_no", 128),
        ("register_address", 256),
        ("shareholder_name", 64),
        ("shareholder_id", 128),
        ("cs_no", 64),
    ] {
        // A Chinese character has three bytes; the rest is filled up.
        let full = format!("{}{}", "茶".repeat(longest / 3), "x".repeat(longest % 3));
        let body = with(good(), name, json!(format!(" {full} ")));
        assert_eq!(faults(&body, "ST01"), [], "{name}");
        let body = with(good(), name, json!(format!("{full}x")));
        let expected = one(&format!("/{name}"), "invalid_length");
        assert_eq!(faults(&body, "ST01"), expected, "{name}");
    }
    for name in ["contact_no", "settlement_no"] {
        let body = with(good(), name, json!("1".repeat(64)));
        assert_eq!(faults(&body, "ST01"), [], "{name}");
        let body = with(good(), name, json!("1".repeat(65)));
        let expected = one(&format!("/{name}"), "invalid_format");
        assert_eq!(faults(&body, "ST01"), expected, "{name}");
    }
}

#[test]
fn the_type_of_the_merchant_decides_who_is_named() {
    let mut body = with(good(), "secondary_merchant_type", json!("INDIVIDUAL"));
    let mut found = faults(&body, "ST01");
    found.sort();
    let expected = [
        ("/representative_id", "required"),
        ("/representative_name", "required"),
        ("/shareholder_id", "not_together"),
        ("/shareholder_name", "not_together"),
    ];
    let expected = expected.map(|(pointer, code)| (pointer.to_owned(), code));
    assert_eq!(found, expected);
    for name in ["shareholder_name", "shareholder_id"] {
        body = with(body, name, Value::Null);
    }
    body["representative_name"] = json!("Wong Tai Man");
    body["representative_id"] = json!("A123456(7)");
    assert_eq!(faults(&body, "ST01"), []);
    let too_long = with(body, "secondary_merchant_name", json!("x".repeat(65)));
    let expected = one("/secondary_merchant_name", "invalid_length");
    assert_eq!(faults(&too_long, "ST01"), expected);
}

#[test]
fn a_taxi_has_its_plate_for_a_name_and_one_to_ten_drivers() {
    let driver = json!({"operation_id": "D1", "contact_person": "Chan"});
    let drivers = |count| Value::Array(vec![driver.clone(); count]);
    assert_eq!(faults(&taxi(), "XY99"), one("/store_name", "not_the_plate"));
    let none = with(taxi(), "drivers", Value::Null);
    assert_eq!(faults(&none, "AB1234"), one("/drivers", "required"));
    for (count, expected) in [
        (0, one("/drivers", "out_of_range")),
        (10, vec![]),
        (11, one("/drivers", "out_of_range")),
    ] {
        let body = with(taxi(), "drivers", drivers(count));
        assert_eq!(faults(&body, "AB1234"), expected, "{count}");
    }
    let body = with(good(), "drivers", drivers(1));
    assert_eq!(faults(&body, "ST01"), one("/drivers", "not_together"));
    let wordy =
        json!({"operation_id": "D1", "contact_person": "Chan", "contact_way": "x".repeat(256)});
    let body = with(taxi(), "drivers", Value::Array(vec![wordy; 4]));
    assert_eq!(faults(&body, "AB1234"), one("/drivers", "invalid_length"));
    let body = with(
        taxi(),
        "drivers",
        json!([{"contact_person": "", "age": 4}, 7]),
    );
    let expected = [
        ("/drivers/0/operation_id", "required"),
        ("/drivers/0/contact_person", "invalid_length"),
        ("/drivers/0/age", "unknown_field"),
        ("/drivers/1", "wrong_type"),
    ];
    let expected = expected.map(|(pointer, code)| (pointer.to_owned(), code));
    assert_eq!(faults(&body, "AB1234"), expected);
}

#[test]
fn the_documented_fields_are_the_ones_that_are_read() {
    let schema = serde_json::to_value(RegisterStoreRequest::schema()).expect("a schema is JSON");
    let documented = schema["properties"].as_object().expect("an object schema");
    let mut body = taxi();
    body["representative_name"] = json!("x");
    body["representative_id"] = json!("x");
    let read: std::collections::BTreeSet<_> = body
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    let documented: std::collections::BTreeSet<_> = documented.keys().cloned().collect();
    assert_eq!(documented, read);
    let unknown = faults(&body, "AB1234");
    assert!(
        unknown.iter().all(|(_, code)| *code != "unknown_field"),
        "{unknown:?}"
    );
}
