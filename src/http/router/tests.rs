//! What every request passes through, driven with routes of its own: refusals are problem documents
//! whatever refused.

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode},
    routing::{get, post},
};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::http::extract::{JsonBody, accept};

fn under_test() -> Router {
    async fn take(_: JsonBody) -> &'static str {
        "taken"
    }
    async fn panic() -> &'static str {
        panic!("a deliberate panic");
    }
    let json_only = Router::new()
        .route("/json", get(async || "{}"))
        .layer(middleware::from_fn(accept::require));
    let routes = Router::new()
        .route("/take", post(take))
        .route("/panic", get(panic))
        .route("/teapot", get(async || StatusCode::IM_A_TEAPOT))
        .merge(json_only);
    wrap(routes, ())
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Value,
}

async fn send(request: Request<Body>) -> Answer {
    let response = under_test().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.expect("a body in memory");
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    }
}

fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("x-request-id", "till-1")
        .body(body.into())
        .expect("a request")
}

async fn refused(request: Request<Body>, status: u16, code: &str) -> Answer {
    let instance = request.uri().path().to_owned();
    let answer = send(request).await;
    assert_eq!(answer.status, status, "{code}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["x-request-id"], "till-1");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.body["code"], code);
    assert_eq!(answer.body["status"], status);
    assert_eq!(answer.body["request_id"], "till-1");
    assert_eq!(answer.body["instance"], instance);
    answer
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_with_its_exact_body() {
    let answer = refused(request(Method::GET, "/nowhere", ""), 404, "route_not_found").await;
    assert_eq!(
        answer.body,
        serde_json::json!({
            "type": "urn:alipayhk-gateway:problem:route-not-found",
            "title": "No such path",
            "status": 404,
            "detail": "there is nothing at this path; see /docs",
            "instance": "/nowhere",
            "code": "route_not_found",
            "attempted": "false",
            "retryable": "no",
            "request_id": "till-1",
        })
    );
}

#[tokio::test]
async fn a_wrong_method_is_told_which_ones_are_right() {
    let answer = refused(
        request(Method::DELETE, "/take", ""),
        405,
        "method_not_allowed",
    )
    .await;
    assert_eq!(answer.headers["allow"], "POST");
}

#[tokio::test]
async fn bodies_are_refused_by_what_is_wrong_with_them() {
    let post = |body: &str| request(Method::POST, "/take", body.to_owned());
    assert_eq!(send(post("{}")).await.status, 200);
    refused(post("{"), 400, "malformed_json").await;
    refused(post("[]"), 400, "malformed_json").await;
    refused(post(r#"{"a":1,"a":2}"#), 400, "malformed_json").await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BODY_BYTES));
    refused(post(&large), 413, "body_too_large").await;
    let mut plain = post("{}");
    plain
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("text/plain"));
    refused(plain, 415, "unsupported_media_type").await;
}

#[tokio::test]
async fn an_answer_the_caller_would_not_take_is_not_made() {
    let mut request = request(Method::GET, "/json", "");
    request
        .headers_mut()
        .insert("accept", HeaderValue::from_static("text/html"));
    refused(request, 406, "not_acceptable").await;
}

#[tokio::test]
async fn q21_a_panic_is_a_500_that_may_be_repeated() {
    let answer = refused(request(Method::GET, "/panic", ""), 500, "internal_error").await;
    assert_eq!(answer.body["attempted"], "unknown");
    assert_eq!(answer.body["retryable"], "same_key");
    assert!(!answer.body.to_string().contains("deliberate"));
}

#[tokio::test]
async fn a_refusal_in_plain_text_becomes_a_problem() {
    let answer = send(request(Method::GET, "/teapot", "")).await;
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.status, 500, "nothing of ours answers like this");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let answer = send(request(Method::HEAD, "/json", "")).await;
    assert_eq!((answer.status, answer.body), (200, Value::Null));
    assert_eq!(answer.headers["content-length"], "2");
}
