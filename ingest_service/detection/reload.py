"""A policy file that may change while it is in use."""

from __future__ import annotations

from pathlib import Path

from ingest_service.detection.policy import PolicyError, load_policy
from ingest_service.detection.scanner import Scanner


class PolicyFile:
    """The scanner of a policy file, renewed by `refresh`. Starts no thread of its own.

    Reading ``scanner`` is safe from any thread; call `refresh` from one at a time.
    """

    def __init__(self, path: Path | str) -> None:
        """Load the file. Raises PolicyError: there is no old policy to fall back on."""
        self._path = Path(path)
        self._stamp = self._read_stamp()
        self.scanner = Scanner(load_policy(self._path))

    def refresh(self) -> bool:
        """Load the file again if it has changed; return whether a new policy is now in use.

        Raises PolicyError when the changed file is bad; the old policy stays in use, and the same
        bad file is not tried again.
        """
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        self.scanner = Scanner(load_policy(self._path))
        return True

    def _read_stamp(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise PolicyError(f"cannot read the policy file: {type(error).__name__}") from None
        return status.st_mtime_ns, status.st_size, status.st_ino
