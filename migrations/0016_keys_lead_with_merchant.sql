-- `merchant_id` leads every unique key of the ledger, so that its tables can be distributed by merchant
-- later: a distributed table can only keep a key that has the merchant in it.
--
-- That an id is unique in its Alipay account for ever (design/correctness.md M9) rests on how it is made
-- (of our own UUID, the primary key) and, for what one merchant has, on the key. What comes from Alipay
-- names an account and an id, not a merchant: it is found by an index.

alter table payment
    drop constraint payment_partner_trans_id_key,
    add constraint payment_partner_trans_id_key unique (merchant_id, partner_trans_id);
create index payment_partner_trans_id_idx on payment (partner, partner_trans_id);

alter table refund
    drop constraint refund_partner_refund_id_key,
    add constraint refund_partner_refund_id_key unique (merchant_id, partner_refund_id);
create index refund_partner_refund_id_idx on refund (partner, partner_refund_id);

alter table notification
    drop constraint notification_notify_id_key,
    add constraint notification_notify_id_key unique (merchant_id, partner, notify_id);
create index notification_notify_id_idx on notification (partner, notify_id);
