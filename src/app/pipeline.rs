//! What payments, refunds and registrations do alike, written once: work that outlives its caller, one
//! question (intent, call, record), one record that is repeated until it is certain, one refresh, one
//! visit. What differs is in [`Tracked`], one small implementation per subject.

use std::{fmt::Debug, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    App,
    error::{Error, Interrupted, RecordError, unless_lost},
    insistence::Insistence,
    policy::{RECORD_ANSWER, TRIES},
};
use crate::{
    db::{Db, error::Error as DbError},
    domain::{
        attempt::Answer,
        follow_ups::{lease::LeaseToken, schedule::Subject},
        id::{ApiKeyId, MerchantId},
        transition::Actor,
    },
    failpoint::crashpoint,
};

/// Who asks, and in what standing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Initiator {
    /// A caller, under nothing but the version that was read.
    Caller(ApiKeyId),
    /// A worker, under its claim.
    Worker(LeaseToken),
}

impl Initiator {
    /// For the history.
    pub(super) const fn actor(self) -> Actor {
        match self {
            Self::Caller(id) => Actor::ApiKey(id),
            Self::Worker(lease_token) => Actor::FollowUp(lease_token.follow_up_id),
        }
    }

    /// A worker's claim.
    pub(super) const fn lease_token(self) -> Option<LeaseToken> {
        match self {
            Self::Caller(_) => None,
            Self::Worker(lease_token) => Some(lease_token),
        }
    }

    /// Whether the plan goes on from what is learnt: a caller's question is besides it.
    pub(super) const fn is_worker(self) -> bool {
        matches!(self, Self::Worker(_))
    }
}

/// What became of the intent to ask.
#[derive(Debug)]
pub(super) enum Beginning<B> {
    /// Committed: ask.
    Begun(Box<B>),
    /// The subject has changed since it was read, or may not be asked for this: read and decide again.
    Changed,
    /// The claim passed to another worker: stop.
    LeaseLost,
}

/// A subject after a question about it.
#[derive(Debug)]
pub(super) struct Told<S> {
    /// As it stands.
    pub(super) subject: S,
    /// What came back.
    pub(super) answer: Answer,
    /// Whether that says where it stands.
    pub(super) tells_something: bool,
}

/// What became of one try to write an update.
#[derive(Debug)]
pub(super) enum Written<S> {
    /// It is written: the subject as it stands.
    Done(Box<S>),
    /// Another writer came first: read and decide again.
    Stale,
    /// The claim passed to another worker.
    LeaseLost,
}

/// What is asked about until its outcome is known.
pub(super) trait Tracked: Clone + Debug + Send + Sync + 'static {
    /// Something that was learnt of it.
    type Update: Sync;
    /// What can be asked about it.
    type Call: Copy + Send;
    /// A question whose intent is committed.
    type Begun: Send;
    /// The question where it stands.
    const QUERY: Self::Call;

    /// Names it.
    fn name(&self) -> Subject;

    fn merchant_id(&self) -> MerchantId;

    /// Reads it as it stands.
    fn read(&self, db: &Db) -> impl Future<Output = Result<Option<Self>, DbError>> + Send;

    /// Whether something was said against the books that is asked about once more before it is shown.
    fn is_to_be_asked_again(&self) -> bool {
        false
    }

    /// Commits the intent to ask.
    fn begin(
        self,
        app: &App,
        initiator: Initiator,
        call: Self::Call,
    ) -> impl Future<Output = Result<Beginning<Self::Begun>, Interrupted>> + Send;

    /// Asks and records. No database connection is held during the call.
    fn ask(
        app: &App,
        begun: Self::Begun,
        initiator: Initiator,
    ) -> impl Future<Output = Result<Told<Self>, RecordError>> + Send;

    /// Decides what an update means for the subject as it was read, and writes that, guarded by its
    /// version and by the worker's claim.
    fn write(
        &self,
        app: &App,
        update: &Self::Update,
    ) -> impl Future<Output = Result<Written<Self>, DbError>> + Send;

    /// That every planned question was asked in vain.
    fn plan_exhausted(&self, lease_token: LeaseToken, now: DateTime<Utc>) -> Self::Update;
}

/// Where detached work answers its caller before it ends.
pub(super) struct Reply<T>(oneshot::Sender<Result<T, Error>>);

impl<T> Reply<T> {
    /// Answers. A caller who hung up changes nothing.
    pub(super) fn send(self, answer: Result<T, Error>) {
        drop(self.0.send(answer));
    }
}

