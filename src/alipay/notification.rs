//! What Alipay posts to us: verified form fields, and what they are about (`docs/protocol.md` 3.6, 8).
//!
//! Only the signature is checked here, over the bytes that came. Whose payment and refund it is about, and whether
//! it was seen before, is for the caller; a notification is a hint to ask, never the last word, so whatever is
//! verified is read, in whichever shape it comes.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use percent_encoding::percent_decode;
use sha2::{Digest as _, Sha256};

use super::{
    charset,
    sign::{Credentials, VerifyError, canonical_bytes},
};

/// Longest `notify_id` that is kept, in bytes.
const MAX_NOTIFY_ID: usize = 128;
/// Longest name of a field that is noted, in bytes, and most of them.
const MAX_NAME: usize = 64;
const MAX_NAMES: usize = 32;

/// Our id of the payment.
const PAYMENT_IDS: [&str; 2] = ["out_trade_no", "partner_trans_id"];
/// Alipay's id of the payment.
const TRADE_IDS: [&str; 2] = ["trade_no", "alipay_trans_id"];
/// Our id of the refund; `out_biz_no` in the family's shape.
const REFUND_IDS: [&str; 4] = [
    "partner_refund_id",
    "out_return_no",
    "out_request_no",
    "out_biz_no",
];
/// The account that is paid.
const ACCOUNTS: [&str; 3] = ["partner", "seller_id", "alipay_seller_id"];
/// What only a notification about a refund says.
const ABOUT_REFUNDS: [&str; 5] = [
    "refund_amount",
    "refund_fee",
    "refund_status",
    "refund_result_code",
    "gmt_refund",
];
/// What else any document of ours names.
const ELSE_KNOWN: [&str; 33] = [
    "_input_charset",
    "alipay_buyer_login_id",
    "alipay_buyer_user_id",
    "alipay_pay_time",
    "alipay_trans_status",
    "body",
    "buyer_email",
    "buyer_id",
    "charset",
    "currency",
    "discount",
    "exchange_rate",
    "gmt_close",
    "gmt_create",
    "gmt_payment",
    "is_total_fee_adjust",
    "notify_action_type",
    "notify_id",
    "notify_time",
    "notify_type",
    "payment_inst",
    "payment_type",
    "price",
    "quantity",
    "result_code",
    "seller_email",
    "subject",
    "total_fee",
    "trade_status",
    "trans_amount",
    "trans_amount_cny",
    "use_coupon",
    "version",
];

/// A notification whose signature verified.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedNotification {
    fields: BTreeMap<String, String>,
    /// What was signed, hashed: the name of a notification that has none.
    digest: String,
}

/// A notification that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// A field appears twice: which one would count?
    #[error("a field appears twice")]
    Repeated,
    /// A name holds `&` or `=`, which would read as other fields in the signed text.
    #[error("two sets of fields would have one signature")]
    Ambiguous,
    /// The signature is missing, of another type, or wrong.
    #[error(transparent)]
    Signature(#[from] VerifyError),
}

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    Refund,
    /// The buyer has paid.
    Paid,
    /// The trade was closed or reversed.
    Closed,
    /// The trade can no longer be refunded.
    Finished,
    /// Something that no document of ours names.
    Other,
}

impl NoticeKind {
    /// The name in rows, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Paid => "paid",
            Self::Closed => "closed",
            Self::Finished => "finished",
            Self::Other => "other",
        }
    }
}

impl VerifiedNotification {
    /// Verifies a form over its bytes, in any order of its fields, and reads it: by the charset that
    /// `_input_charset` or `charset` names, by the one that the `Content-Type` names, or by whichever fits. A
    /// wrong label may garble text, and no id, which are ASCII.
    pub fn verify(
        credentials: &Credentials,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Self, NotificationError> {
        let mut pairs = raw_pairs(body);
        pairs.sort_unstable();
        if pairs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(NotificationError::Repeated);
        }
        let signed = canonical_bytes(pairs.iter().map(|(name, value)| (&**name, &**value)));
        let text_of = |wanted: &[u8]| {
            let (_, value) = pairs.iter().find(|(name, _)| &**name == wanted)?;
            std::str::from_utf8(value).ok()
        };
        // A plus sign that was not percent-encoded arrives as a space (`docs/protocol.md` 2.2).
        let signature = text_of(b"sign").map(|sign| sign.replace(' ', "+"));
        credentials.verify(&signed, signature.as_deref(), text_of(b"sign_type"))?;
        // Names come from a form here and may hold anything.
        let separates = |name: &[u8]| name.iter().any(|byte| matches!(byte, b'&' | b'='));
        if pairs.iter().any(|(name, _)| separates(name)) {
            return Err(NotificationError::Ambiguous);
        }
        let labels = [text_of(b"_input_charset"), text_of(b"charset")];
        let named_by_http = content_type.and_then(charset::of_content_type);
        let labels = labels.into_iter().flatten().chain(named_by_http);
        let charsets: Vec<_> = charset::candidates(labels).collect();
        pairs.retain(|(name, value)| {
            !value.is_empty() && !matches!(&**name, b"sign" | b"sign_type")
        });
        let fields = charsets
            .into_iter()
            .find_map(|charset| read(&pairs, |bytes| charset.decode(bytes)))
            .or_else(|| read(&pairs, |bytes| Some(String::from_utf8_lossy(bytes))));
        Ok(Self {
            fields: fields.unwrap_or_default(),
            digest: hex::encode(Sha256::digest(&signed)),
        })
    }

