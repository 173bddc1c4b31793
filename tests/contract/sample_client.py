"""A client as a user of the wheel writes one: prints the task id and the final state."""

import sys

import grpc

from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub


def main(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        sluice = IngestServiceStub(channel)
        request = ingest.SubmitRequest(source="sample-client")
        request.data.struct_value.update({"event": "signup", "plan": "team"})
        receipt = sluice.Submit(request, timeout=5)
        print(receipt.task_id)
        for update in sluice.WatchStatus(
            ingest.WatchStatusRequest(task_id=receipt.task_id), timeout=30
        ):
            print(ingest.TaskState.Name(update.task.state))


if __name__ == "__main__":
    main(sys.argv[1])
