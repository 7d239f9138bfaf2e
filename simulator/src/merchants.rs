//! Secondary merchants: what is registered of each store, and its review on the simulator's clock
//! (`docs/protocol.md` 10). Pure: every operation takes `now`.
//!
//! The review takes as long as the policy says, five minutes by default. What it says follows from the
//! ids: a merchant or a store whose id ends in `REJECT` is refused, one that ends in `SLOW` stays under
//! review, all others are approved; the control API decides otherwise.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The data of a registration, by parameter name.
pub(crate) type Data = Vec<(&'static str, String)>;

/// Which merchant, and which of its stores.
pub(crate) type Place = (String, String);

/// How registrations are reviewed; set by the control API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReviewPolicy {
    /// How long a review takes.
    pub(crate) review_seconds: u32,
    /// Whether nothing is decided but by the control API.
    pub(crate) by_hand: bool,
    /// What a refusal says.
    pub(crate) reject_reason: String,
    /// Whether a payment at a store that is not approved is refused (`INVALID_STORE_ID`).
    pub(crate) payments_need_approval: bool,
}

impl Default for ReviewPolicy {
    fn default() -> Self {
        Self {
            review_seconds: 300,
            by_hand: false,
            reject_reason: "High risk merchant, registration reject.".to_owned(),
            payments_need_approval: false,
        }
    }
}

/// The `status` of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The first registration is in review.
    UnderReview,
    /// A change is in review; the data before it are in force.
    ModificationReview,
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

/// What became of a request to register or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maintained {
    /// Under review from now on.
    Accepted,
    /// A first registration is under review: `DUPLICATE_REQUEST`.
    Duplicate,
    /// The drivers of a taxi cannot be changed: `PARAM_ILLEGAL`.
    DriversAreFixed,
}

/// What somebody submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Submitted {
    data: Data,
    /// `extend_params`, which is not repeated by a status.
    drivers: Option<String>,
}

/// One merchant and store.
#[derive(Debug, Default)]
pub(crate) struct Registration {
    approved: Option<Submitted>,
    /// Under review, since then.
    pending: Option<(Submitted, DateTime<Utc>)>,
    /// Refused, for this reason.
    refused: Option<(Submitted, String)>,
    /// Each change of its standing.
    pub(crate) history: Vec<(Standing, DateTime<Utc>)>,
}

/// Where a registration stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status<'a> {
    /// The status.
    pub(crate) standing: Standing,
    /// What is in force, or else what was submitted.
    pub(crate) data: &'a Data,
    /// Why it was refused.
    pub(crate) reason: Option<&'a str>,
}

impl Registration {
    /// Where it stands, as it was settled last.
    pub(crate) fn status(&self) -> Option<Status<'_>> {
        let (standing, submitted, reason) = match (&self.approved, &self.pending, &self.refused) {
            (Some(approved), Some(_), _) => (Standing::ModificationReview, approved, None),
            (None, Some((pending, _)), _) => (Standing::UnderReview, pending, None),
            (_, None, Some((refused, reason))) => {
                (Standing::Failed, refused, Some(reason.as_str()))
            }
            (Some(approved), None, None) => (Standing::Success, approved, None),
            (None, None, None) => return None,
        };
        Some(Status {
            standing,
            data: &submitted.data,
            reason,
        })
    }

    fn note(&mut self, at: DateTime<Utc>) {
        if let Some(standing) = self.status().map(|status| status.standing) {
            self.history.push((standing, at));
        }
    }

    fn approve(&mut self, at: DateTime<Utc>) {
        let refused = self.refused.take().map(|(submitted, _)| submitted);
        let pending = self.pending.take().map(|(submitted, _)| submitted);
        self.approved = pending.or(refused).or(self.approved.take());
        self.note(at);
    }

    /// Refuses what is under review, or withdraws the approval.
    fn refuse(&mut self, at: DateTime<Utc>, reason: &str) {
        let pending = self.pending.take().map(|(submitted, _)| submitted);
        let refused = match (pending, self.refused.take()) {
            (Some(pending), _) => Some(pending),
            (None, Some((refused, _))) => Some(refused),
            (None, None) => self.approved.take(),
        };
        self.refused = refused.map(|submitted| (submitted, reason.to_owned()));
        self.note(at);
    }
}

