//! The form that is posted, signed over its fields in its own charset (`docs/protocol.md` 3.6, 8).

use super::{Parcel, Shape, fault::NotificationFault};
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
        let own = self.about.notify_to.charset;
        let (charset, label) = match self.fault {
            Some(NotificationFault::Gbk) => (Charset::Gbk, Charset::Gbk.label()),
            Some(NotificationFault::Mislabeled) => (Charset::Gbk, Charset::Utf8.label()),
            _ => (own, own.label()),
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
            let (name, _) = self.amount();
            pairs.insert(0, (name.as_bytes(), self.more().into_bytes()));
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
            content_type: format!("application/x-www-form-urlencoded;charset={label}"),
            body: encode(&pairs),
        })
    }

    fn genuine(&self, partner: &str) -> Fields {
        let about = &self.about;
        let (refund, trade) = (&about.refund, &about.trade);
        let (amount_field, amount_text) = self.amount();
        let common = [
            (amount_field, amount_text.as_str()),
            ("notify_action_type", "refundFPAction"),
            ("notify_id", &about.notify_id),
            ("notify_time", &spaced(self.notify_time)),
            ("notify_type", &self.notify_type),
            ("out_trade_no", &refund.partner_trans_id),
            ("seller_id", partner),
            ("trade_no", &trade.alipay_trans_id),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        let shaped: Fields = match self.shape {
            Shape::Family => [
                ("buyer_id", trade.buyer_user_id.as_str()),
                ("out_biz_no", &refund.partner_refund_id),
                ("total_fee", &amount(trade.amount_minor)),
                ("trade_status", trade.status.label()),
            ]
            .map(|(name, value)| (name, value.to_owned()))
            .into(),
            Shape::Answer => [
                ("alipay_trans_id", trade.alipay_trans_id.as_str()),
                ("currency", &refund.currency),
                ("out_return_no", &refund.partner_refund_id),
                ("partner", partner),
                ("partner_refund_id", &refund.partner_refund_id),
                ("partner_trans_id", &refund.partner_trans_id),
                ("refund_status", "SUCCESS"),
                ("result_code", "SUCCESS"),
            ]
            .map(|(name, value)| (name, value.to_owned()))
            .into(),
        };
        common.into_iter().chain(shaped).collect()
    }

    /// The amount and its name: what was refunded so far, or by this refund.
    fn amount(&self) -> (&'static str, String) {
        let about = &self.about;
        match self.shape {
            Shape::Family => ("refund_fee", amount(about.trade.refunded_minor)),
            Shape::Answer => ("refund_amount", amount(about.refund.amount_minor)),
        }
    }

    /// One dollar more than was refunded.
    fn more(&self) -> String {
        amount(self.about.refund.amount_minor + 100)
    }

    /// The faults that change what is signed.
    fn altered(&self, partner: &str) -> Fields {
        let mut fields = self.genuine(partner);
        let (amount_field, _) = self.amount();
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
            Some(NotificationFault::OtherRefundId) => set(&REFUND_IDS, "ANOTHER_REFUND"),
            Some(NotificationFault::NoRefundId) => {
                fields.retain(|(name, _)| !REFUND_IDS.contains(name));
            }
            Some(NotificationFault::OtherAmount) => set(&[amount_field], &self.more()),
            Some(NotificationFault::OtherCurrency) => {
                fields.retain(|(name, _)| *name != "currency");
                fields.push(("currency", "USD".to_owned()));
            }
            Some(NotificationFault::OtherStatus) => {
                set(&["refund_status"], "FAILED");
                set(&["result_code"], "FAIL");
                set(&["trade_status"], "TRADE_PENDING");
            }
            Some(NotificationFault::Gbk | NotificationFault::Mislabeled) => {
                fields.push(("subject", "退款成功".to_owned()));
            }
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

/// The names of the refund.
const REFUND_IDS: [&str; 3] = ["out_biz_no", "out_return_no", "partner_refund_id"];

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
