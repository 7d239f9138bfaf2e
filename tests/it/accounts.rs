//! Alipay accounts: several at once, read again while payments go on, and looked after by their keys.

use std::{fs, path::PathBuf};

use alipayhk_gateway::{
    domain::access::principal::Scope,
    keys::{GenerateArgs, generate},
};
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    PARTNER, World,
    alipay::keys,
    http::{Caller, body},
    program::{Program, Stage, gateway_command},
};

/// What the file says in the place of the environment.
const UNSET: [(&str, &str); 3] = [
    ("ALIPAY_ENDPOINT", ""),
    ("ALIPAY_PRIVATE_KEY_FILE", ""),
    ("ALIPAY_PUBLIC_KEY_FILE", ""),
];

/// A directory of one test, with keys that Alipay does not know.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("accounts-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        generate(&GenerateArgs {
            dir: dir.clone(),
            with_alipay: false,
            keep_existing: false,
        })
        .expect("keys can be made");
        Self(dir)
    }

    fn file(&self) -> String {
        self.0.join("accounts.toml").display().to_string()
    }

    /// Writes the file of accounts: one, with these own keys.
    fn write(&self, endpoint: &str, private_keys: &[(&str, &str)]) {
        let mut text = format!(
            "[[account]]\npartner = \"{PARTNER}\"\nendpoint = \"{endpoint}\"\n\
             [[account.alipay_public_key]]\nfile = \"{}\"\n",
            keys().dir.join("alipay_public_key.pem").display(),
        );
        for (file, times) in private_keys {
            for line in [
                "[[account.private_key]]\nfile = \"",
                file,
                "\"\n",
                times,
                "\n",
            ] {
                text.push_str(line);
            }
        }
        fs::write(self.0.join("accounts.toml"), text).expect("the file can be written");
    }

    fn good_key() -> String {
        let path = keys().dir.join("merchant_private_key.pem");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn hang_up(program: &Program) {
    let mut command = tokio::process::Command::new("kill");
    let sent = command.args(["-HUP", &program.pid().to_string()]).status();
    assert!(sent.await.expect("kill runs").success());
}

async fn status_of_a_payment(till: &Caller, key: &str) -> String {
    let made = till.create(key, &body("0001"), 10).await;
    made.body["status"].as_str().unwrap_or_default().to_owned()
}

/// Keys are replaced without a restart: SIGHUP reads them again. A file with faults changes nothing.
#[sqlx::test]
async fn accounts_are_read_again_on_sighup_and_faults_change_nothing(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let folder = Folder::new("sighup");
    let endpoint = stage.simulator.endpoint().to_string();
    folder.write(&endpoint, &[("merchant_private_key.pem", "")]);
    let file = folder.file();
    let changes = [&UNSET[..], &[("ALIPAY_ACCOUNTS_FILE", file.as_str())]].concat();
    let program = stage.gateway(&changes).await;
    let till = stage.till(&program);
    // Alipay knows another key of ours: it refuses the signature, so the outcome is unknown.
    assert_eq!(status_of_a_payment(&till, "unknown").await, "processing");

    folder.write(&endpoint, &[(&Folder::good_key(), "")]);
    hang_up(&program).await;
    program.logged("were read again").await;
    assert_eq!(status_of_a_payment(&till, "known").await, "succeeded");

    fs::write(&file, "[[account]]\npartner = \"1\"\n").expect("the file can be written");
    hang_up(&program).await;
    let refused = program.logged("were not read again").await;
    for fault in [
        "account 1: partner: must be 16 digits",
        "account 1: endpoint: must be given",
        "account 1: private_key: must be given",
    ] {
        assert!(refused.contains(fault), "{refused}");
    }
    assert_eq!(status_of_a_payment(&till, "still").await, "succeeded");
    program.stop().await;
    stage.close().await;
}

/// A code that nobody knew is given its meaning without a release: what Alipay refuses with it fails from
/// then on, with the operator's words. A file that would change what is known changes nothing.
#[sqlx::test]
async fn codes_are_added_on_sighup_and_what_is_known_is_not_changed(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let folder = Folder::new("codes");
    let codes = folder.0.join("codes.toml");
    let write = |text: &str| fs::write(&codes, text).expect("the file can be written");
    let row = |code: &str| {
        format!(
            "[[code]]\nservice = \"pay\"\ncode = \"{code}\"\nmeaning = \"definite\"\n\
             retry = \"other_method\"\nmessage = \"The wallet is being maintained.\"\n"
        )
    };
    write(&row("SOME_OTHER_CODE"));
    let named = codes.display().to_string();
    let program = stage
        .gateway(&[("ALIPAY_CODES_FILE", named.as_str())])
        .await;
    let till = stage.till(&program);
    let refuse = || {
        stage
            .simulator
            .script_refusal("pay", 1, "WALLET_MAINTAINED")
    };
    // What is not known is asked about until it is certain that nothing was created.
    refuse().await;
    let unknown = till.create("unknown", &body("0001"), 60).await;
    assert_eq!(unknown.summary("status"), (201, "canceled"), "{unknown:?}");
    assert_eq!(unknown.body["status_reason"], "never_created");

    write(&row("WALLET_MAINTAINED"));
    hang_up(&program).await;
    program.logged("were read again").await;
    refuse().await;
    let refused = till.create("known", &body("0001"), 10).await;
    assert_eq!(refused.summary("status"), (201, "failed"), "{refused:?}");
    assert_eq!(refused.body["failure"]["code"], "WALLET_MAINTAINED");
    assert_eq!(
        refused.body["failure"]["message"],
        "The wallet is being maintained. Ask the customer for another wallet or payment method."
    );
    assert_eq!(refused.body["next_action"]["type"], "other_method");

    write(&[row("SYSTEM_ERROR"), row("TRADE_HAS_SUCCESS")].concat());
    hang_up(&program).await;
    let kept = program.logged("were not read again").await;
    for fault in [
        "pay SYSTEM_ERROR: the gateway knows this code as unknown",
        "pay TRADE_HAS_SUCCESS: the gateway knows this code as in_progress",
    ] {
        assert!(kept.contains(fault), "{kept}");
    }
    refuse().await;
    assert_eq!(status_of_a_payment(&till, "still").await, "failed");
    program.stop().await;
    stage.close().await;
}

/// What only a trial may have: a published key, a stand-in for Alipay, plain http to other machines.
fn for_a_trial(folder: &Folder) -> String {
    fs::write(
        folder.0.join("md5.key"),
        "0123456789abcdef0123456789abcdef\n",
    )
    .expect("a file");
    let text = format!(
        "[[account]]\npartner = \"2088000000000098\"\nendpoint = \"https://alipay.invalid/gateway.do\"\n\
         sign_type = \"MD5\"\n[[account.md5_key]]\nfile = \"md5.key\"\n\
         [[account]]\npartner = \"{PARTNER}\"\nendpoint = \"http://alipay.invalid/gateway.do\"\n\
         [[account.private_key]]\nfile = \"merchant_private_key.pem\"\n\
         [[account.alipay_public_key]]\nfile = \"{}\"\n",
        keys().dir.join("alipay_public_key.pem").display(),
    );
    fs::write(folder.file(), text).expect("the file can be written");
    folder.file()
}

/// Q13: a release takes no money with what everybody has, and names all of it at once.
#[sqlx::test]
async fn q13_a_release_refuses_test_keys_plain_http_and_default_secrets(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let folder = Folder::new("trial");
    let file = for_a_trial(&folder);
    let mut settings = stage.settings();
    for (name, value) in UNSET {
        settings.push((name.to_owned(), value.to_owned()));
    }
    for (name, value) in [
        ("ALIPAY_ACCOUNTS_FILE", file.as_str()),
        // What a release does where nothing is said.
        ("TRIAL_MODE", "false"),
        (
            "DATABASE_URL",
            "postgres://gateway:change-me@127.0.0.1:5432/gateway",
        ),
    ] {
        settings.push((name.to_owned(), value.to_owned()));
    }
    let output = gateway_command(&["serve"], &settings).output().await;
    let output = output.expect("the program runs");
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success());
    for fault in [
        "5 fault(s)",
        "SECRET_KEY_FILE: the key has fewer than 12 different bytes",
        "DATABASE_URL: the password is one of our examples",
        "account 2088000000000098: the MD5 key is the published one",
        "account 2088000000000001: the endpoint http://alipay.invalid is plain http",
        "alipay_public_key.pem is no key of Alipay's: its private half lies beside it",
        "TRIAL_MODE=true",
    ] {
        assert!(error.contains(fault), "{fault} is missing: {error}");
    }
    for secret in ["change-me", "0123456789abcdef"] {
        assert!(!error.contains(secret), "{error}");
    }

    // A trial may have it all, and is told so each time.
    let changes = [
        &UNSET[..],
        &[
            ("ALIPAY_ACCOUNTS_FILE", file.as_str()),
            ("TRIAL_MODE", "true"),
        ],
    ];
    let program = stage.gateway(&changes.concat()).await;
    program.logged("TRIAL_MODE is on").await;
    for warned in [
        "SECRET_KEY_FILE",
        "is plain http",
        "no key of Alipay's",
        "published one",
    ] {
        program.logged(warned).await;
    }
    program.stop().await;
    stage.close().await;
}

