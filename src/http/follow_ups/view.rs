//! A row of the schedule as operators see it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::follow_ups::schedule::{FollowUp, Subject},
    http::answer::timestamp,
};

/// One row of the durable schedule: the gateway's obligation to ask about a payment, a refund or the registration of a store again.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = FollowUp)]
pub struct FollowUpView {
    /// The follow-up's id.
    #[schema(
        example = "fup_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
        pattern = "^fup_[0-9a-f]{32}$"
    )]
    pub id: String,
    /// Whose it is.
    #[schema(example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub merchant_id: String,
    /// Always `follow_up`.
    #[schema(example = "follow_up")]
    pub object: &'static str,
    /// What it is about: `payment`, `refund` or `registration`.
    #[schema(
        example = "payment",
        extensions(("x-extensible-enum" = json!(Subject::KINDS)))
    )]
    pub kind: &'static str,
    /// The payment, the refund or the registration it is about.
    #[schema(example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub subject_id: String,
    /// When it is visited next.
    #[schema(format = DateTime, example = "2026-11-22T04:00:05.000Z")]
    pub due_at: String,
    /// Until when a worker holds it.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub leased_until: Option<String>,
    /// Which worker holds it.
    #[schema(required = true, example = json!(null))]
    pub worker: Option<String>,
    /// The gateway's own errors since the last success. Many of them park a row that cannot be worked on; faults
    /// of the environment, such as a database that is away, are counted a few times and never park it.
    #[schema(example = 0)]
    pub error_count: i32,
    /// The last of them.
    #[schema(required = true, example = json!(null))]
    pub last_error: Option<String>,
    /// Since when it waits for a person: parked, and tried once an hour, or abandoned.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub parked_at: Option<String>,
    /// Why an operator took it off the schedule.
    #[schema(required = true, example = json!(null))]
    pub abandoned_reason: Option<String>,
    /// How many queries it sent.
    #[schema(example = 3)]
    pub queries: i32,
    /// How many cancels it sent.
    #[schema(example = 0)]
    pub cancels: i32,
    /// How often in a row Alipay refused at its door what was asked.
    #[schema(example = 0)]
    pub access_refusals: i32,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub created_at: String,
}

impl From<&FollowUp> for FollowUpView {
    fn from(row: &FollowUp) -> Self {
        Self {
            id: row.id.to_string(),
            merchant_id: row.merchant_id.to_string(),
            object: "follow_up",
            kind: row.subject.kind(),
            subject_id: row.subject.to_string(),
            due_at: timestamp(row.due_at),
            leased_until: row.leased_until.map(timestamp),
            worker: row.worker.clone(),
            error_count: row.error_count,
            last_error: row.last_error.clone(),
            parked_at: row.parked_at.map(timestamp),
            abandoned_reason: row.abandoned_reason.clone(),
            queries: row.queries,
            cancels: row.cancels,
            access_refusals: row.access_refusals,
            created_at: timestamp(row.created_at),
        }
    }
}
