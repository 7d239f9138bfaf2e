//! The registration of one store, as it is stored.

use chrono::{DateTime, Utc};

use super::data::{PersonalData, StoreFacts};
use crate::domain::id::{ApiKeyId, FollowUpId, MerchantId, RegistrationId};

/// Where a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegistrationStatus {
    /// About to be sent, or being sent.
    Submitting,
    /// Sent, and nobody knows yet whether Alipay has it.
    Unknown,
    /// A first registration is under review.
    UnderReview,
    /// A change is under review; what was approved before holds.
    ModificationReview,
    Approved,
    /// Refused; correct it and register again.
    Rejected,
    /// Every planned question was asked; a person must look. The truth is still accepted.
    Unresolved,
}

stored_names!(RegistrationStatus {
    Submitting = "submitting",
    Unknown = "unknown",
    UnderReview = "under_review",
    ModificationReview = "modification_review",
    Approved = "approved",
    Rejected = "rejected",
    Unresolved = "unresolved",
});

/// What Alipay is known to say of a store's own state. Another word is kept as it is.
pub const KNOWN_STORE_STATUSES: [&str; 3] = ["ACTIVATED", "INACTIVATE", "ARCHIVED"];

impl RegistrationStatus {
    /// Whether nothing is owed any more.
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Approved | Self::Rejected => true,
            Self::Submitting
            | Self::Unknown
            | Self::UnderReview
            | Self::ModificationReview
            | Self::Unresolved => false,
        }
    }
}

/// What makes two submissions the same: a keyed hash of all that is sent, which outlives the data
/// themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub Vec<u8>);

/// What was sent last, and what was asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Its number, from 1; each change of the data is a new one.
    pub number: i32,
    /// Of all data.
    pub fingerprint: Fingerprint,
    /// Of the drivers of a taxi, which cannot be changed once they are approved.
    pub drivers: Option<Fingerprint>,
    pub submitted_at: DateTime<Utc>,
    /// When Alipay is known to have had it.
    pub accepted_at: Option<DateTime<Utc>>,
    /// Whether a registration that Alipay had before is reviewed first.
    pub after_earlier: bool,
    /// Whether it is to be sent again.
    pub to_send: bool,
    /// Whether its data are still kept, to be sent again.
    pub is_kept: bool,
    pub submits: i32,
    pub last_submit_at: Option<DateTime<Utc>>,
    /// How many times its status was asked.
    pub checks_done: i32,
    /// When it was asked last.
    pub last_check_at: Option<DateTime<Utc>>,
}

/// Why a registration was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// Alipay's code, where the request itself was refused.
    pub code: Option<String>,
    /// Alipay's words, where the review refused it.
    pub reason: Option<String>,
}

/// What was approved last: what payments say of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// The merchant's legal name.
    pub secondary_merchant_name: String,
    pub store_name: String,
    /// Merchant category code.
    pub store_industry: String,
    /// When the gateway learnt of the approval.
    pub approved_at: DateTime<Utc>,
}

/// The registration of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub id: RegistrationId,
    /// Counts changes.
    pub version: i64,
    /// Whose store it is.
    pub merchant_id: MerchantId,
    /// Under which Alipay account.
    pub partner: String,
    /// The merchant's id at Alipay.
    pub secondary_merchant_id: String,
    /// The store's id there and here.
    pub store_id: String,
    pub status: RegistrationStatus,
    /// Why it was refused; present exactly while it is `rejected`.
    pub rejection: Option<Rejection>,
    /// What was sent last, people aside.
    pub facts: StoreFacts,
    /// What was sent of people, masked.
    pub masked: PersonalData,
    /// The submission of these data.
    pub submission: Submission,
    /// What was approved last, if anything is.
    pub in_force: Option<Approved>,
    /// One of [`KNOWN_STORE_STATUSES`], or another word of Alipay's.
    pub store_status: Option<String>,
    /// When Alipay is asked next; absent where that is not planned.
    pub next_check_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a wish to register these data comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To be sent.
    Submit,
    /// What was sent last, and is under review or approved: nothing is asked.
    Unchanged,
    /// Other data are under review, and Alipay takes one at a time.
    ReviewUnderWay,
    /// It would change drivers that are approved, which Alipay does not take.
    DriversAreFixed,
}

impl Registration {
    /// What a wish to register data with these fingerprints comes to.
    pub fn resolve_conflict(
        &self,
        fingerprint: &Fingerprint,
        drivers: Option<&Fingerprint>,
    ) -> Decision {
        let same = self.submission.fingerprint == *fingerprint;
        match self.status {
            RegistrationStatus::Submitting
            | RegistrationStatus::Unknown
            | RegistrationStatus::UnderReview
            | RegistrationStatus::ModificationReview
            | RegistrationStatus::Approved
                if same =>
            {
                Decision::Unchanged
            }
            RegistrationStatus::Submitting
            | RegistrationStatus::Unknown
            | RegistrationStatus::UnderReview
            | RegistrationStatus::ModificationReview => Decision::ReviewUnderWay,
            RegistrationStatus::Approved
                if self.submission.drivers.is_some()
                    && self.submission.drivers.as_ref() != drivers =>
            {
                Decision::DriversAreFixed
            }
            RegistrationStatus::Approved
            | RegistrationStatus::Rejected
            | RegistrationStatus::Unresolved => Decision::Submit,
        }
    }
}

/// Who caused a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationActor {
    /// A caller, by its API key.
    ApiKey(ApiKeyId),
    /// The durable schedule.
    FollowUp(FollowUpId),
}

/// One recorded change: append-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationChange {
    /// The version after it; 1 is the creation.
    pub version: i64,
    pub event: String,
    /// The status before; absent at creation.
    pub from_status: Option<String>,
    pub to_status: String,
    pub submission: i32,
    pub actor: RegistrationActor,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
}

/// Which registrations to list. Absent fields do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrationFilter {
    pub merchant_id: Option<MerchantId>,
    /// Under this id at Alipay.
    pub secondary_merchant_id: Option<String>,
    pub store_id: Option<String>,
    /// Standing there.
    pub status: Option<RegistrationStatus>,
}
