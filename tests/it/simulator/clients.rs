//! Clients that nobody here wrote, made after what is known of how they ask: what they put where, how they encode
//! and sign, and how they read the answer. The simulator takes what Alipay takes from them, and refuses what
//! Alipay refuses, by whom Alipay would.

use encoding_rs::{Encoding, GBK, UTF_8};
use serde_json::json;

use super::*;

/// Where the parameters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// In the URL.
    Get,
    /// In a form, all but the charset, which stands in the URL.
    PostWithCharsetInUrl,
    /// In a form, and the charset in the URL as well.
    PostWithCharsetTwice,
    /// In a form.
    Post,
}

/// A way of asking.
#[derive(Clone, Copy, Debug)]
struct Way {
    by: By,
    label: &'static str,
    space: &'static str,
    /// Whether it trims what it was given.
    trims: bool,
    /// Whether its encoder breaks signatures into lines.
    breaks_lines: bool,
    /// Whether its cancel carries a time.
    dates: bool,
    /// How it writes ten dollars and fifty cents.
    amount: &'static str,
}

/// Posts a form, its charset in the URL alone, trimmed.
const POSTS_WITH_CHARSET_IN_URL: Way = Way {
    by: By::PostWithCharsetInUrl,
    label: "UTF-8",
    space: "+",
    trims: true,
    breaks_lines: false,
    dates: true,
    amount: "10.50",
};

/// Posts a form that holds everything, and reads the answer in what it says it is in.
const POSTS_EVERYTHING: Way = Way {
    by: By::Post,
    label: "utf-8",
    space: "+",
    trims: false,
    breaks_lines: true,
    dates: false,
    amount: "10.5",
};

/// The oldest demo: a form that holds everything, and the charset in the URL as well.
const POSTS_CHARSET_TWICE: Way = Way {
    by: By::PostWithCharsetTwice,
    label: "utf-8",
    space: "%20",
    trims: true,
    breaks_lines: false,
    dates: true,
    amount: "10.50",
};

/// Gets a URL.
const GETS: Way = Way {
    by: By::Get,
    label: "utf-8",
    space: "%20",
    trims: false,
    breaks_lines: false,
    dates: true,
    amount: "10.5",
};

/// What a client has read.
#[derive(Debug)]
struct Read {
    encoding: &'static Encoding,
    fields: Vec<(String, String)>,
    document: String,
}

impl Read {
    fn get(&self, name: &str) -> &str {
        let field = self.fields.iter().find(|(found, _)| found == name);
        field.map_or("", |(_, value)| value)
    }
}

impl Way {
    fn encoding(self) -> &'static Encoding {
        Encoding::for_label(self.label.as_bytes()).expect("a charset")
    }

    fn form(self, pairs: &[(String, Vec<u8>)]) -> String {
        let encoded = |bytes: &[u8]| {
            let text: String = url::form_urlencoded::byte_serialize(bytes).collect();
            text.replace('+', self.space)
        };
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        pairs.join("&")
    }

    /// Asks, and verifies the answer over the bytes as they came.
    async fn ask(
        self,
        simulator: &Simulator,
        sign_type: SignType,
        service: &str,
        own: &[(&str, &str)],
    ) -> Read {
        let keys = credentials(sign_type);
        let common = [
            ("_input_charset", self.label),
            ("partner", PARTNER),
            ("service", service),
        ];
        let mut pairs: Vec<(String, Vec<u8>)> = common
            .iter()
            .chain(own)
            .map(|(name, value)| {
                let value = if self.trims { value.trim() } else { value };
                let (bytes, ..) = self.encoding().encode(value);
                ((*name).to_owned(), bytes.into_owned())
            })
            .collect();
        let sign = keys.sign(&to_sign(&pairs)).await.expect("a signature");
        let sign = match sign.split_at_checked(76) {
            Some((first, rest)) if self.breaks_lines => format!("{first}\r\n{rest}\r\n"),
            _ => sign,
        };
        pairs.push(("sign".to_owned(), sign.into_bytes()));
        pairs.push(("sign_type".to_owned(), sign_type.as_str().into()));
        let is_charset = |(name, _): &&(String, Vec<u8>)| name == "_input_charset";
        let charset: Vec<_> = pairs.iter().filter(is_charset).cloned().collect();
        let (in_url, in_body) = match self.by {
            By::Get => (pairs, vec![]),
            By::PostWithCharsetInUrl => {
                pairs.retain(|(name, _)| name != "_input_charset");
                (charset, pairs)
            }
            By::PostWithCharsetTwice => (charset, pairs),
            By::Post => (vec![], pairs),
        };
        let mut url = simulator.endpoint();
        let query = self.form(&in_url);
        url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
        let client = crate::support::alipay::client();
        let form = "application/x-www-form-urlencoded";
        let content_type = match self.by {
            By::PostWithCharsetInUrl => format!("{form};charset={}", self.label),
            By::Get | By::PostWithCharsetTwice | By::Post => form.to_owned(),
        };
        let request = if self.by == By::Get {
            client.get(url)
        } else {
            client
                .post(url)
                .header("content-type", content_type)
                .body(self.form(&in_body))
        };
        let answer = request.send().await.expect("an answer");
        let bytes = answer.bytes().await.expect("a body");
        read(&bytes, &keys)
    }
}

