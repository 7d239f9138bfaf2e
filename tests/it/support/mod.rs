//! A gateway in the test's process over real HTTP, a real Postgres and the real simulator binary.
//! All three clocks are one, and the test moves it by hand.

pub(crate) mod alipay;
pub(crate) mod collector;
pub(crate) mod fake_sftp;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod leaks;
#[cfg(feature = "failpoints")]
pub(crate) mod oracle;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod refund_oracle;
pub(crate) mod roles;
pub(crate) mod sshd;
pub(crate) mod violation;
pub(crate) mod watched;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use alipayhk_gateway::{
    alipay::{
        client::{Alipay, AlipaySettings},
        sign::Credentials,
    },
    app::{
        App, Parts,
        access::api_keys,
        accounts::{Account, Accounts, Fetching},
        hashing::SecretKey,
    },
    clock::ManualClock,
    db::{Db, merchants::default::DefaultMerchant, run::Limits},
    domain::{
        access::{
            api_key::NewApiKey,
            principal::{Scope, TenantScope},
        },
        accounts::{signing::SignType, timeouts::Timeouts},
        admission::LoadLimits,
        audit::AuditActor,
        id::MerchantId,
        merchants::{limits::Limits as MoneyLimits, store::Store},
        payments::plan::Plan,
        refunds::plan::RefundPlan,
    },
    http::{
        Draining, HttpState, metrics,
        router::router,
        serve::{ConnectionLimits, serve},
    },
    jobs::{
        maintenance::Maintenance,
        worker::{WorkerSettings, Workers},
    },
    oidc::{Issuer, IssuerSettings},
    shutdown::Shutdown,
};
use chrono::{DateTime, TimeDelta, Utc};
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::Method;
use serde_json::Value;
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;
use uuid::Uuid;

use alipay::{JsonBody as _, Simulator, keys};
use http::{Answer, Caller};
use proxy::Proxy;

/// The Alipay account of the tests.
pub(crate) const PARTNER: &str = "2088000000000001";

/// The database's clock in a row. A function with the time in its body would throw every session's
/// plans away whenever the clock moves.
const CLOCK_OF_TEST: &str = "
    create table clock_of_test (now timestamptz not null);
    insert into clock_of_test values (now());
    grant select on clock_of_test to public;
    create or replace function db_now() returns timestamptz language plpgsql stable as
        $$begin return (select now from clock_of_test); end$$;";

/// Where the clock stands at first: 2026-01-02 11:04:05 in GMT+8.
pub(crate) fn start_of_test() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().expect("an RFC 3339 instant")
}

/// How a world differs from the usual one.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How many gateways share the database.
    pub(crate) replicas: usize,
    /// Where the clock stands at first.
    pub(crate) now: DateTime<Utc>,
    /// How long a pay call may take.
    pub(crate) pay_timeout: Duration,
    /// How long a query or a cancel may take.
    pub(crate) ask_timeout: Duration,
    /// How many of the gateways, counted from the first, reach Postgres through [`World::proxy`].
    pub(crate) proxied: usize,
    /// How many connections to Postgres each gateway may have.
    pub(crate) connections: u32,
    /// How long statements may take.
    pub(crate) database_limits: Limits,
    /// Where the gateways look for Alipay, if not at the simulator.
    pub(crate) endpoint: Option<Url>,
    /// How requests and answers are signed.
    pub(crate) sign_type: SignType,
    /// Where the gateways look for the database instead of where it is.
    pub(crate) database_port: Option<u16>,
    /// How open payments are followed up.
    pub(crate) plan: Plan,
    /// How much each gateway lets in.
    pub(crate) bounds: LoadLimits,
    /// How many calls without an answer stop new work; none do, unless a test is about that: others
    /// script silence to see what follows from it.
    pub(crate) breaker_calls: u32,
    /// How many refusals of the account stop new work; none do, for the same reason.
    pub(crate) access_refusals: u32,
    /// Whose access tokens the gateways believe.
    pub(crate) issuer: Option<IssuerSettings>,
    /// Where the daily files are fetched, if anywhere.
    pub(crate) sftp: Option<Fetching>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replicas: 1,
            now: start_of_test(),
            pay_timeout: Duration::from_secs(10),
            ask_timeout: Duration::from_secs(5),
            proxied: 0,
            connections: 8,
            database_limits: Limits::USUAL,
            endpoint: None,
            sign_type: SignType::Rsa2,
            database_port: None,
            plan: Plan::default(),
            // Tests call as fast as they can; those of the bounds set their own.
            bounds: LoadLimits {
                requests_per_second: 0,
                work: 100_000,
                work_per_merchant: 100_000,
                waiting: 100_000,
                ..LoadLimits::default()
            },
            breaker_calls: 0,
            access_refusals: 0,
            issuer: None,
            sftp: None,
        }
    }
}

