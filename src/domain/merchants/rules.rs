//! What a merchant takes: which tills, how much, from which wallets.

use crate::domain::money::Money;

/// Longest name of a till, in characters; so long is also a pattern.
const MAX_TERMINAL: usize = 64;

/// The name of a till, or with a `*` at the end every name that begins so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalPattern(String);

impl TerminalPattern {
    /// Reads 1 to 64 printable ASCII characters without `"`, `*` at the end only.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=MAX_TERMINAL).contains(&text.len());
        let printable = text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"');
        let stars = text.matches('*').count();
        (fits && printable && stars <= usize::from(text.ends_with('*')))
            .then(|| Self(text.to_owned()))
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it means this till.
    pub fn matches(&self, terminal_id: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => terminal_id.starts_with(beginning),
            None => terminal_id == self.0,
        }
    }
}

/// Which tills may take payments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TerminalRules {
    /// Whether a payment must name its till.
    pub required: bool,
    /// The tills that are known; `None`: any.
    pub allowed: Option<Vec<TerminalPattern>>,
}

/// What a merchant asks of its payments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Which tills.
    pub terminals: TerminalRules,
    /// Most per payment, in minor units of HKD; `None`: no limit.
    pub max_payment_minor: Option<i64>,
    /// Which wallets, by Alipay's names; `None`: any. Alipay tells the wallet only with the payment.
    pub allowed_wallets: Option<Vec<String>>,
}

/// A rule that a new payment breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The store takes no payments.
    StoreDisabled,
    /// No till was named.
    TerminalMissing,
    /// The till is none of the merchant's.
    TerminalNotAllowed,
    /// The amount is above the limit per payment.
    AmountAboveLimit {
        /// The limit, in minor units.
        most_minor: i64,
    },
}

impl Rules {
    /// The rules that a payment breaks; what could not be read of it breaks none.
    pub fn breaches(&self, terminal_id: Option<&str>, amount: Option<Money>) -> Vec<Breach> {
        let terminal = match (terminal_id, &self.terminals.allowed) {
            (None, _) => self.terminals.required.then_some(Breach::TerminalMissing),
            (Some(id), Some(allowed)) if !allowed.iter().any(|pattern| pattern.matches(id)) => {
                Some(Breach::TerminalNotAllowed)
            }
            (Some(_), _) => None,
        };
        let limit = self
            .max_payment_minor
            .filter(|most| amount.is_some_and(|amount| amount.minor() > *most));
        let above = limit.map(|most_minor| Breach::AmountAboveLimit { most_minor });
        terminal.into_iter().chain(above).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;

    fn pattern(text: &str) -> TerminalPattern {
        TerminalPattern::parse(text).expect(text)
    }

    #[test]
    fn a_pattern_is_a_name_or_the_beginning_of_names() {
        assert!(pattern("T1").matches("T1"));
        assert!(!pattern("T1").matches("T10"));
        assert!(pattern("KIOSK-*").matches("KIOSK-7"));
        assert!(pattern("KIOSK-*").matches("KIOSK-"));
        assert!(!pattern("KIOSK-*").matches("kiosk-7"));
        assert!(pattern("*").matches("anything"));
        for bad in ["", "a*b", "**", "a\"", "é", "a\n", &"x".repeat(65)] {
            assert_eq!(TerminalPattern::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn every_rule_that_is_broken_is_named() {
        let hkd = |minor| Some(Money::new(minor, Currency::HKD));
        let rules = Rules {
            terminals: TerminalRules {
                required: true,
                allowed: Some(vec![pattern("T1"), pattern("K-*")]),
            },
            max_payment_minor: Some(5000),
            allowed_wallets: None,
        };
        let above = Breach::AmountAboveLimit { most_minor: 5000 };
        for (terminal, minor, expected) in [
            (Some("T1"), 5000, vec![]),
            (Some("K-2"), 1, vec![]),
            (None, 5000, vec![Breach::TerminalMissing]),
            (Some("T2"), 5001, vec![Breach::TerminalNotAllowed, above]),
        ] {
            assert_eq!(rules.breaches(terminal, hkd(minor)), expected);
        }
        assert_eq!(rules.breaches(Some("T1"), None), []);
        assert_eq!(Rules::default().breaches(None, hkd(i64::MAX)), []);
    }
}
