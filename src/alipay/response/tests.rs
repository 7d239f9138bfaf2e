mod effects;

use chrono::{DateTime, Utc};
use encoding_rs::GBK;
use md5::{Digest as _, Md5};
use proptest::prelude::*;

use super::*;
use crate::{
    alipay::{
        outcome::{
            CancelAction, CancelOutcome, PayOutcome, QueryOutcome, RefundOutcome,
            RefundQueryOutcome, StoreStatusOutcome,
        },
        parameters::{Parameters, service_name},
        request::{
            CancelRequest, PayRequest, QueryRequest, RefundMode, RefundQueryRequest, RefundRequest,
            SecondaryMerchant, StoreStatusRequest,
        },
        sign::Credentials,
        vectors,
    },
    domain::{
        id::{PartnerRefundId, PartnerTransId},
        money::{Currency, Money},
        payments::{
            buyer::{BuyerLoginId, BuyerUserId},
            payment::{Charge, RetryAdvice},
        },
        registrations::RegisteredData,
    },
};

const PARTNER: &str = "2088000000000001";
const SIGNATURE: &str = "2ac39952f2162cacc1c46544334ce8cf";

const PAID: [(&str, &str); 9] = [
    ("alipay_buyer_login_id", "852-****0001"),
    ("alipay_buyer_user_id", "2088000000000099"),
    ("alipay_pay_time", "20260102030406"),
    ("alipay_trans_id", "2026010222001400000000000001"),
    ("currency", "HKD"),
    ("partner_trans_id", "HKT0000001"),
    ("payment_inst", "ALIPAYHK"),
    ("result_code", "SUCCESS"),
    ("trans_amount", "39.25"),
];

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().expect("an RFC 3339 instant")
}

fn credentials() -> Credentials {
    Credentials::md5(vectors::V5_MD5_KEY.as_bytes()).expect("a usable key")
}

fn ours() -> PartnerTransId {
    PartnerTransId::from_stored("HKT0000001".to_owned())
}

fn amount() -> Money {
    Money::new(3925, Currency::HKD)
}

pub(in crate::alipay) fn pay_request() -> PayRequest {
    PayRequest {
        partner_trans_id: ours(),
        amount: amount(),
        barcode: "281234567890123456".parse().expect("a valid code"),
        description: "港式奶茶 & toast".to_owned(),
        created_at: utc("2026-01-01T19:04:05Z"),
        secondary_merchant: SecondaryMerchant {
            id: "SM001".to_owned(),
            name: "Demo Cafe".to_owned(),
            industry: "5812".to_owned(),
            store_id: "ST01".to_owned(),
            store_name: "Demo Cafe Central".to_owned(),
            terminal_id: Some("T1".to_owned()),
            service_provider_id: None,
        },
    }
}

fn query_request() -> QueryRequest {
    QueryRequest {
        partner_trans_id: ours(),
        amount: amount(),
        alipay_trans_id: Some("2026010222001400000000000001".to_owned()),
    }
}

fn cancel_request() -> CancelRequest {
    CancelRequest {
        partner_trans_id: ours(),
        alipay_trans_id: None,
    }
}

fn refund_request(mode: RefundMode) -> RefundRequest {
    RefundRequest {
        partner_trans_id: ours(),
        partner_refund_id: PartnerRefundId::from_stored("HKR0000001".to_owned()),
        amount: Money::new(1000, Currency::HKD),
        reason: None,
        mode,
        alipay_trans_id: None,
    }
}

/// What Alipay's signed answer to a refund means, for the tests of what is made of it.
pub(crate) fn read_refund_answer(mode: RefundMode, result: &[(&str, &str)]) -> RefundOutcome {
    let ids = [
        ("currency", "HKD"),
        ("partner_refund_id", "HKR0000001"),
        ("partner_trans_id", "HKT0000001"),
        ("refund_amount", "10.00"),
    ];
    read_fields(&refund_request(mode), &[&ids, result].concat())
        .expect("an answer about this refund")
        .outcome
}

/// What a refusal of a refund at the door means.
pub(crate) fn read_refused_refund(mode: RefundMode, code: &str, is_signed: bool) -> RefundOutcome {
    let reply = Reply::Refused {
        code: code.to_owned(),
        verified: is_signed,
    };
    interpret(&refund_request(mode), &reply, &Codes::default())
        .expect("a refusal can be read")
        .outcome
}

/// What Alipay's signed answer to a refund query means.
pub(crate) fn read_refund_query_answer(result: &[(&str, &str)]) -> RefundQueryOutcome {
    let request = RefundQueryRequest {
        partner_trans_id: ours(),
        partner_refund_id: PartnerRefundId::from_stored("HKR0000001".to_owned()),
        alipay_trans_id: None,
    };
    let ids = [
        ("out_return_no", "HKR0000001"),
        ("out_trade_no", "HKT0000001"),
    ];
    read_fields(&request, &[&ids, result].concat())
        .expect("an answer about this refund")
        .outcome
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Alipay's signature, made without the code under test.
fn sign(fields: &[(&str, &str)], encode: impl Fn(&str) -> Vec<u8>) -> String {
    let mut sorted = fields.to_vec();
    sorted.sort_unstable();
    let text: Vec<_> = sorted
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut bytes = encode(&text.join("&"));
    bytes.extend_from_slice(vectors::V5_MD5_KEY.as_bytes());
    hex::encode(Md5::digest(bytes))
}

fn elements(fields: &[(&str, &str)]) -> String {
    fields
        .iter()
        .map(|(name, value)| format!("<{name}>{}</{name}>", escape(value)))
        .collect::<Vec<_>>()
        .concat()
}

fn envelope(encoding: &str, request: &str, business: &str, sign: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"{encoding}\"?>\n<alipay><is_success>T</is_success>\
         <request>{request}</request><response><alipay>{business}</alipay></response>\
         <sign>{sign}</sign><sign_type>MD5</sign_type></alipay>"
    )
}

