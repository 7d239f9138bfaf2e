//! What a simulator is started with: the options of `serve`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};

use crate::{
    clock::Clock,
    signing::{self, Keys, SignType},
    state::Simulator,
};

/// Which clock the simulator lives by.
#[derive(Clone, Copy, ValueEnum)]
pub enum ClockKind {
    /// The machine's, plus an offset that the control API sets.
    System,
    /// One that only moves through the control API.
    Manual,
}

/// What `serve` needs.
#[derive(Args)]
pub struct Settings {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "SIMULATOR_LISTEN", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The merchant's partner id: 16 digits.
    #[arg(long, env = "SIMULATOR_PARTNER")]
    pub partner: String,
    /// The agreed signature algorithm.
    #[arg(long, env = "SIMULATOR_SIGN_TYPE", default_value = "RSA2")]
    pub sign_type: SignType,
    /// Alipay's private key, which signs answers: PEM or base64, PKCS#8 or PKCS#1.
    #[arg(long, env = "SIMULATOR_PRIVATE_KEY_FILE")]
    pub private_key_file: Option<PathBuf>,
    /// The merchant's public key, which verifies requests: PEM or base64, SPKI or PKCS#1.
    #[arg(long, env = "SIMULATOR_MERCHANT_PUBLIC_KEY_FILE")]
    pub merchant_public_key_file: Option<PathBuf>,
    /// The shared MD5 key.
    #[arg(long, env = "SIMULATOR_MD5_KEY_FILE")]
    pub md5_key_file: Option<PathBuf>,
    /// Which clock to live by.
    #[arg(long, default_value = "system")]
    pub clock: ClockKind,
    /// The time at the start, RFC 3339; by default the machine's.
    #[arg(long)]
    pub now: Option<DateTime<Utc>>,
    /// How late the answer of scenario 2005 comes, in milliseconds.
    #[arg(long, default_value_t = 12_000)]
    pub slow_answer_ms: u64,
    /// Directory in which the daily files of each day are laid out at 09:30 GMT+8 of the clock.
    #[arg(long, env = "SIMULATOR_FILES_DIR")]
    pub files_dir: Option<PathBuf>,
}

impl Settings {
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
