//! What can go wrong with an answer. The same list serves the scenario table, where a fault belongs
//! to the ending of a code, and the control API, where a test scripts it for the next request.
//!
//! A fault either prevents the effect (nothing is booked) or lets it happen and spoils the answer;
//! [`Fault::prevents_effect`] says which, in one place.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::params::Service;

/// Text that is constant in the scenario table and owned in a scripted fault.
pub(crate) type Text = Cow<'static, str>;

/// One way for an answer to go wrong; in JSON `{"type": "drop_after_effect"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Fault {
    /// The connection closes without a byte; nothing happened.
    DropBeforeEffect,
    /// The connection closes without a byte although the request took effect.
    DropAfterEffect,
    /// The answer comes `ms` milliseconds late (real time); the effect at once.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The answer comes after the time given by `--slow-answer-ms`.
    SlowAnswer,
    /// The answer is held until `POST /_control/release`.
    Hold,
    /// An HTML page under another status.
    HttpStatus {
        /// The HTTP status.
        status: u16,
    },
    /// An HTML page with status 200.
    Html,
    /// A 302 to another place.
    Redirect {
        /// The `Location` header.
        location: Text,
    },
    /// SYSTEM_ERROR, and nothing happened.
    SystemErrorBeforeEffect,
    /// SYSTEM_ERROR although the request took effect.
    SystemErrorAfterEffect,
    /// The answer is signed by another key.
    WrongSignatureKey,
    /// The answer carries no signature.
    MissingSignature,
    /// The answer is signed with MD5 instead of the agreed algorithm.
    DowngradeSignType,
    /// The answer names another payment (and refund), or another store.
    WrongId,
    /// The answer shows one dollar more.
    WrongAmount,
    /// The answer shows USD.
    WrongCurrency,
    /// The answer echoes another partner.
    WrongPartner,
    /// The body breaks off after `bytes` bytes and the connection closes.
    Truncate {
        /// How many bytes of the body are sent.
        bytes: usize,
    },
    /// A complete HTTP answer that holds only the first half of the XML.
    TruncatedXml,
    /// `result_code` (`refund_result_code` for a refund query) stands twice: first the opposite, then
    /// the truth.
    DuplicateElement,
    /// A document type with an entity precedes the answer.
    Doctype,
    /// Nothing happened; a comment in the (signed) answer claims success.
    CommentSuccess,
    /// Nothing happened; a CDATA section in the (signed) answer claims success.
    CdataSuccess,
    /// Nothing happened, but an unsigned answer says SUCCESS.
    ForgedSuccess,
    /// A forged `<response>` precedes the signed one.
    SecondResponse,
    /// The answer is larger than 256 KiB.
    Oversized,
    /// The answer is in GBK and contains Chinese text.
    Gbk,
    /// As `gbk`, but declared as GB2312.
    Gb2312,
    /// The answer declares UTF-8 but its bytes are GBK.
    WrongCharset,
    /// The answer has fields that no document knows, and longer values.
    UnknownFields,
    /// The answer leaves fields out.
    Omit {
        /// Their names, with commas between them.
        fields: Text,
    },
    /// The answer has this result and error; nothing happened.
    Result {
        /// `result_code` (`response_code` for a refund query).
        code: Text,
        /// The error code, if there is one.
        #[serde(default)]
        error: Option<Text>,
    },
    /// As `result`, although the request took effect.
    ResultAfterEffect {
        /// `result_code` (`response_code` for a refund query).
        code: Text,
        /// The error code, if there is one.
        #[serde(default)]
        error: Option<Text>,
    },
    /// A refund is refused; nothing happened.
    RefundRefuse { code: Text },
    /// The gateway refuses: `is_success=F`; nothing happened.
    AccessError {
        /// The `error` element.
        code: Text,
    },
    /// A query pretends that it does not know the trade (or refund, or registration).
    NotExist,
    /// The answer says nothing of the effect, or only that all is well; the effect comes later, or never.
    LateEffect {
        /// What is answered now.
        answer: LateAnswer,
        /// After how many seconds of the simulator's clock the request takes effect: 0 at once, none
        /// never.
        #[serde(default)]
        after_seconds: Option<u32>,
    },
    /// A cancel fails; nothing happened.
    CancelFail {
        /// `detail_error_code`.
        code: Text,
        /// `Y` or `N`.
        retry_flag: Text,
    },
}

/// How a request is answered whose effect is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LateAnswer {
    Unknown,
    /// `FAIL` with `SYSTEM_ERROR`.
    SystemError,
    /// The connection closes without a byte.
    Nothing,
    /// `SUCCESS` with `retry_flag=Y`; of a cancel alone.
    RetrySuccess,
    /// `SUCCESS`, as if it were done; a cancel says that it closed the trade.
    Success,
}

impl Fault {
    /// Whether the request stays without effect.
    pub(crate) fn prevents_effect(&self) -> bool {
        matches!(
            self,
            Self::DropBeforeEffect
                | Self::SystemErrorBeforeEffect
                | Self::CommentSuccess
                | Self::CdataSuccess
                | Self::ForgedSuccess
                | Self::Result { .. }
                | Self::RefundRefuse { .. }
                | Self::AccessError { .. }
                | Self::NotExist
                | Self::LateEffect { .. }
                | Self::CancelFail { .. }
        )
    }

    /// Whether the connection closes without a byte.
    pub(crate) fn drops_answer(&self) -> bool {
        matches!(
            self,
            Self::DropBeforeEffect
                | Self::DropAfterEffect
                | Self::LateEffect {
                    answer: LateAnswer::Nothing,
                    ..
                }
        )
    }

