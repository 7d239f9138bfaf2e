//! Alipay's daily files, fetched from a real OpenSSH server on loopback; what no honest server does is
//! done by one in the test's process.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alipayhk_gateway::{
    alipay::sftp::{Login, RSA, SftpSettings},
    app::reconciliation::{Fetched, FileOutcome},
    domain::audit::AuditActor,
};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{
    Options, PARTNER, World, eventually,
    fake_sftp::{FakeSftp, Manner},
    program::{Stage, gateway_command},
    sshd::{Sshd, keygen, pin, usually},
};

/// A time in GMT+8. The world begins on Friday, 2026-01-02.
fn at(text: &str) -> DateTime<Utc> {
    format!("{text}:00+08:00").parse().expect("an instant")
}

async fn world(pool: PgPool, settings: SftpSettings) -> World {
    world_of(pool, settings, 1).await
}

async fn world_of(pool: PgPool, settings: SftpSettings, replicas: usize) -> World {
    let options = Options {
        replicas,
        sftp: Some(usually(settings)),
        ..Options::default()
    };
    World::start_with(pool, options).await
}

async fn fetch_due(world: &World) -> usize {
    world.replicas[0].app.fetch_due_files("first").await
}

/// Fetches now, as a person does.
async fn fetch_now(world: &World) -> Fetched {
    let app = &world.replicas[0].app;
    let fetched = app.fetch_files_now(PARTNER, None, AuditActor::command_line("test"));
    fetched.await.expect("nobody else fetches")
}

/// The outcome of one file.
fn outcome<'f>(fetched: &'f Fetched, kind: &str, day: &str) -> &'f FileOutcome {
    let name = format!("{PARTNER}_{kind}_{day}.txt");
    let found = fetched.files.iter().find(|(of, _)| *of == name);
    &found.unwrap_or_else(|| panic!("{name}: {fetched:?}")).1
}

fn error(fetched: &Fetched) -> &str {
    fetched
        .error
        .as_deref()
        .unwrap_or_else(|| panic!("it went well: {fetched:?}"))
}

/// A file as the simulator makes it, laid out where the gateway looks.
async fn lay_out(world: &World, sshd: &Sshd, kind: &str, day: &str) {
    let bytes = world.simulator.daily_file(kind, day).await;
    sshd.put_daily(kind, day, &bytes.expect("a file"));
}

async fn versions(world: &World) -> Vec<(String, Option<i32>)> {
    sqlx::query_as("select name, version from statement_file order by name, version")
        .fetch_all(&world.pool)
        .await
        .expect("the database answers")
}

fn name(kind: &str, day: &str) -> String {
    format!("{PARTNER}_{kind}_{day}.txt")
}

#[sqlx::test]
async fn both_files_are_fetched_by_the_clock_imported_and_agree_and_the_same_again_is_not_fetched(
    pool: PgPool,
) {
    let Some(sshd) = Sshd::start().await else {
        return;
    };
    let mut world = world(pool, sshd.settings()).await;
    world.pay("0001").await;
    world.pay("0001").await;
    // Friday's sales are settled on Monday, and the file comes on Tuesday.
    world.set_clock(at("2026-01-06T10:14")).await;
    lay_out(&world, &sshd, "transaction", "20260102").await;
    lay_out(&world, &sshd, "settlement", "20260105").await;
    world.set_clock(at("2026-01-06T10:15")).await;
    assert_eq!(fetch_due(&world).await, 1);
    let both = [
        (name("settlement", "20260105"), Some(1)),
        (name("transaction", "20260102"), Some(1)),
    ];
    assert_eq!(versions(&world).await, both);
    let agree =
        "select count(*) from reconciliation where source = 'sftp' and completed_at is not null
        and by->>'kind' = 'schedule'
        and not exists (select from reconciliation_difference as d
            where d.reconciliation_id = reconciliation.reconciliation_id)";
    assert_eq!(world.count_rows(agree).await, 2);
    // The try is made; the next is an hour later.
    assert_eq!(fetch_due(&world).await, 0);
    world.set_clock(at("2026-01-06T11:14")).await;
    assert_eq!(fetch_due(&world).await, 0);
    world.set_clock(at("2026-01-06T11:15")).await;
    let fetched =
        "select count(*) from daily_fetch_file where fetched_at > (db_now() - interval '1 minute')";
    assert_eq!(fetch_due(&world).await, 1);
    assert_eq!(
        world.count_rows(fetched).await,
        0,
        "nothing was fetched again"
    );
    assert_eq!(sshd.logins(), 2);
    world.finish().await;
}

