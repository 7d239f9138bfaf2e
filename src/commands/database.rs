//! `alipayhk-gateway database verify`.

use anyhow::Context;
use serde_json::json;

use super::{Report, VerifyArgs};
use crate::{
    config::{DatabaseConfig, process_environment, variables},
    db::references::Dangling,
    startup::connect,
};

/// `alipayhk-gateway database ...`
#[derive(Debug, clap::Subcommand)]
pub enum DatabaseCommand {
    /// Check that every row leads to the rows it refers to; fails, naming the tables, where one does not. Reads
    /// whole tables: best run on a standby or a restored copy
    #[command(after_long_help = variables::help())]
    Verify(VerifyArgs),
}

/// Runs the command.
pub async fn run(command: DatabaseCommand) -> anyhow::Result<Report> {
    let DatabaseCommand::Verify(args) = command;
    let config = DatabaseConfig::read(process_environment)?;
    let db = connect(&config.database)?;
    let dangling = db
        .dangling_references()
        .await
        .context("the database could not be read")?;
    db.close().await;
    let is_intact = dangling.is_empty();
    Ok(args.report(is_intact, || as_json(&dangling), || in_words(&dangling)))
}

fn as_json(dangling: &[Dangling]) -> serde_json::Value {
    let found: Vec<_> = dangling
        .iter()
        .map(
            |found| json!({"table": found.table, "refers_to": found.refers_to, "rows": found.rows}),
        )
        .collect();
    json!({"intact": dangling.is_empty(), "dangling": found})
}

fn in_words(dangling: &[Dangling]) -> String {
    if dangling.is_empty() {
        return "every row leads to the rows it refers to\n".to_owned();
    }
    dangling
        .iter()
        .map(|found| {
            let Dangling {
                table,
                refers_to,
                rows,
            } = found;
            format!("{rows} rows of {table} refer to a {refers_to} that is not there\n")
        })
        .collect::<Vec<_>>()
        .concat()
}
