//! Posts what is due. Nothing ever leaves this machine: a `notify_url` is whatever the merchant
//! sent, so only `http` to a loopback address is delivered.

use std::{net::IpAddr, sync::Arc, time::Duration};

use reqwest::{Client, header::CONTENT_TYPE};
use tokio::task::JoinSet;
use url::{Host, Url};

use super::{Answer, Parcel, form::Form};
use crate::state::Simulator;

/// How much of an answer is read, in bytes.
const ANSWER_READ: usize = 4096;
/// How often a running clock is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Delivers all that is due, one after the other. Returns how many were sent when all of them were
/// answered, or had their time.
pub(crate) async fn deliver(simulator: &Simulator) -> usize {
    let _turn = simulator.courier.lock().await;
    let mut sent = 0;
    loop {
        let parcel = {
            let mut state = simulator.state();
            let now = state.settle();
            state.notifications.next(now)
        };
        let Some(parcel) = parcel else { return sent };
        send(simulator, &parcel).await;
        sent += 1;
    }
}

/// Delivers what a running clock makes due, for ever. A clock that stands still makes nothing due:
/// whoever moves it delivers.
pub(crate) async fn keep_delivering(simulator: Arc<Simulator>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let manual = simulator.state().clock.is_manual();
        if !manual {
            deliver(&simulator).await;
        }
    }
}

/// Sends parcels, so many at a time, without regard to what else is due.
pub(crate) async fn flood(simulator: &Arc<Simulator>, parcels: Vec<Parcel>, at_a_time: usize) {
    let mut under_way = JoinSet::new();
    for parcel in parcels {
        if under_way.len() >= at_a_time {
            under_way.join_next().await;
        }
        let simulator = Arc::clone(simulator);
        under_way.spawn(async move { send(&simulator, &parcel).await });
    }
    under_way.join_all().await;
}

async fn send(simulator: &Simulator, parcel: &Parcel) {
    let answer = match target(&parcel.about.notify_to.url) {
        None => Answer::undeliverable(),
        Some(url) => match parcel.form(&simulator.keys, &simulator.partner) {
            Ok(form) => post(&simulator.client, url, form).await,
            Err(error) => Answer::none(format!("{error:#}")),
        },
    };
    tracing::info!(
        notify_id = parcel.about.notify_id,
        partner_refund_id = parcel.about.refund.partner_refund_id,
        fault = parcel.fault.map(tracing::field::debug),
        status = answer.status,
        "notification {}: {:?}",
        parcel.about.notify_id,
        answer.result,
    );
    let mut state = simulator.state();
    let now = state.clock.now();
    state.notifications.sent(now, parcel, answer);
}

/// The URL, if it is on this machine.
fn target(url: &str) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    let loopback = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => IpAddr::from(address).is_loopback(),
        Host::Ipv6(address) => IpAddr::from(address).is_loopback(),
    };
    (url.scheme() == "http" && loopback).then_some(url)
}

async fn post(client: &Client, url: Url, form: Form) -> Answer {
    let request = client
        .post(url)
        .header(CONTENT_TYPE, form.content_type)
        .body(form.body);
    let answer = async {
        let mut response = request.send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() >= ANSWER_READ {
                break;
            }
        }
        Ok::<_, reqwest::Error>((response.status().as_u16(), body))
    };
    match answer.await {
        Ok((status, body)) => Answer::received(status, &String::from_utf8_lossy(&body)),
        Err(error) => Answer::none(format!("{:#}", anyhow::Error::new(error.without_url()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_to_this_machine_is_delivered() {
        for url in [
            "http://127.0.0.1:8080/alipay/notify/2088000000000001",
            "http://127.8.9.1/n",
            "http://[::1]:8080/n",
            "http://localhost:8080/n",
            "http://LOCALHOST/n",
        ] {
            assert!(target(url).is_some(), "{url}");
        }
        for url in [
            "https://127.0.0.1/n",
            "http://gateway:8080/n",
            "http://10.0.0.1/n",
            "http://localhost.example.com/n",
            "http://127.0.0.1@example.com/n",
            "http://[::ffff:10.0.0.1]/n",
            "http://0.0.0.0/n",
            "file:///etc/passwd",
            "nonsense",
        ] {
            assert!(target(url).is_none(), "{url}");
        }
    }
}