#[sqlx::test]
async fn a_server_with_another_host_key_is_told_nothing(pool: PgPool) {
    let Some(sshd) = Sshd::start().await else {
        return;
    };
    let other = std::fs::read_to_string(sshd.path("stranger.pub")).expect("a file");
    let mut settings = sshd.settings();
    settings.host_keys = vec![pin(&other)];
    let world = world(pool, settings).await;
    let fetched = fetch_now(&world).await;
    let error = error(&fetched);
    let fingerprint = |of: &str| {
        let pin = pin(of).sha256;
        format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(pin))
    };
    let (got, expected) = (fingerprint(&sshd.host_key_line()), fingerprint(&other));
    let words = format!(
        "the host key does not match: got ssh-ed25519 {got}, expected {expected}; nothing was sent"
    );
    assert!(error.starts_with(&words), "{error}");
    eventually("the server says goodbye", async || {
        sshd.log().contains("Connection closed") || sshd.log().contains("disconnect")
    })
    .await;
    assert!(
        !sshd.log().contains("userauth-request"),
        "not even a name was sent"
    );
    world.finish().await;
}

#[sqlx::test]
async fn a_key_that_the_server_does_not_know_is_refused_in_words(pool: PgPool) {
    let Some(sshd) = Sshd::start().await else {
        return;
    };
    let mut settings = sshd.settings();
    settings.login = Login::key(&sshd.path("stranger"), None).expect("a key");
    let world = world(pool, settings).await;
    let fetched = fetch_now(&world).await;
    let words = format!(
        "authentication refused: {} with the key ssh-ed25519 SHA256:",
        sshd.user
    );
    assert!(error(&fetched).starts_with(&words), "{fetched:?}");
    world.finish().await;
}

/// ECDSA is spoken; RSA only by a program that was built with it, and others say how to get one.
#[sqlx::test]
async fn other_kinds_of_keys_are_spoken_or_refused_by_name(pool: PgPool) {
    let Some(ecdsa) = Sshd::start_with("ecdsa").await else {
        return;
    };
    let world = world(pool, ecdsa.settings()).await;
    assert_eq!(fetch_now(&world).await.error, None);
    let rsa = Sshd::start_with("rsa").await.expect("the same program");
    let login = Login::key(&rsa.path("client"), None);
    let mut settings = ecdsa.settings();
    settings.port = rsa.port;
    settings.host_keys = vec![pin(&rsa.host_key_line())];
    if RSA {
        settings.login = login.expect("a key");
        settings.directories = rsa.directories();
        world.replicas[0].fetch_from(usually(settings)).await;
        assert_eq!(fetch_now(&world).await.error, None);
    } else {
        let refused = login.expect_err("an RSA key").to_string();
        assert!(refused.contains("client is an RSA key: "), "{refused}");
        assert!(refused.contains("--features sftp-rsa"), "{refused}");
        world.replicas[0].fetch_from(usually(settings)).await;
        let fetched = fetch_now(&world).await;
        let words = "the server has no host key of a kind that is spoken here, only rsa-sha2-512";
        assert!(error(&fetched).starts_with(words), "{fetched:?}");
        assert!(
            error(&fetched).ends_with("--features sftp-rsa to speak RSA"),
            "{fetched:?}"
        );
    }
    world.finish().await;
}