fn answer(fields: &[(&str, &str)]) -> String {
    let signature = sign(fields, |text| text.as_bytes().to_vec());
    let request = format!(
        "<param name=\"partner\">{PARTNER}</param><param name=\"partner_trans_id\">HKT0000001</param>"
    );
    envelope("UTF-8", &request, &elements(fields), &signature)
}

pub(in crate::alipay) fn signed_paid_answer() -> String {
    answer(&PAID)
}

fn read_bytes<R: Readable>(request: &R, body: &[u8]) -> Result<Reading<R::Outcome>, Fault> {
    let sent = Parameters::new(R::SERVICE, PARTNER)
        .with("partner_trans_id", "HKT0000001")
        .with("out_trade_no", "HKT0000001");
    read(body, None, &credentials(), &sent)
        .and_then(|reply| interpret(request, &reply, &Codes::default()))
}

fn read_fields<R: Readable>(
    request: &R,
    fields: &[(&str, &str)],
) -> Result<Reading<R::Outcome>, Fault> {
    read_bytes(request, answer(fields).as_bytes())
}

/// The same fields with one replaced, added, or (with an empty value) taken out.
fn with<'a>(
    fields: &[(&'a str, &'a str)],
    name: &'a str,
    value: &'a str,
) -> Vec<(&'a str, &'a str)> {
    let mut fields: Vec<_> = fields
        .iter()
        .copied()
        .filter(|(other, _)| *other != name)
        .collect();
    if !value.is_empty() {
        fields.push((name, value));
    }
    fields
}

fn class_of<T>(result: &Result<Reading<T>, Fault>) -> AnswerClass {
    match result {
        Ok(reading) => reading.class,
        Err(fault) => fault.class,
    }
}

fn charge() -> Charge {
    Charge {
        paid_at: Some(utc("2026-01-01T19:04:06Z")),
        wallet: Some("ALIPAYHK".to_owned()),
        wallet_file: None,
        buyer_user_id: Some(BuyerUserId::mask("2088********0099")),
        buyer_login_id: Some(BuyerLoginId::mask("852-****0001")),
    }
}

#[test]
fn v5_a_pay_request_signs_the_vectors_text() {
    let parameters = pay_request().to_parameters(PARTNER);
    let text = crate::alipay::sign::canonical(parameters.signed_pairs());
    assert_eq!(text, vectors::V5_PAY_TEXT);
    let form = parameters.to_form("s+/=", "MD5");
    assert!(form.contains("&sign=s%2B%2F%3D&sign_type=MD5"), "{form}");
    assert!(!form.contains("_input_charset"), "{form}");
}

#[test]
fn v5_the_vectors_query_answers_are_read() {
    let fields: Vec<_> = vectors::V5_QUERY_TEXT
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    assert_eq!(sign(&fields, |text| text.as_bytes().to_vec()), SIGNATURE);
    let paid = read_fields(&query_request(), &fields).expect("a genuine answer");
    assert_eq!(
        paid.outcome,
        QueryOutcome::Paid {
            charge: charge(),
            alipay_trans_id: Some("2026010222001400000000000001".to_owned()),
        }
    );
    let failure: Vec<_> = vectors::V5_QUERY_FAILURE_TEXT
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name, value.replace("0002", "0001")))
        .collect();
    let failure: Vec<_> = failure
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let not_found = read_fields(&query_request(), &failure).expect("a genuine answer");
    assert_eq!(not_found.outcome, QueryOutcome::NotFound);
    assert_eq!(not_found.code.as_deref(), Some("TRADE_NOT_EXIST"));
}

#[test]
fn v4_the_whole_production_answer_verifies_in_gbk_and_is_about_another_trade() {
    let business: String = vectors::V4_TEXT
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| format!("<{name}>{value}</{name}>"))
        .collect::<Vec<_>>()
        .concat();
    let request = "<param name=\"service\">alipay.acquire.createandpay</param>";
    let document = envelope("GBK", request, &business, vectors::V4_SIGN).replace("MD5", "RSA");
    let credentials = Credentials::rsa(
        vectors::V5_PRIVATE_KEY.as_bytes(),
        vectors::V4_PUBLIC_KEY.as_bytes(),
    )
    .expect("two usable keys");
    let sent = Parameters::new(AttemptKind::Pay, PARTNER);
    let read_document = |document: &str, bytes: &[u8]| {
        assert!(document.contains("交易失败"));
        read(bytes, None, &credentials, &sent).map_err(|fault| fault.class)
    };
    let gbk = GBK.encode(&document).0.into_owned();
    assert_eq!(
        read_document(&document, &gbk),
        Err(AnswerClass::Mismatch),
        "another service"
    );
    let ours = document.replace(
        "alipay.acquire.createandpay",
        service_name(AttemptKind::Pay),
    );
    let gbk = GBK.encode(&ours).0.into_owned();
    let Ok(Reply::Accepted(fields)) = read_document(&ours, &gbk) else {
        panic!("the production answer must verify");
    };
    assert_eq!(fields.get("display_message"), Some("交易失败"));
    let utf8 = ours.replace("encoding=\"GBK\"", "encoding=\"UTF-8\"");
    assert_eq!(
        read_document(&utf8, utf8.as_bytes()),
        Err(AnswerClass::BadSignature)
    );
}

