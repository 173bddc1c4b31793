"""Builds the consuming side of both queues and runs it in threads of this process.

Dramatiq shares the threads of a Worker among its queues, so jobs that wait for InfluxDB would hold
up alerts and the other way round. Each queue has a broker and a Worker of its own instead.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import redis
from dramatiq import Actor, Consumer, Worker
from dramatiq.brokers.redis import RedisBroker

from job_store.dead_letters import DeadLetters
from job_store.envelope import use_envelopes
from job_store.keys import (
    ALERTS,
    DELIVER_ALERT,
    INTERACTIONS,
    LOG_INTERACTIONS,
    ONLY,
    WRITE_INTERACTIONS,
)
from job_store.redis_client import connect
from job_store.scripts import ALLOW_OOM
from job_store.states import JobStates
from mesh.health import Unhealthy
from mesh.logs import logger
from worker.actors import AlertDeliverer, InteractionLogger
from worker.alerts import Alerts
from worker.dramatiq_queue.consumer import QueueConsumer
from worker.dramatiq_queue.dead_letter import DeadLetter
from worker.metrics import INFLUX_UP
from worker.settings import WorkerSettings
from worker.sinks.influxdb.writer import Influx
from worker.waiting import Breaker, Interrupted, Outage, Stop
from worker.watchdog import Audit

log = logger("worker.broker")

POLL_SECONDS = 0.1
REDIS_RETRY_SECONDS = 0.5

# A dead letter is something we promised to keep, so it goes when a person sends it. Every broker on
# these queues throws away what is older than its own limit; ten years stand for never.
DEAD_LETTER_MILLISECONDS = 10 * 365 * 24 * 3600 * 1000


class QueueBroker(RedisBroker):
    """A broker of one queue, without delays, results and retries: each of them loses messages."""

    def __init__(self, client: redis.Redis, heartbeat_seconds: float, stop: Stop) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            namespace=ONLY.namespace,
            middleware=[],
            heartbeat_timeout=int(heartbeat_seconds * 1000),
            # Every command looks for what dead workers held.
            maintenance_chance=1_000_000,
            dead_message_ttl=DEAD_LETTER_MILLISECONDS,
        )
        dispatch = self.scripts["dispatch"]
        self.scripts["dispatch"] = client.register_script(
            ALLOW_OOM.encode() + cast(bytes, dispatch.script)
        )
        self._letters = DeadLetters(client)
        self._stop = stop
        self.consumer: QueueConsumer | None = None

    def declare_queue(self, queue_name: str) -> None:
        """Declare the queue, without the delay queue that Dramatiq gives each."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Return the consumer of the queue. The second call ends the process.

        Dramatiq consumes again after its consumer failed, and has lost by then what it had fetched.
        """
        if self.consumer is not None:
            self._stop.crash("a consumer failed")
        self.consumer = QueueConsumer(
            self, queue_name, prefetch, timeout / 1000, self._letters, self._stop
        )
        return self.consumer


class QueueWorker:
    """One queue, its actor under every name it has, and the threads that carry it out."""

    def __init__(
        self,
        broker: QueueBroker,
        queue: str,
        actor_names: Sequence[str],
        actor: Callable[[bytes], None],
        threads: int,
    ) -> None:
        self.queue = queue
        self.broker = broker
        for actor_name in actor_names:
            Actor(
                actor,
                broker=broker,
                actor_name=actor_name,
                queue_name=queue,
                priority=0,
                # Dramatiq logs these without the word error.
                options={"throws": (DeadLetter, Interrupted)},
            )
        self._worker = Worker(
            broker, worker_threads=threads, worker_timeout=int(POLL_SECONDS * 1000)
        )
        # What is fetched waits for nobody: other workers may have a thread free.
        self._worker.queue_prefetch = threads

    def start(self) -> None:
        """Start consuming."""
        self._worker.start()

    def stop(self, seconds: float) -> None:
        """Let running actors end and give the rest back to the queue."""
        self._worker.stop(timeout=int(seconds * 1000))

    def is_whole(self) -> bool:
        """Return whether all threads are alive."""
        threads: list[threading.Thread] = [*self._worker.workers, *self._worker.consumers.values()]
        return bool(threads) and all(thread.is_alive() for thread in threads)


class WorkerRoom:
    """Everything that runs in the worker process beside its health server."""

    def __init__(self, settings: WorkerSettings) -> None:
        use_envelopes()
        self._stop = Stop()
        self._grace_seconds = settings.grace_seconds
        self._client = connect(settings.redis_url)
        self._influx = Influx(settings)
        self._influx_breaker = Breaker("influxdb", self._stop)
        self._workers = [
            QueueWorker(
                QueueBroker(self._client, settings.heartbeat_seconds, self._stop),
                INTERACTIONS,
                [WRITE_INTERACTIONS, LOG_INTERACTIONS],
                InteractionLogger(
                    JobStates(self._client), self._influx, self._influx_breaker, self._stop
                ),
                settings.worker_threads,
            ),
            QueueWorker(
                QueueBroker(self._client, settings.heartbeat_seconds, self._stop),
                ALERTS,
                [DELIVER_ALERT],
                AlertDeliverer(
                    Alerts(settings.alert_target), Breaker("alert_service", self._stop), self._stop
                ),
                1,
            ),
        ]
        self._audit = Audit(self._client, self._workers, self._stop)
        self._started = False

    def run(self) -> None:
        """Consume until the process stops. Waits for Redis first, so that a restart is no storm."""
        threading.excepthook = lambda caught: self._stop.crash(
            "a thread ended with an error", caught.exc_value
        )
        try:
            self._await_redis()
            for worker in self._workers:
                worker.start()
            self._started = True
            log.info("consuming")
            self._audit.run()
        except Interrupted:
            return
        except Exception as error:
            self._stop.crash("the audit ended with an error", error)

    def close(self) -> None:
        """Stop consuming. What cannot be finished within the grace goes back to the queue."""
        self._stop.ask()
        if not self._started:
            return
        with ThreadPoolExecutor(len(self._workers)) as pool:
            list(pool.map(lambda worker: worker.stop(self._grace_seconds), self._workers))

    async def probe_queue(self) -> None:
        """Check that Redis answers and that nothing fetched is missing. Raises when not."""
        await asyncio.to_thread(self._client.ping)
        if not self._started:
            raise Unhealthy("not consuming yet")
        self._audit.require_accounted()

    async def probe_influx(self) -> None:
        """Check that InfluxDB can be written. Raises when not, which makes nobody restart us."""
        try:
            await asyncio.to_thread(self._influx.ping)
            if self._influx_breaker.reason:
                raise Outage(self._influx_breaker.reason)
        except Outage as outage:
            INFLUX_UP.set(0)
            raise Unhealthy(outage.reason) from None
        INFLUX_UP.set(1)

    def _await_redis(self) -> None:
        """Wait until Redis takes commands, writes included. Raises Interrupted."""
        known = ""
        while True:
            try:
                for worker in self._workers:
                    worker.broker.do_qsize(worker.queue)
                return
            except redis.RedisError as error:
                if type(error).__name__ != known:
                    known = type(error).__name__
                    log.warning("Redis does not take commands", error=known)
                self._stop.wait(REDIS_RETRY_SECONDS)