/// One gateway of a world.
pub(crate) struct Replica {
    pub(crate) app: App,
    pub(crate) worker: Workers,
    pub(crate) maintenance: Maintenance,
    pub(crate) url: String,
    /// Its clock; the world moves it, and adds what it is wrong by.
    clock: Arc<ManualClock>,
    wrong_by: TimeDelta,
    tasks: TaskTracker,
    shutdown: Shutdown,
    /// The hard stop of the worker.
    #[cfg(feature = "failpoints")]
    cut: CancellationToken,
}

impl Replica {
    /// Fetches the daily files from here from now on, as after SIGHUP.
    pub(crate) async fn fetch_from(&self, fetching: Fetching) {
        let accounts = self.app.accounts();
        let accounts = accounts.values().map(|account| Account {
            sftp: Some(fetching.clone()),
            ..Account::clone(account)
        });
        self.app.replace_accounts(accounts.collect()).await;
    }

    /// The soft stop.
    pub(crate) fn stop(&self) {
        self.shutdown.soft.cancel();
    }

    /// Cuts the visits under way, as a hard stop does.
    #[cfg(feature = "failpoints")]
    pub(crate) fn cut_visits(&self) {
        self.cut.cancel();
    }

    /// A worker in the place of one that was cut.
    #[cfg(feature = "failpoints")]
    pub(crate) fn renew_worker(&mut self) {
        self.cut = CancellationToken::new();
        self.worker = worker(&self.app, &self.tasks, &self.cut);
    }
}

/// Everything a test talks to.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) replicas: Vec<Replica>,
    /// A way around the gateway, to look and to move the database's clock.
    pub(crate) pool: PgPool,
    /// The way of the gateways: as the service's role.
    pub(crate) connect: PgConnectOptions,
    pub(crate) db: Db,
    pub(crate) merchant_id: MerchantId,
    /// A caller with the usual scopes.
    pub(crate) till: Caller,
    operator: Caller,
    /// Callers of other merchants whose payments the oracle looks at too.
    #[cfg(feature = "failpoints")]
    pub(crate) readers: Vec<Caller>,
    /// How many follow-ups the test means to have parked at its end.
    pub(crate) parked: i64,
    proxy: Proxy,
    now: DateTime<Utc>,
    #[cfg(feature = "failpoints")]
    options: Box<Options>,
    /// Replicas that ended without a word.
    dead: Vec<Replica>,
    finished: bool,
}

impl World {
    /// One gateway.
    pub(crate) async fn start(pool: PgPool) -> Self {
        Self::start_with(pool, Options::default()).await
    }

    /// As many gateways as the options say, over one database and one simulator.
    pub(crate) async fn start_with(pool: PgPool, options: Options) -> Self {
        leaks::watch_this_process();
        let connect = roles::as_service(&pool).await;
        let proxy = Proxy::start(&connect).await;
        let simulator = Simulator::start(Some(options.now), options.sign_type).await;
        let db = Db::with_options(connect.clone(), 4);
        let merchant_id = default_merchant(&pool).await;
        let mut replicas = vec![];
        for number in 0..options.replicas {
            let connect = if number < options.proxied {
                proxy.through(connect.clone())
            } else {
                connect.clone()
            };
            replicas.push(replica(&connect, &simulator, &options).await);
        }
        let key = api_key(
            &db,
            TenantScope::Merchant(merchant_id),
            &[
                Scope::PaymentsWrite,
                Scope::PaymentsRead,
                Scope::RefundsWrite,
            ],
        )
        .await;
        let till = Caller::new(&replicas[0].url, &key);
        let operator = {
            let key = api_key(
                &db,
                TenantScope::Merchant(merchant_id),
                &[Scope::Operations],
            )
            .await;
            Caller::new(&replicas[0].url, &key)
        };
        sqlx::raw_sql(CLOCK_OF_TEST)
            .execute(&pool)
            .await
            .expect("the database gets a clock");
        let mut world = Self {
            simulator,
            replicas,
            pool,
            connect,
            db,
            merchant_id,
            till,
            operator,
            #[cfg(feature = "failpoints")]
            readers: vec![],
            parked: 0,
            proxy,
            now: options.now,
            #[cfg(feature = "failpoints")]
            options: Box::new(options.clone()),
            dead: vec![],
            finished: false,
        };
        world.set_clock(options.now).await;
        world
    }

