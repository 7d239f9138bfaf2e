//! One return of money: its data, its states, and [`Refund::apply`], the only function that computes
//! a state.
//!
//! | state | means | leaves to |
//! |---|---|---|
//! | `pending` | asked, or about to ask; Alipay may still have to do it | any other |
//! | `succeeded` | Alipay said the money went back, verified | `failed` (Alipay took it back, or knows of none and a person accepts that) |
//! | `failed` | Alipay said a definite no, or gave up | nothing, unless Alipay contradicts it |
//! | `unresolved` | every planned question was asked; the truth is still accepted | `succeeded`, `failed` |
//!
//! Whatever is not `failed` keeps its amount reserved on the payment, so that no second refund can
//! take it (`docs/invariants.md` M3, R4). Silence never fails a refund, and neither does
//! "processing" with a code beside it (`docs/protocol.md` 7.2).

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::{
    id::{MerchantId, MerchantReference, PartnerRefundId, PartnerTransId, PaymentId, RefundId},
    money::Money,
    transition::{InvalidTransition, RESOLVED_BY_OPERATOR},
};

/// How long after a request left, "no such refund" stays "not yet" where a refusal hangs on it: a
/// request that was cut may still be on its way.
pub const CONFIRM_AFTER: TimeDelta = TimeDelta::seconds(60);

/// How long after a request Alipay takes a question about the refund (`docs/protocol.md` 6.3).
pub const ASKED_AFTER: TimeDelta = TimeDelta::seconds(10);

/// How far Alipay's clock and the database's may be apart before its word on a time is no word.
const CLOCKS_DIFFER_BY: TimeDelta = TimeDelta::minutes(10);

/// Alipay's codes for a merchant's balance that is too low (`docs/protocol.md` 6.5).
const SHORT_OF_FUNDS: [&str; 2] = ["MERCHANT_BALANCE_NOT_ENOUGH", "SELLER_BALANCE_NOT_ENOUGH"];

/// Whether Alipay does a refund in the call or in its nightly batch (`docs/protocol.md` 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundMode {
    /// Done in the call; the answer is the result.
    Sync,
    /// Recorded in the call, done in a batch; Alipay itself tries again while funds are short.
    Async,
}

/// Who made a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundOrigin {
    /// This gateway, for a caller.
    Gateway,
    /// Somebody in Alipay's merchant portal: known from a daily file only
    /// (`docs/protocol.md` 9.6). Nothing is ever asked about it.
    Portal,
}

/// A request for a refund after every field was checked, as it was sent: what was left out is absent, so
/// that a repeat can be told from another request. Nothing of it is stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRefund {
    /// How much, in HKD; all that is left where it is absent.
    pub amount: Option<Money>,
    /// Now or in the batch.
    pub mode: Option<RefundMode>,
    /// The caller's own number, unique among the merchant's refunds.
    pub merchant_reference: Option<MerchantReference>,
    /// Why: at most 128 characters, sent to Alipay.
    pub reason: Option<String>,
    /// Whether to refund even though a refund of the same amount is open or was just made.
    pub allow_duplicate: Option<bool>,
}

impl NewRefund {
    /// Now or in the batch; now, where the caller does not say.
    pub fn mode(&self) -> RefundMode {
        self.mode.unwrap_or(RefundMode::Sync)
    }

    /// Whether to refund even though a refund of the same amount is open or was just made.
    pub fn allows_duplicate(&self) -> bool {
        self.allow_duplicate.unwrap_or(false)
    }
}

