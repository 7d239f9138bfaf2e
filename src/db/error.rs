//! What can go wrong between the program and Postgres, told apart by what it means for the caller.

use std::borrow::Cow;

/// What lies below a fault, for the log.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// A database fault. "Not found" is never one: it is `Ok(None)`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke, or no answer came in time, while a statement that writes was under way:
    /// it may have taken effect, and may still (`docs/invariants.md` C3).
    #[error("the database did not say whether it did as asked")]
    InDoubt(#[source] Source),
    /// The server could not be reached or refused to work; nothing was written and nothing will be.
    #[error("the database cannot be reached")]
    Unavailable(#[source] Source),
    /// No connection was there in time; nothing was sent.
    #[error("no database connection was there in time")]
    PoolExhausted(#[source] sqlx::Error),
    /// Earlier writes wait for their COMMIT and no end is seen; nothing was sent.
    #[error("the database takes no writes at present: earlier ones still wait")]
    WritesStall,
    /// The deadline would have come before the answer; nothing was sent.
    #[error("no time was left for another statement")]
    NoTimeLeft,
    /// A named constraint refused the write; nothing was written.
    #[error("refused by constraint: {0}")]
    Constraint(String),
    /// Two statements met, or one was ended by the server because it waited or worked for too long;
    /// nothing was written and the statement may be repeated.
    #[error("serialization conflict")]
    Conflict(#[source] sqlx::Error),
    /// A row holds what no code of ours writes.
    #[error("inconsistent row in {table}, column {column}: {id}")]
    Inconsistent {
        table: &'static str,
        column: &'static str,
        id: String,
    },
    /// Anything else: a defect of ours.
    #[error("database fault")]
    Driver(#[source] sqlx::Error),
}

impl Error {
    /// A write of which nothing is known any more.
    pub(super) fn in_doubt(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::InDoubt(Box::new(source))
    }

    /// No connection was had, so that nothing was sent.
    pub(super) fn unreached(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::PoolExhausted(error),
            error => Self::Unavailable(Box::new(error)),
        }
    }

    /// Whether a write may have taken effect, or may still, although it returned this error.
    pub const fn is_in_doubt(&self) -> bool {
        match self {
            Self::InDoubt(_) => true,
            Self::Unavailable(_)
            | Self::PoolExhausted(_)
            | Self::WritesStall
            | Self::NoTimeLeft
            | Self::Constraint(_)
            | Self::Conflict(_)
            | Self::Inconsistent { .. }
            | Self::Driver(_) => false,
        }
    }

    /// Whether the fault is in the row that was meant, so that the same statement fails for it for ever
    /// and for others not.
    pub const fn is_of_the_row(&self) -> bool {
        match self {
            Self::Constraint(_) | Self::Inconsistent { .. } => true,
            Self::InDoubt(_)
            | Self::Unavailable(_)
            | Self::PoolExhausted(_)
            | Self::WritesStall
            | Self::NoTimeLeft
            | Self::Conflict(_)
            // Rights, a schema of another version, a limit of the server: all rows meet it.
            | Self::Driver(_) => false,
        }
    }

    /// Whether the same statement may succeed a moment later.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::InDoubt(_)
            | Self::Unavailable(_)
            | Self::PoolExhausted(_)
            | Self::WritesStall
            | Self::NoTimeLeft
            | Self::Conflict(_) => true,
            Self::Constraint(_) | Self::Inconsistent { .. } | Self::Driver(_) => false,
        }
    }

    /// The same fault in a series of statements of which an earlier one may have taken effect: what
    /// is in doubt stays so, whatever became of the repetition.
    #[must_use]
    pub fn after_doubt(self, was_in_doubt: bool) -> Self {
        if was_in_doubt {
            Self::InDoubt(Box::new(self))
        } else {
            self
        }
    }
}

#[cfg(feature = "failpoints")]
impl From<crate::failpoint::Injected> for Error {
    fn from(injected: crate::failpoint::Injected) -> Self {
        Self::in_doubt(sqlx::Error::Protocol(injected.to_string()))
    }
}

impl From<sqlx::Error> for Error {
    /// What a statement came to that was sent.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Self::unreached(error),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Self::in_doubt(error),
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or(Cow::Borrowed(""));
                match outage(&code) {
                    Some(Outage::InDoubt) => Self::in_doubt(error),
                    Some(Outage::Refused) => Self::Unavailable(Box::new(error)),
                    Some(Outage::Ended) => Self::Conflict(error),
                    None => match database.constraint() {
                        Some(constraint) => Self::Constraint(constraint.to_owned()),
                        None => Self::Driver(error),
                    },
                }
            }
            _ => Self::Driver(error),
        }
    }
}

/// What the SQLSTATE of a server in trouble says of the statement.
enum Outage {
    /// The session ended, perhaps during the COMMIT.
    InDoubt,
    /// The server is full, starting, or no longer the primary: it took the statement back.
    Refused,
    /// The server took the statement back for the sake of others, or of the time.
    Ended,
}

fn outage(code: &str) -> Option<Outage> {
    match code {
        "40001" | "40P01" | "55P03" | "57014" => Some(Outage::Ended),
        "25006" | "57P03" => Some(Outage::Refused),
        "57P01" | "57P02" | "57P05" => Some(Outage::InDoubt),
        _ if code.starts_with("08") => Some(Outage::InDoubt),
        _ if code.starts_with("53") => Some(Outage::Refused),
        _ => None,
    }
}