    /// Where the clock stands.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// A caller of a replica with scopes of its own.
    pub(crate) async fn caller(&self, replica: usize, scopes: &[Scope]) -> Caller {
        let key = api_key(&self.db, TenantScope::Merchant(self.merchant_id), scopes).await;
        Caller::new(&self.replicas[replica].url, &key)
    }

    /// The operator of the gateway, who sees all merchants, with scopes of its own.
    pub(crate) async fn overseer(&self, scopes: &[Scope]) -> Caller {
        let key = api_key(&self.db, TenantScope::Operator, scopes).await;
        Caller::new(&self.replicas[0].url, &key)
    }

    /// Moves the gateways', the database's and Alipay's clock.
    pub(crate) async fn advance(&mut self, by: TimeDelta) {
        self.set_clock(self.now + by).await;
    }

    /// Sets all three clocks.
    pub(crate) async fn set_clock(&mut self, to: DateTime<Utc>) {
        self.now = to;
        for replica in &self.replicas {
            replica.clock.set(to + replica.wrong_by);
        }
        sqlx::query_scalar::<_, DateTime<Utc>>("update clock_of_test set now = $1 returning now")
            .bind(to)
            .fetch_one(&self.pool)
            .await
            .expect("the database's clock moves");
        // Last: what Alipay notifies of because of the time is taken by gateways that live in it.
        self.simulator.set_clock(to).await;
    }

    /// Makes the clock of one replica wrong from now on.
    pub(crate) fn set_clock_wrong_by(&mut self, replica: usize, by: TimeDelta) {
        let replica = &mut self.replicas[replica];
        replica.wrong_by = by;
        replica.clock.set(self.now + by);
    }

    /// What the proxied gateways reach Postgres through.
    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// A number from the database.
    pub(crate) async fn count_rows(&self, sql: &'static str) -> i64 {
        let count = sqlx::query_scalar(sql).fetch_one(&self.pool).await;
        count.expect("the database answers")
    }

    /// Runs SQL around the gateway.
    pub(crate) async fn sql(&self, sql: &'static str) {
        let done = sqlx::raw_sql(sql).execute(&self.pool).await;
        done.expect("the database does as told");
    }

    /// Waits until Alipay received this many requests of a service.
    pub(crate) async fn until_received(&self, service: &str, count: usize) {
        let what = format!("{count} times {service}");
        eventually(&what, async || self.simulator.count(service).await >= count).await;
    }

    /// The events of a payment, oldest first.
    pub(crate) async fn events(&self, id: &str) -> Vec<String> {
        let timeline = self.till.timeline(id).await;
        let transitions = timeline.iter().filter(|item| item["type"] == "transition");
        transitions
            .map(|item| item["event"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Waits until no payment is being sent or recorded any more.
    pub(crate) async fn settle_calls(&self) {
        for replica in &self.replicas {
            replica.tasks.close();
            replica.tasks.wait().await;
            replica.tasks.reopen();
        }
    }

    /// Puts a fresh replica in the place of one that is dead or about to be: what the old one had
    /// under way goes no further than its next step.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn replace(&mut self, index: usize) {
        let connect = if index < self.options.proxied {
            self.proxy.through(self.connect.clone())
        } else {
            self.connect.clone()
        };
        let fresh = replica(&connect, &self.simulator, &self.options).await;
        let old = std::mem::replace(&mut self.replicas[index], fresh);
        self.set_clock_wrong_by(index, old.wrong_by);
        old.app.failpoints().kill();
        old.shutdown.hard.cancel();
        // The server's connections are few; what the dead replica had sent takes its effect first.
        old.app.close().await;
        self.dead.push(old);
        if index == 0 {
            self.till = self.till_at(0);
        }
    }

    /// Ends every replica without a word, lets time pass, and puts fresh ones in their place.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn stop_all(&mut self, by: TimeDelta) {
        for replica in &self.replicas {
            replica.app.failpoints().kill();
            replica.shutdown.hard.cancel();
        }
        self.advance(by).await;
        for index in 0..self.replicas.len() {
            self.replace(index).await;
        }
    }

    /// Waits until no replica has anything under way but what is stopped at a point.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn quiet_down(&self) {
        for replica in &self.replicas {
            replica.tasks.close();
            tokio::select! {
                () = replica.tasks.wait() => {}
                _ = replica.app.failpoints().stopped() => {}
            }
            replica.tasks.reopen();
        }
    }

