"""What log-ins, connections and begun messages leave behind in a server's memory."""

import base64
import collections
import contextlib
import socket
import struct
import threading
import time

from house import PASSWORD, USER, usage

# More clients than the server has threads for hashes, so that some always wait.
CALLERS = 16
# One address may fail with a hundred users a minute before it is answered without a look at the password.
USERS_AN_ADDRESS = 50
# Connections in which one is a log-in with a wrong password.
CONNECTS_A_WRONG_LOG_IN = 100
MESSAGE_BYTES = 60_000


def ask(port, source, path, user=None):
    """The status of one request on a connection of its own."""
    header = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
    if user:
        header += "Authorization: Basic " + base64.b64encode(f"{user}:wrong".encode()).decode() + "\r\n"
    with socket.create_connection(("127.0.0.1", port), 120, (source, 0)) as connection:
        connection.sendall(header.encode() + b"\r\n")
        answer = connection.recv(65_536)
        while connection.recv(65_536):
            pass
    return int(answer.split(b" ", 2)[1])


def wrong_log_in(port, number):
    """A log-in of a user that has not failed yet, from an address that has not failed often."""
    network, host = divmod(number // USERS_AN_ADDRESS, 250)
    return ask(port, f"127.1.{network}.{host + 1}", "/services/v2/trails", f"user{number}")


def connect(port, number):
    """A question that needs no log-in, or now and then a wrong log-in."""
    if number % CONNECTS_A_WRONG_LOG_IN == 0:
        return wrong_log_in(port, number // CONNECTS_A_WRONG_LOG_IN)
    # From many addresses: one has not enough ports for as many connections a minute.
    return ask(port, f"127.2.{number // 250 % 250}.{number % 250 + 1}", "/healthz")


def all_at_once(work, port, count):
    """Does `work` for each number below `count`, by CALLERS at a time; says how often which status came."""
    statuses, failures = collections.Counter(), []

    def caller(first):
        try:
            for number in range(first, count, CALLERS):
                statuses[work(port, number)] += 1
        except Exception as error:
            failures.append(error)

    callers = [threading.Thread(target=caller, args=(first,)) for first in range(CALLERS)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    if failures:
        raise failures[0]
    return statuses


def settled(pid, seconds=3):
    """Resident bytes, some time after the last that happened: what stays, not what is on its way out."""
    time.sleep(seconds)
    return usage(pid)[1]


def after_log_ins(server, count):
    """Resident bytes after so many log-ins with wrong passwords, of users and addresses that are not yet throttled."""
    statuses = all_at_once(wrong_log_in, server.port, count)
    if statuses != {401: count}:
        raise RuntimeError(f"{count} wrong log-ins were answered {dict(statuses)} and not all 401")
    return settled(server.pid)


def after_connects(server, count):
    """Resident bytes after so many connections, some of them log-ins with wrong passwords."""
    statuses = all_at_once(connect, server.port, count)
    wrong = -(-count // CONNECTS_A_WRONG_LOG_IN)
    if statuses != {401: wrong, 200: count - wrong}:
        raise RuntimeError(f"{count} connections were answered {dict(statuses)}")
    return settled(server.pid)


def subscribed(server, stream):
    """The socket of a session that has begun."""
    credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    connection = socket.create_connection(("127.0.0.1", server.port), 60)
    connection.sendall((
        f"GET /services/v2/stream/{stream}?begin=now HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Basic {credentials}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode())
    heard = connection.recv(65_536)
    if b" 101 " not in heard:
        raise RuntimeError(f"no session: {heard[:200]}")
    return connection


def begun_messages(server, stream, sessions):
    """Resident bytes that so many sessions add which each have begun a message and do not end it."""
    with contextlib.ExitStack() as held:
        connections = [held.enter_context(subscribed(server, stream)) for _ in range(sessions)]
        before = settled(server.pid, 1)
        # The first part of a text, masked with zeros: another part is said to follow.
        message = b"\x01\xfe" + struct.pack(">H", MESSAGE_BYTES) + bytes(4) + b"a" * MESSAGE_BYTES
        for connection in connections:
            # Whoever is closed for it is closed while it sends.
            with contextlib.suppress(OSError):
                connection.sendall(message)
        return settled(server.pid, 1) - before
