//! What Alipay's answers mean for a registration.

use crate::{
    alipay::outcome::{MaintainStoreOutcome, StoreStatusOutcome},
    domain::registrations::RegistrationEvent,
};

/// What the answer to a registration means.
pub(super) fn maintain_event(outcome: MaintainStoreOutcome) -> RegistrationEvent {
    match outcome {
        MaintainStoreOutcome::Accepted => RegistrationEvent::Accepted,
        MaintainStoreOutcome::ReviewUnderWay => RegistrationEvent::EarlierReviewUnderWay,
        MaintainStoreOutcome::Refused { code } => RegistrationEvent::Refused { code },
        MaintainStoreOutcome::Unknown => RegistrationEvent::AnswerLost,
    }
}

/// What the answer to a question means; `None` where it tells nothing of the registration.
pub(super) fn status_event(outcome: StoreStatusOutcome) -> Option<RegistrationEvent> {
    Some(match outcome {
        StoreStatusOutcome::Approved { echo, store_status } => RegistrationEvent::Approved {
            echo: *echo,
            store_status,
        },
        StoreStatusOutcome::UnderReview { echo } => RegistrationEvent::UnderReview {
            is_change: false,
            echo: *echo,
        },
        StoreStatusOutcome::ModificationUnderReview { echo } => RegistrationEvent::UnderReview {
            is_change: true,
            echo: *echo,
        },
        StoreStatusOutcome::Rejected { reason, echo } => RegistrationEvent::Rejected {
            reason,
            echo: *echo,
        },
        StoreStatusOutcome::NotRegistered => RegistrationEvent::NotRegistered,
        StoreStatusOutcome::Refused { .. } | StoreStatusOutcome::Unknown => return None,
    })
}
