//! One sale: its data, its states, and [`Payment::apply`], the only function that computes a state.
//!
//! | state | means | leaves to |
//! |---|---|---|
//! | `processing` | asked, or about to ask, and not yet told | any other |
//! | `succeeded` | Alipay said paid, verified | `canceled` (closed at Alipay, by a cancel or otherwise) |
//! | `failed` | Alipay said a definite no, or was never asked | nothing, unless Alipay contradicts it |
//! | `canceled` | the trade is closed or never existed | nothing, unless Alipay contradicts it |
//! | `unresolved` | every planned question was asked; the truth is still accepted | `succeeded`, `failed`, `canceled` |
//!
//! A caller's wish to undo a payment ([`Payment::canceling`], [`Payment::reversal`]) stands beside the
//! state until it is done, refused for good, or withdrawn.
//!
//! Only an explicit, verified answer leads to `succeeded`, `failed` or `canceled`; silence never
//! does (`docs/invariants.md` S3, S6). What contradicts an end is kept and asked about
//! ([`contradiction`](crate::domain::contradiction)); the books then move by a person's word, and what an operator
//! had decided yields by itself.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::{
    barcode::Barcode,
    buyer::{BuyerLoginId, BuyerUserId},
    poll::{CANCEL_ACTS_WITHIN, PollState},
};
use crate::domain::{
    calendar,
    id::{FileId, MerchantId, MerchantReference, PartnerTransId, PaymentId, RefundId},
    merchants::store::Store,
    money::Money,
    refunds::refund::Refund,
    transition::{InvalidTransition, RESOLVED_BY_OPERATOR},
};

/// The wallets that Alipay is known to name. Another is kept as it is.
pub const KNOWN_WALLETS: [&str; 2] = ["ALIPAYHK", "ALIPAYCN"];

/// How long the buyer has to confirm where the caller does not say, in seconds.
const DEFAULT_CANCEL_AFTER_SECONDS: i32 = 60;

/// A request for a payment after every field was checked, as it was sent: what was left out is absent,
/// so that a repeat can be told from another request whatever the defaults are by then. Nothing of it is
/// stored yet.
#[derive(Clone, Debug)]
pub struct NewPayment {
    /// What to charge: in range and in HKD.
    pub amount: Money,
    /// The scanned code; memory only.
    pub barcode: Barcode,
    /// The caller's own number.
    pub merchant_reference: MerchantReference,
    /// What the buyer reads: at most 256 characters, no `"`.
    pub description: Option<String>,
    /// The store that the caller named.
    pub store_id: Option<String>,
    /// The store: the one named, or the merchant's default.
    pub store: Store,
    /// The till, where the caller named one.
    pub terminal_id: Option<String>,
    /// How long the buyer has to confirm, in seconds: 15–170.
    pub cancel_after_seconds: Option<i32>,
    /// The caller's own pairs.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Which wallets the merchant wants to be paid with; `None`: any.
    pub allowed_wallets: Option<Vec<String>>,
    /// Whether to charge even though the same code, amount and till were just used.
    pub allow_duplicate: Option<bool>,
}

impl NewPayment {
    /// What the buyer reads: the store's name where the caller does not say.
    pub fn description(&self) -> &str {
        self.description
            .as_deref()
            .unwrap_or(&self.store.store_name)
    }

    /// How long the buyer has to confirm, in seconds.
    pub fn cancel_after_seconds(&self) -> i32 {
        self.cancel_after_seconds
            .unwrap_or(DEFAULT_CANCEL_AFTER_SECONDS)
    }

    /// The caller's own pairs.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata.as_ref().unwrap_or(&NONE)
    }

    /// Whether to charge even though the same code, amount and till were just used.
    pub fn allows_duplicate(&self) -> bool {
        self.allow_duplicate.unwrap_or(false)
    }
}

/// A payment as stored: what was asked, what is known, and what is still to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Payment {
    pub id: PaymentId,
    /// Counts changes; 1 at creation. The guard of every update and the `ETag` of the resource.
    pub version: i64,
    pub merchant_id: MerchantId,
    /// The store, unique within the merchant.
    pub store_id: String,
    /// The till, where the caller named one.
    pub terminal_id: Option<String>,
    /// The caller's own number, unique per merchant for ever.
    pub merchant_reference: MerchantReference,
    /// What the buyer reads in the wallet's bill.
    pub description: String,
    /// What is charged.
    pub amount: Money,
    /// First two and last two digits of the scanned code; the code itself is stored nowhere.
    pub barcode_hint: String,
    /// The Alipay account that is paid.
    pub partner: String,
    /// Our id towards Alipay.
    pub partner_trans_id: PartnerTransId,
    /// How long the buyer has to confirm before the gateway closes the trade, in seconds.
    pub cancel_after_seconds: i32,
    /// The caller's own pairs, returned as they came.
    pub metadata: BTreeMap<String, String>,
    /// Which wallets the merchant wanted to be paid with when the payment was made; `None`: any.
    pub allowed_wallets: Option<Vec<String>>,
    /// Where the payment stands.
    pub state: PaymentState,
    /// Alipay's id, once an answer carried it.
    pub alipay_trans_id: Option<String>,
    /// What Alipay said of the charge, once it said so; stays when the payment is canceled.
    pub charge: Option<Charge>,
    /// The wallet that Alipay named before the trade was paid; see [`Self::wallet`].
    pub unpaid_wallet: Option<String>,
    /// Why a cancel is under way; absent where none is. A paid payment keeps its status until the
    /// cancel is confirmed.
    pub canceling: Option<CancelReason>,
    /// The refund to make where the cancel under way is refused, for a reversal: its id is minted
    /// with the wish, so that whoever finds out makes the same one
    /// (`docs/invariants.md` R11).
    pub reversal: Option<RefundId>,
    /// What is reserved for refunds or returned, in minor units; a payment with any cannot be
    /// canceled (`docs/protocol.md` 5.5).
    pub refund_reserved_minor: i64,
    /// What was returned by refunds, in minor units: a part of what is reserved.
    pub refunded_minor: i64,
    /// Since when the newest open contradiction stands: what Alipay verifiably said and the books did not
    /// take (database clock).
    pub contradicted_at: Option<DateTime<Utc>>,
    /// What open contradictions prove to be back, in minor units, besides what refunds have reserved.
    pub proven_returned_minor: i64,
    /// Whether an operator decided the status it has; that yields to Alipay's word.
    pub decided_by_operator: bool,
    /// What was asked so far and when to ask next.
    pub poll: PollState,
    /// When the intent was committed (database clock).
    pub created_at: DateTime<Utc>,
    /// When the row last changed (database clock).
    pub updated_at: DateTime<Utc>,
    /// When a final state was reached (database clock).
    pub finalized_at: Option<DateTime<Utc>>,
}