    /// A field's value; empty fields count as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// Alipay's id of the notification, the same in every repeat; where it has none that can be kept, a hash of
    /// what it says.
    pub fn id(&self) -> &str {
        self.get("notify_id")
            .filter(|id| id.len() <= MAX_NOTIFY_ID)
            .unwrap_or(&self.digest)
    }

    /// Whether no other account than `partner` is named.
    pub fn is_for(&self, partner: &str) -> bool {
        self.all(&ACCOUNTS).all(|named| named == partner)
    }

    /// Our ids of the payment that it names.
    pub fn payment_ids(&self) -> Vec<String> {
        self.distinct(&PAYMENT_IDS)
    }

    /// Alipay's ids of the payment that it names.
    pub fn trade_ids(&self) -> Vec<String> {
        self.distinct(&TRADE_IDS)
    }

    /// Our ids of refunds that it may name.
    pub fn refund_ids(&self) -> Vec<String> {
        self.distinct(&REFUND_IDS)
    }

    /// What it is about. The action says so where there is one; the fields, where there is none.
    pub fn kind(&self) -> NoticeKind {
        let says = |name| self.get(name);
        let named_by_fields = || match says("trade_status").or(says("alipay_trans_status")) {
            _ if self
                .all(&ABOUT_REFUNDS)
                .chain(self.all(&REFUND_IDS))
                .count()
                > 0 =>
            {
                NoticeKind::Refund
            }
            Some("TRADE_SUCCESS") => NoticeKind::Paid,
            Some("TRADE_CLOSED") => NoticeKind::Closed,
            Some("TRADE_FINISHED") => NoticeKind::Finished,
            Some(_) | None => NoticeKind::Other,
        };
        match says("notify_action_type") {
            Some("refundFPAction") => NoticeKind::Refund,
            Some("createDirectPayTradeByBuyerAction" | "payByAccountAction") => NoticeKind::Paid,
            Some("closeTradeAction" | "reverseAction") => NoticeKind::Closed,
            Some("finishFPAction") => NoticeKind::Finished,
            Some(_) => NoticeKind::Other,
            None => named_by_fields(),
        }
    }

    /// The fields that no document of ours names: names alone, fit to be kept and shown.
    pub fn unknown_fields(&self) -> Vec<String> {
        let known = [
            &PAYMENT_IDS[..],
            &TRADE_IDS,
            &REFUND_IDS,
            &ACCOUNTS,
            &ABOUT_REFUNDS,
            &ELSE_KNOWN,
        ]
        .concat();
        let unknown = self
            .fields
            .keys()
            .filter(|name| !known.contains(&name.as_str()));
        let names: BTreeSet<&str> = unknown.map(|name| presentable(name)).collect();
        names
            .into_iter()
            .take(MAX_NAMES)
            .map(str::to_owned)
            .collect()
    }

    fn all<'n>(&'n self, names: &'n [&str]) -> impl Iterator<Item = &'n str> {
        names.iter().filter_map(|name| self.get(name))
    }

    fn distinct(&self, names: &[&str]) -> Vec<String> {
        let values: BTreeSet<&str> = self.all(names).collect();
        values.into_iter().map(str::to_owned).collect()
    }
}

/// A field's name as it is, or a question mark: whoever signs may still write anything there.
fn presentable(name: &str) -> &str {
    let fits = name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if fits { name } else { "?" }
}

type RawPairs<'a> = Vec<(Cow<'a, [u8]>, Cow<'a, [u8]>)>;

/// The form's names and values as bytes.
fn raw_pairs(body: &[u8]) -> RawPairs<'_> {
    body.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=').map(decoded);
            (
                parts.next().unwrap_or_default(),
                parts.next().unwrap_or_default(),
            )
        })
        .collect()
}

