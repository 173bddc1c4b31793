from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from google.protobuf import json_format, struct_pb2

from detection import Scan, Scanner, Verdict, parse_policy
from detection.fields import walk
from detection.masking import mask_text

ToValue = Callable[[object], struct_pb2.Value]


def masked(
    scanner: Scanner, to_value: ToValue, content: object, source: str = ""
) -> tuple[Scan, object]:
    value = to_value(content)
    scan = scanner.scan(walk(value, 64), source)
    return scan, json.loads(json_format.MessageToJson(scan.mask(value)))


def test_shape_stays_and_content_goes() -> None:
    assert mask_text("tel 212-555-0123 x", [(4, 16, False)]) == "tel ***-***-**** x"
    assert mask_text("pw=a!b c", [(3, 8, True)]) == "pw=*****"
    assert mask_text("é4٣-", [(0, 4, False)]) == "***-"
    assert mask_text("x" * 500, [(0, 500, False)]) == "*" * 16
    assert mask_text("abcdef", [(0, 4, False), (2, 6, False)]) == "******"


def test_every_place_is_masked(scanner: Scanner, to_value: ToValue) -> None:
    content = {
        "user": {"ssn": "123-45-6789", "age": 41, "tags": ["ok", "bob@example.com"]},
        "card": 4539148803436467,
        "note": "call 212-555-0123 or 212-555-0199",
        "none": None,
        "flag": True,
    }
    scan, copy = masked(scanner, to_value, content)
    assert scan.verdict is Verdict.REJECT
    assert copy == {
        "user": {"ssn": "***********", "age": 41, "tags": ["ok", "***************"]},
        "card": "****************",
        "note": "****************",
        "none": None,
        "flag": True,
    }


def test_a_value_used_as_a_key_is_masked_in_copy_and_pointers(
    scanner: Scanner, to_value: ToValue
) -> None:
    content = {
        "by_ssn": {"123-45-6789": {"mail": "bob@example.com"}, "234-56-7890": 2, "*" * 11: 3}
    }
    scan, copy = masked(scanner, to_value, content)
    assert sorted(copy["by_ssn"]) == ["*" * 11, "*" * 11 + "~2", "*" * 11 + "~3"]  # type: ignore[index]
    text = json.dumps(copy) + repr(scan)
    assert "6789" not in text and "7890" not in text and "bob" not in text
    assert {"mail": "*" * 15} in copy["by_ssn"].values()  # type: ignore[index]
    assert {f.in_key for f in scan.findings if f.detector == "us_ssn"} == {True}


def test_the_original_is_untouched(scanner: Scanner, to_value: ToValue) -> None:
    value = to_value({"123-45-6789": "bob@example.com"})
    before = value.SerializeToString(deterministic=True)
    scanner.scan(walk(value, 8), "").mask(value)
    assert value.SerializeToString(deterministic=True) == before


def test_the_source_is_scanned_and_masked(scanner: Scanner, to_value: ToValue) -> None:
    scan, copy = masked(scanner, to_value, "hello", "crm bob@example.com")
    assert [(f.pointer, f.start, f.end) for f in scan.findings] == [("/source", 4, 19)]
    assert scan.masked_source(refused=True) == "****************"
    assert copy == "hello"


def test_a_redacted_submission_is_masked_only_where_redacted(to_value: ToValue) -> None:
    policy = parse_policy("detectors: {email: {action: redact}, phone: {action: tag}}")
    scan, copy = masked(Scanner(policy), to_value, "bob@example.com or 212-555-0123")
    assert scan.verdict is Verdict.ACCEPT and scan.redacted
    assert copy == "***@*******.*** or 212-555-0123"


def test_a_refused_submission_is_masked_where_tagged_too(to_value: ToValue) -> None:
    policy = parse_policy("detectors: {phone: {action: tag}}")
    content = ["bob@example.com, or so", "212-555-0123", "x"]
    _, copy = masked(Scanner(policy), to_value, content)
    assert copy == ["****************", "************", "x"]


def many(count: int) -> dict[str, object]:
    return {"all": ["so bob@example.com"] * count, "alice@example.com": "x", "n": 1}


@pytest.mark.parametrize("count", [300, 9_000])
def test_however_many_findings_a_tag_changes_nothing(to_value: ToValue, count: int) -> None:
    policy = Scanner(parse_policy("detectors: {email: {action: tag}}"))
    scan, copy = masked(policy, to_value, many(count), "crm")
    assert (scan.verdict, scan.redacted, scan.masked_widely) == (Verdict.ACCEPT, False, False)
    assert copy == many(count)
    assert scan.masked_source(refused=False) == "crm"
    assert (len(scan.findings), scan.finding_count) == (256, count + 1)


