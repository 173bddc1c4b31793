"""A call's records become submissions, each judged as if it had come alone."""

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import (
    SEVERITY_NUMBER_INFO,
    LogRecord,
    ResourceLogs,
)

from ingest_service.gate import Gate
from ingest_service.judgement import CLEAN, Judgement, Refusal
from ingest_service.otlp import records
from ingest_service.otlp.records import Export, Reading, Share, rules_broken
from ingest_service.parts import parts_of
from ingest_service.submission import Submission
from mesh.messages import varint

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))
GATE = Gate(None)


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
    return [
        KeyValue(key=key, value=AnyValue(**{kinds[type(value)]: value}))
        for key, value in values.items()
    ]


def record(body: str = "hello", **values: Any) -> LogRecord:
    made = LogRecord(attributes=attributes(values))
    if body:
        made.body.string_value = body
    return made


def group(*held: LogRecord, **resource: Any) -> ResourceLogs:
    logs = ResourceLogs()
    logs.resource.attributes.extend(
        attributes({k.replace("_", "."): v for k, v in resource.items()})
    )
    logs.scope_logs.add().log_records.extend(held)
    return logs


def export(*groups: ResourceLogs) -> Any:
    wire = ExportLogsServiceRequest(resource_logs=groups).SerializeToString()
    return Export.FromString(wire)


def looked_at(reading: Reading) -> list[tuple[Share, list[Judgement | None]]]:
    """Do what the servicer does."""
    shares = []
    for share in reading.shares():
        reading.note(GATE.suspects(reading.new_texts()))
        for known_as, submission in reading.unsettled_headers():
            reading.settle(known_as, is_clean=GATE.judge(submission.message) == CLEAN)
        shares.append((share, reading.judgements(share)))
    return shares


def submissions(*groups: ResourceLogs) -> list[Submission]:
    return [each for share in Reading(export(*groups)).shares() for each in share.submissions]


def data_of(submission: Submission) -> Any:
    return json_format.MessageToDict(Value.FromString(submission.data + submission.stamp))


def known(*groups: ResourceLogs) -> list[Judgement | None]:
    return [each for _, found in looked_at(Reading(export(*groups))) for each in found]


def test_a_record_says_what_it_said() -> None:
    sent = record("order placed", retries=2)
    sent.time_unix_nano = 1_790_000_000_000_000_001
    sent.observed_time_unix_nano = 1_790_000_001_500_000_000
    sent.severity_number, sent.severity_text = SEVERITY_NUMBER_INFO, "INFO"
    sent.trace_id, sent.span_id, sent.flags = TRACE, SPAN, 1
    sent.event_name, sent.dropped_attributes_count = "order.placed", 3
    logs = group(sent, service_name="checkout", host_name="web")
    logs.schema_url = "https://opentelemetry.io/schemas/1.38.0"
    scope = logs.scope_logs[0]
    scope.schema_url = "https://opentelemetry.io/schemas/1.37.0"
    scope.scope.name, scope.scope.version = "shop.orders", "2"
    scope.scope.attributes.extend(attributes({"short": True}))
    (submission,) = submissions(logs)
    assert submission.message.source == "checkout"
    assert data_of(submission) == {
        "body": "order placed",
        "attributes": {"retries": 2},
        "resource": {"service.name": "checkout", "host.name": "web"},
        "scope": {"name": "shop.orders", "version": "2", "attributes": {"short": True}},
        "resource_schema_url": "https://opentelemetry.io/schemas/1.38.0",
        "schema_url": "https://opentelemetry.io/schemas/1.37.0",
        "severity_number": 9,
        "severity_text": "INFO",
        "event_name": "order.placed",
        "dropped_attributes_count": 3,
        "flags": 1,
        "trace_id": TRACE.hex(),
        "span_id": SPAN.hex(),
        "time": "2026-09-21T14:13:20.000000001Z",
        "observed_time": "2026-09-21T14:13:21.500000000Z",
    }


