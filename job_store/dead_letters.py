"""Dead letters: messages that no repetition will get through, kept until a person looks.

A replayed job has the timestamps it had when it was accepted, so that it gives the same points, and
exactly one row each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import redis
from google.protobuf.message import DecodeError

from job_store.keys import INTERACTIONS, ONLY, QUEUES, Keys
from job_store.scripts import script
from sluice.job.v1.job_pb2 import LogInteractions
from sluice.queue.v1.envelope_pb2 import Envelope

IDS_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class Letter:
    """What may be told about a dead letter: everything but its payload."""

    message_id: str
    queue: str
    actor: str
    job_id: str
    died: float
    """Seconds since the Unix epoch."""
    reason: str
    failed: int
    """Interactions that are counted as failed because of it."""


class DeadLetters:
    """All dead letters of this mesh. Every method raises redis.RedisError."""

    def __init__(self, client: redis.Redis, keys: Keys = ONLY) -> None:
        self._client = client
        self._keys = keys
        self._replay = script(client, "replay")
        self._note = script(client, "note_cause")

    def note(self, message_id: bytes, reason: str, failed: int) -> None:
        """Write down why a message is about to become a dead letter. May be repeated."""
        self._note(keys=[self._keys.causes], args=[message_id, f"{failed} {reason}"])

    def find(self, queues: Sequence[str] = QUEUES) -> Iterator[Letter]:
        """Yield the dead letters of these queues, oldest first.

        Redis is asked for little at a time, so that it is not held however many there are.
        """
        for queue in queues:
            pieces = cast(
                Iterator[tuple[bytes, float]],
                self._client.zscan_iter(self._keys.dead(queue), count=IDS_AT_A_TIME),
            )
            # One that moves in Redis may come twice.
            dead = sorted(dict(pieces).items(), key=lambda letter: letter[1])
            for message_id, died in dead:
                message = cast(
                    bytes | None, self._client.hget(self._keys.dead_messages(queue), message_id)
                )
                cause = cast(bytes | None, self._client.hget(self._keys.causes, message_id))
                if message is not None:
                    yield _letter(queue, message_id, died, message, cause or b"0 UNKNOWN")

    def replay(self, letter: Letter) -> bool:
        """Put a dead letter back into its queue and reopen its job, at most once.

        Returns False when it was not there any more.
        """
        keys = [
            self._keys.dead(letter.queue),
            self._keys.dead_messages(letter.queue),
            self._keys.waiting(letter.queue),
            self._keys.messages(letter.queue),
            self._keys.causes,
            self._keys.open_jobs,
            self._keys.counts,
        ]
        return bool(self._replay(keys=keys, args=[letter.message_id, letter.job_id]))


def _letter(queue: str, message_id: bytes, died: float, message: bytes, cause: bytes) -> Letter:
    failed, _, reason = cause.decode().partition(" ")
    actor = job_id = ""
    try:
        envelope = Envelope.FromString(message)
        actor = envelope.actor_name
        if queue == INTERACTIONS:
            job_id = LogInteractions.FromString(envelope.payload).job_id
    except DecodeError:
        # It is listed all the same; this is why it is here.
        actor = actor or "?"
    return Letter(
        message_id.decode(errors="replace"), queue, actor, job_id, died / 1000, reason, int(failed)
    )
