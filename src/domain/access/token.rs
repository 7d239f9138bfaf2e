//! Access tokens of an issuer (OIDC): what one must say to be believed, and as whom
//! (`docs/invariants.md` Q6).
//!
//! Whether the issuer signed it, and for us, is found out before; here are its times, its subject, its
//! merchant and its scopes.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::principal::{Identity, Scope, TenantScope};
use crate::domain::id::MerchantId;

/// Longest subject, in characters (OpenID Connect Core 2).
const MAX_SUBJECT: usize = 255;

/// What stands in a token beside its header and its signature.
pub type Claims = Map<String, Value>;

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenFault {
    /// Longer than any token is read.
    TooLong,
    /// No signed JWT, or a claim of another type than it must have.
    Malformed,
    /// Signed by an algorithm that is not accepted, or not accepted with the key it names.
    Algorithm,
    /// Its header demands what is not understood here (`crit`).
    Critical,
    /// It names no key of the issuer.
    UnknownKey,
    /// The signature is not the key's.
    Signature,
    /// Another issuer's.
    Issuer,
    /// Meant for somebody else.
    Audience,
    /// Over.
    Expired,
    /// Not begun.
    NotYetValid,
    /// Valid for longer than a token may be.
    LivesTooLong,
    /// Without a usable subject.
    Subject,
    /// Of no merchant here, and not the operator's.
    Merchant,
    /// Its subject was shut out by an administrator.
    Revoked,
}

stored_names!(TokenFault {
    TooLong = "too_long",
    Malformed = "malformed",
    Algorithm = "algorithm",
    Critical = "critical",
    UnknownKey = "unknown_key",
    Signature = "signature",
    Issuer = "issuer",
    Audience = "audience",
    Expired = "expired",
    NotYetValid = "not_yet_valid",
    LivesTooLong = "lives_too_long",
    Subject = "subject",
    Merchant = "merchant",
    Revoked = "revoked",
});

impl TokenFault {
    /// What whoever sent the token is told: what is wrong, and nothing of the token or of what would be
    /// right. Plain characters without quotes, so that it can stand in a header.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::TooLong => "the access token is too long",
            Self::Malformed => "the access token is not a signed JWT with the claims it must have",
            Self::Algorithm => "the access token is signed by an algorithm that is not accepted",
            Self::Critical => "the access token demands an extension that is not understood",
            Self::UnknownKey => "the access token names no key of the issuer",
            Self::Signature => "the signature of the access token is wrong",
            Self::Issuer => "the access token is of another issuer",
            Self::Audience => "the access token is not meant for this service",
            Self::Expired => "the access token has expired",
            Self::NotYetValid => "the access token is not valid yet",
            Self::LivesTooLong => "the access token is valid for longer than is accepted",
            Self::Subject => "the access token names no subject",
            Self::Merchant => "the access token names no merchant of this service",
            Self::Revoked => "the subject of the access token was revoked",
        }
    }
}

/// How the claims of a token are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// The claim with the scopes: words with spaces between them, or a list of them.
    pub scope_claim: String,
    /// The claim with the merchant's id.
    pub merchant_claim: String,
    /// What that claim holds in a token of the operator; without it, no token is the operator's.
    pub operator_value: Option<String>,
    /// By how much the issuer's clock and ours may differ.
    pub leeway: TimeDelta,
    /// For how long a token may be valid.
    pub max_lifetime: TimeDelta,
}

/// Whoever a token was issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Who issued the token.
    pub issuer: String,
    /// For whom, by the issuer's own name.
    pub subject: String,
    /// Whose objects may be touched.
    pub tenant_scope: TenantScope,
    /// What may be done.
    pub scopes: Vec<Scope>,
}

/// What is recorded of whoever a token was issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Its subject, without scopes: those are the token's.
    Known(Identity),
    /// An administrator revoked the subject.
    Revoked,
    /// There is no such merchant.
    NoMerchant,
}

impl Bearer {
    /// What people read as the caller's name.
    pub fn name(&self) -> String {
        format!("{} of {}", self.subject, self.issuer)
    }
}

