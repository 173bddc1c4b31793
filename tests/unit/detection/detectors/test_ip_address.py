from __future__ import annotations

from collections.abc import Callable

import pytest

from detection import Scan

Find = Callable[[str], list[str]]
Detect = Callable[[object], Scan]


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "203.0.113.42",
        "1.1.1.1",
        "2001:db8::1",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "2a00:1450:4009:80b::200e",
        "::ffff:8.8.8.8",
        "8．8．8．8",
    ],
)
@pytest.mark.parametrize("around", ["{}", "from {} at noon", '"{}"', "ip={};", "[{}]", "Host {}."])
def test_ip_addresses(find: Find, address: str, around: str) -> None:
    assert f"ip_address:{address}" in find(around.format(address))


def test_four_small_numbers_need_a_word(find: Find) -> None:
    assert "ip_address:1.2.3.4" in find("login from 1.2.3.4")
    assert "ip_address:1.2.3.4" in find("1.2.3.4:8080")
    assert find("Git 1.7.3.5 release notes, 2.5.4.12") == []


def test_ports_and_urls(find: Find) -> None:
    assert "ip_address:8.8.8.8" in find("http://8.8.8.8:8080/x")
    assert "ip_address:2001:db8::1" in find("http://[2001:db8::1]:80/")


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3.4.5",
        "v1.2.3.4",
        "version 1.2.3.4",
        "Chrome/120.0.6099.1",
        "package==1.2.3.4",
        "lib-1.2.3.4.jar",
        "1.2.3",
        "256.1.1.1",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.0",
        "::1",
        "::",
        "12:34:56",
        "std::vector",
        "dead::beef",
        "Face::add",
        "section 4.3.2.1",
        "2024:01:02",
        "a::b::c",
        "2002::/16",
        'ObjectIdentifier("1.3.101.113")',
    ],
)
def test_what_only_looks_like_an_address_passes(find: Find, text: str) -> None:
    assert find(text) == []


def test_a_version_by_its_key(scan: Detect) -> None:
    assert scan({"version": "1.2.3.4", "app_version": "8.8.8.8"}).findings == ()
