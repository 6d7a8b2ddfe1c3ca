"""A client that behaves on the wire as generated ones do, and prints each record as a line of JSON.

    python generated_like.py goldengate basic|digest ws://HOST/PATH begin=POSITION USER PASSWORD
    python generated_like.py asyncapi token ws://HOST/PATH begin=POSITION TOKEN

As GoldenGate's: it asks for the stream's URL over HTTP, without the query, and sends the Authorization header of that
very request again when it opens the socket. As AsyncAPI's: it sends the target's own Origin, and has a token in the query.
"""

import json
import sys

import requests
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
from websockets.sync.client import connect

SCHEMES = {"basic": HTTPBasicAuth, "digest": HTTPDigestAuth}


def goldengate(url, query, scheme, user, password):
    """The header that got an answer once gets in again: same nonce, same count, and a path without the query."""
    http = "http" + url.removeprefix("ws")
    answer = requests.get(
        http, auth=SCHEMES[scheme](user, password), headers={"Content-Type": "application/json"}, timeout=30
    )
    print(f"asked first: {answer.status_code}", file=sys.stderr, flush=True)
    header = answer.request.headers["Authorization"]
    return connect(f"{url}?{query}", additional_headers={"Authorization": header})


def asyncapi(url, query, token):
    """No header of its own, but an Origin."""
    origin = "http" + "/".join(url.split("/")[:3]).removeprefix("ws")
    return connect(f"{url}?{query}&access_token={token}", origin=origin)


def main(family, scheme, url, query, *secrets):
    socket = goldengate(url, query, scheme, *secrets) if family == "goldengate" else asyncapi(url, query, *secrets)
    with socket:
        for message in socket:
            for record in json.loads(message):
                print(json.dumps(record), flush=True)


main(*sys.argv[1:])
