from __future__ import annotations

from collections.abc import Callable

import pytest

from detection import Scan

Find = Callable[[str], list[str]]
Detect = Callable[[object], Scan]


@pytest.mark.parametrize(
    "address",
    [
        "bob@example.com",
        "bob.smith+tag@mail.example.co.uk",
        "BOB_99@EXAMPLE.ORG",
        "o'brien@example.ie",
        "a@b.co",
        "x-y@sub-domain.example.museum",
        "用户@例子.广告",
        "josé@exämple.de",
        "bob@xn--exmple-cua.de",
        "ｂｏｂ＠ｅｘａｍｐｌｅ．ｃｏｍ",
        "bob%40example.com",
        "bob [at] example [dot] com",
        "bob(at)example.com",
        "user@corp.example",
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "mail <{}>, please", '{{"to":"{}"}}', "mailto:{}", "to={};"]
)
def test_emails(find: Find, address: str, around: str) -> None:
    assert any(hit == f"email:{address}" for hit in find(around.format(address)))


@pytest.mark.parametrize(
    "text",
    [
        "icon@2x.png",
        "git@github.com:org/repo.git",
        "lodash@4.17.21",
        "image@sha256:abcdef",
        "user@localhost",
        "getty@tty1.service",
        "root@web01.internal",
        "@john.doe said",
        "a @ b . com",
        "x = a @ b.T",
        "foo@bar.call(1)",
    ],
)
def test_what_only_looks_like_an_email_passes(find: Find, text: str) -> None:
    assert find(text) == []


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


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "172.16.0.9", "192.168.1.20", "fe80::1", "fd00:1::2"]
)
def test_private_addresses_are_only_tagged(scan: Detect, address: str) -> None:
    result = scan(f"from {address} at noon")
    (finding,) = result.findings
    assert (finding.detector, result.verdict.name) == ("private_ip_address", "ACCEPT")


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
