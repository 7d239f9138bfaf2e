//! The gateway as its callers and its operators meet it.
//!
//! | module | what it shows |
//! |---|---|
//! | `payments` | a payment from the till to the buyer's money |
//! | `idempotency` | one key, one payment: replays, mismatches, conflicts, twins |
//! | `durability` | clients, databases, Alipay and processes that go away take no payment with them |
//! | `scenarios` | every line of the simulator's scenario table is true |
//! | `problems` | every refusal is a problem document and leaves no trace |
//! | `signing` | payments go through under every signature agreement |
//! | `redaction` | a scanned code and the secrets are nowhere but in memory |
//! | `telemetry` | traces, metrics and logs tell an operator the truth |
//! | `openapi` | the document is the one checked in, and names every route |
//! | `config` | what the configuration says when it is wrong |
//! | `architecture` | the sources keep to the architecture page |
//! | `readme` | the README says what the programs say |
//! | `dev` | the developer's set-up leaves no process behind |

mod architecture;
mod config;
mod dev;
mod durability;
mod idempotency;
mod openapi;
mod payments;
mod problems;
#[cfg(feature = "failpoints")]
mod proof;
mod readme;
mod redaction;
mod scenarios;
mod signing;
mod support;
mod telemetry;
