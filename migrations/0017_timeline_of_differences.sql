-- What files say against the books of a payment is shown on its timeline.
create index reconciliation_difference_payment_idx
    on reconciliation_difference (merchant_id, payment_id);
