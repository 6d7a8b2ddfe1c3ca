"""Poll a data stream over plain HTTP and never lose a record: no library, no open connection between two polls.

    python poll.py http://USER:PASSWORD@localhost:9002/services/v2/stream/demo position.txt

Each answer says in a header where the next poll goes on. That is saved after the records were worked on, so whoever is stopped
in between sees them again. Two ways to live with it: make the work harmless to repeat (an upsert by key), or store the
position in the same transaction as the result.
"""

import base64
import http.client
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import quote, unquote, urlsplit

# Refusals that trying again does not cure; everything else is worth another try.
FINAL_STATUSES = {400, 401, 403, 404, 406, 409}
# How long the server waits for a record before it answers without one, in seconds.
WAIT = 20


def load(path):
    """The position saved last, or `earliest` on the first start."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip() or "earliest"
    except FileNotFoundError:
        return "earliest"


def save(path, position):
    """Replaces the file in one step: after a crash it holds the old position or the new one, never half of one."""
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(position)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def words(body):
    """What the server says: the titles of the messages in its answer, else the answer as it is."""
    try:
        return " ".join(message["title"] for message in json.loads(body)["messages"])
    except (ValueError, LookupError, TypeError):
        return body.decode(errors="replace").strip()


def poll(url, begin):
    """Records from there on, each as its JSON text, and the `begin` of the next poll."""
    parts = urlsplit(url)
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    request = urllib.request.Request(
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}/records?begin={quote(begin)}&wait={WAIT}",
        headers={
            "Accept": "application/x-ndjson",
            "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
        },
    )
    with urllib.request.urlopen(request, timeout=WAIT + 40) as answer:
        # Not splitlines(), which would cut inside texts too.
        lines = answer.read().decode().split("\n")
        return [line for line in lines if line], answer.headers["Trailcast-Next"]


def work_on(record):
    """Your code goes here: `json.loads(record)`. Here the record is printed as it came."""
    print(record, flush=True)


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    url, path = sys.argv[1:]
    position = load(path)
    wait = 0.25
    while True:
        try:
            records, following = poll(url, position)
            for record in records:
                work_on(record)
            if following != position:
                save(path, following)
            position = following
            wait = 0.25
            continue
        except urllib.error.HTTPError as refusal:
            if refusal.code in FINAL_STATUSES:
                raise SystemExit(f"refused: {refusal.code} {words(refusal.read())}") from None
            print(f"not now: {refusal.code}", file=sys.stderr)
        except (OSError, http.client.HTTPException) as error:
            print(f"no answer: {error}, asking again", file=sys.stderr)
        # Longer from try to try, and never in step with other clients.
        time.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(wait * 2, 10)


if __name__ == "__main__":
    main()
