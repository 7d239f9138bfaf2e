-- What a payment costs at the database, besides its rows (P1).
--
-- The statements that write a payment, and what belongs to it, write or lock the rows that these
-- constraints looked up once more: eight lookups for one payment, each a query of its own. Those of the
-- merchant and of the store lock one row that all tills share, which concurrent transactions turn into a
-- list of lockers that is written for each of them. No row they lead to is ever deleted: the service has no
-- right to, and `database verify` finds what leads nowhere, whoever did it.

alter table payment
    drop constraint payment_merchant_id_fkey,
    drop constraint payment_store_fkey;
alter table merchant_reference
    drop constraint merchant_reference_merchant_id_fkey,
    drop constraint merchant_reference_payment_fkey;
alter table recent_scan drop constraint recent_scan_payment_fkey;
alter table idempotency_key drop constraint idempotency_key_payment_fkey;
alter table attempt drop constraint attempt_payment_fkey;
alter table payment_transition drop constraint payment_transition_payment_fkey;

-- An id of ours or of Alipay's finds its payment by itself: whose it is, is compared afterwards.
drop index payment_partner_trans_id_idx;
drop index payment_partner_alipay_trans_id_idx;
drop index payment_alipay_trans_id_idx;
create index payment_alipay_trans_id_idx on payment (alipay_trans_id, merchant_id)
    where alipay_trans_id is not null;

-- Rows that come and go within seconds are cleared away within a minute, however many there are; and
-- tables that only grow are counted often enough for their newest rows to be known to the planner.
alter table follow_up set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0);
alter table recent_scan set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table payment set (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
alter table attempt set (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
alter table payment_transition set (autovacuum_analyze_scale_factor = 0.02);
