"""Which Redis keeps the jobs: settings of every process that works with them."""

from __future__ import annotations

from pydantic import Field

from mesh.settings import Settings

CLUSTER_SCHEME = "redis+cluster"


class StoreSettings(Settings):
    """Every variable is prefixed with SLUICE_. All processes of a mesh have the same values."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """The queue and state store. `redis+cluster://HOST:PORT,HOST:PORT` names nodes of a cluster;
    the others are learned from these (SLUICE_REDIS_URL)."""
    redis_partitions: int | None = Field(None, ge=1, le=256)
    """In how many partitions jobs lie, fixed when the mesh is first started: 1 on one Redis, 16 on
    a cluster. A cluster spreads over as many primaries at most (SLUICE_REDIS_PARTITIONS)."""
    redis_confirming_replicas: int = Field(0, ge=0, le=5)
    """Replicas that must have a submission on disk before it is acknowledged, so that no failover
    loses it. Needs Redis 7.2 or later, or Valkey (SLUICE_REDIS_CONFIRMING_REPLICAS)."""
