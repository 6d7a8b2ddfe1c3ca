"""Sends events that the CloudEvents SDK makes to the address given: one in structured mode, then two in a batch, then the
first in binary mode. Prints the status of each answer and its body.

The SDK has no batches, so the events that it writes are put between brackets.
"""

import os
import sys
import urllib.error
import urllib.request
from datetime import datetime, timezone

from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


def event(number):
    row = {"op": "INSERT", "table": "app.python", "key": ["id"], "after": {"id": number, "note": "ü 😀"}}
    attributes = {
        "id": str(number),
        "source": "/clients/python",
        "type": "app.row",
        "time": datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc),
        "datacontenttype": "application/json",
        "subject": "python",
        "partitionkey": "7",
    }
    return CloudEvent(attributes=attributes, data={"operations": [row]})


def send(headers, body):
    headers = dict(headers) | {"authorization": os.environ["AUTHORIZATION"]}
    request = urllib.request.Request(sys.argv[1], data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request) as answer:
            print(answer.status, answer.read().decode(), flush=True)
    except urllib.error.HTTPError as refused:
        print(refused.code, refused.read().decode(), flush=True)


structured = http.to_structured_event(event(1), JSONFormat())
send(structured.headers, structured.body)
batch = [http.to_structured_event(event(number), JSONFormat()).body for number in (2, 3)]
send({"content-type": "application/cloudevents-batch+json"}, b"[" + b",".join(batch) + b"]")
binary = http.to_binary_event(event(1), JSONFormat())
send(binary.headers, binary.body)
