//! A caller of the REST surface: one helper per endpoint.

use std::collections::BTreeSet;

use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
#[cfg(feature = "failpoints")]
use tokio::time::Instant;
use uuid::Uuid;

use super::alipay::{JsonBody as _, client};

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// Who answered, and when, for the oracle.
    #[cfg(feature = "failpoints")]
    pub(crate) given: Given,
}

/// Who gave an answer, and when, by one clock of all callers.
#[derive(Clone, Copy, Debug)]
#[cfg(feature = "failpoints")]
pub(crate) struct Given {
    /// The port of the process.
    pub(crate) process: Option<u16>,
    /// When it was asked.
    pub(crate) asked_at: Instant,
    /// When the answer was heard.
    pub(crate) heard_at: Instant,
}

impl Answer {
    /// A header's text, empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The payment's or the refund's id.
    pub(crate) fn id(&self) -> &str {
        self.body["id"]
            .as_str()
            .unwrap_or_else(|| panic!("it has no id: {self:?}"))
    }

    /// The status code and one field of the body, for compact assertions.
    pub(crate) fn summary(&self, field: &str) -> (u16, &str) {
        (self.status, self.body[field].as_str().unwrap_or_default())
    }
}

/// Someone with an API key.
#[derive(Clone)]
pub(crate) struct Caller {
    url: String,
    key: String,
    client: Client,
}

#[cfg(feature = "failpoints")]
impl Given {
    /// By a program among others that share a busy machine: in which order it gave two answers cannot be
    /// told from when they were heard.
    pub(crate) fn unordered() -> Self {
        let now = Instant::now();
        Self {
            process: None,
            asked_at: now,
            heard_at: now,
        }
    }
}

/// A request body with the scenario's code, unlike any other.
pub(crate) fn body(code: &str) -> Value {
    json!({
        "amount": {"value": 3925, "currency": "HKD"},
        "barcode": barcode(code),
        "merchant_reference": format!("ORDER-{}", Uuid::now_v7().simple()),
        "description": "Central Branch, table 4",
        "terminal_id": "T1",
    })
}

/// A wallet code that nobody else has, with the scenario's last four digits.
pub(crate) fn barcode(code: &str) -> String {
    let unique = Uuid::now_v7().as_u128() % 1_000_000_000_000;
    format!("28{unique:012}{code}")
}

