//! Files in: read on a thread of their own, loaded batch by batch, fed back, compared.

use chrono::NaiveDate;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{
    Order, ReconcileError, Reconciled, StagedFile, Untaken, Watch,
    read::each_difference,
    staged::{Known, identify, open},
};
use crate::{
    alipay::files::Entry,
    app::App,
    db::reconciliation::{FileEnd, FileRef, ReconciliationStore},
    domain::{
        access::principal::TenantScope,
        id::{FileId, ReconciliationId},
        reconciliation::{
            Difference, DifferenceFilter, Reconciliation, Source,
            daily_file::{FaultLog, FileKind, FileRow, FileSummary, RowFault},
        },
    },
    failpoint::crashpoint,
};

/// How many rows one statement loads.
const BATCH: usize = 5_000;

/// How many batches wait to be loaded: with them the memory of an import is bounded.
const AHEAD: usize = 2;

impl App {
    /// Reconciles files of one Alipay account: imports them, takes what they prove into the books, and
    /// compares. The same files (by name and content) again are a replay of the same result, or the
    /// continuation of what was cut. A dry run changes nothing, and settles nothing.
    pub async fn reconcile(
        &self,
        files: Vec<StagedFile>,
        order: Order,
        watch: Option<Watch>,
    ) -> Result<Reconciled, ReconcileError> {
        let files = self.identify_files(files, &order).await?;
        let begun = self.begin_reconciliation(&files, &order).await?;
        self.finish_reconciliation(files, order, begun, watch).await
    }

    /// The same, going on by itself: whoever waits may stop waiting.
    pub async fn start_reconciliation(
        &self,
        files: Vec<StagedFile>,
        order: Order,
    ) -> Result<Started, ReconcileError> {
        let files = self.identify_files(files, &order).await?;
        let begun = self.begin_reconciliation(&files, &order).await?;
        let id = begun.id;
        let app = self.clone();
        let work =
            self.run_detached(
                async move { app.finish_reconciliation(files, order, begun, None).await },
            );
        Ok(Started { id, work })
    }

    /// What files are, told apart from all others; every later step needs it.
    async fn identify_files(
        &self,
        files: Vec<StagedFile>,
        order: &Order,
    ) -> Result<Vec<Known>, ReconcileError> {
        let (app, order) = (self.clone(), order.clone());
        let known = self
            .tasks
            .spawn_blocking(move || {
                identify_all(files, &order, |partner| app.accounts.of(partner).is_some())
            })
            .await
            .map_err(|_| ReconcileError::ReadingEnded)??;
        check(&known)?;
        Ok(known)
    }

    /// Commits what is about to be done.
    async fn begin_reconciliation(
        &self,
        files: &[Known],
        order: &Order,
    ) -> Result<Begun, ReconcileError> {
        let mut books = if order.dry_run {
            self.db.books_for_dry_run().await?
        } else {
            self.db.books()
        };
        let partner = &files
            .first()
            .ok_or(ReconcileError::NoFiles)?
            .identity
            .partner;
        let begun = books
            .begin(
                partner,
                &fingerprint(files, order.dry_run),
                order.source,
                &order.by,
                self.accounts.rules(partner),
            )
            .await?;
        crashpoint!(self.db.failpoints, "import.begun");
        Ok(Begun {
            books,
            id: begun.id,
            is_known: begun.is_known,
            is_complete: begun.is_complete,
        })
    }

    /// Goes on to the end, or keeps what is wrong with the files.
    async fn finish_reconciliation(
        &self,
        files: Vec<Known>,
        order: Order,
        begun: Begun,
        watch: Option<Watch>,
    ) -> Result<Reconciled, ReconcileError> {
        let id = begun.id;
        let first = files.first().ok_or(ReconcileError::NoFiles)?;
        let partner = first.identity.partner.clone();
        let is_kept = !order.dry_run;
        let finished = self.carry_out(files, order, begun, watch).await;
        if is_kept
            && let Err(error) = &finished
            && error.is_of_the_files()
        {
            let failure = error.to_string();
            self.db.books().fail(&partner, id, &failure).await?;
        }
        finished
    }

    async fn carry_out(
        &self,
        files: Vec<Known>,
        order: Order,
        begun: Begun,
        watch: Option<Watch>,
    ) -> Result<Reconciled, ReconcileError> {
        let Begun {
            mut books,
            id,
            is_known,
            is_complete,
        } = begun;
        let is_dry_run = books.is_dry_run();
        let partner = files
            .first()
            .map(|known| known.identity.partner.clone())
            .unwrap_or_default();
        if !is_complete {
            let rules = self.accounts.rules(&partner);
            let mut places = self.import(&mut books, id, files, watch).await?;
            // Transactions before settlements.
            places.sort_by_key(|place| (place.kind, place.position));
            for compares in [false, true] {
                for place in &places {
                    let at = place.of(&partner, id);
                    if compares {
                        books.compare(at, place.kind, rules).await?;
                        crashpoint!(self.db.failpoints, "import.compared");
                    } else if !is_dry_run {
                        self.settle_from_file(&mut books, at, place.kind).await?;
                    }
                }
            }
            books.complete(&partner, id).await?;
            crashpoint!(self.db.failpoints, "import.completed");
        }
        self.report(books, id, is_known && is_complete, &order)
            .await
    }