/// Where a payment stands; each variant carries what is true only there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// Asked, or about to ask, and not yet told the outcome.
    Processing(ProcessingReason),
    /// Paid. The charge is in [`Payment::charge`].
    Succeeded,
    /// Alipay refused it for good.
    Failed(Failure),
    /// The trade is closed or never existed.
    Canceled {
        /// Why it was closed.
        reason: CancelReason,
        /// Whether money had been taken and went back.
        money_returned: bool,
    },
    /// Every planned question was asked without an answer; an operator must look.
    Unresolved,
}

/// Why a payment is still `processing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessingReason {
    /// The request is on its way to Alipay.
    Submitting,
    /// Alipay waits for the buyer to confirm in the wallet.
    AwaitingBuyer,
    /// Alipay was silent, unreadable or unsure.
    OutcomeUnknown,
    /// A cancel is under way and not yet confirmed.
    Canceling,
}

/// Why a payment ended `canceled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The caller asked for it.
    Requested,
    /// The buyer's time ran out, at the gateway or at Alipay.
    BuyerDidNotConfirm,
    /// Alipay never created the trade.
    NeverCreated,
    /// Alipay closed the trade after it was paid, and nobody had asked for that here: the money is back.
    ClosedAfterPayment,
}

/// The failure code of a payment whose request never left the gateway.
pub const NOT_SENT: &str = "NOT_SENT";

/// A state, and the cancel still under way in it.
type Moved = (PaymentState, Option<CancelReason>);

/// What Alipay said of a charge that took place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// When the buyer paid, from Alipay's clock; absent where the answer left it out.
    pub paid_at: Option<DateTime<Utc>>,
    /// `payment_inst`: `ALIPAYHK`, `ALIPAYCN` or a wallet not yet known to us.
    pub wallet: Option<String>,
    /// The daily file that alone named the wallet; `None` where an answer did, whose signature was verified.
    pub wallet_file: Option<FileId>,
    /// Alipay's number of the buyer.
    pub buyer_user_id: Option<BuyerUserId>,
    /// The buyer's login.
    pub buyer_login_id: Option<BuyerLoginId>,
}

/// A definite refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Alipay's code, verbatim.
    pub code: String,
    /// What the person at the till should do.
    pub message: String,
    /// What may be tried next.
    pub retry: RetryAdvice,
}

impl Failure {
    /// A refusal with its code and its reason, a sentence. What to do about it is added to the message
    /// from `retry`, as the next action is, so that the three never say different things.
    pub fn new(code: &str, reason: &str, retry: RetryAdvice) -> Self {
        Self {
            code: code.to_owned(),
            message: format!("{reason} {}", retry.follows().1),
            retry,
        }
    }

    /// The request never left, so the code that was scanned is as good as before.
    pub fn not_sent() -> Self {
        let reason = "The request was never sent to Alipay, so nothing was charged.";
        Self::new(NOT_SENT, reason, RetryAdvice::SameBarcode)
    }

    /// An operator found out that nothing was taken. On what grounds stands on the timeline.
    pub fn resolved_by_operator() -> Self {
        let reason = "Nothing was charged, as an operator has found out.";
        Self::new(RESOLVED_BY_OPERATOR, reason, RetryAdvice::NewBarcode)
    }
}

/// What may be tried after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// The same code may be scanned again, in a new payment.
    SameBarcode,
    /// The wallet must show a fresh code.
    NewBarcode,
    /// Another wallet or means of payment.
    OtherMethod,
    /// Nothing: the fault is in the request or the configuration.
    No,
}

/// How sure an answer to "was it paid?" is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeCertainty {
    /// The outcome will not change by itself.
    Final,
    /// Alipay said wait, or a cancel of ours is under way.
    Pending,
    /// Silence or an unreadable answer.
    Unknown,
}

/// How many refusals at the door in a row need a person: the request's and the next question's.
pub const REFUSALS_FOR_A_PERSON: i32 = 2;

/// After how long an open payment, or a cancel of a paid one, needs a person.
pub const OPEN_FOR_TOO_LONG: TimeDelta = TimeDelta::minutes(10);

/// How soon the next visit must come for a caller who asks for a cancel again to be served by it.
const REPEATED_WITHIN: TimeDelta = TimeDelta::minutes(1);

/// How long after a person has decided Alipay is asked again: no answer that was on its way then comes later.
const CHECKED_AFTER: TimeDelta = TimeDelta::seconds(10);

/// What happened to a payment, in the past tense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentEvent {
    /// A verified answer says the money was taken.
    Paid {
        /// What the answer said of the charge.
        charge: Charge,
        alipay_trans_id: Option<String>,
    },
    /// A verified answer says the buyer must still confirm.
    BuyerMustConfirm {
        /// Alipay's id, where the answer carried it.
        alipay_trans_id: Option<String>,
        /// The wallet whose code was scanned, where the answer carried it.
        wallet: Option<String>,
    },
    /// A verified answer is a definite no.
    Declined(Failure),
    /// The request to pay never left the gateway, and never will: there is no trade.
    NeverSent,
    /// No usable answer came.
    OutcomeBecameUnknown,
    /// The trade is to be closed; a cancel is about to be sent.
    CancelStarted {
        /// Who wants it closed: the caller, or the gateway because the buyer's time is over.
        reason: CancelReason,
        /// The refund to make where Alipay refuses the cancel of a paid trade.
        reversal: Option<RefundId>,
    },
    /// A paid payment stays paid: Alipay refuses the cancel for good, or its window is over, and a
    /// query says that the money is still with the merchant.
    CancelRefused,
    /// Alipay refused at its door what was asked. It is not believed as an outcome.
    AccessRefused,
    /// A verified cancel answer, or a query, says the trade is closed.
    Closed {
        /// Why, where the answer tells more than our own history.
        reason: CancelReason,
        /// Whether the answer says money went back.
        money_returned: bool,
        /// Alipay's id, where the answer carried it.
        alipay_trans_id: Option<String>,
        /// The charge that had taken place, where the answer shows one.
        charge: Option<Charge>,
    },
    /// The wallet of a charge that is in the books was named: first, or by who knows it better than the
    /// daily file that had.
    WalletNamed {
        wallet: String,
        /// The daily file that names it; `None`: an answer, whose signature was verified.
        file: Option<FileId>,
    },
    /// Every planned question was asked.
    PlanExhausted,
    /// An operator looked and decided, on evidence from outside.
    Resolved(Resolution),
}

