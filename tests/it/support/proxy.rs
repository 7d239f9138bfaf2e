//! A TCP proxy in front of Postgres that reads the frontend protocol: it can refuse, cut or hang, cut
//! at one statement before or after that took effect, and it counts what passes.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Lets everything pass that is no larger; no frame of ours comes near.
const LARGEST_FRAME: usize = 16 * 1024 * 1024;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weather {
    kind: Kind,
    /// Raised to cut every connection there is.
    cuts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Everything passes.
    Fair,
    /// Connections are closed as soon as they are made.
    Refusing,
    /// Connections stay open and nothing passes.
    Hanging,
    /// What is asked passes, and no answer does.
    Silent,
}

/// Where the connection breaks around one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees it.
    BeforeEffect,
    /// The server commits it, and its answer is lost.
    AfterEffect,
}

/// What passed since the last [`Proxy::reset`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Statements executed.
    pub(crate) executes: usize,
    /// Messages to which the server answers at least one statement: round trips with work in them.
    pub(crate) round_trips: usize,
}

#[derive(Debug)]
struct Shared {
    weather: watch::Sender<Weather>,
    upstream: Mutex<(String, u16)>,
    held: Mutex<Vec<Vec<u8>>>,
    scripted: Mutex<Option<(Cut, Vec<u8>)>>,
    cut: AtomicUsize,
    executes: AtomicUsize,
    round_trips: AtomicUsize,
}

