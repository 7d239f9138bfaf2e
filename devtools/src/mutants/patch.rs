//! A mutant: a patch with a sentence before it and the tests that must catch it. As a unified diff, so that
//! `git apply` and `patch` read it too; applied here, since a machine need not have either.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// A fault to put into a copy of the tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    /// The name of its file.
    pub(super) name: String,
    /// What is wrong with the program that has it.
    pub(super) sentence: String,
    pub(super) caught_by: Vec<Catch>,
    changes: Vec<Change>,
}

/// A test that must fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Catch {
    pub(super) test: String,
    /// The invariants (`docs/invariants.md`) that its failure must name.
    pub(super) invariants: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Change {
    path: PathBuf,
    is_new: bool,
    hunks: Vec<Hunk>,
}

/// Lines in the place of others, which must be in the file once.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hunk {
    old: String,
    new: String,
}

const CAUGHT_BY: &str = "Caught by: ";

impl Mutant {
    /// Every mutant of a tree, by name.
    pub(super) fn all(root: &Path) -> anyhow::Result<Vec<Self>> {
        let directory = root.join("tests/mutants");
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        let mut paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let in_file = || path.display().to_string();
        let name = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".patch"))
            .with_context(|| format!("{} is no patch", in_file()))?;
        let text = fs::read_to_string(path).with_context(in_file)?;
        Self::parse(name, &text).with_context(in_file)
    }

    fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let (head, diff) = text.split_once("\n--- ").context("there is no diff")?;
        let sentence = head.lines().next().unwrap_or_default().to_owned();
        ensure!(sentence.ends_with('.'), "it does not begin with a sentence");
        let caught_by = head
            .lines()
            .filter_map(|line| line.strip_prefix(CAUGHT_BY))
            .map(Catch::parse)
            .collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(!caught_by.is_empty(), "no line begins with `{CAUGHT_BY}`");
        Ok(Self {
            name: name.to_owned(),
            sentence,
            caught_by,
            changes: diff
                .split("\n--- ")
                .map(Change::parse)
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// What the files that it changes become, by their paths in the tree at `root`.
    pub(super) fn applied_to(&self, root: &Path) -> anyhow::Result<BTreeMap<PathBuf, String>> {
        self.changes
            .iter()
            .map(|change| {
                let in_file = || format!("{}: {}", self.name, change.path.display());
                let path = root.join(&change.path);
                let before = if change.is_new {
                    ensure!(!path.exists(), "{} exists", in_file());
                    String::new()
                } else {
                    fs::read_to_string(path).with_context(in_file)?
                };
                let after = change.apply(before).with_context(in_file)?;
                Ok((change.path.clone(), after))
            })
            .collect()
    }
}

impl Catch {
    /// Reads `proof::scenes::no_grace (S6)`.
    fn parse(line: &str) -> anyhow::Result<Self> {
        let (test, invariants) = line
            .strip_suffix(')')
            .and_then(|line| line.split_once(" ("))
            .with_context(|| format!("not `TEST (INVARIANT, ...)`: {line}"))?;
        Ok(Self {
            test: test.to_owned(),
            invariants: invariants.split(", ").map(str::to_owned).collect(),
        })
    }
}

impl Change {
    /// Reads the part of a diff that is about one file, from behind its `--- `.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.split_inclusive('\n');
        let before = lines.next().unwrap_or_default().trim_end();
        let after = lines.next().unwrap_or_default().trim_end();
        let path = after
            .strip_prefix("+++ b/")
            .with_context(|| format!("no file is named: {after}"))?;
        let mut hunks: Vec<Hunk> = vec![];
        for line in lines {
            if line.starts_with("@@") {
                hunks.push(Hunk::default());
                continue;
            }
            let hunk = hunks.last_mut().context("lines before the first `@@`")?;
            match line.split_at_checked(1) {
                Some((" ", both)) => {
                    hunk.old.push_str(both);
                    hunk.new.push_str(both);
                }
                Some(("-", old)) => hunk.old.push_str(old),
                Some(("+", new)) => hunk.new.push_str(new),
                _ => bail!("not a line of a diff: {line:?}"),
            }
        }
        Ok(Self {
            path: path.into(),
            is_new: before == "/dev/null",
            hunks,
        })
    }

    fn apply(&self, mut text: String) -> anyhow::Result<String> {
        for Hunk { old, new } in &self.hunks {
            if self.is_new {
                text.push_str(new);
                continue;
            }
            let found = text.matches(old.as_str()).count();
            ensure!(found == 1, "these lines are there {found} times:\n{old}");
            text = text.replacen(old.as_str(), new, 1);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the package is in the tree")
    }

    #[test]
    fn every_mutant_applies_and_names_tests_that_are_there() {
        let mutants = Mutant::all(root()).unwrap();
        assert!(mutants.len() > 25, "{}", mutants.len());
        for mutant in mutants {
            let changed = mutant.applied_to(root()).unwrap();
            for (path, text) in changed {
                let before = fs::read_to_string(root().join(&path)).unwrap_or_default();
                assert_ne!(before, text, "{}: {}", mutant.name, path.display());
            }
            for catch in &mutant.caught_by {
                let (module, test) = catch.test.rsplit_once("::").unwrap();
                let file = format!("tests/it/{}.rs", module.replace("::", "/"));
                let source = fs::read_to_string(root().join(file)).unwrap();
                assert!(source.contains(test), "{}: {}", mutant.name, catch.test);
            }
        }
    }

    const PATCH: &str = "\
It counts wrong.

Caught by: proof::x::it_counts (M1, C2)

--- a/src/a.rs
+++ b/src/a.rs
@@ -1,3 +1,3 @@
 one
-two
+three
 four
--- /dev/null
+++ b/new.sql
@@ -0,0 +1 @@
+select 1;
";

    #[test]
    fn a_patch_is_read_and_applied() {
        let mutant = Mutant::parse("wrong", PATCH).unwrap();
        assert_eq!(mutant.sentence, "It counts wrong.");
        assert_eq!(mutant.caught_by[0].test, "proof::x::it_counts");
        assert_eq!(mutant.caught_by[0].invariants, ["M1", "C2"]);
        let [change, new] = &mutant.changes[..] else {
            panic!("two files: {mutant:?}");
        };
        let apply = |text: &str| change.apply(text.to_owned());
        assert_eq!(
            apply("0\none\ntwo\nfour\n").unwrap(),
            "0\none\nthree\nfour\n"
        );
        assert!(apply("one\ntoo\nfour\n").is_err());
        assert!(apply(&"one\ntwo\nfour\n".repeat(2)).is_err());
        assert!(new.is_new);
        assert_eq!(new.apply(String::new()).unwrap(), "select 1;\n");
    }

    #[test]
    fn a_patch_without_its_head_is_refused() {
        let line = PATCH.replace("Caught by: ", "");
        assert!(Mutant::parse("wrong", &line).is_err());
        let sentence = PATCH.replacen("It counts wrong.", "", 1);
        assert!(Mutant::parse("wrong", &sentence).is_err());
    }
}
