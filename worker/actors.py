"""What the worker does with a message: write its interactions, deliver its alert.

An actor that cannot do its work now waits inside the call, so that its message stays unacknowledged
and nothing has to be stored again. It ends when the work is done (return), when it never will be
(DeadLetter), or when the process stops (Interrupted).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import redis
from google.protobuf.message import DecodeError

from job_store.states import FINAL, JobStates
from mesh.logs import log_each, logger
from sluice.job.v1.job_pb2 import (
    JOB_STATE_FAILED,
    JOB_STATE_RETRYING,
    JOB_STATE_RUNNING,
    JOB_STATE_SUCCEEDED,
    ItemFailure,
    JobRecord,
    LogInteractions,
)
from worker.alerts import AlertClient, AlertError, parse_alert
from worker.dramatiq_queue.dead_letter import UNDECODABLE, DeadLetter
from worker.metrics import ALERT_SERVICE_UP, INTERACTIONS
from worker.sinks.sink import VERDICT_NAMES, Sink, rows
from worker.waiting import Breaker, Interrupted, Outage, Stop

log = logger("worker")

REDIS_RETRY_SECONDS = 0.5

ALERT_TRIES = 5
ALERT_RETRY_SECONDS = 0.2
"""Before the second try; a further one waits that much longer."""

Result = TypeVar("Result")


class InteractionLogger:
    """The actor `write_interactions`: writes one job to the sink."""

    def __init__(self, states: JobStates, sink: Sink, breaker: Breaker, stop: Stop) -> None:
        self._states = states
        self._sink = sink
        self._breaker = breaker
        self._stop = stop

    def __call__(self, payload: bytes) -> None:
        """Write every interaction of a serialized LogInteractions that is not written yet."""
        try:
            job = LogInteractions.FromString(payload)
        except DecodeError:
            raise DeadLetter(UNDECODABLE) from None
        record = self._begin(job)
        if record is None:
            return
        try:
            failures = self._write(job, record)
        except (Interrupted, DeadLetter):
            raise
        except Exception as error:
            log.error("job failed", job_id=job.job_id, exc_info=error)
            failures = [
                ItemFailure(index=index, error_class="UNEXPECTED")
                for index in range(len(job.interactions))
            ]
        self._end(job, record, failures)

    def _begin(self, job: LogInteractions) -> JobRecord | None:
        """Return the job's record, marked as running, or None when nothing is left to do.

        Raises DeadLetter for a job that is settled with failures: whoever settled it died before
        its dead letter was kept.
        """
        state = self._insist(lambda: self._states.read(job.job_id))
        record = state.record
        if state.is_settled:
            if record.failures:
                raise DeadLetter(record.failures[0].error_class, len(record.failures))
            return None
        if not record.HasField("start_time"):
            log_each(
                "worker",
                "received",
                (
                    {
                        "task_id": f"{job.job_id}-{index}",
                        "verdict": VERDICT_NAMES.get(interaction.verdict, "unknown"),
                    }
                    for index, interaction in enumerate(job.interactions)
                ),
            )
            record.start_time.GetCurrentTime()
        record.attempts += 1
        self._show(job.job_id, record, self._breaker.reason)
        return record

    def _show(self, job_id: str, record: JobRecord, error_class: str) -> None:
        """Tell where the job stands; a job that was replayed shows its failures until it ends."""
        if error_class:
            record.last_error = error_class
        if record.state not in FINAL:
            record.state = JOB_STATE_RETRYING if error_class else JOB_STATE_RUNNING
        self._insist(lambda: self._states.update(job_id, record))

    def _write(self, job: LogInteractions, record: JobRecord) -> Sequence[ItemFailure]:
        """Write until the sink has taken or refused every interaction; return the refused ones."""
        every = rows(job)
        # A replayed job has only these left to write.
        left = [each.index for each in record.failures] or range(len(every))
        indexes = []
        failures = []
        for index in left:
            if every[index].interaction.verdict in VERDICT_NAMES:
                indexes.append(index)
            else:
                failures.append(ItemFailure(index=index, error_class="VERDICT_UNKNOWN"))
        to_write = [every[index] for index in indexes]
        while True:
            try:
                refused = self._breaker.call(lambda: self._sink.write(to_write))
            except Outage as outage:
                self._show(job.job_id, record, outage.reason)
                record.attempts += 1
                continue
            failures += [
                ItemFailure(index=indexes[position], error_class=error_class)
                for position, error_class in refused.items()
            ]
            return sorted(failures, key=lambda failure: failure.index)

    def _end(
        self, job: LogInteractions, record: JobRecord, failures: Sequence[ItemFailure]
    ) -> None:
        """Close the job. Raises DeadLetter when some of it failed, to keep it for a replay."""
        todo = len(record.failures) or len(job.interactions)
        all_failed = len(failures) == len(job.interactions)
        record.state = JOB_STATE_FAILED if all_failed else JOB_STATE_SUCCEEDED
        del record.failures[:]
        record.failures.extend(failures)
        if failures:
            record.last_error = failures[0].error_class
        record.end_time.GetCurrentTime()
        if self._insist(lambda: self._states.finish(job.job_id, record, len(failures))):
            INTERACTIONS.labels("written").inc(todo - len(failures))
            INTERACTIONS.labels("failed").inc(len(failures))
        if failures:
            raise DeadLetter(failures[0].error_class, len(failures))

    def _insist(self, call: Callable[[], Result]) -> Result:
        """Repeat a call that may be repeated until Redis answers it."""
        while True:
            try:
                return call()
            except redis.RedisError:
                self._stop.wait(REDIS_RETRY_SECONDS)


class AlertDeliverer:
    """The actor `deliver_alert`: gets one alert to the alert service."""

    def __init__(self, alerts: AlertClient, breaker: Breaker, stop: Stop) -> None:
        self._alerts = alerts
        self._breaker = breaker
        self._stop = stop

    def __call__(self, payload: bytes) -> None:
        """Deliver the alert of a serialized DeliverAlert.

        One that the service does not take, while it is well, gets a few tries, since the others
        wait behind it.
        """
        alert = parse_alert(payload)
        tries = 0
        while True:
            try:
                self._breaker.call(lambda: self._alerts.deliver(alert))
            except Outage:
                ALERT_SERVICE_UP.set(0)
                continue
            except AlertError as error:
                tries += 1
                if tries == ALERT_TRIES:
                    raise DeadLetter(f"ALERT_{error.reason}") from None
                self._stop.wait(ALERT_RETRY_SECONDS * tries)
                continue
            ALERT_SERVICE_UP.set(1)
            log.info("alert delivered", alert_id=alert.alert_id)
            return
