//! The Alipay accounts that are paid: each with its own client, keys and hours.
//!
//! The `partner` of a payment, a refund or a store says which. Accounts are configuration and may be
//! replaced while the program runs: a call that is under way ends with the account it began with.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use url::Url;

use super::{
    App,
    error::{Error, Interrupted},
};
use crate::{
    alipay::{
        breaker::{NotAdmitted, OpenCircuit},
        client::Alipay,
        keyring::Keyring,
        result_code::what_to_check,
        sftp::SftpServer,
    },
    domain::{
        accounts::signing::{KeyRole, KeyState},
        door::Refusal,
        merchants::limits::Limits,
        reconciliation::{Rules, daily_file::FetchHours},
        refunds::plan::RefundPlan,
    },
};

/// Why new work of an account may be refused.
pub const CIRCUIT_OPEN_BECAUSE: [&str; 2] =
    [OpenCircuit::Silent.as_str(), OpenCircuit::Refused.as_str()];

/// One Alipay account.
#[derive(Clone, Debug)]
pub struct Account {
    /// The client, with the account's keys.
    pub alipay: Alipay,
    /// When its asynchronous refunds are done, and for how long.
    pub refund_plan: RefundPlan,
    /// Where Alipay reports that an asynchronous refund was done, if anywhere.
    pub notify_url: Option<Url>,
    /// What its merchants may do where they have no limits of their own.
    pub limits: Limits,
    /// How its daily files are compared with the books.
    pub rules: Rules,
    /// Where its daily files are fetched, if anywhere.
    pub sftp: Option<Fetching>,
}

/// Where an account's daily files are fetched, and when.
#[derive(Clone, Debug)]
pub struct Fetching {
    /// Where.
    pub server: SftpServer,
    /// When.
    pub hours: FetchHours,
}

/// Every account, by its partner id. Looking one up is a map access under a lock that is never held
/// across an await.
#[derive(Debug)]
pub struct Accounts {
    by_partner: RwLock<Arc<BTreeMap<String, Arc<Account>>>>,
    /// The plan of refunds whose account is no longer configured.
    default_plan: RefundPlan,
}

impl Accounts {
    /// These accounts. `default_plan` serves refunds of accounts that are not among them.
    pub fn new(accounts: Vec<Account>, default_plan: RefundPlan) -> Self {
        Self {
            by_partner: RwLock::new(Arc::new(by_partner(accounts))),
            default_plan,
        }
    }

    pub fn of(&self, partner: &str) -> Option<Arc<Account>> {
        self.all().get(partner).cloned()
    }

    /// Every account.
    pub fn all(&self) -> Arc<BTreeMap<String, Arc<Account>>> {
        let accounts = self.by_partner.read();
        Arc::clone(&accounts.unwrap_or_else(PoisonError::into_inner))
    }

    /// The plan of a partner's refunds.
    pub fn refund_plan(&self, partner: &str) -> RefundPlan {
        self.of(partner)
            .map_or(self.default_plan, |account| account.refund_plan)
    }

    /// How a partner's daily files are compared with the books.
    pub(super) fn rules(&self, partner: &str) -> Rules {
        self.of(partner)
            .map_or_else(Rules::default, |account| account.rules)
    }

    /// The limits of a partner's merchants that have none of their own.
    pub(super) fn limits_of(&self, partner: &str) -> Limits {
        self.of(partner)
            .map_or_else(Limits::default, |account| account.limits)
    }

    /// The limits of merchants that have none of their own, by account.
    pub(super) fn limits(&self) -> BTreeMap<String, Limits> {
        let accounts = self.all();
        let limited = accounts
            .iter()
            .filter(|(_, account)| account.limits != Limits::default());
        limited
            .map(|(partner, account)| (partner.clone(), account.limits))
            .collect()
    }

    /// Whether any of them does not answer at present.
    pub(super) fn any_circuit_is_open(&self) -> bool {
        self.all()
            .values()
            .any(|account| account.alipay.circuit_open().is_some())
    }

    /// Puts others in their place.
    fn replace(&self, accounts: Vec<Account>) {
        let mut current = self
            .by_partner
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(by_partner(accounts));
    }

    /// Opens a connection for each, so that the first payment need not; all at once, so that one
    /// account that cannot be reached keeps no other waiting.
    pub(super) async fn warm_up(&self) {
        let mut warming = JoinSet::new();
        for account in self.all().values() {
            let alipay = account.alipay.clone();
            warming.spawn(async move { alipay.warm_up().await });
        }
        warming.join_all().await;
    }
}

fn by_partner(accounts: Vec<Account>) -> BTreeMap<String, Arc<Account>> {
    let named = accounts.into_iter().map(|account| {
        let partner = account.alipay.partner().to_owned();
        (partner, Arc::new(account))
    });
    named.collect()
}

/// An account as it may be shown: never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountOverview {
    /// Where it is reached: the host alone.
    pub endpoint_host: String,
    /// How it signs.
    pub sign_type: &'static str,
    /// Whether there is a key to sign with.
    pub can_sign: bool,
    /// Why new work is refused at present, if it is: `silent` or `refused`.
    pub circuit_open: Option<&'static str>,
    /// The last time Alipay refused the account.
    pub last_refusal: Option<RefusalOverview>,
    /// Its keys, ours first.
    pub keys: Vec<KeyOverview>,
}