/// What an operator found out about an unresolved payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The money was taken and stays.
    Succeeded,
    /// Nothing was taken.
    Failed,
    /// The trade is closed.
    Canceled {
        /// Whether money had been taken and went back.
        money_returned: bool,
    },
}

impl Resolution {
    /// Whether the books say the same already.
    pub fn says_what_is(&self, state: &PaymentState) -> bool {
        match (self, state) {
            (Self::Succeeded, PaymentState::Succeeded)
            | (Self::Failed, PaymentState::Failed(_)) => true,
            (
                Self::Canceled { money_returned },
                PaymentState::Canceled {
                    money_returned: known,
                    ..
                },
            ) => money_returned == known,
            _ => false,
        }
    }
}

event_names!(PaymentEvent {
    Self::Paid { .. } => "paid",
    Self::BuyerMustConfirm { .. } => "buyer_must_confirm",
    Self::Declined(_) => "declined",
    Self::NeverSent => "never_sent",
    Self::OutcomeBecameUnknown => "outcome_became_unknown",
    Self::CancelStarted { .. } => Self::CANCEL_STARTED,
    Self::CancelRefused => "cancel_refused",
    Self::AccessRefused => "access_refused",
    Self::Closed { .. } => "closed",
    Self::WalletNamed { .. } => "wallet_named",
    Self::PlanExhausted => "plan_exhausted",
    Self::Resolved(_) => "resolved",
});

impl PaymentEvent {
    /// The name of [`PaymentEvent::CancelStarted`].
    pub const CANCEL_STARTED: &'static str = "cancel_started";
}

impl PaymentState {
    /// Every public name.
    pub const STATUSES: [&'static str; 5] = [
        "processing",
        "succeeded",
        "failed",
        "canceled",
        "unresolved",
    ];

    /// The public name: `processing`, `succeeded`, `failed`, `canceled`, `unresolved`.
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Processing(_) => "processing",
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Canceled { .. } => "canceled",
            Self::Unresolved => "unresolved",
        }
    }

    /// The public detail of the status, where it has one.
    pub const fn status_reason(&self) -> Option<&'static str> {
        match self {
            Self::Processing(reason) => Some(reason.as_str()),
            Self::Canceled { reason, .. } => Some(reason.as_str()),
            Self::Succeeded | Self::Failed(_) | Self::Unresolved => None,
        }
    }

    /// Whether nothing more is asked of Alipay on our own initiative.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Succeeded | Self::Failed(_) | Self::Canceled { .. } => true,
            Self::Processing(_) | Self::Unresolved => false,
        }
    }
}

stored_names!(ProcessingReason {
    Submitting = "submitting",
    AwaitingBuyer = "awaiting_buyer",
    OutcomeUnknown = "outcome_unknown",
    Canceling = "canceling",
});
stored_names!(CancelReason {
    Requested = "requested",
    BuyerDidNotConfirm = "buyer_did_not_confirm",
    NeverCreated = "never_created",
    ClosedAfterPayment = "closed_after_payment",
});
stored_names!(RetryAdvice {
    SameBarcode = "same_barcode",
    NewBarcode = "new_barcode",
    OtherMethod = "other_method",
    No = "no",
});
stored_names!(OutcomeCertainty {
    Final = "final",
    Pending = "pending",
    Unknown = "unknown",
});

impl Payment {
    /// The refund that an event turns a cancel into: one that ends the cancel of a payment that was to be
    /// undone either way.
    pub fn turns_into(&self, event: &PaymentEvent) -> Option<RefundId> {
        let ends = matches!(event, PaymentEvent::CancelRefused);
        self.reversal
            .filter(|_| ends && self.state == PaymentState::Succeeded)
    }

    /// The wallet that pays or paid, as soon as Alipay has named it.
    pub fn wallet(&self) -> Option<&str> {
        let paid = self
            .charge
            .as_ref()
            .and_then(|charge| charge.wallet.as_deref());
        paid.or(self.unpaid_wallet.as_deref())
    }

    /// Whether who names the wallet of the charge knows it better than who did before: nobody, or a daily
    /// file. What an answer has named stays.
    pub fn wallet_may_be_named_by(&self, file: Option<FileId>) -> bool {
        let Some(charge) = &self.charge else {
            return false;
        };
        self.wallet().is_none() || (charge.wallet_file.is_some() && charge.wallet_file != file)
    }

    /// What an answer still tells that says how the payment ended as the books do: the wallet.
    pub fn beyond_its_end(&self, event: PaymentEvent) -> PaymentEvent {
        let wallet = match (&self.state, &event) {
            (PaymentState::Succeeded, PaymentEvent::Paid { charge, .. })
            | (
                PaymentState::Canceled {
                    money_returned: true,
                    ..
                },
                PaymentEvent::Closed {
                    money_returned: true,
                    charge: Some(charge),
                    ..
                },
            ) => charge.wallet.clone(),
            _ => None,
        };
        match wallet {
            Some(wallet) if self.contradicted_at.is_none() && self.wallet_may_be_named_by(None) => {
                PaymentEvent::WalletNamed { wallet, file: None }
            }
            _ => event,
        }
    }

    /// Whether the merchant wants to be paid from that wallet; `None` while it is not known.
    pub fn wallet_allowed(&self) -> Option<bool> {
        let wallet = self.wallet()?;
        let allowed = self.allowed_wallets.as_ref();
        Some(allowed.is_none_or(|allowed| allowed.iter().any(|known| known == wallet)))
    }