    /// Whether the fault makes sense for `service` (`None`: any).
    pub(crate) fn suits(&self, service: Option<Service>) -> bool {
        match self {
            Self::NotExist => {
                matches!(
                    service,
                    Some(Service::Query | Service::RefundQuery | Service::QueryStatus)
                )
            }
            Self::RefundRefuse { .. } => service == Some(Service::Refund),
            Self::CancelFail { .. }
            | Self::LateEffect {
                answer: LateAnswer::RetrySuccess,
                ..
            } => service == Some(Service::Cancel),
            Self::LateEffect { .. } => {
                matches!(service, Some(Service::Cancel | Service::Refund))
            }
            _ => true,
        }
    }
}

/// A scripted fault: who it is for and how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultRule {
    /// The service, or `any`.
    pub(crate) service: RuleService,
    /// Only for this payment.
    #[serde(default)]
    pub(crate) partner_trans_id: Option<String>,
    /// Only for this refund.
    #[serde(default)]
    pub(crate) partner_refund_id: Option<String>,
    /// How many requests it spoils.
    #[serde(default = "once")]
    pub(crate) times: u32,
    pub(crate) fault: Fault,
}

fn once() -> u32 {
    1
}

/// The service of a [`FaultRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RuleService {
    /// spot.pay.
    Pay,
    /// overseas.query.
    Query,
    /// cancel.
    Cancel,
    /// spot.refund.
    Refund,
    /// refund.query.
    RefundQuery,
    /// secmerchant.offline.maintain.
    Maintain,
    /// secmerchant.maintain.queryStatus.
    QueryStatus,
    Any,
}

impl RuleService {
    /// The one service meant, `None` for all.
    pub(crate) fn service(self) -> Option<Service> {
        match self {
            Self::Pay => Some(Service::Pay),
            Self::Query => Some(Service::Query),
            Self::Cancel => Some(Service::Cancel),
            Self::Refund => Some(Service::Refund),
            Self::RefundQuery => Some(Service::RefundQuery),
            Self::Maintain => Some(Service::Maintain),
            Self::QueryStatus => Some(Service::QueryStatus),
            Self::Any => None,
        }
    }
}

/// Takes the first rule that matches and counts it down; an exhausted rule disappears.
pub(crate) fn take(
    rules: &mut Vec<FaultRule>,
    service: Service,
    partner_trans_id: Option<&str>,
    partner_refund_id: Option<&str>,
) -> Option<Fault> {
    let meant =
        |wanted: &Option<String>, id: Option<&str>| wanted.is_none() || wanted.as_deref() == id;
    let position = rules.iter().position(|rule| {
        rule.service
            .service()
            .is_none_or(|wanted| wanted == service)
            && meant(&rule.partner_trans_id, partner_trans_id)
            && meant(&rule.partner_refund_id, partner_refund_id)
    })?;
    let rule = &mut rules[position];
    let fault = rule.fault.clone();
    rule.times = rule.times.saturating_sub(1);
    if rule.times == 0 {
        rules.remove(position);
    }
    Some(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> FaultRule {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn rules_are_taken_in_order_and_counted_down() {
        let mut rules = vec![
            rule(r#"{"service":"pay","partner_trans_id":"A","fault":{"type":"hold"}}"#),
            rule(r#"{"service":"any","times":2,"fault":{"type":"delay","ms":5}}"#),
        ];
        let delay = Some(Fault::Delay { ms: 5 });
        let mut next = |service| take(&mut rules, service, Some("A"), None);
        assert_eq!(next(Service::Query), delay);
        assert_eq!(next(Service::Pay), Some(Fault::Hold));
        assert_eq!(next(Service::Pay), delay);
        assert_eq!(next(Service::Pay), None);
    }

    #[test]
    fn a_rule_can_be_for_one_refund() {
        let mut rules = vec![rule(
            r#"{"service":"any","partner_refund_id":"R2","fault":{"type":"hold"}}"#,
        )];
        let mut next = |refund| take(&mut rules, Service::RefundQuery, Some("A"), refund);
        assert_eq!(next(None), None);
        assert_eq!(next(Some("R1")), None);
        assert_eq!(next(Some("R2")), Some(Fault::Hold));
    }

    #[test]
    fn a_refusal_of_a_refund_suits_refunds_only() {
        let refuse = rule(r#"{"service":"refund","fault":{"type":"refund_refuse","code":"X"}}"#);
        assert!(refuse.fault.suits(Some(Service::Refund)));
        assert!(!refuse.fault.suits(Some(Service::Pay)));
        assert!(!refuse.fault.suits(None));
    }

    #[test]
    fn a_late_effect_suits_what_moves_money_back() {
        let late = |answer: &str| {
            let json = format!(
                r#"{{"service":"any","fault":{{"type":"late_effect","answer":"{answer}","after_seconds":4}}}}"#
            );
            rule(&json).fault
        };
        for service in [Service::Cancel, Service::Refund] {
            assert!(late("unknown").suits(Some(service)));
        }
        assert!(!late("unknown").suits(Some(Service::Pay)));
        assert!(!late("unknown").suits(None));
        assert!(late("retry_success").suits(Some(Service::Cancel)));
        assert!(!late("retry_success").suits(Some(Service::Refund)));
    }

    #[test]
    fn unknown_faults_and_fields_are_refused() {
        for json in [
            r#"{"service":"pay","fault":{"type":"explode"}}"#,
            r#"{"service":"pay","fault":{"type":"delay"}}"#,
            r#"{"service":"buy","fault":{"type":"hold"}}"#,
            r#"{"service":"pay","time":1,"fault":{"type":"hold"}}"#,
        ] {
            assert!(serde_json::from_str::<FaultRule>(json).is_err(), "{json}");
        }
    }
}
