//! A gateway in the test's process over real HTTP, a real Postgres and the real simulator binary.
//! All three clocks are one, and the test moves it by hand.

pub(crate) mod alipay;
pub(crate) mod http;
#[cfg(feature = "failpoints")]
pub(crate) mod oracle;

use std::{sync::Arc, time::Duration};

use alipayhk_gateway::{
    alipay::{
        client::{Alipay, AlipaySettings},
        sign::Credentials,
    },
    app::{App, Deadlines, Parts, directory::create_api_key, hashing::SecretKey},
    clock::ManualClock,
    db::{Db, directory::DefaultMerchant},
    domain::{
        follow_up::Plan,
        id::MerchantId,
        merchant::{Scope, Store},
    },
    http::{Draining, HttpState, metrics, router::router, serve::serve},
    jobs::worker::{Worker, WorkerSettings},
    shutdown::Shutdown,
};
use chrono::{DateTime, TimeDelta, Utc};
use metrics_exporter_prometheus::PrometheusBuilder;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio_util::task::TaskTracker;

use alipay::{Simulator, keys};
use http::{Answer, Caller};

/// The Alipay account of the tests.
pub(crate) const PARTNER: &str = "2088000000000001";

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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replicas: 1,
            now: start_of_test(),
            pay_timeout: Duration::from_secs(10),
            ask_timeout: Duration::from_secs(5),
        }
    }
}

/// One gateway of a world.
pub(crate) struct Replica {
    pub(crate) app: App,
    pub(crate) worker: Worker,
    pub(crate) url: String,
    tasks: TaskTracker,
    shutdown: Shutdown,
}

