"""A submission as it came, with what is asked of it by more than one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ingest_service.named_fields import REQUEST_ID, NamedField, named_texts
from mesh.messages import first_content, length_delimited_field
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

_DATA = 1
_DATA_TAG = b"\x0a"


class Submission:
    """One submission. It is serialized once: what is looked through is what is recorded."""

    __slots__ = ("_message", "data", "named", "size", "stamp")

    def __init__(self, message: SubmitRequest) -> None:
        wire = message.SerializeToString()
        start, end = first_content(wire) if wire[:1] == _DATA_TAG else (0, 0)
        self._message: SubmitRequest | None = message
        self.size = len(wire)
        """In bytes, of all of it."""
        self.data = wire[start:end]
        """Its data on the wire, as protobuf writes it: nothing where there is none."""
        # Most have nothing beside their data.
        self.named: Sequence[tuple[NamedField, str]] = (
            named_texts(message) if end < self.size else ()
        )
        """The named fields that it has, with their texts."""
        self.stamp = b""
        """What goes on record behind its data: nothing, or the Value of a further object on the
        wire. Two objects, one behind the other, are one to whoever reads them."""

    @classmethod
    def made(cls, data: bytes, named: Sequence[tuple[NamedField, str]], stamp: bytes) -> Submission:
        """Return a submission that the service made of what is none. `data` is a Value on the wire,
        empty where there is none.
        """
        submission = cls.__new__(cls)
        submission._message = None
        submission.size, submission.data = len(data), data
        submission.named, submission.stamp = named, stamp
        return submission

    @property
    def message(self) -> SubmitRequest:
        """The submission as it is called with."""
        if self._message is None:
            data = length_delimited_field(_DATA, self.data) if self.data else b""
            self._message = SubmitRequest.FromString(data)
            for field, text in self.named:
                setattr(self._message, field.name, text)
        return self._message

    def forget_unseen(self) -> None:
        """Leave out of its data what no judgement sees: what belongs to no field, and of a key that
        is there twice all but the last.

        It would go on record unchecked. It may also lie so deep that nobody could read the job.
        """
        if self.data:
            self.message.data.DiscardUnknownFields()
            self.data = self.message.data.SerializeToString()

    @property
    def request_id(self) -> str:
        """Its request id, empty where it has none."""
        for field, text in self.named:
            if field is REQUEST_ID:
                return text
        return ""
