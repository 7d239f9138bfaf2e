//! The published and self-made test vectors of `docs/protocol.md` 3.5. The private key was made for
//! those notes and protects nothing.

/// V3: public key.
pub(super) const V3_PUBLIC_KEY: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCjNVhJf9PYDFN1PFd4SXEvxmjD0dn+xQ4lQu6o8HbGXz4de/RRVTJDL48qwxn81lar5cNSIjbnhDRXm9fZcrzuwbjqxXOv2Ov7MZAa/WJEcfvp3XcSgxKPB54FLVvHo/rxuMK2xpps47Lpc7vppkvi3ofbXW61S+aT0TWFkUMTnwIDAQAB";
/// V3: SHA-1 signature of `partner=123&service=test`.
pub(super) const V3_SIGN: &str = "TaVXdP/0ia5NxIv9T76v6vGOrtgoaFrwnchKIWP9PQeX1UkUVxaq6ejDFmXFrFR+Plk+E/XzfV2DYJSVt0Am0qJRSgeg+PuvK+yWGCGm9GJgUJlS4Eyta3g+8DWwRWTjUyh5yzlf9JoSnbNjYpBolnMRD7B/u1JLkTMJuMx2TVM=";
/// V4: the RSA key Alipay shares among all partners.
pub(super) const V4_PUBLIC_KEY: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCnxj/9qwVfgoUh/y2W89L6BkRAFljhNhgPdyPuBV64bfQNN1PjbCzkIM6qRdKBoLPXmKKMiFYnkd6rAoprih3/PrQEB/VsW8OoM8fxn67UDYuyBTqA23MML9q1+ilIZwBC2AQ2UBVOrFXfFl75p6/B5KsiNG9zpgmLCUYuLkxpLQIDAQAB";
/// V4: what a real production answer signed, over GBK bytes.
pub(super) const V4_TEXT: &str = "detail_error_code=ACCESS_FORBIDDEN&detail_error_des=ACCESS_FORBIDDEN&display_message=交易失败&out_trade_no=ALDK20190226105652&result_code=ORDER_FAIL";
/// V4: its signature.
pub(super) const V4_SIGN: &str = "jMLZaswcbPhbQcUpNRwlZxYbnuXYLrII03C/n97IEJ0+wO6xWRxHZnF98seEZ7NiUOQNGlXyal5dOjUB6znuGdZxypn7V3pJaQVERvgD48AstC8faW+COGttlyJ7vk6W/RwYqNvmApE//E0z6McsKSnRR5zjiWHhgqmScnnFjR0=";
/// V5: MD5 key.
pub(super) const V5_MD5_KEY: &str = "0123456789abcdef0123456789abcdef";
/// V5: the text of a pay request.
pub(super) const V5_PAY_TEXT: &str = "_input_charset=UTF-8&alipay_seller_id=2088000000000001&biz_product=OVERSEAS_MBARCODE_PAY&buyer_identity_code=281234567890123456&currency=HKD&extend_info={\"secondary_merchant_id\":\"SM001\",\"secondary_merchant_name\":\"Demo Cafe\",\"secondary_merchant_industry\":\"5812\",\"store_id\":\"ST01\",\"store_name\":\"Demo Cafe Central\",\"terminal_id\":\"T1\"}&identity_code_type=barcode&partner=2088000000000001&partner_trans_id=HKT0000001&service=alipay.acquire.overseas.spot.pay&trans_amount=39.25&trans_create_time=20260102030405&trans_name=港式奶茶 & toast";
/// V5: what a query answer signs.
pub(super) const V5_QUERY_TEXT: &str = "alipay_buyer_login_id=852-****0001&alipay_buyer_user_id=2088000000000099&alipay_pay_time=20260102030406&alipay_trans_id=2026010222001400000000000001&alipay_trans_status=TRADE_SUCCESS&currency=HKD&out_trade_no=HKT0000001&partner_trans_id=HKT0000001&payment_inst=ALIPAYHK&result_code=SUCCESS&trans_amount=39.25";
/// V5: what a failed query answer signs.
pub(super) const V5_QUERY_FAILURE_TEXT: &str = "detail_error_code=TRADE_NOT_EXIST&detail_error_des=交易不存在&out_trade_no=HKT0000002&partner_trans_id=HKT0000002&result_code=FAIL";
/// V5: public key.
pub(super) const V5_PUBLIC_KEY: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDY3rhmQ7lEqSp4tvbJEGL0l7aBaIcxVQL7ai8P7WPiOFpnyKbFkertPVPf8DnW37wFqlAaNXkoEejxdOj4cWqJ8q5zFSlhCKHpYnwKQyHrLwjmvZQt7y0krcsS0FT9Vui6lfexWSolWZ8Y9ODFbEVkjwTh70feCXLynUOGxW3BTwIDAQAB";
/// V5: private key.
pub(super) const V5_PRIVATE_KEY: &str = "MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBANjeuGZDuUSpKni29skQYvSXtoFohzFVAvtqLw/tY+I4WmfIpsWR6u09U9/wOdbfvAWqUBo1eSgR6PF06PhxaonyrnMVKWEIoelifApDIesvCOa9lC3vLSStyxLQVP1W6LqV97FZKiVZnxj04MVsRWSPBOHvR94JcvKdQ4bFbcFPAgMBAAECgYAjQIje7rFF7O2fc7ZH1qcPNT4QaQpYxYXXkloWD7OFyT1A04fwY5i5eZeRtj3gpLuufBHLQNfx4H9qCGP6Ro1XlHtsVvr2OY8uoz19861v3ztmjDVctlHDd1MrXeDalComn2mCaPbD8aH6syKqMNNUeuw7iE2PnzOXNiVdETO0cQJBAPN+VNkn1frBcBhkDDLSQySddWftQoaEI3/+oGc3swG0nJ03cS3czdWt0oRWZ6+7HhxCkGhCnJy7jC3/RZcPAVcCQQDkAlHXxDAJflPKjygQwiZg5mO38KwF9ExYV4U/5XSy26ozq9pQtr48ygZe6ss7pocuX9RQa5rAuRKGg70kc2zJAkEA6xyT7y8Q5dS8WUDZqoTugj9sK1KkRuD2qlOCLMhSl5X/F6t+JGutcOMrf88yxTNnqp/3ckTHlmtduthfKLI7dwJBAJHbegeRFTm9elSl53dw+6QZPck5SJI2iXAp7K/HVTPlmaecU/g2LtQsWI73nDL4gJmF7AfWDhUjT1qFg8WBoSECQHWzbiYgBRa4bjWvyhBA9EN7Xxk0HbUpHpMwp1qCxsBw9pBVcfYlf7gNsxPKOJr4iCrPXG9jLG5RpTHIC1rA7co=";
/// V5: the text of the RSA and RSA2 signatures.
pub(super) const V5_RSA_TEXT: &str = "_input_charset=UTF-8&currency=HKD&partner=2088000000000001&partner_trans_id=HKT0000001&service=alipay.acquire.overseas.query&trans_name=港式奶茶";
/// V5: SHA-1 signature.
pub(super) const V5_RSA_SIGN: &str = "M/TsSEkV6vR0+sUwpoqkfhh/cKU00SbHszWW41Gk/HnilggrBw+Fbnggj1d6Q3V4h3mdJhmOu99epaGaTjWq5tbgOgFJnwwudM3W2SctSJ6BW5od5VG5+U4wYVRTMO6vAzzcwx9YCvC3BZhLisSgDvf0QXp6JDY4iiiaINDOEt0=";
/// V5: SHA-256 signature.
pub(super) const V5_RSA2_SIGN: &str = "Tln+z2+DAFl3/PRyBPtXAQCyz+QmABc2azFTT27eRgWs8xHiE8OIw57Cv2Ldn1GzVnG0kU/dVIfC5JYqlYFAt0PQQ7SzvqkneN7MS4DP8Jy294QKxRT1UXSWF8J8MCF6gMaQYA3MW2vKhzLJdaKYvX6RGMGNplb2yhFPpWf93Os=";
