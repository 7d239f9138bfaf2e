//! Everything the simulator knows, behind one lock: clock, book, notifications, registrations,
//! scripted faults and the log of requests. Nothing waits while the lock is held.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    book::Book,
    clock::Clock,
    fault::{Fault, FaultRule},
    files::{File, FileId, Files, Ledger},
    merchants::Merchants,
    notification::{Notifications, client},
    signing::Keys,
};

/// How many requests the log remembers.
const REQUESTS_KEPT: usize = 50_000;

/// One simulator: one partner agreement and its ledger.
pub(crate) struct Simulator {
    /// The merchant's 16-digit id.
    pub(crate) partner: String,
    /// The agreement's keys.
    pub(crate) keys: Keys,
    /// How late a slow answer comes.
    pub(crate) slow_answer: Duration,
    /// Where the daily files are laid out, if anywhere.
    pub(crate) files_dir: Option<PathBuf>,
    /// Counts the releases of held answers.
    pub(crate) releases: watch::Sender<u64>,
    pub(crate) client: Client,
    /// Held by whoever delivers what is due: one at a time, so that order is kept.
    pub(crate) courier: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

impl Simulator {
    /// A simulator with an empty ledger.
    pub(crate) fn new(
        partner: String,
        keys: Keys,
        slow_answer: Duration,
        clock: Clock,
        files_dir: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            partner,
            keys,
            slow_answer,
            files_dir,
            releases: watch::Sender::new(0),
            client: client::client()?,
            courier: tokio::sync::Mutex::new(()),
            state: Mutex::new(State::new(clock)),
        })
    }

    /// The state. A panic elsewhere leaves it readable: a test then still sees the ledger.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the lock protects.
pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(crate) book: Book,
    pub(crate) notifications: Notifications,
    pub(crate) merchants: Merchants,
    pub(crate) files: Files,
    pub(crate) faults: Vec<FaultRule>,
    /// The code with which every service refuses the account, if one does.
    pub(crate) access_refusal: Option<String>,
    /// Payments that were paid with a code which chose such a refusal, and that refusal: the account's for whatever is
    /// asked about them.
    pub(crate) shut_out: BTreeMap<String, Fault>,
    /// How a fault of a business parameter is answered.
    pub(crate) parameter_faults: ParameterFaults,
    pub(crate) requests: VecDeque<RequestRecord>,
    sequence: u64,
}

impl State {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            book: Book::new(),
            notifications: Notifications::new(),
            merchants: Merchants::default(),
            files: Files::new(clock.now()),
            faults: Vec::new(),
            access_refusal: None,
            shut_out: BTreeMap::new(),
            parameter_faults: ParameterFaults::default(),
            requests: VecDeque::new(),
            sequence: 0,
        }
    }

    /// Forgets everything but the time and the count of requests.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            sequence: self.sequence,
            ..Self::new(self.clock)
        };
    }

    /// Books what time has done, and begins to report what has succeeded. Returns the present.
    pub(crate) fn settle(&mut self) -> DateTime<Utc> {
        let now = self.clock.now();
        for (at, refund, trade) in self.book.take_announcements(now) {
            self.notifications.announce(at, refund, trade);
        }
        now
    }

    /// A daily file, as of now; `None` if there is nothing in it.
    pub(crate) fn make_file(&mut self, partner: &str, id: FileId) -> Option<File> {
        self.book.all(self.clock.now());
        self.files.make(&self.ledger(partner), id)
    }

    /// Every daily file that has something in it, as of now.
    pub(crate) fn file_ids(&mut self, partner: &str) -> Vec<FileId> {
        self.book.all(self.clock.now());
        self.files.ids(&self.ledger(partner))
    }

    fn ledger<'a>(&'a self, partner: &'a str) -> Ledger<'a> {
        Ledger {
            partner,
            trades: self.book.trades(),
            refunds: self.book.refunds(),
        }
    }

    /// Logs a request and gives it its number.
    pub(crate) fn record(&mut self, mut record: RequestRecord) -> u64 {
        self.sequence += 1;
        record.sequence = self.sequence;
        if self.requests.len() == REQUESTS_KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(record);
        self.sequence
    }

    /// Notes what became of the answer; returns the record for the program's log.
    pub(crate) fn answered(
        &mut self,
        sequence: u64,
        answer: &'static str,
    ) -> Option<&RequestRecord> {
        // The request is among the latest: search from the back.
        let record = self
            .requests
            .iter_mut()
            .rev()
            .find(|record| record.sequence == sequence)?;
        record.answer = answer;
        Some(record)
    }
}

/// How a fault of a business parameter is answered; what is wrong with the account or the signature never is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ParameterFaults {
    /// By the service, with `result_code=FAILED` and what is wrong.
    #[default]
    Signed,
    /// At the door, with `is_success=F`.
    Unsigned,
}

/// One request, as the control API shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RequestRecord {
    pub(crate) sequence: u64,
    /// The short name, or what the merchant sent.
    pub(crate) service: String,
    pub(crate) partner_trans_id: Option<String>,
    pub(crate) out_trade_no: Option<String>,
    pub(crate) partner_refund_id: Option<String>,
    #[serde(serialize_with = "rfc3339")]
    pub(crate) received_at: DateTime<Utc>,
    pub(crate) signature_ok: bool,
    /// `created`, `paid`, `closed`, `refunded`, `accepted`, `registered`, `later` or `none`.
    pub(crate) effect: &'static str,
    /// `pending`, `delayed`, `held`, then `sent`, `dropped`, `truncated` or `abandoned` (the merchant
    /// hung up first).
    pub(crate) answer: &'static str,
    /// The scenario's ending, if the code chose one.
    pub(crate) scenario: Option<&'static str>,
    /// The fault that spoilt the answer.
    pub(crate) fault: Option<Fault>,
    /// Why the request was refused.
    pub(crate) refusal: Option<String>,
    /// As received; the code of the buyer is masked.
    pub(crate) params: BTreeMap<String, String>,
}

fn rfc3339<S: serde::Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::clock::rfc3339(*at))
}