#[test]
fn a_paid_answer_is_paid_in_each_charset_and_with_unknown_fields() {
    let expected = PayOutcome::Paid {
        charge: charge(),
        alipay_trans_id: Some("2026010222001400000000000001".to_owned()),
    };
    let paid = read_fields(&pay_request(), &PAID).expect("a genuine answer");
    assert_eq!(
        (paid.outcome, paid.class),
        (expected.clone(), AnswerClass::Success)
    );
    let fields = with(&PAID, "buyer_name", "陳大文 & Söhne <HK>");
    let fields_gbk = with(&PAID, "buyer_name", "陳大文 & <HK>");
    assert_eq!(
        read_fields(&pay_request(), &fields).map(|r| r.outcome),
        Ok(expected.clone())
    );
    for encoding in ["GBK", "GB2312", "gbk"] {
        let signature = sign(&fields_gbk, |text| GBK.encode(text).0.into_owned());
        let document = envelope(encoding, "", &elements(&fields_gbk), &signature);
        let body = GBK.encode(&document).0;
        assert_eq!(
            read_bytes(&pay_request(), &body).map(|r| r.outcome),
            Ok(expected.clone())
        );
        let utf8_signature = sign(&fields_gbk, |text| text.as_bytes().to_vec());
        let document = envelope(encoding, "", &elements(&fields_gbk), &utf8_signature);
        let body = GBK.encode(&document).0;
        assert_eq!(
            class_of(&read_bytes(&pay_request(), &body)),
            AnswerClass::BadSignature
        );
    }
}

#[test]
fn a_nested_element_is_signed_as_its_raw_xml() {
    let raw = "<fund_bill_list><x a=\"1\">1 &amp; 2</x></fund_bill_list>";
    let signature = sign(&with(&PAID, "fund_bill_list", raw), |text| {
        text.as_bytes().to_vec()
    });
    let document = envelope(
        "UTF-8",
        "",
        &format!("{}{raw}<empty/>", elements(&PAID)),
        &signature,
    );
    let paid = read_bytes(&pay_request(), document.as_bytes()).expect("a genuine answer");
    assert_eq!(paid.class, AnswerClass::Success);
}

#[test]
fn s9_a_paid_answer_about_something_else_is_a_mismatch() {
    for (name, value) in [
        ("partner_trans_id", "HKT0000002"),
        ("partner_trans_id", ""),
        ("out_trade_no", "HKT0000002"),
        ("trans_amount", "39.26"),
        ("trans_amount", "39.250"),
        ("trans_amount", ""),
        ("currency", "CNY"),
        ("currency", ""),
        ("alipay_trans_status", "WAIT_BUYER_PAY"),
        ("partner_refund_id", "HKR0000001"),
    ] {
        let result = read_fields(&pay_request(), &with(&PAID, name, value));
        assert_eq!(class_of(&result), AnswerClass::Mismatch, "{name} = {value}");
    }
    for (from, to) in [
        (
            "<param name=\"partner\">2088000000000001<",
            "<param name=\"partner\">2088000000000002<",
        ),
        (
            "<param name=\"partner_trans_id\">HKT0000001<",
            "<param name=\"partner_trans_id\">HKT0000002<",
        ),
    ] {
        let echo = answer(&PAID).replace(from, to);
        let result = read_bytes(&pay_request(), echo.as_bytes());
        assert_eq!(class_of(&result), AnswerClass::Mismatch, "{to}");
    }
    let known = QueryRequest {
        alipay_trans_id: Some("9".to_owned()),
        ..query_request()
    };
    let status = with(&PAID, "alipay_trans_status", "TRADE_SUCCESS");
    assert_eq!(
        class_of(&read_fields(&known, &status)),
        AnswerClass::Mismatch
    );
}

#[test]
fn pay_answers_are_read_as_operations_1_3_says() {
    let of = |result_code: &'static str, error: &'static str| {
        let fields = with(&[("result_code", result_code)], "error", error);
        let reading = read_fields(&pay_request(), &fields).expect("a genuine answer");
        (reading.outcome, reading.class)
    };
    for waiting in ["UNKNOW", "UNKNOWN"] {
        let expected = PayOutcome::BuyerMustConfirm {
            alipay_trans_id: None,
            wallet: None,
        };
        assert_eq!(of(waiting, ""), (expected.clone(), AnswerClass::Pending));
        assert_eq!(of(waiting, "SOME_CODE"), (expected, AnswerClass::Pending));
    }
    for fail in ["FAIL", "FAILED"] {
        let (outcome, class) = of(fail, "SOUNDWAVE_PARSER_FAIL");
        let PayOutcome::Declined(failure) = outcome else {
            panic!("a documented decline is a decline");
        };
        assert_eq!(
            (failure.retry, class),
            (RetryAdvice::NewBarcode, AnswerClass::Declined)
        );
        assert_eq!(failure.code, "SOUNDWAVE_PARSER_FAIL");
    }
    let (outcome, _) = of("FAILED", "ILLEGAL_SIGN");
    assert!(matches!(outcome, PayOutcome::Declined(failure) if failure.retry == RetryAdvice::No));
    for (result_code, error, class) in [
        ("FAILED", "SYSTEM_ERROR", AnswerClass::SystemError),
        ("UNKNOW", "SYSTEM_ERROR", AnswerClass::SystemError),
        ("SUCCESS", "SYSTEM_ERROR", AnswerClass::SystemError),
        ("FAILED", "FANTASY_CODE", AnswerClass::UnknownCode),
        ("FAILED", "TRADE_HAS_SUCCESS", AnswerClass::UnknownCode),
        ("FAILED", "TRADE_NOT_EXIST", AnswerClass::UnknownCode),
        ("FAILED", "", AnswerClass::UnknownCode),
        ("SUCCESS", "PAYMENT_FAIL", AnswerClass::UnknownCode),
        ("success", "", AnswerClass::UnknownCode),
        ("FAILURE", "PAYMENT_FAIL", AnswerClass::UnknownCode),
    ] {
        assert_eq!(
            of(result_code, error),
            (PayOutcome::Unknown, class),
            "{result_code} {error}"
        );
    }
    let no_result = read_fields(&pay_request(), &[("error", "PAYMENT_FAIL")]);
    assert_eq!(class_of(&no_result), AnswerClass::Malformed);
}

