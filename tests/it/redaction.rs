//! A hunt for what must stay in memory: the scanned codes, the buyers' ids, the signatures of requests, the API
//! key, the secret key, the private key and the database's password, in everything the real program leaves behind with every log
//! target at `trace` (`docs/invariants.md` Q13, Q14).

use std::{collections::BTreeSet, fmt::Write as _};

use alipayhk_gateway::domain::accounts::signing::SignType;
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::reconciliation::one_row_at;
use crate::secondary_merchants::{PEOPLE, STORE, store_body};
use crate::support::{
    PARTNER,
    alipay::{JsonBody as _, MD5_KEY, client, keys},
    all,
    http::{Answer, Caller, barcode, body},
    leaks,
    watched::Program,
};

/// Something that must not be found, in every form in which it might stand.
struct Secret {
    name: String,
    forms: Vec<String>,
}

impl Secret {
    /// The forms of a text: as it is, as a list of bytes, in hexadecimal, percent-encoded as in a URL, in base64 at each
    /// offset.
    fn new(name: impl Into<String>, text: &str) -> Self {
        let in_a_url: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let text = squeezed(text.as_bytes());
        let list: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
        let mut forms = vec![
            text.clone(),
            list.join(","),
            hex::encode(&text),
            hex::encode_upper(&text),
            squeezed(in_a_url.as_bytes()),
        ];
        for offset in 0..3 {
            let padded: Vec<u8> = std::iter::repeat_n(0, offset).chain(text.bytes()).collect();
            let encoded = BASE64_STANDARD_NO_PAD.encode(&padded);
            // Letters that the secret alone decides.
            let whole = (offset * 8).div_ceil(6)..padded.len() * 8 / 6;
            forms.push(squeezed(&encoded.as_bytes()[whole]));
        }
        Self {
            name: name.into(),
            forms,
        }
    }

    fn is_in(&self, squeezed: &str) -> bool {
        self.forms.iter().any(|form| squeezed.contains(form))
    }
}

/// Without blanks, their escapes and line breaks, which a code may be written with.
fn squeezed(bytes: &[u8]) -> String {
    let mut squeezed = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, more)) = rest.split_first() {
        rest = match first {
            b' ' | b'+' | b'\n' | b'\r' | b'\t' => more,
            b'%' if more.starts_with(b"20") => &more[2..],
            b'\\' if more.starts_with(b"n") || more.starts_with(b"r") => &more[1..],
            _ => {
                squeezed.push(*first);
                more
            }
        };
    }
    String::from_utf8_lossy(&squeezed).into_owned()
}

/// Hunts for every secret in every place, and first shows in each place that it would find them.
fn hunt(secrets: &[Secret], places: &[(&str, Vec<u8>)]) {
    for (place, bytes) in places {
        assert!(!bytes.is_empty(), "{place} is empty: nothing was hunted");
        let haystack = squeezed(bytes);
        let found: Vec<_> = secrets
            .iter()
            .filter(|secret| secret.is_in(&haystack))
            .map(|secret| &secret.name)
            .collect();
        assert!(found.is_empty(), "{place} holds {found:?}");
        for secret in secrets {
            let mut planted = bytes[..bytes.len().min(100)].to_vec();
            planted.extend_from_slice(secret.forms[0].as_bytes());
            planted.extend_from_slice(b"\"}\n");
            assert!(
                secret.is_in(&squeezed(&planted)),
                "the hunt finds {} in {place}",
                secret.name
            );
        }
    }
}

#[test]
fn the_hunt_finds_a_code_in_every_form() {
    let code = Secret::new("code", "281234567890123456");
    for planted in [
        "x=281234567890123456&y",
        "2812 3456 7890 1234 56",
        "2812%203456+7890 1234\\n56",
        "[50, 56, 49, 50, 51, 52, 53, 54, 55, 56, 57, 48, 49, 50, 51, 52, 53, 54]",
        "0x323831323334353637383930313233343536",
        "MjgxMjM0NTY3ODkwMTIzNDU2",
        "eDI4MTIzNDU2Nzg5MDEyMzQ1Ng==",
        "eHgyODEyMzQ1Njc4OTAxMjM0NTY=",
    ] {
        assert!(code.is_in(&squeezed(planted.as_bytes())), "{planted}");
    }
    for clean in ["28**************56", "281234567890123457", "[50, 56, 49]"] {
        assert!(!code.is_in(&squeezed(clean.as_bytes())), "{clean}");
    }
}

