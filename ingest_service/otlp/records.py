"""Log records of OpenTelemetry as submissions. Pure.

A record becomes an object with the names of the log data model:

    {"body": ..., "attributes": {...}, "severity_text": "INFO", "severity_number": 9,
     "resource": {...}, "scope": {"name": ..., "version": ..., "attributes": {...}},
     "time": "2026-11-26T12:00:00.000000001Z", "observed_time": ...,
     "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}

What a record does not have is left out.
"""

from __future__ import annotations

import time
from binascii import hexlify
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

from ingest_service.judgement import CLEAN, Judgement, broken
from ingest_service.named_fields import REQUEST_ID, SOURCE, NamedField
from ingest_service.otlp.values import (
    TOO_MANY_VALUES,
    UNDECODABLE,
    Broken,
    Converted,
    any_value,
    attribute,
    entry,
    number,
    object_of,
    text,
)
from ingest_service.submission import Submission
from ingest_service.validation import MAX_NODES
from mesh.errors import FieldError
from mesh.messages import varint

# ExportLogsServiceRequest with the numbers of its fields, read only as far as it has to be divided:
# what is often the same in many records stays bytes, and what is damaged spoils its record only.
_SHAPES = """
name: "sluice/otlp/records.proto" syntax: "proto2"
message_type {
  name: "Export"
  field { name: "resource_logs" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE
          type_name: ".ResourceLogs" }
}
message_type {
  name: "ResourceLogs"
  field { name: "resource" number: 1 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "scope_logs" number: 2 label: LABEL_REPEATED type: TYPE_MESSAGE
          type_name: ".ScopeLogs" }
  field { name: "schema_url" number: 3 label: LABEL_OPTIONAL type: TYPE_BYTES }
}
message_type {
  name: "ScopeLogs"
  field { name: "scope" number: 1 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "records" number: 2 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".Record" }
  field { name: "schema_url" number: 3 label: LABEL_OPTIONAL type: TYPE_BYTES }
}
message_type {
  name: "Resource"
  field { name: "attributes" number: 1 label: LABEL_REPEATED type: TYPE_BYTES }
}
message_type {
  name: "Scope"
  field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "version" number: 2 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "attributes" number: 3 label: LABEL_REPEATED type: TYPE_BYTES }
}
message_type {
  name: "Record"
  field { name: "time" number: 1 label: LABEL_OPTIONAL type: TYPE_FIXED64 }
  field { name: "severity_number" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "severity_text" number: 3 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "body" number: 5 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "attributes" number: 6 label: LABEL_REPEATED type: TYPE_BYTES }
  field { name: "dropped_attributes_count" number: 7 label: LABEL_OPTIONAL type: TYPE_UINT32 }
  field { name: "flags" number: 8 label: LABEL_OPTIONAL type: TYPE_FIXED32 }
  field { name: "trace_id" number: 9 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "span_id" number: 10 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "observed_time" number: 11 label: LABEL_OPTIONAL type: TYPE_FIXED64 }
  field { name: "event_name" number: 12 label: LABEL_OPTIONAL type: TYPE_BYTES }
}
"""
_pool = descriptor_pool.DescriptorPool()
_pool.Add(text_format.Parse(_SHAPES, descriptor_pb2.FileDescriptorProto()))
Export: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("Export"))
_Resource: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("Resource"))
_Scope: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("Scope"))

MAX_RECORDS = 8192
MAX_SHARED_BYTES = 32 * 1024 * 1024
"""Of resources and scopes as often as they are written: once for each of their records."""

SHARE_RECORDS = 512
SHARE_BYTES = 512 * 1024
SHARE_NODES = 2000
"""Of a share of a call, so that others get their turn: records, what they become, and values that
had to be converted one by one."""

_SERVICE_NAME = "service.name"
_RECORD_ID = "log.record.uid"
_QUICK_BYTES = 4 * MAX_NODES
"""The least that data takes which has too many values."""
_MOST_ATTRIBUTES = MAX_NODES + 1
"""Of a record that are read: so many are too many already."""
_TRACE_BYTES, _SPAN_BYTES = 16, 8
_NO_TRACE, _NO_SPAN = bytes(_TRACE_BYTES), bytes(_SPAN_BYTES)

Name = bytes | int
"""What a piece of a call is known by: an attribute by its bytes, which may be any, all else by a
number."""
_LARGE: Name = 0
"""The name of what makes a large record unclear."""


