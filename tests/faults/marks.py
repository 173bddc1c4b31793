"""Words by which the proxy knows what our processes ask of Redis."""

from job_store.keys import BUCKET_CHARACTERS, INTERACTIONS, ONLY

COMMIT = (ONLY.open_jobs.encode(), ONLY.messages(INTERACTIONS).encode())
FETCH = (b"$5\r\nfetch\r\n", b"$12\r\ninteractions\r\n")
ACK = (b"$3\r\nack\r\n", b"$12\r\ninteractions\r\n")
# Three keys, the first of them the job records of a second.
FINISH = (
    f"$1\r\n3\r\n${len(ONLY.record_prefix) + BUCKET_CHARACTERS}\r\n{ONLY.record_prefix}".encode(),
)
