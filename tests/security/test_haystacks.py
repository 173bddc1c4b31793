"""Texts made to keep a detector busy are judged within bounded time, and block nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.kit.client import JSON, Client

CHARACTERS = 1_000_000

UNITS = {
    "one letter": "a", "digits": "4", "almost cards": "4111 1111 1111 1112 ", "at": "a@",
    "almost SSNs": "123-45-678 ", "dots": "a.", "almost addresses": "a@b.", "dashes": "1-",
    "plus": "+1", "base64": "QUJD", "tokens": "eyJhbGciOi.", "passwords": "password=",
    "URLs": "http://", "IBANs": "DE89 ", "IPs": "1.1.1.1.", "spaces": " ", "PEM": "-----BEGIN ",
    "backslashes": "\\\\", "percent": "%41", "zero width": "\u200b", "full width": "４",
    "combining": "e\u0301", "ligature of 18": "\ufdfa", "emoji": "😀", "quotes": "'\\\"",
    "braces": "{[(<", "real SSNs": "123-45-6789 ", "real addresses": "bob@example.com ",
    "keywords": "secret", "hex": "0x", "key ids": "AKIA", "open angles": "password=<",
    "encoded digits": "%34", "entities": "4&#52;", "commas": "4111,", "escapes": "1\\\\u002d",
    "key heads": "-----BEGIN PRIVATE KEY-----MIIEvQIBADANBg", "ports": "a://b:80/@c ",
}  # fmt: skip

# Usually a tenth of a second; whoever takes this long is not linear.
BOUND_SECONDS = 15.0


def scan(client: Client, text: str) -> tuple[int, float]:
    body = b'{"data":"' + text.encode() + b'"}'
    begun = time.monotonic()
    answer = client.call("POST", "/scan", body, JSON)
    return answer.status, time.monotonic() - begun


@pytest.mark.parametrize("name", UNITS)
def test_a_megabyte_is_judged_within_bounded_time(client: Client, name: str) -> None:
    unit = UNITS[name]
    status, seconds = scan(client, unit * (CHARACTERS // len(unit.encode())))
    assert status == 200
    assert seconds < BOUND_SECONDS


@pytest.mark.parametrize(
    "data",
    [
        ["123-45-6789"] * 9_999,
        {f"user{n}@example.com": n for n in range(9_999)},
        {"k" * 90 + str(n): "x" for n in range(9_000)},
        ["4111111111111111" * 50] * 1_000,
    ],
)
def test_many_findings_and_many_keys_are_judged_within_bounded_time(
    client: Client, data: Any
) -> None:
    body = json.dumps({"data": data}).encode()
    begun = time.monotonic()
    answer = client.call("POST", "/submit", body, JSON)
    assert answer.status in {200, 400}
    assert len(answer.body) < 64 * 1024
    assert time.monotonic() - begun < BOUND_SECONDS


def batch(client: Client) -> tuple[int, float]:
    """Submit 4 MB in pieces that are small enough to be judged at once."""
    piece = {"data": "password=" * 3_000}
    begun = time.monotonic()
    answer = client.post("/submit:batch", {"submissions": [piece] * 140})
    return answer.status, time.monotonic() - begun


def megabyte(client: Client) -> tuple[int, float]:
    return scan(client, "password=" * (CHARACTERS // 9))


@pytest.mark.parametrize(("work", "times"), [(megabyte, 6), (batch, 1)])
def test_others_are_served_meanwhile(
    client: Client, work: Callable[[Client], tuple[int, float]], times: int
) -> None:
    with ThreadPoolExecutor(times) as pool:
        busy = [pool.submit(work, client) for _ in range(times)]
        served = 0
        while not all(each.done() for each in busy):
            assert client.submit("a small one").status == 200
            served += 1
    assert served > 0
    assert {each.result()[0] for each in busy} == {200}
