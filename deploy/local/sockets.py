"""HTTP over a Unix socket, as the supervisor and Envoy's admin interface serve it."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path


class SocketConnection(http.client.HTTPConnection):
    """A connection to the socket at `path`; waits `seconds` at most for each answer."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect. Raises OSError."""
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(self.timeout)
            connected.connect(str(self._path))
        except OSError:
            connected.close()
            raise
        self.sock = connected
