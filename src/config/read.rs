//! Reads variables and remembers every fault.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use secrecy::SecretString;
use url::{Host, Url};

use super::variables::default_of;

/// What is wrong with one variable. Never holds a secret's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub name: &'static str,
    pub what: String,
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Fault>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} fault(s)", self.0.len())?;
        for fault in &self.0 {
            write!(f, "\n  {}: {}", fault.name, fault.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads by name from wherever the lookup looks.
pub(super) struct Reader<'l> {
    lookup: &'l dyn Fn(&str) -> Option<String>,
    faults: Vec<Fault>,
}

impl<'l> Reader<'l> {
    pub(super) fn new(lookup: &'l dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            faults: Vec::new(),
        }
    }

    /// The settings, if nothing is wrong with them.
    pub(super) fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        match build() {
            Some(settings) if self.faults.is_empty() => Ok(settings),
            _ => Err(ConfigError(self.faults)),
        }
    }

    pub(super) fn fault<T>(&mut self, name: &'static str, what: impl Into<String>) -> Option<T> {
        let what = what.into();
        self.faults.push(Fault { name, what });
        None
    }

    /// A value that may be left out and has no default.
    pub(super) fn optional(&mut self, name: &'static str) -> Option<String> {
        let value = (self.lookup)(name).map(|value| value.trim().to_owned());
        value.filter(|value| !value.is_empty())
    }

    /// A value that must be there, if only by default.
    pub(super) fn required(&mut self, name: &'static str) -> Option<String> {
        match self
            .optional(name)
            .or_else(|| default_of(name).map(str::to_owned))
        {
            Some(value) => Some(value),
            None => self.fault(name, "must be set"),
        }
    }

    /// A value of a form of its own; `form` says which.
    pub(super) fn parse<T: FromStr>(&mut self, name: &'static str, form: &str) -> Option<T> {
        let text = self.required(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) => self.fault(name, format!("must be {form}")),
        }
    }

    /// A value that a rule accepts.
    pub(super) fn matching(
        &mut self,
        name: &'static str,
        form: &str,
        rule: impl FnOnce(&str) -> bool,
    ) -> Option<String> {
        let text = self.required(name)?;
        if rule(&text) {
            Some(text)
        } else {
            self.fault(name, format!("must be {form}"))
        }
    }

    /// A whole number within limits.
    pub(super) fn number(&mut self, name: &'static str, min: u32, max: u32) -> Option<u32> {
        let form = format!("a whole number from {min} to {max}");
        let number = self.parse(name, &form)?;
        if (min..=max).contains(&number) {
            Some(number)
        } else {
            self.fault(name, format!("must be {form}"))
        }
    }

    /// The same, of things that are counted.
    pub(super) fn count(&mut self, name: &'static str, min: u32, max: u32) -> Option<usize> {
        let number = self.number(name, min, max)?;
        usize::try_from(number).ok()
    }

    /// Milliseconds, from 1 to an hour.
    pub(super) fn milliseconds(&mut self, name: &'static str) -> Option<Duration> {
        let ms = self.number(name, 1, 3_600_000)?;
        Some(Duration::from_millis(u64::from(ms)))
    }

    /// Where Alipay is asked. What is asked goes behind it, so it has no query and no fragment of its own.
    pub(super) fn endpoint(&mut self, name: &'static str) -> Option<Url> {
        let url = self.url(name)?;
        if is_endpoint(&url) {
            Some(url)
        } else {
            self.fault(name, NO_QUERY)
        }
    }

    /// An `http` or `https` URL without credentials.
    pub(super) fn url(&mut self, name: &'static str) -> Option<Url> {
        let url: Url = self.parse(name, "a URL")?;
        if is_plain_http(&url) {
            Some(url)
        } else {
            self.fault(
                name,
                "must be an http or https URL without user and password",
            )
        }
    }

    /// The same, where one is given.
    pub(super) fn optional_url(&mut self, name: &'static str) -> Option<Url> {
        self.optional(name)?;
        self.url(name)
    }

    /// The URL of a Postgres database, which holds its password.
    pub(super) fn database_url(&mut self, name: &'static str) -> Option<SecretString> {
        let text = self.required(name)?;
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        if matches!(scheme, Some("postgres" | "postgresql")) && Url::parse(&text).is_ok() {
            Some(SecretString::from(text))
        } else {
            self.fault(name, "must be a postgres:// URL")
        }
    }

    /// A file that must be there.
    pub(super) fn file(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = PathBuf::from(self.required(name)?);
        if path.is_file() {
            Some(path)
        } else {
            self.fault(name, format!("no such file: {}", path.display()))
        }
    }

    /// The same, where one is given.
    pub(super) fn optional_file(&mut self, name: &'static str) -> Option<PathBuf> {
        self.optional(name)?;
        self.file(name)
    }
}

/// Whether what is read from a URL can be relied on: by TLS, or because it never leaves the machine.
pub fn is_https_or_loopback(url: &Url) -> bool {
    is_plain_http(url) && (url.scheme() == "https" || is_loopback(url))
}

/// Whether a URL leads to this machine and no further.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// What an endpoint with a query or a fragment is told.
pub(super) const NO_QUERY: &str = "must end with the path: a query (?...) or fragment (#...) would be sent twice, and no signature would be right";

/// Whether a URL is one to which a request's own query can be added.
pub(super) fn is_endpoint(url: &Url) -> bool {
    url.query().is_none() && url.fragment().is_none()
}

/// Whether a URL is one that can be called without credentials in it.
pub(super) fn is_plain_http(url: &Url) -> bool {
    let plain = url.username().is_empty() && url.password().is_none();
    matches!(url.scheme(), "http" | "https") && url.has_host() && plain
}
