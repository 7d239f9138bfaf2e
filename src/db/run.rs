//! Running one statement: the only place that takes a connection, and the only place with its
//! deadlines.
//!
//! Statements run in one of three lanes, each with connections of its own, so that what hangs in one
//! leaves the others alone: `writes`, `reads` (which the server holds to reading, and which health
//! checks use), and `bulk` (the long statements of daily files and housekeeping).
//!
//! Each statement has a deadline at the server, which ends what waits for a lock or works for too
//! long and takes it back, and a later one here, for what the server cannot end: a COMMIT that waits
//! for a standby, and a server that is frozen or gone. Here nothing is canceled
//! (`docs/invariants.md` R9): the connection is closed, never used again, and the caller learns
//! that a write is *in doubt*.
//!
//! What is closed here may still wait at the server, one session each. So after a write was given up
//! no further one is sent before the server has none of ours left that is overdue: those that come
//! meanwhile are refused at once, and for certain.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, IntoArguments, PgConnection, PgPool, Postgres,
    pool::{PoolConnection, PoolConnectionMetadata},
    postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow},
    query::{Map, Query, QueryScalar},
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::error::Error;

/// The service's name at the server, by which its overdue writes are found.
const NAME: &str = "alipayhk-gateway";

/// How long the parts of a statement may take; `docs/deadlines.md` is their table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection is there.
    pub acquire: Duration,
    /// One try to get a connection, after which another one is made.
    pub connect_try: Duration,
    /// For how long a connection that idles is trusted to be alive, as long as no other one broke.
    pub trust: Duration,
    /// Until an idle connection that is not trusted has answered.
    pub ping: Duration,
    /// Waiting for a lock; at the server, which takes the statement back.
    pub lock: Duration,
    /// The statement; at the server, which takes it back.
    pub statement: Duration,
    /// The statement with its COMMIT, here: the connection is closed.
    pub answer: Duration,
}

impl Limits {
    /// Of what somebody waits for, and of the workers.
    pub const USUAL: Self = Self {
        acquire: Duration::from_secs(3),
        connect_try: Duration::from_secs(1),
        trust: Duration::from_secs(1),
        ping: Duration::from_millis(500),
        lock: Duration::from_secs(2),
        statement: Duration::from_secs(4),
        answer: Duration::from_secs(5),
    };

    /// Of the long statements that nobody waits for.
    const fn bulk(self) -> Self {
        Self {
            lock: BULK_LOCK,
            statement: BULK_STATEMENT,
            answer: BULK_ANSWER,
            ..self
        }
    }
}

/// As [`Limits::lock`], of daily files and housekeeping.
pub const BULK_LOCK: Duration = Duration::from_secs(10);
/// As [`Limits::statement`], of daily files and housekeeping.
pub const BULK_STATEMENT: Duration = Duration::from_mins(1);
/// As [`Limits::answer`], of daily files and housekeeping.
pub const BULK_ANSWER: Duration = Duration::from_secs(65);
/// For how long what the server said of overdue writes is taken for true.
pub const OVERDUE_SEEN_FOR: Duration = Duration::from_millis(250);
/// How many connections the long statements have.
const BULK_CONNECTIONS: u32 = 2;

impl Default for Limits {
    fn default() -> Self {
        Self::USUAL
    }
}

/// How statements that write are planned: once for each connection, and by key. A plan that is made while
/// the tables are empty, by their sizes, would read them from end to end for as long as the session lives;
/// and one that is made anew for every group of writes would cost more than the group.
const BY_KEY: [(&str, &str); 4] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// What a lane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Writes,
    Reads,
    Bulk,
}

/// What is known of the server's state, by all lanes.
#[derive(Debug)]
struct Server {
    notes: Mutex<Notes>,
    /// Connections on their way back to their pools, and groups of writes.
    tasks: TaskTracker,
}

#[derive(Clone, Copy, Debug)]
struct Notes {
    /// When a connection last broke or fell silent: those that were idle then are pinged before use.
    suspect: Option<Instant>,
    /// When a ping last went unanswered: those that were idle then are not used again.
    condemned: Option<Instant>,
    /// When a write was given up or refused as such, with none that passed since.
    writes_failed: Option<Instant>,
    /// What the server said of overdue writes, and when.
    overdue: Option<(Instant, bool)>,
}

