//! Signatures, written for the simulator alone: were the code shared with the gateway, a mistake
//! would be made on both sides and no test would see it. Both are held to the same golden vectors
//! (`docs/protocol.md` 3.5).
//!
//! The text to sign is `name=value` joined by `&`, sorted by name, without `sign`, `sign_type` and
//! empty values, in the bytes of the message's character set.

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use md5::{Digest as _, Md5};
use rand::RngCore as _;
use rsa::{
    Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey,
    pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _},
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _},
    traits::PublicKeyParts as _,
};
use sha1::Sha1;
use sha2::Sha256;

/// A value of `sign_type`; only these exact spellings exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum SignType {
    /// MD5 over the text and a shared key.
    Md5,
    /// RSASSA-PKCS1-v1_5 with SHA-1.
    Rsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rsa2,
}

impl SignType {
    /// The spelling on the wire.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Rsa => "RSA",
            Self::Rsa2 => "RSA2",
        }
    }
}

/// The keys of one partner agreement, as Alipay holds them.
pub(crate) enum Keys {
    /// One secret, held by both sides.
    Md5 {
        /// Appended to the text before hashing.
        key: String,
    },
    /// Two key pairs of one algorithm.
    Rsa {
        /// `RSA2` (SHA-256) rather than `RSA` (SHA-1).
        sha256: bool,
        /// Alipay's: signs answers.
        private: Box<RsaPrivateKey>,
        /// The merchant's: verifies requests.
        merchant: RsaPublicKey,
        /// The shared secret, if there is one too; a downgraded answer is signed with it.
        md5_key: Option<String>,
    },
}

impl Keys {
    /// The agreed `sign_type`.
    pub(crate) fn sign_type(&self) -> SignType {
        match self {
            Self::Md5 { .. } => SignType::Md5,
            Self::Rsa { sha256: true, .. } => SignType::Rsa2,
            Self::Rsa { sha256: false, .. } => SignType::Rsa,
        }
    }

    pub(crate) fn sign(&self, text: &[u8]) -> anyhow::Result<String> {
        match self {
            Self::Md5 { key } => Ok(md5_sign(text, key)),
            Self::Rsa {
                sha256, private, ..
            } => rsa_sign(private, *sha256, text),
        }
    }

    /// Whether the merchant signed `text`.
    pub(crate) fn verify(&self, text: &[u8], signature: &str) -> bool {
        match self {
            Self::Md5 { key } => md5_sign(text, key) == signature,
            Self::Rsa {
                sha256, merchant, ..
            } => rsa_verify(merchant, *sha256, text, signature),
        }
    }

    /// A signature as another key would have made it. For RSA this is a random number below the
    /// modulus, which no verifier can tell from a foreign key's signature, and costs nothing.
    pub(crate) fn sign_with_wrong_key(&self, text: &[u8]) -> String {
        match self {
            Self::Md5 { .. } => md5_sign(text, &"f".repeat(32)),
            Self::Rsa { private, .. } => {
                let mut signature = vec![0; private.size()];
                rand::thread_rng().fill_bytes(&mut signature);
                signature[0] = 0;
                BASE64.encode(signature)
            }
        }
    }

    /// An MD5 signature where another algorithm was agreed, with the `sign_type` that names it.
    pub(crate) fn sign_downgraded(&self, text: &[u8]) -> (String, &'static str) {
        match self {
            // There is nothing below MD5: the label lies instead.
            Self::Md5 { key } => (md5_sign(text, key), "RSA"),
            Self::Rsa { md5_key, .. } => {
                let key = md5_key.clone().unwrap_or_else(|| "0".repeat(32));
                (md5_sign(text, &key), "MD5")
            }
        }
    }
}

/// The bytes to sign. Names and values are already in the message's character set.
pub(crate) fn canonical<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut fields: Vec<_> = fields
        .into_iter()
        .filter(|(name, value)| *name != b"sign" && *name != b"sign_type" && !value.is_empty())
        .collect();
    fields.sort_unstable();
    let pairs: Vec<Vec<u8>> = fields
        .into_iter()
        .map(|(name, value)| [name, b"=", value].concat())
        .collect();
    pairs.join(&b'&')
}

