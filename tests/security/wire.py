"""Requests that no decent client would make: raw HTTP/1, raw HTTP/2, raw protobuf."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.local.mesh import LocalMesh

PATIENCE_SECONDS = 60.0
"""Longer than the gateway waits for anything but a stream."""

SUBMIT = "/sluice.ingest.v1.IngestService/Submit"
SUBMIT_BATCH = "/sluice.ingest.v1.IngestService/SubmitBatch"
SUBMIT_STREAM = "/sluice.ingest.v1.IngestService/SubmitStream"
SCAN = "/sluice.ingest.v1.IngestService/Scan"


@dataclass(frozen=True)
class Exchange:
    """What came back, and after how long; `status` is 0 when no status line came."""

    status: int
    text: bytes
    seconds: float

    @property
    def body(self) -> bytes:
        return self.text.partition(b"\r\n\r\n")[2]


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Return an HTTP/1.1 request exactly as given."""
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1") + body


def exchange(address: str, data: bytes) -> Exchange:
    """Send bytes as they are and read one answer, or all until the connection ends."""
    host, _, port = address.rpartition(":")
    begun = time.monotonic()
    answer = b""
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(data)
        while not _is_whole(answer):
            try:
                received = connection.recv(65536)
            except ConnectionResetError:
                break
            if not received:
                break
            answer += received
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return Exchange(int(found[1]) if found else 0, answer, time.monotonic() - begun)


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(end) and length is not None and len(body) >= int(length[1])


def http2_get(mesh: LocalMesh, headers: Mapping[str, str]) -> bytes:
    """Send one HTTP/2 request of headers alone, which may be anything, and return the raw answer.

    `headers` has the pseudo-headers too.
    """
    host, _, port = mesh.gateway.rpartition(":")
    block = b"".join(
        b"\0" + _hpack_text(name) + _hpack_text(value) for name, value in headers.items()
    )
    end_of_stream_and_headers = 0x5
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(0x4, 0, 0)
            + _frame(0x1, end_of_stream_and_headers, 1, block)
        )
        answer = b""
        # A frame of stream 1 that ends it, or a GOAWAY.
        while not _is_ended(answer):
            received = connection.recv(65536)
            if not received:
                break
            answer += received
    return answer


def http2_posts(path: str, body: bytes, streams: int) -> bytes:
    """Return all that an HTTP/2 connection of so many JSON calls at once sends."""
    headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "localhost",
               "content-type": "application/json"}  # fmt: skip
    block = b"".join(
        b"\0" + _hpack_text(name) + _hpack_text(value) for name, value in headers.items()
    )
    end_of_headers, end_of_stream = 0x4, 0x1
    calls = [
        _frame(0x1, end_of_headers, number, block) + _frame(0x0, end_of_stream, number, body)
        for number in range(1, 2 * streams, 2)
    ]
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(0x4, 0, 0) + b"".join(calls)


def streams_ended(answer: bytes) -> set[int]:
    """Return the streams that an answer of HTTP/2 ends, by their end or by a reset."""
    ended = set()
    while len(answer) >= 9 + (length := int.from_bytes(answer[:3], "big")):
        kind, flags, stream = struct.unpack(">BBI", answer[3:9])
        if kind == 0x3 or (kind < 2 and flags & 0x1):
            ended.add(stream)
        answer = answer[9 + length :]
    return ended


def _hpack_text(text: str) -> bytes:
    data = text.encode("latin-1")
    assert len(data) < 127
    return bytes([len(data)]) + data


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _is_ended(answer: bytes) -> bool:
    reset, goaway, end_of_stream = 0x3, 0x7, 0x1
    while len(answer) >= 9:
        length = int.from_bytes(answer[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", answer[3:9])
        if kind in {reset, goaway} or (stream == 1 and kind < 2 and flags & end_of_stream):
            return True
        answer = answer[9 + length :]
    return False


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited protobuf field (number up to 15)."""
    length, left = b"", len(content)
    while left > 127:
        length += bytes([left & 127 | 128])
        left >>= 7
    return bytes([number << 3 | 2]) + length + bytes([left]) + content


def text_value(text: bytes) -> bytes:
    """Return a google.protobuf.Value that holds a string of these bytes."""
    return field(3, text)


def number_value(eight_bytes: bytes) -> bytes:
    """Return a google.protobuf.Value that holds a double of these bytes."""
    return b"\x11" + eight_bytes


def list_value(values: Sequence[bytes]) -> bytes:
    """Return a google.protobuf.Value that holds a list."""
    return field(6, b"".join(field(1, value) for value in values))


def struct_value(members: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a google.protobuf.Value that holds an object, its keys as often as given."""
    return field(5, b"".join(field(1, field(1, key) + field(2, value)) for key, value in members))


def submission(value: bytes, source: bytes = b"", request_id: bytes = b"") -> bytes:
    """Return a SubmitRequest."""
    texts = field(2, source) if source else b""
    texts += field(3, request_id) if request_id else b""
    return field(1, value) + texts


def nested(depth: int, value: bytes) -> bytes:
    """Return a value inside so many lists."""
    for _ in range(depth):
        value = list_value([value])
    return value
