-- Callers with an access token of an issuer (OIDC), beside those with an API key. A subject gets a row
-- with its first token, so that what it does is recorded, limited and can be revoked like what a key
-- does. What it may do is in each token; nothing of a token is kept.

alter table api_key
    alter column key_hash drop not null,
    -- Who issues the tokens, and for whom; absent of API keys.
    add column issuer text,
    add column subject text,
    add constraint api_key_kind_check check (
        (key_hash is null) = (subject is not null)
        and (issuer is null) = (subject is null));

-- The directory is looked up before it is known whose rows they are.
create unique index api_key_subject_key on api_key (subject, issuer, merchant_id)
    nulls not distinct
    where subject is not null;

-- Who did it, where the statement knows the key or the subject.
create or replace function audit_by_api_key(api_key_id uuid) returns jsonb
    language sql stable
    as $$
    select jsonb_build_object('kind', case when found.subject is null then 'api_key' else 'jwt' end,
        'id', public_id('key_', $1), 'name', found.name)
    from (values (0)) as once
    left join api_key as found on found.api_key_id = $1
$$;