impl Server {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            notes: Mutex::new(Notes {
                suspect: None,
                condemned: None,
                writes_failed: None,
                overdue: None,
            }),
            tasks: TaskTracker::new(),
        })
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an idle connection may be used: whether it answers, where that is not certain.
    ///
    /// A ping before every use would cost a tenth of the throughput. A connection that was busy a
    /// moment ago is trusted, unless another one broke since.
    async fn is_usable(
        &self,
        connection: &mut PgConnection,
        meta: PoolConnectionMetadata,
        limits: Limits,
    ) -> bool {
        let now = Instant::now();
        let idle_since = now.checked_sub(meta.idle_for).unwrap_or(now);
        let notes = *self.notes();
        let was_idle_at = |at: Option<Instant>| at.is_some_and(|at| idle_since <= at);
        if was_idle_at(notes.condemned) {
            return false;
        }
        if meta.idle_for <= limits.trust && !was_idle_at(notes.suspect) {
            return true;
        }
        match timeout(limits.ping, connection.ping()).await {
            Ok(Ok(())) => true,
            Ok(Err(_)) => {
                self.notes().suspect = Some(now);
                false
            }
            Err(_) => {
                self.notes().condemned = Some(now);
                false
            }
        }
    }
}

/// The three lanes to one database.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) writes: Lane,
    pub(super) reads: Lane,
    pub(super) bulk: Lane,
}

impl Lanes {
    /// Of `connections` a quarter is for reads; long statements have a few more of their own.
    pub(super) fn new(options: &PgConnectOptions, connections: u32, limits: Limits) -> Self {
        let server = Server::new();
        let reads = (connections / 4).max(1);
        let writes = connections.saturating_sub(reads).max(1);
        let lane = |kind, size, limits| Lane::new(kind, options, size, limits, &server);
        let reads = lane(Kind::Reads, reads, limits);
        Self {
            writes: Lane {
                reads: Some(Box::new(reads.clone())),
                ..lane(Kind::Writes, writes, limits)
            },
            reads,
            bulk: lane(Kind::Bulk, BULK_CONNECTIONS, limits.bulk()),
        }
    }
}

/// Connections for statements of one kind, with their deadlines; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    of: Arc<Connections>,
    /// When whoever waits is told something: nothing is written that could outlast it.
    deadline: Option<Instant>,
    /// Of writes: where the server is asked whether earlier ones hang.
    reads: Option<Box<Self>>,
}

/// What every clone of a lane shares.
#[derive(Debug)]
pub(super) struct Connections {
    kind: Kind,
    pool: PgPool,
    limits: Limits,
    server: Arc<Server>,
}

impl Deref for Lane {
    type Target = Connections;

    fn deref(&self) -> &Connections {
        &self.of
    }
}

