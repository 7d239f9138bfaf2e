//! The envelope around each answer (`docs/protocol.md` 3.4, 4.1).

use std::collections::BTreeSet;

use super::Fields;
use crate::alipay::{
    charset::{self, Charset},
    error::Fault,
    parameters::Parameters,
    sign::{Credentials, VerifyError, canonical},
    xml::{self, Element},
};
use crate::domain::attempt::AttemptKind;

/// A reply that is our XML and belongs to what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::alipay) enum Reply {
    /// `is_success=T`, or a registration's answer that does not say so; verified. Says nothing yet about
    /// the business.
    Accepted(Fields),
    /// `is_success=F`.
    Refused {
        code: String,
        /// Whether the refusal was signed and verified; most are not.
        verified: bool,
    },
}

/// Parameters whose echo must agree with what was sent.
const ECHOED: [&str; 8] = [
    "service",
    "partner",
    "partner_trans_id",
    "out_trade_no",
    "partner_refund_id",
    "out_return_no",
    "secondary_merchant_id",
    "store_id",
];

/// Decodes, parses, verifies and compares a body of HTTP 200.
pub(in crate::alipay) fn read(
    body: &[u8],
    http_charset: Option<&str>,
    credentials: &Credentials,
    sent: &Parameters,
) -> Result<Reply, Fault> {
    let (charset, document) =
        charset::decode(body, http_charset).map_err(|error| Fault::malformed(error.to_string()))?;
    let root = xml::parse(&document)
        .map_err(|error| Fault::malformed(format!("the answer holds or is: {error}")))?;
    let envelope = Envelope::open(&root, sent.service())?;
    let reply = envelope.verify(&document, charset, credentials, sent.service())?;
    envelope.compare_echo(sent)?;
    Ok(reply)
}

/// Whether a service may answer flat under the root, without `is_success` and `sign_type`: how the answers of
/// the registration services look is not documented (`docs/protocol.md` 4). No money moves by them.
const fn may_be_flat(service: AttemptKind) -> bool {
    match service {
        AttemptKind::MaintainStore | AttemptKind::StoreStatus => true,
        AttemptKind::Pay
        | AttemptKind::Query
        | AttemptKind::Cancel
        | AttemptKind::Refund
        | AttemptKind::RefundQuery => false,
    }
}

struct Envelope<'a> {
    /// Absent where an answer that may be flat does not say.
    is_success: Option<bool>,
    error: Option<&'a str>,
    sign: Option<&'a str>,
    sign_type: Option<&'a str>,
    echo: Vec<(&'a str, &'a str)>,
    business: Option<&'a Element>,
    /// What else stands in the root, `error` included.
    others: Vec<&'a Element>,
}

impl<'a> Envelope<'a> {
    fn open(root: &'a Element, service: AttemptKind) -> Result<Self, Fault> {
        if root.name != "alipay" {
            return Err(Fault::malformed("the root element is not alipay"));
        }
        let children = unique_children(root)?;
        let find = |name: &str| children.iter().copied().find(|child| child.name == name);
        let is_success = match find("is_success").map(Element::leaf) {
            Some(Some("T")) => Some(true),
            Some(Some("F")) => Some(false),
            None if may_be_flat(service) => None,
            _ => return Err(Fault::malformed("is_success is neither T nor F")),
        };
        let enveloped = ["is_success", "request", "response", "sign", "sign_type"];
        Ok(Self {
            is_success,
            error: find("error").and_then(Element::leaf),
            sign: find("sign").and_then(Element::leaf),
            sign_type: find("sign_type").and_then(Element::leaf),
            echo: find("request").map(echo).transpose()?.unwrap_or_default(),
            business: find("response").map(business).transpose()?,
            others: children
                .iter()
                .copied()
                .filter(|child| !enveloped.contains(&child.name.as_str()))
                .collect(),
        })
    }

