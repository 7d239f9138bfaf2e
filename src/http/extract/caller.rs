//! Who calls, and whether it may.

use std::marker::PhantomData;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};

use super::query::QueryReader;
use crate::{
    app::App,
    domain::{
        access::principal::{Identity, Principal, Scope, TenantScope},
        audit::{AuditActor, Look},
        follow_ups::schedule::Subject,
        id::MerchantId,
    },
    http::{HttpState, problem::Problem, trace::RequestContext},
};

/// Scopes as a type, so that a handler's signature says what it needs.
pub trait RequiredScopes {
    /// The scopes of a merchant's key, which must carry all of them.
    const SCOPES: &'static [Scope];
    /// Those of the operator's key, which must carry one of them; none: it is the merchants' alone.
    const OF_OPERATOR: &'static [Scope] = &[];
}

/// `payments:read`.
#[derive(Clone, Copy, Debug)]
pub struct ReadPayments;

impl RequiredScopes for ReadPayments {
    const SCOPES: &'static [Scope] = &[Scope::PaymentsRead];
}

/// `payments:write`.
#[derive(Clone, Copy, Debug)]
pub struct WritePayments;

impl RequiredScopes for WritePayments {
    const SCOPES: &'static [Scope] = &[Scope::PaymentsWrite];
}

/// `refunds:write`.
#[derive(Clone, Copy, Debug)]
pub struct WriteRefunds;

impl RequiredScopes for WriteRefunds {
    const SCOPES: &'static [Scope] = &[Scope::RefundsWrite];
}

/// `payments:write` and `refunds:write`: a reversal may do either.
#[derive(Clone, Copy, Debug)]
pub struct Reverse;

impl RequiredScopes for Reverse {
    const SCOPES: &'static [Scope] = &[Scope::PaymentsWrite, Scope::RefundsWrite];
}

/// `operations`.
#[derive(Clone, Copy, Debug)]
pub struct Operate;

impl RequiredScopes for Operate {
    const SCOPES: &'static [Scope] = &[Scope::Operations];
    const OF_OPERATOR: &'static [Scope] = Self::SCOPES;
}

/// `reconciliation`.
#[derive(Clone, Copy, Debug)]
pub struct Reconcile;

impl RequiredScopes for Reconcile {
    const SCOPES: &'static [Scope] = &[Scope::Reconciliation];
    const OF_OPERATOR: &'static [Scope] = Self::SCOPES;
}

/// `admin`.
#[derive(Clone, Copy, Debug)]
pub struct Administer;

impl RequiredScopes for Administer {
    const SCOPES: &'static [Scope] = &[Scope::Admin];
    const OF_OPERATOR: &'static [Scope] = Self::SCOPES;
}

/// `payments:read` of a merchant's caller, `support:read` of the operator.
#[derive(Clone, Copy, Debug)]
pub struct LookAtPayments;

impl RequiredScopes for LookAtPayments {
    const SCOPES: &'static [Scope] = &[Scope::PaymentsRead];
    const OF_OPERATOR: &'static [Scope] = &[Scope::SupportRead];
}

/// `operations`; of the operator also `support:read`.
#[derive(Clone, Copy, Debug)]
pub struct LookAtWork;

impl RequiredScopes for LookAtWork {
    const SCOPES: &'static [Scope] = &[Scope::Operations];
    const OF_OPERATOR: &'static [Scope] = &[Scope::Operations, Scope::SupportRead];
}

/// `payments:write` of a merchant's caller, `operations` of the operator.
#[derive(Clone, Copy, Debug)]
pub struct AskAboutPayments;

impl RequiredScopes for AskAboutPayments {
    const SCOPES: &'static [Scope] = &[Scope::PaymentsWrite];
    const OF_OPERATOR: &'static [Scope] = &[Scope::Operations];
}

/// `refunds:write` of a merchant's caller, `operations` of the operator.
#[derive(Clone, Copy, Debug)]
pub struct AskAboutRefunds;

impl RequiredScopes for AskAboutRefunds {
    const SCOPES: &'static [Scope] = &[Scope::RefundsWrite];
    const OF_OPERATOR: &'static [Scope] = &[Scope::Operations];
}

/// A merchant's caller whose live API key carries the scopes `S`: for payments and refunds, which the
/// operator does not make.
#[derive(Debug)]
pub struct Caller<S> {
    /// Who it is.
    pub principal: Principal,
    scope: PhantomData<S>,
}

/// A merchant's caller or the operator, whose live API key carries the scopes `S`: for what the
/// operator does for all merchants and a merchant for itself. Whose objects are meant is in
/// `identity.tenant_scope`, and every statement filters by it.
#[derive(Debug)]
pub struct AdminCaller<S> {
    /// Who it is.
    pub identity: Identity,
    request_id: String,
    scope: PhantomData<S>,
}

impl<S: RequiredScopes> FromRequestParts<HttpState> for Caller<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        let identity = identify::<S>(parts, state).await?;
        // No key of the operator carries such a scope, so this is the second line.
        let principal = identity
            .into_principal()
            .ok_or_else(Problem::merchant_key_required)?;
        Ok(Self {
            principal,
            scope: PhantomData,
        })
    }
}

