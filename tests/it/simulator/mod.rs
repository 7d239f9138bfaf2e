//! The simulated Alipay refunds and notifies as the documents say, and every control for it does what
//! it promises: seen by the gateway's own client, which verifies each answer, and by a merchant's
//! server that takes notifications.

mod clients;
mod files;
mod late;
mod notifications;
mod refunds;
mod registrations;

use std::{
    collections::VecDeque,
    str::FromStr as _,
    sync::{Arc, Mutex, PoisonError},
};

use alipayhk_gateway::{
    alipay::{
        client::{Alipay, AlipaySettings},
        notification::{NotificationError, VerifiedNotification},
        outcome::{PayOutcome, RefundOutcome, RefundQueryOutcome},
        request::{PayRequest, RefundMode, RefundQueryRequest, RefundRequest, SecondaryMerchant},
    },
    clock::ManualClock,
    domain::{
        accounts::signing::SignType,
        id::{PartnerRefundId, PartnerTransId},
        money::{Currency, Money},
        payments::barcode::Barcode,
    },
};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap};
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::support::{PARTNER, alipay::Simulator, credentials, http::barcode};

/// Noon of 2026-01-02 in Hong Kong.
fn noon() -> DateTime<Utc> {
    hk("01-02 12:00:00")
}

/// An instant of 2026 in Hong Kong.
fn hk(text: &str) -> DateTime<Utc> {
    let text = format!("2026-{}+08:00", text.replace(' ', "T"));
    text.parse().expect("an instant")
}

/// A merchant's server: it keeps what is posted and answers `success`, or what it was told to.
#[derive(Clone)]
struct Inbox {
    url: Url,
    posts: Arc<Mutex<Vec<Post>>>,
    answers: Arc<Mutex<VecDeque<&'static str>>>,
}

#[derive(Clone)]
struct Post {
    content_type: String,
    body: Vec<u8>,
}

