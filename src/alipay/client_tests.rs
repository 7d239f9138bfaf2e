use chrono::{DateTime, Utc};

use super::*;
use crate::alipay::sign::Credentials;
use crate::{
    alipay::{
        response::tests::{pay_request, signed_paid_answer},
        stub::{Behaviour, Stub, http},
        vectors,
    },
    clock::ManualClock,
};

fn alipay(endpoint: &Url, credentials: Credentials) -> Alipay {
    let now: DateTime<Utc> = "2026-01-01T19:04:05Z".parse().expect("an RFC 3339 instant");
    let settings =
        AlipaySettings::new(endpoint.clone(), "2088000000000001".to_owned(), credentials);
    Alipay::new(settings, Arc::new(ManualClock::new(now))).expect("usable settings")
}

fn md5() -> Credentials {
    Credentials::md5(vectors::V5_MD5_KEY.as_bytes()).expect("a usable key")
}

#[tokio::test]
async fn a_payment_goes_out_signed_and_comes_back_paid() {
    let stub = Stub::start(Behaviour::Send(http(
        "200 OK",
        "",
        signed_paid_answer().as_bytes(),
    )));
    let call = alipay(&stub.endpoint, md5())
        .pay(&pay_request(), || false)
        .await;
    assert!(matches!(call.outcome, PayOutcome::Paid { .. }), "{call:?}");
    assert_eq!(call.answer.class, AnswerClass::Success);
    assert_eq!((call.answer.code, call.answer.detail), (None, None));
    let request = stub.requests().concat();
    assert!(
        request.ends_with("&sign=14cab1798f30bb8e0caf60ae5d36bd9d&sign_type=MD5"),
        "{request}"
    );
    assert_eq!(stub.requests().len(), 1);
}

#[tokio::test]
async fn a_large_answer_is_read_just_as_well() {
    let padded = signed_paid_answer() + &" ".repeat(2 * LARGE_ANSWER);
    let stub = Stub::start(Behaviour::Send(http("200 OK", "", padded.as_bytes())));
    let call = alipay(&stub.endpoint, md5())
        .pay(&pay_request(), || false)
        .await;
    assert!(matches!(call.outcome, PayOutcome::Paid { .. }), "{call:?}");
}

#[tokio::test]
async fn s3_a_fault_is_unknown_with_its_kind() {
    for (behaviour, class) in [
        (Behaviour::Close, AnswerClass::ConnectionLost),
        (
            Behaviour::Send(http("500 Oops", "", b"")),
            AnswerClass::HttpStatus,
        ),
        (
            Behaviour::Send(http("200 OK", "", b"<html/>")),
            AnswerClass::Malformed,
        ),
        (
            Behaviour::Send(http(
                "200 OK",
                "",
                signed_paid_answer().replace("39.25", "39.26").as_bytes(),
            )),
            AnswerClass::BadSignature,
        ),
    ] {
        let stub = Stub::start(behaviour);
        let call = alipay(&stub.endpoint, md5())
            .pay(&pay_request(), || false)
            .await;
        assert_eq!(
            (call.outcome, call.answer.class),
            (PayOutcome::Unknown, class)
        );
        assert!(call.answer.detail.is_some());
        assert_eq!(stub.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_cancel_carries_the_clocks_time_and_every_sign_type_signs() {
    let rsa = |rsa2| {
        let keys = (
            vectors::V5_PRIVATE_KEY.as_bytes(),
            vectors::V3_PUBLIC_KEY.as_bytes(),
        );
        let credentials = if rsa2 {
            Credentials::rsa2
        } else {
            Credentials::rsa
        };
        credentials(keys.0, keys.1).expect("two usable keys")
    };
    for credentials in [md5(), rsa(false), rsa(true)] {
        let stub = Stub::start(Behaviour::Send(http(
            "200 OK",
            "",
            b"<alipay><is_success>F</is_success><error>ILLEGAL_SIGN</error></alipay>",
        )));
        let request = CancelRequest {
            partner_trans_id: pay_request().partner_trans_id,
            alipay_trans_id: None,
        };
        let call = alipay(&stub.endpoint, credentials)
            .cancel(&request, || false)
            .await;
        assert_eq!(
            (call.outcome, call.answer.class),
            (CancelOutcome::Unknown, AnswerClass::AccessRefused)
        );
        assert_eq!(call.answer.code.as_deref(), Some("ILLEGAL_SIGN"));
        let sent = stub.requests().concat();
        assert!(
            sent.contains("&timestamp=1767294245000&out_trade_no=HKT0000001&sign="),
            "{sent}"
        );
    }
}

#[test]
fn q13_q14_nothing_secret_is_in_debug_output() {
    let endpoint = "http://example.com/gateway.do".parse().expect("a URL");
    let text = format!("{:?} {:?}", alipay(&endpoint, md5()), pay_request());
    assert!(
        !text.contains(vectors::V5_MD5_KEY) && !text.contains("281234567890123456"),
        "{text}"
    );
}

#[test]
fn a_partner_that_is_no_number_is_refused() {
    let endpoint: Url = "http://example.com/gateway.do".parse().expect("a URL");
    for partner in ["", "2088x", "2088 1"] {
        let settings = AlipaySettings::new(endpoint.clone(), partner.to_owned(), md5());
        let error = Alipay::new(settings, Arc::new(crate::clock::SystemClock)).err();
        assert!(matches!(error, Some(SetupError::Partner(_))), "{partner}");
    }
}
