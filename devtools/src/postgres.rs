//! A private Postgres: a cluster of our own, on a free port of 127.0.0.1, behind a generated password.
//!
//! The contract: nothing of a Postgres that may already run on the machine is touched; the server ends with its
//! parent (see the guard); the lasting cluster of `up` keeps its data and its durability, the throw-away one of the tests has
//! neither. `initdb` and `postgres` refuse to run as root, so as root both run as an unprivileged user, with the data
//! where that user may write.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::migrate::MigrateDatabase as _;
use sqlx::{Connection as _, PgConnection, Postgres};
use tokio::process::Command;

use super::children::{Program, Stack};
use super::machine::{free_port, machine_wide_name, major_version, unprivileged_owner};

/// Crash recovery of a large cluster is the slowest start there is.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How often a start is repeated: the port may be taken in between, the last server may still be stopping.
const START_ATTEMPTS: u32 = 20;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);
/// The owner of everything.
const ROLE: &str = "postgres";
/// As which the gateway runs; `migrate` grants it what it needs.
const SERVICE_ROLE: &str = "gateway";

/// What becomes of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Kept between starts, written durably.
    Lasting,
    /// Removed at the end, written durably: for benchmarks.
    Measured,
    /// Removed at the end, never flushed to disk: for tests.
    ThrowAway,
}

/// A cluster on disk, whether or not it runs.
struct Cluster {
    kind: Kind,
    bin: PathBuf,
    /// Owned by the server's user, closed to others; holds `data` and `password`.
    base: PathBuf,
    owner: Option<(u32, u32)>,
    log: PathBuf,
}

/// Starts the cluster of this kind, making it first where necessary, and yields the URL of `database` in it.
pub(super) async fn start(
    stack: &mut Stack,
    kind: Kind,
    state_dir: &Path,
    bin: Option<&Path>,
    database: &str,
) -> anyhow::Result<String> {
    let bin = bin.context("no Postgres server binaries are known: start this by `./dev`")?;
    let cluster = Cluster::locate(kind, state_dir, bin).await?;
    let password = cluster.ensure_initialised().await?;
    let port = cluster.serve(stack, &password).await?;
    let url = format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{database}");
    if !Postgres::database_exists(&url).await? {
        Postgres::create_database(&url).await?;
    }
    Ok(url)
}

