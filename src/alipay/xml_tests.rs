use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

#[test]
fn a_tree_keeps_order_text_attributes_and_places() {
    let document =
        "<?xml version=\"1.0\"?>\n<a x='1' y=\"&lt;2\"> <b>t &amp; &#x4e2d;</b><c/> </a>\n";
    let root = parse(document).expect("a well-formed document");
    assert_eq!(root.name, "a");
    assert_eq!(
        root.attributes,
        [
            ("x".to_owned(), "1".to_owned()),
            ("y".to_owned(), "<2".to_owned())
        ]
    );
    assert!(root.has_no_text());
    assert_eq!(root.children[0].leaf(), Some("t & 中"));
    assert_eq!(root.children[1].leaf(), None);
    assert_eq!(
        &document[root.children[0].raw.clone()],
        "<b>t &amp; &#x4e2d;</b>"
    );
    assert_eq!(&document[root.children[1].raw.clone()], "<c/>");
}

#[test]
fn v2_what_an_answer_never_carries_is_refused() {
    for (document, error) in [
        ("", XmlError::NotWellFormed),
        ("text", XmlError::OutsideRoot),
        ("<a>", XmlError::NotWellFormed),
        ("<a><b></a></b>", XmlError::NotWellFormed),
        ("</a>", XmlError::NotWellFormed),
        ("<a/><b/>", XmlError::OutsideRoot),
        ("<a/>x", XmlError::OutsideRoot),
        ("<a/>&amp;", XmlError::OutsideRoot),
        ("<!DOCTYPE a><a/>", XmlError::DocumentType),
        (
            "<!DOCTYPE a [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><a>&e;</a>",
            XmlError::DocumentType,
        ),
        ("<a>&e;</a>", XmlError::Entity),
        ("<a x='&e;'/>", XmlError::Entity),
        ("<a>&</a>", XmlError::NotWellFormed),
        ("<a>&#0;</a>", XmlError::Entity),
        ("<a>&#7;</a>", XmlError::ForbiddenCharacter),
        ("<a>&#xFFFF;</a>", XmlError::ForbiddenCharacter),
        ("<a>\0</a>", XmlError::ForbiddenCharacter),
        ("<a>\u{1b}[31m</a>", XmlError::ForbiddenCharacter),
        ("<a><?php x?></a>", XmlError::ProcessingInstruction),
        (
            " <?xml version=\"1.0\"?><a/>",
            XmlError::ProcessingInstruction,
        ),
        ("<a/><![CDATA[x]]>", XmlError::OutsideRoot),
        ("<a><![CDATA[x</a>", XmlError::NotWellFormed),
        ("<a><![CDATA[\u{1b}]]></a>", XmlError::ForbiddenCharacter),
        ("<a><!-- x --></a>", XmlError::Comment),
        ("<a x='1' x='2'/>", XmlError::NotWellFormed),
        ("<a x=1/>", XmlError::NotWellFormed),
        ("<a&b=1/>", XmlError::Name),
        ("<1/>", XmlError::Name),
    ] {
        assert_eq!(parse(document), Err(error), "{document}");
    }
}

#[test]
fn a_character_data_section_is_text_and_never_markup() {
    let document = "<a>1<![CDATA[<b>&amp;]]>2<c><![CDATA[x]]></c></a>";
    let root = parse(document).expect("a well-formed document");
    assert_eq!(root.text, "1<b>&amp;2");
    assert_eq!(root.children.len(), 1);
    assert_eq!(root.children[0].leaf(), Some("x"));
    let long = format!("<a><![CDATA[{}]]></a>", "x".repeat(1024 * 1024));
    assert_eq!(parse(&long), Err(XmlError::TooLarge));
}

#[test]
fn q5_bombs_are_refused_at_once() {
    let deep = "<a>".repeat(100_000);
    let many = format!("<a>{}</a>", "<b/>".repeat(60_000));
    let names: Vec<String> = (0..80_000).map(|n| format!("a{n}='1'")).collect();
    let attributes = format!("<a {}/>", names.join(" "));
    let long = format!("<a>{}</a>", "x".repeat(1024 * 1024));
    for document in [deep, many, attributes, long] {
        let started = Instant::now();
        assert_eq!(parse(&document), Err(XmlError::TooLarge));
        // 50 ms is the bar for a release build on a quiet machine.
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

proptest! {
    #[test]
    fn v2_arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn v2_arbitrary_markup_never_panics(parts in prop::collection::vec(
        prop::sample::select(vec!["<", ">", "</", "/>", "a", "=", "'", "\"", "&", ";", "&amp;", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "<!DOCTYPE", " ", "中"]), 0..60,
    )) {
        let _ = parse(&parts.concat());
    }
}
