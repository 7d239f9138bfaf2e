-- Alipay's daily files (docs/protocol.md 9), what they say row by row, and how that compares with what we
-- recorded (R23).
--
-- Files belong to an Alipay account, so `partner` leads their keys; whose a row is, is found by its ids.
-- A file's rows are inserted in batches, each a statement of its own. What they are follows from the
-- file's content alone, so any number of importers may write them at once, and one that died is
-- continued by whoever brings the file again. A file is visible once `imported_at` is set.

create table statement_file (
    partner text not null,
    file_id uuid not null,
    kind text not null,
    -- The GMT+8 day that the file is of.
    day date not null,
    name text not null,
    sha256 bytea not null,
    size_bytes bigint not null,
    -- Counts the contents that came under this name, in the order of their import.
    version integer,
    -- What was read: set with `imported_at`.
    row_count bigint,
    fault_count bigint,
    duplicate_count bigint,
    warnings text[] not null default '{}',
    -- It lacks rows, by its count or its cut end: whatever whole version comes takes its place, and it
    -- takes no whole one's.
    is_provisional boolean not null default false,
    created_at timestamptz not null default db_now(),
    imported_at timestamptz,
    -- A later version of the same file took its place.
    superseded_at timestamptz,
    constraint statement_file_pkey primary key (partner, file_id),
    constraint statement_file_content_key unique (partner, name, sha256),
    constraint statement_file_version_key unique (partner, name, version),
    constraint statement_file_partner_check check (partner ~ '^[0-9]{16}$'),
    constraint statement_file_kind_check check (kind in ('transaction', 'settlement')),
    constraint statement_file_imported_check check (
        num_nulls(imported_at, version, row_count, fault_count, duplicate_count) in (0, 5)),
    constraint statement_file_superseded_check check (
        superseded_at is null or imported_at is not null)
);

create index statement_file_day_idx on statement_file (partner, kind, day)
    where imported_at is not null and superseded_at is null;

-- A row as it was read, with what it is about where that is known. Amounts are absolute; the type says
-- which way the money went.
create table statement_row (
    partner text not null,
    file_id uuid not null,
    line bigint not null,
    row_type text not null,
    -- Our id: of a refund it is the `partner_refund_id` (docs/protocol.md 9.4).
    partner_trans_id text,
    alipay_trans_id text,
    amount_minor bigint not null,
    fee_minor bigint not null,
    currency text not null,
    -- In the currency of the price.
    trans_amount_minor bigint,
    trans_currency text,
    completed_at timestamptz not null,
    net_minor bigint,
    settled_at timestamptz,
    duplicate_of bigint,
    secondary_merchant_id text,
    store_name text,
    wallet text,
    remark text,
    merchant_id uuid,
    payment_id uuid,
    refund_id uuid,
    constraint statement_row_pkey primary key (partner, file_id, line),
    constraint statement_row_file_fkey foreign key (partner, file_id)
        references statement_file (partner, file_id),
    constraint statement_row_type_check check (
        row_type in ('payment', 'cancel', 'reversal', 'refund')),
    constraint statement_row_subject_check check (
        (merchant_id is null) = (payment_id is null)
        and (refund_id is null or payment_id is not null))
);

-- What else is said of a payment, in this file and in others.
create index statement_row_payment_idx on statement_row (partner, payment_id)
    where payment_id is not null;

-- Rows that could not be read: the first thousand of a file.
create table statement_fault (
    partner text not null,
    file_id uuid not null,
    line bigint not null,
    position integer not null,
    column_name text,
    reason text not null,
    constraint statement_fault_pkey primary key (partner, file_id, line, position),
    constraint statement_fault_file_fkey foreign key (partner, file_id)
        references statement_file (partner, file_id)
);

-- ------------------------------------------------------------------------------------------------
-- A comparison of one or more files with what we recorded. The same files again are the same reconciliation.

create table reconciliation (
    partner text not null,
    -- UUIDv7: sorts by creation, so it is also the list's cursor.
    reconciliation_id uuid not null,
    -- SHA-256 over the files' names and contents.
    fingerprint bytea not null,
    source text not null,
    -- Who brought the files, as in `audit_log`.
    by jsonb not null,
    -- What Alipay is expected to keep of a payment; absent where fees are not checked.
    fee_basis_points integer,
    created_at timestamptz not null default db_now(),
    -- When the last step of it was done, while it is under way.
    touched_at timestamptz not null default db_now(),
    completed_at timestamptz,
    -- Why the files could not be read, and from which line on. The same files again try again.
    failure text,
    constraint reconciliation_pkey primary key (partner, reconciliation_id),
    constraint reconciliation_fingerprint_key unique (partner, fingerprint),
    constraint reconciliation_source_check check (source in ('upload', 'command_line', 'sftp')),
    constraint reconciliation_fee_check check (fee_basis_points between 0 and 10000),
    constraint reconciliation_failure_check check (failure is null or completed_at is null)
);

-- Looked up before it is known whose account it is of.
create index reconciliation_id_idx on reconciliation (reconciliation_id);

create table reconciliation_file (
    partner text not null,
    reconciliation_id uuid not null,
    -- Its place among the files, from 1.
    position integer not null,
    file_id uuid not null,
    matched_at timestamptz,
    constraint reconciliation_file_pkey primary key (partner, reconciliation_id, position),
    constraint reconciliation_file_file_key unique (partner, reconciliation_id, file_id),
    constraint reconciliation_file_reconciliation_fkey foreign key (partner, reconciliation_id)
        references reconciliation (partner, reconciliation_id),
    constraint reconciliation_file_file_fkey foreign key (partner, file_id)
        references statement_file (partner, file_id)
);