fn md5_sign(text: &[u8], key: &str) -> String {
    hex::encode(Md5::new().chain_update(text).chain_update(key).finalize())
}

fn rsa_sign(key: &RsaPrivateKey, sha256: bool, text: &[u8]) -> anyhow::Result<String> {
    let signature = if sha256 {
        key.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(text))
    } else {
        key.sign(Pkcs1v15Sign::new::<Sha1>(), &Sha1::digest(text))
    };
    Ok(BASE64.encode(signature.context("cannot sign the answer")?))
}

fn rsa_verify(key: &RsaPublicKey, sha256: bool, text: &[u8], signature: &str) -> bool {
    // Some encoders break the line.
    let signature: String = signature.split_whitespace().collect();
    let Ok(signature) = BASE64.decode(signature) else {
        return false;
    };
    let verdict = if sha256 {
        key.verify(
            Pkcs1v15Sign::new::<Sha256>(),
            &Sha256::digest(text),
            &signature,
        )
    } else {
        key.verify(Pkcs1v15Sign::new::<Sha1>(), &Sha1::digest(text), &signature)
    };
    verdict.is_ok()
}

/// Reads a private key: PKCS#8 or PKCS#1, with or without PEM armour.
pub(crate) fn private_key(text: &str) -> anyhow::Result<RsaPrivateKey> {
    let der = der(text)?;
    match RsaPrivateKey::from_pkcs8_der(&der)
        .or_else(|_| RsaPrivateKey::from_pkcs1_der(&der).map_err(|_| ()))
    {
        Ok(key) => Ok(key),
        Err(()) => bail!("neither a PKCS#8 nor a PKCS#1 private RSA key"),
    }
}

/// Reads a public key: SubjectPublicKeyInfo or PKCS#1, with or without PEM armour.
pub(crate) fn public_key(text: &str) -> anyhow::Result<RsaPublicKey> {
    let der = der(text)?;
    match RsaPublicKey::from_public_key_der(&der)
        .or_else(|_| RsaPublicKey::from_pkcs1_der(&der).map_err(|_| ()))
    {
        Ok(key) => Ok(key),
        Err(()) => bail!("neither a SubjectPublicKeyInfo nor a PKCS#1 public RSA key"),
    }
}

