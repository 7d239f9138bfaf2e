//! What no line of a log, no metric and no row may hold, looked for wherever a test looks at any: in
//! what the gateways in the test's process log, in what the programs write, in their metrics at their
//! end, in the database at the end of a world (`docs/invariants.md` Q14, Q15).
//!
//! Here things are known by their form, so that no test need say what is secret about it. The hunt in
//! `redaction` knows each by its value, and in disguise.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Mutex, Once, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use alipayhk_gateway::domain::text::is_deceptive;
use sqlx::PgPool;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio_util::task::TaskTracker;
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt as _};

use super::alipay::{MD5_KEY, keys};

/// What was found in this process, and where.
static FOUND: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// How many lines were looked at.
static LINES: AtomicU64 = AtomicU64::new(0);

/// How Alipay's answers and our keys begin, wherever they stand.
const MARKS: [(&str, &str); 6] = [
    (MD5_KEY, "the shared key"),
    ("<?xml", "raw XML"),
    ("<alipay>", "raw XML"),
    ("<is_success>", "raw XML"),
    ("BEGIN PRIVATE KEY", "a private key"),
    ("BEGIN RSA PRIVATE KEY", "a private key"),
];

/// What a text holds that nobody may read there.
fn secrets_in(text: &str) -> BTreeSet<&'static str> {
    let mut found: BTreeSet<&'static str> = MARKS
        .iter()
        .filter(|(mark, _)| text.contains(mark))
        .map(|(_, what)| *what)
        .collect();
    if key_lines().iter().any(|line| text.contains(line)) {
        found.insert("a private key");
    }
    let mut before = "";
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        // `0.2812345678901234` is how long something took.
        let is_fraction = before.ends_with('.')
            && before
                .trim_end_matches('.')
                .bytes()
                .all(|b| b.is_ascii_digit())
            && before.len() > 1;
        let is_code = (16..=24).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && ["25", "26", "27", "28", "29", "30"].contains(&&digits[..2]);
        if is_code && !is_fraction {
            found.insert("a scanned code");
        }
        before = word;
    }
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=_-".contains(c))) {
        if word.starts_with("ahk_") && word.len() > 40 {
            found.insert("an API key");
        }
        // RSA of 2048 bits; ids and hashes are far shorter.
        if word.len() >= 342 && word.ends_with('=') {
            found.insert("a signature");
        }
    }
    found
}

/// What a line would do to a terminal or to whoever reads it.
fn deceives(line: &str) -> bool {
    line.trim_end_matches('\n').chars().any(is_deceptive)
}

/// The lines of the private keys of both sides that no public key shares: all of them.
fn key_lines() -> &'static [String] {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    LINES.get_or_init(|| {
        let read = |name: &str| std::fs::read_to_string(keys().dir.join(name)).expect("a key");
        ["merchant_private_key.pem", "alipay_private_key.pem"]
            .into_iter()
            .flat_map(|name| {
                let text = read(name);
                // The first line names the algorithm, as in every such key.
                let lines = text.lines().filter(|line| line.len() == 64).skip(1);
                lines.map(str::to_owned).collect::<Vec<_>>()
            })
            .collect()
    })
}

/// Looks at a line of a log.
pub(crate) fn look_at_line(place: &str, line: &str) {
    LINES.fetch_add(1, Ordering::Relaxed);
    look_at(place, line);
    if deceives(line) {
        note(place, "a control character");
    }
}

/// Looks at a text.
pub(crate) fn look_at(place: &str, text: &str) {
    for what in secrets_in(text) {
        note(place, what);
    }
}

fn note(place: &str, what: &str) {
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found.insert(format!("{what} in {place}"));
}

/// Looks at every line that a program writes, and passes it on.
pub(crate) fn follow(
    place: &'static str,
    output: impl AsyncRead + Unpin + Send + 'static,
    mut pass_on: impl FnMut(String) + Send + 'static,
) {
    TaskTracker::new().spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            look_at_line(place, &line);
            pass_on(line);
        }
    });
}

/// From now on everything that is logged in this process is looked at, in the form that production has.
pub(crate) fn watch_this_process() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        // Others' words at `trace` are hunted in `redaction`; here they would only cost time.
        let filter = "info,alipayhk_gateway=trace,http=trace";
        let watched = watched("the gateway's log", filter).try_init();
        watched.expect("nobody else sets logging up");
        let before = LINES.load(Ordering::Relaxed);
        tracing::info!("what is logged here is looked at");
        assert!(LINES.load(Ordering::Relaxed) > before, "the log is watched");
    });
}

/// What looks at every event that the filter lets pass.
pub(crate) fn watched(place: &'static str, filter: &str) -> impl Subscriber + Send + Sync + use<> {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(move || Watched(place))
        .finish()
}

struct Watched(&'static str);

impl io::Write for Watched {
    /// Each event is written at once.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        look_at_line(self.0, &String::from_utf8_lossy(event));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was found so far.
fn found() -> BTreeSet<String> {
    FOUND.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Fails where something was found, unless the test fails already.
pub(crate) fn assert_none() {
    let found = found();
    assert!(
        found.is_empty() || std::thread::panicking(),
        "Q14, Q15: {found:?}"
    );
}

/// Every table of the schema as text.
pub(crate) async fn dump(pool: &PgPool) -> String {
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'public'")
            .fetch_all(pool)
            .await
            .expect("the database answers");
    assert!(tables.len() > 8, "{tables:?}");
    let rows: Vec<String> = tables
        .iter()
        .map(|table| format!("select '-- {table}' union all select t::text from \"{table}\" t"))
        .collect();
    let rows: Vec<Option<String>> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(rows.join(" union all ")))
            .fetch_all(pool)
            .await
            .expect("the database answers");
    let rows: Vec<String> = rows.into_iter().flatten().collect();
    rows.join("\n") + "\n"
}

#[test]
fn what_must_not_be_read_is_known_by_its_form() {
    let signature = format!("{}==", "aB3+/".repeat(68) + "xx");
    let key_line = key_lines()[3].clone();
    for (text, what) in [
        ("{\"a\":\"281234567890120001\"}", "a scanned code"),
        ("cannot cut 281234567890120001 in two", "a scanned code"),
        ("of a code.281234567890120001", "a scanned code"),
        (
            "ahk_5RDtg8w6CRiwImLJg580OtWlU6aNJk1LbapGxNlFuTc",
            "an API key",
        ),
        (&format!("sign={signature}&x"), "a signature"),
        (&format!("-----\n{key_line}\n"), "a private key"),
        ("<alipay><is_success>T</is_success></alipay>", "raw XML"),
        (&format!("text{MD5_KEY}"), "the shared key"),
    ] {
        let found = secrets_in(text);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [what], "{text}");
    }
    for text in [
        "28**************01",
        "ahk_5RDtg8",
        "2088000000000001",
        "0af7651916cd43dd8448eb211c80319c",
        "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
        "20260102220010041281234567",
        "2026-01-02T03:04:05.123456789Z",
        "http_request_duration_seconds_sum 0.2812345678901234",
        "alipay_call_duration_seconds_sum 12.3012345678901234567",
    ] {
        assert!(secrets_in(text).is_empty(), "{text}");
    }
    for line in ["a\nb", "\u{1b}[31m", "\u{9b}31m", "a\u{202e}b", "a\0"] {
        assert!(deceives(line), "{line:?}");
    }
    assert!(!deceives("{\"message\":\"a\\nb\"}\n"));
}