/// Q13: nor does it begin to when it reads its accounts again.
#[sqlx::test]
async fn q13_accounts_that_a_release_would_refuse_are_not_taken_on_sighup(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let folder = Folder::new("later");
    folder.write(
        stage.simulator.endpoint().as_str(),
        &[(&Folder::good_key(), "")],
    );
    let (file, secret) = (folder.file(), folder.0.join("secret.key"));
    let secret = secret.display().to_string();
    let changes = [
        &UNSET[..],
        &[
            ("ALIPAY_ACCOUNTS_FILE", file.as_str()),
            ("TRIAL_MODE", "false"),
            ("SECRET_KEY_FILE", secret.as_str()),
        ],
    ];
    let program = stage.gateway(&changes.concat()).await;
    for_a_trial(&folder);
    hang_up(&program).await;
    let refused = program.logged("were not read again").await;
    assert!(refused.contains("is plain http"), "{refused}");
    program.stop().await;
    stage.close().await;
}

/// Payments that are under way while accounts are read again end with those they began with.
#[sqlx::test]
async fn no_payment_fails_while_accounts_are_read_again(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let folder = Folder::new("load");
    let endpoint = stage.simulator.endpoint().to_string();
    let good = Folder::good_key();
    folder.write(&endpoint, &[(&good, "")]);
    let file = folder.file();
    let changes = [&UNSET[..], &[("ALIPAY_ACCOUNTS_FILE", file.as_str())]].concat();
    let program = stage.gateway(&changes).await;
    let mut tills = tokio::task::JoinSet::new();
    for number in 0..4 {
        let till = stage.till(&program);
        tills.spawn(async move {
            let mut ended = Vec::new();
            for payment in 0..10 {
                ended.push(status_of_a_payment(&till, &format!("{number}-{payment}")).await);
            }
            ended
        });
    }
    for _ in 0..5 {
        // Another key whose time is over, and one whose time has not come, disturb nothing.
        folder.write(
            &endpoint,
            &[
                (&good, ""),
                (
                    "merchant_private_key.pem",
                    "not_after = 2020-01-01T00:00:00Z",
                ),
                (
                    "merchant_private_key.pem",
                    "not_before = 2999-01-01T00:00:00Z",
                ),
            ],
        );
        hang_up(&program).await;
        tokio::task::yield_now().await;
    }
    program.logged("were read again").await;
    let ended = tills.join_all().await.concat();
    assert_eq!(ended.len(), 40);
    assert!(
        ended.iter().all(|status| status == "succeeded"),
        "{ended:?}"
    );
    program.stop().await;
    stage.close().await;
}