    /// The usual caller, at one replica.
    pub(crate) fn till_at(&self, index: usize) -> Caller {
        self.till.at(&self.replicas[index].url)
    }

    /// An operator, at one replica.
    pub(crate) fn operator_at(&self, index: usize) -> Caller {
        self.operator.at(&self.replicas[index].url)
    }

    /// Waits until every connection of the gateways is idle in its pool: no statement is under way any
    /// more, also none of a task that was dropped.
    pub(crate) async fn connections_are_idle(&self) {
        let busy = "select count(*) from pg_stat_activity
            where application_name like 'alipayhk-gateway%' and datname = current_database()
                and state <> 'idle'";
        // A connection that has just become idle is still being looked at by its pool.
        let seen = AtomicU32::new(0);
        eventually("every connection is idle", async || {
            if self.count_rows(busy).await == 0 {
                return seen.fetch_add(1, Ordering::Relaxed) >= 3;
            }
            seen.store(0, Ordering::Relaxed);
            false
        })
        .await;
    }

    /// `POST` to a route of the operator.
    pub(crate) async fn operate(&self, path: &str, decision: Value) -> Answer {
        let request = self.operator_at(0).request(Method::POST, path);
        Caller::send(request.json_body(&decision)).await
    }

    /// The work-list.
    pub(crate) async fn unresolved(&self) -> Vec<Value> {
        let answer = self.operator_at(0).get("/v1/unresolved").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["items"].as_array().expect("a list").clone()
    }

    /// Visits every follow-up that is due, on the first replica, until none is.
    pub(crate) async fn run_due(&self) {
        self.settle_calls().await;
        // Each visit is planned into the future, so this ends.
        while self.replicas[0].worker.run_once().await > 0 {}
    }

    /// Moves the clock second by second, visiting what is due, until the payment is final.
    pub(crate) async fn run_until_final(&mut self, id: &str, at_most: TimeDelta) -> Value {
        let deadline = self.now + at_most;
        loop {
            self.run_due().await;
            let payment = self.till.payment(id).await;
            if payment["outcome_certainty"] == "final" {
                return payment;
            }
            assert!(self.now < deadline, "not final after {at_most}: {payment}");
            self.advance(TimeDelta::seconds(1)).await;
        }
    }

    /// Moves the clock to when something is due next, and does it. False when nothing is planned.
    pub(crate) async fn run_next(&mut self) -> bool {
        self.run_due().await;
        let due = sqlx::query_scalar::<_, Option<DateTime<Utc>>>(
            "select min(greatest(due_at, leased_until)) from follow_up where parked_at is null",
        )
        .fetch_one(&self.pool)
        .await
        .expect("the database answers");
        let Some(due) = due else {
            return false;
        };
        self.set_clock(due.max(self.now)).await;
        self.run_due().await;
        true
    }

