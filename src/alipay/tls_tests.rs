//! TLS is verified: the right authority and the right host, or nothing is sent
//! (`docs/invariants.md` Q11). The certificates in `testdata` are for `localhost`, were made
//! with openssl for these tests, are valid until 2126 and protect nothing.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{error::Fault, stub::http, transport::Transport};
use crate::domain::attempt::AnswerClass;

const CA: &[u8] = include_bytes!("testdata/ca.pem");
const OTHER_CA: &[u8] = include_bytes!("testdata/other-ca.pem");
const SERVER: &[u8] = include_bytes!("testdata/server.pem");

/// Serves one answer over TLS to whoever connects; returns its port and how many requests it read.
fn start() -> (u16, Arc<AtomicUsize>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_slice(SERVER).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(SERVER).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key belongs to the certificate");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener
        .local_addr()
        .expect("a bound listener has an address")
        .port();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            if serve(connection, &config).is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (port, requests)
}

fn serve(mut connection: TcpStream, config: &Arc<ServerConfig>) -> Option<()> {
    let mut session = ServerConnection::new(Arc::clone(config)).ok()?;
    let mut stream = Stream::new(&mut session, &mut connection);
    let mut buffer = [0; 4096];
    stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
    stream.write_all(&http("200 OK", "", b"<a/>")).ok()?;
    session.send_close_notify();
    session.write_tls(&mut connection).ok()?;
    Some(())
}

async fn post(host: &str, port: u16, authority: &[u8]) -> Result<Vec<u8>, Fault> {
    let endpoint = format!("https://{host}:{port}/gateway.do")
        .parse()
        .expect("a URL");
    Transport::new(&endpoint, Duration::from_secs(2), &[authority.to_vec()])
        .expect("a PEM certificate")
        .post("a=1".to_owned(), Duration::from_secs(5))
        .await
        .map(|body| body.bytes)
}

#[tokio::test]
async fn q11_an_extra_authority_is_trusted_for_its_host() {
    let (port, _) = start();
    assert_eq!(post("localhost", port, CA).await, Ok(b"<a/>".to_vec()));
}

#[tokio::test]
async fn q11_another_authority_or_host_is_refused_before_anything_is_sent() {
    let (port, requests) = start();
    for (host, authority) in [("localhost", OTHER_CA), ("127.0.0.1", CA)] {
        let fault = post(host, port, authority)
            .await
            .expect_err("an untrusted server");
        assert_eq!(fault.class, AnswerClass::ConnectFailed, "{fault:?}");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}
