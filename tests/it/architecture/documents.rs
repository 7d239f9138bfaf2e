//! What the sources cite is in the repository: sections of `docs/protocol.md`, ids of `docs/invariants.md`,
//! and documents.

use std::{collections::BTreeSet, fs, path::Path};

use super::{ROOT, assert_none};

/// What is looked through: sources, schema, and what people read.
const PLACES: [&str; 7] = [
    "src",
    "tests",
    "simulator",
    "devtools",
    "migrations",
    "README.md",
    "docs",
];

/// Whose texts are ids of invariants too, in quotes.
const ORACLES: [&str; 3] = ["oracle.rs", "refund_oracle.rs", "planted.rs"];

/// The page of what is known of Alipay, as it is cited.
const PROTOCOL: &str = "docs/protocol.md";

#[test]
fn every_cited_section_id_and_document_is_there() {
    let cited = Cited::read();
    assert!(cited.sections.len() > 50 && cited.ids.len() > 100);
    let mut files = vec![];
    for place in PLACES {
        collect(&Path::new(ROOT).join(place), &mut files);
    }
    assert!(files.len() > 300, "only {} files were found", files.len());
    // What the test below cites is not there on purpose.
    files.retain(|file| file.path != "tests/it/architecture/documents.rs");
    let found: Vec<String> = files.iter().flat_map(|file| cited.lost_in(file)).collect();
    assert_none(&found);
}

#[test]
fn each_citation_that_leads_nowhere_is_found() {
    let cited = Cited::read();
    let lost = |path: &str, text: &str| {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        cited.lost_in(&file)
    };
    for (path, text) in [
        ("src/a.rs", "/// As said (`docs/protocol.md` 5.99)."),
        ("src/a.rs", "//! Two (`docs/protocol.md` 5.1,\n//! 5.99)."),
        ("src/a.rs", "//! A range (`docs/protocol.md` 4.1–4.99)."),
        ("src/a.rs", "let a = 1; // R77"),
        ("src/a.rs", "sql(\"select 1\n-- M77\n\")"),
        ("src/a.rs", "/// As in `docs/gone.md`."),
        ("src/a.rs", "/// As in `wire.md` 3."),
        ("tests/a.rs", "fn q8_q77_limits_hold() {}"),
        ("tests/a.rs", "async fn hk_77_is_paid() {}"),
        ("tests/it/support/oracle.rs", "check(\"S77\", true)"),
        ("migrations/1.sql", "-- R77: a guard"),
        ("migrations/1.sql", "-- As in `docs/gone.md` 2."),
        ("README.md", "See `docs/gone.md`."),
    ] {
        assert_eq!(lost(path, text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        (
            "src/a.rs",
            "/// `docs/protocol.md` 4.1–4.8, 5.3; M4, HK-10.",
        ),
        ("src/a.rs", "let id = \"R77\";"),
        ("tests/a.rs", "fn q8_t2_a_refund_waits() {}"),
        ("tests/a.rs", "fn t_is_no_id() {}"),
    ] {
        assert_eq!(lost(path, text), [""; 0], "{path}: {text}");
    }
}

struct File {
    /// From the repository's root.
    path: String,
    text: String,
}

/// What may be cited.
struct Cited {
    sections: BTreeSet<String>,
    ids: BTreeSet<String>,
}

impl Cited {
    fn read() -> Self {
        let read = |name: &str| {
            fs::read_to_string(Path::new(ROOT).join(name)).expect("the document is readable")
        };
        let (protocol, invariants) = (read(PROTOCOL), read("docs/invariants.md"));
        let heads = protocol.lines().filter_map(|line| line.strip_prefix("##"));
        let sections = heads
            .filter_map(|head| head.trim_start_matches('#').split_whitespace().next())
            .map(str::to_owned)
            .collect();
        // The first cell of a row, and the first word of an item.
        let first = |line: &str| {
            let item = line.strip_prefix("- **");
            let rest = item.or_else(|| line.strip_prefix("| "))?.to_owned();
            let end = rest.find([' ', '*'])?;
            Some(rest[..end].to_owned()).filter(|word| is_id(word))
        };
        let lines = protocol.lines().chain(invariants.lines());
        Self {
            sections,
            ids: lines.filter_map(first).collect(),
        }
    }

    /// What a file cites that is not there.
    fn lost_in(&self, file: &File) -> Vec<String> {
        let is_source = Path::new(&file.path).extension().is_some_and(|e| e == "rs");
        let mut lost = vec![];
        for (line, text) in passages(file) {
            let mut note = |what: &str| lost.push(format!("{}:{line}: {what}", file.path));
            for (_, after) in text.match_indices(PROTOCOL).map(|(at, name)| {
                let after = &text[at + name.len()..];
                (at, after.trim_start_matches('`'))
            }) {
                for section in sections_at(after) {
                    if !self.sections.contains(section) {
                        note(&format!("{PROTOCOL} has no section {section}"));
                    }
                }
            }
            for word in words(&text) {
                if is_id(word) && !self.ids.contains(word) {
                    note(&format!("nothing has the id {word}"));
                }
                // From the root, or from the page that names it.
                let from = [Some(Path::new("")), Path::new(&file.path).parent()];
                let is_there = |from: &Path| Path::new(ROOT).join(from).join(word).exists();
                if is_page(word) && !from.into_iter().flatten().any(is_there) {
                    note(&format!("there is no {word}"));
                }
            }
        }
        if is_source {
            let quotes = ORACLES.iter().any(|name| file.path.ends_with(name));
            for id in names(&file.text).chain(quoted(&file.text).filter(|_| quotes)) {
                if !self.ids.contains(&id) {
                    lost.push(format!("{}: nothing has the id {id}", file.path));
                }
            }
        }
        lost
    }
}

/// The texts that people read: comments of a source or of SQL, whose lines are joined, or all of a page.
fn passages(file: &File) -> Vec<(usize, String)> {
    let is_page = Path::new(&file.path).extension().is_some_and(|e| e == "md");
    let mut passages: Vec<(usize, String)> = vec![];
    let mut goes_on = false;
    for (number, line) in (1..).zip(file.text.lines()) {
        let line = line.trim_start();
        let comment = if is_page {
            Some(line)
        } else if line.starts_with("//") || line.starts_with("--") {
            Some(line.trim_start_matches(['/', '-', '!']).trim())
        } else {
            goes_on = false;
            line.split_once(" // ").map(|(_, comment)| comment)
        };
        match (comment, passages.last_mut()) {
            (Some(comment), Some((_, passage))) if goes_on => {
                passage.push(' ');
                passage.push_str(comment);
            }
            (Some(comment), _) => {
                passages.push((number, comment.to_owned()));
                goes_on = line.starts_with("//") || line.starts_with("--");
            }
            (None, _) => {}
        }
    }
    passages
}

fn is_page(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "md")
}

/// The numbers that follow the name of the page: `4.1–4.8, 5.3`.
fn sections_at(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '.' | ',' | '–');
    let list = text.strip_prefix(' ').unwrap_or_default();
    let end = list.find(|c| !is_part(c)).unwrap_or(list.len());
    list[..end]
        .split([' ', ',', '–'])
        .map(|section| section.trim_matches('.'))
        .filter(|section| !section.is_empty())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '/' | '.' | '_');
    text.split(move |c| !is_part(c))
        .flat_map(|word| [word, word.trim_end_matches('.')])
        .filter(|word| !word.is_empty())
        .collect::<BTreeSet<_>>()
        .into_iter()
}