def test_a_record_that_says_nothing_is_an_empty_object() -> None:
    (submission,) = submissions(group(LogRecord()))
    assert data_of(submission) == {}
    assert submission.message.HasField("data")
    assert known(group(LogRecord())) == [CLEAN]


def test_what_is_set_to_nothing_is_told_apart_from_what_is_not_set() -> None:
    sent = LogRecord()
    sent.body.SetInParent()
    (submission,) = submissions(group(sent))
    assert data_of(submission) == {"body": None}


@pytest.mark.parametrize(
    ("name", "source"),
    [("checkout", "checkout"), ("my shop", ""), ("a" * 129, ""), ("", ""), (5, "5"), ("ñ", "")],
)
def test_a_name_that_is_no_source_stays_in_the_resource(name: Any, source: str) -> None:
    (submission,) = submissions(group(record(), service_name=name))
    assert submission.message.source == source
    assert data_of(submission)["resource"] == {"service.name": name}


@pytest.mark.parametrize(("uid", "request_id"), [("01ARZ3", "01ARZ3"), ("a b", ""), (7, "7")])
def test_the_uid_of_a_record_is_its_request_id(uid: Any, request_id: str) -> None:
    sent = record(**{"log.record.uid": uid})
    (submission, other) = submissions(group(sent, record()))
    assert (submission.request_id, other.request_id) == (request_id, "")
    assert data_of(submission)["attributes"] == {"log.record.uid": uid}


@pytest.mark.parametrize("field", ["trace_id", "span_id"])
@pytest.mark.parametrize("value", [b"\1", bytes(8), bytes(16), b"1" * 100])
def test_what_is_no_id_is_left_out(field: str, value: bytes) -> None:
    sent = record()
    setattr(sent, field, value)
    (submission,) = submissions(group(sent))
    assert data_of(submission) == {"body": "hello"}


def test_the_latest_time_there_is_can_be_written() -> None:
    sent = record()
    sent.time_unix_nano = 2**64 - 1
    (submission,) = submissions(group(sent))
    assert data_of(submission)["time"] == "2554-07-21T23:34:33.709551615Z"


SSN = "my ssn is 123-45-6789"


@pytest.mark.parametrize(
    "spoilt",
    [
        record(SSN),
        record(note=SSN),
        record(**{SSN: "x"}),
        LogRecord(severity_text=SSN),
        LogRecord(event_name=SSN),
        record("bob@example.com"),
        record(**{"log.record.uid": "bob@example.com"}),
        record("NUL \0"),
    ],
)
def test_what_may_hold_something_is_judged_and_the_others_are_not(spoilt: LogRecord) -> None:
    assert known(group(record("a"), spoilt, record("b"), service_name="shop")) == [
        CLEAN,
        None,
        CLEAN,
    ]


def test_what_is_shared_is_judged_once_and_spoils_all_that_share_it() -> None:
    # Digits that may be a phone number, and are none.
    fine = group(record("a"), record("b"), service_instance_id="0195-4712-0934-33")
    assert GATE.suspects(["0195-4712-0934-33"])
    assert known(fine) == [CLEAN, CLEAN]
    spoilt = group(record("a"), record("b"), host_owner="bob@example.com")
    assert known(fine, spoilt, fine) == [CLEAN, CLEAN, None, None, CLEAN, CLEAN]


@pytest.mark.parametrize("place", ["resource_schema_url", "schema_url"])
@pytest.mark.parametrize(("url", "body"), [("passport", "C01X00T47"), ("C01X00T47", "passport")])
def test_a_url_is_judged_with_the_body_beside_it(place: str, url: str, body: str) -> None:
    logs = group(record(body))
    if place == "schema_url":
        logs.scope_logs[0].schema_url = url
    else:
        logs.schema_url = url
    (submission,) = submissions(logs)
    assert GATE.judge(submission.message).detectors == ("passport",)
    assert known(logs) == [None]


def test_a_value_apart_in_a_list_is_judged() -> None:
    sent = record()
    parts = sent.attributes.add(key="number").value.array_value
    parts.values.extend(AnyValue(string_value=each) for each in ("4111", "1111", "1111", "1111"))
    assert known(group(sent)) == [None]


