//! `alipayhk-gateway keys check`: whether the configured keys can work, in words to act on.
//!
//! For each account and key: the file, its form, its length, its times, whether others may read it, and
//! whether what it signs verifies. Needs the configuration of the accounts and no database.

use std::{fmt::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Report, instant, json_line};
use crate::{
    alipay::{
        keyring::{KeyRole, KeyState, Keyring, Validity},
        sign::KeyFacts,
    },
    clock::{Clock, SystemClock},
    config::{Account, AccountsConfig, KeyFile, SignType, process_environment},
    startup::{self, key_of, keyring},
};

/// Own RSA2 keys are at least this long (`design/correctness.md` Q3).
const MODERN_BITS: usize = 2048;
/// A key that ends within this time is worth a word.
const SOON: chrono::TimeDelta = chrono::TimeDelta::days(30);

/// How to tell it.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// One line of JSON for each account
    #[arg(long)]
    json: bool,
}

/// What is to be said of a key or an account.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// Whether calls fail for it.
    is_fault: bool,
    text: String,
}

fn fault(text: impl Into<String>) -> Finding {
    Finding {
        is_fault: true,
        text: text.into(),
    }
}

fn advice(text: impl Into<String>) -> Finding {
    Finding {
        is_fault: false,
        text: text.into(),
    }
}

/// One key file.
struct CheckedKey {
    role: KeyRole,
    file: KeyFile,
    facts: Option<KeyFacts>,
    state: KeyState,
    findings: Vec<Finding>,
}

/// One account.
struct CheckedAccount {
    partner: String,
    sign_type: SignType,
    keys: Vec<CheckedKey>,
    findings: Vec<Finding>,
}

/// Runs the command.
pub async fn run(args: &CheckArgs) -> anyhow::Result<Report> {
    let config = AccountsConfig::read(process_environment)?;
    startup::codes(&config.alipay).map_err(|faults| anyhow!(faults.join("\n  ")))?;
    let now = SystemClock.now();
    let mut text = String::new();
    let mut all_is_well = true;
    for account in &config.alipay.accounts {
        let checked = check(account, now).await;
        all_is_well &= !checked.has_faults();
        text.push_str(&if args.json {
            json_line(&as_json(&checked))
        } else {
            in_words(&checked)
        });
    }
    if !args.json {
        text.push_str(if all_is_well {
            "the keys can work; whether Alipay has the same public keys, compare by their fingerprints\n"
        } else {
            "some keys CANNOT work: see FAULT above\n"
        });
    }
    Ok(Report::of_check(text, all_is_well))
}

impl CheckedAccount {
    fn has_faults(&self) -> bool {
        let of_keys = self.keys.iter().flat_map(|key| &key.findings);
        of_keys
            .chain(&self.findings)
            .any(|finding| finding.is_fault)
    }
}

async fn check(account: &Account, now: DateTime<Utc>) -> CheckedAccount {
    let own_role = if account.sign_type == SignType::Md5 {
        KeyRole::Shared
    } else {
        KeyRole::Own
    };
    let own = account.own_keys.iter().map(|file| (own_role, file));
    let alipays = account
        .alipays_keys
        .iter()
        .map(|file| (KeyRole::Alipays, file));
    let keys: Vec<CheckedKey> = own
        .chain(alipays)
        .map(|(role, file)| check_key(account.sign_type, role, file, now))
        .collect();
    let mut findings = Vec::new();
    if keys.iter().all(|key| key.facts.is_some()) {
        match keyring(account) {
            Ok(keyring) => findings.extend(try_out(&keyring, own_role, now).await),
            // Each file is good by itself, and together they are not.
            Err(faults) => findings.extend(faults.iter().map(|error| fault(error.to_string()))),
        }
    }
    CheckedAccount {
        partner: account.partner.clone(),
        sign_type: account.sign_type,
        keys,
        findings,
    }
}

