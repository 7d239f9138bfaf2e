//! One file against the books, as one statement: every difference and every sum at once, or nothing.

use super::{FileRef, ReconciliationStore, run};
use chrono::NaiveTime;

use crate::{
    db::{error::Error, run::Command as _},
    domain::{
        calendar,
        reconciliation::{FeeOfRefunds, Rules, daily_file::FileKind},
    },
};

impl ReconciliationStore {
    /// Compares a file with the books. Does nothing where that was done.
    ///
    /// What a row should say is in the view `compared_row`, what files lack in the functions
    /// `missing_in_files` and `not_settled_by`, and what Alipay keeps in `expected_fee`; here they become
    /// one difference for each class, and the sums.
    #[tracing::instrument(name = "db.statement.compare", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    #[expect(clippy::too_many_lines, reason = "one statement")]
    pub async fn compare(
        &mut self,
        at: FileRef<'_>,
        kind: FileKind,
        rules: Rules,
    ) -> Result<(), Error> {
        run!(
            self,
            sqlx::query!(
                r#"with input as not materialized (
                    select $1::text as partner, $2::uuid as reconciliation_id,
                        $3::integer as position, $4::uuid as file_id, $5::text as kind,
                        $6::date as day, $7::timestamptz as day_begins,
                        $8::integer as fee_basis_points, $9::text as fee_of_refunds,
                        $10::bigint as fee_tolerance_minor, $11::integer as settled_within_days
                ), gate as (
                    update reconciliation_file
                    set matched_at = db_now()
                    from input
                    where reconciliation_file.partner = input.partner
                        and reconciliation_file.reconciliation_id = input.reconciliation_id
                        and reconciliation_file.position = input.position and matched_at is null
                    returning reconciliation_file.file_id
                ), whole as (
                    -- Of a file that lacks rows nothing can be said to be missing.
                    select from input, gate
                    join statement_file as file on file.file_id = gate.file_id
                    where file.partner = input.partner and not file.is_provisional
                ), compared as materialized (
                    select compared_row.*,
                        case
                            when is_ours then expected_fee(type, our_amount_minor,
                                fee_basis_points, fee_of_refunds, fee_minor)
                            else fee_minor
                        end as our_fee_minor
                    from input
                    join compared_row on compared_row.partner = input.partner
                        and compared_row.file_id = input.file_id
                    where exists (select from gate)
                ), settled as (
                    select statement_line as line, from_status, to_status
                    from input
                    join payment_transition on statement_file_id = file_id
                    where from_status <> to_status
                    union all
                    select statement_line, from_status, to_status
                    from input
                    join refund_transition on statement_file_id = file_id
                    where from_status <> to_status
                ), absent as materialized (
                    select missing.*, case when row_type = 'payment' then 1 else -1 end as sign,
                        expected_fee(row_type, amount_minor, fee_basis_points, fee_of_refunds, 0)
                            as our_fee_minor
                    from input
                    cross join lateral missing_in_files(input.partner, day_begins) as missing
                    where kind = 'transaction' and exists (select from whole)
                ), differences as (
                    select line, checks.class, row_type, merchant_id, payment_id, refund_id, store,
                        partner_trans_id, alipay_trans_id, amount_minor, currency, checks.expected,
                        checks.found
                    from input, compared
                    left join settled using (line)
                    cross join lateral (values
                        ('unknown_to_us', not is_ours, null, null),
                        ('identity_differs', our_identity is not null, our_identity,
                            their_identity),
                        (case compared.kind when 'settlement' then 'settled_twice'
                            else 'duplicate' end, is_repeated, null, null),
                        ('currency_differs', is_ours and currency <> our_currency, our_currency,
                            currency),
                        ('amount_differs', is_ours and currency = our_currency
                                and (amount_minor <> our_amount_minor
                                    or trans_currency = our_currency
                                        and trans_amount_minor <> our_amount_minor),
                            money_text(our_amount_minor, our_currency),
                            case when amount_minor = our_amount_minor
                                then money_text(trans_amount_minor, trans_currency)
                                else money_text(amount_minor, currency)
                            end),
                        ('fee_differs',
                            is_ours and abs(fee_minor - our_fee_minor) > fee_tolerance_minor,
                            money_text(our_fee_minor, currency), money_text(fee_minor, currency)),
                        ('net_differs', net_minor <> abs(amount_minor - fee_minor),
                            money_text(abs(amount_minor - fee_minor), currency),
                            money_text(net_minor, currency)),
                        ('status_differs', is_ours and not agrees and our_identity is null, status,
                            row_type),
                        ('day_differs',
                            compared.kind = 'transaction'
                                    and business_day(completed_at) <> compared.day
                                or is_ours and type = 'payment'
                                    and business_day(paid_at) <> business_day(completed_at),
                            coalesce(
                                case when is_ours and type = 'payment'
                                    then business_day(paid_at)::text end,
                                compared.day::text),
                            business_day(completed_at)::text),
                        ('portal_refund',
                            is_ours and origin = 'portal' and compared.kind = 'transaction',
                            null, null),
                        ('corrected', settled.line is not null, from_status, to_status)
                    ) as checks (class, differs, expected, found)
                    where checks.differs
                    union all
                    select null, 'missing_in_file', row_type, merchant_id, payment_id, refund_id,
                        store_id, partner_trans_id, alipay_trans_id, amount_minor, currency,
                        business_day(moved_at)::text, null
                    from absent
                    union all
                    select null, 'not_settled', row_type, merchant_id, payment_id, refund_id,
                        store_name, partner_trans_id, alipay_trans_id, amount_minor, currency,
                        business_day(completed_at)::text, null
                    from input
                    cross join lateral not_settled_by(input.partner, day, settled_within_days)
                        as unsettled
                    where kind = 'settlement' and exists (select from whole)
                ), written as (
                    insert into reconciliation_difference (partner, reconciliation_id,
                        difference_id, file_id, line, class, row_type, merchant_id, payment_id,
                        refund_id, store_id, partner_trans_id, alipay_trans_id, amount_minor,
                        currency, expected, found)
                    -- Sorts by file and line; the other half is the comparison's own.
                    select input.partner, reconciliation_id,
                        (lpad(to_hex(position), 8, '0')
                            || lpad(to_hex(row_number() over (
                                order by line nulls last, class, partner_trans_id)), 8, '0')
                            || substr(replace(reconciliation_id::text, '-', ''), 17))::uuid,
                        file_id, line, class, row_type, merchant_id, payment_id, refund_id, store,
                        partner_trans_id, alipay_trans_id, amount_minor, currency, expected, found
                    from input, differences
                )
                insert into reconciliation_total (partner, reconciliation_id, total_id, file_id,
                    merchant_id, store, wallet, currency, day, row_count, amount_minor, fee_minor,
                    net_minor, expected_net_minor)
                select partner, reconciliation_id, gen_random_uuid(), file_id, merchant_id, store,
                    wallet, currency, moved.day, sum(row_count), sum(amount_minor), sum(fee_minor),
                    sum(net_minor), sum(expected_net_minor)
                from input, (
                    select merchant_id, store, wallet, currency,
                        business_day(completed_at) as day, 1 as row_count,
                        sign * amount_minor as amount_minor, sign * fee_minor as fee_minor,
                        sign * coalesce(net_minor, amount_minor - fee_minor) as net_minor,
                        -- What is in dispute (unknown, repeated, of another identity or status)
                        -- is expected to come to nothing.
                        case
                            when is_ours and agrees and our_identity is null and not is_repeated
                                then sign * (our_amount_minor - our_fee_minor)
                            else 0
                        end as expected_net_minor
                    from compared
                    union all
                    select merchant_id, store_id, wallet, currency, business_day(moved_at), 0, 0,
                        0, 0, sign * (amount_minor - our_fee_minor)
                    from absent
                ) as moved
                group by partner, reconciliation_id, file_id, merchant_id, store, wallet, currency,
                    moved.day"#,
                at.partner,
                at.reconciliation.uuid(),
                at.position,
                at.file.uuid(),
                kind.as_str(),
                at.day,
                calendar::in_beijing(at.day, NaiveTime::MIN),
                rules.fee_basis_points,
                rules.fee_of_refunds.map(FeeOfRefunds::as_str),
                rules.fee_tolerance_minor,
                rules.settled_within_days,
            ),
            execute
        )?;
        Ok(())
    }
}
