//! The real program as a child process, with the machine's clock everywhere: to be killed, to be told
//! to stop, to be started again.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alipayhk_gateway::domain::accounts::signing::SignType;
use alipayhk_gateway::{
    db::Db,
    domain::access::principal::{Scope, TenantScope},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use serde_json::Value;
use sqlx::{ConnectOptions as _, PgPool, postgres::PgConnectOptions};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{
    PARTNER, SECRET,
    alipay::{Simulator, client, keys},
    api_key, assert_invariants, assert_nothing_leaked, default_merchant, eventually,
    http::Caller,
    leaks,
    proxy::Proxy,
    roles::as_service,
};

/// Quick follow-ups, so that a test need not wait for minutes; a lease is as short as the calls'
/// deadlines allow.
const QUICK: &[(&str, &str)] = &[
    ("FOLLOW_UP_FIRST_QUERY_MS", "700"),
    ("FOLLOW_UP_QUERY_INTERVAL_MS", "200"),
    ("FOLLOW_UP_POLL_INTERVAL_MS", "50"),
    ("FOLLOW_UP_LEASE_MS", "1500"),
    ("ALIPAY_QUERY_TIMEOUT_MS", "500"),
    ("ALIPAY_CANCEL_TIMEOUT_MS", "500"),
    ("ALIPAY_REFUND_TIMEOUT_MS", "500"),
    ("DATABASE_MAX_CONNECTIONS", "4"),
];

/// A database, a simulator and a caller, for programs to come and go.
pub(crate) struct Stage {
    pub(crate) pool: PgPool,
    pub(crate) simulator: Simulator,
    /// As the service's role.
    connect: PgConnectOptions,
    db: Db,
    key: String,
}

impl Stage {
    /// An empty database with the default merchant, and a simulator on the machine's clock.
    pub(crate) async fn set(pool: PgPool) -> Self {
        let merchant_id = default_merchant(&pool).await;
        let connect = as_service(&pool).await;
        let db = Db::with_options(connect.clone(), 2);
        let scopes = [Scope::PaymentsWrite, Scope::PaymentsRead];
        let key = api_key(&db, TenantScope::Merchant(merchant_id), &scopes).await;
        Self {
            simulator: Simulator::start(None, SignType::Rsa2).await,
            key,
            connect,
            db,
            pool,
        }
    }

    /// What the program needs to start here.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let keys = &keys().dir;
        let path = |name: &str| keys.join(name).display().to_string();
        let mut settings: Vec<(String, String)> = QUICK
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        for (name, value) in [
            ("HTTP_LISTEN", "127.0.0.1:0".to_owned()),
            ("DATABASE_URL", self.connect.to_url_lossy().to_string()),
            ("ALIPAY_ENDPOINT", self.simulator.endpoint().to_string()),
            ("ALIPAY_PARTNER", PARTNER.to_owned()),
            ("ALIPAY_PRIVATE_KEY_FILE", path("merchant_private_key.pem")),
            ("ALIPAY_PUBLIC_KEY_FILE", path("alipay_public_key.pem")),
            ("SECRET_KEY_FILE", secret_key_file().display().to_string()),
        ] {
            settings.push((name.to_owned(), value));
        }
        settings
    }

    /// The database by way of a proxy.
    pub(crate) fn database_url(&self, proxy: &Proxy) -> String {
        let options = proxy.through(self.connect.clone());
        options.to_url_lossy().to_string()
    }

    /// Starts `alipayhk-gateway serve` and waits until it listens.
    pub(crate) async fn gateway(&self, changes: &[(&str, &str)]) -> Program {
        let mut command = gateway_command(&["serve"], &self.settings());
        command.envs(changes.iter().copied());
        Program::start(command).await
    }

    /// The caller, at one program.
    pub(crate) fn till(&self, program: &Program) -> Caller {
        Caller::new(&program.url, &self.key)
    }

    /// The operator with these scopes, at one program.
    pub(crate) async fn operator(&self, program: &Program, scopes: &[Scope]) -> Caller {
        let key = api_key(&self.db, TenantScope::Operator, scopes).await;
        Caller::new(&program.url, &key)
    }

    /// The status of the only payment there is.
    pub(crate) async fn status(&self) -> String {
        let status = sqlx::query_scalar("select status from payment");
        status.fetch_one(&self.pool).await.expect("one payment")
    }

    /// Waits until the only payment has this status.
    pub(crate) async fn until_status(&self, status: &str) {
        let what = format!("the payment is {status}");
        eventually(&what, async || self.status().await == status).await;
    }

    /// Waits until Alipay received this many requests of a service.
    pub(crate) async fn until_received(&self, service: &str, count: usize) {
        let what = format!("{count} times {service}");
        eventually(&what, async || self.simulator.count(service).await >= count).await;
    }

    /// Minutes pass at once, for the database and for Alipay.
    pub(crate) async fn skip_minutes(&self, minutes: u32) {
        let body = format!(
            "create or replace function db_now() returns timestamptz language sql stable \
             parallel safe as $$select now() + interval '{minutes} minutes'$$"
        );
        let moved = sqlx::raw_sql(sqlx::AssertSqlSafe(body)).execute(&self.pool);
        moved.await.expect("the database's clock moves");
        let by = TimeDelta::minutes(minutes.into());
        self.simulator.advance_clock(by).await;
    }

    /// Ends the test; the programs must have ended before.
    pub(crate) async fn finish(self) {
        assert_invariants(&self.pool, &self.simulator, 0).await;
        assert_nothing_leaked(&self.pool).await;
        self.close().await;
    }

    /// Ends a test that another judge has looked at.
    pub(crate) async fn close(self) {
        self.db.close().await;
    }
}