#[test]
fn s3_a_refusal_at_the_door_is_believed_only_when_signed() {
    let refusal = |code: &str, signature: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<alipay><is_success>F</is_success><error>{code}</error>{signature}</alipay>"
        )
    };
    let signed = |code| {
        let signature = sign(&[("error", code)], |text| text.as_bytes().to_vec());
        refusal(
            code,
            &format!("<sign>{signature}</sign><sign_type>MD5</sign_type>"),
        )
    };
    let read = |body: String| {
        read_bytes(&pay_request(), body.as_bytes())
            .map(|reading| {
                (
                    matches!(reading.outcome, PayOutcome::Declined(_)),
                    reading.class,
                )
            })
            .map_err(|fault| fault.class)
    };
    assert_eq!(
        read(refusal("ILLEGAL_SIGN", "")),
        Ok((false, AnswerClass::AccessRefused))
    );
    assert_eq!(
        read(signed("ILLEGAL_SIGN")),
        Ok((true, AnswerClass::AccessRefused))
    );
    assert_eq!(
        read(signed("FANTASY")),
        Ok((false, AnswerClass::AccessRefused))
    );
    assert_eq!(
        read(signed("SYSTEM_ERROR")),
        Ok((false, AnswerClass::SystemError))
    );
    assert_eq!(
        read(refusal("SYSTEM_ERROR", "")),
        Ok((false, AnswerClass::SystemError))
    );
    let forged = refusal("ILLEGAL_SIGN", "<sign>00</sign><sign_type>MD5</sign_type>");
    assert_eq!(read(forged), Err(AnswerClass::BadSignature));
    assert_eq!(read(refusal("", "")), Err(AnswerClass::Malformed));
}

#[test]
fn v1_v2_a_tampered_envelope_never_means_anything() {
    let good = answer(&PAID);
    let signature = sign(&PAID, |text| text.as_bytes().to_vec());
    let business = elements(&PAID);
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    for (body, class) in [
        (replaced("<sign>", "<sign>0"), AnswerClass::BadSignature),
        (
            replaced(&format!("<sign>{signature}</sign>"), ""),
            AnswerClass::BadSignature,
        ),
        (
            replaced("<sign_type>MD5</sign_type>", ""),
            AnswerClass::BadSignature,
        ),
        (replaced(">MD5<", ">RSA<"), AnswerClass::BadSignature),
        (replaced(">MD5<", ">md5<"), AnswerClass::BadSignature),
        (
            replaced("852-****0001", "852-****0002"),
            AnswerClass::BadSignature,
        ),
        (
            replaced("<currency>HKD</currency>", ""),
            AnswerClass::BadSignature,
        ),
        (
            replaced("<is_success>T", "<is_success>t"),
            AnswerClass::Malformed,
        ),
        (
            replaced("<is_success>T</is_success>", ""),
            AnswerClass::Malformed,
        ),
        (
            replaced(
                "<result_code>",
                "<result_code>FAILED</result_code><result_code>",
            ),
            AnswerClass::Malformed,
        ),
        (
            replaced("<sign>", "<sign>00</sign><sign>"),
            AnswerClass::Malformed,
        ),
        (
            replaced(
                "<response>",
                &format!("<response><alipay>{business}</alipay>"),
            ),
            AnswerClass::Malformed,
        ),
        (
            replaced(
                "<response>",
                &format!("<response><alipay>{business}</alipay></response><response>"),
            ),
            AnswerClass::Malformed,
        ),
        (
            replaced("<response>", "<response>text"),
            AnswerClass::Malformed,
        ),
        (
            replaced("<param", "<param name=\"partner\">1</param><param"),
            AnswerClass::Malformed,
        ),
        (
            replaced("SUCCESS", "<!-- SUCCESS -->"),
            AnswerClass::Malformed,
        ),
        (
            replaced("?>\n", "?>\n<!DOCTYPE alipay>"),
            AnswerClass::Malformed,
        ),
        (
            replaced("</alipay></response>", "</alipay></response>x"),
            AnswerClass::Malformed,
        ),
        (format!("{good}<alipay/>"), AnswerClass::Malformed),
        (
            good.replace("<alipay>", "<other>")
                .replace("</alipay>", "</other>"),
            AnswerClass::Malformed,
        ),
        (String::new(), AnswerClass::Malformed),
    ] {
        let result = read_bytes(&pay_request(), body.as_bytes());
        assert_eq!(class_of(&result), class, "{body}");
        assert!(result.is_err(), "{body}");
    }
}

/// The signature is over the bytes and the text, not over a label or the way in which the text is written.
#[test]
fn what_verifies_is_taken_under_any_label_and_as_character_data() {
    let good = answer(&PAID);
    let paid = read_fields(&pay_request(), &PAID);
    for (from, to) in [
        ("UTF-8", "UTF-7"),
        ("UTF-8", "utf8"),
        ("UTF-8", ""),
        ("UTF-8", "GB18030"),
        ("SUCCESS", "<![CDATA[SUCCESS]]>"),
        ("SUCCESS", "SUC<![CDATA[CESS]]>"),
        ("HKT0000001", "<![CDATA[HKT0000001]]>"),
    ] {
        let body = good.replace(from, to);
        assert_ne!(body, good);
        let read = read_bytes(&pay_request(), body.as_bytes());
        assert_eq!(read, paid, "{from} as {to}");
    }
    // What stands in a section is text and no element, so that it cannot stand for one.
    let nested = format!("<![CDATA[{}]]>", elements(&PAID));
    let hidden = envelope(
        "UTF-8",
        "",
        &nested,
        &sign(&PAID, |text| text.as_bytes().to_vec()),
    );
    assert!(read_bytes(&pay_request(), hidden.as_bytes()).is_err());
}