fn to_sign(pairs: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut pairs: Vec<_> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    pairs.sort();
    let pairs: Vec<Vec<u8>> = pairs
        .iter()
        .map(|(name, value)| [name.as_bytes(), b"=", value].concat())
        .collect();
    pairs.join(&b'&')
}

/// Cuts the answer up, as these clients do, and verifies what is signed. An unsigned refusal has no fields.
fn read(bytes: &[u8], keys: &alipayhk_gateway::alipay::sign::Credentials) -> Read {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
    let encoding = if head.contains("encoding=\"GBK\"") {
        GBK
    } else {
        UTF_8
    };
    let (document, _, broken) = encoding.decode(bytes);
    assert!(!broken, "{document}");
    let between = |text: &str, from: &str, to: &str| -> Option<String> {
        let (_, rest) = text.split_once(from)?;
        let (inner, _) = rest.split_once(to)?;
        Some(inner.to_owned())
    };
    let business = between(&document, "<response><alipay>", "</alipay></response>");
    let mut fields = vec![];
    let mut rest = business.unwrap_or_default();
    while let Some(name) = between(&rest, "<", ">") {
        let end = format!("</{name}>");
        let value = between(&rest, &format!("<{name}>"), &end).expect("an element");
        let value = value
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&amp;", "&");
        fields.push((name, value));
        rest = rest.split_once(&end).expect("its end").1.to_owned();
    }
    if !fields.is_empty() {
        let encoded: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.clone(), encoding.encode(value).0.into_owned()))
            .collect();
        let element = |name: &str| between(&document, &format!("<{name}>"), &format!("</{name}>"));
        let (sign, sign_type) = (element("sign"), element("sign_type"));
        keys.verify(&to_sign(&encoded), sign.as_deref(), sign_type.as_deref())
            .expect("Alipay's signature");
    }
    Read {
        encoding,
        fields,
        document: document.into_owned(),
    }
}

const PAY: &str = "alipay.acquire.overseas.spot.pay";
const QUERY: &str = "alipay.acquire.overseas.query";
const CANCEL: &str = "alipay.acquire.cancel";
const REFUND: &str = "alipay.acquire.overseas.spot.refund";
const REFUND_QUERY: &str = "alipay.acquire.refund.query";
const EXTEND_INFO: &str = r#"{"secondary_merchant_id":"SM001","secondary_merchant_name":"港式茶餐廳","secondary_merchant_industry":"5812","store_id":"ST01","store_name":"Demo Cafe Central"}"#;

/// What a pay carries; `changed` takes the place of a usual parameter, or is added.
fn pay<'a>(id: &'a str, code: &'a str, changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("alipay_seller_id", PARTNER),
        ("biz_product", "OVERSEAS_MBARCODE_PAY"),
        ("buyer_identity_code", code),
        ("currency", "HKD"),
        ("extend_info", EXTEND_INFO),
        ("identity_code_type", "barcode"),
        ("partner_trans_id", id),
        ("quantity", "1"),
        ("trans_amount", "10.50"),
        ("trans_create_time", "20260102120000"),
        ("trans_name", " 港式奶茶 & toast + jam 50% "),
    ];
    let is_changed = |name| changed.iter().any(|(other, _)| *other == name);
    let usual = usual.into_iter().filter(|(name, _)| !is_changed(*name));
    usual.chain(changed.iter().copied()).collect()
}

