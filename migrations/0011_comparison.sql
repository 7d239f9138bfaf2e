-- What a daily file says against what we recorded (R23, docs/protocol.md 9.6): the rules, each by its name.
-- The statement that compares a file puts them together.

-- ------------------------------------------------------------------------------------------------
-- Amounts and fees.

-- What Alipay is expected to keep of a movement, rounded half up; `unchecked` where that is not known,
-- since fees are not checked, or the contract says nothing of those of refunds.
create function expected_fee(
    row_type text, amount_minor bigint, basis_points integer, of_refunds text, unchecked bigint)
    returns bigint
    language sql immutable parallel safe
    as $$
    select case
        when basis_points is null or row_type = 'refund' and of_refunds is null then unchecked
        when row_type = 'refund' and of_refunds = 'kept' then 0
        else (amount_minor * basis_points + 5000) / 10000
    end
$$;

-- Ids and names as a file heads them; null where there is none to tell.
create function identity_text(trade text, id text, wallet text, merchant text) returns text
    language sql stable parallel safe
    as $$
    select nullif(concat_ws(', ', 'Transaction_id ' || trade, 'Partner_transaction_id ' || id,
        'Issue ' || wallet, 'Secondary_merchant_id ' || merchant), '')
$$;

-- ------------------------------------------------------------------------------------------------
-- A row of a file beside what we recorded of it. A row is ours by our id, or by Alipay's; what it should
-- say is in the payment or the refund.

create view compared_row as
select r.partner, r.file_id, r.line, file.kind, file.day, r.row_type, told.type,
    r.partner_trans_id, r.alipay_trans_id, r.amount_minor, r.fee_minor, r.currency, r.net_minor,
    r.completed_at, r.trans_amount_minor, r.trans_currency, r.wallet, r.merchant_id, r.payment_id,
    r.refund_id, coalesce(payment.store_id, r.store_name) as store, payment.paid_at,
    refund.origin,
    case when told.type = 'payment' then 1 else -1 end as sign,
    case told.type when 'refund' then refund.status else payment.status end as status,
    case told.type
        when 'refund' then refund.refund_id is not null
        else payment.payment_id is not null
    end as is_ours,
    case told.type when 'refund' then refund.amount_minor else payment.amount_minor end
        as our_amount_minor,
    payment.currency as our_currency,
    -- Whether our status is what the row says.
    case told.type
        when 'payment' then payment.status = 'succeeded' or coalesce(payment.money_returned, false)
        when 'refund' then refund.status = 'succeeded'
        else coalesce(payment.money_returned, false)
    end as agrees,
    -- Where it names our order and beside it another trade, wallet or merchant: what each side says.
    identity_text(case when differ.trade then payment.alipay_trans_id end,
        case when differ.id then payment.partner_trans_id end,
        case when differ.wallet then payment.wallet end,
        case when differ.merchant then merchant.secondary_merchant_id end) as our_identity,
    identity_text(case when differ.trade then r.alipay_trans_id end,
        case when differ.id then r.partner_trans_id end,
        case when differ.wallet then r.wallet end,
        case when differ.merchant then r.secondary_merchant_id end) as their_identity,
    -- Whether it was told before, in this file or an earlier one.
    r.duplicate_of is not null
        or row_number() over (
            partition by r.partner, r.file_id, r.row_type,
                coalesce(r.partner_trans_id, r.alipay_trans_id),
                case when file.kind = 'settlement' then r.completed_at end
            order by r.line) > 1
        or r.payment_id is not null
            and (r.row_type <> 'refund' or r.refund_id is not null)
            and exists (
                select from statement_row as other
                join statement_file as earlier on earlier.partner = other.partner
                    and earlier.file_id = other.file_id
                where other.partner = r.partner and other.payment_id = r.payment_id
                    and other.row_type = r.row_type
                    and other.refund_id is not distinct from r.refund_id
                    and earlier.kind = file.kind and earlier.day < file.day
                    and earlier.imported_at is not null and earlier.superseded_at is null)
        as is_repeated
