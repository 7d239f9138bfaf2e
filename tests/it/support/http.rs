//! A caller of the REST surface: one helper per endpoint.

use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use uuid::Uuid;

use super::alipay::{JsonBody as _, client};

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// A header's text, empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The payment's id.
    pub(crate) fn id(&self) -> &str {
        self.body["id"]
            .as_str()
            .unwrap_or_else(|| panic!("not a payment: {self:?}"))
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
    #[cfg(feature = "failpoints")]
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
        let answer = request.send().await.expect("the gateway answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("text");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer {
            status,
            headers,
            body,
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

    /// `GET /v1/payments/{id}`.
    pub(crate) async fn payment(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v1/payments/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// `GET /v1/payments/{id}/timeline`.
    pub(crate) async fn timeline(&self, id: &str) -> Vec<Value> {
        let answer = self.get(&format!("/v1/payments/{id}/timeline")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["items"].as_array().expect("a list").clone()
    }
}
