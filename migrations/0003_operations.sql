-- Cancels that callers ask for, and what operators steer.

-- Why a cancel is under way. A paid payment keeps its status until the cancel is confirmed, so that
-- nobody reads "canceled" while the money is still with the merchant.
alter table payment
    add column cancel_reason text,
    -- Reserved for refunds or returned; a payment with any cannot be canceled. One column, moved by
    -- one guarded update, so that concurrent refunds can never exceed the charge.
    add column refund_reserved_minor bigint not null default 0;

update payment set cancel_reason = 'buyer_did_not_confirm', version = version + 1
where status = 'processing' and status_reason = 'canceling';

alter table payment
    add constraint payment_cancel_reason_check check (
        case
            when cancel_reason is null then
                not (status = 'processing' and status_reason = 'canceling')
            when cancel_reason not in ('requested', 'buyer_did_not_confirm') then false
            else status = 'succeeded' or (status = 'processing' and status_reason = 'canceling')
        end),
    add constraint payment_refund_reserved_check check (
        refund_reserved_minor between 0 and amount_minor);

-- What is still owed an answer.
drop index payment_open_idx;
create index payment_open_idx on payment (merchant_id, payment_id)
    where status in ('processing', 'unresolved') or cancel_reason is not null;

-- A paid payment whose cancel begins, or is refused.
insert into payment_legal_move (from_status, to_status) values ('succeeded', 'succeeded');

-- Who owns a merchant's reference: a payment, or, without one, the tombstone of a cancel that came
-- first. Whoever inserts the row first has decided; the other is refused by the primary key.
create table merchant_reference (
    merchant_id uuid not null references merchant (merchant_id),
    merchant_reference text not null,
    payment_id uuid,
    created_at timestamptz not null default db_now(),
    constraint merchant_reference_pkey primary key (merchant_id, merchant_reference),
    constraint merchant_reference_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id)
);

insert into merchant_reference (merchant_id, merchant_reference, payment_id, created_at)
select merchant_id, merchant_reference, payment_id, created_at from payment;

-- A key without a payment is a tombstone too.
alter table idempotency_key alter column payment_id drop not null;

alter table follow_up
    -- Alipay refused the last cancel for good; a query decides what that means.
    add column cancel_refused boolean not null default false,
    -- Why an operator took the row off the schedule. The payment stays owed.
    add column abandoned_reason text,
    add column abandoned_by uuid;

-- What an operator gave as grounds.
alter table payment_transition
    add column reason text,
    add column ticket text;
