"""The four scenes as a user of the client writes them: prints one line for each that went well."""

import asyncio
import logging
import sys
from concurrent.futures import wait

from sluice.ingest.v1.ingest_service_pb2 import TASK_STATE_SUCCEEDED
from sluice_client import AsyncClient, Client, Refused, SluiceHandler


def main(target: str) -> None:
    with Client(target, source="four-scenes") as sluice:
        receipt = sluice.submit_now({"event": "signup", "plan": "team"})
        assert [state.state for state in sluice.watch(receipt.task_id)][-1] == TASK_STATE_SUCCEEDED
        print("submitted and watched")
        assert sluice.wait(receipt.task_id).attempts >= 1
        assert sluice.status(receipt.task_id).state == TASK_STATE_SUCCEEDED
        print("written")
        try:
            sluice.submit_now("my ssn is 123-45-6789")
        except Refused as refused:
            assert "us_ssn" in refused.detectors
            print("refused", refused.fields[0].path)
        assert sluice.scan({"card": "4111 1111 1111 1111"}).findings[0].path == "/data/card"
        futures = sluice.submit_many(f"flood {number}" for number in range(1000))
        done, _ = wait(futures, 30)
        assert len({future.result().task_id for future in done}) == 1000
        logging.getLogger("orders").addHandler(SluiceHandler(sluice))
        logging.getLogger("orders").error("late", extra={"order": 5})
        assert sluice.flush(30)
        assert (sluice.counts.accepted, sluice.counts.refused) == (1002, 1)
    assert asyncio.run(awaited(target)) == 100
    print("flooded")


async def awaited(target: str) -> int:
    async with AsyncClient(target, source="four-scenes") as sluice:
        receipts = await asyncio.gather(*await sluice.submit_many(range(100)))
        await sluice.wait(receipts[0].task_id)
    return len({receipt.task_id for receipt in receipts})


if __name__ == "__main__":
    main(sys.argv[1])