    /// Another merchant, whose store is also called ST01.
    pub(crate) async fn other_merchant(&self) -> MerchantId {
        let merchant_id = MerchantId::mint();
        for statement in [
            "insert into merchant (merchant_id, name, partner, secondary_merchant_id,
                secondary_merchant_name, secondary_merchant_industry, default_store_id)
            select $1, 'Other Cafe', partner, 'SM002', 'Other Cafe Ltd', '5812', 'ST01'
            from merchant where is_default
            returning merchant_id",
            "insert into store (merchant_id, store_id, store_name)
            values ($1, 'ST01', 'Other Cafe Central')
            returning merchant_id",
        ] {
            sqlx::query_scalar::<_, Uuid>(statement)
                .bind(merchant_id.uuid())
                .fetch_one(&self.pool)
                .await
                .expect("another merchant can be made");
        }
        merchant_id
    }

    /// A caller of another merchant.
    pub(crate) async fn stranger(&self) -> Caller {
        let merchant_id = self.other_merchant().await;
        let scopes = [
            Scope::PaymentsWrite,
            Scope::PaymentsRead,
            Scope::RefundsWrite,
        ];
        let key = api_key(&self.db, TenantScope::Merchant(merchant_id), &scopes).await;
        Caller::new(&self.replicas[0].url, &key)
    }

    /// How many rows the tables of payments and refunds hold together.
    pub(crate) async fn rows(&self) -> i64 {
        sqlx::query_scalar(
            "select (select count(*) from payment) + (select count(*) from idempotency_key)
                + (select count(*) from attempt) + (select count(*) from payment_transition)
                + (select count(*) from follow_up) + (select count(*) from recent_scan)
                + (select count(*) from refund) + (select count(*) from refund_transition)
                + (select count(*) from notification)",
        )
        .fetch_one(&self.pool)
        .await
        .expect("the database answers")
    }

    /// Takes a payment with the usual body and the scenario's code, and returns the answer.
    pub(crate) async fn pay(&self, code: &str) -> Answer {
        self.till.pay(code).await
    }

    /// Takes a payment whose outcome is open once its call has ended, and returns it as it then is.
    pub(crate) async fn pay_until_open(&self, code: &str) -> Value {
        let answer = self.till.pay_without_waiting(code).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        self.settle_calls().await;
        let payment = self.till.payment(answer.id()).await;
        assert_eq!(payment["status"], "processing", "{payment}");
        payment
    }

    /// A payment that was taken, and whose answer was lost on the way.
    pub(crate) async fn pay_unheard(&self) -> Answer {
        let open = self.till.pay_without_waiting("2003").await;
        assert_eq!(open.status, 202, "{open:?}");
        self.settle_calls().await;
        open
    }

    /// Ends the test: what must hold of every world is checked here.
    pub(crate) async fn finish(mut self) {
        // Whoever looks for what was in doubt need not go on.
        self.replicas.iter().for_each(Replica::stop);
        self.settle_calls().await;
        assert_invariants(&self.pool, &self.simulator, self.parked).await;
        assert_nothing_leaked(&self.pool).await;
        for replica in self.replicas.iter().chain(&self.dead) {
            replica.shutdown.hard.cancel();
            replica.app.close().await;
        }
        // A database in use cannot be dropped.
        self.db.close().await;
        self.finished = true;
    }

    /// Ends a world that another judge has looked at.
    pub(crate) async fn end_without_checks(mut self) {
        for replica in self.replicas.iter().chain(&self.dead) {
            #[cfg(feature = "failpoints")]
            replica.app.failpoints().kill();
            replica.shutdown.hard.cancel();
            replica.app.close().await;
        }
        self.db.close().await;
        self.finished = true;
    }
}

/// Q14 over everything a test did.
async fn assert_nothing_leaked(pool: &PgPool) {
    leaks::look_at("the database", &leaks::dump(pool).await);
    leaks::assert_none();
}

