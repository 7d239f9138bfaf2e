use encoding_rs::GBK;
use proptest::prelude::*;

use super::*;
use crate::{alipay::vectors, domain::accounts::signing::ParseSignTypeError};

fn md5(key: &str) -> Credentials {
    Credentials::md5(key.as_bytes()).expect("a usable MD5 key")
}

fn verifier(sign_type: SignType, public_key: &str) -> Credentials {
    Credentials::with_keys(
        sign_type,
        vectors::V5_PRIVATE_KEY.as_bytes(),
        public_key.as_bytes(),
    )
    .expect("two usable keys")
}

async fn assert_both_directions(credentials: &Credentials, text: &[u8], signature: &str) {
    let sign_type = credentials.sign_type().as_str();
    assert_eq!(credentials.sign(text).await.as_deref(), Ok(signature));
    assert_eq!(
        credentials.verify(text, Some(signature), Some(sign_type)),
        Ok(())
    );
}

#[tokio::test]
async fn v1_the_published_md5_vectors_hold() {
    for (key, text, signature) in [
        (
            "10000000000000000000000000000000",
            "partner=123&service=test",
            "bbd13b52823b576291595f472ebcfbc2",
        ),
        (
            "20000000000000000000000000000000",
            "partner=123&service=test",
            "6d581af270c023fdaaca6880491e9bf7",
        ),
        (
            "10000000000000000000000000000000",
            "notify_id=1234",
            "22fc7e38e5acdfede396aa463870d111",
        ),
    ] {
        assert_both_directions(&md5(key), text.as_bytes(), signature).await;
    }
}

#[tokio::test]
async fn v2_the_published_sandbox_vectors_hold() {
    let credentials = md5("760bdzec6y9goq7ctyx96ezkz78287de");
    for (text, signature) in [
        (
            "_input_charset=utf-8&out_trade_no=SAMPLE_TRANSACTION_ID&partner=2088101122136241&service=single_trade_query",
            "d4d3825356fd0799ee16829acffc1460",
        ),
        (
            "_input_charset=utf-8&currency=USD&notify_url=https://example.com/notify&out_trade_no=12345&partner=2088101122136241&rmb_fee=0.10&service=create_forex_trade&subject=product_name&supplier=company_name",
            "4986b31c8febb978ee6d6c45f76614ac",
        ),
        (
            "_input_charset=utf-8&currency=USD&gmt_return=20150320120000&out_return_no=SAMPLE_REFUND_ID&out_trade_no=SAMPLE_TRANSACTION_ID&partner=2088101122136241&reason=hello&return_rmb_amount=200.00&service=forex_refund",
            "a77e894e71491f41e73ebe40319cc300",
        ),
    ] {
        assert_both_directions(&credentials, text.as_bytes(), signature).await;
    }
}

#[test]
fn v3_the_published_rsa_vector_verifies() {
    let credentials = verifier(SignType::Rsa, vectors::V3_PUBLIC_KEY);
    let verify =
        |text: &str| credentials.verify(text.as_bytes(), Some(vectors::V3_SIGN), Some("RSA"));
    assert_eq!(verify("partner=123&service=test"), Ok(()));
    assert_eq!(verify("partner=124&service=test"), Err(VerifyError::Wrong));
}

#[test]
fn v4_the_production_answer_verifies_over_gbk_bytes_only() {
    let credentials = verifier(SignType::Rsa, vectors::V4_PUBLIC_KEY);
    let verify = |bytes: &[u8]| credentials.verify(bytes, Some(vectors::V4_SIGN), Some("RSA"));
    let (gbk, _, _) = GBK.encode(vectors::V4_TEXT);
    assert_eq!(verify(&gbk), Ok(()));
    assert_eq!(verify(vectors::V4_TEXT.as_bytes()), Err(VerifyError::Wrong));
}

#[tokio::test]
async fn v5_the_self_made_md5_vectors_hold_in_both_charsets() {
    let credentials = md5(vectors::V5_MD5_KEY);
    for (text, utf8, gbk) in [
        (
            vectors::V5_PAY_TEXT,
            "14cab1798f30bb8e0caf60ae5d36bd9d",
            "ddc07ba47f629a187ae25d63073b5f04",
        ),
        (
            vectors::V5_QUERY_TEXT,
            "2ac39952f2162cacc1c46544334ce8cf",
            "2ac39952f2162cacc1c46544334ce8cf",
        ),
        (
            vectors::V5_QUERY_FAILURE_TEXT,
            "61152e108e48d4022071cd265d82e5aa",
            "e222047f4da1c1197456796cbd4477f9",
        ),
    ] {
        assert_both_directions(&credentials, text.as_bytes(), utf8).await;
        assert_both_directions(&credentials, &GBK.encode(text).0, gbk).await;
    }
}

#[tokio::test]
async fn v5_the_self_made_rsa_vectors_hold_in_both_directions() {
    let text = vectors::V5_RSA_TEXT.as_bytes();
    let rsa = verifier(SignType::Rsa, vectors::V5_PUBLIC_KEY);
    let rsa2 = verifier(SignType::Rsa2, vectors::V5_PUBLIC_KEY);
    assert_both_directions(&rsa, text, vectors::V5_RSA_SIGN).await;
    assert_both_directions(&rsa2, text, vectors::V5_RSA2_SIGN).await;
    assert_eq!(
        rsa2.verify(text, Some(vectors::V5_RSA_SIGN), Some("RSA2")),
        Err(VerifyError::Wrong),
        "a SHA-1 signature does not pass for RSA2"
    );
}

