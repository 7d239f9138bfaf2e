-- Payments: what was asked, what is known, and the rules that the database itself enforces.

create table payment (
    merchant_id uuid not null references merchant (merchant_id),
    -- UUIDv7: sorts by creation, so it is also the list's cursor.
    payment_id uuid not null,
    -- Counts changes; every update is guarded by it.
    version bigint not null default 1,

    -- What was asked.
    store_id text not null,
    terminal_id text,
    merchant_reference text not null,
    description text not null,
    amount_minor bigint not null,
    currency text not null,
    -- First two and last two digits. The code itself is stored nowhere (Q14).
    barcode_hint text not null,
    cancel_after_seconds integer not null,
    -- The wallets that the merchant wanted when the payment was made.
    allowed_wallets text[],
    metadata jsonb not null default '{}',

    -- What it is called at Alipay.
    partner text not null,
    partner_trans_id text not null,

    -- Where it stands.
    status text not null default 'processing',
    status_reason text,
    -- Set exactly while status is 'failed'.
    failure_code text,
    failure_message text,
    failure_retry text,
    -- Set exactly while status is 'canceled'.
    money_returned boolean,
    -- Why a cancel is under way. A paid payment keeps its status until the cancel is confirmed, so that
    -- nobody reads "canceled" while the money is still with the merchant. A caller's wish stands until it
    -- is done, refused for good or withdrawn (S11): also while the payment is unresolved, where it may
    -- still turn out paid.
    cancel_reason text,
    -- The refund to make where the cancel under way is refused: its id is minted with the wish, so
    -- that whoever finds out makes the same one (R11).
    reversal_refund_id uuid,
    -- An operator decided the status it has.
    decided_by_operator boolean not null default false,
    -- Since when the newest open contradiction stands.
    contradicted_at timestamptz,

    -- What Alipay said of a charge that took place; stays when it is canceled.
    charged boolean not null default false,
    alipay_trans_id text,
    paid_at timestamptz,
    wallet text,
    -- The daily file that named the wallet; null where an answer did, whose signature was verified, and
    -- where nothing has. A whole version of the file corrects what an earlier version alone had said.
    wallet_file_id uuid,
    -- Masked before they are written (Q14).
    buyer_user_id text,
    buyer_login_id text,

    -- What went back. Reserved is what refunds hold, done or not: one column, moved by one guarded
    -- update, so that concurrent refunds can never exceed the charge (R4).
    refund_reserved_minor bigint not null default 0,
    -- The part of it that went back.
    refunded_minor bigint not null default 0,
    -- Proven to be back by open contradictions, of its own and of its refunds (M12). It may exceed what is
    -- left: two words may speak of one return.
    proven_returned_minor bigint not null default 0,

    created_at timestamptz not null default db_now(),
    updated_at timestamptz not null default db_now(),
    finalized_at timestamptz,

    constraint payment_pkey primary key (merchant_id, payment_id),
    -- A plan that is made while a table is empty is kept for as long as the session lives, and on an empty
    -- table every index that begins with `merchant_id` looks as good as the primary key: the checks of
    -- foreign keys would take one of these, and walk all payments of the merchant. So the merchant is in
    -- these keys without leading them, here and in the other tables (P1).
    constraint payment_merchant_reference_key unique (merchant_reference, merchant_id),
    -- That it is unique in its Alipay account for ever (M9) rests on how it is made: of our own UUID.
    constraint payment_partner_trans_id_key unique (partner_trans_id, merchant_id),
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
                ('requested', 'buyer_did_not_confirm', 'never_created', 'closed_after_payment')
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
        (status in ('succeeded', 'failed', 'canceled')) = (finalized_at is not null)),
    constraint payment_cancel_reason_check check (
        case
            when cancel_reason is null then
                not (status = 'processing' and status_reason = 'canceling')
            when cancel_reason not in ('requested', 'buyer_did_not_confirm') then false
            when status = 'unresolved' then cancel_reason = 'requested'
            else status = 'succeeded' or (status = 'processing' and status_reason = 'canceling')
        end),
    constraint payment_reversal_check check (
        reversal_refund_id is null or cancel_reason = 'requested'),
    constraint payment_refund_reserved_check check (
        refund_reserved_minor between 0 and amount_minor),
    constraint payment_refunded_check check (
        refunded_minor between 0 and refund_reserved_minor),
    constraint payment_proven_returned_check check (proven_returned_minor >= 0),
    -- Cancel and refund never both run for one payment (T4). What Alipay closed after it was paid keeps
    -- its refunds, and takes those of the portal that explain it.
    constraint payment_refund_state_check check (
        refund_reserved_minor = 0
        or (status = 'succeeded' and cancel_reason is null)
        or (status = 'canceled' and status_reason = 'closed_after_payment')),
    -- What Alipay has masked keeps what it shows at both ends: 132****6685.
    constraint payment_buyer_masked_check check (
        buyer_user_id ~ '^[^*]{0,4}[*]{3,}[^*]{0,4}$'
        and buyer_login_id ~ '^[^*]{0,2}[*]{3}@|^([0-9]{1,4}-)?[^*@]{0,4}[*]{3,}[^*@]{0,4}$')
) with (fillfactor = 85);

-- What is owed a question, or a person. Open payments are few; finished ones are never looked for by
-- status alone.
create index payment_open_idx on payment (merchant_id, payment_id)
    where status in ('processing', 'unresolved') or cancel_reason is not null
        or contradicted_at is not null;
-- Lists filtered by Alipay's number; the other filters narrow the scan of the primary key.
create index payment_alipay_trans_id_idx on payment (merchant_id, alipay_trans_id)
    where alipay_trans_id is not null;
