//! The tables of the README and of `docs` are what the programs say (`UPDATE=1` rewrites them), and what the pages name is there.

use std::{collections::BTreeSet, fs, path::Path};

use alipayhk_gateway::{config::variables::VARIABLES, http::openapi};
use serde_json::Value;

use crate::acceptance::{ITEMS, tests_of};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "UPDATE=1 is said to the test, not to the program"
)]
fn the_tables_are_current() {
    for (page, name, table) in [
        ("docs/integrate.md", "routes", routes()),
        ("docs/integrate.md", "problems", problems()),
        ("docs/simulator.md", "scenarios", scenarios()),
        ("docs/configure.md", "configuration", configuration()),
        ("docs/go-live.md", "acceptance", acceptance()),
    ] {
        let current = with_section(&read(page), name, &table);
        if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
            fs::write(Path::new(ROOT).join(page), &current).expect("the page is writable");
        }
        assert!(
            current == read(page),
            "the table {name} of {page} is out of date: run the tests with UPDATE=1 and commit the change"
        );
    }
}

#[test]
fn the_readme_is_short() {
    assert!(read("README.md").lines().count() <= 200);
}

#[test]
fn a_table_that_differs_is_replaced_and_the_rest_is_kept() {
    let page = "a\n<!-- x:begin (how) -->\nold\n<!-- x:end -->\nb\n";
    let expected = "a\n<!-- x:begin (how) -->\nnew\n<!-- x:end -->\nb\n";
    assert_eq!(with_section(page, "x", "new\n"), expected);
}

/// A link leads to a file, and to a heading of it.
#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for page in pages() {
        let text = read(&page);
        let from = Path::new(ROOT).join(&page);
        for target in targets(&text) {
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => from.clone(),
                file => from.with_file_name("").join(file),
            };
            assert!(path.exists(), "{page} links to {target}, which is missing");
            if !anchor.is_empty() {
                let linked = fs::read_to_string(&path).expect("a page is readable");
                assert!(
                    anchors(&linked).any(|found| found == anchor),
                    "{page} links to {target}: no such heading"
                );
            }
        }
    }
    assert!(links > 50, "only {links} were found");
}

/// The pages for people.
fn pages() -> Vec<String> {
    let mut pages = vec![
        "README.md".to_owned(),
        "SECURITY.md".to_owned(),
        "CHANGELOG.md".to_owned(),
    ];
    for directory in [
        "docs",
        "examples",
        "examples/go",
        "examples/java",
        "examples/python",
        "examples/till",
        "examples/typescript",
    ] {
        let entries = fs::read_dir(Path::new(ROOT).join(directory)).expect("a directory of pages");
        let names = entries.map(|entry| entry.expect("an entry is readable").file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        let found = names.filter(|name| Path::new(name).extension().is_some_and(|e| e == "md"));
        pages.extend(found.map(|name| format!("{directory}/{name}")));
    }
    pages
}

/// Where the links of a page lead, but for those to other sites.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1);
    let targets = links.filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.starts_with("http"))
}

