"""Envoy's admin interface on this machine: a Unix socket that only its owner can use."""

from __future__ import annotations

import hashlib
import http.client
import os
import stat
import tempfile
from contextlib import closing
from pathlib import Path

from deploy.local.sockets import SocketConnection

MAX_PATH_BYTES = 107
"""The longest path that the system takes for a socket."""


class AdminError(RuntimeError):
    """There is no safe place for the socket; the text says what to do."""


def socket_path(state: Path) -> Path:
    """Return the path of the socket of the mesh with this state folder.

    It is in the state folder or, where that path is too long for a socket, in a folder of the user
    among the temporary files. Raises AdminError when both paths are too long.
    """
    short = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    for path in (
        state / "envoy" / "admin.sock",
        Path(tempfile.gettempdir()) / f"sluice-{os.getuid()}" / f"{short}.sock",
    ):
        if len(os.fsencode(path)) <= MAX_PATH_BYTES:
            return path
    raise AdminError(
        f"The path of Envoy's admin socket may have {MAX_PATH_BYTES} bytes, and {path} has more. "
        "Name a shorter folder by SLUICE_STATE, or by TMPDIR."
    )


def require_private(folder: Path) -> None:
    """Check that no other user can enter `folder`. Raises AdminError."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise AdminError(f"{folder} is open to other users. Remove it, or make it yours alone.")


def get(path: Path, target: str, seconds: float) -> bytes:
    """Return what the interface at `path` answers to a GET. Raises OSError if it does not."""
    with closing(SocketConnection(path, seconds)) as connection:
        connection.request("GET", target)
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != http.client.OK:
        raise ConnectionError(f"the admin interface answered {answer.status}")
    return body
