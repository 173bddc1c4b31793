"""Output of a command whose reader stops early (`make status | head -1`) or that cannot be written
(`make up >&-`, a full disk).

Standard library only.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any


def ignore_output_errors() -> None:
    """Make this process print line by line, and go on when that fails.

    A command then does its work to the end and exits with the code of its work. What cannot be
    printed is dropped; standard error says so, unless the reader has gone.
    """
    if sys.stdout is None:
        # Closed. A file opened later would get its number, and programs that we start would print
        # into that file.
        number = os.open(os.devnull, os.O_WRONLY)
        os.set_inheritable(number, True)
        sys.stdout = io.TextIOWrapper(io.FileIO(number, "w", closefd=False), errors="replace")
    buffered = io.BufferedWriter(_LossyFile(sys.stdout.fileno(), "w", closefd=False))
    sys.stdout = io.TextIOWrapper(
        buffered, sys.stdout.encoding, sys.stdout.errors, line_buffering=True
    )


class _LossyFile(io.FileIO):
    """A file that drops what cannot be written, and reports that once."""

    _is_reported = False

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except OSError as error:
            if not self._is_reported and not isinstance(error, BrokenPipeError):
                self._is_reported = True
                print(f"What is printed gets lost: {error.strerror}", file=sys.stderr)
            return memoryview(data).nbytes
