//! Every variable, its default and its meaning: what `--help` prints.

use std::fmt::Write as _;

/// A variable of the environment.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    pub name: &'static str,
    /// What it is where it is not set; `None` where it must be set, or may be left out, as
    /// `meaning` says.
    pub default: Option<&'static str>,
    /// What it is for, with its unit and limits.
    pub meaning: &'static str,
}

const fn variable(
    name: &'static str,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Variable {
    Variable {
        name,
        default,
        meaning,
    }
}

/// Every variable, by section.
#[rustfmt::skip]
pub const VARIABLES: &[Variable] = &[
    variable("HTTP_LISTEN", Some("127.0.0.1:8080"), "address and port to listen on"),
    variable("PUBLIC_BASE_URL", None, "how callers and Alipay reach this service; Alipay posts refunds that are done to /alipay/notify/ALIPAY_PARTNER below it; default http:// and HTTP_LISTEN"),
    variable("SHUTDOWN_GRACE_MS", Some("30000"), "how long requests under way may take to finish when stopping"),
    variable("HTTP_HEADER_TIMEOUT_MS", Some("30000"), "how long a client may take from one answer, or from connecting, to the end of its next request head; then the connection is closed"),
    variable("HTTP_MAX_CONNECTIONS", Some("4096"), "most connections at once, 16-1000000; more wait to be accepted"),
    variable("RATE_LIMIT_PER_SECOND", Some("200"), "most requests of one API key in a second, at one replica; 0 does not limit"),
    variable("RATE_LIMIT_BURST", Some("400"), "how many of them may come at once"),
    variable("MAX_WORK", Some("1024"), "most payments, refunds, cancels and refreshes under way at one replica, 1-100000; more are refused 503 before anything begins"),
    variable("MAX_WORK_PER_MERCHANT", Some("512"), "the same of one merchant; more are refused 429"),
    variable("MAX_WAITING", Some("4096"), "most requests whose answers are held at one replica; more are answered at once with what is known"),
    variable("TILL_UNDO_SECONDS", Some("900"), "for how long after a sale an API key without refunds:write may cancel it although it is paid, 0-86400"),
    variable("DATABASE_URL", None, "required; postgres://user:password@host/database"),
    variable("MIGRATE_DATABASE_URL", None, "optional, for migrate alone; the same database as the owner of its tables: migrate then gives the role of DATABASE_URL what the service needs and no more; default DATABASE_URL"),
    variable("DATABASE_MAX_CONNECTIONS", Some("16"), "most connections to Postgres, 2-1000"),
    variable("ALIPAY_ACCOUNTS_FILE", None, "optional; TOML file of several Alipay accounts with their keys, in the place of ALIPAY_ENDPOINT, ALIPAY_SIGN_TYPE and the three key files; read again on SIGHUP"),
    variable("ALIPAY_CODES_FILE", None, "optional; TOML file of result codes of Alipay's that the gateway does not know, each with what it means and what to tell the till; read again on SIGHUP"),
    variable("ALIPAY_ENDPOINT", None, "required without ALIPAY_ACCOUNTS_FILE; the gateway's URL, for example https://intlmapi.alipay.com/gateway.do"),
    variable("ALIPAY_PARTNER", None, "required without ALIPAY_ACCOUNTS_FILE, and by migrate for the first merchant; the Alipay account: 16 digits that begin with 2088 or 2160"),
    variable("ALIPAY_SIGN_TYPE", Some("RSA2"), "RSA2, RSA or MD5, as agreed with Alipay"),
    variable("ALIPAY_PRIVATE_KEY_FILE", None, "required for RSA2 and RSA without ALIPAY_ACCOUNTS_FILE; our private key: PEM or bare base64"),
    variable("ALIPAY_PUBLIC_KEY_FILE", None, "required for RSA2 and RSA without ALIPAY_ACCOUNTS_FILE; Alipay's public key: PEM or bare base64"),
    variable("ALIPAY_MD5_KEY_FILE", None, "required for MD5 without ALIPAY_ACCOUNTS_FILE; the shared key"),
    variable("ALIPAY_CONNECT_TIMEOUT_MS", Some("2000"), "how long connecting to Alipay may take"),
    variable("ALIPAY_PAY_TIMEOUT_MS", Some("10000"), "how long a pay call may take"),
    variable("ALIPAY_QUERY_TIMEOUT_MS", Some("5000"), "how long a query may take"),
    variable("ALIPAY_CANCEL_TIMEOUT_MS", Some("10000"), "how long a cancel may take"),
    variable("ALIPAY_REFUND_TIMEOUT_MS", Some("10000"), "how long a refund call may take"),
    variable("ALIPAY_BREAKER_CALLS", Some("5"), "how many calls in a row without an answer (time-outs, broken connections, HTTP 5xx) stop new payments and refunds until Alipay answers again, 0-1000; 0: none do"),
    variable("ALIPAY_EXTRA_CA_FILE", None, "optional; PEM of certificate authorities to trust besides the system's"),
    variable("SFTP_HOST", None, "optional; where Alipay lays the daily files of the account, for example isftp.alipay.com: turns fetching them on"),
    variable("SFTP_PORT", Some("22"), "its port"),
    variable("SFTP_USER", None, "required with SFTP_HOST; as whom to log in"),
    variable("SFTP_PASSWORD_FILE", None, "the password; this or SFTP_PRIVATE_KEY_FILE is required with SFTP_HOST"),
    variable("SFTP_PRIVATE_KEY_FILE", None, "the private key to log in with, Ed25519 or ECDSA, as OpenSSH or PKCS#8 write it"),
    variable("SFTP_PASSPHRASE_FILE", None, "optional; what the private key is encrypted with"),
    variable("SFTP_HOST_KEYS", None, "required with SFTP_HOST; the server's host keys, Ed25519 or ECDSA: SHA256:... fingerprints or OpenSSH public-key lines, with commas between; any other key is refused before anything is sent"),
    variable("SFTP_DIRECTORIES", Some("/download/,/"), "where the files are looked for, in this order"),
    variable("SFTP_FIRST", Some("10:15"), "when the files of the days before are fetched first, HH:MM in GMT+8"),
    variable("SFTP_LAST", Some("18:00"), "when last, HH:MM in GMT+8; a day with sales that has no transaction file then is alerted"),
    variable("SFTP_INTERVAL_MINUTES", Some("60"), "how long after one fetch the next is made, 5-1440"),
    variable("SFTP_LOOK_BACK_DAYS", Some("6"), "how many past days are looked for, 1-30; Alipay may remove files after 7"),
    variable("SFTP_MAX_FILE_MIB", Some("1024"), "the longest file that is taken, in MiB, 1-16384"),
    variable("SFTP_CONNECT_TIMEOUT_MS", Some("10000"), "how long resolving the name, connecting, or logging in may take"),
    variable("SFTP_READ_TIMEOUT_MS", Some("30000"), "how long the server may take for one answer"),
    variable("SFTP_FETCH_TIMEOUT_MS", Some("1200000"), "how long all of one fetch may take"),
    variable("TRIAL_MODE", None, "true: start with test keys, plain http to Alipay and example secrets, and warn of each; false: refuse them; default false in a release and true, without warnings, in a debug build. Never true with real money"),
    variable("SECRET_KEY_FILE", None, "required; base64 of at least 32 random bytes, the key of stored hashes; the same on every replica"),
    variable("OIDC_ISSUER", None, "optional; whose signed JWTs are taken in the place of API keys: its https URL, letter by letter as in their iss claim; none are taken without it"),
    variable("OIDC_AUDIENCE", None, "required with OIDC_ISSUER; what their aud claim must name"),
    variable("OIDC_JWKS_URL", None, "optional; where the issuer's keys are: https, or http to a loopback address; default the jwks_uri in the issuer's /.well-known/openid-configuration"),
    variable("OIDC_JWKS_FILE", None, "optional, in the place of OIDC_JWKS_URL; a file with the issuer's keys, read again every five minutes"),
    variable("OIDC_EXTRA_CA_FILE", None, "optional; PEM of certificate authorities to trust besides the system's, for the issuer alone"),
    variable("OIDC_SCOPE_CLAIM", Some("scope"), "the claim with the scopes: words with spaces between them, or a list"),
    variable("OIDC_MERCHANT_CLAIM", Some("merchant_id"), "the claim with the merchant's id; a token without it is refused"),
    variable("OIDC_OPERATOR_VALUE", None, "optional; what that claim holds in tokens of the operator, who looks after all merchants; without it no token is the operator's"),
    variable("OIDC_LEEWAY_SECONDS", Some("60"), "by how much the issuer's clock and ours may differ, 0-600"),
    variable("OIDC_MAX_LIFETIME_SECONDS", Some("86400"), "for how long a token may be valid, 60-2592000; one that is valid for longer is refused"),
    variable("FOLLOW_UP_FIRST_QUERY_MS", Some("5000"), "when to ask first about a payment whose outcome is open"),
    variable("FOLLOW_UP_QUERY_INTERVAL_MS", Some("3000"), "how long after one query to ask again"),
    variable("FOLLOW_UP_POLL_INTERVAL_MS", Some("500"), "how often a replica looks for due work"),
    variable("FOLLOW_UP_LEASE_MS", Some("45000"), "how long a worker owns a piece of work; at least 3 times the longest of the query, cancel and refund timeouts"),
    variable("FOLLOW_UP_WORKERS", Some("16"), "how many payments a replica asks about at once while their buyer may confirm, and as many that it closes, 1-256"),
    variable("REFUND_BATCH_OPENS", Some("23:00"), "when Alipay's nightly batch of asynchronous refunds opens, HH:MM in GMT+8"),
    variable("REFUND_BATCH_CLOSES", Some("05:00"), "when it closes, HH:MM in GMT+8; on the next day unless it is later than the opening"),
    variable("REFUND_GIVE_UP_DAYS", Some("180"), "for how many days Alipay tries an asynchronous refund again, 1-1000; then it becomes unresolved unless Alipay says how it ended"),
    variable("RECONCILIATION_FEE_BASIS_POINTS", None, "optional; what Alipay keeps of a payment by contract, in hundredths of a percent, 0-10000; the fees of daily files are not checked without it"),
    variable("RECONCILIATION_FEE_TOLERANCE_MINOR", Some("0"), "by how many cents a fee may differ from that, 0-1000"),
    variable("RECONCILIATION_FEE_OF_REFUNDS", None, "optional; returned or kept: what Alipay does with its fee when a payment is refunded; not checked without it"),
    variable("RECONCILIATION_SETTLED_WITHIN_DAYS", Some("5"), "after how many days a transaction must stand in a settlement file, 1-60"),
    variable("MERCHANT_NAME", None, "name of the merchant that migrate makes; default SECONDARY_MERCHANT_NAME"),
    variable("SECONDARY_MERCHANT_ID", None, "required by migrate; the merchant's id at Alipay, at most 64 letters, digits and underscores"),
    variable("SECONDARY_MERCHANT_NAME", None, "required by migrate; the merchant's legal name"),
    variable("SECONDARY_MERCHANT_INDUSTRY", None, "required by migrate; the merchant category code: 4 digits"),
    variable("STORE_ID", Some("ST01"), "the merchant's default store"),
    variable("STORE_NAME", None, "required by migrate; the default store's name"),
    variable("LOG_FORMAT", Some("json"), "json or text"),
    variable("LOG_FILTER", Some("info"), "which events to log, for example info,alipayhk_gateway=debug"),
    variable("OTEL_EXPORTER_OTLP_ENDPOINT", None, "optional; where to send traces: base URL of an OTLP/HTTP collector, for example http://127.0.0.1:4318"),
    variable("OTEL_SERVICE_NAME", Some("alipayhk-gateway"), "what traces call this service"),
];

/// The default of a variable.
pub(super) fn default_of(name: &str) -> Option<&'static str> {
    VARIABLES
        .iter()
        .find(|variable| variable.name == name)
        .and_then(|variable| variable.default)
}

/// The table as `--help` prints it.
pub fn help() -> String {
    let mut text = "Environment:\n".to_owned();
    for variable in VARIABLES {
        // Writing to a String cannot fail.
        let _ = write!(text, "  {:<29} {}", variable.name, variable.meaning);
        if let Some(default) = variable.default {
            let _ = write!(text, " [default: {default}]");
        }
        text.push('\n');
    }
    text
}
