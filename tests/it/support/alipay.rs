//! The simulator in the test's process, and the keys of both sides.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use alipay_simulator::{ClockKind, Server, Settings};
use alipayhk_gateway::{
    domain::accounts::signing::SignType,
    keys::{GenerateArgs, generate},
};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{runtime::Builder, sync::oneshot};
use url::Url;

use super::{PARTNER, leaks};

/// Where the throw-away keys are, and what the gateway reads of them.
pub(crate) struct Keys {
    pub(crate) dir: PathBuf,
    pub(crate) merchant_private: Vec<u8>,
    pub(crate) alipay_public: Vec<u8>,
}

/// The keys of this build: made once, by whichever test comes first.
pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("keys");
        if !dir.exists() {
            // Tests run in processes of their own: make the set aside, then move it into place.
            let aside = dir.with_extension(std::process::id().to_string());
            generate(&GenerateArgs {
                dir: aside.clone(),
                with_alipay: true,
                keep_existing: false,
            })
            .expect("keys can be made");
            // Another process may have been first; its keys are as good.
            if std::fs::rename(&aside, &dir).is_err() {
                std::fs::remove_dir_all(&aside).expect("the spare keys can be removed");
            }
        }
        let read = |name: &str| std::fs::read(dir.join(name)).expect("the keys can be read");
        Keys {
            merchant_private: read("merchant_private_key.pem"),
            alipay_public: read("alipay_public_key.pem"),
            dir,
        }
    })
}

/// The shared key of the MD5 agreement.
pub(crate) const MD5_KEY: &str = "760bdzec6y9goq7ctyx96ezkz78287de";

/// A file with [`MD5_KEY`].
pub(crate) fn md5_key_file() -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("md5.key");
    // Written aside and moved: another test may be reading it.
    let aside = file.with_extension(std::process::id().to_string());
    std::fs::write(&aside, MD5_KEY).expect("the key can be written");
    std::fs::rename(&aside, &file).expect("the key can be moved");
    file
}

/// A client that takes answers as they come.
pub(crate) fn client() -> Client {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // Another part of the program may have chosen the same provider first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a plain client")
}

/// Runs a simulator until the sender of `ended` is gone; tells its address.
fn simulate(settings: &Settings, tell: oneshot::Sender<SocketAddr>, ended: oneshot::Receiver<()>) {
    let _log = tracing::subscriber::set_default(leaks::watched("the simulator's log", "info"));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let server = Server::bind(settings).await.expect("a simulator");
        // The test may have ended meanwhile.
        let _ = tell.send(server.address());
        tokio::select! {
            failed = server.run() => failed.expect("the simulator runs"),
            _ = ended => {}
        }
    });
}

/// A running simulator; ends with the test. It has a thread and a log of its own: what the test waits for
/// keeps no answer of Alipay back.
pub(crate) struct Simulator {
    url: String,
    client: Client,
    /// Dropped, it ends the simulator.
    _lives: oneshot::Sender<()>,
}

impl Simulator {
    /// Starts one on a free port with its clock standing at `now`, or running with the machine's.
    pub(crate) async fn start(now: Option<DateTime<Utc>>, sign_type: SignType) -> Self {
        Self::start_with(now, sign_type, None).await
    }

    /// Starts one that lays out the daily files in a directory.
    pub(crate) async fn start_laying_out(now: DateTime<Utc>, directory: &Path) -> Self {
        Self::start_with(Some(now), SignType::Rsa2, Some(directory.to_owned())).await
    }

