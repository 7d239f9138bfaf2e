-- What payments and refunds share: callers' keys, calls to Alipay, its notifications, and what it says
-- against what we recorded.

-- ------------------------------------------------------------------------------------------------
-- What a caller's key made: a payment, a refund, or, without either, a tombstone. Written with what it
-- made, before Alipay is called, and never deleted on failure (D1, D4).

create table idempotency_key (
    merchant_id uuid not null,
    route text not null,
    idempotency_key text not null,
    payment_id uuid,
    refund_id uuid,
    -- Keyed hash per request field, to name the fields in which a reused key differs.
    fingerprint jsonb not null,
    created_at timestamptz not null default db_now(),
    constraint idempotency_key_pkey primary key (merchant_id, route, idempotency_key),
    constraint idempotency_key_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id),
    constraint idempotency_key_refund_fkey foreign key (merchant_id, refund_id)
        references refund (merchant_id, refund_id)
);

-- ------------------------------------------------------------------------------------------------
-- Upstream calls: one row each, written before the call (R1; with the payment or the refund for the first
-- one), completed by its answer. Never a barcode, never the answer's text.

create table attempt (
    merchant_id uuid not null,
    attempt_id uuid not null,
    payment_id uuid not null,
    -- Which of the payment's refunds the call was about.
    refund_id uuid,
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
    constraint attempt_refund_fkey foreign key (merchant_id, refund_id)
        references refund (merchant_id, refund_id),
    constraint attempt_kind_check check (
        kind in ('pay', 'query', 'cancel', 'refund', 'refund_query')),
    constraint attempt_refund_check check (
        (kind in ('refund', 'refund_query')) = (refund_id is not null)),
    constraint attempt_answer_check check (
        (answered_at is null) = (answer_class is null)
        and (answered_at is null) = (duration_ms is null))
) with (fillfactor = 85);

create index attempt_payment_idx on attempt (payment_id, merchant_id, attempt_id);
create index attempt_refund_idx on attempt (merchant_id, refund_id, attempt_id)
    where refund_id is not null;
-- A code is sent for a payment once, ever: the gateway does not keep it (M8).
create unique index attempt_pay_key on attempt (merchant_id, payment_id) where kind = 'pay';

-- Until when a cancel of a payment may act that no answer has ruled out: whatever "done" it was
-- answered (M11). Volatile, so that it sees what was committed before the caller's lock was
-- granted.
create function cancel_may_act_until(of_merchant uuid, of_payment uuid, classes text[])
    returns timestamptz
    language plpgsql volatile
    set search_path = public, pg_temp
    as $$
begin
    return (
        select max(sent_at) + cancel_acts_within() from attempt
        where merchant_id = of_merchant and payment_id = of_payment and kind = 'cancel'
            and sent_at > db_now() - cancel_acts_within()
            and (answer_class is null or answer_class = any (classes)));
end
$$;

-- ------------------------------------------------------------------------------------------------
-- What Alipay posted to us: one row per notification that was believed, so that its repeats have no effect
-- (V3). What was not believed is counted, not stored. It is a hint: the payment or the refund that it is
-- about is asked about at once, also where that is settled, and nothing is settled by it
-- (docs/protocol.md 8).

create table notification (
    merchant_id uuid not null,
    notification_id uuid not null,
    partner text not null,
    -- Alipay's id, the same in every repeat.
    notify_id text not null,
    -- What it is about, in our words.
    kind text not null,
    -- A refund that is not named, or was not asked for here, is about its payment alone.
    payment_id uuid,
    refund_id uuid,
    -- Fields that no document of ours names: their names, never their values.
    unknown_fields text[] not null default '{}',
    received_at timestamptz not null default db_now(),
    constraint notification_pkey primary key (merchant_id, notification_id),
    constraint notification_notify_id_key unique (merchant_id, partner, notify_id),
    constraint notification_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id),
    constraint notification_refund_fkey foreign key (merchant_id, refund_id)
        references refund (merchant_id, refund_id),
    constraint notification_kind_check check (
        kind in ('refund', 'paid', 'closed', 'finished', 'other')),
    constraint notification_subject_check check (num_nonnulls(payment_id, refund_id) >= 1)
);

create index notification_notify_id_idx on notification (partner, notify_id);

create trigger notification_append_only
    before update or delete on notification
    for each row execute function refuse_change();

create trigger notification_no_truncate
    before truncate on notification
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- What Alipay verifiably said against what we recorded: kept, asked about, and settled by a question or a
-- person (S10). While it is open, its subject has a follow-up, stands on the work-list, and what it proves
-- to be back cannot be refunded (M12).

create table contradiction (
    merchant_id uuid not null,
    -- UUIDv7: sorts by opening.
    contradiction_id uuid not null,
    payment_id uuid not null,
    -- Set where it is about a refund.
    refund_id uuid,
    -- What was said, by the name of the event that could not be taken.
    claim text not null,
    -- What tells claims of one kind apart: Alipay's id of a refund that was made in its portal.
    reference text not null default '',
    -- How much is proven to be back, or will be, and is in no refund of ours.
    returned_minor bigint not null default 0,
    -- What we had recorded.
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
                ('paid', 'buyer_must_confirm', 'declined', 'closed', 'not_found', 'not_refundable',
                    'refund_made_in_portal')
            else claim in
                ('refund_succeeded', 'refund_accepted', 'refund_waiting', 'refund_not_found')
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
