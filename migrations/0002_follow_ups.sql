-- The durable schedule: one live row per open payment, written in the statement that creates it.
--
-- A replica claims a row by taking a lease (`leased_until`) and raising `fence`, both on the
-- database's clock; it writes a result only while it still holds the fence it was given. A row whose
-- payment is settled is deleted: what happened is in `attempt` and `payment_transition`.

create table follow_up (
    merchant_id uuid not null,
    follow_up_id uuid not null,
    kind text not null,
    -- The payment the row is about.
    subject_id uuid not null,
    due_at timestamptz not null,
    -- Raised by every claim; the holder's proof.
    fence bigint not null default 0,
    leased_until timestamptz,
    -- Who holds the lease, for a person who looks.
    worker text,
    -- Our own errors since the last success; many of them park the row.
    error_count integer not null default 0,
    last_error text,
    -- Parked rows wait for a person; the payment's obligation stays.
    parked_at timestamptz,
    -- What was asked so far: the plan's memory.
    queries integer not null default 0,
    last_query_at timestamptz,
    cancels integer not null default 0,
    last_cancel_at timestamptz,
    created_at timestamptz not null default db_now(),
    constraint follow_up_pkey primary key (merchant_id, follow_up_id),
    constraint follow_up_subject_key unique (merchant_id, kind, subject_id),
    constraint follow_up_payment_fkey foreign key (merchant_id, subject_id)
        references payment (merchant_id, payment_id),
    constraint follow_up_kind_check check (kind in ('payment'))
) with (fillfactor = 70);

-- What the claim scans: only live rows, by due time.
create index follow_up_due_idx on follow_up (due_at) where parked_at is null;
