//! What the role of the service may do in the database, declared once (`docs/invariants.md` Q16).
//!
//! `migrate` runs as the owner of the tables and then grants this, and only this, to the role of `DATABASE_URL`: no table can be
//! made, altered or dropped by the service, nothing of a ledger removed, and no column updated that no statement of ours updates.
//! Behind the guards in the statements and the triggers in the schema this is a third line, which holds even where somebody
//! else's SQL runs in the service's name.
//!
//! A new table needs a line in [`TABLES`], and a new `update`, `insert` or `delete` may need a word in one:
//! `tests/it/roles.rs` compares this list with the schema and with every statement of [`super`], and says what is missing or too
//! much.

use std::fmt::Write as _;

/// What the service may do with one table. It may always read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    /// Whether rows may be added.
    pub insert: bool,
    /// The columns that may be given then; empty: all.
    pub given: &'static [&'static str],
    /// The columns that may be changed.
    pub update: &'static [&'static str],
    /// Whether rows may be removed: only of what is no record, such as the schedule.
    pub delete: bool,
}

impl Table {
    /// A table that only `migrate` writes.
    const fn read(name: &'static str) -> Self {
        Self {
            name,
            insert: false,
            given: &[],
            update: &[],
            delete: false,
        }
    }

    /// A table to which rows are added and never changed.
    const fn append(name: &'static str) -> Self {
        Self {
            insert: true,
            ..Self::read(name)
        }
    }