/// Two accounts named at once, or the same twice: clear words at the start.
#[sqlx::test]
async fn a_file_beside_the_one_account_of_the_environment_is_refused(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let folder = Folder::new("beside");
    folder.write("http://127.0.0.1:1/", &[("merchant_private_key.pem", "")]);
    let mut settings = stage.settings();
    settings.push(("ALIPAY_ACCOUNTS_FILE".to_owned(), folder.file()));
    let output = gateway_command(&["serve"], &settings)
        .output()
        .await
        .expect("the program runs");
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success());
    for name in ["ALIPAY_ENDPOINT", "ALIPAY_PRIVATE_KEY_FILE"] {
        let fault = format!("{name}: must not be set beside ALIPAY_ACCOUNTS_FILE");
        assert!(error.contains(&fault), "{error}");
    }
    stage.close().await;
}

/// A merchant whose account is not configured: nothing is stored, and a repeat of what was is answered.
#[sqlx::test]
async fn a_payment_to_an_account_that_is_not_configured_stores_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.till.create("key-1", &body("0001"), 10).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"));
    world
        .sql("update merchant set partner = '2088000000000099'")
        .await;
    let elsewhere = world.stranger().await;
    let rows = world.rows().await;
    let refused = elsewhere.create("key-1", &body("0001"), 0).await;
    assert_eq!(refused.summary("code"), (503, "account_not_configured"));
    assert_eq!(refused.body["attempted"], "false");
    assert_eq!(world.rows().await, rows, "nothing was stored");
    world.finish().await;
}

