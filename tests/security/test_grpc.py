"""Hostile bytes over native gRPC, through the gateway and past it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
import pytest

from sluice.ingest.v1 import ingest_service_pb2 as ingest
from tests.kit.error_details import error_info
from tests.security import wire
from tests.security.calls import call

BAD_UTF8 = [
    b"\xff",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
]
SECRET = b"my ssn is 123-45-6789"


@pytest.fixture(params=["gateway", "ingest"])
def either(
    request: pytest.FixtureRequest, channel: grpc.Channel, ingest_channel: grpc.Channel
) -> grpc.Channel:
    return channel if request.param == "gateway" else ingest_channel


@pytest.mark.parametrize("text", BAD_UTF8)
def test_text_that_is_not_utf8_is_an_invalid_argument(either: grpc.Channel, text: bytes) -> None:
    text = b"CANARY " + text
    value = wire.text_value(text)
    for method, data in (
        (wire.SUBMIT, wire.submission(value)),
        (wire.SUBMIT, wire.submission(wire.struct_value([(text, wire.text_value(b"x"))]))),
        (wire.SUBMIT, wire.submission(wire.text_value(b"x"), source=text)),
        (wire.SUBMIT, wire.submission(wire.text_value(b"x"), request_id=text)),
        (wire.SCAN, wire.submission(value)),
        (wire.SUBMIT_BATCH, wire.field(1, wire.submission(value))),
        ("/sluice.ingest.v1.IngestService/GetStatus", wire.field(1, text)),
    ):
        ended = call(either, method, data)
        assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT, method
        assert error_info(ended).reason == "UNDECODABLE"
        assert "CANARY" not in str(ended)
        assert "utf8" not in (ended.details() or "").lower()


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\x0a\x05abc", b"\x07", b"\x0a" + b"\x80" * 11]
)
def test_bytes_that_are_no_message_are_an_invalid_argument(
    either: grpc.Channel, data: bytes
) -> None:
    ended = call(either, wire.SUBMIT, data)
    assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(ended).reason == "UNDECODABLE"


@pytest.mark.parametrize("text", [*BAD_UTF8, None])
def test_a_stream_ends_with_a_status_of_ours(either: grpc.Channel, text: bytes | None) -> None:
    pieces: Iterable[bytes] = [
        wire.field(1, wire.submission(wire.text_value(b"fine"))),
        b"\xff\xff" if text is None else wire.field(1, wire.submission(wire.text_value(text))),
    ]
    streaming: Any = either.stream_stream(wire.SUBMIT_STREAM)
    answers = streaming(iter(pieces), timeout=30)
    with pytest.raises(grpc.RpcError) as caught:
        list(answers)
    ended: Any = caught.value
    assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(ended).reason == "UNDECODABLE"


@pytest.mark.parametrize(
    "eight_bytes",
    [
        b"\0\0\0\0\0\0\xf8\x7f",
        b"\0\0\0\0\0\0\xf0\x7f",
        b"\0\0\0\0\0\0\xf0\xff",
        b"\1\0\0\0\0\0\xf0\x7f",
    ],
)
def test_nan_and_infinities_are_refused(either: grpc.Channel, eight_bytes: bytes) -> None:
    value = wire.list_value([wire.number_value(eight_bytes)])
    ended = call(either, wire.SUBMIT, wire.submission(value))
    assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(ended).reason == "INVALID_INPUT"


@pytest.mark.parametrize(
    "value", [b"", b"\x08\x00", b"\x08\x07", wire.text_value(b"a\0b"), wire.list_value([b""])]
)
def test_a_value_that_json_does_not_have_is_refused(either: grpc.Channel, value: bytes) -> None:
    ended = call(either, wire.SUBMIT, wire.submission(value))
    assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(ended).reason == "INVALID_INPUT"


@pytest.mark.parametrize(
    ("depth", "code"),
    [
        (30, grpc.StatusCode.OK),
        (33, grpc.StatusCode.INVALID_ARGUMENT),
        (60, grpc.StatusCode.INVALID_ARGUMENT),
        (200, grpc.StatusCode.INVALID_ARGUMENT),
        (30_000, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_depth_is_limited(either: grpc.Channel, depth: int, code: grpc.StatusCode) -> None:
    value = wire.nested(depth, wire.text_value(b"x"))
    assert call(either, wire.SUBMIT, wire.submission(value)).code() is code


def test_a_submission_of_more_than_1_mib_is_refused(either: grpc.Channel) -> None:
    ended = call(either, wire.SUBMIT, wire.submission(wire.text_value(b"word " * 400_000)))
    assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(ended).reason == "INVALID_INPUT"


def test_a_message_beyond_the_limit_is_resource_exhausted(either: grpc.Channel) -> None:
    data = wire.submission(wire.text_value(b"word " * 1_000_000))
    for method in (wire.SUBMIT, wire.SUBMIT_BATCH, wire.SCAN):
        ended = call(either, method, data)
        assert ended.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    streaming: Any = either.stream_stream(wire.SUBMIT_STREAM)
    with pytest.raises(grpc.RpcError) as caught:
        list(streaming(iter([data]), timeout=30))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_of_a_key_sent_twice_within_data_the_last_counts(either: grpc.Channel) -> None:
    fine, secret = wire.text_value(b"fine"), wire.text_value(SECRET)
    for values, found in (((secret, fine), set()), ((fine, secret), {"/data/a"})):
        value = wire.struct_value([(b"a", each) for each in values])
        scan: Any = either.unary_unary(wire.SCAN)
        answer = ingest.ScanResponse.FromString(scan(wire.submission(value), timeout=10))
        assert {each.path for each in answer.findings} == found
