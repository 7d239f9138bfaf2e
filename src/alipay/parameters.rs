//! The parameters of one request: what is signed and what is sent are made from the same values.

use zeroize::Zeroizing;

use crate::domain::{attempt::AttemptKind, text::is_deceptive};

/// The charset of every request. It travels in the URL, because a form body alone lets Alipay fall
/// back to GBK (`docs/protocol.md` 2.2, 2.3).
pub(super) const INPUT_CHARSET: (&str, &str) = ("_input_charset", "UTF-8");

/// Alipay's name of the service that a call asks: the `service` parameter.
pub const fn service_name(kind: AttemptKind) -> &'static str {
    match kind {
        AttemptKind::Pay => "alipay.acquire.overseas.spot.pay",
        AttemptKind::Query => "alipay.acquire.overseas.query",
        AttemptKind::Cancel => "alipay.acquire.cancel",
        AttemptKind::Refund => "alipay.acquire.overseas.spot.refund",
        AttemptKind::RefundQuery => "alipay.acquire.refund.query",
        AttemptKind::MaintainStore => "alipay.overseas.secmerchant.offline.maintain",
        AttemptKind::StoreStatus => "alipay.overseas.secmerchant.maintain.queryStatus",
    }
}

/// A request's parameters in the order they are sent. No `Debug`: they hold the buyer's code.
#[derive(Clone)]
pub(super) struct Parameters {
    service: AttemptKind,
    pairs: Vec<(&'static str, Zeroizing<String>)>,
}

impl Parameters {
    pub(super) fn new(service: AttemptKind, partner: &str) -> Self {
        Self {
            service,
            pairs: Vec::with_capacity(16),
        }
        .with("service", service_name(service))
        .with("partner", partner)
    }

    /// Adds a parameter. The value is trimmed before signing; an empty one is neither signed nor
    /// sent (`docs/protocol.md` 2.2, 3.1).
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = value.trim();
        if !value.is_empty() {
            self.pairs.push((name, Zeroizing::new(value.to_owned())));
        }
        self
    }

    /// Adds an optional free text.
    pub(super) fn with_text(self, name: &'static str, value: Option<&str>) -> Self {
        self.with(name, &value.map(leaf).unwrap_or_default())
    }

    pub(super) const fn service(&self) -> AttemptKind {
        self.service
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(candidate, _)| *candidate == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every pair that is signed: the body's and the URL's.
    pub(super) fn signed_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain([INPUT_CHARSET])
    }

    /// The form body, signed.
    pub(super) fn to_form(&self, signature: &str, sign_type: &str) -> String {
        form_urlencoded::Serializer::new(String::with_capacity(2048))
            .extend_pairs(
                self.pairs
                    .iter()
                    .map(|(name, value)| (*name, value.as_str())),
            )
            .append_pair("sign", signature)
            .append_pair("sign_type", sign_type)
            .finish()
    }
}

/// A free text as Alipay takes it: trimmed, without the double quote that its pages forbid inside
/// values (`docs/protocol.md` 2.2), control characters as spaces.
pub(super) fn leaf(text: &str) -> String {
    let cleaned: String = text
        .chars()
        .filter(|c| *c != '"')
        .map(|c| if is_deceptive(c) { ' ' } else { c })
        .collect();
    cleaned.trim().to_owned()
}
