//! What a text may not hold, whoever wrote it (`docs/invariants.md` Q15), and how long it may be for
//! Alipay.
//!
//! Alipay's pages write `String(256)` and mean bytes, of which a Chinese character has two or more. What
//! counts here is the strictest reading: the bytes that are sent, in UTF-8.

use std::fmt;

use unicode_segmentation::UnicodeSegmentation as _;

/// The longest texts that Alipay takes, in bytes (`docs/protocol.md` 4).
pub mod longest {
    /// What the buyer reads (`trans_name`).
    pub const TRANS_NAME: usize = 256;
    /// Why money goes back (`refund_reson`).
    pub const REFUND_REASON: usize = 128;
    /// The name of a merchant (`secondary_merchant_name`).
    pub const MERCHANT_NAME: usize = 128;
    /// The name of a store (`store_name`).
    pub const STORE_NAME: usize = 256;
    /// Where a store is (`store_address`).
    pub const STORE_ADDRESS: usize = 330;
    /// Where a merchant is registered (`register_address`).
    pub const REGISTER_ADDRESS: usize = 256;
    /// The number of a registration or an identity document, and an e-mail address.
    pub const DOCUMENT: usize = 128;
    /// The name of a person, a telephone number, and the number of a driver.
    pub const PERSON: usize = 64;
    /// The address of a picture.
    pub const PHOTO: usize = 256;
    /// How to reach a driver (`contact_way`).
    pub const CONTACT_WAY: usize = 256;
    /// The drivers of a taxi together, as JSON (`extend_params`).
    pub const DRIVERS: usize = 1024;
}

/// A text that is longer than Alipay takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Its length, in bytes.
    pub bytes: usize,
    /// The longest that is taken, in bytes.
    pub most: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, most } = self;
        write!(
            f,
            "must have at most {most} bytes in UTF-8, where most Chinese characters have 3; it has {bytes}"
        )
    }
}

/// Whether Alipay takes a text of this length. Blanks around it are not sent.
pub fn fits_alipay(text: &str, most: usize) -> Result<(), TooLong> {
    let bytes = text.trim().len();
    if bytes <= most {
        Ok(())
    } else {
        Err(TooLong { bytes, most })
    }
}

/// As much of the beginning as fits into `most` bytes. What people read as one character (a grapheme
/// cluster: an emoji with its joiners, a letter with its marks) is kept whole or left out, and blanks
/// before the cut are left out too.
pub fn shortened(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let fitting = text
        .grapheme_indices(true)
        .map(|(start, cluster)| start + cluster.len())
        .take_while(|end| *end <= most)
        .last()
        .unwrap_or(0);
    text[..fitting].trim_end()
}

/// Whether a character shows its reader something else than what is there: control characters, which
/// end lines and steer terminals; separators of lines and paragraphs; embeddings, overrides and isolates
/// of the direction of writing, which make one text look like another (CVE-2021-42574); and what is no
/// character.
///
/// Joiners and marks of direction are none of these: names are written with them.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_the_characters_that_people_read() {
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
        let decomposed = "e\u{301}";
        for (text, most, expected) in [
            ("tea", 3, "tea"),
            ("teas", 3, "tea"),
            ("港式奶茶", 12, "港式奶茶"),
            ("港式奶茶", 11, "港式奶"),
            ("港式奶茶", 9, "港式奶"),
            ("港", 2, ""),
            ("tea for", 4, "tea"),
            (&format!("a{family}b"), 18, "a"),
            (&format!("a{family}b"), 19, &format!("a{family}")),
            (&format!("a{decomposed}"), 3, "a"),
            (&format!("a{decomposed}"), 4, &format!("a{decomposed}")),
            // Two flags are two clusters, of two code points each.
            ("🇭🇰🇨🇳", 12, "🇭🇰"),
            ("", 0, ""),
        ] {
            assert_eq!(shortened(text, most), expected, "{text} to {most}");
        }
        // A cluster may be as long as its writer wants: then nothing of it fits.
        let pile = format!("x{}", "\u{301}".repeat(200));
        assert_eq!(shortened(&pile, 256), "");
    }

    #[test]
    fn a_text_is_measured_in_bytes_as_it_is_sent() {
        assert_eq!(fits_alipay(&"茶".repeat(85), 256), Ok(()));
        let too_long = TooLong {
            bytes: 258,
            most: 256,
        };
        assert_eq!(fits_alipay(&"茶".repeat(86), 256), Err(too_long));
        assert_eq!(fits_alipay(" abc ", 3), Ok(()));
        let said = too_long.to_string();
        assert!(said.contains("256") && said.contains("258"), "{said}");
    }

    #[test]
    fn q15_what_deceives_is_told_from_what_is_written() {
        for c in [
            '\0', '\t', '\n', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{2028}', '\u{2029}',
            '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{fffe}',
        ] {
            assert!(is_deceptive(c), "{c:?}");
        }
        // Chinese, an emoji's joiner and variant, the marks of direction of Arabic and Hebrew.
        for c in [
            '茶', '\u{3000}', '\u{200d}', '\u{fe0f}', '\u{200e}', '\u{200f}', '\u{61c}', ' ',
        ] {
            assert!(!is_deceptive(c), "{c:?}");
        }
    }
}
