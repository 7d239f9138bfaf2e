//! Settings that a gateway for real money refuses to start with (`docs/invariants.md` Q13, Q14): keys that
//! everybody has, plain `http` to Alipay, and secrets that stand in a document.
//!
//! An account whose endpoint is this machine's own loopback is never real: nothing is asked of its
//! keys there, so that a release can be tried out against the simulator.

use std::path::Path;

use secrecy::ExposeSecret;
use url::Url;

use crate::{
    alipay::{
        keyring::{Keyring, look_at},
        sign::KeyFacts,
    },
    config::{Account, Config, Database, SecretKey, Strictness, is_loopback},
    domain::accounts::signing::KeyRole,
    keys::ALIPAY_PRIVATE_KEY,
};

/// A random key of 32 bytes practically never has fewer different ones.
const FEWEST_DIFFERENT_BYTES: usize = 12;

/// Passwords that stand in our own examples, or that everybody tries first.
const KNOWN_PASSWORDS: [&str; 9] = [
    "change-me",
    "change-me-too",
    "changeme",
    "gateway",
    "gateway-local-only",
    "service-local-only",
    "password",
    "postgres",
    "secret",
];

/// The findings that stop the start: all of them unless a trial accepts them, which logs each.
pub(super) fn judge(strictness: Strictness, findings: Vec<String>) -> Vec<String> {
    match strictness {
        Strictness::Refuse => findings,
        Strictness::Warn => {
            tracing::warn!(
                "TRIAL_MODE is on: unsafe keys, endpoints or secrets are accepted; do not take real money"
            );
            for finding in findings {
                tracing::warn!(finding, "unsafe setting accepted because of TRIAL_MODE");
            }
            vec![]
        }
        Strictness::Ignore => vec![],
    }
}

/// What is wrong with the secrets that are not an account's.
pub(super) fn of_secrets(config: &Config) -> Vec<String> {
    let weak = is_weak(&config.secret_key).then(|| {
        format!(
            "SECRET_KEY_FILE: the key has fewer than {FEWEST_DIFFERENT_BYTES} different bytes, so it was not \
             made at random: make one with `keys generate`"
        )
    });
    let known = has_known_password(&config.database).then(|| {
        "DATABASE_URL: the password is one of our examples: give the role another".to_owned()
    });
    weak.into_iter().chain(known).collect()
}

/// What is wrong with an account.
pub(super) fn of_account(account: &Account, keys: &Keyring) -> Vec<String> {
    if is_loopback(&account.endpoint) {
        return vec![];
    }
    let of = |finding: String| format!("account {}: {finding}", account.partner);
    let mut findings = vec![];
    if account.endpoint.scheme() != "https" {
        findings.push(of(format!(
            "the endpoint {} is plain http: only https keeps payments from being read and forged",
            account.endpoint.origin().ascii_serialization()
        )));
    }
    let mut published: Vec<KeyRole> = keys
        .entries()
        .iter()
        .filter(|key| key.facts.is_published)
        .map(|key| key.role)
        .collect();
    published.dedup();
    findings.extend(published.into_iter().map(|role| {
        let purpose = role.purpose();
        of(format!(
            "{purpose} is the published one of the protocol's test vectors: anybody can sign with it"
        ))
    }));
    let alipays = keys.entries().iter();
    let alipays = alipays.filter(|key| key.role == KeyRole::Alipays);
    for (file, key) in account.alipays_keys.iter().zip(alipays) {
        if is_pair(
            &key.facts,
            &file.path.with_file_name(ALIPAY_PRIVATE_KEY),
            keys,
        ) {
            findings.push(of(format!(
                "{} is no key of Alipay's: its private half lies beside it",
                file.path.display()
            )));
        }
    }
    findings
}

/// Warnings about settings that are accepted.
pub(super) fn advise(config: &Config) {
    let base = &config.http.public_base_url;
    if base.scheme() != "https" && !is_loopback(base) {
        tracing::warn!(
            "PUBLIC_BASE_URL is plain http: what Alipay posts can be read on its way; its signature is verified all the same"
        );
    }
}

fn is_weak(key: &SecretKey) -> bool {
    let mut bytes = [false; 256];
    for byte in key.0.expose_secret() {
        bytes[usize::from(*byte)] = true;
    }
    bytes.iter().filter(|there| **there).count() < FEWEST_DIFFERENT_BYTES
}

fn has_known_password(database: &Database) -> bool {
    let url = Url::parse(database.url.expose_secret());
    url.is_ok_and(|url| {
        let password = url.password().unwrap_or_default();
        KNOWN_PASSWORDS.contains(&password)
    })
}

/// Whether the private half of a key lies in this file, as `keys generate --with-alipay` leaves it.
fn is_pair(public: &KeyFacts, private: &Path, keys: &Keyring) -> bool {
    let private = look_at(keys.sign_type(), KeyRole::Own, private);
    private.is_ok_and(|private| {
        private.fingerprint.is_some() && private.fingerprint == public.fingerprint
    })
}

#[cfg(test)]
mod tests {
    use secrecy::{SecretSlice, SecretString};

    use super::*;

    #[test]
    fn a_secret_key_that_was_typed_is_told_from_a_random_one() {
        let key = |bytes: Vec<u8>| SecretKey(SecretSlice::from(bytes));
        assert!(is_weak(&key(vec![7; 32])));
        assert!(is_weak(&key(b"01234567890123456789012345678901".to_vec())));
        assert!(!is_weak(&key((0..32).map(|i| i * 7 + 3).collect())));
    }

    #[test]
    fn passwords_of_the_examples_are_known() {
        let database = |url: &str| Database {
            url: SecretString::from(url),
            max_connections: 2,
        };
        for known in [
            "postgres://gateway:change-me@127.0.0.1:5432/gateway",
            "postgres://gateway_service:service-local-only@postgres:5432/gateway",
        ] {
            assert!(has_known_password(&database(known)), "{known}");
        }
        for unknown in [
            "postgres://gateway:7Yw0xq@db.internal/gateway",
            // Let in by its certificate or its socket.
            "postgres://gateway@db.internal/gateway",
        ] {
            assert!(!has_known_password(&database(unknown)), "{unknown}");
        }
    }

    #[test]
    fn this_machine_is_told_from_all_others() {
        for (url, here) in [
            ("http://127.0.0.1:8081/gateway.do", true),
            ("http://127.8.8.8/", true),
            ("http://[::1]:8081/gateway.do", true),
            ("http://localhost/gateway.do", true),
            ("http://localhost.example.com/gateway.do", false),
            ("http://simulator:8081/gateway.do", false),
            ("https://intlmapi.alipay.com/gateway.do", false),
            ("http://10.0.0.1/gateway.do", false),
        ] {
            assert_eq!(is_loopback(&url.parse().expect("a URL")), here, "{url}");
        }
    }

    #[test]
    fn what_is_let_pass_is_no_fault() {
        let findings = || vec!["a".to_owned()];
        assert_eq!(judge(Strictness::Refuse, findings()), ["a"]);
        assert!(judge(Strictness::Warn, findings()).is_empty());
        assert!(judge(Strictness::Ignore, findings()).is_empty());
    }
}
