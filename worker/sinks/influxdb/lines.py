"""Interactions as InfluxDB line protocol. Pure.

The client library's Point leaves out what it cannot print without a word, and costs ten times as
much; this prints every interaction as exactly one line, whatever it holds.
"""

from __future__ import annotations

import math
from json.encoder import encode_basestring

from google.protobuf.struct_pb2 import Value

from worker.sinks.sink import VERDICT_NAMES, Row

MEASUREMENT = "interactions"

HEADS = {
    verdict: f'{MEASUREMENT},verdict={name} payload="' for verdict, name in VERDICT_NAMES.items()
}
"""What a line begins with, by its verdict."""

EXACT_INTEGERS = 2.0**53
"""Below this every double without a fraction is the integer it looks like."""


def line(row: Row) -> bytes:
    """Return the point of one interaction as a line without its line end.

    Equal rows give equal lines. Raises KeyError for a verdict that is neither accepted nor
    rejected: the verdict is part of the point's identity.
    """
    task_id, time, interaction = row
    data = interaction.data
    text = data.string_value
    payload = encode_basestring(text) if text else json_text(data)
    optional = ""
    if source := interaction.source:
        optional = f',source="{_escaped(source)}"'
    if request_id := interaction.request_id:
        optional += f',request_id="{_escaped(request_id)}"'
    if alert_id := interaction.alert_id:
        optional += f',alert_id="{_escaped(alert_id)}"'
    if detectors := interaction.detectors:
        optional += f',detectors="{_escaped(",".join(detectors))}"'
    if interaction.masked_widely:
        optional += ",masked_widely=true"
    return (
        f'{HEADS[interaction.verdict]}{_escaped(payload)}",task_id="{_escaped(task_id)}"'
        f"{optional} {time}"
    ).encode()


def json_text(value: Value) -> str:
    """Return a value as compact JSON with sorted keys.

    Whole numbers have no fraction. A value that is unset prints as null and a number that is not
    finite as its name in quotes: refused submissions, which may hold them, go on record too.
    """
    texts: list[str] = []
    _append(texts, value)
    return "".join(texts)


def _append(texts: list[str], value: Value) -> None:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        texts.append(encode_basestring(value.string_value))
    elif kind == "number_value":
        texts.append(_number(value.number_value))
    elif kind == "struct_value":
        fields = value.struct_value.fields
        mark = "{"
        for key in sorted(fields):
            texts.append(mark)
            texts.append(encode_basestring(key))
            texts.append(":")
            _append(texts, fields[key])
            mark = ","
        texts.append("}" if fields else "{}")
    elif kind == "list_value":
        values = value.list_value.values
        mark = "["
        for each in values:
            texts.append(mark)
            _append(texts, each)
            mark = ","
        texts.append("]" if values else "[]")
    elif kind == "bool_value":
        texts.append("true" if value.bool_value else "false")
    else:
        texts.append("null")


def _number(number: float) -> str:
    if number.is_integer() and -EXACT_INTEGERS < number < EXACT_INTEGERS:
        return str(int(number))
    if math.isfinite(number):
        return repr(number)
    if math.isnan(number):
        return '"NaN"'
    return '"Infinity"' if number > 0 else '"-Infinity"'


def _escaped(text: str) -> str:
    """Return what stands between the quotes of a string field: only these two are escaped."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
