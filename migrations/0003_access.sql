-- Who may ask: API keys, and the subjects of access tokens (OIDC).
--
-- A key belongs to a merchant, or, without one, to the operator of the gateway, who sees all merchants. A
-- subject gets a row with its first token, so that what it does is recorded, limited and can be revoked
-- like what a key does; what it may do is in each token, of which nothing is kept.

create table api_key (
    -- Keys are looked up before it is known whose they are, so their keys do not begin with a merchant.
    api_key_id uuid not null,
    merchant_id uuid references merchant (merchant_id),
    name text not null,
    -- A keyed hash; the key itself is shown once and stored nowhere.
    key_hash bytea,
    -- The key's first characters, by which people tell keys apart.
    key_prefix text,
    -- Who issues the tokens, and for whom; absent of API keys.
    issuer text,
    subject text,
    scopes text[] not null,
    -- The key it takes the place of.
    replaces uuid references api_key (api_key_id),
    created_at timestamptz not null default db_now(),
    -- When it was last presented, to the minute.
    last_used_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    constraint api_key_pkey primary key (api_key_id),
    constraint api_key_hash_key unique (key_hash),
    constraint api_key_kind_check check (
        (key_hash is null) = (subject is not null)
        and (issuer is null) = (subject is null)),
    -- Payments and refunds are a merchant's; the operator looks after them and does not make them.
    constraint api_key_operator_check check (
        merchant_id is not null
        or scopes <@ array['operations', 'reconciliation', 'admin'])
);

create index api_key_merchant_idx on api_key (merchant_id, api_key_id);

create unique index api_key_subject_key on api_key (subject, issuer, merchant_id)
    nulls not distinct
    where subject is not null;

-- A key as the audit log keeps it: nothing that could open anything.
create function api_key_facts(key api_key) returns jsonb
    language sql stable
    as $$
    select jsonb_build_object('name', key.name, 'key_prefix', key.key_prefix,
        'scopes', to_jsonb(key.scopes), 'expires_at', key.expires_at,
        'revoked_at', key.revoked_at, 'replaces', public_id('key_', key.replaces))
$$;

-- Who did it, for the audit log, where the statement knows the key or the subject.
create function audit_by_api_key(api_key_id uuid) returns jsonb
    language sql stable
    as $$
    select jsonb_build_object('kind', case when found.subject is null then 'api_key' else 'jwt' end,
        'id', public_id('key_', $1), 'name', found.name)
    from (values (0)) as once
    left join api_key as found on found.api_key_id = $1
$$;
