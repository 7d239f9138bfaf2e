//! Tests of the settings; they pass maps, never the process's environment.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::*;
use crate::domain::{access::issuer::KeySource, accounts::signing::SignType, calendar::BatchHours};

/// Key files that are there, and a good environment that names them.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn new(test: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("gateway-config-{test}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let files = Self { directory };
        files.write("key.pem", "not read here");
        files.write("secret", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n");
        files
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.join(name);
        fs::write(&path, text).expect("a file in the temporary directory");
        path.display().to_string()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let path = |name: &str| self.directory.join(name).display().to_string();
        [
            (
                "DATABASE_URL",
                "postgres://u:hunter2@localhost/gateway".to_owned(),
            ),
            (
                "ALIPAY_ENDPOINT",
                "http://127.0.0.1:9090/gateway.do".to_owned(),
            ),
            ("ALIPAY_PARTNER", "2088000000000001".to_owned()),
            ("ALIPAY_PRIVATE_KEY_FILE", path("key.pem")),
            ("ALIPAY_PUBLIC_KEY_FILE", path("key.pem")),
            ("SECRET_KEY_FILE", path("secret")),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What stays in the temporary directory harms nobody.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn names(error: &ConfigError) -> Vec<&'static str> {
    error.0.iter().map(|fault| fault.name).collect()
}

#[test]
fn the_needed_variables_are_enough_and_the_rest_has_its_default() {
    let files = Files::new("defaults");
    let environment = files.environment();
    let config = Config::read(|name| environment.get(name).cloned()).expect("a good environment");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(
        config.http.public_base_url.as_str(),
        "http://127.0.0.1:8080/"
    );
    assert_eq!(config.alipay.accounts[0].sign_type, SignType::Rsa2);
    assert_eq!(config.alipay.timeouts.pay.as_millis(), 10_000);
    assert_eq!(config.follow_up.lease.as_millis(), 45_000);
    assert!(
        !format!("{config:?}").contains("hunter2"),
        "q13: no secret in Debug"
    );
}

#[test]
fn all_faults_are_reported_at_once_and_without_secrets() {
    let error = Config::read(|name| match name {
        "HTTP_LISTEN" => Some("nowhere".to_owned()),
        "DATABASE_URL" => Some("mysql://u:hunter2@localhost".to_owned()),
        "DATABASE_MAX_CONNECTIONS" => Some("0".to_owned()),
        "ALIPAY_ENDPOINT" => Some("ftp://alipay".to_owned()),
        "ALIPAY_PARTNER" => Some("1234567890123456".to_owned()),
        "ALIPAY_PRIVATE_KEY_FILE" => Some("/no/such/file.pem".to_owned()),
        "ALIPAY_PUBLIC_KEY_FILE" => Some(" ".to_owned()),
        "ALIPAY_QUERY_TIMEOUT_MS" => Some("20000".to_owned()),
        _ => None,
    })
    .expect_err("nothing here is right");
    assert_eq!(
        names(&error),
        [
            "HTTP_LISTEN",
            "DATABASE_URL",
            "DATABASE_MAX_CONNECTIONS",
            "ALIPAY_ENDPOINT",
            "ALIPAY_PARTNER",
            "ALIPAY_PRIVATE_KEY_FILE",
            "ALIPAY_PUBLIC_KEY_FILE",
            "SECRET_KEY_FILE",
        ]
    );
    let text = error.to_string();
    assert!(text.contains("/no/such/file.pem"), "names the file: {text}");
    assert!(!text.contains("hunter2"), "no secret: {text}");
}

#[test]
fn a_lease_must_outlast_the_calls_made_under_it() {
    let files = Files::new("lease");
    let mut environment = files.environment();
    environment.insert("ALIPAY_CANCEL_TIMEOUT_MS".to_owned(), "15001".to_owned());
    let error = Config::read(|name| environment.get(name).cloned()).expect_err("too short a lease");
    assert_eq!(names(&error), ["FOLLOW_UP_LEASE_MS"]);
    environment.insert("FOLLOW_UP_LEASE_MS".to_owned(), "45003".to_owned());
    Config::read(|name| environment.get(name).cloned()).expect("exactly long enough");
    for name in ["ALIPAY_REFUND_TIMEOUT_MS", "ALIPAY_QUERY_TIMEOUT_MS"] {
        let mut environment = files.environment();
        environment.insert(name.to_owned(), "20000".to_owned());
        let read = |environment: &BTreeMap<String, String>| {
            Config::read(|name| environment.get(name).cloned())
        };
        let error = read(&environment).expect_err("too short a lease");
        assert_eq!(names(&error), ["FOLLOW_UP_LEASE_MS"], "{name}");
        assert!(error.to_string().contains("at least 60000"), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        environment.insert("FOLLOW_UP_LEASE_MS".to_owned(), "60000".to_owned());
        read(&environment).expect("exactly long enough");
    }
    // A pay call is made under no lease.
    let mut environment = files.environment();
    environment.insert("ALIPAY_PAY_TIMEOUT_MS".to_owned(), "60000".to_owned());
    Config::read(|name| environment.get(name).cloned()).expect("no worker pays");
}

/// Alipay posts to a path below it, and what follows a question mark or a hash is none.
#[test]
fn the_public_base_url_can_be_extended_by_a_path() {
    let files = Files::new("base-url");
    let mut environment = files.environment();
    for (base, is_good) in [
        ("https://pay.example.hk", true),
        ("https://pay.example.hk/gateway/", true),
        ("https://pay.example.hk/?store=1", false),
        ("https://pay.example.hk?", false),
        ("https://pay.example.hk/#store", false),
        ("https://user:secret@pay.example.hk", false),
        ("ftp://pay.example.hk", false),
        ("pay.example.hk", false),
    ] {
        environment.insert("PUBLIC_BASE_URL".to_owned(), base.to_owned());
        let read = Config::read(|name| environment.get(name).cloned());
        let faults = read.map_or_else(|error| names(&error), |_| vec![]);
        let expected: &[_] = if is_good { &[] } else { &["PUBLIC_BASE_URL"] };
        assert_eq!(faults, expected, "{base}");
    }
}

#[test]
fn the_refund_batch_is_alipays_unless_told_otherwise() {
    let files = Files::new("batch");
    let read = |changes: &[(&str, &str)]| {
        let mut environment = files.environment();
        for (name, value) in changes {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        Config::read(|name| environment.get(name).cloned()).map(|config| {
            let RefundPlan { hours, horizon } = config.refund_plan;
            let BatchHours { opens, closes } = hours;
            let give_up_days = horizon.num_days();
            format!("{opens} {closes} {give_up_days}")
        })
    };
    assert_eq!(read(&[]), Ok("23:00:00 05:00:00 180".to_owned()));
    for (opens, closes, days, expected) in [
        ("01:30", "04:00", "365", "01:30:00 04:00:00 365"),
        ("23:59", "00:00", "1", "23:59:00 00:00:00 1"),
        ("00:00", "23:59", "1000", "00:00:00 23:59:00 1000"),
    ] {
        let found = read(&[
            ("REFUND_BATCH_OPENS", opens),
            ("REFUND_BATCH_CLOSES", closes),
            ("REFUND_GIVE_UP_DAYS", days),
        ]);
        assert_eq!(found, Ok(expected.to_owned()));
    }
    for (name, value) in [
        ("REFUND_BATCH_OPENS", "24:00"),
        ("REFUND_BATCH_OPENS", "23:60"),
        ("REFUND_BATCH_OPENS", "5:00"),
        ("REFUND_BATCH_OPENS", "2: 30"),
        ("REFUND_BATCH_OPENS", "23-00"),
        ("REFUND_BATCH_OPENS", "23:00:00"),
        ("REFUND_BATCH_OPENS", "11 pm"),
        ("REFUND_BATCH_OPENS", "+2:30"),
        ("REFUND_BATCH_CLOSES", "05:0x"),
        ("REFUND_BATCH_CLOSES", "\u{ff10}5:00"),
        // No batch at all, or one that never ends?
        ("REFUND_BATCH_CLOSES", "23:00"),
        ("REFUND_GIVE_UP_DAYS", "0"),
        ("REFUND_GIVE_UP_DAYS", "1001"),
        ("REFUND_GIVE_UP_DAYS", "-1"),
        ("REFUND_GIVE_UP_DAYS", "180 days"),
    ] {
        let error = read(&[(name, value)]).expect_err(value);
        assert_eq!(names(&error), [name], "{value}");
    }
    let all = read(&[
        ("REFUND_BATCH_OPENS", "25:00"),
        ("REFUND_BATCH_CLOSES", "25:00"),
        ("REFUND_GIVE_UP_DAYS", "many"),
    ]);
    assert_eq!(
        names(&all.expect_err("three faults")),
        [
            "REFUND_BATCH_OPENS",
            "REFUND_BATCH_CLOSES",
            "REFUND_GIVE_UP_DAYS"
        ]
    );
}

#[test]
fn md5_needs_its_own_key_and_no_other() {
    let files = Files::new("md5");
    let mut environment = files.environment();
    environment.remove("ALIPAY_PRIVATE_KEY_FILE");
    environment.remove("ALIPAY_PUBLIC_KEY_FILE");
    environment.insert("ALIPAY_SIGN_TYPE".to_owned(), "MD5".to_owned());
    let error = Config::read(|name| environment.get(name).cloned()).expect_err("no key");
    assert_eq!(names(&error), ["ALIPAY_MD5_KEY_FILE"]);
}

#[test]
fn an_endpoint_with_a_query_or_a_fragment_is_refused() {
    let files = Files::new("endpoint");
    let mut environment = files.environment();
    for (endpoint, is_good) in [
        ("https://intlmapi.alipay.com/gateway.do", true),
        (
            "https://intlmapi.alipay.com/gateway.do?_input_charset=UTF-8",
            false,
        ),
        ("https://intlmapi.alipay.com/gateway.do?", false),
        ("https://intlmapi.alipay.com/gateway.do#top", false),
    ] {
        environment.insert("ALIPAY_ENDPOINT".to_owned(), endpoint.to_owned());
        let read = Config::read(|name| environment.get(name).cloned());
        match read {
            Ok(_) => assert!(is_good, "{endpoint}"),
            Err(error) => {
                assert!(!is_good, "{endpoint}: {error}");
                assert_eq!(names(&error), ["ALIPAY_ENDPOINT"]);
                assert!(error.to_string().contains("would be sent twice"), "{error}");
            }
        }
    }
}

#[test]
fn a_weak_secret_key_is_refused_by_file_name() {
    let files = Files::new("secret");
    for text in ["c2hvcnQ=", "not base64!", ""] {
        let path = files.write("weak", text);
        let mut environment = files.environment();
        environment.insert("SECRET_KEY_FILE".to_owned(), path.clone());
        let error = Config::read(|name| environment.get(name).cloned()).expect_err(text);
        assert_eq!(names(&error), ["SECRET_KEY_FILE"]);
        assert!(error.to_string().contains(&path), "{error}");
    }
}

#[test]
fn each_command_needs_only_its_own_variables() {
    let files = Files::new("commands");
    let environment = files.environment();
    let key = ["DATABASE_URL", "SECRET_KEY_FILE"];
    ApiKeyConfig::read(|name| key.contains(&name).then(|| environment[name].clone()))
        .expect("two variables");
    let migrate = MigrateConfig::read(|name| {
        let value = match name {
            "DATABASE_URL" => "postgres://localhost/gateway",
            "ALIPAY_PARTNER" => "2160000000000001",
            "SECONDARY_MERCHANT_ID" => "SM001",
            "SECONDARY_MERCHANT_NAME" => "Demo Cafe",
            "SECONDARY_MERCHANT_INDUSTRY" => "5812",
            "STORE_NAME" => "Demo Cafe Central",
            _ => return None,
        };
        Some(value.to_owned())
    })
    .expect("what migrate needs");
    assert_eq!(migrate.merchant.name, "Demo Cafe");
    assert_eq!(migrate.merchant.store.store_id, "ST01");
    Telemetry::from_lookup(|_| None).expect("defaults only");
    let bad = Telemetry::from_lookup(|_| Some("no such thing=5=".to_owned())).expect_err("bad");
    assert_eq!(
        names(&bad),
        ["LOG_FORMAT", "LOG_FILTER", "OTEL_EXPORTER_OTLP_ENDPOINT"]
    );
}

/// The names in a text that look like our variables.
fn variables_in(text: &str, keep: impl Fn(&str) -> Option<&str>) -> Vec<String> {
    text.lines().filter_map(keep).map(str::to_owned).collect()
}

#[test]
fn the_example_the_help_and_the_table_list_the_same_variables() {
    let table: Vec<&str> = variables::VARIABLES
        .iter()
        .map(|variable| variable.name)
        .collect();
    let example = include_str!("../../.env.example");
    let in_example = variables_in(example, |line| {
        let name = line.trim_start_matches("# ").split_once('=')?.0;
        let is_name = name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        is_name.then_some(name)
    });
    assert_eq!(in_example, table, ".env.example");
    let help = variables::help();
    let in_help = variables_in(&help, |line| line.strip_prefix("  ")?.split(' ').next());
    assert_eq!(in_help, table, "--help");
    let documented = include_str!("mod.rs");
    for name in table {
        assert!(
            documented.contains(&format!("`{name}`")),
            "module doc: {name}"
        );
    }
}

#[test]
fn every_variable_of_the_table_is_read() {
    let read = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let lookup = |name: &str| {
        read.borrow_mut().insert(name.to_owned());
        None
    };
    // Nothing is set, so all but the last fail; what they looked for is what counts.
    let _ = Config::read(lookup);
    let _ = MigrateConfig::read(lookup);
    let _ = ApiKeyConfig::read(lookup);
    let _ = Telemetry::from_lookup(lookup);
    let table = variables::VARIABLES
        .iter()
        .map(|variable| variable.name.to_owned())
        .collect();
    assert_eq!(*read.borrow(), table);
}

/// A good environment with these settings of an issuer.
fn oidc_with(files: &Files, settings: &[(&str, &str)]) -> Result<Option<Oidc>, ConfigError> {
    let mut environment = files.environment();
    for (name, value) in settings {
        environment.insert((*name).to_owned(), (*value).to_owned());
    }
    Config::read(|name| environment.get(name).cloned()).map(|config| config.oidc)
}

#[test]
fn q6_no_issuer_is_believed_unless_one_is_named() {
    let files = Files::new("oidc-none");
    assert_eq!(oidc_with(&files, &[]), Ok(None));
    let needed = [
        ("OIDC_ISSUER", "https://issuer.example/stores"),
        ("OIDC_AUDIENCE", "gateway"),
    ];
    let oidc = oidc_with(&files, &needed).expect("enough").expect("one");
    assert_eq!(oidc.issuer, "https://issuer.example/stores");
    assert_eq!(oidc.keys, KeySource::Discovery);
    assert_eq!(
        (
            oidc.rules.scope_claim.as_str(),
            oidc.rules.merchant_claim.as_str()
        ),
        ("scope", "merchant_id")
    );
    assert_eq!(oidc.rules.operator_value, None);
    assert_eq!(
        (
            oidc.rules.leeway.num_seconds(),
            oidc.rules.max_lifetime.num_seconds()
        ),
        (60, 86_400)
    );
}

#[test]
fn q6_every_fault_of_an_issuers_settings_is_named() {
    let files = Files::new("oidc-faults");
    let orphans = [
        ("OIDC_AUDIENCE", "gateway"),
        ("OIDC_LEEWAY_SECONDS", "0"),
        ("OIDC_OPERATOR_VALUE", "operator"),
    ];
    let error = oidc_with(&files, &orphans).expect_err("no issuer");
    assert_eq!(
        names(&error),
        [
            "OIDC_AUDIENCE",
            "OIDC_OPERATOR_VALUE",
            "OIDC_LEEWAY_SECONDS"
        ]
    );
    let wrong = [
        ("OIDC_ISSUER", "http://issuer.example"),
        ("OIDC_JWKS_URL", "http://10.0.0.1/keys"),
        ("OIDC_EXTRA_CA_FILE", "/no/such/file.pem"),
        ("OIDC_SCOPE_CLAIM", "the scopes"),
        (
            "OIDC_OPERATOR_VALUE",
            "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
        ),
        ("OIDC_LEEWAY_SECONDS", "601"),
        ("OIDC_MAX_LIFETIME_SECONDS", "59"),
    ];
    let error = oidc_with(&files, &wrong).expect_err("nothing here is right");
    assert_eq!(
        names(&error),
        [
            "OIDC_ISSUER",
            "OIDC_AUDIENCE",
            "OIDC_JWKS_URL",
            "OIDC_EXTRA_CA_FILE",
            "OIDC_SCOPE_CLAIM",
            "OIDC_OPERATOR_VALUE",
            "OIDC_LEEWAY_SECONDS",
            "OIDC_MAX_LIFETIME_SECONDS",
        ]
    );
    for (changes, fault) in [
        (
            [
                ("OIDC_ISSUER", "https://i.example?a"),
                ("OIDC_AUDIENCE", "a"),
            ],
            "OIDC_ISSUER",
        ),
        (
            [
                ("OIDC_ISSUER", "https://u:p@i.example"),
                ("OIDC_AUDIENCE", "a"),
            ],
            "OIDC_ISSUER",
        ),
        (
            [("OIDC_ISSUER", "ftp://127.0.0.1"), ("OIDC_AUDIENCE", "a")],
            "OIDC_ISSUER",
        ),
    ] {
        let error = oidc_with(&files, &changes).expect_err("no issuer's URL");
        assert_eq!(names(&error), [fault], "{changes:?}");
    }
    let file = files.write("jwks.json", "{}");
    let twice = [
        ("OIDC_ISSUER", "http://127.0.0.1:9000"),
        ("OIDC_AUDIENCE", "gateway"),
        ("OIDC_JWKS_URL", "http://[::1]:9000/keys"),
        ("OIDC_JWKS_FILE", &file),
        ("OIDC_SCOPE_CLAIM", "merchant_id"),
    ];
    let error = oidc_with(&files, &twice).expect_err("two sources, one claim");
    assert_eq!(names(&error), ["OIDC_JWKS_FILE", "OIDC_MERCHANT_CLAIM"]);
}
