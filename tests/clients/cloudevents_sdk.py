"""Reads the messages of a stream in CloudEvents mode, one JSON batch a line, with the CloudEvents SDK.

Prints `type id` of each event. The SDK reads no batches, so they are split first. Both of its interfaces are used.
"""

import json
import sys

from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.v1.http import from_json

for line in sys.stdin:
    for event in json.loads(line):
        text = json.dumps(event)
        message = http.HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=text.encode())
        new = http.from_structured_event(message, JSONFormat())
        old = from_json(text)
        assert new.get_type() == old["type"] == event["type"]
        assert new.get_data() == old.data == event["data"], event
        for name, value in event.items():
            if name not in ("data", "time"):
                assert old[name] == value, name
        print(old["type"], old["id"], flush=True)
