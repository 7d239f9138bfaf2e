//! The settings by section, each with its rules.

use std::{fs, net::SocketAddr, str::FromStr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::TimeDelta;
use secrecy::{SecretSlice, SecretString};
use url::Url;
use zeroize::Zeroizing;

use super::{accounts::partner, forms::digits, read::Reader};
use crate::domain::{accounts::timeouts::Timeouts, admission::LoadLimits, merchants::store::Store};

/// Fewest bytes of the secret key: those of the hash it keys.
const MIN_SECRET_KEY_BYTES: usize = 32;

/// Where to listen, and how to stop.
#[derive(Clone, Debug)]
pub struct Http {
    pub listen: SocketAddr,
    /// How callers and Alipay reach this service.
    pub public_base_url: Url,
    /// How long requests under way may take to finish when stopping.
    pub shutdown_grace: Duration,
    /// How long a client may take for the head of a request.
    pub header_timeout: Duration,
    /// Most connections at once.
    pub max_connections: usize,
}

impl Http {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let listen: Option<SocketAddr> =
            reader.parse("HTTP_LISTEN", "an address and port such as 127.0.0.1:8080");
        let given = reader.optional("PUBLIC_BASE_URL").is_some();
        let public_base_url = if given {
            base_url(reader, "PUBLIC_BASE_URL")
        } else {
            listen.and_then(|listen| Url::parse(&format!("http://{listen}")).ok())
        };
        let shutdown_grace = reader.milliseconds("SHUTDOWN_GRACE_MS");
        let header_timeout = reader.milliseconds("HTTP_HEADER_TIMEOUT_MS");
        let max_connections = reader.count("HTTP_MAX_CONNECTIONS", 16, 1_000_000);
        Some(Self {
            listen: listen?,
            public_base_url: public_base_url?,
            shutdown_grace: shutdown_grace?,
            header_timeout: header_timeout?,
            max_connections: max_connections?,
        })
    }
}

/// How much one replica lets in.
pub(super) fn load_limits(reader: &mut Reader) -> Option<LoadLimits> {
    let requests_per_second = reader.number("RATE_LIMIT_PER_SECOND", 0, 1_000_000);
    let burst = reader.number("RATE_LIMIT_BURST", 1, 1_000_000);
    let work = reader.count("MAX_WORK", 1, 100_000);
    let work_per_merchant = reader.count("MAX_WORK_PER_MERCHANT", 1, 100_000);
    let waiting = reader.count("MAX_WAITING", 1, 1_000_000);
    Some(LoadLimits {
        requests_per_second: requests_per_second?,
        burst: burst?,
        work: work?,
        work_per_merchant: work_per_merchant?,
        waiting: waiting?,
        ..LoadLimits::default()
    })
}

/// For how long after a sale whoever takes payments may cancel it although it is paid.
pub(super) fn till_undo(reader: &mut Reader) -> Option<TimeDelta> {
    let seconds = reader.number("TILL_UNDO_SECONDS", 0, 86_400)?;
    Some(TimeDelta::seconds(i64::from(seconds)))
}

/// A URL that paths are appended to.
fn base_url(reader: &mut Reader, name: &'static str) -> Option<Url> {
    let url = reader.url(name)?;
    if url.query().is_some() || url.fragment().is_some() {
        return reader.fault(name, "must end with a path: without ? and #");
    }
    Some(url)
}

/// Where state is kept.
#[derive(Clone, Debug)]
pub struct Database {
    pub url: SecretString,
    /// Most connections.
    pub max_connections: u32,
}

impl Database {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let url = reader.database_url("DATABASE_URL");
        let max_connections = reader.number("DATABASE_MAX_CONNECTIONS", 2, 1_000);
        Some(Self {
            url: url?,
            max_connections: max_connections?,
        })
    }
}

/// As whom `migrate` changes the schema, and for whom.
#[derive(Debug)]
pub struct Owner {
    /// The owner's URL; the service's where none is given.
    pub url: Option<SecretString>,
    /// The service's own settings: its role gets what it needs.
    pub service: Database,
}

impl Owner {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        const NAME: &str = "MIGRATE_DATABASE_URL";
        let service = Database::read(reader);
        let given = reader.optional(NAME).is_some();
        let url = given.then(|| reader.database_url(NAME));
        Some(Self {
            url: match url {
                Some(url) => Some(url?),
                None => None,
            },
            service: service?,
        })
    }
}

/// The key of keyed hashes: API keys, request fingerprints, scanned codes.
#[derive(Clone, Debug)]
pub struct SecretKey(pub SecretSlice<u8>);

impl SecretKey {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        const NAME: &str = "SECRET_KEY_FILE";
        let path = reader.file(NAME)?;
        let shown = path.display();
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) => return reader.fault(NAME, format!("cannot read {shown}: {error}")),
        };
        match BASE64_STANDARD.decode(text.trim()) {
            Ok(bytes) if bytes.len() >= MIN_SECRET_KEY_BYTES => {
                Some(Self(SecretSlice::from(bytes)))
            }
            Ok(_) => reader.fault(
                NAME,
                format!("{shown} must hold at least 32 bytes as base64"),
            ),
            Err(_) => reader.fault(NAME, format!("{shown} must hold base64")),
        }
    }
}

