from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from google.protobuf import json_format, struct_pb2

from detection import Scan, Scanner
from detection.fields import walk
from tests.unit.detection.detectors.made_up import some, token

Detect = Callable[[object], Scan]

AWS_ID = token("AKIA", some(string.ascii_uppercase + "234567", 16))
AWS_SECRET = token(18, "9+/Zq", 17)


@pytest.mark.parametrize(
    "content",
    [
        f"{AWS_ID},{AWS_SECRET}",
        f"id {AWS_ID}\nsecret {AWS_SECRET}",
        f"User,Access key,Secret\nbob,{AWS_ID},{AWS_SECRET}\n",
        f"[default]\naws_access_key_id = {AWS_ID}\naws_secret_access_key = {AWS_SECRET}\n",
        {"id": AWS_ID, "value": AWS_SECRET},
        {"value": AWS_SECRET, "zone": "x", "who": f"key {AWS_ID}"},
        [AWS_SECRET, AWS_ID],
    ],
)
def test_the_secret_beside_an_aws_id_is_found(scan: Detect, content: object) -> None:
    findings = scan(content).findings
    assert [finding.detector for finding in findings] == ["aws_key"] * 2
    assert {finding.end - finding.start for finding in findings} == {20, 40}


def test_forty_characters_alone_are_no_aws_secret(scan: Detect) -> None:
    assert scan({"a": AWS_SECRET, "b": {"id": AWS_ID}}).finding_count == 1
    assert scan(AWS_SECRET).findings == ()


def test_of_refused_key_ids_no_secret_is_kept(
    scanner: Scanner, to_value: Callable[[object], struct_pb2.Value]
) -> None:
    data = to_value({"a": {"id": AWS_ID}, "b": [{"v": AWS_SECRET}], "c": "kept"})
    kept = json_format.MessageToJson(scanner.scan(walk(data, 8), "").mask(data))
    assert AWS_SECRET not in kept and AWS_ID not in kept and "kept" in kept
