//! What is kept of a buyer's identity: enough to recognise one's own wallet on a receipt, too little to
//! tell who it is (`docs/invariants.md` Q14).
//!
//! The whole id exists only in Alipay's answer, while that is read: these types can hold nothing but a masked
//! one, and `payment_buyer_masked_check` in the schema refuses any other. Nothing here compares
//! buyers; whether a code is of the same buyer as before is Alipay's to say (`TRADE_BUYER_NOT_MATCH`).

/// Alipay's number of a buyer, masked: `2088********4991`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuyerUserId(String);

/// A buyer's login, masked: `852-****0001`, `132****6685`, `jo***@example.com`. Alipay masks it already, and
/// nothing here depends on that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuyerLoginId(String);

/// Most characters that are looked at, and so kept.
const LONGEST: usize = 64;
/// Fewest stars in what is masked.
const FEWEST_STARS: usize = 3;
/// Most characters that stay at each end.
const SHOWN: usize = 4;
/// Most characters that stay of the part of an address before its `@`.
const SHOWN_OF_ADDRESS: usize = 2;

impl BuyerUserId {
    /// Keeps at most four characters at each end, and at most half of all. What is masked stays as it is.
    pub fn mask(text: &str) -> Self {
        let text = plain(text);
        let shown = SHOWN.min(text.len() / 4);
        let (head, tail) = (head(&text, shown), tail(&text, shown));
        let stars = (text.len() - head.len() - tail.len()).max(FEWEST_STARS);
        Self(format!("{head}{}{tail}", "*".repeat(stars)))
    }

    /// The masked text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl BuyerLoginId {
    /// Keeps a country's prefix and at most four characters at the end of a number, at most two at the beginning of
    /// an address, whose domain stays, and at most half of all. Of a number that Alipay has masked it keeps what
    /// that shows at either end, at most four characters each. What is masked stays as it is.
    pub fn mask(text: &str) -> Self {
        let text = plain(text);
        Self(match text.rsplit_once('@') {
            Some((local, domain)) => {
                let shown = SHOWN_OF_ADDRESS.min(local.len() / 2);
                let stars = "*".repeat(FEWEST_STARS);
                let room = LONGEST - SHOWN_OF_ADDRESS - FEWEST_STARS - "@".len();
                let domain = &domain[..domain.len().min(room)];
                format!("{}{stars}@{domain}", head(local, shown))
            }
            None => number(&text),
        })
    }

    /// The masked text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A telephone number, or anything else without `@`.
fn number(text: &str) -> String {
    let (prefix, number) = text
        .split_once('-')
        .filter(|(prefix, _)| prefix.len() <= SHOWN && is_digits(prefix))
        .map_or(("", text), |(prefix, number)| {
            (&text[..=prefix.len()], number)
        });
    let (head, tail) = if number.contains('*') {
        (head(number, SHOWN), tail(number, SHOWN))
    } else {
        ("", tail(number, SHOWN.min(number.len() / 2)))
    };
    let stars = (number.len() - head.len() - tail.len()).max(FEWEST_STARS);
    format!("{prefix}{head}{}{tail}", "*".repeat(stars))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// At most [`LONGEST`] printable ASCII characters: any other is a star.
fn plain(text: &str) -> String {
    let characters = text.trim().chars().take(LONGEST);
    characters
        .map(|character| {
            if character.is_ascii_graphic() {
                character
            } else {
                '*'
            }
        })
        .collect()
}

/// At most this many characters, up to the first star. The text is ASCII.
fn head(text: &str, shown: usize) -> &str {
    let end = text.find('*').unwrap_or(text.len());
    &text[..end.min(shown)]
}

/// At most this many characters, from behind the last star on.
fn tail(text: &str, shown: usize) -> &str {
    let start = text.rfind('*').map_or(0, |star| star + 1);
    &text[start.max(text.len().saturating_sub(shown))..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_user_id_keeps_its_ends() {
        for (plain, masked) in [
            ("2088029910344991", "2088********4991"),
            ("2088********4991", "2088********4991"),
            ("208802991034499", "208*********499"),
            ("12345678", "12****78"),
            ("1234", "1***4"),
            ("12", "***"),
            ("", "***"),
            ("2088\u{1b}[31m0299\r\n1991", "2088***********1991"),
        ] {
            assert_eq!(BuyerUserId::mask(plain).as_str(), masked, "{plain}");
        }
    }

    #[test]
    fn a_login_keeps_what_alipays_own_mask_keeps() {
        for (plain, masked) in [
            ("852-****0001", "852-****0001"),
            ("852-98760001", "852-****0001"),
            ("85298760001", "*******0001"),
            ("132****6685", "132****6685"),
            ("86-138****0001", "86-138****0001"),
            ("1326**26685", "1326***6685"),
            ("13266685****", "1326********"),
            ("*6685", "***6685"),
            ("***6685", "***6685"),
            ("132********6685", "132********6685"),
            ("jonathan@example.com", "jo***@example.com"),
            ("jo***@example.com", "jo***@example.com"),
            ("jon***@example.com", "jo***@example.com"),
            ("a@b@example.com", "a***@example.com"),
            ("j@example.com", "***@example.com"),
            ("陳大文", "***"),
            ("", "***"),
        ] {
            assert_eq!(BuyerLoginId::mask(plain).as_str(), masked, "{plain}");
        }
    }

    /// `^[^*]{0,4}[*]{3,}[^*]{0,4}$`, as the schema has it.
    fn is_masked_user(text: &str) -> bool {
        let (head, tail) = (head(text, text.len()), tail(text, text.len()));
        let stars = &text[head.len()..text.len() - tail.len()];
        head.len() <= 4 && tail.len() <= 4 && stars.len() >= 3 && stars.bytes().all(|b| b == b'*')
    }

    /// `^[^*]{0,2}[*]{3}@|^([0-9]{1,4}-)?[^*@]{0,4}[*]{3,}[^*@]{0,4}$`, as the schema has it.
    fn is_masked_login(text: &str) -> bool {
        if let Some((local, _)) = text.split_once("***@")
            && local.len() <= 2
            && !local.contains('*')
        {
            return true;
        }
        let number = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = number.strip_prefix('-').unwrap_or(text);
        (is_masked_user(number) || is_masked_user(text)) && !text.contains('@')
    }

    proptest! {
        /// The database refuses what is not masked, and a refused row would be a lost payment: so
        /// whatever Alipay sends is masked.
        #[test]
        fn whatever_alipay_sends_is_masked_once_and_for_all(text in "\\PC{0,80}|[0-9*@-]{0,40}|\\s*.*\\s*") {
            let user = BuyerUserId::mask(&text);
            prop_assert!(is_masked_user(user.as_str()), "{user:?}");
            prop_assert_eq!(BuyerUserId::mask(user.as_str()), user);
            let login = BuyerLoginId::mask(&text);
            prop_assert!(is_masked_login(login.as_str()), "{login:?}");
            prop_assert!(login.as_str().len() <= LONGEST);
            prop_assert_eq!(BuyerLoginId::mask(login.as_str()), login);
        }
    }
}