/// The names by which the headings of a page are linked to.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let heads = text.lines().filter_map(|line| line.strip_prefix('#'));
    heads.map(|head| {
        let words = head.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The metrics, commands and steps the page names are there by these names.
#[test]
fn what_the_page_names_exists() {
    let (pages, dev) = (
        pages().iter().map(|page| read(page)).collect::<String>(),
        read("dev"),
    );
    let named = |text: &str, start: &str| -> Vec<String> {
        let rests = text.split(start).skip(1);
        rests
            .filter_map(|rest| {
                rest.split(|c: char| !(c.is_ascii_lowercase() || c == '-'))
                    .next()
            })
            .map(str::to_owned)
            .collect()
    };
    let known = |command: &str| {
        let arms = dev.lines().filter_map(|line| line.split_once(')'));
        arms.into_iter()
            .any(|(names, _)| names.split(" | ").any(|name| name == command))
    };
    for command in named(&pages, "./dev ") {
        assert!(
            known(&command),
            "a page names `./dev {command}`, which does not exist"
        );
    }
    let steps = dev
        .split("all_steps=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("dev lists its steps");
    for step in steps.split(' ') {
        assert!(
            read("docs/develop.md").contains(&format!("| `{step}` |")),
            "docs/develop.md lacks the step {step}"
        );
    }
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(file: &str) -> String {
    let path = Path::new(ROOT).join(file);
    fs::read_to_string(path).expect("a file of the repository is readable")
}

/// The page with what stands between the markers of `name` replaced.
fn with_section(page: &str, name: &str, table: &str) -> String {
    let begin = page
        .find(&format!("<!-- {name}:begin"))
        .expect("the page has the section's first marker");
    let begin = begin + page[begin..].find('\n').expect("the marker ends its line") + 1;
    let end = page
        .find(&format!("<!-- {name}:end -->"))
        .expect("the page has the section's last marker");
    format!("{}{table}{}", &page[..begin], &page[end..])
}

fn scenarios() -> String {
    format!("{}\n", alipay_simulator::scenarios().trim())
}

fn configuration() -> String {
    let rows = VARIABLES.iter().map(|variable| {
        let default = variable
            .default
            .map_or_else(String::new, |d| format!("`{d}`"));
        [
            format!("`{}`", variable.name),
            default,
            variable.meaning.to_owned(),
        ]
    });
    table(["variable", "default", "meaning"], rows)
}

fn routes() -> String {
    let document = openapi::document::document();
    let paths = document["paths"].as_object().expect("an object");
    let rows = paths.iter().flat_map(|(path, item)| {
        let operations = item.as_object().expect("an object").iter();
        operations.map(move |(method, operation)| {
            let summary = operation["summary"].as_str().unwrap_or_default();
            [
                format!("`{} {path}`", method.to_uppercase()),
                summary.to_owned(),
                scopes(operation),
            ]
        })
    });
    table(["operation", "what it does", "scope"], rows)
}

/// Each kind of refusal, as an example shows it.
fn problems() -> String {
    let document = openapi::document::document();
    let examples = document["components"]["examples"].as_object();
    let examples = examples.expect("the document has examples").values();
    let documents = examples.map(|example| &example["value"]);
    let text =
        |document: &Value, name: &str| document[name].as_str().unwrap_or_default().to_owned();
    let rows: BTreeSet<[String; 4]> = documents
        .map(|document| {
            [
                document["status"].to_string(),
                format!("`{}`", text(document, "code")),
                text(document, "title"),
                text(document, "retryable").replace('_', " "),
            ]
        })
        .collect();
    table(["status", "code", "what", "again"], rows.into_iter())
}

/// Each acceptance item with the tests that show it.
fn acceptance() -> String {
    let rows = ITEMS.iter().map(|(item, what)| {
        let tests: Vec<String> = tests_of(item)
            .into_iter()
            .map(|name| format!("`{name}`"))
            .collect();
        [(*item).to_owned(), (*what).to_owned(), tests.join("<br>")]
    });
    table(["item", "what must be shown", "shown by"], rows)
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head = head.map(str::to_owned);
    let rule = [(); N].map(|()| "---".to_owned());
    let rows: String = rows.map(|row| line(&row)).collect();
    format!("{}{}{rows}", line(&head), line(&rule))
}

/// The scopes an operation wants, the same of every way to say who one is; none for those that anybody
/// may ask.
fn scopes(operation: &Value) -> String {
    let wanted = operation["security"].as_array().into_iter().flatten();
    let names = wanted
        .take(1)
        .flat_map(|way| way.as_object().into_iter().flatten());
    let scopes: Vec<String> = names
        .flat_map(|(_, scopes)| scopes.as_array().into_iter().flatten())
        .filter_map(|scope| Some(format!("`{}`", scope.as_str()?)))
        .collect();
    scopes.join(", ")
}
