//! The verified fields of an answer, and the comparisons each service makes with them.

use std::{collections::BTreeMap, fmt};

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::{
    alipay::{error::Fault, result_code, xml::Element},
    domain::{
        calendar::beijing,
        id::PartnerTransId,
        money::Money,
        payments::{
            buyer::{BuyerLoginId, BuyerUserId},
            payment::Charge,
        },
    },
};

/// The fields of the business element as they were signed: trimmed, entities resolved, empty ones
/// left out, a nested one as its raw XML.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::alipay) struct Fields(BTreeMap<String, String>);

/// `result_code` in either spelling of each value (`docs/protocol.md` 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResultCode {
    Success,
    Fail,
    Unknown,
    /// A value that no page names.
    Other,
}

impl Fields {
    pub(super) fn of(elements: &[&Element], document: &str) -> Result<Self, Fault> {
        let mut fields = BTreeMap::new();
        for element in elements {
            let value = if element.children.is_empty() {
                element.text.trim()
            } else {
                document.get(element.raw.clone()).unwrap_or_default().trim()
            };
            if !value.is_empty() {
                fields.insert(element.name.clone(), value.to_owned());
            }
        }
        let fields = Self(fields);
        if fields.is_ambiguous() {
            return Err(Fault::malformed(
                "two sets of fields would have one signature",
            ));
        }
        Ok(fields)
    }

    /// Whether a value could be cut into a further field without changing the signed text. Someone
    /// who swallows `&error=...` into the field before it would otherwise keep a good signature.
    fn is_ambiguous(&self) -> bool {
        let mut rest = self.0.iter().peekable();
        while let Some((name, value)) = rest.next() {
            let next = rest.peek().map(|(next, _)| next.as_str());
            let hidden = value.split('&').skip(1).any(|part| {
                part.split_once('=').is_some_and(|(hidden, _)| {
                    is_name(hidden)
                        && hidden > name.as_str()
                        && next.is_none_or(|next| hidden < next)
                })
            });
            if hidden {
                return true;
            }
        }
        false
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// `result_code`; its absence makes the answer unreadable.
    pub(super) fn result_code(&self) -> Result<ResultCode, Fault> {
        let text = self
            .get("result_code")
            .ok_or_else(|| Fault::malformed("there is no result_code"))?;
        Ok(if text == "SUCCESS" {
            ResultCode::Success
        } else if matches!(text, "FAIL" | "FAILED") {
            ResultCode::Fail
        } else if matches!(text, "UNKNOW" | "UNKNOWN") {
            ResultCode::Unknown
        } else {
            ResultCode::Other
        })
    }

    /// The error code, under either of its names.
    pub(super) fn error_code(&self) -> Option<&str> {
        self.get("error").or_else(|| self.get("detail_error_code"))
    }

    /// Whether the answer says "temporarily unavailable" under any of its names.
    pub(super) fn says_system_error(&self) -> bool {
        [
            "error",
            "detail_error_code",
            "refund_error_code",
            "response_code",
        ]
        .iter()
        .filter_map(|name| self.get(name))
        .any(result_code::is_system_error)
    }

    /// Alipay's id of the trade, under either of its names.
    pub(super) fn alipay_trans_id(&self) -> Option<String> {
        self.owned("alipay_trans_id")
            .or_else(|| self.owned("trade_no"))
    }

    /// The wallet of the buyer.
    pub(super) fn wallet(&self) -> Option<String> {
        self.owned("payment_inst")
    }

    /// What the answer says of a charge.
    pub(super) fn charge(&self) -> Charge {
        Charge {
            paid_at: self.time("alipay_pay_time"),
            wallet: self.wallet(),
            wallet_file: None,
            buyer_user_id: self.get("alipay_buyer_user_id").map(BuyerUserId::mask),
            buyer_login_id: self.get("alipay_buyer_login_id").map(BuyerLoginId::mask),
        }
    }

    /// An instant in GMT+8, in either of Alipay's forms; an unreadable one counts as absent.
    pub(super) fn time(&self, name: &str) -> Option<DateTime<Utc>> {
        let text = self.get(name)?;
        ["%Y%m%d%H%M%S", "%Y-%m-%d %H:%M:%S"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?
            .and_local_timezone(beijing())
            .single()
            .map(|at| at.with_timezone(&Utc))
    }

    /// Refuses an answer about another trade: no id it carries may differ from ours.
    pub(super) fn agree_on_trade(
        &self,
        ours: &PartnerTransId,
        alipays: Option<&str>,
    ) -> Result<(), Fault> {
        self.agree("partner_trans_id", ours.as_str())?;
        self.agree("out_trade_no", ours.as_str())?;
        match alipays {
            Some(id) => {
                self.agree("alipay_trans_id", id)?;
                self.agree("trade_no", id)
            }
            None => Ok(()),
        }
    }

    /// Refuses an answer whose amount or currency, where it carries them, is another.
    pub(super) fn agree_on_money(&self, amount_field: &str, money: Money) -> Result<(), Fault> {
        self.agree("currency", money.currency().code())?;
        let Some(text) = self.get(amount_field) else {
            return Ok(());
        };
        if Money::from_decimal(text, money.currency()) == Ok(money) {
            Ok(())
        } else {
            Err(Fault::mismatch(format!(
                "the answer's {amount_field} is another"
            )))
        }
    }

    /// Refuses an answer that carries `name` with another value.
    pub(super) fn agree(&self, name: &str, ours: &str) -> Result<(), Fault> {
        match self.get(name) {
            Some(theirs) if theirs != ours => {
                Err(Fault::mismatch(format!("the answer's {name} is another")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses an answer that does not carry all of `names`: what is not named is not confirmed.
    pub(super) fn require(&self, names: &[&str]) -> Result<(), Fault> {
        match names.iter().find(|name| self.get(name).is_none()) {
            Some(missing) => Err(Fault::mismatch(format!("the answer names no {missing}"))),
            None => Ok(()),
        }
    }

    /// Refuses an answer that carries one of `names`: it belongs to another service, whose
    /// signature would be just as good.
    pub(super) fn forbid(&self, names: &[&str]) -> Result<(), Fault> {
        match names.iter().find(|name| self.get(name).is_some()) {
            Some(foreign) => Err(Fault::mismatch(format!(
                "the answer is another service's: it names {foreign}"
            ))),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Fields {
    /// Names only: the values identify buyers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'))
}
