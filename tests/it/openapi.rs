//! The checked-in OpenAPI document is the one the program serves.

use std::fs;

use alipayhk_gateway::http::openapi;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "UPDATE=1 is said to the test, not to the program"
)]
fn the_checked_in_document_is_current() {
    let current = openapi::text();
    if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
        fs::write(PATH, current).expect("openapi/openapi.json is writable");
    }
    let checked_in = fs::read_to_string(PATH).expect("openapi/openapi.json is readable");
    assert!(
        checked_in == current,
        "openapi/openapi.json is out of date: run the tests with UPDATE=1 and commit the change"
    );
}
