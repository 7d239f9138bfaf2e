//! The gateway and the simulator as `up` starts them: by their documented command lines and environment.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::children::{Program, Stack, forget_real_account};

/// What `keys generate` calls its files.
pub(super) const MERCHANT_PRIVATE_KEY: &str = "merchant_private_key.pem";
const MERCHANT_PUBLIC_KEY: &str = "merchant_public_key.pem";
const ALIPAY_PRIVATE_KEY: &str = "alipay_private_key.pem";
pub(super) const ALIPAY_PUBLIC_KEY: &str = "alipay_public_key.pem";
const SECRET_KEY: &str = "secret.key";
/// An account that exists nowhere but in the simulator.
pub(super) const PARTNER: &str = "2088000000000001";
const SIGN_TYPE: &str = "RSA2";
/// The merchant's key, with which the lines of the greeting pay.
const TILL_KEY: DevKey = DevKey {
    file: "api-key",
    arguments: &[
        "--scopes",
        "payments:write,payments:read,refunds:write,operations",
    ],
    probe: "/v1/payments?limit=1",
};
/// The key of the operator, who looks after all merchants.
const OPERATOR_KEY: DevKey = DevKey {
    file: "operator-key",
    arguments: &["--operator", "--scopes", "operations,reconciliation,admin"],
    probe: "/v1/follow-ups?limit=1",
};

/// An API key that `up` keeps in its state directory.
struct DevKey {
    /// Where. What it was made with is kept beside it: an earlier version may have made it to do less.
    file: &'static str,
    /// How it is made.
    arguments: &'static [&'static str],
    /// What it may read, to find out whether the gateway still takes it.
    probe: &'static str,
}
/// The simulator tells its address in its first line, after these words.
const SIMULATOR_SAYS: &str = "alipay-simulator listening on ";
const READY_LIMIT: Duration = Duration::from_secs(30);
/// One look at the gateway must not outlast the waiting for it.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// How to reach everything the gateway needs.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) listen: SocketAddr,
    /// As which `migrate` runs, where it is not the service's own role.
    pub(super) owner_url: Option<SecretString>,
    pub(super) database_url: SecretString,
    pub(super) simulator_url: String,
    pub(super) keys: PathBuf,
    pub(super) state_dir: PathBuf,
    /// Beside those that everything needs.
    pub(super) settings: Vec<(&'static str, OsString)>,
}

/// Starts the simulator; yields its address, such as `http://127.0.0.1:41234`.
pub(super) async fn start_simulator(
    stack: &mut Stack,
    keys: &Path,
    state_dir: &Path,
) -> anyhow::Result<String> {
    let mut command: Vec<OsString> = vec![simulator_program()?.into(), "serve".into()];
    command.extend(["--listen", "127.0.0.1:0", "--partner", PARTNER].map(OsString::from));
    command.extend(["--sign-type", SIGN_TYPE, "--private-key-file"].map(OsString::from));
    command.push(keys.join(ALIPAY_PRIVATE_KEY).into());
    command.push("--merchant-public-key-file".into());
    command.push(keys.join(MERCHANT_PUBLIC_KEY).into());
    command.push("--files-dir".into());
    command.push(state_dir.join("daily-files").into());
    command.push("--exit-with-parent".into());
    let running = stack.start(Program {
        name: "the simulator",
        command,
        environment: Vec::new(),
        stop_signal: "TERM",
        owner: None,
        working_dir: None,
        remove: None,
        log: state_dir.join("logs/simulator.log"),
    })?;
    running
        .ready(READY_LIMIT, async |log| announced(log, SIMULATOR_SAYS))
        .await
}

pub(super) fn simulator_program() -> anyhow::Result<PathBuf> {
    beside("alipay-simulator")
}

fn gateway_program() -> anyhow::Result<PathBuf> {
    beside("alipayhk-gateway")
}

/// All programs are built into one directory.
fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    ensure!(
        program.exists(),
        "{} has not been built: use `./dev up`",
        program.display()
    );
    Ok(program)
}

/// Throw-away keys of both sides in one directory; those that are there stay.
pub(super) async fn generate_keys(dir: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(gateway_program()?);
    command.args(["keys", "generate", "--with-alipay", "--keep-existing"]);
    command.arg("--dir").arg(dir);
    output(command).await.map(drop)
}

/// Runs one of the gateway's own commands to its end; yields what it printed.
async fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command.process_group(0).kill_on_drop(true).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{:?} failed:\n{text}{}",
        command.as_std().get_args(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// The address that a program tells in its log after these words.
pub(super) fn announced(log: &Path, says: &str) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    // Without its line break the line may not be complete yet.
    let line = text
        .split_inclusive('\n')
        .find(|line| line.ends_with('\n') && line.contains(says))?;
    line.split_once(says)
        .map(|(_, address)| address.trim().to_owned())
}

