-- A wish to undo a payment is kept until it is done, refused for good or withdrawn: also while the
-- payment is unresolved, where it may still turn out paid.
alter table payment
    drop constraint payment_cancel_reason_check,
    add constraint payment_cancel_reason_check check (
        case
            when cancel_reason is null then
                not (status = 'processing' and status_reason = 'canceling')
            when cancel_reason not in ('requested', 'buyer_did_not_confirm') then false
            when status = 'unresolved' then cancel_reason = 'requested'
            else status = 'succeeded' or (status = 'processing' and status_reason = 'canceling')
        end);

-- An unresolved payment for whose cancel a caller asks.
insert into payment_legal_move (from_status, to_status) values ('unresolved', 'unresolved')
on conflict do nothing;
