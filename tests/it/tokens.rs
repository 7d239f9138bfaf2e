//! Access tokens of an issuer: believed for what they say and no more, refused for every fault, through
//! new keys and an issuer that is down (`docs/invariants.md` Q6).

use std::collections::BTreeSet;

use alipayhk_gateway::{
    app::audit::check,
    clock::{Clock as _, SystemClock},
    domain::{
        access::{principal::Scope, token::TokenFault},
        admission::LoadLimits,
        id::MerchantId,
    },
};
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::support::{
    Options, World, all,
    http::{Answer, Caller},
    issuer::{AUDIENCE, Issuer, OPERATOR, SigningKey, message, token_by_hmac},
    program::Stage,
};

const TILL: [Scope; 3] = [
    Scope::PaymentsWrite,
    Scope::PaymentsRead,
    Scope::RefundsWrite,
];

async fn world(pool: PgPool, issuer: &Issuer) -> World {
    let options = Options {
        issuer: Some(issuer.settings()),
        ..Options::default()
    };
    World::start_with(pool, options).await
}

/// Whoever presents this token.
fn bearer(world: &World, token: &str) -> Caller {
    Caller::new(&world.replicas[0].url, token)
}

/// The usual merchant's claims.
fn claims(world: &World, issuer: &Issuer) -> Value {
    issuer.claims_of(world.now(), world.merchant_id, &TILL)
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    let fields = claims.as_object_mut().expect("an object");
    assert!(fields.remove(name).is_some(), "{name}");
    claims
}

fn assert_refused(answer: &Answer, fault: TokenFault) {
    let what = format!("{fault:?}: {answer:?}");
    assert_eq!(answer.summary("code"), (401, "invalid_token"), "{what}");
    assert_eq!(answer.body["detail"], fault.detail(), "{what}");
    assert_eq!(answer.body["attempted"], "false", "{what}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let challenge = format!(
        "Bearer realm=\"alipayhk-gateway\", error=\"invalid_token\", error_description=\"{}\"",
        fault.detail()
    );
    assert_eq!(answer.header("www-authenticate"), challenge, "{what}");
}

/// Q6: with each kind of key, a token does what its scopes say for its merchant, and nothing else.
#[sqlx::test]
async fn q6_a_token_does_what_its_scopes_say_for_its_merchant(pool: PgPool) {
    let keys = [
        SigningKey::rsa("rsa"),
        SigningKey::ec("ec"),
        SigningKey::ed("ed"),
    ];
    let issuer = Issuer::start(&keys.iter().collect::<Vec<_>>()).await;
    let world = world(pool, &issuer).await;
    let claims = claims(&world, &issuer);
    let mut tokens: Vec<String> = keys.iter().map(|key| key.token(&claims)).collect();
    tokens.push(keys[0].token_under(&json!({"alg": "PS256", "kid": "rsa"}), &claims));
    for token in &tokens {
        let service = bearer(&world, token);
        let paid = service.pay("0001").await;
        assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
        assert_eq!(paid.body["merchant_id"], world.merchant_id.to_string());
        let refund = service.refund(paid.id(), &json!({}), 10).await;
        assert_eq!(refund.summary("status"), (201, "succeeded"), "{refund:?}");
        // The merchant's key sees the same.
        assert_eq!(world.till.payment(paid.id()).await["status"], "succeeded");
        let denied = service.get("/v1/follow-ups").await;
        assert_eq!(denied.summary("code"), (403, "insufficient_scope"));
    }
    // All of them are one subject.
    let subjects = "select count(*) from api_key where subject is not null";
    assert_eq!(world.count_rows(subjects).await, 1);
    assert_eq!(issuer.asked(), 1, "the keys are remembered");
    let list = json!(["payments:read"]);
    let reader = keys[1].token(&with(claims, "scope", list));
    let reader = bearer(&world, &reader);
    assert_eq!(reader.get("/v1/payments").await.status, 200);
    let denied = reader.pay("0001").await;
    assert_eq!(denied.summary("code"), (403, "insufficient_scope"));
    world.finish().await;
}

