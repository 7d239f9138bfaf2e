//! Alipay's daily files against our books, and back into them (`docs/protocol.md` 9.6,
//! `docs/invariants.md` R23).
//!
//! [`App::reconcile`](crate::app::App::reconcile) is the one way in, for uploads, for the command line and for what is fetched: it
//! reads the files, takes what they prove into the books, and compares. The same files again are the
//! same reconciliation; one that was cut is continued by bringing them again.

mod fetch;
mod import;
mod read;
mod settle_from_file;
mod staged;

use crate::domain::{
    audit::AuditActor,
    reconciliation::{
        Reconciliation, Source,
        daily_file::{FileFault, Progress},
    },
};

pub use fetch::{FetchRefused, Fetched, FileOutcome, SETTLED_WITHIN_DAYS};
pub use import::Started;
pub use staged::StagedFile;

/// How files are to be reconciled.
#[derive(Clone, Debug)]
pub struct Order {
    /// How they came.
    pub source: Source,
    /// Who brought them.
    pub by: AuditActor,
    /// Whether nothing may change: the report alone is wanted.
    pub dry_run: bool,
    /// Whether the layouts of other products are taken.
    pub other_layouts: bool,
    /// How many differences of a dry run are kept for whoever asked: they are stored nowhere.
    pub kept_of_dry_run: usize,
}

/// A reconciliation as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconciled {
    /// What was found.
    pub report: Reconciliation,
    /// Whether the same files were brought before.
    pub is_replay: bool,
    /// Of a dry run, the first differences: they are stored nowhere.
    pub differences: Vec<crate::domain::reconciliation::Difference>,
    /// Whether those are all.
    pub are_all: bool,
}

/// Why files could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// There are none.
    #[error("no file was given")]
    NoFiles,
    /// Some of them cannot be read, or are nobody's here. Nothing of any of them was taken.
    #[error("{}", in_words(.0))]
    Files(Vec<FaultyFile>),
    /// Files of several accounts, or the same file twice.
    #[error("{0}")]
    Together(&'static str),
    /// A file could not be read to its end.
    #[error("{name}: the file cannot be read from line {line} on; nothing of it was taken")]
    Io {
        name: String,
        /// The first line that could not be read.
        line: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database.
    #[error(transparent)]
    Db(#[from] crate::db::error::Error),
    /// An order could not be settled.
    #[error("what a file proves could not be recorded")]
    Record(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread that read a file ended early. What its panic said is withheld: it may repeat a row.
    #[error("the reading of a file ended early")]
    ReadingEnded,
}

impl ReconcileError {
    /// Whether the files themselves are at fault, so that bringing them again is in vain.
    const fn is_of_the_files(&self) -> bool {
        match self {
            Self::NoFiles | Self::Files(_) | Self::Together(_) => true,
            Self::Io { .. } | Self::Db(_) | Self::Record(_) | Self::ReadingEnded => false,
        }
    }
}

/// A file that is not taken, and with it none that was brought beside it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {fault}")]
pub struct FaultyFile {
    pub name: String,
    pub fault: Untaken,
}

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// It is not one of Alipay's daily files.
    #[error(transparent)]
    File(#[from] FileFault),
    /// Whose and of which day it is, neither its name nor its first line says.
    #[error(
        "give it its name at Alipay, such as 2088000000000017_transaction_20260309.txt: neither the name nor the first line says the partner and the day"
    )]
    Unnamed,
    /// It is somebody else's.
    #[error("it is a file of partner {0}, which is no Alipay account of this gateway")]
    ForeignPartner(String),
    /// From this line on there is nothing in it that could be read.
    #[error("the file cannot be read from line {0} on; nothing of it was taken")]
    Unreadable(u64),
}

fn in_words(files: &[FaultyFile]) -> String {
    let files: Vec<_> = files.iter().map(ToString::to_string).collect();
    files.join("; ")
}

/// Told of the reading of each file, if somebody watches.
pub type Watch = Box<dyn Fn(&str, u64, Progress) + Send + Sync>;

/// Describes the metrics of this module; call once, after the recorder is installed.
pub(super) fn describe_metrics() {
    fetch::describe_metrics();
    metrics::describe_counter!(
        "reconciliation_files_total",
        metrics::Unit::Count,
        "Daily files compared with the books, by kind and by how they came."
    );
    metrics::describe_counter!(
        "reconciliation_rows_total",
        metrics::Unit::Count,
        "Rows of daily files, by kind and by whether they could be read."
    );
    metrics::describe_counter!(
        "reconciliation_differences_total",
        metrics::Unit::Count,
        "Differences between daily files and the books, by class."
    );
    metrics::describe_counter!(
        "reconciliation_settled_total",
        metrics::Unit::Count,
        "Orders that a daily file settled, by kind of order."
    );
}
