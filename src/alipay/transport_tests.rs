use std::{net::TcpListener, time::Instant};

use super::*;
use crate::alipay::stub::{Behaviour, Stub, http};

async fn post_to(endpoint: &Url) -> Result<Body, Fault> {
    Transport::new(endpoint, Duration::from_millis(300), &[])
        .expect("an http endpoint")
        .post(
            "buyer_identity_code=281234567890123456".to_owned(),
            Duration::from_millis(500),
        )
        .await
}

/// The fault, and how many requests really arrived.
async fn fault_of(behaviour: Behaviour) -> (Fault, usize) {
    let stub = Stub::start(behaviour);
    let fault = post_to(&stub.endpoint)
        .await
        .err()
        .expect("no usable answer");
    // A second attempt would come at once.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!fault.detail.contains("2812"), "{}", fault.detail);
    assert!(!fault.detail.contains("gateway.do"), "{}", fault.detail);
    (fault, stub.requests().len())
}

#[tokio::test]
async fn a_post_has_the_charset_in_its_url_and_its_header() {
    let stub = Stub::start(Behaviour::Send(http(
        "200 OK",
        "content-type: text/xml;charset=GBK\r\n",
        b"<a/>",
    )));
    let body = post_to(&stub.endpoint).await.expect("a whole answer");
    assert_eq!(
        (body.bytes.as_slice(), body.charset.as_deref()),
        (&b"<a/>"[..], Some("GBK"))
    );
    let request = stub.requests().concat();
    assert!(
        request.starts_with("POST /gateway.do?_input_charset=UTF-8 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("content-type: application/x-www-form-urlencoded;charset=UTF-8\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn r14_a_dropped_connection_is_one_attempt_and_lost() {
    let (fault, attempts) = fault_of(Behaviour::Close).await;
    assert_eq!((fault.class, attempts), (AnswerClass::ConnectionLost, 1));
}

#[tokio::test]
async fn r14_half_an_answer_is_one_attempt_and_lost() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n<alipay>".to_vec();
    let (fault, attempts) = fault_of(Behaviour::Send(half)).await;
    assert_eq!((fault.class, attempts), (AnswerClass::ConnectionLost, 1));
}

#[tokio::test]
async fn r14_redirects_are_not_followed() {
    let elsewhere = Stub::start(Behaviour::Close);
    let location = format!("location: {}\r\n", elsewhere.endpoint);
    for status in [
        "301 Moved",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let (fault, attempts) = fault_of(Behaviour::Send(http(status, &location, b""))).await;
        assert_eq!((fault.class, attempts), (AnswerClass::HttpStatus, 1));
        assert_eq!(fault.detail, format!("HTTP status {}", &status[..3]));
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn other_statuses_are_named() {
    for status in [
        "201 Created",
        "204 No Content",
        "404 Not Found",
        "500 Internal Server Error",
        "503 Busy",
    ] {
        let (fault, attempts) = fault_of(Behaviour::Send(http(status, "", b""))).await;
        assert_eq!(
            (fault.class, attempts),
            (AnswerClass::HttpStatus, 1),
            "{status}"
        );
    }
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let started = Instant::now();
    let (fault, attempts) = fault_of(Behaviour::Hang).await;
    assert_eq!((fault.class, attempts), (AnswerClass::TimedOut, 1));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn v2_an_oversized_answer_is_refused_announced_or_not() {
    let large = vec![b' '; MAX_BODY + 1];
    let announced = http("200 OK", "", &large);
    let unannounced = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &large].concat();
    for answer in [announced, unannounced] {
        let (fault, _) = fault_of(Behaviour::Send(answer)).await;
        assert_eq!(fault.class, AnswerClass::Malformed);
    }
    let stub = Stub::start(Behaviour::Send(http("200 OK", "", &large[..MAX_BODY])));
    assert_eq!(
        post_to(&stub.endpoint)
            .await
            .map(|body| body.bytes.len())
            .ok(),
        Some(MAX_BODY)
    );
}

#[tokio::test]
async fn a_refused_connection_says_that_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener
        .local_addr()
        .expect("a bound listener has an address");
    drop(listener);
    let endpoint = format!("http://{address}/gateway.do")
        .parse()
        .expect("a URL");
    let fault = post_to(&endpoint).await.err().expect("nobody listens");
    assert_eq!(fault.class, AnswerClass::ConnectFailed);
}

/// What is written to a connection that was used before may have arrived, whatever is refused later.
#[tokio::test]
async fn a_reused_connection_that_breaks_never_says_that_nothing_was_sent() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener
        .local_addr()
        .expect("a bound listener has an address");
    let served = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        drop(listener);
        let mut bytes = [0; 4096];
        assert!(connection.read(&mut bytes).expect("a request") > 0);
        let kept = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        connection.write_all(kept).expect("an open connection");
        // The second request comes over the same connection, and is not answered.
        assert!(connection.read(&mut bytes).expect("a request") > 0);
    });
    let endpoint = format!("http://{address}/gateway.do")
        .parse()
        .expect("a URL");
    let transport = Transport::new(&endpoint, Duration::from_secs(1), &[]).expect("an endpoint");
    let post = || transport.post("a=b".to_owned(), Duration::from_secs(5));
    assert!(post().await.is_ok());
    let lost = post().await.err().expect("the connection breaks");
    assert_eq!(lost.class, AnswerClass::ConnectionLost, "{lost:?}");
    served.join().expect("no panic");
    let refused = post().await.err().expect("nobody listens any more");
    assert_eq!(refused.class, AnswerClass::ConnectFailed, "{refused:?}");
}

#[tokio::test]
async fn a_warm_up_asks_no_service() {
    let stub = Stub::start(Behaviour::Send(http("404 Not Found", "", b"")));
    let transport =
        Transport::new(&stub.endpoint, Duration::from_secs(1), &[]).expect("an http endpoint");
    assert_eq!(transport.warm_up(Duration::from_secs(1)).await, Ok(None));
    assert!(stub.requests().concat().starts_with("HEAD / HTTP/1.1\r\n"));
}

#[test]
fn an_endpoint_that_is_no_web_address_is_refused() {
    for endpoint in ["ftp://example.com/", "file:///etc/passwd", "data:,x"] {
        let endpoint = endpoint.parse().expect("a URL");
        let error = Transport::new(&endpoint, Duration::from_secs(1), &[]).err();
        assert!(matches!(error, Some(SetupError::Endpoint(_))), "{endpoint}");
    }
}
