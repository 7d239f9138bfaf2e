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
    /// - A row is ours by our id, or by Alipay's; what it should say is in the payment or the refund.
    /// - What is missing is looked for on the file's day: charges by Alipay's time of payment, cancels and
    ///   refunds by when we learnt of them, unless another file has them.
    /// - A row that names our order and beside it another trade, wallet or merchant does not agree,
    ///   whatever else it says.
    /// - The expected sum of what is in dispute (unknown, repeated, of another identity or status) is
    ///   nothing.
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
                r#"with gate as (
                    update reconciliation_file
                    set matched_at = db_now()
                    where partner = $1 and reconciliation_id = $2 and position = $3
                        and matched_at is null
                    returning file_id
                ), whole as (
                    -- Of a file that lacks rows nothing can be said to be missing.
                    select from gate
                    join statement_file as file on file.partner = $1
                        and file.file_id = gate.file_id and not file.is_provisional
                ), compared as materialized (
                    select r.line, r.row_type, r.partner_trans_id, r.alipay_trans_id,
                        r.amount_minor, r.fee_minor, r.currency, r.net_minor, r.completed_at,
                        r.trans_amount_minor, r.trans_currency, r.wallet,
                        r.merchant_id, r.payment_id, r.refund_id, told.type,
                        coalesce(payment.store_id, r.store_name) as store,
                        payment.paid_at, refund.origin, identity.ours as our_identity,
                        identity.theirs as their_identity,
                        case told.type when 'refund' then refund.status else payment.status end
                            as status,
                        case told.type
                            when 'refund' then refund.refund_id is not null
                            else payment.payment_id is not null
                        end as is_ours,
                        case told.type
                            when 'refund' then refund.amount_minor
                            else payment.amount_minor
                        end as our_amount_minor,
                        payment.currency as our_currency,
                        case told.type
                            when 'payment' then payment.status = 'succeeded'
                                or coalesce(payment.money_returned, false)
                            when 'refund' then refund.status = 'succeeded'
                            else coalesce(payment.money_returned, false)
                        end as agrees,
                        r.duplicate_of is not null
                            or row_number() over (
                                partition by r.row_type,
                                    coalesce(r.partner_trans_id, r.alipay_trans_id),
                                    case when $5 = 'settlement' then r.completed_at end
                                order by r.line) > 1
                            or r.payment_id is not null
                                and (r.row_type <> 'refund' or r.refund_id is not null)
                                and exists (
                                    select from statement_row as other
                                    join statement_file as file on file.partner = other.partner
                                        and file.file_id = other.file_id
                                    where other.partner = $1 and other.payment_id = r.payment_id
                                        and other.row_type = r.row_type
                                        and other.refund_id is not distinct from r.refund_id
                                        and file.kind = $5 and file.day < $6
                                        and file.imported_at is not null
                                        and file.superseded_at is null)
                            as is_repeated
                    from gate
                    join statement_row as r on r.partner = $1 and r.file_id = gate.file_id
                    left join payment on payment.merchant_id = r.merchant_id
                        and payment.payment_id = r.payment_id
                    left join refund on refund.merchant_id = r.merchant_id
                        and refund.refund_id = r.refund_id
                    left join merchant on merchant.merchant_id = r.merchant_id
                    -- As `tells_of_another` in the domain.
                    cross join lateral (
                        select nullif(concat_ws(', ',
                                case when differ.trade
                                    then 'Transaction_id ' || payment.alipay_trans_id end,
                                case when differ.id
                                    then 'Partner_transaction_id ' || payment.partner_trans_id end,
                                case when differ.wallet then 'Issue ' || payment.wallet end,
                                case when differ.merchant then 'Secondary_merchant_id '
                                    || merchant.secondary_merchant_id end), '') as ours,
                            nullif(concat_ws(', ',
                                case when differ.trade
                                    then 'Transaction_id ' || r.alipay_trans_id end,
                                case when differ.id then 'Partner_transaction_id '
                                    || r.partner_trans_id end,
                                case when differ.wallet then 'Issue ' || r.wallet end,
                                case when differ.merchant then 'Secondary_merchant_id '
                                    || r.secondary_merchant_id end), '') as theirs
                        from (select
                            lower(r.alipay_trans_id) <> lower(payment.alipay_trans_id) as trade,
                            r.row_type <> 'refund'
                                and r.partner_trans_id is distinct from r.alipay_trans_id
                                and lower(r.partner_trans_id)
                                    <> lower(payment.partner_trans_id) as id,
                            lower(r.wallet) <> lower(payment.wallet) as wallet,
                            r.secondary_merchant_id <> merchant.secondary_merchant_id
                                and is_of_another_merchant(r.merchant_id,
                                    r.secondary_merchant_id) as merchant) as differ
                    ) as identity
                    -- A settlement file knows payments and refunds only.
                    cross join lateral (
                        select case
                            when r.row_type = 'refund' and r.refund_id is null
                                and $5 = 'settlement' and payment.money_returned then 'cancel'
                            else r.row_type
                        end as type) as told
                ), judged as materialized (
                    select compared.*,
                        case when type = 'payment' then 1 else -1 end as sign,
                        -- What becomes of the fee of a refund is in the contract.
                        case
                            when $7::integer is null or not is_ours
                                or type = 'refund' and $11::text is null
                                then fee_minor
                            when type = 'refund' and $11 = 'kept' then 0
                            else (our_amount_minor * $7 + 5000) / 10000
                        end as our_fee_minor
                    from compared
                ), settled as (
                    select statement_line as line, from_status, to_status from payment_transition
                    where statement_file_id = $4 and from_status <> to_status
                    union all
                    select statement_line, from_status, to_status from refund_transition
                    where statement_file_id = $4 and from_status <> to_status
                ), missing as materialized (
                    select 'payment' as row_type, merchant_id, payment_id, null::uuid as refund_id,
                        store_id, wallet, partner_trans_id as our_id, alipay_trans_id,
                        amount_minor, currency, coalesce(paid_at, created_at) as moved_at
                    from payment
                    where $5 = 'transaction' and exists (select from whole) and partner = $1
                        and charged
                        and coalesce(paid_at, created_at) >= $8
                        and coalesce(paid_at, created_at) < $8::timestamptz + interval '1 day'
                    union all
                    -- What refunds returned has rows of its own.
                    select 'cancel', merchant_id, payment_id, null, store_id, wallet,
                        partner_trans_id, alipay_trans_id, amount_minor - refunded_minor, currency,
                        finalized_at
                    from payment
                    where $5 = 'transaction' and exists (select from whole) and partner = $1
                        and money_returned and refunded_minor < amount_minor
                        and finalized_at >= $8
                        and finalized_at < $8::timestamptz + interval '1 day'
                    union all
                    select 'refund', refund.merchant_id, refund.payment_id, refund.refund_id,
                        payment.store_id, payment.wallet, refund.partner_refund_id,
                        payment.alipay_trans_id, refund.amount_minor, refund.currency,
                        refund.succeeded_at
                    from refund
                    join payment on payment.merchant_id = refund.merchant_id
                        and payment.payment_id = refund.payment_id
                    where $5 = 'transaction' and exists (select from whole) and refund.partner = $1
                        and refund.status = 'succeeded' and refund.origin = 'gateway'
                        and refund.succeeded_at >= $8
                        and refund.succeeded_at < $8::timestamptz + interval '1 day'
                ), absent as materialized (
                    select missing.*, case when row_type = 'payment' then 1 else -1 end as sign,
                        case
                            when $7::integer is null
                                or row_type = 'refund' and $11::text is distinct from 'returned'
                                then 0
                            else (amount_minor * $7 + 5000) / 10000
                        end as our_fee_minor
                    from missing
                    where not exists (
                        select from statement_row as other
                        join statement_file as file on file.partner = other.partner
                            and file.file_id = other.file_id
                        where other.partner = $1 and other.payment_id = missing.payment_id
                            and other.refund_id is not distinct from missing.refund_id
                            and case other.row_type when 'reversal' then 'cancel'
                                else other.row_type end = missing.row_type
                            and file.kind = 'transaction' and file.imported_at is not null
                            and file.superseded_at is null)
                ), unsettled as (
                    select r.row_type, r.merchant_id, r.payment_id, r.refund_id,
                        r.partner_trans_id, r.alipay_trans_id, r.amount_minor, r.currency,
                        r.store_name, r.completed_at
                    from statement_file as file
                    join statement_row as r on r.partner = file.partner
                        and r.file_id = file.file_id
                    left join payment on payment.merchant_id = r.merchant_id
                        and payment.payment_id = r.payment_id
                    where $5 = 'settlement' and exists (select from whole)
                        and file.partner = $1 and file.kind = 'transaction'
                        and file.imported_at is not null and file.superseded_at is null
                        -- Since the settlement file before this one, so that each is told once.
                        and file.day <= $6::date - $9::integer
                        and file.day > coalesce((
                            select max(earlier.day) from statement_file as earlier
                            where earlier.partner = $1 and earlier.kind = 'settlement'
                                and earlier.day < $6 and earlier.imported_at is not null
                                and earlier.superseded_at is null), $6::date - 7) - $9::integer
                        and r.payment_id is not null and r.duplicate_of is null
                        and r.row_type in ('payment', 'refund')
                        -- A cancelled trade need not be settled.
                        and not coalesce(payment.money_returned, false)
                        and not exists (
                            select from statement_row as other
                            join statement_file as settling on settling.partner = other.partner
                                and settling.file_id = other.file_id
                            where other.partner = $1 and other.payment_id = r.payment_id
                                and other.row_type = r.row_type
                                and other.refund_id is not distinct from r.refund_id
                                and settling.kind = 'settlement'
                                and settling.imported_at is not null
                                and settling.superseded_at is null)
                ), differences as (
                    select judged.line, class, row_type, merchant_id, payment_id, refund_id, store,
                        partner_trans_id, alipay_trans_id, amount_minor, currency, expected,
                        found
                    from judged
                    left join settled on settled.line = judged.line
                    cross join lateral (values
                        ('unknown_to_us', not is_ours, null, null),
                        ('identity_differs', our_identity is not null, our_identity,
                            their_identity),
                        (case $5 when 'settlement' then 'settled_twice' else 'duplicate' end,
                            is_repeated, null, null),
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
                        ('fee_differs', is_ours and abs(fee_minor - our_fee_minor) > $10::bigint,
                            money_text(our_fee_minor, currency), money_text(fee_minor, currency)),
                        ('net_differs', net_minor <> abs(amount_minor - fee_minor),
                            money_text(abs(amount_minor - fee_minor), currency),
                            money_text(net_minor, currency)),
                        ('status_differs', is_ours and not agrees and our_identity is null, status,
                            row_type),
                        ('day_differs',
                            $5 = 'transaction' and business_day(completed_at) <> $6
                                or is_ours and type = 'payment'
                                    and business_day(paid_at) <> business_day(completed_at),
                            coalesce(
                                case when is_ours and type = 'payment'
                                    then business_day(paid_at)::text end,
                                $6::date::text),
                            business_day(completed_at)::text),
                        ('portal_refund', is_ours and origin = 'portal' and $5 = 'transaction',
                            null, null),
                        ('corrected', settled.line is not null, settled.from_status,
                            settled.to_status)
                    ) as checks (class, differs, expected, found)
                    where differs
                    union all
                    select null, 'missing_in_file', row_type, merchant_id, payment_id, refund_id,
                        store_id, our_id, alipay_trans_id, amount_minor, currency,
                        business_day(moved_at)::text, null
                    from absent
                    union all
                    select null, 'not_settled', row_type, merchant_id, payment_id, refund_id,
                        store_name, partner_trans_id, alipay_trans_id, amount_minor,
                        currency, business_day(completed_at)::text, null
                    from unsettled
                ), written as (
                    insert into reconciliation_difference (partner, reconciliation_id,
                        difference_id, file_id, line, class, row_type, merchant_id, payment_id,
                        refund_id, store_id, partner_trans_id, alipay_trans_id,
                        amount_minor, currency, expected, found)
                    -- Sorts by file and line; the other half is the comparison's own.
                    select $1, $2,
                        (lpad(to_hex($3::integer), 8, '0')
                            || lpad(to_hex(row_number() over (
                                order by line nulls last, class, partner_trans_id)), 8, '0')
                            || substr(replace($2::uuid::text, '-', ''), 17))::uuid,
                        $4, line, class, row_type, merchant_id, payment_id, refund_id, store,
                        partner_trans_id, alipay_trans_id, amount_minor, currency, expected,
                        found
                    from differences
                )
                insert into reconciliation_total (partner, reconciliation_id, total_id, file_id,
                    merchant_id, store, wallet, currency, day, row_count, amount_minor, fee_minor,
                    net_minor, expected_net_minor)
                select $1, $2, gen_random_uuid(), $4, merchant_id, store, wallet, currency, day,
                    sum(row_count), sum(amount_minor), sum(fee_minor), sum(net_minor),
                    sum(expected_net_minor)
                from (
                    select merchant_id, store, wallet, currency,
                        business_day(completed_at) as day, 1 as row_count,
                        sign * amount_minor as amount_minor, sign * fee_minor as fee_minor,
                        sign * coalesce(net_minor, amount_minor - fee_minor) as net_minor,
                        case
                            when is_ours and agrees and our_identity is null and not is_repeated
                                then sign * (our_amount_minor - our_fee_minor)
                            else 0
                        end as expected_net_minor
                    from judged
                    union all
                    select merchant_id, store_id, wallet, currency, business_day(moved_at), 0, 0,
                        0, 0, sign * (amount_minor - our_fee_minor)
                    from absent
                ) as moved
                group by merchant_id, store, wallet, currency, day"#,
                at.partner,
                at.reconciliation.uuid(),
                at.position,
                at.file.uuid(),
                kind.as_str(),
                at.day,
                rules.fee_basis_points,
                calendar::in_beijing(at.day, NaiveTime::MIN),
                rules.settled_within_days,
                rules.fee_tolerance_minor,
                rules.fee_of_refunds.map(FeeOfRefunds::as_str),
            ),
            execute
        )?;
        Ok(())
    }
}