/// A refund as stored: what was asked, what is known, and what is still to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    pub id: RefundId,
    /// Counts changes of state; 1 at creation. The guard of every change and the `ETag`.
    pub version: i64,
    pub merchant_id: MerchantId,
    pub payment_id: PaymentId,
    pub origin: RefundOrigin,
    /// Now or in the batch.
    pub mode: RefundMode,
    /// How much; never changes.
    pub amount: Money,
    /// The caller's own number.
    pub merchant_reference: Option<MerchantReference>,
    pub reason: Option<String>,
    /// The Alipay account that pays.
    pub partner: String,
    /// The payment's id towards Alipay.
    pub partner_trans_id: PartnerTransId,
    /// Our id towards Alipay.
    pub partner_refund_id: PartnerRefundId,
    /// Alipay's id of the payment, which its answers must name.
    pub alipay_trans_id: Option<String>,
    /// Where the refund stands.
    pub state: RefundState,
    /// A refusal that a query has yet to confirm: it came where an earlier request may have been
    /// heard.
    pub refusal: Option<RefundFailure>,
    /// A refusal with a code of which nobody has said what it means; the same again is a refusal.
    pub unknown_code: Option<UnknownCode>,
    /// When Alipay accepted it: by its own word where it gave one, else when its answer came. No
    /// refusal of a repeat counts from then on.
    pub accepted_at: Option<DateTime<Utc>>,
    /// When the gateway learnt that the money went back (database clock).
    pub succeeded_at: Option<DateTime<Utc>>,
    /// Since when the newest open contradiction stands: what Alipay verifiably said and the books did not
    /// take (database clock).
    pub contradicted_at: Option<DateTime<Utc>>,
    /// Whether an operator decided the status it has; that yields to Alipay's word.
    pub decided_by_operator: bool,
    /// Whether it failed after callers were told that it is under way, or done: the buyer was promised money,
    /// and a person must see to it.
    pub failed_late: bool,
    /// What was asked so far and when to ask next.
    pub poll: RefundPollState,
    /// When the intent was committed (database clock).
    pub created_at: DateTime<Utc>,
    /// When the state last changed (database clock).
    pub updated_at: DateTime<Utc>,
    /// When a final state was reached (database clock).
    pub finalized_at: Option<DateTime<Utc>>,
}

/// Where a refund stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// Not done yet, as far as is known.
    Pending(PendingReason),
    /// The money went back.
    Succeeded,
    /// It will not go back under this refund.
    Failed(RefundFailure),
    /// Every planned question was asked without an answer; an operator must look.
    Unresolved,
}

/// Why a refund is still `pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingReason {
    /// The request is on its way to Alipay.
    Submitting,
    /// Alipay accepted it and does it in a nightly batch.
    AwaitingBatch,
    /// The merchant's balance at Alipay is too low; tried again by Alipay, or by the gateway.
    InsufficientFunds,
    /// Alipay was silent, unreadable or unsure.
    OutcomeUnknown,
    /// Alipay says that it is being done.
    Processing,
}

/// A definite refusal or a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundFailure {
    /// Alipay's code, verbatim.
    pub code: String,
    /// What to do about it.
    pub message: String,
}

/// A verified refusal whose code means nothing to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCode {
    /// Alipay's code, verbatim.
    pub code: String,
    /// Which of the requests was refused so: how many had been sent.
    pub submits: i32,
}

/// What was asked of Alipay so far, and when it is asked next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefundPollState {
    /// When the next question is due; absent when nothing is planned.
    pub next_check_at: Option<DateTime<Utc>>,
    /// Since when a question is owed besides the plan, because something told us to look.
    pub question_due_at: Option<DateTime<Utc>>,
    /// How often the request itself was sent, always under one id and with one amount.
    pub submits: i32,
    pub last_submit_at: Option<DateTime<Utc>>,
    /// How many queries were sent.
    pub checks_done: i32,
    /// When the last query was sent.
    pub last_check_at: Option<DateTime<Utc>>,
    /// Whether Alipay answered the last query that it knows no such refund.
    pub not_found: bool,
}