/// The URL of the service's role in the database of `owner_url`. The role is made where it is missing; its password is new each
/// time, so that none need be kept.
pub(super) async fn service_role(owner_url: &str) -> anyhow::Result<String> {
    let password = hex::encode(rand::random::<[u8; 16]>());
    let mut connection = PgConnection::connect(owner_url).await?;
    let make = format!(
        "do $$ begin
            if not exists (select from pg_roles where rolname = '{SERVICE_ROLE}') then
                create role {SERVICE_ROLE} login;
            end if;
        end $$;
        alter role {SERVICE_ROLE} password '{password}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(make))
        .execute(&mut connection)
        .await
        .context("the role of the service cannot be made")?;
    connection.close().await?;
    let mut url = url::Url::parse(owner_url)?;
    let set = url
        .set_username(SERVICE_ROLE)
        .and(url.set_password(Some(&password)));
    ensure!(set.is_ok(), "the database's URL takes no user");
    Ok(url.into())
}

/// Whether somebody's own database can be reached: what the driver says of one connection is clearer than what a pool
/// says that waited for it in vain. The URL holds a password and is not repeated.
pub(super) async fn check(url: &str) -> anyhow::Result<()> {
    let connection = PgConnection::connect(url)
        .await
        .context("cannot use the database of DATABASE_URL")?;
    connection.close().await?;
    Ok(())
}

impl Cluster {
    async fn locate(kind: Kind, state_dir: &Path, bin: &Path) -> anyhow::Result<Self> {
        let state_dir = std::path::absolute(state_dir)?;
        let major = major_version(bin).await?;
        let name = match kind {
            Kind::Lasting => format!("postgres-{major}"),
            Kind::Measured => format!("postgres-{major}-bench-{}", std::process::id()),
            Kind::ThrowAway => format!("postgres-{major}-test-{}", std::process::id()),
        };
        let owner = unprivileged_owner().await?;
        let base = match owner {
            None => state_dir.join(name),
            // The repository may lie under a home directory that is closed to others, so not in there.
            Some(_) => {
                Path::new("/var/tmp").join(format!("{}-{name}", machine_wide_name(&state_dir)))
            }
        };
        let log = match kind {
            Kind::Lasting | Kind::Measured => state_dir.join("logs/postgres.log"),
            Kind::ThrowAway => state_dir.join("logs/postgres-test.log"),
        };
        Ok(Self {
            kind,
            bin: bin.to_path_buf(),
            base,
            owner,
            log,
        })
    }

    fn data(&self) -> PathBuf {
        self.base.join("data")
    }

    /// Runs `initdb` unless that was done before; yields the password either way.
    async fn ensure_initialised(&self) -> anyhow::Result<String> {
        self.ensure_base()?;
        let password_file = self.base.join("password");
        if self.data().join("PG_VERSION").exists() {
            return Ok(fs::read_to_string(password_file)?.trim().to_owned());
        }
        let password = hex::encode(rand::random::<[u8; 16]>());
        self.write_password(&password_file, &password)?;
        // Renamed into place when complete: an interrupted `initdb` must not look like a cluster.
        let unfinished = self.base.join("data.new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        self.initdb(&unfinished, &password_file).await?;
        fs::rename(&unfinished, self.data())?;
        Ok(password)
    }

    fn ensure_base(&self) -> anyhow::Result<()> {
        let made = fs::DirBuilder::new()
            .recursive(self.owner.is_none())
            .mode(0o700)
            .create(&self.base);
        match (made, self.owner) {
            (Ok(()), None) => {}
            (Ok(()), Some((uid, gid))) => {
                std::os::unix::fs::chown(&self.base, Some(uid), Some(gid))?;
            }
            (Err(error), _) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            (Err(error), _) => {
                return Err(error).with_context(|| format!("cannot make {}", self.base.display()));
            }
        }
        // /var/tmp is open to every user: somebody else's directory of this name must not be trusted.
        let found = fs::symlink_metadata(&self.base)?;
        let expected = self.owner.map_or(found.uid(), |(uid, _)| uid);
        ensure!(
            found.is_dir() && found.uid() == expected && found.mode().trailing_zeros() >= 6,
            "{} is not a private directory of the Postgres user: remove it",
            self.base.display()
        );
        Ok(())
    }

    fn write_password(&self, path: &Path, password: &str) -> anyhow::Result<()> {
        if path.exists() {
            fs::remove_file(path)?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{password}")?;
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    async fn initdb(&self, data: &Path, password_file: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(self.bin.join("initdb"));
        command
            .arg("--pgdata")
            .arg(data)
            .arg("--pwfile")
            .arg(password_file);
        command.args(["--username", ROLE, "--auth", "scram-sha-256"]);
        command.args(["--encoding", "UTF8", "--locale", "C"]);
        if self.kind == Kind::ThrowAway {
            command.arg("--no-sync");
        }
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
            .current_dir(&self.base)
            .env("LC_ALL", "C")
            .process_group(0)
            .kill_on_drop(true);
        let output = command.output().await.context("cannot run initdb")?;
        ensure!(
            output.status.success(),
            "initdb failed:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// Starts the server and waits until it takes connections; yields its port.
    async fn serve(&self, stack: &mut Stack, password: &str) -> anyhow::Result<u16> {
        let mut attempt = 1;
        loop {
            self.forget_a_server_that_is_gone();
            let port = free_port()?;
            let running = stack.start(self.server(port))?;
            let url = format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{ROLE}");
            let ready = running
                .ready(START_LIMIT, async |_| {
                    PgConnection::connect(&url).await.ok()
                })
                .await;
            match ready {
                Ok(connection) => {
                    connection.close().await?;
                    return Ok(port);
                }
                Err(error) if attempt < START_ATTEMPTS && is_passing(&error) => {
                    stack.discard_newest().await;
                    tokio::time::sleep(BETWEEN_ATTEMPTS).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn server(&self, port: u16) -> Program {
        let mut command: Vec<OsString> = vec![self.bin.join("postgres").into()];
        command.extend([
            "-D".into(),
            self.data().into(),
            "-p".into(),
            port.to_string().into(),
        ]);
        let mut settings = vec![
            "listen_addresses=127.0.0.1",
            // No socket: its path would have to be short and writable, and TCP does everything needed.
            "unix_socket_directories=",
            "max_connections=300",
            "logging_collector=off",
            "timezone=UTC",
        ];
        if self.kind == Kind::ThrowAway {
            settings.extend([
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
            ]);
        }
        for setting in settings {
            command.extend(["-c".into(), setting.into()]);
        }
        Program {
            name: "Postgres",
            command,
            environment: vec![("LC_ALL", "C".into())],
            // SIGINT is Postgres' fast shutdown: sessions are ended, everything is written.
            stop_signal: "INT",
            owner: self.owner,
            working_dir: Some(self.base.clone()),
            remove: (self.kind != Kind::Lasting).then(|| self.base.clone()),
            log: self.log.clone(),
        }
    }

    /// Removes the lock of a server that died without a trace where its process id now belongs to another program of
    /// the same user, which Postgres cannot tell apart and refuses to start (containers give out low ids again).
    fn forget_a_server_that_is_gone(&self) {
        let lock = self.data().join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&lock) else {
            return;
        };
        let pid = text.lines().next().unwrap_or_default().trim();
        let Ok(command_line) = fs::read(format!("/proc/{pid}/cmdline")) else {
            return;
        };
        let ours = self.data().into_os_string().into_encoded_bytes();
        if !command_line
            .windows(ours.len())
            .any(|window| window == ours)
        {
            let _ = fs::remove_file(lock);
        }
    }
}

/// Another program took the port first, or the server of the last start is about to be gone.
fn is_passing(error: &anyhow::Error) -> bool {
    let text = error.to_string();
    text.contains("Address already in use") || text.contains("postmaster.pid")
}