/// The file with the secret that [`super::secret`] holds.
fn secret_key_file() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("test-secret.key");
    // Every test process writes the same text; aside and moved, so that nobody reads half of it.
    let aside = path.with_extension(std::process::id().to_string());
    std::fs::write(&aside, STANDARD.encode(SECRET)).expect("the secret can be written");
    std::fs::rename(&aside, &path).expect("the secret can be moved");
    path
}

/// The program with these arguments and nothing but these settings.
pub(crate) fn gateway_command(arguments: &[&str], settings: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alipayhk-gateway"));
    command
        .args(arguments)
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A running gateway; killed when dropped.
pub(crate) struct Program {
    pub(crate) url: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Program {
    async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let log = Arc::new(Mutex::new(vec![]));
        let reading = Arc::clone(&log);
        leaks::follow("a program's log", stdout, move |line| {
            let mut log = reading.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(line);
        });
        leaks::follow("a program's standard error", stderr, |line| {
            // For whoever reads why a test failed.
            let _ = writeln!(std::io::stderr(), "{line}");
        });
        let mut program = Self {
            url: String::new(),
            child,
            log,
        };
        let line = program.logged("listening").await;
        let line: Value = serde_json::from_str(&line).expect("a JSON line");
        let address = line["local_addr"].as_str().expect("an address");
        program.url = format!("http://{address}");
        program
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Waits for a log line that contains `text`.
    pub(crate) async fn logged(&self, text: &str) -> String {
        let find = || {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.iter().find(|line| line.contains(text)).cloned()
        };
        eventually(&format!("the log says {text}"), async || find().is_some()).await;
        find().expect("just found")
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.join("\n")
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.kill_now().await;
    }

    /// `kill -9`, where another program will take its place.
    pub(crate) async fn kill_now(&mut self) {
        self.child.kill().await.expect("the program can be killed");
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the program runs")
    }

    /// `SIGTERM`.
    pub(crate) async fn terminate(&self) {
        let pid = self.child.id().expect("the program runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let end = timeout(within, self.child.wait()).await;
        let status = end.unwrap_or_else(|_| panic!("still runs after {within:?}"));
        status.expect("the program can be waited for")
    }

    /// Told to stop, and stopped in order.
    pub(crate) async fn stop(mut self) {
        let metrics = client().get(format!("{}/metrics", self.url)).send().await;
        let metrics = metrics.expect("the program answers").text().await;
        leaks::look_at("the metrics", &metrics.expect("text"));
        self.terminate().await;
        let status = self.ended(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(0));
        leaks::assert_none();
    }
}
