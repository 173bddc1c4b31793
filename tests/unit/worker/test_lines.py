from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from sluice.job.v1.job_pb2 import Interaction
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED
from worker.sinks.influxdb.lines import json_text, line
from worker.sinks.sink import Row

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=30,
)


def value_of(tree: Any) -> Value:
    return json_format.ParseDict(tree, Value())


@given(TREES)
def test_json_text_is_the_tree(tree: Any) -> None:
    text = json_text(value_of(tree))
    assert json.loads(text) == tree
    assert json.dumps(
        json.loads(text), ensure_ascii=False, separators=(",", ":"), sort_keys=True
    ) == (text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"),
        (-1.0, "-1"),
        (0.0, "0"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (2.0**53 - 1, "9007199254740991"),
        (1e300, "1e+300"),
        (math.nan, '"NaN"'),
        (math.inf, '"Infinity"'),
        (-math.inf, '"-Infinity"'),
    ],
)
def test_numbers(number: float, text: str) -> None:
    assert json_text(Value(number_value=number)) == text


def test_an_unset_value_is_null() -> None:
    assert json_text(Value()) == "null"


POINT = re.compile(
    r"interactions,verdict=(?P<verdict>[a-z]+) (?P<fields>.*) (?P<time>-?\d+)", re.DOTALL
)
FIELD = re.compile(r'([a-z_]+)="((?:[^"\\]|\\["\\])*)"', re.DOTALL)


def parse(text: str) -> tuple[str, dict[str, str], int]:
    """Read a line as InfluxDB does: quotes end at the first quote that is not escaped."""
    match = POINT.fullmatch(text)
    assert match is not None
    fields = {}
    rest = match["fields"]
    while True:
        field = FIELD.match(rest)
        assert field is not None
        fields[field[1]] = re.sub(r'\\(["\\])', r"\1", field[2])
        rest = rest[field.end() :]
        if not rest:
            return match["verdict"], fields, int(match["time"])
        assert rest.startswith(",")
        rest = rest[1:]


@given(
    TREES,
    TEXTS,
    TEXTS,
    st.lists(st.sampled_from(["ssn", "iban"]), max_size=2),
    st.integers(0, 2**63 - 1),
    TEXTS,
)
def test_a_line_reads_back(
    tree: Any, source: str, request_id: str, detectors: list[str], time_unix_nano: int, task_id: str
) -> None:
    interaction = Interaction(
        verdict=VERDICT_REJECTED,
        source=source,
        data=value_of(tree),
        request_id=request_id,
        detectors=detectors,
    )
    verdict, fields, time = parse(line(Row(task_id, time_unix_nano, interaction)).decode())
    assert (verdict, time) == ("rejected", time_unix_nano)
    optional = {"source": source, "request_id": request_id, "detectors": ",".join(detectors)}
    assert json.loads(fields.pop("payload")) == tree
    assert fields.pop("task_id") == task_id
    assert fields == {name: text for name, text in optional.items() if text}


def test_a_line_of_every_field() -> None:
    interaction = Interaction(
        verdict=VERDICT_ACCEPTED,
        source="s",
        data=Value(string_value='a "b"'),
        request_id="r",
        alert_id="a",
        detectors=["x", "y"],
        masked_widely=True,
    )
    assert line(Row("J-0", 17, interaction)).decode() == (
        r'interactions,verdict=accepted payload="\"a \\\"b\\\"\"",task_id="J-0",source="s",'
        r'request_id="r",alert_id="a",detectors="x,y",masked_widely=true 17'
    )


def test_a_verdict_must_be_known() -> None:
    with pytest.raises(KeyError):
        line(Row("J-0", 17, Interaction()))
