//! The names that filters of lists take, each from the list of the enum that is read.

use serde_json::{Map, Value, json};

use crate::domain::{
    follow_ups::schedule::Subject,
    payments::payment::PaymentState,
    reconciliation::{DifferenceClass, ReconciliationStatus, daily_file::FileKind},
    refunds::refund::{RefundMode, RefundState},
    registrations::RegistrationStatus,
};

/// The names that a query parameter takes, by its operation.
pub const FILTERS: [(&str, &str, &[&str]); 11] = [
    ("list_payments", "status", &PaymentState::STATUSES),
    ("list_refunds", "status", &RefundState::STATUSES),
    ("list_refunds", "mode", RefundMode::NAMES),
    ("list_refunds_of_payment", "status", &RefundState::STATUSES),
    ("list_refunds_of_payment", "mode", RefundMode::NAMES),
    ("list_follow_ups", "kind", &Subject::KINDS),
    ("list_reconciliations", "kind", FileKind::NAMES),
    (
        "list_reconciliations",
        "status",
        ReconciliationStatus::NAMES,
    ),
    ("list_differences", "class", DifferenceClass::NAMES),
    ("download_differences", "class", DifferenceClass::NAMES),
    (
        "list_store_registrations",
        "status",
        RegistrationStatus::NAMES,
    ),
];

/// Says what the filters of an operation take.
pub(super) fn name(operation: &mut Map<String, Value>) {
    let id = operation["operationId"].clone();
    let parameters = operation.get_mut("parameters");
    let parameters = parameters.and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let names = FILTERS
            .iter()
            .find(|(operation, filter, _)| id == *operation && parameter["name"] == *filter);
        if let Some((_, _, names)) = names {
            parameter["schema"]["enum"] = json!(names);
        }
    }
}
