//! Codes of Alipay's that an operator adds to those the gateway knows: `ALIPAY_CODES_FILE`.
//!
//! ```toml
//! [[code]]
//! service = "refund"                     # pay, query, cancel, refund or refund_query: the call whose answers have the code
//! code = "REFUND_CHANNEL_CLOSED"         # as Alipay writes it
//! meaning = "definite"                   # see the table
//! message = "The bank takes no refunds of this card."
//!
//! [[code]]
//! service = "pay"
//! code = "WALLET_UNDER_MAINTENANCE"
//! meaning = "definite"
//! retry = "other_method"                 # of a definite pay: same_barcode, new_barcode, other_method or no
//! message = "The customer's wallet is being maintained."
//! ```
//!
//! | `meaning` | of | means | `message` |
//! |---|---|---|---|
//! | `definite` | pay, cancel, refund | refused for good: nothing was done and nothing will be | required |
//! | `not_executed` | all | the request or the set-up is at fault: nothing was done, and an operator must look | required |
//! | `in_progress` | pay, cancel, refund | the present state does not allow it: the gateway queries it | |
//! | `later` | cancel, refund | not now: nothing was done, and the same may succeed later | |
//! | `not_found` | query, cancel, refund_query | what was asked about does not exist | |
//! | `unknown` | all | says nothing about what was done: the gateway queries it | |
//!
//! What the gateway knows of a code is not changed by the file: a row for a code that it knows must have
//! the meaning that it has, and gives it another `message` or `retry`. What the till should do is added to
//! the message, from `retry`.

use std::{collections::HashSet, fs};

use toml::Table;

use super::{read::Reader, table::Members};
use crate::domain::{
    accounts::codes::{AddedCode, Meaning},
    attempt::AttemptKind,
    payments::payment::RetryAdvice,
};

const FILE: &str = "ALIPAY_CODES_FILE";

/// The service whose answers contain a code, of those whose codes may be added.
fn service(name: &str) -> Option<AttemptKind> {
    AttemptKind::from_name(name).filter(|kind| !meanings(*kind).is_empty())
}

/// The meanings that codes of a service can have; none where no codes may be added.
const fn meanings(service: AttemptKind) -> &'static [&'static str] {
    match service {
        AttemptKind::Pay => &["definite", "not_executed", "in_progress", "unknown"],
        AttemptKind::Query | AttemptKind::RefundQuery => &["not_executed", "not_found", "unknown"],
        AttemptKind::Cancel => &[
            "definite",
            "not_executed",
            "in_progress",
            "later",
            "not_found",
            "unknown",
        ],
        AttemptKind::Refund => &[
            "definite",
            "not_executed",
            "in_progress",
            "later",
            "unknown",
        ],
        AttemptKind::MaintainStore | AttemptKind::StoreStatus => &[],
    }
}

/// Reads the file, where one is named.
pub(super) fn read(reader: &mut Reader) -> Option<Vec<AddedCode>> {
    if reader.optional(FILE).is_none() {
        return Some(Vec::new());
    }
    let path = reader.file(FILE)?;
    let codes = match fs::read_to_string(&path) {
        Ok(text) => parse(&text),
        Err(error) => Err(vec![format!("cannot read {}: {error}", path.display())]),
    };
    match codes {
        Ok(codes) => Some(codes),
        Err(faults) => {
            for fault in faults {
                reader.fault::<()>(FILE, fault);
            }
            None
        }
    }
}

/// Reads the text of the file; every fault in it is named at once.
fn parse(text: &str) -> Result<Vec<AddedCode>, Vec<String>> {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return Err(vec![format!("is not valid TOML: {}", error.message())]),
    };
    let mut faults = Vec::new();
    let mut file = Members::new(&table, String::new());
    let mut codes = Vec::new();
    let mut known = HashSet::new();
    for (at, table) in file.tables("code", &mut faults) {
        let Some(code) = row(table, &at, &mut faults) else {
            continue;
        };
        if !known.insert((code.service, code.code.clone())) {
            faults.push(format!("{at}code: is given twice for this service"));
        }
        codes.push(code);
    }
    file.finish(&mut faults);
    if codes.is_empty() && faults.is_empty() {
        faults.push("has no [[code]]".to_owned());
    }
    if faults.is_empty() {
        Ok(codes)
    } else {
        Err(faults)
    }
}