#[tokio::test]
async fn a_modern_key_signs_what_its_public_half_verifies() {
    let key = RsaPrivateKey::new(&mut rand::thread_rng(), 2048).expect("a fresh key");
    let private = key
        .to_pkcs8_pem(rsa::pkcs8::LineEnding::LF)
        .expect("the key encodes");
    let public = rsa::pkcs8::EncodePublicKey::to_public_key_pem(
        &key.to_public_key(),
        rsa::pkcs8::LineEnding::LF,
    )
    .expect("the key encodes");
    let credentials =
        Credentials::rsa2(private.as_bytes(), public.as_bytes()).expect("two usable keys");
    let own = credentials.0.own.as_ref().expect("a key to sign with");
    assert!(matches!(own.signer, Signer::Modern(_)));
    let signature = credentials.sign(b"text").await.expect("a signature");
    assert_eq!(signature.len(), 344);
    // `rsa` is the second opinion.
    let bytes = BASE64.decode(&signature).expect("base64");
    let digest = Sha256::digest(b"text");
    assert_eq!(
        key.to_public_key()
            .verify(Pkcs1v15Sign::new::<Sha256>(), &digest, &bytes),
        Ok(())
    );
    assert_eq!(
        credentials.verify(b"text", Some(&signature), Some("RSA2")),
        Ok(())
    );
    assert_eq!(credentials.own_key(), credentials.alipays_keys().next());
}

#[test]
fn q3_only_the_configured_sign_type_is_believed() {
    let credentials = verifier(SignType::Rsa2, vectors::V5_PUBLIC_KEY);
    let text = vectors::V5_RSA_TEXT.as_bytes();
    for sign_type in [
        None,
        Some(""),
        Some("rsa2"),
        Some("RSA"),
        Some("MD5"),
        Some(" RSA2"),
    ] {
        assert_eq!(
            credentials.verify(text, Some(vectors::V5_RSA2_SIGN), sign_type),
            Err(VerifyError::OtherSignType),
            "{sign_type:?}"
        );
    }
    for signature in [None, Some("")] {
        assert_eq!(
            credentials.verify(text, signature, Some("RSA2")),
            Err(VerifyError::Missing)
        );
    }
    for signature in ["x", "AAAA", "=", "é", &vectors::V5_RSA2_SIGN[4..]] {
        assert_eq!(
            credentials.verify(text, Some(signature), Some("RSA2")),
            Err(VerifyError::Wrong)
        );
    }
}

#[test]
fn q13_no_secret_is_shown() {
    let credentials = md5(vectors::V5_MD5_KEY);
    assert_eq!(format!("{credentials:?}"), "Credentials(MD5)");
}

#[test]
fn sign_types_are_written_in_upper_case() {
    for sign_type in [SignType::Rsa2, SignType::Rsa, SignType::Md5] {
        assert_eq!(sign_type.to_string().parse(), Ok(sign_type));
    }
    assert_eq!("rsa2".parse::<SignType>(), Err(ParseSignTypeError));
}

#[test]
fn the_canonical_text_drops_what_is_not_signed_and_sorts_by_byte() {
    let text = canonical([
        ("sign", "x"),
        ("b", "2 & =%20+"),
        ("sign_type", "MD5"),
        ("memo", ""),
        ("_input_charset", "UTF-8"),
        ("Z", "1"),
    ]);
    assert_eq!(text, "Z=1&_input_charset=UTF-8&b=2 & =%20+");
}

proptest! {
    #[test]
    fn the_canonical_text_does_not_depend_on_order(
        fields in prop::collection::btree_map("[a-z_]{1,12}", "\\PC{0,20}", 0..12),
        seed in any::<u64>(),
    ) {
        let sorted: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let mut shuffled = sorted.clone();
        let length = shuffled.len().max(1);
        for index in 0..shuffled.len() {
            let other = usize::try_from(seed.rotate_left(u32::try_from(index).unwrap_or(0)) % length as u64).unwrap_or(0);
            shuffled.swap(index, other);
        }
        prop_assert_eq!(canonical(sorted), canonical(shuffled));
    }

    #[test]
    fn v1_a_flipped_bit_never_verifies(byte in 0_usize..64, bit in 0_u8..8) {
        let credentials = verifier(SignType::Rsa2, vectors::V5_PUBLIC_KEY);
        let mut text = vectors::V5_RSA_TEXT.as_bytes().to_vec();
        let byte = byte % text.len();
        text[byte] ^= 1 << bit;
        prop_assert_eq!(
            credentials.verify(&text, Some(vectors::V5_RSA2_SIGN), Some("RSA2")),
            Err(VerifyError::Wrong)
        );
    }
}

/// A key whose private half is published protects nothing; Alipay's own is not among them.
#[test]
fn keys_of_the_test_vectors_are_known_as_such() {
    let public = |text: &str| {
        let key = AlipaysKey::read(SignType::Rsa, text.as_bytes()).expect("a key");
        key.facts().is_published
    };
    assert!(public(vectors::V3_PUBLIC_KEY) && public(vectors::V5_PUBLIC_KEY));
    assert!(!public(vectors::V4_PUBLIC_KEY));
    let own = OwnKey::read(SignType::Rsa2, vectors::V5_PRIVATE_KEY.as_bytes()).expect("a key");
    assert!(own.facts().is_published);
    let shared = |text: &str| {
        let key = OwnKey::read(SignType::Md5, text.as_bytes()).expect("a key");
        key.facts().is_published
    };
    assert!(shared(vectors::V5_MD5_KEY));
    assert!(!shared("9f86d081884c7d659a2feaa0c55ad015"));
}