from statement_row as r
join statement_file as file on file.partner = r.partner and file.file_id = r.file_id
left join payment on payment.merchant_id = r.merchant_id and payment.payment_id = r.payment_id
left join refund on refund.merchant_id = r.merchant_id and refund.refund_id = r.refund_id
left join merchant on merchant.merchant_id = r.merchant_id
-- As `tells_of_another` in the domain.
cross join lateral (
    select lower(r.alipay_trans_id) <> lower(payment.alipay_trans_id) as trade,
        r.row_type <> 'refund' and r.partner_trans_id is distinct from r.alipay_trans_id
            and lower(r.partner_trans_id) <> lower(payment.partner_trans_id) as id,
        lower(r.wallet) <> lower(payment.wallet) as wallet,
        r.secondary_merchant_id <> merchant.secondary_merchant_id
            and is_of_another_merchant(r.merchant_id, r.secondary_merchant_id) as merchant
) as differ
-- A settlement file knows payments and refunds only.
cross join lateral (
    select case
        when r.row_type = 'refund' and r.refund_id is null
            and file.kind = 'settlement' and payment.money_returned then 'cancel'
        else r.row_type
    end as type
) as told;

-- ------------------------------------------------------------------------------------------------
-- What files lack.

-- Our movements of money: charges by Alipay's time of payment, cancels and refunds by when we learnt of
-- them.
create view movement as
select 'payment' as row_type, partner, merchant_id, payment_id, null::uuid as refund_id, store_id,
    wallet, partner_trans_id, alipay_trans_id, amount_minor, currency,
    coalesce(paid_at, created_at) as moved_at
from payment
where charged
union all
-- What refunds returned has rows of its own.
select 'cancel', partner, merchant_id, payment_id, null, store_id, wallet, partner_trans_id,
    alipay_trans_id, amount_minor - refunded_minor, currency, finalized_at
from payment
where money_returned and refunded_minor < amount_minor
union all
select 'refund', refund.partner, refund.merchant_id, refund.payment_id, refund.refund_id,
    payment.store_id, payment.wallet, refund.partner_refund_id, payment.alipay_trans_id,
    refund.amount_minor, refund.currency, refund.succeeded_at
from refund
join payment on payment.merchant_id = refund.merchant_id and payment.payment_id = refund.payment_id
where refund.status = 'succeeded' and refund.origin = 'gateway';

-- Movements of the day that begins at `since` that no transaction file has.
create function missing_in_files(of_partner text, since timestamptz) returns setof movement
    language sql stable
    as $$
    select movement.* from movement
    where movement.partner = of_partner
        and moved_at >= since and moved_at < since + interval '1 day'
        and not exists (
            select from statement_row as other
            join statement_file as file on file.partner = other.partner
                and file.file_id = other.file_id
            where other.partner = of_partner and other.payment_id = movement.payment_id
                and other.refund_id is not distinct from movement.refund_id
                and case other.row_type when 'reversal' then 'cancel' else other.row_type end
                    = movement.row_type
                and file.kind = 'transaction' and file.imported_at is not null
                and file.superseded_at is null)
$$;

-- Rows of transaction files that a settlement file of `on_day` or before should have had: of the days
-- since the settlement file before it, so that each is told once.
create function not_settled_by(of_partner text, on_day date, within_days integer)
    returns setof statement_row
    language sql stable
    as $$
    select r.*
    from statement_file as file
    join statement_row as r on r.partner = file.partner and r.file_id = file.file_id
    left join payment on payment.merchant_id = r.merchant_id
        and payment.payment_id = r.payment_id
    where file.partner = of_partner and file.kind = 'transaction'
        and file.imported_at is not null and file.superseded_at is null
        and file.day <= on_day - within_days
        and file.day > coalesce((
            select max(earlier.day) from statement_file as earlier
            where earlier.partner = of_partner and earlier.kind = 'settlement'
                and earlier.day < on_day and earlier.imported_at is not null
                and earlier.superseded_at is null), on_day - 7) - within_days
        and r.payment_id is not null and r.duplicate_of is null
        and r.row_type in ('payment', 'refund')
        -- A cancelled trade need not be settled.
        and not coalesce(payment.money_returned, false)
        and not exists (
            select from statement_row as other
            join statement_file as settling on settling.partner = other.partner
                and settling.file_id = other.file_id
            where other.partner = of_partner and other.payment_id = r.payment_id
                and other.row_type = r.row_type
                and other.refund_id is not distinct from r.refund_id
                and settling.kind = 'settlement' and settling.imported_at is not null
                and settling.superseded_at is null)
$$;
