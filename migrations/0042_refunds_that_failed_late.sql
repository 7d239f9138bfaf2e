-- A refund that failed after callers were told that it was under way, or done: the buyer was promised money, and a person
-- must see to it. Until then it stands on the work-list.
alter table refund
    add column failed_late boolean not null default false,
    add constraint refund_failed_late_check check (not failed_late or status = 'failed');

drop index refund_open_idx;
create index refund_open_idx on refund (merchant_id, refund_id)
    where status in ('pending', 'unresolved') or contradicted_at is not null or failed_late;
