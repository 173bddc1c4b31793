"""Words by which the proxy knows what our processes ask of Redis."""

from job_store.keys import INTERACTIONS, ONLY

COMMIT = (ONLY.open_jobs.encode(), ONLY.messages(INTERACTIONS).encode())
_QUEUE = ONLY.waiting(INTERACTIONS).encode()
_ACKS = ONLY.fetched("", "").encode()[:-1]
# Four keys, the first of them the queue.
FETCH = (b"$1\r\n4\r\n$%d\r\n%s\r\n" % (len(_QUEUE), _QUEUE), _ACKS)
# Two keys, the second of them the messages; the first is what the worker has fetched.
ACK = (b"\r\n$1\r\n2\r\n", _ACKS, ONLY.messages(INTERACTIONS).encode())
# The open jobs after the counts, and job records.
FINISH = (
    f"{ONLY.counts}\r\n${len(ONLY.open_jobs)}\r\n{ONLY.open_jobs}\r\n".encode(),
    ONLY.record_prefix.encode(),
)
