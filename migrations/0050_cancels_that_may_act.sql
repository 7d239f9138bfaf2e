-- Until when a cancel of a payment may act that no answer has ruled out: a minute after it left, whatever
-- "done" it was answered. Volatile, so that it sees what was committed before the caller's lock was granted.
create function cancel_may_act_until(of_merchant uuid, of_payment uuid, classes text[])
    returns timestamptz
    language plpgsql volatile
    set search_path = public, pg_temp
    as $$
begin
    return (
        select max(sent_at) + interval '1 minute' from attempt
        where merchant_id = of_merchant and payment_id = of_payment and kind = 'cancel'
            and sent_at > db_now() - interval '1 minute'
            and (answer_class is null or answer_class = any (classes)));
end
$$;