#[sqlx::test]
async fn a_file_that_is_missing_is_fetched_an_hour_later_and_a_changed_one_is_a_new_version(
    pool: PgPool,
) {
    let Some(sshd) = Sshd::start().await else {
        return;
    };
    let mut world = world(pool, sshd.settings()).await;
    world.pay("0001").await;
    world.set_clock(at("2026-01-03T10:15")).await;
    assert_eq!(fetch_due(&world).await, 1);
    assert_eq!(versions(&world).await, []);
    let bytes = world.simulator.daily_file("transaction", "20260102").await;
    let whole = bytes.expect("a file");
    // It is being written: the first line alone is there, and the names of the columns.
    let ends: Vec<_> = (0..whole.len()).filter(|&i| whole[i] == b'\n').collect();
    sshd.put_daily("transaction", "20260102", &whole[..=ends[1]]);
    world.set_clock(at("2026-01-03T11:15")).await;
    assert_eq!(fetch_due(&world).await, 1);
    let file = name("transaction", "20260102");
    assert_eq!(versions(&world).await, [(file.clone(), Some(1))]);
    sshd.put_daily("transaction", "20260102", &whole);
    world.set_clock(at("2026-01-03T12:15")).await;
    assert_eq!(fetch_due(&world).await, 1);
    assert_eq!(
        versions(&world).await,
        [(file.clone(), Some(1)), (file, Some(2))]
    );
    world.finish().await;
}

/// Its size and its time say that nothing changed, and it is fetched again, because it is not whole.
#[sqlx::test]
async fn a_file_that_lacks_rows_is_fetched_again_until_it_is_whole_and_missed_at_the_last_try(
    pool: PgPool,
) {
    let Some(sshd) = Sshd::start().await else {
        return;
    };
    let mut world = world(pool, sshd.settings()).await;
    let (logged, _guard) = Logged::start();
    let paid = world.pay_unheard().await;
    world.pay("0001").await;
    world.set_clock(at("2026-01-03T10:15")).await;
    let bytes = world.simulator.daily_file("transaction", "20260102").await;
    let whole = bytes.expect("a file");
    // The wallet of its last row is cut.
    sshd.put_daily("transaction", "20260102", &whole[..whole.len() - 2]);
    assert_eq!(fetch_due(&world).await, 1);
    let again = fetch_now(&world).await;
    let FileOutcome::Imported(done) = outcome(&again, "transaction", "20260102") else {
        panic!("{again:?}");
    };
    assert!(done.is_replay && done.report.item.lacks_rows(), "{done:?}");
    let errors = logged.lines().into_iter();
    assert_eq!(errors.filter(|line| line["level"] == "ERROR").count(), 0);
    assert_eq!(
        logged.events("WARN"),
        ["daily_file_not_complete", "daily_file_not_complete"]
    );
    // What is whole in it is in the books.
    assert_eq!(world.till.payment(paid.id()).await["status"], "succeeded");
    world.set_clock(at("2026-01-03T18:00")).await;
    fetch_due(&world).await;
    let friday = ("transaction".to_owned(), "2026-01-02".to_owned());
    assert_eq!(logged.missing(), [friday]);
    sshd.put_daily("transaction", "20260102", &whole);
    world.set_clock(at("2026-01-04T10:15")).await;
    fetch_due(&world).await;
    let file = name("transaction", "20260102");
    assert_eq!(
        versions(&world).await,
        [(file.clone(), Some(1)), (file, Some(2))]
    );
    let unchanged = fetch_now(&world).await;
    let found = outcome(&unchanged, "transaction", "20260102");
    assert!(matches!(found, FileOutcome::Unchanged), "{found:?}");
    world.finish().await;
}

#[sqlx::test]
async fn a_directory_that_vanished_is_passed_over_and_without_any_it_is_said(pool: PgPool) {
    let Some(sshd) = Sshd::start().await else {
        return;
    };
    let mut settings = sshd.settings();
    sshd.remove("download");
    let mut world = world(pool, settings.clone()).await;
    world.pay("0001").await;
    world.set_clock(at("2026-01-03T10:15")).await;
    let bytes = world.simulator.daily_file("transaction", "20260102").await;
    sshd.put(&name("transaction", "20260102"), &bytes.expect("a file"));
    let fetched = fetch_now(&world).await;
    let there = outcome(&fetched, "transaction", "20260102");
    assert!(matches!(there, FileOutcome::Imported(_)), "{fetched:?}");
    let absent = outcome(&fetched, "settlement", "20260102");
    assert!(matches!(absent, FileOutcome::Absent), "{fetched:?}");

    settings.directories.truncate(1);
    let nowhere = settings.directories[0].clone();
    let server = usually(settings).server;
    let refused = server.connect().await.expect_err("no directory");
    assert_eq!(refused.to_string(), format!("no such directory: {nowhere}"));
    world.finish().await;
}

