"""Runs the commands of pages against the gateway, and compares the answers that the pages show by their members.

    check_docs.py PAGE...

Only commands that call the gateway (`curl`) are run. An answer that a page shows may leave members out (`...`); what it shows must be there, and
words of ours (status, reasons, codes) must be the same. Ids and times are others at each run.
"""

import json
import os
import random
import re
import subprocess
import sys
import urllib.request
import uuid

URL, KEY = os.environ["GATEWAY_URL"], os.environ["GATEWAY_API_KEY"]
SAME = {"object", "status", "status_reason", "outcome_certainty", "code", "attempted", "retryable", "action", "mode", "money_returned", "type"}

# What a page's id is here.
ids: dict[str, str] = {}


def paid() -> str:
    """The id of a new payment, for a page that shows one of which it has not told."""
    body = {
        "amount": {"value": 12850, "currency": "HKD"},
        "barcode": f"28{random.randrange(10**12):012}0001",
        "merchant_reference": str(uuid.uuid4()),
    }
    request = urllib.request.Request(f"{URL}/v1/payments", json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {KEY}")
    request.add_header("Content-Type", "application/json")
    request.add_header("Idempotency-Key", str(uuid.uuid4()))
    with urllib.request.urlopen(request) as response:
        return str(json.load(response)["id"])


def differences(shown: object, found: object, path: str = "") -> list[str]:
    if isinstance(shown, dict):
        if not isinstance(found, dict):
            return [f"{path} is {found!r}"]
        lost = [f"{path}/{name} is not there" for name in shown if name not in found]
        inner = [differences(value, found[name], f"{path}/{name}") for name, value in shown.items() if name in found]
        return lost + [line for lines in inner for line in lines]
    if path.rsplit("/", 1)[-1] in SAME and shown != found:
        return [f"{path} is {found!r}, the page shows {shown!r}"]
    return []


def read_shown(text: str) -> tuple[int, object]:
    head, _, body = text.partition("\n\n")
    status = int(head.split()[1])
    # Members that the page leaves out.
    body = re.sub(r',?\s*\.\.\.\s*(?=[}\]])', "", body)
    body = re.sub(r"\s*\.\.\.,?\s*", " ", body)
    return status, json.loads(body)


def learn(shown: object, found: object) -> None:
    if isinstance(shown, dict) and isinstance(found, dict):
        for name, value in shown.items():
            if name in found:
                if isinstance(value, str) and re.fullmatch(r"(pay|ref)_[0-9a-f]{32}", value):
                    ids[value] = str(found[name])
                learn(value, found[name])


failed = ran = 0
for page in sys.argv[1:]:
    ids.clear()
    run = f"{random.randrange(10**8):08}"
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", open(page).read(), re.MULTILINE | re.DOTALL)
    command = ""
    for kind, text in blocks:
        if kind == "sh" and text.startswith("curl"):
            command = text
            for shown_id in re.findall(r"pay_[0-9a-f]{32}", command):
                ids.setdefault(shown_id, paid())
                command = command.replace(shown_id, ids[shown_id])
            # Of its own at each run: the same key would replay, and the same code look like a duplicate.
            for name, its_own in ((r"\b(ORDER|RETURN)-", rf"\1-{run}-"), (r'"28\d{8}(?=\d+")', f'"28{run}')):
                command = re.sub(name, its_own, command)
            command = command.replace("http://127.0.0.1:8080", URL).replace("curl -sS -i", "curl -sS -i -m 70")
            out = subprocess.run(["sh", "-c", command], env={**os.environ, "KEY": KEY}, capture_output=True, text=True)
            ran += 1
            continue
        if kind != "http" or not command:
            command = ""
            continue
        status, shown = read_shown(text)
        head, _, body = out.stdout.replace("\r", "").partition("\n\n")
        found_status, found = int(head.split()[1]), json.loads(body)
        lines = differences(shown, found)
        if status != found_status:
            lines.insert(0, f"the status is {found_status}, the page shows {status}")
        learn(shown, found)
        if lines:
            failed += 1
            print(f"{page}: {command}", *lines, body, sep="\n  ")
        command = ""
print(f"{ran} commands of {len(sys.argv) - 1} pages were run")
sys.exit(1 if failed or ran < len(sys.argv) - 1 else 0)
