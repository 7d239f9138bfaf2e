-- Refunds: what was asked to go back, and what Alipay said of it. What they hold of a payment is reserved
-- on its row (`payment.refund_reserved_minor`).

create table refund (
    merchant_id uuid not null,
    -- UUIDv7: sorts by creation, so it is also the list's cursor.
    refund_id uuid not null,
    payment_id uuid not null,
    -- Counts changes of state; every change is guarded by it.
    version bigint not null default 1,

    -- What was asked.
    mode text not null,
    amount_minor bigint not null,
    currency text not null,
    merchant_reference text,
    reason text,
    -- A refund that was made in Alipay's merchant portal is known from a file or an answer only.
    origin text not null default 'gateway',
    -- The day whose limit the refund counts against; absent where it counts against none.
    limit_day date,

    -- What it is called at Alipay.
    partner text not null,
    partner_trans_id text not null,
    partner_refund_id text not null,

    -- Where it stands.
    status text not null default 'pending',
    status_reason text,
    -- Set exactly while status is 'failed'.
    failure_code text,
    failure_message text,
    -- It failed after callers were told that it was under way, or done: the buyer was promised money, and
    -- a person must see to it. Until then it stands on the work-list.
    failed_late boolean not null default false,
    -- A refusal that a query has yet to confirm.
    refusal_code text,
    refusal_message text,
    -- A verified refusal whose code means nothing to us: the code, and which of the requests was refused
    -- so. The same again, with a "no such refund" between, is a refusal.
    unknown_code text,
    unknown_code_submits integer,
    -- An operator decided the status it has.
    decided_by_operator boolean not null default false,
    -- Since when the newest open contradiction stands.
    contradicted_at timestamptz,
    accepted_at timestamptz,
    succeeded_at timestamptz,

    -- What was asked so far: the plan's memory. Unlike a payment's it is kept here, since "may an
    -- earlier request have been heard?" must outlive the row of the schedule, and since callers see it.
    submits integer not null default 0,
    last_submit_at timestamptz,
    checks_done integer not null default 0,
    last_check_at timestamptz,
    not_found boolean not null default false,

    created_at timestamptz not null default db_now(),
    updated_at timestamptz not null default db_now(),
    finalized_at timestamptz,

    constraint refund_pkey primary key (merchant_id, refund_id),
    constraint refund_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id),
    constraint refund_partner_refund_id_key unique (partner_refund_id, merchant_id),
    -- Never a payment's id (M9).
    constraint refund_partner_ids_check check (partner_refund_id <> partner_trans_id),
    constraint refund_version_check check (version >= 1),
    constraint refund_mode_check check (mode in ('sync', 'async')),
    constraint refund_amount_check check (amount_minor between 1 and 10000000000),
    constraint refund_currency_check check (currency = 'HKD'),
    constraint refund_origin_check check (
        case origin when 'gateway' then true when 'portal' then submits = 0 else false end),
    constraint refund_status_check check (
        case status
            when 'pending' then status_reason in ('submitting', 'awaiting_batch',
                'insufficient_funds', 'outcome_unknown', 'processing')
            when 'succeeded' then status_reason is null
            when 'failed' then status_reason is null
            when 'unresolved' then status_reason is null
            else false
        end),
    constraint refund_failure_check check (
        (status = 'failed') = (failure_code is not null)
        and (status = 'failed') = (failure_message is not null)),
    constraint refund_failed_late_check check (not failed_late or status = 'failed'),
    constraint refund_refusal_check check (
        (refusal_code is null) = (refusal_message is null)
        and (refusal_code is null or status in ('pending', 'unresolved'))),
    constraint refund_unknown_code_check check (
        (unknown_code is null) = (unknown_code_submits is null)),
    constraint refund_succeeded_check check (
        case status
            when 'succeeded' then succeeded_at is not null
            -- What had succeeded and was taken back keeps the time of its success.
            when 'failed' then true
            else succeeded_at is null
        end),
    constraint refund_finalized_check check (
        (status in ('succeeded', 'failed')) = (finalized_at is not null)),
    constraint refund_submits_check check (
        submits >= 0 and (submits = 0) = (last_submit_at is null)),
    constraint refund_checks_check check (
        checks_done >= 0 and (checks_done = 0) = (last_check_at is null))
) with (fillfactor = 80);

