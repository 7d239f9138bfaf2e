//! The architecture page (`src/lib.rs`) holds: who imports whom, where SQL is, what computes a state.
//!
//! The rules look at the text of the sources with comments and literals blanked, which is enough to
//! catch what happens by accident. Each rule is also shown a source that breaks it.

mod circles;
mod documents;
mod merchants;
mod migrations;
mod secrets;
mod source;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use alipayhk_gateway::domain::follow_ups::schedule::Subject;

use source::{Source, is_word};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Things that only some modules may mention, and why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("sqlx::", &["db"], "SQL is in `db` alone"),
    ("query!(", &["db"], "SQL is in `db` alone"),
    ("query_as!(", &["db"], "SQL is in `db` alone"),
    ("query_scalar!(", &["db"], "SQL is in `db` alone"),
    (
        ".begin()",
        &[],
        "a use case is one statement: no transaction",
    ),
    (
        ".begin_with(",
        &[],
        "a use case is one statement: no transaction",
    ),
    (
        "Transaction<",
        &[],
        "a use case is one statement: no transaction",
    ),
    (
        "PgTransaction",
        &[],
        "a use case is one statement: no transaction",
    ),
    (
        ".apply(",
        &["domain", "app"],
        "only `apply` computes a state",
    ),
    (
        "PaymentEvent::",
        &["domain", "app"],
        "what happened to a payment is said by `app`",
    ),
    (
        "axum::",
        &["http", "startup"],
        "HTTP towards callers is in `http` alone",
    ),
    (
        "StatusCode",
        &["http", "alipay", "oidc"],
        "`app` knows no status codes",
    ),
    (
        "reqwest::",
        &["alipay", "oidc"],
        "`alipay` alone calls out, and `oidc` to the issuer",
    ),
    (
        "jsonwebtoken::",
        &["oidc"],
        "tokens are read in `oidc` alone",
    ),
    ("quick_xml::", &["alipay"], "XML is in `alipay` alone"),
    (
        "tokio::",
        &[
            "alipay",
            "app",
            "db",
            "failpoint",
            "http",
            "jobs",
            "main",
            "oidc",
            "shutdown",
            "startup",
        ],
        "`domain` and the leaves do no I/O and never wait",
    ),
];

#[test]
fn modules_import_only_what_the_architecture_page_allows() {
    let allowed = allowed();
    assert_none(&every_source(|source| imports(source, &allowed)));
}

#[test]
fn sql_calls_out_and_states_stay_where_they_belong() {
    assert_none(&every_source(reserved));
}

/// Cargo holds the packages apart, as long as no manifest asks for the gateway.
#[test]
fn the_simulator_and_the_tools_share_no_code_with_the_gateway() {
    for package in ["simulator", "devtools"] {
        let manifest = Path::new(ROOT).join(package).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("a manifest is readable");
        assert!(!manifest.contains("alipayhk-gateway"), "{package}");
    }
}

#[test]
fn every_statement_runs_under_a_deadline() {
    assert_none(&every_source(unbounded));
    let beside = Source::new(
        "src/db/payments/record.rs",
        "query.fetch_one(&self.pool).await",
    );
    assert_eq!(unbounded(&beside).len(), 1);
}

#[test]
fn the_architecture_page_lists_every_module() {
    let listed: Vec<String> = allowed().into_keys().collect();
    let mut present: Vec<String> = fs::read_dir(Path::new(ROOT).join("src"))
        .expect("src is readable")
        .map(|entry| entry.expect("an entry is readable").path())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .filter(|name| !["lib", "main"].contains(&name.as_str()))
        .collect();
    present.sort();
    assert_eq!(listed, present);
}

