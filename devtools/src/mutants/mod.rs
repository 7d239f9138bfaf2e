//! `mutants`: is the proof itself any good? Each fault of `tests/mutants` is put into a copy of the tree, and the tests that
//! must catch it are run there. A fault that they let pass is reported, and ends the command with 1.
//!
//! Before that they must pass on the copy as it is, or their failure would prove nothing.

mod patch;
mod scratch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitCode, Output, Stdio};
use std::time::Instant;

use anyhow::{bail, ensure};
use tokio::process::Command;

use super::{Place, say};
use patch::{Catch, Mutant};

/// Which faults to try.
#[derive(Debug, clap::Args)]
pub(super) struct MutantsArgs {
    #[command(flatten)]
    place: Place,
    /// Print the faults, and try none
    #[arg(long)]
    list: bool,
    /// Root of the repository
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Names of the faults to try; all where none is given
    names: Vec<String>,
}

/// Where the copy is, and where it is built.
struct Workshop {
    root: PathBuf,
    place: Place,
    tree: PathBuf,
    target: PathBuf,
}

/// What became of a fault.
enum Verdict {
    Caught,
    Missed(String),
}

pub(super) async fn mutants(args: MutantsArgs) -> anyhow::Result<ExitCode> {
    let root = std::path::absolute(&args.root)?;
    let chosen = choose(Mutant::all(&root)?, &args.names)?;
    if args.list {
        for mutant in &chosen {
            say(&format!("{:<28} {}", mutant.name, mutant.sentence));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut place = args.place;
    place.state_dir = std::path::absolute(&place.state_dir)?;
    let state = place.state_dir.join("mutants");
    let workshop = Workshop {
        root,
        place,
        tree: state.join("tree"),
        target: state.join("target"),
    };
    say("building a copy without faults (a few minutes the first time)");
    workshop.sound(&chosen).await?;
    let mut missed = vec![];
    for (number, mutant) in (1..).zip(&chosen) {
        let begun = Instant::now();
        let verdict = workshop.try_out(mutant).await?;
        let took = begun.elapsed().as_secs();
        let place = format!("[{number}/{}] {}", chosen.len(), mutant.name);
        match verdict {
            Verdict::Caught => say(&format!("{place}: caught ({took} s)")),
            Verdict::Missed(why) => {
                say(&format!(
                    "{place}: MISSED ({took} s). {}\n{why}",
                    mutant.sentence
                ));
                missed.push(mutant.name.as_str());
            }
        }
    }
    // The next run begins where this one ends, with the least to build.
    scratch::lay_out(&workshop.root, &workshop.tree, &BTreeMap::new())?;
    let caught = chosen.len() - missed.len();
    say(&format!("{caught} of {} caught", chosen.len()));
    if missed.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        say(&format!("missed: {}", missed.join(" ")));
        Ok(ExitCode::FAILURE)
    }
}

fn choose(all: Vec<Mutant>, names: &[String]) -> anyhow::Result<Vec<Mutant>> {
    for name in names {
        if !all.iter().any(|mutant| mutant.name == *name) {
            bail!("no such fault: {name} (`--list` prints all)");
        }
    }
    let is_chosen = |mutant: &Mutant| names.is_empty() || names.contains(&mutant.name);
    Ok(all.into_iter().filter(is_chosen).collect())
}

impl Workshop {
    /// Demands that the tests pass without any fault.
    async fn sound(&self, mutants: &[Mutant]) -> anyhow::Result<()> {
        scratch::lay_out(&self.root, &self.tree, &BTreeMap::new())?;
        let built = self.build().await?;
        ensure!(
            built.status.success(),
            "it does not build:\n{}",
            text(&built)
        );
        let catches = mutants.iter().flat_map(|mutant| &mutant.caught_by);
        let ran = self.run(catches).await?;
        ensure!(ran.status.success(), "not without a fault:\n{}", text(&ran));
        Ok(())
    }

    async fn try_out(&self, mutant: &Mutant) -> anyhow::Result<Verdict> {
        scratch::lay_out(&self.root, &self.tree, &mutant.applied_to(&self.root)?)?;
        let built = self.build().await?;
        if !built.status.success() {
            return Ok(Verdict::Missed(format!(
                "It does not build:\n{}",
                text(&built)
            )));
        }
        for catch in &mutant.caught_by {
            let ran = self.run([catch]).await?;
            let output = text(&ran);
            let said = |invariant: &String| {
                let violation = format!("{invariant}: ");
                let mut lines = output.lines();
                lines.any(|line| line.trim_start().starts_with(&violation))
            };
            if ran.status.success() || !catch.invariants.iter().all(said) {
                let expected = catch.invariants.join(", ");
                let test = &catch.test;
                return Ok(Verdict::Missed(format!(
                    "{test} should have failed with {expected}:\n{output}"
                )));
            }
        }
        Ok(Verdict::Caught)
    }

    async fn build(&self) -> anyhow::Result<Output> {
        let mut command = Command::new("cargo");
        self.at_home(&mut command, &["--no-run"]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command.output().await?)
    }

    /// Runs tests with a database that has the copy's migrations.
    async fn run(&self, catches: impl IntoIterator<Item = &Catch>) -> anyhow::Result<Output> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("postgres");
        command.arg("--state-dir").arg(&self.place.state_dir);
        if let Some(bin) = &self.place.postgres_bin {
            command.arg("--postgres-bin").arg(bin);
        }
        command.arg("--template").arg(self.tree.join("migrations"));
        command.args(["--", "cargo"]);
        self.at_home(&mut command, &["--", "--exact"]);
        command.args(catches.into_iter().map(|catch| &catch.test));
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command.output().await?)
    }

    /// `cargo test` of the copy, built into a directory of its own.
    fn at_home(&self, command: &mut Command, more: &[&str]) {
        command
            .args(["test", "--locked", "--quiet", "--workspace"])
            .args(["--features", "failpoints", "--test", "it"])
            .args(more)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("RUST_BACKTRACE", "0");
    }
}

fn text(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    format!("{out}{err}")
}