#[sqlx::test]
async fn two_replicas_fetch_once(pool: PgPool) {
    let Some(sshd) = Sshd::start().await else {
        return;
    };
    let mut world = world_of(pool, sshd.settings(), 2).await;
    world.pay("0001").await;
    world.set_clock(at("2026-01-03T10:15")).await;
    lay_out(&world, &sshd, "transaction", "20260102").await;
    let (first, second) = tokio::join!(
        world.replicas[0].app.fetch_due_files("first"),
        world.replicas[1].app.fetch_due_files("second"),
    );
    assert_eq!(first + second, 1);
    assert_eq!(sshd.logins(), 1);
    assert_eq!(versions(&world).await.len(), 1);
    world.finish().await;
}

/// What was imported stays, and is not fetched again; a server that stalls for a moment costs its own files.
#[sqlx::test]
async fn a_replica_that_dies_in_the_middle_is_followed_by_another_when_its_claim_is_over(
    pool: PgPool,
) {
    let Some(sshd) = Sshd::start().await else {
        return;
    };
    let mut world = world_of(pool, sshd.settings(), 2).await;
    world.pay("0001").await;
    world.set_clock(at("2026-01-06T10:15")).await;
    lay_out(&world, &sshd, "transaction", "20260102").await;
    // One file is imported, and the other cannot be read for now.
    lay_out(&world, &sshd, "settlement", "20260105").await;
    sshd.set_mode(
        &format!("download/{}", name("settlement", "20260105")),
        0o000,
    );
    let fetched = fetch_now(&world).await;
    let done = outcome(&fetched, "transaction", "20260102");
    assert!(matches!(done, FileOutcome::Imported(_)), "{fetched:?}");
    let failed = outcome(&fetched, "settlement", "20260105");
    let FileOutcome::Failed(why) = failed else {
        panic!("{fetched:?}");
    };
    assert!(why.contains("Permission denied"), "{why}");
    sshd.set_mode(
        &format!("download/{}", name("settlement", "20260105")),
        0o600,
    );

    // A replica claims the try and is gone.
    let lease = Duration::from_mins(11);
    let try_at = Some(at("2026-01-06T10:15"));
    let claimed = world.db.claim_fetch(PARTNER, "gone", lease, try_at).await;
    let fence = claimed.expect("the database answers").expect("a claim");
    world.set_clock(at("2026-01-06T10:25")).await;
    let second = world.replicas[1].app.clone();
    assert_eq!(second.fetch_due_files("second").await, 0, "it is claimed");
    world.set_clock(at("2026-01-06T10:26")).await;
    assert_eq!(second.fetch_due_files("second").await, 1);
    let both = [
        (name("settlement", "20260105"), Some(1)),
        (name("transaction", "20260102"), Some(1)),
    ];
    assert_eq!(versions(&world).await, both);
    let again =
        "select count(*) from daily_fetch_file where fetched_at > db_now() - interval '1 minute'";
    assert_eq!(world.count_rows(again).await, 1, "the other was known");
    // Should the first come back, its claim is lost.
    assert!(
        !world
            .db
            .hold_fetch(PARTNER, fence, lease)
            .await
            .expect("an answer")
    );
    let ended = world.db.end_fetch(PARTNER, fence, try_at, None).await;
    assert!(!ended.expect("an answer"));
    world.finish().await;
}

/// A replica that is stopped hands its claim back, and the next one need not wait for the lease.
#[sqlx::test]
async fn a_fetch_that_is_cut_is_made_by_another_replica_at_once(pool: PgPool) {
    let fake = FakeSftp::start(Manner::IsSilent, &[]).await;
    let mut world = world_of(pool, fake.settings(), 2).await;
    world.set_clock(at("2026-01-03T10:15")).await;
    let claims = "select count(*) from daily_fetch where leased_until > db_now()";
    {
        let fetching = world.replicas[0].app.fetch_due_files("first");
        tokio::pin!(fetching);
        tokio::select! {
            made = &mut fetching => panic!("the server keeps silent: {made}"),
            () = eventually("it is claimed", async || world.count_rows(claims).await == 1) => {}
        }
        world.replicas[0].stop();
        assert_eq!(fetching.await, 0);
    }
    assert_eq!(world.count_rows(claims).await, 0);
    world.finish().await;
}