    async fn start_with(
        now: Option<DateTime<Utc>>,
        sign_type: SignType,
        files_dir: Option<PathBuf>,
    ) -> Self {
        let keys = &keys().dir;
        let settings = Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            partner: PARTNER.to_owned(),
            sign_type: match sign_type {
                SignType::Rsa2 => alipay_simulator::SignType::Rsa2,
                SignType::Rsa => alipay_simulator::SignType::Rsa,
                SignType::Md5 => alipay_simulator::SignType::Md5,
            },
            private_key_file: Some(keys.join("alipay_private_key.pem")),
            merchant_public_key_file: Some(keys.join("merchant_public_key.pem")),
            md5_key_file: Some(md5_key_file()),
            clock: now.map_or(ClockKind::System, |_| ClockKind::Manual),
            now,
            slow_answer_ms: 30_000,
            files_dir,
        };
        let (lives, ended) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || simulate(&settings, tell, ended));
        let address = told.await.expect("the simulator starts");
        Self {
            url: format!("http://{address}"),
            client: client(),
            _lives: lives,
        }
    }

    /// Where Alipay's services are.
    pub(crate) fn endpoint(&self) -> Url {
        format!("{}/gateway.do", self.url)
            .parse()
            .expect("an address")
    }

    /// Sets Alipay's clock.
    pub(crate) async fn set_clock(&self, to: DateTime<Utc>) {
        self.put("/_control/clock", &json!({"now": to.to_rfc3339()}))
            .await;
    }

    /// Moves Alipay's clock, running or not.
    pub(crate) async fn advance_clock(&self, by: TimeDelta) {
        self.put(
            "/_control/clock",
            &json!({"advance_ms": by.num_milliseconds()}),
        )
        .await;
    }

    /// Makes the next `times` calls of a service go wrong.
    pub(crate) async fn script(&self, service: &str, times: u32, fault: Value) {
        self.script_rule(&json!({
            "service": service, "partner_trans_id": null, "times": times, "fault": fault
        }))
        .await;
    }

    async fn script_rule(&self, rule: &Value) {
        self.post("/_control/faults", rule).await;
    }

    /// Makes the next call of a service about one refund go wrong.
    pub(crate) async fn script_for_refund(
        &self,
        service: &str,
        partner_refund_id: &str,
        fault: Value,
    ) {
        self.script_rule(&json!({
            "service": service, "partner_refund_id": partner_refund_id, "fault": fault
        }))
        .await;
    }

    /// Whom Alipay refuses, and how.
    pub(crate) async fn set_access(&self, access: &Value) {
        self.put("/_control/access", access).await;
    }

    /// The next `times` cancels or refunds are answered like this (`unknown`, `system_error`, `nothing`,
    /// `retry_success`, `success`) and take effect only so many seconds later, or never.
    pub(crate) async fn script_late(
        &self,
        service: &str,
        times: u32,
        answer: &str,
        after_seconds: Option<u32>,
    ) {
        let fault = json!({
            "type": "late_effect", "answer": answer, "after_seconds": after_seconds
        });
        self.script(service, times, fault).await;
    }

    /// The next `times` pays, cancels or refunds are refused with this code, signed; nothing happens.
    pub(crate) async fn script_refusal(&self, service: &str, times: u32, code: &str) {
        let fault = match service {
            "pay" => json!({"type": "result", "code": "FAILED", "error": code}),
            "cancel" => json!({"type": "cancel_fail", "code": code, "retry_flag": "N"}),
            _ => json!({"type": "refund_refuse", "code": code}),
        };
        self.script(service, times, fault).await;
    }

    /// The next `times` calls of a service hang until [`Self::release`], or until they are given up.
    pub(crate) async fn script_hanging(&self, service: &str, times: u32) {
        self.script(service, times, json!({"type": "hold"})).await;
    }

    /// Every service refuses the account with this code, unsigned, until it is `None`.
    pub(crate) async fn refuse_access(&self, code: Option<&str>) {
        self.set_access(&json!({"refusal": code})).await;
    }

    /// Alipay closes a paid trade by itself, and returns what no refund holds, or nothing.
    pub(crate) async fn close_paid(&self, partner_trans_id: &str, money_returned: bool) -> Value {
        let path = format!("/_control/trades/{partner_trans_id}/close");
        self.post(&path, &json!({"money_returned": money_returned}))
            .await
    }

    /// What answered requests will still do: `service`, `at`, and the ids.
    pub(crate) async fn late_effects(&self) -> Vec<Value> {
        self.get("/_control/ledger").await["late_effects"]
            .as_array()
            .expect("a list")
            .clone()
    }

    /// Forgets the faults that were scripted and not met.
    pub(crate) async fn clear_faults(&self) {
        let url = format!("{}/_control/faults", self.url);
        let answer = self.client.delete(url).send().await;
        assert!(answer.expect("the simulator answers").status().is_success());
    }

    /// Sends every answer that a `hold` fault keeps back.
    pub(crate) async fn release(&self) {
        let url = format!("{}/_control/release", self.url);
        self.client
            .post(url)
            .send()
            .await
            .expect("the simulator answers");
    }

    /// The buyer confirms now.
    pub(crate) async fn confirm(&self, partner_trans_id: &str) {
        let done = self.act(partner_trans_id, "confirm").await;
        assert!(done, "the buyer can confirm");
    }

    /// The buyer confirms or dismisses (`confirm`, `dismiss`), if the trade still waits for that.
    pub(crate) async fn act(&self, partner_trans_id: &str, what: &str) -> bool {
        let url = format!("{}/_control/trades/{partner_trans_id}/{what}", self.url);
        let answer = self.client.post(url).send().await;
        answer.expect("the simulator answers").status().is_success()
    }

    /// Every trade there ever was.
    pub(crate) async fn trades(&self) -> Vec<Value> {
        self.get("/_control/ledger").await["trades"]
            .as_array()
            .expect("a list")
            .clone()
    }

    /// Changes how refunds behave; what is not given stays as it is.
    pub(crate) async fn set_refund_policy(&self, policy: &Value) {
        self.put("/_control/refund_policy", policy).await;
    }

    /// An asynchronous refund on the day of its payment is done at once, as one document says.
    pub(crate) async fn refund_on_the_same_day(&self) {
        self.set_refund_policy(&json!({"same_day_immediate": true}))
            .await;
    }

    /// Every refund there ever was, in the order of acceptance.
    pub(crate) async fn refunds(&self) -> Vec<Value> {
        self.get("/_control/ledger").await["refunds"]
            .as_array()
            .expect("a list")
            .clone()
    }

    /// One refund; an object with `error` where there is none.
    pub(crate) async fn refund(&self, partner_refund_id: &str) -> Value {
        self.get(&format!("/_control/refunds/{partner_refund_id}"))
            .await
    }

    /// Alipay fails a refund that it processes, or has done.
    pub(crate) async fn fail_refund(&self, partner_refund_id: &str, code: &str) -> Value {
        let path = format!("/_control/refunds/{partner_refund_id}/fail");
        self.post(&path, &json!({"code": code})).await
    }

    /// As [`Self::fail_refund`], but the refund is canceled.
    pub(crate) async fn cancel_refund(&self, partner_refund_id: &str) -> Value {
        let path = format!("/_control/refunds/{partner_refund_id}/cancel");
        self.post(&path, &json!({})).await
    }

    /// Alipay does a refund that it processes, or that had failed.
    pub(crate) async fn succeed_refund(&self, partner_refund_id: &str) -> Value {
        let path = format!("/_control/refunds/{partner_refund_id}/succeed");
        self.post(&path, &json!({})).await
    }

    /// Somebody refunds in Alipay's merchant portal.
    pub(crate) async fn portal_refund(&self, partner_trans_id: &str, amount_minor: i64) -> Value {
        let path = format!("/_control/trades/{partner_trans_id}/portal_refund");
        self.post(&path, &json!({"amount_minor": amount_minor}))
            .await
    }

    /// Changes how registrations of stores are reviewed; what is not given stays as it is.
    pub(crate) async fn set_review_policy(&self, policy: &Value) {
        self.put("/_control/review_policy", policy).await;
    }

    /// Every registration there is.
    pub(crate) async fn registrations(&self) -> Vec<Value> {
        self.get("/_control/ledger").await["registrations"]
            .as_array()
            .expect("a list")
            .clone()
    }

    /// Alipay approves now what was submitted of a store, or refuses it for a reason.
    pub(crate) async fn decide_registration(
        &self,
        secondary_merchant_id: &str,
        store_id: &str,
        refusal: Option<&str>,
    ) -> Value {
        let path = format!("/_control/registrations/{secondary_merchant_id}/{store_id}");
        match refusal {
            Some(reason) => {
                let body = json!({"reason": reason});
                self.post(&format!("{path}/reject"), &body).await
            }
            None => self.post(&format!("{path}/approve"), &json!({})).await,
        }
    }

    /// Every notification, with its attempts.
    pub(crate) async fn notifications(&self) -> Vec<Value> {
        self.get("/_control/notifications").await["notifications"]
            .as_array()
            .expect("a list")
            .clone()
    }

    /// Turns notifications `on` or `off`, or has them `hold`; what was held is delivered before this
    /// returns.
    pub(crate) async fn set_notifications(&self, mode: &str) {
        self.put("/_control/notifications", &json!({"mode": mode}))
            .await;
    }

    /// Has notifications look as the `family`'s do, or as an `answer` does.
    pub(crate) async fn shape_notifications(&self, shape: &str) {
        self.put("/_control/notifications", &json!({"shape": shape}))
            .await;
    }

    /// Delivers what is due without moving the clock; returns how many were sent.
    pub(crate) async fn deliver_notifications(&self) -> u64 {
        let sent = self
            .post("/_control/notifications/deliver", &json!({}))
            .await;
        sent["sent"].as_u64().expect("a number")
    }

    /// Reports the success of a refund now, whether it has succeeded or not.
    pub(crate) async fn announce_refund(&self, partner_refund_id: &str) -> Value {
        let path = format!("/_control/refunds/{partner_refund_id}/announce");
        self.post(&path, &json!({})).await
    }

    /// Sends copies of a notification: `{"times", "concurrency", "replay"}`.
    pub(crate) async fn repeat_notification(&self, notify_id: &str, how: &Value) -> Value {
        let path = format!("/_control/notifications/{notify_id}/repeat");
        self.post(&path, how).await
    }

    /// Makes the next `times` notifications wrong.
    pub(crate) async fn script_notification(&self, times: u32, fault: &str) {
        let rule = json!({"times": times, "fault": {"type": fault}});
        self.post("/_control/notifications/faults", &rule).await;
    }

    /// The bytes of a daily file (`transaction` or `settlement`, `YYYYMMDD`), if there is one.
    pub(crate) async fn daily_file(&self, kind: &str, day: &str) -> Option<Vec<u8>> {
        let url = format!("{}/_control/files/{PARTNER}/{kind}/{day}", self.url);
        let answer = self.client.get(url).send().await;
        let answer = answer.expect("the simulator answers");
        let found = answer.status().is_success();
        let bytes = answer.bytes().await.expect("bytes");
        found.then(|| bytes.to_vec())
    }

    /// Makes something wrong with a daily file, and says what is in it.
    pub(crate) async fn plant(&self, kind: &str, day: &str, plant: &Value) -> Value {
        let path = format!("/_control/files/{PARTNER}/{kind}/{day}/plants");
        self.post(&path, plant).await
    }

    /// Lays out a daily file again, with what was planted since.
    pub(crate) async fn publish_file(&self, kind: &str, day: &str) -> Value {
        let path = format!("/_control/files/{PARTNER}/{kind}/{day}/publish");
        self.post(&path, &json!({})).await
    }

    /// Changes how daily files are made; what is not given stays as it is.
    pub(crate) async fn set_files(&self, settings: &Value) {
        self.put("/_control/files", settings).await;
    }

    /// The names of the daily files that have something in them.
    pub(crate) async fn file_names(&self) -> Vec<String> {
        let files = self.get("/_control/files").await;
        let names = files["files"].as_array().expect("a list").iter();
        names
            .map(|name| name.as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Every request received, oldest first.
    pub(crate) async fn requests(&self) -> Vec<Value> {
        self.get("/_control/requests").await["requests"]
            .as_array()
            .expect("a list")
            .clone()
    }

    /// How many answers a `hold` fault keeps back.
    pub(crate) async fn held(&self) -> i64 {
        let held = &self.get("/_control/summary").await["held"];
        held.as_i64().expect("a number")
    }

    /// How many requests of one service were received, by its short name's full form.
    pub(crate) async fn count(&self, service: &str) -> usize {
        self.requests()
            .await
            .iter()
            .filter(|request| request["service"] == service)
            .count()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await;
        let text = answer
            .expect("the simulator answers")
            .text()
            .await
            .expect("text");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self
            .client
            .post(format!("{}{path}", self.url))
            .json_body(body)
            .send()
            .await
            .expect("the simulator answers");
        let status = answer.status();
        let text = answer.text().await.expect("text");
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn put(&self, path: &str, body: &Value) {
        let answer = self
            .client
            .put(format!("{}{path}", self.url))
            .json_body(body)
            .send()
            .await;
        assert!(answer.expect("the simulator answers").status().is_success());
    }
}

/// `reqwest` is built without its JSON feature; this is all the tests need of it.
pub(crate) trait JsonBody {
    /// Sets the body and its media type.
    fn json_body(self, body: &Value) -> Self;
}

impl JsonBody for reqwest::RequestBuilder {
    fn json_body(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }
}
