//! `alipayhk-gateway audit verify`.

use anyhow::Context;
use serde_json::json;

use super::{Report, VerifyArgs};
use crate::{
    app::audit::{Checked, check},
    config::{DatabaseConfig, process_environment, variables},
    startup::connect,
};

/// `alipayhk-gateway audit ...`
#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// Check that no entry of the audit log was changed, removed or added since it was written; fails,
    /// naming the first one, where one was
    #[command(after_long_help = variables::help())]
    Verify(VerifyArgs),
}

/// Runs the command.
pub async fn run(command: AuditCommand) -> anyhow::Result<Report> {
    let AuditCommand::Verify(args) = command;
    let config = DatabaseConfig::read(process_environment)?;
    let db = connect(&config.database)?;
    let checked = check(&db)
        .await
        .context("the audit log could not be read")?;
    db.close().await;
    let is_intact = checked.broken.is_none();
    Ok(args.report(is_intact, || as_json(&checked), || in_words(&checked)))
}

fn as_json(checked: &Checked) -> serde_json::Value {
    json!({
        "intact": checked.broken.is_none(),
        "entries": checked.entries,
        "hash": hex::encode(&checked.hash),
        "broken": checked.broken.map(|broken| json!({
            "entry_no": broken.entry_no,
            "kind": broken.kind.as_str(),
        })),
    })
}

fn in_words(checked: &Checked) -> String {
    let entries = checked.entries;
    match checked.broken {
        None if entries == 0 => "the audit log is intact: it has no entries\n".to_owned(),
        None => format!(
            "the audit log is intact: {entries} entries; the last one's hash is\n{}\n\
             Keep that number and hash elsewhere: they prove later that nothing before them changed.\n",
            hex::encode(&checked.hash)
        ),
        Some(broken) => format!(
            "the audit log is NOT intact: entry {}: {} ({})\n{entries} entries before it are as they were written\n",
            broken.entry_no,
            broken.kind.meaning(),
            broken.kind.as_str(),
        ),
    }
}
