//! API keys: made, listed, replaced and revoked, by HTTP and at the terminal.

use alipayhk_gateway::domain::access::principal::Scope;
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, World,
    http::Caller,
    program::{Stage, gateway_command},
};

const KEYS: &str = "/v1/admin/api-keys";

/// A caller with a key that was just handed out.
fn caller(world: &World, made: &Value) -> Caller {
    Caller::new(&world.replicas[0].url, made["key"].as_str().expect("a key"))
}

fn path(made: &Value, verb: &str) -> String {
    format!("{KEYS}/{}{verb}", made["id"].as_str().expect("an id"))
}

#[sqlx::test]
async fn a_key_works_until_it_is_revoked_and_its_text_is_shown_once(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let made = operator
        .post(
            KEYS,
            &json!({
                "name": "till-9",
                "scopes": ["payments:read", "payments:write", "payments:read"],
                "merchant_id": world.merchant_id.to_string(),
            }),
        )
        .await;
    assert_eq!(made.summary("status"), (201, "active"), "{made:?}");
    assert_eq!(made.header("location"), path(&made.body, ""));
    assert_eq!(
        made.body["scopes"],
        json!(["payments:write", "payments:read"])
    );
    let key = made.body["key"].as_str().expect("a key");
    let prefix = made.body["prefix"].as_str().expect("a prefix");
    assert!(key.starts_with(prefix) && prefix.len() == 10, "{prefix}");

    let till = caller(&world, &made.body);
    assert_eq!(till.get("/v1/payments").await.status, 200);
    let read = operator.get(&path(&made.body, "")).await;
    assert_eq!(read.body.get("key"), None, "{read:?}");
    let listed = operator.get(&format!("{KEYS}?active=true")).await;
    assert!(!listed.body.to_string().contains(key), "{listed:?}");

    let revoked = operator
        .post(&path(&made.body, "/revoke"), &Value::Null)
        .await;
    assert_eq!(revoked.summary("status"), (200, "revoked"), "{revoked:?}");
    // At once where it was revoked.
    let refused = till.get("/v1/payments").await;
    assert_eq!(refused.summary("code"), (401, "invalid_api_key"));
    let again = operator
        .post(&path(&made.body, "/revoke"), &Value::Null)
        .await;
    assert_eq!(again.body["revoked_at"], revoked.body["revoked_at"]);

    let log = operator
        .get(&format!(
            "/v1/admin/audit-log?subject={}",
            made.body["id"].as_str().expect("an id")
        ))
        .await;
    let items = log.body["items"].as_array().expect("items");
    let acts: Vec<&Value> = items.iter().map(|item| &item["action"]).collect();
    assert_eq!(acts, ["api_key.revoked", "api_key.created"], "{log:?}");
    assert!(items[0]["by"]["request_id"].is_string(), "{log:?}");
    assert_eq!(items[0]["before"]["revoked_at"], Value::Null);
    assert!(!log.body.to_string().contains(key), "{log:?}");
    world.finish().await;
}

#[sqlx::test]
async fn a_replaced_key_overlaps_with_the_new_one_and_then_ends(pool: PgPool) {
    let options = Options {
        replicas: 2,
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let new = json!({"name": "till-9", "scopes": ["payments:read"],
        "merchant_id": world.merchant_id.to_string()});
    let old = operator.post(KEYS, &new).await;
    let made = operator
        .post(&path(&old.body, "/rotate"), &json!({"overlap_seconds": 60}))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["replaces"], old.body["id"]);
    assert_eq!(made.body["scopes"], old.body["scopes"]);
    let (before, after) = (caller(&world, &old.body), caller(&world, &made.body));
    assert_eq!(before.get("/v1/payments").await.status, 200);
    assert_eq!(after.get("/v1/payments").await.status, 200);

    world.advance(TimeDelta::seconds(61)).await;
    let ended = operator.get(&path(&old.body, "")).await;
    assert_eq!(ended.summary("status"), (200, "expired"), "{ended:?}");
    // A replica believes what it looked up for ten seconds; this one looks it up afresh.
    let elsewhere = world.replicas[1].url.clone();
    let refused = before.at(&elsewhere).get("/v1/payments").await;
    assert_eq!(refused.summary("code"), (401, "invalid_api_key"));
    assert_eq!(after.at(&elsewhere).get("/v1/payments").await.status, 200);

    let too_late = operator.post(&path(&old.body, "/rotate"), &json!({})).await;
    assert_eq!(too_late.summary("code"), (409, "invalid_state"));
    world.finish().await;
}