/// M2, M3, M6, M7, C8, C9 over everything a test did.
async fn assert_invariants(pool: &PgPool, simulator: &Simulator, parked_on_purpose: i64) {
    let orphans = sqlx::query_scalar::<_, i64>(
        "select count(*) from payment p where (status in ('processing', 'unresolved') or cancel_reason is not null
                or contradicted_at is not null)
            and (select count(*) from follow_up f where f.subject_id = p.payment_id) <> 1
        union all
        select count(*) from refund r where (status in ('pending', 'unresolved') or contradicted_at is not null)
            and (select count(*) from follow_up f where f.subject_id = r.refund_id) <> 1",
    )
    .fetch_all(pool)
    .await
    .expect("the database answers");
    assert_eq!(
        orphans,
        [0, 0],
        "C8/C9: each open payment and each open refund has exactly one follow-up"
    );
    let parked =
        sqlx::query_scalar::<_, i64>("select count(*) from follow_up where parked_at is not null")
            .fetch_one(pool)
            .await
            .expect("the database answers");
    assert_eq!(parked, parked_on_purpose, "nothing is parked unexpectedly");
    let unplanned = sqlx::query_scalar::<_, i64>(
        "select count(*) from refund r where status in ('pending', 'unresolved')
            and (select count(*) from follow_up f where f.subject_id = r.refund_id) <> 1",
    )
    .fetch_one(pool)
    .await
    .expect("the database answers");
    assert_eq!(
        unplanned, 0,
        "C8/C9: each open refund has exactly one follow-up"
    );
    let wrong_books = sqlx::query_scalar::<_, i64>(
        "select count(*) from payment p where refund_reserved_minor <> (
                select coalesce(sum(amount_minor), 0) from refund r
                where r.payment_id = p.payment_id and status <> 'failed')
            or refunded_minor <> (
                select coalesce(sum(amount_minor), 0) from refund r
                where r.payment_id = p.payment_id and status = 'succeeded')",
    )
    .fetch_one(pool)
    .await
    .expect("the database answers");
    assert_eq!(
        wrong_books, 0,
        "M3: a payment's books are those of its refunds"
    );
    let rows: Vec<(String, String, i64, i64, i64, i64)> = sqlx::query_as(
        "select partner_trans_id, status, amount_minor, refunded_minor, refund_reserved_minor,
            (select coalesce(sum(refund.amount_minor), 0)::bigint from refund
            where refund.payment_id = payment.payment_id and refund.origin = 'portal')
        from payment",
    )
    .fetch_all(pool)
    .await
    .expect("the database answers");
    let mut portal_refunds: HashMap<String, i64> = HashMap::new();
    for refund in simulator.refunds().await {
        if refund["portal"] == true && refund["status"] == "SUCCESS" {
            let id = refund["partner_trans_id"].as_str().unwrap_or_default();
            let amount = refund["amount_minor"].as_i64().unwrap_or(0);
            *portal_refunds.entry(id.to_owned()).or_default() += amount;
        }
    }
    for trade in simulator.trades().await {
        let id = trade["partner_trans_id"]
            .as_str()
            .expect("a trade has an id");
        let row = rows.iter().find(|(ours, ..)| ours == id);
        let (_, status, amount, refunded, reserved, learnt) =
            row.unwrap_or_else(|| panic!("M7: no payment for {id}"));
        assert_eq!(trade["amount_minor"], *amount, "M2: the amount of {id}");
        // A trade that was refunded in full is closed.
        let stands = trade["status"] == "TRADE_SUCCESS" || trade["close_reason"] == "refunded";
        let charged = trade["charged"] == true && stands;
        // What the portal did is in our books where a daily file told of it.
        let by_others = portal_refunds.get(id).copied().unwrap_or(0) - learnt;
        let returned = trade["refunded_minor"].as_i64().expect("an amount") - by_others;
        match status.as_str() {
            "succeeded" => {
                assert!(charged, "M6: {id} is reported paid: {trade}");
                assert!(
                    (*refunded..=*reserved).contains(&returned),
                    "M3: {refunded} to {reserved} of {id} went back: {trade}"
                );
            }
            // What the portal refunded in full is closed, and no longer paid.
            "canceled" if trade["refunded_minor"] == *amount => {}
            "failed" | "canceled" => assert!(!charged, "M6: {id} is {status}: {trade}"),
            _ => {}
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let ended = self.finished || std::thread::panicking();
        assert!(ended, "a test ends with `world.finish().await`");
    }
}

/// Makes the default merchant, as `migrate` does.
pub(crate) async fn default_merchant(pool: &PgPool) -> MerchantId {
    let owner = roles::as_owner(pool);
    let made = owner.upsert_default_merchant(&merchant()).await;
    owner.close().await;
    made.expect("a merchant")
}

fn merchant() -> DefaultMerchant {
    DefaultMerchant {
        name: "Demo Cafe".to_owned(),
        store: Store {
            store_id: "ST01".to_owned(),
            store_name: "Demo Cafe Central".to_owned(),
            partner: PARTNER.to_owned(),
            secondary_merchant_id: "SM001".to_owned(),
            secondary_merchant_name: "Demo Cafe Ltd".to_owned(),
            secondary_merchant_industry: "5812".to_owned(),
        },
    }
}

/// The secret of keyed hashes.
const SECRET: [u8; 32] = [7; 32];

fn secret() -> SecretKey {
    SecretKey::new(SECRET.to_vec()).expect("32 bytes suffice")
}

pub(crate) async fn api_key(db: &Db, tenant_scope: TenantScope, scopes: &[Scope]) -> String {
    let new = NewApiKey {
        tenant_scope,
        name: "test".to_owned(),
        scopes: scopes.to_vec(),
        expires_at: None,
    };
    let by = AuditActor::command_line("test");
    let made = api_keys::create(db, &secret(), &new, &by).await;
    made.expect("a key is made").key().to_owned()
}

