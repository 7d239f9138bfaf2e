-- A plan that is made while a table is empty is kept for as long as the session lives, and on an empty table every index
-- that begins with `merchant_id` looks as good as the primary key: the checks of foreign keys took
-- `payment_partner_trans_id_key` and walked all payments of the merchant, for each payment six times. So `merchant_id`
-- leads the primary keys, and is in every other key (for a table that is distributed by it) without leading it.

alter table payment
    drop constraint payment_merchant_reference_key,
    add constraint payment_merchant_reference_key unique (merchant_reference, merchant_id),
    drop constraint payment_partner_trans_id_key,
    add constraint payment_partner_trans_id_key unique (partner_trans_id, merchant_id);

drop index attempt_payment_idx;
create index attempt_payment_idx on attempt (payment_id, merchant_id, attempt_id);

alter table follow_up
    drop constraint follow_up_subject_key,
    add constraint follow_up_subject_key unique (subject_id, kind, merchant_id);

drop index refund_payment_idx;
create index refund_payment_idx on refund (payment_id, merchant_id, refund_id);
alter table refund
    drop constraint refund_partner_refund_id_key,
    add constraint refund_partner_refund_id_key unique (partner_refund_id, merchant_id);
