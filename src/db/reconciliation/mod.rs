//! Alipay's daily files: loaded, compared with the books, reported.
//!
//! Each step is one statement, as everywhere; a file of a million rows takes many of them. That is safe
//! because what they write follows from the file's content alone and is found by it: whoever writes
//! twice, at once or after a crash, writes the same, and nothing of a file counts before the statement
//! that ends its import. A dry run takes the same statements inside one transaction that is rolled
//! back: the one place with a transaction that spans statements, and no call to Alipay is made in it.

pub mod fetches;

mod compare;
mod load;
mod read;

use chrono::NaiveDate;
use sqlx::{Connection as _, PgConnection, types::Json};

use super::{
    Db,
    error::Error,
    run::{Command as _, Statement as _, within},
};
use crate::domain::{
    audit::AuditActor,
    id::{FileId, ReconciliationId},
    reconciliation::{FileIdentity, Rules, Source},
};

pub(in crate::db) use load::CandidateRow;
pub use load::{Candidate, FileEnd, Pass, SubjectIds};

/// Runs a query where the books are: in the dry run's transaction, or on any connection.
macro_rules! run {
    (@in $lane:expr, $query:ident, fetch_one) => {
        $query.one($lane).await
    };
    (@in $lane:expr, $query:ident, fetch_optional) => {
        $query.optional($lane).await
    };
    (@in $lane:expr, $query:ident, fetch_all) => {
        $query.all($lane).await
    };
    (@in $lane:expr, $query:ident, execute) => {
        $query.run($lane).await
    };
    ($books:expr, $query:expr, $how:ident) => {{
        let query = $query;
        match &mut $books.dry_run {
            Some(transaction) => $crate::db::run::within(
                $books.db.bulk.limits(),
                query.$how(&mut **transaction),
            )
            .await,
            None => run!(@in &$books.db.bulk, query, $how),
        }
    }};
}
use run;

/// Where files are loaded and compared.
#[derive(Debug)]
pub struct ReconciliationStore {
    db: Db,
    /// The connection with the transaction of a dry run, which is no pool's: dropped, it ends with
    /// whatever it wrote.
    dry_run: Option<Box<PgConnection>>,
}

/// A comparison that is new, or known by its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    pub id: ReconciliationId,
    /// Whether the same files began it before.
    pub is_known: bool,
    /// Whether it was ended.
    pub is_complete: bool,
}

/// A file that is new, or known by its name and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BegunFile {
    pub id: FileId,
    /// Whether all of it was imported before.
    pub is_imported: bool,
}

impl Db {
    /// The books as they are, where each statement commits.
    pub fn books(&self) -> ReconciliationStore {
        ReconciliationStore {
            db: self.clone(),
            dry_run: None,
        }
    }

    /// The books for an import that changes nothing.
    pub async fn books_for_dry_run(&self) -> Result<ReconciliationStore, Error> {
        let mut connection = self.bulk.connection_of_its_own().await?;
        let begin = sqlx::raw_sql("begin").execute(&mut connection);
        within(self.bulk.limits(), begin).await?;
        Ok(ReconciliationStore {
            db: self.clone(),
            dry_run: Some(Box::new(connection)),
        })
    }
}

impl ReconciliationStore {
    /// Whether nothing of what is written stays.
    pub const fn is_dry_run(&self) -> bool {
        self.dry_run.is_some()
    }

    /// Runs what only the transaction of a dry run needs.
    async fn in_dry_run(&mut self, statement: &'static str) -> Result<(), Error> {
        if let Some(connection) = &mut self.dry_run {
            let limits = self.db.bulk.limits();
            within(limits, sqlx::raw_sql(statement).execute(&mut **connection)).await?;
        }
        Ok(())
    }

    /// Takes back whatever a dry run wrote.
    pub async fn undo(self) -> Result<(), Error> {
        let limits = self.db.bulk.limits();
        if let Some(connection) = self.dry_run {
            within(limits, connection.close()).await?;
        }
        Ok(())
    }

