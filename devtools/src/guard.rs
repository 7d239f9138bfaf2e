//! The guard: a small process between `devtools` and each program it starts (`devtools guard -- PROGRAM`).
//!
//! The contract: the program lives no longer than whoever holds the other end of the guard's standard input.
//! When that pipe closes (an orderly stop, a crash, `kill -9`: the kernel closes it in every case) the guard asks the
//! program to stop, waits, and only then kills it. So stopping in order and dying with the parent are one mechanism, and no
//! process is ever found by name. The guard has a process group of its own: a Ctrl-C of the terminal
//! reaches only `devtools`, which then stops its programs in the right order.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How the guarded program is started and stopped.
#[derive(Debug, clap::Args)]
pub(super) struct GuardArgs {
    /// Signal that asks the program to stop, as `kill` names it
    #[arg(long, default_value = "TERM")]
    pub(super) signal: String,
    /// Seconds the program has for stopping before it is killed
    #[arg(long, default_value_t = 20)]
    pub(super) grace_seconds: u64,
    /// Run the program as this user id
    #[arg(long, requires = "gid")]
    pub(super) uid: Option<u32>,
    /// Run the program as this group id
    #[arg(long)]
    pub(super) gid: Option<u32>,
    /// Remove this directory once the program has stopped
    #[arg(long)]
    pub(super) remove: Option<PathBuf>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub(super) command: Vec<OsString>,
}

/// Runs the program until it ends or standard input does. The exit code is the program's, or 0 where it was asked to stop.
pub(super) async fn guard(args: GuardArgs) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = spawn(&args)?;
    // Held open until the program has ended: programs that watch their standard input see us go, too.
    let stdin = child.stdin.take();
    let released = released();

    let exit = tokio::select! {
        status = child.wait() => ExitCode::from(exit_code(status?)),
        _ = released => stop(&args, &mut child).await,
        _ = terminate.recv() => stop(&args, &mut child).await,
    };
    drop(stdin);
    if let Some(dir) = &args.remove {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(exit)
}

fn spawn(args: &GuardArgs) -> anyhow::Result<Child> {
    let (program, arguments) = args.command.split_first().context("no program to guard")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    if let (Some(uid), Some(gid)) = (args.uid, args.gid) {
        // As root this also drops the supplementary groups (std does so together with the user id).
        command.uid(uid).gid(gid);
    }
    command
        .spawn()
        .with_context(|| format!("cannot start {}", program.to_string_lossy()))
}

/// Resolves when the other end of standard input is closed.
///
/// A plain thread, since a blocked read on tokio's standard input would keep the runtime from ending.
fn released() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = sender.send(());
    });
    receiver
}

async fn stop(args: &GuardArgs, child: &mut Child) -> ExitCode {
    if let Some(pid) = child.id() {
        send_signal(&args.signal, pid).await;
    }
    let grace = Duration::from_secs(args.grace_seconds);
    if tokio::time::timeout(grace, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
    ExitCode::SUCCESS
}

/// Sends a signal by the shell's built-in `kill`: the system call itself would need `unsafe`, and
/// `/bin/kill` is not installed everywhere. The process is our own unreaped child, so the id cannot be another's.
pub(super) async fn send_signal(signal: &str, pid: u32) {
    let _ = Command::new("sh")
        .args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
}

/// The code a shell would report: 128 + n for a program that died by signal n.
pub(super) fn exit_code(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
