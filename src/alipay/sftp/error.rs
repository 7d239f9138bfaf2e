//! Why files could not be fetched, in words that lead to the repair.

use std::{io, net::SocketAddr, time::Duration};

use russh_sftp::client::error::Error as SftpError;

/// Why a server gave no file. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody knows the server's name.
    #[error("the name {host} cannot be resolved")]
    Unresolved {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answers at its address.
    #[error("cannot connect to {address}: is this machine's public address on Alipay's list?")]
    Unreachable {
        /// The last address that was tried.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A step took too long.
    #[error("timed out: {what} took longer than {} ms", .after.as_millis())]
    TimedOut {
        /// Which step.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// Another key than those that are believed: another server, or somebody in between.
    #[error(
        "the host key does not match: got {got}, expected {expected}; nothing was sent. If Alipay says that its key changed, pin the new one"
    )]
    HostKey {
        /// What the server showed.
        got: String,
        /// What is pinned.
        expected: String,
    },
    /// The server has only host keys of kinds that are not spoken.
    #[error("the server has no host key of a kind that is spoken here, only {theirs}{hint}")]
    KindOfHostKey {
        /// What it has.
        theirs: String,
        /// What may be done.
        hint: &'static str,
    },
    /// The server does not let us in.
    #[error("authentication refused: {user} with {with}")]
    Refused {
        /// As whom.
        user: String,
        /// With what.
        with: String,
    },
    /// The server has no SFTP for this user.
    #[error("the server refuses SFTP to this user")]
    NoSftp,
    /// None of the directories is there.
    #[error("no such directory: {0}")]
    NoDirectory(String),
    /// A file is longer than is taken.
    #[error("{path} is too long: {size} bytes, and at most {max} are taken (SFTP_MAX_FILE_MIB)")]
    TooLong {
        /// Which.
        path: String,
        /// How long it is, as far as it was read.
        size: u64,
        /// How long it may be.
        max: u64,
    },
    /// A file was cut, or is being written.
    #[error("{path} came with {size} bytes instead of {expected}: it was cut, or is being written")]
    Changing {
        /// Which.
        path: String,
        /// How much came.
        size: u64,
        /// How much the server had said.
        expected: u64,
    },
    /// The server says no.
    #[error("the server refuses: {0}")]
    Server(String),
    /// The connection broke.
    #[error("the connection was lost")]
    Lost(#[source] io::Error),
    /// The two do not understand each other.
    #[error("the connection failed")]
    Protocol(#[source] russh::Error),
    /// The file cannot be kept here.
    #[error("the file cannot be kept on this machine's disk")]
    Disk(#[source] io::Error),
}

impl FetchError {
    /// One word for metrics.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Unresolved { .. } => "unresolved",
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timed_out",
            Self::HostKey { .. } | Self::KindOfHostKey { .. } => "host_key",
            Self::Refused { .. } => "refused",
            Self::NoSftp | Self::NoDirectory(_) | Self::Server(_) => "server",
            Self::TooLong { .. } => "too_long",
            Self::Changing { .. } => "changing",
            Self::Lost(_) | Self::Protocol(_) => "lost",
            Self::Disk(_) => "disk",
        }
    }

    /// All that is known of it, in one line.
    pub fn in_words(&self) -> String {
        use std::{error::Error as _, fmt::Write as _};
        let mut words = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            // Writing to a String cannot fail.
            let _ = write!(words, ": {error}");
            source = error.source();
        }
        words
    }
}

impl From<russh::Error> for FetchError {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::NoCommonAlgo {
                kind: russh::AlgorithmKind::Key,
                theirs,
                ..
            } => {
                let rsa = theirs.iter().any(|kind| kind.contains("rsa"));
                Self::KindOfHostKey {
                    theirs: theirs.join(", "),
                    hint: if rsa && !super::RSA {
                        "; build this program with --features sftp-rsa to speak RSA"
                    } else {
                        ""
                    },
                }
            }
            russh::Error::IO(source) => Self::Lost(source),
            error => Self::Protocol(error),
        }
    }
}

impl From<SftpError> for FetchError {
    fn from(error: SftpError) -> Self {
        match error {
            SftpError::Status(status) => {
                let words = status.error_message.chars().filter(|c| !c.is_control());
                let words: String = words.take(200).collect();
                Self::Server(format!("{} ({words})", status.status_code))
            }
            SftpError::Timeout => Self::TimedOut {
                what: "an answer",
                after: Duration::ZERO,
            },
            error => Self::Lost(io::Error::other(error)),
        }
    }
}