/// A new kind of job is its own folder, its line in `app::job::register` and a migration.
#[test]
fn neither_the_workers_nor_the_schedule_names_a_kind_of_job() {
    let mut paths = vec![];
    for folder in ["src/jobs", "src/db/follow_ups"] {
        collect(&Path::new(ROOT).join(folder), &mut paths);
    }
    assert!(paths.len() > 4, "only {} sources were found", paths.len());
    for path in paths {
        let text = fs::read_to_string(&path).expect("a source is readable");
        for kind in Subject::KINDS {
            for quoted in [format!("'{kind}'"), format!("\"{kind}\"")] {
                assert!(!text.contains(&quoted), "{}: {quoted}", path.display());
            }
        }
    }
}

/// A name that an enum gains must not be forgotten in the document.
#[test]
fn growing_names_of_the_document_are_those_of_the_code() {
    let mut paths = vec![];
    collect(&Path::new(ROOT).join("src/http"), &mut paths);
    for path in paths {
        let text = fs::read_to_string(&path).expect("a source is readable");
        let is_literal = text.contains("\"x-extensible-enum\" = json!([\"");
        assert!(!is_literal, "{}", path.display());
    }
}

#[test]
fn an_import_against_the_table_is_found_however_it_is_written() {
    for (path, text) in [
        ("src/domain/payments/payment.rs", "use crate::db::Db;"),
        (
            "src/db/payments/intent.rs",
            "use crate::{\n    domain::{id::PaymentId},\n    alipay::client::Alipay,\n};",
        ),
        ("src/http/health.rs", "fn live() { crate::db::ping(); }"),
        ("src/http/health.rs", "use crate::{app::App, alipay};"),
        ("src/alipay/mod.rs", "pub use super::app::App;"),
        ("src/alipay/xml.rs", "use super::super::db;"),
        ("src/clock.rs", "use super::config;"),
        ("src/jobs/worker.rs", "use crate::alipay::client::Alipay;"),
    ] {
        let found = imports(&Source::new(path, text), &allowed());
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    }
}

#[test]
fn what_is_allowed_or_only_spoken_of_is_no_violation() {
    for (path, text) in [
        ("src/domain/mod.rs", "//! The SQL layer is [`crate::db`]."),
        (
            "src/domain/payments/payment.rs",
            "/* see crate::db */ use crate::domain::id;",
        ),
        (
            "src/db/payments/record.rs",
            "use super::{Db, error::Error}; use crate::domain::id;",
        ),
        (
            "src/domain/id.rs",
            r#"const S: &str = "crate::db and \" sqlx::";"#,
        ),
        (
            "src/domain/id.rs",
            "const Q: char = '\"'; fn f<'a>(x: &'a str) -> &'a str { x }",
        ),
        (
            "src/app/payments/create.rs",
            "use crate::{alipay::client::Alipay, db::Db};",
        ),
        (
            "src/app/payments/follow_up.rs",
            "self.begin(payment, fence).await",
        ),
    ] {
        let source = Source::new(path, text);
        let mut found = imports(&source, &allowed());
        found.extend(reserved(&source));
        assert!(found.is_empty(), "{path}: {text}: {found:?}");
    }
}

#[test]
fn a_reserved_word_elsewhere_is_found() {
    for (path, text) in [
        ("src/http/health.rs", "sqlx::query(\"select 1\")"),
        ("src/app/payments/read.rs", "query!(\"select 1\")"),
        (
            "src/app/payments/read.rs",
            "sqlx_macros::query_as!(Row, \"select 1\")",
        ),
        (
            "src/db/payments/record.rs",
            "let tx = self.pool.begin().await?;",
        ),
        (
            "src/db/payments/record.rs",
            "fn f(tx: &mut Transaction<'_, Postgres>) {}",
        ),
        ("src/http/payments/create.rs", "payment.apply(&event, now)"),
        ("src/jobs/worker.rs", "let event = PaymentEvent::Paid;"),
        ("src/app/payments/read.rs", "use axum::Json;"),
        ("src/app/error.rs", "fn status(&self) -> StatusCode {}"),
        ("src/http/barcodes.rs", "reqwest::get(url)"),
        ("src/db/mod.rs", "use quick_xml::Reader;"),
        ("src/http/extract/caller.rs", "jsonwebtoken::decode(token)"),
        (
            "src/domain/payments/payment.rs",
            "tokio::time::sleep(pause).await",
        ),
    ] {
        let found = reserved(&Source::new(path, text));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    }
}