impl Caller {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        Self {
            url: url.to_owned(),
            key: key.to_owned(),
            client: client(),
        }
    }

    /// The same caller at another replica.
    pub(crate) fn at(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// The caller's key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// A request with the caller's key, for anything unusual.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.key)
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn send(request: RequestBuilder) -> Answer {
        #[cfg(feature = "failpoints")]
        let asked_at = Instant::now();
        let answer = request.send().await.expect("the gateway answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        #[cfg(feature = "failpoints")]
        let process = answer.url().port();
        let text = answer.text().await.expect("text");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer {
            status,
            headers,
            body,
            #[cfg(feature = "failpoints")]
            given: Given {
                process,
                asked_at,
                heard_at: Instant::now(),
            },
        }
    }

    /// `GET` of any path.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Self::send(self.request(Method::GET, path)).await
    }

    /// `POST /v1/payments`, waiting up to `wait` seconds.
    pub(crate) async fn create(&self, key: &str, body: &Value, wait: u32) -> Answer {
        let request = self
            .request(Method::POST, "/v1/payments")
            .header("idempotency-key", key)
            .header("prefer", format!("wait={wait}"))
            .json_body(body);
        Self::send(request).await
    }

    /// The same at a gateway that may end meanwhile.
    pub(crate) async fn try_create(&self, key: &str, body: &Value) -> Option<u16> {
        let request = self
            .request(Method::POST, "/v1/payments")
            .header("idempotency-key", key)
            .json_body(body);
        let answer = request.send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// A payment like any other with the scenario's code; waits for the call's own answer at most.
    pub(crate) async fn pay(&self, code: &str) -> Answer {
        self.create(&Uuid::now_v7().to_string(), &body(code), 5)
            .await
    }

    /// The same without waiting.
    pub(crate) async fn pay_without_waiting(&self, code: &str) -> Answer {
        self.create(&Uuid::now_v7().to_string(), &body(code), 0)
            .await
    }

    /// `GET /v1/payments/{id}`, whatever comes.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn get_payment(&self, id: &str) -> Answer {
        self.get(&format!("/v1/payments/{id}")).await
    }

    /// `GET /v1/payments/{id}`.
    pub(crate) async fn payment(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v1/payments/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// The ids of all payments and refunds that need a person, and of the payments of those refunds.
    pub(crate) async fn work_list(&self) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        let mut path = "/v1/unresolved?limit=200".to_owned();
        loop {
            let page = self.get(&path).await;
            assert_eq!(page.status, 200, "{page:?}");
            for item in page.body["items"].as_array().into_iter().flatten() {
                // A refund that failed late is in the books as it is: it excuses nothing.
                if item["needs"] == json!(["failed_late"]) {
                    continue;
                }
                let refund = &item["refund"];
                let subjects = [&item["payment"]["id"], &refund["id"], &refund["payment_id"]];
                let subjects = subjects.into_iter().filter_map(Value::as_str);
                ids.extend(subjects.map(str::to_owned));
            }
            let Some(cursor) = page.body["next_cursor"].as_str() else {
                return ids;
            };
            path = format!("/v1/unresolved?limit=200&cursor={cursor}");
        }
    }

    /// `POST` of any path, without a body where it is null.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path);
        Self::send(if body.is_null() {
            request
        } else {
            request.json_body(body)
        })
        .await
    }

    /// `PATCH` of any path, where it has the version of this entity tag if one is given.
    pub(crate) async fn patch(&self, path: &str, tag: Option<&str>, body: &Value) -> Answer {
        let request = self.request(Method::PATCH, path).json_body(body);
        Self::send(match tag {
            Some(tag) => request.header("if-match", tag),
            None => request,
        })
        .await
    }

    /// `PUT` of any path.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        Self::send(self.request(Method::PUT, path).json_body(body)).await
    }

    /// `POST /v1/payments/{id}/refunds` with a key that nobody else has, waiting up to `wait` seconds.
    pub(crate) async fn refund(&self, payment_id: &str, body: &Value, wait: u32) -> Answer {
        let key = Uuid::now_v7().to_string();
        self.refund_under(payment_id, &key, body, wait).await
    }

    /// The same under a key.
    pub(crate) async fn refund_under(
        &self,
        payment_id: &str,
        key: &str,
        body: &Value,
        wait: u32,
    ) -> Answer {
        let path = format!("/v1/payments/{payment_id}/refunds");
        let request = self
            .request(Method::POST, &path)
            .header("idempotency-key", key)
            .header("prefer", format!("wait={wait}"))
            .json_body(body);
        Self::send(request).await
    }

    /// `GET /v1/refunds/{id}`.
    pub(crate) async fn get_refund(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v1/refunds/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// `POST /v1/refunds/{id}/refresh`.
    pub(crate) async fn refresh_refund(&self, id: &str) -> Answer {
        let path = format!("/v1/refunds/{id}/refresh");
        self.post(&path, &Value::Null).await
    }

    /// `POST /v1/payments/{id}/reverse`.
    pub(crate) async fn reverse(&self, payment_id: &str) -> Answer {
        let path = format!("/v1/payments/{payment_id}/reverse");
        self.post(&path, &Value::Null).await
    }

    /// `GET /v1/payments/{id}/timeline`.
    pub(crate) async fn timeline(&self, id: &str) -> Vec<Value> {
        let answer = self.get(&format!("/v1/payments/{id}/timeline")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["items"].as_array().expect("a list").clone()
    }
}
