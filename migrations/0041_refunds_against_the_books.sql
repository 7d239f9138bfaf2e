-- What a refused refund says of its payment, and a refund that was done and that Alipay does not know.

alter table contradiction
    drop constraint contradiction_claim_check,
    add constraint contradiction_claim_check check (
        case
            when refund_id is null then claim in
                ('paid', 'buyer_must_confirm', 'declined', 'closed', 'not_found', 'not_refundable',
                    'refund_made_in_portal')
            else claim in
                ('refund_succeeded', 'refund_accepted', 'refund_waiting', 'refund_not_found')
        end);

-- It stays as it is while that stands.
insert into refund_legal_move (from_status, to_status) values ('succeeded', 'succeeded')
on conflict do nothing;
