//! What can go wrong between the program and Postgres, told apart by what it means for the caller.

use std::borrow::Cow;

/// A database fault. "Not found" is never one: it is `Ok(None)`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server could not be reached, or the connection broke; a statement that was under way may
    /// or may not have taken effect (`design/correctness.md` C3).
    #[error("the database cannot be reached")]
    Unavailable(#[source] sqlx::Error),
    /// No connection of the pool became free in time; nothing was sent.
    #[error("no database connection became free in time")]
    PoolExhausted(#[source] sqlx::Error),
    /// A named constraint refused the write; nothing was written.
    #[error("refused by constraint: {0}")]
    Constraint(String),
    /// Two statements met; nothing was written and the statement may be repeated.
    #[error("serialization conflict")]
    Conflict(#[source] sqlx::Error),
    /// A row holds what no code of ours writes.
    #[error("inconsistent row in {table}, column {column}: {id}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id.
        id: String,
    },
    /// Anything else: a defect of ours.
    #[error("database fault")]
    Driver(#[source] sqlx::Error),
}

impl Error {
    /// Whether a write may have taken effect although it returned this error.
    pub const fn is_in_doubt(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::PoolExhausted(_)
            | Self::Constraint(_)
            | Self::Conflict(_)
            | Self::Inconsistent { .. }
            | Self::Driver(_) => false,
        }
    }

    /// Whether the same statement may succeed a moment later.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::PoolExhausted(_) | Self::Conflict(_) => true,
            Self::Constraint(_) | Self::Inconsistent { .. } | Self::Driver(_) => false,
        }
    }
}

#[cfg(feature = "failpoints")]
impl From<crate::failpoint::Injected> for Error {
    fn from(injected: crate::failpoint::Injected) -> Self {
        Self::Unavailable(sqlx::Error::Protocol(injected.to_string()))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut => Self::PoolExhausted(error),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or(Cow::Borrowed(""));
                if matches!(code.as_ref(), "40001" | "40P01") {
                    Self::Conflict(error)
                } else if is_outage(&code) {
                    Self::Unavailable(error)
                } else if let Some(constraint) = database.constraint() {
                    Self::Constraint(constraint.to_owned())
                } else {
                    Self::Driver(error)
                }
            }
            _ => Self::Driver(error),
        }
    }
}

/// SQLSTATEs of a server that is going away, starting, full, or no longer the primary.
fn is_outage(code: &str) -> bool {
    code.starts_with("08")
        || code.starts_with("53")
        || matches!(
            code,
            "57P01" | "57P02" | "57P03" | "57P05" | "57014" | "25006"
        )
}