impl Lane {
    fn new(
        kind: Kind,
        options: &PgConnectOptions,
        size: u32,
        limits: Limits,
        server: &Arc<Server>,
    ) -> Self {
        let (name, reads_only) = match kind {
            Kind::Writes => (NAME.to_owned(), "off"),
            Kind::Reads => (format!("{NAME} reads"), "on"),
            Kind::Bulk => (format!("{NAME} bulk"), "off"),
        };
        let milliseconds = |limit: Duration| format!("{}ms", limit.as_millis());
        let options = options.clone().application_name(&name).options([
            // A session that idles inside a transaction would hold back every claim.
            (
                "idle_in_transaction_session_timeout",
                BULK_LOCK.as_millis().to_string(),
            ),
            ("lock_timeout", milliseconds(limits.lock)),
            ("statement_timeout", milliseconds(limits.statement)),
            ("default_transaction_read_only", reads_only.to_owned()),
            // Compiling a statement takes longer than any of ours runs.
            ("jit", "off".to_owned()),
        ]);
        let options = if kind == Kind::Writes {
            options.options(BY_KEY)
        } else {
            options
        };
        let watched = Arc::clone(server);
        let pool = PgPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(limits.acquire)
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                let server = Arc::clone(&watched);
                Box::pin(async move { Ok(server.is_usable(connection, meta, limits).await) })
            })
            .connect_lazy_with(options);
        Self {
            of: Arc::new(Connections {
                kind,
                pool,
                limits,
                server: Arc::clone(server),
            }),
            deadline: None,
            reads: None,
        }
    }

    /// The same lane for somebody who is told something at `deadline`.
    pub(super) fn by(&self, deadline: Instant) -> Self {
        self.until(Some(deadline))
    }

    /// The same lane for somebody who is told something at `deadline`, or waits.
    pub(super) fn until(&self, deadline: Option<Instant>) -> Self {
        Self {
            of: Arc::clone(&self.of),
            deadline,
            reads: self
                .reads
                .as_ref()
                .map(|reads| Box::new(reads.until(deadline))),
        }
    }

    /// When whoever waits is told something.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Work on these connections that no caller drops.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.server.tasks.spawn(work);
    }

    /// Closes every connection, waiting for those in use.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// A connection like those of the lane, and none of them: for a transaction over statements.
    pub(super) async fn connection_of_its_own(&self) -> Result<PgConnection, Error> {
        let options = self.pool.connect_options();
        match timeout(self.limits.acquire, options.connect()).await {
            Ok(connected) => connected.map_err(Error::unreached),
            Err(_) => Err(Error::unreached(sqlx::Error::PoolTimedOut)),
        }
    }

    /// How long the server and we wait for an answer.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether writes are known to fail: some were given up or refused, and none has passed since.
    pub(super) fn writes_failed_within(&self, period: Duration) -> bool {
        let failed = self.server.notes().writes_failed;
        failed.is_some_and(|at| at.elapsed() < period)
    }

    /// Whether the server has writes of ours that are overdue, which only a COMMIT can be: asks it.
    pub(super) async fn has_overdue_writes(&self) -> Result<bool, Error> {
        let asked = sqlx::query_scalar!(
            r#"select exists (
                select from pg_stat_activity
                where application_name = $1 and usename = current_user
                    and datname = current_database() and state = 'active'
                    and query_start
                        < clock_timestamp() - $2::bigint * interval '1 millisecond') as "overdue!""#,
            NAME,
            i64::try_from(self.limits.answer.as_millis()).unwrap_or(i64::MAX),
        );
        let mut held = self.connect().await?;
        let answer_by = held.answer_by;
        let answered = timeout_at(answer_by, asked.fetch_one(held.connection())).await;
        let overdue = held.end(answered)?;
        self.server.notes().overdue = Some((Instant::now(), overdue));
        Ok(overdue)
    }

    /// Refuses a write while earlier ones hang.
    async fn admit(&self) -> Result<(), Error> {
        let (Some(reads), notes) = (&self.reads, *self.server.notes()) else {
            return Ok(());
        };
        if notes.writes_failed.is_none() {
            return Ok(());
        }
        let overdue = match notes.overdue {
            Some((at, overdue)) if at.elapsed() < OVERDUE_SEEN_FOR => overdue,
            // A server that does not tell is found out by the write itself.
            _ => timeout(self.limits.connect_try, reads.has_overdue_writes())
                .await
                .is_ok_and(|told| told.unwrap_or(false)),
        };
        if overdue {
            return Err(Error::WritesStall);
        }
        Ok(())
    }

    /// A connection for one statement, where it may be sent.
    async fn take(&self) -> Result<Held, Error> {
        self.admit().await?;
        self.connect().await
    }

    async fn connect(&self) -> Result<Held, Error> {
        let now = Instant::now();
        let ends = self
            .deadline
            .unwrap_or(now + self.limits.acquire + self.limits.answer);
        // What reads may be left in the middle.
        let answers_within = if self.kind == Kind::Reads {
            Duration::ZERO
        } else {
            self.limits.answer
        };
        let Some(until) = ends
            .checked_sub(answers_within)
            .filter(|until| now < *until)
        else {
            return Err(Error::NoTimeLeft);
        };
        let until = until.min(now + self.limits.acquire);
        // A try may hang at a server that is gone while its successor is there already.
        let mut limit = self.limits.connect_try;
        loop {
            let tried = timeout_at(until.min(Instant::now() + limit), self.pool.acquire()).await;
            match tried {
                Ok(Ok(connection)) => {
                    return Ok(Held {
                        connection: Some(connection),
                        answer_by: ends.min(Instant::now() + self.limits.answer),
                        kind: self.kind,
                        limits: self.limits,
                        server: Arc::clone(&self.server),
                    });
                }
                Ok(Err(error)) => return Err(Error::unreached(error)),
                Err(_) if Instant::now() >= until => {
                    return Err(Error::unreached(sqlx::Error::PoolTimedOut));
                }
                Err(_) => limit *= 2,
            }
        }
    }
}

/// A connection while a statement runs on it. Dropped in the middle, by a deadline or a caller that
/// goes, it is closed: what the server still does there must not be waited for by the next user.
#[derive(Debug)]
struct Held {
    connection: Option<PoolConnection<Postgres>>,
    answer_by: Instant,
    kind: Kind,
    limits: Limits,
    server: Arc<Server>,
}

