-- What Alipay verifiably said against the books: kept, asked about, and settled by a question or a person.
--
-- A contradiction is about a payment or one of its refunds. While it is open, its subject has a follow-up, stands on the
-- work-list, and what it proves to be back cannot be refunded.

create table contradiction (
    merchant_id uuid not null,
    -- UUIDv7: sorts by opening.
    contradiction_id uuid not null,
    payment_id uuid not null,
    -- Set where it is about a refund.
    refund_id uuid,
    -- What was said, by the name of the event that the books could not take.
    claim text not null,
    -- What tells claims of one kind apart: Alipay's id of a refund that was made in its portal.
    reference text not null default '',
    -- How much is proven to be back, or will be, and is in no refund of the books.
    returned_minor bigint not null default 0,
    -- What the books said.
    books_status text not null,
    books_status_reason text,
    -- Where it was said: in the answer to a call, in a notification, or in a file.
    attempt_id uuid,
    notification_id uuid,
    statement_file_id uuid,
    statement_line bigint,
    opened_at timestamptz not null default db_now(),
    settled_at timestamptz,
    -- By what: another answer of Alipay, or a person with grounds, which the transition keeps.
    settled_by text,
    constraint contradiction_pkey primary key (merchant_id, contradiction_id),
    constraint contradiction_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id),
    constraint contradiction_refund_fkey foreign key (merchant_id, refund_id)
        references refund (merchant_id, refund_id),
    constraint contradiction_claim_check check (
        case
            when refund_id is null then claim in
                ('paid', 'buyer_must_confirm', 'declined', 'closed', 'refund_made_in_portal')
            else claim in ('refund_succeeded', 'refund_accepted', 'refund_waiting')
        end),
    constraint contradiction_returned_check check (returned_minor >= 0),
    constraint contradiction_source_check check (
        num_nonnulls(attempt_id, notification_id, statement_file_id) = 1
        and (statement_file_id is null) = (statement_line is null)),
    constraint contradiction_settled_check check (
        (settled_at is null) = (settled_by is null) and settled_by in ('answer', 'person'))
);

-- Said again it is no second one.
create unique index contradiction_open_key
    on contradiction (merchant_id, payment_id, coalesce(refund_id, payment_id), claim, reference)
    where settled_at is null;

create trigger contradiction_no_delete
    before delete on contradiction
    for each row execute function refuse_change();

create trigger contradiction_no_truncate
    before truncate on contradiction
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- What it does to its subject.

alter table payment
    -- Since when the newest open contradiction stands.
    add column contradicted_at timestamptz,
    -- Proven to be back by open contradictions, of its own and of its refunds. It may exceed what is left: two words may
    -- speak of one return.
    add column proven_returned_minor bigint not null default 0,
    -- An operator decided the status it has.
    add column decided_by_operator boolean not null default false,
    add constraint payment_proven_returned_check check (proven_returned_minor >= 0),
    drop constraint payment_status_check,
    add constraint payment_status_check check (
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
    drop constraint payment_refund_state_check,
    -- Cancel and refund never both run for one payment (T4). What Alipay closed after it was paid keeps its refunds, and
    -- takes those of the portal that explain it.
    add constraint payment_refund_state_check check (
        refund_reserved_minor = 0
        or (status = 'succeeded' and cancel_reason is null)
        or (status = 'canceled' and status_reason = 'closed_after_payment'));

alter table refund
    add column contradicted_at timestamptz,
    add column decided_by_operator boolean not null default false;

alter table payment disable trigger payment_guard;
update payment set decided_by_operator = true
where finalized_at is not null and exists (
    select from payment_transition as last
    where last.merchant_id = payment.merchant_id and last.payment_id = payment.payment_id
        and last.version = payment.version and last.event = 'resolved');
alter table payment enable trigger payment_guard;

alter table refund disable trigger refund_guard;
update refund set decided_by_operator = true
where finalized_at is not null and exists (
    select from refund_transition as last
    where last.merchant_id = refund.merchant_id and last.refund_id = refund.refund_id
        and last.version = refund.version and last.event = 'refund_resolved');
alter table refund enable trigger refund_guard;

-- What is owed a question, or a person.
drop index payment_open_idx;
create index payment_open_idx on payment (merchant_id, payment_id)
    where status in ('processing', 'unresolved') or cancel_reason is not null
        or contradicted_at is not null;
drop index refund_open_idx;
create index refund_open_idx on refund (merchant_id, refund_id)
    where status in ('pending', 'unresolved') or contradicted_at is not null;

-- ------------------------------------------------------------------------------------------------
-- A status that was final changes only where Alipay's own word stands against it.

insert into payment_legal_move (from_status, to_status) values
    ('failed', 'failed'),
    ('failed', 'succeeded'),
    ('failed', 'canceled'),
    ('canceled', 'canceled'),
    ('canceled', 'succeeded');

insert into refund_legal_move (from_status, to_status) values
    ('failed', 'failed'),
    ('failed', 'succeeded');

create function payment_final_guard() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    if old.contradicted_at is null
        and (new.status, new.status_reason, new.failure_code, new.money_returned)
            is distinct from
            (old.status, old.status_reason, old.failure_code, old.money_returned)
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
