//! What is taken from an issuer's addresses, and what is not.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use super::*;

const KEYS: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"}]}"#;

/// Answers by path: the head's rest and the body. What is not there is 404.
fn serve(answers: impl Fn(&str) -> Vec<(&'static str, String, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let answers = answers(&url);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let found = answers.iter().find(|(at, ..)| *at == path);
            let (rest, body) = found.map_or_else(
                || ("404 Not Found\r\n".to_owned(), String::new()),
                |(_, rest, body)| (rest.clone(), body.clone()),
            );
            let answer = format!(
                "HTTP/1.1 {rest}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            // Whoever has read enough hangs up.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

fn ok() -> String {
    "200 OK\r\n".to_owned()
}

async fn read(issuer: &str, keys: KeySource) -> Result<usize, SourceFault> {
    let source = Source::new(issuer.to_owned(), keys, &[]).expect("a client");
    source.read().await.map(|keys| keys.len())
}

fn at(url: &str, path: &str) -> KeySource {
    KeySource::Url(format!("{url}{path}").parse().expect("a URL"))
}

#[tokio::test]
async fn q6_keys_are_taken_from_the_address_alone_and_within_bounds() {
    let url = serve(|url| {
        vec![
            ("/keys", ok(), KEYS.to_owned()),
            ("/large", ok(), " ".repeat(MAX_BODY) + KEYS),
            (
                "/elsewhere",
                format!("302 Found\r\nLocation: {url}/keys\r\n"),
                String::new(),
            ),
            ("/page", ok(), "<html>".to_owned()),
        ]
    });
    assert_eq!(read(&url, at(&url, "/keys")).await.ok(), Some(1));
    let fault = async |path| read(&url, at(&url, path)).await.expect_err("no keys");
    assert!(matches!(fault("/large").await, SourceFault::TooLarge));
    assert!(matches!(
        fault("/elsewhere").await,
        SourceFault::Status(_, 302)
    ));
    assert!(matches!(fault("/none").await, SourceFault::Status(_, 404)));
    assert!(matches!(
        fault("/page").await,
        SourceFault::Keys(KeysFault::NoKeySet)
    ));
}

#[tokio::test]
async fn q6_an_issuer_describes_itself_and_nobody_else() {
    let description = |issuer: &str, keys: &str| {
        format!(r#"{{"issuer": "{issuer}", "jwks_uri": "{keys}", "more": 1}}"#)
    };
    let path = "/.well-known/openid-configuration";
    let good = serve(|url| {
        let text = description(url, &format!("{url}/keys"));
        vec![(path, ok(), text), ("/keys", ok(), KEYS.to_owned())]
    });
    assert_eq!(read(&good, KeySource::Discovery).await.ok(), Some(1));
    let described = async |issuer: &'static str, keys: &'static str| {
        let url = serve(|url| {
            let issuer = if issuer.is_empty() { url } else { issuer };
            vec![(path, ok(), description(issuer, keys))]
        });
        let fault = read(&url, KeySource::Discovery).await.expect_err("no keys");
        fault.to_string()
    };
    let fault = described("https://other.example", "https://other.example/keys").await;
    assert!(fault.contains("another issuer"), "{fault}");
    let fault = described("", "http://192.0.2.1/keys").await;
    assert!(fault.contains("not https"), "{fault}");
    let fault = described("", "keys").await;
    assert!(fault.contains("no URL"), "{fault}");
}

/// Without TLS that leads to the authorities of the machine, nothing is read (Q11).
#[tokio::test]
async fn q11_keys_are_not_taken_over_tls_that_nobody_vouches_for() {
    let url = serve(|_| vec![("/keys", ok(), KEYS.to_owned())]);
    let tls = url.replace("http://", "https://");
    let fault = read(&tls, at(&tls, "/keys")).await.expect_err("no TLS");
    assert!(matches!(fault, SourceFault::NoAnswer(..)), "{fault}");
}

#[tokio::test]
async fn q6_keys_may_be_in_a_file() {
    let path = std::env::temp_dir().join(format!("gateway-jwks-{}.json", std::process::id()));
    std::fs::write(&path, KEYS).expect("a temporary file");
    let found = read("https://issuer.example", KeySource::File(path.clone())).await;
    assert_eq!(found.ok(), Some(1));
    std::fs::remove_file(&path).expect("it was there");
    let missing = read("https://issuer.example", KeySource::File(path)).await;
    assert!(matches!(missing, Err(SourceFault::File(_))), "{missing:?}");
}
