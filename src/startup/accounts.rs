//! The Alipay accounts of the configuration, with their keys: read at the start and on SIGHUP.

use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::production;
use crate::{
    alipay::{
        client::{Alipay, AlipaySettings},
        error::KeyError,
        keyring::Keyring,
        result_code::Codes,
        sftp::{Login, LoginError, SftpServer, SftpSettings},
    },
    app::{
        App,
        accounts::{Account, Fetching},
    },
    clock::Clock,
    config::{self, AccountsConfig, process_environment},
};

/// Where Alipay posts refunds that are done: at most 200 characters (`docs/protocol.md` 8).
fn notify_url(base: &Url, partner: &str) -> anyhow::Result<Url> {
    let base = base.as_str().trim_end_matches('/');
    let url = Url::parse(&format!("{base}/alipay/notify/{partner}"))
        .context("PUBLIC_BASE_URL cannot be extended by a path")?;
    ensure!(
        url.as_str().len() <= 200,
        "PUBLIC_BASE_URL is too long: Alipay takes at most 200 characters, with /alipay/notify/{partner}"
    );
    Ok(url)
}

/// The accounts with their keys, read and parsed once. An error names every file that is wrong, and
/// what only a trial may have: of the accounts, and what was `found` before.
pub(super) fn build_accounts(
    config: &config::Alipay,
    public_base_url: &Url,
    clock: &Arc<dyn Clock>,
    strictness: config::Strictness,
    mut found: Vec<String>,
) -> anyhow::Result<Vec<Account>> {
    let mut accounts = Vec::new();
    let (codes, mut faults) = match codes(config) {
        Ok(codes) => (Arc::new(codes), Vec::new()),
        Err(found) => (Arc::default(), found),
    };
    for account in &config.accounts {
        let keys = match keyring(account) {
            Ok(keys) => keys,
            Err(found) => {
                faults.extend(found.into_iter().map(|fault| {
                    // What is wrong with the file is the source of what the error says.
                    let chain = anyhow::Error::from(fault);
                    format!("account {}: {chain:#}", account.partner)
                }));
                continue;
            }
        };
        let sftp = match account.sftp.as_ref().map(fetching).transpose() {
            Ok(sftp) => sftp,
            Err(fault) => {
                let chain = anyhow::Error::from(fault);
                faults.push(format!("account {}: sftp: {chain:#}", account.partner));
                continue;
            }
        };
        found.extend(production::of_account(account, &keys));
        accounts.push(Account {
            alipay: client_of(config, account, keys, &codes, clock)?,
            refund_plan: account.refund_plan,
            notify_url: Some(notify_url(public_base_url, &account.partner)?),
            limits: account.limits,
            rules: account.rules,
            sftp,
        });
    }
    let refused = production::judge(strictness, found);
    let hint = if refused.is_empty() {
        ""
    } else {
        "\n(a trial without real money may have them: TRIAL_MODE=true)"
    };
    faults.extend(refused);
    ensure!(
        faults.is_empty(),
        "keys, endpoints, codes and secrets have {} fault(s)\n  {}{hint}",
        faults.len(),
        faults.join("\n  ")
    );
    Ok(accounts)
}

/// What Alipay's codes mean, those that were added included. An error names every row that would change
/// what is known.
pub fn codes(config: &config::Alipay) -> Result<Codes, Vec<String>> {
    Codes::with(config.codes.clone()).map_err(|faults| {
        let named = faults.iter();
        named
            .map(|fault| format!("ALIPAY_CODES_FILE: {fault}"))
            .collect()
    })
}

