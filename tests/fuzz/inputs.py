"""Inputs made up from the contracts: what they allow, what they nearly allow, and noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_from_bytes

from google.api import annotations_pb2
from google.protobuf import descriptor, struct_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from sluice.alert.v1 import alert_service_pb2
from sluice.ingest.v1 import ingest_service_pb2
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

SERVICES = [
    ingest_service_pb2.DESCRIPTOR.services_by_name["IngestService"],
    alert_service_pb2.DESCRIPTOR.services_by_name["AlertService"],
]

# A watch of alerts answers nothing until there is an alert, so it has no outcome to judge.
ENDLESS = {"WatchAlerts"}

METHODS = [
    method for service in SERVICES for method in service.methods if method.name not in ENDLESS
]

Field = descriptor.FieldDescriptor

NASTY_TEXTS = [
    "", "a\0b", "\x1b[31m", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "../../etc/passwd", "123-45-6789", "4111 1111 1111 1111", "bob@example.com", "top secret",
    "NaN", "%s%n", "'; DROP SERIES", "é" * 200, "\u202e", "\uffff", "a" * 5000, "a,b=c d\\\"\n",
    "-----BEGIN RSA PRIVATE KEY-----", "\u200b1\u200b2\u200b3-45-6789",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV-0",
]  # fmt: skip

texts = st.one_of(st.text(max_size=20), st.sampled_from(NASTY_TEXTS))
numbers = st.one_of(
    st.floats(width=64),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -0.0, 2**53, 2**53 - 1, 2**32, -1, 1e308, 5e-324]),
)


def _nested(leaf: st.SearchStrategy[Any], depth: int) -> st.SearchStrategy[Any]:
    return leaf if depth == 0 else st.builds(lambda each: [each], _nested(leaf, depth - 1))


json_leaves = st.one_of(
    st.none(), st.booleans(), texts, st.floats(allow_nan=False, allow_infinity=False), numbers
)
json_values = st.one_of(
    st.recursive(
        json_leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=5), st.dictionaries(texts, inner, max_size=5)
        ),
        max_leaves=12,
    ),
    st.integers(25, 110).map(lambda depth: json.loads("[" * depth + "1" + "]" * depth)),
)


def list_value(values: Sequence[struct_pb2.Value]) -> struct_pb2.Value:
    """Return a list."""
    return struct_pb2.Value(list_value=struct_pb2.ListValue(values=values))


def struct_value(members: dict[str, struct_pb2.Value]) -> struct_pb2.Value:
    """Return an object."""
    value = struct_pb2.Value()
    value.struct_value.SetInParent()
    for key, member in members.items():
        value.struct_value.fields[key].CopyFrom(member)
    return value


def _deep_value(depth: int) -> struct_pb2.Value:
    value = struct_pb2.Value(string_value="x")
    for _ in range(depth):
        value = list_value([value])
    return value


values: st.SearchStrategy[struct_pb2.Value] = st.one_of(
    st.recursive(
        st.one_of(
            st.just(struct_pb2.Value()),
            st.integers(0, 3).map(lambda n: struct_pb2.Value(null_value=n)),  # type: ignore[arg-type]
            st.booleans().map(lambda flag: struct_pb2.Value(bool_value=flag)),
            st.floats(width=64).map(lambda number: struct_pb2.Value(number_value=number)),
            texts.map(lambda text: struct_pb2.Value(string_value=text)),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=5).map(list_value),
            st.dictionaries(texts, inner, max_size=5).map(struct_value),
        ),
        max_leaves=12,
    ),
    # Up to what protobuf itself still writes.
    st.integers(25, 45).map(_deep_value),
)

submissions: st.SearchStrategy[SubmitRequest] = st.builds(
    SubmitRequest,
    data=st.one_of(st.none(), values),
    source=st.one_of(st.just(""), texts),
    request_id=st.one_of(st.just(""), texts),
)


@dataclass(frozen=True)
class Call:
    """A unary gRPC call with bytes that may be no message."""

    method: str
    data: bytes


def path_of(method: descriptor.MethodDescriptor) -> str:
    """Return the gRPC path of a method."""
    return f"/{method.containing_service.full_name}/{method.name}"


def _damaged(data: bytes, damages: Sequence[tuple[int, bytes | None]]) -> bytes:
    """Return the bytes with some of them changed; None cuts them off there."""
    damaged = bytearray(data)
    for place, piece in damages:
        at = place % (len(damaged) + 1)
        if piece is None:
            del damaged[at:]
        else:
            damaged[at : at + len(piece) // 2] = piece
    return bytes(damaged)


damages = st.lists(
    st.tuples(st.integers(0, 400), st.one_of(st.none(), st.binary(min_size=1, max_size=4))),
    max_size=3,
)


@st.composite
def messages(draw: st.DrawFn, kind: descriptor.Descriptor) -> Message:
    """Draw a message of a kind, with any of its fields set."""
    message = GetMessageClass(kind)()
    for each in kind.fields:
        if not draw(st.booleans()):
            continue
        if each.message_type is not None and each.message_type.GetOptions().map_entry:
            continue
        count = draw(st.integers(1, 3)) if each.is_repeated else 1
        for _ in range(count):
            content = draw(_content(each))
            target = getattr(message, each.name)
            if each.is_repeated:
                target.append(content)
            elif each.message_type is not None:
                target.CopyFrom(content)
            else:
                setattr(message, each.name, content)
    return message


def _content(each: Field) -> st.SearchStrategy[Any]:
    if each.message_type is not None:
        if each.message_type.full_name == "google.protobuf.Value":
            return values
        return messages(each.message_type)
    if each.type in {Field.TYPE_UINT32, Field.TYPE_UINT64}:
        return st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 600))
    if each.type in {Field.TYPE_INT32, Field.TYPE_ENUM}:
        return st.integers(-(2**31), 2**31 - 1)
    if each.type == Field.TYPE_INT64:
        return st.integers(-(2**63), 2**63 - 1)
    if each.type == Field.TYPE_BOOL:
        return st.booleans()
    return texts


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Draw a call of any unary method, or of one that answers with a stream."""
    method = draw(st.sampled_from([each for each in METHODS if not each.client_streaming]))
    noise = st.binary(max_size=60)
    message = messages(method.input_type).map(lambda each: each.SerializePartialToString())
    data = draw(st.one_of(message, message, noise))
    return Call(path_of(method), _damaged(data, draw(damages)))


