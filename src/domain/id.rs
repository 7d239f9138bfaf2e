//! Identities: ours (prefixed, sortable by creation), the caller's, and the ones we send to Alipay.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A text that is not the id it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}")]
pub struct ParseIdError {
    /// What was expected, for example `payment id`.
    pub kind: &'static str,
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        ///
        /// Written as the prefix and 32 lower-case hexadecimal digits of a UUIDv7.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// What the text form starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Mints a new id; ids made later sort later.
            pub fn mint() -> Self {
                Self(Uuid::now_v7())
            }

            /// The bare UUID, as the database stores it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix($prefix)
                    .filter(|hex| hex.len() == 32 && !hex.bytes().any(|b| b.is_ascii_uppercase()))
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or(ParseIdError { kind: $kind })
            }
        }
    };
}

prefixed_id!(
    /// One payment: `pay_...`.
    PaymentId, "pay_", "payment id"
);
prefixed_id!(
    /// One refund: `ref_...`.
    RefundId, "ref_", "refund id"
);
prefixed_id!(
    /// One merchant: `mer_...`.
    MerchantId, "mer_", "merchant id"
);
prefixed_id!(
    /// The registration of one store with Alipay: `reg_...`.
    RegistrationId, "reg_", "registration id"
);
prefixed_id!(
    /// One API key: `key_...` (the id, not the secret).
    ApiKeyId, "key_", "API key id"
);
prefixed_id!(
    /// One row of the durable schedule: `fup_...`.
    FollowUpId, "fup_", "follow-up id"
);
prefixed_id!(
    /// One notification from Alipay: `ntf_...`.
    NotificationId, "ntf_", "notification id"
);
prefixed_id!(
    /// One upstream call: `att_...`.
    AttemptId, "att_", "attempt id"
);
prefixed_id!(
    /// One verified word of Alipay against the books: `con_...`.
    ContradictionId, "con_", "contradiction id"
);
prefixed_id!(
    /// One content of one of Alipay's daily files: `fil_...`.
    FileId, "fil_", "file id"
);
prefixed_id!(
    /// One comparison of files with our books: `rec_...`.
    ReconciliationId, "rec_", "reconciliation id"
);
prefixed_id!(
    /// One difference that a comparison found: `dif_...`.
    DifferenceId, "dif_", "difference id"
);

macro_rules! partner_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// An id read back from where it was stored.
            pub fn from_stored(text: String) -> Self {
                Self(text)
            }

            /// The text as sent.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

partner_id!(
    /// The id we send to Alipay for a payment: `partner_trans_id` of pay and query, `out_trade_no`
    /// of cancel (`docs/protocol.md` 5.5).
    ///
    /// It is `P` and the payment's UUID, so nothing a client sends can make it repeat
    /// (`docs/invariants.md` M9).
    PartnerTransId
);
partner_id!(
    /// The id we send to Alipay for a refund: `partner_refund_id` of refund, `out_return_no` of its
    /// query (`docs/protocol.md` 6.1).
    ///
    /// It is `R` and the refund's UUID: never repeated, and never a payment's
    /// (`docs/invariants.md` M9).
    PartnerRefundId
);

impl PartnerTransId {
    /// An id under which no payment was or will be made: to ask a question that is about nothing.
    pub fn of_no_payment() -> Self {
        Self(format!("N{}", Uuid::now_v7().simple()))
    }

    /// The id for a payment that is being created.
    pub fn for_payment(id: PaymentId) -> Self {
        Self(format!("P{}", id.uuid().simple()))
    }
}

impl PartnerRefundId {
    /// The id for a refund that is being created.
    pub fn for_refund(id: RefundId) -> Self {
        Self(format!("R{}", id.uuid().simple()))
    }
}

/// The caller's own number for a payment or a refund: 1–64 of `A-Z a-z 0-9 . _ -`, unique per
/// merchant among those for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MerchantReference(String);

impl MerchantReference {
    /// The text as the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MerchantReference {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseIdError {
                kind: "merchant reference",
            })
        }
    }
}

impl fmt::Display for MerchantReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_through_their_text() {
        let id = PaymentId::mint();
        let text = id.to_string();
        assert!(text.starts_with("pay_") && text.len() == 36, "{text}");
        assert_eq!(text.parse(), Ok(id));
    }

    #[test]
    fn ids_of_another_kind_or_form_are_refused() {
        let id = PaymentId::mint();
        let merchant = format!("mer_{}", id.uuid().simple());
        let hyphens = format!("pay_{}", id.uuid());
        let upper = id.to_string().to_uppercase().replace("PAY_", "pay_");
        for text in ["", "pay_", merchant.as_str(), hyphens.as_str(), "pay_zz"] {
            assert!(text.parse::<PaymentId>().is_err(), "{text}");
        }
        // One id has one spelling; an all-digit id has no upper case to refuse.
        if upper != id.to_string() {
            assert!(upper.parse::<PaymentId>().is_err(), "{upper}");
        }
    }

    #[test]
    fn m9_the_partner_trans_id_follows_from_our_own_id_alone() {
        let id = PaymentId::mint();
        let sent = PartnerTransId::for_payment(id);
        assert_eq!(sent.as_str(), format!("P{}", id.uuid().simple()));
        assert!(
            sent.as_str().len() <= 64,
            "Alipay takes at most 64 characters"
        );
    }

    #[test]
    fn m9_a_partner_refund_id_is_never_a_partner_trans_id() {
        let uuid = Uuid::now_v7();
        let refund = PartnerRefundId::for_refund(uuid.into());
        assert_eq!(refund.as_str(), format!("R{}", uuid.simple()));
        assert_ne!(
            refund.as_str(),
            PartnerTransId::for_payment(uuid.into()).as_str()
        );
    }

    #[test]
    fn merchant_references_have_a_closed_alphabet() {
        for good in ["A", "ORDER-1001-1", "a.b_c-9", &"x".repeat(64)] {
            assert!(good.parse::<MerchantReference>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "é", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<MerchantReference>().is_err(), "{bad:?}");
        }
    }
}