impl Inbox {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let url = format!("http://{address}/alipay/notify/{PARTNER}");
        let inbox = Self {
            url: url.parse().expect("an address"),
            posts: Arc::default(),
            answers: Arc::default(),
        };
        let app = Router::new().fallback(take).with_state(inbox.clone());
        TaskTracker::new().spawn(async move { axum::serve(listener, app).await });
        inbox
    }

    /// What the next posts are answered.
    fn answer(&self, answers: &[&'static str]) {
        let mut next = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        next.extend(answers);
    }

    /// What was posted since the last time.
    fn take(&self) -> Vec<Post> {
        std::mem::take(&mut *self.posts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn take(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> &'static str {
    let content_type = headers.get("content-type");
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let post = Post {
        content_type: content_type.unwrap_or_default().to_owned(),
        body: body.into(),
    };
    let mut posts = inbox.posts.lock().unwrap_or_else(PoisonError::into_inner);
    posts.push(post);
    let mut answers = inbox.answers.lock().unwrap_or_else(PoisonError::into_inner);
    answers.pop_front().unwrap_or("success")
}

impl Post {
    fn verify(&self, sign_type: SignType) -> Result<VerifiedNotification, NotificationError> {
        let content_type = Some(self.content_type.as_str());
        VerifiedNotification::verify(&credentials(sign_type), content_type, &self.body)
    }

    fn genuine(&self) -> VerifiedNotification {
        self.verify(SignType::Rsa2).expect("signed by Alipay")
    }

    fn field(&self, name: &str) -> String {
        let pairs = url::form_urlencoded::parse(&self.body);
        let value = pairs.into_iter().find(|(found, _)| found == name);
        value
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    }
}

/// A simulator, the gateway's client, and an inbox.
struct Store {
    simulator: Simulator,
    alipay: Alipay,
    inbox: Inbox,
    refunds: u32,
}

impl Store {
    async fn open() -> Self {
        Self::open_with(Some(noon()), SignType::Rsa2).await
    }

    async fn open_with(now: Option<DateTime<Utc>>, sign_type: SignType) -> Self {
        let simulator = Simulator::start(now, sign_type).await;
        Self::at(simulator, sign_type).await
    }

    /// A store at a simulator that runs, with a payment of 10.00.
    async fn with_payment(simulator: Simulator) -> (Self, PartnerTransId) {
        let store = Self::at(simulator, SignType::Rsa2).await;
        let payment = store.pay("0001").await;
        (store, payment)
    }

    async fn at(simulator: Simulator, sign_type: SignType) -> Self {
        // Most of what follows looks at refunds that are done.
        simulator.refund_on_the_same_day().await;
        let alipay = client(&simulator, sign_type, noon());
        Self {
            simulator,
            alipay,
            inbox: Inbox::open().await,
            refunds: 0,
        }
    }

    /// A payment of 10.00 with the code's ending.
    async fn pay(&self, ending: &str) -> PartnerTransId {
        let (id, outcome) = pay_at(&self.alipay, ending, "ST01").await;
        let paid = matches!(outcome, PayOutcome::Paid { .. });
        assert!(paid, "{ending}: {outcome:?}");
        id
    }

    /// A request to refund 1.00 under a new id.
    fn request(&mut self, payment: &PartnerTransId, mode: &str) -> RefundRequest {
        self.refunds += 1;
        let notify_url = Some(self.inbox.url.clone());
        RefundRequest {
            partner_trans_id: payment.clone(),
            partner_refund_id: PartnerRefundId::from_stored(format!("R{}", self.refunds)),
            amount: money(100),
            reason: Some("soup missing".to_owned()),
            mode: match mode {
                "sync" => RefundMode::Synchronous,
                _ => RefundMode::Asynchronous { notify_url },
            },
            alipay_trans_id: None,
        }
    }

    async fn send(&self, request: &RefundRequest) -> RefundOutcome {
        self.alipay.refund(request, || false).await.outcome
    }

    /// Asks for an asynchronous refund of a payment of its own, which Alipay takes.
    async fn refund_later(&mut self) -> RefundRequest {
        let payment = self.pay("0001").await;
        let request = self.request(&payment, "async");
        let outcome = self.send(&request).await;
        let accepted = matches!(outcome, RefundOutcome::Accepted { .. });
        assert!(accepted, "{outcome:?}");
        request
    }

    async fn ask(&self, refund: &RefundRequest) -> RefundQueryOutcome {
        let request = RefundQueryRequest {
            partner_trans_id: refund.partner_trans_id.clone(),
            partner_refund_id: refund.partner_refund_id.clone(),
            alipay_trans_id: None,
        };
        self.alipay.query_refund(&request).await.outcome
    }

    /// The only notification.
    async fn notification(&self) -> Value {
        let notifications = self.simulator.notifications().await;
        assert_eq!(notifications.len(), 1, "{notifications:?}");
        notifications[0].clone()
    }

    async fn notification_state(&self) -> String {
        let notifications = self.simulator.notifications().await;
        let state = notifications.first().map(|first| text(first, "state"));
        state.unwrap_or_default().to_owned()
    }

    async fn verify(&self, notify_id: &str) -> String {
        let mut url = self.simulator.endpoint();
        url.query_pairs_mut()
            .append_pair("service", "notify_verify")
            .append_pair("partner", PARTNER)
            .append_pair("notify_id", notify_id);
        let answer = crate::support::alipay::client().get(url).send().await;
        answer.expect("an answer").text().await.expect("text")
    }
}

/// The gateway's client, by whose clock it is `now`.
fn client(simulator: &Simulator, sign_type: SignType, now: DateTime<Utc>) -> Alipay {
    let settings = AlipaySettings::new(
        simulator.endpoint(),
        PARTNER.to_owned(),
        credentials(sign_type),
    );
    Alipay::new(settings, Arc::new(ManualClock::new(now))).expect("a client")
}

/// A payment of 10.00 with the code's ending at a store.
async fn pay_at(alipay: &Alipay, ending: &str, store_id: &str) -> (PartnerTransId, PayOutcome) {
    let id = PartnerTransId::from_stored(format!("P{}", barcode(ending)));
    let request = PayRequest {
        partner_trans_id: id.clone(),
        amount: money(1000),
        barcode: Barcode::from_str(&barcode(ending)).expect("a wallet's code"),
        description: "table 4".to_owned(),
        created_at: noon(),
        secondary_merchant: SecondaryMerchant {
            id: "SM001".to_owned(),
            name: "Demo Cafe Ltd".to_owned(),
            industry: "5812".to_owned(),
            store_id: store_id.to_owned(),
            store_name: "Demo Cafe Central".to_owned(),
            terminal_id: None,
            service_provider_id: None,
        },
    };
    (id, alipay.pay(&request, || false).await.outcome)
}

fn money(minor: i64) -> Money {
    Money::payment(minor, Currency::from_code("HKD").expect("known")).expect("an amount")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
