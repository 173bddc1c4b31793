"""Reading policy files: the packaged one, and one that may change while it is in use."""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path

from detection.policy import Policy, PolicyError, decode_policy
from detection.scanner import Scanner

PACKAGED_POLICY = Path(__file__).with_name("policy.yaml")

MAX_POLICY_BYTES = 1024 * 1024


@cache
def packaged_policy() -> Policy:
    """Return the policy that holds where no other is named."""
    return load_policy(PACKAGED_POLICY)


def load_policy(path: Path | str) -> Policy:
    """Read and check a policy file. Raises PolicyError."""
    return decode_policy(read_policy(path))


def read_policy(path: Path | str) -> bytes:
    """Return the content of a policy file. Raises PolicyError."""
    try:
        # A pipe would keep whoever opens it waiting for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PolicyError("the policy is no regular file")
            content = file.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"cannot read the policy file: {type(error).__name__}") from None
    if len(content) > MAX_POLICY_BYTES:
        raise PolicyError("the policy file is too long: more than 1 MiB")
    return content


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