/// S4: what an account that is no longer configured owes stays owed, and is found out as soon as it is
/// back: a fault of the environment parks nothing, however often it is met.
#[sqlx::test]
async fn a_payment_whose_account_is_gone_is_never_parked_and_settled_once_it_is_back(pool: PgPool) {
    let mut world = World::start(pool).await;
    let unheard = world.pay_unheard().await;
    let app = world.replicas[0].app.clone();
    let accounts = app.accounts();
    let account = (*accounts[PARTNER]).clone();
    app.replace_accounts(vec![]).await;
    for _ in 0..30 {
        world.advance(TimeDelta::hours(1)).await;
        world.run_due().await;
    }
    let waiting = "select count(*) from follow_up where parked_at is null
        and last_error = 'no Alipay account 2088000000000001 is configured'";
    assert_eq!(world.count_rows(waiting).await, 1);
    assert_eq!(world.simulator.count("query").await, 0, "nobody was asked");
    let waits = world.till.payment(unheard.id()).await;
    assert_eq!(waits["outcome_certainty"], "unknown", "{waits}");

    app.replace_accounts(vec![account]).await;
    // No clock is moved: it is due at once.
    world.run_due().await;
    let settled = world.till.payment(unheard.id()).await;
    assert_eq!(settled["status"], "succeeded", "{settled}");
    world.finish().await;
}

