//! Migrations are frozen: whoever has applied one has it for ever, so they are only added to
//! (`docs/invariants.md` R22).

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use sha2::{Digest as _, Sha256};

use super::{ROOT, assert_none};

/// What stands beside the migrations: a line for each, as `sha256sum -c` reads them.
const CHECKSUMS: &str = "migrations/checksums.txt";

#[test]
fn what_was_migrated_is_never_changed_and_what_is_new_is_listed() {
    let directory = Path::new(ROOT).join("migrations");
    let listed = fs::read_to_string(Path::new(ROOT).join(CHECKSUMS)).expect("the list is there");
    let listed: BTreeMap<&str, &str> = listed
        .lines()
        .map(|line| line.split_once("  ").expect("a checksum and a name"))
        .map(|(checksum, name)| (name, checksum))
        .collect();
    let present: BTreeMap<String, String> = fs::read_dir(directory)
        .expect("the directory is readable")
        .map(|entry| entry.expect("an entry is readable").path())
        .filter(|path| path.extension().is_some_and(|end| end == "sql"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            (
                name.into_owned(),
                checksum(&fs::read(&path).expect("a file")),
            )
        })
        .collect();
    assert_none(&faults(&listed, &present));
}

#[test]
fn a_migration_that_was_changed_taken_away_or_squeezed_in_is_found() {
    let listed = BTreeMap::from([("0001_a.sql", "1"), ("0002_b.sql", "2")]);
    let with = |files: &[(&str, &str)]| {
        let owned = |&(name, sum): &(&str, &str)| (name.to_owned(), sum.to_owned());
        faults(&listed, &files.iter().map(owned).collect())
    };
    assert_eq!(with(&[("0001_a.sql", "1"), ("0002_b.sql", "2")]), [""; 0]);
    for wrong in [
        &[("0001_a.sql", "1"), ("0002_b.sql", "3")][..],
        &[("0001_a.sql", "1")],
        &[
            ("0001_a.sql", "1"),
            ("0002_b.sql", "2"),
            ("0003_c.sql", "3"),
        ],
    ] {
        assert_eq!(with(wrong).len(), 1, "{wrong:?}");
    }
}

/// What is wrong with the files, by their names and checksums.
fn faults(listed: &BTreeMap<&str, &str>, present: &BTreeMap<String, String>) -> Vec<String> {
    let changed = listed
        .iter()
        .filter_map(|(&name, &checksum)| match present.get(name) {
            None => Some(format!(
                "{name} is gone, and databases have it: put it back"
            )),
            Some(found) if found != checksum => Some(format!(
                "{name} was changed, and databases have it as it was: put it back, and add a file"
            )),
            Some(_) => None,
        });
    let new = present
        .iter()
        .filter(|(name, _)| !listed.contains_key(name.as_str()))
        .map(|(name, checksum)| format!("add to {CHECKSUMS}: {checksum}  {name}"));
    changed.chain(new).collect()
}

fn checksum(content: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(content) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
