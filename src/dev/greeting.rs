//! What `dev up` prints when everything runs: where things are, and lines to paste.

use super::gateway::Gateway;

/// The text. Identifiers in it are new at every start, so that pasted lines make new payments, and a line
/// pasted twice shows a replay.
pub(super) fn greeting(gateway: &Gateway, api_key: &str) -> String {
    let base = format!("http://{}", gateway.listen);
    let run = format!("{:06}", rand::random::<u32>() % 1_000_000);
    let paid = curl(
        &base,
        api_key,
        &run,
        &Example {
            name: "paid",
            code: "0001",
        },
    );
    let pending = curl(
        &base,
        api_key,
        &run,
        &Example {
            name: "pending",
            code: "0101",
        },
    );
    let declined = curl(
        &base,
        api_key,
        &run,
        &Example {
            name: "declined",
            code: "1001",
        },
    );
    let logs = gateway.state_dir.join("logs");
    format!(
        "
The gateway is ready.

  documentation   {base}/docs
  API key         {api_key}
  simulator       {simulator}
  logs            {logs}

Take a payment (the last four digits of the code choose what the simulator does):

{paid}

The buyer has to confirm first (paid after 5 s; the answer says where to ask):

{pending}

A decline:

{declined}

The same line again replays the payment instead of charging twice. All codes: alipay-simulator scenarios
Ctrl-C stops everything.",
        simulator = gateway.simulator_url,
        logs = logs.display(),
    )
}

struct Example {
    name: &'static str,
    /// The scenario of the simulator.
    code: &'static str,
}

fn curl(base: &str, api_key: &str, run: &str, example: &Example) -> String {
    let Example { name, code } = example;
    // 18 digits with a prefix that Alipay gives to wallets; other digits at every start, since the same code twice
    // within a minute is a suspected duplicate.
    let barcode = format!("28123456{run}{code}");
    format!(
        "curl -sS -i {base}/v1/payments -H 'Authorization: Bearer {api_key}' \\
  -H 'Idempotency-Key: {name}-{run}' -H 'Content-Type: application/json' \\
  -d '{{\"amount\":{{\"value\":12850,\"currency\":\"HKD\"}},\"barcode\":\"{barcode}\",\"merchant_reference\":\"{name}-{run}\",\"description\":\"Two teas\"}}'"
    )
}
