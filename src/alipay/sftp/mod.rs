//! Alipay's SFTP server, where the daily files lie (`docs/protocol.md` 9.2).
//!
//! Nothing is sent to a server whose host key is not pinned: neither a name nor a password. Every step has
//! its time-out, and a file goes to disk as it comes. Nothing here decides when to fetch, or what a file is
//! worth. Compression is not spoken, and neither is RSA unless this program was built with `sftp-rsa`
//! ([`RSA`]).

mod error;
mod login;

use std::{borrow::Cow, path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use russh::{
    ChannelMsg,
    client::{self, AuthResult, KeyboardInteractiveAuthResponse},
    keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate},
};
use russh_sftp::{
    client::{SftpSession, error::Error as SftpError},
    protocol::StatusCode,
};
use secrecy::ExposeSecret as _;
use tokio::{
    fs::OpenOptions,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::domain::accounts::host_key::HostKey;

pub use error::FetchError;
pub use login::{Login, LoginError};

/// Whether RSA keys are spoken. They need a release candidate of the crate `rsa`, which is in the program
/// only where that was asked for.
pub const RSA: bool = cfg!(feature = "sftp-rsa");

/// How much of a file is in memory at once.
const CHUNK: usize = 64 * 1024;

/// How often a server may ask on before it lets us in.
const MOST_QUESTIONS: usize = 4;

/// Where the files are, and how to get there.
#[derive(Clone, Debug)]
pub struct SftpSettings {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub login: Login,
    /// The host keys that are trusted.
    pub host_keys: Vec<HostKey>,
    /// Where files are looked for, in this order; each ends with a slash.
    pub directories: Vec<String>,
    /// How long resolving, connecting, greeting or logging in may take.
    pub connect_timeout: Duration,
    /// How long one answer may take.
    pub read_timeout: Duration,
    /// How long a whole fetch may take; the caller enforces it.
    pub fetch_timeout: Duration,
    /// The longest file that is taken.
    pub max_bytes: u64,
}

/// A server that may be connected to.
#[derive(Clone, Debug)]
pub struct SftpServer {
    settings: Arc<SftpSettings>,
}

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: String,
    pub size: u64,
    /// When it was last changed, if the server says so.
    pub modified_at: Option<DateTime<Utc>>,
}

/// A connection that is logged in.
pub struct SftpConnection {
    settings: Arc<SftpSettings>,
    handle: client::Handle<Checks>,
    sftp: SftpSession,
    /// Those of the configured directories that exist.
    directories: Vec<String>,
}

impl std::fmt::Debug for SftpConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SftpConnection")
            .field("host", &self.settings.host)
            .finish_non_exhaustive()
    }
}

impl SftpServer {
    /// A server; nothing is connected to yet.
    pub fn new(settings: SftpSettings) -> Self {
        Self {
            settings: Arc::new(settings),
        }
    }

    pub fn settings(&self) -> &SftpSettings {
        &self.settings
    }

