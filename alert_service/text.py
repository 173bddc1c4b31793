"""A report as the text in its file: sluice.alert.v1.Report, printed as JSON.

The alert comes first and the payload last, on a line of its own, so that an alert can be read back
without its payload. Of the alert each field has a line, and so has each finding and violation.

Protocol Buffers' own printer costs ten times as much, and so does json when it indents.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from sluice.alert.v1.alert_service_pb2 import Alert, Report

PAYLOAD_LINE = b'\n  "payload": '
_END = b"\n}\n"

# Indented, a payload of many small values takes up to twenty times its size.
MAX_INDENTED_BYTES = 64 * 1024


class UnreadableReport(Exception):
    """The text is not that of a whole report."""


def to_text(report: Report) -> bytes:
    """Return the text of `report`, with proto field names and without zero values.

    JSON has no NaN and no infinities; in the payload they become the strings that stand for them in
    Protocol Buffers' JSON.
    """
    fields = [f'"{name}": {_lines(value)}' for name, value in _fields(report.alert).items()]
    text = b'{\n  "alert": {\n    %b\n  }' % ",\n    ".join(fields).encode()
    if report.HasField("payload"):
        indent = 2 if report.payload.ByteSize() <= MAX_INDENTED_BYTES else None
        # Sorted, since a message does not know in which order the keys were sent.
        payload = json.dumps(_plain(report.payload), indent=indent, sort_keys=True)
        text += b"," + PAYLOAD_LINE + payload.replace("\n", "\n  ").encode()
    return text + _END


def with_alert(text: bytes, alert: Alert) -> bytes:
    """Return the text of a report with another alert and the same payload."""
    _, line, payload = text.partition(PAYLOAD_LINE)
    changed = to_text(Report(alert=alert))
    return changed.removesuffix(_END) + b"," + line + payload if line else changed


def parse_alert(text: bytes) -> Alert:
    """Return the alert from the text of a report, or from a beginning that holds PAYLOAD_LINE.

    Raises UnreadableReport.
    """
    alert, payload, _ = text.partition(PAYLOAD_LINE)
    if payload:
        alert = alert.removesuffix(b",") + _END
    try:
        return json_format.Parse(alert, Report(), ignore_unknown_fields=True).alert
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        raise UnreadableReport from None


_encode = json.JSONEncoder().encode


def _lines(value: Any) -> str:
    """Return a field's value as JSON, with a line for each message of a list."""
    if isinstance(value, list) and isinstance(value[0], dict):
        lines = ",\n      ".join(map(_encode, value))
        return f"[\n      {lines}\n    ]"
    return _encode(value)


def _fields(message: Message) -> dict[str, Any]:
    """Return the fields of an alert, or of a message in it, that have a value, as json prints them.

    Knows what occurs there: texts, flags, small numbers, words, times, messages, and lists.
    """
    return {field.name: _printer(field)(value) for field, value in message.ListFields()}


@cache
def _printer(field: FieldDescriptor) -> Callable[[Any], Any]:
    """Return what makes of a field's value what json prints."""
    one = _printer_of_one(field)
    if not field.is_repeated:
        return one
    return lambda values: [one(each) for each in values]


def _printer_of_one(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.message_type is not None:
        is_time = field.message_type.full_name == Timestamp.DESCRIPTOR.full_name
        return Timestamp.ToJsonString if is_time else _fields
    if field.enum_type is not None:
        words = {number: word.name for number, word in field.enum_type.values_by_number.items()}
        # One of a later contract has no word here.
        return lambda number: words.get(number, number)
    return lambda value: value


def _plain(value: Value) -> Any:
    """Return `value` as json prints it. The library's own conversion refuses NaN."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {key: _plain(each) for key, each in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_plain(each) for each in value.list_value.values]
    if kind == "number_value":
        return _number(value.number_value)
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return value.bool_value
    return None


def _number(number: float) -> float | int | str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    # Beyond that, an integer would look exact and be none.
    if number.is_integer() and abs(number) <= 2**53:
        return int(number)
    return number
