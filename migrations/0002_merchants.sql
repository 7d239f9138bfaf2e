-- Who sells, and where. With `api_key`, these are a directory: kept whole where the other tables are
-- distributed by merchant.

create table merchant (
    merchant_id uuid not null,
    -- Counts changes; every change by an administrator is guarded by it.
    version bigint not null default 1,
    name text not null,
    -- The operator's own id for it; the default merchant has none.
    external_id text,
    -- The Alipay account that is paid; its keys are configuration, never data.
    partner text not null,
    -- What `extend_info` must say of the merchant in every payment.
    secondary_merchant_id text not null,
    secondary_merchant_name text not null,
    -- Merchant category code.
    secondary_merchant_industry text not null,
    default_store_id text not null,
    -- The merchant that `migrate` makes and that API keys belong to by default: at most one.
    is_default boolean not null default false,
    -- Whether a payment must name its till, and which names are taken: all of them where null.
    terminal_required boolean not null default false,
    allowed_terminals text[],
    -- Limits in minor units of HKD; those of the Alipay account where null.
    max_payment_minor bigint,
    max_refund_minor bigint,
    max_refunded_per_day_minor bigint,
    -- Which wallets it wants to be paid with: all of them where null. Alipay tells the wallet only
    -- with the payment, so nothing is refused by this; it is shown.
    allowed_wallets text[],
    created_at timestamptz not null default db_now(),
    updated_at timestamptz not null default db_now(),
    -- Since when it takes no payments.
    disabled_at timestamptz,
    constraint merchant_pkey primary key (merchant_id),
    constraint merchant_version_check check (version >= 1),
    constraint merchant_partner_check check (partner ~ '^[0-9]{16}$'),
    constraint merchant_industry_check check (secondary_merchant_industry ~ '^[0-9]{4}$'),
    constraint merchant_limits_check check (
        coalesce(max_payment_minor, 1) > 0
        and coalesce(max_refund_minor, 0) >= 0
        and coalesce(max_refunded_per_day_minor, 0) >= 0)
);

create unique index merchant_default_key on merchant (is_default) where is_default;
create unique index merchant_external_id_key on merchant (external_id);

create table store (
    merchant_id uuid not null references merchant (merchant_id),
    store_id text not null,
    version bigint not null default 1,
    store_name text not null,
    -- The merchant category code where the store's differs from the merchant's.
    industry text,
    created_at timestamptz not null default db_now(),
    updated_at timestamptz not null default db_now(),
    -- Since when it takes no payments.
    disabled_at timestamptz,
    constraint store_pkey primary key (merchant_id, store_id),
    constraint store_version_check check (version >= 1),
    constraint store_industry_check check (industry ~ '^[0-9]{4}$')
);

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