impl<S: RequiredScopes> FromRequestParts<HttpState> for AdminCaller<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        let identity = identify::<S>(parts, state).await?;
        let facts = parts.extensions.get::<RequestContext>();
        Ok(Self {
            identity,
            request_id: facts.map_or_else(String::new, |facts| facts.request_id().to_owned()),
            scope: PhantomData,
        })
    }
}

impl<S> AdminCaller<S> {
    /// Who does what is audited, and in which request.
    pub fn by(&self) -> AuditActor {
        AuditActor::identity(&self.identity).in_request(&self.request_id)
    }

    /// Whose a payment or a refund is that the caller names: a merchant's caller means its own, whether it
    /// is there or not; the operator's look at somebody's is written down first. `None`: the operator names
    /// nothing.
    pub async fn look_at(
        &self,
        app: &App,
        look: Look,
        subject: Subject,
    ) -> Result<Option<MerchantId>, Problem> {
        Ok(app
            .look_at(&self.identity, &self.by(), look, subject)
            .await?)
    }

    /// Whose list the parameter `merchant_id` asks for: a merchant's caller has its own alone, and the
    /// operator must say whose. `None`: nobody's, which is an empty list.
    pub fn whose_list(&self, reader: &mut QueryReader<'_>) -> Option<MerchantId> {
        const NAME: &str = "merchant_id";
        let named = reader.parse(NAME, "must be a merchant's id", |text| text.parse().ok());
        match self.identity.tenant_scope {
            TenantScope::Merchant(own) => {
                Some(own).filter(|own| named.is_none_or(|named| named == *own))
            }
            TenantScope::Operator => {
                reader.require(NAME);
                named
            }
        }
    }

    /// Writes down that the operator looks at a list, of one merchant's or of all; a merchant's look at
    /// its own is nobody else's affair.
    pub async fn look_over(
        &self,
        app: &App,
        look: Look,
        of: Option<MerchantId>,
    ) -> Result<(), Problem> {
        Ok(app.look_over(&self.identity, &self.by(), look, of).await?)
    }

    /// Refuses every caller but the operator.
    pub fn operator_only(&self) -> Result<(), Problem> {
        match self.identity.tenant_scope {
            TenantScope::Operator => Ok(()),
            TenantScope::Merchant(_) => Err(Problem::operator_required()),
        }
    }
}

/// Who presented the request's API key or access token, if it carries the scopes `S`.
async fn identify<S: RequiredScopes>(
    parts: &Parts,
    state: &HttpState,
) -> Result<Identity, Problem> {
    let token = bearer_token(&parts.headers)?;
    let identity = state
        .app
        .authenticate(token)
        .await?
        .ok_or_else(Problem::invalid_api_key)?;
    if let Some(facts) = parts.extensions.get::<RequestContext>() {
        facts.learn_api_key(identity.api_key_id);
    }
    state.app.admit(&identity)?;
    let (may, needed) = match identity.tenant_scope {
        TenantScope::Operator if !S::OF_OPERATOR.is_empty() => (
            S::OF_OPERATOR.iter().any(|scope| identity.may(*scope)),
            &S::OF_OPERATOR[..1],
        ),
        TenantScope::Operator => (false, S::SCOPES),
        TenantScope::Merchant(_) => (
            S::SCOPES.iter().all(|scope| identity.may(*scope)),
            S::SCOPES,
        ),
    };
    may.then_some(identity)
        .ok_or_else(|| Problem::insufficient_scope(needed))
}

/// The token of the one `Authorization: Bearer` header (RFC 6750).
fn bearer_token(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or_else(Problem::authentication_required)?;
    // Two keys in one request: never guess which one counts.
    if values.next().is_some() {
        return Err(Problem::invalid_api_key());
    }
    let text = value.to_str().map_err(|_| Problem::invalid_api_key())?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::authentication_required());
    }
    let token = token.trim();
    let usable = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    usable.then_some(token).ok_or_else(Problem::invalid_api_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::Kind;
    use axum::http::HeaderValue;

    fn read(values: &[&'static str]) -> Result<String, Kind> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        bearer_token(&headers)
            .map(str::to_owned)
            .map_err(|problem| problem.kind)
    }

    #[test]
    fn q6_only_one_well_formed_bearer_token_is_looked_up() {
        assert_eq!(read(&["Bearer abc"]), Ok("abc".to_owned()));
        assert_eq!(read(&["bearer  abc"]), Ok("abc".to_owned()));
        assert_eq!(read(&[]), Err(Kind::AuthenticationRequired));
        assert_eq!(read(&["Basic abc"]), Err(Kind::AuthenticationRequired));
        assert_eq!(read(&["Bearer"]), Err(Kind::InvalidApiKey));
        assert_eq!(read(&["Bearer a b"]), Err(Kind::InvalidApiKey));
        assert_eq!(read(&["Bearer a", "Bearer b"]), Err(Kind::InvalidApiKey));
    }
}
