-- The durable schedule: one live row per subject that is open (C8, C9), written in the statement that
-- opens it. A subject is a payment, a refund or the registration of a store; none is ever deleted.
--
-- A replica claims a row by taking a lease (`leased_until`) and raising `fence`, both on the database's
-- clock; it writes a result only while it still holds the fence it was given (R10). A row whose subject is
-- settled is deleted: what happened is in its attempts and transitions.

create table follow_up (
    merchant_id uuid not null,
    follow_up_id uuid not null,
    kind text not null,
    subject_id uuid not null,

    due_at timestamptz not null,
    -- From when on a question is owed besides the plan: something told us to look. Answered, it is gone.
    question_due_at timestamptz,
    -- Until when the buyer of a payment may confirm: such payments are visited in a lane of their own, so
    -- that nothing else delays them (T8). Absent where nobody waits at a till.
    confirming_until timestamptz,

    -- Raised by every claim; the holder's proof.
    fence bigint not null default 0,
    leased_until timestamptz,
    -- Who holds the lease, for a person who looks.
    worker text,

    -- What was asked so far about a payment: the plan's memory.
    queries integer not null default 0,
    last_query_at timestamptz,
    cancels integer not null default 0,
    last_cancel_at timestamptz,
    -- Alipay refused the last cancel for good; a query decides what that means.
    cancel_refused boolean not null default false,
    -- How often in a row Alipay refused at its door what was asked: nobody but whoever looks after the
    -- account can settle it (C13).
    access_refusals integer not null default 0,

    -- Our own errors since the last success; many of them park the row.
    error_count integer not null default 0,
    last_error text,
    -- A parked row is retried, slowly: what kept it from being visited may be gone (C10).
    parked_at timestamptz,
    -- Why an operator took the row off the schedule: it is never due. Its subject stays owed.
    abandoned_reason text,
    abandoned_by uuid,

    created_at timestamptz not null default db_now(),
    constraint follow_up_pkey primary key (merchant_id, follow_up_id),
    constraint follow_up_subject_key unique (subject_id, kind, merchant_id),
    constraint follow_up_kind_check check (kind in ('payment', 'refund', 'registration'))
) with (fillfactor = 70);

-- What the claims scan: by due time, and, for payments that a buyer may still confirm, however many others
-- are due, only these.
create index follow_up_due_idx on follow_up (due_at) where abandoned_reason is null;
create index follow_up_confirming_idx on follow_up (confirming_until)
    where abandoned_reason is null and confirming_until is not null;
