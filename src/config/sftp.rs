//! Where an account's daily files are fetched (`docs/protocol.md` 9.2, 9.3): off where no host is named.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::TimeDelta;

use super::{forms::time_of_day, read::Reader, table::Members};
use crate::domain::{accounts::host_key::HostKey, reconciliation::daily_file::FetchHours};

/// What says where the files of the environment's account are: none of them goes without the first.
pub(super) const OF_ONE_ACCOUNT: [&str; 7] = [
    "SFTP_HOST",
    "SFTP_PORT",
    "SFTP_USER",
    "SFTP_PASSWORD_FILE",
    "SFTP_PRIVATE_KEY_FILE",
    "SFTP_PASSPHRASE_FILE",
    "SFTP_HOST_KEYS",
];
const NO_PIN: &str = "must be given: the SHA256 fingerprint or the public-key line of the server's host key, as Alipay \
     tells it (`ssh-keyscan` shows what answers, `ssh-keygen -lf -` its fingerprint); without it anybody in between \
     could read the password and make up the files";
const PIN_FORM: &str =
    "must hold SHA256:... fingerprints or OpenSSH public-key lines such as ssh-ed25519 AAAA...";
const LOGIN: &str = "either a password or a private key must be given, and not both";
const HOST_FORM: &str = "must be a host name or an address";
const PATH_FORM: &str = "must be absolute directories such as /download/";
const LAST_FORM: &str = "must be later than the first";

/// Where an account's daily files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sftp {
    /// The server's name or address.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub login: SftpLogin,
    /// The host keys that are trusted, at least one.
    pub host_keys: Vec<HostKey>,
    /// Where and when files are looked for.
    pub habits: SftpHabits,
}

/// What proves to the server who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SftpLogin {
    PasswordFile(PathBuf),
    KeyFile {
        path: PathBuf,
        /// Its passphrase, if it is encrypted.
        passphrase: Option<PathBuf>,
    },
}

/// How files are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SftpHabits {
    /// Tried in this order.
    pub directories: Vec<String>,
    pub hours: FetchHours,
    /// The longest file that is taken.
    pub max_bytes: u64,
    pub connect_timeout: Duration,
    /// How long one answer may take.
    pub read_timeout: Duration,
    /// How long all of one fetch may take.
    pub fetch_timeout: Duration,
}

impl SftpHabits {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let text = reader.required("SFTP_DIRECTORIES");
        let directories = text.and_then(|text| {
            let read = directories(text.split(',').map(str::trim));
            read.or_else(|| reader.fault("SFTP_DIRECTORIES", PATH_FORM))
        });
        let mut time = |name| {
            let text = reader.matching(name, "a time of day such as 10:15", |text| {
                time_of_day(text).is_some()
            })?;
            time_of_day(&text)
        };
        let first = time("SFTP_FIRST");
        let last = time("SFTP_LAST");
        if let (Some(first), Some(last)) = (first, last)
            && last <= first
        {
            reader.fault::<()>("SFTP_LAST", LAST_FORM);
        }
        let minutes = reader.number("SFTP_INTERVAL_MINUTES", 5, 1_440);
        let look_back_days = reader.number("SFTP_LOOK_BACK_DAYS", 1, 30);
        let mebibytes = reader.number("SFTP_MAX_FILE_MIB", 1, 16_384);
        let connect_timeout = reader.milliseconds("SFTP_CONNECT_TIMEOUT_MS");
        let read_timeout = reader.milliseconds("SFTP_READ_TIMEOUT_MS");
        let fetch_timeout = reader.milliseconds("SFTP_FETCH_TIMEOUT_MS");
        Some(Self {
            directories: directories?,
            hours: FetchHours {
                first: first?,
                last: last?,
                interval: TimeDelta::minutes(minutes?.into()),
                look_back_days: look_back_days?,
            },
            max_bytes: u64::from(mebibytes?) * 1024 * 1024,
            connect_timeout: connect_timeout?,
            read_timeout: read_timeout?,
            fetch_timeout: fetch_timeout?,
        })
    }
}

/// Reads where the files of the environment's account are.
pub(super) fn read(reader: &mut Reader, habits: Option<&SftpHabits>) -> Option<Sftp> {
    let Some(host) = reader.optional("SFTP_HOST") else {
        for name in &OF_ONE_ACCOUNT[1..] {
            if reader.optional(name).is_some() {
                reader.fault::<()>(
                    name,
                    "must not be set without SFTP_HOST, which turns fetching on",
                );
            }
        }
        return None;
    };
    let host = if is_host(&host) {
        Some(host)
    } else {
        reader.fault("SFTP_HOST", HOST_FORM)
    };
    let port = reader.number("SFTP_PORT", 1, 65_535);
    let user = reader.required("SFTP_USER");
    let password = reader.optional_file("SFTP_PASSWORD_FILE");
    let passphrase = reader.optional_file("SFTP_PASSPHRASE_FILE");
    let key = reader.optional_file("SFTP_PRIVATE_KEY_FILE");
    let is_given = |reader: &mut Reader, name| reader.optional(name).is_some();
    let (by_password, by_key) = (
        is_given(reader, "SFTP_PASSWORD_FILE"),
        is_given(reader, "SFTP_PRIVATE_KEY_FILE"),
    );
    if by_password == by_key {
        reader.fault::<()>("SFTP_PASSWORD_FILE", LOGIN);
    }
    if passphrase.is_some() && !by_key {
        reader.fault::<()>("SFTP_PASSPHRASE_FILE", "belongs to a private key");
    }
    let host_keys = match reader.optional("SFTP_HOST_KEYS") {
        None => reader.fault("SFTP_HOST_KEYS", NO_PIN),
        Some(text) => {
            pins(text.split([',', '\n'])).or_else(|| reader.fault("SFTP_HOST_KEYS", PIN_FORM))
        }
    };
    Some(Sftp {
        host: host?,
        port: u16::try_from(port?).ok()?,
        user: user?,
        login: login(password, key, passphrase)?,
        host_keys: host_keys?,
        habits: habits?.clone(),
    })
}

