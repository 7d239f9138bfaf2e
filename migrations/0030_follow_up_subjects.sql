-- What the schedule visits, whatever its kind: one branch each, so that no statement of the schedule names
-- one. A new kind of job adds a branch, and the kind to `follow_up_kind_check`.

create view follow_up_subject as
select merchant_id, 'payment' as kind, payment_id as subject_id,
    status in ('processing', 'unresolved') or cancel_reason is not null
        or contradicted_at is not null as is_open
from payment
union all
select merchant_id, 'refund', refund_id,
    status in ('pending', 'unresolved') or contradicted_at is not null
from refund
union all
select merchant_id, 'registration', registration_id, status not in ('approved', 'rejected')
from store_registration;
