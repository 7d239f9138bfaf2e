// A gateway as a user would write it in Node: see ../README.md.
import { createHash, createPrivateKey, createPublicKey, randomUUID, sign, timingSafeEqual, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { XMLParser } from 'fast-xml-parser';
import Fastify from 'fastify';
import pg from 'pg';
import { Pool } from 'undici';

const { LISTEN, DATABASE_URL, ALIPAY_ENDPOINT, ALIPAY_PARTNER, PRIVATE_KEY_FILE, ALIPAY_PUBLIC_KEY_FILE, API_KEY_SHA256 } = process.env;
// Parsed once: parsing a key costs more than a signature.
const privateKey = createPrivateKey(readFileSync(PRIVATE_KEY_FILE));
const alipayKey = createPublicKey(readFileSync(ALIPAY_PUBLIC_KEY_FILE));
const apiKeyHash = Buffer.from(API_KEY_SHA256, 'hex');

const db = new pg.Pool({ connectionString: DATABASE_URL, max: 16 });
const endpoint = new URL(ALIPAY_ENDPOINT);
const alipay = new Pool(endpoint.origin, { connections: 512, pipelining: 1 });
const xml = new XMLParser({ parseTagValue: false, ignoreAttributes: true });

await db.query(`create table if not exists payment (
    id uuid primary key, idempotency_key text not null unique, fingerprint bytea not null,
    partner_trans_id text not null unique, merchant_reference text, amount_minor bigint not null, currency text not null,
    status text not null, alipay_trans_id text, buyer_login_id text, wallet text, failure_code text,
    created_at timestamptz not null default now(), updated_at timestamptz not null default now())`);

const INSERT = {
  name: 'insert',
  text: `insert into payment (id, idempotency_key, fingerprint, partner_trans_id, merchant_reference, amount_minor, currency, status)
         values ($1, $2, $3, $4, $5, $6, $7, 'processing') on conflict (idempotency_key) do nothing`,
};
const UPDATE = {
  name: 'update',
  text: `update payment set status = $2, alipay_trans_id = $3, buyer_login_id = $4, wallet = $5, failure_code = $6, updated_at = now()
         where id = $1 and status = 'processing'`,
};
const SELECT = { name: 'select', text: 'select * from payment where idempotency_key = $1' };

const canonical = (fields) =>
  Object.keys(fields).filter((name) => name !== 'sign' && name !== 'sign_type' && fields[name] !== '').sort()
    .map((name) => `${name}=${fields[name]}`).join('&');

const decimal = (minor) => `${Math.trunc(minor / 100)}.${String(minor % 100).padStart(2, '0')}`;

// Asks Alipay. Whatever cannot be believed leaves the payment as it is.
async function pay(transId, amount, barcode, created) {
  const fields = {
    service: 'alipay.acquire.overseas.spot.pay', partner: ALIPAY_PARTNER, _input_charset: 'UTF-8', alipay_seller_id: ALIPAY_PARTNER,
    trans_name: 'Payment', partner_trans_id: transId, currency: amount.currency, trans_amount: decimal(amount.value),
    buyer_identity_code: barcode, identity_code_type: 'barcode', trans_create_time: created,
    biz_product: 'OVERSEAS_MBARCODE_PAY',
    extend_info: JSON.stringify({ secondary_merchant_id: 'SM001', secondary_merchant_name: 'Demo Cafe Ltd', secondary_merchant_industry: '5812', store_id: 'S1', store_name: 'Demo Cafe Central' }),
  };
  fields.sign = sign('sha256', Buffer.from(canonical(fields)), privateKey).toString('base64');
  fields.sign_type = 'RSA2';
  const { statusCode, body } = await alipay.request({
    path: `${endpoint.pathname}?_input_charset=UTF-8`, method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams(fields).toString(),
    bodyTimeout: 10_000, headersTimeout: 10_000,
  });
  const text = await body.text();
  if (statusCode !== 200) return null;
  const answer = xml.parse(text).alipay;
  const business = answer?.response?.alipay;
  if (answer?.is_success !== 'T' || !business) return null;
  if (!verify('sha256', Buffer.from(canonical(business)), alipayKey, Buffer.from(answer.sign, 'base64'))) return null;
  if (business.result_code === 'FAILED') return { status: 'failed', code: business.error };
  const matches = business.partner_trans_id === transId && business.trans_amount === decimal(amount.value) && business.currency === amount.currency;
  return business.result_code === 'SUCCESS' && matches ? { status: 'succeeded', ...business } : null;
}

const view = (row) => ({
  object: 'payment', id: row.id, status: row.status, amount: { value: Number(row.amount_minor), currency: row.currency },
  partner_trans_id: row.partner_trans_id, merchant_reference: row.merchant_reference, alipay_trans_id: row.alipay_trans_id ?? null,
  buyer_login_id: row.buyer_login_id ?? null, wallet: row.wallet ?? null, failure_code: row.failure_code ?? null, created_at: row.created_at,
});

const app = Fastify({ logger: false });

app.addHook('onRequest', async (request, reply) => {
  const key = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  if (!timingSafeEqual(createHash('sha256').update(key).digest(), apiKeyHash)) return reply.code(401).send({ code: 'unauthorized' });
});

app.get('/health', { onRequest: [] }, async () => ({ ok: true }));

app.post('/v1/payments', {
  schema: {
    body: {
      type: 'object', required: ['amount', 'barcode'], additionalProperties: false,
      properties: {
        amount: { type: 'object', required: ['value', 'currency'], properties: { value: { type: 'integer', minimum: 1 }, currency: { const: 'HKD' } } },
        barcode: { type: 'string', pattern: '^(2[5-9]|30)[0-9]{14,22}$' }, merchant_reference: { type: 'string', maxLength: 64 },
      },
    },
  },
}, async (request, reply) => {
  const key = request.headers['idempotency-key'];
  if (!key) return reply.code(400).send({ code: 'idempotency_key_missing' });
  const { amount, barcode, merchant_reference: reference } = request.body;
  const fingerprint = createHash('sha256').update(JSON.stringify(request.body)).digest();
  const id = randomUUID();
  const transId = `N${id.replaceAll('-', '')}`;
  const now = new Date();
  const inserted = await db.query({ ...INSERT, values: [id, key, fingerprint, transId, reference, amount.value, amount.currency] });
  if (inserted.rowCount === 0) {
    const { rows: [row] } = await db.query({ ...SELECT, values: [key] });
    if (!row.fingerprint.equals(fingerprint)) return reply.code(422).send({ code: 'idempotency_key_reused' });
    return reply.code(200).send(view(row));
  }
  const hongKong = new Date(now.getTime() + 8 * 3_600_000).toISOString().slice(0, 19).replace('T', ' ');
  const told = await pay(transId, amount, barcode, hongKong).catch(() => null);
  const row = {
    id, status: told?.status ?? 'processing', amount_minor: amount.value, currency: amount.currency, partner_trans_id: transId,
    merchant_reference: reference, alipay_trans_id: told?.alipay_trans_id, buyer_login_id: told?.alipay_buyer_login_id,
    wallet: told?.payment_inst, failure_code: told?.code, created_at: now,
  };
  if (told) await db.query({ ...UPDATE, values: [id, row.status, row.alipay_trans_id, row.buyer_login_id, row.wallet, row.failure_code] });
  return reply.code(told ? 201 : 202).send(view(row));
});

const [host, port] = LISTEN.split(':');
await app.listen({ host, port: Number(port) });
