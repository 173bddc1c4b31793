"""A policy file that may change while it is in use."""

from __future__ import annotations

from pathlib import Path

from detection.policy import (
    Policy,
    PolicyError,
    decode_policy,
    read_policy,
)
from detection.scanner import Scanner


class PolicyFile:
    """The scanner of a policy file, renewed by `refresh`. Starts no thread of its own.

    Reading ``scanner`` and ``refused`` is safe from any thread; call `refresh` from one at a time.
    """

    def __init__(self, path: Path | str) -> None:
        """Load the file. Raises PolicyError: there is no old policy to fall back on."""
        self._path = Path(path)
        content = read_policy(self._path)
        self.scanner = Scanner(_said(content))
        self._tried: bytes | PolicyError = content
        self._seen: bytes | PolicyError = content
        self.refused: str | None = None
        """Why what the file holds now is not in force, or None when it is."""

    def refresh(self) -> bool:
        """Look at the file again; return whether it is newly in force.

        What counts is what the file holds, however it came there: by writing, renaming or another
        link. It is taken up when it is the same in two looks, since it may be half written in one.
        Raises PolicyError, once for each change, when it cannot be used; the old policy stays.
        """
        try:
            content: bytes | PolicyError = read_policy(self._path)
        except PolicyError as error:
            content = error
        seen, self._seen = self._seen, content
        if not _same(content, seen) or _same(content, self._tried):
            return False
        self._tried = content
        try:
            self.scanner = _scanner(content)
        except PolicyError as error:
            self.refused = str(error)
            raise
        except Exception as error:
            # Whatever it was: the old policy is the best there is.
            self.refused = f"the policy cannot be used: {type(error).__name__}"
            raise PolicyError(self.refused) from error
        self.refused = None
        return True


def _same(one: bytes | PolicyError, other: bytes | PolicyError) -> bool:
    return one == other or (isinstance(one, PolicyError) and str(one) == str(other))


def _scanner(content: bytes | PolicyError) -> Scanner:
    if isinstance(content, PolicyError):
        raise content
    policy = _said(content)
    if not content.endswith(b"\n"):
        raise PolicyError("the last line of the policy file has no end: it may be cut off")
    return Scanner(policy)


def _said(content: bytes) -> Policy:
    """Return the policy. Nothing at all is what a full disk or a stopped program leaves of a file;
    whoever means it says so: ``version: 1``."""
    policy = decode_policy(content)
    if not policy.model_fields_set:
        raise PolicyError("the policy file says nothing: write at least `version: 1`")
    return policy
