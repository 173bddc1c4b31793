"""What a command prints, when whoever reads it stops early, `make status | head -1`, or cannot at
all: `make up >&-`, a full disk.

Standard library only.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any


def outlive_the_reader() -> None:
    """Make this process print line by line, and go on when nobody reads any more.

    A command does its work to the end and exits with the code that the work deserves; what it
    prints after the reader has gone is dropped. So is what finds no room, and standard error says
    so.
    """
    if sys.stdout is None:
        # Closed. This takes its number, which no file may come to have: the programs started print
        # there, too.
        number = os.open(os.devnull, os.O_WRONLY)
        os.set_inheritable(number, True)
        sys.stdout = io.TextIOWrapper(io.FileIO(number, "w", closefd=False), errors="replace")
    patient = io.BufferedWriter(_Patient(sys.stdout.fileno(), "w", closefd=False))
    sys.stdout = io.TextIOWrapper(
        patient, sys.stdout.encoding, sys.stdout.errors, line_buffering=True
    )


class _Patient(io.FileIO):
    """A file that takes what is written to it, whether or not it can be passed on."""

    _said = False

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except OSError as error:
            if not self._said and not isinstance(error, BrokenPipeError):
                self._said = True
                print(f"What is printed gets lost: {error.strerror}", file=sys.stderr)
            return memoryview(data).nbytes