/// What happened to a refund, in the past tense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundEvent {
    /// A verified answer says the money went back.
    Succeeded {
        /// When Alipay accepted it, where it says so.
        accepted_at: Option<DateTime<Utc>>,
    },
    /// A verified answer says it is recorded and will be done in a batch.
    Accepted,
    /// A verified query answer says it is still to be done.
    Waiting {
        /// Why, where it says so.
        code: Option<String>,
        /// When Alipay accepted it.
        accepted_at: Option<DateTime<Utc>>,
    },
    /// A verified answer to the request itself is a definite no.
    Refused(RefundFailure),
    /// A verified answer to the request says no for a reason that a query must confirm.
    Doubted(RefundFailure),
    /// A verified answer to the request says no with a code of which nobody has said what it means.
    UnknownCode(RefundFailure),
    /// A verified answer to the request says that the merchant's balance is too low.
    FundsShort(RefundFailure),
    /// A verified query answer says there is no such refund.
    NotFound,
    /// No usable answer came.
    OutcomeBecameUnknown,
    /// A verified query answer says that Alipay gave it up.
    FailedAtAlipay(RefundFailure),
    /// A verified query answer says that a refund which had succeeded has failed.
    ReversedByAlipay(RefundFailure),
    /// Every planned question was asked.
    PlanExhausted,
    /// An operator looked and decided, on evidence from outside.
    Resolved(RefundResolution),
}

/// What an operator found out about an unresolved refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundResolution {
    /// The money went back.
    Succeeded,
    /// It did not and will not.
    Failed,
}

impl RefundResolution {
    /// Whether it says what the books say.
    pub const fn says_what_is(self, state: &RefundState) -> bool {
        matches!(
            (self, state),
            (Self::Succeeded, RefundState::Succeeded) | (Self::Failed, RefundState::Failed(_))
        )
    }
}

event_names!(RefundEvent {
    Self::Succeeded { .. } => "refund_succeeded",
    Self::Accepted => "refund_accepted",
    Self::Waiting { .. } => "refund_waiting",
    Self::Refused(_) => "refund_refused",
    Self::Doubted(_) => "refund_doubted",
    Self::UnknownCode(_) => "refund_unknown_code",
    Self::FundsShort(_) => "refund_funds_short",
    Self::NotFound => "refund_not_found",
    Self::OutcomeBecameUnknown => "refund_outcome_became_unknown",
    Self::FailedAtAlipay(_) => "refund_failed_at_alipay",
    Self::ReversedByAlipay(_) => "refund_reversed_by_alipay",
    Self::PlanExhausted => "refund_plan_exhausted",
    Self::Resolved(_) => "refund_resolved",
});

impl RefundEvent {
    /// Whether it says that Alipay accepted the refund, and not when.
    pub const fn accepts_without_a_time(&self) -> bool {
        matches!(
            self,
            Self::Accepted
                | Self::Succeeded { accepted_at: None }
                | Self::Waiting {
                    accepted_at: None,
                    ..
                }
        )
    }
}

impl RefundState {
    /// Every public name.
    pub const STATUSES: [&'static str; 4] = ["pending", "succeeded", "failed", "unresolved"];

    /// The public name: `pending`, `succeeded`, `failed`, `unresolved`.
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Unresolved => "unresolved",
        }
    }

    /// Why it is pending, where it is.
    pub const fn status_reason(&self) -> Option<PendingReason> {
        match self {
            Self::Pending(reason) => Some(*reason),
            Self::Succeeded | Self::Failed(_) | Self::Unresolved => None,
        }
    }

    /// Whether nothing more is asked of Alipay on our own initiative.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Succeeded | Self::Failed(_) => true,
            Self::Pending(_) | Self::Unresolved => false,
        }
    }

    /// Whether the amount is kept back on the payment: everything but a definite no.
    pub const fn is_reserved(&self) -> bool {
        match self {
            Self::Pending(_) | Self::Succeeded | Self::Unresolved => true,
            Self::Failed(_) => false,
        }
    }
}

stored_names!(RefundOrigin {
    Gateway = "gateway",
    Portal = "portal",
});
stored_names!(RefundMode {
    Sync = "sync",
    Async = "async",
});
stored_names!(PendingReason {
    Submitting = "submitting",
    AwaitingBatch = "awaiting_batch",
    InsufficientFunds = "insufficient_funds",
    OutcomeUnknown = "outcome_unknown",
    Processing = "processing",
});

/// What a change of a refund does to the payment's books, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookChange {
    /// Added to what is reserved for refunds.
    pub reserved_minor: i64,
    /// Added to what was returned.
    pub refunded_minor: i64,
}

