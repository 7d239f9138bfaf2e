//! What can be wrong with a notification, in the style of [`crate::fault`].

use serde::{Deserialize, Serialize};

/// One way for a notification to be wrong; in JSON `{"type": "forged_signature"}`. All but the first
/// three are signed by Alipay's own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum NotificationFault {
    /// Another key made the signature.
    ForgedSignature,
    /// There is no signature.
    MissingSign,
    /// Signed with MD5 instead of the agreed algorithm.
    DowngradedSignType,
    /// It is for another partner.
    OtherPartner,
    /// It names another payment.
    OtherTradeId,
    /// It names another refund.
    OtherRefundId,
    /// It shows one dollar more.
    OtherAmount,
    /// It shows USD.
    OtherCurrency,
    /// It says that the refund failed, which Alipay never reports.
    OtherStatus,
    /// It is in GBK, says so, and contains Chinese text.
    Gbk,
    /// It has fields that no document knows, Chinese text among them.
    ExtraFields,
    /// The amount stands twice: first another amount, then the truth; only the truth is signed.
    DuplicateField,
    /// It does not say which refund.
    NoRefundId,
    /// Its bytes are GBK, with Chinese text, under a label that says UTF-8.
    Mislabeled,
    /// It arrives after whichever notification is sent next.
    Reorder,
    /// It never arrives.
    Lost,
}

/// A scripted fault: whose notifications it spoils, and how many.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotificationFaultRule {
    /// Only about this refund.
    #[serde(default)]
    pub(crate) partner_refund_id: Option<String>,
    /// How many it spoils.
    #[serde(default = "once")]
    pub(crate) times: u32,
    pub(crate) fault: NotificationFault,
}

fn once() -> u32 {
    1
}

/// Takes the first rule that matches and counts it down; an exhausted rule disappears.
pub(super) fn take(
    rules: &mut Vec<NotificationFaultRule>,
    partner_refund_id: &str,
) -> Option<NotificationFault> {
    let position = rules.iter().position(|rule| {
        let wanted = rule.partner_refund_id.as_deref();
        wanted.is_none_or(|wanted| wanted == partner_refund_id)
    })?;
    let rule = &mut rules[position];
    let fault = rule.fault;
    rule.times = rule.times.saturating_sub(1);
    if rule.times == 0 {
        rules.remove(position);
    }
    Some(fault)
}
