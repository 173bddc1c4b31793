"""A submission as it came, with what is asked of it by more than one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ingest_service.named_fields import NamedField, named_texts
from mesh.messages import first_content
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

_DATA_TAG = b"\x0a"


class Submission:
    """One submission. It is serialized once: what is looked through is what is recorded."""

    __slots__ = ("data", "message", "named", "size")

    def __init__(self, message: SubmitRequest) -> None:
        wire = message.SerializeToString()
        start, end = first_content(wire) if wire[:1] == _DATA_TAG else (0, 0)
        self.message = message
        self.size = len(wire)
        """In bytes, of all of it."""
        self.data = wire[start:end]
        """Its data on the wire, as protobuf writes it: nothing where there is none."""
        # Most have nothing beside their data.
        self.named: Sequence[tuple[NamedField, str]] = (
            named_texts(message) if end < self.size else ()
        )
        """The named fields that it has, with their texts."""

    @property
    def request_id(self) -> str:
        """Its request id, empty where it has none."""
        return self.message.request_id if self.named else ""
