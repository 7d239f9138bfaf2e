//! The gateway as its callers and its operators meet it.
//!
//! | module | what it shows |
//! |---|---|
//! | `payments` | a payment from the till to the buyer's money |
//! | `idempotency` | one key, one payment: replays, mismatches, conflicts, twins |
//! | `cancellation` | cancels: unpaid, paid, never created, too late, under a lost answer |
//! | `refunds` | money that goes back: now, in part, in the batch, by the clock; what Alipay posts about it |
//! | `open_effects` | an answer that says nothing about the effect leaves it open, and a query decides |
//! | `refund_contradictions` | a refusal, or an answer about a refund, that contradicts the books is asked about and shown |
//! | `operations` | what operators see, steer and decide |
//! | `reads` | nothing reads as done while money may still move, or older than it was told before |
//! | `durability` | clients, databases, Alipay and processes that go away take no payment with them |
//! | `in_doubt` | "nothing was attempted" is said only where it is certain; a database that stalls, freezes or fails over holds nobody up |
//! | `scenarios` | every line of the simulator's scenario table is true |
//! | `refund_follow_ups` | refunds through silence, short funds, the nightly batch and half a year to their true end |
//! | `notifications` | what Alipay posts is believed when it is signed and agrees, and harmless otherwise |
//! | `reversal` | a payment is undone by cancel or by refund, never both, never neither |
//! | `acceptance` | Alipay's acceptance items, each by its id |
//! | `simulator` | the simulated Alipay refunds and notifies as the documents say |
//! | `lateness` | however late we are, we ask before we cancel; seconds where nothing happened; slow cancels delay nobody |
//! | `limits` | too much at once is refused before it begins, and what is under way is not touched |
//! | `tokens` | access tokens of an issuer: believed for what they say, refused for every fault, through new keys and outages |
//! | `isolation` | no key, no scope, no other merchant gets anything out of any operation |
//! | `problems` | every refusal is a problem document and leaves no trace |
//! | `signing` | payments go through under every signature agreement |
//! | `privacy` | buyers are masked at rest, whoever wrote them |
//! | `redaction` | a scanned code and the secrets are nowhere but in memory |
//! | `hostile_texts` | control characters and endless texts are refused in every field of every operation |
//! | `texts` | texts and amounts are what Alipay takes: shortened where a sale would be lost, refused elsewhere |
//! | `panics` | a panic tells callers and logs nothing, and loses nothing |
//! | `telemetry` | traces, metrics and logs tell an operator the truth |
//! | `follow_ups` | the schedule is claimed once, lost never, and ends around midnight and late payments in the truth |
//! | `shutdown` | the program stops in order, and refuses to start with what cannot work |
//! | `guards` | what the database itself refuses |
//! | `accounts` | Alipay accounts: several at once, read again on SIGHUP, their keys shown and checked |
//! | `admin` | merchants, their rules and limits; API keys made, replaced and revoked; who did what, in one chain that shows tampering |
//! | `rights` | who may give money back, and what the operator may read |
//! | `roles` | the service's database role may do what the service does, and no more |
//! | `secondary_merchants` | stores registered with Alipay: reviews followed to their end, people forgotten, payments that say what was approved |
//! | `sftp` | daily files are fetched from a real OpenSSH server once, whoever dies, and missed when they do not come |
//! | `cost` | two round trips to Postgres, and no connection while Alipay thinks |
//! | `daily_files` | a daily file of any length takes the same memory |
//! | `million_rows` | how a day of any length is compared with the books, and how long that takes |
//! | `file_versions` | cut, short, spoilt and foreign daily files, and two contents of one name at once |
//! | `openapi` | the document is the one checked in, and names every route |
//! | `released` | a client of the last released OpenAPI document goes on |
//! | `config` | what the configuration says when it is wrong |
//! | `architecture` | the sources keep to the architecture page |
//! | `deploy` | what operators start from names metrics, pages and files that there are |
//! | `readme` | the README and the pages of `docs` say what the programs say |

mod acceptance;
mod account_refusals;
mod accounts;
mod admin;
mod architecture;
mod breaker;
mod cancellation;
mod config;
mod contradictions;
mod cost;
mod daily_files;
mod deploy;
mod durability;
mod file_versions;
mod follow_ups;
mod guards;
mod hostile_texts;
mod idempotency;
mod in_doubt;
mod isolation;
mod lateness;
mod limits;
mod million_rows;
mod notifications;
mod open_effects;
mod openapi;
mod operations;
#[cfg(feature = "failpoints")]
mod panics;
mod payments;
mod privacy;
mod problems;
#[cfg(feature = "failpoints")]
mod proof;
mod readme;
mod reads;
mod reconcile_command;
mod reconciliation;
mod redaction;
mod refund_contradictions;
mod refund_follow_ups;
mod refunds;
mod released;
mod reversal;
mod rights;
mod roles;
mod scenarios;
mod secondary_merchants;
mod sftp;
mod shutdown;
mod signing;
mod simulator;
mod support;
mod telemetry;
mod texts;
mod tokens;
