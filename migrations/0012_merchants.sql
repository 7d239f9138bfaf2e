-- Merchants and stores that administrators look after, what a merchant takes, and how much may go back.

alter table merchant
    -- Counts changes; every change by an administrator is guarded by it.
    add column version bigint not null default 1,
    -- What whoever made it calls it; absent of those made before, and of the default merchant.
    add column external_id text,
    -- Whether a payment must name its till, and which names are taken: all of them where null.
    add column terminal_required boolean not null default false,
    add column allowed_terminals text[],
    -- Limits in minor units of HKD; those of the Alipay account where null.
    add column max_payment_minor bigint,
    add column max_refund_minor bigint,
    add column max_refunded_per_day_minor bigint,
    -- Which wallets it wants to be paid with: all of them where null. Alipay tells the wallet only
    -- with the payment, so nothing is refused by this; it is shown.
    add column allowed_wallets text[],
    -- Since when it takes no payments.
    add column disabled_at timestamptz,
    add column updated_at timestamptz not null default db_now(),
    add constraint merchant_version_check check (version >= 1),
    add constraint merchant_limits_check check (
        coalesce(max_payment_minor, 1) > 0
        and coalesce(max_refund_minor, 0) >= 0
        and coalesce(max_refunded_per_day_minor, 0) >= 0);

-- With `api_key`, the directory is kept whole where the other tables are distributed by merchant.
create unique index merchant_external_id_key on merchant (external_id);

alter table store
    add column version bigint not null default 1,
    -- The merchant category code where the shop's differs from the merchant's: 4 digits.
    add column industry text,
    -- Since when it takes no payments.
    add column disabled_at timestamptz,
    add column updated_at timestamptz not null default db_now(),
    add constraint store_version_check check (version >= 1),
    add constraint store_industry_check check (industry ~ '^[0-9]{4}$');

-- The wallets that the merchant wanted when the payment was made.
alter table payment add column allowed_wallets text[];

-- A merchant as the audit log keeps it.
create function merchant_facts(merchant merchant) returns jsonb
    language sql stable
    as $$
    select jsonb_build_object('name', merchant.name, 'external_id', merchant.external_id,
        'partner', merchant.partner, 'secondary_merchant_id', merchant.secondary_merchant_id,
        'secondary_merchant_name', merchant.secondary_merchant_name,
        'secondary_merchant_industry', merchant.secondary_merchant_industry,
        'default_store_id', merchant.default_store_id,
        'terminals', jsonb_build_object('required', merchant.terminal_required,
            'allowed', to_jsonb(merchant.allowed_terminals)),
        'limits', jsonb_build_object('max_payment_minor', merchant.max_payment_minor,
            'max_refund_minor', merchant.max_refund_minor,
            'max_refunded_per_day_minor', merchant.max_refunded_per_day_minor),
        'allowed_wallets', to_jsonb(merchant.allowed_wallets),
        'disabled_at', merchant.disabled_at, 'version', merchant.version)
$$;

-- A store as the audit log keeps it.
create function store_facts(store store) returns jsonb
    language sql stable
    as $$
    select jsonb_build_object('name', store.store_name, 'industry', store.industry,
        'disabled_at', store.disabled_at, 'version', store.version)
$$;

-- ------------------------------------------------------------------------------------------------
-- What a merchant's refunds of a day come to. The row is moved by the statement that makes the refund,
-- guarded by the merchant's limit, so that concurrent refunds can never exceed it.

create table refund_day (
    merchant_id uuid not null references merchant (merchant_id),
    -- The calendar day in GMT+8.
    business_day date not null,
    -- Of refunds made on the day, failed ones aside.
    refunded_minor bigint not null,
    -- How many were made in the ten minutes since this instant, to notice a burst.
    burst_since timestamptz not null,
    burst_refunds integer not null,
    constraint refund_day_pkey primary key (merchant_id, business_day),
    constraint refund_day_refunded_check check (refunded_minor >= 0)
) with (fillfactor = 70);

-- The day whose limit the refund counts against; absent where it counts against none.
alter table refund add column limit_day date;

-- A refund that failed returned nothing, so it no longer counts. After the statement, when the
-- payment's row is held: the order in which whoever makes a refund takes the two rows.
create function refund_day_give_back() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    update refund_day
    set refunded_minor = refunded_minor - new.amount_minor
    where merchant_id = new.merchant_id and business_day = new.limit_day;
    return null;
end
$$;

create trigger refund_day_give_back
    after update on refund
    for each row
    when (new.status = 'failed' and old.status <> 'failed' and new.limit_day is not null)
    execute function refund_day_give_back();