/// Bytes that are GBK under a declaration of another charset, signed as they are.
#[test]
fn the_bytes_that_came_are_verified() {
    let fields = with(&PAID, "display_message", "交易完成");
    let gbk = |text: &str| GBK.encode(text).0.into_owned();
    let signature = sign(&fields, gbk);
    for label in ["UTF-8", "GBK", "gb18030", "GB2312", "", "x-unknown"] {
        let document = envelope(label, "", &elements(&fields), &signature);
        let read = read_bytes(&pay_request(), &gbk(&document));
        assert!(
            matches!(
                read,
                Ok(Reading {
                    outcome: PayOutcome::Paid { .. },
                    ..
                })
            ),
            "{label}: {read:?}"
        );
        let changed = gbk(&document.replace("交易", "交错"));
        let read = read_bytes(&pay_request(), &changed);
        assert_eq!(class_of(&read), AnswerClass::BadSignature, "{label}");
    }
}

#[test]
fn v1_a_field_may_not_be_swallowed_by_the_one_before_it() {
    // Signed by Alipay: error=PAYMENT_FAIL in its own element. The forger moves it into `currency`.
    let genuine = with(&PAID, "error", "PAYMENT_FAIL");
    let signature = sign(&genuine, |text| text.as_bytes().to_vec());
    let forged = with(&PAID, "currency", "HKD&error=PAYMENT_FAIL");
    let document = envelope("UTF-8", "", &elements(&forged), &signature);
    let result = read_bytes(&pay_request(), document.as_bytes());
    assert_eq!(class_of(&result), AnswerClass::Malformed);
}

#[test]
fn query_answers_follow_the_trades_status() {
    let of = |status: &'static str, pay_time: &'static str| {
        let fields = with(&PAID, "alipay_trans_status", status);
        let fields = with(&fields, "alipay_pay_time", pay_time);
        let reading = read_fields(&query_request(), &fields).expect("a genuine answer");
        (reading.outcome, reading.class)
    };
    let id = || Some("2026010222001400000000000001".to_owned());
    let time = "20260102030406";
    for paid in ["TRADE_SUCCESS", "TRADE_FINISHED"] {
        assert!(matches!(
            of(paid, time),
            (QueryOutcome::Paid { .. }, AnswerClass::Success)
        ));
    }
    assert_eq!(
        of("WAIT_BUYER_PAY", ""),
        (
            QueryOutcome::BuyerMustConfirm {
                alipay_trans_id: id(),
                wallet: Some("ALIPAYHK".to_owned()),
            },
            AnswerClass::Pending
        )
    );
    assert_eq!(
        of("TRADE_CLOSED", ""),
        (
            QueryOutcome::Closed {
                alipay_trans_id: id(),
                charge: None
            },
            AnswerClass::Closed
        )
    );
    assert_eq!(
        of("TRADE_CLOSED", time),
        (
            QueryOutcome::Closed {
                alipay_trans_id: id(),
                charge: Some(charge())
            },
            AnswerClass::Closed
        )
    );
    for unknown in ["TRADE_PENDING", "trade_success", ""] {
        assert_eq!(
            of(unknown, time),
            (QueryOutcome::Unknown, AnswerClass::UnknownCode)
        );
    }
    for (code, outcome, class) in [
        (
            "TRANS_NOT_FOUND",
            QueryOutcome::NotFound,
            AnswerClass::NotFound,
        ),
        (
            "TRADE_NOT_EXIST",
            QueryOutcome::NotFound,
            AnswerClass::NotFound,
        ),
        (
            "SYSTEM_ERROR",
            QueryOutcome::Unknown,
            AnswerClass::SystemError,
        ),
        ("ILLEGAL_SIGN", QueryOutcome::Unknown, AnswerClass::Declined),
        ("FANTASY", QueryOutcome::Unknown, AnswerClass::UnknownCode),
    ] {
        for field in ["error", "detail_error_code"] {
            let fields = [("result_code", "FAIL"), (field, code)];
            let reading = read_fields(&query_request(), &fields).expect("a genuine answer");
            assert_eq!(
                (&reading.outcome, reading.class),
                (&outcome, class),
                "{code}"
            );
        }
    }
    let other = [
        ("result_code", "FAIL"),
        ("error", "TRADE_NOT_EXIST"),
        ("out_trade_no", "X"),
    ];
    assert_eq!(
        class_of(&read_fields(&query_request(), &other)),
        AnswerClass::Mismatch
    );
}