/// A refusal of the account at Alipay's door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalOverview {
    /// Alipay's code.
    pub code: String,
    /// What a person should look at.
    pub check: &'static str,
    /// When it came.
    pub at: DateTime<Utc>,
}

impl From<Refusal> for RefusalOverview {
    fn from(refusal: Refusal) -> Self {
        Self {
            check: what_to_check(&refusal.code),
            code: refusal.code,
            at: refusal.at,
        }
    }
}

/// A key as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOverview {
    /// `own`, `alipay` or `shared`.
    pub role: &'static str,
    /// SHA-256 of the SubjectPublicKeyInfo, in hexadecimal.
    pub fingerprint: Option<String>,
    /// Its length.
    pub bits: Option<usize>,
    /// From when on it is valid.
    pub not_before: Option<DateTime<Utc>>,
    /// Until when.
    pub not_after: Option<DateTime<Utc>>,
    /// `active`, `valid`, `next` or `expired`.
    pub state: &'static str,
}

impl Account {
    /// The account as it may be shown.
    pub fn overview(&self, now: DateTime<Utc>) -> AccountOverview {
        let keys = self.alipay.keys();
        let host = self.alipay.endpoint().host_str();
        AccountOverview {
            endpoint_host: host.unwrap_or_default().to_owned(),
            sign_type: keys.sign_type().as_str(),
            can_sign: keys.at(now).can_sign(),
            circuit_open: self.alipay.circuit_open().map(OpenCircuit::as_str),
            last_refusal: self.alipay.last_refusal().map(RefusalOverview::from),
            keys: overview(keys, now),
        }
    }
}

/// The keys of an account as they may be shown.
pub fn overview(keys: &Keyring, now: DateTime<Utc>) -> Vec<KeyOverview> {
    let signing = keys.signing(now);
    let entries = keys.entries().iter().enumerate();
    entries
        .map(|(index, key)| KeyOverview {
            role: key.role.as_str(),
            fingerprint: key.facts.fingerprint.clone(),
            bits: key.facts.bits,
            not_before: key.validity.not_before,
            not_after: key.validity.not_after,
            state: match key.validity.state(now) {
                KeyState::Valid if key.role == KeyRole::Alipays || signing == Some(index) => {
                    KeyState::Active
                }
                state => state,
            }
            .as_str(),
        })
        .collect()
}

impl App {
    /// The account of a partner, to call Alipay with.
    pub(super) fn account(&self, partner: &str) -> Result<Arc<Account>, Interrupted> {
        self.accounts.of(partner).ok_or_else(|| {
            tracing::error!(alipay.partner = partner, "no such account is configured");
            Interrupted::AccountNotConfigured(partner.to_owned())
        })
    }

    /// Lets new work through, or refuses it because Alipay does not answer or refuses the account.
    /// Where it refuses, one who is not let through has a harmless question asked, now and then.
    pub(super) fn admit_to(&self, account: &Account) -> Result<(), Error> {
        account
            .alipay
            .admit_new_work()
            .map_err(|refused| match refused {
                NotAdmitted::Silent {
                    retry_after_seconds,
                } => Error::UpstreamUnavailable {
                    retry_after_seconds,
                },
                NotAdmitted::Refused(closed) => {
                    if closed.probe {
                        let alipay = account.alipay.clone();
                        // Whoever waits is told at once; the answer serves the next one.
                        let probe = async move { drop(alipay.probe().await) };
                        drop(self.run_detached(probe));
                    }
                    Error::AccountRefused {
                        code: closed.code,
                        retry_after_seconds: closed.retry_after_seconds,
                    }
                }
            })
    }

    /// Refuses new work of a partner as [`Self::admit_to`] does. Of what exists, follow-ups and cancels
    /// are never refused: they find out that it answers again.
    pub(super) fn admit_new_work(&self, partner: &str) -> Result<(), Error> {
        let account = self.accounts.of(partner);
        account.map_or(Ok(()), |account| self.admit_to(&account))
    }

    /// Refuses a caller's question about what exists while Alipay does not answer. A refused account
    /// may ask: the answer may let it in again.
    pub(super) fn admit_question(&self, partner: &str) -> Result<(), Error> {
        let Some(account) = self.accounts.of(partner) else {
            return Ok(());
        };
        let admitted = account.alipay.admit_question();
        admitted.map_err(|retry_after_seconds| Error::UpstreamUnavailable {
            retry_after_seconds,
        })
    }

    /// Every configured account.
    pub fn accounts(&self) -> Arc<BTreeMap<String, Arc<Account>>> {
        self.accounts.all()
    }

    /// An account as it may be shown, at this moment.
    pub fn account_overview(&self, account: &Account) -> AccountOverview {
        account.overview(self.clock.now())
    }

    /// Puts other accounts in the place of those configured so far. Calls under way end with those
    /// they began with, and what waited for an account is visited at once.
    pub async fn replace_accounts(&self, accounts: Vec<Account>) {
        self.accounts.replace(accounts);
        match self.db.retry_failed_follow_ups().await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(
                rows,
                "accounts were read again: what failed or was refused is asked about now"
            ),
            // Each is visited in its time.
            Err(error) => {
                tracing::warn!(error = %error, "follow-ups that failed could not be made due");
            }
        }
        self.accounts.warm_up().await;
    }
}