/// Our side of the agreement with the simulator.
pub(crate) fn credentials(sign_type: SignType) -> Credentials {
    let keys = keys();
    let (own, alipays) = (&keys.merchant_private, &keys.alipay_public);
    let credentials = match sign_type {
        SignType::Rsa2 => Credentials::rsa2(own, alipays),
        SignType::Rsa => Credentials::rsa(own, alipays),
        SignType::Md5 => Credentials::md5(alipay::MD5_KEY.as_bytes()),
    };
    credentials.expect("the test keys are good")
}

async fn replica(connect: &PgConnectOptions, simulator: &Simulator, options: &Options) -> Replica {
    let credentials = credentials(options.sign_type);
    let clock = Arc::new(ManualClock::new(options.now));
    let endpoint = options.endpoint.clone();
    let endpoint = endpoint.unwrap_or_else(|| simulator.endpoint());
    let mut settings = AlipaySettings::new(endpoint, PARTNER.to_owned(), credentials);
    let timeouts = Timeouts {
        pay: options.pay_timeout,
        query: options.ask_timeout,
        cancel: options.ask_timeout.max(options.pay_timeout),
        refund: options.ask_timeout.max(options.pay_timeout),
        ..Timeouts::default()
    };
    settings.timeouts = timeouts;
    settings.breaker_calls = options.breaker_calls;
    settings.access_refusals = options.access_refusals;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound address"));
    let notify_url = format!("{url}/alipay/notify/{PARTNER}")
        .parse()
        .expect("a URL");
    let tasks = TaskTracker::new();
    let shutdown = Shutdown::new();
    let connect = options
        .database_port
        .map_or_else(|| connect.clone(), |port| connect.clone().port(port));
    let db = Db::with_limits(connect, options.connections, options.database_limits);
    // One set of points for the whole replica.
    settings.failpoints = db.failpoints.clone();
    let account = Account {
        alipay: Alipay::new(settings, Arc::clone(&clock) as _).expect("the settings are good"),
        refund_plan: RefundPlan::default(),
        notify_url: Some(notify_url),
        limits: MoneyLimits::default(),
        rules: alipayhk_gateway::domain::reconciliation::Rules::default(),
        sftp: options.sftp.clone(),
    };
    let app = App::new(Parts {
        db,
        accounts: Accounts::new(vec![account], RefundPlan::default()),
        clock: Arc::clone(&clock) as _,
        tasks: tasks.clone(),
        stopping: shutdown.soft.clone(),
        secret: secret(),
        plan: options.plan,
        timeouts,
        bounds: options.bounds,
        till_undo: TimeDelta::minutes(15),
        issuer: options.issuer.clone().map(|settings| {
            Issuer::new(settings, Arc::clone(&clock) as _).expect("the settings are good")
        }),
    });
    app.set_workers_running(true);
    let cut = CancellationToken::new();
    let maintenance = Maintenance::new(app.clone());
    let worker = worker(&app, &tasks, &cut);
    let state = HttpState {
        app: app.clone(),
        metrics: metrics::Handle::new(PrometheusBuilder::new().build_recorder().handle()),
        draining: Draining::default(),
    };
    let serving = shutdown.clone();
    TaskTracker::new().spawn(async move {
        serve(
            listener,
            router(state),
            ConnectionLimits::default(),
            &serving,
        )
        .await;
    });
    Replica {
        app,
        worker,
        maintenance,
        url,
        clock,
        wrong_by: TimeDelta::zero(),
        tasks,
        shutdown,
        #[cfg(feature = "failpoints")]
        cut,
    }
}

fn worker(app: &App, tasks: &TaskTracker, cut: &CancellationToken) -> Workers {
    static WORKERS: AtomicU32 = AtomicU32::new(0);
    let settings = WorkerSettings {
        name: format!("worker-{}", WORKERS.fetch_add(1, Ordering::Relaxed)),
        poll_interval: Duration::from_millis(500),
        lease: Duration::from_secs(45),
        concurrency: 8,
    };
    Workers::new(app.clone(), settings, tasks.clone(), cut.clone())
}

/// Polls until the condition holds; fails the test after 20 s.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "did not happen in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs all at once and collects in order.
pub(crate) async fn all<F>(calls: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F: Future,
{
    let mut pending: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(|context| {
        let mut open = false;
        for (call, output) in &mut pending {
            if output.is_none() {
                match call.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => open = true,
                }
            }
        }
        if open {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    pending
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}