/// Reads `[account.sftp]`, where there is one; `default` are the habits of the environment.
pub(super) fn of_file(
    members: &mut Members,
    folder: &Path,
    default: &SftpHabits,
    faults: &mut Vec<String>,
) -> Option<Sftp> {
    let (at, table) = members.table("sftp", faults)?;
    let mut sftp = Members::new(table, at.clone());
    let host = sftp.text("host", faults, HOST_FORM, |text| {
        is_host(text).then(|| text.to_owned())
    });
    sftp.require("host", faults);
    let port = sftp.integer("port", 1, 65_535, faults).unwrap_or(22);
    let user = sftp.text("user", faults, "must be a name", |text| {
        Some(text.to_owned())
    });
    sftp.require("user", faults);
    let mut file = |name: &'static str, faults: &mut Vec<String>| {
        let path = sftp.text(name, faults, "must be a path", |text| {
            Some(folder.join(text))
        })?;
        if path.is_file() {
            return Some(path);
        }
        faults.push(format!("{at}{name}: no such file: {}", path.display()));
        None
    };
    let password = file("password_file", faults);
    let key = file("private_key_file", faults);
    let passphrase = file("passphrase_file", faults);
    let (by_password, by_key) = (
        table.contains_key("password_file"),
        table.contains_key("private_key_file"),
    );
    if by_password == by_key {
        faults.push(format!("{at}password_file: {LOGIN}"));
    }
    if passphrase.is_some() && !by_key {
        faults.push(format!("{at}passphrase_file: belongs to a private key"));
    }
    let host_keys = match sftp.texts("host_keys") {
        None => {
            faults.push(format!("{at}host_keys: {NO_PIN}"));
            None
        }
        Some(texts) => pins(texts.into_iter()).or_else(|| {
            faults.push(format!("{at}host_keys: {PIN_FORM}"));
            None
        }),
    };
    let habits = habits_of_file(&mut sftp, default, faults);
    sftp.finish(faults);
    Some(Sftp {
        host: host?,
        port: u16::try_from(port).ok()?,
        user: user?,
        login: login(password, key, passphrase)?,
        host_keys: host_keys?,
        habits,
    })
}

fn habits_of_file(
    members: &mut Members,
    default: &SftpHabits,
    faults: &mut Vec<String>,
) -> SftpHabits {
    let mut habits = default.clone();
    if let Some(texts) = members.texts("directories") {
        match directories(texts.into_iter()) {
            Some(read) => habits.directories = read,
            None => members.fault("directories", PATH_FORM, faults),
        }
    }
    let form = "must be a time of day such as \"10:15\"";
    habits.hours.first = members
        .text("first", faults, form, time_of_day)
        .unwrap_or(habits.hours.first);
    habits.hours.last = members
        .text("last", faults, form, time_of_day)
        .unwrap_or(habits.hours.last);
    if habits.hours.last <= habits.hours.first {
        members.fault("last", LAST_FORM, faults);
    }
    if let Some(minutes) = members.integer("interval_minutes", 5, 1_440, faults) {
        habits.hours.interval = TimeDelta::minutes(minutes);
    }
    if let Some(days) = members.integer("look_back_days", 1, 30, faults) {
        habits.hours.look_back_days = u32::try_from(days).unwrap_or(default.hours.look_back_days);
    }
    habits
}

fn login(
    password: Option<PathBuf>,
    key: Option<PathBuf>,
    passphrase: Option<PathBuf>,
) -> Option<SftpLogin> {
    match (password, key) {
        (Some(path), None) => Some(SftpLogin::PasswordFile(path)),
        (None, Some(path)) => Some(SftpLogin::KeyFile { path, passphrase }),
        _ => None,
    }
}

fn pins<'t>(texts: impl Iterator<Item = &'t str>) -> Option<Vec<HostKey>> {
    let pins: Option<Vec<HostKey>> = texts
        .filter(|text| !text.trim().is_empty())
        .map(|text| text.parse().ok())
        .collect();
    pins.filter(|pins| !pins.is_empty())
}

/// Each with the slash that a name is put behind.
fn directories<'t>(texts: impl Iterator<Item = &'t str>) -> Option<Vec<String>> {
    let read: Option<Vec<String>> = texts
        .map(|text| {
            let good = text.starts_with('/') && !text.chars().any(char::is_control);
            good.then(|| format!("{}/", text.trim_end_matches('/')))
        })
        .collect();
    read.filter(|read| !read.is_empty())
}

/// A name, or an address with its brackets left out.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    text.len() <= 253 && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_end_with_a_slash_whatever_was_written() {
        let read = directories(["/download", "/a/b/", "/"].into_iter());
        assert_eq!(read.expect("directories"), ["/download/", "/a/b/", "/"]);
        assert_eq!(directories(["download"].into_iter()), None);
    }
}