def rules_broken(export: Any) -> list[FieldError]:
    """Return the rules that a call breaks as a whole."""
    too_many = FieldError("/resource_logs", "BAD_COUNT", "Send at most 8192 records at a time.")
    records = shared = 0
    groups = len(export.resource_logs)
    for each in export.resource_logs:
        groups += len(each.scope_logs)
        # Groups without records cost as much to look at. What is refused is not counted to the end.
        if groups > 2 * MAX_RECORDS:
            return [too_many]
        of_resource = len(each.resource) + len(each.schema_url)
        for scope_logs in each.scope_logs:
            held = len(scope_logs.records)
            records += held
            of_scope = len(scope_logs.scope) + len(scope_logs.schema_url)
            shared += held * (of_resource + of_scope)
    if records > MAX_RECORDS:
        return [too_many]
    if shared > MAX_SHARED_BYTES:
        return [
            FieldError(
                "/resource_logs",
                "TOO_LONG",
                "Resource and scope are written with each record, and so come to more than 32 MiB. "
                "Send fewer records at a time.",
            )
        ]
    return []


@dataclass(slots=True)
class Share:
    """Some records of a call, as submissions."""

    submissions: list[Submission] = field(default_factory=list)
    broken: dict[int, FieldError] = field(default_factory=dict)
    """The rule that a record breaks so that it could not be converted, by its index."""
    pieces: list[Sequence[Name]] = field(default_factory=list)
    """The names by which the pieces of each record are known."""
    size: int = 0
    nodes: int = 0


class _Header(NamedTuple):
    """What the records of one scope share."""

    known_as: Name
    entries: bytes
    named: tuple[tuple[NamedField, str], ...]
    pieces: tuple[Name, ...]
    """All that is known by a name: it as a whole and, since they stand beside the body and so may
    say what is in it, its URLs."""