#[sqlx::test]
async fn the_operator_sees_accounts_by_their_fingerprints_and_no_secret(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let list = operator.get("/v1/admin/partners").await;
    assert_eq!(list.status, 200, "{list:?}");
    let account = &list.body["items"][0];
    assert_eq!(account["partner"], PARTNER);
    assert_eq!(account["can_sign"], true);
    assert_eq!(account["endpoint_host"], "127.0.0.1");
    let roles: Vec<(&Value, &Value)> = account["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| (&key["role"], &key["state"]))
        .collect();
    assert_eq!(
        roles,
        [
            (&json!("own"), &json!("active")),
            (&json!("alipay"), &json!("active"))
        ]
    );
    let text = list.body.to_string();
    for secret in ["PRIVATE", "/keys", "BEGIN"] {
        assert!(!text.contains(secret), "{text}");
    }
    let own = world.caller(0, &[Scope::Admin]).await;
    let refused = own.get("/v1/admin/partners").await;
    assert_eq!(refused.summary("code"), (403, "operator_required"));
    world.finish().await;
}

/// `keys check` names what is wrong in words to act on, and ends with failure where calls would fail.
#[sqlx::test]
async fn keys_check_tells_what_is_wrong_with_each_key(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let folder = Folder::new("check");
    let check = async |arguments: &[&str]| {
        let settings: Vec<(String, String)> = vec![
            ("ALIPAY_ACCOUNTS_FILE".to_owned(), folder.file()),
            ("LOG_FILTER".to_owned(), "error".to_owned()),
        ];
        let output = gateway_command(&[&["keys", "check"], arguments].concat(), &settings)
            .output()
            .await
            .expect("the program runs");
        let text = String::from_utf8(output.stdout).expect("text");
        (output.status.success(), text)
    };
    folder.write("http://127.0.0.1:1/", &[("merchant_private_key.pem", "")]);
    let (good, text) = check(&[]).await;
    assert!(good, "{text}");
    assert!(text.contains("valid, 2048 bits"), "{text}");
    assert!(text.contains("the keys can work"), "{text}");

    folder.write("http://127.0.0.1:1/", &[("merchant_public_key.pem", "")]);
    let (good, text) = check(&[]).await;
    assert!(
        !good && text.contains("it is a public key, but a private key is needed"),
        "{text}"
    );

    let over = "not_after = 2020-01-01T00:00:00Z";
    folder.write("http://127.0.0.1:1/", &[("merchant_private_key.pem", over)]);
    let (good, text) = check(&["--json"]).await;
    let account: Value = serde_json::from_str(&text).expect("one line of JSON");
    assert!(!good && account["usable"] == false, "{account}");
    assert_eq!(account["keys"][0]["state"], "expired");
    let said = account["findings"][0]["text"].as_str().expect("words");
    assert!(said.contains("no key signs now"), "{said}");

    // Our own public key where Alipay's belongs.
    let own_public = folder.0.join("merchant_public_key.pem");
    let text = fs::read_to_string(folder.file()).expect("the file");
    let alipays = keys()
        .dir
        .join("alipay_public_key.pem")
        .display()
        .to_string();
    let mixed_up = text
        .replace(&alipays, &own_public.display().to_string())
        .replace(over, "");
    fs::write(folder.file(), mixed_up).expect("the file can be written");
    let (good, text) = check(&[]).await;
    assert!(!good && text.contains("holds our own public key"), "{text}");
    stage.close().await;
}

/// `keys check --online` asks Alipay one question about nothing for each account, and says in words what
/// is wrong: the key, the partner, the network. No secret is printed.
#[sqlx::test]
async fn keys_check_online_says_what_alipay_says_of_each_account(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let folder = Folder::new("online");
    let check = async |arguments: &[&str]| {
        let settings: Vec<(String, String)> = vec![
            ("ALIPAY_ACCOUNTS_FILE".to_owned(), folder.file()),
            ("LOG_FILTER".to_owned(), "error".to_owned()),
        ];
        let output = gateway_command(
            &[&["keys", "check", "--online"], arguments].concat(),
            &settings,
        )
        .output()
        .await
        .expect("the program runs");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(!text.contains("PRIVATE KEY"), "{text}");
        (output.status.success(), text)
    };
    let endpoint = stage.simulator.endpoint().to_string();
    folder.write(&endpoint, &[(&Folder::good_key(), "")]);
    let (good, text) = check(&[]).await;
    assert!(good, "{text}");
    assert!(text.contains("takes its signature"), "{text}");

    // Alipay knows another key of ours.
    folder.write(&endpoint, &[("merchant_private_key.pem", "")]);
    let (good, text) = check(&["--json"]).await;
    let account: Value = serde_json::from_str(&text).expect("one line of JSON");
    assert!(!good && account["usable"] == false, "{account}");
    let said = account["findings"][0]["text"].as_str().expect("words");
    assert!(said.contains("(ILLEGAL_SIGN): key:"), "{said}");

    let other = fs::read_to_string(folder.file()).expect("the file");
    let other = other.replace(PARTNER, "2088000000000099");
    fs::write(folder.file(), other).expect("the file can be written");
    let (good, text) = check(&[]).await;
    assert!(
        !good && text.contains("(ILLEGAL_PARTNER): partner:"),
        "{text}"
    );

    folder.write("http://127.0.0.1:1/", &[(&Folder::good_key(), "")]);
    let (good, text) = check(&[]).await;
    assert!(!good && text.contains("network: no connection"), "{text}");

    // Faults that need no question are said, and none is asked.
    folder.write(&endpoint, &[("merchant_public_key.pem", "")]);
    let (good, text) = check(&[]).await;
    assert!(!good && text.contains("Alipay was not asked"), "{text}");
    stage.close().await;
}