/// All registrations of the partner.
#[derive(Debug, Default)]
pub(crate) struct Merchants {
    by_place: BTreeMap<Place, Registration>,
    pub(crate) policy: ReviewPolicy,
}

impl Merchants {
    /// Registers or changes.
    pub(crate) fn maintain(
        &mut self,
        now: DateTime<Utc>,
        place: Place,
        data: Data,
        drivers: Option<String>,
    ) -> Maintained {
        self.settle(now);
        let registration = self.by_place.entry(place).or_default();
        let standing = registration.status().map(|status| status.standing);
        if standing == Some(Standing::UnderReview) {
            return Maintained::Duplicate;
        }
        let fixed = registration.approved.as_ref();
        let fixed = fixed.and_then(|approved| approved.drivers.as_ref());
        if fixed.is_some() && fixed != drivers.as_ref() {
            return Maintained::DriversAreFixed;
        }
        registration.refused = None;
        registration.pending = Some((Submitted { data, drivers }, now));
        registration.note(now);
        Maintained::Accepted
    }

    /// Where a registration stands at `now`.
    pub(crate) fn status(&mut self, now: DateTime<Utc>, place: &Place) -> Option<Status<'_>> {
        self.settle(now);
        self.by_place.get(place)?.status()
    }

    /// Whether payments may be made there.
    pub(crate) fn takes_payments(&mut self, now: DateTime<Utc>, place: &Place) -> bool {
        self.settle(now);
        let approved = |registration: &Registration| registration.approved.is_some();
        !self.policy.payments_need_approval || self.by_place.get(place).is_some_and(approved)
    }

    /// Decides now; `false` where nothing was registered.
    pub(crate) fn decide(
        &mut self,
        now: DateTime<Utc>,
        place: &Place,
        refusal: Option<&str>,
    ) -> bool {
        self.settle(now);
        let Some(registration) = self.by_place.get_mut(place) else {
            return false;
        };
        match refusal {
            Some(reason) => registration.refuse(now, reason),
            None => registration.approve(now),
        }
        true
    }

    /// Every registration, as it is at `now`.
    pub(crate) fn all(&mut self, now: DateTime<Utc>) -> &BTreeMap<Place, Registration> {
        self.settle(now);
        &self.by_place
    }

    /// Changes how registrations are reviewed from `now` on.
    pub(crate) fn set_policy(&mut self, now: DateTime<Utc>, policy: ReviewPolicy) {
        self.settle(now);
        self.policy = policy;
    }

    /// How many registrations there are.
    pub(crate) fn len(&self) -> usize {
        self.by_place.len()
    }

    /// Ends the reviews whose time has come.
    fn settle(&mut self, now: DateTime<Utc>) {
        if self.policy.by_hand {
            return;
        }
        let review = TimeDelta::seconds(i64::from(self.policy.review_seconds));
        for (place, registration) in &mut self.by_place {
            let Some(ends_at) = registration.pending.as_ref().map(|(_, at)| *at + review) else {
                continue;
            };
            let named = |ending| {
                let ids = [&place.0, &place.1];
                ids.iter()
                    .any(|id| id.to_ascii_uppercase().ends_with(ending))
            };
            if ends_at > now || named("SLOW") {
                continue;
            }
            if named("REJECT") {
                registration.refuse(ends_at, &self.policy.reject_reason);
            } else {
                registration.approve(ends_at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::<Utc>::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn place(merchant: &str, store: &str) -> Place {
        (merchant.to_owned(), store.to_owned())
    }

    fn name(name: &str) -> Data {
        vec![("store_name", name.to_owned())]
    }

    /// Registers; drivers are named by themselves.
    fn maintain(merchants: &mut Merchants, minute: i64, place: &Place, store: &str) -> Maintained {
        merchants.maintain(at(minute), place.clone(), name(store), None)
    }

    fn standing(merchants: &mut Merchants, minute: i64, place: &Place) -> Standing {
        let status = merchants.status(at(minute), place);
        status.expect("registered").standing
    }

    #[test]
    fn a_registration_is_reviewed_and_then_approved_or_refused() {
        let mut merchants = Merchants::default();
        let store = place("SM1", "ST1");
        assert!(merchants.status(at(0), &store).is_none());
        assert_eq!(
            maintain(&mut merchants, 0, &store, "a"),
            Maintained::Accepted
        );
        assert_eq!(
            maintain(&mut merchants, 4, &store, "b"),
            Maintained::Duplicate
        );
        assert_eq!(standing(&mut merchants, 4, &store), Standing::UnderReview);
        assert_eq!(standing(&mut merchants, 5, &store), Standing::Success);
        assert_eq!(
            maintain(&mut merchants, 6, &store, "b"),
            Maintained::Accepted
        );
        let changing = merchants.status(at(6), &store).expect("registered");
        assert_eq!(changing.standing, Standing::ModificationReview);
        assert_eq!(changing.data, &name("a"), "what was approved is in force");
        let changed = merchants.status(at(11), &store).expect("registered");
        assert_eq!(
            (changed.standing, changed.data),
            (Standing::Success, &name("b"))
        );
        let history: Vec<_> = merchants.all(at(11))[&store].history.clone();
        assert_eq!(
            history,
            [
                (Standing::UnderReview, at(0)),
                (Standing::Success, at(5)),
                (Standing::ModificationReview, at(6)),
                (Standing::Success, at(11)),
            ]
        );
    }

    #[test]
    fn ids_choose_what_a_review_says() {
        let mut merchants = Merchants::default();
        for (store, after) in [
            (place("SM_REJECT", "ST1"), Standing::Failed),
            (place("SM1", "ST_REJECT"), Standing::Failed),
            (place("SM1", "ST_SLOW"), Standing::UnderReview),
            (place("SM1", "ST1"), Standing::Success),
        ] {
            maintain(&mut merchants, 0, &store, "a");
            assert_eq!(standing(&mut merchants, 60, &store), after, "{store:?}");
        }
        let refused = place("SM1", "ST_REJECT");
        let status = merchants.status(at(60), &refused).expect("registered");
        assert_eq!(
            status.reason,
            Some("High risk merchant, registration reject.")
        );
        assert_eq!(
            maintain(&mut merchants, 61, &refused, "b"),
            Maintained::Accepted
        );
    }

    #[test]
    fn a_person_decides_at_any_time() {
        let mut merchants = Merchants::default();
        let policy = ReviewPolicy {
            by_hand: true,
            payments_need_approval: true,
            ..ReviewPolicy::default()
        };
        merchants.set_policy(at(0), policy);
        let store = place("SM1", "ST1");
        assert!(
            !merchants.decide(at(0), &store, None),
            "nothing is registered"
        );
        maintain(&mut merchants, 0, &store, "a");
        assert_eq!(standing(&mut merchants, 600, &store), Standing::UnderReview);
        assert!(!merchants.takes_payments(at(600), &store));
        assert!(merchants.decide(at(601), &store, None));
        assert!(merchants.takes_payments(at(601), &store));
        maintain(&mut merchants, 602, &store, "b");
        assert!(merchants.decide(at(603), &store, Some("no")));
        let status = merchants.status(at(603), &store).expect("registered");
        assert_eq!(
            (status.standing, status.reason),
            (Standing::Failed, Some("no"))
        );
        assert!(
            merchants.takes_payments(at(603), &store),
            "the change alone was refused"
        );
        assert!(merchants.decide(at(604), &store, None));
        assert_eq!(
            merchants.status(at(604), &store).expect("registered").data,
            &name("b")
        );
        assert!(merchants.decide(at(605), &store, Some("withdrawn")));
        assert!(!merchants.takes_payments(at(605), &store));
    }

    #[test]
    fn the_drivers_of_an_approved_taxi_are_fixed() {
        let mut merchants = Merchants::default();
        let taxi = place("SM1", "AB1234");
        let mut send = |minute, drivers: &str| {
            let drivers = Some(drivers.to_owned());
            merchants.maintain(at(minute), taxi.clone(), name("AB 1234"), drivers)
        };
        assert_eq!(send(0, "[1]"), Maintained::Accepted);
        assert_eq!(send(6, "[2]"), Maintained::DriversAreFixed);
        assert_eq!(send(6, "[1]"), Maintained::Accepted);
    }
}