#[tokio::test]
async fn three_independent_clients_ask_in_their_own_ways() {
    for sign_type in [SignType::Md5, SignType::Rsa, SignType::Rsa2] {
        let simulator = Simulator::start(Some(noon()), sign_type).await;
        let mut count = 0;
        for way in [
            POSTS_WITH_CHARSET_IN_URL,
            POSTS_EVERYTHING,
            POSTS_CHARSET_TWICE,
            GETS,
        ] {
            for label in [way.label, "GBK"] {
                count += 1;
                let way = Way { label, ..way };
                take_through(way, sign_type, &simulator, count).await;
            }
        }
    }
}

/// One client pays twice, asks, gives one payment back in part, asks about that, and undoes the other.
async fn take_through(way: Way, sign_type: SignType, simulator: &Simulator, count: u32) {
    let case = format!("{way:?} {sign_type:?}");
    let ask = |service, own: Vec<(&'static str, String)>| async move {
        let own: Vec<_> = own
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        way.ask(simulator, sign_type, service, &own).await
    };
    let owned = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        pairs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    let utf8_answer = way.by != By::Post && way.label != "GBK";
    let ids = [format!("C{count}A"), format!("C{count}B")];
    for id in &ids {
        let code = barcode("0001");
        let request = pay(id, &code, &[("trans_amount", way.amount)]);
        let paid = way.ask(simulator, sign_type, PAY, &request).await;
        assert_eq!(paid.get("result_code"), "SUCCESS", "{case}: {paid:?}");
        assert_eq!(paid.get("trans_amount"), "10.50", "{case}");
        assert_eq!(paid.encoding == UTF_8, utf8_answer, "{case}");
    }
    let query = owned(&[("partner_trans_id", &ids[0])]);
    let found = ask(QUERY, query).await;
    assert_eq!(found.get("alipay_trans_status"), "TRADE_SUCCESS", "{case}");
    let none = ask(QUERY, owned(&[("partner_trans_id", "NONE")])).await;
    assert_eq!(none.get("detail_error_code"), "TRADE_NOT_EXIST", "{case}");
    assert_eq!(none.get("detail_error_des"), "交易不存在", "{case}");
    let refund_id = format!("C{count}R");
    let refund = owned(&[
        ("currency", "HKD"),
        ("is_sync", "Y"),
        ("partner_refund_id", &refund_id),
        ("partner_trans_id", &ids[0]),
        ("refund_amount", "4"),
        ("refund_reson", "湯不熱 "),
    ]);
    let refunded = ask(REFUND, refund).await;
    assert_eq!(refunded.get("refund_amount"), "4.00", "{case}");
    let about = owned(&[("out_return_no", &refund_id), ("out_trade_no", &ids[0])]);
    let known = ask(REFUND_QUERY, about).await;
    assert_eq!(known.get("refund_result_code"), "SUCCESS", "{case}");
    let mut cancel = owned(&[("out_trade_no", &ids[1])]);
    if way.dates {
        cancel.push(("timestamp", "2026-01-02 12:00:00".to_owned()));
    }
    let undone = ask(CANCEL, cancel).await;
    assert_eq!(undone.get("action"), "refund", "{case}: {undone:?}");
}

