//! The program itself: it stops in order, refuses to start with what cannot work, and makes keys.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    alipay::keys,
    http::{Caller, body},
    program::{Stage, gateway_command},
    proxy::Proxy,
};

/// C11: the stop lets what is under way finish and be recorded; readiness is false before anything
/// else, nothing new is taken, and the program ends with 0.
#[sqlx::test]
async fn c11_told_to_stop_it_finishes_what_is_under_way(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let mut gateway = stage.gateway(&[]).await;
    let till = stage.till(&gateway);
    assert_eq!(till.get("/health/ready").await.status, 200);
    // A probe whose request is under way when the stop comes.
    let mut probe = TcpStream::connect(gateway.address())
        .await
        .expect("accepted");
    let (first, rest) = ("GET /health/ready HTTP/1.1\r\n", "host: gateway\r\n\r\n");
    probe.write_all(first.as_bytes()).await.expect("sent");
    let delay = json!({"type": "delay", "ms": 1_000});
    stage.simulator.script("pay", 1, delay).await;
    let open = till.create("in-flight", &body("0001"), 0).await;
    assert_eq!(open.status, 202, "{open:?}");
    stage.until_received("pay", 1).await;

    gateway.terminate().await;
    gateway.logged("told to stop").await;
    probe.write_all(rest.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("not_ready"), "{answer}");
    assert!(
        TcpStream::connect(gateway.address()).await.is_err(),
        "nothing new is taken"
    );
    let status = gateway.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(stage.status().await, "succeeded", "recorded before the end");
    assert_eq!(stage.simulator.count("query").await, 0, "nobody had to ask");
    stage.finish().await;
}

/// C11: a caller who waits for an answer gets the current state instead of a broken line.
#[sqlx::test]
async fn c11_a_caller_who_waits_is_answered_when_the_program_stops(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let mut gateway = stage.gateway(&[]).await;
    let till = stage.till(&gateway);
    let open = till.create("waiting", &body("0102"), 0).await;
    let path = format!("/v1/payments/{}?wait=60", open.id());
    let started = Instant::now();
    let (waited, ()) = tokio::join!(till.get(&path), async {
        stage.until_received("query", 1).await;
        gateway.terminate().await;
    });
    assert_eq!(waited.summary("status"), (200, "processing"), "{waited:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
    let status = gateway.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
    stage.finish().await;
}

/// C11, C1: what hangs past the grace is cut, still with exit code 0, and another process finds the
/// truth.
#[sqlx::test]
async fn c11_c1_what_hangs_past_the_grace_is_cut_and_settled_by_another(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let mut gateway = stage
        .gateway(&[
            ("SHUTDOWN_GRACE_MS", "300"),
            ("FOLLOW_UP_FIRST_QUERY_MS", "3000"),
        ])
        .await;
    let hold = json!({"type": "hold"});
    stage.simulator.script("pay", 1, hold).await;
    let open = stage
        .till(&gateway)
        .create("hanging", &body("0001"), 0)
        .await;
    assert_eq!(open.status, 202, "{open:?}");
    stage.until_received("pay", 1).await;
    gateway.terminate().await;
    let status = gateway.ended(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(0));
    gateway.logged("did not finish in time").await;
    assert_eq!(stage.status().await, "processing");
    let second = stage.gateway(&[]).await;
    stage.until_status("succeeded").await;
    assert_eq!(stage.simulator.trades().await.len(), 1);
    second.stop().await;
    stage.finish().await;
}

/// C11: a visit that is cut hands its claim back: another process need not wait for the lease.
#[sqlx::test]
async fn c11_a_visit_that_is_cut_hands_its_lease_back(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let mut gateway = stage
        .gateway(&[
            ("SHUTDOWN_GRACE_MS", "300"),
            ("FOLLOW_UP_LEASE_MS", "120000"),
            ("ALIPAY_QUERY_TIMEOUT_MS", "30000"),
        ])
        .await;
    let hold = json!({"type": "hold"});
    stage.simulator.script("query", 1, hold).await;
    let open = stage.till(&gateway).pay_without_waiting("2003").await;
    assert_eq!(open.status, 202, "{open:?}");
    stage.until_received("query", 1).await;
    gateway.terminate().await;
    let status = gateway.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
    let second = stage.gateway(&[]).await;
    stage.until_status("succeeded").await;
    second.stop().await;
    stage.finish().await;
}

/// C11: a database that hangs does not keep the program from ending.
#[sqlx::test]
async fn c11_a_hanging_database_does_not_keep_the_program_alive(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let proxy = Proxy::start(&stage.pool.connect_options()).await;
    let through = stage.database_url(&proxy);
    let mut gateway = stage
        .gateway(&[("DATABASE_URL", &through), ("SHUTDOWN_GRACE_MS", "500")])
        .await;
    assert_eq!(stage.till(&gateway).pay("0001").await.status, 201);
    proxy.hang();
    gateway.terminate().await;
    let status = gateway.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
    stage.finish().await;
}

// ------------------------------------------------------------------------------------------------
// Starting.

/// Runs a command that ends by itself: exit code, standard output, standard error.
async fn run(arguments: &[&str], settings: &[(String, String)]) -> (Option<i32>, String, String) {
    let output = gateway_command(arguments, settings).output();
    let output = tokio::time::timeout(Duration::from_secs(20), output).await;
    let output = output.expect("it ends").expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn set(settings: &mut [(String, String)], name: &str, value: &str) {
    let setting = settings.iter_mut().find(|(known, _)| known == name);
    value.clone_into(&mut setting.expect("a known setting").1);
}

/// A directory of this test's own.
fn scratch(name: &str) -> PathBuf {
    let name = format!("{name}-{}", std::process::id());
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("a directory can be made");
    dir
}

fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).expect("a file can be written");
    path.display().to_string()
}

