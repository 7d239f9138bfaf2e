-- A daily file that lacks rows, by its count or its cut end, is provisional: whatever whole version comes
-- takes its place, and it takes no whole one's.
alter table statement_file add column is_provisional boolean not null default false;

alter table reconciliation_difference
    drop constraint reconciliation_difference_class_check,
    add constraint reconciliation_difference_class_check check (class in (
        'identity_differs', 'amount_differs', 'currency_differs', 'fee_differs', 'net_differs',
        'status_differs', 'day_differs', 'missing_in_file', 'unknown_to_us', 'portal_refund',
        'duplicate', 'settled_twice', 'not_settled', 'corrected'));

-- Whether a row of a file names another secondary merchant than the one whose order it is. A merchant may
-- have had other ids before: they are in the audit log and in its registrations; those that `migrate`
-- changed are in neither, so of the configured merchant only what is another merchant's is another's.
create function is_of_another_merchant(owner uuid, told text) returns boolean
    language sql stable
    as $$
    select exists (
        select from merchant
        where merchant.merchant_id = owner and merchant.secondary_merchant_id <> told
            and not exists (
                select from audit_log
                where audit_log.merchant_id = owner and subject_kind = 'merchant'
                    and before ->> 'secondary_merchant_id' = told)
            and not exists (
                select from store_registration
                where store_registration.merchant_id = owner
                    and store_registration.secondary_merchant_id = told)
            and (not merchant.is_default or merchant.version = 1
                or exists (
                    select from merchant as other
                    where other.merchant_id <> owner and other.partner = merchant.partner
                        and other.secondary_merchant_id = told)))
$$;
