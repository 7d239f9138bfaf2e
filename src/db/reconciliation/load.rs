//! Rows of a file into the database, and out of it again where one may settle an order.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{FileRef, ReconciliationStore, run};
use crate::{
    db::{
        error::Error,
        run::{Command as _, Statement as _},
    },
    domain::{
        id::{MerchantId, PaymentId, RefundId},
        money::{Currency, Money},
        reconciliation::{
            SiblingRows,
            daily_file::{FileKind, FileRow, FileSummary, RowFault, RowType, Settlement},
        },
    },
};

/// What is known of a file once it was read to its end.
#[derive(Clone, Copy, Debug)]
pub struct FileEnd<'a> {
    /// What the reader says of it.
    pub summary: &'a FileSummary,
    /// The rows that could not be read: the first of them.
    pub faults: &'a [RowFault],
}

/// Which rows are looked at: payments first, since a refund is taken into a payment's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Payments, cancels and reversals.
    Payments,
    Refunds,
}

/// The order that a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectIds {
    pub merchant_id: MerchantId,
    pub payment_id: PaymentId,
    /// Which of its refunds, where the row names one of ours.
    pub refund_id: Option<RefundId>,
}

/// A row that may settle an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub row: FileRow,
    /// The order.
    pub subject: SubjectIds,
    /// What else is known of it.
    pub sibling_rows: SiblingRows,
}