    /// Whether it was paid from a wallet that the merchant does not want.
    pub fn is_paid_from_unwanted_wallet(&self) -> bool {
        self.charge.is_some() && self.wallet_allowed() == Some(false)
    }

    /// Applies what happened. `Ok(None)` means the event says nothing new (a repeated or stale
    /// answer, `docs/invariants.md` S7); an error means it contradicts what is known and must
    /// be recorded as an incident. `now` is the database's time of the change.
    pub fn apply(
        &self,
        event: &PaymentEvent,
        now: DateTime<Utc>,
    ) -> Result<Option<Self>, InvalidTransition> {
        let Some((state, canceling)) = self.next_state(event, now)? else {
            return Ok(None);
        };
        let mut next = self.clone();
        next.version += 1;
        next.updated_at = now;
        if next.finalized_at.is_none() || state.status() != self.state.status() {
            next.finalized_at = state.is_final().then_some(now);
        }
        let is_decided = matches!(event, PaymentEvent::Resolved(_));
        if self.state.is_final() && (state != self.state || is_decided) {
            // The books have moved to what was said, or past it, or a person has settled it.
            next.contradicted_at = None;
        }
        // Who confirms what Alipay had said decides nothing that its next word must move.
        next.decided_by_operator = if state == self.state {
            self.decided_by_operator
        } else {
            is_decided
        };
        next.state = state;
        next.canceling = canceling;
        next.reversal = match event {
            PaymentEvent::CancelStarted { reversal, .. } => self.reversal.or(*reversal),
            _ => self.reversal,
        }
        .filter(|_| canceling.is_some());
        if next.is_settled() {
            // Nothing more is asked: the follow-up goes, and what it counted with it.
            next.poll = PollState::default();
        }
        next.learn(event);
        Ok(Some(next))
    }

    /// When Alipay is asked about what a person decides now: once whatever is on its way has told or acted, a request to
    /// pay until `pay_acts_until`. A person may be mistaken, and what was true at that moment may not stay so.
    pub fn decision_is_checked_at(
        &self,
        now: DateTime<Utc>,
        pay_acts_until: DateTime<Utc>,
    ) -> DateTime<Utc> {
        // What the schedule knew of cancels went with it when the payment was closed: none left later than that.
        let is_closed = matches!(self.state, PaymentState::Canceled { .. });
        let closed_at = self.finalized_at.filter(|_| is_closed);
        let last_cancel = self.poll.open_cancel_at.max(closed_at);
        let canceled = last_cancel.map_or(now, |sent| sent + CANCEL_ACTS_WITHIN);
        let paid = if self.was_seen_at_alipay() {
            now
        } else {
            pay_acts_until
        };
        canceled.max(paid).max(now + CHECKED_AFTER)
    }

    /// Whether the question about what a person has decided is not yet answered: until it is, nothing of it is certain.
    pub fn decision_is_being_checked(&self) -> bool {
        let poll = &self.poll;
        // What a person confirmed is none of his decisions, and a cancel of it may act like any other.
        let is_paid = self.state == PaymentState::Succeeded;
        let may_move = self.decided_by_operator || (is_paid && poll.open_cancel_at.is_some());
        let due = poll.question_due_at.filter(|_| may_move);
        self.is_settled() && due.is_some_and(|due| poll.is_waiting_for_answer_since(due))
    }

    /// Whether Alipay has ever said that there is such a trade; a person's word is none of Alipay's.
    pub fn was_seen_at_alipay(&self) -> bool {
        self.alipay_trans_id.is_some() || self.charge_was_told()
    }

    /// Whether anything is known of the charge but a person's word that there was one.
    pub fn charge_was_told(&self) -> bool {
        let charge = self.charge.as_ref();
        charge.is_some_and(|charge| *charge != Charge::default())
    }

    /// Whether a person alone says that it was paid.
    pub fn is_paid_by_decision(&self) -> bool {
        self.state == PaymentState::Succeeded && self.decided_by_operator && !self.charge_was_told()
    }

    /// Whether what an operator decided gives way to what Alipay says now: it does once that is kept.
    const fn yields(&self) -> bool {
        self.decided_by_operator && self.contradicted_at.is_some()
    }

    /// Whether the answer to a question that was sent at `asked_at` contradicts an end that was known by
    /// then. An older answer does not: it tells of what was before.
    pub fn is_contradicted_by(&self, event: &PaymentEvent, asked_at: DateTime<Utc>) -> bool {
        let says_open = matches!(
            event,
            PaymentEvent::Paid { .. } | PaymentEvent::BuyerMustConfirm { .. }
        );
        matches!(self.state, PaymentState::Canceled { .. })
            && says_open
            && !self.yields()
            && self.finalized_at.is_some_and(|end| asked_at > end)
    }

    /// Whether an event says what the books say. That a payment is paid says nothing while its cancel is
    /// under way: the next answer to the cancel would contradict it again. That the cancel is refused does.
    pub const fn agrees_with(&self, event: &PaymentEvent) -> bool {
        match (&self.state, self.canceling, event) {
            (PaymentState::Succeeded, None, PaymentEvent::Paid { .. })
            | (PaymentState::Succeeded, Some(_), PaymentEvent::CancelRefused)
            | (PaymentState::Canceled { .. }, _, PaymentEvent::Closed { .. })
            | (
                PaymentState::Failed(_),
                _,
                PaymentEvent::Declined(_)
                | PaymentEvent::Closed {
                    money_returned: false,
                    ..
                },
            ) => true,
            // Refunds of all of it close a trade too.
            (
                PaymentState::Succeeded,
                _,
                PaymentEvent::Closed {
                    money_returned: true,
                    ..
                },
            ) => self.refunded_minor >= self.amount.minor(),
            _ => false,
        }
    }

    /// Whether a question is owed: the payment is not settled, or Alipay contradicts it.
    pub const fn owes_a_question(&self) -> bool {
        !self.is_settled() || self.contradicted_at.is_some()
    }

    /// Whether nothing is owed any more: the state is final and no cancel is under way.
    pub const fn is_settled(&self) -> bool {
        self.state.is_final() && self.canceling.is_none()
    }

