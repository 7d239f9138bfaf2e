-- Payments: what was asked, what is known, and the rules the database itself enforces.
--
-- Conventions: singular table names; `merchant_id` leads every primary and unique key, so that the
-- tables can be distributed by merchant later; all times are `timestamptz`; money is a bigint of
-- minor units. Portable SQL only: no advisory locks, no LISTEN/NOTIFY, no sequences for ids.

-- The one source of time for rows, due dates and leases. Replicas may have wrong clocks; this one
-- decides. Tests replace the body to move time. `stable` and plain SQL, so the planner inlines it.
create function db_now() returns timestamptz
    language sql stable parallel safe
    as 'select now()';

-- ------------------------------------------------------------------------------------------------
-- Who sells, and who may ask.

create table merchant (
    merchant_id uuid not null,
    name text not null,
    -- The Alipay account that is paid; its keys are configuration, never data.
    partner text not null,
    -- What `extend_info` must say of the merchant in every payment.
    secondary_merchant_id text not null,
    secondary_merchant_name text not null,
    -- Merchant category code.
    secondary_merchant_industry text not null,
    default_store_id text not null,
    -- The merchant that `migrate` makes and that API keys belong to by default: at most one.
    is_default boolean not null default false,
    created_at timestamptz not null default db_now(),
    constraint merchant_pkey primary key (merchant_id),
    constraint merchant_partner_check check (partner ~ '^[0-9]{16}$'),
    constraint merchant_industry_check check (secondary_merchant_industry ~ '^[0-9]{4}$')
);

create unique index merchant_default_key on merchant (is_default) where is_default;

create table store (
    merchant_id uuid not null references merchant (merchant_id),
    store_id text not null,
    store_name text not null,
    created_at timestamptz not null default db_now(),
    constraint store_pkey primary key (merchant_id, store_id)
);

create table api_key (
    merchant_id uuid not null references merchant (merchant_id),
    api_key_id uuid not null,
    name text not null,
    -- A keyed hash; the key itself is shown once and stored nowhere.
    key_hash bytea not null,
    scopes text[] not null,
    created_at timestamptz not null default db_now(),
    revoked_at timestamptz,
    constraint api_key_pkey primary key (merchant_id, api_key_id),
    constraint api_key_hash_key unique (key_hash)
);

-- ------------------------------------------------------------------------------------------------
-- Payments.

create table payment (
    merchant_id uuid not null references merchant (merchant_id),
    -- UUIDv7: sorts by creation, so it is also the list's cursor.
    payment_id uuid not null,
    -- Counts changes; every update is guarded by it.
    version bigint not null default 1,
    store_id text not null,
    terminal_id text,
    merchant_reference text not null,
    description text not null,
    amount_minor bigint not null,
    currency text not null,
    -- First two and last two digits. The code itself is stored nowhere.
    barcode_hint text not null,
    partner text not null,
    partner_trans_id text not null,
    cancel_after_seconds integer not null,
    metadata jsonb not null default '{}',
    status text not null default 'processing',
    status_reason text,
    -- Set exactly while status is 'failed'.
    failure_code text,
    failure_message text,
    failure_retry text,
    -- Set exactly while status is 'canceled'.
    money_returned boolean,
    alipay_trans_id text,
    -- What Alipay said of a charge that took place; stays when it is canceled.
    charged boolean not null default false,
    paid_at timestamptz,
    wallet text,
    buyer_user_id text,
    buyer_login_id text,
    created_at timestamptz not null default db_now(),
    updated_at timestamptz not null default db_now(),
    finalized_at timestamptz,
    constraint payment_pkey primary key (merchant_id, payment_id),
    constraint payment_merchant_reference_key unique (merchant_id, merchant_reference),
    -- Unique for ever per Alipay account (design/correctness.md M9).
    constraint payment_partner_trans_id_key unique (partner, partner_trans_id),
    constraint payment_store_fkey foreign key (merchant_id, store_id)
        references store (merchant_id, store_id),
    constraint payment_version_check check (version >= 1),
    constraint payment_amount_check check (amount_minor between 1 and 10000000000),
    constraint payment_currency_check check (currency = 'HKD'),
    constraint payment_cancel_after_check check (cancel_after_seconds between 15 and 170),
    constraint payment_status_check check (
        case status
            when 'processing' then status_reason in
                ('submitting', 'awaiting_buyer', 'outcome_unknown', 'canceling')
            when 'canceled' then status_reason in
                ('requested', 'buyer_did_not_confirm', 'never_created')
            when 'succeeded' then status_reason is null
            when 'failed' then status_reason is null
            when 'unresolved' then status_reason is null
            else false
        end),
    constraint payment_failure_check check (
        (status = 'failed') = (failure_code is not null)
        and (status = 'failed') = (failure_message is not null)
        and (status = 'failed') = (failure_retry is not null)),
    constraint payment_money_returned_check check (
        (status = 'canceled') = (money_returned is not null)),
    constraint payment_charged_check check (
        -- A success is a charge; a refusal is none; money returned was taken before.
        case status
            when 'succeeded' then charged
            when 'failed' then not charged
            else true
        end),
    constraint payment_finalized_check check (
        (status in ('succeeded', 'failed', 'canceled')) = (finalized_at is not null))
) with (fillfactor = 85);

-- Lists filtered by Alipay's number; the other filters narrow the scan of the primary key.
create index payment_alipay_trans_id_idx on payment (merchant_id, alipay_trans_id)
    where alipay_trans_id is not null;
