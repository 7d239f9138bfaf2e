//! What `up` prints when everything runs: where things are, and lines to paste.

use super::gateway::Gateway;

/// The text. Identifiers in it are new at every start, so that pasted lines make new payments, and a line
/// pasted twice shows a replay.
pub(super) fn greeting(gateway: &Gateway, api_key: &str, operator_key: &str) -> String {
    let base = format!("http://{}", gateway.listen);
    let run = format!("{:06}", rand::random::<u32>() % 1_000_000);
    let paid = curl(&base, api_key, &run, "paid", "0001");
    let pending = curl(&base, api_key, &run, "pending", "0101");
    let declined = curl(&base, api_key, &run, "declined", "1016");
    let simulator_program = super::gateway::simulator_program().unwrap_or_default();
    let logs = gateway.state_dir.join("logs");
    format!(
        "
The gateway is ready.

  documentation   {base}/docs
  API key         {api_key}   (a merchant's: pays, refunds, reads)
  operator's key  {operator_key}   (all merchants: /v1/follow-ups, /v1/unresolved, /v1/admin)
  simulator       {simulator}
  logs            {logs}

Take a payment (the last four digits of the code choose what the simulator does):

{paid}

The same line again replays it instead of charging twice.

A buyer who must confirm first (the answer is held for 5 s, then it is `processing`):

{pending}

The buyer has confirmed meanwhile; ask again:

curl -sS '{base}/v1/payments?merchant_reference=pending-{run}' -H 'Authorization: Bearer {api_key}' -w '\\n'

A decline:

{declined}

Give half of the first one back (with the id that its answer showed), or all of it in Alipay's next batch with \"mode\":\"async\":

curl -sS -i -w '\\n' {base}/v1/payments/pay_.../refunds -H 'Authorization: Bearer {api_key}' \\
  -H 'Idempotency-Key: refund-{run}' -H 'Content-Type: application/json' -d '{{\"amount\":{{\"value\":6425,\"currency\":\"HKD\"}}}}'

All codes: {simulator_program} scenarios
Ctrl-C stops everything.",
        simulator = gateway.simulator_url,
        logs = logs.display(),
        simulator_program = simulator_program.display(),
    )
}

/// `code`, the scenario of the simulator, ends the barcode. Its 18 digits begin with a prefix that Alipay gives to wallets;
/// those between are new at every start, since the same code twice within a minute is a suspected duplicate.
fn curl(base: &str, api_key: &str, run: &str, name: &str, code: &str) -> String {
    format!(
        "curl -sS -i -w '\\n' {base}/v1/payments -H 'Authorization: Bearer {api_key}' \\
  -H 'Idempotency-Key: {name}-{run}' -H 'Content-Type: application/json' \\
  -d '{{\"amount\":{{\"value\":12850,\"currency\":\"HKD\"}},\"barcode\":\"28123456{run}{code}\",\"merchant_reference\":\"{name}-{run}\",\"description\":\"Two teas\"}}'"
    )
}
