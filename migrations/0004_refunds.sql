-- Refunds: what was asked to go back, what Alipay said, and the books of the payment.

-- ------------------------------------------------------------------------------------------------
-- The payment's books. `refund_reserved_minor` is what refunds hold, done or not; a refund is made by
-- one guarded update of it, so that concurrent refunds can never exceed the charge (R4).

alter table payment
    -- The part of it that went back.
    add column refunded_minor bigint not null default 0,
    -- The refund to make where the cancel under way is refused: its id is minted with the wish, so
    -- that whoever finds out makes the same one (R11).
    add column reversal_refund_id uuid,
    add constraint payment_refunded_check check (
        refunded_minor between 0 and refund_reserved_minor),
    -- Cancel and refund never both run for one payment (T4).
    add constraint payment_refund_state_check check (
        refund_reserved_minor = 0 or (status = 'succeeded' and cancel_reason is null)),
    add constraint payment_reversal_check check (
        reversal_refund_id is null or cancel_reason = 'requested');

-- ------------------------------------------------------------------------------------------------
-- Refunds.

create table refund (
    merchant_id uuid not null,
    -- UUIDv7: sorts by creation, so it is also the list's cursor.
    refund_id uuid not null,
    payment_id uuid not null,
    -- Counts changes of state; every change is guarded by it.
    version bigint not null default 1,
    mode text not null,
    amount_minor bigint not null,
    currency text not null,
    merchant_reference text,
    reason text,
    partner text not null,
    partner_trans_id text not null,
    partner_refund_id text not null,
    status text not null default 'pending',
    pending_reason text,
    -- Set exactly while status is 'failed'.
    failure_code text,
    failure_message text,
    -- A refusal that a query has yet to confirm.
    refusal_code text,
    refusal_message text,
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
    -- Unique for ever per Alipay account, and never a payment's id (M9).
    constraint refund_partner_refund_id_key unique (partner, partner_refund_id),
    constraint refund_partner_ids_check check (partner_refund_id <> partner_trans_id),
    constraint refund_version_check check (version >= 1),
    constraint refund_mode_check check (mode in ('sync', 'async')),
    constraint refund_amount_check check (amount_minor between 1 and 10000000000),
    constraint refund_currency_check check (currency = 'HKD'),
    constraint refund_status_check check (
        case status
            when 'pending' then pending_reason in ('submitting', 'awaiting_batch',
                'insufficient_funds', 'outcome_unknown', 'processing')
            when 'succeeded' then pending_reason is null
            when 'failed' then pending_reason is null
            when 'unresolved' then pending_reason is null
            else false
        end),
    constraint refund_failure_check check (
        (status = 'failed') = (failure_code is not null)
        and (status = 'failed') = (failure_message is not null)),
    constraint refund_refusal_check check (
        (refusal_code is null) = (refusal_message is null)
        and (refusal_code is null or status in ('pending', 'unresolved'))),
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
create index refund_payment_idx on refund (merchant_id, payment_id, refund_id);
-- Open refunds are few.
create index refund_open_idx on refund (merchant_id, refund_id)
    where status in ('pending', 'unresolved');

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
    -- Alipay took back what it had called done.
    ('succeeded', 'failed');

-- The second line behind the guarded updates: an illegal move, a skipped version, a changed identity
-- or amount, a counter that runs backwards. What was asked may be counted without a new version,
-- since it is no change of state.
create function refund_guard() returns trigger
    language plpgsql
    as $$
begin
    if new.version = old.version then
        if (new.status, new.pending_reason, new.failure_code, new.refusal_code, new.accepted_at,
                new.succeeded_at, new.finalized_at, new.updated_at)
            is distinct from
            (old.status, old.pending_reason, old.failure_code, old.refusal_code, old.accepted_at,
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

create trigger refund_no_delete
    before delete on refund
    for each row execute function refuse_change();

create trigger refund_no_truncate
    before truncate on refund
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- What Alipay posted to us: one row per notification that was believed and had an effect, so that
-- its repeats have none. What was not believed is counted, not stored.

create table notification (
    merchant_id uuid not null,
    notification_id uuid not null,
    partner text not null,
    -- Alipay's id, the same in every repeat.
    notify_id text not null,
    refund_id uuid not null,
    received_at timestamptz not null default db_now(),
    constraint notification_pkey primary key (merchant_id, notification_id),
    constraint notification_notify_id_key unique (partner, notify_id),
    constraint notification_refund_fkey foreign key (merchant_id, refund_id)
        references refund (merchant_id, refund_id)
);

create trigger notification_append_only
    before update or delete on notification
    for each row execute function refuse_change();

create trigger notification_no_truncate
    before truncate on notification
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- State changes of refunds: append-only, with cause, old and new state, and both clocks (S8).

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
    -- Who: the API key, the follow-up or the notification.
    api_key_id uuid,
    follow_up_id uuid,
    notification_id uuid,
    attempt_id uuid,
    reason text,
    ticket text,
    at timestamptz not null default db_now(),
    gateway_at timestamptz not null,
    constraint refund_transition_pkey primary key (merchant_id, refund_id, version),
    constraint refund_transition_refund_fkey foreign key (merchant_id, refund_id)
        references refund (merchant_id, refund_id),
    constraint refund_transition_actor_check check (
        num_nonnulls(api_key_id, follow_up_id, notification_id) = 1)
);

create index refund_transition_payment_idx on refund_transition (merchant_id, payment_id);

create trigger refund_transition_append_only
    before update or delete on refund_transition
    for each row execute function refuse_change();

create trigger refund_transition_no_truncate
    before truncate on refund_transition
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- What payments and refunds share.

-- A payment's books change with its refunds; so do its version and its history.
alter table payment_transition
    add column notification_id uuid,
    drop constraint payment_transition_actor_check,
    add constraint payment_transition_actor_check check (
        num_nonnulls(api_key_id, follow_up_id, notification_id) = 1);

alter table idempotency_key
    -- What a key of the refund routes made.
    add column refund_id uuid,
    add constraint idempotency_key_refund_fkey foreign key (merchant_id, refund_id)
        references refund (merchant_id, refund_id);

alter table attempt
    -- Which of the payment's refunds the call was about.
    add column refund_id uuid,
    drop constraint attempt_kind_check,
    add constraint attempt_kind_check check (
        kind in ('pay', 'query', 'cancel', 'refund', 'refund_query')),
    add constraint attempt_refund_check check (
        (kind in ('refund', 'refund_query')) = (refund_id is not null)),
    add constraint attempt_refund_fkey foreign key (merchant_id, refund_id)
        references refund (merchant_id, refund_id);

create index attempt_refund_idx on attempt (merchant_id, refund_id, attempt_id)
    where refund_id is not null;

-- The schedule is about payments and refunds. Neither is ever deleted, so what the foreign key
-- refused cannot happen.
alter table follow_up
    drop constraint follow_up_payment_fkey,
    drop constraint follow_up_kind_check,
    add constraint follow_up_kind_check check (kind in ('payment', 'refund'));

-- Each kind is claimed in its own lane, so that a night's refunds never delay a payment.
drop index follow_up_due_idx;
create index follow_up_due_idx on follow_up (kind, due_at) where parked_at is null;
