"""The EdgeService of the contract: puts on record what the gateway refused by itself."""

from __future__ import annotations

import re

import grpc

from ingest_service.intake import Intake
from mesh.errors import CallError, FieldError
from mesh.handlers import Context
from sluice.edge.v1 import edge_service_pb2 as contract
from sluice.edge.v1.edge_service_pb2_grpc import EdgeServiceServicer
from sluice.verdict.v1.verdict_pb2 import Violation

_RULES = {
    "MALFORMED_JSON": "The body is no JSON object that fits the contract.",
    "BAD_QUERY": "A query parameter is unknown or unreadable.",
    "BODY_TOO_LARGE": "The body is too large.",
    "UNSUPPORTED_MEDIA_TYPE": "The path does not take this kind of content.",
}
_REQUEST_ID = re.compile(r"[0-9a-f-]{8,40}")
_CLIENT = re.compile(r"[0-9A-Fa-f.:]{0,64}")


class EdgeServicer(EdgeServiceServicer):
    """Answers the calls of sluice.edge.v1.EdgeService."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def RecordRefusal(
        self, request: contract.RecordRefusalRequest, context: Context
    ) -> contract.RecordRefusalResponse:
        """Alert about and record one request that the gateway refused."""
        fields = []
        if request.rule not in _RULES:
            fields.append(FieldError("/rule", "UNKNOWN", "Send one of the contract's rules."))
        if not _CLIENT.fullmatch(request.client):
            fields.append(FieldError("/client", "BAD_ADDRESS", "Send an IP address."))
        if not _REQUEST_ID.fullmatch(request.http_request_id):
            fields.append(FieldError("/http_request_id", "BAD_ID", "Send the gateway's own id."))
        if fields:
            raise CallError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_INPUT",
                "No refusal was recorded. Correct the fields named in the details.",
                fields=fields,
            )
        rule = Violation(path="", rule=request.rule, description=_RULES[request.rule])
        alert_id = await self._intake.record_refusal(rule, request.client, request.http_request_id)
        return contract.RecordRefusalResponse(alert_id=alert_id)
