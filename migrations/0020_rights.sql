-- What callers and the service may do, and what counts as giving money back.

-- ------------------------------------------------------------------------------------------------
-- A key that is refused stays so: whoever speaks in the service's name, or in the owner's, makes another
-- one (Q6).

create function api_key_guard() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    if (old.revoked_at is not null and new.revoked_at is distinct from old.revoked_at)
        or (old.expires_at is not null
            and (new.expires_at is null or new.expires_at > old.expires_at))
    then
        raise exception 'API key % would be accepted again', old.api_key_id
            using errcode = 'check_violation', constraint = 'api_key_stays_refused';
    end if;
    return new;
end
$$;

create trigger api_key_guard
    before update on api_key
    for each row execute function api_key_guard();

-- The operator reads what it must decide; it is the operator's alone.
alter table api_key drop constraint api_key_operator_check;
alter table api_key add constraint api_key_operator_check check (
    case
        when merchant_id is null then
            scopes <@ array['operations', 'reconciliation', 'admin', 'support:read']
        else not scopes @> array['support:read']
    end);

-- ------------------------------------------------------------------------------------------------
-- A cancel of what was paid gives the money back as a refund does, so it counts in the merchant's day, and
-- in its bursts (Q9). After the statement, when the payment's row is held: the order in which whoever
-- makes a refund takes the two rows.

-- The burst that somebody was told of, so that each is told once.
alter table refund_day add column burst_noted_since timestamptz;

create function refund_day_count_cancel() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    insert into refund_day as day (merchant_id, business_day, refunded_minor, burst_since,
        burst_refunds)
    values (new.merchant_id, business_day(db_now()), new.amount_minor, db_now(), 1)
    on conflict (merchant_id, business_day) do update
        set refunded_minor = day.refunded_minor + excluded.refunded_minor,
            burst_since = case
                when day.burst_since > db_now() - interval '10 minutes' then day.burst_since
                else excluded.burst_since
            end,
            burst_refunds = case
                when day.burst_since > db_now() - interval '10 minutes' then day.burst_refunds + 1
                else 1
            end;
    return null;
end
$$;

create trigger refund_day_count_cancel
    after update on payment
    for each row
    when (new.status = 'canceled' and new.status_reason = 'requested' and new.money_returned
        and old.status <> 'canceled')
    execute function refund_day_count_cancel();