#[sqlx::test]
async fn a_silent_server_a_stalled_file_and_a_cut_one_are_told_apart_and_the_rest_is_imported(
    pool: PgPool,
) {
    let mut world = World::start(pool).await;
    world.pay("0001").await;
    world.set_clock(at("2026-01-03T10:15")).await;
    let bytes = world.simulator.daily_file("transaction", "20260102").await;
    let bytes = bytes.expect("a file");
    let path = format!("/download/{}", name("transaction", "20260102"));
    let settlement = format!("/{}", name("settlement", "20260102"));
    let files: &[(&str, &[u8])] = &[(&path, &bytes), (&settlement, b"x")];
    let short = Duration::from_millis(300);

    let silent = FakeSftp::start(Manner::IsSilent, files).await;
    let mut settings = silent.settings();
    settings.connect_timeout = short;
    world.replicas[0].fetch_from(usually(settings)).await;
    let fetched = fetch_now(&world).await;
    assert_eq!(
        error(&fetched),
        "timed out: the greeting took longer than 300 ms"
    );

    let cuts = FakeSftp::start(Manner::Cuts, &files[..1]).await;
    world.replicas[0].fetch_from(usually(cuts.settings())).await;
    let fetched = fetch_now(&world).await;
    let FileOutcome::Failed(why) = outcome(&fetched, "transaction", "20260102") else {
        panic!("{fetched:?}");
    };
    let (came, said) = (bytes.len(), bytes.len() + 10);
    let words = format!("{path} came with {came} bytes instead of {said}: it was cut");
    assert!(why.starts_with(&words), "{why}");
    assert_eq!(versions(&world).await, []);

    let stalls = FakeSftp::start(Manner::StallsAtSettlements, files).await;
    let mut settings = stalls.settings();
    settings.read_timeout = short;
    world.replicas[0]
        .fetch_from(usually(settings.clone()))
        .await;
    let fetched = fetch_now(&world).await;
    assert!(
        error(&fetched).starts_with("timed out: reading a file"),
        "{fetched:?}"
    );
    assert_eq!(
        versions(&world).await,
        [(name("transaction", "20260102"), Some(1))]
    );

    // All of it together is bounded too.
    settings.read_timeout = Duration::from_mins(1);
    settings.fetch_timeout = Duration::from_secs(1);
    world.replicas[0].fetch_from(usually(settings)).await;
    let fetched = fetch_now(&world).await;
    assert_eq!(
        error(&fetched),
        "timed out: all of the fetch took longer than 1000 ms"
    );
    world.finish().await;
}

#[sqlx::test]
async fn a_password_opens_in_one_message_or_in_a_dialogue_and_a_wrong_one_does_not(pool: PgPool) {
    let world = World::start(pool).await;
    for manner in [Manner::Honest, Manner::Asks] {
        let fake = FakeSftp::start(manner, &[]).await;
        world.replicas[0].fetch_from(usually(fake.settings())).await;
        let fetched = fetch_now(&world).await;
        assert_eq!(fetched.error, None, "{manner:?}");
        let mut settings = fake.settings();
        settings.login = Login::Password("open barley".into());
        world.replicas[0].fetch_from(usually(settings)).await;
        let fetched = fetch_now(&world).await;
        let words = format!("authentication refused: {PARTNER} with the password");
        assert_eq!(error(&fetched), words, "{manner:?}");
    }
    world.finish().await;
}

