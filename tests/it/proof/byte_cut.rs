//! An answer cut after every byte (`docs/invariants.md` L8, V2, S3): between the gateway and
//! Alipay stands a relay that ends the connection in the middle of the answer, or delivers an HTTP
//! answer that is whole but holds only the beginning of the document. Nothing of what came may be
//! believed, unless it is the whole document after all; and each payment reaches its true end by the
//! questions that follow.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use alipayhk_gateway::{
    alipay::parameters::service_name,
    domain::{accounts::signing::SignType, attempt::AttemptKind},
};
use chrono::TimeDelta;
use serde_json::json;
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use url::Url;

use super::driver::{Ear, finish_clean, publish, settle, work};
use crate::support::{
    Options, World, all,
    http::{Caller, body},
};

/// How many payments are on their way at once.
const AT_ONCE: usize = 24;

/// Where an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    /// The connection ends after so many bytes of the HTTP answer, its head included: closed after
    /// an even number, reset after an odd one.
    Broken(usize),
    /// The HTTP answer is whole and holds so many bytes of the document: an even number is
    /// announced, an odd one ends with the connection.
    Short(usize),
}

/// How many bytes an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Size {
    /// The HTTP head.
    head: usize,
    /// The document.
    document: usize,
    /// The document up to what Alipay says: before that is an echo of the request.
    echo: usize,
}

/// What became of one answer.
#[derive(Debug)]
struct Made {
    cut: Cut,
    /// The payment it was about.
    partner_trans_id: String,
    /// Whether the whole document got through.
    whole: bool,
}

/// One HTTP message: its head with the empty line, and its body.
struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
}

/// What the relay does, and has done.
struct Plan {
    service: AttemptKind,
    upstream: OnceLock<SocketAddr>,
    cuts: Mutex<VecDeque<Cut>>,
    made: Mutex<Vec<Made>>,
    /// Of the service's answers that passed.
    sizes: Mutex<BTreeSet<Size>>,
}

/// A relay in front of the simulator that cuts the answers of one service as planned; ends with the
/// test.
struct Relay {
    url: Url,
    plan: Arc<Plan>,
    _stop: DropGuard,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// Listens on a free port; [`Relay::lead_to`] says where it leads.
    async fn start(service: AttemptKind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let plan = Arc::new(Plan {
            service,
            upstream: OnceLock::new(),
            cuts: Mutex::default(),
            made: Mutex::default(),
            sizes: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let accepting = accept(listener, Arc::clone(&plan), stop.clone());
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(accepting));
        Self {
            url: format!("http://{address}/gateway.do")
                .parse()
                .expect("an address"),
            plan,
            _stop: stop.drop_guard(),
        }
    }

    fn lead_to(&self, endpoint: &Url) {
        let address = endpoint.socket_addrs(|| None).expect("an address")[0];
        self.plan.upstream.set(address).expect("said once");
    }

    /// The size of the service's answers.
    fn size(&self) -> Size {
        let sizes = locked(&self.plan.sizes);
        assert_eq!(sizes.len(), 1, "answers of one size: {sizes:?}");
        *sizes.first().expect("an answer has passed")
    }

    /// Plans a cut for each of the next answers.
    fn cut(&self, cuts: impl IntoIterator<Item = Cut>) {
        locked(&self.plan.cuts).extend(cuts);
    }

    /// What was cut, when all that was planned has been.
    fn made(&self) -> MutexGuard<'_, Vec<Made>> {
        assert!(locked(&self.plan.cuts).is_empty(), "every cut is made");
        locked(&self.plan.made)
    }
}

async fn accept(listener: TcpListener, plan: Arc<Plan>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    while let Ok((client, _)) = listener.accept().await {
        let carrying = carry(client, Arc::clone(&plan));
        connections.spawn(stop.clone().run_until_cancelled_owned(carrying));
    }
}