    /// Keeps what an event tells besides the state.
    fn learn(&mut self, event: &PaymentEvent) {
        match event {
            PaymentEvent::Paid {
                charge,
                alipay_trans_id,
            } => {
                self.charge = Some(charge.clone());
                self.learn_alipay_trans_id(alipay_trans_id.as_ref());
            }
            PaymentEvent::BuyerMustConfirm {
                alipay_trans_id,
                wallet,
            } => {
                self.learn_alipay_trans_id(alipay_trans_id.as_ref());
                if wallet.is_some() {
                    self.unpaid_wallet.clone_from(wallet);
                }
            }
            PaymentEvent::Closed {
                alipay_trans_id,
                charge,
                ..
            } => {
                self.learn_alipay_trans_id(alipay_trans_id.as_ref());
                if self.charge.is_none() {
                    self.charge.clone_from(charge);
                }
            }
            PaymentEvent::WalletNamed { wallet, file } => {
                if let Some(charge) = &mut self.charge {
                    charge.wallet = Some(wallet.clone());
                    charge.wallet_file = *file;
                }
            }
            PaymentEvent::Resolved(Resolution::Succeeded) if self.charge.is_none() => {
                self.charge = Some(Charge::default());
            }
            PaymentEvent::Declined(_)
            | PaymentEvent::NeverSent
            | PaymentEvent::OutcomeBecameUnknown
            | PaymentEvent::CancelStarted { .. }
            | PaymentEvent::CancelRefused
            | PaymentEvent::AccessRefused
            | PaymentEvent::PlanExhausted
            | PaymentEvent::Resolved(_) => {}
        }
    }

    /// The state after an event and the cancel still under way then; `None` where nothing changes.
    fn next_state(
        &self,
        event: &PaymentEvent,
        now: DateTime<Utc>,
    ) -> Result<Option<Moved>, InvalidTransition> {
        // What was asked stays open, and whoever reads it learns that no waiting helps: once.
        if *event == PaymentEvent::AccessRefused {
            let is_news = self.poll.access_refusals + 1 == REFUSALS_FOR_A_PERSON;
            return Ok(
                (is_news && !self.is_settled()).then(|| (self.state.clone(), self.canceling))
            );
        }
        if let PaymentEvent::WalletNamed { file, .. } = event {
            let is_news = self.state.is_final() && self.wallet_may_be_named_by(*file);
            return Ok(is_news.then(|| (self.state.clone(), self.canceling)));
        }
        match &self.state {
            PaymentState::Processing(reason) => Ok(self.after_processing(*reason, event, now)),
            PaymentState::Unresolved => Ok(self.after_unresolved(event)),
            PaymentState::Succeeded => self.after_succeeded(event, now),
            PaymentState::Failed(_) => self.after_failed(event),
            PaymentState::Canceled {
                reason,
                money_returned,
            } => self.after_canceled(*reason, *money_returned, event, now),
        }
    }

    /// While the outcome is open, every verified answer is believed, and silence ends nothing.
    fn after_processing(
        &self,
        reason: ProcessingReason,
        event: &PaymentEvent,
        now: DateTime<Utc>,
    ) -> Option<Moved> {
        use ProcessingReason as R;
        let processing = |reason| PaymentState::Processing(reason);
        match event {
            // Not yet: our own cancel may return the money a moment later, and nobody may read
            // "succeeded" before that is settled (M6). That it was paid is kept, so that no further
            // cancel is sent, and the queries go on until it is settled.
            PaymentEvent::Paid { .. }
                if self.canceling == Some(CancelReason::BuyerDidNotConfirm)
                    && self.poll.cancel_may_act(now) =>
            {
                self.charge
                    .is_none()
                    .then(|| (processing(reason), self.canceling))
            }
            // A caller who wants the trade undone still wants it when it turns out paid. A buyer
            // who was merely late has bought.
            PaymentEvent::Paid { .. } => Some((PaymentState::Succeeded, self.wish())),
            // The answer to an old question, or a mistake: since then it was paid, and a query tells how
            // that ends.
            PaymentEvent::Declined(_) | PaymentEvent::Resolved(Resolution::Failed)
                if self.charge.is_some() =>
            {
                None
            }
            PaymentEvent::Declined(failure) => Some((PaymentState::Failed(failure.clone()), None)),
            PaymentEvent::NeverSent => Some((self.never_sent(), None)),
            PaymentEvent::Closed {
                reason,
                money_returned,
                ..
            } => Some((self.closed(*reason, *money_returned), None)),
            // A trade that waits for its buyer while we cancel it stays under cancel.
            PaymentEvent::BuyerMustConfirm { .. } => match reason {
                R::Submitting | R::OutcomeUnknown => {
                    Some((processing(R::AwaitingBuyer), self.canceling))
                }
                R::AwaitingBuyer | R::Canceling => self
                    .is_told_more(event)
                    .then(|| (processing(reason), self.canceling)),
            },
            // Silence changes only what was never answered at all.
            PaymentEvent::OutcomeBecameUnknown => {
                (reason == R::Submitting).then(|| (processing(R::OutcomeUnknown), self.canceling))
            }
            PaymentEvent::CancelStarted {
                reason: wanted_by,
                reversal,
            } => {
                let caller_joins = *wanted_by == CancelReason::Requested
                    && self.canceling != Some(CancelReason::Requested);
                (reason != R::Canceling || caller_joins || self.lacks(*reversal))
                    .then_some((processing(R::Canceling), Some(*wanted_by)))
            }
            PaymentEvent::PlanExhausted => Some((PaymentState::Unresolved, self.wish())),
            PaymentEvent::Resolved(resolution) => self
                .needs_a_person(now)
                .then(|| (self.resolved(resolution), None)),
            PaymentEvent::CancelRefused
            | PaymentEvent::AccessRefused
            | PaymentEvent::WalletNamed { .. } => None,
        }
    }

    /// Whether an answer about an unpaid trade names what was not known of it.
    fn is_told_more(&self, event: &PaymentEvent) -> bool {
        match event {
            PaymentEvent::BuyerMustConfirm {
                alipay_trans_id,
                wallet,
            } => {
                (alipay_trans_id.is_some() && self.alipay_trans_id.is_none())
                    || (wallet.is_some() && self.wallet().is_none())
            }
            _ => false,
        }
    }

