"""Logs of our processes, as they are while the processes still write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def log_lines(path: Path, event: str | None = None) -> list[dict[str, Any]]:
    """Return the lines of a log, or those about one event.

    What is no JSON object is passed over: libraries write too, and the last line may be torn.
    """
    whole = [line for line in path.read_text().splitlines() if line[:1] == "{" and line[-1:] == "}"]
    lines = [json.loads(line) for line in whole]
    return [line for line in lines if event is None or line.get("event") == event]
