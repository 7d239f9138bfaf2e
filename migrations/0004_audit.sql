-- The audit log: every administrative act and every decision of a person, in one chain (Q17).
--
-- An entry is written by the statement of the act itself, by `insert into audit_log (merchant_id, action,
-- subject_kind, subject_id, by, before, after)`; the trigger numbers, dates and chains it. It is the
-- operator's, not a merchant's, so that one chain covers all of it.

-- Where the chain ends: one row. Whoever appends locks it, so that the chain cannot fork.
create table audit_head (
    only_row boolean not null default true,
    entries bigint not null default 0,
    hash bytea not null default '\x',
    constraint audit_head_pkey primary key (only_row),
    constraint audit_head_only_row_check check (only_row)
);

insert into audit_head default values;

create table audit_log (
    -- From 1, without gaps.
    entry_no bigint not null,
    at timestamptz not null,
    -- Whose affairs the act touched; absent where they are the operator's own.
    merchant_id uuid,
    -- For example `api_key.created`.
    action text not null,
    subject_kind text not null,
    -- As the API shows it, for example `key_...`.
    subject_id text not null,
    -- Who, from which request, and why: kind, id, name, request_id, reason, ticket.
    by jsonb not null,
    -- The subject before and after, as the API shows it; never a secret or its hash.
    before jsonb,
    after jsonb,
    previous_hash bytea not null,
    hash bytea not null,
    constraint audit_log_pkey primary key (entry_no)
);

create index audit_log_merchant_idx on audit_log (merchant_id, entry_no);
create index audit_log_subject_idx on audit_log (subject_id, entry_no);
create index audit_log_by_idx on audit_log ((by ->> 'id'), entry_no);

-- A field of the hashed text: its length in bytes, a colon and itself; a dash where it is absent. So no
-- two entries have the same text.
create function audit_field(value text) returns text
    language sql immutable parallel safe
    as $$ select coalesce(octet_length(value)::text || ':' || value, '-') || E'\n' $$;

-- What is hashed of an entry. `alipayhk-gateway audit verify` builds the same text on its own.
create function audit_text(entry audit_log) returns text
    language sql stable
    as $$
    select audit_field(encode(entry.previous_hash, 'hex'))
        || audit_field(entry.entry_no::text)
        || audit_field((extract(epoch from entry.at) * 1000000)::bigint::text)
        || audit_field(entry.merchant_id::text)
        || audit_field(entry.action)
        || audit_field(entry.subject_kind)
        || audit_field(entry.subject_id)
        || audit_field(entry.by::text)
        || audit_field(entry.before::text)
        || audit_field(entry.after::text)
$$;

-- The end of the chain is moved by nobody but this trigger, which therefore runs as its owner (Q16).
create function audit_log_chain() returns trigger
    language plpgsql
    security definer
    set search_path = public, pg_temp
    as $$
declare
    head audit_head%rowtype;
begin
    select * into strict head from audit_head for update;
    new.entry_no := head.entries + 1;
    new.at := db_now();
    new.previous_hash := head.hash;
    new.hash := sha256(convert_to(audit_text(new), 'UTF8'));
    update audit_head set entries = new.entry_no, hash = new.hash;
    return new;
end
$$;

create trigger audit_log_chain
    before insert on audit_log
    for each row execute function audit_log_chain();

create trigger audit_log_append_only
    before update or delete on audit_log
    for each row execute function refuse_change();

create trigger audit_log_no_truncate
    before truncate on audit_log
    for each statement execute function refuse_change();

create trigger audit_head_no_delete
    before delete on audit_head
    for each row execute function refuse_change();

create trigger audit_head_no_truncate
    before truncate on audit_head
    for each statement execute function refuse_change();
