"""The names of everything in Redis: queues, actors and keys."""

from __future__ import annotations

from typing import Final

INTERACTIONS = "interactions"
ALERTS = "alerts"
QUEUES = (INTERACTIONS, ALERTS)
"""The Dramatiq queues."""

WRITE_INTERACTIONS = "write_interactions"
LOG_INTERACTIONS = "log_interactions"
"""The actor of jobs of an earlier version, in which each interaction has a time of its own."""
DELIVER_ALERT = "deliver_alert"

BUCKET_CHARACTERS = 8
"""Of a job id, which begins with its time: the records of the jobs of about a second lie in one
hash, which expires as a whole. A key of its own with a time to live would take three times the
memory."""


PARTITIONS = "sluice:partitions"
"""How many partitions there are, as decided when the mesh was first started."""


class Keys:
    """The keys of one partition.

    A job lies whole in one partition: all of its keys share a hash tag, so that a cluster keeps
    them on one server and a script may touch all of them. Where there is only one partition on a
    single Redis, `hash_tag` is empty and the keys have none.
    """

    def __init__(self, hash_tag: str = "") -> None:
        tag = f":{{{hash_tag}}}" if hash_tag else ""

        self.namespace: Final = f"dramatiq{tag}"
        """Where Dramatiq keeps its queues; the keys below it are those of its RedisBroker."""
        self.heartbeats: Final = f"{self.namespace}:__heartbeats__"
        """Sorted set of worker ids, by the time of their last command."""

        self.record_prefix: Final = f"sluice{tag}:jobs:"
        """What the hashes of job records begin with."""
        self.open_jobs: Final = f"sluice{tag}:open"
        """Hash of the jobs that are not done, each with its open interactions.

        A job is in it from the moment it is accepted until every interaction in it is written or
        failed. It, and not the record, says whether work is left: the record expires, and says what
        a caller is told.
        """
        self.counts: Final = f"sluice{tag}:counts"
        """Hash of how many interactions were accepted, written and failed."""
        self.causes: Final = f"sluice{tag}:dead"
        """Hash of why messages became dead letters, by message id."""
        self.request_prefix: Final = f"sluice{tag}:requests:"
        """What the hashes of request ids begin with; commit.lua adds the window and the bucket."""
        self.times: Final = f"sluice{tag}:times"
        """Hash of the latest time that was handed out, and of the time that is waited for."""
        self.secret: Final = f"sluice{tag}:secret"
        """What alerts are named by. Lies where the request ids do, so that it is lost with them and
        not before."""

    def record(self, job_id: str) -> tuple[str, str]:
        """Return the hash and the field in which a job's record lies."""
        return self.record_prefix + job_id[:BUCKET_CHARACTERS], job_id[BUCKET_CHARACTERS:]

    def job_id(self, key: str, field: str) -> str:
        """Return the job whose record lies there: the inverse of `record`."""
        return key.removeprefix(self.record_prefix) + field

    def waiting(self, queue: str) -> str:
        """Return the list of the ids of messages that no worker has."""
        return f"{self.namespace}:{queue}"

    def messages(self, queue: str) -> str:
        """Return the hash of all messages by id, waiting or fetched."""
        return f"{self.namespace}:{queue}.msgs"

    def fetched(self, queue: str, worker_id: str) -> str:
        """Return the set of ids that one worker has fetched and not acknowledged."""
        return f"{self.namespace}:__acks__.{worker_id}.{queue}"

    def dead(self, queue: str) -> str:
        """Return the sorted set of the ids of dead letters, by the time of their death."""
        return f"{self.namespace}:{queue}.XQ"

    def dead_messages(self, queue: str) -> str:
        """Return the hash of the messages of dead letters by id."""
        return f"{self.namespace}:{queue}.XQ.msgs"


ONLY = Keys()
"""The one partition of a single Redis."""
