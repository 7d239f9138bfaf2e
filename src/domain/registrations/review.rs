//! What an answer of Alipay's makes of a registration.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Approved, Registration, RegistrationStatus as Status, Rejection,
    data::{Agreement, RegisteredData, plain},
};

/// How long after Alipay has accepted a registration it may still say that it does not know it.
const UNSEEN_FOR: TimeDelta = TimeDelta::minutes(10);

/// Something that was learnt of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationEvent {
    /// Alipay has it and will review it.
    Accepted,
    /// A registration that Alipay had before is still under review, so this one was not taken.
    EarlierReviewUnderWay,
    /// The request was refused: nothing was registered.
    Refused {
        /// Alipay's code.
        code: String,
    },
    /// It was sent, and no usable answer came.
    AnswerLost,
    /// Alipay is reviewing.
    UnderReview {
        /// Whether it is a change of what was approved before.
        is_change: bool,
        /// What Alipay says is registered.
        echo: RegisteredData,
    },
    /// Alipay has approved.
    Approved {
        /// What Alipay says is registered.
        echo: RegisteredData,
        /// Alipay's word for the store's own state.
        store_status: Option<String>,
    },
    /// Alipay's review has refused.
    Rejected {
        /// Alipay's words.
        reason: Option<String>,
        /// What Alipay says was submitted.
        echo: RegisteredData,
    },
    /// Alipay knows no such merchant and store.
    NotRegistered,
    /// Every planned question was asked.
    PlanExhausted,
}

event_names!(RegistrationEvent {
    Self::Accepted => "accepted",
    Self::EarlierReviewUnderWay => "earlier_review_under_way",
    Self::Refused { .. } => "refused",
    Self::AnswerLost => "answer_lost",
    Self::UnderReview { .. } => "under_review",
    Self::Approved { .. } => "approved",
    Self::Rejected { .. } => "rejected",
    Self::NotRegistered => "not_registered",
    Self::PlanExhausted => "plan_exhausted",
});

impl Registration {
    /// The registration after the event; `None` where that changes nothing. The one place that
    /// computes a status.
    #[must_use]
    pub fn apply(&self, event: &RegistrationEvent, now: DateTime<Utc>) -> Option<Self> {
        let after = match event {
            RegistrationEvent::Accepted => self.accepted(now),
            RegistrationEvent::EarlierReviewUnderWay => self.behind_an_earlier_review(),
            RegistrationEvent::Refused { code } => self.refused(code),
            RegistrationEvent::AnswerLost => self.unheard(),
            RegistrationEvent::UnderReview { is_change, echo } => {
                Some(self.under_review(*is_change, echo, now))
            }
            RegistrationEvent::Approved { echo, store_status } => {
                self.approved(echo, store_status.as_deref(), now)
            }
            RegistrationEvent::Rejected { reason, echo } => self.rejected(reason.as_deref(), echo),
            RegistrationEvent::NotRegistered => self.not_registered(now),
            RegistrationEvent::PlanExhausted => self.exhausted(),
        }?;
        (after != *self).then(|| Self {
            version: self.version + 1,
            updated_at: now,
            ..after
        })
    }

    /// With another status, which forgets why it was refused.
    fn standing(&self, status: Status) -> Self {
        Self {
            status,
            rejection: None,
            ..self.clone()
        }
    }

    /// What a review that began here is called.
    const fn review(&self) -> Status {
        if self.in_force.is_some() {
            Status::ModificationReview
        } else {
            Status::UnderReview
        }
    }

    fn accepted(&self, now: DateTime<Utc>) -> Option<Self> {
        if self.status.is_settled() {
            return None;
        }
        Some(self.standing(self.review()).heard(now))
    }

    fn behind_an_earlier_review(&self) -> Option<Self> {
        if self.status.is_settled() {
            return None;
        }
        let mut after = self.standing(self.review());
        after.submission.after_earlier = true;
        after.submission.to_send = false;
        Some(after)
    }

    fn refused(&self, code: &str) -> Option<Self> {
        if self.status.is_settled() {
            return None;
        }
        Some(self.standing(Status::Approved).refuse(Rejection {
            code: Some(code.to_owned()),
            reason: None,
        }))
    }

    fn unheard(&self) -> Option<Self> {
        (self.status == Status::Submitting).then(|| self.standing(Status::Unknown))
    }

    fn under_review(&self, is_change: bool, echo: &RegisteredData, now: DateTime<Utc>) -> Self {
        let status = if is_change {
            Status::ModificationReview
        } else {
            Status::UnderReview
        };
        let submission = &self.submission;
        let reviewed = self.standing(status);
        if submission.accepted_at.is_some() {
            return reviewed;
        }
        let agreement = echo.compare(&self.facts);
        let is_ours = match agreement {
            Agreement::Agrees => true,
            Agreement::Differs => false,
            // Alipay reviews one at a time, and had said that it is another one.
            Agreement::Silent => !submission.after_earlier,
        };
        if is_ours {
            return reviewed.heard(now);
        }
        let mut after = reviewed;
        after.submission.after_earlier = true;
        after.submission.to_send = false;
        after
    }

