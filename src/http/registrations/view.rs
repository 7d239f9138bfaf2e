//! A registration as callers see it. People are masked.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    domain::registrations::{
        Approved, KNOWN_STORE_STATUSES, MerchantType, Registration, RegistrationActor,
        RegistrationChange, RegistrationEvent, RegistrationStatus,
    },
    http::answer::timestamp,
};

/// The registration of one store with Alipay.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StoreRegistration)]
pub struct StoreRegistrationView {
    /// Its id.
    #[schema(
        example = "reg_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
        pattern = "^reg_[0-9a-f]{32}$"
    )]
    pub id: String,
    /// Always `store_registration`.
    #[schema(example = "store_registration")]
    pub object: &'static str,
    /// Counts changes.
    #[schema(example = 2)]
    pub version: i64,
    /// Whose store it is.
    #[schema(example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub merchant_id: String,
    /// The merchant's id at Alipay.
    #[schema(example = "SM001")]
    pub secondary_merchant_id: String,
    /// The store's id, there and here.
    #[schema(example = "ST01")]
    pub store_id: String,
    /// `submitting`, `unknown` (no usable answer yet), `under_review`, `modification_review` (what was
    /// approved before holds), `approved`, `rejected`, or `unresolved` (no result in 72 hours).
    #[schema(
        example = "under_review",
        extensions(("x-extensible-enum" = json!(RegistrationStatus::NAMES)))
    )]
    pub status: &'static str,
    /// Alipay's code, where it refused the request itself.
    #[schema(required = true, example = json!(null))]
    pub reject_code: Option<String>,
    /// Alipay's words, where its review refused.
    #[schema(required = true, example = json!(null))]
    pub reject_reason: Option<String>,
    /// What was sent last.
    pub submitted: SubmittedView,
    /// What was approved last, and what payments say of the store; `null` where nothing is.
    #[schema(required = true)]
    pub in_force: Option<InForceView>,
    /// Alipay's word for the store's own state: `ACTIVATED`, `INACTIVATE`, `ARCHIVED`.
    #[schema(
        required = true, example = json!(null),
        extensions(("x-extensible-enum" = json!(KNOWN_STORE_STATUSES)))
    )]
    pub store_status: Option<String>,
    /// When these data were submitted.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub submitted_at: String,
    /// When Alipay is known to have taken them for review.
    #[schema(required = true, format = DateTime, example = "2026-11-22T04:00:00.200Z")]
    pub accepted_at: Option<String>,
    /// Whether Alipay first reviews a registration that it had before; then these data are sent again.
    #[schema(example = false)]
    pub waits_for_earlier_review: bool,
    /// How many times these data were sent.
    #[schema(example = 1)]
    pub submits: i32,
    /// How many times Alipay was asked about them.
    #[schema(example = 0)]
    pub checks_done: i32,
    /// When Alipay is asked next.
    #[schema(required = true, format = DateTime, example = "2026-11-22T04:02:00.200Z")]
    pub next_check_at: Option<String>,
    /// When it becomes `unresolved`, if Alipay has said nothing by then.
    #[schema(required = true, format = DateTime, example = "2026-11-25T04:00:00.000Z")]
    pub gives_up_at: Option<String>,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub created_at: String,
    /// When it changed last.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.200Z")]
    pub updated_at: String,
    /// The last hundred changes, newest first; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub history: Option<Vec<RegistrationChangeView>>,
}

/// What was sent to Alipay. Names of people, documents, numbers and addresses are masked.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = SubmittedRegistration)]
#[expect(missing_docs, reason = "the members of the request, documented there")]
pub struct SubmittedView {
    #[schema(example = "Demo Cafe Ltd")]
    pub secondary_merchant_name: String,
    #[schema(example = "ENTERPRISE", extensions(("x-extensible-enum" = json!(MerchantType::NAMES))))]
    pub secondary_merchant_type: &'static str,
    #[schema(example = "Demo Cafe Central")]
    pub store_name: String,
    #[schema(example = "HK")]
    pub store_country: String,
    #[schema(example = "1 Queen's Road Central, Hong Kong")]
    pub store_address: String,
    #[schema(example = "5812")]
    pub store_industry: String,
    #[schema(required = true, example = json!(null))]
    pub internal_store_photo: Option<String>,
    #[schema(required = true, example = json!(null))]
    pub external_storefront_photo: Option<String>,
    #[schema(required = true, example = "12345678-000")]
    pub registration_no: Option<String>,
    #[schema(example = "HK")]
    pub register_country: String,
    #[schema(required = true, example = json!(null))]
    pub register_address: Option<String>,
    #[schema(required = true, example = "W***n")]
    pub shareholder_name: Option<String>,
    #[schema(required = true, example = "A***)")]
    pub shareholder_id: Option<String>,
    #[schema(required = true, example = json!(null))]
    pub representative_name: Option<String>,
    #[schema(required = true, example = json!(null))]
    pub representative_id: Option<String>,
    #[schema(required = true, example = json!(null))]
    pub settlement_no: Option<String>,
    #[schema(required = true, example = "+***9")]
    pub contact_no: Option<String>,
    #[schema(required = true, example = "***@example.com")]
    pub contact_email: Option<String>,
    #[schema(required = true, example = json!(null))]
    pub cs_no: Option<String>,
    #[schema(required = true, example = json!(null))]
    pub cs_email: Option<String>,
    /// The drivers of a taxi.
    pub drivers: Vec<DriverView>,
}

