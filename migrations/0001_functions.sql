-- What every capability uses: the clock, days, ids and amounts as people see them, and the guard of rows
-- that only grow in number.
--
-- Conventions of the schema: singular table names; all times are `timestamptz`; money is a bigint of minor
-- units. `merchant_id` leads the primary key of whatever is a merchant's and is in each of its other unique
-- keys (R24); what is an Alipay account's leads with `partner`. Portable SQL only: no advisory locks, no
-- LISTEN/NOTIFY, no sequences for ids.

-- The one source of time for rows, due dates and leases. Replicas may have wrong clocks; this one
-- decides (R17). Tests replace the body to move time. `stable` and plain SQL, so the planner inlines it.
create function db_now() returns timestamptz
    language sql stable parallel safe
    as 'select now()';

-- ------------------------------------------------------------------------------------------------
-- Numbers that statements and guards share. Where the domain has them too, a test holds them equal.

-- After how long an open payment, or a cancel of a paid one, needs a person.
create function open_for_too_long() returns interval
    language sql immutable parallel safe
    as $$ select interval '10 minutes' $$;

-- How many refusals at Alipay's door in a row need a person.
create function refusals_for_a_person() returns integer
    language sql immutable parallel safe
    as $$ select 2 $$;

-- How long after its intent a cancel may act that no answer has ruled out (M11).
create function cancel_acts_within() returns interval
    language sql immutable parallel safe
    as $$ select interval '1 minute' $$;

-- For how long the same scan, or a refund of the same amount, looks like a repeat (D9).
create function suspect_repeats_for() returns interval
    language sql immutable parallel safe
    as $$ select interval '60 seconds' $$;

-- ------------------------------------------------------------------------------------------------
-- Days, ids and amounts.

-- The GMT+8 day of an instant: Alipay's day, whatever the zone of the machine (T1).
create function business_day(at timestamptz) returns date
    language sql immutable parallel safe
    as $$ select ((at at time zone 'UTC') + interval '8 hours')::date $$;

-- An id as the API shows it.
create function public_id(prefix text, id uuid) returns text
    language sql immutable parallel safe
    as $$ select prefix || replace(id::text, '-', '') $$;

-- An amount for people, such as 128.50 HKD.
create function money_text(minor bigint, currency text) returns text
    language sql immutable parallel safe
    as $$
    select case
        when currency in ('JPY', 'KRW', 'VND') then minor::text
        else (minor / 100)::text || '.' || lpad((minor % 100)::text, 2, '0')
    end || ' ' || currency
$$;

-- ------------------------------------------------------------------------------------------------
-- Behind rows that are never changed, and tables that are never emptied (S8). Functions of triggers have
-- a search path of their own: one that looked along the session's could be shown other tables, since
-- temporary ones come first.
create function refuse_change() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'check_violation';
end
$$;
