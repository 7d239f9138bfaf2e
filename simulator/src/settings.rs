//! The command line: `serve`, `scenarios`, `healthcheck`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    clock::Clock,
    signing::{self, Keys, SignType},
    state::Simulator,
};

/// A stateful imitation of Alipay's barcode payment gateway, for tests and demonstrations.
#[derive(Parser)]
#[command(name = "alipay-simulator", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the simulator. The first line on stdout says where it listens.
    Serve(Serve),
    /// Print the scenario table in Markdown.
    Scenarios,
    /// Exit with 0 if a running simulator answers, for a container's health check.
    Healthcheck {
        /// Base URL, for example `http://127.0.0.1:8090`.
        #[arg(long, env = "SIMULATOR_URL", default_value = "http://127.0.0.1:8090")]
        url: String,
    },
}

/// Which clock the simulator lives by.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ClockKind {
    /// The machine's, plus an offset that the control API sets.
    System,
    /// One that only moves through the control API.
    Manual,
}

/// What `serve` needs.
#[derive(Args)]
pub(crate) struct Serve {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "SIMULATOR_LISTEN", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// The merchant's partner id: 16 digits.
    #[arg(long, env = "SIMULATOR_PARTNER")]
    partner: String,
    /// The agreed signature algorithm.
    #[arg(long, env = "SIMULATOR_SIGN_TYPE", default_value = "RSA2")]
    sign_type: SignType,
    /// Alipay's private key, which signs answers: PEM or base64, PKCS#8 or PKCS#1.
    #[arg(long, env = "SIMULATOR_PRIVATE_KEY_FILE")]
    private_key_file: Option<PathBuf>,
    /// The merchant's public key, which verifies requests: PEM or base64, SPKI or PKCS#1.
    #[arg(long, env = "SIMULATOR_MERCHANT_PUBLIC_KEY_FILE")]
    merchant_public_key_file: Option<PathBuf>,
    /// The shared MD5 key.
    #[arg(long, env = "SIMULATOR_MD5_KEY_FILE")]
    md5_key_file: Option<PathBuf>,
    /// Which clock to live by.
    #[arg(long, default_value = "system")]
    clock: ClockKind,
    /// The time at the start, RFC 3339; by default the machine's.
    #[arg(long)]
    now: Option<DateTime<Utc>>,
    /// How late the answer of scenario 2005 comes, in milliseconds.
    #[arg(long, default_value_t = 12_000)]
    slow_answer_ms: u64,
    /// Directory in which the daily files of each day are laid out at 09:30 GMT+8 of the clock.
    #[arg(long, env = "SIMULATOR_FILES_DIR")]
    files_dir: Option<PathBuf>,
    /// Stop when stdin reaches its end.
    #[arg(long)]
    pub(crate) exit_with_parent: bool,
}

impl Serve {
    /// Reads the keys and builds the simulator.
    pub(crate) fn simulator(&self) -> anyhow::Result<Simulator> {
        if self.partner.len() != 16 || !self.partner.bytes().all(|byte| byte.is_ascii_digit()) {
            bail!("--partner must be 16 digits");
        }
        let mut clock = match self.clock {
            ClockKind::System => Clock::system(),
            ClockKind::Manual => Clock::manual(self.now),
        };
        if let Some(now) = self.now {
            clock.set(now);
        }
        let slow_answer = Duration::from_millis(self.slow_answer_ms);
        Simulator::new(
            self.partner.clone(),
            self.keys()?,
            slow_answer,
            clock,
            self.files_dir.clone(),
        )
    }

    fn keys(&self) -> anyhow::Result<Keys> {
        let md5_key = self
            .md5_key_file
            .as_deref()
            .map(|file| read_key(file, |text| Ok(text.trim().to_owned())));
        let md5_key = md5_key.transpose()?;
        if self.sign_type == SignType::Md5 {
            let key = md5_key.context("--sign-type MD5 needs --md5-key-file")?;
            return Ok(Keys::Md5 { key });
        }
        let missing =
            "--sign-type RSA2 and RSA need --private-key-file and --merchant-public-key-file";
        let private = self.private_key_file.as_deref().context(missing)?;
        let merchant = self.merchant_public_key_file.as_deref().context(missing)?;
        Ok(Keys::Rsa {
            sha256: self.sign_type == SignType::Rsa2,
            private: Box::new(read_key(private, signing::private_key)?),
            merchant: read_key(merchant, signing::public_key)?,
            md5_key,
        })
    }
}

fn read_key<K>(file: &Path, parse: impl Fn(&str) -> anyhow::Result<K>) -> anyhow::Result<K> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("cannot read the key file {}", file.display()))?;
    parse(&text).with_context(|| format!("no usable key in {}", file.display()))
}

/// Asks a running simulator whether it is well.
pub(crate) fn healthcheck(url: &str) -> anyhow::Result<()> {
    let host = url
        .strip_prefix("http://")
        .context("the URL must begin with http://")?;
    let host = host.split('/').next().unwrap_or_default();
    let patience = Some(Duration::from_secs(3));
    let mut stream = TcpStream::connect(host).with_context(|| format!("cannot reach {host}"))?;
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    write!(
        stream,
        "GET /_control/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        bail!("unhealthy: {}", answer.lines().next().unwrap_or_default());
    }
    Ok(())
}
