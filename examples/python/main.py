"""Takes payments and gives money back by the generated client. See README.md beside this file."""

import os
import random
from io import BytesIO
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from generated import AuthenticatedClient
from generated.api.payments import cancel_payment_by_reference, create_payment, get_payment, get_payment_timeline
from generated.api.reconciliation import create_reconciliation
from generated.api.refunds import create_refund
from generated.models import (
    AmountRequest,
    Attempt,
    CancelByReferenceRequest,
    CanceledBeforeCreation,
    CreatePaymentRequest,
    CreateRefundRequest,
    Payment,
    Problem,
    Reconciliation,
    ReconciliationUpload,
    Refund,
    Timeline,
    Transition,
)
from generated.types import File

# The simulator reads from the last four digits what shall happen.
PAID_AT_ONCE, BUYER_CONFIRMS, NO_FUNDS = "0001", "0101", "1016"

T = TypeVar("T")


def client_of(key: str) -> AuthenticatedClient:
    return AuthenticatedClient(os.environ["GATEWAY_URL"], token=os.environ[key], timeout=None)


till = client_of("GATEWAY_API_KEY")
operator = client_of("GATEWAY_OPERATOR_KEY")


def barcode(ending: str) -> str:
    return f"28{random.randrange(10**12):012}{ending}"


def need(kind: type[T], answer: object) -> T:
    """What came, or an error that says what the problem document says."""
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, Problem):
        raise RuntimeError(f"{answer.status} {answer.code}: {answer.detail}")
    raise RuntimeError(f"not a {kind.__name__}: {answer}")


def pay(ending: str) -> Payment:
    # One key for each payment, made before the first try and kept until it has ended: whatever is sent again by it charges once.
    key = str(uuid4())
    order = CreatePaymentRequest(
        amount=AmountRequest(value=12850, currency="HKD"),
        barcode=barcode(ending),
        merchant_reference=f"ORDER-{key}",
        terminal_id="T1",
    )
    return need(Payment, create_payment.sync(client=till, body=order, idempotency_key=key, prefer="wait=2"))


def ended(payment_id: str) -> Payment:
    """Reads a payment until nothing will change by itself. `wait` holds each answer until something has changed."""
    while True:
        payment = need(Payment, get_payment.sync(payment_id, client=till, wait=20))
        if payment.outcome_certainty == "final":
            return payment


paid = pay(PAID_AT_ONCE)
print(f"paid: {paid.status} with {paid.wallet}")

waiting = pay(BUYER_CONFIRMS)
print(f"waited: {waiting.status}, then {ended(waiting.id).status}")

declined = pay(NO_FUNDS)
assert declined.failure
print(f"declined: {declined.status}, {declined.failure.code}, retry {declined.failure.retry}")

wanted = CreateRefundRequest(amount=AmountRequest(value=6425, currency="HKD"), reason="one tea was cold")
refund = need(Refund, create_refund.sync(paid.id, client=till, body=wanted, idempotency_key=str(uuid4())))
print(f"refunded: {refund.status}, {ended(paid.id).refunds.refundable} of {paid.amount.value} are left")

for reference in (pay(PAID_AT_ONCE).merchant_reference, f"ORDER-{uuid4()}"):
    outcome = cancel_payment_by_reference.sync(
        client=till, body=CancelByReferenceRequest(merchant_reference=reference)
    )
    match outcome:
        case Payment():
            money = "money returned" if outcome.money_returned else "nothing was paid"
            print(f"canceled: {outcome.status_reason}, {money}")
        case CanceledBeforeCreation():
            print(f"canceled before it was created: {outcome.status_reason}")
        case _:
            need(Payment, outcome)

timeline = need(Timeline, get_payment_timeline.sync(paid.id, client=till))
attempts = [item.kind for item in timeline.items if isinstance(item, Attempt)]
transitions = [item.event for item in timeline.items if isinstance(item, Transition)]
print(f"timeline: {len(attempts)} attempts, {len(transitions)} transitions")

name = "2088000000000001_transaction_20260309.txt"
content = BytesIO((Path(__file__).parent.parent / name).read_bytes())
upload = ReconciliationUpload(file=[File(payload=content, file_name=name)], dry_run=True)
report = need(Reconciliation, create_reconciliation.sync(client=operator, body=upload))
print(f"uploaded: {report.status}, {report.files[0].rows} rows")

nothing = CreatePaymentRequest(
    amount=AmountRequest(value=0, currency="HKD"), barcode=barcode(PAID_AT_ONCE), merchant_reference=f"ORDER-{uuid4()}"
)
problem = need(Problem, create_payment.sync(client=till, body=nothing, idempotency_key=str(uuid4())))
assert problem.errors
print(f"refused: {problem.status} {problem.code} at {problem.errors[0].pointer}")
