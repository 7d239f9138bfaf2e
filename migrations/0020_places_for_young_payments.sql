-- Until when the buyer of a payment may confirm: the visits of such payments have places of their own,
-- so that nothing else delays them. Absent where nobody waits at a till: the payment is being closed,
-- or the row is about something else.

alter table follow_up add column confirming_until timestamptz;

update follow_up
set confirming_until = payment.created_at + payment.cancel_after_seconds * interval '1 second'
from payment
where follow_up.kind = 'payment' and follow_up.cancels = 0
    and payment.merchant_id = follow_up.merchant_id
    and payment.payment_id = follow_up.subject_id;

-- What the claim for those places scans: however many others are due, only these.
create index follow_up_confirming_idx on follow_up (confirming_until)
    where abandoned_reason is null and confirming_until is not null;