impl TokenRules {
    /// For whom a token is, whose signature, issuer and audience are right.
    pub fn judge(&self, claims: &Claims, now: DateTime<Utc>) -> Result<Bearer, TokenFault> {
        self.judge_times(claims, now.timestamp())?;
        let issuer = text(claims, "iss").ok_or(TokenFault::Issuer)?;
        let subject = text(claims, "sub")
            .filter(|subject| is_subject(subject))
            .ok_or(TokenFault::Subject)?;
        let tenant_scope = self.tenant_scope(claims).ok_or(TokenFault::Merchant)?;
        let mut scopes = self.scopes(claims);
        // Payments and refunds are a merchant's, whatever the token says.
        let out_of_reach = Scope::out_of_reach(tenant_scope, &scopes);
        scopes.retain(|scope| !out_of_reach.contains(scope));
        Ok(Bearer {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            tenant_scope,
            scopes,
        })
    }

    fn judge_times(&self, claims: &Claims, now: i64) -> Result<(), TokenFault> {
        let leeway = self.leeway.num_seconds();
        let expires = seconds(claims, "exp")?.ok_or(TokenFault::Malformed)?;
        let not_before = seconds(claims, "nbf")?;
        let issued = seconds(claims, "iat")?;
        if now >= expires.saturating_add(leeway) {
            return Err(TokenFault::Expired);
        }
        let begins = not_before.max(issued).unwrap_or(now);
        if begins > now.saturating_add(leeway) {
            return Err(TokenFault::NotYetValid);
        }
        // One that does not say since when is counted from now.
        let lifetime = expires.saturating_sub(issued.unwrap_or(now));
        if lifetime > self.max_lifetime.num_seconds() {
            return Err(TokenFault::LivesTooLong);
        }
        Ok(())
    }

    /// Never the operator's by leaving something out.
    fn tenant_scope(&self, claims: &Claims) -> Option<TenantScope> {
        let named = text(claims, &self.merchant_claim)?;
        if self.operator_value.as_deref() == Some(named) {
            return Some(TenantScope::Operator);
        }
        let id: MerchantId = named.parse().ok()?;
        Some(TenantScope::Merchant(id))
    }

    /// Names that are not ours, such as `openid`, give no right.
    fn scopes(&self, claims: &Claims) -> Vec<Scope> {
        let mut scopes: Vec<Scope> = match claims.get(&self.scope_claim) {
            Some(Value::String(words)) => words
                .split_ascii_whitespace()
                .filter_map(Scope::from_name)
                .collect(),
            Some(Value::Array(words)) => words
                .iter()
                .filter_map(|word| Scope::from_name(word.as_str()?))
                .collect(),
            _ => Vec::new(),
        };
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

fn text<'c>(claims: &'c Claims, name: &str) -> Option<&'c str> {
    claims.get(name)?.as_str()
}

fn is_subject(subject: &str) -> bool {
    let length = subject.chars().count();
    (1..=MAX_SUBJECT).contains(&length) && !subject.chars().any(char::is_control)
}