impl Gateway {
    /// Brings the database up to date.
    pub(super) async fn migrate(&self) -> anyhow::Result<()> {
        let owner = self.owner_url.as_ref();
        let owner = owner.map(|url| ("MIGRATE_DATABASE_URL", url.expose_secret().into()));
        self.run_with(&["migrate"], owner.as_slice())
            .await
            .map(drop)
    }

    /// Starts the gateway and waits until it says that it is ready.
    pub(super) async fn serve(&self, stack: &mut Stack) -> anyhow::Result<()> {
        let running = stack.start(Program {
            name: "the gateway",
            command: vec![gateway_program()?.into(), "serve".into()],
            environment: self.environment(),
            stop_signal: "TERM",
            owner: None,
            working_dir: None,
            remove: None,
            log: self.state_dir.join("logs/gateway.log"),
        })?;
        let ready = async |_: &Path| {
            let status = get(self.listen, "/health/ready", None).await?;
            (status == 200).then_some(())
        };
        running.ready(READY_LIMIT, ready).await?;
        Ok(())
    }

    /// The merchant's API key of the last start where the gateway still takes it, else a new one.
    pub(super) async fn api_key(&self) -> anyhow::Result<String> {
        self.key(&TILL_KEY).await
    }

    /// The operator's API key, likewise.
    pub(super) async fn operator_key(&self) -> anyhow::Result<String> {
        self.key(&OPERATOR_KEY).await
    }

    async fn key(&self, of: &DevKey) -> anyhow::Result<String> {
        let file = self.state_dir.join(of.file);
        let made_with_file = self.state_dir.join(format!("{}-made-with", of.file));
        let made_with = of.arguments.join(" ");
        if let Ok(text) = fs::read_to_string(&file) {
            let key = text.trim().to_owned();
            let as_today = fs::read_to_string(&made_with_file).is_ok_and(|text| text == made_with);
            if as_today && get(self.listen, of.probe, Some(&key)).await == Some(200) {
                return Ok(key);
            }
            fs::remove_file(&file)?;
        }
        let name = format!("dev-{:08x}", rand::random::<u32>());
        let mut arguments = vec!["api-key", "create", "--name", &name];
        arguments.extend(of.arguments);
        let output = self.run(&arguments).await?;
        let key = output
            .lines()
            .last()
            .context("`api-key create` printed no key")?
            .trim()
            .to_owned();
        let mut options = fs::OpenOptions::new();
        let mut open = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)?;
        std::io::Write::write_all(&mut open, key.as_bytes())?;
        fs::write(&made_with_file, made_with)?;
        Ok(key)
    }

    /// Runs one of the gateway's own commands to its end; yields what it printed.
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_with(arguments, &[]).await
    }

    async fn run_with(
        &self,
        arguments: &[&str],
        more: &[(&str, OsString)],
    ) -> anyhow::Result<String> {
        let mut command = Command::new(gateway_program()?);
        forget_real_account(&mut command);
        command
            .args(arguments)
            .envs(self.environment())
            .envs(more.iter().map(|(name, value)| (name, value)));
        output(command).await
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut environment = vec![
            ("HTTP_LISTEN", self.listen.to_string().into()),
            ("PUBLIC_BASE_URL", format!("http://{}", self.listen).into()),
            ("DATABASE_URL", self.database_url.expose_secret().into()),
            (
                "ALIPAY_ENDPOINT",
                format!("{}/gateway.do", self.simulator_url).into(),
            ),
            ("ALIPAY_PARTNER", PARTNER.into()),
            ("ALIPAY_SIGN_TYPE", SIGN_TYPE.into()),
            (
                "ALIPAY_PRIVATE_KEY_FILE",
                self.keys.join(MERCHANT_PRIVATE_KEY).into(),
            ),
            (
                "ALIPAY_PUBLIC_KEY_FILE",
                self.keys.join(ALIPAY_PUBLIC_KEY).into(),
            ),
            ("SECRET_KEY_FILE", self.keys.join(SECRET_KEY).into()),
            // `bench` calls with one key, as fast as it can.
            ("RATE_LIMIT_PER_SECOND", "0".into()),
            ("SECONDARY_MERCHANT_ID", "SM001".into()),
            ("SECONDARY_MERCHANT_NAME", "Demo Cafe Ltd".into()),
            ("SECONDARY_MERCHANT_INDUSTRY", "5812".into()),
            ("STORE_NAME", "Demo Cafe Central".into()),
        ];
        environment.extend(self.settings.iter().cloned());
        environment
    }
}

/// The status of an HTTP GET, where there is an answer. By hand: one line to a program on this machine
/// needs neither TLS nor a connection pool.
pub(super) async fn get(address: SocketAddr, path: &str, api_key: Option<&str>) -> Option<u16> {
    let authorization = api_key.map_or_else(String::new, |key| {
        format!("Authorization: Bearer {key}\r\n")
    });
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{authorization}\r\n"
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        // "HTTP/1.1 200"
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head).await.ok()?;
        std::str::from_utf8(&head[9..]).ok()?.parse().ok()
    };
    tokio::time::timeout(PROBE_LIMIT, exchange)
        .await
        .ok()
        .flatten()
}