/// With keys that cannot work it refuses to start, and says which file is meant, but not what is in
/// it.
#[sqlx::test]
async fn wrong_keys_are_refused_and_the_file_is_named(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let dir = scratch("wrong-keys");
    let nonsense = write(&dir.join("nonsense.pem"), "c2VjcmV0LW5vbnNlbnNl\n");
    let public = keys().dir.join("merchant_public_key.pem");
    let private = keys().dir.join("merchant_private_key.pem");
    let missing = dir.join("missing.pem").display().to_string();
    let short = write(&dir.join("short.key"), "c2hvcnQ=");
    for (name, file) in [
        ("ALIPAY_PRIVATE_KEY_FILE", nonsense.clone()),
        ("ALIPAY_PRIVATE_KEY_FILE", missing.clone()),
        ("ALIPAY_PRIVATE_KEY_FILE", public.display().to_string()),
        ("ALIPAY_PUBLIC_KEY_FILE", nonsense.clone()),
        ("ALIPAY_PUBLIC_KEY_FILE", missing.clone()),
        ("ALIPAY_PUBLIC_KEY_FILE", private.display().to_string()),
        ("SECRET_KEY_FILE", missing),
        ("SECRET_KEY_FILE", short),
    ] {
        let mut settings = stage.settings();
        set(&mut settings, name, &file);
        let (code, _, error) = run(&["serve"], &settings).await;
        assert_eq!(code, Some(1), "{name}={file}: {error}");
        assert!(error.contains(&file), "{name}={file}: {error}");
        assert!(
            !error.contains("c2VjcmV0") && !error.contains("c2hvcnQ"),
            "{error}"
        );
        assert!(!error.contains("PRIVATE KEY-----"), "{error}");
    }
    std::fs::remove_dir_all(dir).expect("the directory can be removed");
    stage.finish().await;
}

/// Everything that is wrong is said at once.
#[sqlx::test]
async fn all_faults_of_the_configuration_are_reported_at_once(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let mut settings = stage.settings();
    let wrong = [
        ("HTTP_LISTEN", "nowhere"),
        ("ALIPAY_ENDPOINT", "not a url"),
        ("ALIPAY_PARTNER", "12"),
        ("FOLLOW_UP_FIRST_QUERY_MS", "soon"),
        ("DATABASE_MAX_CONNECTIONS", "0"),
        ("SECRET_KEY_FILE", ""),
    ];
    for (name, value) in wrong {
        set(&mut settings, name, value);
    }
    let (code, _, error) = run(&["serve"], &settings).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("6 fault(s)"), "{error}");
    for (name, _) in wrong {
        assert!(error.contains(name), "{name} is missing: {error}");
    }
    stage.finish().await;
}

/// `api-key create` prints the key as its last line, and the key works.
#[sqlx::test]
async fn a_made_api_key_is_printed_last_and_works(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let create = [
        "api-key",
        "create",
        "--name",
        "till-1",
        "--scopes",
        "payments:write,payments:read",
    ];
    let (code, output, error) = run(&create, &stage.settings()).await;
    assert_eq!(code, Some(0), "{error}");
    let key = output.lines().last().expect("a line");
    assert!(key.starts_with("ahk_") && key.len() > 40, "{output}");
    assert!(!error.contains(key), "it is printed once");
    let stored = "select count(*) from api_key where name = 'till-1'";
    let stored: Result<i64, _> = sqlx::query_scalar(stored).fetch_one(&stage.pool).await;
    assert_eq!(stored.expect("the database answers"), 1);
    let gateway = stage.gateway(&[]).await;
    let till = Caller::new(&gateway.url, key);
    let paid = till.pay("0001").await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    gateway.stop().await;
    stage.finish().await;
}

/// `keys generate` writes a set that a gateway starts with, tells where, and prints no key.
#[sqlx::test]
async fn generated_keys_are_good_enough_to_start_with(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let dir = scratch("generated");
    let keys = dir.join("keys");
    let path = keys.display().to_string();
    let generate = ["keys", "generate", "--dir", &path, "--with-alipay"];
    let (code, output, error) = run(&generate, &[]).await;
    assert_eq!(code, Some(0), "{error}");
    let written = output.lines().filter(|line| line.starts_with("wrote "));
    assert_eq!(written.count(), 5, "{output}");
    // What is to be registered stands there as the portal takes it.
    let public = std::fs::read_to_string(keys.join("merchant_public_key.pem")).expect("a key");
    let one_line: String = public
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    assert!(output.lines().any(|line| line == one_line), "{output}");
    assert!(output.contains("merchant_private_key.pem") && !output.contains("BEGIN"));
    let (code, _, error) = run(&generate, &[]).await;
    assert_eq!(code, Some(1), "never overwritten");
    assert!(error.contains("merchant_private_key.pem"), "{error}");
    let file = |name: &str| keys.join(name).display().to_string();
    let gateway = stage
        .gateway(&[
            ("ALIPAY_PRIVATE_KEY_FILE", &file("merchant_private_key.pem")),
            ("ALIPAY_PUBLIC_KEY_FILE", &file("alipay_public_key.pem")),
            ("SECRET_KEY_FILE", &file("secret.key")),
        ])
        .await;
    gateway.stop().await;
    std::fs::remove_dir_all(dir).expect("the directory can be removed");
    stage.finish().await;
}