#[test]
fn the_hunt_finds_a_signature_in_xml_in_a_form_and_in_a_log() {
    let signature = Secret::new("signature", "a1+b2/c3==");
    for planted in [
        "<sign>a1+b2/c3==</sign>",
        "&sign=a1%2Bb2%2Fc3%3D%3D&",
        r#"{"sign":"a1+b2/c3=="}"#,
        "a1+b\n2/c3==",
        "a1+b\r\n2/c3==",
    ] {
        assert!(signature.is_in(&squeezed(planted.as_bytes())), "{planted}");
    }
    assert!(!signature.is_in(&squeezed(b"a1+b2/c4==")));
}

/// Everything that was answered, headers included.
#[derive(Default)]
struct Answers {
    text: String,
    codes: Vec<String>,
}

impl Answers {
    async fn keep(&mut self, request: RequestBuilder) -> Value {
        let answer = Caller::send(request).await;
        self.note(&answer);
        answer.body
    }

    fn note(&mut self, answer: &Answer) {
        writeln!(self.text, "{answer:?}").expect("a string takes all");
    }

    /// A code that nobody else has; it will be hunted.
    fn code(&mut self, ending: &str) -> String {
        let code = barcode(ending);
        self.codes.push(code.clone());
        code
    }
}

fn create(till: &Caller, request: &Value) -> RequestBuilder {
    till.request(Method::POST, "/v1/payments")
        .header("idempotency-key", Uuid::now_v7().to_string())
        .header("prefer", "wait=1")
        .json_body(request)
}

/// Payments of every kind; their timelines are read too.
async fn payments(answers: &mut Answers, till: &Caller) -> Vec<String> {
    let endings = [
        "0001", "0002", "0101", "0102", "1016", "1099", "1119", "2001", "2002", "2003", "2004",
        "2006", "2007", "2008", "3001", "3002", "3003", "3004", "3005", "3006", "3007", "3008",
        "3009", "3010", "3011", "3012", "3013", "3014", "3015", "3016", "3017", "3018", "3019",
    ];
    let mut requests = vec![];
    for (number, ending) in endings.iter().enumerate() {
        let code = answers.code(ending);
        let mut request = body(ending);
        // As scanners and people write them.
        request["barcode"] = json!(match number % 3 {
            0 => code.clone(),
            1 => format!(" {} {}\r\n", &code[..4], &code[4..]),
            _ => format!("{}\t{} {}", &code[..6], &code[6..12], &code[12..]),
        });
        request["cancel_after_seconds"] = json!(15);
        requests.push(create(till, &request));
    }
    let taken = all(requests.into_iter().map(Caller::send)).await;
    for answer in &taken {
        answers.note(answer);
    }
    taken.iter().map(|answer| answer.id().to_owned()).collect()
}

/// Requests that are wrong, with codes where none belongs.
async fn mistakes(answers: &mut Answers, till: &Caller, url: &str) {
    for field in [
        "description",
        "merchant_reference",
        "store_id",
        "terminal_id",
    ] {
        let mut request = body("0001");
        let code = answers.code("0001");
        request["barcode"] = json!(code);
        request[field] = json!(code);
        answers.keep(create(till, &request)).await;
    }
    for pair in [true, false] {
        let mut request = body("0001");
        let code = answers.code("0001");
        request["barcode"] = json!(code);
        request["metadata"] = if pair {
            json!({"a": code})
        } else {
            json!({code: "a"})
        };
        answers.keep(create(till, &request)).await;
    }
    let mut request = body("0001");
    request[answers.code("0001")] = json!(1);
    answers.keep(create(till, &request)).await;
    let mut request = body("0001");
    request["barcode"] = json!(answers.code("0001").parse::<u64>().expect("a number"));
    answers.keep(create(till, &request)).await;
    let code = answers.code("0001");
    let mut request = body("0001");
    request["barcode"] = json!(code);
    let keyed = till.request(Method::POST, "/v1/payments");
    answers
        .keep(keyed.header("idempotency-key", &code).json_body(&request))
        .await;
    let broken = format!("{{\"barcode\": \"{}\" oops", answers.code("0001"));
    let call = create(till, &request).body(broken);
    answers.keep(call).await;
    let inspect = till.request(Method::POST, "/v1/barcodes/inspect");
    let code = answers.code("0001");
    answers
        .keep(inspect.json_body(&json!({"barcode": code})))
        .await;
    // In places where a header, a path or a query may carry anything.
    for path in [
        "/v1/payments/{}",
        "/{}",
        "/v1/payments?cursor={}",
        "/v1/payments?{}=1",
        "/v1/payments?barcode={}",
    ] {
        let path = path.replace("{}", &answers.code("0001"));
        answers.keep(till.request(Method::GET, &path)).await;
    }
    let id = answers.code("0001");
    answers
        .keep(
            till.request(Method::GET, "/v1/payments")
                .header("x-request-id", id),
        )
        .await;
    let key = answers.code("0001");
    let stranger = client().get(format!("{url}/v1/payments")).bearer_auth(key);
    answers.keep(stranger).await;
    let partner = answers.code("0001");
    let notification = client().post(format!("{url}/alipay/notify/{partner}"));
    answers.keep(notification).await;
}

