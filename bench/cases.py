"""The work that is measured, for each stack that can do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.loads import GrpcLoad, HttpLoad, Load
from bench.payloads import REFUSED, as_batch, as_export, as_json, as_submission
from sluice.ingest.v1 import ingest_service_pb2 as ingest

CONNECTIONS = (1, 10, 32, 50, 100, 250)
RATES = (10, 100, 1000)
RATE_CONNECTIONS = 64
"""The most connections of a steady load. One that makes fewer calls a second has no more than that;
no submission waits for the answer to another."""
REFERENCE_RATE = 100
"""The highest rate asked of the reference, which does not keep up with the next one."""
SATURATED = 100
"""Connections that submit as fast as they can, where the stored bytes are measured."""
PAYLOAD_CONNECTIONS = 32
BATCHES = (100, 1000)
RECORDS = 512
"""What a sender of OpenTelemetry puts into a call, unless it is told otherwise."""
LOGS = "opentelemetry.proto.collector.logs.v1.LogsService"
GROWING_BATCHES = (1, 10, 100, 1000, 5000)
CALLERS = 8

REST = HttpLoad("/submit", 32, as_json("20 B"))
BATCH = GrpcLoad("SubmitBatch", as_batch("20 B", 1000), CALLERS, 4, items=1000)

ALL = ("reference", "sluice", "noop")
OURS = ("sluice", "noop")


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of work, and the load that does it on each stack."""

    name: str
    title: str
    loads: Mapping[str, Load]


def cases(task_ids: Mapping[str, str]) -> list[Case]:
    """Return every case. `task_ids` holds a finished task for each stack that knows tasks."""
    submit = _same(HttpLoad("/submit", PAYLOAD_CONNECTIONS, as_json("20 B")), ALL)
    return [
        *steady_cases(),
        *connection_cases(),
        *(
            Case(
                f"payload-{name.split(' nested')[0].replace(' ', '').lower()}",
                f"POST /submit, {name}, {PAYLOAD_CONNECTIONS} connections",
                _same(HttpLoad("/submit", PAYLOAD_CONNECTIONS, as_json(name)), ALL)
                if name != "20 B"
                else submit,
            )
            for name in ("20 B", "1 KB", "10 KB nested", "64 KB")
        ),
        Case(
            "grpc-submit",
            "Submit, 20 B, 32 callers",
            _same(
                GrpcLoad("Submit", as_submission("20 B").SerializeToString(), 32, 4),
                (*OURS, "noop direct"),
            ),
        ),
        *(_batch(count) for count in BATCHES),
        *(_stream(count) for count in BATCHES),
        Case(
            f"otlp-{RECORDS}",
            f"Export of {RECORDS} log records, {CALLERS} callers",
            {
                "sluice": GrpcLoad(
                    "Export", as_export(RECORDS), CALLERS, 4, items=RECORDS, service=LOGS
                )
            },
        ),
        Case(
            "status",
            "GET /status/{task_id}, 32 connections",
            {stack: HttpLoad(f"/status/{task_ids[stack]}", 32) for stack in ALL},
        ),
        Case(
            "grpc-status",
            "GetStatus, 32 callers",
            {
                stack: GrpcLoad(
                    "GetStatus",
                    ingest.GetStatusRequest(task_id=task_ids[stack]).SerializeToString(),
                    32,
                    4,
                )
                for stack in OURS
            },
        ),
        Case(
            "rejected",
            "POST /submit, refused, 32 connections",
            {"sluice": HttpLoad("/submit", 32, REFUSED, expected=4)},
        ),
    ]


def steady_cases() -> list[Case]:
    """Return the cases in which submissions come as often as they like, whatever the answers do."""
    return [
        Case(
            f"steady-{rate}",
            f"POST /submit, 20 B, {rate:,} a second",
            _same(
                HttpLoad("/submit", min(rate, RATE_CONNECTIONS), as_json("20 B"), rate=rate),
                ("reference", "sluice") if rate <= REFERENCE_RATE else ("sluice",),
            ),
        )
        for rate in RATES
    ]


def connection_cases() -> list[Case]:
    """Return the cases that show what an interaction costs as connections grow."""
    return [_rest(count) for count in CONNECTIONS]


def stored_cases() -> list[Case]:
    """Return the cases whose bytes in the stores are measured."""
    return [*steady_cases(), _rest(SATURATED), _batch(BATCHES[-1])]


def batch_cases() -> list[Case]:
    """Return the cases that show how the cost of an interaction falls as batches grow."""
    return [_batch(count) for count in GROWING_BATCHES]


def _rest(count: int) -> Case:
    title = f"POST /submit, 20 B, {count} connection{'s' * (count > 1)}"
    return Case(f"rest-{count}", title, _same(HttpLoad("/submit", count, as_json("20 B")), ALL))


def _batch(count: int) -> Case:
    load = GrpcLoad("SubmitBatch", as_batch("20 B", count), CALLERS, 4, items=count)
    return Case(f"batch-{count}", f"SubmitBatch of {count}, {CALLERS} callers", _same(load, OURS))


def _stream(count: int) -> Case:
    load = GrpcLoad("SubmitStream", as_batch("20 B", count), CALLERS, 4, stream=True, items=count)
    title = f"SubmitStream, pieces of {count}, {CALLERS} streams"
    return Case(f"stream-{count}", title, _same(load, OURS))


def _same(load: Load, stacks: tuple[str, ...]) -> dict[str, Load]:
    return dict.fromkeys(stacks, load)