class Reading:
    """One call as it is read, share by share.

    It is read in pieces: attributes, bodies, what a record says beside them, and what the records
    of a scope share. What is the same in many records is converted once and looked at once.
    """

    def __init__(self, export: Any) -> None:
        self._export = export
        self._wires: dict[Name, bytes] = {}
        """Each piece as it goes into the data, by the name it is known by."""
        self._names = count(1)
        self._bodies: dict[bytes, Name] = {}
        self._rests: dict[Any, Name] = {}
        self._headers: dict[Any, _Header] = {}
        self._broken: dict[Name, FieldError] = {}
        self._ids: dict[bytes, str] = {}
        """Request ids by the attributes that hold them."""
        self._unclear: dict[Name, None] = {}
        """Pieces in which something may be, or that only a judgement can tell about."""
        self._settled: set[Name] = set()
        """What records share and was judged."""
        self._new: list[tuple[Name, Sequence[str]]] = []
        """The names of pieces that were not looked at yet, and their texts."""
        self._nodes = 0

    def shares(self) -> Iterator[Share]:
        """Yield all records, in order."""
        share = Share()
        for resource_logs in self._export.resource_logs:
            for scope_logs in resource_logs.scope_logs:
                if not scope_logs.records:
                    continue
                header = self._header(resource_logs, scope_logs)
                for record in scope_logs.records:
                    self._add(share, record, header)
                    if (
                        len(share.submissions) == SHARE_RECORDS
                        or share.size > SHARE_BYTES
                        or self._nodes > SHARE_NODES
                    ):
                        yield share
                        share = Share()
                        self._nodes = 0
        if share.submissions:
            yield share

    def new_texts(self) -> list[str]:
        """Return the texts of the pieces that no share before the latest one had."""
        return [text for _, texts in self._new for text in texts]

    def note(self, suspects: Collection[int]) -> None:
        """Take note of the new texts in which something may be, by their indices."""
        if suspects:
            owners = [name for name, texts in self._new for _ in texts]
            self._unclear.update(dict.fromkeys([owners[each] for each in suspects]))
        self._new = []

    def unsettled_headers(self) -> list[tuple[Name, Submission]]:
        """Return what records share and is unclear, as submissions, with the names of it."""
        return [
            (header.known_as, Submission.made(object_of(header.entries), header.named, b""))
            for header in self._headers.values()
            if header.known_as in self._unclear and header.known_as not in self._settled
        ]

    def settle(self, known_as: Name, *, is_clean: bool) -> None:
        """Take note of the judgement on what records share."""
        self._settled.add(known_as)
        if is_clean:
            del self._unclear[known_as]

    def judgements(self, share: Share) -> list[Judgement | None]:
        """Return what is known of each record already, None where it has to be judged."""
        judgements: list[Judgement | None] = [CLEAN] * len(share.submissions)
        if self._unclear:
            is_apart = self._unclear.keys().isdisjoint
            judgements = [CLEAN if is_apart(pieces) else None for pieces in share.pieces]
        for index, rule in share.broken.items():
            # What is left of it cannot be judged: so source and id are told only if nothing can be
            # in them.
            named = () if judgements[index] is CLEAN else share.submissions[index].named
            judgements[index] = broken(rule, [each.name for each, _ in named])
        return judgements

    def _add(self, share: Share, record: Any, header: _Header) -> None:
        """Add a record to a share."""
        attributes = record.attributes[:_MOST_ATTRIBUTES]
        known = self._wires
        entries = [known[each] if each in known else self._attribute(each) for each in attributes]
        request_id = ""
        if self._ids:
            for each in attributes:
                request_id = self._ids.get(each, request_id)
        rest = self._rest(record)
        pieces: list[Name] = [*attributes, rest, *header.pieces]
        body = b""
        if record.HasField("body"):
            name = self._bodies.get(record.body) or self._body(record.body)
            pieces.append(name)
            body = known[name]
        data = _data(header.entries, known[rest], body, entries)
        if self._broken:
            for each in pieces:
                if each in self._broken:
                    share.broken[len(share.submissions)] = self._broken[each]
                    data = b""
        if len(data) > _QUICK_BYTES:
            self._unclear[_LARGE] = None
            pieces.append(_LARGE)
        named = (*header.named, (REQUEST_ID, request_id)) if request_id else header.named
        share.submissions.append(Submission.made(data, named, _stamp(record)))
        share.pieces.append(pieces)
        share.size += len(data)

    def _attribute(self, wire: bytes) -> bytes:
        """Convert an attribute that was not seen before."""
        made, texts = self._converted(wire, attribute, wire)
        self._keep(wire, made, texts)
        match texts:
            case (said, uid) if said == _RECORD_ID and REQUEST_ID.pattern.fullmatch(uid):
                self._ids[wire] = uid
        return made

    def _body(self, wire: bytes) -> Name:
        """Convert a body that was not seen before; return its name."""
        name = self._bodies[wire] = next(self._names)
        made, texts = self._converted(name, any_value, wire)
        self._keep(name, entry(b"body", made), texts)
        return name

    def _converted(
        self, name: Name, convert: Callable[[bytes], Converted], wire: bytes
    ) -> tuple[bytes, Sequence[str] | None]:
        """Convert a piece; return it and its texts: nothing of one that breaks a rule."""
        try:
            made, texts, nodes = convert(wire)
        except Broken as error:
            self._broken[name] = error.rule
            return b"", ()
        self._nodes += nodes - 1
        return made, texts

    def _rest(self, record: Any) -> Name:
        """Return the name of what a record says beside its body, its attributes and its stamp."""
        said = (
            record.severity_text,
            record.severity_number,
            record.event_name,
            record.flags,
            record.dropped_attributes_count,
        )
        known_as = self._rests.get(said)
        if known_as is None:
            known_as = self._rests[said] = next(self._names)
            named = {b"severity_text": said[0], b"event_name": said[2]}
            counts = {
                b"severity_number": said[1], b"flags": said[3], b"dropped_attributes_count": said[4]
            }  # fmt: skip
            entries = [entry(name, text(each)) for name, each in named.items() if each]
            entries += [entry(name, number(each)) for name, each in counts.items() if each]
            try:
                texts = [each.decode() for each in named.values()]
            except UnicodeDecodeError:
                self._broken[known_as] = UNDECODABLE
                texts = []
            self._keep(known_as, b"".join(entries), [*texts, *map(str, counts.values())])
        return known_as

    def _header(self, resource_logs: Any, scope_logs: Any) -> _Header:
        """Return what the records of a scope share."""
        sent = (
            resource_logs.resource,
            resource_logs.schema_url,
            scope_logs.scope,
            scope_logs.schema_url,
        )
        header = self._headers.get(sent)
        if header is None:
            known_as = next(self._names)
            try:
                header = self._read_header(known_as, *sent)
            except Broken as error:
                self._broken[known_as] = error.rule
                header = _Header(known_as, b"", (), (known_as,))
            self._headers[sent] = header
        return header

    def _read_header(
        self, known_as: Name, resource: bytes, resource_url: bytes, scope: bytes, url: bytes
    ) -> _Header:
        """Read what the records of a scope share. Raises Broken."""
        try:
            of_resource, of_scope = _Resource.FromString(resource), _Scope.FromString(scope)
            said = [each.decode() for each in (of_scope.name, of_scope.version, resource_url, url)]
        except (DecodeError, UnicodeDecodeError):
            raise Broken(UNDECODABLE) from None
        if len(of_resource.attributes) + len(of_scope.attributes) > MAX_NODES:
            raise Broken(TOO_MANY_VALUES)
        source = ""
        texts, is_unclear = said[:], False
        entries, groups = [], []
        for attributes in (of_resource.attributes, of_scope.attributes):
            group = []
            for each in attributes:
                made, said_there, nodes = attribute(each)
                group.append(made)
                self._nodes += nodes
                is_unclear |= said_there is None
                texts += said_there or ()
                if said_there and said_there[0] == _SERVICE_NAME and len(said_there) == 2:
                    source = said_there[1]
            groups.append(b"".join(group))
        if groups[0]:
            entries.append(entry(b"resource", object_of(groups[0])))
        named = {b"name": of_scope.name, b"version": of_scope.version}
        about = [entry(name, text(each)) for name, each in named.items() if each]
        if groups[1]:
            about.append(entry(_ATTRIBUTES, object_of(groups[1])))
        if about:
            entries.append(entry(b"scope", object_of(b"".join(about))))
        urls = {b"resource_schema_url": resource_url, b"schema_url": url}
        entries += [entry(name, text(each)) for name, each in urls.items() if each]
        self._keep(known_as, b"", None if is_unclear else texts)
        pieces = [known_as]
        if resource_url or url:
            pieces.append(next(self._names))
            self._keep(pieces[-1], b"", said[2:4])
        sender = ((SOURCE, source),) if SOURCE.pattern.fullmatch(source) else ()
        return _Header(known_as, b"".join(entries), sender, tuple(pieces))

    def _keep(self, known_as: Name, wire: bytes, texts: Sequence[str] | None) -> None:
        """Keep a piece, and its texts until they are looked at."""
        self._wires[known_as] = wire
        if texts is None:
            self._unclear[known_as] = None
        else:
            self._new.append((known_as, texts))


