//! `alipayhk-gateway keys check`: whether the configured keys can work, in words to act on.
//!
//! For each account and key: the file, its form, its length, its times, whether others may read it, and
//! whether what it signs verifies. With `--online` Alipay is asked one harmless question for each account
//! too, so that it shows whether Alipay knows the account, takes its signature, and lets it use the
//! interface. Needs the configuration of the accounts and no database.

use std::{fmt::Write as _, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Report, instant, json_line};
use crate::{
    alipay::{
        keyring::{Keyring, look_at},
        result_code::what_to_check,
        sign::KeyFacts,
    },
    clock::{Clock, SystemClock},
    config::{self, Account, AccountsConfig, process_environment},
    domain::{
        accounts::signing::{KeyFile, KeyRole, KeyState, SignType},
        attempt::{Answer, AnswerClass},
    },
    startup::{self, client_of, keyring},
};

/// Own RSA2 keys are at least this long (`docs/invariants.md` Q3).
const MODERN_BITS: usize = 2048;
/// A key that ends within this time is worth a word.
const SOON: chrono::TimeDelta = chrono::TimeDelta::days(30);

/// How far this machine's clock may be from Alipay's before it is worth a word, and before it is a fault.
const CLOCK_ADVICE: chrono::TimeDelta = chrono::TimeDelta::seconds(10);
const CLOCK_FAULT: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