    fn approved(
        &self,
        echo: &RegisteredData,
        store_status: Option<&str>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let agreement = echo.compare(&self.facts);
        let is_heard = self.submission.accepted_at.is_some();
        let is_first = self.submission.number == 1 && !self.status.is_settled();
        let counts = match self.status {
            // What a request could not register is not approved by what was there before.
            Status::Rejected => is_heard,
            Status::Approved => true,
            _ if is_heard => !self.is_stale(echo, agreement),
            // Sent before, and heard in the end.
            _ if self.submission.after_earlier || is_first => agreement == Agreement::Agrees,
            _ => false,
        };
        if counts {
            let mut after = self.standing(Status::Approved).heard(now);
            after.in_force = Some(self.in_force_by(echo, now));
            after.store_status = store_status.map(str::to_owned);
            after.submission.is_kept = false;
            return Some(after);
        }
        if self.status.is_settled() || is_heard {
            return None;
        }
        // An earlier registration's approval: it holds until this one has its own.
        let mut after = self.send_again();
        if agreement == Agreement::Differs {
            after.in_force = Some(self.in_force_by(echo, now));
        }
        Some(after)
    }

    fn rejected(&self, reason: Option<&str>, echo: &RegisteredData) -> Option<Self> {
        let rejection = Rejection {
            code: None,
            reason: reason.map(str::to_owned),
        };
        let agrees = echo.compare(&self.facts) == Agreement::Agrees;
        let submission = &self.submission;
        match self.status {
            Status::Rejected => None,
            // The approval itself was withdrawn.
            Status::Approved => {
                let mut after = self.clone().refuse(rejection);
                after.in_force = None;
                Some(after)
            }
            _ if submission.accepted_at.is_some()
                || (agrees && (submission.after_earlier || submission.number == 1)) =>
            {
                Some(self.clone().refuse(rejection))
            }
            _ => Some(self.send_again()),
        }
    }

    fn not_registered(&self, now: DateTime<Utc>) -> Option<Self> {
        let seen_lately = self
            .submission
            .accepted_at
            .is_some_and(|at| now - at < UNSEEN_FOR);
        if self.status.is_settled() || seen_lately {
            return None;
        }
        Some(self.send_again())
    }

    fn exhausted(&self) -> Option<Self> {
        (!self.status.is_settled()).then(|| self.standing(Status::Unresolved))
    }

    /// Alipay has it.
    fn heard(mut self, now: DateTime<Utc>) -> Self {
        let submission = &mut self.submission;
        submission.accepted_at = submission.accepted_at.or(Some(now));
        submission.after_earlier = false;
        submission.to_send = false;
        self
    }

    fn refuse(mut self, rejection: Rejection) -> Self {
        self.status = Status::Rejected;
        self.rejection = Some(rejection);
        self.submission.after_earlier = false;
        self.submission.to_send = false;
        self.submission.is_kept = false;
        self
    }

    /// To be sent again, since Alipay does not have it, or may not.
    fn send_again(&self) -> Self {
        let mut after = self.clone();
        if after.status != Status::Unresolved {
            after.status = Status::Unknown;
        }
        after.submission.accepted_at = None;
        after.submission.after_earlier = false;
        after.submission.to_send = true;
        after
    }

    /// Whether an approval is the one of what is in force already, while a change is reviewed.
    fn is_stale(&self, echo: &RegisteredData, agreement: Agreement) -> bool {
        let Some(before) = &self.in_force else {
            return false;
        };
        let says = |theirs: &Option<String>, ours: &str| {
            theirs
                .as_deref()
                .is_none_or(|theirs| plain(theirs) == plain(ours))
        };
        agreement == Agreement::Differs
            && says(
                &echo.secondary_merchant_name,
                &before.secondary_merchant_name,
            )
            && says(&echo.store_name, &before.store_name)
            && says(&echo.store_industry, &before.store_industry)
    }

    /// What is approved: Alipay's own words where it says them.
    fn in_force_by(&self, echo: &RegisteredData, now: DateTime<Utc>) -> Approved {
        let said = |theirs: &Option<String>, ours: &str| {
            theirs
                .as_deref()
                .filter(|theirs| plain(theirs) != plain(ours))
                .unwrap_or(ours)
                .to_owned()
        };
        let facts = &self.facts;
        let named = Approved {
            secondary_merchant_name: said(
                &echo.secondary_merchant_name,
                &facts.secondary_merchant_name,
            ),
            store_name: said(&echo.store_name, &facts.store_name),
            store_industry: said(&echo.store_industry, &facts.store_industry),
            approved_at: now,
        };
        // What holds unchanged has held since then.
        match &self.in_force {
            Some(before) if self.status == Status::Approved => Approved {
                approved_at: before.approved_at,
                ..named
            },
            _ => named,
        }
    }
}
