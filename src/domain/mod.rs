//! What a payment is and how it may change. Pure: no async, no I/O, no SQL, no HTTP, no XML, and no
//! clock (`now` is a parameter).
//!
//! | our word | Alipay's word | meaning |
//! |---|---|---|
//! | payment | trade | one sale |
//! | refund | refund | one return of money, whole or in part |
//! | [`id::PartnerTransId`] | `partner_trans_id`, `out_trade_no` on cancel | the id we send |
//! | [`id::PartnerRefundId`] | `partner_refund_id`, `out_return_no` on query | the id of a refund that we send |
//! | `alipay_trans_id` | `alipay_trans_id`, `trade_no` | the id they send |
//! | wallet | `payment_inst` | which wallet paid; unknown values are kept as they are |
//! | store | store | where a merchant sells (the SQL layer is [`crate::db`]) |
//! | registration | secmerchant | a store as Alipay reviews and approves it |
//! | attempt | – | one upstream call |
//! | [`reconciliation::daily_file`] | transaction file, settlement file | what is read of each |
//! | follow-up | – | the durable plan to ask again |

/// The one name of each variant of a closed enum, the same in JSON, SQL, metrics and logs.
macro_rules! stored_names {
    ($type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Every name.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name in JSON, SQL, metrics and logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Reads a stored name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

/// The one name of each event, or of what else carries something.
macro_rules! event_names {
    ($type:ident { $($event:pat => $name:expr),+ $(,)? }) => {
        impl $type {
            /// Every name.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The event's name in histories and logs.
            pub const fn name(&self) -> &'static str {
                match self { $($event => $name),+ }
            }
        }
    };
}

pub mod access;
pub mod accounts;
pub mod admission;
pub mod attempt;
pub mod audit;
pub mod breaker;
pub mod calendar;
pub mod contradiction;
pub mod door;
pub mod follow_ups;
pub mod id;
pub mod idempotency;
pub mod listing;
pub mod merchants;
pub mod money;
pub mod payments;
pub mod reconciliation;
pub mod refunds;
pub mod registrations;
pub mod standing;
pub mod text;
pub mod transition;