/// Carries requests to the simulator and its answers back, until one is cut.
async fn carry(client: TcpStream, plan: Arc<Plan>) -> io::Result<()> {
    let upstream = *plan.upstream.get().expect("the relay leads somewhere");
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
    while let Some(request) = read(&mut client).await? {
        server.write_all(&request.head).await?;
        server.write_all(&request.body).await?;
        let Some(answer) = read(&mut server).await? else {
            break;
        };
        match plan.cut(&request, &answer) {
            None => {
                client.write_all(&answer.head).await?;
                client.write_all(&answer.body).await?;
            }
            Some(Cut::Broken(length)) => {
                let bytes = [answer.head, answer.body].concat();
                client.write_all(&bytes[..length]).await?;
                if length % 2 == 1 && length < bytes.len() {
                    client.get_ref().set_zero_linger()?;
                }
                break;
            }
            Some(Cut::Short(length)) => {
                let announced = length.is_multiple_of(2);
                client
                    .write_all(&head_for(&answer.head, announced.then_some(length)))
                    .await?;
                client.write_all(&answer.body[..length]).await?;
                if !announced {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Reads one message with an announced length; `None` at the end of the connection.
async fn read(from: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    let mut head = Vec::with_capacity(4096);
    while !head.ends_with(b"\r\n\r\n") {
        match from.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) if head.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().expect("a length"));
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(Some(Message { head, body }))
}

/// The head with another length, or with none and the end of the connection instead.
fn head_for(head: &[u8], length: Option<usize>) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let kept = text.lines().filter(|line| {
        let lower = line.to_ascii_lowercase();
        !line.is_empty() && !lower.starts_with("content-length:")
    });
    let last = length.map_or("connection: close".to_owned(), |length| {
        format!("content-length: {length}")
    });
    let mut lines: Vec<&str> = kept.collect();
    lines.extend([last.as_str(), "", ""]);
    lines.join("\r\n").into_bytes()
}

impl Plan {
    /// The cut for this answer, if it is of the service that is cut and one is left.
    fn cut(&self, request: &Message, answer: &Message) -> Option<Cut> {
        let fields: BTreeMap<String, String> =
            form_urlencoded::parse(&request.body).into_owned().collect();
        if fields.get("service").map(String::as_str) != Some(service_name(self.service)) {
            return None;
        }
        let (head, body) = (answer.head.len(), answer.body.len());
        let Some(cut) = locked(&self.cuts).pop_front() else {
            let says = b"<response>";
            let echo = answer
                .body
                .windows(says.len())
                .position(|part| part == says)
                .expect("Alipay says something");
            locked(&self.sizes).insert(Size {
                head,
                document: body,
                echo,
            });
            return None;
        };
        let passed = match cut {
            Cut::Broken(length) => length.saturating_sub(head),
            Cut::Short(length) => length,
        };
        let whole = matches!(cut, Cut::Short(_)) || passed == body;
        let document = answer.body.trim_ascii_end();
        let partner_trans_id = fields
            .get("partner_trans_id")
            .or_else(|| fields.get("out_trade_no"))
            .expect("a payment's id");
        locked(&self.made).push(Made {
            cut,
            partner_trans_id: partner_trans_id.clone(),
            whole: whole && passed >= document.len(),
        });
        Some(cut)
    }
}

/// A world whose gateway reaches Alipay through a relay that cuts a service's answers.
async fn relayed(pool: PgPool, service: AttemptKind, sign_type: SignType) -> (World, Relay) {
    let relay = Relay::start(service).await;
    let options = Options {
        endpoint: Some(relay.url.clone()),
        sign_type,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    relay.lead_to(&world.simulator.endpoint());
    (world, relay)
}

/// Takes the payments with these numbers, a few at a time, and waits until each call is over. Their
/// answers are of one size.
async fn pay(world: &World, code: &str, numbers: Range<usize>) -> Vec<String> {
    let mut ids = vec![];
    for start in numbers.clone().step_by(AT_ONCE) {
        let calls = (start..numbers.end.min(start + AT_ONCE)).map(|number| {
            let mut request = body(code);
            request["merchant_reference"] = json!(format!("cut-{number:05}"));
            let till = &world.till;
            async move { till.create(&format!("key-{number}"), &request, 0).await }
        });
        for answer in all(calls).await {
            assert_eq!(answer.status, 202, "{answer:?}");
            ids.push(answer.id().to_owned());
        }
        world.settle_calls().await;
    }
    ids
}

/// Demands of every payment whose answer was cut that it is `open`, and `end` where the whole
/// document got through; returns how often each class of answer was recorded.
async fn check(
    world: &World,
    relay: &Relay,
    kind: &str,
    open: (&str, Option<&str>),
    end: &str,
) -> BTreeMap<String, u64> {
    let rows: Vec<(String, String, Option<String>, Option<String>)> = sqlx::query_as(
        // The first call of the kind is the one that was cut.
        "select distinct on (payment_id) partner_trans_id, status, status_reason, answer_class
        from payment join attempt using (merchant_id, payment_id)
        where kind = $1
        order by payment_id, attempt_id",
    )
    .bind(kind)
    .fetch_all(&world.pool)
    .await
    .expect("the database answers");
    let rows: BTreeMap<_, _> = rows
        .into_iter()
        .map(|(id, status, reason, class)| (id, (status, reason, class)))
        .collect();
    let mut classes = BTreeMap::new();
    for made in relay.made().iter() {
        let (status, reason, class) = &rows[&made.partner_trans_id];
        let class = class.as_deref().unwrap_or("no answer");
        if made.whole {
            assert_eq!(status, end, "{made:?} {class}");
        } else {
            assert_eq!(
                (status.as_str(), reason.as_deref()),
                open,
                "{made:?} {class}"
            );
        }
        *classes.entry(class.to_owned()).or_default() += 1;
    }
    classes
}

/// Lets every payment reach its end, and demands that it is this one.
async fn end(mut world: World, status: &str) {
    settle(&mut world).await;
    let others: i64 = sqlx::query_scalar("select count(*) from payment where status <> $1")
        .bind(status)
        .fetch_one(&world.pool)
        .await
        .expect("the database answers");
    assert_eq!(others, 0, "payments that are not {status}");
    finish_clean(world, &Ear::default()).await;
}

/// Leaves the figures, and demands that exactly one of the cuts let the whole document through.
fn report(relay: &Relay, name: &str, expected: usize, classes: &BTreeMap<String, u64>) {
    let made = relay.made();
    let cuts: BTreeSet<Cut> = made.iter().map(|made| made.cut).collect();
    assert_eq!(cuts.len(), expected, "each cut once");
    let whole = made.iter().filter(|made| made.whole).count();
    let figures = json!({"cuts": made.len(), "whole": whole, "answers": classes});
    publish(&format!("byte-cut-{name}"), &figures);
    assert_eq!(whole, 1, "only the last cut takes nothing away");
}

/// The pay answer cut as `cuts` says; one payment to measure comes first.
async fn cut_pay(pool: PgPool, name: &str, sign_type: SignType, cuts: impl Fn(Size) -> Vec<Cut>) {
    let (world, relay) = relayed(pool, AttemptKind::Pay, sign_type).await;
    pay(&world, "0001", 0..1).await;
    let cuts = cuts(relay.size());
    let count = cuts.len();
    relay.cut(cuts);
    pay(&world, "0001", 1..1 + count).await;
    let unknown = ("processing", Some("outcome_unknown"));
    let classes = check(&world, &relay, "pay", unknown, "succeeded").await;
    report(&relay, name, count, &classes);
    end(world, "succeeded").await;
}

/// V2, S3: the connection breaks after every byte of the HTTP answer to a pay. Signed with MD5, which
/// is quick: what did not come whole is not verified.
#[sqlx::test]
async fn v2_a_pay_whose_connection_breaks_after_any_byte_stays_open_and_ends_paid(pool: PgPool) {
    cut_pay(pool, "pay-broken", SignType::Md5, |size| {
        (0..=size.head + size.document).map(Cut::Broken).collect()
    })
    .await;
}

/// V2, S3: a whole HTTP answer holds the document only up to every byte.
#[sqlx::test]
async fn v2_a_pay_whose_document_ends_after_any_byte_stays_open_and_ends_paid(pool: PgPool) {
    cut_pay(pool, "pay-short", SignType::Md5, |size| {
        (0..=size.document).map(Cut::Short).collect()
    })
    .await;
}

/// V1, V2, S3: the same with the longer signature of RSA2, from where the answer stops to repeat the
/// request.
#[sqlx::test]
async fn v2_a_pay_whose_rsa2_document_ends_after_any_byte_stays_open_and_ends_paid(pool: PgPool) {
    cut_pay(pool, "pay-short-rsa2", SignType::Rsa2, |size| {
        (size.echo..=size.document).map(Cut::Short).collect()
    })
    .await;
}

/// V2: the answer to the query cut in the same way says nothing either.
#[sqlx::test]
async fn v2_a_query_whose_document_ends_after_any_byte_tells_nothing(pool: PgPool) {
    let (mut world, relay) = relayed(pool, AttemptKind::Query, SignType::Md5).await;
    pay(&world, "2003", 0..1).await;
    world.advance(TimeDelta::seconds(5)).await;
    work(&world, 0).await;
    let document = relay.size().document;
    let cuts: Vec<Cut> = (0..=document).map(Cut::Short).collect();
    let count = cuts.len();
    relay.cut(cuts);
    pay(&world, "2003", 1..1 + count).await;
    world.advance(TimeDelta::seconds(5)).await;
    work(&world, 0).await;
    let unknown = ("processing", Some("outcome_unknown"));
    let classes = check(&world, &relay, "query", unknown, "succeeded").await;
    report(&relay, "query-short", count, &classes);
    end(world, "succeeded").await;
}

/// V2, S6: the answer to the cancel of an unpaid trade cut in the same way confirms nothing.
#[sqlx::test]
async fn v2_a_cancel_whose_document_ends_after_any_byte_confirms_nothing(pool: PgPool) {
    let (world, relay) = relayed(pool, AttemptKind::Cancel, SignType::Md5).await;
    let cancel = async |id: &str| {
        let path = format!("/v1/payments/{id}/cancel");
        let request = world.till.request(reqwest::Method::POST, &path);
        let answer = Caller::send(request.header("prefer", "wait=0")).await;
        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    };
    let measured = pay(&world, "0102", 0..1).await;
    cancel(&measured[0]).await;
    world.settle_calls().await;
    let document = relay.size().document;
    let cuts: Vec<Cut> = (0..=document).map(Cut::Short).collect();
    let count = cuts.len();
    relay.cut(cuts);
    let ids = pay(&world, "0102", 1..1 + count).await;
    for ids in ids.chunks(AT_ONCE) {
        all(ids.iter().map(|id| cancel(id))).await;
        world.settle_calls().await;
    }
    let canceling = ("processing", Some("canceling"));
    let classes = check(&world, &relay, "cancel", canceling, "canceled").await;
    report(&relay, "cancel-short", count, &classes);
    end(world, "canceled").await;
}