impl Refund {
    /// Whether it failed because the merchant's balance was too low: an asynchronous one would wait.
    pub fn failed_for_want_of_funds(&self) -> bool {
        match &self.state {
            RefundState::Failed(failure) => SHORT_OF_FUNDS.contains(&failure.code.as_str()),
            RefundState::Pending(_) | RefundState::Succeeded | RefundState::Unresolved => false,
        }
    }

    /// Applies what happened. `Ok(None)` means the event says nothing new (a repeated or stale
    /// answer, `docs/invariants.md` S7); an error means it contradicts what is known and must be
    /// recorded as an incident. `now` is the database's time of the change.
    pub fn apply(
        &self,
        event: &RefundEvent,
        now: DateTime<Utc>,
    ) -> Result<Option<Self>, InvalidTransition> {
        let mut next = self.clone();
        next.learn(event, now);
        if let Some(state) = self.next_state(event)? {
            next.decided_by_operator = match event {
                RefundEvent::Resolved(_) => true,
                _ => self.decided_by_operator && state == self.state,
            };
            if self.state.is_final() && state != self.state {
                // The books have moved to what was said.
                next.contradicted_at = None;
            }
            next.failed_late = match event {
                // A person has seen to it.
                RefundEvent::Resolved(_) => false,
                _ => self.fails_late(&state) || self.failed_late && state == self.state,
            };
            next.state = state;
        }
        if next == *self {
            return Ok(None);
        }
        next.version += 1;
        next.updated_at = now;
        if next.state.status() != self.state.status() {
            next.finalized_at = next.state.is_final().then_some(now);
            next.succeeded_at = match next.state {
                RefundState::Succeeded => Some(now),
                // What had succeeded and was taken back keeps the time of its success.
                RefundState::Failed(_) => self.succeeded_at,
                RefundState::Pending(_) | RefundState::Unresolved => None,
            };
        }
        if next.state.is_final() {
            next.refusal = None;
            next.unknown_code = None;
            next.poll.next_check_at = None;
        }
        Ok(Some(next))
    }

    /// When Alipay is to be asked about what it has refused: once, as soon as it takes the question. `None`
    /// where an answer to a question has told already. What was refused and is done all the same would be
    /// returned twice.
    pub fn refusal_is_asked_about_at(&self, event: &RefundEvent) -> Option<DateTime<Utc>> {
        let was_refused = matches!(event, RefundEvent::Refused(_) | RefundEvent::FundsShort(_));
        let is_over = matches!(self.state, RefundState::Failed(_)) && was_refused;
        self.poll
            .last_submit_at
            .filter(|_| is_over)
            .map(|sent| sent + ASKED_AFTER)
    }

    /// When Alipay is asked about what a person decides at `now`: an answer that was on its way then has come by that
    /// time, and a person may be mistaken.
    pub fn decision_is_checked_at(now: DateTime<Utc>) -> DateTime<Utc> {
        now + ASKED_AFTER
    }

    /// Whether a failure comes after callers were told more than that their request is on its way: not as
    /// its answer. The request of what a reversal ends in leaves after it was told.
    pub fn fails_late(&self, after: &RefundState) -> bool {
        let was_told = match &self.state {
            RefundState::Pending(PendingReason::Submitting) => {
                let sent_at = self.poll.last_submit_at;
                sent_at.is_some_and(|sent| sent > self.created_at)
            }
            RefundState::Pending(
                PendingReason::AwaitingBatch
                | PendingReason::InsufficientFunds
                | PendingReason::OutcomeUnknown
                | PendingReason::Processing,
            )
            | RefundState::Unresolved
            | RefundState::Succeeded => true,
            RefundState::Failed(_) => false,
        };
        was_told && matches!(after, RefundState::Failed(_))
    }