impl ReconciliationStore {
    /// Adds rows, each with the order that it is about. Rows that are there already stay.
    #[tracing::instrument(name = "db.statement.load", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn add_rows(
        &mut self,
        at: FileRef<'_>,
        kind: FileKind,
        rows: &[FileRow],
    ) -> Result<(), Error> {
        let columns = Columns::of(rows);
        run!(
            self,
            sqlx::query!(
                r#"with input as not materialized (
                    select $1::text as partner, $2::uuid as file_id, $3::uuid as reconciliation_id,
                        $4::text as kind
                ), touched as (
                    update reconciliation set touched_at = db_now()
                    from input
                    where reconciliation.partner = input.partner
                        and reconciliation.reconciliation_id = input.reconciliation_id
                )
                insert into statement_row (partner, file_id, line, row_type,
                    partner_trans_id, alipay_trans_id, amount_minor, fee_minor, currency,
                    trans_amount_minor, trans_currency, completed_at, net_minor, settled_at,
                    duplicate_of, secondary_merchant_id, store_name, wallet, remark, merchant_id,
                    payment_id, refund_id)
                select input.partner, input.file_id, r.line, r.row_type, r.our_id,
                    r.alipay_trans_id, r.amount_minor, r.fee_minor, r.currency,
                    r.trans_amount_minor, r.trans_currency, r.completed_at, r.net_minor,
                    r.settled_at, r.duplicate_of, r.secondary_merchant_id, r.store_name, r.wallet,
                    r.remark,
                    coalesce(refund.merchant_id, by_id.merchant_id, by_alipay.merchant_id),
                    coalesce(refund.payment_id, by_id.payment_id, by_alipay.payment_id),
                    coalesce(refund.refund_id, by_amount.refund_id)
                from input
                cross join unnest($5::bigint[], $6::text[], $7::text[], $8::text[], $9::bigint[],
                    $10::bigint[], $11::text[], $12::bigint[], $13::text[], $14::timestamptz[],
                    $15::bigint[], $16::timestamptz[], $17::bigint[], $18::text[], $19::text[],
                    $20::text[], $21::text[])
                    as r (line, row_type, our_id, alipay_trans_id, amount_minor, fee_minor,
                        currency, trans_amount_minor, trans_currency, completed_at, net_minor,
                        settled_at, duplicate_of, secondary_merchant_id, store_name, wallet,
                        remark)
                left join refund on r.row_type = 'refund' and refund.partner = input.partner
                    and refund.partner_refund_id = r.our_id
                -- A settlement file names some refunds by their payment.
                left join payment as by_id
                    on (r.row_type <> 'refund' or input.kind = 'settlement')
                    and by_id.partner = input.partner and by_id.partner_trans_id = r.our_id
                left join lateral (
                    select merchant_id, payment_id from payment
                    where payment.partner = input.partner
                        and payment.alipay_trans_id = r.alipay_trans_id
                    order by payment_id limit 1
                ) as by_alipay on refund.refund_id is null and by_id.payment_id is null
                left join lateral (
                    select refund_id from refund as candidate
                    where candidate.merchant_id = coalesce(by_id.merchant_id, by_alipay.merchant_id)
                        and candidate.payment_id = coalesce(by_id.payment_id, by_alipay.payment_id)
                        and candidate.amount_minor = r.amount_minor
                        and candidate.status = 'succeeded'
                    order by refund_id limit 1
                ) as by_amount on input.kind = 'settlement' and r.row_type = 'refund'
                    and refund.refund_id is null
                on conflict (partner, file_id, line) do nothing"#,
                at.partner,
                at.file.uuid(),
                at.reconciliation.uuid(),
                kind.as_str(),
                &columns.line,
                &columns.row_type as &[&str],
                &columns.our_id as &[Option<&str>],
                &columns.alipay_trans_id as &[Option<&str>],
                &columns.amount_minor,
                &columns.fee_minor,
                &columns.currency as &[&str],
                &columns.trans_amount_minor as &[Option<i64>],
                &columns.trans_currency as &[Option<&str>],
                &columns.completed_at,
                &columns.net_minor as &[Option<i64>],
                &columns.settled_at as &[Option<DateTime<Utc>>],
                &columns.duplicate_of as &[Option<i64>],
                &columns.secondary_merchant_id as &[Option<&str>],
                &columns.store_name as &[Option<&str>],
                &columns.wallet as &[Option<&str>],
                &columns.remark as &[Option<&str>],
            ),
            execute
        )?;
        Ok(())
    }

    /// Ends the import: from here on the file counts, and the earlier versions of it no more. Does
    /// nothing to a file that was ended.
    pub async fn end_file(
        &mut self,
        at: FileRef<'_>,
        kind: FileKind,
        end: FileEnd<'_>,
    ) -> Result<(), Error> {
        loop {
            self.in_dry_run("savepoint file_ended").await?;
            match self.try_to_end_file(at, kind, end).await {
                // Another content under this name was ended in the same moment, which was waited for:
                // this one is the version after it.
                Err(Error::Constraint(name)) if name == "statement_file_version_key" => {
                    self.in_dry_run("rollback to savepoint file_ended").await?;
                }
                ended => return ended,
            }
        }
    }

    async fn try_to_end_file(
        &mut self,
        at: FileRef<'_>,
        kind: FileKind,
        end: FileEnd<'_>,
    ) -> Result<(), Error> {
        let mut lines = vec![];
        let mut positions = vec![];
        let mut columns = vec![];
        let mut reasons = vec![];
        for fault in end.faults {
            for (position, field) in (0_i32..).zip(&fault.fields) {
                lines.push(i64::try_from(fault.line).unwrap_or(i64::MAX));
                positions.push(position);
                columns.push(field.column);
                reasons.push(field.reason.to_string());
            }
        }
        let progress = end.summary.progress;
        let warnings: Vec<String> = end
            .summary
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        run!(
            self,
            sqlx::query!(
                r#"with input as not materialized (
                    select $1::text as partner, $2::uuid as file_id, $3::text as kind,
                        $4::date as day, $5::bigint as row_count, $6::bigint as fault_count,
                        $7::bigint as duplicate_count, $8::text[] as warnings,
                        $9::boolean as is_provisional
                ), ended as (
                    update statement_file
                    set imported_at = db_now(), row_count = input.row_count,
                        fault_count = input.fault_count, duplicate_count = input.duplicate_count,
                        warnings = input.warnings, is_provisional = input.is_provisional,
                        -- What lacks rows takes no place of a whole version.
                        superseded_at = case when input.is_provisional and exists (
                                select from statement_file as other
                                where other.partner = input.partner and other.kind = input.kind
                                    and other.day = input.day and other.file_id <> input.file_id
                                    and other.imported_at is not null
                                    and other.superseded_at is null and not other.is_provisional)
                            then db_now() end,
                        version = 1 + (
                            select count(*)::integer from statement_file as other
                            where other.partner = input.partner
                                and other.name = statement_file.name
                                and other.version is not null)
                    from input
                    where statement_file.partner = input.partner
                        and statement_file.file_id = input.file_id and imported_at is null
                    returning superseded_at
                ), superseded as (
                    update statement_file
                    set superseded_at = db_now()
                    from input
                    where statement_file.partner = input.partner
                        and statement_file.kind = input.kind and statement_file.day = input.day
                        and statement_file.file_id <> input.file_id
                        and imported_at is not null and superseded_at is null
                        and exists (select from ended where ended.superseded_at is null)
                )
                insert into statement_fault (partner, file_id, line, position, column_name, reason)
                select partner, file_id, fault.line, fault.position, fault.column_name, fault.reason
                from input, ended, unnest($10::bigint[], $11::integer[], $12::text[], $13::text[])
                    as fault (line, position, column_name, reason)"#,
                at.partner,
                at.file.uuid(),
                kind.as_str(),
                at.day,
                i64::try_from(progress.rows).unwrap_or(i64::MAX),
                i64::try_from(progress.faults).unwrap_or(i64::MAX),
                i64::try_from(end.summary.duplicates).unwrap_or(i64::MAX),
                &warnings,
                !end.summary.is_whole(),
                &lines,
                &positions,
                &columns as &[Option<&str>],
                &reasons,
            ),
            execute
        )?;
        Ok(())
    }

    /// The next rows after line `after` that may settle an order, or are a refund of a payment of ours
    /// that we do not know; at most 500.
    pub async fn candidates(
        &mut self,
        at: FileRef<'_>,
        kind: FileKind,
        pass: Pass,
        after: i64,
    ) -> Result<Vec<Candidate>, Error> {
        let rows = run!(
            self,
            sqlx::query_as!(
                CandidateRow,
                r#"select r.file_id, r.line, r.row_type, r.partner_trans_id, r.alipay_trans_id,
                    r.amount_minor, r.fee_minor, r.currency, r.completed_at, r.net_minor,
                    r.settled_at, r.remark, r.wallet, payment.merchant_id, payment.payment_id,
                    r.refund_id,
                    exists (
                        select from statement_row as other
                        join statement_file as file on file.partner = other.partner
                            and file.file_id = other.file_id and file.superseded_at is null
                            and file.imported_at is not null
                        where other.partner = $1 and other.payment_id = r.payment_id
                            and other.row_type in ('cancel', 'reversal')
                            -- One that names another trade says nothing of this.
                            and coalesce(lower(other.alipay_trans_id)
                                = lower(payment.alipay_trans_id), true)) as "canceled!",
                    coalesce(r.secondary_merchant_id <> merchant.secondary_merchant_id
                        and is_of_another_merchant(r.merchant_id, r.secondary_merchant_id), false)
                        as "other_merchant!",
                    corrects.wallet as "corrects_wallet!"
                from statement_row as r
                join merchant on merchant.merchant_id = r.merchant_id
                join payment on payment.merchant_id = r.merchant_id
                    and payment.payment_id = r.payment_id
                left join refund on refund.merchant_id = r.merchant_id
                    and refund.refund_id = r.refund_id
                cross join lateral (
                    select exists (
                        select from statement_file as given
                        join statement_file as this on this.partner = $1 and this.file_id = $2
                            and this.kind = given.kind and this.day = given.day
                        where given.partner = $1 and given.file_id = payment.wallet_file_id
                            and given.superseded_at is not null
                            and this.superseded_at is null and not this.is_provisional)
                        as wallet) as corrects
                where r.partner = $1 and r.file_id = $2 and r.line > $3
                    and case
                        -- What is open, and what the row contradicts.
                        when $4 then r.row_type <> 'refund'
                            and (case payment.status
                                    when 'succeeded' then r.row_type <> 'payment'
                                    when 'canceled' then not payment.money_returned
                                    else true
                                end
                                or corrects.wallet and lower(r.wallet) <> lower(payment.wallet))
                        else r.row_type = 'refund'
                            and (refund.status <> 'succeeded'
                                or refund.contradicted_at is not null
                                or refund.refund_id is null and $5)
                    end
                order by r.line
                limit 500"#,
                at.partner,
                at.file.uuid(),
                after,
                pass == Pass::Payments,
                // A settlement file may leave the refund's own id out.
                kind == FileKind::Transaction,
            ),
            fetch_all
        )?;
        rows.into_iter().map(Candidate::try_from).collect()
    }
}

