"""A till: reads scanned codes with amounts, takes payments, and does what `next_action` says until each has ended.

Only the standard library, so that the loop itself is what there is to read. See README.md beside this file.
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from decimal import Decimal

URL = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_API_KEY"]


def ask(method: str, path: str, body: dict | None = None, headers: dict | None = None) -> tuple[int, dict]:
    """An answer, or `(0, {})` where none came: then nobody knows, and the same request may be sent again."""
    request = urllib.request.Request(URL + path, json.dumps(body).encode() if body else None, method=method)
    request.add_header("Authorization", f"Bearer {KEY}")
    request.add_header("Content-Type", "application/json")
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=70) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        return refused.status, json.load(refused)
    except OSError:
        return 0, {}


def take(barcode: str, amount: Decimal) -> str:
    """Takes one payment. Returns what the person at the till should read."""
    # Kept until the payment has ended, whatever happens: the same key never charges twice.
    key = str(uuid.uuid4())
    order = {
        "amount": {"value": int(amount * 100), "currency": "HKD"},
        "barcode": barcode,
        "merchant_reference": f"TILL-{key}",
        "allow_duplicate": True,
    }
    for attempt in range(5):
        status, payment = ask("POST", "/v1/payments", order, {"Idempotency-Key": key, "Prefer": "wait=10"})
        if status in (200, 201, 202):
            return follow(payment)
        if 400 <= status < 500 and status not in (408, 429):
            # The same request would be refused again. Nothing was charged unless `payment_id` says what was.
            return f"refused: {payment['detail']}"
        time.sleep(min(2**attempt, 10))
    # No answer at all: whatever the requests have begun is undone, and a late one is refused.
    status, outcome = ask("POST", "/v1/payments/cancel", {"idempotency_key": key})
    if status in (200, 202):
        return "canceled: no answer came" if outcome["object"] == "canceled_before_creation" else follow(outcome)
    return "unknown: ask the operator before the buyer pays again"


def follow(payment: dict) -> str:
    """Does what `next_action` says until there is nothing to do but to hand over the goods, or not."""
    while True:
        action = payment["next_action"]["type"]
        if action == "call_operator":
            return "unknown: call the operator; do not let the buyer pay again"
        if payment["outcome_certainty"] == "final":
            return ended(payment)
        if action == "ask_buyer_to_confirm":
            print("ask the buyer to confirm in the wallet", flush=True)
        # The gateway asks Alipay by itself; the read is held until something changes.
        status, read = ask("GET", f"/v1/payments/{payment['id']}?wait=30")
        if status == 200:
            payment = read
        else:
            time.sleep(2)


def ended(payment: dict) -> str:
    match payment["status"]:
        case "succeeded":
            return f"paid by {payment['wallet']}"
        case "failed":
            return f"not paid: {payment['failure']['message']}"
        case "canceled":
            return f"not paid: canceled, {payment['status_reason']}"
        case other:
            # Statuses may be added: what is not known is not paid.
            return f"not paid: {other}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="no prompt, for lines from a file")
    prompt = "" if parser.parse_args().once else "code and amount in HKD> "
    while True:
        print(prompt, end="", flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            return
        barcode, amount = line.split()
        print(take(barcode, Decimal(amount)), flush=True)


main()
