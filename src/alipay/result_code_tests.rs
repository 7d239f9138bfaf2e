use super::*;
use crate::domain::{
    payments::payment::{Failure, PaymentState},
    standing::{Circumstances, Standing},
};

/// Every code that is documented or seen, per service.
pub(in crate::alipay) const DOCUMENTED: [(AttemptKind, &str); 7] = [
    (
        AttemptKind::Pay,
        "SYSTEM_ERROR ILLEGAL_SIGN INVALID_PARAMETER ILLEGAL_ARGUMENT ILLEGAL_PARTNER \
         ILLEGAL_EXTERFACE ILLEGAL_PARTNER_EXTERFACE ILLEGAL_SIGN_TYPE HAS_NO_PRIVILEGE \
         TRADE_BUYER_NOT_MATCH TRADE_HAS_CLOSE NOT_SUPPORT_PAYMENT_INST TRADE_NOT_EXIST \
         TRADE_STATUS_ERROR TRADE_HAS_SUCCESS REASON_TRADE_BEEN_FREEZEN EXIST_FORBIDDEN_WORD \
         SELLER_NOT_EXIST SELLER_BEEN_BLOCKED BUYER_NOT_EXIST BUYER_ENABLE_STATUS_FORBID \
         BUYER_SELLER_EQUAL CLIENT_VERSION_NOT_MATCH SOUNDWAVE_PARSER_FAIL \
         PULL_MOBILE_CASHIER_FAIL BUYER_BALANCE_NOT_ENOUGH BUYER_BANKCARD_BALANCE_NOT_ENOUGH \
         ERROR_BALANCE_PAYMENT_DISABLE MOBILE_PAYMENT_SWITCH_OFF USER_FACE_PAYMENT_SWITCH_OFF \
         BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR BUYER_PAYMENT_AMOUNT_MONTH_LIMIT_ERROR \
         REQUEST_AMOUNT_EXCEED TOTAL_FEE_EXCEED BEYOND_PAY_RESTRICTION \
         BEYOND_PER_RECEIPT_RESTRICTION ERROR_BUYER_CERTIFY_LEVEL_LIMIT \
         ERROR_SELLER_CERTIFY_LEVEL_LIMIT PAYMENT_REQUEST_HAS_RISK \
         NO_PAYMENT_INSTRUMENTS_AVAILABLE PAYMENT_FAIL CONTEXT_INCONSISTENT ACCESS_FORBIDDEN \
         PARTNER_ERROR UN_SUPPORT_BIZ_TYPE INVALID_RECEIVE_ACCOUNT INVALID_STORE_ID",
    ),
    (
        AttemptKind::Query,
        "TRADE_NOT_EXIST TRANS_NOT_FOUND SYSTEM_ERROR HAS_NO_PRIVILEGE INVALID_PARAMETER \
         ILLEGAL_ARGUMENT",
    ),
    (
        AttemptKind::Cancel,
        "SYSTEM_ERROR INVALID_PARAMETER TRADE_NOT_EXIST TRADE_STATUS_ERROR TRADE_HAS_FINISHED \
         TRADE_FINISHED TRADE_CANCEL_TIME_OUT REASON_TRADE_BEEN_FREEZEN TRADE_ROLE_ERROR \
         REASON_TRADE_REFUND_FEE_ERR SELLER_BALANCE_NOT_ENOUGH DISCORDANT_REPEAT_REQUEST \
         REFUND_AMT_NOT_EQUAL_TOTAL",
    ),
    (
        AttemptKind::Refund,
        "SYSTEM_ERROR SYSTEM_EXCEPTION ILLEGAL_SIGN ILLEGAL_PARTNER ILLEGAL_SERVICE \
         ILLEGAL_ARGUMENT ILLEGAL_SIGN_TYPE ILLEGAL_CHARSET ILLEGAL_EXTERFACE \
         ILLEGAL_PARTNER_EXTERFACE ILLEGAL_SECURITY_PROFILE ILLEGAL_DYN_MD5_KEY ILLEGAL_ENCRYPT \
         ILLEGAL_USER ILLEGAL_AGENT HAS_NO_PRIVILEGE INVALID_CHARACTER_SET HAS_NO_PUBLICKEY \
         ILLEGAL_CLIENT_IP EXTERFACE_IS_CLOSED SESSION_TIMEOUT ILLEGAL_TARGET_SERVICE \
         ILLEGAL_ACCESS_SWITCH_SYSTEM INVALID_PARAMETER TRADE_NOT_EXIST PURCHASE_TRADE_NOT_EXIST \
         TRADE_STATUS_ERROR TRADE_HAS_CLOSE RETURN_AMOUNT_EXCEED REFUND_AMT_RESTRICTION \
         REQUEST_AMOUNT_EXCEED REASON_TRADE_BEEN_FREEZEN REPEATED_REFUNDMENT_REQUEST \
         DISCORDANT_REPEAT_REQUEST CURRENCY_NOT_SAME REFUNDMENT_VALID_DATE_EXCEED \
         BUYER_NOT_EXIST SELLER_BALANCE_NOT_ENOUGH MERCHANT_BALANCE_NOT_ENOUGH \
         TRADE_HAS_FINISHED REFUND_AMT_NOT_EQUAL_TOTAL TRADE_ROLE_ERROR ACCESS_FORBIDDEN",
    ),
    (
        AttemptKind::RefundQuery,
        "ACCESS_FORBIDDEN NOT_FOUND QUERY_FAILED TRADE_NOT_EXIST",
    ),
    (
        AttemptKind::MaintainStore,
        "PARAM_ILLEGAL DUPLICATE_REQUEST DATA_NOT_EXIST MCC_CAN_NOT_MODIFY SYSTEM_ERROR",
    ),
    (
        AttemptKind::StoreStatus,
        "PARAM_ILLEGAL DATA_NOT_EXIST SYSTEM_ERROR",
    ),
];

