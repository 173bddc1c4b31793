"""All rows of the fault table."""

from __future__ import annotations

from itertools import chain

from tests.faults.rows import (
    alert_service,
    callers,
    client,
    clock,
    full_redis,
    gateway,
    influxdb,
    ingest,
    policy,
    redis,
    redis_cluster,
    restored_redis,
    rollout,
    worker,
)

PARTS = (
    ingest,
    worker,
    redis,
    redis_cluster,
    full_redis,
    restored_redis,
    influxdb,
    alert_service,
    gateway,
    callers,
    client,
    policy,
    rollout,
    clock,
)
ROWS = tuple(chain.from_iterable(part.ROWS for part in PARTS))
