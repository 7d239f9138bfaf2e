//! The body of a create.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    domain::{
        id::MerchantReference,
        merchants::{rules::Breach, store::StoreForPayment},
        payments::{
            barcode::{Barcode, BarcodeError},
            payment::NewPayment,
        },
        text::is_deceptive,
    },
    http::{
        extract::{
            Faults, ObjectReader, fields,
            json::Json,
            members::{ASCII_NAME, AmountRequest, MERCHANT_REFERENCE},
            request,
            request::object,
            rules::{Boolean, FreeText, Rule, ShortInteger},
        },
        problem::Problem,
    },
};

request! {
    /// What to charge.
    struct CreatePaymentRequest {
        /// What to charge.
        required amount: AmountRequest = object::<AmountRequest>();
        /// The scanned code: 16–24 digits that begin with 25–30. White space that scanners add is
        /// stripped. Never stored, never logged.
        required barcode: Barcode = ScannedCode, example "281234567890123456";
        /// The caller's own number, unique per merchant for ever.
        required merchant_reference: MerchantReference = MERCHANT_REFERENCE, example "ORDER-1001-1";
        /// What the buyer reads in the wallet's bill: no `"` and no control characters. The store's
        /// name where it is left out. It is kept and returned whole; Alipay is told the beginning, as much
        /// as fits into 256 bytes in UTF-8.
        optional description: String = FreeText { max: MAX_DESCRIPTION }, example "Central Branch, table 4";
        /// The store; the merchant's default store where it is left out.
        optional store_id: String = ASCII_NAME, example "ST01";
        /// The till.
        optional terminal_id: String = ASCII_NAME, example "T1";
        /// How long the buyer has to confirm, in seconds, before the gateway closes the trade itself.
        optional cancel_after_seconds: i32 = CANCEL_AFTER.with_default(|| json!(60)), example 60;
        /// The caller's own pairs, returned as they came: at most 20, keys of 1–40 characters, values
        /// of at most 500, no control characters.
        optional metadata: BTreeMap<String, String> = Metadata, example json!({"order": "1001"});
        /// Charge even though the same code, amount and terminal were used within the last 60 seconds.
        optional allow_duplicate: bool = Boolean.with_default(|| json!(false)), example false;
    }
}

/// Longest `description`, in characters. Alipay is told what fits; this is against texts without end
/// (`docs/invariants.md` Q15).
const MAX_DESCRIPTION: usize = 4_000;
/// Most `metadata` pairs.
const MAX_PAIRS: usize = 20;
/// Longest `metadata` key, in characters.
const MAX_PAIR_KEY: usize = 40;
/// Longest `metadata` value, in characters.
const MAX_PAIR_VALUE: usize = 500;
/// How long the buyer has to confirm, in seconds: Alipay itself closes a trade after 180.
const CANCEL_AFTER: ShortInteger = ShortInteger { min: 15, max: 170 };

impl CreatePaymentRequest {
    /// Everything but the code itself is stored, so none of it may repeat the code
    /// (`docs/invariants.md` Q14).
    pub(super) fn refuse_copies_of_the_code(&self, faults: &mut Faults) {
        let Some(barcode) = &self.barcode else {
            return;
        };
        let fields = [
            (
                "merchant_reference",
                self.merchant_reference
                    .as_ref()
                    .map(MerchantReference::as_str),
            ),
            ("description", self.description.as_deref()),
            ("store_id", self.store_id.as_deref()),
            ("terminal_id", self.terminal_id.as_deref()),
        ];
        let fields = fields
            .into_iter()
            .filter_map(|(name, text)| Some((fields::pointer_to("", name), text?)));
        let pairs = self.metadata.iter().flatten().flat_map(|(key, value)| {
            // A key that is the code must not come back in the pointer either.
            let pointer = if key.contains(barcode.expose()) {
                "/metadata".to_owned()
            } else {
                fields::pointer_to("/metadata", key)
            };
            [(pointer.clone(), key.as_str()), (pointer, value.as_str())]
        });
        for (pointer, text) in fields.chain(pairs) {
            if text.contains(barcode.expose()) {
                faults.add(
                    pointer,
                    "contains_barcode",
                    "must not contain the scanned code",
                );
            }
        }
    }

    /// The rules of the store that the request breaks.
    pub(super) fn breaches(&self, store: &StoreForPayment) -> Vec<Breach> {
        let amount = self.amount.as_ref().and_then(AmountRequest::money);
        store.breaches(self.terminal_id.as_deref(), amount)
    }