/// A fault of a business parameter is told by the service, which signs and says what is wrong; by a setting it is
/// told at the door.
#[tokio::test]
async fn a_fault_of_a_parameter_is_signed_and_says_what_is_wrong() {
    let sign_type = SignType::Md5;
    let simulator = Simulator::start(Some(noon()), sign_type).await;
    let code = barcode("0001");
    for (changed, expected) in [
        (
            ("extend_info", r#"{"secondary_merchant_id":"SM001"}"#),
            "missing in extend_info: store_id",
        ),
        (
            (
                "extend_info",
                r#"{"secondary_merchant_id":"SM001","store_id":null}"#,
            ),
            "null in extend_info: store_id",
        ),
        (("extend_info", "[]"), "no JSON object: extend_info"),
        (("extend_info", ""), "missing: extend_info"),
        (("quantity", "0"), "not a number of goods: quantity"),
        (("price", "10"), "price times quantity is not trans_amount"),
        (("trans_amount", "10.505"), "not an amount: trans_amount"),
        (("trans_amount", "1e1"), "not an amount: trans_amount"),
        (("currency", "USD"), "must be HKD: currency"),
        (
            ("buyer_identity_code", "123"),
            "not a wallet's code: buyer_identity_code",
        ),
        (("till", "7"), "no such parameter: till"),
        (
            ("trans_name", &*"茶".repeat(86)),
            "too long: trans_name has 258 bytes of at most 256",
        ),
        (
            ("memo", &*"茶".repeat(86)),
            "too long: memo has 258 bytes of at most 256",
        ),
    ] {
        let request = pay("F1", &code, &[changed]);
        let refused = GETS.ask(&simulator, sign_type, PAY, &request).await;
        assert_eq!(refused.get("result_code"), "FAILED", "{changed:?}");
        assert_eq!(refused.get("error"), "INVALID_PARAMETER", "{changed:?}");
        assert_eq!(refused.get("detail_error_des"), expected, "{changed:?}");
    }
    let reason = "湯".repeat(43);
    let refund = [
        ("currency", "HKD"),
        ("partner_refund_id", "F1R"),
        ("partner_trans_id", "F1"),
        ("refund_amount", "4"),
        ("refund_reson", reason.as_str()),
    ];
    let refund = GETS.ask(&simulator, sign_type, REFUND, &refund).await;
    assert_eq!(refund.get("error"), "INVALID_PARAMETER", "{refund:?}");
    assert_eq!(
        refund.get("detail_error_des"),
        "too long: refund_reson has 129 bytes of at most 128"
    );
    let query = GETS.ask(&simulator, sign_type, QUERY, &[]).await;
    assert_eq!(query.get("detail_error_code"), "INVALID_PARAMETER");
    let refund_query = GETS.ask(&simulator, sign_type, REFUND_QUERY, &[]).await;
    assert_eq!(refund_query.get("response_code"), "INVALID_PARAMETER");

    simulator
        .set_access(&json!({"refusal": null, "parameter_faults": "unsigned"}))
        .await;
    let request = pay("F1", &code, &[("currency", "USD")]);
    let refused = GETS.ask(&simulator, sign_type, PAY, &request).await;
    assert!(refused.fields.is_empty(), "{refused:?}");
    assert!(refused.document.contains("<is_success>F</is_success>"));
    assert!(
        refused
            .document
            .contains("<error>INVALID_PARAMETER</error>")
    );
    assert!(simulator.trades().await.is_empty());
}

/// What is wrong with the account meets whatever is asked about the payment, and with another key whatever is asked.
#[tokio::test]
async fn a_fault_of_the_account_refuses_queries_and_cancels_too() {
    let sign_type = SignType::Md5;
    let simulator = Simulator::start(Some(noon()), sign_type).await;
    let (shut_out, code) = (barcode("1104"), barcode("0001"));
    let refused_with = |read: &Read, error: &str| {
        read.fields.is_empty() && read.document.contains(&format!("<error>{error}</error>"))
    };
    let ask = |service: &'static str, own: Vec<(&'static str, &'static str)>| {
        let simulator = &simulator;
        async move { GETS.ask(simulator, sign_type, service, &own).await }
    };
    let sent = GETS
        .ask(&simulator, sign_type, PAY, &pay("D1", &shut_out, &[]))
        .await;
    assert!(refused_with(&sent, "HAS_NO_PRIVILEGE"), "{sent:?}");
    for (service, own) in [
        (QUERY, vec![("partner_trans_id", "D1")]),
        (CANCEL, vec![("out_trade_no", "D1")]),
    ] {
        let asked = ask(service, own).await;
        assert!(refused_with(&asked, "HAS_NO_PRIVILEGE"), "{asked:?}");
    }
    let paid = GETS
        .ask(&simulator, sign_type, PAY, &pay("D2", &code, &[]))
        .await;
    assert_eq!(paid.get("result_code"), "SUCCESS", "another payment");

    simulator.refuse_access(Some("ILLEGAL_SIGN")).await;
    let asked = ask(QUERY, vec![("partner_trans_id", "D2")]).await;
    assert!(refused_with(&asked, "ILLEGAL_SIGN"), "{asked:?}");
    simulator.refuse_access(None).await;
    let asked = ask(QUERY, vec![("partner_trans_id", "D1")]).await;
    assert_eq!(asked.get("detail_error_code"), "TRADE_NOT_EXIST");
}
