"""What many callers do wrong at one moment, beside callers who do nothing wrong."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.kit.client import Client
from tests.security import wire

CONNECTIONS = 15
STREAMS = 100
"""As many as the gateway lets a connection have."""
ROUNDS = 4
HONEST = 8


def burst(client: Client) -> None:
    """Send 1,500 malformed bodies at one moment and wait until each is answered."""
    host, _, port = client.mesh.gateway.rpartition(":")
    data = wire.http2_posts("/submit", b"{bad", STREAMS)
    opened = [
        socket.create_connection((host, int(port)), timeout=wire.PATIENCE_SECONDS)
        for _ in range(CONNECTIONS)
    ]
    try:
        for connection in opened:
            connection.sendall(data)
        for connection in opened:
            answer = b""
            while len(wire.streams_ended(answer)) < STREAMS:
                received = connection.recv(65536)
                assert received
                answer += received
    finally:
        for connection in opened:
            connection.close()


def test_malformed_bodies_at_one_moment_harm_no_other_caller(client: Client) -> None:
    # Were each a stream to ingest that the gateway resets, so many at once would end the connection
    # that all calls share; and ingest has better to do than to put all of them on record.
    told: Counter[int] = Counter()
    done = threading.Event()

    def submit() -> None:
        while not done.is_set():
            told[client.submit(1).status] += 1

    with ThreadPoolExecutor(HONEST) as pool:
        honest = [pool.submit(submit) for _ in range(HONEST)]
        try:
            for _ in range(ROUNDS):
                burst(client)
        finally:
            done.set()
        for each in honest:
            each.result()
    assert set(told) == {200}, told
