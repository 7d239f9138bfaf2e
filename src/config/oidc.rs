//! The issuer whose access tokens are accepted; none unless `OIDC_ISSUER` names one.

use std::path::PathBuf;

use chrono::TimeDelta;
use url::Url;

use super::read::{Reader, is_https_or_loopback};
use crate::domain::access::{issuer::KeySource, token::TokenRules};

/// What makes sense only with an issuer.
const OTHERS: [&str; 9] = [
    "OIDC_AUDIENCE",
    "OIDC_JWKS_URL",
    "OIDC_JWKS_FILE",
    "OIDC_EXTRA_CA_FILE",
    "OIDC_SCOPE_CLAIM",
    "OIDC_MERCHANT_CLAIM",
    "OIDC_OPERATOR_VALUE",
    "OIDC_LEEWAY_SECONDS",
    "OIDC_MAX_LIFETIME_SECONDS",
];

/// The issuer of access tokens, and how its tokens are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    /// Exactly as the `iss` claim of its tokens has it.
    pub issuer: String,
    /// The audience of its tokens for this service.
    pub audience: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// Certificate authorities to trust besides the system's.
    pub extra_ca_file: Option<PathBuf>,
    /// How its tokens are read.
    pub rules: TokenRules,
}

impl Oidc {
    /// `Some(None)`: there is none.
    #[expect(
        clippy::option_option,
        reason = "the outer one is that of every section: whether it was without fault"
    )]
    pub(super) fn read(reader: &mut Reader) -> Option<Option<Self>> {
        if reader.optional("OIDC_ISSUER").is_none() {
            let given: Vec<&'static str> = OTHERS
                .into_iter()
                .filter(|name| reader.optional(name).is_some())
                .collect();
            for name in &given {
                reader.fault::<()>(name, "has no effect without OIDC_ISSUER");
            }
            return given.is_empty().then_some(None);
        }
        let issuer = reader.matching(
            "OIDC_ISSUER",
            "an https URL without ?, # and password, or http to a loopback address",
            is_issuer,
        );
        let audience = reader.matching("OIDC_AUDIENCE", "at most 256 characters", |text| {
            text.len() <= 256
        });
        let keys = keys(reader);
        let extra_ca_file = reader.optional_file("OIDC_EXTRA_CA_FILE");
        let scope_claim = claim(reader, "OIDC_SCOPE_CLAIM");
        let merchant_claim = claim(reader, "OIDC_MERCHANT_CLAIM");
        if merchant_claim.is_some() && merchant_claim == scope_claim {
            reader.fault::<()>("OIDC_MERCHANT_CLAIM", "must differ from OIDC_SCOPE_CLAIM");
        }
        let operator_value = reader.optional("OIDC_OPERATOR_VALUE");
        if operator_value
            .as_ref()
            .is_some_and(|value| value.starts_with("mer_"))
        {
            reader.fault::<()>("OIDC_OPERATOR_VALUE", "must not look like a merchant's id");
        }
        let mut seconds = |name, min, max| {
            let number = reader.number(name, min, max)?;
            Some(TimeDelta::seconds(number.into()))
        };
        let leeway = seconds("OIDC_LEEWAY_SECONDS", 0, 600);
        let max_lifetime = seconds("OIDC_MAX_LIFETIME_SECONDS", 60, 2_592_000);
        Some(Some(Self {
            issuer: issuer?,
            audience: audience?,
            keys: keys?,
            extra_ca_file,
            rules: TokenRules {
                scope_claim: scope_claim?,
                merchant_claim: merchant_claim?,
                operator_value,
                leeway: leeway?,
                max_lifetime: max_lifetime?,
            },
        }))
    }
}

fn is_issuer(text: &str) -> bool {
    let url: Result<Url, _> = text.parse();
    url.is_ok_and(|url| {
        is_https_or_loopback(&url) && url.query().is_none() && url.fragment().is_none()
    })
}

fn keys(reader: &mut Reader) -> Option<KeySource> {
    let is_url = reader.optional("OIDC_JWKS_URL").is_some();
    let is_file = reader.optional("OIDC_JWKS_FILE").is_some();
    match (is_url, is_file) {
        (true, true) => reader.fault("OIDC_JWKS_FILE", "give this or OIDC_JWKS_URL, not both"),
        (false, true) => reader.file("OIDC_JWKS_FILE").map(KeySource::File),
        (false, false) => Some(KeySource::Discovery),
        (true, false) => {
            let url = reader.url("OIDC_JWKS_URL")?;
            if is_https_or_loopback(&url) {
                Some(KeySource::Url(url))
            } else {
                reader.fault(
                    "OIDC_JWKS_URL",
                    "must be https, or http to a loopback address",
                )
            }
        }
    }
}

fn claim(reader: &mut Reader, name: &'static str) -> Option<String> {
    reader.matching(
        name,
        "the name of a claim: at most 128 printable ASCII characters without spaces",
        |text| text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic()),
    )
}
