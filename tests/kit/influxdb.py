"""What lies in InfluxDB, by its own query language."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any


def query(url: str, headers: Mapping[str, str], text: str) -> list[dict[str, Any]]:
    """Return the rows that an InfluxQL statement gives, times in nanoseconds."""
    # A statement that changes something has to be posted.
    method = "GET" if text.startswith("SELECT") else "POST"
    fields = urllib.parse.urlencode({"db": "logs", "q": text, "epoch": "ns"})
    request = urllib.request.Request(f"{url}/query?{fields}", headers=dict(headers), method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        (result,) = json.load(answer)["results"]
    return [
        dict(zip(series["columns"], values, strict=True))
        for series in result.get("series", [])
        for values in series["values"]
    ]


def status_of_post(url: str, body: str, headers: Mapping[str, str]) -> int:
    """Post a body and return the status of the answer."""
    request = urllib.request.Request(url, body.encode(), dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