/// Seconds since 1970, of which fractions are cut off.
fn seconds(claims: &Claims, name: &str) -> Result<Option<i64>, TokenFault> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let number = value.as_number().ok_or(TokenFault::Malformed)?.to_string();
    let whole = number.split('.').next().unwrap_or_default();
    whole.parse().map(Some).map_err(|_| TokenFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_767_323_045;

    fn rules() -> TokenRules {
        TokenRules {
            scope_claim: "scope".to_owned(),
            merchant_claim: "merchant_id".to_owned(),
            operator_value: Some("operator".to_owned()),
            leeway: TimeDelta::seconds(60),
            max_lifetime: TimeDelta::hours(24),
        }
    }

    fn merchant() -> MerchantId {
        "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"
            .parse()
            .expect("an id")
    }

    fn good() -> Claims {
        let claims = json!({
            "iss": "https://issuer.example", "sub": "till-service", "exp": NOW + 300, "iat": NOW,
            "merchant_id": merchant().to_string(), "scope": "openid payments:write payments:read",
        });
        claims.as_object().cloned().expect("an object")
    }

    fn judged(change: &[(&str, Value)]) -> Result<Bearer, TokenFault> {
        let mut claims = good();
        for (name, value) in change {
            if value.is_null() {
                claims.remove(*name);
            } else {
                claims.insert((*name).to_owned(), value.clone());
            }
        }
        let now = DateTime::from_timestamp(NOW, 0).expect("an instant");
        rules().judge(&claims, now)
    }

    #[test]
    fn q6_a_good_token_is_its_subject_with_its_merchant_and_its_scopes() {
        let bearer = judged(&[]).expect("good");
        assert_eq!(bearer.subject, "till-service");
        assert_eq!(bearer.tenant_scope, TenantScope::Merchant(merchant()));
        assert_eq!(bearer.scopes, [Scope::PaymentsWrite, Scope::PaymentsRead]);
        assert_eq!(bearer.name(), "till-service of https://issuer.example");
        let list = json!(["payments:read", 7, "payments:read", "all"]);
        let bearer = judged(&[("scope", list)]).expect("good");
        assert_eq!(bearer.scopes, [Scope::PaymentsRead]);
        for none in [Value::Null, json!(7), json!(""), json!({"a": 1})] {
            let bearer = judged(&[("scope", none)]).expect("good");
            assert_eq!(bearer.scopes, []);
        }
    }

    #[test]
    fn q6_times_count_to_the_second_with_the_leeway() {
        for (change, expected) in [
            (vec![("exp", json!(NOW - 59))], None),
            (vec![("exp", json!(NOW - 60))], Some(TokenFault::Expired)),
            (vec![("exp", json!(i64::MIN))], Some(TokenFault::Expired)),
            (
                vec![("exp", json!(i64::MAX))],
                Some(TokenFault::LivesTooLong),
            ),
            (vec![("exp", json!("soon"))], Some(TokenFault::Malformed)),
            (vec![("exp", json!(1e300))], Some(TokenFault::Malformed)),
            (vec![("exp", Value::Null)], Some(TokenFault::Malformed)),
            (vec![("exp", json!(1_767_323_100.5))], None),
            (vec![("nbf", json!(NOW + 60))], None),
            (
                vec![("nbf", json!(NOW + 61))],
                Some(TokenFault::NotYetValid),
            ),
            (
                vec![("iat", json!(NOW + 61))],
                Some(TokenFault::NotYetValid),
            ),
            (vec![("nbf", json!([]))], Some(TokenFault::Malformed)),
            (vec![("exp", json!(NOW + 86_400))], None),
            (
                vec![("exp", json!(NOW + 86_401))],
                Some(TokenFault::LivesTooLong),
            ),
            (
                vec![("iat", json!(NOW - 86_200)), ("exp", json!(NOW + 201))],
                Some(TokenFault::LivesTooLong),
            ),
            (
                vec![("iat", Value::Null), ("exp", json!(NOW + 86_400))],
                None,
            ),
            (
                vec![("iat", Value::Null), ("exp", json!(NOW + 86_401))],
                Some(TokenFault::LivesTooLong),
            ),
        ] {
            assert_eq!(judged(&change).err(), expected, "{change:?}");
        }
    }

    #[test]
    fn q6_who_is_not_named_is_nobody_and_never_the_operator() {
        for (change, expected) in [
            (vec![("merchant_id", Value::Null)], TokenFault::Merchant),
            (vec![("merchant_id", json!(""))], TokenFault::Merchant),
            (vec![("merchant_id", json!("mer_1"))], TokenFault::Merchant),
            (
                vec![("merchant_id", json!(["operator"]))],
                TokenFault::Merchant,
            ),
            (
                vec![("merchant_id", json!("Operator"))],
                TokenFault::Merchant,
            ),
            (vec![("sub", Value::Null)], TokenFault::Subject),
            (vec![("sub", json!(""))], TokenFault::Subject),
            (vec![("sub", json!("a\0b"))], TokenFault::Subject),
            (vec![("sub", json!("x".repeat(256)))], TokenFault::Subject),
            (vec![("iss", json!(["a"]))], TokenFault::Issuer),
        ] {
            assert_eq!(judged(&change).err(), Some(expected), "{change:?}");
        }
        let without = TokenRules {
            operator_value: None,
            ..rules()
        };
        let mut claims = good();
        claims.insert("merchant_id".to_owned(), json!("operator"));
        let now = DateTime::from_timestamp(NOW, 0).expect("an instant");
        assert_eq!(without.judge(&claims, now), Err(TokenFault::Merchant));
    }

    #[test]
    fn q6_a_token_of_the_operator_carries_no_scope_of_a_merchant() {
        let bearer = judged(&[
            ("merchant_id", json!("operator")),
            ("scope", json!("payments:write refunds:write admin")),
        ])
        .expect("good");
        assert_eq!(bearer.tenant_scope, TenantScope::Operator);
        assert_eq!(bearer.scopes, [Scope::Admin]);
    }

    #[test]
    fn q13_what_is_told_of_a_fault_can_stand_in_a_header() {
        for fault in TokenFault::ALL {
            let detail = fault.detail();
            assert!(
                detail
                    .bytes()
                    .all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\')),
                "{detail}"
            );
        }
    }
}
