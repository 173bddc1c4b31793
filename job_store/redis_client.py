"""The queue as every process sees it: how to connect, how messages lie in it, when to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dramatiq
import redis
from dramatiq.encoder import Encoder, MessageData
from google.protobuf import json_format
from redis.backoff import NoBackoff
from redis.retry import Retry

from mesh.health import Unhealthy
from sluice.queue.v1.envelope_pb2 import Envelope

CONNECT_TIMEOUT_SECONDS = 1.0
REPLY_TIMEOUT_SECONDS = 3.0


def connect(url: str) -> redis.Redis:
    """Return a client that never repeats a command by itself.

    redis-py repeats up to ten times by default. A repeated command whose first reply was lost
    stores a message twice, and hides the loss from the code that would have to know.

    Every new connection first makes sure that Redis keeps what it acknowledges, and raises
    NotDurable otherwise: a Redis that was restarted with another configuration takes commands
    before any probe can tell.
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_timeout=REPLY_TIMEOUT_SECONDS,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 0),
        redis_connect_func=_greet,
    )


class NotDurable(Unhealthy, redis.ConnectionError):
    """This Redis may lose or evict what it acknowledges."""


def require_durability(client: redis.Redis) -> Mapping[str, Any]:
    """Check that this Redis keeps what it acknowledges; return what it tells of itself (INFO).

    Raises NotDurable when it may lose or evict data, redis.RedisError when it does not answer.
    """
    info: Mapping[str, Any] = client.info()
    _require(info)
    return info


def _greet(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("INFO")
    lines = bytes(connection.read_response(disable_decoding=True)).decode().splitlines()
    _require(dict(line.split(":", 1) for line in lines if ":" in line))


def _require(info: Mapping[str, Any]) -> None:
    if str(info["aof_enabled"]) != "1":
        raise NotDurable("Redis keeps no append-only file: set appendonly yes")
    if info["aof_last_write_status"] != "ok":
        raise NotDurable("Redis could not write its append-only file: look at its disk")
    if info["maxmemory_policy"] != "noeviction":
        raise NotDurable("Redis may evict data: set maxmemory-policy noeviction")


class Payload(bytes):
    """The payload of a message. Libraries print the arguments of messages; this prints its size."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    __str__ = __repr__


class EnvelopeEncoder(Encoder):
    """Stores Dramatiq messages as sluice.queue.v1.Envelope: exactly one argument, raw bytes."""

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
