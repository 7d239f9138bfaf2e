//! The README's tables are what the programs say. `UPDATE=1` rewrites them.

use std::fs;

use alipayhk_gateway::{config::variables::VARIABLES, http::openapi};
use serde_json::Value;

use crate::acceptance::{ITEMS, tests_of};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "UPDATE=1 is said to the test, not to the program"
)]
fn the_tables_are_current() {
    let mut readme = readme();
    for (name, table) in [
        ("routes", routes()),
        ("scenarios", scenarios()),
        ("configuration", configuration()),
        ("acceptance", acceptance()),
    ] {
        readme = with_section(&readme, name, &table);
    }
    if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
        fs::write(PATH, &readme).expect("README.md is writable");
    }
    assert!(
        readme == self::readme(),
        "a table of README.md is out of date: run the tests with UPDATE=1 and commit the change"
    );
}

#[test]
fn a_table_that_differs_is_replaced_and_the_rest_is_kept() {
    let page = "a\n<!-- x:begin (how) -->\nold\n<!-- x:end -->\nb\n";
    let expected = "a\n<!-- x:begin (how) -->\nnew\n<!-- x:end -->\nb\n";
    assert_eq!(with_section(page, "x", "new\n"), expected);
}

/// What a reader pastes must be there, and a link must lead somewhere.
#[test]
fn every_relative_link_leads_to_a_file() {
    let readme = readme();
    let links = readme.split("](").skip(1);
    let targets = links.filter_map(|rest| rest.split(')').next());
    for target in targets.filter(|target| !target.starts_with("http")) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
        assert!(
            path.exists(),
            "README.md links to {target}, which is missing"
        );
    }
}

/// The metrics, commands and steps the page names are there by these names.
#[test]
fn what_the_page_names_exists() {
    let (readme, dev) = (readme(), read("dev"));
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
    for command in named(&readme, "./dev ") {
        assert!(
            known(&command),
            "README.md names `./dev {command}`, which does not exist"
        );
    }
    let steps = dev
        .split("all_steps=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("dev lists its steps");
    for step in steps.split(' ') {
        assert!(
            readme.contains(&format!("| `{step}` |")),
            "README.md lacks the step {step}"
        );
    }
}

fn readme() -> String {
    read("README.md")
}

fn read(file: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
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