    /// Loads all of the files, and only then lets them count: of files of which one cannot be read, none
    /// takes the place of its earlier version.
    async fn import(
        &self,
        books: &mut ReconciliationStore,
        id: ReconciliationId,
        files: Vec<Known>,
        watch: Option<Watch>,
    ) -> Result<Vec<Place>, ReconcileError> {
        let watch = watch.map(std::sync::Arc::new);
        let (mut places, mut read, mut faulty) = (vec![], vec![], vec![]);
        for (position, known) in (1_i32..).zip(files) {
            let mut identity = known.identity.clone();
            if books.is_dry_run() {
                // Nobody else's import of the same content waits for this transaction.
                identity.sha256 = rand::random();
            }
            let file = books.begin_file(id, position, &identity).await?;
            crashpoint!(self.db.failpoints, "import.file_begun");
            let place = Place {
                position,
                file: file.id,
                kind: identity.kind,
                day: identity.day,
            };
            places.push(place);
            if file.is_imported {
                continue;
            }
            let at = place.of(&identity.partner, id);
            match self.load(books, at, known, watch.clone()).await {
                Ok(end) => read.push((place, identity.partner, end)),
                Err(ReconcileError::Files(files)) => faulty.extend(files),
                Err(error) => return Err(error),
            }
        }
        if !faulty.is_empty() {
            return Err(ReconcileError::Files(faulty));
        }
        for (place, partner, (summary, faults)) in &read {
            let end = FileEnd { summary, faults };
            books
                .end_file(place.of(partner, id), place.kind, end)
                .await?;
            crashpoint!(self.db.failpoints, "import.file_ended");
        }
        Ok(places)
    }

    async fn report(
        &self,
        mut books: ReconciliationStore,
        id: ReconciliationId,
        is_replay: bool,
        order: &Order,
    ) -> Result<Reconciled, ReconcileError> {
        let report = books.reconciliation(TenantScope::Operator, id).await?;
        let mut report = report.ok_or_else(|| {
            ReconcileError::Db(crate::db::error::Error::Inconsistent {
                table: "reconciliation",
                column: "reconciliation_id",
                id: id.to_string(),
            })
        })?;
        let (mut differences, mut are_all) = (vec![], true);
        if order.dry_run {
            (differences, are_all) =
                differences_of_dry_run(&mut books, id, order.kept_of_dry_run).await?;
            report.item.id = None;
            books.undo().await?;
        } else if !is_replay {
            count(&report, order.source);
        }
        Ok(Reconciled {
            report,
            is_replay,
            differences,
            are_all,
        })
    }

    /// Reads a file on a thread of its own and loads it, at most a few batches ahead.
    async fn load(
        &self,
        books: &mut ReconciliationStore,
        at: FileRef<'_>,
        known: Known,
        watch: Option<std::sync::Arc<Watch>>,
    ) -> Result<(FileSummary, Vec<RowFault>), ReconcileError> {
        let kind = known.identity.kind;
        let (sender, mut batches) = mpsc::channel::<Vec<FileRow>>(AHEAD);
        let reading = self.tasks.spawn_blocking(move || {
            let hand_over = |rows| sender.blocking_send(rows).is_ok();
            read_file(&known, hand_over, watch.as_deref())
        });
        while let Some(rows) = batches.recv().await {
            books.add_rows(at, kind, &rows).await?;
            crashpoint!(self.db.failpoints, "import.rows_added");
        }
        reading.await.map_err(|_| ReconcileError::ReadingEnded)?
    }
}

/// The first differences of a dry run, before it is undone, and whether they are all.
async fn differences_of_dry_run(
    books: &mut ReconciliationStore,
    id: ReconciliationId,
    at_most: usize,
) -> Result<(Vec<Difference>, bool), ReconcileError> {
    let mut kept = vec![];
    let filter = DifferenceFilter::default();
    let are_all = each_difference(books, TenantScope::Operator, id, filter, |difference| {
        let fits = kept.len() < at_most;
        if fits {
            kept.push(difference);
        }
        fits
    })
    .await?;
    Ok((kept, are_all))
}

/// A reconciliation that goes on by itself.
#[derive(Debug)]
pub struct Started {
    /// Its identity; of a dry run, one that nobody can look up.
    pub id: ReconciliationId,
    pub work: tokio::task::JoinHandle<Result<Reconciled, ReconcileError>>,
}

/// A reconciliation that was begun, and where its statements go.
struct Begun {
    books: ReconciliationStore,
    id: ReconciliationId,
    is_known: bool,
    is_complete: bool,
}

/// Where a file is in its reconciliation.
#[derive(Clone, Copy)]
struct Place {
    position: i32,
    file: FileId,
    kind: FileKind,
    day: NaiveDate,
}

impl Place {
    const fn of(self, partner: &str, reconciliation: ReconciliationId) -> FileRef<'_> {
        FileRef {
            partner,
            reconciliation,
            position: self.position,
            file: self.file,
            day: self.day,
        }
    }
}

