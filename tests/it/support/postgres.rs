//! Postgres servers of a test's own, to be made silent, frozen and replaced: what no test may do to
//! the server that all tests share.

use std::{
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::process::Child;
use uuid::Uuid;

use super::{eventually, roles};

const OWNER: &str = "postgres";
const DATABASE: &str = "gateway";

/// A running server; gone with everything it wrote when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    base: PathBuf,
    port: u16,
    process: Child,
}

impl Server {
    /// A new and empty one.
    pub(crate) async fn start() -> Self {
        let base = private_directory();
        run(
            &base,
            "initdb",
            &[
                "--pgdata=data",
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
        );
        let server = Self::serve(base).await;
        server.sql("create database gateway", OWNER).await;
        server
    }

    /// A standby that follows this one from now on.
    pub(crate) async fn standby(&self) -> Self {
        let base = private_directory();
        let from = format!(
            "host=127.0.0.1 port={} user={OWNER} application_name=standby",
            self.port
        );
        run(
            &base,
            "pg_basebackup",
            &[
                "--dbname",
                &from,
                "--pgdata=data",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            ],
        );
        Self::serve(base).await
    }

    async fn serve(base: PathBuf) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let log = std::fs::File::create(base.join("log")).expect("a log file");
        let mut command = command(&base, "postgres");
        command.args(["-D", "data", "-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=100",
            "fsync=off",
            "timezone=UTC",
        ] {
            command.args(["-c", setting]);
        }
        command
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        let process = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .expect("postgres starts");
        let server = Self {
            base,
            port,
            process,
        };
        let at = server.at(OWNER);
        eventually("the server takes connections", async || {
            at.connect().await.is_ok()
        })
        .await;
        server
    }

    fn at(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(OWNER)
            .database(database)
    }

    /// How to reach the gateways' database here.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.at(DATABASE)
    }

    /// Runs SQL as the owner.
    async fn sql(&self, sql: &str, database: &str) {
        let mut connection = self.at(database).connect().await.expect("a connection");
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        done.execute(&mut connection)
            .await
            .expect("the server does as told");
        connection.close().await.expect("closed");
    }

    /// From now on every COMMIT waits for this standby, or for none where the name is empty: what
    /// waits then goes on.
    pub(crate) async fn wait_for_standby(&self, name: &str) {
        let set = format!("alter system set synchronous_standby_names = '{name}'");
        self.sql(&set, OWNER).await;
        self.sql("select pg_reload_conf()", OWNER).await;
    }

    /// Stops every process of the server where it is; no connection closes.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// The standby becomes the primary.
    pub(crate) async fn promote(&self) {
        self.sql("select pg_promote(true, 30)", OWNER).await;
    }

    fn signal(&self, signal: &str) {
        let Some(postmaster) = self.process.id() else {
            return;
        };
        let mut ids = vec![postmaster.to_string()];
        for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // After the name in brackets: the state, and the parent.
            let parent = stat
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.split_whitespace().nth(1));
            if parent == Some(ids[0].as_str()) {
                ids.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        // Some may have ended meanwhile.
        let _ = Command::new("kill").arg(signal).args(ids).output();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("-KILL");
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

/// The gateways' database behind `options`, with its schema.
pub(crate) async fn migrated(options: PgConnectOptions) -> PgPool {
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(20))
        .connect_lazy_with(options);
    let owner = roles::as_owner(&pool);
    owner.migrate().await.expect("the schema can be made");
    owner.close().await;
    pool
}

fn private_directory() -> PathBuf {
    let base = Path::new("/var/tmp").join(format!("it-postgres-{}", Uuid::now_v7().simple()));
    std::fs::create_dir(&base).expect("a directory");
    if let Some((uid, gid)) = unprivileged() {
        chown(&base, Some(uid), Some(gid)).expect("it is the server's");
    }
    base
}

/// Postgres refuses to run as root; the system call that tells would need `unsafe`.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let told = Command::new("id").args(arguments).output().expect("id");
        String::from_utf8_lossy(&told.stdout).trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let of = |user| id(&["-u", user]).zip(id(&["-g", user]));
    let found = of("postgres").or_else(|| of("nobody"));
    Some(found.expect("a user as which Postgres can run"))
}

fn command(base: &Path, program: &str) -> Command {
    use std::os::unix::process::CommandExt as _;
    let bin = std::env::var_os("DEV_POSTGRES_BIN").map_or_else(PathBuf::new, PathBuf::from);
    // Where `initdb` is a link into a version's own directory, only that has all the programs.
    let server = std::fs::canonicalize(bin.join("initdb")).ok();
    let bin = server.as_deref().and_then(Path::parent).unwrap_or(&bin);
    let mut command = Command::new(bin.join(program));
    command.current_dir(base).env("LC_ALL", "C");
    if let Some((uid, gid)) = unprivileged() {
        command.uid(uid).gid(gid);
    }
    command
}

fn run(base: &Path, program: &str, arguments: &[&str]) {
    let done: Output = command(base, program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program}: {told}");
}