def _data(header: bytes, rest: bytes, body: bytes, attributes: Sequence[bytes]) -> bytes:
    """Return the object of these entries as a Value. All lengths are known before it is written."""
    held = b"".join(attributes)
    if not held:
        return object_of(b"".join((header, rest, body)))
    size = _size(len(held))
    value = _size(1 + len(size) + len(held))
    inner = len(_BEFORE_ATTRIBUTES) + len(value) + 1 + len(size) + len(held)
    before = _size(inner)
    whole = _size(len(header) + len(rest) + len(body) + 1 + len(before) + inner)
    return b"".join(
        (
            *(_OBJECT_TAG, whole, header, rest, body),
            *(_ENTRY_TAG, before, _BEFORE_ATTRIBUTES, value, _OBJECT_TAG, size, held),
        )
    )


def _size(length: int) -> bytes:
    return _SIZES[length] if length < len(_SIZES) else varint(length)


def _stamp(record: Any) -> bytes:
    """Return times and ids of a record as a Value, which goes on record with its data.

    They are no texts of the sender: the ids are random bytes, of which every fifty-thousandth, in
    hexadecimal, reads as the number of a payment card. So nothing is looked for in them.
    """
    moment, observed = record.time, record.observed_time
    trace_id, span_id = record.trace_id, record.span_id
    # Of any other length, or nothing but zeros, they are no ids.
    has_trace = len(trace_id) == _TRACE_BYTES and trace_id != _NO_TRACE
    has_span = len(span_id) == _SPAN_BYTES and span_id != _NO_SPAN
    entries = b"%b%b%b%b%b%b%b%b" % (
        _TIME if moment else b"",
        _time(moment) if moment else b"",
        _OBSERVED_TIME if observed else b"",
        _time(observed) if observed else b"",
        _TRACE_ID if has_trace else b"",
        hexlify(trace_id) if has_trace else b"",
        _SPAN_ID if has_span else b"",
        hexlify(span_id) if has_span else b"",
    )
    return object_of(entries) if entries else b""


def _time(nanoseconds: int) -> bytes:
    """Return a time as RFC 3339 writes it, with nine digits of the second."""
    return b"%b.%09dZ" % (_second(nanoseconds // 10**9), nanoseconds % 10**9)


@lru_cache(maxsize=1024)
def _second(seconds: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()


def _before(key: bytes, size: int) -> bytes:
    """Return what stands before a text of a fixed size in an entry of an object."""
    return entry(key, text(bytes(size)))[:-size]


_ATTRIBUTES = b"attributes"
_TIME_BYTES = len("2026-11-26T12:00:00.000000001Z")
_TIME, _OBSERVED_TIME = _before(b"time", _TIME_BYTES), _before(b"observed_time", _TIME_BYTES)
_TRACE_ID, _SPAN_ID = _before(b"trace_id", 2 * _TRACE_BYTES), _before(b"span_id", 2 * _SPAN_BYTES)
_OBJECT_TAG, _ENTRY_TAG = object_of(b"")[:1], entry(b"", b"")[:1]
_BEFORE_ATTRIBUTES = entry(_ATTRIBUTES, b"")[2:-1]
_SIZES = [varint(length) for length in range(1 << 14)]
"""What lengths are on the wire: of nearly all that is written here."""
