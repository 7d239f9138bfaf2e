//! Just enough reading of Rust for the rules: text without comments and literals, and the paths in it.

/// A source file with its comments and literals blanked.
pub(super) struct Source {
    /// From the repository's root, such as `src/http/health.rs`.
    pub(super) path: String,
    /// The first module of its path: `http`.
    pub(super) module: String,
    /// How many modules deep it is: 1 for `src/clock.rs` and `src/http/mod.rs`.
    depth: usize,
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
        let inside = inside.strip_suffix("/mod").unwrap_or(inside);
        Self {
            path: path.to_owned(),
            module: inside.split('/').next().unwrap_or_default().to_owned(),
            depth: inside.split('/').count(),
            code: blank(text),
        }
    }

    pub(super) fn at(&self, offset: usize, what: &str) -> String {
        let line = 1 + self.code[..offset].matches('\n').count();
        format!("{}:{line}: {what}", self.path)
    }

    /// Where a path starts at the crate's root, by `crate::` or by as many `super::` as lead there: the
    /// offset of the path, and of what follows the root.
    pub(super) fn roots(&self) -> Vec<(usize, usize)> {
        let code = &self.code;
        let starts_word = |offset: usize| !code[..offset].ends_with(is_word);
        let mut roots: Vec<(usize, usize)> = code
            .match_indices("crate::")
            .filter(|(offset, _)| starts_word(*offset))
            .map(|(offset, root)| (offset, offset + root.len()))
            .collect();
        let climb = "super::".repeat(self.depth);
        let climbs = code
            .match_indices(&climb)
            .filter(|(offset, _)| starts_word(*offset));
        roots.extend(climbs.map(|(offset, _)| (offset, offset + climb.len())));
        roots
    }
}

/// The first names of a path or of a group of paths: `a` of `a::b`, `a` and `c` of `{a::b, c}`.
pub(super) fn heads(after_root: &str) -> Vec<&str> {
    let Some(group) = after_root.strip_prefix('{') else {
        return vec![word(after_root)];
    };
    let mut heads = vec![word(group.trim_start())];
    let mut depth = 1;
    for (offset, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(word(group[offset + 1..].trim_start())),
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap_or_default()
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Replaces what is in comments and literals by spaces; lines stay where they are.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = literal(rest, code.chars().next_back());
        let taken = if length == 0 { c.len_utf8() } else { length };
        let (here, after) = rest.split_at(taken);
        if length == 0 {
            code.push_str(here);
        } else {
            code.extend(here.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    code
}

/// The length of the comment or literal that the text starts with; 0 where there is none.
fn literal(text: &str, before: Option<char>) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    let in_word = before.is_some_and(is_word);
    if let Some(raw) = text.strip_prefix('r').filter(|_| !in_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = 1 + hashes + 1;
            let found = text[body..].find(&end);
            return found.map_or(text.len(), |at| body + at + end.len());
        }
    }
    // A quote opens a character only where one closes it: else it is a lifetime.
    let mut chars = text.chars();
    if chars.next() == Some('\'') {
        let (first, second) = (chars.next(), chars.next());
        if first == Some('\\') || second == Some('\'') {
            return quoted(text, '\'');
        }
    }
    0
}

/// The length of a literal with escapes, quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return offset + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}
