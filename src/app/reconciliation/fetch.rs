//! Alipay's daily files, fetched by the clock or by a person, and imported by the same way as any other
//! (`docs/protocol.md` 9.2, 9.3).
//!
//! One replica fetches an account's files at a time: it holds a claim, and whoever finds the claim of a dead
//! one run out makes the same try again. What was imported is noted file by file, so that the next try,
//! also after a crash, fetches what is new or changed and nothing else. Nothing depends on that note: the
//! import itself knows every content.
//!
//! After the last try of a day a *transaction* file is missed where the books have sales of the day before;
//! without sales Alipay makes none. A *settlement* file is made only where a settlement was, and weekends and
//! holidays put that off in ways that no calendar here knows. It is missed only when none came for
//! [`SETTLED_WITHIN_DAYS`] days from a day with sales on, which outlasts the longest holidays.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Days, NaiveDate, Utc};

use super::{Order, ReconcileError, Reconciled, StagedFile};
use crate::{
    alipay::sftp::{FetchError, Found, SftpServer},
    app::{App, accounts::Fetching, policy::IMPORT_ONE_FILE},
    db::{error::Error as DbError, reconciliation::fetches::FetchedFile},
    domain::{
        audit::AuditActor,
        reconciliation::{
            Source,
            daily_file::{FileKind, FileName},
        },
    },
};

/// Within how many days of a day with sales some settlement file comes, that day included.
pub const SETTLED_WITHIN_DAYS: i32 = 12;

/// What a fetch of an account's files came to.
#[derive(Debug)]
pub struct Fetched {
    pub partner: String,
    /// Each file that was looked for.
    pub files: Vec<(String, FileOutcome)>,
    /// Why not all of them were looked for.
    pub error: Option<String>,
}

/// What became of one file.
#[derive(Debug)]
pub enum FileOutcome {
    /// It is not there.
    Absent,
    /// It was imported before, and the server says that it is the same.
    Unchanged,
    /// It was imported and compared; a replay where its content was known.
    Imported(Box<Reconciled>),
    /// It could not be fetched or read.
    Failed(String),
}

impl FileOutcome {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Unchanged => "unchanged",
            Self::Imported(_) => "imported",
            Self::Failed(_) => "failed",
        }
    }
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchRefused {
    /// No server is configured.
    #[error(
        "nothing says where the daily files of {0} are: set SFTP_HOST, or [account.sftp] in the file of accounts"
    )]
    NotConfigured(String),
    /// Somebody else is at it.
    #[error(
        "another process is fetching the files of {0} at this moment: try again in some minutes"
    )]
    Busy(String),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A claim that is held while files are fetched.
#[derive(Clone, Copy, Debug)]
struct Held {
    fence: i64,
    lease: Duration,
}

/// A file that was brought and waits to be imported.
struct Brought {
    /// Its place among the outcomes.
    at: usize,
    staged: StagedFile,
    seen: FetchedFile,
}

/// Describes the metrics of this module; call once, after the recorder is installed.
pub(super) fn describe_metrics() {
    metrics::describe_counter!(
        "daily_file_fetches_total",
        metrics::Unit::Count,
        "Fetches of an account's daily files, by what came of them: complete, or the class of what was in the way."
    );
    metrics::describe_counter!(
        "daily_files_fetched_total",
        metrics::Unit::Count,
        "Daily files that were looked for, by kind and by what became of them."
    );
    metrics::describe_counter!(
        "daily_files_missed_total",
        metrics::Unit::Count,
        "Daily files that did not come by the last try though there were sales, by kind."
    );
    metrics::describe_gauge!(
        "daily_files_missing",
        metrics::Unit::Count,
        "Those of the last 31 days that have still not come, by kind, over all replicas."
    );
}