/// Refunds of what was paid, and a notification about somebody; returns who.
async fn refunds(answers: &mut Answers, till: &Caller, url: &str, paid: &str) -> String {
    let part = json!({"amount": {"value": 100, "currency": "HKD"}, "reason": "a cold tea"});
    for (key, request) in [("back-1", &part), ("back-2", &json!({"mode": "async"}))] {
        let refund = till.refund_under(paid, key, request, 5).await;
        assert_eq!(refund.body["object"], "refund", "{refund:?}");
        answers.note(&refund);
    }
    let buyer = format!("buyer-{}", Uuid::now_v7().simple());
    let form = format!("notify_id={buyer}&buyer_email={buyer}&sign_type=RSA2&sign={buyer}");
    let notification = client().post(format!("{url}/alipay/notify/{PARTNER}"));
    answers.keep(notification.body(form)).await;
    buyer
}

/// What the operator and a merchant's administrator do; returns the keys that were handed out.
async fn administration(answers: &mut Answers, program: &Program, paid: &Value) -> Vec<String> {
    let operator = program
        .caller(&["--operator", "--scopes", "operations,reconciliation,admin"])
        .await;
    let admin = program
        .caller(&["--scopes", "operations,admin,payments:read"])
        .await;
    let mut handed_out = vec![operator.key().to_owned(), admin.key().to_owned()];
    // The one answer that shows a key is not kept.
    let made = admin
        .post(
            "/v1/admin/api-keys",
            &json!({"name": "till-2", "scopes": ["payments:read"]}),
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let key = format!("/v1/admin/api-keys/{}", made.id());
    let rotated = admin
        .post(&format!("{key}/rotate"), &json!({"overlap_seconds": 60}))
        .await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    for answer in [made, rotated] {
        let key = answer.body["key"].as_str().expect("a key");
        handed_out.push(key.to_owned());
    }
    let revoke = format!("{key}/revoke");
    for (path, body) in [
        (revoke.as_str(), Value::Null),
        (
            "/v1/admin/merchants",
            json!({"external_id": "TEAM-9", "name": answers.code("0001"), "oops": 1}),
        ),
        ("/v1/admin/api-keys", json!({"name": answers.code("0001")})),
    ] {
        answers.keep(post(&operator, path, &body)).await;
    }
    let register = admin.request(Method::PUT, STORE).json_body(&store_body());
    let registered = answers.keep(register).await;
    assert_eq!(registered["object"], "store_registration", "{registered}");
    let taken = paid["created_at"].as_str().expect("an instant");
    let at: DateTime<Utc> = taken.parse().expect("RFC 3339");
    let at = at - TimeDelta::days(1);
    let id = paid["partner_trans_id"].as_str().expect("an id");
    let file = one_row_at(at, "PAYMENT", paid, "39.25", id);
    let day = (at + TimeDelta::hours(8)).format("%Y%m%d");
    let file = String::from_utf8_lossy(&file);
    let import = operator
        .request(Method::POST, "/v1/reconciliations")
        .header("content-type", "multipart/form-data; boundary=b")
        .header("prefer", "wait=20")
        .body(format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"{PARTNER}_transaction_{day}.txt\"\r\n\r\n{file}\r\n--b--\r\n"
        ));
    let imported = answers.keep(import).await;
    assert_eq!(imported["object"], "reconciliation", "{imported}");
    let imported = imported["id"].as_str().expect("an id");
    for path in [
        "/v1/admin/partners",
        "/v1/admin/api-keys",
        "/v1/admin/merchants",
        "/v1/admin/audit-log?limit=200",
        "/v1/follow-ups?limit=200",
        "/v1/unresolved",
        "/v1/secondary-merchants",
        "/v1/reconciliations",
        &format!("/v1/reconciliations/{imported}"),
        &format!("/v1/reconciliations/{imported}/differences"),
        &format!("/v1/reconciliations/{imported}/differences.csv"),
    ] {
        let read = Caller::send(operator.request(Method::GET, path)).await;
        assert_eq!(read.status, 200, "{path}: {read:?}");
        answers.note(&read);
    }
    handed_out
}

