//! The gateway as an operator runs it: the real program with its real logs, over the test's
//! database and a simulator that runs with the machine's clock.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use alipayhk_gateway::domain::accounts::signing::SignType;
use serde_json::Value;
use sqlx::{ConnectOptions as _, PgPool};
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::{
    PARTNER,
    alipay::{Simulator, keys, md5_key_file},
    collector::Collector,
    default_merchant,
    http::Caller,
    leaks,
    roles::as_service,
};

/// What a till's key may do.
const TILL: &str = "payments:write,payments:read,refunds:write";

/// A running program.
pub(crate) struct Program {
    pub(crate) simulator: Simulator,
    pub(crate) collector: Collector,
    pub(crate) till: Caller,
    /// Where the gateway listens.
    pub(crate) url: String,
    /// The password in its `DATABASE_URL`.
    pub(crate) password: String,
    database: String,
    child: Child,
    logs: PathBuf,
}

/// What a program that has ended wrote.
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Standard output, line by line; every line must be a JSON object.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    }
}

impl Program {
    /// Starts simulator, collector and gateway; questions about open payments come quickly.
    pub(crate) async fn start(pool: &PgPool, environment: &[(&str, &str)]) -> Self {
        Self::start_signing(pool, SignType::Rsa2, environment).await
    }

    /// The same under another signature agreement.
    pub(crate) async fn start_signing(
        pool: &PgPool,
        sign_type: SignType,
        environment: &[(&str, &str)],
    ) -> Self {
        let simulator = Simulator::start(None, sign_type).await;
        let collector = Collector::start().await;
        default_merchant(pool).await;
        let database = as_service(pool).await.to_url_lossy();
        let password = database.password().expect("a password").to_owned();
        let database = database.to_string();
        let logs = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(Uuid::now_v7().to_string());
        fs::create_dir_all(&logs).expect("a directory for logs");
        let file = |name: &str| File::create(logs.join(name)).expect("a log file");
        let keys = keys();
        let mut command = Command::new(env!("CARGO_BIN_EXE_alipayhk-gateway"));
        command
            .env_clear()
            .env("DATABASE_URL", &database)
            .env("SECRET_KEY_FILE", keys.dir.join("secret.key"));
        let key = api_key(&database, &["--scopes", TILL]).await;
        if sign_type == SignType::Md5 {
            command.env("ALIPAY_MD5_KEY_FILE", md5_key_file());
        } else {
            let key_file = |name: &str| keys.dir.join(name);
            command
                .env(
                    "ALIPAY_PRIVATE_KEY_FILE",
                    key_file("merchant_private_key.pem"),
                )
                .env("ALIPAY_PUBLIC_KEY_FILE", key_file("alipay_public_key.pem"));
        }
        let child = command
            .arg("serve")
            .env("HTTP_LISTEN", "127.0.0.1:0")
            .env("PUBLIC_BASE_URL", "http://127.0.0.1:8080")
            .env("ALIPAY_ENDPOINT", simulator.endpoint().as_str())
            .env("ALIPAY_PARTNER", PARTNER)
            .env("ALIPAY_SIGN_TYPE", sign_type.as_str())
            .env("ALIPAY_PAY_TIMEOUT_MS", "3000")
            .env("FOLLOW_UP_FIRST_QUERY_MS", "200")
            .env("FOLLOW_UP_QUERY_INTERVAL_MS", "200")
            .env("FOLLOW_UP_POLL_INTERVAL_MS", "50")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .kill_on_drop(true)
            .spawn()
            .expect("the gateway starts");
        let mut program = Self {
            simulator,
            collector,
            till: Caller::new("", &key),
            url: String::new(),
            password,
            database,
            child,
            logs,
        };
        program.url = program.address().await;
        program.till = Caller::new(&program.url, &key);
        program
    }

    /// Somebody whose key was made with these arguments.
    pub(crate) async fn caller(&self, arguments: &[&str]) -> Caller {
        Caller::new(&self.url, &api_key(&self.database, arguments).await)
    }

    /// What the log says of where it listens.
    async fn address(&mut self) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = self.read("stdout");
            let listening = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|event| event["message"] == "listening");
            if let Some(event) = listening {
                return format!(
                    "http://{}",
                    event["local_addr"].as_str().expect("an address")
                );
            }
            let ended = self.child.try_wait().expect("the gateway can be asked");
            let waiting = ended.is_none() && Instant::now() < deadline;
            assert!(
                waiting,
                "the gateway does not listen: {log}{}",
                self.read("stderr")
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.logs.join(name)).expect("a log file");
        String::from_utf8(bytes).expect("logs are text")
    }

    /// Tells the program to stop, waits for its end, and reads what it wrote. Traces are complete
    /// from then on.
    pub(crate) async fn stop(&mut self) -> Output {
        let pid = self.child.id().expect("the gateway runs").to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(told.expect("kill runs").success());
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait())
            .await
            .expect("the gateway stops in time")
            .expect("the gateway can be waited for");
        assert!(ended.success(), "{ended}: {}", self.read("stderr"));
        let output = Output {
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
        };
        for line in output.stdout.lines().chain(output.stderr.lines()) {
            leaks::look_at_line("a program's log", line);
        }
        leaks::assert_none();
        output
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Kept for a person where the test failed.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.logs);
        }
    }
}

/// Makes an API key as an operator does: it is the last line the command prints.
async fn api_key(database: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_alipayhk-gateway"))
        .env_clear()
        .env("DATABASE_URL", database)
        .env("SECRET_KEY_FILE", keys().dir.join("secret.key"))
        .args(["api-key", "create", "--name", "till-1"])
        .args(arguments)
        .output()
        .await
        .expect("the program runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().last().expect("a key").to_owned()
}
