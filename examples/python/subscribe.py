"""Subscribe to a data stream and never lose a record: save each position, resume after it.

    pip install websockets
    python subscribe.py ws://USER:PASSWORD@localhost:9002/services/v2/stream/demo position.txt

Delivery is at least once. The position is saved after a record was worked on, so whoever is stopped in between sees
that record again. Two ways to live with it: make the work harmless to repeat (an upsert by key), or store `pos` in the
same transaction as the result and skip a record whose `pos` is stored already.
"""

import json
import os
import random
import signal
import sys
import time
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

# Refusals and endings that trying again does not cure; everything else is worth another try.
FINAL_STATUSES = {400, 401, 403, 404, 409}
FINAL_CLOSE_CODES = {4001, 4013, 4014, 4020}


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


def work_on(record):
    """Your code goes here."""
    row = record.get("after") or record.get("before") or record.get("ddl")
    print(record["op_ts"], record["op_type"], record["qual_table"], json.dumps(row, ensure_ascii=False), flush=True)


def follow(url, path):
    """Works on records until the connection ends; returns whether any came."""
    position = load(path)
    any_came = False
    with connect(f"{url}?begin={quote(position)}", max_size=None) as socket:
        try:
            for message in socket:
                for record in json.loads(message):
                    # Schema and metadata records describe what follows; only records with a position are data.
                    if "pos" in record and record["pos"] != position:
                        work_on(record)
                        position = record["pos"]
                        any_came = True
                # Once a message is enough: what is not saved yet comes again.
                if any_came:
                    save(path, position)
        except ConnectionClosed as closed:
            if closed.rcvd and closed.rcvd.code in FINAL_CLOSE_CODES:
                raise SystemExit(f"closed by the server: {closed.rcvd.code} {closed.rcvd.reason}") from closed
            print(f"connection lost ({closed}), resuming", file=sys.stderr)
    return any_came


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    url, path = sys.argv[1:]
    wait = 0.25
    while True:
        try:
            if follow(url, path):
                wait = 0.25
        except InvalidStatus as refusal:
            answer = refusal.response
            if answer.status_code in FINAL_STATUSES:
                text = (answer.body or b"").decode(errors="replace")
                raise SystemExit(f"refused: {answer.status_code} {text}") from refusal
            print(f"not now: {answer.status_code}", file=sys.stderr)
        except (OSError, InvalidHandshake) as error:
            print(f"no connection: {error}", file=sys.stderr)
        # Longer from try to try, and never in step with other clients.
        time.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(wait * 2, 10)


if __name__ == "__main__":
    # Ctrl-C ends it at once, wherever it stands: the saved position is whole at any moment. An exception in the middle of
    # the library, which the default makes of it, can find a lock held and wait for it forever.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
