//! Secondary merchants: a registration is reviewed for five minutes of the simulator's clock
//! (`protocol/operations.md` 6). What the review says depends on `secondary_merchant_id`: an id that
//! ends in `REJECT` is refused, one that ends in `SLOW` stays in review, all others are approved.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

/// How long a review takes.
const REVIEW: TimeDelta = TimeDelta::minutes(5);

/// The data of a registration, by parameter name.
pub(crate) type Data = Vec<(&'static str, String)>;

/// The `status` of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The first registration is in review.
    UnderReview,
    /// A change is in review; the data before it are in force.
    ModificationReview,
    /// Approved.
    Success,
    /// Refused.
    Failed,
}

impl Standing {
    /// The spelling on the wire.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::UnderReview => "UNDER_REVIEW",
            Self::ModificationReview => "MODIFICATION_REVIEW",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
        }
    }
}

/// One merchant and store.
#[derive(Debug)]
struct Registration {
    approved: Option<Data>,
    submitted: Data,
    submitted_at: DateTime<Utc>,
}

/// All registrations of the partner.
#[derive(Debug, Default)]
pub(crate) struct Merchants {
    by_id: HashMap<(String, String), Registration>,
}

impl Merchants {
    /// Registers or changes; `false` while a first registration is still in review.
    pub(crate) fn maintain(
        &mut self,
        now: DateTime<Utc>,
        id: (String, String),
        data: Data,
    ) -> bool {
        let approved = match self.status(now, &id) {
            Some((Standing::UnderReview, _)) => return false,
            Some((Standing::Success | Standing::ModificationReview, in_force)) => {
                Some(in_force.clone())
            }
            Some((Standing::Failed, _)) | None => None,
        };
        self.by_id.insert(
            id,
            Registration {
                approved,
                submitted: data,
                submitted_at: now,
            },
        );
        true
    }

    /// Where the registration stands at `now`, with the data in force or submitted.
    pub(crate) fn status(
        &self,
        now: DateTime<Utc>,
        id: &(String, String),
    ) -> Option<(Standing, &Data)> {
        let registration = self.by_id.get(id)?;
        let merchant_id = id.0.to_ascii_uppercase();
        let reviewed = now >= registration.submitted_at + REVIEW && !merchant_id.ends_with("SLOW");
        Some(match (&registration.approved, reviewed) {
            (Some(approved), false) => (Standing::ModificationReview, approved),
            (None, false) => (Standing::UnderReview, &registration.submitted),
            (_, true) if merchant_id.ends_with("REJECT") => {
                (Standing::Failed, &registration.submitted)
            }
            (_, true) => (Standing::Success, &registration.submitted),
        })
    }

    /// How many registrations there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::<Utc>::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn id(merchant: &str) -> (String, String) {
        (merchant.to_owned(), "ST01".to_owned())
    }

    fn name(name: &str) -> Data {
        vec![("store_name", name.to_owned())]
    }

    #[test]
    fn a_registration_is_reviewed_and_then_approved_or_refused() {
        let mut merchants = Merchants::default();
        assert!(merchants.status(at(0), &id("SM1")).is_none());
        assert!(merchants.maintain(at(0), id("SM1"), name("a")));
        assert!(!merchants.maintain(at(4), id("SM1"), name("b")));
        assert_eq!(
            merchants.status(at(4), &id("SM1")).unwrap().0,
            Standing::UnderReview
        );
        assert_eq!(
            merchants.status(at(5), &id("SM1")).unwrap().0,
            Standing::Success
        );
        assert!(merchants.maintain(at(6), id("SM1"), name("b")));
        let changing = merchants.status(at(6), &id("SM1")).unwrap();
        assert_eq!(changing, (Standing::ModificationReview, &name("a")));
        assert_eq!(
            merchants.status(at(11), &id("SM1")).unwrap(),
            (Standing::Success, &name("b"))
        );
        assert!(merchants.maintain(at(0), id("SM_REJECT"), name("a")));
        assert_eq!(
            merchants.status(at(5), &id("SM_REJECT")).unwrap().0,
            Standing::Failed
        );
    }
}