    fn verify(
        &self,
        document: &str,
        charset: Charset,
        credentials: &Credentials,
        service: AttemptKind,
    ) -> Result<Reply, Fault> {
        let fields = self.signed_fields(document, service)?;
        let verified = self.check_signature(&fields, charset, credentials, service);
        match (self.is_success, verified) {
            (Some(true) | None, Ok(())) => return Ok(Reply::Accepted(fields)),
            (Some(true), Err(error)) => return Err(Fault::bad_signature(error.to_string())),
            (Some(false), _) | (None, Err(_)) => {}
        }
        let code = self
            .error
            .or_else(|| fields.error_code())
            .ok_or_else(|| Fault::malformed("a refusal without a code"))?
            .to_owned();
        match verified {
            Ok(()) => Ok(Reply::Refused {
                code,
                verified: true,
            }),
            Err(VerifyError::Missing) => Ok(Reply::Refused {
                code,
                verified: false,
            }),
            Err(error) => Err(Fault::bad_signature(error.to_string())),
        }
    }

    /// What the signature covers: the children of the one element in `<response>`. A refusal has
    /// no `<response>`, and where the registration services put their result is not known
    /// (`docs/protocol.md` 4.7): there it covers what else stands in the root.
    fn signed_fields(&self, document: &str, service: AttemptKind) -> Result<Fields, Fault> {
        let in_root = self.is_success == Some(false) || may_be_flat(service);
        match self.business {
            Some(business) => Fields::of(&unique_children(business)?, document),
            None if in_root => Fields::of(&self.others, document),
            None => Err(Fault::malformed("there is no response element")),
        }
    }

    fn check_signature(
        &self,
        fields: &Fields,
        charset: Charset,
        credentials: &Credentials,
        service: AttemptKind,
    ) -> Result<(), VerifyError> {
        // Where none is named, it can only be the agreed one.
        let agreed = may_be_flat(service).then(|| credentials.sign_type().as_str());
        let sign_type = self.sign_type.or(agreed);
        let text = canonical(fields.pairs());
        // What the charset cannot write, its bytes cannot have been signed.
        let mut verified = Err(VerifyError::Wrong);
        for bytes in charset.encodings(&text) {
            verified = credentials.verify(&bytes, self.sign, sign_type);
            if verified.is_ok() {
                break;
            }
        }
        verified
    }

    fn compare_echo(&self, sent: &Parameters) -> Result<(), Fault> {
        for (name, echoed) in &self.echo {
            let differs = sent.get(name).is_some_and(|value| value != *echoed);
            if differs && ECHOED.contains(name) {
                return Err(Fault::mismatch(format!(
                    "the answer echoes a request with another {name}"
                )));
            }
        }
        Ok(())
    }
}

/// The children, none of which may have a twin: which of two would count?
fn unique_children(parent: &Element) -> Result<Vec<&Element>, Fault> {
    if !parent.has_no_text() {
        return Err(Fault::malformed("text beside elements"));
    }
    let mut names = BTreeSet::new();
    for child in &parent.children {
        if !names.insert(child.name.as_str()) {
            return Err(Fault::malformed("an element appears twice"));
        }
    }
    Ok(parent.children.iter().collect())
}

/// The one element in `<response>`; its name differs between services.
fn business(response: &Element) -> Result<&Element, Fault> {
    match response.children.as_slice() {
        [business] if response.has_no_text() => Ok(business),
        _ => Err(Fault::malformed(
            "response does not hold exactly one element",
        )),
    }
}

/// The echoed parameters; a name may not appear twice.
fn echo(request: &Element) -> Result<Vec<(&str, &str)>, Fault> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for param in &request.children {
        let name = param
            .attributes
            .iter()
            .find(|(attribute, _)| attribute == "name")
            .map(|(_, name)| name.as_str());
        let Some(name) = name else { continue };
        if pairs.iter().any(|(other, _)| *other == name) {
            return Err(Fault::malformed("a parameter is echoed twice"));
        }
        pairs.push((name, param.leaf().unwrap_or_default()));
    }
    Ok(pairs)
}
