//! `alipayhk-gateway reconcile`.

mod fetch;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use chrono::NaiveDate;
use serde_json::json;

use super::{Report, somebody};
use crate::{
    alipay::files::progress::{ProgressLine, on_terminal},
    app::reconciliation::{Order, Reconciled, StagedFile, Watch},
    config::{Config, process_environment, variables},
    domain::{
        access::principal::TenantScope,
        reconciliation::{Difference, DifferenceFilter, Source, csv, statement},
    },
    startup::for_command,
};

/// How many differences and faults are shown in words.
const SHOWN: u16 = 20;

/// Which files, and how to tell what they say.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
#[derive(Debug, clap::Args)]
#[command(after_long_help = variables::help())]
pub struct ReconcileArgs {
    /// Alipay's daily files of one account, by their names at Alipay
    #[arg(required_unless_present = "fetch")]
    files: Vec<PathBuf>,
    /// Fetch the files from Alipay's SFTP server now, and reconcile what is new or changed
    #[arg(long, conflicts_with_all = ["files", "dry_run", "other_layouts", "csv", "html"])]
    fetch: bool,
    /// With --fetch: the files of this day alone; of the last days where it is left out
    #[arg(long, requires = "fetch", value_name = "YYYY-MM-DD")]
    day: Option<NaiveDate>,
    /// With --fetch: of this Alipay account; of every account that has a server where it is left out
    #[arg(long, requires = "fetch", value_name = "PARTNER")]
    account: Option<String>,
    /// Change nothing: tell what would differ
    #[arg(long)]
    dry_run: bool,
    /// Take the layouts of Alipay's other products too
    #[arg(long)]
    other_layouts: bool,
    /// One line of JSON
    #[arg(long)]
    json: bool,
    /// Write every difference to this file, for a spreadsheet
    #[arg(long, value_name = "OUT")]
    csv: Option<PathBuf>,
    /// Write a statement to print to this file
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,
}

/// Runs the command: 0 where all agrees, 1 for an error, 2 where files and books differ.
pub async fn run(args: ReconcileArgs) -> anyhow::Result<Report> {
    let config = Config::read(process_environment)?;
    let app = for_command(&config)?;
    if args.fetch {
        let report = fetch::run(&app, &args).await;
        app.close().await;
        return report;
    }
    let order = Order {
        source: Source::CommandLine,
        by: somebody(),
        dry_run: args.dry_run,
        other_layouts: args.other_layouts,
        kept_of_dry_run: if args.csv.is_some() {
            usize::MAX
        } else {
            usize::from(statement::MOST_DIFFERENCES)
        },
    };
    let files = args.files.iter().map(|path| StagedFile::at(path)).collect();
    let done = app.reconcile(files, order, watch()).await?;
    let shown = match done.report.item.id {
        None => done.differences.clone(),
        Some(id) => app
            .list_differences(
                TenantScope::Operator,
                id,
                DifferenceFilter::default(),
                None,
                SHOWN,
            )
            .await?
            .map(|page| page.items)
            .unwrap_or_default(),
    };
    if let Some(path) = &args.csv {
        let text = match done.report.item.id {
            None => csv::of(&done.differences),
            Some(id) => app
                .differences_as_csv(TenantScope::Operator, id, DifferenceFilter::default())
                .await?
                .unwrap_or_default(),
        };
        write(path, &text)?;
    }
    if let Some(path) = &args.html {
        let text = match done.report.item.id {
            None => statement::page(&done.report, &done.differences, done.are_all),
            Some(id) => app
                .statement(TenantScope::Operator, id)
                .await?
                .unwrap_or_default(),
        };
        write(path, &text)?;
    }
    app.close().await;
    let text = if args.json {
        super::json_line(&as_json(&done))
    } else {
        in_words(&done, &shown)
    };
    // Differences are told apart from errors.
    let status = if done.report.agrees() { 0 } else { 2 };
    Ok(Report { text, status })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// One line per file on a terminal.
fn watch() -> Option<Watch> {
    let line: std::sync::Mutex<Option<(String, ProgressLine<std::io::Stderr>)>> =
        std::sync::Mutex::new(None);
    on_terminal("", None)?;
    Some(Box::new(move |name, size, progress| {
        let Ok(mut line) = line.lock() else { return };
        if line.as_ref().is_none_or(|(of, _)| of != name) {
            if let Some((_, line)) = line.take() {
                line.clear();
            }
            *line = on_terminal(name, Some(size)).map(|shown| (name.to_owned(), shown));
        }
        if let Some((_, line)) = line.as_mut() {
            line.show(progress);
        }
    }))
}

fn as_json(done: &Reconciled) -> serde_json::Value {
    let item = &done.report.item;
    json!({
        "id": item.id.map(|id| id.to_string()),
        "partner": item.partner,
        "agrees": item.agrees(),
        "replayed": done.is_replay,
        "open_differences": item.open,
        "differences": item.counts.iter()
            .map(|(class, count)| (class.as_str(), *count))
            .collect::<std::collections::BTreeMap<_, _>>(),
        "files": item.files.iter().map(|file| json!({
            "name": file.name,
            "version": file.version,
            "rows": file.rows,
            "matched": file.matched,
            "faults": file.faults,
            "warnings": file.warnings,
        })).collect::<Vec<_>>(),
    })
}

fn in_words(done: &Reconciled, differences: &[Difference]) -> String {
    let item = &done.report.item;
    let mut text = String::new();
    // Writing to a String cannot fail.
    for file in &item.files {
        let _ = writeln!(
            text,
            "{}: {} rows, {} agree with the books, {} could not be read",
            file.name, file.rows, file.matched, file.faults
        );
        for warning in &file.warnings {
            let _ = writeln!(text, "  warning: {warning}");
        }
    }
    for fault in done.report.faults.iter().take(SHOWN.into()) {
        let column = fault.column.as_deref().map(|column| format!(", {column}"));
        let _ = writeln!(
            text,
            "  {}, line {}{}: {}",
            fault.file_name,
            fault.line,
            column.unwrap_or_default(),
            fault.reason
        );
    }
    for (class, count) in &item.counts {
        let _ = writeln!(text, "{count} {}", class.as_str());
    }
    for difference in differences.iter().take(SHOWN.into()) {
        let line = difference.line.map(|line| format!(" line {line}"));
        let _ = writeln!(
            text,
            "  {}{}: {} {} of {}: expected {}, found {}",
            difference.class.as_str(),
            line.unwrap_or_default(),
            difference.row_type.as_str(),
            difference.partner_trans_id.as_deref().unwrap_or("-"),
            difference.amount,
            difference.expected.as_deref().unwrap_or("-"),
            difference.found.as_deref().unwrap_or("-"),
        );
    }
    let _ = match (item.agrees(), item.id) {
        (true, Some(id)) => writeln!(text, "all agrees ({id})"),
        (false, Some(id)) => writeln!(text, "{} differences are open ({id})", item.open),
        (true, None) => writeln!(text, "all would agree; nothing was changed"),
        (false, None) => writeln!(text, "{} differences; nothing was changed", item.open),
    };
    text
}