/// Rows turned into columns, for `unnest`.
#[derive(Default)]
struct Columns<'a> {
    line: Vec<i64>,
    row_type: Vec<&'a str>,
    our_id: Vec<Option<&'a str>>,
    alipay_trans_id: Vec<Option<&'a str>>,
    amount_minor: Vec<i64>,
    fee_minor: Vec<i64>,
    currency: Vec<&'a str>,
    trans_amount_minor: Vec<Option<i64>>,
    trans_currency: Vec<Option<&'a str>>,
    completed_at: Vec<DateTime<Utc>>,
    net_minor: Vec<Option<i64>>,
    settled_at: Vec<Option<DateTime<Utc>>>,
    duplicate_of: Vec<Option<i64>>,
    secondary_merchant_id: Vec<Option<&'a str>>,
    store_name: Vec<Option<&'a str>>,
    wallet: Vec<Option<&'a str>>,
    remark: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(rows: &'a [FileRow]) -> Self {
        let mut columns = Self::default();
        let number = |line: u64| i64::try_from(line).unwrap_or(i64::MAX);
        for row in rows {
            columns.line.push(number(row.line));
            columns.row_type.push(row.row_type.as_str());
            columns.our_id.push(row.partner_trans_id.as_deref());
            columns.alipay_trans_id.push(row.alipay_trans_id.as_deref());
            columns.amount_minor.push(row.amount.minor());
            columns.fee_minor.push(row.fee.minor());
            columns.currency.push(row.amount.currency().code());
            columns
                .trans_amount_minor
                .push(row.trans_amount.map(Money::minor));
            columns
                .trans_currency
                .push(row.trans_amount.map(|money| money.currency().code()));
            columns.completed_at.push(row.completed_at);
            columns
                .net_minor
                .push(row.settlement.map(|settlement| settlement.net.minor()));
            columns
                .settled_at
                .push(row.settlement.map(|settlement| settlement.settled_at));
            columns.duplicate_of.push(row.duplicate_of.map(number));
            columns
                .secondary_merchant_id
                .push(row.secondary_merchant_id.as_deref());
            columns.store_name.push(row.store_name.as_deref());
            columns.wallet.push(row.wallet.as_deref());
            columns.remark.push(row.remark.as_deref());
        }
        columns
    }
}