#[test]
fn every_documented_code_has_a_meaning_and_no_other_has() {
    for (service, table) in [
        (AttemptKind::Pay, PAY_CODES),
        (AttemptKind::Query, QUERY_CODES),
        (AttemptKind::Cancel, CANCEL_CODES),
        (AttemptKind::Refund, REFUND_CODES),
        (AttemptKind::RefundQuery, REFUND_QUERY_CODES),
        (AttemptKind::MaintainStore, MAINTAIN_STORE_CODES),
        (AttemptKind::StoreStatus, STORE_STATUS_CODES),
    ] {
        let documented = DOCUMENTED.iter().find(|(of, _)| *of == service);
        for (code, _) in table {
            let is_documented = documented.is_some_and(|(_, codes)| {
                codes
                    .split_whitespace()
                    .any(|documented| documented == *code)
            });
            assert!(is_documented, "{service:?} {code}");
        }
    }
    for (service, codes) in DOCUMENTED {
        for code in codes.split_whitespace() {
            assert!(documented(service, code).is_some(), "{service:?} {code}");
        }
    }
}

#[test]
fn s3_an_undocumented_code_has_no_meaning() {
    for &service in AttemptKind::ALL {
        for code in ["", "FANTASY_CODE", "soundwave_parser_fail", "SUCCESS"] {
            assert_eq!(documented(service, code), None, "{service:?} {code}");
        }
    }
}