pieces = st.lists(
    st.one_of(
        st.lists(submissions, max_size=3).map(
            lambda each: ingest_service_pb2.SubmitStreamRequest(
                submissions=each
            ).SerializePartialToString()
        ),
        st.binary(max_size=40),
    ),
    min_size=1,
    max_size=3,
)


@dataclass(frozen=True)
class Request:
    """An HTTP request, fit for http.client."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes | None


TOKENS = [b"NaN", b"1e999", b"\\ud800", b"\\u0000", b"\xff", b"\xed\xa0\x80", b"'", b",", b"}",
          b"{", b"[", b"null", b'"', b"/**/", b"\0", b"9" * 400, b"-", b"\\"]  # fmt: skip


def _json_field(each: Field) -> st.SearchStrategy[Any]:
    """Return what fits a field, or nearly."""
    fitting: st.SearchStrategy[Any]
    if each.message_type is not None:
        name = each.message_type.full_name
        if name == "google.protobuf.Value":
            fitting = json_values
        elif name == "google.protobuf.Timestamp":
            moments = ["2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "x"]
            fitting = st.sampled_from(moments)
        else:
            fitting = json_objects(each.message_type)
    elif each.enum_type is not None:
        fitting = st.one_of(st.sampled_from(sorted(each.enum_type.values_by_name)), numbers, texts)
    elif each.type == Field.TYPE_STRING:
        fitting = texts
    elif each.type == Field.TYPE_BOOL:
        fitting = st.booleans()
    else:
        fitting = st.one_of(st.integers(0, 600), numbers, st.sampled_from(["7", "x", ""]))
    if each.is_repeated:
        fitting = st.lists(fitting, max_size=3)
    return st.one_of(fitting, fitting, fitting, json_leaves)


def json_objects(kind: descriptor.Descriptor) -> st.SearchStrategy[Any]:
    """Return JSON objects that fit a message, or nearly."""
    fields = {name: _json_field(each) for name, each in kind.fields_by_name.items()}
    known = st.fixed_dictionaries({}, optional=fields)
    unknown = st.dictionaries(texts, json_leaves, max_size=1)
    return st.builds(lambda one, other: {**other, **one}, known, unknown)


def _binding(method: descriptor.MethodDescriptor) -> tuple[str, str] | None:
    """Return the verb and the path by which a method is called over HTTP."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    kind = rule.WhichOneof("pattern")
    return (kind.upper(), getattr(rule, kind)) if kind else None


BINDINGS = [(method, binding) for method in METHODS if (binding := _binding(method))]

headers = st.dictionaries(
    st.sampled_from(["X-Request-Id", "Grpc-Timeout", "Grpc-Encoding", "X-Bin", "Accept", "Te",
                     "X-Envoy-Upstream-Rq-Timeout-Ms", "X-Forwarded-For", "Authorization"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    max_size=2,
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Draw an HTTP request to one of the documented paths, or nearly."""
    method, (verb, template) = draw(st.sampled_from(BINDINGS))
    sent = draw(headers)
    path = template
    for name in method.input_type.fields_by_name:
        if f"{{{name}}}" in path:
            raw = draw(st.one_of(texts.map(str.encode), st.binary(max_size=12)))
            path = path.replace(f"{{{name}}}", quote_from_bytes(raw, safe=""))
    if draw(st.integers(0, 3)) == 0:
        names = (
            st.one_of(st.sampled_from(sorted(method.input_type.fields_by_name)), texts)
            if method.input_type.fields
            else texts
        )
        query = draw(st.lists(st.tuples(names, st.one_of(texts, numbers.map(str))), max_size=2))
        path += "?" + "&".join(f"{quote(key)}={quote(value)}" for key, value in query)
    body = None
    if verb == "POST":
        text = json.dumps(draw(json_objects(method.input_type)), ensure_ascii=draw(st.booleans()))
        body = text.encode("utf-8", "surrogatepass")
        if draw(st.integers(0, 2)) == 0:
            token = st.tuples(st.integers(0, 400), st.sampled_from(TOKENS))
            body = _damaged(body, draw(st.lists(token, max_size=2)))
        sent = {"Content-Type": "application/json", **sent}
        if draw(st.integers(0, 19)) == 0:
            sent["Content-Type"] = draw(st.sampled_from(["text/plain", "application/grpc", "a/b"]))
    if draw(st.integers(0, 29)) == 0:
        verb = draw(st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]))
    return Request(verb, path, sent, body)