fn der(text: &str) -> anyhow::Result<Vec<u8>> {
    let base64: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(str::split_whitespace)
        .collect();
    BASE64.decode(base64).context("not base64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charset::Charset;

    const V3_KEY: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCjNVhJf9PYDFN1PFd4SXEvxmjD0dn+xQ4lQu6o8HbGXz4de/RRVTJDL48qwxn81lar5cNSIjbnhDRXm9fZcrzuwbjqxXOv2Ov7MZAa/WJEcfvp3XcSgxKPB54FLVvHo/rxuMK2xpps47Lpc7vppkvi3ofbXW61S+aT0TWFkUMTnwIDAQAB";
    const V3_SIGN: &str = "TaVXdP/0ia5NxIv9T76v6vGOrtgoaFrwnchKIWP9PQeX1UkUVxaq6ejDFmXFrFR+Plk+E/XzfV2DYJSVt0Am0qJRSgeg+PuvK+yWGCGm9GJgUJlS4Eyta3g+8DWwRWTjUyh5yzlf9JoSnbNjYpBolnMRD7B/u1JLkTMJuMx2TVM=";
    const V4_KEY: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCnxj/9qwVfgoUh/y2W89L6BkRAFljhNhgPdyPuBV64bfQNN1PjbCzkIM6qRdKBoLPXmKKMiFYnkd6rAoprih3/PrQEB/VsW8OoM8fxn67UDYuyBTqA23MML9q1+ilIZwBC2AQ2UBVOrFXfFl75p6/B5KsiNG9zpgmLCUYuLkxpLQIDAQAB";
    const V4_TEXT: &str = "detail_error_code=ACCESS_FORBIDDEN&detail_error_des=ACCESS_FORBIDDEN&display_message=交易失败&out_trade_no=ALDK20190226105652&result_code=ORDER_FAIL";
    const V4_SIGN: &str = "jMLZaswcbPhbQcUpNRwlZxYbnuXYLrII03C/n97IEJ0+wO6xWRxHZnF98seEZ7NiUOQNGlXyal5dOjUB6znuGdZxypn7V3pJaQVERvgD48AstC8faW+COGttlyJ7vk6W/RwYqNvmApE//E0z6McsKSnRR5zjiWHhgqmScnnFjR0=";
    const V5_PUBLIC: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDY3rhmQ7lEqSp4tvbJEGL0l7aBaIcxVQL7ai8P7WPiOFpnyKbFkertPVPf8DnW37wFqlAaNXkoEejxdOj4cWqJ8q5zFSlhCKHpYnwKQyHrLwjmvZQt7y0krcsS0FT9Vui6lfexWSolWZ8Y9ODFbEVkjwTh70feCXLynUOGxW3BTwIDAQAB";
    const V5_PRIVATE: &str = "MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBANjeuGZDuUSpKni29skQYvSXtoFohzFVAvtqLw/tY+I4WmfIpsWR6u09U9/wOdbfvAWqUBo1eSgR6PF06PhxaonyrnMVKWEIoelifApDIesvCOa9lC3vLSStyxLQVP1W6LqV97FZKiVZnxj04MVsRWSPBOHvR94JcvKdQ4bFbcFPAgMBAAECgYAjQIje7rFF7O2fc7ZH1qcPNT4QaQpYxYXXkloWD7OFyT1A04fwY5i5eZeRtj3gpLuufBHLQNfx4H9qCGP6Ro1XlHtsVvr2OY8uoz19861v3ztmjDVctlHDd1MrXeDalComn2mCaPbD8aH6syKqMNNUeuw7iE2PnzOXNiVdETO0cQJBAPN+VNkn1frBcBhkDDLSQySddWftQoaEI3/+oGc3swG0nJ03cS3czdWt0oRWZ6+7HhxCkGhCnJy7jC3/RZcPAVcCQQDkAlHXxDAJflPKjygQwiZg5mO38KwF9ExYV4U/5XSy26ozq9pQtr48ygZe6ss7pocuX9RQa5rAuRKGg70kc2zJAkEA6xyT7y8Q5dS8WUDZqoTugj9sK1KkRuD2qlOCLMhSl5X/F6t+JGutcOMrf88yxTNnqp/3ckTHlmtduthfKLI7dwJBAJHbegeRFTm9elSl53dw+6QZPck5SJI2iXAp7K/HVTPlmaecU/g2LtQsWI73nDL4gJmF7AfWDhUjT1qFg8WBoSECQHWzbiYgBRa4bjWvyhBA9EN7Xxk0HbUpHpMwp1qCxsBw9pBVcfYlf7gNsxPKOJr4iCrPXG9jLG5RpTHIC1rA7co=";
    const V5_MD5_KEY: &str = "0123456789abcdef0123456789abcdef";
    const V5_RSA_TEXT: &str = "_input_charset=UTF-8&currency=HKD&partner=2088000000000001&partner_trans_id=HKT0000001&service=alipay.acquire.overseas.query&trans_name=港式奶茶";
    const V5_RSA: &str = "M/TsSEkV6vR0+sUwpoqkfhh/cKU00SbHszWW41Gk/HnilggrBw+Fbnggj1d6Q3V4h3mdJhmOu99epaGaTjWq5tbgOgFJnwwudM3W2SctSJ6BW5od5VG5+U4wYVRTMO6vAzzcwx9YCvC3BZhLisSgDvf0QXp6JDY4iiiaINDOEt0=";
    const V5_RSA2: &str = "Tln+z2+DAFl3/PRyBPtXAQCyz+QmABc2azFTT27eRgWs8xHiE8OIw57Cv2Ldn1GzVnG0kU/dVIfC5JYqlYFAt0PQQ7SzvqkneN7MS4DP8Jy294QKxRT1UXSWF8J8MCF6gMaQYA3MW2vKhzLJdaKYvX6RGMGNplb2yhFPpWf93Os=";

    fn md5(key: &str) -> Keys {
        Keys::Md5 {
            key: key.to_owned(),
        }
    }

    /// The canonical string of `fields` in `charset`, as the server builds it.
    fn text(charset: Charset, fields: &[(&str, &str)]) -> Vec<u8> {
        let encoded: Vec<_> = fields
            .iter()
            .map(|(n, v)| (charset.encode(n), charset.encode(v)))
            .collect();
        canonical(encoded.iter().map(|(n, v)| (n.as_slice(), v.as_slice())))
    }

    fn assert_md5(key: &str, text: &[u8], signature: &str) {
        assert_eq!(md5(key).sign(text).unwrap(), signature);
        assert!(md5(key).verify(text, signature));
        assert!(!md5(key).verify(text, &signature.to_uppercase()));
    }

    #[test]
    fn v1_md5_with_two_keys() {
        let fields = [
            ("service", "test"),
            ("sign", "x"),
            ("partner", "123"),
            ("sign_type", "MD5"),
        ];
        let text = text(Charset::Utf8, &fields);
        assert_md5(
            &format!("1{}", "0".repeat(31)),
            &text,
            "bbd13b52823b576291595f472ebcfbc2",
        );
        assert_md5(
            &format!("2{}", "0".repeat(31)),
            &text,
            "6d581af270c023fdaaca6880491e9bf7",
        );
        assert_md5(
            &format!("1{}", "0".repeat(31)),
            b"notify_id=1234",
            "22fc7e38e5acdfede396aa463870d111",
        );
    }

    #[test]
    fn v2_md5_of_the_published_sandbox_merchant() {
        const KEY: &str = "760bdzec6y9goq7ctyx96ezkz78287de";
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
            assert_md5(KEY, text.as_bytes(), signature);
        }
    }

    #[test]
    fn v3_rsa_of_a_published_request() {
        let key = public_key(V3_KEY).unwrap();
        assert!(rsa_verify(
            &key,
            false,
            b"partner=123&service=test",
            V3_SIGN
        ));
        assert!(!rsa_verify(
            &key,
            true,
            b"partner=123&service=test",
            V3_SIGN
        ));
        assert!(!rsa_verify(
            &key,
            false,
            b"partner=124&service=test",
            V3_SIGN
        ));
        let broken = format!("{}\r\n{}\n", &V3_SIGN[..76], &V3_SIGN[76..]);
        assert!(rsa_verify(
            &key,
            false,
            b"partner=123&service=test",
            &broken
        ));
    }

    #[test]
    fn v4_a_real_answer_verifies_over_its_gbk_bytes_only() {
        let key = public_key(V4_KEY).unwrap();
        assert!(rsa_verify(
            &key,
            false,
            &Charset::Gbk.encode(V4_TEXT),
            V4_SIGN
        ));
        assert!(!rsa_verify(&key, false, V4_TEXT.as_bytes(), V4_SIGN));
    }

    #[test]
    fn v5_md5_of_a_payment_request_in_both_charsets() {
        let fields = [
            ("trans_name", "港式奶茶 & toast"),
            ("service", "alipay.acquire.overseas.spot.pay"),
            ("partner", "2088000000000001"),
            ("memo", ""),
            ("alipay_seller_id", "2088000000000001"),
            ("biz_product", "OVERSEAS_MBARCODE_PAY"),
            ("buyer_identity_code", "281234567890123456"),
            ("currency", "HKD"),
            (
                "extend_info",
                r#"{"secondary_merchant_id":"SM001","secondary_merchant_name":"Demo Cafe","secondary_merchant_industry":"5812","store_id":"ST01","store_name":"Demo Cafe Central","terminal_id":"T1"}"#,
            ),
            ("identity_code_type", "barcode"),
            ("partner_trans_id", "HKT0000001"),
            ("trans_amount", "39.25"),
            ("trans_create_time", "20260102030405"),
            ("_input_charset", "UTF-8"),
        ];
        assert_md5(
            V5_MD5_KEY,
            &text(Charset::Utf8, &fields),
            "14cab1798f30bb8e0caf60ae5d36bd9d",
        );
        assert_md5(
            V5_MD5_KEY,
            &text(Charset::Gbk, &fields),
            "ddc07ba47f629a187ae25d63073b5f04",
        );
    }

    #[test]
    fn v5_md5_of_query_answers() {
        let found = b"alipay_buyer_login_id=852-****0001&alipay_buyer_user_id=2088000000000099&alipay_pay_time=20260102030406&alipay_trans_id=2026010222001400000000000001&alipay_trans_status=TRADE_SUCCESS&currency=HKD&out_trade_no=HKT0000001&partner_trans_id=HKT0000001&payment_inst=ALIPAYHK&result_code=SUCCESS&trans_amount=39.25";
        assert_md5(V5_MD5_KEY, found, "2ac39952f2162cacc1c46544334ce8cf");
        let missing = [
            ("result_code", "FAIL"),
            ("partner_trans_id", "HKT0000002"),
            ("out_trade_no", "HKT0000002"),
            ("detail_error_des", "交易不存在"),
            ("detail_error_code", "TRADE_NOT_EXIST"),
        ];
        assert_md5(
            V5_MD5_KEY,
            &text(Charset::Utf8, &missing),
            "61152e108e48d4022071cd265d82e5aa",
        );
        assert_md5(
            V5_MD5_KEY,
            &text(Charset::Gbk, &missing),
            "e222047f4da1c1197456796cbd4477f9",
        );
    }

    #[test]
    fn v5_rsa_and_rsa2_sign_and_verify() {
        let private = private_key(V5_PRIVATE).unwrap();
        let public = public_key(V5_PUBLIC).unwrap();
        for (sha256, signature) in [(false, V5_RSA), (true, V5_RSA2)] {
            assert_eq!(
                rsa_sign(&private, sha256, V5_RSA_TEXT.as_bytes()).unwrap(),
                signature
            );
            assert!(rsa_verify(
                &public,
                sha256,
                V5_RSA_TEXT.as_bytes(),
                signature
            ));
            assert!(!rsa_verify(
                &public,
                !sha256,
                V5_RSA_TEXT.as_bytes(),
                signature
            ));
        }
    }

    #[test]
    fn a_wrong_key_and_a_downgrade_do_not_verify() {
        let keys = Keys::Rsa {
            sha256: true,
            private: Box::new(private_key(V5_PRIVATE).unwrap()),
            merchant: public_key(V5_PUBLIC).unwrap(),
            md5_key: None,
        };
        let wrong = keys.sign_with_wrong_key(b"a=b");
        assert_eq!(wrong.len(), keys.sign(b"a=b").unwrap().len());
        assert!(!keys.verify(b"a=b", &wrong));
        assert_eq!(keys.sign_downgraded(b"a=b").1, "MD5");
        assert!(!keys.verify(b"a=b", &keys.sign_downgraded(b"a=b").0));
    }

    #[test]
    fn keys_are_read_in_pem_armour_too() {
        let armoured =
            format!("-----BEGIN PRIVATE KEY-----\n{V5_PRIVATE}\n-----END PRIVATE KEY-----\n");
        assert_eq!(
            private_key(&armoured).unwrap(),
            private_key(V5_PRIVATE).unwrap()
        );
        assert!(private_key("not a key").is_err());
        assert!(public_key(V5_PRIVATE).is_err());
    }
}
