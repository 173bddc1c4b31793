from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from google.protobuf import json_format, struct_pb2

from ingest_service.detection import Scan, Scanner, Verdict, parse_policy
from ingest_service.detection.masking import mask_text
from ingest_service.fields import walk

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
        "user": {"ssn": "***-**-****", "age": 41, "tags": ["ok", "***@*******.***"]},
        "card": "****************",
        "note": "call ***-***-**** or ***-***-****",
        "none": None,
        "flag": True,
    }


def test_a_value_used_as_a_key_is_masked_in_copy_and_pointers(
    scanner: Scanner, to_value: ToValue
) -> None:
    content = {
        "by_ssn": {"123-45-6789": {"mail": "bob@example.com"}, "234-56-7890": 2, "***-**-****": 3}
    }
    scan, copy = masked(scanner, to_value, content)
    assert sorted(copy["by_ssn"]) == ["***-**-****", "***-**-****~2", "***-**-****~3"]  # type: ignore[index]
    text = json.dumps(copy) + repr(scan)
    assert "6789" not in text and "7890" not in text and "bob" not in text
    assert {"mail": "***@*******.***"} in copy["by_ssn"].values()  # type: ignore[index]
    assert {f.in_key for f in scan.findings if f.detector == "us_ssn"} == {True}


def test_the_original_is_untouched(scanner: Scanner, to_value: ToValue) -> None:
    value = to_value({"123-45-6789": "bob@example.com"})
    before = value.SerializeToString(deterministic=True)
    scanner.scan(walk(value, 8), "").mask(value)
    assert value.SerializeToString(deterministic=True) == before


def test_the_source_is_scanned_and_masked(scanner: Scanner, to_value: ToValue) -> None:
    scan, copy = masked(scanner, to_value, "hello", "crm bob@example.com")
    assert [(f.pointer, f.start, f.end) for f in scan.findings] == [("/source", 4, 19)]
    assert (scan.masked_source, copy) == ("crm ***@*******.***", "hello")


def test_a_redacted_submission_is_masked_only_where_redacted(to_value: ToValue) -> None:
    policy = parse_policy("detectors: {email: {action: redact}, phone: {action: tag}}")
    scan, copy = masked(Scanner(policy), to_value, "bob@example.com or 212-555-0123")
    assert scan.verdict is Verdict.ACCEPT and scan.redacted
    assert copy == "***@*******.*** or 212-555-0123"


def test_a_refused_submission_is_masked_where_tagged_too(to_value: ToValue) -> None:
    policy = parse_policy("detectors: {phone: {action: tag}}")
    _, copy = masked(Scanner(policy), to_value, "bob@example.com or 212-555-0123")
    assert copy == "***@*******.*** or ***-***-****"


@pytest.mark.parametrize("action", ["reject", "redact", "tag"])
def test_more_findings_than_are_listed_mask_everything(to_value: ToValue, action: str) -> None:
    policy = parse_policy(f"detectors: {{email: {{action: {action}}}}}")
    content = {"all": ["bob@example.com"] * 2000, "alice@example.com": "x"}
    scan, copy = masked(Scanner(policy), to_value, content)
    assert scan.truncated and scan.redacted
    assert "bob" not in json.dumps(copy) and "alice" not in json.dumps(copy)


def test_split_values_are_masked_in_all_parts(scanner: Scanner, to_value: ToValue) -> None:
    scan, copy = masked(scanner, to_value, {"parts": ["4539", "1488", "0343", "6467"]})
    assert copy == {"parts": ["****"] * 4}
    assert [f.pointer for f in scan.findings] == [f"/data/parts/{n}" for n in range(4)]