fn row(table: &Table, at: &str, faults: &mut Vec<String>) -> Option<AddedCode> {
    let mut members = Members::new(table, at.to_owned());
    let of = members.text(
        "service",
        faults,
        "must be pay, query, cancel, refund or refund_query",
        service,
    );
    members.require("service", faults);
    let code = members.text(
        "code",
        faults,
        "must be a word of at most 64 letters, digits and the signs _ . - that begins with a letter",
        |text| is_code(text).then(|| text.to_owned()),
    );
    members.require("code", faults);
    let can_be = match of {
        Some(service) => meanings(service),
        None => meanings(AttemptKind::Cancel),
    };
    let meaning = members.text(
        "meaning",
        faults,
        &format!("must be one of {}", can_be.join(", ")),
        |text| can_be.iter().find(|name| **name == text).copied(),
    );
    members.require("meaning", faults);
    let message = members.text(
        "message",
        faults,
        "must be a sentence of at most 160 characters that ends with a full stop",
        |text| is_sentence(text).then(|| text.to_owned()),
    );
    let retry = members.text(
        "retry",
        faults,
        "must be same_barcode, new_barcode, other_method or no",
        RetryAdvice::from_name,
    );
    let is_refusal = matches!(meaning, Some("definite" | "not_executed"));
    let has_advice = meaning == Some("definite") && of == Some(AttemptKind::Pay);
    for (name, needed) in [("message", is_refusal), ("retry", has_advice)] {
        if needed {
            members.require(name, faults);
        } else if meaning.is_some() && of.is_some() && table.contains_key(name) {
            members.fault(name, "does not belong to this service and meaning", faults);
        }
    }
    members.finish(faults);
    let meaning = match meaning? {
        "definite" => Meaning::Definite {
            retry: if has_advice { retry? } else { RetryAdvice::No },
            reason: message?.into(),
        },
        "not_executed" => Meaning::NotExecuted {
            reason: message?.into(),
        },
        "in_progress" => Meaning::InProgress,
        "later" => Meaning::Later,
        "not_found" => Meaning::NotFound,
        _ => Meaning::Unknown,
    };
    Some(AddedCode {
        service: of?,
        code: code?,
        meaning,
    })
}

fn is_code(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_sentence(text: &str) -> bool {
    text.ends_with(['.', '。'])
        && text.chars().count() <= 160
        && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_each_meaning_are_read() {
        let text = r#"
            [[code]]
            service = "pay"
            code = "WALLET_UNDER_MAINTENANCE"
            meaning = "definite"
            retry = "other_method"
            message = "The customer's wallet is being maintained."

            [[code]]
            service = "refund"
            code = "REFUND_CHANNEL_CLOSED"
            meaning = "definite"
            message = "The bank takes no refunds of this card."

            [[code]]
            service = "cancel"
            code = "REFUND_CHANNEL_CLOSED"
            meaning = "later"
        "#;
        let rows = parse(text).expect("no faults");
        assert_eq!(
            rows,
            [
                AddedCode {
                    service: AttemptKind::Pay,
                    code: "WALLET_UNDER_MAINTENANCE".to_owned(),
                    meaning: Meaning::Definite {
                        retry: RetryAdvice::OtherMethod,
                        reason: "The customer's wallet is being maintained.".into(),
                    },
                },
                AddedCode {
                    service: AttemptKind::Refund,
                    code: "REFUND_CHANNEL_CLOSED".to_owned(),
                    meaning: Meaning::Definite {
                        retry: RetryAdvice::No,
                        reason: "The bank takes no refunds of this card.".into(),
                    },
                },
                AddedCode {
                    service: AttemptKind::Cancel,
                    code: "REFUND_CHANNEL_CLOSED".to_owned(),
                    meaning: Meaning::Later,
                },
            ]
        );
    }

    #[test]
    fn every_fault_of_the_file_is_named_at_once() {
        let text = r#"
            [[code]]
            service = "payment"
            code = "281234567890123456"
            meaning = "definite"
            retry = "again"
            message = "No"

            [[code]]
            service = "query"
            code = "GONE"
            meaning = "definite"
            colour = "red"

            [[code]]
            service = "pay"
            code = "TIRED"
            meaning = "definite"

            [[code]]
            service = "pay"
            code = "TIRED"
            meaning = "unknown"
            message = "Nobody knows."

            [[code]]
        "#;
        let faults = parse(text).expect_err("faults");
        for expected in [
            "code 1: service: must be pay, query, cancel, refund or refund_query",
            "code 1: code: must be a word",
            "code 1: retry: must be same_barcode",
            "code 1: message: must be a sentence",
            "code 2: meaning: must be one of not_executed, not_found, unknown",
            "code 2: colour: is not a known setting",
            "code 3: message: must be given",
            "code 3: retry: must be given",
            "code 4: message: does not belong",
            "code 5: service: must be given",
            "code 5: code: must be given",
            "code 5: meaning: must be given",
        ] {
            assert!(
                faults.iter().any(|fault| fault.starts_with(expected)),
                "{expected}: {faults:#?}"
            );
        }
        assert_eq!(parse(""), Err(vec!["has no [[code]]".to_owned()]));
        let twice = "[[code]]\nservice = \"pay\"\ncode = \"A\"\nmeaning = \"unknown\"\n".repeat(2);
        assert_eq!(
            parse(&twice),
            Err(vec![
                "code 2: code: is given twice for this service".to_owned()
            ])
        );
    }
}