/// The proxy; ends with the test.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl Proxy {
    /// Listens on a free port in front of the server of `options`, which must listen on TCP.
    pub(crate) async fn start(options: &PgConnectOptions) -> Self {
        let upstream = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let fair = Weather {
            kind: Kind::Fair,
            cuts: 0,
        };
        let shared = Arc::new(Shared {
            weather: watch::channel(fair).0,
            upstream: Mutex::new(upstream),
            held: Mutex::default(),
            scripted: Mutex::default(),
            cut: AtomicUsize::new(0),
            executes: AtomicUsize::new(0),
            round_trips: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        let accepting = accept(listener, Arc::clone(&shared), stop.clone());
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(accepting));
        Self {
            port,
            shared,
            _stop: stop.drop_guard(),
        }
    }

    /// The same database by way of the proxy, in clear text so that the proxy can read.
    pub(crate) fn through(&self, options: PgConnectOptions) -> PgConnectOptions {
        options
            .host("127.0.0.1")
            .port(self.port)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The server is away: connections break and none can be made.
    pub(crate) fn refuse(&self) {
        self.become_weather(Kind::Refusing, true);
    }

    /// The network swallows everything and says nothing.
    pub(crate) fn hang(&self) {
        self.become_weather(Kind::Hanging, false);
    }

    /// The server does as asked, and its answers do not arrive.
    pub(crate) fn hold_answers(&self) {
        self.become_weather(Kind::Silent, false);
    }

    /// The server does what has one of these texts in its parameters, and the answer to that does
    /// not arrive.
    pub(crate) fn hold_answers_to(&self, texts: &[&str]) {
        let texts = texts.iter().map(|text| text.as_bytes().to_vec());
        *self.shared.held() = texts.collect();
    }

    /// Connections made from now on lead to another server; those there are stay.
    pub(crate) fn lead_to(&self, options: &PgConnectOptions) {
        let upstream = (options.get_host().to_owned(), options.get_port());
        *self.shared.upstream() = upstream;
    }

    /// The server is back; what hung goes on.
    pub(crate) fn restore(&self) {
        self.shared.held().clear();
        self.become_weather(Kind::Fair, false);
    }

    /// Breaks every connection there is; new ones are welcome.
    pub(crate) fn cut(&self) {
        self.become_weather(Kind::Fair, true);
    }

    /// Breaks the connection of the next statement whose parameters contain `text`.
    pub(crate) fn cut_at(&self, cut: Cut, text: &str) {
        let mut scripted = self.shared.scripted();
        *scripted = Some((cut, text.as_bytes().to_vec()));
    }

    /// How many scripted cuts took place.
    pub(crate) fn cuts(&self) -> usize {
        self.shared.cut.load(Ordering::SeqCst)
    }

    /// What passed since the last reset.
    pub(crate) fn passed(&self) -> Passed {
        Passed {
            executes: self.shared.executes.load(Ordering::SeqCst),
            round_trips: self.shared.round_trips.load(Ordering::SeqCst),
        }
    }

    /// Starts to count afresh.
    pub(crate) fn reset(&self) {
        self.shared.executes.store(0, Ordering::SeqCst);
        self.shared.round_trips.store(0, Ordering::SeqCst);
    }

    fn become_weather(&self, kind: Kind, cut: bool) {
        self.shared.weather.send_modify(|weather| {
            weather.kind = kind;
            weather.cuts += u64::from(cut);
        });
    }
}

impl Shared {
    fn scripted(&self) -> std::sync::MutexGuard<'_, Option<(Cut, Vec<u8>)>> {
        self.scripted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cut meant for this message, once.
    fn cut_for(&self, message: &[u8]) -> Option<Cut> {
        let mut scripted = self.scripted();
        let (cut, text) = scripted.as_ref()?;
        let (cut, found) = (*cut, message.windows(text.len()).any(|part| part == text));
        if !found {
            return None;
        }
        *scripted = None;
        self.cut.fetch_add(1, Ordering::SeqCst);
        Some(cut)
    }

    fn upstream(&self) -> std::sync::MutexGuard<'_, (String, u16)> {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the answer to this message is held back.
    fn holds(&self, message: &[u8]) -> bool {
        let held = self.held();
        held.iter()
            .any(|text| message.windows(text.len()).any(|part| part == text))
    }

    /// Waits until requests pass.
    async fn lets_ask(&self) {
        self.until(|kind| kind != Kind::Hanging).await;
    }

    /// Waits until answers pass.
    async fn lets_answer(&self) {
        self.until(|kind| !matches!(kind, Kind::Hanging | Kind::Silent))
            .await;
    }

    async fn until(&self, passes: impl Fn(Kind) -> bool) {
        let mut weather = self.weather.subscribe();
        // The sender lives in `self`.
        let _ = weather.wait_for(|weather| passes(weather.kind)).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let upstream = shared.upstream().clone();
        let carrying = carry(client, upstream, Arc::clone(&shared));
        connections.spawn(stop.clone().run_until_cancelled_owned(carrying));
    }
}

async fn carry(client: TcpStream, upstream: (String, u16), shared: Arc<Shared>) {
    let mut weather = shared.weather.subscribe();
    let first = *weather.borrow_and_update();
    if first.kind == Kind::Refusing {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    let nodelay = client.set_nodelay(true).and(server.set_nodelay(true));
    nodelay.expect("Nagle's algorithm can be switched off");
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let swallow = AtomicBool::new(false);
    let silent = AtomicBool::new(false);
    // Whatever ends first takes the other direction with it: both sockets close.
    tokio::select! {
        _ = requests(from_client, to_server, &shared, (&swallow, &silent)) => {}
        _ = answers(from_server, to_client, &shared, (&swallow, &silent)) => {}
        _ = weather.wait_for(|now| now.cuts != first.cuts) => {}
    }
}

/// Carries whole messages, each up to the point where the server answers.
async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    (swallow, silent): (&AtomicBool, &AtomicBool),
) -> std::io::Result<()> {
    // The startup message has no type.
    let mut message = client.read_u32().await?.to_be_bytes().to_vec();
    read_rest(&mut client, &mut message, 0).await?;
    shared.lets_ask().await;
    server.write_all(&message).await?;
    loop {
        let (mut message, mut executes) = (Vec::new(), 0);
        loop {
            let kind = client.read_u8().await?;
            let start = message.len() + 1;
            message.push(kind);
            message.extend(client.read_u32().await?.to_be_bytes());
            read_rest(&mut client, &mut message, start).await?;
            executes += usize::from(matches!(kind, b'E' | b'Q'));
            if matches!(kind, b'S' | b'Q' | b'X' | b'p' | b'H') {
                break;
            }
        }
        let cut = (executes > 0).then(|| shared.cut_for(&message)).flatten();
        shared.lets_ask().await;
        match cut {
            Some(Cut::BeforeEffect) => return Ok(()),
            Some(Cut::AfterEffect) => swallow.store(true, Ordering::SeqCst),
            None => {}
        }
        if executes > 0 && shared.holds(&message) {
            silent.store(true, Ordering::SeqCst);
        }
        shared.executes.fetch_add(executes, Ordering::SeqCst);
        shared
            .round_trips
            .fetch_add(usize::from(executes > 0), Ordering::SeqCst);
        server.write_all(&message).await?;
    }
}

/// Carries answers; when one is to be lost, waits until the server is ready again (so that the
/// statement is committed) and ends without a byte of it.
async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    shared: &Shared,
    (swallow, silent): (&AtomicBool, &AtomicBool),
) -> std::io::Result<()> {
    loop {
        let kind = server.read_u8().await?;
        let mut message = vec![kind];
        message.extend(server.read_u32().await?.to_be_bytes());
        read_rest(&mut server, &mut message, 1).await?;
        if swallow.load(Ordering::SeqCst) {
            if kind == b'Z' {
                return Ok(());
            }
            continue;
        }
        if silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        shared.lets_answer().await;
        client.write_all(&message).await?;
    }
}

/// Reads what the length at `start` announces beyond its own four bytes.
async fn read_rest(
    from: &mut OwnedReadHalf,
    message: &mut Vec<u8>,
    start: usize,
) -> std::io::Result<()> {
    let length = message[start..start + 4]
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    assert!(
        (4..=LARGEST_FRAME).contains(&length),
        "not Postgres' protocol"
    );
    let end = message.len();
    message.resize(end + length - 4, 0);
    from.read_exact(&mut message[end..]).await?;
    Ok(())
}