/// What all of the files are, or all that is wrong with them: whoever mends one hears of the others too.
fn identify_all(
    files: Vec<StagedFile>,
    order: &Order,
    is_ours: impl Fn(&str) -> bool,
) -> Result<Vec<Known>, ReconcileError> {
    let (mut known, mut faulty) = (vec![], vec![]);
    let mut note = |error| match error {
        ReconcileError::Files(files) => {
            faulty.extend(files);
            Ok(())
        }
        error => Err(error),
    };
    for file in files {
        match identify(file, order) {
            Ok(file) if is_ours(&file.identity.partner) => known.push(file),
            Ok(Known { file, identity, .. }) => {
                note(file.refused(Untaken::ForeignPartner(identity.partner)))?;
            }
            Err(error) => note(error)?,
        }
    }
    if faulty.is_empty() {
        return Ok(known);
    }
    for file in &known {
        if let Err(ReconcileError::Files(files)) = read_file(file, |_| true, None) {
            faulty.extend(files);
        }
    }
    Err(ReconcileError::Files(faulty))
}

/// Reads all of a file and hands its rows over, for as long as they are taken.
fn read_file(
    known: &Known,
    mut hand_over: impl FnMut(Vec<FileRow>) -> bool,
    watch: Option<&Watch>,
) -> Result<(FileSummary, Vec<RowFault>), ReconcileError> {
    let mut reader = open(&known.file, &known.options)?;
    let mut faults = FaultLog::default();
    let mut batch = Vec::with_capacity(BATCH);
    let size = u64::try_from(known.identity.size_bytes).unwrap_or_default();
    while let Some(entry) = reader.next() {
        match entry {
            Ok(Entry::Row(row)) => batch.push(row),
            Ok(Entry::Fault(fault)) => faults.push(fault),
            Err(source) => {
                let (name, line) = (known.file.name.clone(), reader.next_line());
                return Err(ReconcileError::Io { name, line, source });
            }
        }
        if let Some(watch) = watch {
            watch(&known.file.name, size, reader.progress());
        }
        if batch.len() == BATCH && !hand_over(std::mem::take(&mut batch)) {
            break;
        }
    }
    if let Some(line) = reader.unreadable_from() {
        return Err(known.file.refused(Untaken::Unreadable(line)));
    }
    if !batch.is_empty() {
        let _ = hand_over(batch);
    }
    Ok((reader.finish(), faults.kept().to_vec()))
}

/// One account's files, each once.
fn check(files: &[Known]) -> Result<(), ReconcileError> {
    let first = files.first().ok_or(ReconcileError::NoFiles)?;
    if files
        .iter()
        .any(|known| known.identity.partner != first.identity.partner)
    {
        return Err(ReconcileError::Together(
            "the files are of several Alipay accounts: bring those of each account together",
        ));
    }
    let mut names: Vec<_> = files
        .iter()
        .map(|known| (known.identity.kind, known.identity.day))
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.len() < files.len() {
        return Err(ReconcileError::Together(
            "two of the files are of the same kind and day",
        ));
    }
    Ok(())
}

/// What makes the same files the same, in whatever order they come.
fn fingerprint(files: &[Known], is_dry_run: bool) -> [u8; 32] {
    if is_dry_run {
        return rand::random();
    }
    let mut parts: Vec<_> = files
        .iter()
        .map(|known| (known.identity.name.as_bytes(), known.identity.sha256))
        .collect();
    parts.sort_unstable();
    let mut digest = Sha256::new();
    for (name, sha256) in parts {
        digest.update(name);
        digest.update([0]);
        digest.update(sha256);
    }
    digest.finalize().into()
}

fn count(report: &Reconciliation, source: Source) {
    let item = &report.item;
    let unsigned = |count: i64| u64::try_from(count).unwrap_or_default();
    for file in &item.files {
        let kind: FileKind = file.kind;
        metrics::counter!("reconciliation_files_total", "kind" => kind.as_str(), "source" => source.as_str())
            .increment(1);
        for (read, rows) in [("yes", file.rows), ("no", file.faults)] {
            metrics::counter!("reconciliation_rows_total", "kind" => kind.as_str(), "readable" => read)
                .increment(unsigned(rows));
        }
    }
    for (class, count) in &item.counts {
        metrics::counter!("reconciliation_differences_total", "class" => class.as_str())
            .increment(unsigned(*count));
    }
    let id = item.id.map(|id| id.to_string()).unwrap_or_default();
    if item.agrees() {
        tracing::info!(reconciliation.id = id, "the files agree with the books");
    } else if !item.needs_a_person() && !item.lacks_rows() {
        tracing::info!(
            reconciliation.id = id,
            "a daily file is not in order, and does not count: another version has its place"
        );
    } else if !item.needs_a_person() {
        tracing::warn!(
            reconciliation.id = id,
            "a daily file is not complete; what it holds is in the books, and a whole version is still to come"
        );
    } else {
        tracing::error!(
            reconciliation.id = id,
            differences = item.open,
            "the files and the books differ; nothing final was changed and a person must look"
        );
    }
}
