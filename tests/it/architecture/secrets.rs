//! What is secret has a type that hides it, and no type that holds it shows it, compares it or hands it on
//! by a derive (`docs/invariants.md` Q4, Q13).
//!
//! The rules look at the names of fields and types, which is enough for what happens by accident.

use super::{Source, assert_none, every_source, every_source_in};

/// Words in the names of fields and types whose content nobody may read.
const SECRET_WORDS: [&str; 15] = [
    "secret",
    "password",
    "passphrase",
    "barcode",
    "signature",
    "private_key",
    "privatekey",
    "own_key",
    "api_key",
    "apikey",
    "token",
    "md5_key",
    "shared_key",
    "database_url",
    "credential",
];

/// How the name of what is about a secret, and not the secret itself, ends.
const ABOUT: [&str; 16] = [
    "_id", "_hash", "_hint", "_file", "_path", "_prefix", "_name", "_count", "id", "view", "item",
    "filter", "facts", "config", "error", "args",
];

/// Types that show and keep what they hold.
const PLAIN: [&str; 7] = [
    "String", "Vec<u8>", "Box<str>", "&str", "&[u8]", "[u8;", "Bytes",
];

/// Types that hold a secret so that it can be read: `Zeroizing` prints it.
const BARE: [&str; 3] = ["Zeroizing<", "RsaPrivateKey", "RsaKeyPair"];

/// Derives that show, repeat or compare byte by byte what is inside.
const TELLING: [&str; 8] = [
    "Debug",
    "PartialEq",
    "Eq",
    "PartialOrd",
    "Ord",
    "Hash",
    "Serialize",
    "Deserialize",
];

/// Fields that are plain all the same: file, type and field, and why that is right.
const EXEMPT: [(&str, &str); 1] = [(
    "src/alipay/response/envelope.rs: Envelope.sign",
    "borrowed from an answer while it is verified; nothing derives from it",
)];

/// A struct or an enum.
struct Item<'s> {
    name: &'s str,
    offset: usize,
    derives: Vec<&'s str>,
    /// What stands between its braces or parentheses.
    body: &'s str,
}

/// Every struct and enum of a source.
fn items(source: &Source) -> Vec<Item<'_>> {
    let code = source.code.as_str();
    let mut found = vec![];
    for keyword in ["struct ", "enum "] {
        for (offset, _) in code.match_indices(keyword) {
            if code[..offset].ends_with(super::is_word) {
                continue;
            }
            let after = &code[offset + keyword.len()..];
            let name = after
                .split(|c| !super::is_word(c))
                .next()
                .unwrap_or_default();
            let Some(opens) = after.find(['{', '(', ';']) else {
                continue;
            };
            let before = code[..offset]
                .rfind([';', '{', '}'])
                .map_or(0, |end| end + 1);
            let derives = code[before..offset]
                .split("derive(")
                .skip(1)
                .flat_map(|list| list.split(')').next().unwrap_or_default().split(','))
                .map(|name| name.rsplit("::").next().unwrap_or_default().trim())
                .collect();
            found.push(Item {
                name,
                offset,
                derives,
                body: enclosed(&after[opens..]),
            });
        }
    }
    found
}

/// What the braces or parentheses at the start of a text enclose; empty where it starts with none.
fn enclosed(text: &str) -> &str {
    let mut depth = 0_usize;
    for (offset, c) in text.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(1..offset).unwrap_or_default();
        }
    }
    ""
}

/// The named fields of an item, of its variants too, with their types.
fn fields(item: &Item<'_>) -> Vec<(String, String)> {
    let mut found = vec![];
    let mut depth = 0_usize;
    let mut field = String::new();
    for c in item.body.chars().chain([',']) {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if matches!(c, '{' | '}') || (matches!(c, ',' | ';') && depth == 0) {
            if let Some((name, kind)) = field.split_once(": ") {
                // A member of a request goes on with its rule.
                let kind = kind.split(" = ").next().unwrap_or_default();
                let name = name.rsplit(|c| !super::is_word(c)).next();
                found.push((name.unwrap_or_default().to_owned(), squeezed(kind)));
            }
            field.clear();
        } else {
            field.push(c);
        }
    }
    found
}