/// How to tell it.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Ask Alipay about a payment that cannot exist, signed, once for each account
    #[arg(long)]
    online: bool,
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
        let mut checked = check(account, now).await;
        if args.online {
            let found = ask_alipay(&config.alipay, account, &checked).await;
            checked.findings.extend(found);
        }
        all_is_well &= !checked.has_faults();
        text.push_str(&if args.json {
            json_line(&as_json(&checked))
        } else {
            in_words(&checked)
        });
    }
    if !args.json {
        text.push_str(if all_is_well && args.online {
            "the keys work: Alipay knows every account and takes its signature\n"
        } else if all_is_well {
            "the keys can work; whether Alipay has the same public keys, compare by their fingerprints\n"
        } else {
            "not everything works: see FAULT above\n"
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
    let state = file.validity.state(now);
    let mut findings = Vec::new();
    let facts = match look_at(sign_type, role, &file.path) {
        Ok(facts) => {
            findings.extend(length(sign_type, role, &facts));
            if facts.is_published {
                findings.push(fault(
                    "it is published in the protocol's test vectors, so anyone can sign with it, and a release \
                     does not start with it",
                ));
            }
            if facts.has_spaces {
                findings.push(advice(
                    "it has spaces inside its base64, and was read without them: copy it again, so that \
                     other programs read the same",
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
    match (state, file.validity.not_after) {
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

/// Asks Alipay one harmless question for an account whose keys can work.
async fn ask_alipay(
    config: &config::Alipay,
    account: &Account,
    checked: &CheckedAccount,
) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let client = match keyring(account) {
        Ok(keys) if !checked.has_faults() => {
            client_of(config, account, keys, &Arc::default(), &clock)
        }
        // What is wrong is said already.
        Ok(_) | Err(_) => return vec![advice("Alipay was not asked, for the faults of its keys")],
    };
    match client {
        Ok(alipay) => {
            let answer = alipay.probe().await;
            let time = alipay.server_time().await;
            let mut findings = vec![what_alipay_said(&answer)];
            findings.extend(time.and_then(|time| about_the_clock(clock.now() - time)));
            findings
        }
        Err(error) => vec![fault(format!("{error:#}"))],
    }
}

/// What Alipay's answer to a question about nothing says of the account.
fn what_alipay_said(answer: &Answer) -> Finding {
    let code = answer.code.as_deref();
    let named = code.map_or(String::new(), |code| format!(" ({code})"));
    let detail = answer.detail.as_deref().unwrap_or("no more is known");
    match answer.class {
        AnswerClass::AccessRefused => {
            let check = code.map_or("ask Alipay's support", what_to_check);
            fault(format!("Alipay refuses the account{named}: {check}"))
        }
        AnswerClass::Declined => {
            let check = code.map_or("ask Alipay's support", what_to_check);
            fault(format!("Alipay refuses the question{named}: {check}"))
        }
        AnswerClass::Success
        | AnswerClass::Pending
        | AnswerClass::Closed
        | AnswerClass::NotFound => {
            advice("Alipay answers, knows the account, takes its signature, and its own verifies")
        }
        AnswerClass::UnknownCode => advice(format!(
            "Alipay takes the account's signature, and answers what this program does not know{named}"
        )),
        AnswerClass::SystemError => fault(format!(
            "Alipay is temporarily unavailable{named}: ask again in a few minutes"
        )),
        AnswerClass::BadSignature => fault(format!(
            "key: Alipay's answer does not verify ({detail}): the public key of Alipay that is configured is not Alipay's, or that of the other environment (test, production)"
        )),
        AnswerClass::ConnectFailed if detail.contains("certificate") => fault(format!(
            "TLS: the server's certificate is not trusted ({detail}): something stands between, or ALIPAY_EXTRA_CA_FILE is missing"
        )),
        AnswerClass::ConnectFailed => fault(format!(
            "network: {detail}: look at the address, the name service, and what the firewall lets out"
        )),
        AnswerClass::TimedOut | AnswerClass::ConnectionLost => fault(format!(
            "network: {detail}: something between here and Alipay drops what is sent"
        )),
        AnswerClass::HttpStatus | AnswerClass::Malformed | AnswerClass::Mismatch => fault(format!(
            "address: what answers is not Alipay's gateway, or a proxy stands before it ({detail})"
        )),
    }
}

/// `ahead`: how far this machine's clock is ahead of Alipay's.
fn about_the_clock(ahead: chrono::TimeDelta) -> Option<Finding> {
    let direction = if ahead > chrono::TimeDelta::zero() {
        "ahead of"
    } else {
        "behind"
    };
    let text = format!(
        "clock: this machine is {} s {direction} Alipay's server; let it keep time (NTP)",
        ahead.num_seconds().abs()
    );
    match ahead.abs() {
        off if off >= CLOCK_FAULT => Some(fault(text)),
        off if off >= CLOCK_ADVICE => Some(advice(text)),
        _ => None,
    }
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
                "not_before": key.file.validity.not_before.map(instant),
                "not_after": key.file.validity.not_after.map(instant),
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
        if let Some(from) = key.file.validity.not_before {
            let _ = write!(text, ", from {}", instant(from));
        }
        if let Some(to) = key.file.validity.not_after {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_said_in_words() {
        for class in AnswerClass::ALL {
            let answer = Answer {
                class: *class,
                code: Some("ILLEGAL_PARTNER".to_owned()),
                detail: None,
                duration_ms: 1,
            };
            let finding = what_alipay_said(&answer);
            let is_good =
                class.lets_the_account_in() == Some(true) && *class != AnswerClass::Declined;
            assert_eq!(finding.is_fault, !is_good, "{class:?}: {}", finding.text);
        }
    }

    #[test]
    fn a_clock_is_worth_a_word_from_ten_seconds_on() {
        for (seconds, said) in [
            (9, None),
            (-9, None),
            (10, Some((false, "10 s ahead of"))),
            (-11, Some((false, "11 s behind"))),
            (300, Some((true, "300 s ahead of"))),
            (-4000, Some((true, "4000 s behind"))),
        ] {
            let finding = about_the_clock(chrono::TimeDelta::seconds(seconds));
            let found = finding
                .as_ref()
                .map(|found| (found.is_fault, found.text.as_str()));
            assert_eq!(found.map(|(fault, _)| fault), said.map(|(fault, _)| fault));
            if let (Some((_, text)), Some((_, words))) = (found, said) {
                assert!(text.contains(words), "{text}");
            }
        }
    }
}