/// The table of the architecture page.
fn allowed() -> BTreeMap<String, Vec<String>> {
    let page = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).expect("lib.rs is readable");
    let allowed: BTreeMap<_, _> = page
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`")?.split_once("`]"))
        .map(|(module, rest)| {
            let cells: Vec<&str> = rest.split('|').collect();
            let imports = cells.get(2).copied().unwrap_or_default();
            let names = imports.split('`').skip(1).step_by(2);
            (module.to_owned(), names.map(str::to_owned).collect())
        })
        .collect();
    assert!(allowed.len() > 5, "the table of src/lib.rs was not found");
    allowed
}

/// Imports of other modules of the library that the table does not allow.
fn imports(source: &Source, allowed: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let Some(may) = allowed.get(&source.module) else {
        // The library's page and the programs may name everything.
        return vec![];
    };
    let mut found = vec![];
    for (offset, start) in source.roots() {
        for name in source::heads(&source.code[start..]) {
            if name != source.module && allowed.contains_key(name) && !may.iter().any(|m| m == name)
            {
                found.push(source.at(offset, &format!("{} imports {name}", source.module)));
            }
        }
    }
    found
}

/// Where an import that changes nothing is rolled back: the one transaction, and the reason for it.
const DRY_RUN: &str = "src/db/reconciliation/mod.rs";
const NO_TRANSACTION: &str = "a use case is one statement: no transaction";

/// Reserved words where they do not belong.
fn reserved(source: &Source) -> Vec<String> {
    let mut found = vec![];
    for (text, modules, why) in RESERVED {
        let is_dry_run = *why == NO_TRANSACTION && source.at(0, "").starts_with(DRY_RUN);
        if is_dry_run || modules.contains(&source.module.as_str()) {
            continue;
        }
        for (offset, _) in source.code.match_indices(text) {
            let part_of_word =
                text.starts_with(is_word) && source.code[..offset].ends_with(is_word);
            if !part_of_word {
                found.push(source.at(offset, &format!("{text} in {}: {why}", source.module)));
            }
        }
    }
    found
}

/// Statements that run anywhere but in `db::run`, where their deadlines are. The schema and the rights
/// to it have none, and a dry run is bounded where it is.
fn unbounded(source: &Source) -> Vec<String> {
    const EXEMPT: [&str; 4] = [
        "src/db/run.rs",
        "src/db/roles.rs",
        "src/db/references.rs",
        DRY_RUN,
    ];
    let place = source.at(0, "");
    if source.module != "db" || EXEMPT.iter().any(|path| place.starts_with(path)) {
        return vec![];
    }
    [
        ".fetch_one(",
        ".fetch_optional(",
        ".fetch_all(",
        ".execute(",
    ]
    .iter()
    .flat_map(|text| source.code.match_indices(text))
    .map(|(offset, text)| source.at(offset, &format!("{text}: run it in a lane of `db::run`")))
    .collect()
}

/// What a rule finds in every source file of the gateway.
fn every_source(rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    every_source_in(&["src"], rule)
}

fn every_source_in(folders: &[&str], mut rule: impl FnMut(&Source) -> Vec<String>) -> Vec<String> {
    let mut paths = vec![];
    for folder in folders {
        collect(&Path::new(ROOT).join(folder), &mut paths);
    }
    assert!(paths.len() > 40, "only {} sources were found", paths.len());
    paths
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(path).expect("a source is readable");
            let name = path.strip_prefix(ROOT).expect("sources are below the root");
            rule(&Source::new(&name.to_string_lossy(), &text))
        })
        .collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a source directory is readable") {
        let path = entry.expect("an entry is readable").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "{}", found.join("\n"));
}
