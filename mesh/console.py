"""What a command prints, when whoever reads it stops early: `make status | head -1`.

Standard library only.
"""

from __future__ import annotations

import io
import sys
from typing import Any


def outlive_the_reader() -> None:
    """Make this process print line by line, and go on when nobody reads any more.

    A command does its work to the end and exits with the code that the work deserves; what it
    prints after the reader has gone is dropped.
    """
    patient = io.BufferedWriter(_Patient(sys.stdout.fileno(), "w", closefd=False))
    sys.stdout = io.TextIOWrapper(
        patient, sys.stdout.encoding, sys.stdout.errors, line_buffering=True
    )


class _Patient(io.FileIO):
    """A file that takes what is written to it, whether or not it can be passed on."""

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes
