//! A raw HTTP server for tests: it counts what really arrives, which a tidy one would hide.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use url::Url;

/// What the stub does with every request.
#[derive(Clone)]
pub(super) enum Behaviour {
    /// Sends these bytes, then closes.
    Send(Vec<u8>),
    /// Reads the request and closes without a byte.
    Close,
    /// Reads the request and says nothing for ten seconds.
    Hang,
}

/// A running stub; its thread ends with the test's process.
pub(super) struct Stub {
    pub(super) endpoint: Url,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    pub(super) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (behaviour, seen) = (behaviour.clone(), Arc::clone(&seen));
                thread::spawn(move || serve(connection, behaviour, &seen));
            }
        });
        Self {
            endpoint: format!("http://{address}/gateway.do")
                .parse()
                .expect("a URL"),
            requests,
        }
    }

    /// Every request so far: head and body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn serve(mut connection: TcpStream, behaviour: Behaviour, seen: &Mutex<Vec<String>>) {
    let Some(request) = read_request(&connection) else {
        return;
    };
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(request);
    match behaviour {
        // The client may have had enough before the last byte.
        Behaviour::Send(bytes) => drop(connection.write_all(&bytes)),
        Behaviour::Close => {}
        Behaviour::Hang => thread::sleep(Duration::from_secs(10)),
    }
}

fn read_request(connection: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.parse().unwrap_or(0));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

/// An HTTP answer with its length.
pub(super) fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