impl App {
    /// Makes every regular try that is due and that nobody else makes, account by account at once, and
    /// answers how many were made here.
    pub async fn fetch_due_files(&self, replica: &str) -> usize {
        let tries: Vec<_> = self
            .accounts
            .all()
            .iter()
            .filter_map(|(partner, account)| {
                let (app, fetching) = (self.clone(), account.sftp.clone()?);
                let (partner, replica) = (partner.clone(), replica.to_owned());
                Some(self.run_detached(async move {
                    let tried = app.try_regularly(&partner, &fetching, &replica).await;
                    tried.unwrap_or_else(|error| {
                        tracing::warn!(
                            alipay.partner = partner,
                            %error,
                            "daily files were not fetched: the database is away; tried again soon"
                        );
                        false
                    })
                }))
            })
            .collect();
        if tries.is_empty() {
            return 0;
        }
        let mut made = 0;
        for tried in tries {
            made += usize::from(tried.await.unwrap_or(false));
        }
        self.show_missing_files().await;
        made
    }

    /// Fetches the files of a day, or of the last days, now. `partner` may be left out where there is one
    /// account.
    pub async fn fetch_files_now(
        &self,
        partner: &str,
        day: Option<NaiveDate>,
        by: AuditActor,
    ) -> Result<Fetched, FetchRefused> {
        let account = self.accounts.of(partner);
        let fetching = account.and_then(|account| account.sftp.clone());
        let fetching = fetching.ok_or_else(|| FetchRefused::NotConfigured(partner.to_owned()))?;
        let lease = lease_of(&fetching);
        let claimed = self.db.claim_fetch(partner, &by.name, lease, None).await?;
        let fence = claimed.ok_or_else(|| FetchRefused::Busy(partner.to_owned()))?;
        let days = match day {
            Some(day) => vec![day],
            None => fetching.hours.days(self.db.now().await?),
        };
        let held = Held { fence, lease };
        let work = Box::pin(self.fetch(partner, &fetching.server, &days, held, by));
        let fetched = work.await;
        let error = fetched.error.as_deref();
        self.db.end_fetch(partner, fence, None, error).await?;
        Ok(fetched)
    }

    /// Makes the latest regular try of an account, unless it is made or being made; says whether it was made
    /// here.
    async fn try_regularly(
        &self,
        partner: &str,
        fetching: &Fetching,
        replica: &str,
    ) -> Result<bool, DbError> {
        let try_at = fetching.hours.latest_try(self.db.now().await?);
        let lease = lease_of(fetching);
        let claimed = self
            .db
            .claim_fetch(partner, replica, lease, Some(try_at))
            .await?;
        let Some(fence) = claimed else {
            return Ok(false);
        };
        let days = fetching.hours.days(try_at);
        let by = AuditActor::schedule(replica);
        let held = Held { fence, lease };
        let work = Box::pin(self.fetch(partner, &fetching.server, &days, held, by));
        let Some(fetched) = self.stopping.run_until_cancelled(work).await else {
            // What was imported is noted; another replica makes the rest of the try.
            self.db.release_fetch(partner, fence).await?;
            return Ok(false);
        };
        // Before the try counts as made: who dies in between leaves it to be made again.
        self.notice_missing_files(partner, fetching, try_at).await?;
        let error = fetched.error.as_deref();
        if !self
            .db
            .end_fetch(partner, fence, Some(try_at), error)
            .await?
        {
            tracing::warn!(
                alipay.partner = partner,
                "a fetch outlasted its claim; another replica makes it too"
            );
        }
        Ok(true)
    }