    /// Connects, checks the host key, logs in, and looks which of the directories are there.
    pub async fn connect(&self) -> Result<SftpConnection, FetchError> {
        let settings = &self.settings;
        let stream = self.open_stream().await?;
        let checks = Checks {
            pins: settings.host_keys.clone(),
        };
        let greeting = client::connect_stream(Arc::new(self.client_config()), stream, checks);
        let mut handle = within(settings.connect_timeout, "the greeting", greeting).await??;
        let login = self.log_in(&mut handle);
        within(settings.connect_timeout, "logging in", login).await??;
        let opening = open_sftp(&handle, settings);
        let sftp = within(settings.read_timeout, "opening SFTP", opening).await??;
        let mut connection = SftpConnection {
            settings: Arc::clone(settings),
            handle,
            sftp,
            directories: vec![],
        };
        for directory in &settings.directories {
            match connection.stat(directory).await {
                // Not every server tells what a thing is.
                Ok(Some(there)) if there.is_dir() || there.permissions.is_none() => {
                    connection.directories.push(directory.clone());
                }
                // One that may not be entered is none of ours.
                Ok(_) | Err(FetchError::Server(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if connection.directories.is_empty() {
            return Err(FetchError::NoDirectory(settings.directories.join(", ")));
        }
        Ok(connection)
    }

    /// A TCP connection to the first of the server's addresses that takes one.
    async fn open_stream(&self) -> Result<TcpStream, FetchError> {
        let settings = &self.settings;
        let (host, port) = (settings.host.as_str(), settings.port);
        let resolving = lookup_host((host, port));
        let addresses = within(settings.connect_timeout, "resolving the name", resolving).await?;
        let addresses = addresses.map_err(|source| FetchError::Unresolved {
            host: host.to_owned(),
            source,
        })?;
        let mut failed = FetchError::Unresolved {
            host: host.to_owned(),
            source: std::io::Error::other("the name has no address"),
        };
        for address in addresses {
            let connecting = TcpStream::connect(address);
            match within(settings.connect_timeout, "connecting", connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(source)) => failed = FetchError::Unreachable { address, source },
                Err(timed_out) => failed = timed_out,
            }
        }
        Err(failed)
    }

    fn client_config(&self) -> client::Config {
        let settings = &self.settings;
        let mut config = client::Config {
            // What nobody waits for any more ends by itself.
            inactivity_timeout: Some(settings.fetch_timeout),
            ..client::Config::default()
        };
        config.preferred.key = Cow::Owned(host_key_algorithms(&settings.host_keys));
        config
    }

    async fn log_in(&self, handle: &mut client::Handle<Checks>) -> Result<(), FetchError> {
        let (user, login) = (self.settings.user.as_str(), &self.settings.login);
        let is_in = match login {
            Login::Key(key) => {
                let hash = if key.algorithm().is_rsa() {
                    handle.best_supported_rsa_hash().await?.flatten()
                } else {
                    None
                };
                let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
                handle.authenticate_publickey(user, key).await?.success()
            }
            Login::Password(password) => {
                let password = password.expose_secret();
                match handle.authenticate_password(user, password).await? {
                    AuthResult::Success => true,
                    // Many servers ask for the password in a dialogue only.
                    AuthResult::Failure {
                        remaining_methods, ..
                    } => {
                        remaining_methods.contains(&russh::MethodKind::KeyboardInteractive)
                            && answer_questions(handle, user, password).await?
                    }
                }
            }
        };
        if is_in {
            return Ok(());
        }
        Err(FetchError::Refused {
            user: user.to_owned(),
            with: login.in_words(),
        })
    }
}

impl SftpConnection {
    /// Looks for a file, in one directory after the other.
    pub async fn look(&self, name: &str) -> Result<Option<Found>, FetchError> {
        for directory in &self.directories {
            let path = format!("{directory}{name}");
            let Some(there) = self.stat(&path).await? else {
                continue;
            };
            if there.is_dir() {
                continue;
            }
            let modified_at = there
                .mtime
                .map(|seconds| DateTime::from_timestamp(i64::from(seconds), 0).unwrap_or_default());
            return Ok(Some(Found {
                path,
                size: there.size.unwrap_or_default(),
                modified_at,
            }));
        }
        Ok(None)
    }

    /// Brings a file to `to`, which must not be there yet, and answers how long it is.
    pub async fn bring(&self, found: &Found, to: &Path) -> Result<u64, FetchError> {
        let (path, max) = (found.path.as_str(), self.settings.max_bytes);
        let too_long = |size| FetchError::TooLong {
            path: path.to_owned(),
            size,
            max,
        };
        if found.size > max {
            return Err(too_long(found.size));
        }
        let patience = self.settings.read_timeout;
        let opening = self.sftp.open(path);
        let mut file = within(patience, "opening a file", opening).await??;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut out = options.open(to).await.map_err(FetchError::Disk)?;
        let mut chunk = vec![0; CHUNK];
        let mut size = 0_u64;
        loop {
            let read = within(patience, "reading a file", file.read(&mut chunk)).await?;
            let read = read.map_err(FetchError::Lost)?;
            if read == 0 {
                break;
            }
            size = size.saturating_add(read.try_into().unwrap_or(u64::MAX));
            if size > max {
                return Err(too_long(size));
            }
            out.write_all(&chunk[..read])
                .await
                .map_err(FetchError::Disk)?;
        }
        out.flush().await.map_err(FetchError::Disk)?;
        // One that is being written while it is read must not pass for the whole.
        if size != found.size {
            return Err(FetchError::Changing {
                path: path.to_owned(),
                size,
                expected: found.size,
            });
        }
        Ok(size)
    }

    /// Says goodbye; a server that does not listen is left without.
    pub async fn close(self) {
        let patience = self.settings.connect_timeout;
        let _ = timeout(patience, async {
            let _ = self.sftp.close().await;
            let reason = russh::Disconnect::ByApplication;
            let _ = self.handle.disconnect(reason, "", "").await;
        })
        .await;
    }

    async fn stat(
        &self,
        path: &str,
    ) -> Result<Option<russh_sftp::protocol::FileAttributes>, FetchError> {
        let asking = self.sftp.metadata(path);
        match within(self.settings.read_timeout, "asking for a file", asking).await? {
            Ok(there) => Ok(Some(there)),
            Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Lets the server ask on, and answers every hidden question with the password.
async fn answer_questions(
    handle: &mut client::Handle<Checks>,
    user: &str,
    password: &str,
) -> Result<bool, FetchError> {
    let mut asked = handle
        .authenticate_keyboard_interactive_start(user, None)
        .await?;
    for _ in 0..MOST_QUESTIONS {
        let KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } = &asked else {
            break;
        };
        let answers = prompts.iter().map(|prompt| {
            if prompt.echo {
                String::new()
            } else {
                password.to_owned()
            }
        });
        let answers = answers.collect();
        asked = handle
            .authenticate_keyboard_interactive_respond(answers)
            .await?;
    }
    Ok(matches!(asked, KeyboardInteractiveAuthResponse::Success))
}

async fn open_sftp(
    handle: &client::Handle<Checks>,
    settings: &SftpSettings,
) -> Result<SftpSession, FetchError> {
    let mut channel = handle.channel_open_session().await?;
    channel.request_subsystem(true, "sftp").await?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => break,
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            _ => return Err(FetchError::NoSftp),
        }
    }
    let config = russh_sftp::client::Config {
        request_timeout_secs: settings.read_timeout.as_secs().max(1),
        ..russh_sftp::client::Config::default()
    };
    Ok(SftpSession::new_with_config(channel.into_stream(), config).await?)
}

/// The kinds of host keys that are spoken, those of the pins first: a server with several keys shows the
/// first that it has.
fn host_key_algorithms(pins: &[HostKey]) -> Vec<Algorithm> {
    let ecdsa = |curve| Algorithm::Ecdsa { curve };
    let mut all = vec![
        Algorithm::Ed25519,
        ecdsa(EcdsaCurve::NistP256),
        ecdsa(EcdsaCurve::NistP384),
        ecdsa(EcdsaCurve::NistP521),
    ];
    if RSA {
        // Never with SHA-1.
        for hash in [HashAlg::Sha512, HashAlg::Sha256] {
            all.push(Algorithm::Rsa { hash: Some(hash) });
        }
    }
    let is_pinned = |algorithm: &Algorithm| {
        pins.iter().any(|pin| match algorithm {
            Algorithm::Rsa { .. } => pin.kind.as_deref() == Some("ssh-rsa"),
            other => pin.kind.as_deref() == Some(other.as_str()),
        })
    };
    // Stable: each half stays in its order.
    all.sort_by_key(|algorithm| !is_pinned(algorithm));
    all
}

/// What is believed of a server.
#[derive(Debug)]
struct Checks {
    pins: Vec<HostKey>,
}

impl client::Handler for Checks {
    type Error = FetchError;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, FetchError> {
        let key = shown.public_key();
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let sha256 = fingerprint.sha256();
        if shown.certificate().is_none() && self.pins.iter().any(|pin| Some(pin.sha256) == sha256) {
            return Ok(true);
        }
        let expected: Vec<String> = self.pins.iter().map(HostKey::fingerprint).collect();
        Err(FetchError::HostKey {
            got: format!("{} {fingerprint}", key.algorithm()),
            expected: expected.join(" or "),
        })
    }
}

/// Waits, not for ever.
async fn within<T>(
    patience: Duration,
    what: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, FetchError> {
    timeout(patience, work)
        .await
        .map_err(|_| FetchError::TimedOut {
            what,
            after: patience,
        })
}
