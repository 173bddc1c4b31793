from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf import struct_pb2

from detection import Scanner, parse_policy
from detection.fields import walk

ToValue = Callable[[object], struct_pb2.Value]


def hits(find_all: Scanner, content: object, to_value: ToValue) -> list[str]:
    scan = find_all.scan(walk(to_value(content), 16), "")
    return [f.detector for f in scan.findings]


@pytest.fixture(scope="module")
def scanner_of_words() -> Scanner:
    words = ["ssn", "top secret", "Projekt Überall", "机密", "c++", "Falcon9"]
    return Scanner(parse_policy("keywords: " + str(words)))


@pytest.mark.parametrize(
    "text",
    [
        "ssn",
        "my ssn is",
        "SSN:",
        "user_ssn",
        "userSsn",
        "userSSN",
        "ssnNumber",
        "SSNNumber",
        "ssn2",
        "(ssn)",
        "top secret",
        "TOP-SECRET",
        "top_secret",
        "topSecret",
        "isTopSecretDoc",
        "projekt überall!",
        "PROJEKT ÜBERALL",
        "Projekt U\u0308berall",
        "这是机密文件",
        "we use C++ here",
        "falcon9",
        "ｓｓｎ",
        "s\u200bsn",
    ],
)
def test_keywords_are_found(scanner_of_words: Scanner, to_value: ToValue, text: str) -> None:
    assert hits(scanner_of_words, text, to_value) == ["keyword"]
    assert hits(scanner_of_words, {text: 1}, to_value) == ["keyword"]


@pytest.mark.parametrize(
    "text",
    [
        "mission",
        "classname",
        "className",
        "ssnake",
        "assn",
        "top secretary",
        "laptop secret",
        "falcon90",
    ],
)
def test_words_within_words_pass(scanner_of_words: Scanner, to_value: ToValue, text: str) -> None:
    assert hits(scanner_of_words, text, to_value) == []


def test_neighbouring_keywords_are_all_found(scanner_of_words: Scanner, to_value: ToValue) -> None:
    assert hits(scanner_of_words, "ssn ssn,ssn", to_value) == ["keyword"] * 3


def test_a_named_keyword_is_reported_by_its_name(to_value: ToValue) -> None:
    scanner = Scanner(parse_policy("keywords: [{word: bluebird, name: project_name, action: tag}]"))
    assert hits(scanner, "about bluebird", to_value) == ["project_name"]
