import asyncio
import threading
from collections.abc import Sequence

from ingest_service.partitioned_recorder import TURN_SECONDS, PartitionedRecorder
from ingest_service.recorder import Recorder, Unstored
from job_store.errors import QueueFull, QueueUnavailable
from job_store.partitions import Partitions
from job_store.request_ids import Request
from job_store.settings import StoreSettings
from job_store.store import Entry, Receipt
from mesh.group_commit import Room
from sluice.job.v1.job_pb2 import RequestRecord

COUNT = 4


class FakeStore:
    def __init__(self, number: int) -> None:
        self.number = number
        self.is_available = True
        self.secret = b"%d" % number


class FakeRecorder:
    """Stores in one partition, until it is lost."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_lost = False
        self.entries: list[Entry] = []

    async def record(self, entries: Sequence[Entry]) -> list[Receipt | Unstored]:
        if self.is_lost:
            return [QueueUnavailable()] * len(entries)
        first = len(self.entries)
        self.entries += entries
        return [Receipt(f"job-{self.number}", first + index) for index in range(len(entries))]

    async def look_up(self, requests: Sequence[Request]) -> list[RequestRecord | Unstored | None]:
        if self.is_lost:
            return [QueueUnavailable()] * len(requests)
        return [RequestRecord(body_hash=request.body_hash) for request in requests]

    async def close(self) -> None:
        pass


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.stores = [FakeStore(number) for number in range(COUNT)]
        self.recorders = [FakeRecorder(number) for number in range(COUNT)]
        self.partitions = Partitions.of(StoreSettings(redis_partitions=COUNT))
        self.recorder = PartitionedRecorder(
            self.partitions,
            self.stores,  # type: ignore[arg-type]
            self.recorders,  # type: ignore[arg-type]
            lambda: self.now,
        )

    def home_of(self, request: Request) -> int:
        return self.partitions.of_name(request.bucket.encode()).number


def requests(count: int) -> list[Request]:
    return [Request.of(f"r-{number}", b"%d" % number) for number in range(count)]


async def test_a_request_id_has_one_partition_and_receipts_come_back_in_order() -> None:
    scene = Scene()
    entries = [Entry(b"%d" % i, 1, each) for i, each in enumerate(requests(100))]
    for _ in range(2):
        receipts = await scene.recorder.record(entries)
        for entry, receipt in zip(entries, receipts, strict=True):
            assert entry.request is not None
            assert isinstance(receipt, Receipt)
            home = scene.home_of(entry.request)
            assert receipt.job_id == f"job-{home}"
            assert scene.recorders[home].entries[receipt.first] is entry
    assert all(recorder.entries for recorder in scene.recorders)


async def test_what_comes_together_without_an_id_shares_a_partition_and_each_has_its_turn() -> None:
    scene = Scene()
    for _ in range(2 * COUNT):
        scene.now += 1.5 * TURN_SECONDS
        for _ in range(10):
            await scene.recorder.record([Entry(b"x")])
    assert [len(recorder.entries) for recorder in scene.recorders] == [20] * COUNT


async def test_a_lost_partition_has_only_its_request_ids() -> None:
    scene = Scene()
    scene.stores[1].is_available = False
    scene.recorders[1].is_lost = True
    for _ in range(2 * COUNT):
        scene.now += 1.5 * TURN_SECONDS
        (receipt,) = await scene.recorder.record([Entry(b"x")])
        assert isinstance(receipt, Receipt)
    asked = requests(100)
    receipts = await scene.recorder.record([Entry(b"x", 1, each) for each in asked])
    records = await scene.recorder.look_up(asked)
    for request, receipt, record in zip(asked, receipts, records, strict=True):
        assert isinstance(receipt, QueueUnavailable) == (scene.home_of(request) == 1)
        if isinstance(record, RequestRecord):
            assert record.body_hash == request.body_hash
        else:
            assert scene.home_of(request) == 1


async def test_a_turn_ends_at_once_when_its_partition_is_lost() -> None:
    scene = Scene()
    (first,) = await scene.recorder.record([Entry(b"x")])
    assert isinstance(first, Receipt)
    scene.stores[int(first.job_id[-1])].is_available = False
    (second,) = await scene.recorder.record([Entry(b"x")])
    assert isinstance(second, Receipt)
    assert second.job_id != first.job_id


class HangingStore(FakeStore):
    """Stores nothing before it is `free`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.free = threading.Event()

    def commit(self, entries: Sequence[Entry]) -> list[Receipt]:
        assert self.free.wait(10)
        return [Receipt("job", number) for number, _ in enumerate(entries)]


async def test_a_partition_that_hangs_leaves_room_to_the_others() -> None:
    partitions = Partitions.of(StoreSettings(redis_partitions=COUNT))
    stores = [HangingStore(number) for number in range(COUNT)]
    room = Room(100_000, QueueFull)
    recorder = PartitionedRecorder(
        partitions,
        stores,  # type: ignore[arg-type]
        [
            Recorder(store, max_items=100, max_bytes=1000, room=room)  # type: ignore[arg-type]
            for store in stores
        ],
    )
    asked = requests(2000)
    home = partitions.of_name(asked[0].bucket.encode()).number
    for store in stores:
        if store.number != home:
            store.free.set()
    to_lost = [each for each in asked if partitions.of_name(each.bucket.encode()).number == home]
    waiting = [
        asyncio.create_task(recorder.record([Entry(b"x" * 400, 1, each)])) for each in to_lost
    ]
    while not (refused := [each for each in waiting if each.done()]):
        await asyncio.sleep(0)
    assert all(isinstance(receipt, QueueFull) for each in refused for receipt in each.result())
    others = [each for each in asked if each not in to_lost]
    receipts = await recorder.record([Entry(b"x" * 10, 1, each) for each in others])
    assert all(isinstance(each, Receipt) for each in receipts)
    stores[home].free.set()
    kept = [receipt for (receipt,) in await asyncio.gather(*waiting)]
    assert any(isinstance(each, Receipt) for each in kept)
    await recorder.close()


async def test_when_no_partition_takes_anything_the_caller_hears_why() -> None:
    scene = Scene()
    for store, recorder in zip(scene.stores, scene.recorders, strict=True):
        store.is_available, recorder.is_lost = False, True
    (receipt,) = await scene.recorder.record([Entry(b"x")])
    assert isinstance(receipt, QueueUnavailable)


async def test_alerts_are_named_by_the_secret_of_their_partition() -> None:
    scene = Scene()
    for request in requests(20):
        assert scene.recorder.secret_of(request) == b"%d" % scene.home_of(request)