pub(in crate::db) struct CandidateRow {
    pub(in crate::db) file_id: Uuid,
    pub(in crate::db) line: i64,
    pub(in crate::db) row_type: String,
    pub(in crate::db) partner_trans_id: Option<String>,
    pub(in crate::db) alipay_trans_id: Option<String>,
    pub(in crate::db) amount_minor: i64,
    pub(in crate::db) fee_minor: i64,
    pub(in crate::db) currency: String,
    pub(in crate::db) completed_at: DateTime<Utc>,
    pub(in crate::db) net_minor: Option<i64>,
    pub(in crate::db) settled_at: Option<DateTime<Utc>>,
    pub(in crate::db) remark: Option<String>,
    pub(in crate::db) wallet: Option<String>,
    pub(in crate::db) merchant_id: Uuid,
    pub(in crate::db) payment_id: Uuid,
    pub(in crate::db) refund_id: Option<Uuid>,
    pub(in crate::db) canceled: bool,
    pub(in crate::db) other_merchant: bool,
    pub(in crate::db) corrects_wallet: bool,
}

impl TryFrom<CandidateRow> for Candidate {
    type Error = Error;

    fn try_from(row: CandidateRow) -> Result<Self, Error> {
        let inconsistent = |column| Error::Inconsistent {
            table: "statement_row",
            column,
            id: row.line.to_string(),
        };
        let currency =
            Currency::from_code(&row.currency).ok_or_else(|| inconsistent("currency"))?;
        let row_type = RowType::from_name(&row.row_type).ok_or_else(|| inconsistent("row_type"))?;
        let settlement = row.net_minor.zip(row.settled_at);
        Ok(Self {
            row: FileRow {
                line: row.line.unsigned_abs(),
                duplicate_of: None,
                row_type,
                partner_trans_id: row.partner_trans_id,
                alipay_trans_id: row.alipay_trans_id,
                amount: Money::new(row.amount_minor, currency),
                fee: Money::new(row.fee_minor, currency),
                completed_at: row.completed_at,
                settlement: settlement.map(|(net, settled_at)| Settlement {
                    net: Money::new(net, currency),
                    settled_at,
                }),
                remark: row.remark,
                secondary_merchant_industry: None,
                secondary_merchant_name: None,
                secondary_merchant_id: None,
                store_name: None,
                order_scene: None,
                trans_amount: None,
                trans_forex_rate: None,
                wallet: row.wallet,
            },
            subject: SubjectIds {
                merchant_id: row.merchant_id.into(),
                payment_id: row.payment_id.into(),
                refund_id: row.refund_id.map(RefundId::from),
            },
            sibling_rows: SiblingRows {
                canceled: row.canceled,
                other_merchant: row.other_merchant,
                corrects_wallet: row.corrects_wallet,
            },
        })
    }
}
