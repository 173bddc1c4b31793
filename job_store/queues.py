"""Our two Dramatiq queues: where they lie in Redis and who carries out what lies in them."""

from __future__ import annotations

NAMESPACE = "dramatiq"

INTERACTIONS = "interactions"
ALERTS = "alerts"
QUEUES = (INTERACTIONS, ALERTS)

ALLOW_OOM = "#!lua flags=allow-oom\n"
"""First line of a script that Redis runs at its memory limit, too. What a worker does frees memory,
and nothing else would: without this a full Redis could not be drained."""


def waiting_key(queue: str) -> str:
    """Return the list of ids that no worker has."""
    return f"{NAMESPACE}:{queue}"


def messages_key(queue: str) -> str:
    """Return the hash of all messages, waiting or fetched."""
    return f"{NAMESPACE}:{queue}.msgs"


def fetched_key(queue: str, worker_id: str) -> str:
    """Return the set of ids that one worker has fetched and not acknowledged."""
    return f"{NAMESPACE}:__acks__.{worker_id}.{queue}"


def dead_key(queue: str) -> str:
    """Return the sorted set of dead letters by the time of their death."""
    return f"{NAMESPACE}:{queue}.XQ"


def dead_messages_key(queue: str) -> str:
    """Return the hash of the dead letters' messages."""
    return f"{NAMESPACE}:{queue}.XQ.msgs"