#[test]
fn s3_codes_of_which_nothing_follows_are_never_definite() {
    for &service in AttemptKind::ALL {
        assert_eq!(documented(service, "SYSTEM_ERROR"), Some(Unknown));
    }
    for code in ["TRADE_NOT_EXIST", "TRADE_STATUS_ERROR", "TRADE_HAS_SUCCESS"] {
        assert_eq!(documented(AttemptKind::Pay, code), Some(InProgress));
    }
    for code in ["REPEATED_REFUNDMENT_REQUEST", "DISCORDANT_REPEAT_REQUEST"] {
        assert_eq!(documented(AttemptKind::Refund, code), Some(Unknown));
    }
    assert!(!is_access_refusal("SYSTEM_ERROR"));
    assert!(!is_access_refusal("PAYMENT_FAIL"));
    assert!(is_access_refusal("ILLEGAL_SIGN"));
}

#[test]
fn reasons_are_one_short_sentence_without_alipays_words() {
    let tables = [
        ACCESS_CODES,
        PAY_CODES,
        QUERY_CODES,
        CANCEL_CODES,
        REFUND_CODES,
        REFUND_QUERY_CODES,
        MAINTAIN_STORE_CODES,
        STORE_STATUS_CODES,
    ];
    for (code, meaning) in tables.into_iter().flatten() {
        let Some((_, reason)) = meaning.refusal() else {
            continue;
        };
        assert!(
            reason.ends_with('.') && reason.len() <= 120,
            "{code}: {reason}"
        );
        assert_eq!(reason.matches(". ").count(), 0, "{code}: {reason}");
        assert!(
            !reason.contains('_') && !reason.contains("  "),
            "{code}: {reason}"
        );
    }
}

/// What a till reads about a refusal says one thing: the message, the advice and the next action are of
/// one row, also where an operator wrote it.
#[test]
fn message_retry_and_next_action_of_every_refused_payment_agree() {
    const ADVICE: [(RetryAdvice, &str, &str); 4] = [
        (SameBarcode, "show_code_again", "same code"),
        (NewBarcode, "show_code_again", "fresh code"),
        (OtherMethod, "other_method", "payment method"),
        (No, "call_operator", "support team"),
    ];
    let added: Vec<_> = ADVICE
        .iter()
        .map(|(retry, _, told)| AddedCode {
            service: AttemptKind::Pay,
            code: format!("ADDED_{}", told.to_uppercase().replace(' ', "_")),
            meaning: definite(*retry, "Somebody knows why."),
        })
        .collect();
    let rows: Vec<_> = PAY_CODES
        .iter()
        .chain(ACCESS_CODES)
        .map(|(code, _)| (*code).to_owned())
        .chain(added.iter().map(|added| added.code.clone()))
        .collect();
    let codes = Codes::with(added).expect("nothing that is known");
    let mut refusals = 0;
    for code in rows {
        let meaning = codes.meaning(AttemptKind::Pay, &code).expect("it is known");
        let Some((retry, reason)) = meaning.refusal() else {
            continue;
        };
        refusals += 1;
        let failure = Failure::new(&code, reason, retry);
        assert_eq!((failure.code.as_str(), failure.retry), (&*code, retry));
        for (advice, action, told) in ADVICE {
            let is_told = failure.message.contains(told);
            assert_eq!(is_told, advice == retry, "{code}: {}", failure.message);
            if advice == retry {
                let state = PaymentState::Failed(failure.clone());
                let standing = Standing::of_payment(&state, Circumstances::default());
                assert_eq!(standing.next_action().as_str(), action, "{code}");
            }
        }
    }
    assert!(refusals > 60, "{refusals}");
}

