//! A copy of the tree to break. Only what differs is written, so that cargo builds no more than that again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What no build needs.
const LEFT_OUT: [&str; 3] = [".git", ".dev", "target"];

/// Makes `scratch` what the tree at `root` is with these files in it. What was built from it stays beside it.
pub(super) fn lay_out(
    root: &Path,
    scratch: &Path,
    changed: &BTreeMap<PathBuf, String>,
) -> anyhow::Result<()> {
    let mut wanted = BTreeMap::new();
    read_tree(root, Path::new(""), &mut wanted)?;
    for (path, text) in changed {
        wanted.insert(path.clone(), text.clone().into_bytes());
    }
    let mut present = BTreeMap::new();
    fs::create_dir_all(scratch)?;
    read_tree(scratch, Path::new(""), &mut present)?;
    let mut migrations_changed = false;
    for path in present.keys().filter(|path| !wanted.contains_key(*path)) {
        fs::remove_file(scratch.join(path))?;
        migrations_changed |= path.starts_with("migrations");
    }
    for (path, content) in &wanted {
        if present.get(path) != Some(content) {
            write(&scratch.join(path), content)?;
            migrations_changed |= path.starts_with("migrations");
        }
    }
    if migrations_changed {
        // They are compiled in, and cargo does not see that there is another.
        for path in ["src/lib.rs", "tests/it/main.rs"] {
            write(&scratch.join(path), &wanted[Path::new(path)])?;
        }
    }
    Ok(())
}

fn read_tree(
    root: &Path,
    below: &Path,
    files: &mut BTreeMap<PathBuf, Vec<u8>>,
) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if LEFT_OUT.iter().any(|left_out| path == Path::new(left_out)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            read_tree(root, &path, files)?;
        } else {
            let content = fs::read(entry.path()).with_context(|| path.display().to_string())?;
            files.insert(path, content);
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, content).with_context(|| path.display().to_string())
}