/// What becomes of keys, endpoints and secrets that only a trial may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// The program does not start with them.
    Refuse,
    /// It starts, and warns of each.
    Warn,
    /// It starts: a debug build takes no real money.
    Ignore,
}

impl Strictness {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        const NAME: &str = "TRIAL_MODE";
        match reader.optional(NAME).as_deref() {
            None if cfg!(debug_assertions) => Some(Self::Ignore),
            None | Some("false") => Some(Self::Refuse),
            Some("true") => Some(Self::Warn),
            Some(_) => reader.fault(NAME, "must be true or false"),
        }
    }
}

/// How to find out what stayed open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// When to ask first, after the intent was stored.
    pub first_query: Duration,
    /// How long after one query to ask again.
    pub query_interval: Duration,
    /// How often a replica looks for due work.
    pub poll_interval: Duration,
    /// How long a worker owns a piece of work.
    pub lease: Duration,
    /// How many pieces of work a replica does at once.
    pub workers: u32,
}

impl FollowUp {
    pub(super) fn read(reader: &mut Reader, timeouts: Option<&Timeouts>) -> Option<Self> {
        let first_query = reader.milliseconds("FOLLOW_UP_FIRST_QUERY_MS");
        let query_interval = reader.milliseconds("FOLLOW_UP_QUERY_INTERVAL_MS");
        let poll_interval = reader.milliseconds("FOLLOW_UP_POLL_INTERVAL_MS");
        let lease = reader.milliseconds("FOLLOW_UP_LEASE_MS");
        let workers = reader.number("FOLLOW_UP_WORKERS", 1, 256);
        // A worker that loses its lease in the middle of a call lets another one ask too; three
        // times the longest call leaves room for the database as well.
        if let (Some(lease), Some(timeouts)) = (lease, timeouts) {
            let needed = timeouts.longest_follow_up() * 3;
            if lease < needed {
                let needed_ms = needed.as_millis();
                let what = format!(
                    "must be at least {needed_ms}: 3 times the longest of ALIPAY_QUERY_TIMEOUT_MS, \
                     ALIPAY_CANCEL_TIMEOUT_MS and ALIPAY_REFUND_TIMEOUT_MS"
                );
                return reader.fault("FOLLOW_UP_LEASE_MS", what);
            }
        }
        Some(Self {
            first_query: first_query?,
            query_interval: query_interval?,
            poll_interval: poll_interval?,
            lease: lease?,
            workers: workers?,
        })
    }
}

/// The merchant and store that `migrate` makes where there is none, so that `store_id` may be left
/// out of requests. What Alipay must be told of them has no default: a wrong store on a buyer's bill
/// is worse than a refusal to start (`docs/protocol.md` 4.2, `extend_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstMerchant {
    /// The merchant's name here.
    pub name: String,
    /// The default store; its name is also what the buyer reads where a request has no description.
    pub store: Store,
}

impl FirstMerchant {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let partner = partner(reader);
        let secondary_merchant_id = reader.matching(
            "SECONDARY_MERCHANT_ID",
            "1 to 64 letters, digits and underscores",
            |text| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
        );
        let secondary_merchant_name = title(reader, "SECONDARY_MERCHANT_NAME", 128);
        let secondary_merchant_industry =
            reader.matching("SECONDARY_MERCHANT_INDUSTRY", "4 digits", |text| {
                text.len() == 4 && digits(text)
            });
        let store_id = reader.matching(
            "STORE_ID",
            "1 to 64 printable ASCII characters without \"",
            |text| text.len() <= 64 && text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"'),
        );
        let store_name = title(reader, "STORE_NAME", 256);
        let name = if reader.optional("MERCHANT_NAME").is_some() {
            title(reader, "MERCHANT_NAME", 128)
        } else {
            secondary_merchant_name.clone()
        };
        Some(Self {
            name: name?,
            store: Store {
                store_id: store_id?,
                store_name: store_name?,
                partner: partner?,
                secondary_merchant_id: secondary_merchant_id?,
                secondary_merchant_name: secondary_merchant_name?,
                secondary_merchant_industry: secondary_merchant_industry?,
            },
        })
    }
}

/// A name that people read.
fn title(reader: &mut Reader, name: &'static str, longest: usize) -> Option<String> {
    let form = format!(
        "at most {longest} bytes in UTF-8 (most Chinese characters have 3), without \" and control characters"
    );
    reader.matching(name, &form, |text| {
        let plain = !text.chars().any(|c| c == '"' || c.is_control());
        plain && text.len() <= longest
    })
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(()),
        }
    }
}

/// Logs and traces.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which events are logged.
    pub log_filter: String,
    /// Base URL of an OTLP/HTTP collector.
    pub otlp_endpoint: Option<Url>,
    /// What traces call this service.
    pub service_name: String,
}

impl Telemetry {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let log_format = reader.parse("LOG_FORMAT", "json or text");
        let log_filter = reader.matching(
            "LOG_FILTER",
            "a list of levels and targets such as info,alipayhk_gateway=debug",
            |text| tracing_subscriber::EnvFilter::try_new(text).is_ok(),
        );
        let otlp_endpoint = reader.optional_url("OTEL_EXPORTER_OTLP_ENDPOINT");
        let service_name = reader.required("OTEL_SERVICE_NAME");
        Some(Self {
            log_format: log_format?,
            log_filter: log_filter?,
            otlp_endpoint,
            service_name: service_name?,
        })
    }
}
