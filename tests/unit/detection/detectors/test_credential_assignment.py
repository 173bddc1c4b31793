from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf import struct_pb2

from detection import Scanner
from detection.fields import walk
from detection.policy import parse_policy

REDACT = Scanner(parse_policy("version: 1\naction: redact\n"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("password=Tr0ub4,dor&3xZ9q end", "password=**************** end"),
        ("Uid=u;Pwd=Tr0ub4dor<3xZ9q;a", "Uid=u;Pwd=***************;a"),
        ("a=1&password=Tr0ub4dor&b=2 c", "a=1&password=************* c"),
        ('{"password":"Tr0ub4dor!","a":1}', '{"password":"**********","a":1}'),
    ],
)
def test_a_password_is_hidden_to_its_end(
    to_value: Callable[[object], struct_pb2.Value], text: str, kept: str
) -> None:
    scan = REDACT.scan(walk(to_value(text), 8), "")
    assert scan.mask(to_value(text)).string_value == kept