    /// The request, if nothing is wrong with it.
    pub(super) fn complete(
        self,
        store: Option<StoreForPayment>,
        faults: Faults,
    ) -> Result<NewPayment, Problem> {
        faults.into_result()?;
        let (Some(amount), Some(barcode), Some(merchant_reference), Some(store)) = (
            self.amount.and_then(|amount| amount.money()),
            self.barcode,
            self.merchant_reference,
            store,
        ) else {
            // Whatever is missing was reported as a fault.
            return Err(Problem::validation(Vec::new()));
        };
        let StoreForPayment { store, rules, .. } = store;
        Ok(NewPayment {
            amount,
            barcode,
            merchant_reference,
            description: self.description,
            store_id: self.store_id,
            store,
            terminal_id: self.terminal_id,
            cancel_after_seconds: self.cancel_after_seconds,
            metadata: self.metadata,
            allowed_wallets: rules.allowed_wallets,
            allow_duplicate: self.allow_duplicate,
        })
    }
}

/// A scanned code.
struct ScannedCode;

impl Rule for ScannedCode {
    type Value = Barcode;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<Barcode> {
        match reader.text(name)?.parse() {
            Ok(barcode) => Some(barcode),
            Err(error) => {
                reader.fault(name, barcode_code(error), error.to_string());
                None
            }
        }
    }

    fn schema(&self) -> Value {
        json!({
            "type": "string",
            "pattern": r"^\s*(2[5-9]|30)[0-9\s]{14,}$",
            "maxLength": 64,
        })
    }
}

/// The stable code of what is wrong with a scanned code.
pub const fn barcode_code(error: BarcodeError) -> &'static str {
    match error {
        BarcodeError::Empty => "barcode_empty",
        BarcodeError::NotDigits => "barcode_not_digits",
        BarcodeError::Length => "barcode_length",
        BarcodeError::Prefix => "barcode_prefix",
    }
}

/// The caller's own pairs of texts.
struct Metadata;

impl Rule for Metadata {
    type Value = BTreeMap<String, String>;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<Self::Value> {
        let (members, pointer) = reader.object(name)?;
        let faults = reader.faults();
        if members.len() > MAX_PAIRS {
            faults.add(pointer.clone(), "too_many", "must have at most 20 pairs");
        }
        let mut pairs = BTreeMap::new();
        for (key, value) in members.iter().take(MAX_PAIRS) {
            let at = fields::pointer_to(&pointer, key);
            if !(1..=MAX_PAIR_KEY).contains(&key.chars().count()) || key.chars().any(is_deceptive) {
                let detail =
                    "the key must have 1 to 40 characters, none of them control characters";
                faults.add(at.clone(), "invalid_key", detail);
            }
            match value {
                Json::Text(text) if text.chars().count() > MAX_PAIR_VALUE => {
                    faults.add(at, "invalid_length", "must have at most 500 characters");
                }
                Json::Text(text) if text.chars().any(is_deceptive) => {
                    faults.add(at, "invalid_format", "must not contain control characters");
                }
                Json::Text(text) => {
                    pairs.insert(key.clone(), text.clone());
                }
                _ => faults.add(at, "wrong_type", "must be a string"),
            }
        }
        Some(pairs)
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object",
            "maxProperties": MAX_PAIRS,
            "propertyNames": {"type": "string", "minLength": 1, "maxLength": MAX_PAIR_KEY},
            "additionalProperties": {"type": "string", "maxLength": MAX_PAIR_VALUE},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::request::read_members;
    use utoipa::PartialSchema;

    const GOOD: &str = r#"{"amount":{"value":12850,"currency":"HKD"},"barcode":"281234567890123456",
        "merchant_reference":"ORDER-1001-1","description":"茶 & toast","store_id":"ST01",
        "terminal_id":"T1","cancel_after_seconds":60,"metadata":{"order":"1001"},"allow_duplicate":true}"#;

    fn faults_of(text: &str) -> Vec<(String, String)> {
        let body = Json::parse(text.as_bytes()).expect("an object");
        let mut faults = Faults::default();
        let request: CreatePaymentRequest = read_members(&body, &mut faults);
        request.refuse_copies_of_the_code(&mut faults);
        let Err(problem) = faults.into_result() else {
            return Vec::new();
        };
        let document = problem.document("r", "/");
        let mut found: Vec<_> = document
            .errors
            .into_iter()
            .map(|fault| (fault.pointer.unwrap_or_default(), fault.code.to_owned()))
            .collect();
        found.sort();
        found
    }

    /// The good request with one member replaced, or left out where `value` is empty.
    fn with(name: &str, value: &str) -> String {
        let mut body: serde_json::Value = serde_json::from_str(GOOD).expect("JSON");
        let members = body.as_object_mut().expect("an object");
        members.remove(name);
        let mut text = body.to_string();
        if !value.is_empty() {
            text.truncate(text.len() - 1);
            text = format!("{text},\"{name}\":{value}}}");
        }
        text
    }

