//! `alipayhk-gateway reconcile --fetch`.

use std::fmt::Write as _;

use anyhow::ensure;
use serde_json::{Value, json};

use super::{ReconcileArgs, Report, as_json};
use crate::{
    app::{
        App,
        reconciliation::{Fetched, FileOutcome},
    },
    commands::{json_line, somebody},
};

/// Fetches and tells: 0 where all that came agrees, 1 where something was in the way, 2 where files and
/// books differ.
pub(super) async fn run(app: &App, args: &ReconcileArgs) -> anyhow::Result<Report> {
    let partners: Vec<String> = match &args.account {
        Some(partner) => vec![partner.clone()],
        None => app
            .accounts()
            .iter()
            .filter(|(_, account)| account.sftp.is_some())
            .map(|(partner, _)| partner.clone())
            .collect(),
    };
    ensure!(
        !partners.is_empty(),
        "nothing says where daily files are: set SFTP_HOST, or [account.sftp] in the file of accounts"
    );
    let mut all = vec![];
    for partner in partners {
        let fetched = app.fetch_files_now(&partner, args.day, somebody()).await;
        all.push(fetched.unwrap_or_else(|refused| Fetched {
            partner,
            files: vec![],
            error: Some(format!("{:#}", anyhow::Error::from(refused))),
        }));
    }
    let text = if args.json {
        let all: Vec<Value> = all.iter().map(fetched_as_json).collect();
        json_line(&Value::Array(all))
    } else {
        all.iter().map(fetched_in_words).collect()
    };
    Ok(Report {
        text,
        // What was in the way counts for more than what differs: who sees 2 knows that all was compared.
        status: match all.iter().map(status).max() {
            _ if all.iter().any(|fetched| status(fetched) == 1) => 1,
            worst => worst.unwrap_or_default(),
        },
    })
}

/// How one account's fetch ends the program.
fn status(fetched: &Fetched) -> u8 {
    let failed = |(_, outcome): &(String, FileOutcome)| matches!(outcome, FileOutcome::Failed(_));
    if fetched.error.is_some() || fetched.files.iter().any(failed) {
        return 1;
    }
    let differs = |(_, outcome): &(String, FileOutcome)| match outcome {
        FileOutcome::Imported(done) => !done.report.agrees(),
        FileOutcome::Absent | FileOutcome::Unchanged | FileOutcome::Failed(_) => false,
    };
    if fetched.files.iter().any(differs) {
        2
    } else {
        0
    }
}

fn fetched_in_words(fetched: &Fetched) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for (name, outcome) in &fetched.files {
        let _ = match outcome {
            // What is not known to be missing is not called so.
            FileOutcome::Absent if fetched.error.is_some() => Ok(()),
            FileOutcome::Absent => writeln!(text, "{name}: is not there"),
            FileOutcome::Unchanged => {
                writeln!(text, "{name}: was imported before and is unchanged")
            }
            FileOutcome::Failed(why) => writeln!(text, "{name}: FAILED: {why}"),
            FileOutcome::Imported(done) => {
                let known = if done.is_replay {
                    "its content was known, "
                } else {
                    ""
                };
                writeln!(text, "{name}: {known}fetched")
                    .and_then(|()| write!(text, "{}", super::in_words(done, &[])))
            }
        };
    }
    if let Some(why) = &fetched.error {
        let _ = writeln!(text, "account {}: FAILED: {why}", fetched.partner);
    }
    text
}

fn fetched_as_json(fetched: &Fetched) -> Value {
    let files = fetched.files.iter().map(|(name, outcome)| {
        let (word, more) = match outcome {
            FileOutcome::Absent => ("absent", Value::Null),
            FileOutcome::Unchanged => ("unchanged", Value::Null),
            FileOutcome::Failed(why) => ("failed", json!(why)),
            FileOutcome::Imported(done) => ("imported", as_json(done)),
        };
        match outcome {
            FileOutcome::Failed(_) => json!({"name": name, "outcome": word, "error": more}),
            FileOutcome::Imported(_) => {
                json!({"name": name, "outcome": word, "reconciliation": more})
            }
            FileOutcome::Absent | FileOutcome::Unchanged => {
                json!({"name": name, "outcome": word})
            }
        }
    });
    json!({
        "partner": fetched.partner,
        "error": fetched.error,
        "files": files.collect::<Vec<_>>(),
    })
}
