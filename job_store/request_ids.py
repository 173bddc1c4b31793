"""Request ids: what makes a submission repeatable, and where each lies in Redis.

A request id is known for the seconds that were set, cut into windows. The ids of a window lie in
small hashes (buckets) that expire together.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple, Self

BUCKETS = 8192
"""Among which the request ids of one window are divided: small hashes that Redis packs, so that an
id takes about 70 bytes and not the 200 that a key of its own would. At 100 a second for a day 260
ids share one, of the 1,000 that it is packed up to."""
WINDOWS = 4
"""In which a request id's time to live is cut. The ids of a window expire together, so one lives up
to a quarter longer than it has to, and is looked for in this many windows and the present one."""
IDS_AT_A_TIME = 100
"""Request ids that are looked up in one step. Redis looks in several places for each, and is kept
from everything else for up to half a millisecond by one when it is full of them."""

RequestName = tuple[str, bytes]
"""The bucket and the field of a request id."""


class Request(NamedTuple):
    """What a request id is to stand for, and where it lies in Redis.

    `body_hash` and `refusals` are as in sluice.job.v1.RequestRecord.
    """

    bucket: str
    field: bytes
    body_hash: bytes
    refusals: bytes = b""

    @classmethod
    def of(cls, request_id: str, body: bytes, client: str = "") -> Self:
        """Return the request of one submission. `body` is its deterministic serialization."""
        digest = _digest(client, request_id)
        bucket = int.from_bytes(digest[:2]) % BUCKETS
        return cls(f"{bucket:x}", digest[4:16], hashlib.sha256(body).digest()[:16])

    @classmethod
    def of_batch(cls, request_id: str, body: bytes, client: str = "") -> Self:
        """Return the request of a whole batch, which has a hash of its own for its parts."""
        digest = _digest(client, request_id)
        return cls(digest[:16].hex(), b"", hashlib.sha256(body).digest()[:16])

    @property
    def name(self) -> RequestName:
        """What tells it from all others."""
        return self.bucket, self.field

    def part(self, start: int) -> Self:
        """Return the request of the part of a batch that begins with this submission."""
        return self._replace(field=str(start).encode())

    def alert_id(self, secret: bytes, index: int = 0) -> str:
        """Return the identity of the alert about a submission of it, which repeats share.

        It stands beside the masked submission, and without `secret` a short value could be found by
        trying them all.
        """
        name = b"\0".join([self.bucket.encode(), self.field, self.body_hash, str(index).encode()])
        return hmac.digest(secret, name, "sha256").hex()[:32]


def _digest(client: str, request_id: str) -> bytes:
    return hashlib.sha256(f"{client}\0{request_id}".encode()).digest()
