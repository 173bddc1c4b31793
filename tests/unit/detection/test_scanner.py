from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields as fields_of

import pytest
from google.protobuf import struct_pb2

from detection import EngineError, Finding, Scan, Scanner, Verdict, engine
from detection.fields import walk

ToValue = Callable[[object], struct_pb2.Value]


def test_pointers_lead_to_every_place(scan: Callable[..., Scan]) -> None:
    content = {"a/b": [{"x~y": "bob@example.com"}], "": {"n": 4539148803436467}}
    assert sorted(f.pointer for f in scan(content).findings) == ["/data//n", "/data/a~1b/0/x~0y"]
    assert [f.pointer for f in scan("bob@example.com").findings] == ["/data"]


def test_spans_are_code_points_of_the_original(scan: Callable[..., Scan]) -> None:
    text = "née 🎉 ４５３９ １４８８ ０３４３ ６４６７ — and\u200b 1\u00ad23-45-6789!"
    found = {f.detector: text[f.start : f.end] for f in scan(text).findings}
    assert found == {
        "payment_card": "４５３９ １４８８ ０３４３ ６４６７",
        "us_ssn": "1\u00ad23-45-6789",
    }


def test_a_value_is_not_read_across_texts(scan: Callable[..., Scan]) -> None:
    assert scan({"a": "4539 1488", "b": "0343 6467"}).findings == ()
    assert scan(["bob@exam", "ple.com is long enough"]).findings == ()
    assert scan({"a": "4539 1488\x1f0343 6467"}).verdict is Verdict.REJECT  # one text, one blank


@pytest.mark.parametrize(
    ("parts", "detector"),
    [
        (["4539", "1488", "0343", "6467"], "payment_card"),
        (list("4539148803436467"), "payment_card"),
        (["123", "45", "6789"], "us_ssn"),
        (["DE89", "3704", "0044", "0532", "0130", "00"], "iban"),
    ],
)
def test_values_split_over_a_list(
    scan: Callable[..., Scan], parts: list[str], detector: str
) -> None:
    result = scan({"x": ["before", {"parts": parts}, "after"]})
    assert {f.detector for f in result.findings} == {detector}
    assert len(result.findings) == len(parts)


def test_lists_of_small_things_are_no_split_values(scan: Callable[..., Scan]) -> None:
    assert scan({"years": ["2021", "2022", "2023"], "n": [4539, 1488, 343, 6467]}).findings == ()
    assert scan([["a", "b"], ["12", "34", "56", "78", "90"]]).findings == ()


def test_no_text_of_the_caller_is_in_what_is_shown(scan: Callable[..., Scan]) -> None:
    result = scan({"user": "bob@example.com"}, "from alice@example.com")
    shown = repr(result) + "".join(map(repr, result.findings))
    assert "bob" not in shown and "alice" not in shown
    assert {f.name for f in fields_of(Finding)} == {
        "detector", "kind", "pointer", "start", "end", "confidence", "action", "in_key",
    }  # fmt: skip


def test_findings_that_explain_others_replace_them(scan: Callable[..., Scan]) -> None:
    (finding,) = scan("phone or card 4539148803436467").findings
    assert finding.detector == "payment_card"
    (finding,) = scan("postgres://app:hunter2x9@db.example.com/x").findings
    assert finding.detector == "url_credentials"


def test_a_matcher_that_gives_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = engine.PatternSet(["a+"])
    assert patterns.matching(b"baab" + engine.SENTINEL) == {0}
    assert patterns.matching(b"b" + engine.SENTINEL) == set()
    with pytest.raises(EngineError):
        patterns.matching(b"baab")

    class GaveUp:
        def Match(self, text: bytes) -> None:
            return None

    monkeypatch.setattr(patterns, "_set", GaveUp())
    with pytest.raises(EngineError):
        patterns.matching(b"baab" + engine.SENTINEL)


