//! The form that is posted, signed over its fields in its own charset (`protocol/wire.md` 2.7, 4).
//! The names are those of the synchronous answers and of the classic notifications both: no document
//! shows the notification of this product.

use super::{Parcel, fault::NotificationFault};
use crate::{
    answer::amount,
    charset::Charset,
    clock::spaced,
    signing::{self, Keys},
};

/// A form, ready to be posted.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) content_type: String,
    pub(crate) body: String,
}

type Fields = Vec<(&'static str, String)>;

impl Parcel {
    /// Signs and encodes the notification of `partner`.
    pub(crate) fn form(&self, keys: &Keys, partner: &str) -> anyhow::Result<Form> {
        let charset = match self.fault {
            Some(NotificationFault::Gbk) => Charset::Gbk,
            _ => self.about.notify_to.charset,
        };
        let fields = self.altered(partner);
        let encoded: Vec<(&[u8], Vec<u8>)> = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), charset.encode(value)))
            .collect();
        let text = signing::canonical(
            encoded
                .iter()
                .map(|(name, value)| (*name, value.as_slice())),
        );
        let mut pairs = encoded;
        if self.fault == Some(NotificationFault::DuplicateField) {
            pairs.insert(0, (b"refund_amount", self.more().into_bytes()));
        }
        let agreed = keys.sign_type().label();
        let (sign, sign_type) = match self.fault {
            Some(NotificationFault::ForgedSignature) => (keys.sign_with_wrong_key(&text), agreed),
            Some(NotificationFault::MissingSign) => (String::new(), agreed),
            Some(NotificationFault::DowngradedSignType) => keys.sign_downgraded(&text),
            _ => (keys.sign(&text)?, agreed),
        };
        if !sign.is_empty() {
            pairs.push((b"sign", sign.into_bytes()));
        }
        pairs.push((b"sign_type", sign_type.as_bytes().to_vec()));
        Ok(Form {
            content_type: format!(
                "application/x-www-form-urlencoded;charset={}",
                charset.label()
            ),
            body: encode(&pairs),
        })
    }

    fn genuine(&self, partner: &str) -> Fields {
        let about = &self.about;
        let refund = &about.refund;
        [
            ("alipay_trans_id", about.alipay_trans_id.as_str()),
            ("currency", &refund.currency),
            ("notify_action_type", "refundFPAction"),
            ("notify_id", &about.notify_id),
            ("notify_time", &spaced(self.notify_time)),
            ("notify_type", &self.notify_type),
            ("out_return_no", &refund.partner_refund_id),
            ("out_trade_no", &refund.partner_trans_id),
            ("partner", partner),
            ("partner_refund_id", &refund.partner_refund_id),
            ("partner_trans_id", &refund.partner_trans_id),
            ("refund_amount", &amount(refund.amount_minor)),
            ("refund_status", "SUCCESS"),
            ("result_code", "SUCCESS"),
            ("seller_id", partner),
            ("trade_no", &about.alipay_trans_id),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into()
    }

    /// One dollar more than was refunded.
    fn more(&self) -> String {
        amount(self.about.refund.amount_minor + 100)
    }

    /// The faults that change what is signed.
    fn altered(&self, partner: &str) -> Fields {
        let mut fields = self.genuine(partner);
        let mut set = |names: &[&str], value: &str| {
            for (name, field) in &mut fields {
                if names.contains(name) {
                    value.clone_into(field);
                }
            }
        };
        match self.fault {
            Some(NotificationFault::OtherPartner) => {
                set(&["partner", "seller_id"], "2088999999999999");
            }
            Some(NotificationFault::OtherTradeId) => {
                set(&["out_trade_no", "partner_trans_id"], "ANOTHER_PAYMENT");
            }
            Some(NotificationFault::OtherRefundId) => {
                set(&["out_return_no", "partner_refund_id"], "ANOTHER_REFUND");
            }
            Some(NotificationFault::OtherAmount) => set(&["refund_amount"], &self.more()),
            Some(NotificationFault::OtherCurrency) => set(&["currency"], "USD"),
            Some(NotificationFault::OtherStatus) => {
                set(&["refund_status"], "FAILED");
                set(&["result_code"], "FAIL");
            }
            Some(NotificationFault::Gbk) => fields.push(("subject", "退款成功".to_owned())),
            Some(NotificationFault::ExtraFields) => {
                fields.push(("subject", "港式奶茶 & toast".to_owned()));
                fields.push(("wallet_brand_name", "Some Wallet & Co <beta>".to_owned()));
                fields.push(("discount_amount", String::new()));
            }
            _ => {}
        }
        fields
    }
}

fn encode(pairs: &[(&[u8], Vec<u8>)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| {
            let part = |bytes| form_urlencoded::byte_serialize(bytes).collect::<String>();
            format!("{}={}", part(name), part(value))
        })
        .collect();
    pairs.join("&")
}
