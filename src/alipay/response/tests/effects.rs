//! Every documented answer with what it leaves open (`docs/protocol.md` 4.1–4.4).

use super::*;
use crate::alipay::result_code::tests::DOCUMENTED;

/// The documented codes of which it does not follow that nothing was done, as words of a FAIL; after all
/// others nothing was done.
const INCONCLUSIVE: [(AttemptKind, &str); 3] = [
    (
        AttemptKind::Pay,
        "SYSTEM_ERROR TRADE_NOT_EXIST TRADE_STATUS_ERROR TRADE_HAS_SUCCESS",
    ),
    (
        AttemptKind::Cancel,
        "SYSTEM_ERROR DISCORDANT_REPEAT_REQUEST",
    ),
    (
        AttemptKind::Refund,
        "SYSTEM_ERROR SYSTEM_EXCEPTION TRADE_STATUS_ERROR TRADE_HAS_CLOSE \
         REPEATED_REFUNDMENT_REQUEST DISCORDANT_REPEAT_REQUEST",
    ),
];

/// The documented codes of a cancel that say why it could not be done now.
const NOT_NOW: &str = "SELLER_BALANCE_NOT_ENOUGH";

/// The class of a signed answer, and whether it leaves the effect open.
fn answered(service: AttemptKind, fields: &[(&str, &str)]) -> (AnswerClass, bool) {
    let (class, kind) = match service {
        AttemptKind::Pay => (
            class_of(&read_fields(&pay_request(), fields)),
            AttemptKind::Pay,
        ),
        AttemptKind::Cancel => {
            let fields = [fields, &[("out_trade_no", "HKT0000001")]].concat();
            let reading = read_fields(&cancel_request(), &fields);
            (class_of(&reading), AttemptKind::Cancel)
        }
        AttemptKind::Refund => (
            class_of(&read_fields(
                &refund_request(RefundMode::Synchronous),
                fields,
            )),
            AttemptKind::Refund,
        ),
        AttemptKind::Query
        | AttemptKind::RefundQuery
        | AttemptKind::MaintainStore
        | AttemptKind::StoreStatus => {
            unreachable!("moves no money")
        }
    };
    (class, class.leaves_effect_open(kind))
}

fn failed(service: AttemptKind, code: &str, retry_flag: Option<&str>) -> bool {
    let name = match service {
        AttemptKind::Cancel => "detail_error_code",
        _ => "error",
    };
    let flag = retry_flag.map(|flag| ("retry_flag", flag));
    let fields: Vec<_> = [("result_code", "FAIL"), (name, code)]
        .into_iter()
        .chain(flag)
        .collect();
    answered(service, &fields).1
}

#[test]
fn every_documented_code_leaves_open_what_it_says_nothing_about() {
    for (service, inconclusive) in INCONCLUSIVE {
        let documented = DOCUMENTED.iter().find(|(of, _)| *of == service);
        let (_, documented) = documented.expect("the service is documented");
        let inconclusive: Vec<_> = inconclusive.split_whitespace().collect();
        for code in documented.split_whitespace() {
            let is_open = inconclusive.contains(&code);
            assert_eq!(failed(service, code, None), is_open, "{service:?} {code}");
        }
        for undocumented in ["FANTASY", "ACQ.SYSTEM_ERROR", "SUCCESS"] {
            assert!(
                failed(service, undocumented, None),
                "{service:?} {undocumented}"
            );
        }
        let nameless = answered(service, &[("result_code", "FAIL")]);
        assert!(nameless.1, "{service:?}: a no without its reason");
    }
}