fn post(caller: &Caller, path: &str, body: &Value) -> RequestBuilder {
    let request = caller.request(Method::POST, path);
    if body.is_null() {
        request
    } else {
        request.json_body(body)
    }
}

#[sqlx::test]
async fn q13_q14_codes_and_secrets_are_nowhere_but_in_memory(pool: PgPool) {
    let mut program = Program::start(&pool, &[("LOG_FILTER", "trace")]).await;
    let (till, url) = (program.till.clone(), program.url.clone());
    let mut answers = Answers::default();
    let ids = payments(&mut answers, &till).await;
    mistakes(&mut answers, &till, &url).await;
    let buyer = refunds(&mut answers, &till, &url, &ids[0]).await;
    let paid = till.payment(&ids[0]).await;
    let handed_out = administration(&mut answers, &program, &paid).await;
    // The buyers' time is over, for Alipay and for the gateway: cancels go out.
    program
        .simulator
        .advance_clock(TimeDelta::seconds(20))
        .await;
    sqlx::raw_sql(
        "create or replace function db_now() returns timestamptz language sql stable \
         parallel safe as $$select now() + interval '20 seconds'$$",
    )
    .execute(&pool)
    .await
    .expect("the database's clock moves");
    let waiting = &ids[3];
    // Each wait ends with a change: under cancel, then closed.
    let mut changes = 0;
    loop {
        let path = format!("/v1/payments/{waiting}?wait=20");
        let payment = till.get(&path).await.body;
        if payment["outcome_certainty"] == "final" {
            break;
        }
        changes += 1;
        assert!(changes < 10, "not final: {payment}");
    }
    for id in &ids {
        for path in [
            format!("/v1/payments/{id}"),
            format!("/v1/payments/{id}/timeline"),
        ] {
            answers.keep(till.request(Method::GET, &path)).await;
        }
    }
    answers
        .keep(till.request(Method::GET, "/v1/payments?limit=200"))
        .await;
    let metrics = till.get("/metrics").await;
    // A fault of the gateway is logged with its sources.
    sqlx::raw_sql("alter table recent_scan rename column seen_at to scanned_at")
        .execute(&pool)
        .await
        .expect("the schema can be broken");
    let mut request = body("0001");
    request["barcode"] = json!(answers.code("0001"));
    answers.keep(create(&till, &request)).await;
    let output = program.stop().await;
    let dump = leaks::dump(&pool).await;
    let traces = program.collector.bytes();

    // The places hold what they should, so that the hunt is not of empty rooms.
    assert!(
        dump.contains("28**************01"),
        "payments are in the dump"
    );
    assert!(
        dump.contains(&ids[0]["pay_".len()..][..8]),
        "ids are in the dump"
    );
    let readable = String::from_utf8_lossy(&traces);
    assert!(readable.contains("alipay.call") && readable.contains(&ids[0]));
    assert!(
        metrics
            .body
            .as_str()
            .is_some_and(|text| text.contains("alipay_calls_total"))
    );
    for target in ["hyper", "sqlx"] {
        let lines = output.stdout.lines();
        let deep = lines
            .filter(|line| line.contains(&format!("\"target\":\"{target}")))
            .count();
        assert!(deep > 10, "{target} logged {deep} lines at trace level");
    }
    output.events();

    // What Alipay was sent and what it answered: signatures, and who paid.
    let requests = program.simulator.requests().await;
    let signatures = requests.iter().filter_map(|r| r["params"]["sign"].as_str());
    let signatures: BTreeSet<&str> = signatures.collect();
    assert!(signatures.len() > 40, "{} signatures", signatures.len());
    let trades = program.simulator.trades().await;
    let buyers = trades.iter().filter_map(|t| t["buyer_user_id"].as_str());
    let buyers: BTreeSet<&str> = buyers.collect();
    assert!(buyers.len() > 10, "{} buyers", buyers.len());

    let mut secrets: Vec<Secret> = answers
        .codes
        .iter()
        .map(|code| Secret::new(format!("a code that ends in {}", &code[14..]), code))
        .collect();
    assert!(secrets.len() > 45);
    for (number, signature) in signatures.iter().enumerate() {
        secrets.push(Secret::new(format!("signature {number}"), signature));
    }
    for (number, buyer) in buyers.iter().enumerate() {
        secrets.push(Secret::new(format!("the id of buyer {number}"), buyer));
    }
    secrets.push(Secret::new("a field of a notification", &buyer));
    secrets.push(Secret::new("the API key", till.key()));
    for (number, key) in handed_out.iter().enumerate() {
        secrets.push(Secret::new(format!("API key {number}"), key));
    }
    for person in PEOPLE {
        secrets.push(Secret::new("somebody of a registration", person));
    }
    for mark in ["<is_success>", "<alipay_trans_status>", "</alipay>"] {
        secrets.push(Secret::new("raw XML", mark));
    }
    secrets.push(Secret::new("the database's password", &program.password));
    secrets.push(Secret::new("the secret key", &key_file("secret.key")));
    let private = key_file("merchant_private_key.pem");
    for (number, line) in private
        .lines()
        .filter(|line| line.len() == 64)
        .enumerate()
        .skip(1)
    {
        secrets.push(Secret::new(
            format!("line {number} of the private key"),
            line,
        ));
    }
    let places = [
        ("the log", output.stdout.into_bytes()),
        // Empty but for this line, if all is well.
        (
            "standard error",
            format!("stderr: {}", output.stderr).into_bytes(),
        ),
        ("the database", dump.into_bytes()),
        ("the metrics", metrics.body.to_string().into_bytes()),
        ("the traces", traces),
        ("the answers", answers.text.into_bytes()),
    ];
    hunt(&secrets, &places);
}