@pytest.mark.parametrize("count", [300, 9_000])
def test_however_many_findings_a_redaction_is_exact(to_value: ToValue, count: int) -> None:
    policy = Scanner(parse_policy("detectors: {email: {action: redact}}"))
    scan, copy = masked(policy, to_value, many(count), "crm")
    assert (scan.verdict, scan.redacted, scan.masked_widely) == (Verdict.ACCEPT, True, False)
    hidden = ["so ***@*******.***"] * count
    assert copy == {"all": hidden, "*****@*******.***": "x", "n": 1}
    assert scan.masked_source(refused=False) == "crm"
    assert scan.finding_count == count + 1


def own(pattern: str, action: str) -> Scanner:
    return Scanner(
        parse_policy(f"patterns: [{{name: own, pattern: '{pattern}', action: {action}}}]")
    )


@pytest.mark.parametrize("pattern", [r"EMP-\d+", "of (EMP-[0-9]+)", "(?:EMP|CON)-[0-9]{5}"])
def test_many_matches_of_an_own_pattern_are_exact_in_large_texts(
    to_value: ToValue, pattern: str
) -> None:
    scan, copy = masked(own(pattern, "redact"), to_value, "of EMP-12345, " * 60_000)
    assert copy == "of ***-*****, " * 60_000
    assert (scan.masked_widely, scan.finding_count) == (False, 60_000)


def test_where_an_own_pattern_looks_too_far_too_often_more_is_masked(to_value: ToValue) -> None:
    texts = {"one": "a.b" * 300, "two": "ax. " * 100_000, "six": "x" * 2000}
    scan, copy = masked(own("a.*b|a", "redact"), to_value, texts)
    assert isinstance(copy, dict)
    assert scan.masked_widely
    assert copy["six"] == texts["six"]
    assert copy["one"] == "*.*" * 300
    # From where it was given up on, all of it.
    assert copy["two"].startswith("*x. " * 50)
    assert copy["two"].endswith("**. " * 90_000)
    scan, copy = masked(own("a.*b|a", "tag"), to_value, texts)
    assert copy == texts
    assert (scan.verdict, scan.redacted, scan.masked_widely) == (Verdict.ACCEPT, False, False)
    assert 10 < scan.finding_count < 100_000
    scan, copy = masked(own("a.*b|a", "reject"), to_value, texts)
    assert (scan.verdict, "a" in json.dumps(copy)) == (Verdict.REJECT, False)


def test_more_findings_than_are_needed_to_refuse_mask_everything_but_the_source(
    scanner: Scanner, to_value: ToValue
) -> None:
    scan, copy = masked(scanner, to_value, many(2_000) | {"y": "z"}, "crm")
    assert (scan.verdict, scan.masked_widely) == (Verdict.REJECT, True)
    assert set(json.dumps(copy)) <= set('{"*~2345: []}, ')
    assert scan.masked_source(refused=True) == "crm"
    assert scan.finding_count >= 256


@pytest.mark.parametrize("source", ["", "crm:bob@example.com"])
def test_where_a_search_is_cut_short_names_are_looked_through(
    scanner: Scanner, to_value: ToValue, source: str
) -> None:
    content = {"public": {"536-22-5587": ["bob@example.com"] * 300}}
    scan, _ = masked(scanner, to_value, content, source)
    assert scan.masked_widely
    assert {f.pointer.rpartition("/")[0] for f in scan.findings if not f.in_key} == {
        "/data/public/***********"
    }
    assert set(scan.masked_source(refused=True)) <= {"*"}


def test_names_that_are_too_many_are_all_hidden(scanner: Scanner, to_value: ToValue) -> None:
    content = {f"user{n}@example.com": ["bob@example.com"] for n in range(600)}
    scan, copy = masked(scanner, to_value, {"public": content, "536-22-5587": 1})
    assert scan.masked_widely
    shown = "".join(finding.pointer for finding in scan.findings) + json.dumps(copy)
    assert "user" not in shown and "public" not in shown and "536-22" not in shown


def test_split_values_are_masked_in_all_parts(scanner: Scanner, to_value: ToValue) -> None:
    scan, copy = masked(scanner, to_value, {"parts": ["4539", "1488", "0343", "6467"]})
    assert copy == {"parts": ["****"] * 4}
    assert [f.pointer for f in scan.findings] == [f"/data/parts/{n}" for n in range(4)]


@pytest.mark.parametrize("address", ["10.0.0.1 ", "fd00::1 ", "192.168.1.7:8080 "])
def test_tens_of_thousands_of_private_addresses_are_kept_as_sent(
    scanner: Scanner, to_value: ToValue, address: str
) -> None:
    for content in ([address] * 9_000, address * 20_000):
        value = to_value(content)
        scan = scanner.scan(walk(value, 4), "crm")
        assert (scan.verdict, scan.redacted, scan.masked_widely) == (Verdict.ACCEPT, False, False)
        assert scan.mask(value) == value
        assert scan.detectors == ("private_ip_address",)
        assert scan.finding_count in (9_000, 20_000)
