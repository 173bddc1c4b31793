from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from google.protobuf import json_format, struct_pb2

from detection import Scan, Scanner
from detection.fields import walk
from detection.policy_file import packaged_policy

Find = Callable[..., list[str]]


def to_value(content: object) -> struct_pb2.Value:
    value = struct_pb2.Value()
    json_format.Parse(json.dumps(content), value)
    return value


@pytest.fixture(scope="session")
def scanner() -> Scanner:
    return Scanner(packaged_policy())


@pytest.fixture(scope="session")
def scan(scanner: Scanner) -> Callable[..., Scan]:
    """Scan any JSON content with the default policy."""

    def run(content: object, source: str = "") -> Scan:
        return scanner.scan(walk(to_value(content), 64), source)

    return run


@pytest.fixture(scope="session")
def find(scan: Callable[..., Scan]) -> Find:
    """Return ``detector:text found`` for everything found in a text."""

    def run(text: str) -> list[str]:
        return [f"{f.detector}:{text[f.start : f.end]}" for f in scan(text).findings]

    return run


@pytest.fixture(scope="session", name="to_value")
def to_value_fixture() -> Callable[[object], struct_pb2.Value]:
    return to_value