    /// What a person has decided of an open payment.
    fn resolved(&self, resolution: &Resolution) -> PaymentState {
        match resolution {
            Resolution::Succeeded => PaymentState::Succeeded,
            Resolution::Failed => PaymentState::Failed(Failure::resolved_by_operator()),
            Resolution::Canceled { money_returned } => {
                self.closed(CancelReason::Requested, *money_returned)
            }
        }
    }

    /// The truth is still accepted, from Alipay or from an operator, and so is a caller's wish.
    fn after_unresolved(&self, event: &PaymentEvent) -> Option<Moved> {
        let state = match event {
            PaymentEvent::Paid { .. } => return Some((PaymentState::Succeeded, self.wish())),
            PaymentEvent::CancelStarted { reason, reversal } => {
                let is_new = self.canceling.is_none() || self.lacks(*reversal);
                return (*reason == CancelReason::Requested && is_new)
                    .then_some((PaymentState::Unresolved, Some(CancelReason::Requested)));
            }
            PaymentEvent::Declined(_) | PaymentEvent::Resolved(Resolution::Failed)
                if self.charge.is_some() =>
            {
                return None;
            }
            // Who decides that the money stays decides about the wish, too.
            PaymentEvent::Resolved(resolution) => self.resolved(resolution),
            PaymentEvent::Declined(failure) => PaymentState::Failed(failure.clone()),
            PaymentEvent::NeverSent => self.never_sent(),
            PaymentEvent::Closed {
                reason,
                money_returned,
                ..
            } => self.closed(*reason, *money_returned),
            PaymentEvent::BuyerMustConfirm { .. } => {
                return self
                    .is_told_more(event)
                    .then_some((PaymentState::Unresolved, self.canceling));
            }
            PaymentEvent::OutcomeBecameUnknown
            | PaymentEvent::CancelRefused
            | PaymentEvent::AccessRefused
            | PaymentEvent::WalletNamed { .. }
            | PaymentEvent::PlanExhausted => return None,
        };
        Some((state, None))
    }

    /// A paid payment is undone by a cancel, or by Alipay closing its trade.
    fn after_succeeded(
        &self,
        event: &PaymentEvent,
        now: DateTime<Utc>,
    ) -> Result<Option<Moved>, InvalidTransition> {
        match event {
            // A person ends a cancel that does not end by itself, or that Alipay contradicts: the money
            // stays, or went back.
            PaymentEvent::Resolved(
                resolution @ (Resolution::Succeeded
                | Resolution::Canceled {
                    money_returned: true,
                }),
            ) if self.canceling.is_some()
                && (self.needs_a_person(now) || self.contradicted_at.is_some()) =>
            {
                Ok(Some((self.resolved(resolution), None)))
            }
            // Refunds of all of it close a trade too, and what they return is in the books, or will be
            // (`docs/protocol.md` 5.1).
            PaymentEvent::Closed {
                money_returned: true,
                ..
            } if self.goes_back_by_refunds() => Ok(None),
            // Whatever was not refunded before is back as well.
            PaymentEvent::Closed {
                money_returned: true,
                ..
            } => Ok(Some((
                self.closed(CancelReason::ClosedAfterPayment, true),
                None,
            ))),
            PaymentEvent::Closed {
                reason,
                money_returned: false,
                ..
            } if self.yields() && self.refund_reserved_minor == 0 => {
                Ok(Some((self.closed(*reason, false), None)))
            }
            PaymentEvent::CancelStarted {
                reason: CancelReason::Requested,
                reversal,
            } => {
                let wanted = Some(CancelReason::Requested);
                Ok((self.canceling.is_none() || self.lacks(*reversal))
                    .then_some((PaymentState::Succeeded, wanted)))
            }
            PaymentEvent::CancelRefused => {
                Ok(self.canceling.map(|_| (PaymentState::Succeeded, None)))
            }
            // A person books what was returned.
            PaymentEvent::Resolved(Resolution::Canceled { money_returned })
                if self.contradicted_at.is_some()
                    && (*money_returned
                        || (self.refund_reserved_minor == 0 && self.canceling.is_none())) =>
            {
                let reason = if *money_returned {
                    CancelReason::ClosedAfterPayment
                } else {
                    CancelReason::Requested
                };
                Ok(Some((self.closed(reason, *money_returned), None)))
            }
            // A late or repeated answer about what is already known.
            PaymentEvent::Paid { .. }
            | PaymentEvent::BuyerMustConfirm { .. }
            | PaymentEvent::OutcomeBecameUnknown
            | PaymentEvent::AccessRefused
            | PaymentEvent::WalletNamed { .. }
            | PaymentEvent::PlanExhausted
            | PaymentEvent::Resolved(_) => Ok(None),
            PaymentEvent::Declined(_)
            | PaymentEvent::NeverSent
            | PaymentEvent::CancelStarted { .. }
            | PaymentEvent::Closed {
                money_returned: false,
                ..
            } => Err(self.contradiction(event)),
        }
    }

    fn after_failed(&self, event: &PaymentEvent) -> Result<Option<Moved>, InvalidTransition> {
        match event {
            PaymentEvent::Paid { .. } if self.yields() => Ok(Some((PaymentState::Succeeded, None))),
            PaymentEvent::Closed {
                reason,
                money_returned: true,
                ..
            } if self.yields() => Ok(Some((self.closed(*reason, true), None))),
            // A person accepts what was said.
            PaymentEvent::Resolved(resolution) if self.contradicted_at.is_some() => {
                Ok(match resolution {
                    Resolution::Succeeded => Some((PaymentState::Succeeded, None)),
                    Resolution::Canceled { money_returned } => {
                        Some((self.closed(CancelReason::Requested, *money_returned), None))
                    }
                    Resolution::Failed => None,
                })
            }
            PaymentEvent::Declined(_)
            | PaymentEvent::NeverSent
            | PaymentEvent::OutcomeBecameUnknown
            | PaymentEvent::Closed {
                money_returned: false,
                ..
            }
            | PaymentEvent::CancelRefused
            | PaymentEvent::AccessRefused
            | PaymentEvent::WalletNamed { .. }
            | PaymentEvent::PlanExhausted
            | PaymentEvent::Resolved(_) => Ok(None),
            PaymentEvent::Paid { .. }
            | PaymentEvent::BuyerMustConfirm { .. }
            | PaymentEvent::CancelStarted { .. }
            | PaymentEvent::Closed {
                money_returned: true,
                ..
            } => Err(self.contradiction(event)),
        }
    }