create unique index refund_merchant_reference_key on refund (merchant_id, merchant_reference)
    where merchant_reference is not null;
-- The refunds of a payment, newest first.
create index refund_payment_idx on refund (payment_id, merchant_id, refund_id);
-- What is owed a question, or a person: few.
create index refund_open_idx on refund (merchant_id, refund_id)
    where status in ('pending', 'unresolved') or contradicted_at is not null or failed_late;
-- What comes from Alipay names an account and an id, not a merchant.
create index refund_partner_refund_id_idx on refund (partner, partner_refund_id);
-- Our movements of a day.
create index refund_day_idx on refund (partner, succeeded_at)
    where succeeded_at is not null;

-- ------------------------------------------------------------------------------------------------
-- How a refund may change: the second line behind the guarded updates (R3, S1).

create table refund_legal_move (
    from_status text not null,
    to_status text not null,
    constraint refund_legal_move_pkey primary key (from_status, to_status)
);

insert into refund_legal_move (from_status, to_status) values
    ('pending', 'pending'),
    ('pending', 'succeeded'),
    ('pending', 'failed'),
    ('pending', 'unresolved'),
    ('unresolved', 'unresolved'),
    ('unresolved', 'succeeded'),
    ('unresolved', 'failed'),
    -- Alipay does not know it any more: it stays as it is while that stands.
    ('succeeded', 'succeeded'),
    -- Alipay took back what it had called done.
    ('succeeded', 'failed'),
    -- What was final changes only where Alipay's own word stands against it (S10): `refund_final_guard`.
    ('failed', 'failed'),
    ('failed', 'succeeded');

-- Refuses an illegal move, a skipped version, a changed identity or amount, a counter that runs backwards.
-- What was asked may be counted without a new version, since it is no change of state.
create function refund_guard() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    if new.version = old.version then
        if (new.status, new.status_reason, new.failure_code, new.refusal_code, new.accepted_at,
                new.succeeded_at, new.finalized_at, new.updated_at)
            is distinct from
            (old.status, old.status_reason, old.failure_code, old.refusal_code, old.accepted_at,
                old.succeeded_at, old.finalized_at, old.updated_at)
        then
            raise exception 'refund % changes without a new version', old.refund_id
                using errcode = 'check_violation', constraint = 'refund_version_step';
        end if;
    elsif new.version <> old.version + 1 then
        raise exception 'refund % skips a version: % to %', old.refund_id, old.version, new.version
            using errcode = 'check_violation', constraint = 'refund_version_step';
    elsif not exists (
        select from refund_legal_move
        where from_status = old.status and to_status = new.status
    ) then
        raise exception 'illegal move of refund %: % to %', old.refund_id, old.status, new.status
            using errcode = 'check_violation', constraint = 'refund_legal_move';
    end if;
    if (new.merchant_id, new.refund_id, new.payment_id, new.mode, new.amount_minor, new.currency,
            new.merchant_reference, new.partner, new.partner_trans_id, new.partner_refund_id,
            new.created_at)
        is distinct from
        (old.merchant_id, old.refund_id, old.payment_id, old.mode, old.amount_minor, old.currency,
            old.merchant_reference, old.partner, old.partner_trans_id, old.partner_refund_id,
            old.created_at)
        or new.submits < old.submits
        or new.checks_done < old.checks_done
    then
        raise exception 'refund % changes what may not change', old.refund_id
            using errcode = 'check_violation', constraint = 'refund_identity';
    end if;
    return new;
end
$$;

create trigger refund_guard
    before update on refund
    for each row execute function refund_guard();

create function refund_final_guard() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    if old.contradicted_at is null
        and (new.status, new.failure_code) is distinct from (old.status, old.failure_code)
    then
        raise exception 'illegal move of refund %: % to %, which nothing contradicts',
                old.refund_id, old.status, new.status
            using errcode = 'check_violation', constraint = 'refund_legal_move';
    end if;
    return new;
