//! What is taken for a key. Tokens with real signatures are in `tests/it/tokens.rs`.

use serde_json::json;

use super::*;

/// 32 bytes; whether they are a point is found out when something is verified.
const BYTES: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";

fn read(keys: &Value) -> Result<Vec<Vec<Algorithm>>, KeysFault> {
    let set = KeySet::read(json!({"keys": keys}).to_string().as_bytes())?;
    Ok(set.keys.into_iter().map(|key| key.algorithms).collect())
}

fn rsa(more: &[(&str, Value)]) -> Value {
    let mut key = json!({"kty": "RSA", "n": BYTES, "e": "AQAB"});
    for (name, value) in more {
        key[*name] = value.clone();
    }
    key
}

#[test]
fn q6_a_key_is_bound_to_the_algorithms_of_its_kind_or_to_the_one_it_names() {
    let ec = json!({"kty": "EC", "crv": "P-256", "x": BYTES, "y": BYTES});
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": BYTES});
    let keys = json!([
        rsa(&[]),
        rsa(&[("alg", json!("PS256"))]),
        rsa(&[("key_ops", json!(["verify"])), ("use", json!("sig"))]),
        ec,
        ed,
    ]);
    assert_eq!(
        read(&keys),
        Ok(vec![
            vec![Algorithm::RS256, Algorithm::PS256],
            vec![Algorithm::PS256],
            vec![Algorithm::RS256, Algorithm::PS256],
            vec![Algorithm::ES256],
            vec![Algorithm::EdDSA],
        ])
    );
}

#[test]
fn q6_what_verifies_nothing_here_is_left_out() {
    for other in [
        json!({"kty": "oct", "k": BYTES}),
        json!({"kty": "EC", "crv": "P-384", "x": BYTES, "y": BYTES}),
        json!({"kty": "EC", "crv": "secp256k1", "x": BYTES, "y": BYTES}),
        json!({"kty": "RSA", "e": "AQAB"}),
        rsa(&[("n", json!("no base64!"))]),
        rsa(&[("alg", json!("RS512"))]),
        rsa(&[("alg", json!("HS256"))]),
        rsa(&[("alg", json!("ES256"))]),
        rsa(&[("alg", json!("RSA-OAEP-256"))]),
        rsa(&[("use", json!("enc"))]),
        rsa(&[("key_ops", json!(["encrypt"]))]),
        json!("text"),
        Value::Null,
    ] {
        assert_eq!(read(&json!([other])), Err(KeysFault::NoneUsable), "{other}");
        let beside = read(&json!([other, rsa(&[])])).expect("one is usable");
        assert_eq!(beside.len(), 1, "{other}");
    }
}

#[test]
fn q6_what_is_no_set_of_keys_is_refused_whole() {
    for document in [
        "",
        "null",
        "[]",
        "{}",
        "{\"keys\": {}}",
        "\u{feff}{\"keys\": []}",
    ] {
        let fault = KeySet::read(document.as_bytes()).err();
        assert_eq!(fault, Some(KeysFault::NoKeySet), "{document}");
    }
    assert_eq!(read(&json!([])), Err(KeysFault::NoneUsable));
    let many: Vec<Value> = (0..65).map(|_| rsa(&[])).collect();
    assert_eq!(read(&json!(many)), Err(KeysFault::TooMany));
}