/// A type without blanks and lifetimes.
fn squeezed(kind: &str) -> String {
    let words = kind
        .split_whitespace()
        .filter(|word| !word.starts_with('\''));
    words.collect::<Vec<_>>().join("").replace("&'astr", "&str")
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let about = ABOUT.iter().any(|end| name.ends_with(end));
    name == "sign" || (!about && SECRET_WORDS.iter().any(|word| name.contains(word)))
}

fn is_plain(kind: &str) -> bool {
    let inner = kind
        .strip_prefix("Option<")
        .and_then(|inner| inner.strip_suffix('>'))
        .unwrap_or(kind);
    PLAIN
        .iter()
        .any(|plain| inner == *plain || (plain.ends_with(';') && inner.starts_with(plain)))
}

/// Secrets in plain types, and types that tell what they hold.
fn faults(source: &Source) -> Vec<String> {
    let mut found = vec![];
    for item in items(source) {
        for (name, kind) in fields(&item) {
            if is_secret(&name) && is_plain(&kind) {
                let place = format!("{}: {}.{name}", source.path, item.name);
                found.push(format!("{place} is a plain {kind}"));
            }
        }
        let is_wrapper =
            is_secret(item.name) && is_plain(&squeezed(item.body.trim_start_matches("pub ")));
        if is_wrapper {
            found.push(source.at(
                item.offset,
                &format!("{} holds its secret in a plain type", item.name),
            ));
        }
        let bare = BARE.iter().any(|bare| item.body.contains(bare));
        let telling: Vec<&str> = item
            .derives
            .iter()
            .copied()
            .filter(|name| TELLING.contains(name))
            .collect();
        if bare && !telling.is_empty() {
            found.push(source.at(
                item.offset,
                &format!(
                    "{} holds a secret and derives {}",
                    item.name,
                    telling.join(", ")
                ),
            ));
        }
    }
    found
}

fn is_exempt(fault: &str) -> bool {
    EXEMPT
        .iter()
        .any(|(place, _)| fault.starts_with(&format!("{place} is a plain")))
}

#[test]
fn q13_secrets_have_types_that_hide_them() {
    // Not the simulator: it is Alipay's side, with throw-away keys.
    let faults: Vec<String> = every_source_in(&["src", "devtools/src"], faults)
        .into_iter()
        .filter(|fault| !is_exempt(fault))
        .collect();
    assert_none(&faults);
}

/// An exemption that is needed no more would excuse the next field of the name.
#[test]
fn every_exempt_field_is_there() {
    let faults = every_source(faults);
    for (place, reason) in EXEMPT {
        let there = faults
            .iter()
            .any(|fault| fault.starts_with(&format!("{place} is a plain")));
        assert!(there, "there is no {place}: {reason}");
    }
}

#[test]
fn secrets_that_can_be_read_are_found() {
    for wrong in [
        "pub struct Settings { pub database_url: String }",
        "struct Login { name: String, password: Option<String> }",
        "struct Request<'a> { sign: &'a str, }",
        "enum Key { Shared { md5_key: Vec<u8> }, None }",
        "request! { struct Scan { required barcode: String = Text { max: 24 }, example \"28\"; } }",
        "pub struct Barcode(String);",
        "struct SecretKey([u8; 32]);",
        "#[derive(Clone, Debug)]\npub struct SecretKey(Zeroizing<Vec<u8>>);",
        "#[derive(Debug)]\n#[expect(dead_code, reason = \"a test\")]\nenum Signer { Legacy(Box<RsaPrivateKey>) }",
        "#[derive(PartialEq, Eq)]\nstruct Code { digits: Zeroizing<String> }",
        "#[derive(serde::Serialize)]\nstruct Code { digits: Zeroizing<String> }",
    ] {
        let found = faults(&Source::new("src/x.rs", wrong));
        assert_eq!(found.len(), 1, "{wrong}: {found:?}");
    }
    for right in [
        "pub struct Settings { pub database_url: SecretString }",
        "struct Row { api_key_id: Uuid, barcode_hint: String, private_key_file: PathBuf }",
        "#[derive(Debug)] struct Made { api_key: ApiKey, secret: SecretString }",
        "pub struct Barcode(Zeroizing<String>);",
        "struct Keys { own: Option<Arc<OwnKey>> }",
        "#[derive(Debug)] struct Config { secret_key: SecretKey }",
    ] {
        let found = faults(&Source::new("src/x.rs", right));
        assert!(found.is_empty(), "{right}: {found:?}");
    }
}
