-- That a paid trade is closed is taken for the return of its money, which not every answer says: a person may know better,
-- although nothing contradicts it, and whoever closed the trade.
create or replace function payment_final_guard() returns trigger
    language plpgsql
    set search_path = public, pg_temp
    as $$
begin
    if old.contradicted_at is null
        and (new.status, new.status_reason, new.failure_code, new.money_returned)
            is distinct from
            (old.status, old.status_reason, old.failure_code, old.money_returned)
        and not (old.status = 'canceled' and old.charged and new.decided_by_operator
            and (new.status, new.status_reason) = (old.status, old.status_reason))
    then
        raise exception 'illegal move of payment %: % to %, which nothing contradicts',
                old.payment_id, old.status, new.status
            using errcode = 'check_violation', constraint = 'payment_legal_move';
    end if;
    return new;
end
$$;