    /// Begins a comparison, or finds the one of the same files.
    pub async fn begin(
        &mut self,
        partner: &str,
        fingerprint: &[u8],
        source: Source,
        by: &AuditActor,
        rules: Rules,
    ) -> Result<Begun, Error> {
        let minted = ReconciliationId::mint();
        let row = run!(
            self,
            sqlx::query!(
                r#"insert into reconciliation (partner, reconciliation_id, fingerprint, source, by,
                    fee_basis_points)
                values ($1, $2, $3, $4, $5, $6)
                on conflict (partner, fingerprint) do update
                    set touched_at = db_now(), failure = null,
                        -- What is continued is compared by the rules of now.
                        fee_basis_points = case when reconciliation.completed_at is null
                            then excluded.fee_basis_points
                            else reconciliation.fee_basis_points end
                returning reconciliation_id, completed_at is not null as "is_complete!""#,
                partner,
                minted.uuid(),
                fingerprint,
                source.as_str(),
                Json(by) as _,
                rules.fee_basis_points,
            ),
            fetch_one
        )?;
        let id = ReconciliationId::from(row.reconciliation_id);
        Ok(Begun {
            id,
            is_known: id != minted,
            is_complete: row.is_complete,
        })
    }

    /// Adds a file at its place, or finds it there.
    pub async fn begin_file(
        &mut self,
        reconciliation: ReconciliationId,
        position: i32,
        file: &FileIdentity,
    ) -> Result<BegunFile, Error> {
        let row = run!(
            self,
            sqlx::query!(
                r#"with file as (
                    insert into statement_file (partner, file_id, kind, day, name, sha256,
                        size_bytes)
                    values ($1, $2, $3, $4, $5, $6, $7)
                    on conflict (partner, name, sha256)
                        do update set size_bytes = excluded.size_bytes
                    returning file_id, imported_at
                ), placed as (
                    insert into reconciliation_file (partner, reconciliation_id, position, file_id)
                    select $1, $8, $9, file_id from file
                    on conflict do nothing
                )
                select file_id as "file_id!", imported_at is not null as "is_imported!" from file"#,
                file.partner,
                FileId::mint().uuid(),
                file.kind.as_str(),
                file.day,
                file.name,
                &file.sha256[..],
                file.size_bytes,
                reconciliation.uuid(),
                position,
            ),
            fetch_one
        )?;
        Ok(BegunFile {
            id: row.file_id.into(),
            is_imported: row.is_imported,
        })
    }

    /// Keeps why files could not be read; does nothing to a comparison that was ended.
    pub async fn fail(
        &mut self,
        partner: &str,
        reconciliation: ReconciliationId,
        failure: &str,
    ) -> Result<(), Error> {
        run!(
            self,
            sqlx::query!(
                "update reconciliation set failure = $3, touched_at = db_now()
                where partner = $1 and reconciliation_id = $2 and completed_at is null",
                partner,
                reconciliation.uuid(),
                failure,
            ),
            execute
        )?;
        Ok(())
    }

    /// Ends a comparison whose files were all compared; does nothing to one that was ended.
    pub async fn complete(
        &mut self,
        partner: &str,
        reconciliation: ReconciliationId,
    ) -> Result<(), Error> {
        run!(
            self,
            sqlx::query!(
                "update reconciliation
                set completed_at = db_now(), touched_at = db_now(), failure = null
                where partner = $1 and reconciliation_id = $2 and completed_at is null
                    and not exists (
                        select from reconciliation_file as file
                        where file.partner = $1 and file.reconciliation_id = $2
                            and file.matched_at is null)",
                partner,
                reconciliation.uuid(),
            ),
            execute
        )?;
        Ok(())
    }
}

/// What every statement about a file is given.
#[derive(Clone, Copy, Debug)]
pub struct FileRef<'a> {
    pub partner: &'a str,
    /// In which comparison.
    pub reconciliation: ReconciliationId,
    /// Its place there, from 1.
    pub position: i32,
    pub file: FileId,
    /// The GMT+8 day it is of.
    pub day: NaiveDate,
}