    /// What a change from `self` to `after` does to the payment's books.
    pub fn book_change(&self, after: &Self) -> BookChange {
        let minor = self.amount.minor();
        let step = |before: bool, after: bool| match (before, after) {
            (false, true) => minor,
            (true, false) => -minor,
            (true, true) | (false, false) => 0,
        };
        let is_done = |refund: &Self| refund.state == RefundState::Succeeded;
        BookChange {
            reserved_minor: step(self.state.is_reserved(), after.state.is_reserved()),
            refunded_minor: step(is_done(self), is_done(after)),
        }
    }

    /// Whether a person must look, and may decide.
    pub fn needs_a_person(&self) -> bool {
        self.state == RefundState::Unresolved || self.contradicted_at.is_some() || self.failed_late
    }

    /// Whether a failed refund is believed to be done after all: Alipay has said so before, and was asked
    /// again since, or it was only an operator who said otherwise.
    fn may_turn_out_done(&self) -> bool {
        let is_contradicted = self.contradicted_at.is_some();
        is_contradicted && (self.decided_by_operator || self.was_asked_since_contradicted())
    }

    /// Whether an event says what the books say.
    pub const fn agrees_with(&self, event: &RefundEvent) -> bool {
        matches!(
            (&self.state, event),
            (
                RefundState::Failed(_),
                RefundEvent::FailedAtAlipay(_) | RefundEvent::ReversedByAlipay(_)
            ) | (RefundState::Succeeded, RefundEvent::Succeeded { .. })
        )
    }

    /// Whether "no such refund", answered to a query that was sent at `asked_at`, settles a refusal.
    fn confirms_refusal(&self) -> Option<&RefundFailure> {
        let asked_at = self.poll.last_check_at?;
        let sent_at = self.poll.last_submit_at?;
        let late_enough = asked_at - sent_at >= CONFIRM_AFTER;
        self.refusal.as_ref().filter(|_| late_enough)
    }

    /// The state after the event, if it is another.
    fn next_state(&self, event: &RefundEvent) -> Result<Option<RefundState>, InvalidTransition> {
        match &self.state {
            RefundState::Pending(reason) => Ok(self.after_pending(*reason, event)),
            RefundState::Unresolved => Ok(self.after_unresolved(event)),
            RefundState::Succeeded => match event {
                RefundEvent::FailedAtAlipay(failure) | RefundEvent::ReversedByAlipay(failure) => {
                    Ok(Some(RefundState::Failed(failure.clone())))
                }
                // A person accepts that nothing went back.
                RefundEvent::Resolved(RefundResolution::Failed)
                    if self.contradicted_at.is_some() =>
                {
                    Ok(Some(resolved_as_failed()))
                }
                // A late or repeated answer about what is already known. A repeated request may be
                // refused once the money went back, and a query may read a copy that lags behind: that
                // moves nothing by itself ([`Refund::is_contradicted_by`]).
                RefundEvent::Succeeded { .. }
                | RefundEvent::Accepted
                | RefundEvent::Waiting { .. }
                | RefundEvent::Refused(_)
                | RefundEvent::Doubted(_)
                | RefundEvent::UnknownCode(_)
                | RefundEvent::FundsShort(_)
                | RefundEvent::NotFound
                | RefundEvent::OutcomeBecameUnknown
                | RefundEvent::PlanExhausted
                | RefundEvent::Resolved(_) => Ok(None),
            },
            RefundState::Failed(_) => match event {
                RefundEvent::Succeeded { .. } if self.may_turn_out_done() => {
                    Ok(Some(RefundState::Succeeded))
                }
                // A person accepts what was said.
                RefundEvent::Resolved(RefundResolution::Succeeded)
                    if self.contradicted_at.is_some() =>
                {
                    Ok(Some(RefundState::Succeeded))
                }
                // A person has seen to it.
                RefundEvent::Resolved(RefundResolution::Failed) if self.failed_late => {
                    Ok(Some(self.state.clone()))
                }
                RefundEvent::Refused(_)
                | RefundEvent::Doubted(_)
                | RefundEvent::UnknownCode(_)
                | RefundEvent::FundsShort(_)
                | RefundEvent::FailedAtAlipay(_)
                | RefundEvent::ReversedByAlipay(_)
                | RefundEvent::NotFound
                | RefundEvent::OutcomeBecameUnknown
                | RefundEvent::PlanExhausted
                | RefundEvent::Resolved(_) => Ok(None),
                RefundEvent::Succeeded { .. }
                | RefundEvent::Accepted
                | RefundEvent::Waiting { .. } => Err(self.contradiction(event)),
            },
        }
    }