    /// Fetches and imports the files of these days.
    async fn fetch(
        &self,
        partner: &str,
        server: &SftpServer,
        days: &[NaiveDate],
        held: Held,
        by: AuditActor,
    ) -> Fetched {
        let names = names_of(partner, days);
        let mut files: Vec<_> = names
            .iter()
            .map(|name| (name.to_string(), FileOutcome::Absent))
            .collect();
        let mut brought = vec![];
        let patience = server.settings().fetch_timeout;
        let bringing = self.bring(partner, server, &mut files, &mut brought);
        let ended = tokio::time::timeout(patience, bringing).await;
        let error = ended.unwrap_or(Err(Stopped::Fetch(FetchError::TimedOut {
            what: "all of the fetch",
            after: patience,
        })));
        let class = error.as_ref().err().map_or("complete", Stopped::class);
        let mut error = error.err().map(|error| error.in_words());
        let order = Order {
            source: Source::Sftp,
            by,
            dry_run: false,
            other_layouts: false,
            kept_of_dry_run: 0,
        };
        for Brought { at, staged, seen } in brought {
            match self.db.hold_fetch(partner, held.fence, held.lease).await {
                Ok(true) => {}
                Ok(false) => {
                    error = Some("the claim was lost: another process goes on".to_owned());
                    break;
                }
                Err(db) => {
                    error = Some(in_words(&db));
                    break;
                }
            }
            files[at].1 = self.import_fetched(partner, staged, &seen, &order).await;
        }
        metrics::counter!("daily_file_fetches_total", "outcome" => class).increment(1);
        for (name, (text, outcome)) in names.iter().zip(&files) {
            metrics::counter!("daily_files_fetched_total", "kind" => name.kind.as_str(), "outcome" => outcome.as_str())
                .increment(1);
            if let FileOutcome::Failed(why) = outcome {
                tracing::warn!(
                    event = "daily_file_failed",
                    alipay.partner = partner,
                    file = text,
                    why,
                    "a daily file could not be fetched or read; tried again with the next fetch"
                );
            }
        }
        if let Some(why) = &error {
            tracing::warn!(
                event = "daily_file_fetch_failed",
                alipay.partner = partner,
                why,
                "daily files could not be fetched; tried again with the next fetch"
            );
        }
        Fetched {
            partner: partner.to_owned(),
            files,
            error,
        }
    }

    /// Brings what is new or changed to this machine's disk. Nothing is imported while the connection is
    /// open: a server hangs up on whoever is silent.
    async fn bring(
        &self,
        partner: &str,
        server: &SftpServer,
        files: &mut [(String, FileOutcome)],
        brought: &mut Vec<Brought>,
    ) -> Result<(), Stopped> {
        let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
        let known = self.db.fetched_files(partner, &names).await?;
        let known: HashMap<_, _> = known
            .into_iter()
            .map(|file| (file.name.clone(), file))
            .collect();
        let connection = server.connect().await?;
        for (at, (name, outcome)) in files.iter_mut().enumerate() {
            let looked = async {
                let Some(found) = connection.look(name).await? else {
                    return Ok(None);
                };
                let seen = seen(name, &found);
                if known.get(name).is_some_and(|known| is_same(known, &seen)) {
                    return Ok(Some((None, seen)));
                }
                let staged = StagedFile::temporary(name);
                connection.bring(&found, &staged.path).await?;
                Ok(Some((Some(staged), seen)))
            };
            match looked.await {
                Ok(None) => {}
                Ok(Some((None, _))) => *outcome = FileOutcome::Unchanged,
                Ok(Some((Some(staged), seen))) => brought.push(Brought { at, staged, seen }),
                // This file alone.
                Err(
                    error @ (FetchError::TooLong { .. }
                    | FetchError::Changing { .. }
                    | FetchError::Server(_)),
                ) => *outcome = FileOutcome::Failed(error.in_words()),
                Err(error) => return Err(error.into()),
            }
        }
        connection.close().await;
        Ok(())
    }

