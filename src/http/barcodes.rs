//! `POST /v1/barcodes/inspect`: would Alipay take this code?

use axum::Json;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    extract::{
        Caller, JsonBody, ReadPayments, query::RawPairs, read_request, request, rules::Form,
    },
    payments::draft::barcode_code,
    problem::Problem,
};
use crate::{
    domain::payments::barcode::{Barcode, BarcodeError},
    http::refusals::{self, refusals},
};

request! {
    /// A scanned code.
    struct InspectBarcodeRequest {
        /// The code as it was scanned. Never stored, never logged.
        required barcode: Zeroizing<String> = SCANNED, example "281234567890123456";
    }
}

/// Whatever was scanned.
const SCANNED: Form<Zeroizing<String>> = Form {
    code: "invalid_format",
    detail: "must be a string",
    parse: |text| Some(Zeroizing::new(text.to_owned())),
    schema: || json!({}),
};

/// What a scanned code is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Inspection {
    /// Whether a payment with it would be sent to Alipay.
    #[schema(example = true)]
    pub acceptable: bool,
    /// Whose code it looks like: `alipay`, `other` (another wallet) or `unknown`.
    #[schema(
        example = "alipay",
        extensions(("x-extensible-enum" = json!(Family::ALL.map(Family::as_str))))
    )]
    pub family: &'static str,
    /// Its length without white space, in characters.
    #[schema(example = 18)]
    pub length: usize,
    /// Its first two digits; `null` where it does not begin with two.
    #[schema(required = true, example = "28")]
    pub prefix: Option<String>,
    /// Why it is not acceptable: `barcode_empty`, `barcode_not_digits`, `barcode_length` or
    /// `barcode_prefix`; `null` where it is.
    #[schema(required = true, example = json!(null), extensions(("x-extensible-enum" = json!([BarcodeError::Empty, BarcodeError::NotDigits, BarcodeError::Length, BarcodeError::Prefix].map(barcode_code)))))]
    pub reason: Option<&'static str>,
    /// The same in words.
    #[schema(required = true, example = json!(null))]
    pub detail: Option<String>,
}

refusals! {
    InspectRefusals:
        [refusals::missing_member("/barcode")],
}

/// Inspect a scanned code
///
/// Says whether Alipay would take a code, without asking Alipay and without keeping anything: for a
/// till that wants to tell a wrong wallet or a bad scan before it starts a payment.
#[utoipa::path(
    post,
    path = "/v1/barcodes/inspect",
    tag = "barcodes",
    operation_id = "inspect_barcode",
    security(("api_key" = ["payments:read"])),
    request_body(content = InspectBarcodeRequest, description = "The scanned code.", content_type = "application/json"),
    responses(InspectRefusals, (status = 200, description = "What the code is.", body = Inspection)),
)]
pub async fn inspect(
    _: Caller<ReadPayments>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<Json<Inspection>, Problem> {
    query.reader().finish()?;
    let text = read_request(&body, |request: InspectBarcodeRequest, _| request.barcode)?;
    Ok(Json(Inspection::of(&text)))
}

impl Inspection {
    fn of(text: &str) -> Self {
        let code: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
        let error = code.parse::<Barcode>().err();
        let prefix = code
            .get(..2)
            .filter(|prefix| prefix.bytes().all(|b| b.is_ascii_digit()));
        Self {
            acceptable: error.is_none(),
            family: prefix.map_or(Family::Unknown, Family::of_prefix).as_str(),
            length: code.chars().count(),
            prefix: prefix.map(str::to_owned),
            reason: error.map(barcode_code),
            detail: error.map(|error| error.to_string()),
        }
    }
}

/// Whose code it looks like.
#[derive(Clone, Copy)]
enum Family {
    Alipay,
    Other,
    Unknown,
}

impl Family {
    const ALL: [Self; 3] = [Self::Alipay, Self::Other, Self::Unknown];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Alipay => "alipay",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }

    /// 25–30 are Alipay's (`docs/protocol.md` 4.2), 10–15 are those of the other large wallet.
    fn of_prefix(prefix: &str) -> Self {
        match prefix {
            "25" | "26" | "27" | "28" | "29" | "30" => Self::Alipay,
            "10" | "11" | "12" | "13" | "14" | "15" => Self::Other,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        for (text, acceptable, family, length, reason) in [
            ("281234567890123456", true, "alipay", 18, None),
            (" 2812 3456 7890 1234 56\n", true, "alipay", 18, None),
            (
                "134567890123456789",
                false,
                "other",
                18,
                Some("barcode_prefix"),
            ),
            (
                "991234567890123456",
                false,
                "unknown",
                18,
                Some("barcode_prefix"),
            ),
            ("2812", false, "alipay", 4, Some("barcode_length")),
            ("28x", false, "alipay", 3, Some("barcode_not_digits")),
            ("茶", false, "unknown", 1, Some("barcode_not_digits")),
            (" ", false, "unknown", 0, Some("barcode_empty")),
        ] {
            let inspection = Inspection::of(text);
            assert_eq!(
                (
                    inspection.acceptable,
                    inspection.family,
                    inspection.length,
                    inspection.reason
                ),
                (acceptable, family, length, reason),
                "{text:?}"
            );
        }
    }
}
