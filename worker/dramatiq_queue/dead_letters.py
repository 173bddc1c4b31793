"""Messages that no repetition will get through: kept until a person looks, and replayed on request.

`python -m worker.dramatiq_queue.dead_letters` prints them (`list`) or puts them back into their
queues (`replay`). A replayed job has the timestamps it had when it was accepted, so that it
gives the same points, and exactly one row each.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import redis
from google.protobuf.message import DecodeError

from job_store.queues import (
    ALLOW_OOM,
    INTERACTIONS,
    QUEUES,
    dead_key,
    dead_messages_key,
    messages_key,
    waiting_key,
)
from job_store.records import COUNTS_KEY, OPEN_KEY
from job_store.redis_client import connect
from mesh.console import ignore_output_errors
from sluice.job.v1.job_pb2 import LogInteractions
from sluice.queue.v1.envelope_pb2 import Envelope
from worker.settings import WorkerSettings

CAUSES_KEY = "sluice:dead"

IDS_AT_A_TIME = 500

UNDECODABLE = "UNDECODABLE"

# KEYS 1 dead ids, 2 dead messages, 3 queue, 4 messages, 5 causes, 6 open jobs, 7 counts.
# ARGV 1 id, 2 job id or nothing. Returns 1 when the message is back in its queue.
REPLAY = """
local message = redis.call('HGET', KEYS[2], ARGV[1])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 or not message then
  return 0
end
local cause = redis.call('HGET', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], message)
redis.call('RPUSH', KEYS[3], ARGV[1])
local failed = cause and tonumber(string.match(cause, '^%d+')) or 0
if ARGV[2] ~= '' and failed > 0 and redis.call('HSETNX', KEYS[6], ARGV[2], failed) == 1 then
  redis.call('HINCRBY', KEYS[7], 'failed', -failed)
end
return 1
"""


# KEYS 1 causes. ARGV 1 id, 2 cause.
NOTE = "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])"


class DeadLetter(Exception):
    """Raised by an actor whose message no repetition will get through.

    `reason` is an UPPER_SNAKE_CASE class, `failed` how many interactions are booked as failed.
    """

    def __init__(self, reason: str, failed: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.failed = failed


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
    """Interactions that are booked as failed because of it."""


class DeadLetters:
    """All dead letters of this mesh. Every method raises redis.RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._replay = client.register_script(ALLOW_OOM + REPLAY)
        self._note = client.register_script(ALLOW_OOM + NOTE)

    def note(self, message_id: bytes, reason: str, failed: int) -> None:
        """Write down why a message is about to become a dead letter. May be repeated."""
        self._note(keys=[CAUSES_KEY], args=[message_id, f"{failed} {reason}"])

    def find(self, queues: Sequence[str] = QUEUES) -> Iterator[Letter]:
        """Yield the dead letters of these queues, oldest first.

        Redis is asked for little at a time, so that it is not held however many there are.
        """
        for queue in queues:
            pieces = cast(
                Iterator[tuple[bytes, float]],
                self._client.zscan_iter(dead_key(queue), count=IDS_AT_A_TIME),
            )
            # One that moves in Redis may come twice.
            dead = sorted(dict(pieces).items(), key=lambda letter: letter[1])
            for message_id, died in dead:
                message = cast(
                    bytes | None, self._client.hget(dead_messages_key(queue), message_id)
                )
                cause = cast(bytes | None, self._client.hget(CAUSES_KEY, message_id))
                if message is not None:
                    yield _letter(queue, message_id, died, message, cause or b"0 UNKNOWN")

    def replay(self, letter: Letter) -> bool:
        """Put a dead letter back into its queue and reopen its job, at most once.

        Returns False when it was not there any more.
        """
        keys = [
            dead_key(letter.queue),
            dead_messages_key(letter.queue),
            waiting_key(letter.queue),
            messages_key(letter.queue),
            CAUSES_KEY,
            OPEN_KEY,
            COUNTS_KEY,
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


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit status."""
    program = "python -m worker.dramatiq_queue.dead_letters"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("list", "print dead letters"), ("replay", "put them back")):
        command = commands.add_parser(name, help=what)
        command.add_argument("--queue", choices=QUEUES, action="append", help="default: all")
        command.add_argument("ids", nargs="*", help="message ids; default: all")
    options = parser.parse_args(arguments)
    letters = DeadLetters(connect(WorkerSettings().redis_url))
    try:
        chosen = [
            letter
            for letter in letters.find(options.queue or QUEUES)
            if not options.ids or letter.message_id in options.ids
        ]
        if options.command == "replay":
            replayed = sum(letters.replay(letter) for letter in chosen)
            print(f"replayed {replayed} of {len(chosen)}")
            return 0
    except redis.RedisError as error:
        print(f"Redis does not answer ({type(error).__name__}): check SLUICE_REDIS_URL.")
        return 1
    row = "{:<36}  {:<12}  {:<16}  {:<26}  {:>10}  {:>6}  {}"
    print(row.format("id", "queue", "actor", "job", "age", "failed", "reason"))
    for letter in chosen:
        age = f"{time.time() - letter.died:.0f} s"
        print(
            row.format(
                letter.message_id,
                letter.queue,
                letter.actor,
                letter.job_id or "-",
                age,
                letter.failed,
                letter.reason,
            )
        )
    print(f"{len(chosen)} dead letters")
    return 0


if __name__ == "__main__":
    ignore_output_errors()
    sys.exit(main(sys.argv[1:]))