    fn after_canceled(
        &self,
        closed_by: CancelReason,
        returned: bool,
        event: &PaymentEvent,
        now: DateTime<Utc>,
    ) -> Result<Option<Moved>, InvalidTransition> {
        // What "never created" was wrong about has another reason.
        let canceled = |money_returned| {
            let reason = match closed_by {
                CancelReason::NeverCreated if money_returned => CancelReason::ClosedAfterPayment,
                _ => closed_by,
            };
            let state = PaymentState::Canceled {
                reason,
                money_returned,
            };
            Some((state, None))
        };
        match event {
            PaymentEvent::Paid { .. } if self.yields() => Ok(Some((PaymentState::Succeeded, None))),
            // It had been paid, and the money is back: no more than that was not known.
            PaymentEvent::Closed {
                reason,
                money_returned: true,
                ..
            } if !returned => match self.contradicted_at {
                // That it is closed says no more of the money than a person knew who decided about it.
                _ if *reason == CancelReason::ClosedAfterPayment
                    && self.decided_by_operator
                    && self.charge.is_some() =>
                {
                    Ok(None)
                }
                Some(_) => Ok(canceled(true)),
                None => Err(self.contradiction(event)),
            },
            // That a paid trade is closed is taken for the return of its money. A person may know better.
            PaymentEvent::Resolved(Resolution::Canceled { money_returned })
                if *money_returned != returned && self.may_be_decided(now) =>
            {
                Ok(canceled(*money_returned))
            }
            // A person accepts what was said.
            PaymentEvent::Resolved(Resolution::Succeeded) if self.contradicted_at.is_some() => {
                Ok(Some((PaymentState::Succeeded, None)))
            }
            PaymentEvent::Closed { .. }
            | PaymentEvent::BuyerMustConfirm { .. }
            | PaymentEvent::OutcomeBecameUnknown
            | PaymentEvent::Declined(_)
            | PaymentEvent::CancelRefused
            | PaymentEvent::AccessRefused
            | PaymentEvent::WalletNamed { .. }
            | PaymentEvent::PlanExhausted
            | PaymentEvent::Resolved(_) => Ok(None),
            // An older answer that the money was taken, after the cancel that returned it.
            PaymentEvent::Paid { .. } if returned => Ok(None),
            // A cancel closed the trade before it was known that there never was one.
            PaymentEvent::NeverSent if !returned => Ok(None),
            PaymentEvent::Paid { .. }
            | PaymentEvent::NeverSent
            | PaymentEvent::CancelStarted { .. } => Err(self.contradiction(event)),
        }
    }

    /// The end of a payment that Alipay never heard of: it failed, unless somebody wanted it closed.
    fn never_sent(&self) -> PaymentState {
        if self.canceling.is_some() {
            self.closed(CancelReason::NeverCreated, false)
        } else {
            PaymentState::Failed(Failure::not_sent())
        }
    }

    /// The end of a closed trade: our own reason for closing it is the better one, except where
    /// there was nothing to close.
    fn closed(&self, told: CancelReason, money_returned: bool) -> PaymentState {
        let reason = match told {
            CancelReason::NeverCreated => told,
            CancelReason::Requested
            | CancelReason::BuyerDidNotConfirm
            | CancelReason::ClosedAfterPayment => self.canceling.unwrap_or(told),
        };
        PaymentState::Canceled {
            reason,
            money_returned,
        }
    }

    /// A caller's wish to have the payment undone, which outlives whatever is learnt of it until it
    /// is done or refused for good. That the gateway closes what nobody confirms is no wish.
    fn wish(&self) -> Option<CancelReason> {
        self.canceling
            .filter(|reason| *reason == CancelReason::Requested)
    }

    /// Whether Alipay is going on to be asked to undo the payment for a caller: the wish stands, and
    /// the schedule visits it again within `REPEATED_WITHIN` of `now`. It does not where the
    /// follow-up is parked, was taken off the schedule, or is far off.
    pub fn cancel_is_repeated(&self, now: DateTime<Utc>) -> bool {
        let comes_soon = |due| due < now + REPEATED_WITHIN;
        self.wish().is_some() && self.poll.next_check_at.is_some_and(comes_soon)
    }

    /// Whether Alipay refuses at its door whatever is asked of the open payment: no waiting helps.
    pub const fn is_refused_at_the_door(&self) -> bool {
        !self.is_settled() && self.poll.access_refusals >= REFUSALS_FOR_A_PERSON
    }

    /// Whether the payment, or the cancel of a paid one, has been open for longer than the plan takes
    /// where Alipay answers.
    pub fn is_open_for_too_long(&self, now: DateTime<Utc>) -> bool {
        let since = match self.state {
            PaymentState::Succeeded => self.updated_at,
            PaymentState::Processing(_)
            | PaymentState::Unresolved
            | PaymentState::Failed(_)
            | PaymentState::Canceled { .. } => self.created_at,
        };
        !self.is_settled() && now - since >= OPEN_FOR_TOO_LONG
    }

    /// Whether the payment is open although Alipay takes no cancel of it any more.
    pub fn is_past_its_cancel_window(&self, now: DateTime<Utc>) -> bool {
        !self.is_settled() && !self.cancel_window_is_open(now)
    }

    /// Whether a person must look, and may decide: what is not settled and will not be by waiting a
    /// moment. Also what `payment_needs_a_person` says in SQL.
    pub fn needs_a_person(&self, now: DateTime<Utc>) -> bool {
        self.state == PaymentState::Unresolved
            || self.is_refused_at_the_door()
            || self.is_open_for_too_long(now)
            || self.is_past_its_cancel_window(now)
    }