/// The client of an account.
pub(crate) fn client_of(
    config: &config::Alipay,
    account: &config::Account,
    keys: Keyring,
    codes: &Arc<Codes>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Alipay> {
    let mut settings = AlipaySettings::new(account.endpoint.clone(), account.partner.clone(), keys);
    settings.timeouts = config.timeouts;
    settings.breaker_calls = config.breaker_calls;
    settings.codes = Arc::clone(codes);
    if let Some(file) = &config.extra_ca_file {
        let certificate = std::fs::read(file)
            .with_context(|| format!("cannot read {} (ALIPAY_EXTRA_CA_FILE)", file.display()))?;
        settings.extra_root_certificates.push(certificate);
    }
    Ok(Alipay::new(settings, Arc::clone(clock))?)
}

/// Where an account's daily files are, with the password or the key that is read for it.
fn fetching(sftp: &config::Sftp) -> Result<Fetching, LoginError> {
    let login = match &sftp.login {
        config::SftpLogin::PasswordFile(path) => Login::password(path)?,
        config::SftpLogin::KeyFile { path, passphrase } => Login::key(path, passphrase.as_deref())?,
    };
    let habits = &sftp.habits;
    Ok(Fetching {
        server: SftpServer::new(SftpSettings {
            host: sftp.host.clone(),
            port: sftp.port,
            user: sftp.user.clone(),
            login,
            host_keys: sftp.host_keys.clone(),
            directories: habits.directories.clone(),
            connect_timeout: habits.connect_timeout,
            read_timeout: habits.read_timeout,
            fetch_timeout: habits.fetch_timeout,
            max_bytes: habits.max_bytes,
        }),
        hours: habits.hours,
    })
}

/// An account's keys.
pub(crate) fn keyring(account: &config::Account) -> Result<Keyring, Vec<KeyError>> {
    Keyring::load(account.sign_type, &account.own_keys, &account.alipays_keys)
}

/// Reads the accounts and their keys again whenever the program is told to by SIGHUP. What has faults
/// changes nothing: each is logged, and the accounts stay as they are.
pub(super) async fn reload_accounts_on_hangup(
    app: App,
    public_base_url: Url,
    clock: Arc<dyn Clock>,
    soft: CancellationToken,
) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            tracing::error!(%error, "cannot listen for SIGHUP: accounts are read at the start only");
            return;
        }
    };
    while soft
        .run_until_cancelled(hangups.recv())
        .await
        .flatten()
        .is_some()
    {
        let (base, clock) = (public_base_url.clone(), Arc::clone(&clock));
        let read = tokio::task::spawn_blocking(move || {
            let config = AccountsConfig::read(process_environment)?;
            build_accounts(&config.alipay, &base, &clock, config.strictness, vec![])
        });
        // What a panic says is withheld: it may repeat what it read.
        let read = read.await.map_err(|_| anyhow!("the reading ended early"));
        let outcome = match read.flatten() {
            Ok(accounts) => {
                let count = accounts.len();
                app.replace_accounts(accounts).await;
                tracing::info!(accounts = count, "the Alipay accounts were read again");
                "replaced"
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the Alipay accounts were not read again: they stay as they are"
                );
                "refused"
            }
        };
        ::metrics::counter!("alipay_account_reloads_total", "outcome" => outcome).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTNER: &str = "2088000000000001";

    fn notify_url_of(base: &str) -> anyhow::Result<String> {
        let base = base.parse().expect("a URL");
        notify_url(&base, PARTNER).map(String::from)
    }

    #[test]
    fn alipay_posts_to_a_path_below_the_public_base_url() {
        for (base, expected) in [
            ("https://pay.example.hk", "https://pay.example.hk"),
            ("https://pay.example.hk/", "https://pay.example.hk"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://example.hk/gateway/", "https://example.hk/gateway"),
        ] {
            let expected = format!("{expected}/alipay/notify/{PARTNER}");
            assert_eq!(notify_url_of(base).expect("a good base"), expected);
        }
    }

    /// Alipay takes 200 characters (`docs/protocol.md` 8).
    #[test]
    fn a_notify_url_that_alipay_would_not_take_is_refused_at_the_start() {
        let path = format!("/alipay/notify/{PARTNER}");
        let room = 200 - path.len() - "https://example.hk/".len();
        let base = |length: usize| format!("https://example.hk/{}", "a".repeat(length));
        let longest = notify_url_of(&base(room)).expect("as long as it may be");
        assert_eq!(longest.len(), 200);
        let error = notify_url_of(&base(room + 1)).expect_err("too long");
        assert!(error.to_string().contains("PUBLIC_BASE_URL"), "{error}");
    }
}
