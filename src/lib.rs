//! A gateway for AlipayHK in-store barcode payments: the architecture.
//!
//! A till posts one JSON request per sale, and one per return of money. The gateway turns each into a
//! signed request to Alipay, keeps its state in Postgres, and goes on asking until the truth is known,
//! whatever the till, the network, Alipay or this process does in between. The repository has three packages, each
//! with a program:
//!
//! - `alipayhk-gateway` (this one): the service ([`startup`]), with the commands around it (`migrate`,
//!   `api-key`, `keys`, `openapi`). `serve` answers requests and follows up open payments;
//!   `serve --no-workers` and `work` split the two over processes.
//! - `alipay-simulator` (`simulator/`): Alipay as the developers and the tests meet it, with a
//!   ledger, signatures and a clock of its own. It uses *nothing* of this library, so that a mistake
//!   in our reading of the protocol cannot hide in both. The tests start it in their own process.
//! - `devtools` (`devtools/`): what `./dev` starts: everything on one machine, a load loop, throw-away
//!   databases. It uses the two programs by their command lines.
//!
//! # The code, and who may import whom
//!
//! A test (`tests/it/architecture.rs`) reads this table and holds every source file to it.
//!
//! | module | what it is | may import |
//! |---|---|---|
//! | [`domain`] | what a payment and a refund are, how they may change, when to ask again; pure | |
//! | [`clock`] | the process clock, a trait because tests have a second one | |
//! | [`config`] | the environment, read once; every fault reported at once | `domain` |
//! | [`keys`] | `keys generate`: key files | |
//! | [`failpoint`] | points at which tests stop, break or delay the program; nothing without the feature | |
//! | [`shutdown`] | two stops, and a tracker of all that must be waited for | |
//! | [`oidc`] | the only place that knows access tokens and their issuer | `clock`, `config`, `domain` |
//! | [`alipay`] | the only place that knows Alipay's words, XML and signatures | `domain`, `clock`, `failpoint` |
//! | [`db`] | the only place with SQL, and in [`db::run`] the only one with its deadlines | `domain`, `failpoint` |
//! | [`app`] | the use cases: intent, call, record; free of HTTP and of SQL text | `alipay`, `db`, `domain`, `clock`, `failpoint`, `oidc` |
//! | [`jobs`] | the workers that claim due follow-ups and run them, maintenance, and the fetcher of daily files | `app`, `db`, `domain`, `failpoint` |
//! | [`http`] | the REST surface: requests into types, results into answers | `app`, `domain`, `shutdown` |
//! | [`telemetry`] | logs, traces and metrics of the process | `config` |
//! | [`startup`] | puts the program together and runs it | `alipay`, `app`, `clock`, `config`, `db`, `domain`, `http`, `jobs`, `keys`, `oidc`, `shutdown` |
//! | [`commands`] | what administrators do at a terminal: `api-key`, `audit`, `keys check` | `alipay`, `app`, `clock`, `config`, `db`, `domain`, `startup` |
//!
//! A new capability is the same short column of files each time: `domain/x`, an `alipay` request and
//! answer where it calls out, `db/x`, `app/x`, `http/x`, `tests/it/x`. What payments, refunds and
//! registrations do alike is in `app/pipeline.rs`; what differs is in the `subject.rs` of each. A new kind of
//! job is one implementation of [`app::job::Job`] beside its subject, a line in [`app::job::register`] and a
//! migration. Every number of tries and every deadline is in `app/policy.rs`.
//!
//! Words to keep apart: a *transaction* is the database's, a sale is a *payment*; a *store* is
//! where a merchant sells, the SQL layer is `db`; the *gateway* is this service, Alipay's is *Alipay*.
//!
//! # What is deliberately absent
//!
//! The names in brackets are those of `docs/invariants.md`; what is known of Alipay, and how surely, is in
//! `docs/protocol.md`.
//!
//! 1. **No guess.** Only an explicit answer of Alipay, its signature verified (a notification is a
//!    hint to ask) and its ids, amount, currency and partner matched with what was asked, leads to
//!    `succeeded`, `failed` or `canceled`. Silence, time-outs, 5xx, bad signatures and exhausted plans
//!    lead at most to `unresolved`, which still accepts the truth later. An operator may decide what
//!    is `unresolved`, or what Alipay itself contradicts, and nothing else, with a reason and a ticket;
//!    it yields to Alipay's word. What is verified and does not fit is never dropped
//!    ([`domain::contradiction`]).
//! 2. **No new identity in a repeat.** A payment is sent once, by the request that created it. What
//!    repeats is identity-stable: a query, a cancel under the same id, a refund under its own id and
//!    with its own amount, and that only where a query said that Alipay knows no such refund (R11,
//!    M4). So there is no retry anywhere in [`alipay`]: one call is one HTTP attempt (R14).
//! 3. **No byte to Alipay before its intent is committed** (R1), and no row without a plan: the payment
//!    or the refund, the idempotency key, the attempt, the follow-up and the first transition are one
//!    statement ([`db::payments::intent`], [`db::refunds`]). That of a refund also reserves its amount on the
//!    payment, by one guarded update (R4): concurrent refunds can never exceed the charge.
//! 4. **No transaction open across a call** (R2). Every change of a payment, a refund or a registration is
//!    one statement, so there is no transaction to leave open, and none for a dropped future to poison
//!    (R7). A daily file takes many statements, each of which may be repeated; a dry run of one is the
//!    only transaction there is, on a connection of its own, and calls nobody.
//! 5. **No work in a handler.** Handlers wait; the work runs detached on the task tracker, so neither a
//!    client that hangs up nor a graceful stop cuts between call and record (R6). For the same reason
//!    there is no time-out layer.
//! 6. **No second place that computes a state**: [`domain::payments::payment::Payment::apply`] and
//!    [`domain::refunds::refund::Refund::apply`] do, and what they return is written by a statement guarded by
//!    the version that was read, with a trigger behind it that knows the legal moves (R3).
//! 7. **No trust in a replica's clock.** Due times, leases and row times come from the database
//!    (`db_now()`). The process clock only dates what is sent to Alipay (C12).
//! 8. **No stored barcode**: in memory only, and a keyed hash for duplicates. The type that holds it
//!    prints nothing of it.
//! 9. **No call to Alipay in a `GET`**, and no Alipay in the readiness check: its outage must not evict
//!    replicas.
//! 10. **No storage trait and no mock.** One backend, real Postgres in the tests; Alipay's second
//!     implementation is the simulator, reached by its URL.
//!
//! # `POST /v1/payments`, function to function
//!
//! 1. [`http::router`] wraps the handler: panics, request id, span and wide event, body limit.
//! 2. [`http::payments::create::create`] reads the request field by field into a
//!    [`domain::payments::payment::NewPayment`]. All faults go into one problem document; nothing is stored, so
//!    the key is not used up.
//! 3. [`app::App::create_payment`] mints the ids, starts the detached work, which answers it before it ends,
//!    and waits for a change for as long as the caller's `Prefer: wait` says.
//! 4. [`db::Db::insert_intent`]: the first round trip. Where something is in the way (the key, the
//!    merchant reference, the same scan a moment ago) [`db::Db::existing`] says what, and the answer is
//!    a replay or a refusal. A commit in doubt is resolved by reading: the ids were minted here (R8);
//!    what stays in doubt is told as such, and is never sent. Intents that are ready at the same time go in
//!    one statement and one commit ([`db::group_commit`]), and so do records.
//!    *From here on a crash is harmless.*
//! 5. [`alipay::client::Alipay::pay`] signs, posts once, verifies over the bytes as they came, parses,
//!    matches, and says what Alipay *meant*: a [`alipay::outcome::PayOutcome`], which may be `Unknown`.
//!    No database connection is held.
//! 6. `App::record`, the one loop of all subjects, until it is certain; one try of it is
//!    `app::payments::record`: the event is applied and written by [`db::Db::record`], the second round trip. A
//!    final state completes the follow-up in the same statement; an unknown outcome leaves the payment
//!    `processing`.
//! 7. The waiting handler is told in memory and answers: `201` when [`domain::standing::Standing`] is
//!    settled (a decline is a `201` with `status: "failed"`), else `202`. After something was sent the
//!    answer is never a 5xx.
//!
//! Dying between 4 and 6 leaves a due follow-up, which finds the truth by a query or closes the trade by
//! a cancel. Losing the commit in 6 is the same case.
//!
//! # A job of the follow-up worker, function to function
//!
//! 1. [`jobs::worker::Workers::run`] starts a loop for each kind of [`app::job::Job`], with places of its own:
//!    payments that a buyer may still confirm, payments that are to be closed, refunds and registrations
//!    never wait for each other. Each wakes on a jittered timer and counts its free places.
//! 2. `Job::claim`, such as [`db::Db::claim_confirming_payments`]: one statement, `skip locked`, which leases
//!    due rows on the database's time and hands out a lease token with each, together with the payment as it
//!    stands.
//! 3. `Job::run` runs on the tracker for no longer than its lease. An error or a panic delays or parks that row
//!    alone (C10); errors are counted apart from polite "still waiting" answers.
//! 4. [`app::App::follow_up`] takes the claim and nothing else, so the path after a crash is the normal
//!    path. [`domain::payments::plan::next_step`], a pure function of payment and time, says `Query`,
//!    `Cancel`, `WaitUntil`, `GiveUp` or `Settled`.
//! 5. `App::ask_as_worker`, the same for all subjects, and in it `app::payments::ask`:
//!    [`db::Db::insert_attempt`] commits the attempt under the lease, the call is made, and the answer goes
//!    through the same record as in a payment, which also writes the time of the next run. Who lost the lease
//!    writes nothing (R10). A caller's cancel or refresh takes the same path under the payment's version
//!    instead of a lease.
//! 6. Now and then [`jobs::maintenance::Maintenance`] re-creates rows that are missing (R12).
//!
//! A refund goes the same two ways, function to function: [`app::App::create_refund`],
//! [`db::Db::insert_refund_intent`], [`alipay::client::Alipay::refund`], [`db::Db::record_refund`]; and
//! [`db::Db::claim_due_refunds`], [`app::App::follow_up_refund`],
//! [`domain::refunds::plan::next_step`], [`db::Db::insert_refund_attempt`]. What Alipay posts is a hint:
//! [`app::App::receive_notification`] verifies it, [`db::Db::note_notification`] notes it together with the
//! question that it raises, and only then it is acknowledged (V4); the next visit asks that question, whatever the
//! plan says, also about what is settled. [`app::App::reverse_payment`] chooses between a
//! cancel and a refund; a cancel that came too late becomes the refund in one statement
//! ([`db::Db::turn_cancel_into_refund`]), whose id was minted with the wish.
//!
//! So does the registration of a store, which moves no money: [`app::App::register_store`],
//! [`db::Db::submit_registration`], [`alipay::client::Alipay::maintain_store`], [`db::Db::record_registration`];
//! and [`db::Db::claim_due_registrations`], [`app::App::follow_up_registration`],
//! [`domain::registrations::next_step`]. What Alipay approves is told by a signed status alone, and only where that is about
//! what was sent last ([`domain::registrations`]).
//!
//! Daily files come by [`jobs::fetcher::Fetcher`] too: [`app::App::fetch_due_files`], [`db::Db::claim_fetch`],
//! [`alipay::sftp::SftpServer::connect`], and from there on as any other file, by [`app::App::reconcile`].
//!
//! # Where to look for what
//!
//! The REST conventions are in [`http`], the status table in [`http::problem`], the plans in
//! [`domain::payments::plan`], [`domain::refunds::plan`] and [`domain::registrations`], the table of Alipay's codes in [`alipay::result_code`], settings in
//! [`config::variables`], the schema in `migrations/`, and the tests, one module per capability, in
//! `tests/it/main.rs`.

pub mod alipay;
pub mod app;
pub mod clock;
pub mod commands;
pub mod config;
pub mod db;
pub mod domain;
pub mod failpoint;
pub mod http;
pub mod jobs;
pub mod keys;
pub mod oidc;
pub mod shutdown;
pub mod startup;
pub mod telemetry;