/// A driver, masked.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RegisteredDriver)]
#[expect(missing_docs, reason = "the members of the request, documented there")]
pub struct DriverView {
    #[schema(example = "***")]
    pub operation_id: String,
    #[schema(required = true, example = json!(null))]
    pub contact_way: Option<String>,
    #[schema(example = "C***g")]
    pub contact_person: String,
}

/// What payments say of the store.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RegistrationInForce)]
pub struct InForceView {
    /// The merchant's legal name.
    #[schema(example = "Demo Cafe Ltd")]
    pub secondary_merchant_name: String,
    /// The store's name.
    #[schema(example = "Demo Cafe Central")]
    pub store_name: String,
    /// Merchant category code.
    #[schema(example = "5812")]
    pub store_industry: String,
    /// When the gateway learnt of the approval.
    #[schema(format = DateTime, example = "2026-11-22T04:05:00.000Z")]
    pub approved_at: String,
}

/// A change of a registration.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RegistrationChange)]
pub struct RegistrationChangeView {
    /// The version after it.
    #[schema(example = 2)]
    pub version: i64,
    /// What happened.
    #[schema(example = "accepted", extensions(("x-extensible-enum" = json!([&["submitted"], RegistrationEvent::NAMES].concat()))))]
    pub event: String,
    /// The status before.
    #[schema(required = true, example = "submitting", extensions(("x-extensible-enum" = json!(RegistrationStatus::NAMES))))]
    pub from_status: Option<String>,
    /// The status after.
    #[schema(example = "under_review", extensions(("x-extensible-enum" = json!(RegistrationStatus::NAMES))))]
    pub to_status: String,
    /// Which submission it was about, from 1.
    #[schema(example = 1)]
    pub submission: i32,
    /// Who caused it: the id of an API key or of a follow-up.
    #[schema(example = "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub actor_id: String,
    /// When.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.200Z")]
    pub at: String,
}

impl StoreRegistrationView {
    pub(super) fn new(
        app: &App,
        registration: &Registration,
        history: Option<&[RegistrationChange]>,
    ) -> Self {
        let submission = &registration.submission;
        let rejection = registration.rejection.clone().unwrap_or_default();
        Self {
            id: registration.id.to_string(),
            object: "store_registration",
            version: registration.version,
            merchant_id: registration.merchant_id.to_string(),
            secondary_merchant_id: registration.secondary_merchant_id.clone(),
            store_id: registration.store_id.clone(),
            status: registration.status.as_str(),
            reject_code: rejection.code,
            reject_reason: rejection.reason,
            submitted: SubmittedView::from(registration),
            in_force: registration.in_force.as_ref().map(InForceView::from),
            store_status: registration.store_status.clone(),
            submitted_at: timestamp(submission.submitted_at),
            accepted_at: submission.accepted_at.map(timestamp),
            waits_for_earlier_review: submission.after_earlier,
            submits: submission.submits,
            checks_done: submission.checks_done,
            next_check_at: registration.next_check_at.map(timestamp),
            gives_up_at: app.registration_gives_up_at(registration).map(timestamp),
            created_at: timestamp(registration.created_at),
            updated_at: timestamp(registration.updated_at),
            history: history
                .map(|history| history.iter().map(RegistrationChangeView::from).collect()),
        }
    }
}

impl From<&Registration> for SubmittedView {
    fn from(registration: &Registration) -> Self {
        let (facts, masked) = (registration.facts.clone(), registration.masked.clone());
        let owner = (Some(masked.owner_name), Some(masked.owner_id));
        let ((shareholder_name, shareholder_id), (representative_name, representative_id)) =
            match facts.secondary_merchant_type {
                MerchantType::Enterprise => (owner, (None, None)),
                MerchantType::Individual => ((None, None), owner),
            };
        let drivers = masked.drivers.into_iter();
        Self {
            secondary_merchant_name: facts.secondary_merchant_name,
            secondary_merchant_type: facts.secondary_merchant_type.as_str(),
            store_name: facts.store_name,
            store_country: facts.store_country,
            store_address: facts.store_address,
            store_industry: facts.store_industry,
            internal_store_photo: facts.internal_store_photo,
            external_storefront_photo: facts.external_storefront_photo,
            registration_no: facts.registration_no,
            register_country: facts.register_country,
            register_address: facts.register_address,
            shareholder_name,
            shareholder_id,
            representative_name,
            representative_id,
            settlement_no: masked.settlement_no,
            contact_no: masked.contact_no,
            contact_email: masked.contact_email,
            cs_no: facts.cs_no,
            cs_email: facts.cs_email,
            drivers: drivers
                .map(|driver| DriverView {
                    operation_id: driver.operation_id,
                    contact_way: driver.contact_way,
                    contact_person: driver.contact_person,
                })
                .collect(),
        }
    }
}

impl From<&Approved> for InForceView {
    fn from(in_force: &Approved) -> Self {
        Self {
            secondary_merchant_name: in_force.secondary_merchant_name.clone(),
            store_name: in_force.store_name.clone(),
            store_industry: in_force.store_industry.clone(),
            approved_at: timestamp(in_force.approved_at),
        }
    }
}

impl From<&RegistrationChange> for RegistrationChangeView {
    fn from(change: &RegistrationChange) -> Self {
        Self {
            version: change.version,
            event: change.event.clone(),
            from_status: change.from_status.clone(),
            to_status: change.to_status.clone(),
            submission: change.submission,
            actor_id: match change.actor {
                RegistrationActor::ApiKey(id) => id.to_string(),
                RegistrationActor::FollowUp(id) => id.to_string(),
            },
            at: timestamp(change.at),
        }
    }
}
