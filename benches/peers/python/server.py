"""A gateway as a user would write it in Python: see ../README.md."""

import base64
import hashlib
import hmac
import json
import os
import uuid
import xml.etree.ElementTree as ElementTree
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Literal

import asyncpg
import httpx
import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from fastapi import FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

PARTNER = os.environ["ALIPAY_PARTNER"]
ENDPOINT = os.environ["ALIPAY_ENDPOINT"]
API_KEY_SHA256 = os.environ["API_KEY_SHA256"]
HONG_KONG = timezone(timedelta(hours=8))
with open(os.environ["PRIVATE_KEY_FILE"], "rb") as file:
    PRIVATE_KEY = load_pem_private_key(file.read(), None)
with open(os.environ["ALIPAY_PUBLIC_KEY_FILE"], "rb") as file:
    ALIPAY_KEY = load_pem_public_key(file.read())

TABLE = """create table if not exists payment (
    id uuid primary key, idempotency_key text not null unique, fingerprint bytea not null,
    partner_trans_id text not null unique, merchant_reference text, amount_minor bigint not null, currency text not null,
    status text not null, alipay_trans_id text, buyer_login_id text, wallet text, failure_code text,
    created_at timestamptz not null default now(), updated_at timestamptz not null default now())"""
INSERT = """insert into payment
    (id, idempotency_key, fingerprint, partner_trans_id, merchant_reference, amount_minor, currency, status)
    values ($1, $2, $3, $4, $5, $6, $7, 'processing') on conflict (idempotency_key) do nothing"""
UPDATE = """update payment set status = $2, alipay_trans_id = $3, buyer_login_id = $4, wallet = $5, failure_code = $6,
    updated_at = now() where id = $1 and status = 'processing'"""


class Amount(BaseModel):
    value: int = Field(ge=1)
    currency: Literal["HKD"]


class NewPayment(BaseModel):
    model_config = ConfigDict(extra="forbid")
    amount: Amount
    barcode: str = Field(pattern=r"^(2[5-9]|30)[0-9]{14,22}$")
    merchant_reference: str | None = Field(default=None, max_length=64)


@asynccontextmanager
async def lifespan(app: FastAPI):
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=512)
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=16) as app.state.db:
        await app.state.db.execute(TABLE)
        async with httpx.AsyncClient(timeout=10, limits=limits, trust_env=False) as app.state.alipay:
            yield


app = FastAPI(lifespan=lifespan)


def canonical(fields: dict[str, str]) -> bytes:
    names = sorted(name for name, value in fields.items() if value and name not in ("sign", "sign_type"))
    return "&".join(f"{name}={fields[name]}" for name in names).encode()


def decimal(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"


async def pay(trans_id: str, request: NewPayment, now: datetime) -> dict[str, str] | None:
    """Asks Alipay. Whatever cannot be believed leaves the payment as it is."""
    amount = request.amount
    fields = {
        "service": "alipay.acquire.overseas.spot.pay", "partner": PARTNER, "_input_charset": "UTF-8", "alipay_seller_id": PARTNER,
        "trans_name": "Payment", "partner_trans_id": trans_id, "currency": amount.currency, "trans_amount": decimal(amount.value),
        "buyer_identity_code": request.barcode, "identity_code_type": "barcode",
        "trans_create_time": now.astimezone(HONG_KONG).strftime("%Y-%m-%d %H:%M:%S"), "biz_product": "OVERSEAS_MBARCODE_PAY",
        "extend_info": json.dumps({
            "secondary_merchant_id": "SM001", "secondary_merchant_name": "Demo Cafe Ltd", "secondary_merchant_industry": "5812",
            "store_id": "S1", "store_name": "Demo Cafe Central"}),
    }
    signature = PRIVATE_KEY.sign(canonical(fields), padding.PKCS1v15(), hashes.SHA256())
    fields |= {"sign": base64.b64encode(signature).decode(), "sign_type": "RSA2"}
    answer = await app.state.alipay.post(ENDPOINT, params={"_input_charset": "UTF-8"}, data=fields)
    if answer.status_code != 200:
        return None
    root = ElementTree.fromstring(answer.content)
    business = {element.tag: element.text or "" for element in root.findall("./response/alipay/*")}
    if root.findtext("is_success") != "T":
        return None
    try:
        ALIPAY_KEY.verify(base64.b64decode(root.findtext("sign") or ""), canonical(business), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return None
    if business["result_code"] == "FAILED":
        return {"status": "failed", "code": business.get("error", "")}
    told = (business.get("partner_trans_id"), business.get("trans_amount"), business.get("currency"))
    matches = told == (trans_id, decimal(amount.value), amount.currency)
    return business | {"status": "succeeded"} if business["result_code"] == "SUCCESS" and matches else None


@app.get("/health")
async def health() -> dict[str, bool]:
    return {"ok": True}


@app.post("/v1/payments")
async def create(request: NewPayment, response: Response, authorization: str = Header(), idempotency_key: str = Header()):
    key = authorization.removeprefix("Bearer ")
    if not hmac.compare_digest(hashlib.sha256(key.encode()).hexdigest(), API_KEY_SHA256):
        raise HTTPException(401)
    payment_id = uuid.uuid4()
    trans_id = f"P{payment_id.hex}"
    now = datetime.now(timezone.utc)
    fingerprint = hashlib.sha256(request.model_dump_json().encode()).digest()
    amount = request.amount
    db = app.state.db
    tag = await db.execute(
        INSERT, payment_id, idempotency_key, fingerprint, trans_id, request.merchant_reference, amount.value, amount.currency)
    if tag == "INSERT 0 0":
        row = await db.fetchrow("select * from payment where idempotency_key = $1", idempotency_key)
        if row["fingerprint"] != fingerprint:
            raise HTTPException(422)
        return view(dict(row))
    try:
        told = await pay(trans_id, request, now)
    except httpx.HTTPError:
        told = None
    row = {
        "id": payment_id, "status": told["status"] if told else "processing", "amount_minor": amount.value, "currency": amount.currency,
        "partner_trans_id": trans_id, "merchant_reference": request.merchant_reference, "created_at": now,
        "alipay_trans_id": told and told.get("alipay_trans_id"), "buyer_login_id": told and told.get("alipay_buyer_login_id"),
        "wallet": told and told.get("payment_inst"), "failure_code": told and told.get("code"),
    }
    if told:
        await db.execute(
            UPDATE, payment_id, row["status"], row["alipay_trans_id"], row["buyer_login_id"], row["wallet"], row["failure_code"])
    response.status_code = 201 if told else 202
    return view(row)


def view(row: dict) -> dict:
    return {
        "object": "payment", "id": row["id"], "status": row["status"],
        "amount": {"value": row["amount_minor"], "currency": row["currency"]}, "partner_trans_id": row["partner_trans_id"],
        "merchant_reference": row["merchant_reference"], "alipay_trans_id": row["alipay_trans_id"],
        "buyer_login_id": row["buyer_login_id"], "wallet": row["wallet"], "failure_code": row["failure_code"],
        "created_at": row["created_at"],
    }


if __name__ == "__main__":
    host, port = os.environ["LISTEN"].split(":")
    uvicorn.run(app, host=host, port=int(port), log_level="warning", access_log=False)