#[test]
fn s6_cancel_answers_follow_their_action_and_retry_flag() {
    let read = |fields: &[(&'static str, &'static str)]| {
        let fields = [&[("out_trade_no", "HKT0000001")], fields].concat();
        read_fields(&cancel_request(), &fields)
            .map(|reading| reading.outcome)
            .map_err(|fault| fault.class)
    };
    let closed = |action, id: Option<&str>| {
        Ok(CancelOutcome::Closed {
            action,
            alipay_trans_id: id.map(str::to_owned),
        })
    };
    let success = ("result_code", "SUCCESS");
    let final_flag = ("retry_flag", "N");
    assert_eq!(
        read(&[success, final_flag]),
        closed(CancelAction::NothingExisted, None)
    );
    for (action, expected) in [
        ("close", CancelAction::Closed),
        ("CLOSE", CancelAction::Closed),
        ("refund", CancelAction::Refunded),
        ("REFUND", CancelAction::Refunded),
        ("reverse", CancelAction::Unstated),
    ] {
        let fields = [success, final_flag, ("action", action), ("trade_no", "1")];
        assert_eq!(read(&fields), closed(expected, Some("1")));
    }
    let unstated = read(&[success, final_flag, ("trade_no", "1")]);
    assert_eq!(unstated, closed(CancelAction::Unstated, Some("1")));
    assert_eq!(
        read(&[success, ("retry_flag", "Y")]),
        Ok(CancelOutcome::Unknown)
    );
    let code = |code: &str| Some(code.to_owned());
    for (result, error, flag, expected) in [
        (
            "FAIL",
            "SYSTEM_ERROR",
            "Y",
            CancelOutcome::Retry {
                code: code("SYSTEM_ERROR"),
            },
        ),
        ("UNKNOWN", "", "Y", CancelOutcome::Retry { code: None }),
        ("UNKNOWN", "", "", CancelOutcome::Retry { code: None }),
        (
            "FAIL",
            "TRADE_HAS_FINISHED",
            "N",
            CancelOutcome::Refused {
                code: code("TRADE_HAS_FINISHED"),
            },
        ),
        (
            "FAIL",
            "TRADE_HAS_FINISHED",
            "",
            CancelOutcome::Refused {
                code: code("TRADE_HAS_FINISHED"),
            },
        ),
        (
            "FAIL",
            "SELLER_BALANCE_NOT_ENOUGH",
            "",
            CancelOutcome::BalanceTooLow { may_retry: true },
        ),
        (
            "FAIL",
            "FANTASY",
            "Y",
            CancelOutcome::Retry {
                code: code("FANTASY"),
            },
        ),
        ("FAIL", "FANTASY", "", CancelOutcome::Unknown),
    ] {
        let fields: Vec<_> = [
            ("result_code", result),
            ("detail_error_code", error),
            ("retry_flag", flag),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
        assert_eq!(read(&fields), Ok(expected), "{result} {error} {flag}");
    }
}

#[test]
fn v1_a_query_answer_does_not_pass_for_a_cancel_answer() {
    let paid = with(&PAID, "out_trade_no", "HKT0000001");
    assert_eq!(
        class_of(&read_fields(&cancel_request(), &paid)),
        AnswerClass::Mismatch
    );
    let nameless = [("result_code", "SUCCESS"), ("retry_flag", "N")];
    assert_eq!(
        class_of(&read_fields(&cancel_request(), &nameless)),
        AnswerClass::Mismatch
    );
}

#[test]
fn refund_answers_mean_done_or_recorded_by_their_mode() {
    let fields = [
        ("alipay_trans_id", "1"),
        ("currency", "HKD"),
        ("partner_refund_id", "HKR0000001"),
        ("partner_trans_id", "HKT0000001"),
        ("refund_amount", "10.00"),
        ("result_code", "SUCCESS"),
    ];
    let read = |mode, fields: &[(&str, &str)]| {
        read_fields(&refund_request(mode), fields)
            .map(|reading| reading.outcome)
            .map_err(|fault| fault.class)
    };
    let asynchronous = || RefundMode::Asynchronous { notify_url: None };
    let alipay_trans_id = Some("1".to_owned());
    assert_eq!(
        read(RefundMode::Synchronous, &fields),
        Ok(RefundOutcome::Succeeded {
            alipay_trans_id: alipay_trans_id.clone()
        })
    );
    assert_eq!(
        read(asynchronous(), &fields),
        Ok(RefundOutcome::Accepted { alipay_trans_id })
    );
    for (name, value) in [
        ("partner_refund_id", "HKR0000002"),
        ("partner_refund_id", ""),
        ("refund_amount", "10.01"),
        ("currency", "CNY"),
        ("partner_trans_id", "HKT0000002"),
    ] {
        let changed = with(&fields, name, value);
        assert_eq!(
            read(asynchronous(), &changed),
            Err(AnswerClass::Mismatch),
            "{name}"
        );
    }
    let failed = |code| {
        read(
            RefundMode::Synchronous,
            &[("result_code", "FAILED"), ("error", code)],
        )
    };
    assert!(matches!(
        failed("RETURN_AMOUNT_EXCEED"),
        Ok(RefundOutcome::Refused(_))
    ));
    assert!(matches!(
        failed("MERCHANT_BALANCE_NOT_ENOUGH"),
        Ok(RefundOutcome::BalanceTooLow { .. })
    ));
    assert!(matches!(
        failed("TRADE_HAS_CLOSE"),
        Ok(RefundOutcome::CheckPayment { .. })
    ));
    for unknown in [
        "SYSTEM_ERROR",
        "DISCORDANT_REPEAT_REQUEST",
        "281234567890123456",
    ] {
        assert_eq!(failed(unknown), Ok(RefundOutcome::Unknown), "{unknown}");
    }
    let code = "FANTASY".to_owned();
    assert_eq!(failed("FANTASY"), Ok(RefundOutcome::UnknownCode { code }));
}

#[test]
fn refund_query_answers_follow_their_two_codes() {
    let request = RefundQueryRequest {
        partner_trans_id: ours(),
        partner_refund_id: PartnerRefundId::from_stored("HKR0000001".to_owned()),
        alipay_trans_id: None,
    };
    let read = |fields: &[(&'static str, &'static str)]| {
        let ids = [
            ("out_trade_no", "HKT0000001"),
            ("out_return_no", "HKR0000001"),
        ];
        read_fields(&request, &[&ids, fields].concat()).map(|reading| reading.outcome)
    };
    let done = [
        ("gmt_create", "2026-01-02 03:20:00"),
        ("refund_result_code", "SUCCESS"),
        ("response_code", "SUCCESS"),
        ("trade_no", "1"),
    ];
    let accepted_at = Some(utc("2026-01-01T19:20:00Z"));
    assert_eq!(
        read(&done),
        Ok(RefundQueryOutcome::Succeeded {
            alipay_trans_id: Some("1".to_owned()),
            accepted_at
        })
    );
    let code = "MERCHANT_BALANCE_NOT_ENOUGH";
    let waiting = [
        &with(&done, "refund_result_code", "PROCESSING")[..],
        &[("refund_error_code", code)],
    ]
    .concat();
    assert_eq!(
        read(&waiting),
        Ok(RefundQueryOutcome::Processing {
            code: Some(code.to_owned()),
            accepted_at
        })
    );
    assert_eq!(
        read(&with(&done, "refund_result_code", "FAILED")),
        Ok(RefundQueryOutcome::Failed { code: None })
    );
    assert_eq!(
        read(&with(&done, "refund_result_code", "CANCELED")),
        Ok(RefundQueryOutcome::Canceled)
    );
    assert_eq!(
        read(&with(&done, "refund_result_code", "")),
        Ok(RefundQueryOutcome::Unknown)
    );
    for (code, expected) in [
        ("NOT_FOUND", RefundQueryOutcome::NotFound),
        ("TRADE_NOT_EXIST", RefundQueryOutcome::PaymentNotFound),
        ("QUERY_FAILED", RefundQueryOutcome::Unknown),
        ("SYSTEM_ERROR", RefundQueryOutcome::Unknown),
        ("FANTASY", RefundQueryOutcome::Unknown),
    ] {
        assert_eq!(read(&[("response_code", code)]), Ok(expected), "{code}");
    }
}

/// Both ids are optional (`docs/protocol.md` 4.6).
#[test]
fn v1_a_refund_query_answer_is_about_what_it_names() {
    let read = |known: Option<&str>, ids: &[(&'static str, &'static str)]| {
        let request = RefundQueryRequest {
            partner_trans_id: ours(),
            partner_refund_id: PartnerRefundId::from_stored("HKR0000001".to_owned()),
            alipay_trans_id: known.map(str::to_owned),
        };
        let done = [
            ("refund_result_code", "SUCCESS"),
            ("response_code", "SUCCESS"),
        ];
        read_fields(&request, &[ids, &done[..]].concat())
            .map(|reading| reading.outcome)
            .map_err(|fault| fault.class)
    };
    let done = |id: Option<&str>| RefundQueryOutcome::Succeeded {
        alipay_trans_id: id.map(str::to_owned),
        accepted_at: None,
    };
    let only = |id| Ok(RefundQueryOutcome::OfTheOnlyRefund(Box::new(done(id))));
    let (refund, payment) = (
        ("out_return_no", "HKR0000001"),
        ("out_trade_no", "HKT0000001"),
    );
    assert_eq!(read(None, &[refund, payment]), Ok(done(None)));
    assert_eq!(read(None, &[refund]), Ok(done(None)));
    assert_eq!(
        read(None, &[("partner_refund_id", "HKR0000001")]),
        Ok(done(None))
    );
    assert_eq!(read(None, &[payment]), only(None));
    assert_eq!(read(Some("1"), &[("trade_no", "1")]), only(Some("1")));
    for (known, ids) in [
        (None, &[][..]),
        (None, &[("trade_no", "1")]),
        (Some("1"), &[refund, ("trade_no", "2")]),
        (Some("1"), &[("out_return_no", "HKR0000002")]),
        (Some("1"), &[refund, ("out_trade_no", "HKT0000002")]),
    ] {
        assert_eq!(read(known, ids), Err(AnswerClass::Mismatch), "{ids:?}");
    }
}

/// How these answers look is not documented (`docs/protocol.md` 4).
#[test]
fn a_verified_registration_answer_may_be_flat() {
    let sent = |service| Parameters::new(service, PARTNER);
    let flat = |fields: &[(&str, &str)], rest: &str| {
        let signature = sign(fields, |text| text.as_bytes().to_vec());
        let elements = elements(fields);
        format!("<alipay>{elements}<sign>{signature}</sign>{rest}</alipay>")
    };
    let status = [
        ("secondary_merchant_id", "SM001"),
        ("status", "SUCCESS"),
        ("store_id", "ST01"),
    ];
    for rest in [
        "",
        "<sign_type>MD5</sign_type>",
        "<is_success>T</is_success>",
    ] {
        let reply = read_root(&flat(&status, rest), &sent(AttemptKind::StoreStatus));
        let reading = interpret(
            &store_status(),
            &reply.expect("verified"),
            &Codes::default(),
        )
        .expect("a status");
        assert!(
            matches!(reading.outcome, StoreStatusOutcome::Approved { .. }),
            "{rest}: {reading:?}"
        );
    }
    let taken = flat(&[("result_code", "SUCCESS")], "");
    assert!(matches!(
        read_root(&taken, &sent(AttemptKind::MaintainStore)),
        Ok(Reply::Accepted(_))
    ));
    let other_type = flat(&status, "<sign_type>RSA</sign_type>");
    let forged = flat(&status, "").replace("SUCCESS", "FAILED");
    for refused in [other_type, forged] {
        assert!(
            read_root(&refused, &sent(AttemptKind::StoreStatus)).is_err(),
            "{refused}"
        );
    }
    // Where money moves, nothing is left out.
    for service in [
        AttemptKind::Pay,
        AttemptKind::Query,
        AttemptKind::Cancel,
        AttemptKind::Refund,
    ] {
        assert_eq!(
            read_root(&taken, &sent(service)),
            Err(AnswerClass::Malformed)
        );
    }
    let unsigned = "<alipay><error>PARAM_ILLEGAL</error></alipay>";
    assert_eq!(
        read_root(unsigned, &sent(AttemptKind::StoreStatus)),
        Ok(Reply::Refused {
            code: "PARAM_ILLEGAL".to_owned(),
            verified: false
        })
    );
}

fn store_status() -> StoreStatusRequest {
    StoreStatusRequest {
        secondary_merchant_id: "SM001".to_owned(),
        store_id: "ST01".to_owned(),
        partner: PARTNER.to_owned(),
    }
}

fn read_status(fields: &[(&'static str, &'static str)]) -> Result<StoreStatusOutcome, AnswerClass> {
    let ids = [("secondary_merchant_id", "SM001"), ("store_id", "ST01")];
    read_fields(&store_status(), &[&ids, fields].concat())
        .map(|reading| reading.outcome)
        .map_err(|fault| fault.class)
}

#[test]
fn a_registrations_status_comes_with_what_is_registered() {
    let named = ("store_name", "Demo Cafe Central");
    let echo = Box::new(RegisteredData {
        store_name: Some("Demo Cafe Central".to_owned()),
        ..RegisteredData::default()
    });
    assert_eq!(
        read_status(&[("status", "FAILED"), ("reject_reason", "High risk"), named]),
        Ok(StoreStatusOutcome::Rejected {
            reason: Some("High risk".to_owned()),
            echo: echo.clone()
        })
    );
    assert_eq!(
        read_status(&[("status", "SUCCESS"), ("store_status", "ACTIVATED"), named]),
        Ok(StoreStatusOutcome::Approved {
            echo: echo.clone(),
            store_status: Some("ACTIVATED".to_owned())
        })
    );
    assert_eq!(
        read_status(&[("status", "UNDER_REVIEW"), named]),
        Ok(StoreStatusOutcome::UnderReview { echo: echo.clone() })
    );
    assert_eq!(
        read_status(&[("status", "MODIFICATION_REVIEW"), named]),
        Ok(StoreStatusOutcome::ModificationUnderReview { echo })
    );
    assert_eq!(
        read_status(&[("error", "DATA_NOT_EXIST")]),
        Ok(StoreStatusOutcome::NotRegistered)
    );
    assert_eq!(
        read_status(&[("status", "NEW_WORD")]),
        Ok(StoreStatusOutcome::Unknown)
    );
}

#[test]
fn v1_a_status_about_something_else_is_no_answer() {
    for foreign in [
        ("partner", "2088000000000002"),
        ("payment_method", "ONLINE_PAYMENT"),
        ("out_trade_no", "HKT0000001"),
    ] {
        let read = read_status(&[("status", "SUCCESS"), foreign]);
        assert_eq!(read, Err(AnswerClass::Mismatch), "{foreign:?}");
    }
    let other = [
        ("secondary_merchant_id", "SM001"),
        ("store_id", "ST02"),
        ("status", "SUCCESS"),
    ];
    let read = read_fields(&store_status(), &other).map_err(|fault| fault.class);
    assert_eq!(read, Err(AnswerClass::Mismatch));
}

#[test]
fn business_refusals_of_a_registration_need_no_signature_and_approvals_do() {
    let refused = |code: &str| {
        let reply = Reply::Refused {
            code: code.to_owned(),
            verified: false,
        };
        interpret(&store_status(), &reply, &Codes::default()).expect("a reading")
    };
    assert_eq!(
        refused("DATA_NOT_EXIST").outcome,
        StoreStatusOutcome::NotRegistered
    );
    assert_eq!(refused("DATA_NOT_EXIST").class, AnswerClass::NotFound);
    let code = "PARAM_ILLEGAL".to_owned();
    let outcome = StoreStatusOutcome::Refused { code };
    assert_eq!(refused("PARAM_ILLEGAL").outcome, outcome);
    for nothing in ["SYSTEM_ERROR", "ILLEGAL_SIGN", "FANTASY", "SUCCESS"] {
        let reading = refused(nothing);
        assert_eq!(reading.outcome, StoreStatusOutcome::Unknown, "{nothing}");
        assert_ne!(reading.class, AnswerClass::Declined, "{nothing}");
    }
}

#[test]
fn registration_answers_are_read_in_the_response_and_in_the_root() {
    let sent = Parameters::new(AttemptKind::MaintainStore, PARTNER);
    let fields = [("result_code", "SUCCESS")];
    let signature = sign(&fields, |text| text.as_bytes().to_vec());
    let document = envelope("UTF-8", "", "", &signature)
        .replace("<response><alipay></alipay></response>", &elements(&fields));
    assert!(read_root(&document, &sent).is_ok());
    let pay = Parameters::new(AttemptKind::Pay, PARTNER);
    assert_eq!(read_root(&document, &pay), Err(AnswerClass::Malformed));
}

fn read_root(document: &str, sent: &Parameters) -> Result<Reply, AnswerClass> {
    read(document.as_bytes(), None, &credentials(), sent).map_err(|fault| fault.class)
}

#[test]
fn v2_every_cut_of_a_paid_answer_is_malformed() {
    let body = answer(&PAID);
    for end in 0..body.len() {
        let result = read_bytes(&pay_request(), &body.as_bytes()[..end]);
        assert_eq!(class_of(&result), AnswerClass::Malformed, "cut at {end}");
    }
}

proptest! {
    #[test]
    fn v2_arbitrary_bytes_never_panic_and_never_pay(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_bytes(&pay_request(), &body).is_err());
    }

    #[test]
    fn v1_a_changed_byte_never_changes_what_was_paid(at in 0_usize..4096, byte in any::<u8>()) {
        let mut body = answer(&PAID).into_bytes();
        let at = at % body.len();
        body[at] = byte;
        if let Ok(reading) = read_bytes(&pay_request(), &body) {
            let expected = PayOutcome::Paid {
                charge: charge(),
                alipay_trans_id: Some("2026010222001400000000000001".to_owned()),
            };
            // What is not signed may change; what was said may not.
            prop_assert!(matches!(reading.outcome, PayOutcome::Unknown) || reading.outcome == expected);
        }
    }
}