def test_the_same_piece_is_known_in_later_shares() -> None:
    many = [record("a", n=index % 7) for index in range(records.SHARE_RECORDS * 2)]
    many[-1].body.string_value = SSN
    shares = looked_at(Reading(export(group(*many, service_name="shop"))))
    assert len(shares) == 2
    judged = [each for _, found in shares for each in found]
    assert judged == [CLEAN] * (len(many) - 1) + [None]


def damaged(tag: bytes, value: bytes) -> bytes:
    """Return a call with three records, the second of which has a field like this."""
    fine = record().SerializeToString()
    spoilt = tag + bytes([len(value)]) + value
    held = b"".join(b"\x12" + bytes([len(each)]) + each for each in (fine, spoilt, fine))
    scope = b"\x12" + bytes([len(held)]) + held
    return b"\x0a" + bytes([len(scope)]) + scope


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (b"\x2a", b"\x0a\x01\xff"),
        (b"\x32", b"\x0a\x01a\x12\x03\x0a\x01\xff"),
        (b"\x32", b"\xff\xff"),
        (b"\x1a", b"\xff"),
        (b"\x62", b"\xff"),
    ],
    ids=["body", "attribute", "no attribute", "severity", "event name"],
)
def test_what_is_damaged_spoils_its_record_only(tag: bytes, value: bytes) -> None:
    reading = Reading(Export.FromString(damaged(tag, value)))
    ((share, found),) = looked_at(reading)
    assert (found[0], found[2]) == (CLEAN, CLEAN)
    assert found[1] is not None
    assert found[1].refusal is Refusal.SHAPE
    assert [each.reason for each in found[1].violations] == ["UNDECODABLE"]
    assert share.submissions[1].data == b""


@pytest.mark.parametrize("spoilt", [b"\x000\x01a", b"\x010", b"\x011", b"\x020", b"\3", b"0", b"1"])
@pytest.mark.parametrize("is_first", [False, True])
def test_a_damaged_attribute_is_taken_for_nothing_else(spoilt: bytes, is_first: bool) -> None:
    sent = [LogRecord(severity_text=str(number)).SerializeToString() for number in range(3)]
    sent.append(record("0").SerializeToString())
    place = 0 if is_first else len(sent)
    sent.insert(place, b"\x32" + varint(len(spoilt)) + spoilt)
    held = b"".join(b"\x12" + varint(len(each)) + each for each in sent)
    scope = b"\x12" + varint(len(held)) + held
    ((_, found),) = looked_at(Reading(Export.FromString(b"\x0a" + varint(len(scope)) + scope)))
    refusals = [each and each.refusal for each in found]
    assert refusals.pop(place) is Refusal.SHAPE
    assert refusals == [Refusal.NONE] * 4


def test_a_damaged_resource_spoils_its_records_only() -> None:
    wire = b"\x0a\x08\x0a\x02\xff\xff\x12\x02\x12\x00"
    fine = ExportLogsServiceRequest(resource_logs=[group(record())]).SerializeToString()
    ((_, found),) = looked_at(Reading(Export.FromString(wire + fine)))
    assert [each and each.refusal for each in found] == [Refusal.SHAPE, Refusal.NONE]


@pytest.mark.parametrize(
    ("name", "uid", "told"),
    [
        ("shop", "01ARZ3", ["shop", "01ARZ3"]),
        ("jane.doe@example.com", "01ARZ3", ["", ""]),
        ("shop", "123-45-6789", ["", ""]),
    ],
)
def test_of_a_damaged_record_no_name_is_told_in_which_something_may_be(
    name: str, uid: str, told: list[str]
) -> None:
    logs = group(record("xyz", **{"log.record.uid": uid}), service_name=name)
    sent = ExportLogsServiceRequest(resource_logs=[logs]).SerializeToString()
    ((share, found),) = looked_at(Reading(Export.FromString(sent.replace(b"xyz", b"x\xffz"))))
    assert [each and each.refusal for each in found] == [Refusal.SHAPE]
    (part,) = parts_of(share.submissions, [each for each in found if each])
    alert = part.alert(0, "an-alert", "")
    assert [alert.source, alert.request_id] == told
    part.alert_ids[0] = "an-alert"
    recorded = part.entry().piece
    assert all((text.encode() in recorded) is (text in told) for text in (name, uid))


