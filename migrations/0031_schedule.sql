-- A parked row is retried, slowly: what kept it from being visited may be gone. Only what an operator
-- took off the schedule is never due.
drop index follow_up_due_idx;
create index follow_up_due_idx on follow_up (due_at) where abandoned_reason is null;

-- How often in a row Alipay refused at its door what was asked about the payment or the refund: nobody
-- but whoever looks after the account can settle it.
alter table follow_up add column access_refusals integer not null default 0;

-- Whether an open payment, or the cancel of a paid one, needs a person: what the domain says as
-- `Payment::needs_a_person`, behind the statement by which a person decides.
create function payment_needs_a_person(payment payment, access_refusals integer) returns boolean
    language sql stable parallel safe
    as $$
        select case payment.status
            when 'unresolved' then true
            when 'processing' then
                access_refusals >= 2
                or payment.created_at <= db_now() - interval '10 minutes'
            when 'succeeded' then
                payment.cancel_reason is not null
                and (access_refusals >= 2
                    or payment.updated_at <= db_now() - interval '10 minutes'
                    or business_day(coalesce(payment.paid_at, payment.created_at))
                        < business_day(db_now()))
            else false
        end
    $$;

-- A decision about what is not even unresolved stands on evidence that is never changed: the payment's
-- age, or the refusals that were answered.
create function payment_resolution_guard() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    if new.reason is null or new.ticket is null or new.api_key_id is null then
        raise exception 'a decision about payment % lacks its grounds', new.payment_id
            using errcode = 'check_violation', constraint = 'payment_resolution_grounds';
    end if;
    if new.from_status = 'processing' and not exists (
        select from payment
        where merchant_id = new.merchant_id and payment_id = new.payment_id
            and (created_at <= db_now() - interval '10 minutes'
                or 2 <= (
                    select count(*) from attempt
                    where attempt.merchant_id = payment.merchant_id
                        and attempt.payment_id = payment.payment_id
                        and attempt.refund_id is null and answer_class = 'access_refused'))
    ) then
        raise exception 'payment % needs nobody''s decision yet', new.payment_id
            using errcode = 'check_violation', constraint = 'payment_resolution_time';
    end if;
    return new;
end
$$;

create trigger payment_resolution_guard
    before insert on payment_transition
    for each row when (new.event = 'resolved')
    execute function payment_resolution_guard();
