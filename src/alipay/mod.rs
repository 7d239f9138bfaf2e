//! The client of Alipay's XML gateway: the only place that knows its words, XML and signatures.
//!
//! One call is one HTTP attempt (`docs/invariants.md` R14): retries and redirects are off, each
//! service has its deadline, and whatever is not a verified, matching answer is `Unknown` with the
//! kind of silence or lie beside it. Nothing here decides what happens next, writes anything, or
//! reads a database.
//!
//! | module | what it knows |
//! |---|---|
//! | [`client`] | the seven services as functions |
//! | [`request`] | what is asked, as parameters |
//! | [`sign`] | the string to sign, and the keys that sign and verify it |
//! | [`keyring`] | an account's keys over time |
//! | `breaker` | whether the account answers at all |
//! | `transport` | one POST, its deadlines and faults |
//! | `charset`, `xml` | bytes to a bounded tree |
//! | `response` | the tree to verified fields, and those to an outcome |
//! | [`outcome`] | what Alipay meant |
//! | [`result_code`] | every documented code |
//! | [`files`] | the daily transaction and settlement files |
//! | [`sftp`] | the server where they lie |
//! | [`notification`] | the signature of what Alipay posts to us |
//!
//! What is known of the protocol, and how surely, is in `docs/protocol.md`.

pub mod breaker;
mod charset;
pub mod client;
pub mod error;
pub mod files;
pub mod keyring;
mod keys;
pub mod notification;
pub mod outcome;
pub mod parameters;
pub mod request;
mod response;
pub mod result_code;
pub mod sftp;
pub mod sign;
mod transport;
mod xml;

#[cfg(test)]
pub(crate) use response::tests::{
    read_refund_answer, read_refund_query_answer, read_refused_refund,
};

#[cfg(test)]
mod stub;
#[cfg(test)]
mod tls_tests;
#[cfg(test)]
mod vectors;
