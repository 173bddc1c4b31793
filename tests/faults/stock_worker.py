"""A worker as Dramatiq's manual has it: stock broker, stock middleware, an actor that may raise.

`python -m tests.faults.stock_worker REDIS_URL INFLUX_URL`. The checker has to show what it loses.
"""

from __future__ import annotations

import sys
import threading
import urllib.request

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

from job_store.envelope import use_envelopes
from job_store.keys import INTERACTIONS, ONLY, WRITE_INTERACTIONS
from job_store.states import Finish, JobStates
from sluice.job.v1.job_pb2 import LogInteractions
from worker.settings import WorkerSettings
from worker.sinks.influxdb.lines import line
from worker.sinks.sink import rows

WRITE_SECONDS = 2.0


def main(redis_url: str, influx_url: str) -> None:
    """Work until killed."""
    use_envelopes()
    headers = {"Authorization": f"Token {WorkerSettings().influx_token.get_secret_value()}"}
    states = JobStates(redis.Redis.from_url(redis_url))
    broker = RedisBroker(  # type: ignore[no-untyped-call]
        url=redis_url,
        namespace=ONLY.namespace,
        heartbeat_timeout=4000,
        maintenance_chance=1_000_000,
    )

    @dramatiq.actor(
        broker=broker,
        actor_name=WRITE_INTERACTIONS,
        queue_name=INTERACTIONS,
        max_retries=1000,
        min_backoff=200,
        max_backoff=1000,
    )
    def write_interactions(payload: bytes) -> None:
        job = LogInteractions.FromString(payload)
        lines = [line(row) for row in rows(job, range(len(job.interactions)))]
        url = f"{influx_url}/write?db=logs"
        request = urllib.request.Request(url, b"\n".join(lines), headers)
        with urllib.request.urlopen(request, timeout=WRITE_SECONDS):
            (state,) = states.read([job.job_id])
            states.finish([Finish(job.job_id, state.record, 0)])

    dramatiq.Worker(broker, worker_threads=2, worker_timeout=100).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