impl Held {
    fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("held until it is put back")
    }

    /// What became of the statement, and the connection to its pool, if it is still good.
    fn end<T>(
        mut self,
        answered: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, Error> {
        let Ok(answered) = answered else {
            self.server.notes().suspect = Some(Instant::now());
            self.note_write(false);
            return Err(self.of_this_lane(Error::in_doubt(DeadlineOver)));
        };
        match answered {
            Ok(value) => {
                self.note_write(true);
                self.put_back();
                Ok(value)
            }
            Err(error) => {
                let is_told = error.as_database_error().is_some();
                let error = Error::from(error);
                match &error {
                    // The server is no longer the primary, or full: so it is for every connection.
                    Error::Unavailable(_) if is_told => {
                        self.server.notes().condemned = Some(Instant::now());
                        self.note_write(false);
                    }
                    Error::Unavailable(_) | Error::InDoubt(_) => {
                        self.server.notes().suspect = Some(Instant::now());
                    }
                    _ => self.put_back(),
                }
                let error = self.of_this_lane(error);
                Err(error)
            }
        }
    }

    /// A statement that only reads leaves nothing in doubt.
    fn of_this_lane(&self, error: Error) -> Error {
        match (self.kind, error) {
            (Kind::Reads, Error::InDoubt(source)) => Error::Unavailable(source),
            (_, error) => error,
        }
    }

    fn note_write(&self, passed: bool) {
        if self.kind == Kind::Writes {
            let mut notes = self.server.notes();
            notes.writes_failed = (!passed).then(Instant::now);
        }
    }

    /// Gives the connection back. The pool pings it first, and must not wait for that for ever.
    fn put_back(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            let limit = self.limits.answer;
            let server = Arc::clone(&self.server);
            let back = connection.return_to_pool();
            self.server.tasks.spawn(async move {
                if timeout(limit, back).await.is_err() {
                    server.notes().suspect = Some(Instant::now());
                }
            });
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Out of the pool, which makes another one; the socket closes here.
            drop(connection.detach());
        }
    }
}

/// Waits for an answer on a connection that is no lane's, for no longer than one of a lane would be
/// waited for.
pub(super) async fn within<T>(
    limits: Limits,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    match timeout(limits.answer, answer).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(Error::in_doubt(DeadlineOver)),
    }
}

/// Why a connection was closed in the middle of a statement.
#[derive(Debug, thiserror::Error)]
#[error("the database did not answer in time")]
struct DeadlineOver;

/// A statement that can be run in a lane.
pub(super) trait Statement: Sized + Send {
    /// What a row is read into.
    type Row: Send;

    /// Exactly one row.
    fn one(self, lane: &Lane) -> impl Future<Output = Result<Self::Row, Error>> + Send;

    /// One row or none.
    fn optional(self, lane: &Lane)
    -> impl Future<Output = Result<Option<Self::Row>, Error>> + Send;

    /// Every row.
    fn all(self, lane: &Lane) -> impl Future<Output = Result<Vec<Self::Row>, Error>> + Send;
}

/// Runs a query of `sqlx` on a connection of the lane, for no longer than its limit.
macro_rules! run_in {
    ($lane:ident, $query:ident, $how:ident) => {{
        // Boxed: the futures of use cases hold many of these.
        let mut held = Box::pin($lane.take()).await?;
        let answer_by = held.answer_by;
        let answered = timeout_at(answer_by, $query.$how(held.connection())).await;
        held.end(answered)
    }};
}

impl<'q, F, O, A> Statement for Map<'q, Postgres, F, A>
where
    F: FnMut(PgRow) -> Result<O, sqlx::Error> + Send,
    O: Send + Unpin,
    A: 'q + Send + IntoArguments<Postgres>,
{
    type Row = O;

    async fn one(self, lane: &Lane) -> Result<O, Error> {
        run_in!(lane, self, fetch_one)
    }

    async fn optional(self, lane: &Lane) -> Result<Option<O>, Error> {
        run_in!(lane, self, fetch_optional)
    }

    async fn all(self, lane: &Lane) -> Result<Vec<O>, Error> {
        run_in!(lane, self, fetch_all)
    }
}

impl<'q, O, A> Statement for QueryScalar<'q, Postgres, O, A>
where
    O: Send + Unpin,
    A: 'q + Send + IntoArguments<Postgres>,
    (O,): Send + Unpin + for<'r> sqlx::FromRow<'r, PgRow>,
{
    type Row = O;

    async fn one(self, lane: &Lane) -> Result<O, Error> {
        run_in!(lane, self, fetch_one)
    }

    async fn optional(self, lane: &Lane) -> Result<Option<O>, Error> {
        run_in!(lane, self, fetch_optional)
    }

    async fn all(self, lane: &Lane) -> Result<Vec<O>, Error> {
        run_in!(lane, self, fetch_all)
    }
}

/// A statement without rows.
pub(super) trait Command: Sized + Send {
    /// Runs it, and says how many rows it touched.
    fn run(self, lane: &Lane) -> impl Future<Output = Result<PgQueryResult, Error>> + Send;
}

impl<'q, A> Command for Query<'q, Postgres, A>
where
    A: 'q + Send + IntoArguments<Postgres>,
{
    async fn run(self, lane: &Lane) -> Result<PgQueryResult, Error> {
        run_in!(lane, self, execute)
    }
}