/// Alipay wants the same cancel again: it may as well go on with this one.
#[test]
fn a_cancel_that_may_be_repeated_is_open_whatever_else_is_said() {
    let documented = DOCUMENTED.iter().find(|(of, _)| *of == AttemptKind::Cancel);
    let (_, documented) = documented.expect("the service is documented");
    for code in documented.split_whitespace() {
        let is_open = code != NOT_NOW;
        assert_eq!(
            failed(AttemptKind::Cancel, code, Some("Y")),
            is_open,
            "{code}"
        );
        let plain = failed(AttemptKind::Cancel, code, None);
        assert_eq!(
            failed(AttemptKind::Cancel, code, Some("N")),
            plain,
            "{code}"
        );
    }
    for flag in ["Y", "N"] {
        assert!(failed(AttemptKind::Cancel, "FANTASY", Some(flag)), "{flag}");
    }
    let of = |fields: &[(&str, &str)]| answered(AttemptKind::Cancel, fields);
    for result in ["UNKNOW", "UNKNOWN"] {
        for flag in ["Y", "N", ""] {
            let fields = with(&[("result_code", result)], "retry_flag", flag);
            assert_eq!(of(&fields), (AnswerClass::Pending, true), "{result} {flag}");
            let named = with(&fields, "detail_error_code", "TRADE_HAS_FINISHED");
            assert_eq!(of(&named), (AnswerClass::Pending, true), "{result} {flag}");
        }
    }
    assert!(of(&[("result_code", "SUCCESS"), ("retry_flag", "Y")]).1);
    for flag in ["N", ""] {
        let done = with(&[("result_code", "SUCCESS")], "retry_flag", flag);
        // It says neither what was done nor which trade: there was none.
        assert_eq!(of(&done), (AnswerClass::NotFound, false));
        let contradicted = with(&done, "detail_error_code", "TRADE_HAS_FINISHED");
        assert!(of(&contradicted).1, "a success that names an error");
    }
}

#[test]
fn only_done_and_not_done_close_a_pay_or_a_refund() {
    let ids = [
        ("alipay_trans_id", "1"),
        ("currency", "HKD"),
        ("partner_trans_id", "HKT0000001"),
    ];
    for result in ["UNKNOW", "UNKNOWN", "SUCCESSFUL"] {
        for service in [AttemptKind::Pay, AttemptKind::Refund] {
            let fields = with(&ids, "result_code", result);
            assert!(answered(service, &fields).1, "{service:?} {result}");
        }
    }
    assert!(!answered(AttemptKind::Pay, &PAID).1);
    let refunded = [
        ("partner_refund_id", "HKR0000001"),
        ("refund_amount", "10.00"),
        ("result_code", "SUCCESS"),
    ];
    let refunded = [&ids[..], &refunded].concat();
    assert!(!answered(AttemptKind::Refund, &refunded).1);
    // Recorded for the batch, and not done yet.
    let asynchronous = refund_request(RefundMode::Asynchronous { notify_url: None });
    let recorded = class_of(&read_fields(&asynchronous, &refunded));
    assert!(recorded.leaves_effect_open(AttemptKind::Refund));
}

#[test]
fn a_refusal_at_the_door_and_a_fault_leave_every_effect_open_and_a_question_has_none() {
    let at_the_door = |code: &str, verified| {
        let code = code.to_owned();
        class_of(&interpret(
            &cancel_request(),
            &Reply::Refused { code, verified },
            &Codes::default(),
        ))
    };
    let mut classes = vec![
        AnswerClass::TimedOut,
        AnswerClass::ConnectionLost,
        AnswerClass::HttpStatus,
        AnswerClass::Malformed,
        AnswerClass::BadSignature,
        AnswerClass::Mismatch,
    ];
    for verified in [false, true] {
        classes.extend(
            [
                "ILLEGAL_SIGN",
                "HAS_NO_PRIVILEGE",
                "SYSTEM_ERROR",
                "FANTASY",
            ]
            .map(|code| at_the_door(code, verified)),
        );
    }
    for kind in AttemptKind::ALL {
        let has_an_effect = !matches!(
            kind,
            AttemptKind::Query | AttemptKind::RefundQuery | AttemptKind::StoreStatus
        );
        for class in &classes {
            assert_eq!(
                class.leaves_effect_open(*kind),
                has_an_effect,
                "{kind:?} {class:?}"
            );
        }
        assert!(!AnswerClass::ConnectFailed.leaves_effect_open(*kind));
    }
}
