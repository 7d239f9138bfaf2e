//! A real OpenSSH server on loopback, with `internal-sftp` and keys that `ssh-keygen` made.
//!
//! As root it runs as `daemon`: OpenSSH wants a user and a directory of its own for a server of root's, which
//! no test should make on anybody's machine. So the only user who may log in is the one it runs as, by key;
//! passwords, which take root or PAM, are tested with [`super::fake_sftp`].

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use alipayhk_gateway::{
    alipay::sftp::{Login, SftpServer, SftpSettings},
    app::accounts::Fetching,
    domain::accounts::host_key::HostKey,
    domain::reconciliation::daily_file::FetchHours,
};
use chrono::{NaiveTime, TimeDelta};
use tokio::net::TcpStream;

use super::{PARTNER, eventually};

/// Who runs the server for root. Not `nobody`, whom some systems call locked, so that he may not log in.
const UNPRIVILEGED_USER: &str = "daemon";

/// The server, until it is dropped.
pub(crate) struct Sshd {
    child: Child,
    dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) user: String,
    owner: Option<(u32, u32)>,
}

impl Sshd {
    /// Starts a server; `None`, and a line that says so, on a machine that has none.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with("ed25519").await
    }

    /// The same, with a host key of a kind, and a key of that kind to log in with.
    pub(crate) async fn start_with(kind: &str) -> Option<Self> {
        let program = program()?;
        let dir = std::env::temp_dir().join(format!("sshd-{}", uuid::Uuid::now_v7()));
        fs::create_dir_all(dir.join("download")).expect("a directory");
        let owner = (id(&["-u"]) == "0").then(|| {
            let of = |what| id(&[what, UNPRIVILEGED_USER]).parse().expect("a number");
            (of("-u"), of("-g"))
        });
        let user = if owner.is_some() {
            UNPRIVILEGED_USER.to_owned()
        } else {
            id(&["-un"])
        };
        let port = free_port();
        for key in ["host", "client", "stranger"] {
            keygen(&dir.join(key), kind, "");
        }
        fs::copy(dir.join("client.pub"), dir.join("authorized_keys")).expect("a copy");
        let at = |name: &str| dir.join(name).display().to_string();
        let mut config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nPidFile none\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {}\n\
             Subsystem sftp internal-sftp\nForceCommand internal-sftp\nLogLevel DEBUG1\n",
            at("host"),
            at("authorized_keys"),
        );
        // Newer servers are several programs; unpacked ones are not where they were built to be.
        for (setting, name) in [
            ("SshdSessionPath", "sshd-session"),
            ("SshdAuthPath", "sshd-auth"),
        ] {
            let beside = program.join(format!("../../lib/openssh/{name}"));
            if let Ok(beside) = beside.canonicalize() {
                writeln!(config, "{setting} {}", beside.display()).expect("a String takes all");
            }
        }
        fs::write(dir.join("config"), config).expect("a file");
        let log = File::create(dir.join("log")).expect("a file");
        let mut command = Command::new(&program);
        command.args(["-D", "-e", "-f", &at("config")]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some((uid, gid)) = owner {
            command.uid(uid).gid(gid);
        }
        let server = Self {
            child: {
                hand_over(&dir, owner);
                command.spawn().expect("sshd starts")
            },
            dir,
            port,
            user,
            owner,
        };
        let address = ("127.0.0.1", port);
        eventually("sshd listens", async || {
            TcpStream::connect(address).await.is_ok()
        })
        .await;
        Some(server)
    }

    /// Lays a file out, such as `download/NAME` or `NAME`.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.dir.join(path);
        fs::write(&path, bytes).expect("a file");
        hand_over(&path, self.owner);
    }

    /// Lays a daily file out in the first directory.
    pub(crate) fn put_daily(&self, kind: &str, day: &str, bytes: &[u8]) {
        self.put(&format!("download/{PARTNER}_{kind}_{day}.txt"), bytes);
    }

    /// Takes a file or a directory away.
    pub(crate) fn remove(&self, path: &str) {
        let path = self.dir.join(path);
        let gone = if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        gone.expect("it was there");
    }

    /// Who may read a file.
    pub(crate) fn set_mode(&self, path: &str, mode: u32) {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.dir.join(path), mode).expect("a file");
    }

    /// A file beside the served ones: `client`, `stranger` and `host` are keys.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Its host key as a line of OpenSSH's.
    pub(crate) fn host_key_line(&self) -> String {
        fs::read_to_string(self.dir.join("host.pub")).expect("a file")
    }

    /// The directories that are served.
    pub(crate) fn directories(&self) -> Vec<String> {
        let root = self.dir.display();
        vec![format!("{root}/download/"), format!("{root}/")]
    }

    /// What the server says of itself.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).expect("a file")
    }

    /// How often somebody logged in.
    pub(crate) fn logins(&self) -> usize {
        self.log().matches("Accepted publickey").count()
    }

    /// How to fetch from here, with the right key and the right pin.
    pub(crate) fn settings(&self) -> SftpSettings {
        SftpSettings {
            user: self.user.clone(),
            login: Login::key(&self.path("client"), None).expect("a key"),
            host_keys: vec![pin(&self.host_key_line())],
            directories: self.directories(),
            ..settings(self.port)
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(io::stderr(), "sshd said:\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A server on loopback; what is not said is filled in by the caller.
pub(crate) fn settings(port: u16) -> SftpSettings {
    SftpSettings {
        host: "127.0.0.1".to_owned(),
        port,
        user: PARTNER.to_owned(),
        login: Login::Password("open sesame".into()),
        host_keys: vec![],
        directories: vec!["/download/".to_owned(), "/".to_owned()],
        connect_timeout: Duration::from_secs(10),
        read_timeout: Duration::from_secs(10),
        fetch_timeout: Duration::from_mins(1),
        max_bytes: 1024 * 1024,
    }
}

/// By the usual hours.
pub(crate) fn usually(settings: SftpSettings) -> Fetching {
    let time = |hour, minute| NaiveTime::from_hms_opt(hour, minute, 0).expect("a time");
    Fetching {
        server: SftpServer::new(settings),
        hours: FetchHours {
            first: time(10, 15),
            last: time(18, 0),
            interval: TimeDelta::hours(1),
            look_back_days: 6,
        },
    }
}

/// A pin as the configuration reads it.
pub(crate) fn pin(text: &str) -> HostKey {
    text.parse().expect("a pin")
}

/// Makes a key file.
pub(crate) fn keygen(path: &Path, kind: &str, passphrase: &str) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", passphrase, "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "ssh-keygen");
}

/// Whether the machine has `sshd`, and where.
#[expect(
    clippy::disallowed_methods,
    reason = "DEV_SSHD_BIN is said to the tests, not to the program"
)]
fn program() -> Option<PathBuf> {
    let named = std::env::var("DEV_SSHD_BIN")
        .ok()
        .filter(|name| !name.is_empty());
    let program = PathBuf::from(named.unwrap_or_else(|| "/usr/sbin/sshd".to_owned()));
    if program.is_file() {
        return Some(program);
    }
    let place = program.display();
    let _ = writeln!(io::stderr(), "SKIPPED: no sshd at {place} (DEV_SSHD_BIN)");
    None
}

/// A port that nobody listens on at this moment.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn hand_over(path: &Path, owner: Option<(u32, u32)>) {
    let Some((uid, gid)) = owner else { return };
    chown(path, Some(uid), Some(gid)).expect("root may");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            hand_over(&entry.expect("an entry").path(), owner);
        }
    }
}

/// Asks `id`.
fn id(arguments: &[&str]) -> String {
    let output = Command::new("id").args(arguments).output().expect("id");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}
