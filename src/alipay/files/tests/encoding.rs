//! UTF-8, GBK, both and neither.

use super::*;
use crate::domain::reconciliation::daily_file::{Encoding, Warning};

#[test]
fn gbk_is_read_from_the_first_line_on_that_is_not_utf_8() {
    let chinese = edited(3, "Harbour Noodles Ltd", "海港麵家有限公司");
    let chinese = chinese.replace("soup missing", "沒有湯");
    let expected = contents(&read_named(NAME, &chinese));
    assert_eq!(
        expected[0].secondary_merchant_name.as_deref(),
        Some("海港麵家有限公司")
    );
    let (bytes, _, unmappable) = encoding_rs::GBK.encode(&chinese);
    assert!(!unmappable);
    let read = read_named(NAME, bytes);
    assert_eq!(contents(&read), expected);
    assert_eq!(read.summary.encoding, Encoding::Gbk);
    assert_eq!(read.summary.warnings, [Warning::Gbk { line: 3 }]);
}

#[test]
fn a_bar_within_a_gbk_character_is_no_bar() {
    // The second byte of this character is that of `|`.
    let character: &[u8] = b"\x86|";
    let text = edited(3, "Harbour", "HARBOUR");
    let at = text.find("HARBOUR").expect("edited");
    let mut file = text.into_bytes();
    file.splice(at..at + 7, character.iter().copied());
    let read = read_named(NAME, file);
    assert_eq!(read.faults, []);
    assert_eq!(
        read.rows[0].secondary_merchant_name.as_deref(),
        Some("唡 Noodles Ltd")
    );
}

#[test]
fn a_mixture_of_utf_8_and_gbk_is_read_and_warned_of() {
    let text = edited(3, "Harbour Noodles Ltd", "海港麵家");
    let at = text.find("soup missing").expect("there");
    let mut file = text.into_bytes();
    let (bytes, _, _) = encoding_rs::GBK.encode("沒有湯");
    file.splice(at..at + "soup missing".len(), bytes.iter().copied());
    let read = read_named(NAME, &file);
    assert_eq!(read.rows.len(), 4);
    assert_eq!(
        read.summary.warnings,
        [
            Warning::Gbk { line: 6 },
            Warning::MixedEncoding { utf8: 3, gbk: 6 }
        ]
    );
    // A mark says UTF-8, so the other line is a fault.
    let read = read_named(NAME, [&b"\xef\xbb\xbf"[..], &file].concat());
    assert_eq!(faults(&read), ["line 6: neither UTF-8 nor GBK"]);
    assert_eq!((read.rows.len(), read.summary.warnings), (3, vec![]));
}

/// These two characters in GBK are the bytes of two others in UTF-8.
#[test]
fn a_gbk_name_that_is_utf_8_by_chance_is_read_as_gbk_once_the_file_is_known_to_be() {
    let text = edited(3, "Harbour Noodles Ltd", "香港茶餐廳");
    let text = text.replace("Harbour Noodles Ltd", "联通");
    let (bytes, _, _) = encoding_rs::GBK.encode(&text);
    let read = read_named(NAME, bytes);
    let names: Vec<_> = read
        .rows
        .iter()
        .filter_map(|row| row.secondary_merchant_name.as_deref())
        .collect();
    assert_eq!(names, ["香港茶餐廳", "联通", "联通", "联通"]);
}

/// The bytes of these two characters are, in UTF-8, one other character and a bar.
#[test]
fn a_gbk_name_that_is_utf_8_by_chance_and_ends_in_a_bar_keeps_its_row() {
    let text = edited(3, "Harbour Noodles Ltd", "岵硘");
    let (bytes, _, _) = encoding_rs::GBK.encode(&text);
    let (_, below_names) = text.split_once("Issue\n").expect("a name line");
    let (without_names, _, _) = encoding_rs::GBK.encode(below_names);
    assert!(std::str::from_utf8(&bytes).is_ok());
    for bytes in [bytes, without_names] {
        let read = read_named(NAME, bytes);
        assert_eq!((faults(&read), read.rows.len()), (vec![], 4));
        assert_eq!(
            read.rows[0].secondary_merchant_name.as_deref(),
            Some("岵硘")
        );
        assert_eq!(read.summary.encoding, Encoding::Gbk);
        assert!(matches!(read.summary.warnings[..], [Warning::Gbk { .. }]));
    }
}

#[test]
fn a_gbk_name_that_is_a_control_character_in_utf_8_keeps_its_row() {
    let (bytes, _, _) = encoding_rs::GBK.encode("聙");
    assert_eq!(std::str::from_utf8(&bytes), Ok("\u{80}"));
    let text = edited(3, "Harbour Noodles Ltd", "聙");
    let (bytes, _, _) = encoding_rs::GBK.encode(&text);
    let read = read_named(NAME, bytes);
    assert_eq!((faults(&read), read.rows.len()), (vec![], 4));
    assert_eq!(read.rows[0].secondary_merchant_name.as_deref(), Some("聙"));
}

/// A byte that was spoilt must not cost the rows below it, whose UTF-8 swallows bars if read as GBK.
#[test]
fn utf_8_below_a_line_that_is_none_keeps_its_rows() {
    let text = edited(4, "Central Branch", "中環店");
    let text = text
        .replace("Harbour Noodles Ltd", "粥麵館")
        .replace("soup missing", "湯");
    let at = text.find("HKP-260309-000041").expect("there");
    let mut file = text.into_bytes();
    file[at] = 0xe8;
    let read = read_named(NAME, &file);
    let spoilt = "line 3: has 16 columns instead of 17".to_owned();
    assert_eq!((faults(&read), read.rows.len()), (vec![spoilt], 3));
    assert_eq!(read.rows[0].store_name.as_deref(), Some("中環店"));
}

#[test]
fn bytes_that_are_no_text_and_control_characters_are_faults_of_their_line() {
    for (bytes, fault) in [
        (&b"\xff\xff"[..], "line 4: neither UTF-8 nor GBK"),
        (b"\0", "line 4: has a control character"),
        (b"a\rb", "line 4: has a control character"),
        (b"\x1b[2J", "line 4: has a control character"),
    ] {
        let text = edited(4, "Central Branch", "@");
        let at = text.find('@').expect("edited");
        let mut file = text.into_bytes();
        file.splice(at..=at, bytes.iter().copied());
        let read = read_named(NAME, file);
        assert_eq!(
            (faults(&read), read.rows.len()),
            (vec![fault.to_owned()], 3)
        );
    }
}