-- What comes from Alipay names an account and an id, not a merchant; a row of a file may lack our id.
create index payment_partner_trans_id_idx on payment (partner, partner_trans_id);
create index payment_partner_alipay_trans_id_idx on payment (partner, alipay_trans_id)
    where alipay_trans_id is not null;
-- Our movements of a day, by the best time that is known of each.
create index payment_day_idx on payment (partner, coalesce(paid_at, created_at)) where charged;
create index payment_returned_day_idx on payment (partner, finalized_at) where money_returned;

-- ------------------------------------------------------------------------------------------------
-- How a payment may change: the second line behind the guarded updates (R3, S1).

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
    -- A caller asks for its cancel.
    ('unresolved', 'unresolved'),
    ('unresolved', 'succeeded'),
    ('unresolved', 'failed'),
    ('unresolved', 'canceled'),
    -- A cancel begins, or is refused; what was refunded changes.
    ('succeeded', 'succeeded'),
    ('succeeded', 'canceled'),
    -- What was final changes only where Alipay's own word stands against it (S10): `payment_final_guard`.
    ('failed', 'failed'),
    ('failed', 'succeeded'),
    ('failed', 'canceled'),
    ('canceled', 'canceled'),
    ('canceled', 'succeeded');

-- Refuses what no code of ours may do: an illegal move, a skipped version, a changed identity or amount.
create function payment_guard() returns trigger
    language plpgsql
    set search_path = public, pg_temp
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

-- That a paid trade is closed is taken for the return of its money, which not every answer says: a person
-- may know better, although nothing contradicts it, and whoever closed the trade.
create function payment_final_guard() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    if old.contradicted_at is null
        and (new.status, new.status_reason, new.failure_code, new.money_returned)
            is distinct from
            (old.status, old.status_reason, old.failure_code, old.money_returned)
        and not (old.status = 'canceled' and old.charged and new.decided_by_operator
            and (new.status, new.status_reason) = (old.status, old.status_reason))
    then
        raise exception 'illegal move of payment %: % to %, which nothing contradicts',
                old.payment_id, old.status, new.status
            using errcode = 'check_violation', constraint = 'payment_legal_move';
    end if;
    return new;
end
$$;

create trigger payment_final_guard
    before update on payment
    for each row when (old.status in ('failed', 'canceled'))
    execute function payment_final_guard();

create trigger payment_no_delete
    before delete on payment
    for each row execute function refuse_change();

create trigger payment_no_truncate
    before truncate on payment
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- What may not be paid twice.

-- Who owns a merchant's reference: a payment, or, without one, the tombstone of a cancel that came
-- first. Whoever inserts the row first has decided; the other is refused by the primary key (D3).
create table merchant_reference (
    merchant_id uuid not null references merchant (merchant_id),
    merchant_reference text not null,
    payment_id uuid,
    created_at timestamptz not null default db_now(),
    constraint merchant_reference_pkey primary key (merchant_id, merchant_reference),
    constraint merchant_reference_payment_fkey foreign key (merchant_id, payment_id)
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
    constraint payment_transition_pkey primary key (merchant_id, payment_id, version),
    constraint payment_transition_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id),
    constraint payment_transition_actor_check check (
        num_nonnulls(api_key_id, follow_up_id, notification_id, statement_file_id) = 1
        and (statement_file_id is null) = (statement_line is null))
);

create index payment_transition_file_idx on payment_transition (statement_file_id)
    where statement_file_id is not null;

create trigger payment_transition_append_only
    before update or delete on payment_transition
    for each row execute function refuse_change();

create trigger payment_transition_no_truncate
    before truncate on payment_transition
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- Decisions of people.

-- Whether an open payment, or the cancel of a paid one, needs a person: what the domain says as
-- `Payment::needs_a_person`, behind the statement by which a person decides.
create function payment_needs_a_person(payment payment, access_refusals integer) returns boolean
    language sql stable parallel safe
    as $$
        select case payment.status
            when 'unresolved' then true
            when 'processing' then
                access_refusals >= refusals_for_a_person()
                or payment.created_at <= db_now() - open_for_too_long()
            when 'succeeded' then
                payment.cancel_reason is not null
                and (access_refusals >= refusals_for_a_person()
                    or payment.updated_at <= db_now() - open_for_too_long()
                    or business_day(coalesce(payment.paid_at, payment.created_at))
                        < business_day(db_now()))
            else false
        end
    $$;

-- A decision about what is not even unresolved stands on evidence that is never changed: the payment's
-- age, or the refusals that were answered.
create function payment_resolution_guard() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    if new.reason is null or new.ticket is null or new.api_key_id is null then
        raise exception 'a decision about payment % lacks its grounds', new.payment_id
            using errcode = 'check_violation', constraint = 'payment_resolution_grounds';
    end if;
    if new.from_status = 'processing' and not exists (
        select from payment
        where merchant_id = new.merchant_id and payment_id = new.payment_id
            and (created_at <= db_now() - open_for_too_long()
                or refusals_for_a_person() <= (
                    select count(*) from attempt
                    where attempt.merchant_id = payment.merchant_id
                        and attempt.payment_id = payment.payment_id
                        and attempt.refund_id is null and answer_class = 'access_refused'))
    ) then
        raise exception 'payment % needs nobody''s decision yet', new.payment_id
            using errcode = 'check_violation', constraint = 'payment_resolution_time';
    end if;
    return new;
end
$$;

create trigger payment_resolution_guard
    before insert on payment_transition
    for each row when (new.event = 'resolved')
    execute function payment_resolution_guard();
