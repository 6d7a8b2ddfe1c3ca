"""Subscribe to a data stream and never lose a record: save each position, resume after it.

    pip install websockets
    python subscribe.py ws://USER:PASSWORD@localhost:9002/services/v2/stream/demo position.txt

Delivery is at least once. The position is saved after a record was worked on, so whoever is stopped in between sees
that record again. Two ways to live with it: make the work harmless to repeat (an upsert by key), or store the position
in the same transaction as the result and skip a record whose position is stored already.
"""

import json
import os
import random
import signal
import sys
import time
from decimal import Decimal, InvalidOperation
from urllib.parse import quote, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import connect

# Refusals and endings that trying again does not cure; everything else is worth another try.
FINAL_STATUSES = {400, 401, 403, 404, 409}
FINAL_CLOSE_CODES = {4001, 4013, 4014, 4020}
# What metadata is called where a stream sends no schema records, beside a column of that name too.
USUAL_NAMES = {"op_ts": "opTs", "op_type": "opType", "qual_table": "qualifiedTable", "pos": "pos"}
USUAL_FIELDS = USUAL_NAMES | {f"_{name}": field for name, field in USUAL_NAMES.items()}


def integer(digits):
    """An `int`; beyond 4300 digits, where Python refuses by default, a `Decimal`, which takes any number of them."""
    try:
        return int(digits)
    except ValueError:
        return Decimal(digits)


def decimal(digits):
    """A `Decimal`, as a `float` would drop digits; a number that is none for Python either stays text."""
    try:
        return Decimal(digits)
    except InvalidOperation:
        return digits


def words(body):
    """What the server says: the titles of the messages in its answer, else the answer as it is."""
    try:
        return " ".join(message["title"] for message in json.loads(body)["messages"])
    except (ValueError, LookupError, TypeError):
        return (body or b"").decode(errors="replace").strip()


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


class Reader:
    """Reads the messages of one connection: which members of a record are metadata, and where it stands.

    A stream may rename its metadata (`metaFields`), and in the row model a column of the same name pushes it aside
    (`_pos`). The schema record that comes before the first record of a kind says what is called how; without schema
    records, the usual names are taken. Metadata stands before the columns, so of two members the first is meant.
    """

    def __init__(self, url):
        self.stream = urlsplit(url).path.rstrip("/").rsplit("/", 1)[-1]
        self.events = None
        self.fields = None

    def read(self, message):
        """The changes of a message: position, metadata by field, and the rest (images, statement or columns)."""
        records = json.loads(message, parse_int=integer, parse_float=decimal)
        # A stream may be made to send one record a message (`framing`).
        for record in records if isinstance(records, list) else [records]:
            event = {}
            if self.is_event(record):
                event, record = record, record["data"]
            if self.is_schema(record):
                self.learn(record)
                continue
            metadata, rest = self.split(record)
            # Of an event the position is the id, if it has a place in the sequence.
            position = event.get("id") if "sequence" in event else None if event else metadata.get("pos")
            if metadata.get("opType") not in ("STREAM_METADATA", "OBJECT_METADATA"):
                yield position, metadata, rest

    def is_event(self, record):
        """Whether records come as CloudEvents: the first one tells it of all, whatever columns a table may have."""
        if self.events is None:
            source = f"/services/v2/stream/{self.stream}"
            self.events = record.get("specversion") == "1.0" and record.get("source") == source
        return self.events

    @staticmethod
    def is_schema(record):
        return next(iter(record), None) == "id" and "$schema" in record and "properties" in record

    def learn(self, schema):
        self.fields = self.fields or {}
        for name, member in schema["properties"].items():
            kind, _, field = member.get("description", "").partition(".")
            if kind == "metaFields":
                self.fields[name] = field

    def split(self, record):
        fields = USUAL_FIELDS if self.fields is None else self.fields
        metadata, rest = {}, {}
        for name, value in record.items():
            field = fields.get(name)
            if field and field not in metadata:
                metadata[field] = value
            else:
                rest[name] = value
        return metadata, rest


def work_on(metadata, rest):
    """Your code goes here. Here the row is printed, a `Decimal` as a string of its digits."""
    row = json.dumps(rest, ensure_ascii=False, default=str)
    print(metadata.get("opTs"), metadata.get("opType"), metadata.get("qualifiedTable"), row, flush=True)


def follow(url, path):
    """Works on records until the connection ends; returns whether any came, and when to come back if the server said so."""
    position = load(path)
    any_came = False
    come_back_after = None
    reader = Reader(url)
    with connect(f"{url}?begin={quote(position)}", max_size=None) as socket:
        try:
            for message in socket:
                for pos, metadata, rest in reader.read(message):
                    # Of a stream with trailcast.drain: the server stops, and says when to come back.
                    if metadata.get("opType") == "DRAIN":
                        come_back_after = rest["retry_after_ms"] / 1000
                        continue
                    if pos is None:
                        raise SystemExit("this stream sends no positions: metaFields.pos is off")
                    # These only move the position.
                    if metadata.get("opType") not in ("HEARTBEAT", "CAUGHT_UP"):
                        work_on(metadata, rest)
                    position = pos
                    any_came = True
                # Once a message is enough: what is not saved yet comes again.
                if any_came:
                    save(path, position)
        except ConnectionClosed as closed:
            if closed.rcvd and closed.rcvd.code in FINAL_CLOSE_CODES:
                raise SystemExit(f"closed by the server: {closed.rcvd.code} {closed.rcvd.reason}") from None
            print(f"connection lost ({closed}), resuming", file=sys.stderr)
    return any_came, come_back_after


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    url, path = sys.argv[1:]
    wait = 0.25
    while True:
        try:
            any_came, come_back_after = follow(url, path)
            if any_came:
                wait = 0.25
            if come_back_after is not None:
                time.sleep(come_back_after)
                continue
        except InvalidStatus as refusal:
            answer = refusal.response
            if answer.status_code in FINAL_STATUSES:
                raise SystemExit(f"refused: {answer.status_code} {words(answer.body)}") from None
            print(f"not now: {answer.status_code}", file=sys.stderr)
        except InvalidURI as error:
            raise SystemExit(str(error)) from None
        except (OSError, InvalidHandshake) as error:
            print(f"no connection: {error}", file=sys.stderr)
        # Longer from try to try, and never in step with other clients.
        time.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(wait * 2, 10)


if __name__ == "__main__":
    # Ctrl-C ends it at once, wherever it stands: the saved position is whole at any moment. An exception in the middle of
    # the library, which the default makes of it, can find a lock held and wait for it forever.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # JSON may hold half a surrogate pair, which is no character: it is printed as JSON writes it, "\ud800".
    sys.stdout.reconfigure(errors="backslashreplace")
    main()