#[test]
fn what_is_known_of_a_code_cannot_be_changed_and_its_sentence_can() {
    let row = |service, code: &str, meaning| AddedCode {
        service,
        code: code.to_owned(),
        meaning,
    };
    let codes = Codes::with(vec![
        row(AttemptKind::Pay, "NEW", definite(OtherMethod, "Ours.")),
        row(AttemptKind::Pay, "PAYMENT_FAIL", definite(No, "Ours.")),
        row(AttemptKind::Refund, "NEW", Later),
        // Known of another service alone.
        row(AttemptKind::Refund, "PAYMENT_FAIL", definite(No, "Ours.")),
    ])
    .expect("no faults");
    let ours = |retry| Some(definite(retry, "Ours."));
    assert_eq!(codes.meaning(AttemptKind::Pay, "NEW"), ours(OtherMethod));
    assert_eq!(codes.meaning(AttemptKind::Pay, "PAYMENT_FAIL"), ours(No));
    assert_eq!(codes.meaning(AttemptKind::Refund, "NEW"), Some(Later));
    assert_eq!(codes.meaning(AttemptKind::Refund, "PAYMENT_FAIL"), ours(No));
    assert_eq!(codes.meaning(AttemptKind::Cancel, "NEW"), None);
    let others = documented(AttemptKind::Pay, "TRADE_HAS_CLOSE");
    assert_eq!(codes.meaning(AttemptKind::Pay, "TRADE_HAS_CLOSE"), others);
    let faults = Codes::with(vec![
        row(AttemptKind::Pay, "PAYMENT_FAIL", Unknown),
        row(AttemptKind::Pay, "SYSTEM_ERROR", definite(No, "Ours.")),
        row(AttemptKind::Refund, "ILLEGAL_SIGN", Later),
        row(AttemptKind::Refund, "NEW", Later),
        row(AttemptKind::Refund, "NEW", Later),
    ]);
    assert_eq!(
        faults,
        Err([
            "pay PAYMENT_FAIL: the gateway knows this code as definite, which cannot be changed",
            "pay SYSTEM_ERROR: the gateway knows this code as unknown, which cannot be changed",
            "refund ILLEGAL_SIGN: the gateway knows this code as not_executed, which cannot be changed",
            "refund NEW: stands twice",
        ]
        .map(str::to_owned)
        .to_vec())
    );
}

#[test]
fn no_table_names_a_code_twice() {
    for table in [ACCESS_CODES, PAY_CODES, CANCEL_CODES, REFUND_CODES] {
        let mut codes: Vec<_> = table.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), table.len());
    }
}

#[test]
fn q14_a_code_that_could_be_a_customers_code_is_not_shown() {
    assert_eq!(
        presentable("ACQ.SYSTEM_ERROR").as_deref(),
        Some("ACQ.SYSTEM_ERROR")
    );
    for hidden in [
        "281234567890123456",
        "",
        "A B",
        "A\u{1b}[31m",
        &"A".repeat(65),
        "错误",
    ] {
        assert_eq!(presentable(hidden), None, "{hidden}");
    }
}

/// What a refusal of a refund says of the payment, for every documented code.
#[test]
fn m6_refusals_of_a_refund_that_speak_of_the_payment_contradict_books_that_call_it_refundable() {
    let claims = [
        ("TRADE_HAS_CLOSE", Claim::Closed),
        ("TRADE_NOT_EXIST", Claim::NotFound),
        ("PURCHASE_TRADE_NOT_EXIST", Claim::NotFound),
        ("TRADE_STATUS_ERROR", Claim::NotRefundable),
        ("TRADE_HAS_FINISHED", Claim::NotRefundable),
        ("RETURN_AMOUNT_EXCEED", Claim::NotRefundable),
        ("REFUND_AMT_RESTRICTION", Claim::NotRefundable),
        ("REQUEST_AMOUNT_EXCEED", Claim::NotRefundable),
    ];
    for (code, meaning) in REFUND_CODES.iter().chain(ACCESS_CODES) {
        let expected = claims.iter().find(|(known, _)| known == code);
        assert_eq!(
            refusal_claims(code),
            expected.map(|(_, claim)| *claim),
            "{code}"
        );
        let speaks_of_what_is_left = matches!(meaning, Meaning::Definite { reason, .. } if reason == BEYOND_BALANCE || reason == NO_PAYMENT);
        assert!(!speaks_of_what_is_left || expected.is_some(), "{code}");
    }
    assert_eq!(refusal_claims("RESOLVED_BY_OPERATOR"), None);
}
