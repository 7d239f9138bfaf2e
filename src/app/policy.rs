//! Every number of tries and every deadline of the use cases, side by side. `docs/deadlines.md` says what
//! happens when each passes; how long a call to Alipay may take is configuration, and when to ask again
//! is the plans' (`crate::domain`).

use std::time::Duration;

/// How long after a request was accepted, or a call was decided, it may still leave. A process that was
/// stopped in between must not charge, undo or give back what others have settled meanwhile, and must not
/// put old data of a store over newer ones (`docs/invariants.md` C6).
pub(super) use crate::domain::payments::plan::SEND_WITHIN;

/// How often what keeps changing is read and decided again before the caller is told to try later. Each
/// try is lost to another writer who got on, so five in a row are a dispute that a repeat does not end.
pub(super) const TRIES: usize = 5;

/// How long an intent is insisted on before the caller is told: longer than a statement may take, and
/// less than [`SEND_WITHIN`].
pub(super) const INTENT: Duration = Duration::from_secs(8);

/// For how long an intent whose caller was told that it is in doubt is looked for: longer than a database
/// takes to fail over.
pub(super) const LOOK_FOR_INTENT: Duration = Duration::from_mins(2);

/// How long after the question that allowed it a cancel may leave that no caller asked for: the buyer may
/// pay meanwhile, so another question comes first.
pub(super) const SEND_UNASKED_CANCEL_WITHIN: Duration = Duration::from_secs(3);

/// How long the answer to what a caller had sent (a pay, a cancel, a refund) is kept in hand while the
/// database is away: longer than an outage should be, so that what this process knows is written when it is
/// back. Nobody waits for that, and no schedule asks again soon.
pub(super) const RECORD_EFFECT: Duration = Duration::from_hours(1);

/// The same of whatever is asked again: by the next visit, or by the caller, who waits for it and is told
/// that nothing is known.
pub(super) const RECORD_ANSWER: Duration = Duration::from_secs(10);

/// The same of a row of a daily file: the same files again continue the import, but that takes a person or
/// the next hour of fetching, so a failover is waited out.
pub(super) const RECORD_FROM_FILE: Duration = Duration::from_secs(30);

/// How long an operator's decision is insisted on: somebody waits for it, as for an intent.
pub(super) const DECIDE: Duration = INTENT;

/// From the creation of a refund to its first query: Alipay wants 10 s (`docs/protocol.md` 6.3).
pub(super) const FIRST_REFUND_QUERY_AFTER: Duration = Duration::from_secs(10);

/// From a registration to its first query, where the process dies before the answer is recorded: longer
/// than the call may take.
pub(super) const FIRST_REGISTRATION_QUERY_AFTER: Duration = Duration::from_secs(30);

/// How much longer the claim on a fetch is than all of it may take: for importing one file.
pub(super) const IMPORT_ONE_FILE: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{
        WRITES_FAIL_FOR,
        group_commit::{LOCK_OF_SEVERAL, OTHERS_WAIT},
        run::{BULK_ANSWER, BULK_LOCK, BULK_STATEMENT, Limits, OVERDUE_SEEN_FOR},
    };

    const PAGE: &str = include_str!("../../docs/deadlines.md");

    fn text(deadline: Duration) -> String {
        match deadline.subsec_millis() {
            0 => format!("{} s", deadline.as_secs()),
            _ => format!("{} ms", deadline.as_millis()),
        }
    }

    #[test]
    fn the_page_of_deadlines_has_their_numbers() {
        let usual = Limits::USUAL;
        let deadlines = [
            ("acquire", usual.acquire),
            ("connect_try", usual.connect_try),
            ("trust", usual.trust),
            ("ping", usual.ping),
            ("lock", usual.lock),
            ("statement", usual.statement),
            ("answer", usual.answer),
            ("lock of several", LOCK_OF_SEVERAL),
            ("others wait", OTHERS_WAIT),
            ("bulk lock", BULK_LOCK),
            ("bulk statement", BULK_STATEMENT),
            ("bulk answer", BULK_ANSWER),
            ("overdue seen for", OVERDUE_SEEN_FOR),
            ("writes fail for", WRITES_FAIL_FOR),
            ("intent", INTENT),
            ("look for an intent", LOOK_FOR_INTENT),
            ("send within", SEND_WITHIN),
            (
                "send a cancel nobody asked for within",
                SEND_UNASKED_CANCEL_WITHIN,
            ),
            ("record an effect", RECORD_EFFECT),
            ("record an answer", RECORD_ANSWER),
            ("record from a file", RECORD_FROM_FILE),
            ("decide", DECIDE),
        ];
        let rows: Vec<&str> = PAGE
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        assert_eq!(rows.len(), deadlines.len(), "one row for each");
        for (name, deadline) in deadlines {
            let expected = format!("| `{name}` | {} |", text(deadline));
            assert!(
                rows.iter().any(|row| row.starts_with(&expected)),
                "no row begins {expected}"
            );
        }
    }

    /// The server ends what it can before we give up; what was decided leaves after its intent.
    #[test]
    fn the_deadlines_are_in_order() {
        let Limits {
            acquire,
            connect_try,
            lock,
            statement,
            answer,
            ..
        } = Limits::USUAL;
        assert!(connect_try < acquire && lock < statement && statement < answer);
        assert!(answer < INTENT && INTENT < SEND_WITHIN);
        assert!(BULK_LOCK < BULK_STATEMENT && BULK_STATEMENT < BULK_ANSWER);
    }
}