/// Q7: a merchant's administrator reaches its own keys only, and gives no more than it has.
#[sqlx::test]
async fn q7_a_merchants_administrator_stays_within_its_merchant_and_its_scopes(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let admin = world.caller(0, &[Scope::Admin, Scope::PaymentsRead]).await;
    let stranger = world.stranger().await.get("/v1/payments").await;
    assert_eq!(stranger.status, 200);
    let keys = operator.get(KEYS).await;
    let theirs = keys.body["items"]
        .as_array()
        .expect("items")
        .iter()
        .find(|key| {
            key["merchant_id"] != world.merchant_id.to_string().as_str()
                && key["merchant_id"].is_string()
        })
        .expect("another merchant's key")
        .clone();
    let own = admin.get(KEYS).await;
    assert!(
        !own.body
            .to_string()
            .contains(theirs["id"].as_str().expect("an id"))
    );
    for (verb, body) in [("/revoke", Value::Null), ("/rotate", json!({}))] {
        let refused = admin.post(&path(&theirs, verb), &body).await;
        assert_eq!(refused.summary("code"), (404, "api_key_not_found"));
    }
    assert_eq!(admin.get(&path(&theirs, "")).await.status, 404);

    let made = admin
        .post(
            KEYS,
            &json!({"name": "reader", "scopes": ["payments:read"]}),
        )
        .await;
    assert_eq!(made.body["merchant_id"], world.merchant_id.to_string());
    let more = admin
        .post(
            KEYS,
            &json!({"name": "payer", "scopes": ["payments:write"]}),
        )
        .await;
    assert_eq!(more.summary("code"), (422, "validation_failed"));
    assert_eq!(more.body["errors"][0]["code"], "scope_not_held");
    for body in [
        json!({"name": "x", "scopes": ["admin"], "operator": true}),
        json!({"name": "x", "scopes": ["payments:read"], "merchant_id": theirs["merchant_id"]}),
    ] {
        let refused = admin.post(KEYS, &body).await;
        assert_eq!(
            refused.summary("code"),
            (403, "operator_required"),
            "{body}"
        );
    }
    // A key that may more than its administrator: replacing it would hand that over.
    let writer = operator
        .post(
            KEYS,
            &json!({"name": "payer", "scopes": ["payments:write"],
                "merchant_id": world.merchant_id.to_string()}),
        )
        .await;
    let refused = admin.post(&path(&writer.body, "/rotate"), &json!({})).await;
    assert_eq!(refused.summary("code"), (403, "insufficient_scope"));
    world.finish().await;
}

