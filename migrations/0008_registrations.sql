-- The registration of stores with Alipay, and its review (docs/protocol.md 10).

-- ------------------------------------------------------------------------------------------------
-- One row per store: what was sent last, where its review stands, and what is in force.

create table store_registration (
    merchant_id uuid not null references merchant (merchant_id),
    -- UUIDv7: sorts by creation, so it is also the list's cursor.
    registration_id uuid not null,
    -- Counts changes; every update of what it says is guarded by it.
    version bigint not null default 1,
    partner text not null,
    secondary_merchant_id text not null,
    store_id text not null,
    status text not null default 'submitting',
    -- Set only while status is 'rejected': the code of a refused request, the words of a review.
    reject_code text,
    reject_reason text,
    -- What was sent last: what everybody may know, people masked, and, sealed under the secret key, the
    -- people themselves. These are kept only while they may have to be sent again.
    facts jsonb not null,
    masked jsonb not null,
    sealed bytea,
    -- Which submission it is, and keyed hashes that tell the same data from others.
    submission integer not null default 1,
    fingerprint bytea not null,
    drivers_fingerprint bytea,
    submitted_at timestamptz not null default db_now(),
    -- When Alipay is known to have had it.
    accepted_at timestamptz,
    -- A registration that Alipay had before is reviewed first.
    after_earlier boolean not null default false,
    -- It is to be sent again.
    to_send boolean not null default false,
    -- What was asked so far: the plan's memory.
    submits integer not null default 0,
    last_submit_at timestamptz,
    checks_done integer not null default 0,
    last_check_at timestamptz,
    -- What was approved last: what payments say of the store.
    in_force_merchant_name text,
    in_force_store_name text,
    in_force_industry text,
    approved_at timestamptz,
    store_status text,
    created_at timestamptz not null default db_now(),
    updated_at timestamptz not null default db_now(),
    constraint store_registration_pkey primary key (merchant_id, registration_id),
    constraint store_registration_store_key
        unique (merchant_id, secondary_merchant_id, store_id),
    -- What Alipay takes for one store is one merchant's.
    constraint store_registration_partner_key
        unique (partner, secondary_merchant_id, store_id),
    constraint store_registration_store_fkey foreign key (merchant_id, store_id)
        references store (merchant_id, store_id),
    constraint store_registration_version_check check (version >= 1 and submission >= 1),
    constraint store_registration_status_check check (
        status in ('submitting', 'unknown', 'under_review', 'modification_review', 'approved',
            'rejected', 'unresolved')),
    constraint store_registration_rejection_check check (
        status = 'rejected' or (reject_code is null and reject_reason is null)),
    -- People are forgotten when nothing has to be sent again.
    constraint store_registration_sealed_check check (
        status not in ('approved', 'rejected') or sealed is null),
    constraint store_registration_in_force_check check (
        num_nonnulls(in_force_merchant_name, in_force_store_name, in_force_industry, approved_at)
            in (0, 4)
        and (status <> 'approved' or approved_at is not null)),
    constraint store_registration_asked_check check (
        submits >= 0 and (submits = 0) = (last_submit_at is null)
        and checks_done >= 0 and (checks_done = 0) = (last_check_at is null))
) with (fillfactor = 80);

-- A change without a new version may only count what was asked.
create function store_registration_guard() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    if new.version not in (old.version, old.version + 1) then
        raise exception 'registration % skips a version: % to %', old.registration_id, old.version,
            new.version
            using errcode = 'check_violation', constraint = 'store_registration_version_step';
    end if;
    if new.version = old.version
        and (new.status, new.submission, new.facts, new.fingerprint, new.accepted_at,
                new.after_earlier, new.approved_at, new.reject_code, new.reject_reason)
            is distinct from
            (old.status, old.submission, old.facts, old.fingerprint, old.accepted_at,
                old.after_earlier, old.approved_at, old.reject_code, old.reject_reason)
    then
        raise exception 'registration % changes without a new version', old.registration_id
            using errcode = 'check_violation', constraint = 'store_registration_version_step';
    end if;
    if (new.merchant_id, new.registration_id, new.partner, new.secondary_merchant_id, new.store_id,
            new.created_at)
        is distinct from
        (old.merchant_id, old.registration_id, old.partner, old.secondary_merchant_id, old.store_id,
            old.created_at)
    then
        raise exception 'registration % changes what may not change', old.registration_id
            using errcode = 'check_violation', constraint = 'store_registration_identity';
    end if;
    return new;
end
$$;

create trigger store_registration_guard
    before update on store_registration
    for each row execute function store_registration_guard();

create trigger store_registration_no_delete
    before delete on store_registration
    for each row execute function refuse_change();

create trigger store_registration_no_truncate
    before truncate on store_registration
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- Upstream calls: one row each, written before the call, completed by its answer.

create table store_registration_attempt (
    merchant_id uuid not null,
    attempt_id uuid not null,
    registration_id uuid not null,
    kind text not null,
    sent_at timestamptz not null default db_now(),
    answered_at timestamptz,
    answer_class text,
    answer_code text,
    answer_detail text,
    duration_ms integer,
    constraint store_registration_attempt_pkey primary key (merchant_id, attempt_id),
    constraint store_registration_attempt_registration_fkey
        foreign key (merchant_id, registration_id)
        references store_registration (merchant_id, registration_id),
    constraint store_registration_attempt_kind_check check (
        kind in ('maintain_store', 'store_status')),
    constraint store_registration_attempt_answer_check check (
        (answered_at is null) = (answer_class is null)
        and (answered_at is null) = (duration_ms is null))
) with (fillfactor = 85);

create index store_registration_attempt_idx
    on store_registration_attempt (merchant_id, registration_id, attempt_id);

-- Changes: append-only, with cause, old and new status, and both clocks (S8).
create table store_registration_transition (
    merchant_id uuid not null,
    registration_id uuid not null,
    version bigint not null,
    event text not null,
    from_status text,
    to_status text not null,
    submission integer not null,
    api_key_id uuid,
    follow_up_id uuid,
    attempt_id uuid,
    at timestamptz not null default db_now(),
    gateway_at timestamptz not null,
    constraint store_registration_transition_pkey
        primary key (merchant_id, registration_id, version),
    constraint store_registration_transition_registration_fkey
        foreign key (merchant_id, registration_id)
        references store_registration (merchant_id, registration_id),
    constraint store_registration_transition_actor_check check (
        num_nonnulls(api_key_id, follow_up_id) = 1)
);

create trigger store_registration_transition_append_only
    before update or delete on store_registration_transition
    for each row execute function refuse_change();

create trigger store_registration_transition_no_truncate
    before truncate on store_registration_transition
    for each statement execute function refuse_change();

-- ------------------------------------------------------------------------------------------------
-- A registration as the audit log keeps it: nothing of people but the merchant's own name.
create function store_registration_facts(registration store_registration) returns jsonb
    language sql stable
    as $$
    select jsonb_build_object('secondary_merchant_id', registration.secondary_merchant_id,
        'store_id', registration.store_id, 'submission', registration.submission,
        'status', registration.status, 'facts', registration.facts)
$$;
