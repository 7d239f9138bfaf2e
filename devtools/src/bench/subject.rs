//! What is measured: the gateway, and the peers that a user would build instead (`benches/peers`).

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;
use url::Url;

use super::cost::{Meter, Processes, resident_kib};
use super::load::Tills;
use crate::children::{Program, Stack};
use crate::gateway::{self, Gateway};
use crate::guard::send_signal;
use crate::machine::free_port;

/// The key that the peers know.
const PEER_KEY: &str = "bench-key-of-the-peers";
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Which program takes the payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gateway,
    Node,
    Python,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Node => "Node peer",
            Self::Python => "Python peer",
        }
    }
}

/// A running program with tills before it and a meter beside it.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) kind: Kind,
    pub(super) tills: Arc<Tills>,
    pub(super) meter: Meter,
    /// From its start until it was ready.
    pub(super) ready_after: Duration,
    /// The guard of the program.
    guard: u32,
}

/// Where everything is.
#[derive(Debug)]
pub(super) struct Bed {
    pub(super) state_dir: PathBuf,
    pub(super) keys: PathBuf,
    /// The superuser's URL of any database of the cluster.
    pub(super) owner_url: Url,
    /// The service's role.
    pub(super) service_url: Url,
    pub(super) stub_url: String,
}

impl Bed {
    /// The gateway on a database of its own, which is made where it is missing.
    pub(super) async fn gateway(
        &self,
        stack: &mut Stack,
        database: &str,
        settings: &[(&'static str, &str)],
    ) -> anyhow::Result<Subject> {
        let (owner_url, service_url) = self.database(database).await?;
        let settings = settings.iter();
        let gateway = Gateway {
            listen: SocketAddr::from(([127, 0, 0, 1], free_port()?)),
            owner_url: Some(owner_url.as_str().into()),
            database_url: service_url.as_str().into(),
            simulator_url: self.stub_url.clone(),
            keys: self.keys.clone(),
            state_dir: self.state_dir.join(database),
            settings: settings
                .map(|(name, value)| (*name, OsString::from(value)))
                .collect(),
        };
        fs::create_dir_all(&gateway.state_dir)?;
        gateway.migrate().await?;
        let begun = Instant::now();
        gateway.serve(stack).await?;
        let ready_after = begun.elapsed();
        let key = gateway.api_key().await?;
        let url = Url::parse(&format!("http://{}", gateway.listen))?;
        let subject = Subject::new(Kind::Gateway, &url, &key, stack, &owner_url).await?;
        Ok(Subject {
            ready_after,
            ..subject
        })
    }

    /// A peer; its packages are fetched where they are missing.
    pub(super) async fn peer(&self, stack: &mut Stack, kind: Kind) -> anyhow::Result<Subject> {
        let (name, command) = match kind {
            Kind::Gateway => anyhow::bail!("the gateway is no peer"),
            Kind::Node => ("node", self.install_node().await?),
            Kind::Python => ("python", self.install_python().await?),
        };
        let (owner_url, _) = self.database(&format!("peer_{name}")).await?;
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let key_file = |file| self.keys.join(file).into();
        let running = stack.start(Program {
            name: kind.name(),
            command,
            environment: vec![
                ("LISTEN", listen.to_string().into()),
                ("NODE_ENV", "production".into()),
                ("DATABASE_URL", owner_url.as_str().into()),
                (
                    "ALIPAY_ENDPOINT",
                    format!("{}/gateway.do", self.stub_url).into(),
                ),
                ("ALIPAY_PARTNER", gateway::PARTNER.into()),
                ("PRIVATE_KEY_FILE", key_file(gateway::MERCHANT_PRIVATE_KEY)),
                (
                    "ALIPAY_PUBLIC_KEY_FILE",
                    key_file(gateway::ALIPAY_PUBLIC_KEY),
                ),
                (
                    "API_KEY_SHA256",
                    hex::encode(Sha256::digest(PEER_KEY)).into(),
                ),
            ],
            stop_signal: "TERM",
            owner: None,
            working_dir: None,
            remove: None,
            log: self.state_dir.join(format!("{name}.log")),
        })?;
        let ready = async |_: &Path| {
            let status = gateway::get(listen, "/health", Some(PEER_KEY)).await?;
            (status == 200).then_some(())
        };
        running.ready(READY_LIMIT, ready).await?;
        let url = Url::parse(&format!("http://{listen}"))?;
        Subject::new(kind, &url, PEER_KEY, stack, &owner_url).await
    }

    /// The URLs of a database of the cluster, as its owner and as the service.
    pub(super) async fn database(&self, name: &str) -> anyhow::Result<(Url, Url)> {
        use sqlx::migrate::MigrateDatabase as _;
        let (mut owner, mut service) = (self.owner_url.clone(), self.service_url.clone());
        owner.set_path(name);
        service.set_path(name);
        if !sqlx::Postgres::database_exists(owner.as_str()).await? {
            sqlx::Postgres::create_database(owner.as_str()).await?;
        }
        Ok((owner, service))
    }

    async fn install_node(&self) -> anyhow::Result<Vec<OsString>> {
        let place = self.install("node", &["package.json", "package-lock.json", "server.js"])?;
        if is_new(&place, "package-lock.json")? {
            let mut install = Command::new("npm");
            install.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
            run(install.current_dir(&place)).await?;
            keep(&place, "package-lock.json")?;
        }
        Ok(vec!["node".into(), place.join("server.js").into()])
    }

    async fn install_python(&self) -> anyhow::Result<Vec<OsString>> {
        let place = self.install("python", &["requirements.txt", "server.py"])?;
        let python = place.join("venv/bin/python");
        if is_new(&place, "requirements.txt")? {
            run(Command::new("python3")
                .args(["-m", "venv"])
                .arg(place.join("venv")))
            .await?;
            let mut install = Command::new(&python);
            install.args(["-m", "pip", "install", "--quiet", "--requirement"]);
            run(install.arg(place.join("requirements.txt"))).await?;
            keep(&place, "requirements.txt")?;
        }
        Ok(vec![python.into(), place.join("server.py").into()])
    }

    /// Copies a peer out of the sources: what it needs is put beside it.
    fn install(&self, name: &str, files: &[&str]) -> anyhow::Result<PathBuf> {
        let from = Path::new("benches/peers").join(name);
        let place = self.state_dir.with_file_name("peers").join(name);
        fs::create_dir_all(&place)?;
        for file in files {
            fs::copy(from.join(file), place.join(file))
                .with_context(|| format!("cannot copy {}/{file}", from.display()))?;
        }
        Ok(place)
    }
}

/// Whether what the file asks for has not been fetched yet.
fn is_new(place: &Path, file: &str) -> anyhow::Result<bool> {
    let wanted = fs::read(place.join(file))?;
    Ok(fs::read(place.join("fetched")).ok() != Some(wanted))
}

fn keep(place: &Path, file: &str) -> anyhow::Result<()> {
    fs::copy(place.join(file), place.join("fetched"))?;
    Ok(())
}

async fn run(command: &mut Command) -> anyhow::Result<()> {
    let what = command.as_std().get_program().display().to_string();
    let output = command.kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("{what} cannot be run"))?;
    ensure!(
        output.status.success(),
        "{what} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

impl Subject {
    async fn new(
        kind: Kind,
        url: &Url,
        key: &str,
        stack: &Stack,
        owner_url: &Url,
    ) -> anyhow::Result<Self> {
        let guard = stack.newest_guard().context("it has ended")?;
        Ok(Self {
            kind,
            tills: Arc::new(Tills::new(url, key)?),
            meter: Meter::new(owner_url.as_str(), guard).await?,
            ready_after: Duration::ZERO,
            guard,
        })
    }

    /// The program's processes, without their guard.
    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        Ok(Processes::now()?.tree(self.guard).split_off(1))
    }

    pub(super) fn resident_kib(&self) -> anyhow::Result<u64> {
        Ok(resident_kib(&self.processes()?))
    }

    /// Sends a signal to the program: `STOP` and `CONT`, so that it spends nothing while another is measured; `KILL`.
    pub(super) async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        for process in self.processes()? {
            send_signal(signal, process).await;
        }
        Ok(())
    }
}