    /// Whether a person may decide: what needs one, what Alipay contradicts, and whether the money of a
    /// trade that was closed after it was paid is back.
    pub fn may_be_decided(&self, now: DateTime<Utc>) -> bool {
        let is_closed = matches!(self.state, PaymentState::Canceled { .. });
        let was_paid = self.charge.is_some();
        self.contradicted_at.is_some() || self.needs_a_person(now) || (is_closed && was_paid)
    }

    /// Whether the sale is so new that the till which made it may undo it by itself.
    pub fn is_fresh_sale(&self, now: DateTime<Utc>, for_so_long: TimeDelta) -> bool {
        now - self.created_at < for_so_long
    }

    /// Whether this is `before` after its money has gone back by a cancel that was asked for.
    pub fn was_returned_since(&self, before: &Self) -> bool {
        let is_returned = PaymentState::Canceled {
            reason: CancelReason::Requested,
            money_returned: true,
        };
        self.state == is_returned && !matches!(before.state, PaymentState::Canceled { .. })
    }

    /// Whether Alipay may still take a cancel; it alone decides (`docs/invariants.md` T4).
    pub fn cancel_window_is_open(&self, now: DateTime<Utc>) -> bool {
        self.cancelable_until().is_some_and(|end| now < end)
    }

    /// Whether the wish for a reversal is new.
    fn lacks(&self, reversal: Option<RefundId>) -> bool {
        reversal.is_some() && self.reversal.is_none()
    }

    /// What may still be refunded, in minor units: of a paid payment that is not being canceled,
    /// what no refund has reserved and nothing proves to be back.
    pub const fn refundable_minor(&self) -> i64 {
        match self.state {
            PaymentState::Succeeded if self.canceling.is_none() => {
                let left =
                    self.amount.minor() - self.refund_reserved_minor - self.proven_returned_minor;
                if left > 0 { left } else { 0 }
            }
            PaymentState::Succeeded
            | PaymentState::Processing(_)
            | PaymentState::Failed(_)
            | PaymentState::Canceled { .. }
            | PaymentState::Unresolved => 0,
        }
    }

    /// Whether refunds return all of it: those in the books, with those that are proven and not booked yet. What proves
    /// that all of it is back may be no refund.
    const fn goes_back_by_refunds(&self) -> bool {
        let amount = self.amount.minor();
        let booked_later = if self.proven_returned_minor < amount {
            self.proven_returned_minor
        } else {
            0
        };
        self.refund_reserved_minor + booked_later >= amount
    }

    /// What a refund in the place of a cancel of the paid payment returns, in minor units: all that is not proven to be
    /// back already.
    pub const fn left_to_return_minor(&self) -> i64 {
        let left = self.amount.minor() - self.proven_returned_minor;
        if left > 0 { left } else { 0 }
    }

    /// Whether the books say that a refund of it could be made: whoever denies it contradicts them.
    pub const fn calls_refundable(&self, refund: &Refund) -> bool {
        let wanted = refund.amount.minor();
        match self.state {
            PaymentState::Succeeded if self.canceling.is_none() => {
                let held_by_it = if refund.state.is_reserved() {
                    wanted
                } else {
                    0
                };
                let held_by_others = self.refund_reserved_minor - held_by_it;
                wanted <= self.amount.minor() - held_by_others - self.proven_returned_minor
            }
            PaymentState::Succeeded
            | PaymentState::Processing(_)
            | PaymentState::Failed(_)
            | PaymentState::Canceled { .. }
            | PaymentState::Unresolved => false,
        }
    }

    /// What may still be booked as returned by refunds that Alipay proves, in minor units. A trade that
    /// Alipay closed after payment takes them too: they explain it.
    pub const fn bookable_minor(&self) -> i64 {
        match self.state {
            PaymentState::Succeeded if self.canceling.is_none() => {
                self.amount.minor() - self.refund_reserved_minor
            }
            PaymentState::Canceled {
                reason: CancelReason::ClosedAfterPayment,
                ..
            } => self.amount.minor() - self.refund_reserved_minor,
            PaymentState::Succeeded
            | PaymentState::Processing(_)
            | PaymentState::Failed(_)
            | PaymentState::Canceled { .. }
            | PaymentState::Unresolved => 0,
        }
    }

    fn contradiction(&self, event: &PaymentEvent) -> InvalidTransition {
        InvalidTransition {
            of: "payment",
            from: self.state.status(),
            event: event.name(),
        }
    }

    fn learn_alipay_trans_id(&mut self, id: Option<&String>) {
        if self.alipay_trans_id.is_none() {
            self.alipay_trans_id = id.cloned();
        }
    }

    /// The GMT+8 day the payment belongs to: that of Alipay's payment time where known, else of
    /// its creation (`docs/protocol.md` 9.6).
    pub fn business_date(&self) -> NaiveDate {
        let paid_at = self.charge.as_ref().and_then(|charge| charge.paid_at);
        calendar::business_date(paid_at.unwrap_or(self.created_at))
    }

    /// Until when a cancel may be asked for; `None` once the payment failed or is canceled.
    pub fn cancelable_until(&self) -> Option<DateTime<Utc>> {
        match &self.state {
            PaymentState::Processing(_) | PaymentState::Unresolved => {
                Some(calendar::cancel_window_unpaid(self.created_at))
            }
            PaymentState::Succeeded => {
                let paid_at = self.charge.as_ref().and_then(|charge| charge.paid_at);
                Some(calendar::cancel_window_paid(
                    paid_at.unwrap_or(self.created_at),
                ))
            }
            PaymentState::Failed(_) | PaymentState::Canceled { .. } => None,
        }
    }

    /// Whether nobody waits for the buyer any more, or a cancel is under way: its visits have no places
    /// of their own.
    pub fn is_being_closed(&self, now: DateTime<Utc>) -> bool {
        let confirming_until = self.poll.confirming_until;
        confirming_until.is_none_or(|until| until <= now)
    }

    /// When the buyer's time is over and the gateway closes the trade itself.
    pub fn cancel_at(&self) -> DateTime<Utc> {
        self.created_at + TimeDelta::seconds(i64::from(self.cancel_after_seconds))
    }
}

#[cfg(test)]
#[path = "payment_tests.rs"]
pub(crate) mod tests;
