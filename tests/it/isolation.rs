//! Nobody where they do not belong: every operation of the document is asked by everybody who may
//! not (`docs/invariants.md` Q6, Q7, D6).
//!
//! The operations come from the generated document. One that this page does not know how to ask
//! fails the tests, so that no route is added without its guard being tried.

use std::collections::BTreeMap;

use alipayhk_gateway::{
    domain::{
        access::principal::{Scope, TenantScope},
        id::MerchantId,
    },
    http::openapi,
};
use chrono::{SecondsFormat, TimeDelta};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::reconciliation::{Desk, one_row_at, order};
use crate::secondary_merchants::{STORE, store_body};
use crate::support::{
    Options, World,
    alipay::{JsonBody as _, client},
    api_key,
    http::{Answer, Caller, body},
    issuer::{Issuer, OPERATOR, SigningKey},
    proxy::Passed,
};

/// What anybody may ask. Alipay's notifications carry a signature instead of a key.
const OPEN: [&str; 6] = [
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /openapi-3.0.json",
    "GET /openapi.json",
    "POST /alipay/notify/{partner}",
];

/// What a merchant's administrator may not ask either.
const OPERATORS_ALONE: [&str; 5] = [
    "GET /v1/admin/partners",
    "POST /v1/admin/merchants",
    "PATCH /v1/admin/merchants/{id}",
    "POST /v1/admin/merchants/{id}/disable",
    "POST /v1/admin/merchants/{id}/enable",
];

/// One operation of the document.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// What a merchant's key must carry.
    scopes: Vec<Scope>,
    /// Of which the operator's key must carry one.
    of_operator: Vec<Scope>,
    takes_body: bool,
}

impl Operation {
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether a merchant's key is needed: the operator makes and reads no payments.
    pub(crate) fn is_merchants(&self) -> bool {
        self.of_operator.is_empty()
    }

    fn is_operators_alone(&self) -> bool {
        OPERATORS_ALONE.contains(&self.name().as_str())
    }

    /// Its path with a subject's ids in it.
    pub(crate) fn path_of(&self, subject: &BTreeMap<&str, String>) -> String {
        if !self.path.contains('{') {
            return self.path.clone();
        }
        let known = subject
            .iter()
            .find(|(prefix, _)| self.path.starts_with(**prefix));
        let (_, id) = known.unwrap_or_else(|| panic!("{}: whose is it?", self.name()));
        let path = self
            .path
            .replace("{id}", id)
            .replace("{secondary_merchant_id}/stores/{store_id}", id)
            .replace("{store_id}", "ST01");
        let path = path.replace("{difference_id}", &subject["difference"]);
        assert!(!path.contains('{'), "{}: what is this part?", self.name());
        path
    }

    /// A body that would be accepted from who may ask.
    pub(crate) fn body(&self) -> Value {
        if !self.takes_body {
            return Value::Null;
        }
        match self.name().as_str() {
            "POST /v1/payments" => body("0001"),
            "POST /v1/payments/cancel" => json!({"idempotency_key": "never-used"}),
            "POST /v1/payments/{id}/refunds" => {
                json!({"amount": {"value": 1, "currency": "HKD"}})
            }
            "POST /v1/payments/{id}/resolve" | "POST /v1/refunds/{id}/resolve" => {
                json!({"status": "failed", "reason": "nothing at Alipay", "ticket": "OPS-1"})
            }
            "POST /v1/follow-ups/{id}/abandon" => json!({"reason": "case 7"}),
            "POST /v1/follow-ups/{id}/snooze" => json!({"until": "2026-01-02T03:30:00.000Z"}),
            "POST /v1/barcodes/inspect" => json!({"barcode": "28763443825664394"}),
            "PUT /v1/secondary-merchants/{secondary_merchant_id}/stores/{store_id}" => store_body(),
            "POST /v1/admin/api-keys" => json!({"name": "till-9", "scopes": ["admin"]}),
            // The second is refused before it is found to be no form.
            "POST /v1/admin/api-keys/{id}/rotate" | "POST /v1/reconciliations" => json!({}),
            "POST /v1/reconciliations/{id}/differences/{difference_id}/acknowledge" => {
                json!({"reason": "known"})
            }
            "POST /v1/admin/merchants" => json!({"external_id": "TEAM-9"}),
            "PATCH /v1/admin/merchants/{id}" => json!({"limits": {"max_refund_minor": 1}}),
            "POST /v1/admin/merchants/{id}/disable" | "POST /v1/admin/merchants/{id}/enable" => {
                json!({"reason": "case 7"})
            }
            "POST /v1/admin/merchants/{id}/stores" => json!({"store_id": "ST09", "name": "Nine"}),
            "PATCH /v1/admin/merchants/{id}/stores/{store_id}" => json!({"disabled": true}),
            name => panic!("{name}: what does it take?"),
        }
    }