    fn after_pending(&self, reason: PendingReason, event: &RefundEvent) -> Option<RefundState> {
        use PendingReason as R;
        let pending = |reason| Some(RefundState::Pending(reason));
        match event {
            RefundEvent::Succeeded { .. } => Some(RefundState::Succeeded),
            RefundEvent::Accepted => match reason {
                R::Submitting | R::OutcomeUnknown => pending(R::AwaitingBatch),
                R::InsufficientFunds if self.accepted_at.is_none() => pending(R::AwaitingBatch),
                R::AwaitingBatch | R::InsufficientFunds | R::Processing => None,
            },
            RefundEvent::Waiting { code, .. } => pending(match (code.as_deref(), self.mode) {
                (Some(code), _) if SHORT_OF_FUNDS.contains(&code) => R::InsufficientFunds,
                (Some(_), _) | (None, RefundMode::Sync) => R::Processing,
                (None, RefundMode::Async) => R::AwaitingBatch,
            }),
            // Only where nobody else can have been heard under this id is a no the last word.
            RefundEvent::Refused(failure) if self.poll.submits <= 1 => {
                Some(RefundState::Failed(failure.clone()))
            }
            RefundEvent::FundsShort(failure)
                if self.mode == RefundMode::Sync && self.poll.submits <= 1 =>
            {
                Some(RefundState::Failed(failure.clone()))
            }
            RefundEvent::FundsShort(_) if self.mode == RefundMode::Async => {
                pending(R::InsufficientFunds)
            }
            // Alipay has it: a repeat may be refused because of the refund that it repeats.
            RefundEvent::Refused(_) | RefundEvent::Doubted(_) | RefundEvent::FundsShort(_)
                if self.accepted_at.is_some() =>
            {
                None
            }
            RefundEvent::Refused(_) | RefundEvent::Doubted(_) | RefundEvent::FundsShort(_) => {
                pending(R::OutcomeUnknown)
            }
            RefundEvent::NotFound => self
                .confirms_refusal()
                .map(|failure| RefundState::Failed(failure.clone())),
            RefundEvent::UnknownCode(_) | RefundEvent::OutcomeBecameUnknown => match reason {
                R::Submitting => pending(R::OutcomeUnknown),
                R::AwaitingBatch | R::InsufficientFunds | R::OutcomeUnknown | R::Processing => None,
            },
            RefundEvent::FailedAtAlipay(failure) | RefundEvent::ReversedByAlipay(failure) => {
                Some(RefundState::Failed(failure.clone()))
            }
            RefundEvent::PlanExhausted => Some(RefundState::Unresolved),
            RefundEvent::Resolved(_) => None,
        }
    }

    /// The truth is still accepted, from Alipay or from an operator.
    fn after_unresolved(&self, event: &RefundEvent) -> Option<RefundState> {
        match event {
            RefundEvent::Succeeded { .. } | RefundEvent::Resolved(RefundResolution::Succeeded) => {
                Some(RefundState::Succeeded)
            }
            RefundEvent::FailedAtAlipay(failure) | RefundEvent::ReversedByAlipay(failure) => {
                Some(RefundState::Failed(failure.clone()))
            }
            RefundEvent::NotFound => self
                .confirms_refusal()
                .map(|failure| RefundState::Failed(failure.clone())),
            RefundEvent::Resolved(RefundResolution::Failed) => Some(resolved_as_failed()),
            RefundEvent::Accepted
            | RefundEvent::Waiting { .. }
            | RefundEvent::Refused(_)
            | RefundEvent::Doubted(_)
            | RefundEvent::UnknownCode(_)
            | RefundEvent::FundsShort(_)
            | RefundEvent::OutcomeBecameUnknown
            | RefundEvent::PlanExhausted => None,
        }
    }

