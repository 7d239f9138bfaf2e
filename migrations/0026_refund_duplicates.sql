-- A refund that looks like one that was just made: the one it seems to repeat.

-- Volatile on purpose: each statement in such a function sees what is committed when it runs. The intent
-- to refund calls it while it holds the payment's row, so two requests for the same amount at once, under
-- two keys, see each other, although the statement of the second began before the first was committed.
create function suspected_refund_duplicate(of_merchant uuid, of_payment uuid, minor bigint)
    returns uuid
    language plpgsql volatile
    set search_path = public, pg_temp
    as $$
begin
    return (
        select refund_id from refund
        where merchant_id = of_merchant and payment_id = of_payment and amount_minor = minor
            and origin = 'gateway'
            and (status in ('pending', 'unresolved')
                or (status = 'succeeded' and finalized_at > db_now() - interval '60 seconds'))
        order by refund_id desc
        limit 1);
end
$$;