    #[test]
    fn a_good_request_has_no_faults() {
        assert_eq!(faults_of(GOOD), []);
        for optional in [
            "description",
            "store_id",
            "terminal_id",
            "cancel_after_seconds",
            "metadata",
            "allow_duplicate",
        ] {
            assert_eq!(faults_of(&with(optional, "")), [], "{optional} left out");
            assert_eq!(faults_of(&with(optional, "null")), [], "{optional} null");
        }
    }

    #[test]
    fn type_value_missing_and_unknown_faults_are_reported_together() {
        let found = faults_of(
            r#"{"amuont":1,"amount":{"value":12850.0,"currency":"USD","x":1},"barcode":281234567890123456,
               "description":"a\"b","cancel_after_seconds":171,"metadata":{"a":1},"allow_duplicate":"yes",
               "terminal_id":""}"#,
        );
        let found: Vec<_> = found
            .iter()
            .map(|(p, c)| (p.as_str(), c.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("/allow_duplicate", "wrong_type"),
                ("/amount/currency", "unsupported_currency"),
                ("/amount/value", "wrong_type"),
                ("/amount/x", "unknown_field"),
                ("/amuont", "unknown_field"),
                ("/barcode", "wrong_type"),
                ("/cancel_after_seconds", "out_of_range"),
                ("/description", "invalid_format"),
                ("/merchant_reference", "required"),
                ("/metadata/a", "wrong_type"),
                ("/terminal_id", "invalid_format"),
            ]
        );
    }

    #[test]
    fn each_limit_is_exact() {
        let text = |length: usize| format!("\"{}\"", "茶".repeat(length));
        let ascii = |length: usize| format!("\"{}\"", "a".repeat(length));
        let pairs = |count: usize| {
            let pairs: Vec<_> = (0..count).map(|n| format!("\"k{n}\":\"v\"")).collect();
            format!("{{{}}}", pairs.join(","))
        };
        for (name, good, bad) in [
            ("description", text(4_000), text(4_001)),
            ("terminal_id", ascii(64), ascii(65)),
            ("store_id", ascii(64), ascii(65)),
            ("merchant_reference", ascii(64), ascii(65)),
            ("cancel_after_seconds", "15".to_owned(), "14".to_owned()),
            ("cancel_after_seconds", "170".to_owned(), "171".to_owned()),
            ("metadata", pairs(20), pairs(21)),
            (
                "metadata",
                format!("{{{}:{}}}", text(40), text(500)),
                format!("{{{}:\"v\"}}", text(41)),
            ),
            (
                "metadata",
                "{\"k\":\"\"}".to_owned(),
                format!("{{\"k\":{}}}", text(501)),
            ),
            (
                "amount",
                r#"{"value":1,"currency":"HKD"}"#.to_owned(),
                r#"{"value":0,"currency":"HKD"}"#.to_owned(),
            ),
            (
                "amount",
                r#"{"value":10000000000,"currency":"HKD"}"#.to_owned(),
                r#"{"value":10000000001,"currency":"HKD"}"#.to_owned(),
            ),
        ] {
            assert_eq!(faults_of(&with(name, &good)), [], "{name}: {good}");
            assert_eq!(faults_of(&with(name, &bad)).len(), 1, "{name}: {bad}");
        }
    }

    #[test]
    fn q14_no_stored_field_may_repeat_the_code() {
        let code = "281234567890123456";
        for (name, value, pointer) in [
            ("description", format!("\"code {code}\""), "/description"),
            (
                "merchant_reference",
                format!("\"{code}\""),
                "/merchant_reference",
            ),
            ("terminal_id", format!("\"{code}\""), "/terminal_id"),
            ("metadata", format!("{{\"a\":\"{code}\"}}"), "/metadata/a"),
            ("metadata", format!("{{\"{code}\":\"a\"}}"), "/metadata"),
        ] {
            let expected = vec![(pointer.to_owned(), "contains_barcode".to_owned())];
            assert_eq!(faults_of(&with(name, &value)), expected);
        }
    }

    #[test]
    fn the_documented_fields_are_the_ones_that_are_read() {
        let schema =
            serde_json::to_value(CreatePaymentRequest::schema()).expect("a schema is JSON");
        let properties = schema["properties"].as_object().expect("an object schema");
        let good: serde_json::Value = serde_json::from_str(GOOD).expect("JSON");
        let read: std::collections::BTreeSet<_> =
            good.as_object().expect("an object").keys().collect();
        assert_eq!(
            properties.keys().collect::<std::collections::BTreeSet<_>>(),
            read
        );
    }
}
