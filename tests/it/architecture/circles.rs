//! Files that import each other in a circle cannot be read one after the other: what both need stands in a
//! third, below them. A folder's own file and the files in it are one thing, and not looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::source::is_word;

/// What is held to it: folders of sources.
const HELD: [&str; 2] = ["src", "simulator/src"];

type Path = Vec<String>;
type Imports = BTreeMap<Path, BTreeSet<Path>>;

#[test]
fn no_file_imports_itself_by_way_of_others() {
    for folder in HELD {
        let mut sources = vec![];
        super::every_source_in(&[folder], |source| {
            let path = module(source.path.trim_start_matches(folder));
            if !is_test(&source.path) {
                sources.push((path, source.code.clone()));
            }
            vec![]
        });
        super::assert_none(&circles(&sources));
    }
}

#[test]
fn a_circle_is_found_however_long_it_is() {
    let file = |path: &str, code: &str| (module(path), code.to_owned());
    let below = [
        file("a/one.rs", "use super::two::Two; use crate::b;"),
        file("a/two.rs", "use crate::b::{self, three::Three as Third};"),
        file("a/mod.rs", "pub mod one; use self::one::One;"),
        file("b/three.rs", "fn f() {}"),
        file("b/mod.rs", "pub mod three;"),
    ];
    assert_eq!(circles(&below), Vec::<String>::new());
    let mut round = below.to_vec();
    round[3].1 = "fn f() { crate::a::one::g() }".to_owned();
    let found = circles(&round);
    assert_eq!(
        found,
        [
            "a::one imports a::two, which leads back to it",
            "a::two imports b::three, which leads back to it",
            "b::three imports a::one, which leads back to it",
        ]
    );
}

fn is_test(path: &str) -> bool {
    path.contains("/tests") || path.ends_with("_tests.rs")
}

/// The module that a file is.
fn module(path: &str) -> Path {
    let inside = path.trim_start_matches('/').trim_end_matches(".rs");
    let names = inside.split('/').map(str::to_owned);
    names.filter(|name| name != "mod").collect()
}

/// Each import that leads back to the file that has it.
fn circles(sources: &[(Path, String)]) -> Vec<String> {
    let files: BTreeSet<&Path> = sources.iter().map(|(path, _)| path).collect();
    let imports: Imports = sources
        .iter()
        .map(|(path, code)| {
            let named = named_in(path, code).into_iter();
            let mut imported: BTreeSet<Path> = named
                .filter_map(|name| {
                    let lengths = (1..=name.len()).rev();
                    let mut prefixes = lengths.map(|length| name[..length].to_vec());
                    prefixes.find(|prefix| files.contains(prefix))
                })
                .collect();
            imported.retain(|other| !other.starts_with(path) && !path.starts_with(other));
            (path.clone(), imported)
        })
        .collect();
    let mut found = vec![];
    for (path, imported) in &imports {
        for other in imported
            .iter()
            .filter(|other| leads_to(&imports, other, path))
        {
            let (path, other) = (path.join("::"), other.join("::"));
            found.push(format!("{path} imports {other}, which leads back to it"));
        }
    }
    found
}

fn leads_to(imports: &Imports, from: &Path, to: &Path) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        if next == to {
            return true;
        }
        let further = imports.get(next).into_iter().flatten();
        open.extend(further.filter(|path| seen.insert(*path)));
    }
    false
}

/// What a file names by a path from the crate's root, from itself or from above; not in its tests.
fn named_in(path: &Path, code: &str) -> Vec<Path> {
    let code = code.split("#[cfg(test)]\nmod tests {").next();
    let code = code.unwrap_or_default();
    let mut found = vec![];
    for root in ["crate::", "self::", "super::"] {
        for (offset, _) in code.match_indices(root) {
            let before = &code[..offset];
            if !before.ends_with(is_word) && !before.ends_with("::") {
                paths(&code[offset..], &[], &mut found);
            }
        }
    }
    let absolute = |name: Path| {
        let climbs = name.iter().take_while(|word| *word == "super").count();
        let base = match name[0].as_str() {
            "crate" => &[],
            "self" => &path[..],
            _ => &path[..path.len().saturating_sub(climbs)],
        };
        let rest = &name[climbs.max(1)..];
        base.iter().chain(rest).cloned().collect()
    };
    found.into_iter().map(absolute).collect()
}

/// The paths of a tree, `a::b` and `a::c` of `a::{b, c}`, after `before`; returns what follows it.
fn paths<'a>(text: &'a str, before: &[String], found: &mut Vec<Path>) -> &'a str {
    let mut path = before.to_vec();
    let mut text = text.trim_start();
    loop {
        if let Some(group) = text.strip_prefix('{') {
            let mut rest = group.trim_start();
            while !rest.is_empty() && !rest.starts_with('}') {
                let after = paths(rest, &path, found);
                rest = after.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
            }
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
        let (word, after) = text.split_at(end);
        if word.is_empty() {
            found.push(path);
            // A `*`, or something that is no path.
            let mut rest = text.chars();
            rest.next();
            return rest.as_str();
        }
        path.push(word.to_owned());
        let Some(next) = after.strip_prefix("::") else {
            found.push(path);
            let Some(alias) = after.strip_prefix(" as ") else {
                return after;
            };
            return alias.trim_start_matches(is_word);
        };
        text = next;
    }
}
