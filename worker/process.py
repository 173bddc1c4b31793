"""What the worker process is made of, and how it runs and stops."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import redis

from job_store.envelope import use_envelopes
from job_store.keys import (
    ALERTS,
    DELIVER_ALERT,
    INTERACTIONS,
    LOG_INTERACTIONS,
    WRITE_INTERACTIONS,
)
from job_store.partitions import Partitions
from job_store.states import JobStates
from mesh.health import Unhealthy
from mesh.logs import logger
from worker.actors import AlertDeliverer, InteractionLogger
from worker.alerts import AlertClient
from worker.dramatiq_queue.broker import QueueBroker
from worker.dramatiq_queue.partition_queue import PartitionQueue
from worker.dramatiq_queue.queue_worker import QueueWorker
from worker.redis_metrics import RedisMetrics
from worker.settings import WorkerSettings
from worker.sinks.influxdb.writer import InfluxDBWriter
from worker.sinks.sink import Sink
from worker.waiting import Breaker, Interrupted, Outage, Stop
from worker.watchdog import Watchdog

log = logger("worker.process")

REDIS_RETRY_SECONDS = 0.5
CHECK_SECONDS = 2.0

JOBS_AT_A_TIME = 200
"""Most jobs that are written together; at some rows each a request is as large as it should be."""


class WorkerProcess:
    """Everything that runs in the worker process beside its health server."""

    def __init__(self, settings: WorkerSettings) -> None:
        use_envelopes()
        self._stop = Stop()
        self._grace_seconds = settings.grace_seconds
        self._partitions = Partitions.of(settings)
        self.sink: Sink = InfluxDBWriter(settings)
        self._sink_breaker = Breaker(self.sink.name, self._stop)
        states = [JobStates(each.client, each.keys) for each in self._partitions.all]
        self._workers = [
            QueueWorker(
                self._broker(settings, INTERACTIONS, JOBS_AT_A_TIME),
                INTERACTIONS,
                [WRITE_INTERACTIONS, LOG_INTERACTIONS],
                InteractionLogger(states, self.sink, self._sink_breaker),
                settings.worker_threads,
            ),
            QueueWorker(
                self._broker(settings, ALERTS, 1),
                ALERTS,
                [DELIVER_ALERT],
                AlertDeliverer(
                    AlertClient(settings.alert_target),
                    Breaker("alert_service", self._stop),
                    self._stop,
                ),
                1,
            ),
        ]
        self._watchdog = Watchdog(self._workers, self._stop)
        self._metrics = RedisMetrics(self._partitions, self._workers)
        self._started = False
        self._unfit: Unhealthy | None = None

    def run(self) -> None:
        """Consume until the process stops.

        Waits for Redis first, so that a process that is started while Redis is away does not end
        and start over and over.
        """
        threading.excepthook = lambda caught: self._stop.crash(
            "a thread ended with an error", caught.exc_value
        )
        try:
            self._await_redis()
            for worker in self._workers:
                worker.start()
            self._started = True
            log.info("consuming")
            self._watch()
        except Interrupted:
            return
        except Exception as error:
            self._stop.crash("the watchdog ended with an error", error)

    def close(self) -> None:
        """Stop consuming. What cannot be finished within the grace goes back to the queue."""
        self._stop.ask()
        if not self._started:
            return
        with ThreadPoolExecutor(len(self._workers)) as pool:
            list(pool.map(lambda worker: worker.stop(self._grace_seconds), self._workers))

    async def probe_queue(self) -> None:
        """Check that Redis answers and that nothing fetched is missing. Raises when not."""
        if self._unfit:
            raise self._unfit
        await asyncio.to_thread(self._require_answer)
        if not self._started:
            raise Unhealthy("not consuming yet")
        self._watchdog.require_accounted()

    async def probe_sink(self) -> None:
        """Check that the sink can be written. Raises Unhealthy; a restart of us helps nothing."""
        try:
            await asyncio.to_thread(self.sink.ping)
            if self._sink_breaker.reason:
                raise Outage(self._sink_breaker.reason)
        except Outage as outage:
            self.sink.up.set(0)
            raise Unhealthy(outage.reason) from None
        self.sink.up.set(1)

    def _watch(self) -> None:
        """Check and publish over and over. Raises Interrupted when the process stops."""
        while True:
            self._stop.wait(CHECK_SECONDS)
            self._watchdog.check()
            self._metrics.publish()

    def _broker(self, settings: WorkerSettings, queue: str, most: int) -> QueueBroker:
        sources = [
            PartitionQueue(
                each, queue, settings.heartbeat_seconds, settings.redis_confirming_replicas
            )
            for each in self._partitions.all
        ]
        return QueueBroker(sources, most, self._stop)

    def _require_answer(self) -> None:
        """Check that a partition answers at least. Raises redis.RedisError."""
        # First one that did the last time: one that hangs takes seconds to say nothing.
        sources = sorted(self._workers[0].sources, key=lambda each: each.is_silent)
        for each in sources:
            try:
                each.ping()
                return
            except redis.RedisError as error:
                failure = error
        raise failure

    def _await_redis(self) -> None:
        """Wait until a partition takes commands, writes included. Raises Interrupted."""
        known = ""
        while (hindrance := self._hindrance()) is not None:
            self._unfit = hindrance if isinstance(hindrance, Unhealthy) else None
            reason = str(hindrance) if self._unfit else type(hindrance).__name__
            if known != (known := reason):
                if self._unfit:
                    log.error("misconfigured", advice=reason)
                else:
                    log.warning("Redis does not take commands", error=reason)
            self._stop.wait(REDIS_RETRY_SECONDS)
        self._unfit = None

    def _hindrance(self) -> Exception | None:
        """Return why no partition can be worked on, None when one can."""
        hindrance: Exception | None = None
        try:
            self._partitions.require_agreement()
        except redis.RedisError:
            # The partition that it is known by may be the one that is away.
            pass
        except Unhealthy as disagreement:
            return disagreement
        for source in self._workers[0].sources:
            try:
                source.stored.require_confirmation()
                source.show_life()
                return None
            except redis.RedisError as error:
                if not isinstance(hindrance, Unhealthy):
                    hindrance = error
        return hindrance
