"""Put one transaction into a trail over HTTP, then show where it stands.

    python put.py http://USER:PASSWORD@localhost:9002 events

Both rows become visible together or not at all. The `xid` makes a second try harmless: the trail holds it once.
docs/puts.md has every member of a transaction.
"""

import base64
import json
import sys
import urllib.error
import urllib.request
import uuid
from urllib.parse import unquote, urlsplit


def post(server, path, body):
    """Sends JSON and returns the member `response` of the answer; ends with the server's words where it refuses."""
    parts = urlsplit(server)
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    request = urllib.request.Request(
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}",
        data=json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
        },
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["response"]
    except urllib.error.HTTPError as refusal:
        raise SystemExit(f"refused: {refusal.code} {words(refusal.read())}") from None
    except OSError as error:
        # With its `xid` the same transaction may be sent again: the trail holds it once.
        raise SystemExit(f"no answer: {error}") from None


def words(body):
    """What the server says: the titles of the messages in its answer, else the answer as it is."""
    try:
        return " ".join(message["title"] for message in json.loads(body)["messages"])
    except (ValueError, LookupError, TypeError):
        return body.decode(errors="replace").strip()


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    server, trail = sys.argv[1:]
    transaction = {
        "xid": str(uuid.uuid4()),
        "operations": [
            {"op": "INSERT", "table": "app.orders", "key": ["id"], "after": {"id": 1, "total": 12.5}},
            {"op": "INSERT", "table": "app.order_items", "key": ["id"], "after": {"id": 1, "order_id": 1, "qty": 3}},
        ],
    }
    answer = post(server, f"/services/v2/trails/{trail}/transactions", transaction)
    # The answer comes after the flush. A stream of this trail that begins with `pos` resumes after these rows.
    print(answer["acked"], answer["pos"])


if __name__ == "__main__":
    main()
