"""Reads the gateway's access log, and raises an alert for every request that it refused.

Envoy streams an entry for each request that it refused before any service saw it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from google.protobuf.message import DecodeError

from alert_service.edge_refusals import RULE_NAMES, alert_of
from alert_service.metrics import EDGE_FAILURES, EDGE_REFUSALS
from alert_service.recorder import NOT_WRITTEN, AlertRecorder
from alert_service.validation import violations_of
from mesh.errors import CallError
from mesh.handlers import Context
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest

log = logger("alert.edge_log")

NAME = "envoy.service.accesslog.v3.AccessLogService"

ENTRIES_AT_ONCE = 16
RETRY_SECONDS = 0.5


class EdgeLog:
    """Answers Envoy's StreamAccessLogs. Whatever is in an entry, the stream goes on."""

    def __init__(self, recorder: AlertRecorder) -> None:
        self._recorder = recorder
        self._streams: set[asyncio.Task[None]] = set()
        self._is_ending = False

    def end_streams(self) -> None:
        """End every stream, so that Envoy opens a new one when this process is back.

        Reports that were begun are finished.
        """
        self._is_ending = True
        for stream in self._streams:
            stream.cancel()

    async def StreamAccessLogs(
        self, request_iterator: AsyncIterator[bytes], context: Context
    ) -> StreamAccessLogsResponse:
        """Raise an alert for every refusal, as long as Envoy sends them."""
        stream = asyncio.create_task(self._read(request_iterator))
        self._streams.add(stream)
        try:
            await stream
        except asyncio.CancelledError:
            if not self._is_ending:
                raise
        finally:
            self._streams.discard(stream)
        return StreamAccessLogsResponse()

    async def _read(self, messages: AsyncIterator[bytes]) -> None:
        async for data in messages:
            try:
                entries = StreamAccessLogsMessage.FromString(data).http_logs.log_entry
            except DecodeError:
                _count_failure("UNDECODABLE")
                continue
            for start in range(0, len(entries), ENTRIES_AT_ONCE):
                await asyncio.gather(
                    *[self._handle(entry) for entry in entries[start : start + ENTRIES_AT_ONCE]]
                )

    async def _handle(self, entry: HTTPAccessLogEntry) -> None:
        try:
            alert = alert_of(entry)
            if alert is None:
                return
            if violations_of(alert):
                _count_failure("BAD_ENTRY")
                return
            await self._record(alert)
        except CallError as error:
            _count_failure(error.reason)
        except Exception as error:
            log.error("entry failed", exc_info=error)
            _count_failure("UNEXPECTED")

    async def _record(self, alert: RaiseAlertRequest) -> None:
        """Record the alert; retry while the disk takes no reports, as Envoy sends an entry once."""
        while True:
            try:
                await self._recorder.record(alert)
            except CallError as error:
                if error.reason != NOT_WRITTEN:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
                continue
            rule = alert.violations[0].rule
            EDGE_REFUSALS.labels(rule if rule in RULE_NAMES else "OTHER").inc()
            return


def add_to_server(log_service: EdgeLog, server: Any) -> None:
    """Register the service.

    The messages are taken as bytes: generated code would decode them first, and one that cannot be
    decoded would end the stream.
    """
    stream = grpc.stream_unary_rpc_method_handler(
        log_service.StreamAccessLogs,
        request_deserializer=bytes,
        response_serializer=StreamAccessLogsResponse.SerializeToString,
    )
    server.add_registered_method_handlers(NAME, {"StreamAccessLogs": stream})


def _count_failure(reason: str) -> None:
    EDGE_FAILURES.labels(reason).inc()
    log.warning("refusal without an alert", reason=reason)
