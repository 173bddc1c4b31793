"""What tools that describe a service ask for, and what they get."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from mesh.reflection import NAMES, Reflection

# The pool knows what is imported.
from sluice.edge.v1 import edge_service_pb2
from sluice.ingest.v1 import ingest_service_pb2

FILE = ingest_service_pb2.DESCRIPTOR.name
SERVICE = "sluice.ingest.v1.IngestService"


async def answer(**question: object) -> ServerReflectionResponse:
    async def questions() -> AsyncIterator[ServerReflectionRequest]:
        yield ServerReflectionRequest(host="here", **question)

    (only,) = [
        each async for each in Reflection([SERVICE, *NAMES]).ServerReflectionInfo(questions(), None)
    ]
    assert only.valid_host == only.original_request.host == "here"
    return only


def files(told: ServerReflectionResponse) -> list[str]:
    return [
        FileDescriptorProto.FromString(each).name
        for each in told.file_descriptor_response.file_descriptor_proto
    ]


@pytest.mark.parametrize(
    "symbol",
    [
        SERVICE,
        f"{SERVICE}.SubmitBatch",
        "sluice.ingest.v1.SubmitRequest",
        "sluice.ingest.v1.SubmitRequest.data",
        "sluice.ingest.v1.TaskState",
        "sluice.ingest.v1.TASK_STATE_PENDING",
    ],
)
async def test_a_symbol_is_found_with_all_that_its_file_needs(symbol: str) -> None:
    told = files(await answer(file_containing_symbol=symbol))
    assert told[0] == FILE
    assert {"google/protobuf/struct.proto", "sluice/verdict/v1/verdict.proto"} <= set(told)
    assert len(told) == len(set(told))


@pytest.mark.parametrize(
    "symbol", ["", ".", "Nope", f"{SERVICE}.Nope", "sluice.ingest.v1.Nope.Submit", "a" * 10_000]
)
async def test_a_symbol_that_is_not_there_is_not_found(symbol: str) -> None:
    told = await answer(file_containing_symbol=symbol)
    assert told.error_response.error_code == 5


@pytest.mark.parametrize(
    "symbol",
    ["sluice.edge.v1.EdgeService", "sluice.edge.v1.EdgeService.RecordRefusal",
     "sluice.edge.v1.RecordRefusalRequest"],
)  # fmt: skip
async def test_what_is_not_public_is_not_shown(symbol: str) -> None:
    assert edge_service_pb2.DESCRIPTOR.name.startswith("sluice/edge/")
    told = await answer(file_containing_symbol=symbol)
    assert told.error_response.error_code == 5
    told = await answer(file_by_filename=edge_service_pb2.DESCRIPTOR.name)
    assert told.error_response.error_code == 5


async def test_both_versions_describe_themselves() -> None:
    for name in NAMES:
        symbol = f"{name}.ServerReflectionInfo"
        (told,) = (
            await answer(file_containing_symbol=symbol)
        ).file_descriptor_response.file_descriptor_proto
        file = FileDescriptorProto.FromString(told)
        assert f"{file.package}.{file.service[0].name}" == name


async def test_the_other_questions() -> None:
    listed = await answer(list_services="*")
    assert {each.name for each in listed.list_services_response.service} == {SERVICE, *NAMES}
    assert files(await answer(file_by_filename=FILE))[0] == FILE
    assert (await answer(file_by_filename="nope")).error_response.error_code == 5
    extended = "google.protobuf.MethodOptions"
    http = 72295728
    numbers = await answer(all_extension_numbers_of_type=extended)
    assert http in numbers.all_extension_numbers_response.extension_number
    asked = ServerReflectionRequest()
    asked.file_containing_extension.containing_type = extended
    asked.file_containing_extension.extension_number = http
    told = await answer(file_containing_extension=asked.file_containing_extension)
    assert files(told)[0] == "google/api/annotations.proto"
    assert (await answer()).error_response.error_code == 3