    /// A whole request to a path of this operation.
    fn dress(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request
            .header("idempotency-key", "isolation-1")
            .header("x-request-id", "isolation");
        let body = self.body();
        if body.is_null() {
            request
        } else {
            request.json_body(&body)
        }
    }

    pub(crate) async fn ask(&self, caller: &Caller, path: &str) -> Answer {
        Caller::send(self.dress(caller.request(self.method.clone(), path))).await
    }
}

/// Every operation that needs a key.
pub(crate) fn guarded() -> Vec<Operation> {
    let document = openapi::document::document();
    let paths = document["paths"].as_object().expect("an object");
    let mut open = vec![];
    let mut guarded = vec![];
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("an object") {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let security = operation["security"].as_array().expect("a list");
            // The first alternative is the merchants'; the operator's are those that its keys can carry.
            let alternatives: Vec<Vec<Scope>> = security
                .iter()
                .filter_map(|needed| needed["api_key"].as_array())
                .map(|names| {
                    let names = names.iter().map(|name| name.as_str().expect("text"));
                    names
                        .map(|name| Scope::from_name(name).expect("a scope"))
                        .collect()
                })
                .collect();
            let Some(scopes) = alternatives.first().cloned() else {
                open.push(format!("{method} {path}"));
                continue;
            };
            let of_operator = alternatives.into_iter().flatten();
            let of_operator = of_operator.filter(|scope| Scope::OF_OPERATOR.contains(scope));
            guarded.push(Operation {
                method,
                path: path.clone(),
                of_operator: of_operator.collect(),
                scopes,
                takes_body: operation.get("requestBody").is_some(),
            });
        }
    }
    open.sort();
    assert_eq!(open, OPEN, "what anybody may ask is listed here");
    guarded
}

/// A merchant with one of everything, and another one.
pub(crate) struct Stage {
    pub(crate) world: World,
    /// Every scope, of the merchant.
    pub(crate) owner: Caller,
    /// Every scope, of the other merchant: by an API key and by an access token.
    strangers: [Caller; 2],
    issuer: Issuer,
    /// What the issuer signs with.
    signer: SigningKey,
    /// The start of a path, and the id of the merchant's own object there.
    pub(crate) subject: BTreeMap<&'static str, String>,
    /// What an answer to a stranger must not contain.
    secrets: Vec<String>,
}

impl Stage {
    pub(crate) async fn set(pool: PgPool) -> Self {
        let signer = SigningKey::ec("2026");
        let issuer = Issuer::start(&[&signer]).await;
        let options = Options {
            issuer: Some(issuer.settings()),
            proxied: 1,
            // One connection: every statement is prepared once and for all.
            connections: 1,
            ..Options::default()
        };
        let world = World::start_with(pool, options).await;
        let owner = world.caller(0, &Scope::OF_MERCHANT).await;
        let other = world.other_merchant().await;
        let key = api_key(&world.db, TenantScope::Merchant(other), &Scope::OF_MERCHANT).await;
        let token = signer.token(&issuer.claims_of(world.now(), other, &Scope::OF_MERCHANT));
        let strangers = [key, token].map(|key| Caller::new(&world.replicas[0].url, &key));
        for stranger in &strangers {
            let own = stranger.pay("0001").await;
            assert_eq!(own.body["merchant_id"], other.to_string(), "{own:?}");
        }

        let request = body("0001");
        let paid = owner.create("theirs-1", &request, 10).await;
        assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
        let part = json!({"amount": {"value": 100, "currency": "HKD"}});
        let refund = owner.refund_under(paid.id(), "theirs-2", &part, 10).await;
        assert_eq!(refund.status, 201, "{refund:?}");
        let registered = owner.put(STORE, &store_body()).await;
        assert_eq!(registered.status, 202, "{registered:?}");
        let open = owner.pay_without_waiting("0102").await;
        world.settle_calls().await;
        let rows = owner.get("/v1/follow-ups").await;
        let follow_up = text(&rows.body["items"][0]["id"]);
        let key = json!({"name": "till-8", "scopes": ["payments:read"]});
        let key = owner.post("/v1/admin/api-keys", &key).await;

        let (reconciliation, difference) = reconciled(&world, &paid).await;

        let subject = BTreeMap::from([
            ("/v1/payments/", paid.id().to_owned()),
            ("/v1/refunds/", refund.id().to_owned()),
            ("/v1/follow-ups/", follow_up),
            (
                "/v1/secondary-merchants/",
                STORE.replace("/v1/secondary-merchants/", ""),
            ),
            ("/v1/admin/api-keys/", text(&key.body["id"])),
            ("/v1/reconciliations/", reconciliation),
            ("difference", difference),
            ("/v1/admin/merchants/", world.merchant_id.to_string()),
        ]);
        let mut secrets: Vec<String> = subject.values().cloned().collect();
        secrets.extend([
            world.merchant_id.to_string(),
            text(&request["merchant_reference"]),
            text(&paid.body["partner_trans_id"]),
            text(&paid.body["alipay_trans_id"]),
            open.id().to_owned(),
            registered.id().to_owned(),
            text(&open.body["merchant_reference"]),
            "theirs-1".to_owned(),
            "theirs-2".to_owned(),
            "till-8".to_owned(),
        ]);
        Self {
            world,
            owner,
            strangers,
            issuer,
            signer,
            subject,
            secrets,
        }
    }

