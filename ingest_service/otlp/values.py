"""AnyValue of OpenTelemetry as google.protobuf.Value, both as they are on the wire. Pure.

The two have nearly the same shape, so mostly a tag has to be replaced. To build one message from
the other, value by value, costs ten times as much.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from math import isfinite
from struct import Struct
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from detection.fields import MAX_SAFE_INTEGER, number_text
from detection.plain_texts import plain_texts
from ingest_service.validation import MAX_BYTES, MAX_DEPTH, MAX_NODES
from mesh.errors import FieldError
from mesh.messages import LENGTH_DELIMITED, length_delimited_field

M = TypeVar("M", bound=Message)

# Fields of Value. KeyValue has those of an entry of Struct, KeyValueList that of Struct, ArrayValue
# that of ListValue.
_STRING, _STRUCT, _LIST = 3, 5, 6
_KEY, _VALUE = 1, 2
_ITEM = 1

_NULL = b"\x08\x00"
_TRUE, _FALSE = b"\x20\x01", b"\x20\x00"
_number = Struct("<Bd").pack
_NUMBER_TAG = 2 << 3 | 1

MAX_LEVELS = MAX_DEPTH - 3
"""Of a value. The submission itself, `scope` and its `attributes` may be above it."""
_SHORT_BYTES = 1024
"""What a value with others in it may take to be looked at quickly: no path in it is too long."""

_LONG_BYTES = 32 * 1024
"""Of a text that is not looked at together with others: it would hold them up."""

_SHORT_ENTRY = 0x7F - 16
"""What an entry takes at most to be put together quickly: with all that is added to it, its length
is one byte."""
_ENTRY = _ITEM << 3 | LENGTH_DELIMITED
_KEY_TAG, _VALUE_TAG = _KEY << 3 | LENGTH_DELIMITED, _VALUE << 3 | LENGTH_DELIMITED
# Tags of fields of AnyValue.
_ANY_TEXT, _ANY_INT, _ANY_DOUBLE = 0x0A, 0x18, 0x21
_double_at = Struct("<d").unpack_from


UNDECODABLE = FieldError(
    "/data",
    "UNDECODABLE",
    "A value is damaged, holds text that is not UTF-8, or is nested far too deeply.",
)
TOO_DEEP = FieldError("/data", "TOO_DEEP", "A value is nested too deeply. Send at most 29 levels.")
TOO_LONG = FieldError("/data", "TOO_LONG", "The record is too long. Send at most 1 MiB.")
TOO_MANY_VALUES = FieldError(
    "/data", "TOO_MANY_VALUES", "The record is too large. Send at most 10,000 values."
)


class Broken(Exception):
    """A value that breaks a rule of shape, so that it is not converted."""

    def __init__(self, rule: FieldError) -> None:
        super().__init__(rule.reason)
        self.rule = rule


Converted = tuple[bytes, Sequence[str] | None, int]
"""A Value, or the entry of an object with its tag and length; all texts in it, None where it has to
be judged with all rules; how many values it consists of."""


def entry(key: bytes, value: bytes) -> bytes:
    """Return an entry of an object, with its tag and length."""
    length, size = len(key), len(value)
    if length + size < _SHORT_ENTRY:
        sizes = (_ENTRY, length + size + 4, _KEY_TAG, length, key, _VALUE_TAG, size, value)
        return b"%c%c%c%c%b%c%c%b" % sizes
    held = length_delimited_field(_KEY, key) + length_delimited_field(_VALUE, value)
    return length_delimited_field(_ITEM, held)


def object_of(entries: bytes) -> bytes:
    """Return the Value that is an object of these entries."""
    return length_delimited_field(_STRUCT, entries)


def text(utf8: bytes) -> bytes:
    """Return the Value that is this text."""
    return length_delimited_field(_STRING, utf8)


def number(value: float) -> bytes:
    """Return the Value that is this number."""
    return _number(_NUMBER_TAG, value)


def attribute(wire: bytes) -> Converted:
    """Return a KeyValue as an entry of an object. Raises Broken."""
    size = len(wire)
    if 4 < size < _SHORT_ENTRY and wire[0] == _KEY_TAG:
        end = wire[1] + 2
        start = end + 2
        length = size - start
        if length > 1 and wire[end] == _VALUE_TAG and wire[end + 1] == length:
            # Most are a text or a number, of which little has to be changed.
            made = _short_attribute(wire, end, start, length)
            if made is not None:
                return made
    read = _read(KeyValue, wire)
    value, texts, nodes = _converted(read.value, size)
    if texts is not None:
        texts = None if len(read.key) > _SHORT_BYTES // 2 else (read.key, *texts)
    return entry(read.key.encode(), value), texts, nodes


def _short_attribute(wire: bytes, end: int, start: int, length: int) -> Converted | None:
    """Return a short KeyValue as an entry; None for one of a rare sort. Raises Broken.

    Its key ends at `end`, and its value, of a length, begins at `start`.
    """
    kind = wire[start]
    try:
        if kind == _ANY_TEXT and wire[start + 1] == length - 2:
            said = wire[start + 2 :]
            changed = b"%c%c%b\x1a%c%b" % (_ENTRY, start + length, wire[:start], length - 2, said)
            return changed, (wire[2:end].decode(), said.decode()), 1
        if kind == _ANY_DOUBLE and length == 9:
            (value,) = _double_at(wire, start + 1)
        elif kind == _ANY_INT and length == 2 and wire[start + 1] <= 0x7F:
            value = float(wire[start + 1])
        elif kind == _ANY_INT and length == 3 and wire[start + 1] > 0x7F >= wire[start + 2]:
            value = float(wire[start + 1] & 0x7F | wire[start + 2] << 7)
        else:
            return None
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            return None
        changed = b"%c%c%b\x09%b" % (_ENTRY, start + 9, wire[: end + 1], number(value))
        return changed, (wire[2:end].decode(), number_text(value)), 1
    except UnicodeDecodeError:
        raise Broken(UNDECODABLE) from None


def any_value(wire: bytes) -> Converted:
    """Return an AnyValue as a Value. Raises Broken."""
    size = len(wire)
    if 2 <= size <= 0x7F and wire[0] == _ANY_TEXT and wire[1] == size - 2:
        try:
            return b"\x1a" + wire[1:], (wire[2:].decode(),), 1
        except UnicodeDecodeError:
            raise Broken(UNDECODABLE) from None
    return _converted(_read(AnyValue, wire), size)


def _read(kind: type[M], wire: bytes) -> M:
    if len(wire) > MAX_BYTES:
        raise Broken(TOO_LONG)
    try:
        return kind.FromString(wire)
    except DecodeError:
        raise Broken(UNDECODABLE) from None


def _converted(value: AnyValue, size: int) -> Converted:
    """Convert an AnyValue that had so many bytes."""
    left = [MAX_NODES]
    wire = _value(value, left, MAX_LEVELS)
    return wire, _texts(value, wire, size), MAX_NODES - left[0]


def _value(value: AnyValue, left: list[int], levels: int) -> bytes:
    """Return the Value of an AnyValue. What JSON has no number for becomes a text.

    `left` holds how many values it may consist of, `levels` is how many may be nested.
    """
    left[0] -= 1
    if left[0] < 0:
        raise Broken(TOO_MANY_VALUES)
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return text(value.string_value.encode())
    if kind == "int_value":
        held = value.int_value
        return number(held) if abs(held) <= MAX_SAFE_INTEGER else text(b"%d" % held)
    if kind == "double_value":
        return _double(value.double_value)
    if kind == "bool_value":
        return _TRUE if value.bool_value else _FALSE
    if kind == "bytes_value":
        return text(base64.b64encode(value.bytes_value))
    if kind is None or kind == "string_value_strindex":
        return _NULL
    if levels == 0:
        raise Broken(TOO_DEEP)
    if kind == "kvlist_value":
        members = value.kvlist_value.values
        return object_of(
            b"".join(
                [entry(each.key.encode(), _value(each.value, left, levels - 1)) for each in members]
            )
        )
    items = [_value(each, left, levels - 1) for each in value.array_value.values]
    return length_delimited_field(
        _LIST, b"".join([length_delimited_field(_ITEM, each) for each in items])
    )


def _double(value: float) -> bytes:
    if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return number(value)
    return text(_double_text(value).encode())


def _double_text(value: float) -> str:
    """Return what stands for a double that no submission may hold as a number."""
    if isfinite(value):
        return repr(value)
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _texts(value: AnyValue, wire: bytes, size: int) -> Sequence[str] | None:
    """Return the texts of an AnyValue of so many bytes, None where all rules have to look at it."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return (value.string_value,) if size <= _LONG_BYTES else None
    if kind == "int_value":
        return (str(value.int_value),)
    if kind == "double_value":
        held = value.double_value
        inside = -MAX_SAFE_INTEGER <= held <= MAX_SAFE_INTEGER
        return (number_text(held) if inside else _double_text(held),)
    if kind in ("bool_value", "string_value_strindex", None):
        return ()
    if size > _SHORT_BYTES:
        return None
    return plain_texts(wire, MAX_LEVELS, MAX_NODES)