#[sqlx::test]
async fn a_file_that_is_too_long_is_not_taken_and_a_host_that_is_not_there_is_named(pool: PgPool) {
    let world = World::start(pool).await;
    let yesterday = format!("/{}", name("transaction", "20260101"));
    let fake = FakeSftp::start(Manner::Honest, &[(&yesterday, &[b'x'; 65])]).await;
    let mut settings = fake.settings();
    settings.max_bytes = 64;
    world.replicas[0]
        .fetch_from(usually(settings.clone()))
        .await;
    let fetched = fetch_now(&world).await;
    let FileOutcome::Failed(why) = outcome(&fetched, "transaction", "20260101") else {
        panic!("{fetched:?}");
    };
    assert!(
        why.starts_with(&format!("{yesterday} is too long: 65 bytes")),
        "{why}"
    );
    settings.host = "no-such-host.invalid".to_owned();
    world.replicas[0].fetch_from(usually(settings)).await;
    let fetched = fetch_now(&world).await;
    let words = "the name no-such-host.invalid cannot be resolved";
    assert!(error(&fetched).starts_with(words), "{fetched:?}");
    world.finish().await;
}

/// What is logged while this is held.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let logged = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(logged.clone())
            .finish();
        (logged, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines = text.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// What happened to daily files, of one level.
    fn events(&self, level: &str) -> Vec<String> {
        let lines = self.lines().into_iter();
        lines
            .filter(|line| line["level"] == level)
            .filter_map(|line| line["fields"]["event"].as_str().map(str::to_owned))
            .filter(|event| event.starts_with("daily_file"))
            .collect()
    }

    /// The days of the alerts, with their kinds.
    fn missing(&self) -> Vec<(String, String)> {
        self.lines()
            .into_iter()
            .filter(|line: &serde_json::Value| {
                line["level"] == "WARN" && line["fields"]["event"] == "daily_file_missing"
            })
            .map(|line| {
                let field = |name: &str| line["fields"][name].as_str().unwrap_or("?").to_owned();
                (field("kind"), field("day"))
            })
            .collect()
    }
}

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logged {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[sqlx::test]
async fn a_day_with_sales_and_no_file_is_alerted_once_after_the_last_try_and_a_day_without_is_not(
    pool: PgPool,
) {
    let fake = FakeSftp::start(Manner::Honest, &[]).await;
    let mut world = world(pool, fake.settings()).await;
    let (logged, _guard) = Logged::start();
    // Sales on Friday alone; what was not paid is no sale.
    world.pay("0001").await;
    world.pay("1001").await;
    for (time, alerted) in [
        ("2026-01-03T10:15", false),
        ("2026-01-03T17:59", false),
        ("2026-01-03T18:00", true),
        ("2026-01-03T23:59", true),
        ("2026-01-04T18:00", true),
        ("2026-01-05T18:00", true),
    ] {
        world.set_clock(at(time)).await;
        fetch_due(&world).await;
        let friday = ("transaction".to_owned(), "2026-01-02".to_owned());
        let expected = if alerted { vec![friday] } else { vec![] };
        assert_eq!(logged.missing(), expected, "{time}");
    }
    world.finish().await;
}

/// Weekends and holidays put settlements off: the alert is for when none came at all.
#[sqlx::test]
async fn a_settlement_is_missed_only_when_none_came_for_twelve_days(pool: PgPool) {
    let Some(sshd) = Sshd::start().await else {
        return;
    };
    let mut world = world(pool, sshd.settings()).await;
    let (logged, _guard) = Logged::start();
    world.pay("0001").await;
    world.set_clock(at("2026-01-03T12:00")).await;
    lay_out(&world, &sshd, "transaction", "20260102").await;
    fetch_due(&world).await;
    world.set_clock(at("2026-01-14T18:00")).await;
    fetch_due(&world).await;
    assert_eq!(logged.missing(), []);
    world.set_clock(at("2026-01-15T18:00")).await;
    fetch_due(&world).await;
    let friday = ("settlement".to_owned(), "2026-01-02".to_owned());
    assert_eq!(logged.missing(), [friday]);
    // It comes in the end, as one of a later day; nothing is missing any more.
    let bytes = world.simulator.daily_file("settlement", "20260105").await;
    sshd.put_daily("settlement", "20260114", &bytes.expect("a file"));
    world.set_clock(at("2026-01-16T10:15")).await;
    fetch_due(&world).await;
    let kind = alipayhk_gateway::domain::reconciliation::daily_file::FileKind::Settlement;
    assert_eq!(
        world
            .db
            .count_missing_files(kind, 12)
            .await
            .expect("a count"),
        0
    );
    world.finish().await;
}

#[sqlx::test]
async fn the_command_fetches_and_says_what_happened(pool: PgPool) {
    let Some(sshd) = Sshd::start().await else {
        return;
    };
    let stage = Stage::set(pool).await;
    keygen(&sshd.path("locked"), "ed25519", "correct horse");
    std::fs::write(sshd.path("passphrase"), "wrong horse\n").expect("a file");
    let path = |name: &str| sshd.path(name).display().to_string();
    let settings = [
        ("SFTP_HOST", "127.0.0.1".to_owned()),
        ("SFTP_PORT", sshd.port.to_string()),
        ("SFTP_USER", sshd.user.clone()),
        ("SFTP_PRIVATE_KEY_FILE", path("client")),
        ("SFTP_HOST_KEYS", sshd.host_key_line().trim().to_owned()),
        ("SFTP_DIRECTORIES", sshd.directories().join(",")),
    ];
    let run = async |changes: &[(&str, &str)]| {
        let arguments = ["reconcile", "--fetch", "--day", "2026-03-09"];
        let mut command = gateway_command(&arguments, &stage.settings());
        command.envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
        command.envs(changes.iter().copied());
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let output = command.output().await.expect("the program runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (transaction, settlement) = (
        name("transaction", "20260309"),
        name("settlement", "20260309"),
    );
    let (status, said, log) = run(&[]).await;
    assert_eq!(status, Some(0), "{said}{log}");
    assert_eq!(
        said,
        format!("{transaction}: is not there\n{settlement}: is not there\n")
    );

    let payment = serde_json::json!({"alipay_trans_id": "2026030922001304180500771201"});
    let row =
        crate::reconciliation::one_row_at(at("2026-03-09T10:00"), "PAYMENT", &payment, "1.00", "X");
    sshd.put_daily("transaction", "20260309", &row);
    let (status, said, log) = run(&[]).await;
    assert_eq!(status, Some(2), "{said}{log}");
    assert!(
        said.starts_with(&format!("{transaction}: fetched\n{transaction}: 1 rows")),
        "{said}"
    );
    assert!(said.contains("1 unknown_to_us"), "{said}");
    let (status, said, _) = run(&[]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.starts_with(&format!(
        "{transaction}: was imported before and is unchanged\n"
    )));

    let stranger = std::fs::read_to_string(sshd.path("stranger.pub")).expect("a file");
    let (status, said, _) = run(&[("SFTP_HOST_KEYS", stranger.trim())]).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.starts_with(&format!(
            "account {PARTNER}: FAILED: the host key does not match: got "
        )),
        "{said}"
    );

    // What cannot work does not start.
    for (changes, words) in [
        (
            &[("SFTP_HOST_KEYS", "")][..],
            "SFTP_HOST_KEYS: must be given",
        ),
        (
            &[("SFTP_PRIVATE_KEY_FILE", "")],
            "SFTP_PASSWORD_FILE: either a password or a private key",
        ),
        (
            &[("SFTP_HOST", "")],
            "SFTP_PORT: must not be set without SFTP_HOST",
        ),
        (
            &[("SFTP_PRIVATE_KEY_FILE", path("locked").as_str())],
            "locked is encrypted",
        ),
        (
            &[
                ("SFTP_PRIVATE_KEY_FILE", path("locked").as_str()),
                ("SFTP_PASSPHRASE_FILE", path("passphrase").as_str()),
            ],
            "locked is no private key that can be read",
        ),
    ] {
        let (status, _, log) = run(changes).await;
        assert_eq!(status, Some(1), "{log}");
        assert!(log.contains(words), "{words}: {log}");
    }
    // The right passphrase opens it, and then it is the server who does not know the key.
    std::fs::write(sshd.path("passphrase"), "correct horse\n").expect("a file");
    let (status, said, _) = run(&[
        ("SFTP_PRIVATE_KEY_FILE", path("locked").as_str()),
        ("SFTP_PASSPHRASE_FILE", path("passphrase").as_str()),
    ])
    .await;
    assert_eq!(status, Some(1));
    assert!(said.contains("FAILED: authentication refused"), "{said}");
}
