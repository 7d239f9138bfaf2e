//! The program: what scripts rely on.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_alipay-simulator"))
}

#[test]
fn the_tables_of_scenarios_are_printed() {
    let output = program().arg("scenarios").output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        alipay_simulator::scenarios()
    );
}

#[test]
fn it_says_where_it_listens_answers_there_and_ends_with_its_parent() {
    let key = std::env::temp_dir().join(format!("simulator-{}.key", std::process::id()));
    std::fs::write(&key, "760bdzec6y9goq7ctyx96ezkz78287de").unwrap();
    let mut child = program()
        .args(["serve", "--listen", "127.0.0.1:0", "--exit-with-parent"])
        .args(["--partner", "2088000000000001", "--sign-type", "MD5"])
        .arg("--md5-key-file")
        .arg(&key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let url = line
        .strip_prefix("alipay-simulator listening on ")
        .unwrap()
        .trim();
    let healthy = program().args(["healthcheck", "--url", url]).status();
    assert!(healthy.unwrap().success());

    drop(child.stdin.take());

    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line on standard output");
    std::fs::remove_file(key).unwrap();
}