create table reconciliation_difference (
    partner text not null,
    reconciliation_id uuid not null,
    -- Sorts by file and line.
    difference_id uuid not null,
    file_id uuid not null,
    -- Absent where the file lacks the row.
    line bigint,
    class text not null,
    row_type text not null,
    merchant_id uuid,
    payment_id uuid,
    refund_id uuid,
    store_id text,
    partner_trans_id text,
    alipay_trans_id text,
    amount_minor bigint not null,
    currency text not null,
    expected text,
    found text,
    acknowledged_at timestamptz,
    acknowledged_by jsonb,
    acknowledged_reason text,
    constraint reconciliation_difference_pkey
        primary key (partner, reconciliation_id, difference_id),
    constraint reconciliation_difference_reconciliation_fkey
        foreign key (partner, reconciliation_id)
        references reconciliation (partner, reconciliation_id),
    constraint reconciliation_difference_class_check check (class in (
        'identity_differs', 'amount_differs', 'currency_differs', 'fee_differs', 'net_differs',
        'status_differs', 'day_differs', 'missing_in_file', 'unknown_to_us', 'portal_refund',
        'duplicate', 'settled_twice', 'not_settled', 'corrected')),
    constraint reconciliation_difference_acknowledged_check check (
        num_nulls(acknowledged_at, acknowledged_by, acknowledged_reason) in (0, 3))
);

-- What files say against a payment is shown on its timeline.
create index reconciliation_difference_payment_idx
    on reconciliation_difference (merchant_id, payment_id);

create table reconciliation_total (
    partner text not null,
    reconciliation_id uuid not null,
    total_id uuid not null,
    file_id uuid not null,
    -- Absent for what is unknown to us.
    merchant_id uuid,
    store text,
    wallet text,
    currency text not null,
    day date not null,
    row_count bigint not null,
    -- Of the file: what came in less what went back, what Alipay keeps, and what is left.
    amount_minor bigint not null,
    fee_minor bigint not null,
    net_minor bigint not null,
    -- By what we recorded: what the file should have said.
    expected_net_minor bigint not null,
    constraint reconciliation_total_pkey primary key (partner, reconciliation_id, total_id),
    constraint reconciliation_total_reconciliation_fkey foreign key (partner, reconciliation_id)
        references reconciliation (partner, reconciliation_id)
);

create index reconciliation_total_merchant_idx
    on reconciliation_total (merchant_id, reconciliation_id);

-- Whether a row of a file names another secondary merchant than the one whose order it is. A merchant may
-- have had other ids before: they are in the audit log and in its registrations; those that `migrate`
-- changed are in neither, so of the configured merchant only what is another merchant's is another's.
create function is_of_another_merchant(owner uuid, told text) returns boolean
    language sql stable
    as $$
    select exists (
        select from merchant
        where merchant.merchant_id = owner and merchant.secondary_merchant_id <> told
            and not exists (
                select from audit_log
                where audit_log.merchant_id = owner and subject_kind = 'merchant'
                    and before ->> 'secondary_merchant_id' = told)
            and not exists (
                select from store_registration
                where store_registration.merchant_id = owner
                    and store_registration.secondary_merchant_id = told)
            and (not merchant.is_default or merchant.version = 1
                or exists (
                    select from merchant as other
                    where other.merchant_id <> owner and other.partner = merchant.partner
                        and other.secondary_merchant_id = told)))
$$;

-- ------------------------------------------------------------------------------------------------
-- Daily files, fetched from Alipay's SFTP server by one replica at a time (docs/protocol.md 9.2).

-- One row per account. A replica claims it by taking a lease and raising `fence`, as in `follow_up`; one that
-- died is followed by another when the lease is over, which makes the same try again: what it brought is known.
create table daily_fetch (
    partner text not null,
    -- Raised by every claim; the holder's proof.
    fence bigint not null default 0,
    leased_until timestamptz,
    -- Who holds the lease, for a person who looks.
    worker text,
    -- The last regular try that was made, and what became of it.
    tried_at timestamptz,
    last_error text,
    succeeded_at timestamptz,
    constraint daily_fetch_pkey primary key (partner),
    constraint daily_fetch_partner_check check (partner ~ '^[0-9]{16}$')
);

-- What the server said of a file when its content was imported: the same again is not fetched again.
create table daily_fetch_file (
    partner text not null,
    name text not null,
    path text not null,
    size_bytes bigint not null,
    -- Absent where the server does not tell: then the file is fetched again, and its content compared.
    modified_at timestamptz,
    fetched_at timestamptz not null default db_now(),
    constraint daily_fetch_file_pkey primary key (partner, name)
);

-- Files that should have come and did not: each is alerted once, and counted until it comes.
create table daily_fetch_missing (
    partner text not null,
    kind text not null,
    -- The GMT+8 day of the sales.
    day date not null,
    noticed_at timestamptz not null default db_now(),
    constraint daily_fetch_missing_pkey primary key (partner, kind, day),
    constraint daily_fetch_missing_kind_check check (kind in ('transaction', 'settlement'))
);
