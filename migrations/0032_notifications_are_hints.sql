-- What Alipay posts is a hint: it is noted, and the payment or the refund that it is about is asked about at
-- once, also where that is settled. Nothing is settled by the notification itself.

alter table follow_up
    -- From when on a question is owed besides the plan: something told us to look. Answered, it is gone.
    add column question_due_at timestamptz;

alter table notification
    add column payment_id uuid,
    -- What it is about, in our words.
    add column kind text not null default 'refund',
    -- Fields that no document of ours names: their names, never their values.
    add column unknown_fields text[] not null default '{}',
    -- A refund that is not named, or was not asked for here.
    alter column refund_id drop not null,
    add constraint notification_payment_fkey foreign key (merchant_id, payment_id)
        references payment (merchant_id, payment_id),
    add constraint notification_subject_check check (num_nonnulls(payment_id, refund_id) >= 1),
    add constraint notification_kind_check check (
        kind in ('refund', 'paid', 'closed', 'finished', 'other'));

alter table notification alter column kind drop default;
