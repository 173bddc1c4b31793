"""What stands between our processes and Redis or InfluxDB, and loses or spoils what passes."""

from __future__ import annotations

import http.client
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"
CHUNK_BYTES = 256 * 1024
HANG_SECONDS = 30.0
EMPTY_REPLY = b"*0\r\n"


class Lost(Enum):
    """What of an exchange gets lost."""

    REQUEST = auto()
    REPLY = auto()


class Ending(Enum):
    """How the caller learns of it."""

    RESET = auto()
    SILENCE = auto()


@dataclass(eq=False)
class Loss:
    """One exchange to be lost: the next one whose request holds all of `marks`.

    A reply that begins with `spared` is passed on: the loss waits for one that matters.
    """

    marks: tuple[bytes, ...]
    lost: Lost
    ending: Ending
    spared: bytes | None
    struck: threading.Event = field(default_factory=threading.Event)


class RedisProxy:
    """Passes Redis' protocol on, connection by connection, but for what it was told to lose."""

    def __init__(self, upstream: int = 0) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.url = f"redis://{HOST}:{self._listener.getsockname()[1]}/0"
        self.upstream = upstream
        """The port of the Redis behind it."""
        self.delays: tuple[bytes, float] | None = None
        """A mark, and the seconds by which replies to requests with it are late."""
        self._losses: list[Loss] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(
        self,
        *marks: bytes,
        lost: Lost = Lost.REPLY,
        ending: Ending = Ending.RESET,
        spared: bytes | None = None,
    ) -> Loss:
        """Lose the next exchange whose request holds all of `marks`."""
        loss = Loss(marks, lost, ending, spared)
        with self._lock:
            self._losses.append(loss)
        return loss

    def forgive(self) -> None:
        """Lose nothing more."""
        with self._lock:
            self._losses.clear()
        self.delays = None

    def close(self) -> None:
        """Accept no more connections."""
        # Closing alone would not end the accept that waits.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        try:
            with client, socket.create_connection((HOST, self.upstream), 2.0) as server:
                server.settimeout(None)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._exchange(client, server)
        except OSError:
            # One side is gone: so is the connection.
            return

    def _exchange(self, client: socket.socket, server: socket.socket) -> None:
        losing: Loss | None = None
        late = 0.0
        while True:
            readable, _, _ = select.select([client, server], [], [])
            if client in readable:
                request = client.recv(CHUNK_BYTES)
                if not request:
                    return
                losing = self._take(request) or losing
                if losing is not None and losing.lost is Lost.REQUEST:
                    self._end(losing, client)
                    return
                late = self.delays[1] if self.delays and self.delays[0] in request else 0.0
                server.sendall(request)
            if server in readable:
                reply = server.recv(CHUNK_BYTES)
                if not reply:
                    return
                if losing is not None:
                    if losing.spared is None or not reply.startswith(losing.spared):
                        self._end(losing, client)
                        return
                    with self._lock:
                        self._losses.append(losing)
                    losing = None
                if late:
                    time.sleep(late)
                client.sendall(reply)

    def _take(self, request: bytes) -> Loss | None:
        with self._lock:
            for loss in self._losses:
                if all(mark in request for mark in loss.marks):
                    self._losses.remove(loss)
                    return loss
        return None

    def _end(self, loss: Loss, client: socket.socket) -> None:
        loss.struck.set()
        if loss.ending is Ending.SILENCE:
            # The client ends it: by its timeout, or by being killed.
            client.settimeout(HANG_SECONDS)
            while client.recv(CHUNK_BYTES):
                pass


class InfluxProxy(ThreadingHTTPServer):
    """Passes requests on to InfluxDB, or gives wrong answers to writes.

    A wrong answer quotes what was sent, in the body and in a header, as InfluxDB's own do.
    """

    daemon_threads = True

    def __init__(self, upstream: int = 0) -> None:
        super().__init__((HOST, 0), _InfluxHandler)
        self.url = f"http://{HOST}:{self.server_address[1]}"
        self.upstream = upstream
        """The port of the InfluxDB behind it."""
        self.wrong_status = 0
        """The status of every answer to a write; 0 to pass them on."""
        self.only: bytes = b""
        """Only writes that hold this get the wrong answer."""
        self.wrong_after = 0.0
        """Seconds that a wrong answer takes."""
        self.wrong_answers = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def forgive(self) -> None:
        """Pass everything on."""
        self.wrong_status, self.only, self.wrong_after = 0, b"", 0.0

    def close(self) -> None:
        """Accept no more connections."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: callers are killed here on purpose."""


class _InfluxHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: InfluxProxy

    def do_GET(self) -> None:
        self._pass()

    def do_POST(self) -> None:
        self._pass()

    def log_message(self, *_: object) -> None:
        return

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wrong = self.server.wrong_status
        if wrong and "/write" in self.path and self.server.only in body:
            self.server.wrong_answers += 1
            time.sleep(self.server.wrong_after)
            quoted = body[:2000].replace(b"\n", b" ").decode("latin-1")
            text = b'{"error":"partial write: field type conflict: ' + body[:2000] + b'"}'
            self._answer(wrong, {"X-Influxdb-Error": quoted}, text)
            return
        upstream = http.client.HTTPConnection(HOST, self.server.upstream, timeout=10)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        except OSError:
            # InfluxDB is gone: so is the connection.
            self.close_connection = True
            return
        finally:
            upstream.close()
        self._answer(answer.status, {"Content-Type": "application/json"}, content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if status != 204:
            self.wfile.write(content)
