-- Alipay's daily files, fetched from its SFTP server by one replica at a time.

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