-- Open payments are few; finished ones are never looked for by status alone.
create index payment_open_idx on payment (merchant_id, payment_id)
    where status in ('processing', 'unresolved');

-- The moves of design/api.md 2, as data: the second line behind the guarded updates (R3).
create table payment_legal_move (
    from_status text not null,
    to_status text not null,
    constraint payment_legal_move_pkey primary key (from_status, to_status)
);

insert into payment_legal_move (from_status, to_status) values
    ('processing', 'processing'),
    ('processing', 'succeeded'),
    ('processing', 'failed'),
    ('processing', 'canceled'),
    ('processing', 'unresolved'),
    ('unresolved', 'succeeded'),
    ('unresolved', 'failed'),
    ('unresolved', 'canceled'),
    ('succeeded', 'canceled');

-- Refuses what no code of ours may do: an illegal move, a skipped version, a changed identity or
-- amount.
create function payment_guard() returns trigger
    language plpgsql
    as $$
begin
    if not exists (
        select from payment_legal_move
        where from_status = old.status and to_status = new.status
    ) then
        raise exception 'illegal move of payment %: % to %', old.payment_id, old.status, new.status
            using errcode = 'check_violation', constraint = 'payment_legal_move';
    end if;
    if new.version <> old.version + 1 then
        raise exception 'payment % skips a version: % to %', old.payment_id, old.version, new.version
            using errcode = 'check_violation', constraint = 'payment_version_step';
    end if;
    if (new.merchant_id, new.payment_id, new.merchant_reference, new.amount_minor, new.currency,
            new.partner, new.partner_trans_id, new.created_at)
        is distinct from
        (old.merchant_id, old.payment_id, old.merchant_reference, old.amount_minor, old.currency,
            old.partner, old.partner_trans_id, old.created_at)
        or (old.charged and not new.charged)
        or (old.alipay_trans_id is not null
            and old.alipay_trans_id is distinct from new.alipay_trans_id)
    then
        raise exception 'payment % changes what may not change', old.payment_id
            using errcode = 'check_violation', constraint = 'payment_identity';
    end if;
    return new;
end
$$;

create trigger payment_guard
    before update on payment
    for each row execute function payment_guard();

create function refuse_change() returns trigger
    language plpgsql
    as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'check_violation';
end
$$;

create trigger payment_no_delete
    before delete on payment
    for each row execute function refuse_change();

create trigger payment_no_truncate
    before truncate on payment
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- What the caller's key made. Written with the payment, before Alipay is called, and never deleted
-- on failure.

create table idempotency_key (
    merchant_id uuid not null,
    route text not null,
    idempotency_key text not null,
    payment_id uuid not null,
    -- Keyed hash per request field, to name the fields in which a reused key differs.
    fingerprint jsonb not null,
    created_at timestamptz not null default db_now(),
    constraint idempotency_key_pkey primary key (merchant_id, route, idempotency_key),
    constraint idempotency_key_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id)
);

-- The last payment with a code, amount and till, so that two of them at once cannot both pass the
-- duplicate check: the second waits for the first one's commit on this row. `scan_hash` is keyed.
create table recent_scan (
    merchant_id uuid not null,
    scan_hash bytea not null,
    payment_id uuid not null,
    seen_at timestamptz not null default db_now(),
    constraint recent_scan_pkey primary key (merchant_id, scan_hash),
    constraint recent_scan_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id)
) with (fillfactor = 85);

create index recent_scan_seen_at_idx on recent_scan (seen_at);

-- ------------------------------------------------------------------------------------------------
-- Upstream calls: one row each, written before the call (with the payment for the first one),
-- completed by its answer. Never a barcode, never the answer's text.

create table attempt (
    merchant_id uuid not null,
    attempt_id uuid not null,
    payment_id uuid not null,
    kind text not null,
    sent_at timestamptz not null default db_now(),
    answered_at timestamptz,
    answer_class text,
    answer_code text,
    answer_detail text,
    duration_ms integer,
    constraint attempt_pkey primary key (merchant_id, attempt_id),
    constraint attempt_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id),
    constraint attempt_kind_check check (kind in ('pay', 'query', 'cancel')),
    constraint attempt_answer_check check (
        (answered_at is null) = (answer_class is null)
        and (answered_at is null) = (duration_ms is null))
) with (fillfactor = 85);

create index attempt_payment_idx on attempt (merchant_id, payment_id, attempt_id);
-- A code is sent for payment once, ever: the gateway does not keep it.
create unique index attempt_pay_key on attempt (merchant_id, payment_id) where kind = 'pay';

-- State changes: append-only, with cause, old and new state, and both clocks (S8).
create table payment_transition (
    merchant_id uuid not null,
    payment_id uuid not null,
    version bigint not null,
    event text not null,
    from_status text,
    from_status_reason text,
    to_status text not null,
    to_status_reason text,
    -- Who: the API key or the follow-up.
    api_key_id uuid,
    follow_up_id uuid,
    -- Whose answer: the upstream call.
    attempt_id uuid,
    at timestamptz not null default db_now(),
    gateway_at timestamptz not null,
    constraint payment_transition_pkey primary key (merchant_id, payment_id, version),
    constraint payment_transition_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id),
    constraint payment_transition_actor_check check (num_nonnulls(api_key_id, follow_up_id) = 1)
);

create trigger payment_transition_append_only
    before update or delete on payment_transition
    for each row execute function refuse_change();

create trigger payment_transition_no_truncate
    before truncate on payment_transition
    for each statement execute function refuse_change();