    /// The same where only these columns are the service's to say.
    const fn append_of(name: &'static str, given: &'static [&'static str]) -> Self {
        Self {
            given,
            ..Self::append(name)
        }
    }

    /// A table whose rows change in these columns.
    const fn change(name: &'static str, update: &'static [&'static str]) -> Self {
        Self {
            update,
            ..Self::append(name)
        }
    }

    /// The same, and its rows may be removed.
    const fn and_delete(self) -> Self {
        Self {
            delete: true,
            ..self
        }
    }
}

/// Every table there is.
#[rustfmt::skip]
pub const TABLES: &[Table] = &[
    // Who sells, and who may ask.
    Table::change("merchant", &[
        "version", "updated_at", "name", "secondary_merchant_id", "secondary_merchant_name", "secondary_merchant_industry",
        "default_store_id", "terminal_required", "allowed_terminals", "max_payment_minor", "max_refund_minor",
        "max_refunded_per_day_minor", "allowed_wallets", "disabled_at",
    ]),
    Table::change("store", &["version", "updated_at", "store_name", "industry", "disabled_at"]),
    Table::change("api_key", &["revoked_at", "expires_at", "last_used_at"]),
    // Who did what. The number, the time and the hashes of an entry, and the end of the chain, are made by a trigger that
    // runs as the owner.
    Table::append_of("audit_log", &["merchant_id", "action", "subject_kind", "subject_id", "by", "before", "after"]),
    Table::read("audit_head"),
    // Payments and refunds. What they are, and for how much, is not among the columns.
    Table::change("payment", &[
        "version", "updated_at", "status", "status_reason", "failure_code", "failure_message", "failure_retry", "money_returned",
        "alipay_trans_id", "charged", "paid_at", "wallet", "wallet_file_id", "buyer_user_id", "buyer_login_id", "finalized_at",
        "cancel_reason",
        "reversal_refund_id", "refund_reserved_minor", "refunded_minor", "contradicted_at", "proven_returned_minor",
        "decided_by_operator",
    ]),
    Table::change("refund", &[
        "version", "updated_at", "status", "status_reason", "failure_code", "failure_message", "refusal_code", "refusal_message",
        "unknown_code", "unknown_code_submits",
        "accepted_at", "succeeded_at", "finalized_at", "not_found", "submits", "last_submit_at", "checks_done", "last_check_at",
        "contradicted_at", "decided_by_operator", "failed_late",
    ]),
    // What Alipay said against them.
    Table::change("contradiction", &["settled_at", "settled_by"]),
    // What a merchant's refunds of a day come to.
    Table::change("refund_day", &["refunded_minor", "burst_since", "burst_refunds", "burst_noted_since"]),
    Table::read("payment_legal_move"),
    Table::read("refund_legal_move"),
    // What happened.
    Table::change("attempt", &["answered_at", "answer_class", "answer_code", "answer_detail", "duration_ms"]),
    Table::append("payment_transition"),
    Table::append("refund_transition"),
    Table::append("notification"),
    // What the callers' keys and references made.
    Table::append("idempotency_key"),
    Table::append("merchant_reference"),
    Table::change("recent_scan", &["payment_id", "seen_at"]).and_delete(),
    // Stores as Alipay reviews them.
    Table::change("store_registration", &[
        "version", "updated_at", "status", "reject_code", "reject_reason", "facts", "masked", "sealed", "submission", "fingerprint",
        "drivers_fingerprint", "submitted_at", "accepted_at", "after_earlier", "to_send", "submits", "last_submit_at", "checks_done",
        "last_check_at", "in_force_merchant_name", "in_force_store_name", "in_force_industry", "approved_at", "store_status",
    ]),
    Table::change("store_registration_attempt", &["answered_at", "answer_class", "answer_code", "answer_detail", "duration_ms"]),
    Table::append("store_registration_transition"),
    // The schedule: rows of what is settled are removed.
    Table::change("follow_up", &[
        "due_at", "fence", "leased_until", "worker", "error_count", "last_error", "parked_at", "queries", "last_query_at", "cancels",
        "last_cancel_at", "cancel_refused", "confirming_until", "abandoned_reason", "abandoned_by",
        "access_refusals", "question_due_at",
    ]).and_delete(),
    // What it visits.
    Table::read("follow_up_subject"),
    // Alipay's daily files and what came of them.
    Table::change("statement_file", &[
        "size_bytes", "imported_at", "superseded_at", "version", "row_count", "fault_count", "duplicate_count", "warnings",
        "is_provisional",
    ]),
    // The refund that a row of the merchant portal was recorded as.
    Table::change("statement_row", &["refund_id"]),
    Table::append("statement_fault"),
    Table::change("reconciliation", &["touched_at", "completed_at", "failure", "fee_basis_points"]),
    Table::change("reconciliation_file", &["matched_at"]),
    Table::change("reconciliation_difference", &["acknowledged_at", "acknowledged_by", "acknowledged_reason"]),
    Table::append("reconciliation_total"),
    // What they are compared by.
    Table::read("compared_row"),
    Table::read("movement"),
    // How they are fetched.
    Table::change("daily_fetch", &["fence", "leased_until", "worker", "tried_at", "last_error", "succeeded_at"]),
    Table::change("daily_fetch_file", &["path", "size_bytes", "modified_at", "fetched_at"]),
    Table::append("daily_fetch_missing"),
    // What `migrate` did: read by the readiness check.
    Table::read("_sqlx_migrations"),
];

/// The statements that give `role` what [`TABLES`] says and take everything else away.
pub(super) fn grants(role: &str) -> String {
    let role = identifier(role);
    let mut sql = String::new();
    let mut say = |statement: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(sql, "{statement};");
    };
    // Two `migrate` at once would change the same rows of the catalogue. Nothing else waits for this.
    say(format_args!(
        "lock table _sqlx_migrations in share row exclusive mode"
    ));
    // Where the owner of the tables owns the schema and the database too; `Standing` says what is left.
    say(format_args!(
        "revoke create on schema public from public, {role}"
    ));
    say(format_args!("grant usage on schema public to {role}"));
    say(format_args!(
        "do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$"
    ));
    for table in TABLES {
        let name = identifier(table.name);
        say(format_args!("revoke all on {name} from public, {role}"));
        say(format_args!("grant select on {name} to {role}"));
        if table.insert {
            let given: Vec<String> = table.given.iter().copied().map(identifier).collect();
            let given = match given.join(", ").as_str() {
                "" => String::new(),
                columns => format!(" ({columns})"),
            };
            say(format_args!("grant insert{given} on {name} to {role}"));
        }
        if !table.update.is_empty() {
            let columns: Vec<String> = table.update.iter().copied().map(identifier).collect();
            let columns = columns.join(", ");
            say(format_args!("grant update ({columns}) on {name} to {role}"));
        }
        if table.delete {
            say(format_args!("grant delete on {name} to {role}"));
        }
    }
    sql
}

/// A name as SQL takes it, whatever is in it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_quoted_whatever_it_is_called() {
        assert_eq!(identifier("gateway"), "\"gateway\"");
        assert_eq!(identifier("a\"; drop x; --"), "\"a\"\"; drop x; --\"");
        let sql = grants("a\"b");
        assert!(
            sql.contains("grant select on \"payment\" to \"a\"\"b\";"),
            "{sql}"
        );
    }

    #[test]
    fn nothing_of_a_ledger_may_be_removed() {
        let removable: Vec<_> = TABLES
            .iter()
            .filter(|table| table.delete)
            .map(|table| table.name)
            .collect();
        assert_eq!(removable, ["recent_scan", "follow_up"]);
    }
}