impl App {
    /// Runs work on the task tracker: dropping the handle does not stop the work, and a panic in it comes
    /// back as an error.
    pub(crate) fn run_detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        use tracing::Instrument;
        self.tasks.spawn(work.in_current_span())
    }

    /// Runs work to its end whatever becomes of its caller (`docs/invariants.md` R6); waits for it.
    pub(super) fn detached<T: Send + 'static, W>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, Error>> + use<T, W>
    where
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let ended = self.run_detached(work);
        async move {
            ended
                .await
                .map_err(|error| Error::Internal(Box::new(error)))?
        }
    }

    /// The same of work for a merchant that may have only so much under way. The place is held by the work,
    /// not by the caller: hanging up makes no room.
    pub(super) fn detached_for<T: Send + 'static, W>(
        &self,
        merchant_id: MerchantId,
        work: W,
    ) -> impl Future<Output = Result<T, Error>> + use<T, W>
    where
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let place = self.admission.enter(merchant_id);
        let ended = place.map(|place| {
            self.run_detached(async move {
                let _place = place;
                work.await
            })
        });
        async move {
            ended?
                .await
                .map_err(|error| Error::Internal(Box::new(error)))?
        }
    }

    /// The same of work that answers before it ends; waits for the answer alone.
    pub(super) async fn answered_early_for<T: Send + 'static, W>(
        &self,
        merchant_id: MerchantId,
        work: impl FnOnce(Reply<T>) -> W,
    ) -> Result<T, Error>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let place = self.admission.enter(merchant_id)?;
        let (reply, answer) = oneshot::channel();
        let work = work(Reply(reply));
        let work = async move {
            let _place = place;
            work.await;
        };
        drop(self.run_detached(work));
        answer
            .await
            .map_err(|_| Error::Internal("the work ended before it answered".into()))?
    }

    /// Applies an update to a subject and writes it, guarded by the version that was read. Another writer's
    /// change leads to reading and deciding again; an outage or a commit in doubt to repeating the
    /// guarded statement for `insist_for` (`docs/invariants.md` R8). Returns the subject as it stands.
    pub(super) async fn record<S: Tracked>(
        &self,
        mut subject: S,
        update: &S::Update,
        insist_for: Duration,
    ) -> Result<S, RecordError> {
        let mut insistence = Insistence::lasting(insist_for);
        loop {
            match subject.write(self, update).await {
                Ok(Written::Done(after)) => return Ok(*after),
                Ok(Written::Stale) => {}
                Ok(Written::LeaseLost) => return Err(RecordError::LeaseLost),
                Err(error) => {
                    tracing::warn!(subject.id = %subject.name(), error = %error, "recording an answer failed");
                    insistence.outlast(error).await?;
                }
            }
            match subject.read(&self.db).await {
                Ok(Some(current)) => subject = current,
                Ok(None) => return Err(RecordError::Missing),
                // Still away: the guarded statement is repeated on what was read last.
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks Alipay now, for a caller, where what `read` finds stands, and records what it says. Nothing
    /// changes where no usable answer comes. `Ok(None)`: `read` found nothing.
    pub(super) async fn refresh<S: Tracked, F>(
        &self,
        caller: ApiKeyId,
        read: impl Fn() -> F,
    ) -> Result<Option<S>, Error>
    where
        F: Future<Output = Result<Option<S>, Error>>,
    {
        let initiator = Initiator::Caller(caller);
        let mut contradicted = None;
        for _ in 0..TRIES {
            let Some(subject) = read().await? else {
                return Ok(None);
            };
            let name = subject.name();
            let app = self.clone();
            // Detached: a caller that hangs up must not leave an answer unrecorded.
            let asked = self.detached_for(subject.merchant_id(), async move {
                crashpoint!(app.db.failpoints, "refresh.accepted");
                match subject.begin(&app, initiator, S::QUERY).await? {
                    Beginning::Begun(begun) => Ok(Some(S::ask(&app, *begun, initiator).await?)),
                    Beginning::Changed | Beginning::LeaseLost => Ok(None),
                }
            });
            let Some(told) = asked.await? else {
                continue;
            };
            let is_new = told.tells_something && told.subject.is_to_be_asked_again();
            if is_new && contradicted.is_none() {
                contradicted = Some(told.subject);
                continue;
            }
            if !told.tells_something && contradicted.is_none() {
                return Err(Error::UpstreamSilent {
                    subject: name,
                    class: told.answer.class.as_str(),
                });
            }
            // What was learnt may be nothing new, and what was asked about another by now.
            let current = told.subject.read(&self.db).await.ok().flatten();
            return Ok(Some(current.unwrap_or(told.subject)));
        }
        contradicted.map_or_else(
            || Err(Error::Unavailable("it kept changing".into())),
            |subject| Ok(Some(subject)),
        )
    }

    /// Asks one question under a worker's claim; returns the subject after it, or `None` where another goes
    /// on.
    pub(super) async fn ask_as_worker<S: Tracked>(
        &self,
        subject: S,
        lease_token: LeaseToken,
        now: DateTime<Utc>,
        call: S::Call,
    ) -> Result<Option<S>, Interrupted> {
        let (merchant_id, name) = (subject.merchant_id(), subject.name());
        let initiator = Initiator::Worker(lease_token);
        match subject.begin(self, initiator, call).await? {
            Beginning::Begun(begun) => {
                let told = S::ask(self, *begun, initiator).await;
                unless_lost(told.map(|told| told.subject))
            }
            Beginning::Changed => {
                // Somebody settled or changed it meanwhile: look again at once.
                self.db.reschedule(merchant_id, lease_token, now).await?;
                Ok(None)
            }
            Beginning::LeaseLost => {
                tracing::warn!(subject.id = %name, "the claim on the follow-up was lost before asking");
                Ok(None)
            }
        }
    }

    /// The plan is exhausted: a person must look, and the slow questions go on.
    pub(super) async fn give_up<S: Tracked>(
        &self,
        subject: S,
        lease_token: LeaseToken,
        now: DateTime<Utc>,
    ) -> Result<(), Interrupted> {
        tracing::error!(subject.id = %subject.name(), "every planned question was asked without an answer: unresolved");
        let update = subject.plan_exhausted(lease_token, now);
        let recorded = self.record(subject, &update, RECORD_ANSWER).await;
        unless_lost(recorded).map(|_| ())
    }
}
