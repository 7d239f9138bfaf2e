-- API keys that end, are replaced and are looked after; decisions of people in the audit log.

-- An id as the API shows it.
create function public_id(prefix text, id uuid) returns text
    language sql immutable parallel safe
    as $$ select prefix || replace(id::text, '-', '') $$;

alter table api_key
    -- The key's first characters, by which people tell keys apart; absent of the oldest keys.
    add column key_prefix text,
    add column expires_at timestamptz,
    -- When it was last presented, to the minute.
    add column last_used_at timestamptz,
    -- The key it takes the place of.
    add column replaces uuid references api_key (api_key_id);

-- A key as the audit log keeps it: nothing that could open anything.
create function api_key_facts(key api_key) returns jsonb
    language sql stable
    as $$
    select jsonb_build_object('name', key.name, 'key_prefix', key.key_prefix,
        'scopes', to_jsonb(key.scopes), 'expires_at', key.expires_at,
        'revoked_at', key.revoked_at, 'replaces', public_id('key_', key.replaces))
$$;

-- Who did it, where the statement knows the key.
create function audit_by_api_key(api_key_id uuid) returns jsonb
    language sql stable
    as $$
    select jsonb_build_object('kind', 'api_key', 'id', public_id('key_', $1), 'name',
        (select name from api_key where api_key.api_key_id = $1))
$$;