/// A part of a form, decoded to bytes.
fn decoded(part: &[u8]) -> Cow<'_, [u8]> {
    if !part.contains(&b'+') {
        return percent_decode(part).into();
    }
    let spaced: Vec<u8> = part
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

/// The pairs as text; `None` where the charset is not theirs.
fn read<'a>(
    pairs: &'a RawPairs<'a>,
    decode: impl Fn(&'a [u8]) -> Option<Cow<'a, str>>,
) -> Option<BTreeMap<String, String>> {
    pairs
        .iter()
        .map(|(name, value)| Some((decode(name)?.into_owned(), decode(value)?.into_owned())))
        .collect()
}

impl fmt::Debug for VerifiedNotification {
    /// Names only: the values identify buyers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.fields.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"10000000000000000000000000000000";
    const SIGN: &str = "22fc7e38e5acdfede396aa463870d111";

    fn verify(pairs: &[(&str, &str)]) -> Result<VerifiedNotification, NotificationError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        verify_form(None, body.as_bytes())
    }

    fn verify_form(
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<VerifiedNotification, NotificationError> {
        let credentials = Credentials::md5(KEY).expect("a key of 32 characters");
        VerifiedNotification::verify(&credentials, content_type, body)
    }

    /// MD5 over `memo=退款&notify_id=1` and the key, in UTF-8 and in GBK.
    const SIGN_UTF_8: &str = "c728b09d8c828f4ae4f8ca98b4e1658b";
    const SIGN_GBK: &str = "66de4aa9b736e60ada64d3e3f8d56f6d";

    #[test]
    fn a_form_is_decoded_and_verified_in_its_own_charset() {
        let utf_8 = format!("notify_id=1&memo=%E9%80%80%E6%AC%BE&sign={SIGN_UTF_8}&sign_type=MD5");
        let gbk = format!("notify_id=1&memo=%CD%CB%BF%EE&sign={SIGN_GBK}&sign_type=MD5");
        let form = "application/x-www-form-urlencoded";
        let memo = |content_type: Option<&str>, body: &str| {
            verify_form(content_type, body.as_bytes())
                .map(|notification| notification.get("memo").map(str::to_owned))
        };
        let read = Ok(Some("退款".to_owned()));
        assert_eq!(memo(Some(form), &utf_8), read);
        assert_eq!(memo(None, &gbk), read, "what is not UTF-8 is GBK");
        assert_eq!(memo(Some(&format!("{form}; charset=GBK")), &gbk), read);
        for label in ["UTF-8", "utf8", "latin1", "", "GB18030", "gb2312"] {
            let labeled = format!("{form}; charset={label}");
            assert_eq!(memo(Some(&labeled), &gbk), read, "{label}");
        }
        let mislabeled = memo(Some(&format!("{form}; charset=GBK")), &utf_8);
        assert_eq!(mislabeled, read, "these bytes are no GBK");
        let changed = gbk.replace("%CD%CB", "%CD%CC");
        let wrong = NotificationError::Signature(VerifyError::Wrong);
        assert_eq!(memo(None, &changed), Err(wrong));
    }

    #[test]
    fn what_verifies_is_read_whatever_its_bytes_are() {
        let body = "notify_id=1&memo=%FF%FF&sign=ab17c1b8ff10d4a2a0a4cb1ac2f9e5b1&sign_type=MD5";
        let credentials = Credentials::md5(KEY).expect("a key of 32 characters");
        let signed = hex::encode(<md5::Md5 as sha2::Digest>::digest(
            [b"memo=\xff\xff&notify_id=1".as_slice(), KEY].concat(),
        ));
        let body = body.replace("ab17c1b8ff10d4a2a0a4cb1ac2f9e5b1", &signed);
        let read = VerifiedNotification::verify(&credentials, None, body.as_bytes());
        assert_eq!(read.expect("verified").id(), "1");
    }

    /// A notification as it is after its signature was verified.
    fn of(fields: &[(&str, &str)]) -> VerifiedNotification {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        VerifiedNotification {
            fields: fields.collect(),
            digest: "a-hash".to_owned(),
        }
    }

    #[test]
    fn a_notice_is_named_by_its_id_or_by_what_it_says() {
        let long = "n".repeat(129);
        assert_eq!(of(&[("notify_id", "n-1")]).id(), "n-1");
        assert_eq!(of(&[("notify_id", &long)]).id(), "a-hash");
        assert_eq!(of(&[]).id(), "a-hash");
    }

    #[test]
    fn a_notice_says_what_it_is_about() {
        use NoticeKind as K;
        for (fields, kind) in [
            (&[("notify_action_type", "refundFPAction")][..], K::Refund),
            (&[("notify_action_type", "closeTradeAction")], K::Closed),
            (&[("notify_action_type", "reverseAction")], K::Closed),
            (&[("notify_action_type", "finishFPAction")], K::Finished),
            (&[("notify_action_type", "payByAccountAction")], K::Paid),
            (
                &[("notify_action_type", "createDirectPayTradeByBuyerAction")],
                K::Paid,
            ),
            (
                &[("notify_action_type", "anotherAction"), ("refund_fee", "1")],
                K::Other,
            ),
            (
                &[("trade_status", "TRADE_SUCCESS"), ("refund_fee", "1.00")],
                K::Refund,
            ),
            (
                &[("trade_status", "TRADE_CLOSED"), ("out_biz_no", "R")],
                K::Refund,
            ),
            (&[("trade_status", "TRADE_SUCCESS")], K::Paid),
            (&[("trade_status", "TRADE_CLOSED")], K::Closed),
            (&[("trade_status", "TRADE_FINISHED")], K::Finished),
            (&[("trade_status", "ANOTHER")], K::Other),
            (&[], K::Other),
        ] {
            assert_eq!(of(fields).kind(), kind, "{fields:?}");
        }
    }

    #[test]
    fn ids_are_taken_under_every_name_and_accounts_compared() {
        let notice = of(&[
            ("out_trade_no", "P1"),
            ("partner_trans_id", "P1"),
            ("trade_no", "2026"),
            ("out_biz_no", "R1"),
            ("out_return_no", "R2"),
            ("seller_id", "2088"),
        ]);
        assert_eq!(notice.payment_ids(), ["P1"]);
        assert_eq!(notice.trade_ids(), ["2026"]);
        assert_eq!(notice.refund_ids(), ["R1", "R2"]);
        assert!(notice.is_for("2088"));
        assert!(!notice.is_for("2089"));
        assert!(of(&[]).is_for("2089"), "the path and the key name it");
        assert!(!of(&[("partner", "2088"), ("seller_id", "2089")]).is_for("2088"));
    }

    #[test]
    fn unknown_fields_are_noted_by_name() {
        let many: Vec<String> = (0..99).map(|n| format!("field_{n:02}")).collect();
        let mut fields = vec![
            ("notify_id", "n"),
            ("out_biz_no", "R"),
            ("wallet_brand", "x"),
            ("a name\n", "y"),
        ];
        assert_eq!(of(&fields).unknown_fields(), ["?", "wallet_brand"]);
        fields.extend(many.iter().map(|name| (name.as_str(), "z")));
        assert_eq!(of(&fields).unknown_fields().len(), MAX_NAMES);
    }

    #[test]
    fn the_published_notification_verifies_in_any_order_and_with_empty_fields() {
        let fields = [
            ("sign_type", "MD5"),
            ("memo", ""),
            ("sign", SIGN),
            ("notify_id", "1234"),
        ];
        let notification = verify(&fields).expect("a genuine notification");
        assert_eq!(notification.get("notify_id"), Some("1234"));
        assert_eq!(notification.get("memo"), None);
        assert_eq!(notification.get("sign"), None);
        assert_eq!(format!("{notification:?}"), r#"{"notify_id"}"#);
    }

    #[test]
    fn v1_forged_downgraded_and_unsigned_notifications_are_refused() {
        let wrong = Err(NotificationError::Signature(VerifyError::Wrong));
        let other = Err(NotificationError::Signature(VerifyError::OtherSignType));
        let missing = Err(NotificationError::Signature(VerifyError::Missing));
        let of = |id: &str, sign: &str, sign_type: &str| {
            verify(&[("notify_id", id), ("sign", sign), ("sign_type", sign_type)])
        };
        assert_eq!(of("1235", SIGN, "MD5"), wrong);
        assert_eq!(of("1234", &SIGN.to_uppercase(), "MD5"), wrong);
        assert_eq!(of("1234", SIGN, "md5"), other);
        assert_eq!(of("1234", SIGN, "RSA2"), other);
        assert_eq!(of("1234", "", "MD5"), missing);
        assert_eq!(verify(&[("notify_id", "1234"), ("sign", SIGN)]), other);
        assert_eq!(
            verify(&[("notify_id", "1234"), ("sign_type", "MD5")]),
            missing
        );
        assert_eq!(
            verify(&[
                ("notify_id", "1"),
                ("notify_id", "1234"),
                ("sign", SIGN),
                ("sign_type", "MD5")
            ]),
            Err(NotificationError::Repeated)
        );
    }
}
