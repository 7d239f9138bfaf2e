//! Removes scanned codes from texts that callers choose: paths, names, request ids.

use std::borrow::Cow;

/// What stands for a code that was left out.
const LEFT_OUT: &str = "[code]";

/// The text with everything that looks like a scanned code left out: 16 to 24 digits that begin with
/// 25 to 30 (`docs/protocol.md` 4.2), also with the blanks of a printed code or their escapes between
/// them. Ids of ours, whose digits stand among hexadecimal letters, are kept.
pub fn without_codes(text: &str) -> Cow<'_, str> {
    let mut cleaned = String::new();
    let mut done = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(|c: char| c.is_ascii_digit()) {
        let start = at + found;
        let (length, digits) = run(&text[start..]);
        at = start + length;
        let inside_an_id =
            text[..start].ends_with(is_of_an_id) || text[at..].starts_with(is_of_an_id);
        if !inside_an_id && (16..=24).contains(&digits.len()) && is_alipays(&digits) {
            cleaned.push_str(&text[done..start]);
            cleaned.push_str(LEFT_OUT);
            done = at;
        }
    }
    if done == 0 {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(cleaned + &text[done..])
    }
}

fn is_alipays(digits: &str) -> bool {
    digits
        .get(..2)
        .is_some_and(|prefix| ("25"..="30").contains(&prefix))
}

fn is_of_an_id(c: char) -> bool {
    matches!(c, 'a'..='f' | '_')
}

/// How many bytes a run of digits with blanks between them has, and the digits.
fn run(text: &str) -> (usize, String) {
    let (mut length, mut digits) = (0, String::new());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let step = match next {
            '0'..='9' => {
                digits.push(next);
                length = text.len() - rest.len() + 1;
                1
            }
            ' ' | '+' => 1,
            '%' if rest.starts_with("%20") => 3,
            _ => break,
        };
        rest = &rest[step..];
    }
    (length, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q14_codes_are_left_out_of_paths_and_names() {
        for (text, clean) in [
            ("/v1/payments/281234567890123456", "/v1/payments/[code]"),
            ("/281234567890123456/timeline", "/[code]/timeline"),
            ("/2812%203456%207890%201234%2056", "/[code]"),
            ("a 2812 3456 7890 1234 56 b", "a [code] b"),
            (
                "281234567890123456,301234567890123456789012",
                "[code],[code]",
            ),
            ("\u{8336}281234567890123456", "\u{8336}[code]"),
            ("till281234567890123456", "till[code]"),
        ] {
            assert_eq!(without_codes(text), clean);
        }
        for kept in [
            "",
            "/v1/payments/pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
            "/v1/payments/pay_0199a281234567890123456f55556667",
            "must be an integer from 1 to 10000000000",
            "till-1/42",
            "1763785200123456789",
            "2026112222001400000000000001",
            "2026-11-22T04:00:00Z",
        ] {
            assert!(matches!(without_codes(kept), Cow::Borrowed(_)), "{kept}");
        }
    }
}
