-- A whole version of a daily file corrects what an earlier version alone had said: the wallet of a payment.
-- Which file named it; null where an answer did, whose signature was verified, and where nothing has.
alter table payment add column wallet_file_id uuid;

-- Why the files of a comparison could not be read, and from which line on. The same files again try again.
alter table reconciliation
    add column failure text,
    add constraint reconciliation_failure_check check (failure is null or completed_at is null);
