//! What the document says of itself.

use utoipa::OpenApi;

use crate::http::problem::{FieldFault, ProblemDocument};

/// The document's head.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "AlipayHK gateway",
        contact(name = "The maintainers of alipayhk-gateway"),
        description = "In-store AlipayHK barcode payments and refunds for internal services.\n\n\
            * **Money** is integer minor units with an ISO 4217 currency: 12850 HKD is HKD 128.50.\n\
            * **Times** are RFC 3339 in UTC with milliseconds; `business_date` is the day in GMT+8.\n\
            * **Repeating** a create with the same `Idempotency-Key` is always safe: one charge or one refund, and every answer shows the current state.\n\
            * **Refusals** are problem documents (RFC 9457), also for unknown paths (`route_not_found`), wrong methods (`method_not_allowed`, with `Allow`) and anything unforeseen. After Alipay was asked, the answer to a create is never a 5xx.\n\
            * **Growth**: fields may be added to answers, and names marked `x-extensible-enum` may grow; readers must tolerate both. Unknown fields in requests are refused.",
    ),
    servers((url = "/", description = "Where this document was read.")),
    tags(
        (name = "payments", description = "Take payments and follow them."),
        (name = "refunds", description = "Give money back, at once or in Alipay's nightly batch, and follow it; undo a payment by the clock."),
        (name = "operations", description = "Read and steer what stays open: the durable schedule, the work-list, decisions."),
        (name = "reconciliation", description = "Alipay's daily files against the books. The operator imports; a merchant's key sees what is its own."),
        (name = "administration", description = "Who may call, and who did what. A merchant's key with the scope `admin` administers its own merchant, the operator's all of them."),
        (name = "secondary merchants", description = "Stores registered with Alipay, and where their reviews stand."),
        (name = "barcodes", description = "Look at scanned codes."),
        (name = "alipay", description = "What Alipay itself calls. Needs no API key; the signature is the key."),
        (name = "service", description = "For those who run the gateway. Needs no API key."),
    ),
    components(schemas(ProblemDocument, FieldFault)),
)]
struct Head;

/// What the routes are added to.
pub fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}