#[sqlx::test]
async fn every_fault_of_a_key_to_be_made_is_named_at_once(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let faults = async |body: Value| -> Vec<String> {
        let refused = operator.post(KEYS, &body).await;
        assert_eq!(
            refused.summary("code"),
            (422, "validation_failed"),
            "{body}"
        );
        let errors = refused.body["errors"].as_array().expect("errors").clone();
        errors
            .iter()
            .map(|fault| format!("{} {}", fault["pointer"], fault["code"]).replace('"', ""))
            .collect()
    };
    assert_eq!(
        faults(json!({"scopes": ["admin", "pay", 7], "expires_at": "soon", "scope": "x"})).await,
        [
            "/merchant_id required",
            "/name required",
            "/scopes/1 invalid_value",
            "/scopes/2 invalid_value",
            "/expires_at invalid_format",
            "/scope unknown_field",
        ]
    );
    assert_eq!(
        faults(json!({"name": "x", "scopes": ["admin", "refunds:write"], "operator": true})).await,
        ["/scopes out_of_reach"]
    );
    let nobody = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c";
    assert_eq!(
        faults(json!({"name": "x", "scopes": ["admin"], "merchant_id": nobody})).await,
        ["/merchant_id unknown_merchant"]
    );
    let count = "select count(*) from audit_log where action = 'api_key.created'
        and by ->> 'kind' = 'api_key'";
    assert_eq!(world.count_rows(count).await, 0, "nothing was made");
    world.finish().await;
}

#[sqlx::test]
async fn the_last_use_of_a_key_is_noted_to_the_minute(pool: PgPool) {
    let world = World::start(pool).await;
    let operator = world.overseer(&[Scope::Admin]).await;
    let new = json!({"name": "till-9", "scopes": ["payments:read"],
        "merchant_id": world.merchant_id.to_string()});
    let made = operator.post(KEYS, &new).await;
    assert_eq!(made.body["last_used_at"], Value::Null);
    caller(&world, &made.body).get("/v1/payments").await;
    world.replicas[0].app.note_use_of_api_keys().await;
    let used = operator.get(&path(&made.body, "")).await;
    let at = used.body["last_used_at"].as_str().expect("an instant");
    assert!(at.ends_with(":00.000Z"), "{at}");
    world.finish().await;
}

/// The same at the terminal, where the database's URL is the key.
#[sqlx::test]
async fn keys_are_looked_after_at_the_terminal(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let run = async |arguments: &[&str]| {
        let output = gateway_command(arguments, &stage.settings())
            .output()
            .await
            .expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (
            output.status.success(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let create = [
        "api-key",
        "create",
        "--name",
        "ops",
        "--operator",
        "--scopes",
    ];
    let (_, made, _) = run(&[&create[..], &["admin,operations", "--json"]].concat()).await;
    let made: Value = serde_json::from_str(&made).expect("one line of JSON");
    assert_eq!(made["merchant_id"], Value::Null);
    let id = made["id"].as_str().expect("an id");
    let (done, _, error) = run(&[&create[..], &["payments:write"]].concat()).await;
    assert!(
        !done && error.contains("cannot carry payments:write"),
        "{error}"
    );

    let (_, rotated, _) = run(&["api-key", "rotate", id, "--overlap-seconds", "0"]).await;
    assert!(rotated.starts_with("ahk_"), "{rotated}");
    let (done, _, error) = run(&["api-key", "rotate", id]).await;
    assert!(!done && error.contains("expired or revoked"), "{error}");
    let (_, revoked, _) = run(&["api-key", "revoke", id]).await;
    assert!(revoked.contains("revoked"), "{revoked}");
    let (_, list, _) = run(&["api-key", "list", "--active", "--json"]).await;
    assert!(!list.contains(&format!("\"id\":\"{id}\"")), "{list}");
    assert!(list.contains(&format!("\"replaces\":\"{id}\"")), "{list}");
    let unknown = "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c";
    let (done, _, error) = run(&["api-key", "revoke", unknown]).await;
    assert!(!done && error.contains("there is no API key"), "{error}");

    // No name is in the environment: the account's number is.
    let number = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("us"));
    let acts: Vec<Option<String>> =
        sqlx::query_scalar("select distinct by ->> 'name' from audit_log")
            .fetch_all(&stage.pool)
            .await
            .expect("entries");
    assert!(acts.contains(&Some(format!("uid {number}"))), "{acts:?}");

    let (intact, report, _) = run(&["audit", "verify"]).await;
    assert!(intact && report.contains("is intact"), "{report}");
    stage.close().await;
}
