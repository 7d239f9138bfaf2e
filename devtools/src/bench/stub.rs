//! Alipay for a benchmark: pays everything, after a delay that may be set, and costs next to nothing.
//!
//! It checks nothing and remembers nothing but how much it was asked: what the simulator is for. It runs as a process
//! of its own (`devtools alipay-stub`), so that its CPU is counted apart.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::net::TcpListener;

use super::stub_key::StubKey;
use crate::say;

/// Options of `alipay-stub`.
#[derive(Debug, clap::Args)]
pub(crate) struct StubArgs {
    /// Where to write the public key, as PEM
    #[arg(long)]
    public_key_file: PathBuf,
}

/// What the stub's first line says before its address.
pub(super) const SAYS: &str = "alipay-stub listening on ";

struct Stub {
    key: StubKey,
    delay_ms: AtomicU64,
    asked: AtomicU64,
}

/// Serves until the process is ended.
pub(crate) async fn serve(options: StubArgs) -> anyhow::Result<()> {
    let key = StubKey::generate()?;
    std::fs::write(&options.public_key_file, key.public_pem()?)
        .with_context(|| format!("cannot write {}", options.public_key_file.display()))?;
    let stub = Arc::new(Stub {
        key,
        delay_ms: AtomicU64::new(0),
        asked: AtomicU64::new(0),
    });
    let app = axum::Router::new()
        .route("/gateway.do", post(answer))
        .route("/delay/{milliseconds}", post(set_delay))
        .route("/asked", get(asked))
        .with_state(stub);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&format!("{SAYS}http://{}", listener.local_addr()?));
    std::io::stdout().flush()?;
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await?;
    Ok(())
}

async fn set_delay(State(stub): State<Arc<Stub>>, Path(milliseconds): Path<u64>) {
    stub.delay_ms.store(milliseconds, Ordering::Relaxed);
}

async fn asked(State(stub): State<Arc<Stub>>) -> String {
    stub.asked.load(Ordering::Relaxed).to_string()
}

async fn answer(State(stub): State<Arc<Stub>>, body: String) -> impl IntoResponse {
    let number = stub.asked.fetch_add(1, Ordering::Relaxed);
    let delay = stub.delay_ms.load(Ordering::Relaxed);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let [service, trans_id, amount] =
        fields(&body, ["service", "partner_trans_id", "trans_amount"]);
    // A query is asked after a crash: of what the bench sells everything was paid.
    let is_query = service == "alipay.acquire.overseas.query";
    let amount = if amount.is_empty() {
        super::AMOUNT_DECIMAL
    } else {
        amount
    };
    let alipay_id = format!("2026010222{number:018}");
    let mut business = vec![
        ("alipay_buyer_login_id", "852-****0001"),
        ("alipay_buyer_user_id", "2088000000000099"),
        ("alipay_pay_time", "20260102030406"),
        ("alipay_trans_id", &alipay_id),
    ];
    if is_query {
        business.push(("alipay_trans_status", "TRADE_SUCCESS"));
    }
    business.push(("currency", "HKD"));
    if is_query {
        business.push(("out_trade_no", trans_id));
    }
    business.extend([
        ("partner_trans_id", trans_id),
        ("payment_inst", "ALIPAYHK"),
        ("result_code", "SUCCESS"),
        ("trans_amount", amount),
    ]);
    let (mut signed, mut elements) = (String::with_capacity(512), String::with_capacity(512));
    for (name, value) in business {
        if !signed.is_empty() {
            signed.push('&');
        }
        signed.extend([name, "=", value]);
        elements.extend(["<", name, ">", value, "</", name, ">"]);
    }
    let signature = BASE64.encode(stub.key.sign(signed.as_bytes()));
    let xml = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><alipay><is_success>T</is_success><request/><response><alipay>{elements}</alipay></response><sign>{signature}</sign><sign_type>RSA2</sign_type></alipay>"#
    );
    ([(header::CONTENT_TYPE, "text/xml;charset=UTF-8")], xml)
}

/// The values of these fields of a form; what is asked for here is never percent-encoded.
fn fields<'a, const N: usize>(form: &'a str, names: [&str; N]) -> [&'a str; N] {
    let mut found = [""; N];
    for pair in form.split('&') {
        if let Some((name, value)) = pair.split_once('=')
            && let Some(index) = names.iter().position(|wanted| *wanted == name)
        {
            found[index] = value;
        }
    }
    found
}
