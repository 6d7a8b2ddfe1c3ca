"""What a newcomer copies from the documentation of GoldenGate Data Streams: make the stream over REST, connect, print.

Credentials, host and trail are arguments; nothing else is. Run by tests/faces/examples.rs.
"""

import asyncio
import json
import sys

import requests
import websockets

USER, PASSWORD, HOST, TRAIL, STREAM = sys.argv[1:6]


async def client():
    async with websockets.connect(
        f"ws://{USER}:{PASSWORD}@{HOST}/services/v2/stream/{STREAM}?begin=earliest"
    ) as websocket:
        while True:
            resp = await websocket.recv()
            records = json.loads(resp)
            for rec in records:
                print(json.dumps(rec), flush=True)


def create_datastream():
    url = f"http://{USER}:{PASSWORD}@{HOST}/services/v2/stream/{STREAM}"
    payload = {"source": {"trail": TRAIL}}
    response = requests.post(url, json=payload)
    if response.status_code != 200:
        raise SystemExit(f"{response.status_code}: {response.text}")


create_datastream()
asyncio.run(client())