/// Q6, Q13: whatever is wrong with a token, it is refused, in words that say what and tell nothing;
/// nothing is stored.
#[sqlx::test]
async fn q6_every_fault_of_a_token_is_refused_and_named(pool: PgPool) {
    let (rsa, ec) = (SigningKey::rsa("rsa"), SigningKey::ec("ec"));
    let bound = SigningKey::rsa("only-rs256");
    let elsewhere = SigningKey::rsa("rsa");
    let encrypting = SigningKey::rsa("encrypting");
    let issuer = Issuer::start(&[]).await;
    issuer.publish_as(vec![
        rsa.jwk(),
        ec.jwk(),
        with(bound.jwk(), "alg", json!("RS256")),
        with(encrypting.jwk(), "use", json!("enc")),
        // What cannot be read takes no other key away.
        json!({"kty": "RSA", "kid": "broken", "n": 7}),
        json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0"}),
        json!("no key"),
    ]);
    let world = world(pool, &issuer).await;
    let good = claims(&world, &issuer);
    let now = world.now().timestamp();
    let change = |name: &str, value: Value| rsa.token(&with(good.clone(), name, value));
    let under = |header: Value| rsa.token_under(&header, &good);
    let token = rsa.token(&good);
    let cut = token.rsplit_once('.').expect("two dots").0;
    let (_, rest) = token.split_once('.').expect("a dot");
    let other_claims = message(&rsa.header(), &with(good.clone(), "sub", json!("admin")));
    let signature = token.rsplit_once('.').expect("two dots").1;
    let none = json!({"alg": "none", "kid": "rsa"});
    let hmac = json!({"alg": "HS256", "kid": "rsa"});
    let long = change("padding", json!("x".repeat(8 * 1024)));

    let cases = [
        (
            "expired",
            change("exp", json!(now - 60)),
            TokenFault::Expired,
        ),
        (
            "no end",
            rsa.token(&without(good.clone(), "exp")),
            TokenFault::Malformed,
        ),
        (
            "an end that is no time",
            change("exp", json!("soon")),
            TokenFault::Malformed,
        ),
        (
            "not begun",
            change("nbf", json!(now + 61)),
            TokenFault::NotYetValid,
        ),
        (
            "issued in the future",
            change("iat", json!(now + 61)),
            TokenFault::NotYetValid,
        ),
        (
            "too long a life",
            change("exp", json!(now + 86_401)),
            TokenFault::LivesTooLong,
        ),
        (
            "another issuer",
            change("iss", json!("https://issuer.example")),
            TokenFault::Issuer,
        ),
        (
            "no issuer",
            rsa.token(&without(good.clone(), "iss")),
            TokenFault::Issuer,
        ),
        (
            "a list of issuers",
            change("iss", json!([issuer.url])),
            TokenFault::Issuer,
        ),
        (
            "another audience",
            change("aud", json!("someone")),
            TokenFault::Audience,
        ),
        (
            "other audiences",
            change("aud", json!(["a", "b"])),
            TokenFault::Audience,
        ),
        (
            "no audience",
            rsa.token(&without(good.clone(), "aud")),
            TokenFault::Audience,
        ),
        (
            "no subject",
            rsa.token(&without(good.clone(), "sub")),
            TokenFault::Subject,
        ),
        (
            "an endless subject",
            change("sub", json!("x".repeat(256))),
            TokenFault::Subject,
        ),
        (
            "no merchant",
            rsa.token(&without(good.clone(), "merchant_id")),
            TokenFault::Merchant,
        ),
        (
            "no id of a merchant",
            change("merchant_id", json!("*")),
            TokenFault::Merchant,
        ),
        (
            "a merchant that is not there",
            change("merchant_id", json!(MerchantId::mint().to_string())),
            TokenFault::Merchant,
        ),
        (
            "another's key of the same name",
            elsewhere.token(&good),
            TokenFault::Signature,
        ),
        (
            "other claims",
            format!("{other_claims}.{signature}"),
            TokenFault::Signature,
        ),
        ("no signature", format!("{cut}."), TokenFault::Signature),
        (
            "none",
            format!("{}.", message(&none, &good)),
            TokenFault::Malformed,
        ),
        ("none with a signature", under(none), TokenFault::Malformed),
        (
            "the public key as a secret",
            token_by_hmac(&hmac, &good, &rsa.public_bytes()),
            TokenFault::Algorithm,
        ),
        (
            "a published secret",
            token_by_hmac(&json!({"alg": "HS256", "kid": "secret"}), &good, b"secret"),
            TokenFault::Algorithm,
        ),
        (
            "an algorithm that is not taken",
            under(json!({"alg": "RS512", "kid": "rsa"})),
            TokenFault::Algorithm,
        ),
        (
            "another algorithm than the key's",
            bound.token_under(&json!({"alg": "PS256", "kid": "only-rs256"}), &good),
            TokenFault::Algorithm,
        ),
        (
            "another kind of key",
            under(json!({"alg": "RS256", "kid": "ec"})),
            TokenFault::Algorithm,
        ),
        (
            "no such algorithm",
            under(json!({"alg": "XX256", "kid": "rsa"})),
            TokenFault::Malformed,
        ),
        (
            "an unknown key",
            under(json!({"alg": "RS256", "kid": "unknown"})),
            TokenFault::UnknownKey,
        ),
        (
            "no key among several",
            under(json!({"alg": "RS256"})),
            TokenFault::UnknownKey,
        ),
        (
            "a key that encrypts",
            encrypting.token(&good),
            TokenFault::UnknownKey,
        ),
        (
            "what must be understood",
            under(json!({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": false})),
            TokenFault::Critical,
        ),
        (
            "its own key",
            elsewhere.token_under(
                &json!({"alg": "RS256", "kid": "rsa", "jwk": elsewhere.jwk()}),
                &good,
            ),
            TokenFault::Signature,
        ),
        (
            "a key from an address of its own",
            under(json!({"alg": "RS256", "kid": "unknown", "jku": format!("{}/keys", issuer.url)})),
            TokenFault::UnknownKey,
        ),
        ("too long", long, TokenFault::TooLong),
        ("two parts", cut.to_owned(), TokenFault::Malformed),
        ("five parts", format!("{token}.a.b"), TokenFault::Malformed),
        ("dots", "..".to_owned(), TokenFault::Malformed),
        ("no header", format!("bm8.{rest}"), TokenFault::Malformed),
        (
            "claims that are none",
            rsa.token(&json!("till")),
            TokenFault::Malformed,
        ),
        (
            "a signature that is no base64",
            format!("{cut}.="),
            TokenFault::Malformed,
        ),
    ];
    let rows = world.rows().await;
    let subjects = "select count(*) from api_key";
    let keys = world.count_rows(subjects).await;
    let entries = world.count_rows("select count(*) from audit_log").await;
    let mut told = BTreeSet::new();
    for (what, token, fault) in &cases {
        let answer = bearer(&world, token).pay("0001").await;
        assert_eq!(
            answer.summary("detail"),
            (401, fault.detail()),
            "{what}: {answer:?}"
        );
        assert_refused(&answer, *fault);
        let text = format!("{answer:?}");
        for secret in [
            token.as_str(),
            &issuer.url,
            AUDIENCE,
            "till-service",
            "mer_",
        ] {
            // The realm is the program's own name.
            let text = text.replace("realm=\\\"alipayhk-gateway", "");
            let text = text.replace("urn:alipayhk-gateway", "");
            assert!(!text.contains(secret), "{what} tells {secret}: {text}");
        }
        told.insert(fault.as_str());
    }
    assert_eq!(world.rows().await, rows, "nothing was stored");
    assert_eq!(world.count_rows(subjects).await, keys);
    let audited = world.count_rows("select count(*) from audit_log").await;
    assert_eq!(audited, entries);
    assert!(world.simulator.requests().await.is_empty());
    // Every fault there is but a revoked subject, which has a test of its own.
    let named: BTreeSet<&str> = TokenFault::ALL.iter().map(|fault| fault.as_str()).collect();
    let untold: Vec<_> = named.difference(&told).copied().collect();
    assert_eq!(untold, ["revoked"]);
    // The one without a fault is believed.
    assert_eq!(bearer(&world, &token).pay("0001").await.status, 201);
    world.finish().await;
}

/// Q6: a token is taken for as long as it says, by the program's clock.
#[sqlx::test]
async fn q6_a_token_ends_when_it_says(pool: PgPool) {
    let key = SigningKey::ec("ec");
    let issuer = Issuer::start(&[&key]).await;
    let mut world = world(pool, &issuer).await;
    let begins = world.now().timestamp() + 120;
    let good = with(claims(&world, &issuer), "nbf", json!(begins));
    // The only key of the issuer need not be named.
    let service = key.token_under(&json!({"alg": "ES256"}), &good);
    let service = bearer(&world, &service);
    let ask = async || service.get("/v1/payments").await;
    assert_refused(&ask().await, TokenFault::NotYetValid);
    world.advance(TimeDelta::seconds(60)).await;
    assert_eq!(ask().await.status, 200, "as the leeway allows");
    world.advance(TimeDelta::seconds(299)).await;
    assert_eq!(ask().await.status, 200, "as the leeway allows");
    world.advance(TimeDelta::seconds(1)).await;
    assert_refused(&ask().await, TokenFault::Expired);
    world.finish().await;
}

/// Q6: a token of a disabled merchant may do what the merchant's API key may: no payments.
#[sqlx::test]
async fn q6_a_token_of_a_disabled_merchant_may_do_what_its_key_may(pool: PgPool) {
    let key = SigningKey::ec("ec");
    let issuer = Issuer::start(&[&key]).await;
    let world = world(pool, &issuer).await;
    let service = bearer(&world, &key.token(&claims(&world, &issuer)));
    let paid = service.pay("0001").await;
    assert_eq!(paid.status, 201, "{paid:?}");
    let operator = world.overseer(&[Scope::Admin]).await;
    let path = format!("/v1/admin/merchants/{}/disable", world.merchant_id);
    let reason = json!({"reason": "closed", "ticket": "OPS-1"});
    let disabled = operator.post(&path, &reason).await;
    assert_eq!(disabled.status, 200, "{disabled:?}");
    let by_key = world.till.pay("0001").await;
    let by_token = service.pay("0001").await;
    assert!(by_key.status >= 400, "{by_key:?}");
    assert_eq!(by_token.summary("code"), by_key.summary("code"));
    let refund = service.refund(paid.id(), &json!({}), 10).await;
    assert_eq!(refund.summary("status"), (201, "succeeded"), "{refund:?}");
    world.finish().await;
}

/// Q6, Q7: the operator's token says so, in words of the configuration; it sees all merchants and
/// makes no payments.
#[sqlx::test]
async fn q6_the_operators_token_looks_after_all_merchants_and_makes_no_payments(pool: PgPool) {
    let key = SigningKey::ed("ed");
    let issuer = Issuer::start(&[&key]).await;
    let world = world(pool, &issuer).await;
    // Without `support:read`, which the operator may have besides.
    let claims = issuer.claims(world.now(), OPERATOR, &Scope::OF_MERCHANT);
    let operator = bearer(&world, &key.token(&claims));
    let partners = operator.get("/v1/admin/partners").await;
    assert_eq!(partners.status, 200, "{partners:?}");
    for denied in [
        operator.pay("0001").await,
        operator.get("/v1/payments").await,
    ] {
        assert_eq!(denied.summary("code"), (403, "insufficient_scope"));
    }
    let merchants = operator.get("/v1/admin/merchants").await;
    assert_eq!(merchants.status, 200, "{merchants:?}");
    world.finish().await;
}

/// Q17: what a token's subject does is audited under its name; it is listed with the API keys, and can
/// be shut out like one, at once, by its merchant's administrator.
#[sqlx::test]
async fn q6_q17_a_subject_is_audited_listed_and_revoked_like_a_key(pool: PgPool) {
    let key = SigningKey::ec("ec");
    let issuer = Issuer::start(&[&key]).await;
    let mut world = world(pool, &issuer).await;
    // The one that is abandoned below.
    world.parked = 1;
    let good = with(
        issuer.claims_of(world.now(), world.merchant_id, &Scope::OF_MERCHANT),
        "sub",
        json!("back-office"),
    );
    let token = key.token(&good);
    let service = bearer(&world, &token);
    let made = json!({"name": "till-9", "scopes": ["payments:read"]});
    let made = service.post("/v1/admin/api-keys", &made).await;
    assert_eq!(made.status, 201, "{made:?}");
    let log = service.get("/v1/admin/audit-log").await;
    let entry = &log.body["items"][0];
    assert_eq!(entry["action"], "api_key.created", "{entry}");
    assert_eq!(entry["by"]["kind"], "jwt", "{entry}");
    let name = format!("back-office of {}", issuer.url);
    assert_eq!(entry["by"]["name"], name, "{entry}");
    // A decision in a statement that knows the id alone.
    let open = world.till.pay_without_waiting("0102").await;
    world.settle_calls().await;
    let rows = service.get("/v1/follow-ups").await;
    let path = format!(
        "/v1/follow-ups/{}/abandon",
        rows.body["items"][0]["id"].as_str().expect("an id")
    );
    let abandoned = service.post(&path, &json!({"reason": "case 7"})).await;
    assert_eq!(abandoned.status, 200, "{abandoned:?} {open:?}");
    let log = service.get("/v1/admin/audit-log").await;
    let entry = &log.body["items"][0];
    assert_eq!(entry["by"]["kind"], "jwt", "{entry}");
    assert_eq!(entry["by"]["name"], name, "{entry}");

    let keys = service.get("/v1/admin/api-keys").await;
    let items = keys.body["items"].as_array().expect("a list");
    let row = items.iter().find(|item| item["kind"] == "jwt");
    let row = row.unwrap_or_else(|| panic!("the subject is listed: {keys:?}"));
    assert_eq!(row["issuer"], issuer.url);
    assert_eq!(row["subject"], "back-office");
    assert_eq!(row["id"], entry["by"]["id"]);
    assert_eq!(row["prefix"], Value::Null);
    let path = format!("/v1/admin/api-keys/{}", row["id"].as_str().expect("an id"));
    let administrator = world.caller(0, &[Scope::Admin]).await;
    let rotated = administrator
        .post(&format!("{path}/rotate"), &json!({}))
        .await;
    assert_eq!(
        rotated.summary("code"),
        (409, "invalid_state"),
        "{rotated:?}"
    );
    let revoked = administrator
        .post(&format!("{path}/revoke"), &Value::Null)
        .await;
    assert_eq!(revoked.summary("status"), (200, "revoked"), "{revoked:?}");
    assert_refused(&service.get("/v1/payments").await, TokenFault::Revoked);
    let fresh = with(good, "iat", json!(world.now().timestamp() - 1));
    let fresh = bearer(&world, &key.token(&fresh));
    assert_refused(&fresh.get("/v1/payments").await, TokenFault::Revoked);
    assert_eq!(world.till.get("/v1/payments").await.status, 200);
    let checked = check(&world.db).await.expect("the log can be read");
    assert_eq!(checked.broken, None);
    world.finish().await;
}

/// Q8: a subject has a rate of its own, whatever tokens it presents.
#[sqlx::test]
async fn q8_a_subject_that_calls_too_fast_is_refused_and_another_is_not(pool: PgPool) {
    let key = SigningKey::ec("ec");
    let issuer = Issuer::start(&[&key]).await;
    let options = Options {
        issuer: Some(issuer.settings()),
        bounds: LoadLimits {
            requests_per_second: 1,
            burst: 2,
            ..Options::default().bounds
        },
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let good = claims(&world, &issuer);
    let mut refused = None;
    // A second would bring one more; fifty requests do not take fifty seconds.
    for number in 0..50 {
        let token = key.token(&with(good.clone(), "jti", json!(number)));
        let answer = bearer(&world, &token).get("/v1/payments").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("it was refused");
    assert_eq!(refused.summary("code"), (429, "rate_limited"));
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    let other = key.token(&with(good, "sub", json!("another-service")));
    assert_eq!(bearer(&world, &other).get("/v1/payments").await.status, 200);
    world.finish().await;
}

/// Q6: many first requests at once record one subject, and none of them fails.
#[sqlx::test]
async fn q6_first_requests_at_once_are_one_subject(pool: PgPool) {
    let key = SigningKey::ec("ec");
    let issuer = Issuer::start(&[&key]).await;
    let world = world(pool, &issuer).await;
    let service = bearer(&world, &key.token(&claims(&world, &issuer)));
    let answers = all((0..20).map(|_| service.get("/v1/payments"))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    let subjects = "select count(*) from api_key where subject is not null";
    assert_eq!(world.count_rows(subjects).await, 1);
    assert_eq!(issuer.asked(), 1, "once for all of them");
    world.finish().await;
}

/// Q6: the issuer changes its keys, and no call fails; tokens of keys that it no longer shows are
/// refused.
#[sqlx::test]
async fn q6_keys_rotate_without_a_failed_call(pool: PgPool) {
    let (old, new) = (SigningKey::rsa("2026"), SigningKey::ec("2027"));
    let issuer = Issuer::start(&[&old]).await;
    let mut world = world(pool, &issuer).await;
    let good = claims(&world, &issuer);
    let (before, after) = (
        bearer(&world, &old.token(&good)),
        bearer(&world, &new.token(&good)),
    );
    assert_eq!(before.get("/v1/payments").await.status, 200);
    world.advance(TimeDelta::seconds(10)).await;
    issuer.publish(&[&old, &new]);
    let asked = issuer.asked();
    let callers = [&before, &after];
    let answers = all((0..40).map(|number| callers[number % 2].get("/v1/payments"))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    assert_eq!(issuer.asked(), asked + 1, "once for all of them");
    issuer.publish(&[&new]);
    world.replicas[0].app.refresh_issuer_keys().await;
    assert_refused(&before.get("/v1/payments").await, TokenFault::UnknownKey);
    assert_eq!(after.get("/v1/payments").await.status, 200);
    world.finish().await;
}

/// Q6, Q8: a flood of tokens with invented keys asks the issuer once, and takes nobody's place.
#[sqlx::test]
async fn q8_a_flood_of_invented_keys_asks_the_issuer_once(pool: PgPool) {
    let (key, next) = (SigningKey::ec("ec"), SigningKey::ec("next"));
    let issuer = Issuer::start(&[&key]).await;
    let mut world = world(pool, &issuer).await;
    let good = claims(&world, &issuer);
    let service = bearer(&world, &key.token(&good));
    assert_eq!(service.get("/v1/payments").await.status, 200);
    world.advance(TimeDelta::seconds(10)).await;
    let asked = issuer.asked();
    let mut flood = JoinSet::new();
    for number in 0..200 {
        let header = json!({"alg": "ES256", "kid": format!("invented-{number}")});
        let caller = bearer(&world, &key.token_under(&header, &good));
        flood.spawn(async move { caller.get("/v1/payments").await });
    }
    assert_eq!(service.get("/v1/payments").await.status, 200);
    for answer in flood.join_all().await {
        assert_refused(&answer, TokenFault::UnknownKey);
    }
    assert_eq!(issuer.asked(), asked + 1);
    // A key that the issuer then shows is found when it may be asked again.
    issuer.publish(&[&key, &next]);
    let newcomer = bearer(&world, &next.token(&good));
    assert_refused(&newcomer.get("/v1/payments").await, TokenFault::UnknownKey);
    world.advance(TimeDelta::seconds(10)).await;
    assert_eq!(newcomer.get("/v1/payments").await.status, 200);
    world.finish().await;
}

/// Q6: while the issuer is down, the keys that are known go on, and what cannot be judged is not
/// believed; what it shows in place of keys changes nothing.
#[sqlx::test]
async fn q6_an_issuer_that_is_down_takes_no_caller_away(pool: PgPool) {
    let (key, next) = (SigningKey::ec("ec"), SigningKey::ec("next"));
    let issuer = Issuer::start(&[&key]).await;
    let mut world = world(pool, &issuer).await;
    let good = claims(&world, &issuer);
    let service = bearer(&world, &key.token(&good));
    let newcomer = bearer(&world, &next.token(&good));
    issuer.set_down(true);
    // Never reached: nobody can be judged, and that is nobody's fault but the issuer's.
    let unknown = service.get("/v1/payments").await;
    assert_eq!(unknown.summary("code"), (503, "service_unavailable"));
    assert_eq!(unknown.body["attempted"], "false");
    assert!(!unknown.header("retry-after").is_empty(), "{unknown:?}");
    assert_eq!(world.till.get("/v1/payments").await.status, 200);
    let ready = world.till.get("/health/ready").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert_eq!(ready.body["degraded"], json!(["access_tokens"]));
    issuer.set_down(false);
    world.advance(TimeDelta::seconds(10)).await;
    assert_eq!(service.get("/v1/payments").await.status, 200);
    let ready = world.till.get("/health/ready").await;
    assert_eq!(ready.body, json!({"status": "ok"}));

    issuer.publish(&[&key, &next]);
    issuer.set_down(true);
    world.advance(TimeDelta::seconds(10)).await;
    assert_refused(&newcomer.get("/v1/payments").await, TokenFault::UnknownKey);
    assert_eq!(service.get("/v1/payments").await.status, 200);
    issuer.set_down(false);
    for strange in [vec![], vec![json!({"kty": "oct", "k": "c2VjcmV0"})]] {
        issuer.publish_as(strange);
        world.replicas[0].app.refresh_issuer_keys().await;
        assert_eq!(service.get("/v1/payments").await.status, 200);
    }
    issuer.publish(&[&key, &next]);
    world.advance(TimeDelta::seconds(10)).await;
    assert_eq!(newcomer.get("/v1/payments").await.status, 200);
    world.finish().await;
}

/// Q6: where no issuer is configured, a token is no key.
#[sqlx::test]
async fn q6_without_an_issuer_no_token_is_believed(pool: PgPool) {
    let key = SigningKey::ec("ec");
    let issuer = Issuer::start(&[&key]).await;
    let world = World::start(pool).await;
    let token = key.token(&claims(&world, &issuer));
    let refused = bearer(&world, &token).get("/v1/payments").await;
    assert_eq!(refused.summary("code"), (401, "invalid_api_key"));
    assert_eq!(issuer.asked(), 0);
    world.finish().await;
}

/// Q6, Q13: the program starts while the issuer is down and says so, finds its keys by its description
/// when it is back, and writes no token anywhere.
#[sqlx::test]
async fn q6_the_program_starts_while_the_issuer_is_down(pool: PgPool) {
    let key = SigningKey::rsa("2026");
    let issuer = Issuer::start(&[&key]).await;
    issuer.set_down(true);
    let stage = Stage::set(pool).await;
    let program = stage
        .gateway(&[
            ("OIDC_ISSUER", &issuer.url),
            ("OIDC_AUDIENCE", AUDIENCE),
            ("LOG_FILTER", "debug"),
        ])
        .await;
    program.logged("issuer's keys could not be read").await;
    let till = stage.till(&program);
    let ready = till.get("/health/ready").await;
    assert_eq!(ready.body["degraded"], json!(["access_tokens"]));
    let paid = till.pay("0001").await;
    assert_eq!(paid.status, 201, "{paid:?}");
    issuer.set_down(false);
    let merchant_id = paid.body["merchant_id"].as_str().expect("an id");
    let claims = issuer.claims(SystemClock.now(), merchant_id, &TILL);
    let token = key.token(&claims);
    let service = Caller::new(&program.url, &token);
    let paid = service.pay("0001").await;
    assert_eq!(paid.status, 201, "{paid:?}");
    let forged = format!("{token}AAAA");
    let refused = Caller::new(&program.url, &forged).pay("0001").await;
    assert_refused(&refused, TokenFault::Signature);
    let scraped = till.get("/metrics").await;
    let scraped = scraped.body.as_str().expect("text");
    assert!(
        scraped.contains("access_tokens_refused_total{reason=\"signature\"} 1"),
        "{scraped}"
    );
    let log = program.log();
    assert!(log.contains("/v1/payments"), "{log}");
    for part in token.split('.') {
        assert!(
            !log.contains(part),
            "the log holds a part of a token: {log}"
        );
        assert!(!scraped.contains(part), "{scraped}");
    }
    program.stop().await;
    stage.finish().await;
}