    /// A token of the merchant's, or of the operator's, with these scopes and changes.
    fn token(&self, whose: &str, scopes: &[Scope], changes: &Value) -> String {
        let mut claims = self.issuer.claims(self.world.now(), whose, scopes);
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        self.signer.token(&claims)
    }

    /// Tokens that are believed of nobody.
    fn dead_tokens(&self) -> [(&'static str, String); 4] {
        let merchant = self.world.merchant_id.to_string();
        let over = self.world.now().timestamp() - 61;
        let token = |changes: Value| self.token(&merchant, &Scope::OF_MERCHANT, &changes);
        let claims = self
            .issuer
            .claims(self.world.now(), &merchant, &Scope::OF_MERCHANT);
        [
            ("an expired token", token(json!({"exp": over}))),
            ("a token for another", token(json!({"aud": "another"}))),
            ("a forged token", SigningKey::ec("2026").token(&claims)),
            (
                "a token of nobody's",
                token(json!({"merchant_id": MerchantId::mint().to_string()})),
            ),
        ]
    }

    /// Fails where an answer tells the stranger something of the merchant's.
    fn assert_tells_nothing(&self, answer: &Answer, asked: &str) {
        let told = answer.body.to_string();
        // A problem names the path that the caller itself wrote.
        let told = told.replace(asked, "");
        for secret in &self.secrets {
            assert!(!told.contains(secret.as_str()), "{asked}: {answer:?}");
        }
    }
}

/// A file of the day before, with a row of the merchant's payment of today: their ids.
async fn reconciled(world: &World, paid: &Answer) -> (String, String) {
    let yesterday = world.now() - TimeDelta::days(1);
    let id = text(&paid.body["partner_trans_id"]);
    let bytes = one_row_at(yesterday, "PAYMENT", &paid.body, "39.25", &id);
    let desk = Desk::new();
    let day = (yesterday + TimeDelta::hours(8))
        .format("%Y%m%d")
        .to_string();
    let app = &world.replicas[0].app;
    let done = app
        .reconcile(
            vec![desk.put("transaction", &day, &bytes)],
            order(false),
            None,
        )
        .await
        .expect("a good file");
    let id = done.report.item.id.expect("an id");
    let operator = world.overseer(&[Scope::Reconciliation]).await;
    let path = format!("/v1/reconciliations/{id}/differences");
    let found = operator.get(&path).await;
    (id.to_string(), text(&found.body["items"][0]["id"]))
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// An id like this one that nothing has.
fn missing(id: &str) -> String {
    if id.contains("/stores/") {
        return format!("SM{0}/stores/ST{0}", Uuid::now_v7().simple());
    }
    let (prefix, _) = id.split_once('_').expect("a prefix");
    format!("{prefix}_{}", Uuid::now_v7().simple())
}

fn assert_refused(answer: &Answer, status: u16, code: &str, who: &str, operation: &Operation) {
    assert_eq!(
        answer.summary("code"),
        (status, code),
        "{who}: {}: {answer:?}",
        operation.name()
    );
}

/// Q6: without a live key that carries the scopes nothing is answered, stored or sent, whatever is
/// asked.
#[sqlx::test]
async fn q6_no_operation_answers_without_a_live_key_that_carries_its_scopes(pool: PgPool) {
    let mut stage = Stage::set(pool).await;
    let url = stage.world.replicas[0].url.clone();
    let expires_at =
        (stage.world.now() + TimeDelta::seconds(60)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let scopes: Vec<&str> = Scope::OF_MERCHANT.into_iter().map(Scope::as_str).collect();
    let new = json!({"name": "till-7", "scopes": scopes, "expires_at": expires_at});
    let expired = stage.owner.post("/v1/admin/api-keys", &new).await;
    let revoked = stage.owner.post("/v1/admin/api-keys", &new).await;
    let revoke = format!("/v1/admin/api-keys/{}/revoke", revoked.id());
    assert_eq!(stage.owner.post(&revoke, &Value::Null).await.status, 200);
    stage.world.run_due().await;
    stage.world.advance(TimeDelta::seconds(61)).await;
    let dead = [
        ("invented", "ahk_nobody".to_owned()),
        ("revoked", text(&revoked.body["key"])),
        ("expired", text(&expired.body["key"])),
    ];
    let operator = stage.world.overseer(&Scope::OF_OPERATOR).await;
    let rows = stage.world.rows().await;
    let audited = "select count(*) from audit_log";
    let entries = stage.world.count_rows(audited).await;
    let calls = stage.world.simulator.requests().await.len();

    let merchant = stage.world.merchant_id.to_string();
    let mut lacking: BTreeMap<Scope, [Caller; 2]> = BTreeMap::new();
    for scope in Scope::OF_MERCHANT {
        let others: Vec<Scope> = Scope::OF_MERCHANT
            .into_iter()
            .filter(|s| *s != scope)
            .collect();
        let token = stage.token(&merchant, &others, &Value::Null);
        let by_key = stage.world.caller(0, &others).await;
        lacking.insert(scope, [by_key, Caller::new(&url, &token)]);
    }
    let dead_tokens = stage.dead_tokens();
    let token = stage.token(OPERATOR, &Scope::ALL, &Value::Null);
    let operators = [operator, Caller::new(&url, &token)];
    let made = i64::try_from(lacking.len()).expect("a few");
    for operation in guarded() {
        let path = operation.path_of(&stage.subject);
        let nameless = client().request(operation.method.clone(), format!("{url}{path}"));
        let answer = Caller::send(operation.dress(nameless)).await;
        assert_refused(
            &answer,
            401,
            "authentication_required",
            "nobody",
            &operation,
        );
        for (who, key) in &dead {
            let answer = operation.ask(&Caller::new(&url, key), &path).await;
            assert_refused(&answer, 401, "invalid_api_key", who, &operation);
        }
        for (who, token) in &dead_tokens {
            let answer = operation.ask(&Caller::new(&url, token), &path).await;
            assert_refused(&answer, 401, "invalid_token", who, &operation);
        }
        let lacking = operation.scopes.iter().flat_map(|scope| {
            let callers = &lacking[scope];
            callers.iter().map(move |caller| (scope, caller))
        });
        for (scope, caller) in lacking {
            let answer = operation.ask(caller, &path).await;
            assert_refused(
                &answer,
                403,
                "insufficient_scope",
                scope.as_str(),
                &operation,
            );
        }
        if !operation.is_merchants() {
            let others = Scope::OF_OPERATOR.into_iter();
            let others: Vec<Scope> = others
                .filter(|scope| !operation.of_operator.contains(scope))
                .collect();
            let token = stage.token(OPERATOR, &others, &Value::Null);
            let answer = operation.ask(&Caller::new(&url, &token), &path).await;
            assert_refused(
                &answer,
                403,
                "insufficient_scope",
                "the operator without the scope",
                &operation,
            );
        }
        for operator in operators.iter().filter(|_| operation.is_merchants()) {
            let answer = operation.ask(operator, &path).await;
            assert_refused(
                &answer,
                403,
                "insufficient_scope",
                "the operator",
                &operation,
            );
        }
    }
    assert_eq!(stage.world.rows().await, rows, "nothing was stored");
    assert_eq!(stage.world.count_rows(audited).await, entries + made);
    assert_eq!(stage.world.simulator.requests().await.len(), calls);
    stage.world.finish().await;
}

/// Q7: another merchant's object is answered exactly like one that does not exist, with the same
/// statements in as many round trips, so that neither the text nor the time tells them apart.
#[sqlx::test]
async fn q7_another_merchants_object_is_like_a_missing_one_in_every_operation(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let rows = stage.world.rows().await;
    let mut tried = 0;
    for (stranger, operation) in stage.asked_by_strangers() {
        if !operation.path.contains('{') {
            continue;
        }
        let real = operation.path_of(&stage.subject);
        let none = stage
            .subject
            .iter()
            .map(|(prefix, id)| (*prefix, missing(id)))
            .collect();
        let none = operation.path_of(&none);
        // Prepares the statements.
        operation.ask(stranger, &none).await;
        let (hidden, work_for_hidden) = stage.measured(stranger, &operation, &real).await;
        let (absent, work_for_absent) = stage.measured(stranger, &operation, &none).await;
        let name = operation.name();
        if operation.is_operators_alone() {
            assert_refused(&absent, 403, "operator_required", "a merchant", &operation);
        } else {
            assert_eq!(absent.status, 404, "{name}: {absent:?}");
        }
        assert_eq!(without_path(&hidden), without_path(&absent), "{name}");
        assert_eq!(work_for_hidden, work_for_absent, "{name}");
        stage.assert_tells_nothing(&hidden, &real);
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
    assert_eq!(stage.world.rows().await, rows, "nothing was stored");
    // Its owner finds it: what was hidden was there.
    for operation in guarded() {
        if operation.path.contains('{') && !operation.is_operators_alone() {
            let path = operation.path_of(&stage.subject);
            let found = operation.ask(&stage.owner, &path).await;
            let name = operation.name();
            assert!(
                ![401, 403, 404, 422].contains(&found.status),
                "{name}: {found:?}"
            );
        }
    }
    stage.world.finish().await;
}

/// Q7, D6: no list shows another merchant's objects, whatever it is filtered by and wherever it
/// begins; what is the operator's alone is nobody else's.
#[sqlx::test]
async fn q7_d6_no_list_shows_what_is_another_merchants(pool: PgPool) {
    let stage = Stage::set(pool).await;
    for (stranger, operation) in stage.asked_by_strangers() {
        if operation.path.contains('{') || operation.method != Method::GET {
            continue;
        }
        let name = operation.name();
        if operation.is_operators_alone() {
            let answer = operation.ask(stranger, &operation.path).await;
            assert_refused(&answer, 403, "operator_required", "a merchant", &operation);
            continue;
        }
        let own = operation.ask(stranger, &operation.path).await;
        assert_eq!(own.status, 200, "{name}: {own:?}");
        stage.assert_tells_nothing(&own, &operation.path);
        let document = openapi::document::document();
        let method = operation.method.as_str().to_lowercase();
        let parameters = document["paths"][&operation.path][method]["parameters"].clone();
        for parameter in parameters.as_array().into_iter().flatten() {
            let parameter = text(&parameter["name"]);
            for secret in &stage.secrets {
                let path = format!("{}?{parameter}={secret}", operation.path);
                let answer = operation.ask(stranger, &path).await;
                stage.assert_tells_nothing(&answer, secret);
            }
        }
        // The owner's place in its list is no place in another's.
        let page = format!("{}?limit=1", operation.path);
        let theirs = operation.ask(&stage.owner, &page).await;
        if let Some(cursor) = theirs.body["next_cursor"].as_str() {
            let path = format!("{page}&cursor={cursor}");
            let answer = operation.ask(stranger, &path).await;
            stage.assert_tells_nothing(&answer, &path);
        }
    }
    stage.world.finish().await;
}

impl Stage {
    /// Every operation that needs a key, with each stranger.
    fn asked_by_strangers(&self) -> impl Iterator<Item = (&Caller, Operation)> {
        let strangers = self.strangers.iter();
        strangers.flat_map(|stranger| {
            let operations = guarded().into_iter();
            operations.map(move |operation| (stranger, operation))
        })
    }

    /// What a stranger is answered, and what the answer cost the database.
    async fn measured(
        &self,
        stranger: &Caller,
        operation: &Operation,
        path: &str,
    ) -> (Answer, Passed) {
        self.world.proxy().reset();
        let answer = operation.ask(stranger, path).await;
        (answer, self.world.proxy().passed())
    }
}

/// All that was answered, but for the path that the caller wrote and the time of day.
fn without_path(answer: &Answer) -> (u16, Value, Vec<(String, String)>) {
    let mut body = answer.body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("instance");
    }
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", "content-length"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), format!("{value:?}")))
        .collect();
    (answer.status, body, headers)
}
