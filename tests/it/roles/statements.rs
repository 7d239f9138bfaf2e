//! What the statements of the gateway write, read from `.sqlx`, where every one of them is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;

/// What is written to one table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Writes {
    pub(super) insert: bool,
    pub(super) delete: bool,
    pub(super) update: BTreeSet<String>,
}

/// What is written to each table, by the statements that `keep` keeps.
pub(super) fn writes(keep: impl Fn(&str) -> bool) -> BTreeMap<String, Writes> {
    let mut writes = BTreeMap::new();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut count = 0;
    for entry in fs::read_dir(directory).expect(".sqlx is readable") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a file");
        let query: Value = serde_json::from_str(&text).expect("JSON");
        let query = query["query"].as_str().expect("a statement");
        if keep(query) {
            collect(query, &mut writes);
            count += 1;
        }
    }
    assert!(count > 20, "only {count} statements were found");
    writes
}

/// Adds what one statement writes.
pub(super) fn collect(query: &str, writes: &mut BTreeMap<String, Writes>) {
    let words = words(query);
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    // Whose `on conflict do update` it would be.
    let mut inserted = String::new();
    let mut at = 0;
    while at < words.len() {
        match (word(at), word(at + 1)) {
            ("insert", "into") => {
                word(at + 2).clone_into(&mut inserted);
                writes.entry(inserted.clone()).or_default().insert = true;
            }
            ("delete", "from") => {
                writes.entry(word(at + 2).to_owned()).or_default().delete = true;
            }
            ("do", "update") => {
                let entry = writes.entry(inserted.clone()).or_default();
                entry.update.extend(assigned(&words[at + 3..]));
            }
            ("update", table) if word(at + 2) == "set" => {
                let entry = writes.entry(table.to_owned()).or_default();
                entry.update.extend(assigned(&words[at + 3..]));
            }
            ("update", table) if word(at + 2) == "as" && word(at + 4) == "set" => {
                let entry = writes.entry(table.to_owned()).or_default();
                entry.update.extend(assigned(&words[at + 5..]));
            }
            _ => {}
        }
        at += 1;
    }
}

/// The columns left of `=` in what follows `set`.
fn assigned(words: &[String]) -> Vec<String> {
    let mut columns = vec![];
    // Parentheses and `case ... end`: what is within belongs to a value.
    let mut depth = 0;
    let mut expected = true;
    for (at, word) in words.iter().enumerate() {
        match word.as_str() {
            "(" | "case" => depth += 1,
            ")" | "where" | "from" | "returning" if depth == 0 => break,
            ")" | "end" => depth -= 1,
            "," if depth == 0 => expected = true,
            column if depth == 0 && expected => {
                assert_eq!(words[at + 1], "=", "one column at a time: {words:?}");
                columns.push(column.to_owned());
                expected = false;
            }
            _ => {}
        }
    }
    columns
}

/// Lower-case words and single signs, without comments and literals.
fn words(query: &str) -> Vec<String> {
    let mut words = vec![];
    for line in query.lines() {
        let line = line.split("--").next().unwrap_or_default();
        let mut word = String::new();
        let mut quoted = false;
        for character in line.chars() {
            if character == '\'' {
                quoted = !quoted;
            } else if quoted {
            } else if character.is_alphanumeric() || "_$.".contains(character) {
                word.push(character.to_ascii_lowercase());
            } else {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                if !character.is_whitespace() {
                    words.push(character.to_string());
                }
            }
        }
        if !word.is_empty() {
            words.push(word);
        }
    }
    words
}

#[test]
fn what_a_statement_writes_is_read_from_its_text() {
    let mut found = BTreeMap::new();
    collect(
        "with held as (select a from schedule where b = $1 for update skip locked), moved as (
            update book as b set one = one + 1, two = case when $1 = 'x, y = ' then 1 else 2 end -- three = 3
                , four = coalesce($2, four)
            where five = 5 returning six
        ), gone as (delete from schedule where a in (select a from held))
        insert into till as t (a, b) values ($1, 'where')
        on conflict (a) do update set b = excluded.b",
        &mut found,
    );
    let set = |columns: &[&str]| columns.iter().map(|&c| c.to_owned()).collect();
    let expected = BTreeMap::from([
        (
            "book".to_owned(),
            Writes {
                update: set(&["one", "two", "four"]),
                ..Writes::default()
            },
        ),
        (
            "schedule".to_owned(),
            Writes {
                delete: true,
                ..Writes::default()
            },
        ),
        (
            "till".to_owned(),
            Writes {
                insert: true,
                update: set(&["b"]),
                ..Writes::default()
            },
        ),
    ]);
    assert_eq!(found, expected);
}
