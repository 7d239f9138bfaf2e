//! The gateway as its callers and its operators meet it.
//!
//! | module | what it shows |
//! |---|---|
//! | `payments` | a payment from the till to the buyer's money |
//! | `idempotency` | one key, one payment: replays, mismatches, conflicts, twins |
//! | `openapi` | the document is the one checked in, and names every route |
//! | `config` | what the configuration says when it is wrong |
//! | `architecture` | the sources keep to the architecture page |
//! | `readme` | the README says what the programs say |
//! | `dev` | the developer's set-up leaves no process behind |

mod architecture;
mod config;
mod dev;
mod idempotency;
mod openapi;
mod payments;
mod readme;
mod support;
