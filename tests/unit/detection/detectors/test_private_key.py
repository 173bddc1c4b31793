from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf import json_format, struct_pb2

from detection import Scanner
from detection.fields import walk
from detection.policy import parse_policy
from detection.policy_file import packaged_policy
from tests.unit.detection.detectors.made_up import HEX, LETTERS_AND_DIGITS, some

Find = Callable[[str], list[str]]

REDACT = Scanner(parse_policy("version: 1\naction: redact\n"))


def test_a_private_key_is_masked_to_its_end(find: Find) -> None:
    body = "-----BEGIN EC PRIVATE KEY-----\n" + "MHcCAQEEIKhlkj29fjk3lsk\n" * 3
    key = body + "-----END EC PRIVATE KEY-----"
    assert f"private_key:{key}" in find(f"before\n{key}\nafter")


LINE = some(LETTERS_AND_DIGITS + "+/", 64) + "\n"
PGP = (
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\nComment: made by hand\n\n"
    + LINE * 400
    + "=Ab1C\n-----END PGP PRIVATE KEY BLOCK-----"
)
RSA = "-----BEGIN RSA PRIVATE KEY-----\n" + LINE * 20 + "-----END RSA PRIVATE KEY-----"
CUT = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n" + LINE * 3 + "MIIEv"
PUTTY = (
    "PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\nComment: me\nPublic-Lines: 2\n"
    f"{LINE * 2}Private-Lines: 2\n{LINE * 2}Private-MAC: {some(HEX, 40)}\n"
)


@pytest.mark.parametrize(
    "key",
    [
        PGP,
        RSA,
        RSA.replace("\n", "\\n"),
        RSA.replace("\n", "\r\n"),
        RSA.replace("\n", "%0A").replace(" ", "%20").replace("+", "%2B"),
        RSA.replace("\n", "%0A").replace("+", "%2B").replace(" ", "+"),
        PUTTY,
    ],
)
@pytest.mark.parametrize("around", ["{}", 'a "{}" b', "before\n{}\nand the end"])
def test_a_key_block_is_one_finding_of_any_size(find: Find, key: str, around: str) -> None:
    (hit,) = [hit for hit in find(around.format(key)) if hit.startswith("private_key:")]
    assert hit.removeprefix("private_key:").rstrip() == key.rstrip()


@pytest.mark.parametrize(
    "joint", ["\n> ", "\n   | ", "\n * ", '" .\n"', "\n2026-01-01 INFO ", "<br>"]
)
def test_a_key_that_is_cut_off_is_hidden_to_the_end(find: Find, joint: str) -> None:
    cut = joint.join(CUT.split("\n"))
    assert find(f"before {cut}\nand the end") == [f"private_key:{cut}\nand the end"]


def test_a_key_in_a_list_of_lines_is_hidden_whole(
    scanner: Scanner, to_value: Callable[[object], struct_pb2.Value]
) -> None:
    data = to_value({"key": RSA.split("\n"), "note": "kept"})
    for policy in (packaged_policy(), parse_policy("version: 1\naction: redact\n")):
        scan = Scanner(policy).scan(walk(data, 8), "")
        kept = json_format.MessageToJson(scan.mask(data))
        assert scan.detectors == ("private_key",)
        assert LINE.strip() not in kept and "note" in kept
    header = ["-----BEGIN PRIVATE KEY-----", "is what keys begin with", "or so"]
    assert scanner.scan(walk(to_value(header), 8), "").findings == ()


def test_many_key_heads_cost_what_one_costs(to_value: Callable[[object], struct_pb2.Value]) -> None:
    text = "PuTTY-User-Key-File-2:AAAAAAAAAAAA\n" * 1_000
    spans = [(f.start, f.end) for f in REDACT.scan(walk(to_value(text), 8), "").findings]
    assert {end - start for start, end in spans} == {35}


def test_several_key_blocks_are_several_findings(find: Find) -> None:
    assert find(f"{RSA}\n{PGP}\n{CUT}\n{RSA}") == [
        f"private_key:{key}" for key in (RSA, PGP, CUT + "\n", RSA)
    ]
