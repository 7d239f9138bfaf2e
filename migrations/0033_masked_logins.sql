-- A login that Alipay has masked in the middle keeps what it shows at both ends: 132****6685.
alter table payment
    drop constraint payment_buyer_masked_check,
    add constraint payment_buyer_masked_check check (
        buyer_user_id ~ '^[^*]{0,4}[*]{3,}[^*]{0,4}$'
        and buyer_login_id ~ '^[^*]{0,2}[*]{3}@|^([0-9]{1,4}-)?[^*@]{0,4}[*]{3,}[^*@]{0,4}$');
