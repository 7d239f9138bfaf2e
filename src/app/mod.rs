//! What the service does: use cases, free of HTTP and of SQL text.
//!
//! | file | use case |
//! |---|---|
//! | [`payments`] | take a payment, undo it, ask about it, record what was learnt |
//! | [`refunds`] | give money back: now, in the batch, by the clock |
//! | [`registrations`] | stores registered with Alipay, and their reviews |
//! | [`reconciliation`] | Alipay's daily files against our books, and back into them |
//! | [`merchants`] | merchants and stores: made, changed, disabled |
//! | `follow_ups` | the schedule as operators see it, and what needs a person |
//! | [`access`] | keys made, replaced and revoked; who asks with an access token |
//! | [`audit`] | who did what |
//! | `notifications` | what Alipay posts to us: noted, and asked about at once |
//! | `contradictions` | keep what Alipay says against the books, and settle it |
//! | [`job`] | what workers do: each kind is one implementation, beside its subject |
//! | `insistence` | repeat a statement until it is certain what became of it |
//! | `pipeline` | what payments, refunds and registrations do alike: detached work, question, record, refresh, visit |
//! | `policy` | every number of tries and every deadline |
//! | `deadline` | what is decided leaves soon or not at all |
//! | [`admission`] | how much is let in |
//! | `notifier` | who waits for a change is told of it |
//! | [`cache`] | who asks, and for which store, without asking Postgres each time |
//! | [`accounts`] | the Alipay accounts that are paid |

pub mod access;
pub mod accounts;
pub mod admission;
pub mod audit;
pub mod cache;
mod contradictions;
mod deadline;
pub mod error;
mod follow_ups;
pub mod hashing;
mod insistence;
pub mod job;
pub mod merchants;
mod notifications;
mod notifier;
pub mod payments;
mod pipeline;
mod policy;
pub mod reconciliation;
pub mod refunds;
pub mod registrations;

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use chrono::TimeDelta;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::Clock,
    db::Db,
    domain::{
        accounts::timeouts::Timeouts,
        admission::LoadLimits,
        payments::{payment::Payment, plan::Plan},
        refunds::refund::Refund,
    },
    oidc::Issuer,
};
pub use crate::{
    db::Availability,
    domain::listing::{Page, PaymentFilter, RefundFilter},
};
pub use error::Interrupted;
pub use notifications::{Notified, Posted};
pub use payments::{Canceled, Created, Known, Timeline, Wait};

/// Describes the metrics of the use cases; call once, after the recorder is installed.
pub fn describe_metrics() {
    payments::record::describe_metrics();
    admission::describe_metrics();
    access::tokens::describe_metrics();
    refunds::describe_metrics();
    notifications::describe_metrics();
    registrations::describe_metrics();
    reconciliation::describe_metrics();
}

/// The use cases; cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

/// What the use cases work with.
#[derive(Debug)]
pub struct Inner {
    pub(crate) db: Db,
    accounts: accounts::Accounts,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    secret: hashing::SecretKey,
    plan: Plan,
    timeouts: Timeouts,
    directory: cache::LookupCache,
    issuer: Option<Issuer>,
    till_undo: TimeDelta,
    admission: admission::AdmissionControl,
    notifier: notifier::ChangeNotifier<Payment>,
    refund_notifier: notifier::ChangeNotifier<Refund>,
    workers_running: AtomicBool,
}

/// The parts an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub db: Db,
    /// The accounts to pay.
    pub accounts: accounts::Accounts,
    /// The process clock.
    pub clock: Arc<dyn Clock>,
    /// Where detached work runs, so that shutdown can wait for it.
    pub tasks: TaskTracker,
    /// Ends every held answer: a stopping replica keeps nobody waiting.
    pub stopping: CancellationToken,
    pub secret: hashing::SecretKey,
    /// The follow-up plan of payments.
    pub plan: Plan,
    /// How long calls may take; a claim's lease must outlast those of a follow-up.
    pub timeouts: Timeouts,
    /// How much this replica lets in.
    pub bounds: LoadLimits,
    /// Whose access tokens are believed, if anybody's.
    pub issuer: Option<Issuer>,
    /// For how long after a sale whoever takes payments may cancel it although it is paid.
    pub till_undo: TimeDelta,
}

/// Whether this replica can serve. Alipay is deliberately not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// Whether the database answers, and takes writes.
    pub database: Availability,
    /// The schema is at the version this program was built with, as far as the database tells.
    pub migrations: bool,
    /// The follow-up workers run (or are switched off on purpose).
    pub follow_up_workers: bool,
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            db,
            accounts,
            clock,
            tasks,
            stopping,
            secret,
            plan,
            timeouts,
            bounds,
            issuer,
            till_undo,
        } = parts;
        Self {
            inner: Arc::new(Inner {
                db,
                accounts,
                clock,
                tasks,
                stopping,
                secret,
                plan,
                timeouts,
                directory: cache::LookupCache::default(),
                issuer,
                till_undo,
                admission: admission::AdmissionControl::new(bounds),
                notifier: notifier::ChangeNotifier::default(),
                refund_notifier: notifier::ChangeNotifier::default(),
                workers_running: AtomicBool::new(false),
            }),
        }
    }

    /// Where tests stop, break or delay this replica.
    #[cfg(feature = "failpoints")]
    pub fn failpoints(&self) -> &crate::failpoint::Failpoints {
        &self.db.failpoints
    }

    /// Notes whether the follow-up workers run, for the readiness answer. A process that runs none
    /// on purpose says `true`.
    pub fn set_workers_running(&self, running: bool) {
        self.workers_running.store(running, Ordering::Relaxed);
    }

    /// Opens a connection to Alipay and one to the database, so that the first payment need not.
    /// Failures are left to the first use.
    pub async fn warm_up(&self) {
        let (_, ()) = tokio::join!(self.db.warm_up(), self.accounts.warm_up());
    }

    /// Closes the database connections: the last act of a replica.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// Whether this replica can serve.
    pub async fn readiness(&self) -> Readiness {
        let (database, migrated) = tokio::join!(self.db.availability(), self.db.is_migrated());
        let migrations = database == Availability::Away || migrated.unwrap_or(false);
        let follow_up_workers = self.workers_running.load(Ordering::Relaxed);
        Readiness {
            database,
            migrations,
            follow_up_workers,
        }
    }
}