    /// Keeps what an event tells besides the state.
    fn learn(&mut self, event: &RefundEvent, now: DateTime<Utc>) {
        let is_open = !self.state.is_final();
        // What Alipay has acknowledged is not undone by what a repeat of the request is told.
        let is_unheard_of = is_open && self.accepted_at.is_none();
        match event {
            RefundEvent::Accepted if is_open => self.learn_acceptance(None, now),
            RefundEvent::Succeeded { accepted_at } | RefundEvent::Waiting { accepted_at, .. }
                if is_open =>
            {
                self.learn_acceptance(*accepted_at, now);
            }
            RefundEvent::Refused(failure) | RefundEvent::Doubted(failure) if is_unheard_of => {
                self.refusal = Some(failure.clone());
            }
            RefundEvent::FundsShort(failure) if is_unheard_of && self.mode == RefundMode::Sync => {
                self.refusal = Some(failure.clone());
            }
            // Refused the same twice, by requests with a "no such refund" between them: the plan sends
            // no other. A query confirms it, once the second cannot act any more either.
            RefundEvent::UnknownCode(failure) if is_unheard_of => {
                if self.was_refused_so_before(&failure.code) {
                    self.refusal = Some(failure.clone());
                } else if !self.is_refused_so(&failure.code) {
                    self.unknown_code = Some(UnknownCode {
                        code: failure.code.clone(),
                        submits: self.poll.submits,
                    });
                }
            }
            RefundEvent::Succeeded { .. }
            | RefundEvent::Accepted
            | RefundEvent::Waiting { .. }
            | RefundEvent::Refused(_)
            | RefundEvent::Doubted(_)
            | RefundEvent::UnknownCode(_)
            | RefundEvent::FundsShort(_)
            | RefundEvent::NotFound
            | RefundEvent::OutcomeBecameUnknown
            | RefundEvent::FailedAtAlipay(_)
            | RefundEvent::ReversedByAlipay(_)
            | RefundEvent::PlanExhausted
            | RefundEvent::Resolved(_) => {}
        }
        // Alipay has it: what was refused before it was heard no longer counts.
        if matches!(event, RefundEvent::Accepted | RefundEvent::Waiting { .. }) {
            self.refusal = None;
            self.unknown_code = None;
        }
    }

    /// Whether a request was refused with this code.
    fn is_refused_so(&self, code: &str) -> bool {
        let known = self.unknown_code.as_ref();
        known.is_some_and(|known| known.code == code)
    }

    /// Whether an earlier request than the last one was.
    fn was_refused_so_before(&self, code: &str) -> bool {
        let known = self.unknown_code.as_ref();
        self.is_refused_so(code) && known.is_some_and(|known| known.submits < self.poll.submits)
    }

    /// Keeps when Alipay accepted it: the earliest that can be true. Its own word replaces our
    /// estimate, which is later, since the answer came after the acceptance; it has whole seconds, so
    /// what differs by less is the same. A later word is not believed: it would start the plan's early
    /// checks again, with each answer.
    fn learn_acceptance(&mut self, told: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        let earliest = self.created_at - CLOCKS_DIFFER_BY;
        let at = told
            .filter(|told| *told >= earliest)
            .map_or(now, |told| told.min(now));
        let is_news = self
            .accepted_at
            .is_none_or(|known| known - at >= TimeDelta::seconds(1));
        if is_news {
            self.accepted_at = Some(at);
        }
    }

    fn contradiction(&self, event: &RefundEvent) -> InvalidTransition {
        InvalidTransition {
            of: "refund",
            from: self.state.status(),
            event: event.name(),
        }
    }
}

/// On what grounds stands on the timeline.
fn resolved_as_failed() -> RefundState {
    RefundState::Failed(RefundFailure {
        code: RESOLVED_BY_OPERATOR.to_owned(),
        message: "Nothing went back, as an operator has found out.".to_owned(),
    })
}

#[cfg(test)]
#[path = "refund_tests.rs"]
pub(crate) mod tests;
