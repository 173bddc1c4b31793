from __future__ import annotations

from collections.abc import Callable

import pytest

Find = Callable[[str], list[str]]


@pytest.mark.parametrize(
    "address", ["00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e", "001a.2b3c.4d5e", "12:34:56:78:90:12"]
)
def test_mac_addresses(find: Find, address: str) -> None:
    assert f"mac_address:{address}" in find(f"mac {address} up")


@pytest.mark.parametrize(
    "text",
    [
        "ff:ff:ff:ff:ff:ff",
        "SHA1 aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd",
        "1234.5678.9012",
        "12-34-56-78-90-12",
        "[.FB85.0020.0002][.A20E.0000.0000]",
    ],
)
def test_what_only_looks_like_a_mac_passes(find: Find, text: str) -> None:
    assert find(text) == []