/// Everything a test talks to.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) replicas: Vec<Replica>,
    /// A way around the gateway, to look and to move the database's clock.
    pub(crate) pool: PgPool,
    pub(crate) db: Db,
    pub(crate) merchant_id: MerchantId,
    /// A caller with the usual scopes.
    pub(crate) till: Caller,
    clock: Arc<ManualClock>,
    now: DateTime<Utc>,
    options: Options,
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
        let connect = (*pool.connect_options()).clone();
        let clock = Arc::new(ManualClock::new(options.now));
        let simulator = Simulator::start(options.now).await;
        let db = Db::with_options(connect.clone(), 4);
        let merchant_id = db
            .upsert_default_merchant(&merchant())
            .await
            .expect("a merchant");
        let mut replicas = vec![];
        for _ in 0..options.replicas {
            replicas.push(replica(&connect, &simulator, &clock, &options).await);
        }
        let key = api_key(
            &db,
            merchant_id,
            &[Scope::PaymentsWrite, Scope::PaymentsRead],
        )
        .await;
        let till = Caller::new(&replicas[0].url, &key);
        let mut world = Self {
            simulator,
            replicas,
            pool,
            db,
            merchant_id,
            till,
            clock,
            now: options.now,
            options: options.clone(),
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
        let key = api_key(&self.db, self.merchant_id, scopes).await;
        Caller::new(&self.replicas[replica].url, &key)
    }

    /// Moves the gateways', the database's and Alipay's clock.
    pub(crate) async fn advance(&mut self, by: TimeDelta) {
        self.set_clock(self.now + by).await;
    }

    /// Sets all three clocks.
    pub(crate) async fn set_clock(&mut self, to: DateTime<Utc>) {
        self.now = to;
        self.clock.set(to);
        self.simulator.set_clock(to).await;
        let body = format!(
            "create or replace function db_now() returns timestamptz language sql stable \
             parallel safe as $$select timestamptz '{}'$$",
            to.to_rfc3339()
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(body))
            .execute(&self.pool)
            .await
            .expect("the database's clock moves");
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
        let connect = (*self.pool.connect_options()).clone();
        let fresh = replica(&connect, &self.simulator, &self.clock, &self.options).await;
        let old = std::mem::replace(&mut self.replicas[index], fresh);
        old.app.failpoints().kill();
        old.shutdown.hard.cancel();
        // The server's connections are few; what the dead replica had sent takes its effect first.
        old.app.close().await;
        self.dead.push(old);
        if index == 0 {
            self.till = self.till_at(0);
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
    #[cfg(feature = "failpoints")]
    pub(crate) fn till_at(&self, index: usize) -> Caller {
        self.till.at(&self.replicas[index].url)
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

    /// Takes a payment with the usual body and the scenario's code, and returns the answer.
    pub(crate) async fn pay(&self, code: &str) -> Answer {
        self.till.pay(code).await
    }

    /// Ends the test: what must hold of every world is checked here.
    pub(crate) async fn finish(mut self) {
        self.settle_calls().await;
        self.assert_invariants().await;
        for replica in &self.replicas {
            replica.shutdown.hard.cancel();
            replica.app.close().await;
        }
        // A database in use cannot be dropped.
        self.db.close().await;
        self.finished = true;
    }

    /// Ends a world that another judge has looked at.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn end_without_checks(mut self) {
        for replica in &self.replicas {
            replica.app.failpoints().kill();
            replica.shutdown.hard.cancel();
            replica.app.close().await;
        }
        self.db.close().await;
        self.finished = true;
    }

    /// M2, M6, M7, C8, C9 over everything the world did.
    async fn assert_invariants(&self) {
        let orphans = sqlx::query_scalar::<_, i64>(
            "select count(*) from payment p where status in ('processing', 'unresolved')
                and (select count(*) from follow_up f where f.subject_id = p.payment_id) <> 1",
        )
        .fetch_one(&self.pool)
        .await
        .expect("the database answers");
        assert_eq!(
            orphans, 0,
            "C8/C9: each open payment has exactly one follow-up"
        );
        let parked = sqlx::query_scalar::<_, i64>(
            "select count(*) from follow_up where parked_at is not null",
        )
        .fetch_one(&self.pool)
        .await
        .expect("the database answers");
        assert_eq!(parked, 0, "nothing is parked unexpectedly");
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as("select partner_trans_id, status, amount_minor from payment")
                .fetch_all(&self.pool)
                .await
                .expect("the database answers");
        for trade in self.simulator.trades().await {
            let id = trade["partner_trans_id"]
                .as_str()
                .expect("a trade has an id");
            let row = rows.iter().find(|(ours, ..)| ours == id);
            let (_, status, amount) = row.unwrap_or_else(|| panic!("M7: no payment for {id}"));
            assert_eq!(trade["amount_minor"], *amount, "M2: the amount of {id}");
            let charged = trade["charged"] == true && trade["status"] == "TRADE_SUCCESS";
            match status.as_str() {
                "succeeded" => assert!(charged, "M6: {id} is reported paid: {trade}"),
                "failed" | "canceled" => assert!(!charged, "M6: {id} is {status}: {trade}"),
                _ => {}
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let ended = self.finished || std::thread::panicking();
        assert!(ended, "a test ends with `world.finish().await`");
    }
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

fn secret() -> SecretKey {
    SecretKey::new(vec![7; 32]).expect("32 bytes suffice")
}

async fn api_key(db: &Db, merchant_id: MerchantId, scopes: &[Scope]) -> String {
    let made = create_api_key(db, &secret(), merchant_id, "test", scopes).await;
    made.expect("a key is made").key.expose_secret().to_owned()
}

async fn replica(
    connect: &PgConnectOptions,
    simulator: &Simulator,
    clock: &Arc<ManualClock>,
    options: &Options,
) -> Replica {
    let keys = keys();
    let credentials = Credentials::rsa2(&keys.merchant_private, &keys.alipay_public)
        .expect("the test keys are good");
    let mut settings = AlipaySettings::new(simulator.endpoint(), PARTNER.to_owned(), credentials);
    settings.pay_timeout = options.pay_timeout;
    settings.query_timeout = options.ask_timeout;
    settings.cancel_timeout = options.ask_timeout.max(options.pay_timeout);
    let deadlines = Deadlines {
        query: settings.query_timeout,
        cancel: settings.cancel_timeout,
    };
    let tasks = TaskTracker::new();
    let shutdown = Shutdown::new();
    let db = Db::with_options(connect.clone(), 8);
    // One set of points for the whole replica.
    settings.failpoints = db.failpoints.clone();
    let app = App::new(Parts {
        db,
        alipay: Alipay::new(settings, Arc::clone(clock) as _).expect("the settings are good"),
        clock: Arc::clone(clock) as _,
        tasks: tasks.clone(),
        stopping: shutdown.soft.clone(),
        secret: secret(),
        plan: Plan::default(),
        deadlines,
    });
    app.set_workers_running(true);
    let worker_settings = WorkerSettings {
        name: "test".to_owned(),
        poll_interval: Duration::from_millis(500),
        lease: Duration::from_secs(45),
        concurrency: 8,
    };
    let worker = Worker::new(app.clone(), worker_settings, tasks.clone());
    let state = HttpState {
        app: app.clone(),
        metrics: metrics::Handle::new(PrometheusBuilder::new().build_recorder().handle()),
        draining: Draining::default(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound address"));
    let serving = shutdown.clone();
    TaskTracker::new().spawn(async move { serve(listener, router(state), &serving).await });
    Replica {
        app,
        worker,
        url,
        tasks,
        shutdown,
    }
}
