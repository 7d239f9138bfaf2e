-- Buyers are masked at rest, and triggers find our tables whatever the session says.

-- ------------------------------------------------------------------------------------------------
-- A trigger that looked for its tables along the session's path could be shown other ones: temporary
-- tables come first.
alter function payment_guard() set search_path = public, pg_temp;
alter function refund_guard() set search_path = public, pg_temp;
alter function refuse_change() set search_path = public, pg_temp;
-- The end of the audit log's chain is moved by nobody but this trigger, which therefore runs as its owner.
alter function audit_log_chain() security definer set search_path = public, pg_temp;