    async fn import_fetched(
        &self,
        partner: &str,
        staged: StagedFile,
        seen: &FetchedFile,
        order: &Order,
    ) -> FileOutcome {
        match self.reconcile(vec![staged], order.clone(), None).await {
            Ok(done) if done.report.item.lacks_rows() => {
                tracing::warn!(
                    event = "daily_file_not_complete",
                    alipay.partner = partner,
                    file = seen.name,
                    "a daily file lacks rows; it is fetched again with the next fetch"
                );
                FileOutcome::Imported(Box::new(done))
            }
            Ok(done) => {
                // Without the note it is fetched once more, and known by its content.
                if let Err(error) = self.db.note_fetched(partner, seen).await {
                    tracing::warn!(%error, "a fetched file could not be noted");
                }
                FileOutcome::Imported(Box::new(done))
            }
            Err(error @ ReconcileError::Files(_)) => FileOutcome::Failed(error.to_string()),
            Err(error) => FileOutcome::Failed(in_words(&error)),
        }
    }

    /// Alerts, once each, the files that should have come by this try and did not.
    async fn notice_missing_files(
        &self,
        partner: &str,
        fetching: &Fetching,
        try_at: DateTime<Utc>,
    ) -> Result<(), DbError> {
        let overdue = fetching.hours.overdue(try_at);
        let patience = Days::new(u64::from(SETTLED_WITHIN_DAYS.unsigned_abs()));
        let unsettled: Vec<_> = overdue.iter().map(|day| *day - patience).collect();
        for (kind, days, within) in [
            (FileKind::Transaction, &overdue, 0),
            (FileKind::Settlement, &unsettled, SETTLED_WITHIN_DAYS),
        ] {
            let missed = self
                .db
                .note_missing_files(partner, kind, days, within)
                .await?;
            for day in missed {
                metrics::counter!("daily_files_missed_total", "kind" => kind.as_str()).increment(1);
                tracing::warn!(
                    event = "daily_file_missing",
                    alipay.partner = partner,
                    kind = kind.as_str(),
                    day = %day,
                    "a daily file did not come, or not all of it, though there were sales: ask Alipay for it, or import it by hand"
                );
            }
        }
        Ok(())
    }

    async fn show_missing_files(&self) {
        for (kind, within) in [
            (FileKind::Transaction, 0),
            (FileKind::Settlement, SETTLED_WITHIN_DAYS),
        ] {
            if let Ok(count) = self.db.count_missing_files(kind, within).await {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                metrics::gauge!("daily_files_missing", "kind" => kind.as_str())
                    .set(f64::from(count));
            }
        }
    }
}

/// Why a fetch ended early.
#[derive(Debug)]
enum Stopped {
    Fetch(FetchError),
    Db(DbError),
}

impl Stopped {
    const fn class(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.class(),
            Self::Db(_) => "database",
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Fetch(error) => error.in_words(),
            Self::Db(error) => in_words(error),
        }
    }
}

impl From<FetchError> for Stopped {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl From<DbError> for Stopped {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

fn lease_of(fetching: &Fetching) -> Duration {
    fetching.server.settings().fetch_timeout + IMPORT_ONE_FILE
}

/// Oldest first, transactions before settlements.
fn names_of(partner: &str, days: &[NaiveDate]) -> Vec<FileName> {
    let kinds = [FileKind::Transaction, FileKind::Settlement];
    days.iter()
        .flat_map(|day| {
            kinds.map(|kind| FileName {
                partner: partner.to_owned(),
                kind,
                day: *day,
            })
        })
        .collect()
}

fn seen(name: &str, found: &Found) -> FetchedFile {
    FetchedFile {
        name: name.to_owned(),
        path: found.path.clone(),
        size_bytes: i64::try_from(found.size).unwrap_or(i64::MAX),
        modified_at: found.modified_at,
    }
}

/// Whether the server says the same of a file as when it was imported. One that does not tell when a file
/// was changed says nothing.
fn is_same(known: &FetchedFile, seen: &FetchedFile) -> bool {
    seen.modified_at.is_some()
        && (known.size_bytes, known.modified_at) == (seen.size_bytes, seen.modified_at)
}

/// An error with what caused it, in one line.
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words = format!("{words}: {error}");
        source = error.source();
    }
    words
}
