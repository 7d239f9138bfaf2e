//! The program's command line: settings are documented, and wrong ones refused all at once.

use std::process::{Command, Output};

use alipayhk_gateway::{config::variables::VARIABLES, http::openapi};

/// Runs the program with nothing but these settings.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alipayhk-gateway"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the program starts")
}

#[test]
fn the_long_help_lists_every_variable() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["migrate", "--help"],
    ] {
        let help = String::from_utf8(run(arguments, &[]).stdout).expect("text");
        for variable in VARIABLES {
            assert!(
                help.contains(variable.name),
                "{arguments:?}: {}",
                variable.name
            );
        }
    }
}

#[test]
fn serve_refuses_to_start_and_names_every_missing_variable() {
    let output = run(
        &["serve"],
        &[("DATABASE_URL", "mysql://u:hunter2@localhost")],
    );
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success());
    for name in [
        "DATABASE_URL",
        "ALIPAY_ENDPOINT",
        "ALIPAY_PARTNER",
        "ALIPAY_PRIVATE_KEY_FILE",
        "ALIPAY_PUBLIC_KEY_FILE",
        "SECRET_KEY_FILE",
    ] {
        assert!(error.contains(name), "{name} is missing from: {error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn openapi_prints_the_document() {
    let output = run(&["openapi"], &[]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        openapi::document::text()
    );
    let older = run(&["openapi", "--older"], &[]);
    assert_eq!(
        String::from_utf8_lossy(&older.stdout),
        openapi::document::text_3_0()
    );
}

#[test]
fn unknown_scopes_are_refused() {
    let arguments = [
        "api-key",
        "create",
        "--name",
        "till-1",
        "--scopes",
        "payments:write,all",
    ];
    let output = run(&arguments, &[]);
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(error.contains("no such scope"), "{error}");
}

#[test]
fn a_health_check_without_a_gateway_fails() {
    let output = run(
        &["healthcheck", "--url", "http://127.0.0.1:1/health/live"],
        &[],
    );
    assert!(!output.status.success());
}
