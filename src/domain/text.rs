//! What a text may not hold, whoever wrote it (`design/correctness.md` Q15).

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
