from __future__ import annotations

import uuid
from typing import Any

import pytest

from mesh.handlers import gateway_request_id, request_id


class Call:
    """The context of a call with the metadata given."""

    def __init__(self, metadata: Any) -> None:
        self.invocation_metadata = lambda: metadata


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ((("user-agent", "x"), ("x-request-id", "abc")), "abc"),
        ((("x-request-id", ""),), ""),
        ((("user-agent", "x"),), None),
        (None, None),
    ],
)
def test_a_call_from_the_gateway_is_known_by_its_id(metadata: Any, expected: str | None) -> None:
    call: Any = Call(metadata)
    assert gateway_request_id(call) == expected
    if expected is None:
        assert uuid.UUID(request_id(call)) != uuid.UUID(request_id(call))
    else:
        assert request_id(call) == expected
