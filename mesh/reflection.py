"""gRPC reflection, in both versions, that also finds methods.

The library's servicer finds only services and messages, but tools ask for the file of the method
that they describe. It also serves only v1alpha; the messages of v1 are the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as contract

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def _declare_v1() -> None:
    """Declare the messages of v1, which tools describe too, from those of v1alpha."""
    older = FileDescriptorProto()
    contract.DESCRIPTOR.CopyToProto(older)
    text = text_format.MessageToString(older).replace("v1alpha", "v1")
    newer = text_format.Parse(text, FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(newer.SerializeToString())


_declare_v1()


class Reflection:
    """Answers the calls of grpc.reflection about the named services and all that they depend on.

    Raises KeyError when there is no such service.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = sorted(names)
        self._pool = descriptor_pool.Default()
        self._files = _with_dependencies(
            [self._pool.FindServiceByName(name).file for name in names]
        )

    async def ServerReflectionInfo(
        self, request_iterator: AsyncIterator[contract.ServerReflectionRequest], context: Any
    ) -> AsyncIterator[contract.ServerReflectionResponse]:
        """Answer each request."""
        async for request in request_iterator:
            yield self._answer(request)

    def _answer(
        self, request: contract.ServerReflectionRequest
    ) -> contract.ServerReflectionResponse:
        answer = contract.ServerReflectionResponse(
            valid_host=request.host, original_request=request
        )
        try:
            match request.WhichOneof("message_request"):
                case "list_services":
                    for name in self._names:
                        answer.list_services_response.service.add(name=name)
                case "file_by_filename":
                    _add_file(answer, self._files[request.file_by_filename])
                case "file_containing_symbol":
                    _add_file(answer, self._file_of(request.file_containing_symbol))
                case "file_containing_extension":
                    asked = request.file_containing_extension
                    extended = self._pool.FindMessageTypeByName(asked.containing_type)
                    number = asked.extension_number
                    found = self._pool.FindExtensionByNumber(extended, number)
                    _add_file(answer, self._file_of(found.full_name))
                case "all_extension_numbers_of_type":
                    name = request.all_extension_numbers_of_type
                    extended = self._pool.FindMessageTypeByName(name)
                    numbers = [each.number for each in self._pool.FindAllExtensions(extended)]
                    answer.all_extension_numbers_response.base_type_name = name
                    answer.all_extension_numbers_response.extension_number.extend(sorted(numbers))
                case _:
                    _set_error(answer, grpc.StatusCode.INVALID_ARGUMENT, "The request is empty.")
        except KeyError:
            _set_error(answer, grpc.StatusCode.NOT_FOUND, "That name is unknown.")
        return answer

    def _file_of(self, symbol: str) -> FileDescriptor:
        """Return the file that declares `symbol`, which may be a method. Raises KeyError."""
        try:
            found = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            methods = self._pool.FindServiceByName(service).methods_by_name
            found = methods[method].containing_service.file
        # Only files of the named services are shown, not all of this process.
        return self._files[found.name]


def registration(name: str) -> Callable[[Any, Any], None]:
    """Return the function that registers a Reflection under one of its names."""

    def add(servicer: Reflection, server: Any) -> None:
        handler = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            contract.ServerReflectionRequest.FromString,
            contract.ServerReflectionResponse.SerializeToString,
        )
        server.add_registered_method_handlers(name, {"ServerReflectionInfo": handler})

    return add


def _with_dependencies(files: Sequence[FileDescriptor]) -> dict[str, FileDescriptor]:
    """Return the files and all files that they depend on, by name."""
    found: dict[str, FileDescriptor] = {}
    waiting = [*files]
    for file in waiting:
        if file.name not in found:
            found[file.name] = file
            waiting.extend(file.dependencies)
    return found


def _add_file(answer: contract.ServerReflectionResponse, file: FileDescriptor) -> None:
    answer.file_descriptor_response.file_descriptor_proto.extend(
        each.serialized_pb for each in _with_dependencies([file]).values()
    )


def _set_error(
    answer: contract.ServerReflectionResponse, code: grpc.StatusCode, message: str
) -> None:
    answer.error_response.error_code = code.value[0]
    answer.error_response.error_message = message
