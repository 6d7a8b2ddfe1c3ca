"""Share the work on a data stream: a member of a consumer group, whose position the server keeps.

    pip install websockets
    python member.py ws://USER:PASSWORD@localhost:9002/services/v2/stream/demo billing

Start it as often as there is work for: members share the partitions of the trail, and one of them takes over when another
one goes. Delivery is at least once: what was not acknowledged comes again, so make the work harmless to repeat.
"""

import json
import random
import sys
import time
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

# Refusals and endings that trying again does not cure; everything else is worth another try.
FINAL_STATUSES = {400, 401, 403, 404, 409}
FINAL_CLOSE_CODES = {4001, 4013, 4014, 4015, 4017, 4020}


def work_on(record):
    """Your code goes here. Here the record is printed."""
    print(record["op_type"], record.get("qual_table"), json.dumps(record, ensure_ascii=False), flush=True)


def follow(url, group):
    """Works on records until the connection ends; returns whether any came."""
    any_came = False
    with connect(f"{url}?group={quote(group, safe='')}", max_size=None) as socket:
        try:
            for message in socket:
                position = None
                records = json.loads(message)
                for record in records if isinstance(records, list) else [records]:
                    if record.get("op_type") == "GROUP_ASSIGNMENT":
                        print("partitions:", record["partitions"], file=sys.stderr, flush=True)
                    # Schemas, metadata and the server's farewell (DRAIN) have no position.
                    elif "pos" in record:
                        # These have nothing else.
                        if record["op_type"] not in ("HEARTBEAT", "CAUGHT_UP"):
                            work_on(record)
                        position = record["pos"]
                # Once a message is enough: it covers everything that came before.
                if position:
                    socket.send(json.dumps({"ack": position}))
                    any_came = True
        except ConnectionClosed as closed:
            if closed.rcvd and closed.rcvd.code in FINAL_CLOSE_CODES:
                raise SystemExit(f"closed by the server: {closed.rcvd.code} {closed.rcvd.reason}") from None
    return any_came


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    wait = 0.25
    while True:
        try:
            if follow(*sys.argv[1:]):
                wait = 0.25
        except InvalidStatus as refusal:
            if refusal.response.status_code in FINAL_STATUSES:
                raise SystemExit(f"refused: {refusal.response.status_code} {refusal.response.body.decode()}") from None
        except (OSError, InvalidHandshake) as error:
            print("no connection:", error, file=sys.stderr)
        # Longer from try to try, and never in step with other clients.
        time.sleep(wait * random.uniform(0.5, 1))
        wait = min(wait * 2, 10)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
