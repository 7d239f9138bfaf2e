//! No program that the tools start outlives its parent.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Starts `guard` in front of a shell script.
fn guard(options: &[&str], script: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_devtools"))
        .arg("guard")
        .args(options)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the guard starts")
}

/// Waits until the script has written its first line, so that its traps are set.
fn wait_for_first_line(guard: &mut Child) -> String {
    let mut line = String::new();
    let stdout = guard.stdout.take().expect("standard output is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)
        .expect("the script writes a line");
    line.trim().to_owned()
}

fn ends_within(guard: &mut Child, limit: Duration) -> ExitStatus {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = guard.try_wait().expect("the guard can be waited for") {
            return status;
        }
        assert!(Instant::now() < deadline, "the guard did not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_running(pid: &str) -> bool {
    Command::new("sh")
        .args(["-c", "kill -0 \"$1\" 2>/dev/null", "sh", pid])
        .status()
        .expect("sh runs")
        .success()
}

#[test]
fn a_guarded_program_stops_in_order_when_the_pipe_of_its_parent_closes() {
    let dir = std::env::temp_dir().join(format!("guard-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let stopped = dir.with_extension("stopped");
    let script = format!(
        "trap 'echo yes > {}; exit 0' TERM; echo $$; while :; do sleep 0.05; done",
        stopped.display()
    );
    let mut guard = guard(&["--remove", dir.to_str().unwrap()], &script);
    let pid = wait_for_first_line(&mut guard);
    assert!(is_running(&pid));

    drop(guard.stdin.take());

    assert!(ends_within(&mut guard, Duration::from_secs(10)).success());
    assert!(!is_running(&pid));
    assert!(stopped.exists(), "the program was killed instead of asked");
    assert!(
        !dir.exists(),
        "what belonged to the program was not removed"
    );
    std::fs::remove_file(stopped).unwrap();
}

#[test]
fn a_guarded_program_that_does_not_stop_is_killed_after_its_grace() {
    let script = "trap '' TERM; echo $$; while :; do sleep 0.05; done";
    let mut guard = guard(&["--grace-seconds", "1"], script);
    let pid = wait_for_first_line(&mut guard);

    drop(guard.stdin.take());

    assert!(ends_within(&mut guard, Duration::from_secs(10)).success());
    assert!(!is_running(&pid));
}

#[test]
fn the_guard_ends_with_the_code_of_its_program() {
    let mut guard = guard(&[], "exit 7");
    assert_eq!(
        ends_within(&mut guard, Duration::from_secs(10)).code(),
        Some(7)
    );
}
