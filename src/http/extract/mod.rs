//! Requests into types. Every rejection is a [`super::problem::Problem`].
//!
//! | file | what it reads |
//! |---|---|
//! | [`caller`] | who calls, and whether it may |
//! | [`path`] | the `{id}` of a path, and the `{store_id}` |
//! | [`query`] | the query string, every fault at once |
//! | [`headers`] | `Idempotency-Key`, `Prefer` |
//! | [`conditional`] | `?wait=` and `If-None-Match` of a read, `If-Match` of a change |
//! | [`body`], [`json`], [`fields`] | a JSON body, member by member, every fault at once |
//! | [`mod@request`], [`rules`] | requests as they are declared: what is read and documented |
//! | [`members`] | members that several requests have: amounts, references, names |
//! | [`accept`] | whether the caller would take the answer |

pub mod accept;
pub mod body;
pub mod caller;
pub mod conditional;
pub mod fields;
pub mod headers;
pub mod json;
pub mod members;
pub mod path;
pub mod query;
pub mod request;
pub mod rules;

pub use body::JsonBody;
pub use caller::{
    AdminCaller, Administer, AskAboutPayments, AskAboutRefunds, Caller, LookAtPayments, LookAtWork,
    Operate, ReadPayments, Reconcile, Reverse, WritePayments, WriteRefunds,
};
pub use conditional::{Conditional, IfMatch, is_known};
pub use fields::{Faults, ObjectReader};
pub use headers::{Key, PreferWait};
pub use path::{Id, StoreOf};
pub(in crate::http) use request::{read_request, request};