fn check_key(sign_type: SignType, role: KeyRole, file: &KeyFile, now: DateTime<Utc>) -> CheckedKey {
    let validity = Validity {
        not_before: file.not_before,
        not_after: file.not_after,
    };
    let state = validity.state(now);
    let mut findings = Vec::new();
    let facts = match key_of(sign_type, role, &file.path) {
        Ok(facts) => {
            findings.extend(length(sign_type, role, &facts));
            if facts.is_published {
                findings.push(fault(
                    "it stands in the protocol's test vectors: anybody can sign with it, and a release \
                     does not start with it",
                ));
            }
            Some(facts)
        }
        Err(error) => {
            findings.push(fault(format!("{:#}", anyhow::Error::from(error))));
            None
        }
    };
    if role != KeyRole::Alipays && others_may_read(&file.path) {
        findings.push(advice(format!(
            "others than its owner may read it: chmod 600 {}",
            file.path.display()
        )));
    }
    match (state, file.not_after) {
        (KeyState::Expired, _) => findings.push(advice(
            "its time is over; remove it once no other key needs the overlap",
        )),
        (KeyState::Valid, Some(end)) if end - now < SOON => {
            findings.push(advice("its time is over within 30 days"));
        }
        _ => {}
    }
    CheckedKey {
        role,
        file: file.clone(),
        facts,
        state,
        findings,
    }
}

fn length(sign_type: SignType, role: KeyRole, facts: &KeyFacts) -> Option<Finding> {
    let bits = facts.bits?;
    let short = sign_type == SignType::Rsa2 && role == KeyRole::Own && bits < MODERN_BITS;
    short.then(|| {
        advice(format!(
            "it has {bits} bits; RSA2 asks for {MODERN_BITS} at least: make a new pair with `keys generate`"
        ))
    })
}

fn others_may_read(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// Signs a probe with the key that signs now; looks whether any of Alipay's keys is accepted now.
async fn try_out(keyring: &Keyring, own_role: KeyRole, now: DateTime<Utc>) -> Vec<Finding> {
    let credentials = keyring.at(now);
    let mut findings = Vec::new();
    if !credentials.can_sign() {
        let purpose = own_role.purpose();
        findings.push(fault(format!(
            "no key signs now: {purpose} is missing, or its time has not come or is over"
        )));
    } else if let Err(error) = credentials.sign(b"probe").await {
        findings.push(fault(format!("the probe could not be signed: {error}")));
    }
    if credentials.alipays_keys().next().is_none() {
        findings.push(fault(
            "no key of Alipay's is accepted now, so no answer would be believed",
        ));
    }
    findings
}

fn as_json(account: &CheckedAccount) -> Value {
    let findings = |findings: &[Finding]| -> Vec<Value> {
        findings
            .iter()
            .map(|finding| json!({"fault": finding.is_fault, "text": finding.text}))
            .collect()
    };
    let keys: Vec<Value> = account
        .keys
        .iter()
        .map(|key| {
            json!({
                "role": key.role.as_str(),
                "file": key.file.path.display().to_string(),
                "fingerprint": key.facts.as_ref().and_then(|facts| facts.fingerprint.clone()),
                "bits": key.facts.as_ref().and_then(|facts| facts.bits),
                "not_before": key.file.not_before.map(instant),
                "not_after": key.file.not_after.map(instant),
                "state": key.state.as_str(),
                "findings": findings(&key.findings),
            })
        })
        .collect();
    json!({
        "partner": account.partner,
        "sign_type": account.sign_type.as_str(),
        "usable": !account.has_faults(),
        "keys": keys,
        "findings": findings(&account.findings),
    })
}

fn in_words(account: &CheckedAccount) -> String {
    let mut text = format!(
        "account {} ({})\n",
        account.partner,
        account.sign_type.as_str()
    );
    for key in &account.keys {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "  {}: {}\n    {}",
            key.role.purpose(),
            key.file.path.display(),
            key.state.as_str()
        );
        let facts = key.facts.as_ref();
        if let Some(bits) = facts.and_then(|facts| facts.bits) {
            let _ = write!(text, ", {bits} bits");
        }
        if let Some(from) = key.file.not_before {
            let _ = write!(text, ", from {}", instant(from));
        }
        if let Some(to) = key.file.not_after {
            let _ = write!(text, ", until {}", instant(to));
        }
        text.push('\n');
        if let Some(fingerprint) = facts.and_then(|facts| facts.fingerprint.as_deref()) {
            let _ = writeln!(text, "    SHA-256 {fingerprint}");
        }
        say(&mut text, "    ", &key.findings);
    }
    say(&mut text, "  ", &account.findings);
    text
}

fn say(text: &mut String, indent: &str, findings: &[Finding]) {
    for finding in findings {
        let kind = if finding.is_fault { "FAULT" } else { "note" };
        let _ = writeln!(text, "{indent}{kind}: {}", finding.text);
    }
}
