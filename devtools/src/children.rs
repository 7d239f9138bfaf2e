//! The programs `devtools` has started: each behind a [guard](super::guard), stopped in the reverse of their order.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{ChildStdin, Command};
use tokio::time::Instant;

/// How often something that is starting is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How many lines of a log are shown when a program failed.
const TAIL_LINES: usize = 15;
/// What a guard gets on top of the grace its program has.
const GUARD_MARGIN: Duration = Duration::from_secs(5);
/// What each program has for an orderly stop.
const GRACE: Duration = Duration::from_secs(20);

/// A program to start behind a guard.
#[derive(Debug)]
pub(super) struct Program {
    /// As in the lines the person reads.
    pub(super) name: &'static str,
    /// The program and its arguments.
    pub(super) command: Vec<OsString>,
    /// Added to the environment of `devtools`.
    pub(super) environment: Vec<(&'static str, OsString)>,
    /// The signal of an orderly stop, as `kill` names it.
    pub(super) stop_signal: &'static str,
    /// User and group to run as, where it is not our own.
    pub(super) owner: Option<(u32, u32)>,
    /// Where to run.
    pub(super) working_dir: Option<PathBuf>,
    /// Removed after the stop.
    pub(super) remove: Option<PathBuf>,
    /// Takes standard output and standard error; truncated at the start.
    pub(super) log: PathBuf,
}

/// A running program and the pipe that keeps it alive.
#[derive(Debug)]
pub(super) struct Running {
    name: &'static str,
    log: PathBuf,
    guard: tokio::process::Child,
    lifeline: Option<ChildStdin>,
}

/// All running programs, oldest first.
#[derive(Debug, Default)]
pub(super) struct Stack(Vec<Running>);

impl Stack {
    /// Starts a program. Nothing is awaited here, so a cancelled start cannot lose a running program.
    pub(super) fn start(&mut self, program: Program) -> anyhow::Result<&mut Running> {
        self.0.push(Running::spawn(program)?);
        self.0.last_mut().context("a program was just pushed")
    }

    /// The process of the newest program's guard.
    pub(super) fn newest_guard(&self) -> Option<u32> {
        self.0.last()?.guard.id()
    }

    /// Waits until one of the programs ends by itself, which none of them should.
    pub(super) async fn first_exit(&mut self) -> anyhow::Error {
        loop {
            for running in &mut self.0 {
                if let Some(error) = running.failure() {
                    return error;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits for the newest program, which has ended or is to end now, and forgets it.
    pub(super) async fn discard_newest(&mut self) {
        if let Some(running) = self.0.pop() {
            running.stop().await;
        }
    }

    /// Stops all programs, newest first, waiting for each.
    pub(super) async fn stop(&mut self) {
        while !self.0.is_empty() {
            self.discard_newest().await;
        }
    }
}

impl Running {
    fn spawn(program: Program) -> anyhow::Result<Self> {
        let log = open_log(&program.log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["guard", "--signal", program.stop_signal]);
        command.args(["--grace-seconds", &GRACE.as_secs().to_string()]);
        if let Some((uid, gid)) = program.owner {
            command.args(["--uid", &uid.to_string(), "--gid", &gid.to_string()]);
        }
        if let Some(dir) = &program.remove {
            command.arg("--remove").arg(dir);
        }
        if let Some(dir) = &program.working_dir {
            command.current_dir(dir);
        }
        command
            .arg("--")
            .args(program.command)
            .envs(program.environment);
        // A group of its own: see the guard's contract.
        command.process_group(0).stdin(Stdio::piped());
        command.stdout(log.try_clone()?).stderr(log);
        let mut guard = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.name))?;
        let lifeline = guard.stdin.take();
        Ok(Self {
            name: program.name,
            log: program.log,
            guard,
            lifeline,
        })
    }

    /// Polls `probe` until it yields something, the program ends, or `limit` has passed.
    pub(super) async fn ready<T>(
        &mut self,
        limit: Duration,
        mut probe: impl AsyncFnMut(&Path) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = probe(&self.log).await {
                return Ok(value);
            }
            if let Some(error) = self.failure() {
                return Err(error);
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} did not get ready within {} s\n{}",
                    self.name,
                    limit.as_secs(),
                    self.tail()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// An error where the program has ended.
    fn failure(&mut self) -> Option<anyhow::Error> {
        let status = self.guard.try_wait().ok().flatten()?;
        Some(anyhow::anyhow!(
            "{} ended ({})\n{}",
            self.name,
            describe(status),
            self.tail()
        ))
    }

    async fn stop(mut self) {
        drop(self.lifeline.take());
        let stopped = tokio::time::timeout(GRACE + GUARD_MARGIN, self.guard.wait()).await;
        if stopped.is_err() {
            let _ = self.guard.kill().await;
        }
    }

    fn tail(&self) -> String {
        tail(&self.log)
    }
}

/// Takes the settings of a real account at Alipay, which the person may have in the shell, out of a command's
/// environment: `devtools` must never use somebody's real keys.
pub(super) fn forget_real_account(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"ALIPAY_") {
            command.env_remove(name);
        }
    }
}

/// The end of a log, with its address, for an error message.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("--- end of {}\n{}\n---", log.display(), shown.join("\n"))
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

fn describe(status: ExitStatus) -> String {
    status.code().map_or_else(
        || "by a signal".to_owned(),
        |code| format!("exit code {code}"),
    )
}