def test_a_failing_check_fails_the_scan(
    scanner: Scanner, to_value: ToValue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("detection.document.Document.span", broken)
    with pytest.raises(RuntimeError):
        scanner.scan(walk(to_value("bob@example.com"), 4), "")


def test_one_scanner_serves_many_threads(scanner: Scanner, to_value: ToValue) -> None:
    fields = [walk(to_value(f"{n} bob{n}@example.com ４５３９148803436467"), 4) for n in range(40)]
    alone = [scanner.scan(f, "") for f in fields]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda f: scanner.scan(f, ""), fields * 5))
    assert [s.findings for s in together] == [s.findings for s in alone] * 5


HOSTILE = {
    "cards": "4111111111111112 ",
    "groups": "4111 1111 1111 1112 ",
    "one digit": "4",
    "ssn shapes": "ssn 100 20 3000 ",
    "emails": "a@b.co ",
    "at signs": "a@",
    "ibans": "GB82WEST12345698765433",
    "wallets": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3 ",
    "ether": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeE ",
    "tokens": "eyJhbGciOi1.abcd.e ",
    "assignments": "password=abcdef ",
    "colons": "a:b::",
    "addresses": "1.2.3.4.",
    "numbers": "12-34.56 78/90 ",
    "words": "ssn dob passport dl aba tel aws ",
    "dashes": "-----BEGIN PRIVATE KEY-----",
    "wide": "４５",
    "marks": "1\u0301\u200b",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_work_grows_with_the_text_and_no_faster(
    scanner: Scanner, to_value: ToValue, name: str
) -> None:
    def checked(size: int) -> int:
        text = (HOSTILE[name] * size)[:size]
        return scanner.scan(walk(to_value(text), 4), "").checked

    small, large = checked(8_000), checked(64_000)
    assert large <= 8 * small + 64
    assert large <= 64_000 // 2


PLANTED = {
    "payment_card": "4539 1488 0343 6467",
    "iban": "GB82 WEST 1234 5698 7654 32",
    "us_ssn": "536-22-5587",
    "email": "bob.smith@example.com",
    "phone": "+1 212 555 0123",
    "ip_address": "203.0.113.42",
    "crypto_wallet": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
    "github_token": "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3kM5",
    "keyword": "top secret",
}


@pytest.mark.parametrize("seed", range(24))
def test_hits_planted_in_hostile_text_are_all_found(
    scanner: Scanner, to_value: ToValue, seed: int
) -> None:
    chance = random.Random(seed)
    pieces: list[str] = []
    for _ in range(60):
        kind = chance.randrange(5)
        if kind == 0:
            pieces.append(chance.choice(list(HOSTILE.values())) * chance.randrange(40))
        elif kind == 1:
            pieces.append("".join(chance.choices("0123456789 -.:/+()", k=chance.randrange(400))))
        elif kind == 2:
            pieces.append("".join(chr(chance.randrange(32, 0x2FFF)) for _ in range(200)))
        elif kind == 3:
            pieces.append(
                "".join(chance.choices("abcdefABCDEF0123456789", k=chance.randrange(400)))
            )
        else:
            pieces.append(chance.randbytes(chance.randrange(300)).decode("latin-1"))
    noise = "".join(pieces)
    for detector, value in PLANTED.items():
        place = chance.randrange(len(noise))
        text = noise[:place] + "\n\n[" + value + "]\n\n" + noise[place:]
        start = place + 3
        result = scanner.scan(walk(to_value({"x": [1, text]}), 8), "")
        assert result.masked_widely or any(
            f.start <= start and f.end >= start + len(value) for f in result.findings
        ), detector
        assert result.verdict is Verdict.REJECT


def test_findings_read_as_json(scan: Callable[..., Scan]) -> None:
    (finding,) = scan("bob@example.com").findings
    assert json.dumps([finding.pointer, finding.kind.value, finding.confidence.name])
