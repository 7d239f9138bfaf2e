// Takes payments and gives money back by the generated types. See README.md beside this file.

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";

import type { components, paths } from "./generated/gateway.js";

type Schemas = components["schemas"];

const baseUrl = setting("GATEWAY_URL");
const till = clientOf(setting("GATEWAY_API_KEY"));
const operator = clientOf(setting("GATEWAY_OPERATOR_KEY"));

/** The simulator reads from the last four digits what shall happen. */
const PAID_AT_ONCE = "0001";
const BUYER_CONFIRMS = "0101";
const NO_FUNDS = "1016";

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`set ${name}`);
  return value;
}

function clientOf(key: string) {
  return createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });
}

function barcode(ending: string): string {
  const random = Math.floor(Math.random() * 1e12);
  return `28${random.toString().padStart(12, "0")}${ending}`;
}

/** What came, or an error that says what the problem document says. */
function need<T>(answer: { data?: T; error?: Schemas["Problem"]; response: Response }): T {
  if (answer.data !== undefined) return answer.data;
  throw new Error(`${answer.response.status} ${answer.error?.code}: ${answer.error?.detail}`);
}

async function pay(ending: string): Promise<Schemas["Payment"]> {
  // One key for each payment, made before the first try and kept until it has ended: whatever is sent again by it charges once.
  const key = randomUUID();
  const answer = await till.POST("/v1/payments", {
    params: { header: { "Idempotency-Key": key, Prefer: "wait=2" } },
    body: {
      amount: { value: 12850, currency: "HKD" },
      barcode: barcode(ending),
      merchant_reference: `ORDER-${key}`,
      terminal_id: "T1",
    },
  });
  return need(answer);
}

/** Reads a payment until nothing will change by itself. `wait` holds each answer until something has changed. */
async function ended(id: string): Promise<Schemas["Payment"]> {
  for (;;) {
    const payment = need(
      await till.GET("/v1/payments/{id}", { params: { path: { id }, query: { wait: 20 } } }),
    );
    if (payment.outcome_certainty === "final") return payment;
  }
}

const paid = await pay(PAID_AT_ONCE);
console.log(`paid: ${paid.status} with ${paid.wallet}`);

const waiting = await pay(BUYER_CONFIRMS);
console.log(`waited: ${waiting.status}, then ${(await ended(waiting.id)).status}`);

const declined = await pay(NO_FUNDS);
console.log(`declined: ${declined.status}, ${declined.failure?.code}, retry ${declined.failure?.retry}`);

const refund = need(
  await till.POST("/v1/payments/{id}/refunds", {
    params: { path: { id: paid.id }, header: { "Idempotency-Key": randomUUID() } },
    body: { amount: { value: 6425, currency: "HKD" }, reason: "one tea was cold" },
  }),
);
const left = (await ended(paid.id)).refunds.refundable;
console.log(`refunded: ${refund.status}, ${left} of ${paid.amount.value} are left`);

const unwanted = await pay(PAID_AT_ONCE);
for (const merchant_reference of [unwanted.merchant_reference, `ORDER-${randomUUID()}`]) {
  const outcome = need(await till.POST("/v1/payments/cancel", { body: { merchant_reference } }));
  switch (outcome.object) {
    case "payment": {
      const money = outcome.money_returned === true ? "money returned" : "nothing was paid";
      console.log(`canceled: ${outcome.status_reason}, ${money}`);
      break;
    }
    case "canceled_before_creation":
      console.log(`canceled before it was created: ${outcome.status_reason}`);
      break;
  }
}

const timeline = need(
  await till.GET("/v1/payments/{id}/timeline", { params: { path: { id: paid.id } } }),
);
const attempts = timeline.items.flatMap((item) => (item.type === "attempt" ? [item.kind] : []));
const transitions = timeline.items.flatMap((item) => (item.type === "transition" ? [item.event] : []));
console.log(`timeline: ${attempts.length} attempts, ${transitions.length} transitions`);

const name = "2088000000000001_transaction_20260309.txt";
const file = new File([await readFile(`../${name}`)], name);
const report = need(
  await operator.POST("/v1/reconciliations", {
    // What is binary is a string in the types: the form is made by the serializer.
    body: { file: [], dry_run: true },
    bodySerializer: ({ dry_run }) => {
      const form = new FormData();
      form.append("file", file);
      form.append("dry_run", String(dry_run));
      return form;
    },
  }),
);
console.log(`uploaded: ${report.status}, ${report.files[0]?.rows} rows`);

const refused = await till.POST("/v1/payments", {
  params: { header: { "Idempotency-Key": randomUUID() } },
  body: {
    amount: { value: 0, currency: "HKD" },
    barcode: barcode(PAID_AT_ONCE),
    merchant_reference: `ORDER-${randomUUID()}`,
  },
});
const problem = refused.error;
console.log(`refused: ${problem?.status} ${problem?.code} at ${problem?.errors?.[0]?.pointer}`);
