"""Sends the requests of an .http file and fails where one is refused. Knows of the format what the file uses."""

import json
import os
import random
import re
import sys
import urllib.error
import urllib.request
import uuid

variables = {
    "url": os.environ["GATEWAY_URL"],
    "key": os.environ["GATEWAY_API_KEY"],
    "operator": os.environ["GATEWAY_OPERATOR_KEY"],
}
answers: dict[str, object] = {}


def value(match: re.Match[str]) -> str:
    words = match.group(1).split()
    if words[0] == "$guid":
        return str(uuid.uuid4())
    if words[0] == "$randomInt":
        return str(random.randint(int(words[1]), int(words[2])))
    if words[0] in variables:
        return variables[words[0]]
    name, _, path = words[0].partition(".response.body.")
    found = answers[name]
    for step in path.split("."):
        assert isinstance(found, dict)
        found = found[step]
    return str(found)


count = 0
for block in re.split(r"^###.*$", open(sys.argv[1]).read(), flags=re.MULTILINE)[1:]:
    name = re.search(r"^# @name (\w+)$", block, re.MULTILINE)
    text = re.sub(r"^#.*\n", "", block, flags=re.MULTILINE).strip()
    head, _, body = re.sub(r"\{\{(.+?)\}\}", value, text).partition("\n\n")
    first, *lines = head.splitlines()
    method, address = first.split()
    headers = dict(line.split(": ", 1) for line in lines)
    # The same code twice within a minute is a suspected duplicate only where it is not allowed.
    request = urllib.request.Request(address, body.encode() or None, headers, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as refused:
        sys.exit(f"{first}: {refused.status} {refused.read().decode()}")
    if name:
        answers[name.group(1)] = answer
    count += 1
print(f"{count} requests were answered")