end
$$;

create trigger refund_final_guard
    before update on refund
    for each row when (old.status = 'failed')
    execute function refund_final_guard();

create trigger refund_no_delete
    before delete on refund
    for each row execute function refuse_change();

create trigger refund_no_truncate
    before truncate on refund
    for each statement execute function refuse_change();

-- The refund that another one of this amount seems to repeat (D9).
--
-- Volatile on purpose: each statement in such a function sees what is committed when it runs. The intent
-- to refund calls it while it holds the payment's row, so two requests for the same amount at once, under
-- two keys, see each other, although the statement of the second began before the first was committed.
create function suspected_refund_duplicate(of_merchant uuid, of_payment uuid, minor bigint)
    returns uuid
    language plpgsql volatile
    set search_path = public, pg_temp
    as $$
begin
    return (
        select refund_id from refund
        where merchant_id = of_merchant and payment_id = of_payment and amount_minor = minor
            and origin = 'gateway'
            and (status in ('pending', 'unresolved')
                or (status = 'succeeded' and finalized_at > db_now() - suspect_repeats_for()))
        order by refund_id desc
        limit 1);
end
$$;

-- ------------------------------------------------------------------------------------------------
-- State changes: append-only, with cause, old and new state, and both clocks (S8).

create table refund_transition (
    merchant_id uuid not null,
    refund_id uuid not null,
    version bigint not null,
    payment_id uuid not null,
    event text not null,
    from_status text,
    from_status_reason text,
    to_status text not null,
    to_status_reason text,
    -- Who: the API key, the follow-up, the notification, or the file and its line.
    api_key_id uuid,
    follow_up_id uuid,
    notification_id uuid,
    statement_file_id uuid,
    statement_line bigint,
    -- Whose answer: the upstream call.
    attempt_id uuid,
    -- What an operator gave as grounds.
    reason text,
    ticket text,
    at timestamptz not null default db_now(),
    gateway_at timestamptz not null,
    constraint refund_transition_pkey primary key (merchant_id, refund_id, version),
    constraint refund_transition_refund_fkey foreign key (merchant_id, refund_id)
        references refund (merchant_id, refund_id),
    constraint refund_transition_actor_check check (
        num_nonnulls(api_key_id, follow_up_id, notification_id, statement_file_id) = 1
        and (statement_file_id is null) = (statement_line is null))
);

create index refund_transition_payment_idx on refund_transition (merchant_id, payment_id);
create index refund_transition_file_idx on refund_transition (statement_file_id)
    where statement_file_id is not null;

create trigger refund_transition_append_only
    before update or delete on refund_transition
    for each row execute function refuse_change();

create trigger refund_transition_no_truncate
    before truncate on refund_transition
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- What a merchant's refunds of a day come to (Q9). The row is moved by the statement that makes the refund,
-- guarded by the merchant's limit, so that concurrent refunds can never exceed it.

create table refund_day (
    merchant_id uuid not null references merchant (merchant_id),
    -- The calendar day in GMT+8.
    business_day date not null,
    -- Of refunds made on the day, failed ones aside.
    refunded_minor bigint not null,
    -- How many were made in the ten minutes since this instant, to notice a burst.
    burst_since timestamptz not null,
    burst_refunds integer not null,
    constraint refund_day_pkey primary key (merchant_id, business_day),
    constraint refund_day_refunded_check check (refunded_minor >= 0)
) with (fillfactor = 70);

-- A refund that failed returned nothing, so it no longer counts. After the statement, when the
-- payment's row is held: the order in which whoever makes a refund takes the two rows.
create function refund_day_give_back() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    update refund_day
    set refunded_minor = refunded_minor - new.amount_minor
    where merchant_id = new.merchant_id and business_day = new.limit_day;
    return null;
end
$$;

create trigger refund_day_give_back
    after update on refund
    for each row
    when (new.status = 'failed' and old.status <> 'failed' and new.limit_day is not null)
    execute function refund_day_give_back();