fn key_file(name: &str) -> String {
    std::fs::read_to_string(keys().dir.join(name)).expect("the keys can be read")
}

/// Q13: nor is the key of the oldest agreement, which signs by being hashed with the text.
#[sqlx::test]
async fn q13_the_shared_key_and_what_it_signs_are_nowhere(pool: PgPool) {
    let trace = [("LOG_FILTER", "trace")];
    let mut program = Program::start_signing(&pool, SignType::Md5, &trace).await;
    let till = program.till.clone();
    let mut answers = Answers::default();
    for ending in ["0001", "1016", "2002"] {
        let mut request = body(ending);
        request["barcode"] = json!(answers.code(ending));
        let paid = answers.keep(create(&till, &request)).await;
        assert_eq!(paid["object"], "payment", "{paid}");
        if paid["status"] == "succeeded" {
            let id = paid["id"].as_str().expect("an id");
            answers.note(&till.refund(id, &json!({}), 5).await);
        }
    }
    let operator = program.caller(&["--operator", "--scopes", "admin"]).await;
    let partners = operator.request(Method::GET, "/v1/admin/partners");
    let partners = answers.keep(partners).await;
    assert!(partners.to_string().contains("MD5"), "{partners}");
    let metrics = till.get("/metrics").await;
    let requests = program.simulator.requests().await;
    let signatures: BTreeSet<&str> = requests
        .iter()
        .filter_map(|r| r["params"]["sign"].as_str())
        .collect();
    assert!(signatures.len() > 3, "{signatures:?}");
    let mut secrets = vec![Secret::new("the shared key", MD5_KEY)];
    for (number, signature) in signatures.iter().enumerate() {
        secrets.push(Secret::new(format!("signature {number}"), signature));
    }
    for code in &answers.codes {
        secrets.push(Secret::new("a code", code));
    }
    let output = program.stop().await;
    let places = [
        ("the log", output.stdout.into_bytes()),
        (
            "standard error",
            format!("stderr: {}", output.stderr).into_bytes(),
        ),
        ("the database", leaks::dump(&pool).await.into_bytes()),
        ("the metrics", metrics.body.to_string().into_bytes()),
        ("the traces", program.collector.bytes()),
        ("the answers", answers.text.into_bytes()),
    ];
    hunt(&secrets, &places);
}