/// Ids as they are written: `M10`, `HK-10`.
fn is_id(word: &str) -> bool {
    let number = |text: &str| {
        (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    match word.split_once('-') {
        Some((family, rest)) => matches!(family, "HK" | "IV" | "NT" | "PT") && number(rest),
        None => word.is_ascii() && word.starts_with(FAMILIES) && number(&word[1..]),
    }
}

const FAMILIES: [char; 11] = ['C', 'D', 'L', 'M', 'P', 'Q', 'R', 'S', 'T', 'V', 'W'];

/// The ids that names of tests begin with.
fn names(text: &str) -> impl Iterator<Item = String> {
    let functions = text
        .match_indices("fn ")
        .map(|(at, word)| &text[at + word.len()..]);
    functions.flat_map(|name| {
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let mut parts = name[..end.unwrap_or(name.len())].split('_').peekable();
        let mut ids = vec![];
        while let Some(part) = parts.next() {
            let part = part.to_ascii_uppercase();
            let numbered = parts.peek().map(|number| format!("{part}-{number}"));
            if is_id(&part) {
                ids.push(part);
            } else if let Some(id) = numbered.filter(|id| is_id(id)) {
                parts.next();
                ids.push(id);
            } else {
                break;
            }
        }
        ids
    })
}

/// The ids in quotes.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('"')
        .filter(|text| is_id(text))
        .map(str::to_owned)
}

fn collect(place: &Path, files: &mut Vec<File>) {
    if place.is_dir() {
        for entry in fs::read_dir(place).expect("a directory is readable") {
            collect(&entry.expect("an entry is readable").path(), files);
        }
        return;
    }
    let is_text = place
        .extension()
        .is_some_and(|extension| ["rs", "sql", "md"].iter().any(|text| extension == *text));
    if is_text {
        let path = place.strip_prefix(ROOT).expect("below the root");
        files.push(File {
            path: path.to_string_lossy().into_owned(),
            text: fs::read_to_string(place).expect("a file is readable"),
        });
    }
}
