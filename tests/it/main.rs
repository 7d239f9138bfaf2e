//! The gateway as its callers and its operators meet it.
//!
//! | module | what it shows |
//! |---|---|
//! | `payments` | a payment from the till to the buyer's money |
//! | `idempotency` | one key, one payment: replays, mismatches, conflicts, twins |
//! | `durability` | clients, databases, Alipay and processes that go away take no payment with them |
//! | `follow_ups` | the schedule is claimed once, lost never, and ends around midnight and late payments in the truth |
//! | `shutdown` | the program stops in order, and refuses to start with what cannot work |
//! | `guards` | what the database itself refuses |
//! | `cost` | two round trips to Postgres, and no connection while Alipay thinks |
//! | `openapi` | the document is the one checked in, and names every route |
//! | `config` | what the configuration says when it is wrong |
//! | `architecture` | the sources keep to the architecture page |
//! | `readme` | the README says what the programs say |
//! | `dev` | the developer's set-up leaves no process behind |

mod architecture;
mod config;
mod cost;
mod dev;
mod durability;
mod follow_ups;
mod guards;
mod idempotency;
mod openapi;
mod payments;
#[cfg(feature = "failpoints")]
mod proof;
mod readme;
mod shutdown;
mod support;
