"""What the worker does with a message: write its interactions, deliver its alert.

An actor gets several messages in one call and says of each how it ended: done, or a dead letter
when it never will be. One that cannot do its work now waits inside the call, so that its messages
stay unacknowledged and nothing has to be stored again, until the process stops (Interrupted).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import redis
from google.protobuf.message import DecodeError

from job_store.redis_client import again_if_lost
from job_store.states import FINAL, Finish, JobStates
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
from worker.dramatiq_queue.delivery import Delivery
from worker.metrics import ALERT_SERVICE_UP, INTERACTIONS
from worker.sinks.sink import VERDICT_NAMES, Sink, rows, task_ids
from worker.waiting import Breaker, Interrupted, Outage, Stop

log = logger("worker")

UNKNOWN = "unknown"
"""What the log calls a verdict of a later version."""

ALERT_TRIES = 5
ALERT_RETRY_SECONDS = 0.2
"""Before the second try; a further one waits that much longer."""


@dataclass(eq=False, slots=True)
class OpenJob:
    """A job in hand, and what is known about it."""

    delivery: Delivery
    job: LogInteractions
    verdicts: Sequence[str]
    """Of all its interactions, by name."""
    record: JobRecord
    indexes: Sequence[int]
    """Of the interactions to write: in a replayed job those that failed before."""
    failures: list[ItemFailure]
    """The interactions that will not be written."""


class InteractionLogger:
    """The actor `write_interactions`: writes jobs to the sink, several in one request.

    They lie in one partition, and what is asked of Redis is asked for all of them at once; `states`
    are those of each partition. Each job has an end of its own all the same: neither a refused
    interaction nor an error in one job is noticed by the others.
    """

    def __init__(self, states: Sequence[JobStates], sink: Sink, breaker: Breaker) -> None:
        self._states = states
        self._sink = sink
        self._breaker = breaker

    def __call__(self, deliveries: Sequence[Delivery]) -> None:
        """Write every interaction of serialized LogInteractions that is not written yet.

        Raises Interrupted, and redis.RedisError when Redis does not answer.
        """
        try:
            self._carry_out(deliveries)
        except (Interrupted, redis.RedisError):
            raise
        except Exception:
            # One of them is to blame. Everything may be repeated, so each is tried alone.
            for delivery in deliveries:
                if not delivery.is_ended:
                    self._carry_out_alone(delivery)

    def _carry_out_alone(self, delivery: Delivery) -> None:
        try:
            self._carry_out([delivery])
        except (Interrupted, redis.RedisError):
            raise
        except Exception as error:
            delivery.fail(error)

    def _carry_out(self, deliveries: Sequence[Delivery]) -> None:
        jobs = self._begin(deliveries)
        if not jobs:
            return
        try:
            self._write(jobs)
        except (Interrupted, redis.RedisError):
            raise
        except Exception as error:
            if len(deliveries) > 1:
                raise
            (alone,) = jobs
            log.error("job failed", job_id=alone.job.job_id, exc_info=error)
            alone.failures = [
                ItemFailure(index=index, error_class="UNEXPECTED")
                for index in range(len(alone.job.interactions))
            ]
        self._end(jobs)

    def _begin(self, deliveries: Sequence[Delivery]) -> list[OpenJob]:
        """Return the jobs of which something is left to write; the others end here.

        A job that is settled with failures becomes a dead letter: whoever settled it died before
        its dead letter was kept.
        """
        parsed = []
        for delivery in deliveries:
            try:
                parsed.append((delivery, LogInteractions.FromString(delivery.payload)))
            except DecodeError:
                delivery.fail(DeadLetter(UNDECODABLE))
        job_ids = [job.job_id for _, job in parsed]
        stored = self._states[deliveries[0].partition]
        # Whoever gets no answer gives up: jobs of other partitions wait for this thread.
        states = again_if_lost(lambda: stored.read(job_ids)) if job_ids else []
        jobs = []
        for (delivery, job), state in zip(parsed, states, strict=True):
            if not state.is_settled:
                jobs.append(_opened(delivery, job, state.record))
            elif failures := state.record.failures:
                delivery.fail(DeadLetter(failures[0].error_class, len(failures)))
            else:
                delivery.done()
        new = [each for each in jobs if not each.record.HasField("start_time")]
        log_each(
            "worker",
            "received",
            {
                "task_id": [task_id for each in new for task_id in task_ids(each.job)],
                "verdict": [verdict for each in new for verdict in each.verdicts],
            },
        )
        for each in jobs:
            if not each.record.HasField("start_time"):
                each.record.start_time.GetCurrentTime()
            each.record.attempts += 1
        self._show(jobs, self._breaker.reason)
        return jobs

    def _show(self, jobs: Sequence[OpenJob], error_class: str) -> None:
        """Tell where the jobs stand; one that was replayed shows its failures until it ends."""
        if not jobs:
            return
        for each in jobs:
            if error_class:
                each.record.last_error = error_class
            if each.record.state not in FINAL:
                each.record.state = JOB_STATE_RETRYING if error_class else JOB_STATE_RUNNING
        changed = [(each.job.job_id, each.record) for each in jobs]
        states = self._states[jobs[0].delivery.partition]
        again_if_lost(lambda: states.update(changed))

    def _write(self, jobs: Sequence[OpenJob]) -> None:
        """Write until the sink has taken or refused every interaction; note the refused ones."""
        to_write = list(chain.from_iterable(rows(each.job, each.indexes) for each in jobs))
        while True:
            try:
                refused = self._breaker.call(lambda: self._sink.write(to_write))
                break
            except Outage as outage:
                self._show(jobs, outage.reason)
                for each in jobs:
                    each.record.attempts += 1
        if not refused:
            return
        places = [(each, index) for each in jobs for index in each.indexes]
        for position, error_class in refused.items():
            each, index = places[position]
            each.failures.append(ItemFailure(index=index, error_class=error_class))

    def _end(self, jobs: Sequence[OpenJob]) -> None:
        """Close the jobs. One with failures becomes a dead letter, to keep it for a replay."""
        finished = []
        todo = []
        for each in jobs:
            record, size = each.record, len(each.job.interactions)
            todo.append(len(record.failures) or size)
            failures = sorted(each.failures, key=lambda failure: failure.index)
            record.state = JOB_STATE_FAILED if len(failures) == size else JOB_STATE_SUCCEEDED
            del record.failures[:]
            record.failures.extend(failures)
            if failures:
                record.last_error = failures[0].error_class
            record.end_time.GetCurrentTime()
            finished.append(Finish(each.job.job_id, record, len(failures)))
        states = self._states[jobs[0].delivery.partition]
        closed = again_if_lost(lambda: states.finish(finished))
        for each, (_, record, failed), expected, is_closed in zip(
            jobs, finished, todo, closed, strict=True
        ):
            if is_closed:
                INTERACTIONS.labels("written").inc(expected - failed)
                INTERACTIONS.labels("failed").inc(failed)
            if failed:
                each.delivery.fail(DeadLetter(record.last_error, failed))
            else:
                each.delivery.done()


def _opened(delivery: Delivery, job: LogInteractions, record: JobRecord) -> OpenJob:
    verdicts = [VERDICT_NAMES.get(each.verdict, UNKNOWN) for each in job.interactions]
    # A replayed job has only these left to write.
    left = [each.index for each in record.failures] or range(len(verdicts))
    unknown = {index for index in left if verdicts[index] == UNKNOWN}
    return OpenJob(
        delivery,
        job,
        verdicts,
        record,
        [index for index in left if index not in unknown],
        [ItemFailure(index=index, error_class="VERDICT_UNKNOWN") for index in unknown],
    )


class AlertDeliverer:
    """The actor `deliver_alert`: gets one alert to the alert service."""

    def __init__(self, alerts: AlertClient, breaker: Breaker, stop: Stop) -> None:
        self._alerts = alerts
        self._breaker = breaker
        self._stop = stop

    def __call__(self, deliveries: Sequence[Delivery]) -> None:
        """Deliver the alert of each serialized DeliverAlert."""
        for delivery in deliveries:
            try:
                self._deliver(delivery.payload)
            except DeadLetter as letter:
                delivery.fail(letter)
            else:
                delivery.done()

    def _deliver(self, payload: bytes) -> None:
        """Deliver one alert. Raises DeadLetter.

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
