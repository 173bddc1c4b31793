"""How a message lies in a queue: as sluice.queue.v1.Envelope, by us as by Dramatiq."""

from __future__ import annotations

import time

import dramatiq
from dramatiq.encoder import Encoder, MessageData
from google.protobuf import json_format

from sluice.queue.v1.envelope_pb2 import Envelope


def pack(queue: str, actor: str, message_id: str, payload: bytes) -> bytes:
    """Return a message as it is stored under this id. The payload comes last in it."""
    envelope = Envelope(
        queue_name=queue,
        actor_name=actor,
        message_id=message_id,
        message_timestamp=int(time.time() * 1000),
        payload=payload,
    )
    # By which Dramatiq finds the message that it fetched.
    envelope.options["redis_message_id"] = message_id
    return envelope.SerializeToString()


class Payload(bytes):
    """The payload of a message. Libraries print the arguments of messages; this prints its size."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    __str__ = __repr__


class EnvelopeEncoder(Encoder):
    """Stores Dramatiq messages as envelopes: exactly one argument, raw bytes."""

    def encode(self, data: MessageData) -> bytes:
        """Return the bytes to store. Raises ValueError for anything but one bytes argument."""
        (payload,) = data["args"]
        envelope = Envelope(
            queue_name=data["queue_name"],
            actor_name=data["actor_name"],
            message_id=data["message_id"],
            message_timestamp=data["message_timestamp"],
            payload=payload,
        )
        envelope.options.update(data["options"])
        return envelope.SerializeToString()

    def decode(self, data: bytes) -> MessageData:
        """Return the message's fields. Raises google.protobuf.message.DecodeError."""
        envelope = Envelope.FromString(data)
        return {
            "queue_name": envelope.queue_name,
            "actor_name": envelope.actor_name,
            "args": (Payload(envelope.payload),),
            "kwargs": {},
            "options": json_format.MessageToDict(envelope.options),
            "message_id": envelope.message_id,
            "message_timestamp": envelope.message_timestamp,
        }


def use_envelopes() -> None:
    """Make Dramatiq store messages as envelopes in this process."""
    dramatiq.set_encoder(EnvelopeEncoder())
