from __future__ import annotations

import base64
import json
from collections.abc import Callable

from tests.unit.detection.detectors.made_up import segment

Find = Callable[[str], list[str]]


def test_a_header_of_many_levels_is_no_token(find: Find) -> None:
    assert find(segment(json.loads("[" * 900 + "]" * 900)) + ".abcd.efgh") == []
    deep = base64.urlsafe_b64encode(b'{"a":' + b"[" * 100_000).decode().rstrip("=")
    assert find(deep + ".abcd.efgh") == []