def test_a_large_record_is_judged_by_all_rules() -> None:
    values = {f"key{number}": "x" * 100 for number in range(500)}
    assert known(group(record(**values), record())) == [None, CLEAN]


def test_nothing_is_no_record() -> None:
    assert list(Reading(export()).shares()) == []
    logs = ResourceLogs()
    logs.scope_logs.add()
    assert list(Reading(export(ResourceLogs(), logs)).shares()) == []
    assert rules_broken(export()) == []


def test_records_are_bounded() -> None:
    most = group(*[LogRecord()] * records.MAX_RECORDS)
    assert rules_broken(export(most)) == []
    (broken,) = rules_broken(export(most, group(LogRecord())))
    assert broken.reason == "BAD_COUNT"


def test_groups_are_bounded_also_without_records() -> None:
    for count in (records.MAX_RECORDS, records.MAX_RECORDS * 100):
        without = Export.FromString(b"\x0a\x02\x12\x00" * count + b"\x0a\x00")
        assert [each.reason for each in rules_broken(without)] == ["BAD_COUNT"]
        scopes = b"\x12\x00" * count
        one = b"\x0a" + varint(len(scopes)) + scopes
        assert bool(rules_broken(Export.FromString(one))) is (count > records.MAX_RECORDS)


@pytest.mark.parametrize("of_scopes", [False, True])
def test_records_behind_many_groups_are_counted(of_scopes: bool) -> None:
    def field(number: int, held: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(held)) + held

    many = field(2, b"\x12\x00" * (records.MAX_RECORDS + 1))
    if of_scopes:
        sent = field(1, b"\x12\x00" * records.MAX_RECORDS + many)
    else:
        sent = b"\x0a\x00" * records.MAX_RECORDS + field(1, many)
    assert [each.reason for each in rules_broken(Export.FromString(sent))] == ["BAD_COUNT"]


def test_a_record_with_too_many_attributes_is_not_read_whole() -> None:
    sent = LogRecord(attributes=[KeyValue(key=str(number)) for number in range(50_000)])
    reading = Reading(export(group(sent)))
    ((share, found),) = looked_at(reading)
    assert found == [None]
    judged = GATE.judge(share.submissions[0].message)
    assert "TOO_MANY_VALUES" in [each.reason for each in judged.violations]
    assert len(share.pieces[0]) < 10_010


def test_a_resource_with_too_many_attributes_is_not_read() -> None:
    logs = group(LogRecord())
    logs.resource.attributes.extend(KeyValue(key=str(number)) for number in range(50_000))
    (judgement,) = known(logs)
    assert judgement is not None
    assert [each.reason for each in judgement.violations] == ["TOO_MANY_VALUES"]


def test_of_groups_without_records_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(records, "attribute")
    without = [group(host=str(number)) for number in range(100)]
    assert list(Reading(export(*without)).shares()) == []


def test_what_a_large_resource_comes_to_is_bounded() -> None:
    large = "x" * 1024 * 1024
    assert rules_broken(export(group(*[record()] * 31, large=large))) == []
    (broken,) = rules_broken(export(group(*[record()] * 33, large=large)))
    assert broken.reason == "TOO_LONG"


def test_values_converted_one_by_one_end_a_share() -> None:
    sent = record()
    sent.body.array_value.values.extend([AnyValue(bool_value=True)] * records.SHARE_NODES)
    many = [LogRecord.FromString(sent.SerializeToString()) for _ in range(4)]
    for number, each in enumerate(many):
        each.body.array_value.values.add(int_value=number)
    shares = list(Reading(export(group(*many))).shares())
    assert [len(share.submissions) for share in shares] == [1, 1, 1, 1]
