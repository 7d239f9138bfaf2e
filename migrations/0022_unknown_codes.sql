-- A verified refusal of a refund whose code means nothing to us: the code, and which of the requests was
-- refused so. The same again, with a "no such refund" between, is a refusal.
alter table refund
    add column unknown_code text,
    add column unknown_code_submits integer,
    add constraint refund_unknown_code_check check (
        (unknown_code is null) = (unknown_code_submits is null));
